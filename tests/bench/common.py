"""What the benchmarks share: a server, deployments, cold calls, and what they are compared with."""

import base64
import contextlib
import http.client
import io
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VERBOSE = sys.stderr.isatty()
# For the references: a setting such as NODE_EXTRA_CA_CERTS would make a plain node slower than it is.
PLAIN_ENV = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def note(text):
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def zip_of(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, (data, mode) in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100000 | mode) << 16
            archive.writestr(info, data)
    return out.getvalue()


class Server:
    """A real `irori serve` with its own data folder and port; unsigned requests keep the client out of the figures."""

    def __init__(self, build, cpus, *flags):
        self.port = free_port()
        self.data = tempfile.mkdtemp(prefix="irori-bench-")
        self.log = open(pathlib.Path(self.data) / "serve.log", "w")
        self.process = subprocess.Popen(
            ["taskset", "-c", cpus, str(build / "irori"), "serve", "--listen", f"127.0.0.1:{self.port}",
             "--data", self.data + "/data", "--no-auth", *flags],
            stderr=self.log, stdout=self.log)
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                if self.call("GET", "/health")[0] == 200:
                    return
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"the server did not start; see {self.log.name}")
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=15)
        self.log.close()
        shutil.rmtree(self.data, ignore_errors=True)

    def call(self, method, path, body=None, host=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            headers = {"Host": host} if host else {}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def deploy(self, name, runtime, handler, files, memory=1769, url=True, **more):
        status, answer = self.call("POST", "/2015-03-31/functions", {
            "FunctionName": name, "Runtime": runtime, "Handler": handler, "MemorySize": memory, "Timeout": 30, **more,
            "Role": "arn:aws:iam::000000000000:role/bench",
            "Code": {"ZipFile": base64.b64encode(zip_of(files)).decode()}})
        if status != 201:
            raise RuntimeError(f"deploy {name}: {status} {answer}")
        deadline = time.monotonic() + 20
        while json.loads(self.call("GET", f"/2015-03-31/functions/{name}/configuration")[1])["State"] != "Active":
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not become active")
            time.sleep(0.01)
        if not url:
            return None
        _, answer = self.call("POST", f"/2021-10-31/functions/{name}/url", {"AuthType": "NONE"})
        self.call("POST", f"/2015-03-31/functions/{name}/policy", {
            "StatementId": "public", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"})
        return json.loads(answer)["FunctionUrl"].split("/")[2]

    def pid_of(self, program):
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
                name = stat[stat.index("(") + 1:stat.rindex(")")]
                if name == program and int(stat[stat.rindex(")") + 2:].split()[1]) == self.process.pid:
                    return int(pid)
        raise RuntimeError(f"no {program}")


@contextlib.contextmanager
def plain_server(cpus):
    port = free_port()
    process = subprocess.Popen(["taskset", "-c", cpus, "node", str(HERE / "plain-server.js"), str(port)],
                               stdout=subprocess.PIPE, env=PLAIN_ENV)
    process.stdout.readline()
    try:
        yield port
    finally:
        process.kill()
        process.wait()


def load(build, cpus, port, connections, seconds, host="localhost", path="/"):
    out = subprocess.run(["taskset", "-c", cpus, str(build / "tests/bench/bench-load"), str(port), str(connections),
                          str(seconds), host, path, "hello world"], check=True, capture_output=True, text=True).stdout
    result = json.loads(out)
    if result["errors"] or not result["requests"]:
        raise RuntimeError(f"wrong answers under load: {result}")
    return result


def node_function():
    return {"index.mjs": ((HERE / "functions/node/index.mjs").read_bytes(), 0o644)}


def static_function(build):
    program = build / "bench" / "bootstrap"
    program.parent.mkdir(exist_ok=True)
    compiler = shutil.which("musl-gcc") or "gcc"
    subprocess.run([compiler, "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-static", "-o", program,
                    HERE / "functions/static/bootstrap.c"], check=True)
    return {"bootstrap": (program.read_bytes(), 0o755)}


def cold_ms(server, host, expected=b"hello world"):
    """From a request to its whole answer, on a connection that stands already."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        answer = b""
        begun = time.perf_counter()
        connection.sendall(request)
        while piece := connection.recv(65536):
            answer += piece
        elapsed = (time.perf_counter() - begun) * 1000
    if b" 200 " not in answer[:20] or expected not in answer:
        raise RuntimeError(f"cold call: {answer[:300]}")
    return elapsed


def run_ms(*command):
    begun = time.perf_counter()
    os.waitpid(os.posix_spawn(command[0], command, PLAIN_ENV), 0)
    return (time.perf_counter() - begun) * 1000


def cold_series(server, args, runtime, handler, files, reference):
    """Cold calls of new functions and what they are compared with, in turn. A first function brings the template."""
    server.call("GET", "/", host=server.deploy(f"first-{runtime.replace('.', '-')}", runtime, handler, files))
    hosts = [server.deploy(f"cold-{runtime.replace('.', '-')}-{i}", runtime, handler, files) for i in range(8 * args.rounds)]
    time.sleep(2)
    cold, compared = [], []
    for host in hosts:
        compared.append(reference())
        cold.append(cold_ms(server, host))
        time.sleep(0.15)  # so that the environment is frozen and a slot is prepared again
    return cold, compared


def p99(values):
    return sorted(values)[int(len(values) * 0.99)]


def python_function():
    return {"index.py": ((HERE / "functions/python/index.py").read_bytes(), 0o644)}


def status_kib(pid, field):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise KeyError(field)
