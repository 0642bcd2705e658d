"""Two endpoints whose packets may go by gateways: what is told, what leaves which way, and back to direct."""

from __future__ import annotations

from typing import Any

import pytest

from tests.transport.conftest import A, B, Pair
from transport.events import CameAside, Detour, DirectAgain, Doubted, Trusted, is_routed, routed_address
from transport.mtu import DETOUR_BYTES, MAX_PACKET_BYTES
from transport.packet import write_path_challenge

TO_B, TO_A = routed_address("1.2"), routed_address("1.1")


class Mesh(Pair):
    """A pair whose detours are carried to the other side, `delay` later; `lost` are those that are not."""

    def __init__(self, seed: int = 1, **more: Any) -> None:
        super().__init__(seed, **more)
        self.detoured: dict[tuple[str, int], int] = {A: 0, B: 0}
        self.gateway_works = True

    def _flush(self) -> None:
        super()._flush()
        for address, side in self.sides.items():
            side.events += side.endpoint.take_outputs()  # detours are told while datagrams leave
            for event in [each for each in side.events if isinstance(each, Detour)]:
                side.events.remove(event)
                self.detoured[address] += 1
                assert len(event.packet) <= MAX_PACKET_BYTES
                if self.gateway_works:
                    self.deliver(
                        TO_A if address == A else TO_B, B if address == A else A, event.packet, self.now + 0.03
                    )

    def told(self, side: Any, kind: type) -> list[Any]:
        return [each for each in side.events if isinstance(each, kind)]


def mesh(**more: Any) -> tuple[Mesh, int, int]:
    pair = Mesh(**more)
    a, b = pair.connect()
    pair.run(2)
    return pair, a, b


def say(pair: Mesh, number: int, count: int = 1) -> None:
    for _ in range(count):
        pair.a.endpoint.send(number, b"hello", 1, pair.now)


def test_a_cut_is_doubted_and_a_gateway_carries_what_was_stalled() -> None:
    pair, a, _ = mesh()
    pair.links[A].drop = pair.links[B].drop = lambda datagram: True
    say(pair, a)
    begun = pair.now
    assert pair.run(2, until=lambda: bool(pair.told(pair.a, Doubted)))
    assert pair.now - begun < 0.1
    (doubted,) = pair.told(pair.a, Doubted)
    assert (doubted.connection, doubted.since, doubted.tries) == (a, pytest.approx(begun), 1)
    pair.a.endpoint.route(a, TO_B, 0.06, pair.now)
    begun = pair.now
    assert pair.run(1, until=lambda: pair.b.messages() == [b"hello"])
    assert pair.now - begun < 0.05
    assert len(pair.told(pair.b, CameAside)) == 1
    pair.b.endpoint.route(pair.b.connected()[-1].connection, TO_A, 0.06, pair.now)
    assert pair.run(1, until=lambda: bool(pair.told(pair.a, Trusted)))


def test_each_direction_is_found_to_work_by_itself() -> None:
    """Only the way to B was cut: A goes by a gateway, and B, which heard nothing directly, not for long."""
    pair, a, b = mesh()
    pair.links[A].drop = lambda datagram: True
    say(pair, a)
    pair.run(1, until=lambda: bool(pair.told(pair.a, Doubted)))
    pair.a.endpoint.route(a, TO_B, 0.06, pair.now)
    pair.run(1, until=lambda: bool(pair.told(pair.b, CameAside)))
    pair.b.endpoint.route(b, TO_A, 0.06, pair.now)
    assert pair.run(2, until=lambda: bool(pair.told(pair.b, DirectAgain)))
    pair.b.endpoint.unroute(b, pair.now)
    pair.run(0.5)
    before = pair.detoured[B]
    for _ in range(20):
        say(pair, a)
        pair.run(0.05)
    assert pair.detoured[B] == before
    assert len(pair.b.messages()) == 21
    assert pair.told(pair.a, DirectAgain) == []
    pair.links[A].drop = None
    for _ in range(20):
        say(pair, a)
        pair.run(0.05)
    assert pair.told(pair.a, DirectAgain)
    pair.a.endpoint.unroute(a, pair.now)
    before = pair.detoured[A]
    say(pair, a)
    pair.run(1)
    assert pair.detoured[A] == before
    assert len(pair.b.messages()) == 42  # each once, though many came twice


def test_one_stray_packet_is_not_the_direct_way() -> None:
    pair, a, _ = mesh()
    allowed = [1]

    def drop(datagram: bytes) -> bool:
        if allowed[0] > 0 and pair.now > 103.5:
            allowed[0] -= 1
            return False
        return True

    pair.links[A].drop = drop
    pair.a.endpoint.route(a, TO_B, 0.06, pair.now)
    for _ in range(100):
        say(pair, a)
        pair.run(0.05)
    assert allowed == [0]
    assert pair.told(pair.a, DirectAgain) == []


def test_the_stray_way_back_of_a_replayed_packet_says_nothing_new() -> None:
    """A recorded copy may come directly from anywhere: its number is old, and decides nothing."""
    pair, a, _ = mesh()
    pair.record = True
    say(pair, a, 3)
    pair.run(1)
    recorded = [datagram for sender, datagram in pair.sent if sender == A]
    pair.links[A].drop = lambda datagram: True
    pair.a.endpoint.route(a, TO_B, 0.06, pair.now)
    for datagram in recorded * 20:
        say(pair, a)
        pair.run(0.02)
        pair.inject(pair.b, datagram)
    assert pair.told(pair.a, DirectAgain) == []


def test_packets_by_gateways_leave_room_for_what_carries_them() -> None:
    pair, a, _ = mesh()
    direct = pair.a.endpoint._connections[a]._filler.packet_bytes
    pair.a.endpoint.route(a, TO_B, 0.06, pair.now)
    assert pair.a.endpoint._connections[a]._filler.packet_bytes == direct - DETOUR_BYTES
    pair.a.endpoint.send(a, bytes(200_000), 3, pair.now)
    assert pair.run(10, until=lambda: any(len(each) == 200_000 for each in pair.b.messages()))
    pair.a.endpoint.unroute(a, pair.now)
    assert pair.a.endpoint._connections[a]._filler.packet_bytes == direct


def begun_by_gateways() -> tuple[Mesh, int]:
    pair = Mesh()
    pair.links[A].drop = pair.links[B].drop = lambda datagram: True
    number = pair.a.endpoint.connect(TO_B, pair.b.key, pair.now)
    assert pair.run(5, until=lambda: bool(pair.a.connected() and pair.b.connected()))
    assert is_routed(pair.b.connected()[0].address)
    return pair, number


def test_a_session_begun_by_gateways_finds_a_direct_way_even_if_it_is_one_way() -> None:
    pair, a = begun_by_gateways()
    say(pair, a)
    pair.run(1)
    assert pair.b.messages() == [b"hello"]
    assert pair.links[A].count == 0  # no address was known: nothing left for a port
    pair.links[A].drop = None  # only ours to the peer works
    pair.a.endpoint.try_directly(a, ("10.9.9.9", 9))  # nobody there
    for _ in range(20):
        say(pair, a)
        pair.run(0.05)
    pair.a.endpoint.try_directly(a, B)  # another address is tried after one that brought nothing
    for _ in range(40):
        say(pair, a)
        pair.run(0.05)
    assert pair.told(pair.a, DirectAgain)
    pair.a.endpoint.unroute(a, pair.now)
    pair.record = True
    pair.run(0.5)
    before = pair.detoured[A]
    say(pair, a)
    pair.run(1)
    assert len(pair.b.messages()) == 62
    assert pair.detoured[A] == before
    pair.a.endpoint.try_directly(a, ("10.9.9.9", 9))  # it is known where the peer hears us: no longer tried
    say(pair, a)
    pair.run(1)
    assert len(pair.b.messages()) == 63


def test_nothing_for_a_routed_address_is_ever_given_to_a_port() -> None:
    """Not even the answer to a challenge that came by gateways, which only a strange peer would send."""
    pair, a, _ = mesh()
    sent: list[tuple[str, int]] = []
    deliver = pair._send
    pair._send = lambda sender, receiver, datagram: (sent.append(receiver), deliver(sender, receiver, datagram))[1]  # type: ignore[method-assign]
    plaintext = memoryview(bytearray(100))
    challenge = pair.forge(pair.b, bytes(plaintext[: write_path_challenge(plaintext, 0, b"12345678")]))
    before = pair.detoured[A]
    pair.inject(pair.a, challenge, TO_B)
    pair.run(1)
    assert pair.detoured[A] == before + 1
    pair.a.endpoint.route(a, TO_B, 0.06, pair.now)
    say(pair, a)
    pair.run(1)
    pair.a.endpoint.close(a, "done", pair.now)
    pair.run(1)
    assert sent
    assert not any(is_routed(address) for address in sent)


def test_verbs_for_connections_that_are_gone_change_nothing() -> None:
    pair, a, _ = mesh()
    pair.a.endpoint.close(a, "done", pair.now)
    pair.run(1)
    for number in (a, 999):
        pair.a.endpoint.route(number, TO_B, 0.06, pair.now)
        pair.a.endpoint.unroute(number, pair.now)
        pair.a.endpoint.try_directly(number, B)
    pair.a.endpoint.handle_detoured(b"\x04nonsense", TO_B, pair.now)
    pair.a.endpoint.handle_detoured(b"", TO_B, pair.now)
    pair.run(1)
