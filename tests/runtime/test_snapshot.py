"""SnapStart: hooks, `restore/next`, and the template of a function, which waits there to be copied."""

import http.server
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from conftest import ROOT
from runtime_api import PREFIX
from templates import SEED, SNAP_START, body, dismiss, threads, ticks

OTHER_SEED = "fedcba9876543210" * 4


def function_of(runtime, node, python):
    return ("index.handler", {"index.mjs": node}) if runtime.is_node else ("app.handler", {"app.py": python})


def link_modules(runtime):
    """As in the sandbox, where a folder above the function's leads to the client's."""
    if runtime.is_node:
        (runtime.root / "node_modules").symlink_to(ROOT / "runtimes/node")


def drain(queue):
    return [queue.get_nowait() for _ in range(queue.qsize())]


# -- hooks

HOOKS = (
    """
    import { registerAfterRestore, registerBeforeSnapshot } from 'snapshot-restore-js';
    import { createRequire } from 'module';
    const calls = [];
    const note = (...params) => { calls.push(params); };
    registerBeforeSnapshot(note, 'b1');
    if (createRequire(import.meta.url)('snapshot-restore-js').registerBeforeSnapshot(note, 'b2', 2) !== note) throw new Error('other');
    registerBeforeSnapshot(async () => { await new Promise((resolve) => setTimeout(resolve, 5)); note('b3'); });
    registerAfterRestore(async () => { await null; note('a1'); });
    registerAfterRestore(note, 'a2', { a: 2 });
    export const handler = async () => calls;
    """,
    """
from snapshot_restore_py import register_after_restore, register_before_snapshot
calls = []
def note(*args, **kwargs): calls.append([*args, *([kwargs] if kwargs else [])])
register_before_snapshot(note, 'b1')
if register_before_snapshot(note, 'b2', 2) is not note: raise RuntimeError('other')
@register_before_snapshot
def third(): note('b3')
@register_after_restore
def first(): note('a1')
register_after_restore(note, 'a2', a=2)
def handler(event, context): return calls
""",
)
CALLS = [["b3"], ["b2", 2], ["b1"], ["a1"], ["a2", {"a": 2}]]


def test_hooks_in_an_ordinary_start(api, runtime):
    link_modules(runtime)
    runtime.ordinary(*function_of(runtime, *HOOKS), SNAP_START)
    api.wait_restore()
    assert body(api.invoke()) == CALLS
    assert api.connections == 1


def test_hooks_of_a_template(api, runtime):
    link_modules(runtime)
    client = runtime.function_clone(*function_of(runtime, *HOOKS))
    assert body(api.invoke()) == CALLS
    assert api.connections == 1
    assert client.output == {"stdout": b"", "stderr": b""}


def test_no_restore_is_asked_for_without_snapstart(api, runtime):
    link_modules(runtime)
    runtime.ordinary(*function_of(runtime, *HOOKS))
    assert body(api.invoke()) == []
    assert not api.restore_asked.acquire(blocking=False)


def failing_hook(runtime, name):
    js = {"before_snapshot": "registerBeforeSnapshot", "after_restore": "registerAfterRestore"}[name]
    return function_of(
        runtime,
        f"""import {{ {js} }} from 'snapshot-restore-js';
        {js}(() => {{ throw new RangeError('no ü'); }}); export const handler = async () => 1;""",
        f"import snapshot_restore_py\nsnapshot_restore_py.register_{name}(lambda: 1 / 0)\ndef handler(event, context): return 1\n",
    )


@pytest.mark.parametrize("template", [False, True], ids=["ordinary", "template"])
@pytest.mark.parametrize(
    "hook, path, kind, code",
    [
        ("before_snapshot", "/init/error", "Runtime.BeforeSnapshotError", 64),
        ("after_restore", "/restore/error", "Runtime.AfterRestoreError", 65),
    ],
)
def test_hook_that_raises(api, runtime, template, hook, path, kind, code):
    link_modules(runtime)
    if template:
        client = runtime.function_clone(*failing_hook(runtime, hook))
    else:
        client = runtime.ordinary(*failing_hook(runtime, hook), SNAP_START)
    assert client.wait_exit() == code
    posts = drain(api.requests)
    assert [(post.path, post.headers["lambda-runtime-function-error-type"]) for post in posts] == [(PREFIX + path, kind)]
    payload = json.loads(posts[0].body)
    if runtime.is_node:
        assert (payload["errorType"], payload["errorMessage"]) == ("RangeError", "no ü")
        assert payload["trace"][0] == "RangeError: no ü" and set(payload) == {"errorType", "errorMessage", "trace"}
    else:
        assert (payload["errorType"], payload["errorMessage"]) == ("ZeroDivisionError", "division by zero")
        assert set(payload) == {"errorType", "errorMessage", "requestId", "stackTrace"} and len(payload["stackTrace"]) == 1
    assert payload["errorType"] in client.stdout


def test_exception_that_nobody_catches_during_the_restore(api, node_runtime):
    link_modules(node_runtime)
    code = """import { registerAfterRestore } from 'snapshot-restore-js';
        registerAfterRestore(() => new Promise(() => setTimeout(() => { throw new RangeError('late'); })));
        export const handler = async () => 1;"""
    client = node_runtime.function_clone("index.handler", {"index.mjs": code})
    post = api.wait_request()
    assert (post.path, json.loads(post.body)["errorMessage"]) == (f"{PREFIX}/restore/error", "late")
    assert client.wait_exit() == 129


@pytest.mark.parametrize("status", [403, 500])
def test_restore_that_is_refused(api, runtime, status):
    api.hold_restore()
    api.send_restore(status=status)
    client = runtime.ordinary(*function_of(runtime, *PLAIN), SNAP_START)
    assert client.wait_exit() == 64
    assert f"restore/next answered {status}" in client.stdout + client.stderr


# -- the template of a function

PLAIN = (
    "export const handler = async (event) => [event, process.env.IRORI_TEMPLATE ?? null];",
    "import os\ndef handler(event, context): return [event, os.environ.get('IRORI_TEMPLATE')]\n",
)


def test_waiting_template_is_quiet(api, runtime):
    client = runtime.function_template(*function_of(runtime, *PLAIN))
    pid = client.process.pid
    time.sleep(0.2)
    before = ticks(pid)
    time.sleep(0.5)
    assert ticks(pid) == before
    assert api.blocks == [f"GET {PREFIX}/restore/next HTTP/1.1\r\nHost: {api.address}\r\n\r\n".encode()]
    assert os.listdir(runtime.root / "tmp") == []
    calls = threads(pid)
    assert all(call[0] != "running" for call in calls)
    if not runtime.is_node:
        assert len(calls) == 1
    elif os.uname().machine == "x86_64":  # no timer is pending
        assert calls[0][0] in ("232", "281") and calls[0][4] == "0xffffffff"
    folder = f"/proc/{pid}/fd"
    opened = [os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)]
    others = [name for name in opened if not re.fullmatch(r"pipe:\[\d+\]|anon_inode:\[(eventpoll|eventfd|io_uring)\]|/dev/null", name)]
    assert len(others) == 1 and others[0].startswith("socket:"), opened
    runtime.wake_function()
    for number in range(3):
        assert body(api.invoke({"n": number})) == [{"n": number}, None]
    assert api.connections == 1 and client.output == {"stdout": b"", "stderr": b""}


def test_answer_without_a_wake_up_means_going_on(api, runtime):
    runtime.function_template(*function_of(runtime, *PLAIN))
    api.send_restore()
    assert body(api.invoke({"n": 1})) == [{"n": 1}, None]


def test_variables_are_set_and_none_removed(api, runtime):
    functions = (
        "export const handler = async (event, context) => [process.env.GIVEN, process.env.KEPT, context.logStreamName];",
        "import os\ndef handler(event, context): return [os.environ['GIVEN'], os.environ['KEPT'], context.log_stream_name]\n",
    )
    runtime.function_template(*function_of(runtime, *functions), {"KEPT": "kept", "GIVEN": "old"})
    runtime.wake_function(env={"GIVEN": "new ü", "AWS_LAMBDA_LOG_STREAM_NAME": "of/this/clone"})
    assert body(api.invoke()) == ["new ü", "kept", "of/this/clone"]


IDENTITY = (
    """
    import fs from 'fs';
    export const handler = async () => [process.pid === Number(fs.readlinkSync('/proc/self')), process.uptime() < 1];
    setTimeout(() => {}, 1200); await new Promise((resolve) => setTimeout(resolve, 1200));
    """,
    "import os, threading\ndef handler(event, context): return [threading.main_thread().native_id == os.getpid(), True]\n",
)


def test_identity(api, runtime):
    runtime.function_clone(*function_of(runtime, *IDENTITY))
    assert body(api.invoke()) == [True, True]


# -- connections from before the snapshot

POOL = (
    """
    import net from 'net'; import { registerAfterRestore } from 'snapshot-restore-js';
    const [port, seen] = [Number(process.env.PEER), []];
    const socket = net.connect(port, '127.0.0.1');
    await new Promise((resolve) => socket.once('connect', resolve));
    socket.on('end', () => seen.push('end')).on('close', () => setImmediate(() => seen.push('replaced')));
    registerAfterRestore(() => { seen.push('hook'); });
    export const handler = async () => seen;
    """,
    """
import asyncio, os
from snapshot_restore_py import register_after_restore
seen = []
event_loop = asyncio.new_event_loop()
class Peer(asyncio.Protocol):
    def connection_lost(self, error): seen.append('lost')
event_loop.run_until_complete(event_loop.create_connection(Peer, '127.0.0.1', int(os.environ['PEER'])))
register_after_restore(seen.append, 'hook')
def handler(event, context): return seen
""",
)


def test_owner_of_a_dead_socket_knows_of_it_before_the_first_event(api, runtime):
    link_modules(runtime)
    with socket.create_server(("127.0.0.1", 0)) as peer:
        env = {"PEER": str(peer.getsockname()[1])}
        client = runtime.function_template(*function_of(runtime, *POOL), env)
        connection, _ = peer.accept()
        client.process.send_signal(signal.SIGSTOP)  # what comes while it is stopped, it finds when it wakes up
        connection.close()
        runtime.wake_function()
        time.sleep(0.05)
        client.process.send_signal(signal.SIGCONT)
        assert body(api.invoke()) == (["end", "replaced", "hook"] if runtime.is_node else ["lost", "hook"])


CLIENTS = """
    import http from 'http';
    const [url, agent] = [process.env.PEER, new http.Agent({ keepAlive: true })];
    const by_agent = () => new Promise((resolve, reject) => {
        http.get(url, { agent }, (answer) => answer.resume().on('end', () => resolve(answer.statusCode))).on('error', reject);
    });
    const by_fetch = async () => { const answer = await fetch(url); await answer.text(); return answer.status; };
    export const handler = async () => [await by_agent(), await by_fetch()];
    await handler();
    if (Object.keys(agent.freeSockets).length !== 1) throw new Error('not kept alive');
"""


class KeptAlive(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.kept.append(self.connection)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *params):
        pass


def test_clients_that_keep_connections_make_new_ones(api, node_runtime):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), KeptAlive) as peer:
        peer.kept = []
        threading.Thread(target=peer.serve_forever, daemon=True).start()
        client = node_runtime.function_template("index.handler", {"index.mjs": CLIENTS}, {"PEER": f"http://127.0.0.1:{peer.server_port}"})
        client.process.send_signal(signal.SIGSTOP)
        for connection in peer.kept:
            connection.shutdown(socket.SHUT_RDWR)
        api.send_event()
        node_runtime.wake_function()
        time.sleep(0.05)
        client.process.send_signal(signal.SIGCONT)
        assert body(api.wait_request()) == [200, 200]
        peer.shutdown()


HEAP = """
    let waste = []; for (let n = 0; n < 60; n++) waste.push(new Array(2 ** 17).fill(n).map((x) => ({ x })));
    waste = []; for (let n = 0; n < 100; n++) waste.push('x'.repeat(n) + JSON.stringify(process.env)); const kept = waste.length;
    export const handler = async () => kept;
"""


def test_no_collection_is_due_after_an_init_that_used_much_memory(api, node_runtime):
    client = node_runtime.function_template("index.handler", {"index.mjs": HEAP}, {"NODE_OPTIONS": "--max-old-space-size=1024"})
    time.sleep(0.2)
    before = ticks(client.process.pid)
    calls = threads(client.process.pid)
    assert os.uname().machine != "x86_64" or calls[0][0] in ("232", "281") and calls[0][4] == "0xffffffff"
    time.sleep(1)
    assert ticks(client.process.pid) == before


# -- random numbers

RANDOM = (
    """
    import crypto, { randomInt, randomUUID } from 'crypto'; import { Worker } from 'worker_threads';
    const { random } = Math; // as user modules take it during INIT
    const uuid_of_web = crypto.webcrypto.randomUUID.bind(crypto.webcrypto);
    const init = [random(), Math.random(), randomUUID(), uuid_of_web(), randomInt(2 ** 40)];
    const ask = () => new Promise((resolve) => {
        new Worker('require("worker_threads").parentPort.postMessage(Math.random())', { eval: true }).on('message', resolve);
    });
    export const handler = async () => ({
        init, seeded: [...Array.from({ length: 50 }, random), ...Array.from({ length: 50 }, () => Math.random())],
        free: [...Array.from({ length: 150 }, () => randomUUID()), ...Array.from({ length: 150 }, () => crypto.randomUUID()),
            ...Array.from({ length: 10 }, uuid_of_web), ...Array.from({ length: 1500 }, () => randomInt(2 ** 47)),
            crypto.randomInt(2 ** 47), crypto.randomUUID({ disableEntropyCache: true }), crypto.randomBytes(8).toString('hex'),
            await new Promise((resolve, reject) => crypto.randomInt(2 ** 47, (error, value) => error ? reject(error) : resolve(value))),
            await ask(), await ask()],
    });
    """,
    """
import os, random, secrets, ssl, tempfile, uuid
from random import random as taken
init = [random.random(), taken(), str(uuid.uuid4()), secrets.token_hex(8), tempfile.mktemp()]
def handler(event, context):
    free = [str(uuid.uuid4()), secrets.token_hex(8), os.urandom(8).hex(), ssl.RAND_bytes(8).hex(), secrets.randbelow(2 ** 60)]
    return {'init': init, 'seeded': [random.random(), taken(), random.getrandbits(64), random.sample(range(10 ** 9), 5)], 'free': free}
""",
)


def test_random_numbers(api, runtime):
    answers = []
    for seed in (SEED, SEED, OTHER_SEED, "0" * 64):
        client = runtime.function_clone(*function_of(runtime, *RANDOM), seed=seed)
        answers.append(body(api.invoke()))
        dismiss(api, client)
    assert answers[0]["seeded"] == answers[1]["seeded"]
    assert len({json.dumps(answer["seeded"]) for answer in answers}) == 3
    assert len({json.dumps(value) for answer in answers[1:] for value in answer["seeded"]}) == 3 * len(answers[0]["seeded"])
    values = [value for answer in answers for value in answer["free"] + answer["init"]]
    assert len(set(values)) == len(values)


STOCKS = """
    const crypto = require('crypto'); const drawn = { randomUUID: 0, randomInt: 0 };
    for (const name of Object.keys(drawn)) crypto[name] = () => { drawn[name]++; };
    const open = require(process.argv[1]).guard('function');
    const seen = [];
    const see = () => { seen.push([drawn.randomUUID, drawn.randomInt]); drawn.randomUUID = drawn.randomInt = 0; };
    crypto.randomInt(5); crypto.randomInt(5); see();
    open('00'); crypto.randomInt(5); crypto.randomUUID(); see();
    crypto.randomInt(5); crypto.randomUUID(); see();
    console.log(JSON.stringify(seen));
"""


def test_what_node_drew_ahead_before_the_wake_up_is_used_up(node_runtime):
    """Clones would share it: 1024 integers if there was one before the wake-up. UUIDs are left alone if there was none."""
    library = str(ROOT / "runtimes/node/lib/identity.cjs")
    answer = subprocess.run([node_runtime.argv[0], "-e", STOCKS, library], capture_output=True, check=True, timeout=20)
    assert json.loads(answer.stdout) == [[0, 2], [1, 1025], [1, 1]]


NUMPY = {
    "numpy/__init__.py": "",
    "numpy/random/__init__.py": "from .mtrand import seed",
    "numpy/random/mtrand.py": "seeds = []\ndef seed(values): seeds.append(values)\n",
    "app.py": "import numpy.random\ndef handler(event, context): return numpy.random.mtrand.seeds\n",
}


def test_numpy_is_seeded(api, python_runtime):
    python_runtime.function_clone("app.handler", NUMPY)
    assert body(api.invoke()) == [[int.from_bytes(bytes.fromhex(SEED)[i : i + 4], "little") for i in range(0, 32, 4)]]


OWN_HOOKS = {
    "snapshot_restore_py.py": """
before, after = [], []
def register_before_snapshot(func, *args, **kwargs): before.append((func, args, kwargs))
def register_after_restore(func, *args, **kwargs): after.append((func, args, kwargs))
def get_before_snapshot(): return before
def get_after_restore(): return after
""",
    "app.py": """
import snapshot_restore_py
calls = []
snapshot_restore_py.register_before_snapshot(calls.append, "before")
snapshot_restore_py.register_after_restore(calls.append, "after")
def handler(event, context): return [*calls, len(snapshot_restore_py.after)]
""",
}


@pytest.mark.parametrize("template", [False, True], ids=["ordinary", "template"])
def test_function_that_brings_the_module_of_hooks(api, python_runtime, template):
    if template:
        python_runtime.function_clone("app.handler", OWN_HOOKS)
    else:
        python_runtime.ordinary("app.handler", OWN_HOOKS, SNAP_START)
    assert body(api.invoke()) == ["before", "after", 1]


@pytest.mark.parametrize("name", ["json", "random", "threading"])
def test_module_of_the_function_wins_over_one_of_the_template(api, python_runtime, name):
    files = {f"{name}.py": "mine = True\n", "app.py": f"import {name}\ndef handler(event, context): return {name}.mine\n"}
    python_runtime.function_clone("app.handler", files)
    assert body(api.invoke()) is True
