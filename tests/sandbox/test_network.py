"""What functions can and cannot reach, and that nothing of it stays behind. Runs as root; see net_world.py and docs/network.md."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from net_world import (DRIVER, MACHINE, NEIGHBOUR, PRIVATE, PUBLIC, Net, Space, connect, make_internet, run)

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="needs root"), pytest.mark.timeout(180)]

HOST = "198.18.254.10"
DNS = ["198.18.254.1", "198.18.254.2", "198.18.254.3"]
REFUSED = {"EHOSTUNREACH", "ECONNREFUSED", "ENETUNREACH"}


@pytest.fixture
def spaces(tmp_path):
    made = []

    def make(name):
        made.append(Space(name, tmp_path))
        return made[-1]

    yield make
    for space in reversed(made):
        space.close()


@pytest.fixture
def internet(spaces):
    return spaces("internet")


@pytest.fixture
def machine(spaces):
    machine = spaces("machine")
    machine.put("/etc/resolv.conf", "nameserver 10.9.9.9\n")
    machine.put("/etc/hosts", "127.0.0.1 localhost\n")
    return machine


@pytest.fixture
def world(machine, internet):
    make_internet(machine, internet)
    return machine


def until(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_outbound_goes_out_under_the_machines_address(world):
    net = Net(world, "aaaaaaaa")
    assert net.usable, net.process.answer
    slot = net.add(0)
    assert slot.probe("tcp", PUBLIC, 80) == f"{MACHINE} {PUBLIC}"
    assert slot.probe("udp", PUBLIC, 9999).startswith(MACHINE)


def test_a_default_route_that_comes_up_after_the_start_works(machine, internet):
    net = Net(machine, "aaaaaaaa")
    slot = net.add(0)
    assert slot.probe("tcp", PUBLIC, 80) in REFUSED
    make_internet(machine, internet)  # the device itself comes later, too
    assert slot.probe("tcp", PUBLIC, 80) == f"{MACHINE} {PUBLIC}"


def test_what_is_not_the_internet_is_refused(world, internet):
    world.do("ip", "address", "add", "10.1.2.3/24", "dev", "lo")
    world.do("ip", "address", "add", "198.51.100.77/32", "dev", "lo")
    world.echo("tcp:0.0.0.0:80", "tcp:0.0.0.0:53", f"udp:{MACHINE}:9999", "udp:10.1.2.3:9999", "udp:198.51.100.77:9999")
    other = Net(world, "bbbbbbbb")
    net = Net(world, "aaaaaaaa")
    slot = net.add(0)
    places = [*PRIVATE, NEIGHBOUR, MACHINE, "10.1.2.3", "198.51.100.77", *net.link, *other.link, HOST, DNS[0], DNS[1], "169.254.1.1",
              "255.255.255.255", "224.0.0.1", "0.1.2.3", "203.0.113.7"]
    answers = slot.probe_many(*(("tcp", place, 80) for place in places))
    assert {place: answer for place, answer in zip(places, answers) if answer not in REFUSED} in \
        ({}, {"169.254.1.1": "TIMEOUT"}), "reachable"
    answers = slot.probe_many(*(("udp", place, 9999) for place in places if place != "255.255.255.255"))
    assert all(answer in REFUSED | {"TIMEOUT"} for answer in answers), answers
    assert slot.probe("tcp", PUBLIC, 80).endswith(PUBLIC)
    assert internet.do("ip", "neigh").stdout.count("FAILED") == 0


def test_loopback_is_the_slots_own(world):
    world.echo("tcp:127.0.0.1:8080")
    slot = Net(world, "aaaaaaaa").add(0)
    assert slot.probe_many(("tcp", "127.0.0.1", 8080), ("tcp", "127.0.0.53", 8080)) == ["ECONNREFUSED"] * 2


def test_slots_do_not_see_each_other(world):
    net = Net(world, "aaaaaaaa")
    one, two = net.add(0), net.add(1)
    server = subprocess.Popen([*two.inside(), "python3", "-c", "import socket,time; s=socket.create_server(('0.0.0.0',80));"
                               "print('ready',flush=True); time.sleep(1000)"], stdout=subprocess.PIPE)
    try:
        server.stdout.readline()
        assert one.probe("tcp", two.address, 80) in REFUSED
        # From the host, even with a route to it.
        world.do("ip", "route", "add", two.address, "via", net.link[1])
        assert world.probe("tcp", two.address, 80) in REFUSED | {"TIMEOUT"}
        assert world.probe("tcp", net.link[1], 80) in REFUSED | {"TIMEOUT"}
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_nobody_gets_in_from_outside(world, internet):
    net = Net(world, "aaaaaaaa")
    slot = net.add(0)
    internet.do("ip", "route", "add", "198.19.0.0/16", "via", MACHINE)
    internet.do("ip", "route", "add", "198.18.0.0/17", "via", MACHINE)
    world.do("ip", "route", "add", "198.18.0.0/17", "via", net.link[1])
    for place in (net.link[1], slot.address):
        assert internet.probe("tcp", place, 80) in REFUSED | {"TIMEOUT"}


def test_a_slot_cannot_send_in_anothers_name(world):
    net = Net(world, "aaaaaaaa")
    one = net.add(0)
    net.add(1)
    one.do("ip", "address", "add", "198.18.0.2/32", "dev", "lo")
    one.do("ip", "address", "add", "203.0.113.99/32", "dev", "lo")
    assert one.probe("udp", PUBLIC, 9999, "198.18.0.2") == "TIMEOUT"
    assert one.probe("udp", PUBLIC, 9999, "203.0.113.99") == "TIMEOUT"
    assert one.probe("udp", PUBLIC, 9999).startswith(MACHINE)


def test_there_is_no_ipv6_but_the_loopback_address(world):
    slot = Net(world, "aaaaaaaa").add(0)
    addresses = slot.do("ip", "-6", "-br", "address").stdout.split()
    assert [part for part in addresses if ":" in part] == ["::1/128"]
    assert slot.do("cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6").stdout.strip() == "1"


def test_allowed_hosts_are_reached_and_nothing_beside_them(world):
    world.put("/etc/hosts", "127.0.0.1 localhost\n10.9.9.9 db.corp\n127.0.0.1 here.corp\n172.16.9.9 other.corp\n")
    world.echo("tcp:127.0.0.1:7001", "tcp:127.0.0.1:7009", "tcp:203.0.113.1:7002", "tcp:203.0.113.1:7008", "tcp:127.0.0.1:7004")
    net = Net(world, "aaaaaaaa", "127.0.0.1:7001", f"{MACHINE}:7002", "db.corp:7003", "here.corp:7004", "nowhere.invalid:1")
    slot = net.add(0)
    assert slot.probe("tcp", HOST, 7001) == "127.0.0.1 127.0.0.1"
    assert slot.probe("tcp", HOST, 7002).endswith(MACHINE)
    assert slot.probe("tcp", MACHINE, 7002).endswith(MACHINE)
    assert slot.probe("tcp", "10.9.9.9", 7003) == f"{MACHINE} 10.9.9.9"
    assert slot.probe("tcp", HOST, 7004).startswith("127.0.0.1")
    refused = [("tcp", HOST, 7009), ("tcp", HOST, 7008), ("tcp", MACHINE, 7008), ("tcp", "10.9.9.9", 80), ("tcp", HOST, 7003),
               ("tcp", "172.16.9.9", 7003), ("udp", "10.9.9.9", 7003), ("tcp", net.link[0], 7001)]
    answers = slot.probe_many(*refused)
    assert {*answers} <= REFUSED, str(answers)
    hosts = net.command("hosts").split("|")
    assert f"{HOST} host.irori.internal" in hosts
    assert f"{HOST} here.corp" in hosts
    assert "10.9.9.9 db.corp" in hosts
    assert "172.16.9.9 other.corp" in hosts
    assert not any("127.0.0.1 here.corp" in line for line in hosts)


def test_names_of_the_host_itself_mean_the_host(world):
    world.echo("tcp:127.0.0.1:7001", "tcp:127.0.0.1:7002", "tcp:127.0.0.5:7003")
    net = Net(world, "aaaaaaaa", "localhost:7001", "host.irori.internal:7002", "127.0.0.5:7003")
    slot = net.add(0)
    assert [answer.split()[0] for answer in slot.probe_many(*(("tcp", HOST, port) for port in (7001, 7002, 7003)))] == ["127.0.0.1"] * 3


def test_dns_goes_to_the_hosts_resolvers_wherever_they_are(world):
    world.put("/etc/resolv.conf", "nameserver 127.0.0.53\nnameserver 10.9.9.9\nsearch corp.example\noptions ndots:3\n")
    world.echo("tcp:127.0.0.53:53", "udp:127.0.0.53:53", "udp:127.0.0.1:53")
    net = Net(world, "aaaaaaaa")
    slot = net.add(0)
    assert net.command("resolv") == "nameserver 198.18.254.1|nameserver 198.18.254.2|search corp.example|options ndots:3|"
    for kind in ("udp", "tcp"):
        assert slot.probe(kind, DNS[0], 53) == ("127.0.0.1 127.0.0.53")
        assert slot.probe(kind, DNS[1], 53).startswith(MACHINE)
    assert slot.probe("udp", DNS[2], 53) in REFUSED
    assert slot.probe("tcp", DNS[0], 80) in REFUSED


def test_resolvers_that_change_are_followed(world):
    world.put("/etc/resolv.conf", "nameserver 127.0.0.53\n")
    world.echo("udp:127.0.0.53:53", "udp:127.0.0.77:53")
    slot = Net(world, "aaaaaaaa").add(0)
    assert slot.probe("udp", DNS[0], 53) == "127.0.0.1 127.0.0.53"
    world.put("/etc/resolv.conf", "nameserver 127.0.0.77\n")
    until(lambda: slot.probe("udp", DNS[0], 53) == "127.0.0.1 127.0.0.77", 20)


def test_the_upstream_list_of_systemd_resolved_is_used_when_there_is_one(world):
    world.put("/etc/resolv.conf", "nameserver 127.0.0.53\noptions edns0\n")
    world.do("mkdir", "-p", "/run/systemd/resolve")
    world.do("sh", "-c", "echo nameserver 10.9.9.9 > /run/systemd/resolve/resolv.conf")
    slot = Net(world, "aaaaaaaa").add(0)
    assert slot.probe("udp", DNS[0], 53).startswith(MACHINE)


def test_two_thousand_slots(world):
    net = Net(world, "aaaaaaaa")
    took = float(net.command("many 0 2099"))
    last = net.add(2099)
    assert last.probe("tcp", PUBLIC, 80) == f"{MACHINE} {PUBLIC}"
    assert "table full" not in run("dmesg", check=False).stdout
    router = net.router()
    assert run(*router, "ip", "-br", "link").stdout.count("@") == 2101
    assert run(*router, "ip", "neigh").stdout.count("PERMANENT") == 2101
    print(f"2,099 slots in {took:.0f} ms: {took / 2099:.2f} ms each")
    start = time.monotonic()
    assert net.close() == 0
    print(f"closed in {(time.monotonic() - start) * 1000:.0f} ms")


def test_a_slot_can_be_made_again(world):
    net = Net(world, "aaaaaaaa")
    net.add(7)
    net.command("remove 7")
    slot = net.add(7)
    assert slot.probe("tcp", PUBLIC, 80).endswith(PUBLIC)
    net.command("listen 7")
    assert slot.probe("tcp", "127.0.0.1", 9001) == "TIMEOUT"  # listens, and nobody accepts


def test_a_clean_stop_leaves_nothing(world):
    before = world.settings()
    net = Net(world, "aaaaaaaa", "127.0.0.1:7001")
    net.add(0)
    assert world.settings() != before
    assert net.close() == 0
    assert world.settings() == before


def test_after_a_kill_the_sweep_leaves_nothing(world):
    before = world.settings()
    net = Net(world, "aaaaaaaa", "127.0.0.1:7001")
    net.add(0)
    assert run(*world.inside(), DRIVER, "--sweep", "aaaaaaaa", check=False).returncode == 1, "swept a living instance"
    net.kill()
    until(lambda: "irori-" not in world.do("ip", "-br", "link").stdout)
    assert "irori_aaaaaaaa" in world.do("nft", "list", "tables").stdout
    world.do(DRIVER, "--sweep", "aaaaaaaa")
    assert world.settings() == before
    world.do(DRIVER, "--sweep", "aaaaaaaa")
    assert world.settings() == before


def test_a_restart_after_a_kill_works_and_then_leaves_nothing(world):
    before = world.settings()
    Net(world, "aaaaaaaa").kill()
    net = Net(world, "aaaaaaaa")
    assert net.add(0).probe("tcp", PUBLIC, 80).endswith(PUBLIC)
    assert net.close() == 0
    assert world.settings() == before


@pytest.mark.parametrize("killed", [None, "first", "second", "both"])
@pytest.mark.parametrize("order", ["first", "second"])
def test_two_instances_leave_in_either_order(world, order, killed):
    before = world.settings()
    nets = [Net(world, "aaaaaaaa"), Net(world, "bbbbbbbb")]
    slots = [net.add(0) for net in nets]
    assert nets[0].link[0] != nets[1].link[0]
    assert all(slot.probe("tcp", PUBLIC, 80).endswith(PUBLIC) for slot in slots)
    if order == "second":
        nets.reverse()
        slots.reverse()
    for at, (net, name) in enumerate(zip(nets, ("first", "second"))):
        if killed in (name, "both"):
            net.kill()
        else:
            assert net.close() == 0
        if at == 0:
            assert slots[1].probe("tcp", PUBLIC, 80).endswith(PUBLIC)
    for net in nets:
        world.do(DRIVER, "--sweep", net.instance)
    assert world.settings() == before


def test_the_last_living_one_restores_for_the_dead(world):
    before = world.settings()
    dead, alive = Net(world, "aaaaaaaa"), Net(world, "bbbbbbbb")
    dead.kill()
    assert alive.close() == 0
    assert world.settings()[0] == before[0]
    world.do(DRIVER, "--sweep", "aaaaaaaa")
    assert world.settings() == before


def test_the_same_instance_twice_is_refused(world):
    net = Net(world, "aaaaaaaa")
    slot = net.add(0)
    second = run(*world.inside(), DRIVER, "aaaaaaaa", check=False)
    assert second.returncode == 1 and "already running" in second.stdout
    assert slot.probe("tcp", PUBLIC, 80).endswith(PUBLIC)


def test_names_on_the_host_carry_the_instance(world):
    tables, links = world.do("nft", "list", "tables").stdout, set(re.findall(r"^\S+", world.do("ip", "-br", "link").stdout, re.M))
    Net(world, "q1w2e3r4")
    assert world.do("nft", "list", "tables").stdout.replace(tables, "").split() == ["table", "inet", "irori_q1w2e3r4"]
    added = set(re.findall(r"^\S+", world.do("ip", "-br", "link").stdout, re.M)) - links
    assert len(added) == 1 and added.pop().startswith("irori-q1w2e3r4@")


@pytest.fixture
def lan(world, spaces):
    """A neighbour that would use the machine as its router."""
    lan = spaces("lan")
    connect(world, "lan0", lan, "out")
    world.do("ip", "address", "add", "10.44.0.1/24", "dev", "lan0")
    lan.do("ip", "address", "add", "10.44.0.2/24", "dev", "out")
    lan.do("ip", "route", "add", "default", "via", "10.44.0.1")
    world.do("nft", "add table ip t; add chain ip t p { type nat hook postrouting priority 100; }; "
             "add rule ip t p ip saddr 10.44.0.0/24 oifname eth0 masquerade")
    return lan


def test_the_machine_becomes_no_router_for_others(world, lan):
    assert lan.probe("tcp", PUBLIC, 80) in REFUSED | {"TIMEOUT"}
    one = Net(world, "aaaaaaaa")
    assert lan.probe("tcp", PUBLIC, 80) in REFUSED | {"TIMEOUT"}
    Net(world, "bbbbbbbb")
    one.close()
    assert lan.probe("tcp", PUBLIC, 80) in REFUSED | {"TIMEOUT"}


def test_a_router_goes_on_routing(world, lan):
    world.sysctl("all/forwarding", 1)
    world.sysctl("eth0/forwarding", 0)
    world.sysctl("eth0/forwarding", 1)
    before = world.settings()
    assert lan.probe("tcp", PUBLIC, 80).endswith(PUBLIC)
    net = Net(world, "aaaaaaaa")
    assert lan.probe("tcp", PUBLIC, 80).endswith(PUBLIC)
    assert net.add(0).probe("tcp", PUBLIC, 80).endswith(PUBLIC)
    net.close()
    assert world.settings() == before
    assert lan.probe("tcp", PUBLIC, 80).endswith(PUBLIC)


def test_a_device_that_forwarded_goes_on_while_the_others_do_not(world, lan, spaces):
    world.sysctl("lan0/forwarding", 1)
    other = spaces("other")
    connect(world, "lan1", other, "out")
    world.do("ip", "address", "add", "10.45.0.1/24", "dev", "lan1")
    other.do("ip", "address", "add", "10.45.0.2/24", "dev", "out")
    other.do("ip", "route", "add", "default", "via", "10.45.0.1")
    before = world.settings()
    net = Net(world, "aaaaaaaa")
    assert lan.probe("tcp", PUBLIC, 80).endswith(PUBLIC)
    assert other.probe("tcp", "10.44.0.2", 80) in {"TIMEOUT"} | REFUSED - {"ECONNREFUSED"}
    net.close()
    assert world.settings() == before


def test_forwarding_that_somebody_else_turned_on_stays_on(world, lan):
    net = Net(world, "aaaaaaaa")
    world.sysctl("all/forwarding", 1)  # as a container engine does
    until(lambda: lan.probe("tcp", PUBLIC, 80).endswith(PUBLIC))
    net.close()
    assert world.sysctl("all/forwarding") == "1"
    assert lan.probe("tcp", PUBLIC, 80).endswith(PUBLIC)


def test_rules_that_somebody_flushes_come_back(world):
    world.echo("tcp:0.0.0.0:80")
    net = Net(world, "aaaaaaaa")
    slot = net.add(0)
    other = Net(world, "bbbbbbbb")
    world.do("nft", "flush", "ruleset")
    # Even before that, nothing of the host is open.
    assert slot.probe("tcp", MACHINE, 80) in REFUSED
    until(lambda: slot.probe("tcp", PUBLIC, 80).endswith(PUBLIC))
    until(lambda: "irori_bbbbbbbb" in world.do("nft", "list", "tables").stdout)
    # And then it is quiet: instances do not answer each other's repairs.
    handle = world.do("nft", "-a", "list", "table", "inet", "irori_aaaaaaaa").stdout.splitlines()[0]
    time.sleep(1)
    assert world.do("nft", "-a", "list", "table", "inet", "irori_aaaaaaaa").stdout.splitlines()[0] == handle
    assert other.usable


def test_a_firewall_that_drops_forwarding_is_named(world, capfd):
    world.do("nft", "add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }")
    Net(world, "aaaaaaaa")
    assert "'ip filter FORWARD' drops forwarded traffic" in capfd.readouterr().err


def test_addresses_that_the_host_gets_later_are_refused_too(world):
    world.echo("tcp:0.0.0.0:80")
    net = Net(world, "aaaaaaaa")
    slot = net.add(0)
    world.do("ip", "address", "add", "198.51.100.200/28", "dev", "eth0")
    assert slot.probe("tcp", "198.51.100.200", 80) in REFUSED
    until(lambda: slot.probe("tcp", "198.51.100.201", 80) in REFUSED)


def test_addresses_in_use_on_the_host_are_avoided(world):
    net = Net(world, "aaaaaaaa")
    host, _ = net.link
    net.close()
    world.do("ip", "address", "add", f"{host}/30", "dev", "lo")
    assert Net(world, "aaaaaaaa").link[0] != host


def test_without_nftables_slots_have_loopback_only(world):
    before = world.settings()
    world.do("mount", "--bind", "/dev/null", "/usr/sbin/nft")
    net = Net(world, "aaaaaaaa")
    assert not net.usable and "nft" in net.process.answer
    slot = net.add(0)
    assert slot.do("ip", "-br", "link").stdout.split()[0] == "lo"
    assert slot.probe("tcp", "127.0.0.1", 9001) == "ECONNREFUSED"
    net.command("listen 0")
    assert slot.probe("tcp", PUBLIC, 80) == "ENETUNREACH"
    assert net.command("resolv").startswith("nameserver 127.0.0.1|")
    net.close()
    world.do("umount", "/usr/sbin/nft")
    assert world.settings() == before


FILL = f"""
import socket
ok = 0
for port in range(10000, 15000):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect(("{PUBLIC}", port))
    try:
        s.send(b"x")
        ok += 1
    except OSError:
        pass
print(ok)
"""


def test_a_slot_cannot_fill_the_connection_table(world):
    slot = Net(world, "aaaaaaaa").add(0)
    sent = slot.do("python3", "-c", FILL).stdout
    count = int(world.do("cat", "/proc/sys/net/netfilter/nf_conntrack_count").stdout)
    assert 4000 <= count <= 4200, (count, sent)


def test_functions_together_cannot_fill_the_hosts_connection_table(world):
    """Half of it in 16 groups; here one group is filled, by one source port of each slot that leaves the same rest."""
    most = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text()) // 2 // 16
    net = Net(world, "aaaaaaaa")
    for index in range(most // 4000 + 1):
        net.add(index).do("python3", "-c", "import socket\n"
                          "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                          f"s.bind(('0.0.0.0', {16000 + 16 * index}))\n"
                          "for port in range(10000, 14000):\n"
                          f"    try: s.sendto(b'x', ('{PUBLIC}', port))\n"
                          "    except OSError: pass\n")
    count = int(world.do("cat", "/proc/sys/net/netfilter/nf_conntrack_count").stdout)
    assert most <= count <= most + 100, (most, count)


# What is left of a function: two connections to the outside that are remembered, a socket that waits for late packets.
LEAVE = f"""
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("0.0.0.0", 5000))
u.connect(("{PUBLIC}", 9999))
u.send(b"?")
u.recv(100)
t = socket.create_connection(("{PUBLIC}", 80))
t.recv(100)
server = socket.create_server(("127.0.0.1", 0))
one = socket.create_connection(server.getsockname())
two = server.accept()[0]
one.close()
two.recv(1)
"""


def tracked(space_do, address):
    return [line for line in space_do("cat", "/proc/net/nf_conntrack").stdout.splitlines() if f"src={address} " in line]


@pytest.mark.skipif(not os.path.exists("/proc/net/nf_conntrack"), reason="the kernel does not list connections")
def test_nothing_of_a_slots_connections_goes_over_to_the_next_environment(world):
    net = Net(world, "aaaaaaaa")
    slot, other = net.add(0), net.add(1)
    for one in (slot, other):
        one.do("python3", "-c", LEAVE)

    def router(*command):
        return run(*net.router(), *command)

    def sockets(one):
        return len(one.do("cat", "/proc/net/tcp").stdout.splitlines()) - 1

    assert len(tracked(router, slot.address)) == len(tracked(router, other.address)) == 2
    on_host = len(tracked(world.do, net.link[1]))
    assert on_host == 4 and sockets(slot) >= 1 and sockets(other) >= 1
    print(f"cleaned in {net.command('clean 0')} ms, again in {net.command('clean 0')} ms")
    assert tracked(router, slot.address) == [] and len(tracked(router, other.address)) == 2
    assert len(tracked(world.do, net.link[1])) == 2
    assert sockets(slot) == 0 and sockets(other) >= 1
    slot.do("python3", "-c", LEAVE)
    net.command("clean 0")
    assert tracked(router, slot.address) == []


def test_a_function_that_filled_the_connection_table_does_not_hinder_the_next(world):
    net = Net(world, "aaaaaaaa")
    slot = net.add(0)
    slot.do("python3", "-c", FILL)
    assert slot.probe("tcp", PUBLIC, 80) in REFUSED
    print(f"cleaned in {net.command('clean 0')} ms")
    assert slot.probe("tcp", PUBLIC, 80).endswith(PUBLIC)
    assert int(world.do("cat", "/proc/sys/net/netfilter/nf_conntrack_count").stdout) < 20


@pytest.mark.parametrize("spec", ["nothing", "host:0", "10.1:80", "[2001:db8::1]:80"])
def test_a_malformed_allowed_host_is_refused(world, spec):
    done = run(*world.inside(), DRIVER, "aaaaaaaa", spec, check=False)
    assert done.returncode == 1 and spec in done.stdout


def test_the_real_host_is_left_as_it_was():
    def settings():
        return run("sh", "-c", "grep -r . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf 2>/dev/null | grep -v stable_secret | sort;"
                   "nft list ruleset; ip -br address; ip route show table all").stdout

    if "irori" in settings():
        pytest.skip("an instance is running on this host")
    before = settings()
    process = subprocess.Popen([DRIVER, "zz0test0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("ok usable")
    process.stdin.close()
    assert process.wait(20) == 0
    process.stdout.close()
    assert settings() == before
