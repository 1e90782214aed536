"""What a server leaves on the machine: found by comparing with a picture made before it started.

Other instances may run on the machine at the same time. What carries one of their ids is not ours; settings of the
whole machine are compared only when no other instance was there.
"""

import os
import re
import subprocess
from pathlib import Path

from . import procs


def _mounts():
    return {" ".join(line.split()[:3]) for line in Path("/proc/mounts").read_text().splitlines()}


def _links():
    return set(os.listdir("/sys/class/net"))


def _tables():
    done = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    return set(done.stdout.splitlines())


def _cgroups():
    found = set()
    for folder, names, _files in os.walk("/sys/fs/cgroup"):
        found.update(os.path.join(folder, name) for name in names)
    return found


def _loops():
    found = set()
    for device in Path("/sys/block").glob("loop*"):
        backing = device / "loop" / "backing_file"
        try:
            found.add(f"{device.name} {backing.read_text().strip()}")
        except OSError:
            continue
    return found


def _namespaces():
    folder = Path("/run/netns")
    return {str(path) for path in folder.iterdir()} if folder.is_dir() else set()


def _settings():
    paths = [Path("/proc/sys/net/ipv4/ip_forward")]
    for name in ("forwarding", "route_localnet", "rp_filter", "arp_ignore", "accept_local"):
        paths += Path("/proc/sys/net/ipv4/conf").glob(f"*/{name}")
    paths += Path("/proc/sys/net/ipv6/conf").glob("*/forwarding")
    paths += [Path("/proc/sys/net/ipv4/neigh/default") / f"gc_thresh{n}" for n in (1, 2, 3)]
    paths += [Path("/proc/sys/kernel/pid_max"), Path("/proc/sys/user/max_user_namespaces")]
    paths += [Path("/sys/fs/cgroup/cgroup.subtree_control")]
    found = {}
    for path in paths:
        try:
            found[str(path)] = path.read_text().strip()
        except OSError:
            continue
    return found


class Picture:
    """The machine as it is now."""

    def __init__(self):
        self.mounts, self.links, self.tables = _mounts(), _links(), _tables()
        self.cgroups, self.loops, self.namespaces = _cgroups(), _loops(), _namespaces()
        self.settings = _settings()
        self.others = set(procs.instances().values())


def _processes(instance, data, known):
    found = []
    for pid in procs.everyone():
        if pid == os.getpid():
            continue
        ident = procs.identity(pid)
        if ident is None or not procs.alive(ident):
            continue
        in_group = instance and instance in procs.read(pid, "cgroup").decode(errors="replace")
        ours = any(str(data) == arg for arg in procs.cmdline(pid))
        if in_group or ours or ident in known:
            found.append(f"process {pid} {procs.cmdline(pid)}")
    return found


def find(before, instance, data, known=()):
    """Sentences, one for each thing that is there and was not before. known: identities of processes seen running."""
    now = Picture()
    others = (before.others | now.others | set(procs.instances().values())) - {instance}

    def ours(text):
        if any(other in text for other in others):
            return False
        if str(data) in text or (instance and instance in text):
            return True
        if others and text.endswith("/irori.rest"):
            return False
        # Nameless ones of our kind; but not what lies in another server's data folder.
        return bool(re.search(r"\biro|irori", text)) and not re.search(r"/irori-e2e-|/\.irori/|/var/lib/irori/", text)

    found = _processes(instance, data, set(known))
    for name in ("mounts", "links", "tables", "cgroups", "namespaces"):
        new = getattr(now, name) - getattr(before, name)
        found += [f"{name}: {item}" for item in sorted(new) if ours(item)]
    found += [f"loops: {item}" for item in sorted(now.loops - before.loops) if str(data) in item]
    if not others:
        for path, value in before.settings.items():
            if path in now.settings and now.settings[path] != value:
                found.append(f"setting {path}: was {value}, is {now.settings[path]}")
    return found


def _links_of_namespaces(pid):
    """Links in all network namespaces that the process holds by descriptor."""
    seen, total = set(), 0
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return 0
    for name in names:
        path = f"/proc/{pid}/fd/{name}"
        try:
            target = os.readlink(path)
        except OSError:
            continue
        if not target.startswith("net:[") or target in seen:
            continue
        seen.add(target)
        done = subprocess.run(["nsenter", f"--net={path}", "cat", "/proc/net/dev"], capture_output=True, check=False)
        total += max(0, len(done.stdout.splitlines()) - 2)
    return total


def memory_in_use(instance):
    """Bytes of all environments and templates together, without file pages, in either version of cgroups."""
    for group, usage in ((f"/sys/fs/cgroup/memory/{instance}", "memory.usage_in_bytes"), (f"/sys/fs/cgroup/{instance}", "memory.current")):
        for folder in (group, group.replace(instance, f"irori-{instance}")):
            try:
                used = int((Path(folder) / usage).read_text())
                stat = dict(line.split() for line in (Path(folder) / "memory.stat").read_text().splitlines())
            except OSError:
                continue
            prefix = "total_" if "total_inactive_file" in stat else ""
            return used - int(stat[f"{prefix}inactive_file"]) - int(stat[f"{prefix}active_file"])
    raise AssertionError(f"no memory group of {instance}")


def counts(launcher_pid, daemon_pid, data, instance):
    """Numbers of this instance that must not grow from one use to the next."""
    mountinfo = procs.read(launcher_pid, "mountinfo").decode(errors="replace").splitlines()
    return {
        "launcher descriptors": procs.descriptors(launcher_pid),
        "daemon descriptors": procs.descriptors(daemon_pid),
        "launcher mounts": len(mountinfo),
        "host links": len([name for name in _links() if instance in name]),
        "links": _links_of_namespaces(launcher_pid),
        "cgroups": len([path for path in _cgroups() if instance in path]),
        "loop devices": len([item for item in _loops() if str(data) in item]),
        "processes": len(procs.descendants(launcher_pid)),
        "tables": len([name for name in _tables() if instance in name]),
    }
