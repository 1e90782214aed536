"""Real language runtimes under the sandbox's system call filter, as an unprivileged user.

Each program of this folder exercises what its language's library needs of the kernel and prints "ok". Interpreters that lie
in a closed home are mounted at /var/lang in a mount namespace of the test, and found from there, as functions find them.
Needs root and IRORI_BUILD (default: build/), with the wrapper of tests/servers/seccomp_run.c.
"""
import os
import pathlib
import shlex
import shutil
import subprocess

import pytest

HERE = pathlib.Path(__file__).parent
BUILD = pathlib.Path(os.environ.get("IRORI_BUILD", HERE.parents[1] / "build")).resolve()
WRAPPER = BUILD / "tests/unit/sandbox/seccomp_run"
NOBODY = "65534"
PYTHONS = {path.name: path for home in (pathlib.Path.home() / ".pyenv/versions", pathlib.Path("/opt/python"))
           for path in sorted(home.glob("3.*")) if tuple(map(int, path.name.split(".")[:2])) >= (3, 9)}


def run(argv, mounts=(), env=(), files=()):
    """Runs argv under the filter in a mount namespace with empty /root, /home and /var, but for mounts and files."""
    script = ["set -e", "mount -t tmpfs tmpfs /mnt", "mkdir /mnt/files"]
    script += [f"cp -r {shlex.quote(str(source))} /mnt/files/" for source in (WRAPPER, *files)]
    for i, (source, _) in enumerate(mounts):
        kind = "mkdir" if pathlib.Path(source).is_dir() else "touch"
        script += [f"{kind} /mnt/{i}", f"mount --bind {shlex.quote(str(source))} /mnt/{i}"]
    script += [f"mount -t tmpfs tmpfs {place}" for place in ("/root", "/home", "/var")]
    for i, (source, target) in enumerate(mounts):
        kind = "mkdir -p" if pathlib.Path(source).is_dir() else "touch"
        script += [f"mkdir -p $(dirname {target})", f"{kind} {target}", f"mount --bind -o ro /mnt/{i} {target}"]
    script += ["mount -t tmpfs -o mode=1777 tmpfs /tmp", "cd /tmp"]
    script += [shlex.join(["exec", "env", "-i", "PATH=/usr/bin:/bin", "HOME=/tmp", *env,
                           f"/mnt/files/{WRAPPER.name}", "-u", NOBODY, *map(str, argv)])]
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(script)],
                          capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ok(*args, **named):
    assert run(*args, **named).splitlines()[-1] == "ok"


def tool(name):
    found = shutil.which(name) or shutil.which(name, path=f"{pathlib.Path.home()}/.cargo/bin:/usr/local/go/bin")
    return found or pytest.skip(f"no {name} here")


def test_node_of_the_system():
    ok([tool("node"), "/mnt/files/program.mjs"], files=[HERE / "program.mjs"])


def npm_node():
    """Where `npm install --prefix FOLDER node@22` put its binary, if the caller says so."""
    folder = os.environ.get("IRORI_NPM_NODE")
    if not folder:
        pytest.skip("IRORI_NPM_NODE names no folder")
    return pathlib.Path(folder) / "node_modules/node/bin/node"


def test_node_from_npm_as_a_single_file_at_var_lang():
    binary = npm_node()
    ok(["/var/lang/bin/node", "/mnt/files/program.mjs"], mounts=[(binary, "/var/lang/bin/node")], files=[HERE / "program.mjs"])


def test_python_of_the_system():
    if not pathlib.Path("/usr/bin/python3").exists():
        pytest.skip("no python3 in /usr/bin here")
    ok(["/usr/bin/python3", "-S", "/mnt/files/program.py"], files=[HERE / "program.py"])


def python_at_var_lang(version, *arguments, **named):
    minor = ".".join(version.split(".")[:2])
    return run([f"/var/lang/bin/python{minor}", "-S", *arguments], mounts=[(PYTHONS[version], "/var/lang")],
               env=["LD_LIBRARY_PATH=/var/lang/lib"], **named)


@pytest.mark.parametrize("version", PYTHONS)
def test_python_at_var_lang_finds_its_own_library_only(version):
    """-S: the host's site-packages, which lie in the mounted folder, stay out of the path."""
    script = "import sys, os, ssl, _ctypes; print(sys.prefix, os.__file__, _ctypes.__file__, *sys.path, sep='\\n')"
    lines = python_at_var_lang(version, "-c", script).splitlines()
    minor = ".".join(version.split(".")[:2])
    assert lines[:2] == ["/var/lang", f"/var/lang/lib/python{minor}/os.py"]
    assert all(line.startswith("/var/lang/lib/python") or line == "" for line in lines[1:])
    assert not any("packages" in line for line in lines)


@pytest.mark.parametrize("version", PYTHONS)
def test_python_at_var_lang(version):
    assert python_at_var_lang(version, "/mnt/files/program.py", files=[HERE / "program.py"]).splitlines()[-1] == "ok"


@pytest.mark.parametrize("arguments", [["-O2"], ["-O2", "-static"]], ids=["glibc", "glibc static"])
def test_c(tmp_path, arguments):
    subprocess.run([tool("cc"), *arguments, "-pthread", HERE / "program.c", "-o", tmp_path / "c"], check=True)
    ok(["/mnt/files/c"], files=[tmp_path / "c"])


def test_c_with_musl(tmp_path):
    subprocess.run([tool("musl-gcc"), "-O2", "-static", HERE / "program.c", "-o", tmp_path / "c"], check=True)
    ok(["/mnt/files/c"], files=[tmp_path / "c"])


@pytest.mark.parametrize("cgo", ["0", "1"])
def test_go(tmp_path, cgo):
    subprocess.run([tool("go"), "build", "-o", tmp_path / "go", HERE / "program.go"], check=True,
                   env={**os.environ, "CGO_ENABLED": cgo, "GOFLAGS": "-p=2", "GOTOOLCHAIN": "local"})
    ok(["/mnt/files/go"], files=[tmp_path / "go"])


def test_rust(tmp_path):
    subprocess.run([tool("rustc"), "-O", "-o", tmp_path / "rust", HERE / "program.rs"], check=True)
    ok(["/mnt/files/rust"], files=[tmp_path / "rust"])


JDKS = [path.parents[1] for path in sorted(pathlib.Path("/usr/lib/jvm").glob("*/bin/javac")) if not path.parents[1].is_symlink()]


@pytest.fixture(scope="session", params=JDKS, ids=lambda path: path.name)
def java(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("jdk") / "java"
    subprocess.run([request.param / "bin/javac", "-d", folder, HERE / "Program.java"], check=True)
    return request.param / "bin/java", folder


@pytest.mark.parametrize("collector", ["G1", "Serial", "Parallel", "Z"])
def test_java(java, collector):
    program, folder = java
    ok([program, f"-XX:+Use{collector}GC", "-Xmx256m", "-cp", "/mnt/files/java", "Program"], files=[folder])
