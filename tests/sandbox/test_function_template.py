"""Function templates on the real launcher: programs after their own INIT, with what they hold, and what is refused."""
import os
import pathlib
import shutil
import subprocess
import sys

import driver
import pytest
import runtime_api
from test_template import make_share

sys.path.insert(0, str(driver.ROOT / "tests/e2e"))
from harness import build  # noqa: E402

pytestmark = [pytest.mark.skipif(os.geteuid() != 0 or os.uname().machine != "x86_64", reason="needs root and an x86-64 processor"),
              pytest.mark.timeout(120)]
FUNCTIONS = driver.ROOT / "tests/functions"
PROGRAMS = pathlib.Path(__file__).parent / "programs"
PROVIDED = {"runtime": "provided.al2023", "argv": ["/var/task/bootstrap"]}
UID = 7


@pytest.fixture(scope="module")
def launcher(tmp_path_factory):
    made = driver.Launcher(tmp_path_factory.mktemp("data"), instance="pytest26", share=driver.ROOT)
    yield made
    assert made.stop() == 0
    assert driver.traces("pytest26", made.data) == []


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compiles a program of this folder or of tests/functions/c once; returns its path."""
    folder, made = tmp_path_factory.mktemp("programs"), {}

    def compile_program(source, *command):
        if (source, command) not in made:
            if not shutil.which(command[0]):
                pytest.skip(f"NOT TESTED: {command[0]} is not installed")
            made[source, command] = folder / f"{len(made)}"
            subprocess.run([*command, "-O1", "-D_GNU_SOURCE", "-pthread", "-I", FUNCTIONS / "c", "-o", made[source, command], source], check=True)
        return made[source, command]

    return compile_program


def managed(launcher, runtime):
    """The arguments of a runtime of this machine, or None."""
    import json
    for known in json.loads(launcher.ready.text)["runtimes"]:
        if known["id"].startswith(runtime):
            client = ["/var/runtime/bootstrap.cjs"] if runtime == "nodejs" else ["-S", "/var/runtime/bootstrap.py"]
            return {"runtime": known["id"], "argv": [known["inside"], *client]}
    return pytest.skip(f"NOT TESTED: this machine has no {runtime}")


class Template:
    """A function that was started as a template and waits in `next`."""

    def __init__(self, launcher, code, **options):
        self.launcher, self.code = launcher, code
        self.options = {"uid": UID, "memory": 512, **options}
        self.environment = launcher.start(code, flags=driver.START_TEMPLATE, **self.options)
        self.function = runtime_api.park(self.environment)

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

    def clone(self):
        environment = self.launcher.start(self.code, template=self.environment.env_id, **self.options)
        return runtime_api.Function(environment, parked_at=self.function.parked_at).restore()

    def kill(self):
        self.environment.kill()


# ---- programs as they are, each after its own INIT ------------------------------------------------------------------

def static_c(launcher, compiled):
    return {"bootstrap": compiled(FUNCTIONS / "c/echo.c", "gcc", "-static")}, PROVIDED


def musl_c(launcher, compiled):
    return {"bootstrap": compiled(FUNCTIONS / "c/echo.c", "musl-gcc", "-static")}, PROVIDED


def dynamic_c(launcher, compiled):
    return {"bootstrap": compiled(FUNCTIONS / "c/echo.c", "gcc")}, PROVIDED


def threads_glibc(launcher, compiled):
    return {"bootstrap": compiled(PROGRAMS / "threads.c", "gcc", "-static")}, PROVIDED


def threads_musl(launcher, compiled):
    return {"bootstrap": compiled(PROGRAMS / "threads.c", "musl-gcc", "-static")}, PROVIDED


def go(launcher, compiled):
    return {"bootstrap": build.go_program()}, PROVIDED


def go_with_c(launcher, compiled):
    return {"bootstrap": build.go_with_c_program()}, PROVIDED


def rust(launcher, compiled):
    return {"bootstrap": build.rust_program()}, PROVIDED


def node(launcher, compiled):
    options = managed(launcher, "nodejs")
    return {"index.mjs": FUNCTIONS / "node/index.mjs"}, {**options, "handler": "index.handler"}


def python(launcher, compiled):
    options = managed(launcher, "python3")
    return {"lambda_function.py": FUNCTIONS / "python/lambda_function.py"}, {**options, "handler": "lambda_function.handler"}


@pytest.mark.parametrize("program", [static_c, musl_c, dynamic_c, threads_glibc, threads_musl, go, go_with_c, rust, node, python])
def test_clones_of_a_function_after_its_init(launcher, compiled, program):
    files, options = program(launcher, compiled)
    options = {"env": [*runtime_api.VARIABLES, "_HANDLER=" + options.get("handler", "bootstrap")],
               **{name: value for name, value in options.items() if name != "handler"}}
    template = Template(launcher, launcher.add_code(files), **options).captured()
    for _ in range(3):
        clones = [template.clone() for _ in range(3)]
        for number in range(4):
            for at, clone in enumerate(clones):
                answer = clone.invoke({"do": "echo", "value": [at, number]})
                assert answer in ([at, number], {"do": "echo", "value": [at, number]}), (at, number)
        for clone in clones:
            clone.kill()
    template.kill()
