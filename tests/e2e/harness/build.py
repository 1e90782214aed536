"""Programs that functions run: built once per machine and source, kept in a folder of the build."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from .paths import BUILD, FUNCTIONS

CACHE = Path(os.environ.get("IRORI_TEST_CACHE", BUILD / "e2e-functions"))


def _digest(folder, extra=()):
    total = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and "target" not in path.parts:
            total.update(path.name.encode() + path.read_bytes())
    for item in extra:
        total.update(str(item).encode())
    return total.hexdigest()[:16]


def c_program(name):
    """The bytes of tests/functions/c/<name>.c, built statically."""
    out = CACHE / f"c-{name}-{_digest(FUNCTIONS / 'c')}"
    if not out.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = out.with_suffix(f".{os.getpid()}")
        subprocess.run(["gcc", "-static", "-O1", "-D_GNU_SOURCE", "-o", part, FUNCTIONS / "c" / f"{name}.c"], check=True)
        part.rename(out)
    return out.read_bytes()


def _tool(name, *places):
    found = shutil.which(name) or next((place for place in places if os.path.exists(place)), None)
    if found is None:
        pytest.skip(f"NOT TESTED: {name} is not installed, AWS's runtime client for it was not tried")
    return found


def _build(kind, command, result, environment):
    """Runs command in a copy of the folder; skips loudly when the registry cannot be reached."""
    out = CACHE / f"{kind}-{_digest(FUNCTIONS / kind)}"
    if not out.exists():
        work = CACHE / f"{kind}-work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(FUNCTIONS / kind, work)
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, timeout=600,
                              env={**os.environ, **environment})
        if done.returncode != 0:
            pytest.skip(f"NOT TESTED: {' '.join(command[:2])} failed: {done.stderr.strip()[-600:]}")
        shutil.copy(work / result, out)
    return out.read_bytes()


def go_program():
    """A bootstrap on github.com/aws/aws-lambda-go."""
    go = _tool("go", "/usr/local/go/bin/go")
    return _build("go", [go, "build", "-mod=mod", "-tags", "lambda.norpc", "-ldflags=-s -w", "-o", "bootstrap", "."], "bootstrap",
                  {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"})


def go_with_c_program():
    """The same with cgo: another C library's threads beside Go's own."""
    go = _tool("go", "/usr/local/go/bin/go")
    return _build("go-cgo", [go, "build", "-mod=mod", "-tags", "lambda.norpc", "-o", "bootstrap", "."], "bootstrap",
                  {"CGO_ENABLED": "1", "GOFLAGS": "-buildvcs=false"})


def rust_program():
    """A bootstrap on the crate lambda_runtime."""
    cargo = _tool("cargo", os.path.expanduser("~/.cargo/bin/cargo"))
    return _build("rust", [cargo, "build", "--release", "-j2"], "target/release/bootstrap",
                  {"PATH": f"{os.path.dirname(cargo)}:{os.environ['PATH']}"})


def _fetch(name, fill):
    """A folder of the cache, filled once by fill(folder); skips loudly when a command of it fails."""
    out = CACHE / name
    if not out.exists():
        work = CACHE / f"{name}.{os.getpid()}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            fill(work)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"NOT TESTED: {' '.join(map(str, error.cmd[:4]))} failed: {error.stderr.strip()[-600:]}")
        work.rename(out)
    return out


def _run(*command, cwd=None):
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=300).stdout.strip()


def aws_python_client():
    """A folder with awslambdaric, as pip puts it into a package for the python3 that every sandbox finds in /usr/bin."""
    python = "/usr/bin/python3"
    if not os.path.exists(python):
        pytest.skip(f"NOT TESTED: there is no {python}, AWS's Python client was not tried")
    series = _run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    return _fetch(f"awslambdaric-4.2.2-{series}", lambda folder: _run(
        sys.executable, "-m", "pip", "install", "-q", "--no-compile", "--target", folder, "--python-version", series,
        "--only-binary=:all:", "awslambdaric==4.2.2"))


def aws_node_client():
    """A folder with aws-lambda-ric for /usr/bin/node. Its native part is compiled from the package's own sources, but with the
    machine's libcurl: the one that it brings needs autoconf."""
    node, headers = "/usr/bin/node", "/usr/include/node"
    for needed in (node, headers):
        if not os.path.exists(needed):
            pytest.skip(f"NOT TESTED: there is no {needed}, AWS's Node client was not tried")
    compiler, npm = _tool("g++"), _tool("npm")

    def fill(folder):
        for package in ("aws-lambda-ric@3.3.0", "node-addon-api@6.1.0"):
            archive = folder / _run(npm, "pack", "--silent", package, cwd=folder)
            with tarfile.open(archive) as packed:
                packed.extractall(folder / package.split("@")[0])
            archive.unlink()
        client = folder / "aws-lambda-ric/package"
        with tarfile.open(next((client / "deps").glob("aws-lambda-cpp-*.tar.gz"))) as packed:
            packed.extractall(folder)
        library = next(folder.glob("aws-lambda-cpp-*"))
        version = (library / "src/version.cpp.in").read_text()
        for part in ("_MAJOR", "_MINOR", "_PATCH", ""):
            version = version.replace(f"@PROJECT_VERSION{part}@", "0")
        (folder / "version.cpp").write_text(version)
        _run(compiler, "-shared", "-fPIC", "-O1", "-w", "-std=c++17", "-DNODE_GYP_MODULE_NAME=rapid_client",
             "-I", library / "include", "-I", folder / "node-addon-api/package", "-I", headers,
             "-o", client / "dist/rapid-client.node", client / "src/rapid-client.cc", library / "src/runtime.cpp",
             library / "src/logging.cpp", folder / "version.cpp", "-lcurl")
        (folder / "client").mkdir()
        for name in ("bin", "dist", "package.json"):
            shutil.move(client / name, folder / "client" / name)

    return _fetch("aws-lambda-ric-3.3.0", fill) / "client"


def _tree(folder):
    """Its files as deploy() takes them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts}


def _packages(kind, command):
    """tests/functions/<kind> with its packages, installed from their registry by command in a copy of the folder."""
    out = CACHE / f"{kind}-{_digest(FUNCTIONS / kind, command)}"
    if not out.exists():
        work = CACHE / f"{kind}-work"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(FUNCTIONS / kind, work)
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode != 0:
            pytest.skip(f"NOT TESTED: {' '.join(command[:3])} failed: {done.stderr.strip()[-600:]}")
        work.rename(out)
    return _tree(out)


def npm_packages():
    return _packages("npm", [_tool("npm"), "install", "--no-audit", "--no-fund", "--omit=dev"])


def pip_packages(python):
    return _packages("pip", [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", "--target", ".", "-r", "requirements.txt"])
