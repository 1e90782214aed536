"""Programs that functions run: built once per machine and source, kept in a folder of the build."""

import hashlib
import os
import shutil
import subprocess
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


def rust_program():
    """A bootstrap on the crate lambda_runtime."""
    cargo = _tool("cargo", os.path.expanduser("~/.cargo/bin/cargo"))
    return _build("rust", [cargo, "build", "--release", "-j2"], "target/release/bootstrap",
                  {"PATH": f"{os.path.dirname(cargo)}:{os.environ['PATH']}"})
