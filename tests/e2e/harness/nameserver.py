"""A name server on the host's loopback, and a server whose /etc/resolv.conf names it and nothing else."""

import socket
import struct
import threading
from pathlib import Path

from .paths import IRORI
from .server import Server

A = 1
RESPONSE, CUT_SHORT, NO_SUCH_NAME = 0x8400, 0x0200, 3
PLACES = ["127.0.0.53", "127.0.0.77"]  # systemd-resolved may have the first

# The name server's file takes the place of the machine's for the server alone, and the list of systemd-resolved is not there.
WRAPPER = """#!/bin/sh
exec unshare --mount --propagation private sh -c '
    if [ -d /run/systemd/resolve ]; then mount -t tmpfs tmpfs /run/systemd/resolve; fi
    [ -e /etc/resolv.conf ] || : >"$(readlink -f /etc/resolv.conf)"
    mount --bind {resolv_conf} /etc/resolv.conf || exit 1
    exec {irori} "$@"' sh "$@"
"""


class NameServer:
    """Use with `with`. records: name -> IPv4 address; names of `long` are answered in full over TCP only.
    `asked` are (transport, name) pairs of the questions for addresses."""

    def __init__(self, records, long=()):
        self.records, self.long, self.asked = records, set(long), []

    def __enter__(self):
        for place in PLACES:
            try:
                self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._udp.bind((place, 53))
                self._tcp = socket.create_server((place, 53))
                self.address = place
                break
            except OSError:
                self._udp.close()
        else:
            raise AssertionError(f"port 53 of {PLACES} is in use")
        threading.Thread(target=self._serve_udp, daemon=True).start()
        threading.Thread(target=self._serve_tcp, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._tcp.shutdown(socket.SHUT_RDWR)
        self._tcp.close()
        self._udp.close()

    def _answer(self, query, transport):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        name, (kind,) = ".".join(labels).lower(), struct.unpack_from(">H", query, at + 1)
        question, address = query[12:at + 5], self.records.get(name)
        flags, records = RESPONSE if address else RESPONSE | NO_SUCH_NAME, b""
        if kind == A:
            self.asked.append((transport, name))
            if address and transport == "udp" and name in self.long:
                flags |= CUT_SHORT
            elif address:
                records = struct.pack(">HHHIH", 0xC00C, A, 1, 60, 4) + socket.inet_aton(address)
        return query[:2] + struct.pack(">HHHHH", flags, 1, 1 if records else 0, 0, 0) + question + records

    def _serve_udp(self):
        while True:
            try:
                query, peer = self._udp.recvfrom(1500)
            except OSError:
                return
            if len(query) > 12:
                self._udp.sendto(self._answer(query, "udp"), peer)

    def _serve_tcp(self):
        while True:
            try:
                one, _peer = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._converse, args=(one,), daemon=True).start()

    def _converse(self, one):
        with one, one.makefile("rb") as stream:
            while len(head := stream.read(2)) == 2:
                answer = self._answer(stream.read(struct.unpack(">H", head)[0]), "tcp")
                one.sendall(struct.pack(">H", len(answer)) + answer)


def server_with_resolver(folder, address, more=""):
    """A Server that sees a machine with this resolver. folder: of the test; more: further lines of resolv.conf."""
    resolv_conf, wrapper = Path(folder) / "resolv.conf", Path(folder) / "irori"
    resolv_conf.write_text(f"nameserver {address}\n{more}")
    wrapper.write_text(WRAPPER.format(resolv_conf=resolv_conf, irori=IRORI))
    wrapper.chmod(0o755)
    return Server(program=wrapper)
