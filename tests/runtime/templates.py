"""Processes that become templates, and are then woken as their clones are."""

import json
import os
import re
import time

SEED = "0123456789abcdef" * 4
SNAP_START = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
FUNCTION_VARS = (
    "_HANDLER AWS_LAMBDA_FUNCTION_NAME AWS_LAMBDA_FUNCTION_VERSION AWS_LAMBDA_FUNCTION_MEMORY_SIZE "
    "AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_STREAM_NAME"
).split()


class Runtime:
    """Starts functions with one interpreter: the ordinary way, or by waking a template in place of a clone, which is a matter of the
    launcher."""

    def __init__(self, argv, version, common, api, start, root):
        """common: variables of every start."""
        self.argv, self.version, self.common = argv, version, common
        self.api, self.start, self.root = api, start, root
        self.is_node = argv[-1].endswith(".cjs")
        self.kind = "runtime"  # of the template that clone() wakes; ordinary() starts what is to do the same
        (root / "tmp").mkdir()

    def ordinary(self, handler, files, env=None):
        own = {**SNAP_START, "TMPDIR": f"{self.root}/tmp"} if self.kind == "function" else {}
        return self.start(self.argv, handler, files, {**self.common, **own, **(env or {})})

    def template(self, env=None):
        own = {"IRORI_TEMPLATE": "runtime", "TEMPLATE_ONLY": "1", "LAMBDA_TASK_ROOT": "/nowhere", "TMPDIR": f"{self.root}/tmp"}
        env = {**self.common, **dict.fromkeys(FUNCTION_VARS), **own, **(env or {})}
        client = self.start(self.argv, None, None, env)
        self.api.wait_next()
        return client

    def message(self, client, handler, env=None, seed=SEED):
        template_only = ("IRORI_TEMPLATE", "TEMPLATE_ONLY", "TMPDIR")
        wanted = {k: v for k, v in client.env.items() if v is not None and k not in template_only}
        wanted.update(
            {
                "_HANDLER": handler,
                "LAMBDA_TASK_ROOT": str(self.root),
                "AWS_LAMBDA_FUNCTION_NAME": "fn",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
                "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/fn",
                "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/15/[$LATEST]0123456789abcdef0123456789abcdef",
            }
        )
        wanted.update(env or {})
        return {"seed": seed, "env": wanted, "handler": handler, "root": str(self.root)}

    def wake(self, client, handler, env=None, seed=SEED):
        body = json.dumps(self.message(client, handler, env, seed)).encode()
        self.api.events.put(({"Content-Type": "application/json", "Irori-Wake": "runtime"}, body))

    def clone(self, handler, files, env=None, seed=SEED):
        """A template, woken."""
        if self.kind == "function":
            return self.function_clone(handler, files, env, seed)
        client = self.template()
        for name, text in files.items():  # only now, as for a clone
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.wake(client, handler, env, seed)
        return client

    def function_template(self, handler, files, env=None):
        client = self.start_function_template(handler, files, env)
        self.api.wait_restore()
        return client

    def start_function_template(self, handler, files, env=None):
        self.api.hold_restore()
        own = {**SNAP_START, "IRORI_TEMPLATE": "function", "TMPDIR": f"{self.root}/tmp"}
        return self.start(self.argv, handler, files, {**self.common, **own, **(env or {})})

    def wake_function(self, seed=SEED, env=None):
        message = json.dumps({"seed": seed, "env": env or {}}).encode()
        self.api.send_restore({"Content-Type": "application/json", "Irori-Wake": "function"}, message)

    def function_clone(self, handler, files, env=None, seed=SEED):
        """The function's template, woken as soon as it waits."""
        client = self.start_function_template(handler, files, env)
        self.wake_function(seed)
        return client


def without_times(text):
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z", "TIME", text)
    return re.sub(r"\(node:\d+\)", "(node:PID)", text)


def dismiss(api, client):
    """So that the next client finds the API as if it were the first."""
    client.kill()
    time.sleep(0.15)  # the API notices
    while api.nexts.acquire(blocking=False):
        pass


def compare(runtime, observe, handler, files, env=None):
    """Calls observe(client) for an ordinary start and for a clone; both must see the same."""
    client = runtime.ordinary(handler, files, env)
    expected = observe(client)
    dismiss(runtime.api, client)
    seen = observe(runtime.clone(handler, files, env))
    assert seen == expected
    return expected


def body(request):
    return json.loads(request.body)


def threads(pid):
    """[(system call number, arguments...)] of each thread, main thread first."""
    calls = []
    for tid in sorted(map(int, os.listdir(f"/proc/{pid}/task"))):
        with open(f"/proc/{pid}/task/{tid}/syscall") as file:
            calls.append(file.read().split())
    return calls


def ticks(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])
