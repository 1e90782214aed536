"""The same functions through AWS's own clients: what they post is what ours must post.

awslambdaric is installed from PyPI into a folder of the test run. aws-lambda-ric is taken from npm without its native part,
whose build needs a C++ tool chain: its three calls are replaced by curl, everything that decides on payloads is the original.
Both are skipped, saying so, where a registry cannot be reached.
"""

import json
import re
import shutil
import subprocess
import tarfile
import warnings

import pytest
from conftest import NODE_CLIENT, NODES, PYTHON_CLIENT, PYTHONS
from runtime_api import Client, RuntimeApi

NODE_RIC = "aws-lambda-ric@3.3.0"
NATIVE_SHIM = """
const { execFileSync } = require('child_process'); const http = require('http');
const base = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/`;
const post = (path, body) => {
    if (typeof body !== 'string') throw new TypeError('Wrong arguments');
    execFileSync('curl', ['-s', '-o', '/dev/null', '-H', 'Content-Type: application/json', '--data-binary', '@-', base + path],
        { input: body });
};
require('module')._extensions['.node'] = (module) => { module.exports = {
    done: (id, body) => post(`${id}/response`, body),
    error: (id, body) => post(`${id}/error`, body),
    next: () => new Promise((resolve, reject) => http.get(base + 'next', (response) => {
        let bodyJson = ''; response.setEncoding('utf8').on('data', (d) => { bodyJson += d; });
        response.on('end', () => resolve({ bodyJson, headers: response.headers }));
    }).on('error', reject)),
}; };
"""


def skip(reason):
    warnings.warn(f"reference client not compared: {reason}", stacklevel=2)
    pytest.skip(reason)


def run(command, cwd):
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        skip(f"{' '.join(map(str, command))}: {error}")


@pytest.fixture(scope="session")
def aws_python(tmp_path_factory):
    """argv of AWS's client, and the interpreter it is for."""
    series = next((name for name in ("python3.11", "python3.12", "python3.13") if name in PYTHONS), None)
    if not series:
        skip("no Python that AWS's client has a wheel for")
    folder = tmp_path_factory.mktemp("awslambdaric")
    run([PYTHONS[series], "-m", "pip", "install", "-q", "--target", folder, "awslambdaric"], folder)
    return PYTHONS[series], folder


@pytest.fixture(scope="session")
def aws_node(tmp_path_factory):
    if not NODES or not shutil.which("npm") or not shutil.which("curl"):
        skip("needs node, npm and curl")
    folder = tmp_path_factory.mktemp("aws-lambda-ric")
    run(["npm", "pack", "--silent", NODE_RIC], folder)
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder)
    (folder / "package/dist/rapid-client.node").write_bytes(b"")
    (folder / "shim.cjs").write_text(NATIVE_SHIM)
    (folder / "main.mjs").write_text(
        "import { run } from './package/dist/index.mjs'; await run(process.env.LAMBDA_TASK_ROOT, process.env._HANDLER);"
    )
    node = next(NODES[name] for name in ("node20", "node22", "node18", "node24") if name in NODES)
    return node, [node, "--require", folder / "shim.cjs", folder / "main.mjs"]


def observe(argv, root, handler, events, env=None):
    """What a client posts for each event, its exit code (None: it lives on) and its output."""
    api = RuntimeApi()
    client = Client(argv, api, root, handler, env)
    posts = []
    try:
        for event in events:
            if client.process.poll() is not None:
                break
            api.send_event(event)
            post = api.wait_request()
            posts.append((post.path.rsplit("/", 2)[-2:], post.body, post.headers.get("content-type")))
        posts = [(path[-1] if path[0] != "init" else "init/error", *rest) for path, *rest in posts]
        died = posts[-1][0] == "init/error" or handler.endswith("dies")
        if died:
            code = client.wait_exit()
        else:
            for _ in range(len(posts) + 1):  # what it says of the last event is said before it asks for another one
                api.wait_next()
            code = client.process.poll()
        client.kill()
        return posts, code, client.stdout
    finally:
        client.kill()
        api.close()


PYTHON_SOURCE = """
import logging, sys, enum
from collections import OrderedDict, namedtuple
from decimal import Decimal
Point = namedtuple('Point', 'x y')
class Color(enum.Enum): RED = 1
class Level(enum.IntEnum): LOW = 1
class Name(str): pass
class Sub(dict): pass
values = [None, True, 1.5, 1e300, 10**20, -0.0, 'text \\u2028 \\x7f \\x00 \\ud800', b'bytes', b'\\xff', (1, (2,)), [], {}, {'a': {}},
    Point(1, Point(2, 3)), Decimal('1.50'), Decimal('-NaN'), Decimal('Infinity'), [Decimal('1E+2')], {Decimal(1): 2},
    OrderedDict(z=1, a=2), Sub(a=1), Name('n'), Level.LOW, Color.RED, {Level.LOW: 1}, {'x': {1, 2}}, {(1, 2): 3}, {b'k': 1},
    {1.5: 1, None: 2, True: 3}, object(), float('nan'), [float('-inf')], range(3), (x for x in [1]), iter([1]), bytearray(b'x'),
    complex(1, 2), frozenset(), Ellipsis]
def value(event, context): return values[event]
def fails(event, context): raise [ValueError('two\\nlines'), KeyError('k'), Exception(), UnicodeError('\\u00fc')][event]
def logs(event, context):
    logging.getLogger().setLevel('INFO'); logging.info('text %s', 1); print('printed', 2); context.log('logged\\n'); return repr(context.identity)
def not_json(event, context): return event
"""


@pytest.mark.parametrize("name, count", [("value", 39), ("fails", 4), ("logs", 1)])
@pytest.mark.parametrize("series", ["3.11", "3.12"])
def test_python_posts_the_same(aws_python, tmp_path, name, count, series):
    interpreter, packages = aws_python
    (tmp_path / "app.py").write_text(PYTHON_SOURCE)
    env = {"AWS_EXECUTION_ENV": f"AWS_Lambda_python{series}", "PYTHONPATH": f"{packages}:{tmp_path}"}
    events = [str(number).encode() for number in range(count)]
    if series == "3.12":  # AWS's client dies of a lone surrogate, ours escapes it
        events = [event for event in events if (name, event) != ("value", b"6")]
    theirs = observe([interpreter, "-m", "awslambdaric", f"app.{name}"], tmp_path, f"app.{name}", events, env)
    ours = observe([interpreter, "-S", PYTHON_CLIENT], tmp_path, f"app.{name}", events, env)
    for event, expected, got in zip(events, theirs[0], ours[0]):
        assert got == (expected[0], re.sub(rb"0x[0-9a-f]+", b"0x", expected[1]), expected[2]), (event, name)
    assert len(theirs[0]) == len(ours[0]) == len(events)
    clean = [re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", output[2]) for output in (theirs, ours)]
    # On plain stdout AWS's leaves a line feed inside the message of an uncaught error.
    assert clean[0].replace("two\nlines\r", "two\rlines\r") == clean[1]


@pytest.mark.parametrize("event", [b"", b"{", b"[1,]", b'{"a" 1}', b"nul", b"\xff", b" 1", b"1 2", b'"\\ud83d\\ude00"', b"NaN"])
def test_python_reads_events_the_same(aws_python, tmp_path, event):
    interpreter, packages = aws_python
    (tmp_path / "app.py").write_text(PYTHON_SOURCE)
    env = {"PYTHONPATH": f"{packages}:{tmp_path}"}
    theirs = observe([interpreter, "-m", "awslambdaric", "app.not_json"], tmp_path, "app.not_json", [event], env)
    ours = observe([interpreter, "-S", PYTHON_CLIENT], tmp_path, "app.not_json", [event], env)
    assert ours[0][0][0] == theirs[0][0][0]
    if ours[0][0][0] == "response":
        assert ours[0] == theirs[0]
    else:
        assert json.loads(ours[0][0][1])["errorType"] == json.loads(theirs[0][0][1])["errorType"]


@pytest.mark.parametrize(
    "handler, source",
    [
        ("app.nope", ""),
        ("app.handler", "import nowhere"),
        ("app", ""),
        ("sys.x", ""),
        ("app.handler", "def f(:\n"),
        ("app.handler", "raise KeyError('x')"),
        ("app.handler", "def f():\n    raise Exception('deep')\nf()"),
    ],
)
def test_python_init_errors_are_the_same(aws_python, tmp_path, handler, source):
    interpreter, packages = aws_python
    (tmp_path / "app.py").write_text(source)
    env = {"PYTHONPATH": f"{packages}:{tmp_path}"}
    theirs = observe([interpreter, "-m", "awslambdaric", handler], tmp_path, handler, [b"1"], env)
    ours = observe([interpreter, "-S", PYTHON_CLIENT], tmp_path, handler, [b"1"], env)
    assert ours[0][0][:2] == theirs[0][0][:2]
    assert ours[1] == theirs[1] == 1
    # AWS adds a warning about updates of its own runtimes.
    assert ours[2] == "".join(line + "\n" for line in theirs[2].split("\n") if line.startswith("[ERROR]"))


NODE_SOURCE = """
class Special extends Error { constructor(m) { super(m); this.name = 'Special'; this.code = 7; } }
const cycle = {}; cycle.cycle = cycle;
const values = [undefined, null, 1.5, 'ü\\u2028', new Date(0), 10n, cycle, () => 1, Symbol('s'), [undefined, () => 1], {a: undefined},
    Buffer.from('x'), new Map([[1, 2]]), NaN, Promise.resolve(4)];
const errors = [new Special('two\\nlines'), 'text', 5, {a: 1}, undefined, null, new Error('\\x7f'), {name: 'n', message: 'm', stack: 's'}];
exports.value = async (n) => values[n];
exports.plain = (n) => values[n];
exports.callback = (n, context, callback) => callback(null, values[n]);
exports.late = (n, context, callback) => { setTimeout(callback, 5, null, values[n]) };
exports.throws = async (n) => { throw errors[n] };
exports.plain_throws = (n) => { throw errors[n] };
exports.callback_error = (n, context, callback) => callback(errors[n]);
exports.fail = (n, context) => context.fail(errors[n]);
exports.done = (n, context) => context.done(errors[n], n);
exports.context = async (n, context) => { delete context.awsRequestId; context.getRemainingTimeInMillis = 0; return context };
exports.logs = async () => { console.log('a %s', 1, {b: 2}); console.error(new Special('e').message, [1]); console.log(); return 1 };
exports.exception_dies = async () => { setTimeout(() => { throw new Special('late') }, 5); await new Promise((f) => setTimeout(f, 5000)) };
exports.rejection_dies = async () => { Promise.reject(new Special('lost')); await new Promise((f) => setTimeout(f, 5000)) };
exports.forgotten_dies = async () => { Promise.reject(new Special('lost')); return 'ok' };
"""
CASES = [
    *[(name, 15) for name in ("value", "plain")],
    *[(name, 5) for name in ("callback", "late")],
    *[(name, 8) for name in ("throws", "plain_throws", "callback_error", "fail", "done")],
    *[(name, 1) for name in ("context", "logs", "exception_dies", "rejection_dies", "forgotten_dies")],
]


def without_frames(data):
    """Stacks pass through different files of the clients."""
    value = json.loads(data)
    if isinstance(value, dict) and isinstance(value.get("trace"), list):
        value["trace"] = [line for line in value["trace"] if not line.startswith("    at ")]
    return json.dumps(value)


@pytest.mark.parametrize("name, count", CASES)
def test_node_posts_the_same(aws_node, tmp_path, name, count):
    node, argv = aws_node
    (tmp_path / "index.js").write_text(NODE_SOURCE)
    events = [str(number).encode() for number in range(count)]
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "AWS_LAMBDA_NODEJS_USE_ALTERNATIVE_CLIENT_1": "false"}
    theirs = observe(argv, tmp_path, f"index.{name}", events, env)
    ours = observe([node, NODE_CLIENT], tmp_path, f"index.{name}", events, env)
    for event, expected, got in zip(events, theirs[0], ours[0]):
        assert (got[0], without_frames(got[1])) == (expected[0], without_frames(expected[1])), (event, name)
    assert len(theirs[0]) == len(ours[0])
    assert ours[1] == theirs[1]
    if name == "logs":
        clean = [re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", output[2]) for output in (theirs, ours)]
        assert clean[0] == clean[1]


@pytest.mark.parametrize(
    "handler, files",
    [
        ("index.nope", {"index.js": ""}),
        ("index.a", {"index.js": "exports.a = 1"}),
        ("index", {"index.js": ""}),
        ("a/../index.x", {"index.js": ""}),
        ("index.handler", {"index.js": "("}),
        ("index.handler", {"index.mjs": "("}),
        ("index.handler", {"index.js": "require('nowhere')"}),
        ("index.handler", {"index.mjs": "import 'nowhere'"}),
        ("index.handler", {"index.js": "import fs from 'fs'"}),
        ("index.handler", {"index.js": "throw new RangeError('x')"}),
        ("index.handler", {"index.mjs": "throw 'text'"}),
        ("index.handler", {"index.mjs": "Promise.reject(new Error('x')); await new Promise((f) => setTimeout(f, 5000))"}),
    ],
)
def test_node_init_errors_are_the_same(aws_node, tmp_path, handler, files):
    node, argv = aws_node
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    theirs = observe(argv, tmp_path, handler, [b"1"], env)
    ours = observe([node, NODE_CLIENT], tmp_path, handler, [b"1"], env)
    assert ours[0][0][0] == theirs[0][0][0] == "init/error"
    expected, got = json.loads(theirs[0][0][1]), json.loads(ours[0][0][1])
    assert (got["errorType"], got["errorMessage"].split("\nRequire stack")[0]) == (
        expected["errorType"],
        expected["errorMessage"].split("\nRequire stack")[0],
    )
    assert ours[1] == theirs[1]
