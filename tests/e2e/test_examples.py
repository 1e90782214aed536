"""What the READMEs of the examples tell people to type, typed."""

import os
import re
import subprocess

import pytest
from harness.paths import IRORI, ROOT

EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/README.md"))
MARK = "-- end of a command --"


def commands(readme):
    """(command, what it should print or None) of the shell block; `# text` behind a command is what it prints."""
    block = re.search(r"^```sh\n(.*?)^```", readme.read_text(), re.DOTALL | re.MULTILINE).group(1)
    return [(*re.split(r"\s+# ", line, maxsplit=1), None)[:2] for line in block.splitlines()]


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_commands_of_the_readme(server, folder):
    wanted = commands(folder / "README.md")
    assert any(printed for _, printed in wanted)
    script = "".join(f"{command}\necho; echo '{MARK}'\n" for command, _ in wanted)
    environment = {**os.environ, "PATH": f"{IRORI.parent}:{os.environ['PATH']}", "IRORI_ENDPOINT": server.endpoint,
                   "AWS_ACCESS_KEY_ID": server.key, "AWS_SECRET_ACCESS_KEY": server.secret}
    try:
        done = subprocess.run(["sh", "-euc", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60,
                              check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        outputs = [output.strip() for output in done.stdout.split(MARK)]
        for (command, printed), output in zip(wanted, outputs):
            assert printed is None or output == printed, command
    finally:
        server.irori("rm", folder.name, check=False)
