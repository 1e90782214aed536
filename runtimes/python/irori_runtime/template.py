"""Templates: this process, once it waits to be copied. Environments are clones of it.

The template of a runtime belongs to no function yet. It loads what functions commonly import, rehearses its own loop in memory, and
parks in `next`; the answer is the wake-up message of the clone, which names the function. After it an ordinary INIT follows.

    {"seed":"<64 hex digits>","env":{"NAME":"value",...},"root":"/var/task"}      with the header Irori-Wake: runtime

The template of a function rehearses, then does the function's own INIT and waits in `restore/next` (`snapstart`).

    {"seed":"<64 hex digits>","env":{"NAME":"value",...}}                         with the header Irori-Wake: function

A clone has everything that is in memory here. So nothing of the client may stay open, no thread may be left, and what the
rehearsal changed is changed back: user code finds the process as the interpreter made it.

Random numbers: the module functions of `random`, and of `numpy.random` when it is loaded, are seeded; `secrets` and `uuid` ask the
kernel; OpenSSL notices the new process id. Generators that user code made during INIT are its own affair.
"""

import gc
import importlib
import io
import os
import sys
import time

import irori_runtime
from irori_runtime import codec, http, logs, loop

ROUNDS = 12
# With the modules that they import. None of them starts or opens anything.
COMMON_MODULES = (
    "base64 collections.abc concurrent.futures.thread contextlib copy csv dataclasses datetime decimal email.message email.utils "
    "enum functools glob gzip hashlib hmac http.client inspect io itertools json logging math operator pathlib platform queue "
    "random re secrets shutil socket ssl string subprocess tempfile threading time traceback typing urllib.parse urllib.request "
    "uuid warnings xml.etree.ElementTree zlib"
).split()
# Without those of functions: a function's template has what its INIT loads.
OWN_MODULES = "decimal json logging random shutil threading".split()
EVENT_LOOP_TURNS = 2  # one in which a dead socket is noticed, one in which its owner acts on it

HANDLER = """
import json, logging, os
from decimal import Decimal

NUMBER = %d


class Greeter:
    def __init__(self, name):
        self.name = name

    def greet(self, **options):
        return {"text": f"hello {self.name}", **options}


def handler(event, context):
    print("event", event)
    logging.warning("event %%s", event)
    if event.get("fail"):
        raise TypeError("rehearsal")
    body = json.dumps({**event, "id": context.aws_request_id, "log": context.log_stream_name})
    greeting = Greeter("you").greet(left=context.get_remaining_time_in_millis(), region=os.environ.get("AWS_REGION"))
    return {"statusCode": 200, "body": body, "more": greeting, "number": Decimal(1) if event.get("decimal") else 1.5}
"""


def wait():
    """Makes this process the template of its runtime. Returns in each clone, once its environment is that of an ordinary start: the
    connection, on which nothing is asked."""
    loaded = prepare_process("runtime", COMMON_MODULES)
    names = top_level_names(loaded)
    share_heap()
    api = http.Connection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    try:
        message = park(api)
    except (http.ApiGone, OSError) as error:
        loop.give_up(api, error)
    restore(message)
    if is_shadowed(names, message["root"]):
        forget_modules(loaded)
    return api


def prepare():
    """Before INIT in a process that is to be the template of its function."""
    del os.environ["IRORI_TEMPLATE"]
    loaded = prepare_process("function", OWN_MODULES)
    sys.modules["random"].seed()  # the rehearsal gave it a seed that all functions know
    if is_shadowed(top_level_names(loaded), os.environ["LAMBDA_TASK_ROOT"]):
        forget_modules(loaded)
    return Function()


def prepare_process(kind, modules):
    """Imports and rehearses. Returns the names of modules that an ordinary start would not have loaded."""
    for name in ("_sitebuiltins", irori_runtime.__name__ + ".handler"):
        importlib.import_module(name)
    own = set(sys.modules)
    import_modules(modules)
    rehearse(kind)
    return [name for name in sys.modules if name not in own]


def share_heap():
    """What the collector never looks at stays shared between clones."""
    gc.collect()
    gc.freeze()


def park(api):
    api.send(api.get("/invocation/next"))
    status, headers, body = api.read()
    if status != 200 or headers.get("irori-wake") != "runtime":
        raise http.ApiGone("next answered %d, no wake-up" % status)
    return codec.from_json(body)


# -- in the clone


def restore(message):
    """Identity, random numbers, environment and folder."""
    replace_environ(message["env"])
    os.chdir(message["root"])
    sys.modules["random"].seed(bytes.fromhex(message["seed"]))
    sys.modules["threading"].main_thread()._set_native_id()
    log = sys.modules["logging"]
    log._startTime = time.time_ns() if isinstance(log._startTime, int) else time.time()  # nanoseconds from Python 3.13 on


def replace_environ(wanted):
    environ = os.environ
    zone = environ.get("TZ")
    for name in [name for name in environ if name not in wanted]:
        if name != "LC_CTYPE":  # set by the interpreter itself where LANG has no locale, as it does in an ordinary start
            del environ[name]
    for name, value in wanted.items():
        if environ.get(name) != value:
            environ[name] = value
    if environ.get("TZ") != zone:
        time.tzset()


class Function:
    """The template of a function, and each of its clones."""

    def __init__(self):
        self.event_loops = []

    def settle(self):
        """Before the snapshot, after all of the function's own code."""
        logs.flush()
        self.event_loops = find_event_loops()
        share_heap()

    def wake(self, message):
        """In a clone."""
        replace_environ({**os.environ, **message["env"]})
        renew_random(bytes.fromhex(message["seed"]))
        threading = sys.modules.get("threading")
        if hasattr(threading, "_main_thread"):
            threading._main_thread._set_native_id()
        for event_loop in self.event_loops:
            turn_event_loop(event_loop)


def renew_random(seed):
    """What the module functions of `random` and `numpy.random` draw from, unless a module of the function has the name."""
    import _random

    generator = getattr(sys.modules.get("random"), "_inst", None)
    if isinstance(generator, _random.Random):
        generator.seed(seed)
    seed_numpy = getattr(sys.modules.get("numpy.random.mtrand"), "seed", None)
    if seed_numpy:
        seed_numpy([int.from_bytes(seed[i : i + 4], "little") for i in range(0, len(seed), 4)])


def find_event_loops():
    kind = getattr(sys.modules.get("asyncio.events"), "AbstractEventLoop", None)
    # By type(): proxies would make up, or complain about, the class of what they stand for.
    return [item for item in gc.get_objects() if issubclass(type(item), kind)] if kind else []


def turn_event_loop(event_loop):
    """Sockets that died with the snapshot tell their owners before these are needed again."""
    if event_loop.is_closed() or event_loop.is_running():
        return
    for _ in range(EVENT_LOOP_TURNS):
        event_loop.call_soon(event_loop.stop)
        event_loop.run_forever()


def top_level_names(modules):
    return {name.partition(".")[0] for name in modules}


def is_shadowed(names, root):
    """Whether the function or a layer has something of one of the names, which in an ordinary start would be imported instead."""
    for folder in (root, "/opt/python/lib/python%d.%d/site-packages" % sys.version_info[:2], "/opt/python"):
        try:
            entries = os.listdir(folder)
        except OSError:
            continue
        if any(entry.partition(".")[0] in names for entry in entries):
            return True
    return False


def forget_modules(modules):
    """They are imported again when they are asked for."""
    for name in modules:
        module = sys.modules.pop(name)
        package, _, attribute = name.rpartition(".")
        if package == irori_runtime.__name__ and getattr(irori_runtime, attribute, None) is module:
            delattr(irori_runtime, attribute)


# -- the rehearsal


def import_modules(names):
    for name in names:
        importlib.import_module(name)
    for name in ("faults", "plain_json", "root_logger"):
        importlib.import_module(irori_runtime.__name__ + "." + name)


class Script:
    """A Runtime API in memory, in the shape of a socket: it has answered everything in advance."""

    def __init__(self, data):
        self.file = io.BytesIO(data)

    def recv(self, count):
        return self.file.read(min(count, 4096))

    def recv_into(self, buffer):
        return self.file.readinto(buffer)

    def sendall(self, data):
        pass


class ScriptedConnection(http.Connection):
    def __init__(self, data):
        self.script = Script(data)
        super().__init__("127.0.0.1:1")

    def connect(self):
        self.closing = False
        self.socket = self.script


def make_response(headers, value):
    body = codec.to_json(value).encode()
    headers = {**headers, "Content-Type": "application/json", "Content-Length": len(body)}
    lines = "".join("%s: %s\r\n" % item for item in headers.items())
    return ("HTTP/1.1 200 OK\r\n%s\r\n" % lines).encode() + body


def make_event(number, event):
    headers = {
        "Lambda-Runtime-Aws-Request-Id": "00000000-0000-4000-8000-%012d" % number,
        "Lambda-Runtime-Deadline-Ms": int(time.time() * 1000) + 3000,
        "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:rehearsal",
        "Lambda-Runtime-Trace-Id": "Root=1-00000000-000000000000000000000000;Sampled=0",
    }
    return make_response(headers, event)


def make_script(kind, number, root):
    wake = {"seed": "0" * 64, "env": {**os.environ, "IRORI_REHEARSAL": str(number)}, "root": root}
    accepted = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
    return b"".join(
        [
            make_response({"Irori-Wake": kind}, wake),
            make_event(1, {"a": 1, "b": [1, 2, {"c": "ü"}], "text": "x" * 200}),
            accepted + make_event(2, {"fail": True}),
            accepted + make_event(3, {"decimal": True, "number": number}),
            accepted,
        ]
    )


class RehearsedFunction(Function):
    def settle(self):
        logs.flush()


def rehearse_once(kind, number, folder):
    """One life of an environment: woken, INIT, three invocations, and the end of the connection; or INIT before the wake-up."""
    name = "irori_rehearsal_%d" % number
    with open("%s/%s.py" % (folder, name), "w") as file:
        file.write(HANDLER % number)
    api = ScriptedConnection(make_script(kind, number, folder))
    if kind == "runtime":
        restore(park(api))
        is_shadowed({"no_such_module"}, folder)
    logs.start()
    stage = loop.Loop(api)
    stage.initialise(name + ".handler", RehearsedFunction() if kind == "function" else None)
    try:
        stage.serve()
    except http.ApiGone:
        pass
    del sys.modules[name]


def rehearse(kind):
    environ = dict(os.environ)
    working_folder = os.getcwd()
    streams = sys.stdout, sys.stderr
    log = sys.modules["logging"]
    converter = log.Formatter.converter
    folder = "%s/irori-%s" % (environ.get("TMPDIR", "/tmp"), os.urandom(8).hex())
    os.mkdir(folder, 0o700)
    sys.path.insert(0, folder)
    with open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        for number in range(ROUNDS):
            importlib.invalidate_caches()
            rehearse_once(kind, number, folder)
            log.getLogger().handlers.clear()
        sys.stdout, sys.stderr = streams
    sys.path.remove(folder)
    sys.path_importer_cache.pop(folder, None)
    log.Formatter.converter = converter
    logs.sink = logs.request_id = logs.tenant_id = None
    replace_environ(environ)
    os.chdir(working_folder)
    sys.modules["shutil"].rmtree(folder)
