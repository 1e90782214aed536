"""Ports of 127.0.0.1 that no other test run takes: each is held by a lock file while it is in use."""

import fcntl
import os
import random
import socket
from pathlib import Path

LOCKS = Path("/tmp/irori-test-ports")
FIRST, LAST = 21000, 28999


class Port:
    """A port number and the lock that keeps it ours until release()."""

    def __init__(self):
        LOCKS.mkdir(mode=0o777, exist_ok=True)
        candidates = list(range(FIRST, LAST))
        random.shuffle(candidates)
        for number in candidates:
            lock = os.open(LOCKS / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._probe(number)
            except OSError:
                os.close(lock)
                continue
            self.number, self._lock = number, lock
            return
        raise RuntimeError("no free port for a test server")

    @staticmethod
    def _probe(number):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", number))

    def release(self):
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
