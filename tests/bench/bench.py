#!/usr/bin/env python3
"""make bench: measures Irori on this machine and prints a table; JSON goes to BUILD/bench/results.json.

Every speed is a ratio to something measured in the same run: a plain node:http server that answers the same, or a bare
node. Rounds of Irori and the reference alternate; the median of the rounds' values is shown. Run as root.

    bench.py [--build DIR] [--only NAME[,NAME]] [--rounds N] [--seconds S] [--cycles N]
"""
import argparse
import base64
import contextlib
import http.client
import json
import os
import pathlib
import platform
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
import io

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

    def deploy(self, name, runtime, handler, files, memory=1769, url=True):
        status, answer = self.call("POST", "/2015-03-31/functions", {
            "FunctionName": name, "Runtime": runtime, "Handler": handler, "MemorySize": memory, "Timeout": 30,
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


def ratio_rounds(args, cpus, client_cpus, measure_irori, measure_plain):
    irori, plain = [], []
    for _ in range(args.rounds):
        plain.append(measure_plain())
        irori.append(measure_irori())
    return statistics.median(irori), statistics.median(plain), statistics.median(a / b for a, b in zip(irori, plain))


def warm(args, cpus, client_cpus, name, target):
    with Server(args.build, cpus) as server, plain_server(cpus) as plain:
        host = server.deploy("warm", "nodejs20.x", "index.handler", node_function())
        server.call("GET", "/", host=host)
        irori, reference, ratio = ratio_rounds(
            args, cpus, client_cpus,
            lambda: load(args.build, client_cpus, server.port, 1, args.seconds, host)["p50_us"],
            lambda: load(args.build, client_cpus, plain, 1, args.seconds)["p50_us"])
    return [(name, f"{ratio:.2f}", target, ratio <= float(target.split()[1]),
             f"Irori p50 {irori:.0f} µs, plain node {reference:.0f} µs")]


def bench_warm_one_core(args):
    return warm(args, "0", "0", "warm invoke ÷ plain node server, one core, p50", "≤ 3.0")


def bench_warm_two_cores(args):
    return warm(args, "0,1", "0,1", "warm invoke ÷ plain node server, two cores, p50", "≤ 1.3")


def bench_throughput(args):
    with Server(args.build, "0,1", "--account-concurrency", "8") as server, plain_server("0,1") as plain:
        host = server.deploy("static", "provided.al2023", "x", static_function(args.build))
        load(args.build, "0,1", server.port, 8, 0.5, host)
        irori, reference, ratio = ratio_rounds(
            args, "0,1", "0,1",
            lambda: load(args.build, "0,1", server.port, 8, args.seconds, host)["rps"],
            lambda: load(args.build, "0,1", plain, 8, args.seconds)["rps"])
    return [("throughput, 8 environments, static C ÷ plain node server", f"{ratio:.2f}", "≥ 0.5", ratio >= 0.5,
             f"Irori {irori:.0f}/s, plain node {reference:.0f}/s")]


def bare_node_ms():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        command = [shutil.which("node"), str(HERE / "first-byte.js"), str(listener.getsockname()[1])]
        begun = time.monotonic()
        process = os.posix_spawn(command[0], command, PLAIN_ENV)
        accepted, _ = listener.accept()
        accepted.recv(1)
        elapsed = time.monotonic() - begun
        accepted.close()
        os.waitpid(process, 0)
        return elapsed * 1000


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


def bench_cold(args):
    with Server(args.build, "0,1", "--templates=false") as server:
        cold, bare = cold_series(server, args, "nodejs20.x", "index.handler", node_function(), bare_node_ms)
    added = statistics.median(cold) - statistics.median(bare)
    return [("added to a Node cold start without template, p50", f"{added:.1f} ms", "≤ 15 ms", added <= 15,
             f"cold {statistics.median(cold):.1f} ms, bare node {statistics.median(bare):.1f} ms")]


def python_function():
    return {"index.py": ((HERE / "functions/python/index.py").read_bytes(), 0o644)}


def bench_templates(args):
    rows = []
    for name, runtime, handler, files, command, target in (
            ("Node", "nodejs20.x", "index.handler", {"index.mjs": ((HERE / "functions/node20/index.mjs").read_bytes(), 0o644)},
             (shutil.which("node"), "-e", "0"), 0.10),
            ("Python", "python3.11", "index.handler", python_function(), ("/usr/bin/python3.11", "-c", "pass"), 0.5)):
        if not os.path.exists(command[0]):
            rows.append((f"{name}, runtime template", "not measured", "", False, f"{command[0]} is not there"))
            continue
        medians = {}
        for flags in ((), ("--templates=false",)):
            with Server(args.build, "0,1", *flags) as server:
                cold, reference = cold_series(server, args, runtime, handler, files, lambda command=command: run_ms(*command))
            medians[flags] = (statistics.median(cold), p99(cold), statistics.median(reference))
        cold, worst, reference = medians[()]
        rows.append((f"{name}, runtime template, 20-line handler: cold p50 ÷ {' '.join(command[:1]).split('/')[-1]} {' '.join(command[1:])}",
                     f"{cold / reference:.2f}", f"≤ {target:.2f}", cold / reference <= target,
                     f"cold p50 {cold:.1f} ms, p99 {worst:.1f} ms, reference {reference:.1f} ms; without template "
                     f"{medians[('--templates=false',)][0]:.1f} ms"))
    return rows


def bench_burst(args):
    with Server(args.build, "0,1") as server:
        server.call("GET", "/", host=server.deploy("first", "nodejs20.x", "index.handler", node_function()))
        host = server.deploy("burst", "nodejs20.x", "index.handler", node_function())
        time.sleep(2)
        request = f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
        connections = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
        poll, begun, done, good = select.poll(), time.perf_counter(), [], 0
        for connection in connections:
            connection.sendall(request)
            poll.register(connection, select.POLLIN)
        waiting = {connection.fileno(): (connection, b"") for connection in connections}
        while waiting and time.perf_counter() - begun < 60:
            for fd, _ in poll.poll(1000):
                connection, answer = waiting[fd]
                piece = connection.recv(65536)
                if piece:
                    waiting[fd] = (connection, answer + piece)
                    continue
                done.append((time.perf_counter() - begun) * 1000)
                good += b" 200 " in answer[:20]
                poll.unregister(fd)
                del waiting[fd]
        for connection in connections:
            connection.close()
    p50 = statistics.median(done) if done else 0
    return [("burst of 200 requests to a cold Node function, p50", f"{p50:.0f} ms", "≤ 1000 ms, no errors", good == 200 and p50 <= 1000,
             f"{good} of 200 answered, last after {max(done, default=0):.0f} ms")]


def bench_static_start(args):
    driver = ROOT / "tests/sandbox/measure_start.py"
    out = subprocess.run([sys.executable, str(driver), "--build", str(args.build), "--count", "200", "--json"],
                         check=True, capture_output=True, text=True).stdout
    result = json.loads(out.splitlines()[-1])
    return [("slot taken to first byte of a static bootstrap, p50", f"{result['p50_ms']:.2f} ms", "≤ 1.5 ms",
             result["p50_ms"] <= 1.5, f"p99 {result['p99_ms']:.2f} ms")]


def status_kib(pid, field):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise KeyError(field)


def bench_memory(args):
    with Server(args.build, "0,1") as server:
        files = node_function()
        for i in range(1000):
            body = dict(files)
            body["version.txt"] = (str(i).encode(), 0o644)
            server.deploy(f"memory{i}", "nodejs20.x", "index.handler", body, url=False)
        connections = []
        for _ in range(100):
            connection = http.client.HTTPConnection("127.0.0.1", server.port)
            connection.request("GET", "/health")
            connection.getresponse().read()
            connections.append(connection)
        time.sleep(1)
        mib = status_kib(server.pid_of("irorid"), "VmRSS") / 1024
    return [("irorid memory, 1,000 functions, 100 idle connections", f"{mib:.1f} MiB", "≤ 64 MiB", mib <= 64, "resident set")]


def loop_file(name):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/sys/block/{name}/loop/backing_file").read_text()
    return ""


def inventory(server):
    pids = [server.process.pid, server.pid_of("irorid"), server.pid_of("irori-launcher")]
    instance = pathlib.Path(server.data + "/data/instance").read_text().split()[0]  # others may run beside it
    cgroups = sum(len(folders) for path, folders, _ in os.walk("/sys/fs/cgroup") if f"irori-{instance}" in path)
    return {
        "irorid KiB": status_kib(pids[1], "VmRSS"),
        "launcher KiB": status_kib(pids[2], "VmRSS"),
        "descriptors": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
        "mounts": len(pathlib.Path(f"/proc/{pids[2]}/mounts").read_text().splitlines()),
        "cgroups": cgroups,
        "links": len([name for name in os.listdir("/sys/class/net") if instance in name]),
        "loop devices": len([name for name in os.listdir("/sys/block") if name.startswith("loop")
                             and server.data in loop_file(name)]),
        "code files": sum(len(files) for _, _, files in os.walk(server.data + "/data/code")),
        "log folders": len(os.listdir(server.data + "/data/logs")),
    }


def one_cycle(server, i, files):
    name = f"cycle{i}"
    body = dict(files)
    body["version.txt"] = (str(i).encode(), 0o644)
    server.deploy(name, "provided.al2023", "x", body, memory=128, url=False)
    status, answer = server.call("POST", f"/2015-03-31/functions/{name}/invocations", {})
    if status != 200 or b"hello" not in answer:
        raise RuntimeError(f"cycle {i}: {status} {answer}")
    server.call("DELETE", f"/2015-03-31/functions/{name}")


def bench_cycles(args):
    with Server(args.build, "0,1") as server:
        files = static_function(args.build)
        for i in range(50):
            one_cycle(server, i, files)
        time.sleep(4)  # so that code and logs of what was deleted are gone
        before = inventory(server)
        for i in range(50, 50 + args.cycles):
            one_cycle(server, i, files)
        time.sleep(4)
        after = inventory(server)
    grown = {name: (before[name], after[name]) for name in before
             if after[name] > before[name] + (1024 if name.endswith("KiB") else 2)}
    text = ", ".join(f"{name} {a} → {b}" for name, (a, b) in {n: (before[n], after[n]) for n in before}.items())
    return [(f"{args.cycles} deploy, invoke, delete cycles", "no growth" if not grown else "growth", "no growth",
             not grown, text)]


BENCHES = {
    "warm-one-core": bench_warm_one_core,
    "warm-two-cores": bench_warm_two_cores,
    "throughput": bench_throughput,
    "cold": bench_cold,
    "templates": bench_templates,
    "burst": bench_burst,
    "static-start": bench_static_start,
    "memory": bench_memory,
    "cycles": bench_cycles,
}


def machine():
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    return f"{model}, {os.cpu_count()} processors, {memory} GiB, Linux {platform.release()}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--cycles", type=int, default=1000)
    args = parser.parse_args()
    args.build = args.build.resolve()
    (args.build / "bench").mkdir(parents=True, exist_ok=True)
    chosen = [name for name in BENCHES if not args.only or name in args.only.split(",")]
    rows = []
    for name in chosen:
        note(f"measuring {name} ...")
        try:
            rows += BENCHES[name](args)
        except (RuntimeError, subprocess.SubprocessError, OSError) as error:
            rows.append((name, "failed", "", False, str(error)))
    print(f"\nMachine: {machine()}\nDate: {time.strftime('%Y-%m-%d')}\n")
    print("| measure | value | target | met | detail |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row[0]} | {row[1]} | {row[2]} | {'yes' if row[3] else 'NO'} | {row[4]} |")
    results = [dict(zip(("measure", "value", "target", "met", "detail"), row)) for row in rows]
    (args.build / "bench" / "results.json").write_text(
        json.dumps({"machine": machine(), "date": time.strftime("%Y-%m-%d"), "results": results}, indent=1))


if __name__ == "__main__":
    main()
