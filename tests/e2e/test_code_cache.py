"""What Node has compiled of a function's code: made by its first environment, used by later ones, and by nobody else."""

import os
import time

import pytest
from harness import wait

BIG = "".join(f"exports.f{i} = function () {{ return {i} + 'padding'.length; }};\n" for i in range(2000))
FILES = {
    "index.js": """
        const big = require('./big'); const dep = require('dep');
        exports.handler = async (event) => ({ word: 'WORD', big: big.f7(), dep: dep(), pid: process.pid,
            env: Object.keys(process.env).filter((name) => name.startsWith('IRORI')),
            seen: require('fs').readdirSync('/var/runtime/code-cache') });
    """,
    "big.js": BIG,
    "node_modules/dep/package.json": '{"main": "main.js"}',
    "node_modules/dep/main.js": "module.exports = () => 'dep';",
}
IDLE = ("--idle-timeout-ms", "1500", "--freeze-after-ms", "50")
KINDS = {"clones": (), "ordinary starts": ("--templates=false",)}


def files_of(word):
    return {**FILES, "index.js": FILES["index.js"].replace("WORD", word)}


def counts(server):
    return server.irori_json("ps", "--templates")["codeCache"]


def folder(server):
    return server.data / "code-cache"


def cold(server, function, **more):
    """A call that finds no environment."""
    wait.until(lambda: not server.environments(), 20, "environments to end")
    return function.call(**more)


def made(server, function, count=1):
    answer = cold(server, function)
    wait.until(lambda: counts(server)["made"] == count, 20, "the code cache to be made")
    return answer


@pytest.fixture(params=KINDS)
def server_and_function(request, own_server):
    server = own_server(*IDLE, *KINDS[request.param])
    function = server.deploy(FILES, "nodejs20.x", "index.handler")
    if request.param == "clones":
        wait.until(lambda: server.irori_json("ps", "--templates")["templates"][0]["state"] == "ready", 30, "the template")
    return server, function


def test_the_second_cold_start_uses_what_the_first_has_made(server_and_function):
    server, function = server_and_function
    first = made(server, function)
    assert counts(server)["used"] == 0
    second = cold(server, function)
    assert counts(server)["used"] == 1 and counts(server)["spoiled"] == 0
    assert first["seen"] == ["README"] and second["seen"] == ["modules"]
    for answer in (first, second):
        assert (answer["word"], answer["big"], answer["dep"], answer["env"]) == ("WORD", 14, "dep", [])
    other = server.deploy(FILES, "nodejs20.x", "index.handler")
    assert other.call()["seen"] == ["README"]  # the same code, another function


def test_new_code_has_a_new_one_and_a_deleted_function_none(server_and_function):
    server, function = server_and_function
    made(server, function)
    (before,) = os.listdir(folder(server))
    function.update_code(files_of("other"))
    answer = made(server, function, 2)
    assert answer["word"] == "other" and answer["seen"] == ["README"]
    assert cold(server, function)["word"] == "other"
    assert before not in os.listdir(folder(server)) and len(os.listdir(folder(server))) == 1
    function.delete()
    wait.until(lambda: os.listdir(folder(server)) == [], 10, "the code cache to go")


def test_it_is_kept_over_a_restart(server_and_function):
    server, function = server_and_function
    made(server, function)
    server.stop()
    server.start()
    server.wait_ready()
    assert function.call()["seen"] == ["modules"]
    assert counts(server)["used"] == 1


@pytest.mark.parametrize("damage", ["cut", "changed", "noise", "empty"])
def test_a_damaged_one_is_not_used_and_made_anew(own_server, damage):
    server = own_server(*IDLE)
    function = server.deploy(FILES, "nodejs20.x", "index.handler")
    made(server, function)
    (name,) = os.listdir(folder(server))
    file = folder(server) / name / "modules"
    whole = file.read_bytes()
    file.write_bytes({
        "cut": whole[: len(whole) // 2],
        "changed": whole[: len(whole) // 3] + bytes(b ^ 0x55 for b in whole[len(whole) // 3 :]),
        "noise": os.urandom(len(whole)),
        "empty": b"",
    }[damage])
    answer = cold(server, function)
    assert (answer["word"], answer["big"], answer["dep"]) == ("WORD", 14, "dep")
    assert counts(server)["spoiled"] == 1
    made(server, function, 2)
    assert cold(server, function)["big"] == 14
    assert counts(server)["used"] == 1


def test_a_function_that_sends_rubbish_harms_itself_only(own_server):
    """Right in form, wrong in code: the runtime may crash over it, and then the file is gone."""
    server = own_server(*IDLE)
    evil = server.deploy({**FILES, "index.js": """
        require('./big');
        const v8 = require('v8'); const zlib = require('zlib'); const http = require('http');
        const name = require('fs').readdirSync('/var/runtime/code-cache')[0];
        exports.handler = async () => {
            const source = require('fs').readFileSync(__filename);
            const { length } = source; const data = Buffer.alloc(4096, 0x41);
            const padded = (count) => (count + 7) & ~7;
            const part = Buffer.alloc(padded(length) + 4096); source.copy(part); data.copy(part, padded(length));
            const stamp = `${process.version} ${process.arch} ${v8.cachedDataVersionTag()}`;
            const index = Buffer.from(JSON.stringify({ stamp, resolved: [], files: [['index.js', 1, length, 4096, zlib.crc32(part)]] }));
            const head = Buffer.alloc(16 + padded(index.length)); head.write('IRORICC1'); head.writeUInt32LE(index.length, 8);
            head.writeUInt32LE(zlib.crc32(index), 12); index.copy(head, 16);
            const status = await new Promise((done) => http.request({ host: '127.0.0.1', port: 9001, method: 'PUT',
                path: '/irori/code-cache' }, (answer) => done(answer.statusCode)).end(Buffer.concat([head, part])));
            return { status, name };
        };
    """}, "nodejs20.x", "index.handler")
    good = server.deploy(FILES, "nodejs20.x", "index.handler")
    assert evil.call() == {"status": 202, "name": "README"}
    made(server, good, 2)
    for _ in range(3):
        assert cold(server, evil)["status"] in (202, 404)
        assert good.call()["big"] == 14
    assert counts(server)["files"] >= 1


def test_own_settings_of_node_win(own_server):
    server = own_server(*IDLE)
    for name, value in {"NODE_OPTIONS": "--enable-source-maps", "NODE_COMPILE_CACHE": "/tmp/mine"}.items():
        function = server.deploy(FILES, "nodejs20.x", "index.handler", Environment={"Variables": {name: value}})
        assert cold(server, function)["seen"] == ["README"]
    time.sleep(1)
    assert counts(server)["made"] == 0


def test_it_can_be_switched_off(own_server):
    server = own_server(*IDLE, "--code-cache-max-mb", "0")
    function = server.deploy(FILES, "nodejs20.x", "index.handler")
    for _ in range(2):
        assert cold(server, function)["seen"] == ["README"]
    assert counts(server)["files"] == 0
