"""Real packets under the simulator's rules: what is read of a packet, what is written, what a rule does on the way."""

from __future__ import annotations

import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulations.links import Link
from simulations.nat import Wall
from simulations.real_network import Datagram, RealAgenda, RealNetwork, read_packet, write_packet

A, B, C = "10.78.0.1", "10.78.0.2", "10.78.0.3"
HELLO = Datagram((A, 7000), (B, 7001), b"hello")
FAST = Link(delay=0.0, jitter=0.0)


def sum_of(head: bytes) -> int:
    """The Internet's sum over a header that holds its own sum: all ones when it is right (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(head) // 2}H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@given(st.binary(max_size=1472), st.integers(0, 65535), st.integers(0, 65535))
def test_what_is_written_is_read_and_its_sum_is_right(data: bytes, here: int, there: int) -> None:
    datagram = Datagram((A, here), ("10.78.3.250", there), data)
    packet = write_packet(datagram)
    assert read_packet(packet) == datagram
    assert len(packet) == 28 + len(data)
    assert sum_of(packet[:20]) == 0xFFFF


PACKET = write_packet(HELLO)


@pytest.mark.parametrize(
    "packet",
    [
        b"", PACKET[:27], PACKET[:30],
        b"\x60" + PACKET[1:],  # IPv6
        PACKET[:9] + b"\x06" + PACKET[10:],  # TCP
        PACKET[:6] + b"\x20\x00" + PACKET[8:],  # more fragments follow
        PACKET[:6] + b"\x00\x01" + PACKET[8:],  # a fragment
        b"\x4f" + PACKET[1:],  # a header longer than the packet
        PACKET[:24] + b"\xff\xff" + PACKET[26:],  # longer than it is
        PACKET[:24] + b"\x00\x07" + PACKET[26:],  # shorter than its own head
    ],
)  # fmt: skip
def test_what_is_no_datagram_is_none(packet: bytes) -> None:
    assert read_packet(packet) is None


@given(st.binary(max_size=80))
def test_whatever_comes_is_read_or_is_none(packet: bytes) -> None:
    read_packet(packet)


def test_what_is_due_happens_in_order_and_the_rest_is_waited_for() -> None:
    agenda, happened = RealAgenda(), list[str]()
    agenda.at(agenda.now - 1, lambda: happened.append("first"))
    agenda.at(agenda.now - 1, lambda: happened.append("second"))
    agenda.at(agenda.now + 60, lambda: happened.append("much later"))
    assert 50 < agenda.act() <= 60
    assert happened == ["first", "second"]


class Wires:
    """Three hosts whose devices are sockets: what they send and what comes to them."""

    def __init__(self, link: Link) -> None:
        self.marks: list[Any] = []
        pairs = {
            host: (address, *socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
            for host, address in (("1", A), ("1.1", B), ("1.2", C))
        }
        self.ends = {host: end for host, (_, end, _) in pairs.items()}
        self._others = [other for _, _, other in pairs.values()]
        devices = {}
        for host, (address, end, other) in pairs.items():
            end.settimeout(5)
            other.setblocking(False)
            devices[host] = (address, other.fileno())
        self.network = RealNetwork(devices, random.Random(1), link, lambda *kind, **more: self.marks.append(kind))
        self.network.begin()

    def close(self) -> None:
        self.network.end()
        for each in (*self.ends.values(), *self._others):
            each.close()

    def send(self, host: str, datagram: Datagram) -> None:
        self.ends[host].send(write_packet(datagram))

    def received(self, host: str) -> Datagram | None:
        return read_packet(self.ends[host].recv(2048))

    def silent(self, host: str) -> bool:
        """Whether nothing is there although what was sent after it, from another host, has come."""
        self.send("1.2", Datagram((C, 1), ({"1": A, "1.1": B}[host], 1), b"last"))
        found = self.received(host)
        assert found is not None
        return found.data == b"last"


@pytest.fixture
def wires() -> Iterator[Wires]:
    made = Wires(FAST)
    yield made
    made.close()


def test_a_datagram_passes_and_everything_else_vanishes(wires: Wires) -> None:
    wires.send("1", HELLO)
    assert wires.received("1.1") == HELLO
    wires.ends["1"].send(b"\x60" + bytes(60))
    wires.send("1", HELLO._replace(target=("10.78.9.9", 1)))
    wires.send("1", HELLO._replace(source=("10.78.9.9", 1)))
    wires.send("1", HELLO._replace(data=b"again"))
    found = wires.received("1.1")
    assert found is not None
    assert found.data == b"again"


def test_a_cut_is_of_one_direction_until_it_is_lifted(wires: Wires) -> None:
    with wires.network.lock:
        layer = wires.network.cut("1", "1.1")
    wires.send("1", HELLO)
    assert wires.silent("1.1")
    wires.send("1.1", Datagram((B, 1), (A, 1), b"back"))
    assert wires.received("1") == Datagram((B, 1), (A, 1), b"back")
    with wires.network.lock:
        wires.network.lift(layer)
    wires.send("1", HELLO)
    assert wires.received("1.1") == HELLO
    assert [kind[0] for kind in wires.marks] == ["cut", "mend"]


def test_a_nat_changes_addresses_of_real_packets_and_lets_in_whom_was_called(wires: Wires) -> None:
    wall = Wall(["1"])
    with wires.network.lock:
        wires.network.build(wall)
    wires.send("1.1", Datagram((B, 7001), (A, 7000), b"unasked"))
    wires.send("1", HELLO)
    seen = wires.received("1.1")
    assert seen is not None
    assert (seen.source[0], seen.data) == (A, b"hello")
    assert seen.source[1] != 7000
    wires.send("1.2", Datagram((C, 7000), seen.source, b"a stranger"))
    wires.send("1.1", Datagram(seen.target, seen.source, b"the answer"))
    answer = wires.received("1")
    assert answer == Datagram((B, 7001), (A, 7000), b"the answer")


def test_a_delay_is_waited_for() -> None:
    wires = Wires(Link(delay=0.2, jitter=0.0))
    try:
        begun = time.monotonic()
        wires.send("1", HELLO)
        assert wires.received("1.1") == HELLO
        assert time.monotonic() - begun >= 0.2
    finally:
        wires.close()


def test_a_rule_turns_bits_and_copies_and_the_kernel_may_not_notice() -> None:
    wires = Wires(Link(delay=0.0, jitter=0.0, corrupt=1.0, duplicate=1.0))
    try:
        wires.send("1", HELLO)
        one, other = wires.received("1.1"), wires.received("1.1")
        assert one == other
        assert one is not None
        assert one.data != HELLO.data
        assert len(one.data) == len(HELLO.data)
    finally:
        wires.close()


def test_a_device_that_takes_nothing_loses_packets_and_no_more(wires: Wires) -> None:
    size = 64_000
    for _ in range(500):
        wires.send("1", HELLO._replace(data=os.urandom(10) + bytes(1000)))
        size += 1000
    wires.send("1.1", Datagram((B, 1), (A, 1), b"alive"))
    assert wires.received("1") == Datagram((B, 1), (A, 1), b"alive")
