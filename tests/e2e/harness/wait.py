"""Waiting for something to become true, with a deadline."""

import time

from .paths import SLOW


def until(condition, seconds=10.0, what="condition", every=0.02):
    """The first truthy value of condition(); fails with `what` when the deadline passes."""
    deadline = time.monotonic() + seconds * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(f"{what}: not so within {seconds * SLOW:g} s (last: {value!r})")
        time.sleep(every)
