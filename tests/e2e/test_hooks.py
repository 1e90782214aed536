"""Hooks around a snapshot, and what clones of a function's template have of their own although INIT used it."""

import os

import pytest
from harness import wait

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="templates need an x86-64 processor")

CLONES = 200
NODE = {"index.mjs": """
import crypto, { randomInt, randomUUID } from 'node:crypto'; import vm from 'node:vm';
import { registerAfterRestore, registerBeforeSnapshot } from 'snapshot-restore-js';
const { random } = Math;
const [calls, early] = [[], vm.createContext()];
random(); randomUUID(); crypto.webcrypto.randomUUID(); randomInt(5);
registerBeforeSnapshot((...params) => { calls.push(params); }, 'before');
registerAfterRestore(async (...params) => { calls.push(params); }, 'after');
const draw = (count, source) => Array.from({ length: count }, () => source());
export const handler = async () => {
  await new Promise((done) => setTimeout(done, 1000));
  return { calls, stream: process.env.AWS_LAMBDA_LOG_STREAM_NAME, env: process.env, values: [
    draw(1000, random), draw(1000, () => Math.random()), draw(1000, randomUUID), draw(1000, () => randomInt(2 ** 47)),
    draw(1000, () => crypto.randomBytes(8).toString('hex')), vm.runInContext('Array.from({ length: 1000 }, Math.random)', early),
    vm.runInNewContext('Array.from({ length: 1000 }, Math.random)')].flat() };
};
"""}
PYTHON = {"index.py": """
import os, random, secrets, ssl, time, uuid
from random import random as taken
from snapshot_restore_py import register_after_restore, register_before_snapshot
calls = []
taken(), uuid.uuid4(), secrets.token_hex(), ssl.RAND_bytes(8)
register_before_snapshot(lambda *args: calls.append(args), "before")
register_after_restore(lambda *args: calls.append(args), "after")
def draw():
    return taken(), random.random(), str(uuid.uuid4()), secrets.token_hex(8), ssl.RAND_bytes(8).hex()
def handler(event, context):
    time.sleep(1)
    return {"stream": context.log_stream_name, "calls": calls, "env": dict(os.environ), "values": [value for _ in range(1000) for value in draw()]}
"""}


@pytest.mark.parametrize("runtime, files", [("nodejs20.x", NODE), ("python3.11", PYTHON)], ids=["node", "python"])
def test_clones_share_no_random_number_and_run_their_hooks(own_server, runtime, files):
    server = own_server("--idle-timeout-ms", "400")
    function = server.deploy(files, runtime, "index.handler", MemorySize=256, Timeout=60, SnapStart={"ApplyOn": "PublishedVersions"})
    version = server.lam.publish_version(FunctionName=function.name)["Version"]
    wait.until(lambda: server.lam.get_function_configuration(FunctionName=function.name, Qualifier=version)["State"] == "Active", 60)
    answers, clones = server.in_fresh_environments(lambda: function.call({}, Qualifier=version), CLONES)
    template = next(one for one in server.irori_json("ps", "--templates")["templates"] if one.get("function") == function.name)
    # On a busy machine one may come too late for whom it was made.
    assert template["clones"] >= clones >= CLONES and template["fallbacks"] == 0
    assert all(answer["calls"] == [["before"], ["after"]] for answer in answers)
    assert all("IRORI_TEMPLATE" not in answer["env"] for answer in answers)
    values = [str(value) for answer in answers for value in answer["values"]]
    assert len(values) == len(set(values)) >= CLONES * 5000
