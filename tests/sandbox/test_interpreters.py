"""Every interpreter of this machine in real clones: threads, WebAssembly, large heaps, since INIT and new ones."""
import os

import pytest
import runtime_api
from function_template import FUNCTIONS, Template, managed

pytestmark = [pytest.mark.skipif(os.geteuid() != 0 or os.uname().machine != "x86_64", reason="needs root and an x86-64 processor"),
              pytest.mark.timeout(180)]
NODES = [f"nodejs{version}.x" for version in (18, 20, 22, 24)]
PYTHONS = [f"python3.{version}" for version in range(9, 15)]


@pytest.fixture
def template(launcher):
    """Makes the template of a function after its INIT; skips where there is no such interpreter."""
    made = []

    def make(runtime, files, **options):
        handler = "index.handler" if runtime.startswith("nodejs") else "lambda_function.handler"
        made.append(Template(launcher, launcher.add_code(files), **managed(launcher, runtime),
                             env=[*runtime_api.VARIABLES, "IRORI_TEMPLATE=function", "_HANDLER=" + handler], **options))
        return made[-1].captured()

    yield make
    for template in made:
        template.kill()


@pytest.fixture(params=NODES)
def node(request, template):
    return lambda code, **options: template(request.param, {"index.mjs": code.encode()}, **options)


@pytest.fixture(params=PYTHONS)
def python(request, template):
    return lambda code, **options: template(request.param, {"lambda_function.py": code.encode()}, **options)


@pytest.mark.parametrize("runtime", [*NODES, *PYTHONS])
def test_clones_answer(template, runtime):
    name = "node/index.mjs" if runtime.startswith("nodejs") else "python/lambda_function.py"
    made = template(runtime, {name.split("/")[1]: FUNCTIONS / name})
    clones = [made.clone() for _ in range(4)]
    for number in range(5):
        for at, clone in enumerate(clones):
            assert clone.invoke({"do": "echo", "value": [at, number]}) == [at, number]
    for clone in clones:
        clone.kill()


WORKERS = """
import { Worker } from 'node:worker_threads';
const code = `
  const { parentPort, threadId } = require('node:worker_threads');
  let count = 0;
  parentPort.on('message', async (text) => {
    await new Promise((done) => setTimeout(done, 1));
    parentPort.postMessage({ text, count: ++count, sum: crypto(text) });
  });
  function crypto(text) { return require('node:crypto').createHash('sha256').update(text).digest('hex').slice(0, 8); }
`;
const ask = (worker, text) => new Promise((done, fail) => {
  worker.once('message', done).once('error', fail);
  worker.postMessage(text);
});
const old = [new Worker(code, { eval: true }), new Worker(code, { eval: true })];
await Promise.all(old.map((worker) => ask(worker, 'init')));
export const handler = async (event) => {
  if (event.new) {
    const made = new Worker(code, { eval: true });
    const answer = await ask(made, event.text);
    return { ...answer, code: await made.terminate() };
  }
  if (event.end) return Promise.all(old.map((worker) => worker.terminate()));
  return Promise.all(old.map((worker) => ask(worker, event.text)));
};
"""


def test_workers_live_on_and_are_made(node):
    made = node(WORKERS)
    for _ in range(3):
        clone = made.clone()
        for count in (2, 3):
            answers = clone.invoke({"text": f"text {count}"})
            assert [(answer["text"], answer["count"]) for answer in answers] == [(f"text {count}", count)] * 2
        answer = clone.invoke({"text": "more", "new": True})
        assert (answer["text"], answer["count"], answer["sum"], answer["code"]) == ("more", 1, "187897ce", 1)
        assert clone.invoke({"end": True}) == [1, 1]
        assert clone.invoke({"text": "again", "new": True})["count"] == 1
        clone.kill()


# (module (memory (export "memory") 1)
#   (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
#   (func (export "count") (result i32) i32.const 0 i32.const 0 i32.load i32.const 1 i32.add i32.store i32.const 0 i32.load)
#   (func (export "load") (param i32) (result i32) local.get 0 i32.load))
WASM = """
const bytes = Buffer.from('0061736d0100000001100360027f7f017f6000017f60017f017f0304030001020503010001071f04066d656d6f7279020003616464000005636f756e' +
  '740001046c6f616400020a26030700200020016a0b14004100410028020041016a36020041002802000b070020002802000b', 'hex');
const old = await WebAssembly.instantiate(await WebAssembly.compile(bytes));
old.exports.count();
for (let i = 0; i < 20000; i++) old.exports.add(i, i); // until it is compiled well
export const handler = async (event) => {
  const made = event.new ? (await WebAssembly.instantiate(bytes)).instance : old;
  if (event.beyond !== undefined) {
    try { return made.exports.load(event.beyond); } catch (error) { return [error.name, error.message]; }
  }
  if (event.grow) return [made.exports.memory.grow(event.grow), made.exports.memory.buffer.byteLength];
  return [made.exports.add(event.a, event.b), made.exports.count()];
};
"""


def test_web_assembly_lives_on_and_is_compiled(node):
    made = node(WASM)
    for _ in range(3):
        clone = made.clone()
        assert clone.invoke({"a": 40, "b": 2}) == [42, 2]
        assert clone.invoke({"a": -1, "b": 2}) == [1, 3]
        assert clone.invoke({"a": 7, "b": 8, "new": True}) == [15, 1]
        assert clone.invoke({"grow": 10}) == [1, 11 << 16]
        # What lies beyond is found out by a signal.
        for new in (False, True):
            assert clone.invoke({"beyond": 0x7fffffff, "new": new}) == ["RuntimeError", "memory access out of bounds"]
        clone.kill()


HEAP = """
const kept = [];
for (let i = 0; i < 1500000; i++) kept.push({ i, text: 'number ' + i, next: { back: i } });
let index = new Map(kept.slice(0, 200000).map((one) => [one.text, one]));
const check = () => kept.every((one, i) => one.i === i && one.next.back === i) && index.get('number 77').i === 77;
export const handler = async (event) => {
  if (event.heap) return process.memoryUsage().heapUsed;
  let garbage = 0;
  for (let round = 0; round < 30; round++) {
    const lot = [];
    for (let i = 0; i < 100000; i++) lot.push({ i, text: 'garbage ' + i });
    garbage += lot.length;
    for (let i = round; i < kept.length; i += 30) kept[i] = { i, text: 'new ' + i, next: { back: i } };
  }
  return [garbage, check()];
};
"""


def test_a_large_heap_is_collected(node):
    made = node(HEAP, memory=3072)
    clones = [made.clone() for _ in range(2)]
    for clone in clones:
        assert clone.invoke({"heap": True}) > 150 << 20
        assert clone.invoke({}, timeout=60) == [3000000, True]
        assert clone.invoke({}, timeout=60) == [3000000, True]
        clone.kill()


POOLS = """
import asyncio, hashlib, threading, time
from concurrent.futures import ThreadPoolExecutor
pool, local = ThreadPoolExecutor(4, thread_name_prefix="pool"), threading.local()
barrier = threading.Barrier(4)
def work(number, together=False):
    if together:
        barrier.wait(10)
    local.count = getattr(local, "count", 0) + 1
    time.sleep(0.02)
    return number, threading.current_thread().name, local.count, hashlib.sha256(str(number).encode()).hexdigest()[:8]
assert len({name for _, name, *_ in pool.map(work, range(4), [True] * 4)}) == 4
timer = threading.Timer(0.05, lambda: None)
timer.start(); timer.join()
async def several():
    return await asyncio.gather(*(asyncio.get_running_loop().run_in_executor(None, work, number) for number in range(3)))
def handler(event, _context):
    if event["do"] == "old":
        return list(pool.map(work, range(8)))
    if event["do"] == "new":
        with ThreadPoolExecutor(3) as made:
            return [number for number, *_ in made.map(work, range(6))]
    if event["do"] == "async":
        return [number for number, *_ in asyncio.run(several())]
    if event["do"] == "end":
        pool.shutdown()
        return threading.active_count()
"""


def test_a_pool_of_threads_lives_on_and_is_made(python):
    made = python(POOLS)
    for _ in range(3):
        clone = made.clone()
        answers = clone.invoke({"do": "old"})
        assert [number for number, *_ in answers] == list(range(8))
        assert {name for _, name, *_ in answers} <= {f"pool_{at}" for at in range(4)}, "the threads of INIT"
        assert min(count for _, _, count, _ in answers) >= 2, "with what they kept"
        assert answers[3][3] == "4e074085"
        assert clone.invoke({"do": "new"}) == list(range(6))
        assert clone.invoke({"do": "async"}) == list(range(3))
        assert clone.invoke({"do": "end"}) == 1
        clone.kill()
