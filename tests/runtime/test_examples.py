"""The example functions, as a function URL and as Invoke call them."""

import json

import pytest
from conftest import NODE_CLIENT, NODES, PYTHON_CLIENT, PYTHONS, ROOT
from runtime_api import Client

EXAMPLES = ROOT / "examples"


def answer(api, event):
    return json.loads(api.invoke(event).body)


def url_event(message):
    return {"version": "2.0", "rawPath": "/", "queryStringParameters": {"message": message}}


@pytest.mark.parametrize(
    "folder, handler, interpreters, argv",
    [
        ("warmstart", "index.handler", NODES, [NODE_CLIENT]),
        ("warmstart-python", "lambda_function.handler", PYTHONS, ["-S", PYTHON_CLIENT]),
    ],
)
def test_warmstart(api, folder, handler, interpreters, argv):
    if not interpreters:
        pytest.skip("no interpreter")
    for path in interpreters.values():
        client = Client([path, *argv], api, EXAMPLES / folder, handler)
        first = answer(api, url_event("hello"))
        assert first == {"statusCode": 200, "headers": {"Content-Type": "text/plain"}, "body": "coldstart"}
        assert answer(api, url_event("again"))["body"] == "warmstart, message=hello"
        assert answer(api, {})["body"] == "warmstart, message=again"
        assert answer(api, None)["body"] == "warmstart, message="
        assert answer(api, url_event("x"))["body"] == "warmstart, message="
        api.wait_next()
        api.events.put(None)  # closes the connection
        assert client.wait_exit() == 1
        client.kill()


@pytest.mark.skipif(not NODES, reason="no node")
def test_tmp_counter(api, tmp_path):
    """With another folder in place of /tmp, which is the sandbox's business."""
    source = (EXAMPLES / "tmp-counter/index.mjs").read_text()
    assert "'/tmp/counter'" in source
    (tmp_path / "index.mjs").write_text(source.replace("/tmp/counter", f"{tmp_path}/counter"))
    client = Client([next(iter(NODES.values())), NODE_CLIENT], api, tmp_path, "index.handler")
    assert [answer(api, {})["body"] for _ in range(3)] == ["1", "2", "3"]
    client.kill()


def test_every_example_has_a_readme():
    folders = [path for path in EXAMPLES.iterdir() if path.is_dir()]
    assert folders and all((path / "README.md").exists() for path in folders)
