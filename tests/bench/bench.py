#!/usr/bin/env python3
"""make bench: measures Irori on this machine and prints a table; JSON goes to BUILD/bench/results.json.

Every speed is a ratio to something measured in the same run: a plain node:http server that answers the same, or a bare
node. Rounds of Irori and the reference alternate; the median of the rounds' values is shown. Run as root.

    bench.py [--build DIR] [--only NAME[,NAME]] [--rounds N] [--seconds S] [--cycles N]
"""
import argparse
import contextlib
import http.client
import json
import os
import pathlib
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import time

import templates
from common import (HERE, PLAIN_ENV, ROOT, Server, cold_series, load, node_function, note, plain_server, static_function,
                    status_kib)


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


def bench_cold(args):
    with Server(args.build, "0,1", "--templates=false") as server:
        cold, bare = cold_series(server, args, "nodejs20.x", "index.handler", node_function(), bare_node_ms)
    added = statistics.median(cold) - statistics.median(bare)
    return [("added to a Node cold start without template, p50", f"{added:.1f} ms", "≤ 15 ms", added <= 15,
             f"cold {statistics.median(cold):.1f} ms, bare node {statistics.median(bare):.1f} ms")]


def bench_static_start(args):
    driver = ROOT / "tests/sandbox/measure_start.py"
    out = subprocess.run([sys.executable, str(driver), "--build", str(args.build), "--count", "200", "--json"],
                         check=True, capture_output=True, text=True).stdout
    result = json.loads(out.splitlines()[-1])
    return [("slot taken to first byte of a static bootstrap, p50", f"{result['p50_ms']:.2f} ms", "≤ 1.5 ms",
             result["p50_ms"] <= 1.5, f"p99 {result['p99_ms']:.2f} ms")]


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
    "templates": templates.bench_runtime_templates,
    "burst": templates.bench_burst,
    "code-cache": templates.bench_code_cache,
    "function-templates": templates.bench_function_templates,
    "clean-state": templates.bench_clean_state,
    "rate": templates.bench_rate,
    "idle-memory": templates.bench_idle_memory,
    "idle-count": templates.bench_idle_count,
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
