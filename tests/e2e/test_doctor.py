"""irori doctor NAME: what one request leaves for the next, found in real functions."""

import concurrent.futures
import json
import os
import sys

import pytest
from test_snapstart import SNAP, of_version, publish, settled
from test_tenants import TENANCY
from test_terminal import on_terminal

from harness import build
from harness.paths import ROOT
from harness.postgres import Postgres

CLEAN = {"index.mjs": "export const handler = async (event) => ({ statusCode: 200, body: `hello ${event.queryStringParameters?.name ?? ''}` });"}
LOGS_LATER = {"index.mjs": """
let before;
export const handler = async (event) => {
  if (before) console.log('before this:', before);
  before = event.headers.authorization;
  return { statusCode: 200, body: 'done' };
};
"""}
KEEPS_FILE = {"index.py": """
def handler(event, context):
    with open("/tmp/last.json", "a") as out:
        out.write(event["headers"]["authorization"])
    return {"statusCode": 200, "body": "done"}
"""}
CRASHES = {"index.mjs": "export const handler = async () => { process.exit(3); };"}
OWN = {"index.py": """
last = None
def handler(event, context):
    global last
    found, last = last, event["secret"]
    return {"found": found}
"""}
HOLDS_SOCKETS = {"index.py": """
import socket
with socket.create_server(("127.0.0.1", 0)) as listener:
    ours = socket.create_connection(listener.getsockname())
    theirs, _ = listener.accept()
def handler(event, context):
    return {"statusCode": 200, "body": "done"}
"""}

# Values of A that a report must never show whole.
SECRETS = ["first-secret-5b1f", "tok-90817263545"]
A = {"secret": SECRETS[0], "headers": {"authorization": "Bearer " + SECRETS[1]}, "who": "eve"}
B = {"secret": "second-secret-77aa", "headers": {"authorization": "Bearer tok-11223344556"}, "who": "bob"}
needs_templates = pytest.mark.skipif(os.uname().machine != "x86_64", reason="templates need an x86-64 processor")


def findings(done, kind):
    """Those of one kind in a report."""
    return [one for one in json.loads(done.stdout)["findings"] if one["kind"] == kind]


def levels(done):
    return {one["level"] for one in json.loads(done.stdout)["findings"]}


def doctor(server, name, *more, status):
    done = server.irori("doctor", name, "--json", "--yes", *more, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.fixture
def own(tmp_path):
    """own(a, b) are the options that name two events."""
    def options(a=A, b=B):
        for name, event in (("a", a), ("b", b)):
            (tmp_path / f"{name}.json").write_text(json.dumps(event))
        return ["--event", str(tmp_path / "a.json"), "--event", str(tmp_path / "b.json")]
    return options


def python(server, source, **config):
    return server.deploy({"index.py": source}, "python3.11", **config)


def test_what_the_example_keeps_is_caught(server):
    """The previous caller's query parameter in the next one's answer: status 1, named, its middle masked."""
    folder = ROOT / "examples" / "warmstart"
    name = server.name("leaky")
    server.irori("deploy", str(folder), "--name", name)
    report = doctor(server, name, status=1).stdout
    assert "message" in report
    shown = server.irori("doctor", name, "--yes", check=False)
    assert shown.returncode == 1 and "really" in (shown.stderr + shown.stdout)
    assert json.loads(report)


def test_a_function_that_keeps_nothing_is_well(server):
    doctor(server, server.deploy(CLEAN).name, status=0)


def test_a_value_in_the_next_one_s_log_is_caught(server):
    doctor(server, server.deploy(LOGS_LATER).name, status=1)


def test_a_file_is_told_and_no_failure(server):
    report = doctor(server, server.deploy(KEEPS_FILE, "python3.11").name, status=0).stdout
    assert "/tmp/last.json" in report


def test_what_cannot_be_told_is_said(server):
    doctor(server, server.deploy(CRASHES).name, status=2)
    doctor(server, "there-is-none", status=2)


def test_events_of_one_s_own(server, own):
    report = doctor(server, server.deploy(OWN, "python3.11").name, *own(), status=1)
    assert SECRETS[0] not in report.stdout, "its middle is masked"
    assert [(one["place"], one["where"], one["from"], one["value"]) for one in findings(report, "value")] == \
        [("answer", "$.found", "$.secret", "firs***b1f")]


# ---- what A leaves ----

KEEPS = "kept = []\ndef handler(event, context):\n"


def test_a_descriptor_that_stays_open(server):
    function = python(server, KEEPS + "    kept.append(open('/var/task/index.py'))\n    return 1\n")
    done = doctor(server, function.name, status=0)
    assert [(one["what"], one["count"]) for one in findings(done, "descriptor")] == [("/var/task/index.py", 1)]
    assert findings(done, "descriptor-growth")[0]["perRequest"] == 1


def test_a_process_that_stays(server):
    function = python(server, "import subprocess\n" + KEEPS + "    kept.append(subprocess.Popen(['sleep', '99']))\n    return 1\n")
    done = doctor(server, function.name, status=0)
    assert [(one["name"], one["count"]) for one in findings(done, "process")] == [("sleep", 1)]
    assert findings(done, "process-growth")[0]["perRequest"] == 1


def test_memory_that_grows(server):
    function = python(server, KEEPS + "    kept.append(b'x' * 2000000)\n    return 1\n")
    found = findings(doctor(server, function.name, status=0), "memory")
    assert len(found) == 1 and 1.5e6 < found[0]["bytesPerRequest"] < 2.5e6


def test_an_answer_that_differs_without_a_value_of_a(server):
    function = python(server, KEEPS + "    kept.append(1)\n    return {'count': len(kept), 'same': 'x'}\n")
    done = doctor(server, function.name, status=0)
    assert [(one["where"], one["fresh"], one["used"]) for one in findings(done, "difference")] == [("$.count", "1", "2")]


def test_what_differs_by_itself_is_not_blamed(server):
    function = python(server, "import time, uuid\ndef handler(event, context):\n"
                              "    return {'id': str(uuid.uuid4()), 'at': time.time(), 'request': context.aws_request_id}\n")
    done = doctor(server, function.name, status=0)
    assert levels(done) == set(), done.stdout


def test_short_values_are_found_where_the_answer_changes(server, own):
    """Too short to be looked for in a log, and a leak all the same."""
    function = python(server, "last = None\ndef handler(event, context):\n    global last\n"
                              "    found, last = last, event['who']\n    return {'last': found}\n")
    done = doctor(server, function.name, *own(), status=1)
    assert [(one["where"], one["from"], one["value"]) for one in findings(done, "value")] == [("$.last", "$.who", "e***e")]


def test_values_in_tmp_the_log_and_the_answer(server, own):
    source = """
import base64
last = None
def handler(event, context):
    global last
    with open("/tmp/notes", "a") as out:
        out.write(event["secret"] + base64.b64encode(event["headers"]["authorization"].encode()).decode())
    found, last = last, event
    if found:
        print("before:", found["headers"]["authorization"])
    return {"last": found and base64.b64encode(found["secret"].encode()).decode()}
"""
    function = python(server, source)
    done = doctor(server, function.name, *own(), status=1)
    told = {(one["place"], one["from"], one["form"]) for one in findings(done, "value")}
    assert told >= {("tmp", "$.secret", ""), ("tmp", "$.headers.authorization", "base64"),
                    ("log", "$.headers.authorization", ""), ("answer", "$.secret", "base64")}, told
    plain = server.irori("doctor", function.name, "--yes", *own(), check=False)
    for text in (done.stdout, done.stderr, plain.stdout, plain.stderr):
        assert not [secret for secret in (*SECRETS, "ZmlyJzdC", B["secret"]) if secret in text], text
    for part in ("Values of A reached B", "firs***b1f", "/tmp/notes", "before: Bear***545", "--clean-state"):
        assert part in plain.stdout, plain.stdout


def test_huge_address_spaces_are_looked_into(server):
    """Of a terabyte that Python reserves, and of Node with what WebAssembly reserves."""
    reserve = ("import ctypes\nlibc = ctypes.CDLL(None)\nlibc.mmap.restype = ctypes.c_long\n"
               "libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]\n"
               "size = libc.mmap(None, 1 << 40, 0, 0x4022, -1, 0)\n"
               "def handler(event, context):\n    return size > 0\n")
    function = python(server, reserve)
    assert function.call({}) is True
    assert levels(doctor(server, function.name, status=0)) == set()
    memories = {"index.mjs": "const all = Array.from({ length: 4 }, () => new WebAssembly.Memory({ initial: 1, maximum: 65536 }));\n"
                             "export const handler = async () => all.length;"}
    assert "left" not in levels(doctor(server, server.deploy(memories, MemorySize=512).name, status=0))


def test_a_go_program_is_looked_into(server, own):
    function = server.deploy({"bootstrap": build.go_program()}, "provided.al2023", "x")
    done = doctor(server, function.name, *own({"do": "count", "value": SECRETS[0]}, {"do": "count", "value": "of-the-other"}), status=0)
    assert [(one["fresh"], one["used"]) for one in findings(done, "difference")] == [("1", "2")]


# ---- connections to a database ----

POOL = """
import pg from 'pg';
const pool = new pg.Pool({ host: 'host.irori.internal', port: Number(process.env.PG_PORT), user: 'postgres', database: 'postgres' });
export const handler = async (event) => {
  const { rows } = await pool.query('select $1::text as name, 40 + 2 as sum', [event.queryStringParameters.name]);
  return { statusCode: 200, body: JSON.stringify(rows[0]) };
};
"""
CONNECTION = """
import json, os, psycopg
connection = None
def handler(event, context):
    global connection
    if connection is None:
        connection = psycopg.connect(f"host=host.irori.internal port={os.environ['PG_PORT']} user=postgres dbname=postgres", autocommit=True)
    name, total = connection.execute("select %s::text, 40 + 2", [event["queryStringParameters"]["name"]]).fetchone()
    return {"statusCode": 200, "body": json.dumps({"name": name, "sum": total})}
"""


@pytest.fixture(scope="module")
def postgres():
    database = Postgres()
    yield database
    database.close()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["node", "python"])
def test_a_cached_connection_is_not_blamed(own_server, postgres, kind):
    server = own_server("--allow-host", f"127.0.0.1:{postgres.port}")
    if kind == "node":
        runtime, files = "nodejs20.x", {**build.npm_packages(), "index.mjs": POOL}
    else:
        program = "/usr/bin/python3.11" if os.path.exists("/usr/bin/python3.11") else sys.executable
        packages = {name: data for name, data in build.pip_packages(program).items() if name.split("/")[0].startswith(("psycopg", "typing"))}
        runtime, files = "python3.11", {**packages, "index.py": CONNECTION}
    function = server.deploy(files, runtime, Timeout=20, MemorySize=512, Environment={"Variables": {"PG_PORT": str(postgres.port)}})
    done = doctor(server, function.name, status=0)
    found = findings(done, "connection")
    assert [one["peer"].endswith(f":{postgres.port}") for one in found] == [True] and found[0]["level"] == "note"
    assert levels(done) == {"note"}, done.stdout
    plain = server.irori("doctor", function.name, "--yes")
    assert "that is how connections are reused" in plain.stdout and "No value of A reached B's answer or log" in plain.stdout


# ---- what cannot be told ----

FAILS = """
import os, time
count, last = 0, None
def handler(event, context):
    global count, last
    count += 1
    found, last = last, event["secret"]
    if count == int(os.environ["AT"]):
        %s
    return count
"""


@pytest.mark.parametrize("how,said", [("os._exit(7)", "exit"), ("time.sleep(30)", "timed out"), ("raise Exception('no')", "no")])
def test_a_function_that_fails_on_the_way(server, own, how, said):
    """With the fourth request to one environment: what came before was no leak, and what would come is not known."""
    function = python(server, FAILS % how, Timeout=2, Environment={"Variables": {"AT": "4"}})
    done = doctor(server, function.name, *own(), status=2)
    report = json.loads(done.stdout)
    assert report["verdict"] == "unknown" and said in report["reason"], report
    plain = server.irori("doctor", function.name, "--yes", *own(), check=False)
    assert plain.returncode == 2 and "the function failed" in plain.stderr and "cannot be told" in plain.stderr
    assert "No value of A" not in plain.stdout


def test_an_error_is_an_answer_too(server, own):
    """B's error names what A has sent."""
    function = python(server, FAILS % "raise Exception('was ' + found)", Environment={"Variables": {"AT": "2"}})
    done = doctor(server, function.name, *own(), status=1)
    assert [(one["place"], one["where"]) for one in findings(done, "value")][0] == ("answer", "$.errorMessage")
    plain = server.irori("doctor", function.name, "--yes", *own(), check=False)
    for text in (done.stdout, done.stderr, plain.stdout, plain.stderr):
        assert SECRETS[0] not in text
    assert plain.returncode == 1 and "was firs***b1f" in plain.stdout


def test_an_error_does_not_show_what_was_sent(server, own):
    function = python(server, "def handler(event, context):\n    raise Exception(str(event))\n")
    for more in ([], ["--json"]):
        done = server.irori("doctor", function.name, "--yes", *own(), *more, check=False)
        assert done.returncode == 2
        assert not [secret for secret in (*SECRETS, B["secret"]) if secret in done.stdout + done.stderr]


def test_more_values_than_can_be_looked_for(server, own):
    many = {f"k{i}": f"value-of-a-{i:05}" for i in range(400)}
    quiet = server.deploy(CLEAN)
    done = doctor(server, quiet.name, *own({**A, **many}, {**B, "queryStringParameters": {"name": "x"}}), status=2)
    assert json.loads(done.stdout)["verdict"] == "unknown" and "more values" in json.loads(done.stdout)["reason"]
    plain = server.irori("doctor", quiet.name, "--yes", *own({**A, **many}), check=False)
    assert plain.returncode == 2 and "cannot be told" in plain.stderr and "No value of A" not in plain.stdout
    # One that is found is enough.
    doctor(server, server.deploy(OWN, "python3.11").name, *own({**A, **many}), status=1)


def test_events_that_cannot_be_told_apart(server, own):
    function = server.deploy(CLEAN)
    assert "six characters" in json.loads(doctor(server, function.name, *own(A, A), status=2).stdout)["reason"]
    assert server.irori("doctor", function.name, "--yes", "--event", "/dev/null", check=False).returncode == 2
    assert server.irori("doctor", "--tenant-id", "x", check=False).returncode == 2


# ---- how it is shown ----

def test_json(server):
    leaky = server.deploy(OWN, "python3.11", handler="index.url")
    leaky.update_code({"index.py": OWN["index.py"] + "def url(event, context):\n    return handler({'secret': event['cookies'][0]}, context)\n"})
    report = json.loads(doctor(server, leaky.name, status=1).stdout)
    assert (report["function"], report["version"], report["verdict"], report["cleanState"]) == (leaky.name, "$LATEST", "leak", False)
    for one in report["findings"]:
        assert one["kind"] and one["text"] and one["level"] in ("leak", "left", "note")
    assert "reason" not in report and json.loads(doctor(server, server.deploy(CLEAN).name, status=0).stdout)["verdict"] == "clean"


@pytest.mark.parametrize("no_colour", ["", "1"], ids=["colour", "NO_COLOR"])
def test_on_a_terminal(server, own, no_colour):
    """It asks, colours what is bad, and lets nobody steer."""
    source = OWN["index.py"].replace('{"found": found}', '{"found": found and "\\x1b[2J\\x07" + found}')
    function = python(server, source)
    command = ["doctor", function.name, *own()]
    seen, code = on_terminal(server, *command, env={"NO_COLOR": no_colour}, inputs="n\n")
    assert code == 2 and "really calls" in seen and "Go on? [y/N] " in seen and "nothing was called" in seen
    assert server.irori("logs", function.name, check=False).stdout == ""
    seen, code = on_terminal(server, *command, env={"NO_COLOR": no_colour}, inputs="y\n")
    assert code == 1 and "came back in the answer to B at $.found" in seen, seen
    assert "Calling with A, then with B" in seen and "Calling with B 8 times more" in seen
    assert ("\x1b[31mValues of A reached B\x1b[0m" in seen) == (no_colour == "")
    assert SECRETS[0] not in seen and "\x1b[2J" not in seen and "\x07" not in seen
    piped = server.irori(*command, check=False)
    assert piped.returncode == 1 and "\x1b" not in piped.stdout + piped.stderr and "Go on?" not in piped.stderr and "Calling with" not in piped.stderr


# ---- versions, clean state, tenants ----

SHARES = {"index.py": """
import uuid
early = str(uuid.uuid4())
def handler(event, context):
    return {"statusCode": 200, "body": "done", "headers": {"x-early": early, "x-late": str(uuid.uuid4())}}
"""}


@needs_templates
@pytest.mark.parametrize("kind", ["version", "clean"])
def test_a_random_value_that_two_clones_share(server, kind):
    """Drawn during INIT: every clone answers it, and nobody else does."""
    assert findings(doctor(server, server.deploy(SHARES, "python3.11").name, status=0), "random") == []
    if kind == "version":
        function = server.deploy(SHARES, "python3.11", **SNAP)
        version = publish(function)
        settled(function, version)
        done = doctor(server, function.name, "--qualifier", version, status=0)
    else:
        # The first call is what its template is made for; the report waits for it.
        function = server.deploy(SHARES, "python3.11", Tags={"irori:state": "clean"})
        done = doctor(server, function.name, status=0)
    found = findings(done, "random")
    assert [one["where"] for one in found] == ["$.headers.x-early"], done.stdout
    assert found[0]["value"] not in ("", "***") and "***" in found[0]["value"] and len(found[0]["value"]) < 12


def test_clean_state_is_examined_and_told(server):
    function = server.deploy(LOGS_LATER, Tags={"irori:state": "clean"})
    done = doctor(server, function.name, status=1)
    assert json.loads(done.stdout)["cleanState"] is True and len(findings(done, "clean-state")) == 1
    plain = server.irori("doctor", function.name, "--yes", check=False)
    assert "does not happen in production" in plain.stdout and "every request gets a fresh environment" in plain.stdout
    assert "or deploy with --clean-state" not in plain.stdout


@needs_templates
def test_a_version_with_snap_start(server):
    function = server.deploy(LOGS_LATER, **SNAP)
    version = publish(function)
    settled(function, version)
    server.lam.create_alias(FunctionName=function.name, Name="live", FunctionVersion=version)
    before = of_version(server, function, version)["clones"]
    report = json.loads(doctor(server, function.name, "--qualifier", "live", status=1).stdout)
    assert report["version"] == version
    assert of_version(server, function, version)["clones"] == before + 3, "all three environments were clones of it"
    assert json.loads(doctor(server, function.arn + ":live", status=1).stdout)["version"] == version


def test_a_function_with_tenants(server):
    function = server.deploy(LOGS_LATER, **TENANCY)
    without = doctor(server, function.name, status=2)
    assert "--tenant-id" in json.loads(without.stdout)["reason"]
    done = doctor(server, function.name, "--tenant-id", "made up", status=1)
    assert json.loads(done.stdout)["tenantId"] == "made up" and "one tenant" in findings(done, "tenants")[0]["text"]
    doctor(server, function.name, "--tenant-id", "not, valid", status=2)
    doctor(server, server.deploy(CLEAN).name, "--tenant-id", "blue", status=2)
    assert not [one for one in server.environments() if one["function"] == function.name and one["state"] not in ("stopping", "dead")]


@needs_templates
def test_sockets_that_were_open_when_the_template_was_made(server):
    """They are dead in every clone: the report and `irori ps --templates` count them."""
    function = server.deploy(HOLDS_SOCKETS, "python3.11", **SNAP)
    version = publish(function)
    assert settled(function, version)["State"] == "Active"
    assert of_version(server, function, version)["sockets"] == 2
    head, *rows = [line.split() for line in server.irori("ps", "--templates").stdout.splitlines()]
    row = next(row for row in rows if row[0] == f"{function.name}:{version}")
    assert row[head.index("SOCKETS") + 1] == "2", row  # an age is two words
    done = doctor(server, function.name, "--qualifier", version, status=0)
    found = findings(done, "template-sockets")
    assert [one["sockets"] for one in found] == [2] and "2 sockets were open when the template was made" in found[0]["text"]
    assert findings(doctor(server, function.name, status=0), "template-sockets") == [], "$LATEST has no template of its own"


def test_its_environments_serve_nobody_else_and_end(server):
    function = server.deploy(LOGS_LATER)
    doctor(server, function.name, status=1)
    assert [one for one in server.environments() if one["function"] == function.name and one["state"] not in ("stopping", "dead")] == []


def test_reports_at_once(server):
    """Each has environments of its own; the launcher looks into several while it starts others."""
    leaky, quiet = server.deploy(LOGS_LATER), server.deploy(CLEAN)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda function: server.irori("doctor", function.name, "--yes", check=False), [leaky, quiet] * 4))
    assert [one.returncode for one in done] == [1, 0] * 4, [one.stdout + one.stderr for one in done]


@pytest.mark.parametrize("value", ["new", "8b7b0a57-3f43-4a4f-9a52-6c5b0c0b6c1f", "nonsense"])
def test_an_environment_of_one_s_own_is_for_the_account_s_key(server, value):
    """A function's temporary key may not ask for one."""
    function = server.deploy({"index.mjs": "export const handler = async () => process.env;"})
    keys = function.call({})
    import harness.aws as aws
    lam = aws.client(server.endpoint, keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], keys["AWS_SESSION_TOKEN"])
    lam.meta.events.register("before-sign.lambda.Invoke", lambda request, **_: request.headers.add_header("X-Irori-Environment", value))
    with pytest.raises(Exception, match="AccessDenied"):
        lam.invoke(FunctionName=function.name)
