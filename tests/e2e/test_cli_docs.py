"""Man page and bash completion name what --help of each command names: all of it, and nothing else."""

import re
import subprocess

import pytest
from harness.paths import IRORI, ROOT

MAN = ROOT / "docs" / "man" / "irori.1"
COMPLETION = ROOT / "completions" / "irori.bash"


def help_of(*command):
    return subprocess.run([IRORI, *command, "--help"], capture_output=True, text=True, check=True, timeout=20).stdout


def commands():
    return re.findall(r"^  (\w+)  ", help_of().split("\n\n")[2], re.MULTILINE)


def options(text):
    """What help says: {"--name": (short or None, whether a value follows)}."""
    found = re.findall(r"^ +(?:(-\w), )?(--[a-z-]+)( [A-Z@a-z|{-]\S*)?(?:  | *$)", text, re.MULTILINE)
    return {name: (short or None, bool(value)) for short, name, value in found}


def own_options(command):
    return options(help_of(command).split("\nOptions of every command:")[0])


def man_sections():
    """{"deploy": names of options in its part of COMMANDS, "": those of OPTIONS OF EVERY COMMAND}."""
    text = re.sub(r"\\f.", "", MAN.read_text().replace("\\-", "-"))
    parts, found, depth = re.split(r"^\.SH ", text, flags=re.MULTILINE), {}, 0
    by_title = {part.split("\n", 1)[0]: part for part in parts}
    lines, command = by_title["COMMANDS"].splitlines(), None
    for before, line in zip(lines, lines[1:], strict=False):
        depth += (line == ".RS") - (line == ".RE")
        if before == ".TP" and depth == 0:
            command = re.match(r'\.BR? "?(\w+)', line).group(1)
            found[command] = set()
        elif before == ".TP":
            found[command] |= set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line))
    every = by_title["OPTIONS OF EVERY COMMAND"]
    found[""] = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", "\n".join(re.findall(r"^\.TP\n(.*)$", every, re.MULTILINE))))
    return found


def names(found):
    return set(found) | {short for short, _ in found.values() if short}


def complete(*words):
    """What bash offers for the last of the words."""
    script = 'source "$1"; shift; COMP_WORDS=(irori "$@"); COMP_CWORD=$#; _irori; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(["bash", "-c", script, "bash", COMPLETION, *words], capture_output=True, text=True, check=True, timeout=20)
    return set(done.stdout.split())


def test_commands():
    named = commands()
    assert {"serve", "deploy", "invoke", "doctor"} < set(named)
    assert set(man_sections()) - {""} == set(named)
    assert {word for word in complete("") if not word.startswith("-")} == {*named, "help"}


def test_options_of_every_command():
    every = options(help_of().split("Options of every command:")[1])
    assert {"--endpoint", "--data", "--region", "--json", "--help", "--version"} == set(every)
    assert man_sections()[""] == names(every)
    assert {word for word in complete("") if word.startswith("-")} == set(every)


@pytest.mark.parametrize("command", commands() if IRORI.exists() else [])
def test_options_of_a_command(command):
    own = own_options(command)
    assert command == "ls" or own
    assert man_sections()[command] == names(own)
    every = {"--help"} if command == "serve" else {"--endpoint", "--data", "--region", "--json", "--help"}
    assert complete(command, "-") == set(own) | every
    for name, (short, value) in own.items():
        for word in filter(None, (name, short)):
            if value:
                assert not {offer for offer in complete(command, word, "") if offer.startswith("-")}, word
