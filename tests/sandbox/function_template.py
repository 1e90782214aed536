"""Templates of functions on the real launcher, for the tests of what they keep, refuse and withstand."""
import json
import pathlib
import shutil
import subprocess

import driver
import pytest
import runtime_api

FUNCTIONS = driver.ROOT / "tests/functions"
PROGRAMS = pathlib.Path(__file__).parent / "programs"
PROVIDED = {"runtime": "provided.al2023", "argv": ["/var/task/bootstrap"]}
UID = 7


def build_program(path, source, *command):
    if not shutil.which(command[0]):
        pytest.skip(f"NOT TESTED: {command[0]} is not installed")
    subprocess.run([*command, "-O1", "-D_GNU_SOURCE", "-pthread", "-I", FUNCTIONS / "c", "-o", path, source], check=True)
    return path


def managed(launcher, runtime):
    """The arguments of a runtime of this machine, or None."""
    for known in json.loads(launcher.ready.text)["runtimes"]:
        if known["id"].startswith(runtime):
            client = ["/var/runtime/bootstrap.cjs"] if runtime.startswith("nodejs") else ["-S", "/var/runtime/bootstrap.py"]
            return {"runtime": known["id"], "argv": [known["inside"], *client]}
    return pytest.skip(f"NOT TESTED: this machine has no {runtime}")


class Template:
    """A function that was started as a template and waits in `next`."""

    def __init__(self, launcher, code, others=None, **options):
        """others: answers a client's request that is none of the Runtime API's."""
        self.launcher, self.code = launcher, code
        self.options = {"uid": UID, "memory": 512, **options}
        self.environment = launcher.start(code, flags=driver.START_TEMPLATE, **self.options)
        self.function = runtime_api.park(self.environment, others)

    def capture(self):
        """Returns (refused, text)."""
        self.launcher.send(driver.CAPTURE, self.environment.env_id)
        message = self.launcher.receive(self.environment.env_id, 20)
        assert message.type == driver.CAPTURED, (message, self.launcher.log())
        return message.number, message.text

    def captured(self):
        refused, text = self.capture()
        assert not refused, (text, self.environment.read_log(0.1))
        return self

    def clone(self, **options):
        options = {"code": self.code, **self.options, **options}
        environment = self.launcher.start(template=self.environment.env_id, **options)
        return runtime_api.Function(environment, parked_at=self.function.parked_at).restore()

    def kill(self):
        self.environment.kill()


HANDLER = """
import os

def handler(event, _context):
    found = dict(globals())
    exec(event["code"], found)
    return found.get("result")
"""


class Probe(Template):
    """A Python function whose INIT is given, and whose events are code that sets `result`."""

    def __init__(self, launcher, init, **options):
        arguments = managed(launcher, "python3")
        code = launcher.add_code({"probe.py": (init + HANDLER).encode()})
        super().__init__(launcher, code, **arguments, env=[*runtime_api.VARIABLES, "_HANDLER=probe.handler"], **options)


def run(function, code):
    return function.invoke({"code": code})


def init_of(environment):
    for line in pathlib.Path(f"/proc/self/fdinfo/{environment.pidfd}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise LookupError("no init")
