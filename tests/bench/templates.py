"""Benchmarks of templates: cold starts, clean state, memory, and how many environments there can be."""

import contextlib
import http.client
import json
import os
import pathlib
import select
import shutil
import socket
import statistics
import subprocess
import threading
import time

from common import HERE, PLAIN_ENV, ROOT, Server, cold_ms, cold_series, load, node_function, p99, python_function, run_ms, static_function


def bench_runtime_templates(args):
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


# ---- templates of a version ----

def published(server, name, runtime, handler, files):
    """A function whose version 1, behind the alias that the URL is of, has a template; the URL's host name."""
    server.deploy(name, runtime, handler, files, url=False, SnapStart={"ApplyOn": "PublishedVersions"})
    server.call("POST", f"/2015-03-31/functions/{name}/versions", {})
    deadline = time.monotonic() + 60
    while json.loads(server.call("GET", f"/2015-03-31/functions/{name}/configuration?Qualifier=1")[1])["State"] == "Pending":
        if time.monotonic() > deadline:
            raise RuntimeError(f"the version of {name} stays Pending")
        time.sleep(0.05)
    server.call("POST", f"/2015-03-31/functions/{name}/aliases", {"Name": "live", "FunctionVersion": "1"})
    _, answer = server.call("POST", f"/2021-10-31/functions/{name}/url?Qualifier=live", {"AuthType": "NONE"})
    server.call("POST", f"/2015-03-31/functions/{name}/policy?Qualifier=live", {
        "StatementId": "public", "Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"})
    found = [one for one in json.loads(server.call("GET", "/_irori/templates")[1])["templates"] if one.get("function") == name]
    if not found or found[0]["state"] != "ready":
        raise RuntimeError(f"no template of {name}: {found}")
    return json.loads(answer)["FunctionUrl"].split("/")[2]


def no_environment(server):
    while json.loads(server.call("GET", "/_irori/environments")[1])["environments"]:
        time.sleep(0.01)
    time.sleep(0.1)  # so that a slot is prepared again


def npm_function(args, source, *packages):
    """A function of this source with packages from the registry beside it."""
    folder = args.build / "bench" / ("npm-" + "-".join(packages).replace("/", "_"))
    if not (folder / "node_modules").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text("{}")
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", *packages], cwd=folder, check=True)
    files = {"index.mjs": (source.encode(), 0o644)}
    for path in folder.glob("node_modules/**/*"):
        if path.is_file() and not path.is_symlink():
            files[str(path.relative_to(folder))] = (path.read_bytes(), 0o644)
    return files


EXPRESS = """
import express from 'express';
const app = express();
app.get('/', (request, response) => response.send('hello world'));
export const handler = async () => ({ statusCode: 200, body: app.name === 'app' ? 'hello world' : 'no app' });
"""
SDK = """
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
const client = new DynamoDBClient({});
export const handler = async () => ({ statusCode: 200, body: client.config ? 'hello world' : 'no client' });
"""

SDK_BY_REQUIRE = """
const { DynamoDBClient } = require('@aws-sdk/client-dynamodb');
const client = new DynamoDBClient({});
exports.handler = async () => ({ statusCode: 200, body: client.config ? 'hello world' : 'no client' });
"""


def go_function(args):
    folder = ROOT / "tests/functions/go"
    program = args.build / "bench" / "go-bootstrap"
    subprocess.run(["go", "build", "-tags", "lambda.norpc", "-o", program, "."], cwd=folder, check=True,
                   env={**os.environ, "CGO_ENABLED": "0"})
    return {"bootstrap": (program.read_bytes(), 0o755)}


def restored_series(args, runtime, handler, files, reference, expected=b"hello world"):
    """Cold calls of a version with a template: no environment is alive before any of them."""
    with Server(args.build, "0,1", "--idle-timeout-ms", "150", "--freeze-after-ms", "50") as server:
        host = published(server, "restored", runtime, handler, files)
        server.call("GET", "/", host=host)
        cold, compared = [], []
        for _ in range(8 * args.rounds):
            no_environment(server)
            compared.append(reference())
            cold.append(cold_ms(server, host, expected))
    return cold, compared


def ordinary_p50(args, runtime, handler, files, expected=b"hello world"):
    """The same without any template."""
    with Server(args.build, "0,1", "--templates=false", "--idle-timeout-ms", "150", "--freeze-after-ms", "50") as server:
        host = server.deploy("ordinary", runtime, handler, files)
        server.call("GET", "/", host=host)
        cold = []
        for _ in range(3 * args.rounds):
            no_environment(server)
            cold.append(cold_ms(server, host, expected))
    return statistics.median(cold)


def bench_function_templates(args):
    node, python = (shutil.which("node"), "-e", "0"), ("/usr/bin/python3.11", "-c", "pass")
    small_node = {"index.mjs": ((HERE / "functions/node20/index.mjs").read_bytes(), 0o644)}
    kinds = [
        ("Node", "nodejs20.x", lambda: small_node, node, 0.05, None),
        ("Python", "python3.11", python_function, python, 0.25, None),
        ("Node with express", "nodejs20.x", lambda: npm_function(args, EXPRESS, "express"), node, None, 5),
        ("Node with an AWS SDK client", "nodejs20.x", lambda: npm_function(args, SDK, "@aws-sdk/client-dynamodb"), node, None, 5),
        ("Go", "provided.al2023", lambda: go_function(args), node, None, 2),
        ("static C", "provided.al2023", lambda: static_function(args.build), node, None, 1),
    ]
    rows = []
    for name, runtime, make, command, ratio, limit in kinds:
        try:
            files = make()
            expected = b"" if name == "Go" else b"hello world"
            cold, reference = restored_series(args, runtime, "index.handler", files, lambda command=command: run_ms(*command), expected)
            without = ordinary_p50(args, runtime, "index.handler", files, expected)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            rows.append((f"{name}, function template", "not measured", "", False, str(error)[:200]))
            continue
        p50, compared = statistics.median(cold), statistics.median(reference)
        what = " ".join([pathlib.Path(command[0]).name, *command[1:]])
        detail = f"p99 {p99(cold):.1f} ms, {what} {compared:.1f} ms; without template {without:.1f} ms"
        if ratio:
            rows.append((f"{name}, function template: cold p50 ÷ {what}", f"{p50 / compared:.3f}", f"≤ {ratio:.2f}",
                         p50 / compared <= ratio, f"cold p50 {p50:.1f} ms, " + detail))
        else:
            rows.append((f"{name}, function template: cold p50", f"{p50:.1f} ms", f"≤ {limit} ms", p50 <= limit, detail))
    return rows


# ---- runtime templates and the code cache, with packages ----

def packages_host(server, runtime, files, has_cache):
    """A function that has been called once, and whose first environment has made the code cache; its URL's host name."""
    host = server.deploy("packages", runtime, "index.handler", files)
    server.call("GET", "/", host=host)
    deadline = time.monotonic() + 20
    while has_cache and json.loads(server.call("GET", "/_irori/templates")[1])["codeCache"]["made"] == 0:
        if time.monotonic() > deadline:
            raise RuntimeError("no code cache is made")
        time.sleep(0.05)
    return host


def bench_code_cache(args):
    rows = []
    idle = ("--idle-timeout-ms", "1000", "--freeze-after-ms", "50")
    ordinary, no_cache = ("--templates=false",), ("--code-cache-max-mb", "0")
    kinds = {"template and cache": (), "template": no_cache, "cache": ordinary, "neither": (*ordinary, *no_cache)}
    packages = (("express", EXPRESS, "express", "index.mjs"), ("an AWS SDK client", SDK, "@aws-sdk/client-dynamodb", "index.mjs"),
                ("an AWS SDK client by require()", SDK_BY_REQUIRE, "@aws-sdk/client-dynamodb", "index.js"))
    for name, source, package, file in packages:
        what = f"Node with {name}, runtime template and code cache: cold p50 ÷ without template"
        try:
            files = npm_function(args, source, package)
            files[file] = files.pop("index.mjs")
            with contextlib.ExitStack() as stack:
                servers = {key: stack.enter_context(Server(args.build, "0,1", *idle, *flags)) for key, flags in kinds.items()}
                hosts = {key: packages_host(server, "nodejs20.x", files, "cache" in key) for key, server in servers.items()}
                cold = {key: [] for key in servers}
                for _ in range(4 * args.rounds):
                    for key, server in servers.items():  # one after the other, so that a busy moment hits all of them
                        no_environment(server)
                        cold[key].append(cold_ms(server, hosts[key]))
                clones = json.loads(servers["template and cache"].call("GET", "/_irori/templates")[1])["templates"][0]["clones"]
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            rows.append((what, "not measured", "≤ 0.60", False, str(error)[:200]))
            continue
        p50 = {key: statistics.median(values) for key, values in cold.items()}
        ratio = statistics.median(a / b for a, b in zip(cold["template and cache"], cold["neither"]))
        rows.append((what, f"{ratio:.2f}", "≤ 0.60", ratio <= 0.6 and clones >= 4 * args.rounds,
                     "cold p50: " + ", ".join(f"{key} {value:.1f} ms" for key, value in p50.items())))
    return rows


# ---- clean state ----

BUSY = """
export const handler = async (event) => {
  const until = process.hrtime.bigint() + 20000000n;
  while (process.hrtime.bigint() < until);
  return { statusCode: 200, body: 'hello world' };
};
"""


def paced(server, host, per_second, seconds):
    """Requests at even intervals, whether or not the ones before are answered: their latencies in ms."""
    latencies, threads = [], []

    def one():
        latencies.append(cold_ms(server, host))

    begun = time.perf_counter()
    for i in range(int(per_second * seconds)):
        time.sleep(max(0, begun + i / per_second - time.perf_counter()))
        threads.append(threading.Thread(target=one))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return latencies


def bench_clean_state(args):
    files = {"index.mjs": (BUSY.encode(), 0o644)}
    rates, p50s, p99s = {False: [], True: []}, {False: [], True: []}, {False: [], True: []}
    with Server(args.build, "0,1") as server:
        hosts = {False: server.deploy("reuse", "nodejs20.x", "index.handler", files),
                 True: server.deploy("clean", "nodejs20.x", "index.handler", files, Tags={"irori:state": "clean"})}
        for host in hosts.values():
            load(args.build, "0,1", server.port, 2, 2, host)
        for _ in range(args.rounds):
            for clean, host in hosts.items():
                rates[clean].append(load(args.build, "0,1", server.port, 2, args.seconds, host)["rps"])
        half = statistics.median(rates[False]) / 2
        for _ in range(args.rounds):
            for clean, host in hosts.items():
                latencies = paced(server, host, half, args.seconds)
                p50s[clean].append(statistics.median(latencies))
                p99s[clean].append(p99(latencies))
    rate, p50, worst = (statistics.median(a / b for a, b in zip(of[True], of[False])) for of in (rates, p50s, p99s))
    detail = "clean {:.1f}, reuse {:.1f}"
    return [
        ("clean state, 20 ms of Node at half load: p50 ÷ reuse", f"{p50:.2f}", "≤ 1.05", p50 <= 1.05,
         detail.format(statistics.median(p50s[True]), statistics.median(p50s[False])) + f" ms at {half:.0f}/s"),
        ("clean state, the same: p99 ÷ reuse", f"{worst:.2f}", "≤ 1.5", worst <= 1.5,
         detail.format(statistics.median(p99s[True]), statistics.median(p99s[False])) + " ms"),
        ("clean state, full load: throughput ÷ reuse", f"{rate:.2f}", "≥ 0.75", rate >= 0.75,
         detail.format(statistics.median(rates[True]), statistics.median(rates[False])) + "/s"),
    ]


def bench_rate(args):
    rows = []
    for name, runtime, files, target in (("Node", "nodejs20.x", node_function(), 250), ("Python", "python3.11", python_function(), 400)):
        with Server(args.build, "0") as server:
            host = server.deploy("rate", runtime, "index.handler", files, Tags={"irori:state": "clean"})
            load(args.build, "1", server.port, 4, 2, host)
            rates = [load(args.build, "1", server.port, 4, args.seconds, host)["rps"] for _ in range(args.rounds)]
        rate = statistics.median(rates)
        rows.append((f"new {name} environments per second, one core", f"{rate:.0f}", f"≥ {target}", rate >= target,
                     "clean state, 4 callers on the other core"))
    return rows


# ---- memory ----

COUNTING = """
let count = 0;
export const handler = async (event) => {
  await new Promise((done) => setTimeout(done, Number(event.queryStringParameters?.ms ?? 0)));
  return { statusCode: 200, body: `count=${++count}.` };
};
"""


def all_at_once(server, host, count, ms, seconds=120):
    """So many requests at the same time; the bodies' tails."""
    request = f"GET /?ms={ms} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    poll, waiting, answers, begun = select.poll(), {}, [], time.monotonic()
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", server.port))
        connection.sendall(request)
        poll.register(connection, select.POLLIN)
        waiting[connection.fileno()] = (connection, b"")
    while waiting and time.monotonic() - begun < seconds:
        for fd, _ in poll.poll(1000):
            connection, answer = waiting[fd]
            piece = connection.recv(65536)
            if piece:
                waiting[fd] = (connection, answer + piece)
                continue
            answers.append(answer)
            poll.unregister(fd)
            connection.close()
            del waiting[fd]
    return answers


def idle_mib(server):
    time.sleep(0.5)
    environments = json.loads(server.call("GET", "/_irori/environments")[1])["environments"]
    return statistics.median(one["memoryBytes"] for one in environments) / (1 << 20), len(environments)


def bench_idle_memory(args):
    files, rows = {"index.mjs": (COUNTING.encode(), 0o644)}, []
    for kind in ("function template", "runtime template"):
        with Server(args.build, "0,1") as server:
            host = published(server, "idle", "nodejs20.x", "index.handler", files) if kind == "function template" \
                else server.deploy("idle", "nodejs20.x", "index.handler", files)
            server.call("GET", "/", host=host)
            time.sleep(1)
            all_at_once(server, host, 50, 1500)
            first, count = idle_mib(server)
            for _ in range(19):
                all_at_once(server, host, count, 150)
            last, _ = idle_mib(server)
        detail = f"median of {count} environments, kernel memory included, file pages not"
        rows += [(f"an idle Node environment ({kind}) after 1 request", f"{first:.2f} MiB", "≤ 1.5 MiB", first <= 1.5, detail),
                 (f"an idle Node environment ({kind}) after 20 requests", f"{last:.2f} MiB", "≤ 3 MiB", last <= 3, detail)]
    return rows


def bench_idle_count(args):
    wanted = 1500
    with Server(args.build, "0,1", "--max-memory-mb", "4096", "--account-concurrency", "2000", "--idle-timeout-ms", "600000") as server:
        host = server.deploy("many", "nodejs20.x", "index.handler", {"index.mjs": (COUNTING.encode(), 0o644)}, Timeout=120)
        server.call("GET", "/", host=host)
        time.sleep(1)
        first = all_at_once(server, host, wanted, 40000)
        alive = json.loads(server.call("GET", "/_irori/environments")[1])["environments"]
        used = sum(one["memoryBytes"] for one in alive) / (1 << 30)
        again = all_at_once(server, host, len(alive), 10000)
        warm = sum(b" 200 " in answer[:20] and b"count=1." not in answer for answer in again)
    good = sum(b" 200 " in answer[:20] for answer in first)
    return [("idle Node environments alive at once in 4 GiB", f"{len(alive)}", f"≥ {wanted}, all answering",
             len(alive) >= wanted and warm == len(alive), f"{good} of {wanted} answered, {warm} of {len(alive)} answered again, {used:.2f} GiB")]
