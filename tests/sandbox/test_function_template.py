"""Function templates on the real launcher: programs after their own INIT, their memory, and how their clones look."""
import os
import pathlib
import sys

import driver
import pytest
import runtime_api
from function_template import FUNCTIONS, PROGRAMS, PROVIDED, Template, build_program, managed, run

sys.path.insert(0, str(driver.ROOT / "tests/e2e"))
from harness import build  # noqa: E402

pytestmark = [pytest.mark.skipif(os.geteuid() != 0 or os.uname().machine != "x86_64", reason="needs root and an x86-64 processor"),
              pytest.mark.timeout(120 * driver.SLOW)]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Compiles a program of this folder or of tests/functions/c once; returns its path."""
    folder, made = tmp_path_factory.mktemp("programs"), {}

    def compile_program(source, *command):
        if (source, command) not in made:
            made[source, command] = build_program(folder / f"{len(made)}", source, *command)
        return made[source, command]

    return compile_program


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


def package(folder):
    return {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}


def python_of_aws(launcher, compiled):
    start = b"#!/bin/sh\nexec /usr/bin/python3 -m awslambdaric index.handler\n"
    return {**package(build.aws_python_client()), "bootstrap": start, "index.py": b"def handler(event, _context):\n    return event\n"}, {
        **PROVIDED, "path": "PYTHONPATH=/var/task"}


def node_of_aws(launcher, compiled):
    start = b"#!/bin/sh\nexec /usr/bin/node /var/task/client/bin/index.mjs index.handler\n"
    files = {f"client/{name}": path for name, path in package(build.aws_node_client()).items()}
    return {**files, "bootstrap": start, "index.js": b"exports.handler = async (event) => event;\n"}, PROVIDED


@pytest.mark.parametrize("program", [static_c, musl_c, dynamic_c, threads_glibc, threads_musl, go, go_with_c, rust, node, python, python_of_aws, node_of_aws])
def test_clones_of_a_function_after_its_init(launcher, compiled, program):
    files, options = program(launcher, compiled)
    options = {"env": [*runtime_api.VARIABLES, "_HANDLER=" + options.get("handler", "bootstrap"), options.get("path", "X=")],
               **{name: value for name, value in options.items() if name not in ("handler", "path")}}
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


def test_all_of_a_vector_register_is_kept(launcher, compiled):
    if " avx " not in pathlib.Path("/proc/cpuinfo").read_text():
        pytest.skip("NOT TESTED: this processor has no AVX")
    code = launcher.add_code({"bootstrap": compiled(PROGRAMS / "vectors.c", "gcc")})
    template = Template(launcher, code, **PROVIDED, env=runtime_api.VARIABLES).captured()
    clone = template.clone()
    assert [clone.invoke({}) for _ in range(2)] == [16, 16]
    clone.kill()
    template.kill()


# ---- limits ----------------------------------------------------------------------------------------------------------

def test_a_clone_has_the_memory_of_its_function(launcher, probe):
    template = probe("block = bytearray(50 << 20)\n", memory=256).captured()
    clone = template.clone()
    assert run(clone, "more = bytearray(100 << 20); result = len(more)") == 100 << 20
    clone.client.answer("200 OK", b'{"code": "more = bytearray(400 << 20)"}', Lambda_Runtime_Aws_Request_Id="x", Lambda_Runtime_Deadline_Ms=1)
    message = launcher.receive(clone.environment.env_id)
    assert (message.type, message.kind, message.value, message.oom) == (driver.EXITED, 1, 9, 1)
    clone.kill()
    other = template.clone()
    assert run(other, "result = len(block)") == 50 << 20
    other.kill()


def test_clones_pay_for_the_tables_of_their_pages(probe):
    """Else those of many clones would fill up the template's memory, and the kernel would end it."""
    template = probe("block = bytearray(200 << 20)\n", memory=512).captured()
    clones = [template.clone() for _ in range(2)]
    before = template.environment.memory()
    clones += [template.clone() for _ in range(10)]
    assert template.environment.memory() - before < 1 << 20
    assert all(clone.environment.memory() > 300 << 10 for clone in clones)
    for clone in clones:
        clone.kill()


def test_too_much_memory_is_refused(probe):
    template = probe("block = bytearray(1100 << 20)\n", memory=2048)
    refused, text = template.capture()
    assert refused == 1 and "1024 are the most" in text, text


# ---- a clone looks like any environment ------------------------------------------------------------------------------

LOOK = """
import os, threading, time
for name in ("first", "second", "third"):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True, name=name).start()
KEPT = ("Name", "Umask", "Uid", "Gid", "Groups", "Kthread", "CoreDumping", "THP_enabled", "untag_mask", "Threads", "SigPnd", "ShdPnd",
        "SigBlk", "SigIgn", "SigCgt", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters",
        "Speculation_Store_Bypass", "SpeculationIndirectBranch", "Cpus_allowed", "Mems_allowed_list", "x86_Thread_features", "TracerPid", "Ngid")
def look():
    found = []
    for tid in sorted(os.listdir("/proc/self/task"), key=int):
        folder = "/proc/self/task/" + tid + "/"
        status = dict(line.split(":\\t", 1) for line in open(folder + "status").read().splitlines() if ":\\t" in line)
        seen = {name: status.get(name) for name in KEPT}
        for file in ("limits", "oom_score_adj", "cgroup", "comm", "timerslack_ns", "attr/current", "uid_map", "setgroups", "loginuid", "coredump_filter"):
            try:
                seen[file] = open(folder + file).read()
            except OSError as error:
                seen[file] = error.errno
        seen["uid_map"] = seen["uid_map"] and seen["uid_map"].split()[0]
        seen["stat"] = open(folder + "stat").read().rsplit(")", 1)[1].split()[15:17]  # priority and nice value
        seen["policy"] = os.sched_getscheduler(int(tid))
        seen["processors"] = sorted(os.sched_getaffinity(int(tid)))
        found.append(seen)
    return found
"""


def test_every_thread_of_a_clone_looks_as_in_an_ordinary_environment(launcher, probe):
    template = probe(LOOK).captured()
    clone = template.clone()
    ordinary = runtime_api.park(launcher.start(template.code, **template.options)).restore()
    seen = [run(function, "result = look()") for function in (ordinary, clone)]
    assert len(seen[0]) == 4
    for own, other in zip(*seen, strict=True):
        assert own == other
    for function in (clone, ordinary):
        function.kill()


def test_identities_within_a_clone_agree(probe):
    template = probe("import os, threading, ctypes\nlibc = ctypes.CDLL(None)\n").captured()
    clones = [template.clone() for _ in range(3)]
    pids = [run(clone, "result = os.getpid()") for clone in clones]
    assert len(set(pids)) == 3
    for clone, pid in zip(clones, pids, strict=True):
        assert run(clone, "result = [libc.getpid(), libc.gettid(), int(os.readlink('/proc/self')), os.getsid(0), os.getpgid(0)]") == [pid] * 5
        # Its parent is outside: the init of its template.
        assert run(clone, "result = os.getppid()") == 0
        assert run(clone, "import subprocess; result = subprocess.run(['/bin/sh', '-c', 'echo $PPID'], capture_output=True, text=True).stdout") == f"{pid}\n"
        assert run(clone, "pid = os.fork() or os._exit(7); result = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])") == 7
    for clone in clones:
        clone.kill()
