"""A real `irori serve`, started as root in a folder of its own, and what tests do with it."""

import concurrent.futures
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from . import aws, leftovers, procs, rawhttp, wait
from .archives import pack, pack_folder
from .paths import FUNCTIONS, IRORI, SLOW
from .ports import Port

BAD_LOG = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "Assertion", "assertion",
           "stack smashing", "double free", "corrupted")
_numbers = itertools.count(1)


class Function:
    """A deployed function."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.arn = f"arn:aws:lambda:{aws.REGION}:{aws.ACCOUNT}:function:{name}"

    def invoke(self, event=None, **more):
        return aws.invoke(self.server.lam, self.name, event, **more)

    def call(self, event=None, **more):
        """Invokes and returns the parsed result; the function must not fail."""
        result = self.invoke(event, **more)
        assert result.error is None, result.payload
        return result.json

    def update_code(self, files, **more):
        package = files if isinstance(files, bytes) else pack(files)
        answer = self.server.lam.update_function_code(FunctionName=self.name, ZipFile=package, **more)
        self.server.updated(self.name)
        return answer

    def configure(self, **settings):
        answer = self.server.lam.update_function_configuration(FunctionName=self.name, **settings)
        self.server.updated(self.name)
        return answer

    def public_url(self, qualifier=None, open_it=True, **config):
        """Makes a URL with AuthType NONE and, with open_it, the statement that opens it."""
        more = {"Qualifier": qualifier} if qualifier else {}
        made = self.server.lam.create_function_url_config(
            FunctionName=self.name, **{"AuthType": "NONE", **config}, **more)
        if open_it:
            self.server.lam.add_permission(
                FunctionName=self.name, StatementId=f"open-{next(_numbers)}", Action="lambda:InvokeFunctionUrl",
                Principal="*", FunctionUrlAuthType="NONE", **more)
        return Url(self.server, made["FunctionUrl"])

    def delete(self):
        self.server.lam.delete_function(FunctionName=self.name)


class Url:
    """A function URL, called by its Host header on 127.0.0.1."""

    def __init__(self, server, url):
        self.server, self.url = server, url
        parts = urlsplit(url)
        self.host = parts.netloc
        self.domain = parts.hostname
        self.id = parts.hostname.split(".")[0]
        self.base = f"http://127.0.0.1:{server.port}/_irori/url/{self.id}"

    def call(self, method="GET", target="/", headers=None, body=None, host=None):
        """Routed by Host."""
        return rawhttp.request(self.server.port, method, target, host or self.host, headers, body)

    def call_by_path(self, method="GET", target="/", headers=None, body=None):
        """Routed by /_irori/url/<id>/."""
        return rawhttp.request(self.server.port, method, f"/_irori/url/{self.id}{target}",
                               f"127.0.0.1:{self.server.port}", headers, body)


class Server:
    """start() and stop() may be called several times: the data folder stays until close()."""

    def __init__(self, flags=(), started=True, program=IRORI):
        self.flags, self.program = list(flags), program
        self.folder = Path(tempfile.mkdtemp(prefix="irori-e2e-"))
        self.data = self.folder / "closed" / "data"
        self.data.parent.mkdir(mode=0o700)
        self.stderr = self.folder / "stderr"
        self.process, self.instance, self.known = None, None, set()
        self._port = Port()
        self.port = self._port.number
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.before = leftovers.Picture()
        self._names = []
        if started:
            try:
                self.start()
            except BaseException:
                self.kill()
                raise

    # Life of the programs

    def start(self, seconds=30):
        with open(self.stderr, "ab") as log:
            self.process = subprocess.Popen(
                [str(self.program), "serve", "--listen", f"127.0.0.1:{self.port}", "--data", str(self.data), *self.flags],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True)
        self.wait_ready(seconds)
        key, secret = aws.credentials(self.data)
        self.key, self.secret = key, secret
        self.lam = aws.client(self.endpoint, key, secret)
        self.note_processes()

    def healthy(self):
        try:
            with urllib.request.urlopen(f"{self.endpoint}/health", timeout=2) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def wait_ready(self, seconds=30):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"irori serve ended with {self.process.returncode}:\n{self.log()[-4000:]}")
            return self.healthy()
        wait.until(ready, seconds, f"GET /health of {self.endpoint} (log: {self.stderr})", every=0.05)

    def note_processes(self):
        """Remembers the processes that run now, so that the end can be checked."""
        if self.process is None:
            return
        pids = [self.process.pid, *procs.descendants(self.process.pid)]
        self.known.update(ident for ident in map(procs.identity, pids) if ident)
        launcher = self.pid_of("irori-launcher")
        if launcher:
            match = re.search(r"--instance[ =](\S+)", " ".join(procs.cmdline(launcher)))
            self.instance = match.group(1) if match else self.instance

    def pid_of(self, program):
        """Pid of irorid or irori-launcher of this server; None when it does not run."""
        for pid in procs.descendants(self.process.pid):
            found = procs.stat(pid)
            if procs.program(pid) == program and found and found[1] not in "ZX" and found[2] == self.process.pid:
                return pid
        return None

    def stop(self, seconds=10):
        """SIGTERM; asserts the exit status, the time and that nothing is left."""
        self.note_processes()
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"SIGTERM: still running after {seconds} s\n{self.log()[-3000:]}") from None
        assert status == 0, f"exit status {status} after {time.monotonic() - begin:.1f} s\n{self.log()[-3000:]}"
        self.assert_nothing_left()
        self.assert_log_clean()
        self.process = None

    def kill(self):
        """Ends the programs that this harness started, by their process ids, without any ceremony."""
        if self.process is None:
            return
        self.note_processes()
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def close(self):
        """Ends a test's use: stops what runs, removes the folder (kept when the stop failed)."""
        try:
            if self.process is not None:
                self.stop()
        finally:
            self._port.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def assert_nothing_left(self, seconds=3):
        """Nothing of this instance is on the machine; the kernel gets a moment for what it frees late."""
        deadline = time.monotonic() + seconds * SLOW
        while True:
            found = leftovers.find(self.before, self.instance, self.data, self.known)
            if not found or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        assert not found, "left behind:\n" + "\n".join(found[:40])

    def log(self):
        return self.stderr.read_text(errors="replace")

    def assert_log_clean(self):
        bad = [line for line in self.log().splitlines() if any(sign in line for sign in BAD_LOG)]
        assert not bad, "\n".join(bad[:20])

    def environments(self):
        """What `irori ps` lists."""
        listed = self.irori_json("ps")
        return listed["environments"] if isinstance(listed, dict) else listed

    def at_rest(self, seconds=20):
        """The numbers of leftovers.counts() when all environments have ended and the launcher has tidied up."""
        wait.until(lambda: not self.environments(), seconds, "all environments to end")
        last = None
        for _ in range(25):
            time.sleep(0.3)
            now = leftovers.counts(self.pid_of("irori-launcher"), self.pid_of("irorid"), self.data, self.instance)
            if now == last:
                break
            last = now
        return now

    def memory(self):
        """MiB that the programs hold, and all environments and templates together."""
        return {"launcher": procs.rss_kib(self.pid_of("irori-launcher")) / 1024, "daemon": procs.rss_kib(self.pid_of("irorid")) / 1024,
                "environments": leftovers.memory_in_use(self.instance) / (1 << 20)}

    def in_fresh_environments(self, call, count, batch=25):
        """Answers of at least so many different environments, `batch` of which live at once. call() must return what says with
        "stream" in which one it was made, and take so long that all of a batch overlap; --idle-timeout-ms should be short."""
        answers, streams = [], set()
        while True:
            assert len(answers) < 2 * count, f"{len(answers)} calls met {len(streams)} environments"
            with concurrent.futures.ThreadPoolExecutor(batch) as pool:
                answers += pool.map(lambda _: call(), range(batch))
            streams = {answer["stream"] for answer in answers}
            if len(streams) >= count:
                return answers, len(streams)
            wait.until(lambda: not self.environments(), 20, "the end of the batch's environments")

    # Functions

    def name(self, prefix="fn"):
        return f"{prefix}-{next(_numbers)}"

    def deploy(self, files, runtime="nodejs20.x", handler="index.handler", name=None, wait_active=True, **config):
        """CreateFunction and the waiter. files: dict for pack(), or the archive's bytes."""
        name = name or self.name()
        package = files if isinstance(files, bytes) else pack(files)
        arguments = {"FunctionName": name, "Role": aws.ROLE, "Runtime": runtime, "Handler": handler,
                     "Code": {"ZipFile": package}, **config}
        self.lam.create_function(**arguments)
        if wait_active:
            self.active(name)
        return Function(self, name)

    def probe(self, folder, **config):
        """Deploys a folder of tests/functions, for Node when it has an index.mjs, else for Python."""
        path = FUNCTIONS / folder
        node = (path / "index.mjs").exists()
        runtime, handler = ("nodejs20.x", "index.handler") if node else ("python3.11", "lambda_function.handler")
        function = self.deploy(pack_folder(path), runtime, handler, **config)
        function.runtime = runtime
        return function

    def _waiter(self, kind, name, qualifier):
        more = {"Qualifier": qualifier} if qualifier else {}
        self.lam.get_waiter(kind).wait(FunctionName=name, WaiterConfig={"Delay": 0.05, "MaxAttempts": 600}, **more)

    def active(self, name, qualifier=None):
        self._waiter("function_active_v2", name, qualifier)

    def updated(self, name, qualifier=None):
        self._waiter("function_updated_v2", name, qualifier)

    # Command line

    def irori(self, *args, check=True, stdin=None, timeout=120, env=None):
        """Runs the irori command line against this server."""
        done = subprocess.run(
            [str(IRORI), *args], capture_output=True, text=True, input=stdin, timeout=timeout, check=False,
            env={**os.environ, "IRORI_ENDPOINT": self.endpoint, "AWS_ACCESS_KEY_ID": self.key,
                 "AWS_SECRET_ACCESS_KEY": self.secret, **(env or {})})
        if check:
            assert done.returncode == 0, f"irori {' '.join(args)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def irori_json(self, *args, **more):
        return json.loads(self.irori(*args, "--json", **more).stdout)

    def aws(self, *args, check=True):
        return aws.run_aws(self.endpoint, self.key, self.secret, *args, check=check)

    def runtimes(self):
        """Ids of the runtimes that the machine has."""
        listed = self.irori_json("runtimes")
        items = listed["runtimes"] if isinstance(listed, dict) else listed
        return {item["id"] for item in items if item.get("path") or item.get("available") or item["id"].startswith("provided")}
