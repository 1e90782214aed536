"""Templates: those of runtimes parked without a handler, then woken as a function's environment, and those of functions. What
a woken process does is compared with an ordinary start of the same function."""

import json
import os
import re
import time

import pytest
from runtime_api import PREFIX
from templates import SEED, body, compare, dismiss, threads, ticks, without_times



@pytest.fixture(params=["runtime", "function"])
def either(request, runtime):
    runtime.kind = request.param
    return runtime


# -- parked


def test_parked_process_is_quiet(api, runtime):
    client = runtime.template()
    pid = client.process.pid
    time.sleep(0.2)
    before = ticks(pid)
    time.sleep(0.5)
    assert ticks(pid) == before
    assert api.blocks == [f"GET {PREFIX}/invocation/next HTTP/1.1\r\nHost: {api.address}\r\n\r\n".encode()]
    assert api.connections == 1
    assert client.output == {"stdout": b"", "stderr": b""}
    assert os.listdir(runtime.root / "tmp") == []
    calls = threads(pid)
    assert all(call[0] != "running" for call in calls)
    if not runtime.is_node:
        assert len(calls) == 1
    elif os.uname().machine == "x86_64":  # epoll_wait or epoll_pwait, for ever: no timer is pending
        assert calls[0][0] in ("232", "281") and calls[0][4] == "0xffffffff"


def test_parked_process_has_only_descriptors_that_a_clone_can_have(runtime):
    client = runtime.template()
    folder = f"/proc/{client.process.pid}/fd"
    opened = {int(fd): os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)}
    # Node has its io_uring only where the system call is allowed, which it is in no environment.
    allowed = r"pipe:\[\d+\]|anon_inode:\[(eventpoll|eventfd|io_uring)\]|/dev/null"
    others = [name for name in opened.values() if not re.fullmatch(allowed, name)]
    assert len(others) == 1 and others[0].startswith("socket:"), opened
    if not runtime.is_node:
        assert sorted(opened) == [0, 1, 2, 3]


def test_answer_that_is_no_wake_up_ends_the_process(api, runtime):
    client = runtime.template()
    api.send_event()
    assert client.wait_exit() in (1, 129)
    assert "next answered 200, no wake-up" in client.stderr


def test_closed_connection_ends_the_process(api, runtime):
    client = runtime.template()
    api.events.put(None)
    assert client.wait_exit() == 1
    assert "connection closed" in client.stderr


# -- handlers and their environment

HANDLERS = {
    True: [
        ("index.handler", {"index.mjs": "import fs from 'fs'; export const handler = async (e) => [e, typeof fs.open];"}),
        ("index.handler", {"index.js": "const fs = require('fs'); exports.handler = async (e) => [e, typeof fs.open];"}),
        ("index.handler", {"index.js": "exports.handler = (e, context, done) => done(null, [e, 'function']);"}),
        (
            "src/index.handler",
            {
                "src/index.js": "import { f } from './f.js'; export const handler = async (e) => [e, f];",
                "src/f.js": "export const f = await Promise.resolve('function');",
                "package.json": '{"type":"module"}',
            },
        ),
        (
            "index.handler",
            {
                "index.cjs": "exports.handler = awslambda.streamifyResponse(async (e, s) => { s.end([e, 'function']); });",
            },
        ),
    ],
    False: [
        ("app.handler", {"app.py": "import json\ndef handler(e, c): return [json.loads(json.dumps(e)), 'function']\n"}),
        ("src/app.handler", {"src/app.py": "from .f import f\ndef handler(e, c): return [e, f]\n", "src/f.py": "f = 'function'"}),
    ],
}


@pytest.mark.parametrize("number", range(len(HANDLERS[True])))
def test_handlers_of_all_kinds(api, either, number):
    handlers = HANDLERS[either.is_node]
    if number >= len(handlers):
        return
    client = either.clone(*handlers[number])
    for count in range(3):
        answer = api.invoke({"n": count})
        assert (answer.path, body(answer)) == ("response", [{"n": count}, "function"])
    api.wait_next()
    assert api.connections == 1
    assert client.output == {"stdout": b"", "stderr": b""}


SURROUNDINGS = {
    True: """
    import { execFileSync } from 'child_process'; import Module from 'module'; import fs from 'fs';
    const names = (object) => Reflect.ownKeys(object).map(String).sort();
    const lines = (text) => text.trim().split('\\n').sort();
    const value = {
        cwd: process.cwd(), paths: Module.globalPaths, globals: names(globalThis), console: names(console),
        env: { ...process.env }, child: lines(execFileSync('/usr/bin/env').toString()), argv: process.argv, exec: process.execArgv,
        pid: process.pid === Number(fs.readlinkSync('/proc/self')), ppid: process.ppid,
        descriptor: { ...Object.getOwnPropertyDescriptor(process, 'pid'), value: 0 },
        math: names(Math), random: Object.getPrototypeOf(Math.random) === Function.prototype,
        events: process.eventNames().map(String), young: process.uptime() < 5, uptime: process.uptime.name,
        time: new Date(0).getTimezoneOffset(), cache: Object.keys(Module._cache).filter((name) => !name.includes('/runtimes/node/')),
        store: awslambda.InvokeStore.hasContext(), stdout: process.stdout.constructor.name,
        resources: process.getActiveResourcesInfo().filter((name) => name !== 'ConnectWrap'),
    };
    export const handler = async () => value;
    """,
    False: """
import builtins, gc, json, logging, os, subprocess, sys, threading, time
value = {
    "cwd": os.getcwd(), "path": sys.path, "env": dict(os.environ), "bytes": len(os.environb),
    "child": sorted(subprocess.check_output(["/usr/bin/env"]).decode().split("\\n")),
    "argv": sys.argv, "flags": list(sys.flags), "threads": len(threading.enumerate()), "zone": time.tzname,
    "native": threading.main_thread().native_id == os.getpid(), "builtins": sorted(set(dir(builtins)) - {"_"}),
    "handlers": [[type(h).__name__, len(h.filters)] for h in logging.getLogger().handlers], "level": logging.root.level,
    "young": time.time() * 1e3 - logging.LogRecord("a", 1, "", 1, "", (), None).relativeCreated > time.time() * 1e3 - 5000,
    "tempdir": __import__("tempfile").tempdir, "dummies": [n for n in sys.modules if "rehears" in n],
    "meta": [str(getattr(f, "__name__", f)) for f in sys.meta_path], "gc": [gc.isenabled(), gc.get_threshold()],
    "caches": [p for p in sys.path_importer_cache if "irori-" in p], "converter": logging.Formatter.converter.__name__,
}
def handler(event, context): return value
""",
}


def test_surroundings_of_user_code_are_those_of_an_ordinary_start(api, either):
    handler, file = ("index.handler", "index.mjs") if either.is_node else ("app.handler", "app.py")
    env = {"ANSWER": "42", "SPACE": "a b=c ü", "EMPTY": "", "HOME": "/home/x"}
    value = compare(either, lambda client: body(api.invoke()), handler, {file: SURROUNDINGS[either.is_node]}, env)
    assert value["env"]["SPACE"] == "a b=c ü" and "SPACE=a b=c ü" in value["child"]
    assert value["young"]
    names = [line.partition("=")[0] for line in value["child"]]
    assert "TEMPLATE_ONLY" not in names and "IRORI_TEMPLATE" not in names


def test_time_zone(api, either):
    handler, files = {
        True: ("index.handler", {"index.js": "exports.handler = async () => new Date(0).getHours();"}),
        False: ("app.handler", {"app.py": "import time\ndef handler(e, c): return time.localtime(0).tm_hour\n"}),
    }[either.is_node]
    either.clone(handler, files, {"TZ": "XXX-5"})
    assert body(api.invoke()) == 5


def test_context(api, either):
    handler, files = {
        True: ("index.handler", {"index.mjs": "export const handler = async (e, context) => context;"}),
        False: ("app.handler", {"app.py": "def handler(e, context): return repr(context)\n"}),
    }[either.is_node]
    env = {"AWS_LAMBDA_FUNCTION_NAME": "other", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}
    value = compare(either, lambda client: body(api.invoke(request_id="a-b-c")), handler, files, env)
    assert "other" in str(value) and "512" in str(value)


TENANT = {
    True: (
        "index.handler",
        {
            "index.mjs": """export const handler = async (event, context) => {
                console.log('x'); return [context.tenantId ?? null, awslambda.InvokeStore.getTenantId() ?? null]; };"""
        },
    ),
    False: (
        "app.handler",
        {
            "app.py": "import logging\ndef handler(event, context):\n    logging.error('x')\n"
            "    return [context.tenant_id, logging.root.handlers[0].filters[0].filter(r := logging.makeLogRecord({})) and r.tenant_id]\n"
        },
    ),
}


def test_tenant(api, either):
    client = either.clone(*TENANT[either.is_node], {"AWS_LAMBDA_LOG_FORMAT": "JSON"})
    for tenant in ("blue", None, "green ü"):
        headers = {"Lambda-Runtime-Aws-Tenant-Id": tenant} if tenant else {}
        assert body(api.invoke(headers=headers)) == [tenant, tenant]
    client.kill()
    assert [json.loads(line).get("tenantId") for line in client.stdout.splitlines()] == ["blue", None, "green ü"]


# -- log lines

LOGGING = {
    True: (
        "index.handler",
        {
            "index.mjs": """
            console.log('init', { a: [1, { b: new Map([[1, 2]]) }] }); console.debug('d'); console.error(new RangeError('x').message);
            export const handler = async (event) => {
                console.info('%s and %j', 'text', event); console.warn('two\\nlines');
                if (event.fail) throw new TypeError('failed');
            };"""
        },
    ),
    False: (
        "app.handler",
        {
            "app.py": "import logging\nprint('init')\nlogging.error('e %s', 1)\n"
            "def handler(event, context):\n    print('event', event)\n    logging.warning('two\\nlines')\n"
            "    logging.debug('d')\n    context.log('direct\\n')\n    if event['fail']: raise TypeError('failed')\n"
        },
    ),
}


@pytest.mark.parametrize("env", [{}, {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "DEBUG"}])
def test_log_lines(api, either, env):
    def observe(client):
        for number in range(2):
            api.invoke({"fail": number == 1}, request_id=f"id-{number}")
        client.kill()
        return without_times(client.stdout).splitlines(), client.stderr

    lines, _ = compare(either, observe, *LOGGING[either.is_node], env)
    assert len(lines) >= 6


# -- INIT that fails, and processes that end

FAILURES = {
    True: [
        ("index.nope", {"index.js": "exports.a = 1"}),
        ("index.handler", {}),
        ("index", {"index.js": ""}),
        ("index.handler", {"index.js": "exports.handler = ("}),
        ("index.handler", {"index.mjs": "export const handler = ("}),
        ("index.handler", {"index.js": "require('nowhere')"}),
        ("index.handler", {"index.mjs": "import 'nowhere'"}),
        ("index.handler", {"index.mjs": "import { nothing } from 'fs'"}),
        ("index.handler", {"index.js": "function f(n) { if (n) f(n - 1); else throw new RangeError('ü'); } f(2)"}),
        ("index.handler", {"index.mjs": "await null; throw new RangeError('x')"}),
        ("index.handler", {"index.js": "throw 'text'"}),
        ("index.handler", {"index.mjs": "await new Promise(() => {})"}),
        ("index.handler", {"index.mjs": "Promise.reject(new Error('x')); await new Promise((r) => setTimeout(r, 5000))"}),
        ("index.handler", {"index.mjs": "setTimeout(() => { throw new Error('late') }, 1); await new Promise(() => {})"}),
        ("index.handler", {"index.js": "process.exit(7)"}),
        ("index.handler", {"index.js": "process.on('exit', () => console.log('bye')); process.exitCode = 3; null.x"}),
    ],
    False: [
        ("app.nope", {"app.py": ""}),
        ("nowhere.handler", {}),
        ("app", {"app.py": ""}),
        ("sys.handler", {}),
        ("app.handler", {"app.py": "def handler(:\n    pass\n"}),
        ("app.handler", {"app.py": "import nowhere"}),
        ("app.handler", {"app.py": "import json\ndef f(n):\n    json.loads('{') if n == 0 else f(n - 1)\nf(2)\n"}),
        ("app.handler", {"app.py": "raise RuntimeError('ü')"}),
        ("app.handler", {"app.py": "import sys\nsys.exit(7)"}),
        ("app.handler", {"app.py": "import os\nos._exit(8)"}),
        ("app.handler", {"app.py": "import atexit\natexit.register(print, 'bye')\n1 / 0\n"}),
        ("app.handler", {"app.py": "raise KeyboardInterrupt"}),
    ],
}


def observe_end(api):
    def observe(client):
        code = client.wait_exit()
        requests = []
        while not api.requests.empty():
            request = api.requests.get()
            requests.append((request.method, request.path, request.headers, request.body))
        return code, requests, without_times(client.stdout), without_times(client.stderr)

    return observe


@pytest.mark.parametrize("number", range(len(FAILURES[True])))
def test_failed_init_is_that_of_an_ordinary_start(api, either, number):
    failures = FAILURES[either.is_node]
    if number >= len(failures):
        return
    code, requests, _, _ = compare(either, observe_end(api), *failures[number])
    assert code != 0 and len(requests) <= 1
    for _, path, _, _ in requests:
        assert path == f"{PREFIX}/init/error"


@pytest.mark.parametrize(
    "code",
    [
        "exports.handler = async () => { setTimeout(() => { throw new Error('x') }); await new Promise((r) => setTimeout(r, 5000)); }",
        "exports.handler = async () => { Promise.reject(new Error('x')); }",
        "exports.handler = () => new Promise(() => {})",
    ],
)
def test_uncaught_errors_of_an_invocation(api, node_runtime, code):
    def observe(client):
        api.send_event(request_id="id")
        return observe_end(api)(client)

    assert compare(node_runtime, observe, "index.handler", {"index.js": code})[0] in (13, 128, 129)


# -- random numbers

RANDOM = {
    True: (
        "index.handler",
        {
            "index.mjs": """
            import crypto from 'crypto'; import { Worker } from 'worker_threads';
            const first = [Math.random(), Math.random()];
            const ask = () => new Promise((resolve) => {
                new Worker('require("worker_threads").parentPort.postMessage(Math.random())', { eval: true }).on('message', resolve);
            });
            export const handler = async (event) => ({
                seeded: [...first, ...Array.from({ length: 100 }, Math.random)],
                free: [crypto.randomUUID(), crypto.randomBytes(8).toString('hex'), crypto.randomInt(2 ** 40), await ask(), await ask()],
            });"""
        },
    ),
    False: (
        "app.handler",
        {
            "app.py": "import os, random, secrets, ssl, tempfile, uuid\nfirst = random.random()\n"
            "def handler(event, context):\n"
            "    free = [str(uuid.uuid4()), secrets.token_hex(8), os.urandom(8).hex(), ssl.RAND_bytes(8).hex(), tempfile.mktemp()]\n"
            "    return {'seeded': [first, random.random(), random.getrandbits(64)], 'free': free}\n"
        },
    ),
}


def test_random_numbers(api, runtime):
    answers = []
    for seed in (SEED, SEED, "fedcba9876543210" * 4, "0" * 64):
        client = runtime.clone(*RANDOM[runtime.is_node], seed=seed)
        answers.append(body(api.invoke()))
        dismiss(api, client)
    assert answers[0]["seeded"] == answers[1]["seeded"]
    assert len({tuple(answer["seeded"]) for answer in answers}) == 3
    values = [value for answer in answers for value in answer["free"]]
    assert len(set(values)) == len(values)


CONTEXTS = """
    import vm, { createContext, runInContext, Script } from 'vm';
    const early = createContext({}, { name: 'early' }); const [used, own] = [{}, { Math: 1 }];
    const draw = (context) => runInContext('[Math.random(), Math.random()]', context);
    const ways = {
        created: () => draw(createContext()), named: () => draw(createContext({ a: 1 }, { name: 'x', codeGeneration: { strings: false } })),
        one_line: () => vm.runInNewContext('[Math.random(), a]', { a: 2 }), script: () => new Script('[Math.random()]').runInNewContext(),
        early: () => draw(early), twice: () => draw(createContext(used)), again: () => draw(createContext(used)),
        function: () => vm.runInNewContext('f()', { f: () => [3] }, 'name.js'), own: () => [createContext(own).Math === 1],
    };
    export const handler = async () => Object.fromEntries(Object.entries(ways).map(([name, way]) => [name, way()]));
"""


def test_further_contexts_have_random_numbers_of_their_own(api, either):
    if not either.is_node:
        return
    answers = []
    for seed in (SEED, SEED, SEED[::-1]):
        client = either.clone("index.handler", {"index.mjs": CONTEXTS}, seed=seed)
        answers.append(body(api.invoke()))
        dismiss(api, client)
    assert answers[0] == answers[1]
    assert answers[0].pop("function") == [3] and answers[0].pop("own") == [True]
    numbers = [value for answer in (answers[0], answers[2]) for way in answer.values() for value in way if isinstance(value, float)]
    assert len(numbers) == len(set(numbers)) == 2 * 12


# -- Python modules that the template has loaded already


@pytest.mark.parametrize("name", ["json", "logging", "decimal", "email"])
def test_module_of_the_function_wins_over_one_of_the_same_name(api, python_runtime, name):
    files = {
        f"{name}.py": "mine = True\n",
        "app.py": f"import {name}, sys\ndef handler(event, context): return [{name}.mine, {name}.__file__, 'ssl' in sys.modules]\n",
    }
    value = compare(python_runtime, lambda client: body(api.invoke()), "app.handler", files)
    assert value == [True, f"{python_runtime.root}/{name}.py", False]


def test_template_does_not_shadow_a_package_of_the_function(api, python_runtime):
    files = {"colors/__init__.py": "x = 1", "app.py": "import colors\ndef handler(event, context): return colors.x"}
    python_runtime.clone("app.handler", files)
    assert body(api.invoke()) == 1
