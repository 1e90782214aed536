"""Processes as /proc shows them; a process is a pid together with its start time, so that reuse cannot confuse."""

import os
import re
from pathlib import Path


def stat(pid):
    """(comm, state, ppid, start time), or None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    head, tail = text.rsplit(")", 1)
    fields = tail.split()
    return head.split("(", 1)[1], fields[0], int(fields[1]), int(fields[19])


def identity(pid):
    found = stat(pid)
    return None if found is None else (int(pid), found[3])


def alive(ident):
    """True while that very process exists and is not just a zombie."""
    found = stat(ident[0])
    return found is not None and found[3] == ident[1] and found[1] not in "ZX"


def everyone():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def read(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def cmdline(pid):
    return read(pid, "cmdline").decode(errors="replace").split("\0")[:-1]


def descendants(root):
    """All pids below root, root not included."""
    children = {}
    for pid in everyone():
        found = stat(pid)
        if found is not None:
            children.setdefault(found[2], []).append(pid)
    result, queue = [], [root]
    while queue:
        for child in children.get(queue.pop(), []):
            result.append(child)
            queue.append(child)
    return result


def program(pid):
    """Base name of the running program, by argv[0], else by comm."""
    args = cmdline(pid)
    if args and args[0]:
        return os.path.basename(args[0].split(" ")[0].rstrip(":"))
    found = stat(pid)
    return found[0] if found else ""


def instances():
    """Instance ids of all living launchers of the machine."""
    found = {}
    for pid in everyone():
        args = cmdline(pid)
        if args and os.path.basename(args[0]).startswith("irori-launcher"):
            match = re.search(r"--instance[ =](\S+)", " ".join(args))
            if match:
                found[pid] = match.group(1)
    return found


def rss_kib(pid):
    match = re.search(rb"VmRSS:\s+(\d+)", read(pid, "status"))
    return int(match.group(1)) if match else 0


def descriptors(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0
