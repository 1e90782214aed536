"""The irori command line against a real server, and the real aws command line."""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile

import pytest
from harness import wait
from harness.archives import pack
from harness.aws import ROLE, aws_cli
from harness.paths import IRORI

NODE = "export const handler = async (e) => ({got: e, mode: process.env.MODE});\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "index.mjs").write_text(NODE)
    return tmp_path


@pytest.fixture
def removed(server):
    """Names whose functions are removed after the test."""
    names = []
    yield names
    for name in names:
        try:
            server.lam.delete_function(FunctionName=name)
        except server.lam.exceptions.ResourceNotFoundException:
            pass


def listing(answer, key):
    return answer[key] if isinstance(answer, dict) else answer


def test_deploy_invoke_ls_url_rm(server, folder, removed):
    """The way of the README: deploy a folder with a URL, call it, list it, remove it."""
    name = server.name("cli")
    removed.append(name)
    text = server.irori("deploy", str(folder), "--name", name, "--runtime", "nodejs20.x", "--handler", "index.handler",
                        "--env", "MODE=a=b", "--memory", "256", "--timeout", "7", "--url").stdout
    url = re.search(r"http://[a-z0-9]{32}\.lambda-url\.us-east-1\.localhost:\d+/", text)
    assert url, text
    config = server.lam.get_function_configuration(FunctionName=name)
    assert (config["MemorySize"], config["Timeout"], config["Environment"]["Variables"]) == (256, 7, {"MODE": "a=b"})
    assert json.loads(server.irori("invoke", name, "--payload", '{"x":1}').stdout) == {"got": {"x": 1}, "mode": "a=b"}
    assert url.group(0).rstrip("/") in server.irori("url", name).stdout
    assert name in server.irori("ls").stdout
    rows = [item for item in listing(server.irori_json("ls"), "functions") if name in json.dumps(item)]
    assert len(rows) == 1
    rows = [item for item in listing(server.irori_json("ps"), "environments") if name in json.dumps(item)]
    assert len(rows) == 1 and name in server.irori("ps").stdout
    server.irori("rm", name)
    assert name not in server.irori("ls").stdout
    assert server.irori("rm", name, check=False).returncode != 0


def test_ps_lists_the_templates_of_runtimes_in_use(server, folder, removed):
    name = server.name("template")
    removed.append(name)
    server.irori("deploy", str(folder), "--name", name, "--runtime", "nodejs20.x", "--handler", "index.handler")
    server.irori("invoke", name)
    (row,) = [item for item in server.irori_json("ps", "--templates")["templates"]
              if (item["runtime"], item["kind"]) == ("nodejs20.x", "runtime")]
    assert row["clones"] + row["fallbacks"] >= 1, row
    assert re.search(r"every function +nodejs20\.x +\w+", server.irori("ps", "--templates").stdout)


def test_ps_tells_what_environments_did(server, deploy):
    """Before and after the first warm start."""
    function = deploy({"index.mjs": NODE}, MemorySize=256)

    def row():
        return next(item for item in server.irori_json("ps")["environments"] if item["function"] == function.name)
    function.call({})
    first = wait.until(lambda: row()["state"] in ("idle", "frozen") and row(), 10, "the environment to be idle")
    assert (first["requests"], first["start"], first["version"], first["runtime"]) == (1, "cold", "$LATEST", "nodejs20.x")
    assert 0 < first["ageMs"] < 60000 and 1 << 20 < first["memoryBytes"] < 256 << 20
    function.call({})
    second = wait.until(lambda: row()["state"] in ("idle", "frozen") and row(), 10, "the environment to be idle")
    assert (second["id"], second["requests"], second["start"]) == (first["id"], 2, "warm")
    assert second["ageMs"] > first["ageMs"]


def test_deploy_again_updates(server, folder, removed):
    name = server.name("cli")
    removed.append(name)
    arguments = ("deploy", str(folder), "--name", name, "--runtime", "nodejs20.x", "--handler", "index.handler")
    server.irori(*arguments)
    (folder / "index.mjs").write_text("export const handler = async () => 'second';")
    server.irori(*arguments)
    assert server.irori("invoke", name).stdout.strip() == '"second"'


def test_deploy_a_zip_and_answer_in_json(server, tmp_path, removed):
    archive = tmp_path / "package.zip"
    archive.write_bytes(pack({"index.mjs": NODE}))
    name = server.name("cli")
    removed.append(name)
    answer = server.irori_json("deploy", str(archive), "--name", name, "--runtime", "nodejs20.x", "--handler", "index.handler",
                               "--url")
    assert name in json.dumps(answer) and "lambda-url" in json.dumps(answer)
    assert json.loads(server.irori("invoke", name, "--json").stdout)


def test_helpful_errors(server, tmp_path):
    """A reason on stderr and a status that is not 0; never a crash or a bare code."""
    for arguments in (["invoke", "missing-function"], ["logs", "missing-function"], ["deploy", str(tmp_path / "none")],
                      ["url", "missing-function"], ["no-such-command"], ["invoke"]):
        done = server.irori(*arguments, check=False)
        assert 0 < done.returncode < 128, arguments
        assert done.stderr.strip(), arguments
    assert "missing-function" in server.irori("invoke", "missing-function", check=False).stderr


def test_function_errors_are_shown(server, deploy):
    function = deploy({"index.mjs": "export const handler = async () => { throw new Error('visible'); };"})
    done = server.irori("invoke", function.name, check=False)
    assert "visible" in done.stdout + done.stderr and done.returncode != 0


def test_without_a_server(tmp_path):
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    done = subprocess.run([IRORI, "ls", "--endpoint", "http://127.0.0.1:9"], capture_output=True, text=True, check=False,
                          timeout=20, env=environment)
    assert done.returncode != 0 and "127.0.0.1:9" in done.stderr


def test_version_and_help():
    version = subprocess.run([IRORI, "--version"], capture_output=True, text=True, check=True).stdout
    assert re.search(r"\d+\.\d+", version)
    for command in ("deploy", "invoke", "logs", "ps", "ls", "url", "rm", "runtimes", "doctor", "serve"):
        done = subprocess.run([IRORI, command, "--help"], capture_output=True, text=True, check=False, timeout=20)
        assert done.returncode == 0 and len(done.stdout) > 60, command


def test_no_colour_without_a_terminal(server):
    for command in ("ls", "ps", "runtimes", "doctor"):
        done = server.irori(command, check=False)
        assert "\x1b" not in done.stdout + done.stderr


def test_doctor(server):
    done = server.irori("doctor", check=False)
    assert done.stdout.strip()
    json.loads(server.irori("doctor", "--json", check=False).stdout)


def test_credentials_from_the_data_folder(server, deploy):
    """--data DIR instead of the environment."""
    function = deploy({"index.mjs": NODE})
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    done = subprocess.run([IRORI, "ls", "--endpoint", server.endpoint, "--data", server.data], capture_output=True, text=True,
                          check=False, env=environment, timeout=20)
    assert done.returncode == 0 and function.name in done.stdout, done.stderr


def test_serve_needs_root():
    """One clear line."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        program = shutil.copy(IRORI, folder)
        done = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", program, "serve",
                               "--listen", "127.0.0.1:1", "--data", "/tmp/none"], capture_output=True, text=True, check=False,
                              timeout=20)
    assert done.returncode != 0 and "root" in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--listen", "nonsense"], ["--no-such-flag"], ["--idle-timeout-ms", "minus"],
                                       ["--account-concurrency", "-1"], ["--allow-host", "nohost"]])
def test_bad_settings(arguments, tmp_path):
    done = subprocess.run([IRORI, "serve", "--data", tmp_path / "d", *arguments], capture_output=True, text=True, check=False,
                          timeout=20)
    assert 0 < done.returncode < 128 and done.stderr.strip()


def test_config_file(own_server, tmp_path):
    """A setting of the file has the same name as its flag; the flag wins."""
    config = tmp_path / "irori.conf"
    config.write_text("# settings\naccount-concurrency = 321\nregion = eu-west-3\n")
    server = own_server("--config", str(config), "--region", "us-east-1")
    assert server.lam.get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 321
    config.write_text("no-such-setting = 1\n")
    done = subprocess.run([IRORI, "serve", "--data", tmp_path / "d", "--config", config], capture_output=True, text=True,
                          check=False, timeout=20)
    assert 0 < done.returncode < 128 and "no-such-setting" in done.stderr


# The real aws command line

def test_aws_cli_drives_a_whole_life(server, tmp_path):
    """create, wait, invoke, update, publish, alias, permission, URL, tags, concurrency, delete."""
    name = server.name("aws")
    archive = tmp_path / "f.zip"
    archive.write_bytes(pack({"index.mjs": NODE}))
    out = tmp_path / "out.json"
    made = server.aws("create-function", "--function-name", name, "--runtime", "nodejs20.x", "--role", ROLE, "--handler",
                      "index.handler", "--zip-file", f"fileb://{archive}", "--environment", "Variables={MODE=x}")
    assert made["State"] == "Pending"
    server.aws("wait", "function-active-v2", "--function-name", name)
    binary = ["--cli-binary-format", "raw-in-base64-out"] if has_v2() else []
    told = server.aws("invoke", "--function-name", name, "--payload", '{"k":1}', "--log-type", "Tail", *binary, str(out))
    assert told["StatusCode"] == 200 and b"REPORT" in base64.b64decode(told["LogResult"])
    assert json.loads(out.read_text()) == {"got": {"k": 1}, "mode": "x"}
    archive.write_bytes(pack({"index.mjs": "export const handler = async () => 'v2';"}))
    server.aws("update-function-code", "--function-name", name, "--zip-file", f"fileb://{archive}")
    server.aws("wait", "function-updated-v2", "--function-name", name)
    server.aws("update-function-configuration", "--function-name", name, "--timeout", "9", "--description", "d")
    server.aws("wait", "function-updated-v2", "--function-name", name)
    assert server.aws("publish-version", "--function-name", name)["Version"] == "1"
    assert len(server.aws("list-versions-by-function", "--function-name", name)["Versions"]) == 2
    server.aws("create-alias", "--function-name", name, "--name", "live", "--function-version", "1")
    server.aws("update-alias", "--function-name", name, "--name", "live", "--description", "x")
    assert server.aws("get-alias", "--function-name", name, "--name", "live")["Description"] == "x"
    assert [a["Name"] for a in server.aws("list-aliases", "--function-name", name)["Aliases"]] == ["live"]
    server.aws("invoke", "--function-name", f"{name}:live", str(out))
    assert out.read_text() == '"v2"'
    server.aws("add-permission", "--function-name", name, "--statement-id", "s", "--action", "lambda:InvokeFunctionUrl",
               "--principal", "*", "--function-url-auth-type", "NONE")
    assert "Statement" in json.loads(server.aws("get-policy", "--function-name", name)["Policy"])
    assert server.aws("create-function-url-config", "--function-name", name, "--auth-type", "NONE")["FunctionUrl"]
    assert server.aws("get-function-url-config", "--function-name", name)["AuthType"] == "NONE"
    server.aws("update-function-url-config", "--function-name", name, "--auth-type", "AWS_IAM")
    assert server.aws("list-function-url-configs", "--function-name", name)["FunctionUrlConfigs"]
    server.aws("delete-function-url-config", "--function-name", name)
    server.aws("remove-permission", "--function-name", name, "--statement-id", "s")
    arn = made["FunctionArn"]
    server.aws("tag-resource", "--resource", arn, "--tags", "a=b")
    assert server.aws("list-tags", "--resource", arn)["Tags"] == {"a": "b"}
    server.aws("untag-resource", "--resource", arn, "--tag-keys", "a")
    server.aws("put-function-concurrency", "--function-name", name, "--reserved-concurrent-executions", "4")
    assert server.aws("get-function-concurrency", "--function-name", name)["ReservedConcurrentExecutions"] == 4
    server.aws("delete-function-concurrency", "--function-name", name)
    server.aws("get-account-settings")
    assert any(f["FunctionName"] == name for f in server.aws("list-functions")["Functions"])
    assert server.aws("get-function", "--function-name", name)["Code"]["Location"]
    server.aws("get-function-configuration", "--function-name", name)
    server.aws("get-function-code-signing-config", "--function-name", name)
    server.aws("delete-alias", "--function-name", name, "--name", "live")
    server.aws("delete-function", "--function-name", name)
    gone = server.aws("get-function", "--function-name", name, check=False)
    assert gone.returncode != 0 and "ResourceNotFoundException" in gone.stderr and f"Function not found: {arn}" in gone.stderr


def has_v2():
    done = subprocess.run([aws_cli(), "--version"], capture_output=True, text=True, check=True)
    return "aws-cli/2" in done.stdout + done.stderr
