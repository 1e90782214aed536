"""What a function finds inside its sandbox: variables, files, limits, names.

Rules: spec runtime-api.md section 6, lifecycle.md section 3.
"""

import re

import pytest
from harness.archives import pack_folder
from harness.aws import REGION
from harness.nameserver import NameServer, server_with_resolver
from harness.paths import FUNCTIONS


def test_platform_variables(probe):
    env = probe.call({"do": "env"})
    expected = {
        "LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime", "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION, "AWS_LAMBDA_FUNCTION_NAME": probe.name, "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512", "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{probe.name}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand", "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR", "TZ": ":UTC",
        "LANG": "en_US.UTF-8", "AWS_EXECUTION_ENV": f"AWS_Lambda_{probe.runtime}",
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin", "PWD": "/var/task",
        "LD_LIBRARY_PATH": "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
        "_HANDLER": "index.handler" if probe.runtime.startswith("node") else "lambda_function.handler",
    }
    assert {name: env.get(name) for name in expected} == expected
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", env["AWS_LAMBDA_LOG_STREAM_NAME"])
    assert re.fullmatch(r"[0-9.]+:\d+", env["AWS_LAMBDA_RUNTIME_API"])
    assert env["AWS_ACCESS_KEY_ID"].startswith("ASIA") and env["AWS_SECRET_ACCESS_KEY"] and env["AWS_SESSION_TOKEN"]
    assert "Root=1-" in env["_X_AMZN_TRACE_ID"]
    assert "AWS_LAMBDA_LOG_FORMAT" not in env and "AWS_LAMBDA_LOG_LEVEL" not in env
    assert not any("IRORI" in name.upper() for name in env)


def test_runtime_variables(node, python):
    assert node.call({"do": "env"})["NODE_PATH"] == ("/opt/nodejs/node20/node_modules:/opt/nodejs/node_modules:"
                                                      "/var/runtime/node_modules:/var/runtime:/var/task")
    assert python.call({"do": "env"})["PYTHONPATH"] == "/var/runtime"


def test_node_finds_the_module_of_hooks(deploy):
    """ES modules and require() get the same one."""
    code = """import { registerAfterRestore } from 'snapshot-restore-js'; import { createRequire } from 'module';
        const same = registerAfterRestore === createRequire('/opt/x.js')('snapshot-restore-js').registerAfterRestore;
        export const handler = async () => same;"""
    assert deploy({"index.mjs": code}).call({}) is True


def test_provided_has_no_execution_env(deploy):
    script = """#!/bin/bash
api="http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation"
while true; do
  curl -sS -D /tmp/h "$api/next" -o /tmp/e
  id="$(grep -i Lambda-Runtime-Aws-Request-Id /tmp/h | tr -d '[:space:]' | cut -d: -f2)"
  env | sort | sed 's/\\\\/\\\\\\\\/g; s/"/\\\\"/g; s/.*/"&"/' | paste -sd, | sed 's/.*/[&]/' > /tmp/o
  curl -sS -X POST "$api/$id/response" --data-binary @/tmp/o
done
"""
    function = deploy({"bootstrap": script}, "provided.al2023", "any.thing", MemorySize=256)
    env = dict(line.split("=", 1) for line in function.call({}) if "=" in line)
    assert "AWS_EXECUTION_ENV" not in env and env["_HANDLER"] == "any.thing"
    assert env["AWS_LAMBDA_FUNCTION_NAME"] == function.name


def test_own_variables(deploy):
    """Customer variables arrive; overridable ones win; names that begin with _ never pass; reserved ones cannot be set."""
    function = deploy({"index.mjs": "export const handler = async () => process.env;"}, Environment={
        "Variables": {"KEY": "vä lue=1", "LANG": "C", "NODE_OPTIONS": "--max-old-space-size=64", "EMPTY": ""}})
    env = function.call()
    assert (env["KEY"], env["LANG"], env["EMPTY"], env["NODE_OPTIONS"]) == ("vä lue=1", "C", "", "--max-old-space-size=64")


def test_files_and_user(python):
    code = """
import os, pwd, stat, time
def mode(path): return oct(os.stat(path).st_mode & 0o7777)
result = {'cwd': os.getcwd(), 'task': mode('/var/task'), 'tmp': mode('/tmp'), 'owner': os.stat('/var/task').st_uid,
  'user': pwd.getpwuid(os.getuid()).pw_name, 'uid': os.getuid(), 'zone': time.tzname[0],
  'devices': sorted(os.listdir('/dev')), 'space': os.statvfs('/tmp').f_bavail * os.statvfs('/tmp').f_frsize,
  'tmp_files': os.listdir('/tmp'), 'certs': os.path.exists('/etc/ssl/certs/ca-certificates.crt')}
"""
    seen = python.call({"do": "exec", "code": code})
    assert seen["cwd"] == "/var/task" and seen["task"] == "0o755" and seen["tmp"] == "0o1777"
    assert seen["uid"] != 0 and seen["user"].startswith("sbx_user") and seen["zone"] == "UTC"
    assert {"null", "zero", "full", "random", "urandom"} <= set(seen["devices"])
    assert not {"shm", "ptmx", "loop0", "vda", "kmsg"} & set(seen["devices"])
    assert seen["space"] >= 500 * 1000 * 1000
    assert seen["certs"]


def test_tmp_of_the_configured_size(deploy):
    function = deploy(pack_folder(FUNCTIONS / "python"), "python3.11", "lambda_function.handler",
                      EphemeralStorage={"Size": 1024}, MemorySize=128, Timeout=60)
    code = """
import os
block = os.urandom(1 << 20)
with open('/tmp/big', 'wb') as f:
    for _ in range(700): f.write(block)
result = [os.path.getsize('/tmp/big'), os.statvfs('/tmp').f_blocks * os.statvfs('/tmp').f_frsize]
"""
    size, total = function.call({"do": "exec", "code": code})
    assert size == 700 << 20, "/tmp counts against MemorySize"
    assert total >= 1000 * 1000 * 1000


def test_host_packages_are_not_there(python):
    """The interpreter's own library, and nothing of the host's site packages."""
    code = """
import sys, importlib.util
result = {'path': sys.path, 'found': [n for n in ('pytest', 'pip', 'requests', 'apt_pkg') if importlib.util.find_spec(n)]}
"""
    seen = python.call({"do": "exec", "code": code})
    assert seen["path"][0] == "/var/task" and "/opt/python" in seen["path"]
    assert "pytest" not in seen["found"] and "apt_pkg" not in seen["found"]
    assert not [path for path in seen["path"] if "dist-packages" in path]


def test_names_resolve(python):
    assert python.call({"do": "resolve", "host": "localhost"})
    assert python.call({"do": "resolve", "host": "host.irori.internal"})


LIMITS = {"NOFILE": 1024, "NPROC": 1024, "MEMLOCK": 65536, "CORE": 1, "MSGQUEUE": 102400, "SIGPENDING": 1024, "NICE": 0, "RTPRIO": 0}


def test_resource_limits(python):
    """As recorded on AWS, but for those that src/init/spawn.c gives a reason for; all but the stack's are hard ones, too."""
    code = f"import resource\nresult = {{name: resource.getrlimit(getattr(resource, 'RLIMIT_' + name)) for name in {[*LIMITS, 'STACK']}}}"
    limits = python.call({"do": "exec", "code": code})
    assert limits.pop("STACK")[0] == 8 << 20
    assert limits == {name: [value, value] for name, value in LIMITS.items()}


def test_names_are_asked_of_the_hosts_resolver(tmp_path, own_server):
    """A resolver on the host's loopback, as systemd-resolved or dnsmasq has it: by UDP, by TCP when an answer is cut short,
    with the search list; what does not exist does not."""
    records = {"short.irori.test": "198.51.100.21", "long.irori.test": "198.51.100.22", "db.corp.test": "198.51.100.23"}
    with NameServer(records, long=["long.irori.test"]) as names:
        server = server_with_resolver(tmp_path, names.address, "search corp.test\n")
        own_server.started.append(server)
        for function in (server.probe("python", MemorySize=256, Timeout=20), server.probe("node", MemorySize=256, Timeout=20)):
            names.asked.clear()
            assert function.call({"do": "resolve", "host": "short.irori.test"}) == ["198.51.100.21"]
            assert set(names.asked) == {("udp", "short.irori.test")}
            assert function.call({"do": "resolve", "host": "long.irori.test"}) == ["198.51.100.22"]
            assert ("tcp", "long.irori.test") in names.asked
            assert function.call({"do": "resolve", "host": "db"}) == ["198.51.100.23"]
            assert function.invoke({"do": "resolve", "host": "absent.irori.test"}).error == "Unhandled"
            assert ("udp", "absent.irori.test") in names.asked
        server.stop()


def test_processor_share(deploy):
    """884 MB are half a core: a busy second yields about half a second of work."""
    source = {"lambda_function.py": """
import time
def handler(event, context):
    begin, used = time.perf_counter(), time.process_time()
    while time.perf_counter() - begin < 2: pass
    return (time.process_time() - used) / (time.perf_counter() - begin)
"""}
    share = deploy(source, "python3.11", "lambda_function.handler", MemorySize=884, Timeout=10).call({})
    assert 0.3 < share < 0.65, share


@pytest.mark.parametrize("folder,runtime,handler", [("node", "nodejs20.x", "index.handler"),
                                                    ("python", "python3.11", "lambda_function.handler")])
def test_extra_files_of_the_package(deploy, folder, runtime, handler):
    """Data files, nested folders and modes arrive as packed."""
    package = pack_folder(FUNCTIONS / folder, {"data/deep/file.txt": "content", "tool.sh": ("#!/bin/sh\necho ran\n", 0o755)})
    function = deploy(package, runtime, handler)
    if folder == "python":
        seen = function.call({"do": "run", "command": "cat data/deep/file.txt; ./tool.sh; touch /var/task/x"})
        assert seen["out"] == "contentran\n" and seen["status"] != 0
    else:
        assert function.call({"do": "echo", "value": 1}) == 1
