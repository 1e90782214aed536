"""Templates of programs that cannot bear to be cloned: they die or stand still in each clone, and no caller sees anything of it."""

import concurrent.futures
import os

import pytest
from harness import build, wait
from test_snapstart import logs, of_version, publish, settled

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="templates need an x86-64 processor")


@pytest.fixture
def fragile(deploy):
    """(function, version) of the program with a template of its own."""
    def make(how, **config):
        function = deploy({"bootstrap": build.c_program("fragile")}, "provided.al2023", "x", Environment={"Variables": {"FRAGILE": how}},
                          SnapStart={"ApplyOn": "PublishedVersions"}, **config)
        version = publish(function)
        assert settled(function, version)["State"] == "Active"
        return function, version
    return make


def call_at_once(function, version, count):
    """What each answered; each environment serves one of them."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda n: function.invoke({"n": n}, Qualifier=version), range(count)))


def assert_served_once(function, answers):
    """By ordinary processes, without an error, and each event was read once."""
    for answer in answers:
        assert answer.error is None and answer.json["pid"] == answer.json["born"], answer.payload
    text = logs(function)
    for number in range(len(answers)):
        assert text.count(f'has read {{"n": {number}}}') == 1, text


def test_one_that_dies_by_itself_never_becomes_a_template(server, fragile):
    function, version = fragile("thread")
    template = of_version(server, function, version)
    assert template["state"] in ("failing", "failed", "none") and template["clones"] == 0, template
    assert template["reason"] == "its first clone ended by itself: signal 6"
    assert_served_once(function, call_at_once(function, version, 3))
    assert of_version(server, function, version)["clones"] == 0


def test_one_that_dies_before_it_reads_the_event_is_replaced(server, fragile):
    function, version = fragile("abort")
    assert of_version(server, function, version)["state"] == "ready"
    assert_served_once(function, call_at_once(function, version, 4))
    assert of_version(server, function, version)["clones"] >= 1


def test_three_such_deaths_in_a_row_end_it(server, fragile):
    function, version = fragile("abort")
    for count in range(2, 20, 2):
        if of_version(server, function, version)["failures"]:
            break
        # More at once than there are environments by now.
        assert all(answer.error is None for answer in call_at_once(function, version, count))
    template = of_version(server, function, version)
    assert template["failures"] == 1, f"{template}"
    assert template["reason"].startswith("3 of its clones in a row ended"), template["reason"]
    assert template["reason"].endswith("by signal or status 6")


def test_one_that_stands_still_is_replaced(server, fragile):
    """It costs the first callers the function's timeout, or five seconds, but neither an answer nor those who come later."""
    function, version = fragile("hang", Timeout=1)
    assert_served_once(function, call_at_once(function, version, 4))
    wait.until(lambda: of_version(server, function, version)["state"] != "ready", 5, "the end of the template")
    assert of_version(server, function, version)["reason"].endswith("the last one stood still")
    assert all(answer.error is None for answer in call_at_once(function, version, 5))


def test_an_event_that_was_read_is_not_given_to_another(fragile):
    """The function may have begun with it."""
    function, version = fragile("late")
    (answer,) = call_at_once(function, version, 1)
    assert answer.error == "Unhandled" and answer.json["errorType"] == "Runtime.ExitError"
    assert logs(function).count("has read") == 1
