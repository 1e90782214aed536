"""The code cache of the Node client: what it makes, what it does with one, and that nobody sees a difference."""

import json
import re
import struct
import time
import zlib

import pytest
from templates import dismiss

PADDING = "".join(f"exports.f{i} = function () {{ return {i} + 'padding'.length; }};\n" for i in range(900))
EXPRESS_LIKE = {
    "index.js": """
        const dep = require('dep'); const helper = require('./lib/helper'); const big = require('./big');
        exports.handler = async (event) => ({ dep: dep.name, helper: helper(event.n), big: big.f7(), late: require('./late') });
    """,
    "lib/helper.js": "module.exports = (n) => n * 2; // ü and more: \u4e2d",
    "big.js": PADDING,
    "late.js": "module.exports = 'late';",
    "node_modules/dep/package.json": json.dumps({"exports": {"require": "./main.cjs", "import": "./main.mjs"}}),
    "node_modules/dep/main.cjs": "exports.name = 'dep of ' + require.main.constructor.name + module.parent.children.length;",
    "node_modules/dep/main.mjs": "throw new Error('no');",
}


@pytest.fixture
def cached(node, api, tmp_path):
    """cached(handler, files): (what a start that makes the cache answers, what one that uses it answers, what that one noted)."""

    def run(handler, files, env=None, event=b'{"n": 21}', spoil=lambda body: body, env_later=None):
        if run.client:
            dismiss(api, run.client)
        client = node(handler, files, {"IRORI_CODE_CACHE": "make", **(env or {})})
        first = json.loads(api.invoke(event).body)
        upload = api.wait_request()
        assert (upload.method, upload.path) == ("PUT", "/irori/code-cache")
        dismiss(api, client)
        (tmp_path / "cache.bin").write_bytes(spoil(upload.body))
        api.blocks.clear()
        client = node(handler, {}, {"IRORI_CODE_CACHE": str(tmp_path / "cache.bin"), **(env or {}), **(env_later or {})})
        second = json.loads(api.invoke(event).body)
        note = re.search(rb"Irori-Code-Cache: (.*?)\r\n", b"".join(api.blocks))
        run.body = upload.body
        run.client = client
        return first, second, note.group(1).decode() if note else None

    run.client = None
    return run


def index_of(body):
    assert body[:8] == b"IRORICC1"
    length, crc = struct.unpack_from("<II", body, 8)
    assert zlib.crc32(body[16 : 16 + length]) == crc
    return json.loads(body[16 : 16 + length])


@pytest.fixture(autouse=True)
def _has_one(node):
    if node.major < 20:
        pytest.skip("no code cache before Node 20")


def test_a_start_with_a_cache_answers_as_the_one_that_made_it(cached):
    first, second, note = cached("index.handler", EXPRESS_LIKE)
    assert first == second
    assert first["helper"] == 42 and first["big"] == 14 and first["dep"] == "dep of Module1"
    assert note == "used 4"  # the fifth is loaded by the handler
    index = index_of(cached.body)
    assert {row[0] for row in index["files"]} == {"index.js", "lib/helper.js", "big.js", "late.js", "node_modules/dep/main.cjs"}


def test_es_modules_are_left_to_node_and_what_they_import_is_not(cached):
    files = {**EXPRESS_LIKE, "index.mjs": "import big from './big.js'; export const handler = async () => big.f3();"}
    del files["index.js"]
    assert cached("index.handler", files) == (10, 10, "used 1")


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("empty", lambda body: b""),
        ("cut in the index", lambda body: body[:100]),
        ("cut in the middle", lambda body: body[: len(body) // 2]),
        ("another format", lambda body: b"IRORICC2" + body[8:]),
        ("a changed index", lambda body: body[:20] + b"X" + body[21:]),
        ("changed code", lambda body: body[:-1000] + bytes(byte ^ 0x55 for byte in body[-1000:])),
        ("noise", lambda body: body[:8] + b"\xff" * 64),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_damaged_is_compiled_anew(cached, what, spoil):
    first, second, note = cached("index.handler", EXPRESS_LIKE, spoil=spoil)
    assert first == second
    assert note == "unusable"


def test_a_cache_of_another_node_is_not_used(cached):
    def spoil(body):
        length = struct.unpack_from("<I", body, 8)[0]
        text = body[16 : 16 + length].replace(b'"stamp":"v', b'"stamp":"w')
        return body[:8] + struct.pack("<II", length, zlib.crc32(text)) + text + body[16 + length :]

    assert cached("index.handler", EXPRESS_LIKE, spoil=spoil)[2] == "unusable"


def test_small_functions_have_none(node, api):
    node("index.handler", {"index.js": "exports.handler = async () => 1;"}, {"IRORI_CODE_CACHE": "make"})
    assert api.invoke().body == b"1"
    assert api.wait_request().body == b""


def test_the_function_sees_nothing_of_it(cached):
    files = {
        "big.js": PADDING,
        "seen.js": """
            const Module = require('module');
            exports.seen = () => ({
                env: Object.keys(process.env).filter((name) => name.includes('CACHE')), globals: Object.keys(globalThis),
                main: require.main.filename.endsWith('bootstrap.cjs'), keys: Object.keys(require), resolve: Object.keys(require.resolve),
                names: [require.name, require.length, require.resolve.name, require.resolve.paths('./x'), require.resolve('./big')],
                paths: require.resolve.paths('x').length, cache: require.cache === Module._cache, args: arguments.length, same: this === exports,
                module: [module.id, module.loaded, module.children.map((child) => child.id), typeof module.parent],
            });
        """,
        "index.js": """
            require('./big');
            const { seen } = require('./seen');
            exports.handler = async () => ({
                ...seen(), meta: await import('./meta.mjs').then((meta) => [meta.url.endsWith('/meta.mjs'), meta.name]),
            });
        """,
        "meta.mjs": "export const url = import.meta.url; export { name } from './x.cjs';",
        "x.cjs": "exports.name = 'x';",
    }
    first, second, note = cached("index.handler", files)
    assert first == second and note == "used 2"  # not the one that imports
    assert first["env"] == [] and first["main"] and first["meta"] == [True, "x"]
    assert first["keys"] == ["resolve", "main", "extensions", "cache"]


def test_as_without_a_cache(cached, node, api):
    """Errors and their places, on the first line, too; names that are not there; JSON; hooks of packages."""
    files = {
        "big.js": PADDING,
        "first.js": "module.exports = () => { throw new Error('first line') };\n",
        "bad.js": "let a = ;",
        "tail.js": "}); (function () {",
        "data.json": '{"a": 1}',
        "esm.mjs": "export default 1;",
        "index.js": """
            require('./big');
            const trace = (act) => { try { return act(); } catch (error) { return [error.name, error.code, error.message,
                error.stack.split('\\n').filter((line) => line.includes('.js:') && !line.includes('/var/runtime') &&
                !line.includes('node:') && !line.includes('code_cache')).slice(0, 1)]; } };
            const results = [trace(require('./first')), trace(() => require('./bad')), trace(() => require('./none')),
                trace(() => require('none')), trace(() => require('./data.json')), trace(() => require('./tail')),
                trace(() => require('./data.json'))];
            exports.handler = async () => results;
        """,
    }
    client = node("index.handler", files)
    plain = json.loads(api.invoke(b"{}").body)
    dismiss(api, client)
    first, second, _ = cached("index.handler", files)
    assert plain[5][0] == "SyntaxError"
    assert first == plain
    assert second == plain


def test_hooks_of_packages_work(cached):
    """As pirates and ts-node compile: another text for the same file, and names that only they know."""
    files = {
        "big.js": PADDING,
        "turned.js": "module.exports = 'AAAA';",
        "typed.ts2": "module.exports = 'typed';",
        "index.js": """
            const Module = require('module');
            require('./big');
            const before = Module._extensions['.js'];
            Module._extensions['.js'] = (module, filename) => {
                const compile = module._compile;
                module._compile = function (code, name) {
                    module._compile = compile;
                    module._compile(code.replace('AAAA', process.env.TURNED), name);
                };
                before(module, filename);
            };
            Module._extensions['.ts2'] = (module, filename) => module._compile(require('fs').readFileSync(filename, 'utf8'), filename);
            const resolve = Module._resolveFilename;
            Module._resolveFilename = (request, ...rest) => resolve(request === '@alias' ? './big' : request, ...rest);
            const results = [require('./turned'), require('./typed'), require('@alias').f1()];
            exports.handler = async () => results;
        """,
    }
    assert cached("index.handler", files, {"TURNED": "BBBB"})[:2] == (["BBBB", "typed", 8],) * 2
    # What was kept is the text of the file, of the same length.
    assert cached("index.handler", files, {"TURNED": "AAAA"}, env_later={"TURNED": "BBBB"})[1] == ["BBBB", "typed", 8]
    assert "turned.js" in {row[0] for row in index_of(cached.body)["files"]}


def test_other_text_of_the_same_length_is_not_taken_for_the_file(cached):
    files = {
        "big.js": PADDING,
        "index.js": """
            const big = require('./big');
            const Module = require('module');
            const other = new Module(__dirname + '/x.js', module);
            other._compile("module.exports = '" + process.env.WORD + "';", __dirname + '/x.js');
            exports.handler = async () => [other.exports, big.f1()];
        """,
        "x.js": "module.exports = 'AAAA';",
    }
    assert cached("index.handler", files, {"WORD": "AAAA"}, env_later={"WORD": "BBBB"})[:2] == (["AAAA", 8], ["BBBB", 8])
    assert "x.js" in {row[0] for row in index_of(cached.body)["files"]}


def test_it_is_made_while_nobody_waits(node, api):
    slow = "exports.handler = async (event) => { await new Promise((done) => setTimeout(done, event.ms)); return 1; };"
    node("index.handler", {"index.js": f"require('./big'); {slow}", "big.js": PADDING}, {"IRORI_CODE_CACHE": "make"})
    first = api.send_event({"ms": 0})
    second = api.send_event({"ms": 400})
    assert first in api.wait_request().path
    begun = time.monotonic()
    assert second in api.wait_request().path  # the cache did not come in between
    assert time.monotonic() - begun > 0.3
    assert api.wait_request().path == "/irori/code-cache"


def test_a_clone_uses_what_an_ordinary_start_has_made_and_the_other_way_round(node_runtime, api, tmp_path):
    first = node_runtime.ordinary("index.handler", EXPRESS_LIKE, {"IRORI_CODE_CACHE": "make"})
    expected = api.invoke(b'{"n": 4}').body
    made = api.wait_request()
    dismiss(api, first)
    for make_client in (node_runtime.clone, node_runtime.ordinary):
        (tmp_path / "cache.bin").write_bytes(made.body)
        api.blocks.clear()
        client = make_client("index.handler", EXPRESS_LIKE, {"IRORI_CODE_CACHE": str(tmp_path / "cache.bin")})
        assert api.invoke(b'{"n": 4}').body == expected
        assert b"Irori-Code-Cache: used 4\r\n" in b"".join(api.blocks)
        dismiss(api, client)
        client = node_runtime.clone("index.handler", EXPRESS_LIKE, {"IRORI_CODE_CACHE": "make"})
        assert api.invoke(b'{"n": 4}').body == expected
        made = api.wait_request()
        dismiss(api, client)
