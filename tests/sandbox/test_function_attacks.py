"""Functions that attack the capture of their own template, the restorer and other clones."""
import os
import pathlib
import struct
import time

import driver
import pytest
import runtime_api
from function_template import init_of, run
from test_template import host_pid

pytestmark = [pytest.mark.skipif(os.geteuid() != 0 or os.uname().machine != "x86_64", reason="needs root and an x86-64 processor"),
              pytest.mark.timeout(120 * driver.SLOW)]

SYSCALLS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    return -ctypes.get_errno() if libc.syscall(number, *[ctypes.c_long(a) for a in arguments]) < 0 else 0
def attack():
    memory = ctypes.create_string_buffer(256)
    at = ctypes.addressof(memory)
    found = {}
    for name, flag in (("user", 0x10000000), ("pid", 0x20000000), ("net", 0x40000000), ("mnt", 0x20000), ("ipc", 0x8000000), ("uts", 0x4000000)):
        found["unshare " + name] = call(272, flag)
        found["clone " + name] = call(56, flag | 17, 0, 0, 0, 0)
    namespace = os.open("/proc/self/ns/uts", os.O_RDONLY)
    for guess in (0, 1, -1, 0x0123456789abcdef, at):
        found[f"clone3 {guess == at or guess}"] = call(435, at, 88, 0, 0, guess, guess)
        found[f"setns {guess == at or guess}"] = call(308, namespace, 0, 0, 0, guess, guess)
        found[f"seccomp {guess == at or guess}"] = call(317, 1, 0, at, 0, guess, guess)
        found[f"prctl {guess == at or guess}"] = call(157, 24, 1, 0, 0, guess, guess)
    os.close(namespace)
    for name, number, *arguments in (
            ("ptrace init", 101, 16, 1, 0, 0), ("ptrace seize", 101, 0x4206, 1, 0, 0), ("process_vm_readv", 310, 1, at, 1, at, 1, 0),
            ("process_vm_writev", 311, 1, at, 1, at, 1, 0), ("pidfd_getfd", 438, 0, 0, 0), ("kcmp", 312, 1, 1, 0, 0, 0),
            ("bpf", 321, 0, at, 64), ("userfaultfd", 323, 0), ("io_uring_setup", 425, 8, at), ("io_setup", 206, 8, at),
            ("io_submit", 209, 0, 1, at), ("mount", 165, 0, at, 0, 0, 0), ("open_tree", 428, -100, at, 1), ("pivot_root", 155, at, at),
            ("vmsplice", 278, 1, at, 1, 0), ("memfd_secret", 447, 0), ("syscall user dispatch", 157, 59, 1, 0, 0, 0), ("PR_SET_MM", 157, 35, 1, 0, 0, 0),
            ("setuid 0", 105, 0), ("capset", 126, at, at), ("personality", 135, 0x40000)):
        found[name] = call(number, *arguments)
    try:
        open("/proc/1/mem", "rb")
        found["memory of init"] = 0
    except OSError as error:
        found["memory of init"] = -error.errno
    return found
during_init = attack()
"""


def test_attacks_meet_the_same_refusals_in_init_in_a_clone_and_in_any_environment(launcher, probe):
    template = probe(SYSCALLS).captured()
    clone = template.clone()
    ordinary = runtime_api.park(launcher.start(template.code, **template.options)).restore()
    seen = [run(function, f"result = {what}") for function, what in
            ((ordinary, "during_init"), (ordinary, "attack()"), (clone, "during_init"), (clone, "attack()"))]
    assert all(result < 0 for result in seen[0].values()), seen[0]
    assert seen[1:] == seen[:1] * 3
    for function in (clone, ordinary):
        function.kill()


RSEQ = """
import ctypes, struct, threading, time
libc = ctypes.CDLL(None, use_errno=True)
pointer = ctypes.c_ulong()
libc.syscall(158, 0x1003, ctypes.byref(pointer))
rseq = pointer.value + ctypes.c_long.in_dll(libc, "__rseq_offset").value
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
code = libc.mmap(0x10000000, 4096, 7, 0x32, -1, 0)
section, message = code + 256, code + 512
said = b"RSEQ: user code runs in place of the restorer\\n"
# The signature, then: arm it again, say it, exit. Its own section is all that mmap() gives out.
program = (b"\\x53\\x30\\x05\\x53" + b"\\x48\\xb9" + struct.pack("<Q", rseq + 8) + b"\\x49\\xbb" + struct.pack("<Q", section)
           + b"\\x4c\\x89\\x19\\x0f\\x05\\xb8\\x01\\0\\0\\0\\xbf\\x02\\0\\0\\0\\x48\\xbe" + struct.pack("<Q", message) + b"\\xba"
           + struct.pack("<I", len(said)) + b"\\x0f\\x05\\xb8\\xe7\\0\\0\\0\\x0f\\x05")
ctypes.memmove(code, program, len(program))
ctypes.memmove(message, said, len(said))
ctypes.memmove(section, struct.pack("<IIQQQ", 0, 0, 0x700000000000, 0x0fff00000000, code + 4), 32)
def arm():
    time.sleep(0.2)
    ctypes.c_ulong.from_address(rseq + 8).value = section
    time.sleep(1000)
threading.Thread(target=arm, daemon=True).start()
"""


def test_a_restartable_sequence_aimed_at_the_restorer_does_nothing(probe):
    if not hasattr(__import__("ctypes").CDLL(None), "__rseq_offset"):
        pytest.skip("NOT TESTED: this C library registers no restartable sequences")
    template = probe(RSEQ)
    time.sleep(0.4)
    refused, text = template.capture()
    if not refused:
        clone = template.clone()
        assert run(clone, "result = 'alive'") == "alive"
        assert b"RSEQ" not in clone.environment.read_log(0.2)
        clone.kill()
    assert b"RSEQ" not in template.environment.read_log(0.2), text


def image_memory(template):
    """(pid, addresses) of the image of a template: the restorer's code and data are its last two mappings of their kind."""
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (process / "fd/900").is_symlink() and "python" in (process / "exe").readlink().name and \
                    (process / "ns/pid").readlink() == pathlib.Path(f"/proc/{init_of(template.environment)}/ns/pid").readlink():
                return int(process.name)
        except OSError:
            pass
    raise LookupError("no image")


def restorer_of(template):
    """(pid of the image, begin and end of the restorer's code and data in it)"""
    pid = image_memory(template)
    areas = [line.split() for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for one, other in zip(areas, areas[1:], strict=False):
            (begin, middle), (after, end) = ([int(text, 16) for text in area[0].split("-")] for area in (one, other))
            if middle == after and one[1] == "r-xp" and other[1] == "rw-p" and len(one) == len(other) == 5:
                memory.seek(middle + 16)
                if struct.unpack("<I", memory.read(4)) == (3,):  # TEMPLATE_FORMAT
                    return pid, begin, end
    raise LookupError("no restorer")


def secret_of(template):
    """As root may read it in the image: the first 16 bytes behind the restorer's code."""
    pid, begin, _ = restorer_of(template)
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        if line.startswith(f"{begin:x}-"):
            with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
                memory.seek(int(line.split()[0].split("-")[1], 16))
                return memory.read(16)
    raise LookupError("no secret")


AIMED = """
import ctypes, threading, time
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
def aim():
    time.sleep(0.2)
    at = libc.mmap(None, SIZE, 3, 0x22, -1, 0) # where the next mapping of this size will be, too
    libc.munmap(at, SIZE)
    libc.syscall(218, ctypes.c_void_p(at + SIZE // 2))
    time.sleep(1000)
threading.Thread(target=aim, daemon=True).start()
"""


def test_the_address_of_a_thread_s_id_may_not_lie_in_the_restorer(probe):
    """The kernel writes there in every clone while that still has rights."""
    _, begin, end = restorer_of(probe("").captured())
    template = probe(AIMED.replace("SIZE", str(end - begin)))
    time.sleep(0.4)
    refused, text = template.capture()
    assert refused == 1 and "not its own" in text, text


def memory_of(pid):
    """All that a process could read of itself, area by area."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
            begin, end = (int(text, 16) for text in line.split()[0].split("-"))
            if line.split()[1][0] == "r" and "[v" not in line:
                memory.seek(begin)
                yield line, memory.read(end - begin)


def test_no_clone_holds_the_secret_of_its_template(probe):
    template = probe("needle = b'irori-needle'\n").captured()
    secret = secret_of(template)
    clone = template.clone()
    pid = host_pid(run(clone, "result = os.getpid()"))
    for half in (secret[:8], secret[8:]):
        assert [line for line, content in memory_of(pid) if half in content] == []
    assert any(b"irori-needle" in content for _, content in memory_of(pid))
    clone.kill()


def test_a_process_that_shares_the_memory_and_is_no_thread_is_refused(probe):
    template = probe("""
import ctypes
libc = ctypes.CDLL(None)
stack = ctypes.create_string_buffer(65536)
CLONE_VM = 0x100
pause = ctypes.cast(libc.pause, ctypes.c_void_p)
assert libc.clone(pause, ctypes.c_void_p(ctypes.addressof(stack) + 65536 - 16), CLONE_VM | 17, None) > 0
""")
    refused, text = template.capture()
    assert refused == 1 and "child processes" in text, text


def test_a_thread_that_changes_the_memory_map_all_the_time_is_harmless(probe):
    template = probe("""
import ctypes, threading
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
rounds = 0
def change():
    global rounds
    while True:
        at = libc.mmap(None, 1 << 20, 3, 0x22, -1, 0)
        ctypes.memset(at, 7, 4096)
        libc.munmap(at, 1 << 20)
        rounds += 1
threading.Thread(target=change, daemon=True).start()
""")
    refused, text = template.capture()
    if refused:
        assert "come to rest" in text, text
        assert run(template.function.restore(), "result = 'alive'") == "alive"
        return
    for _ in range(5):
        clone = template.clone()
        before = run(clone, "result = rounds")
        time.sleep(0.1)
        assert run(clone, "result = rounds") > before
        clone.kill()


def test_limits_that_a_function_gives_itself_hold_in_clones(probe):
    template = probe("""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (50, 1000))
resource.setrlimit(resource.RLIMIT_NPROC, (40, 41))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
""").captured()
    clone = template.clone()
    assert run(clone, "result = [resource.getrlimit(r) for r in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE)]") == [
        [50, 1000], [40, 41], [0, 0]]
    assert run(clone, """
import os
result = 0
try:
    while True:
        os.dup(0)
except OSError as error:
    result = error.errno
""") == 24
    clone.kill()


def test_few_descriptors_are_no_way_to_stop_the_restorer(probe):
    template = probe("import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (50, 60))\n")
    refused, text = template.capture()
    if refused:  # where the launcher may not raise the highest limit of others
        assert "descriptors above 60" in text
    function = template.function.restore() if refused else template.clone()
    assert run(function, "import resource; result = resource.getrlimit(resource.RLIMIT_NOFILE)") == [50, 60]
