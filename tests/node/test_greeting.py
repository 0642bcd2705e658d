"""A peer is who its chain proves, and only after that has it any right."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from identity.errors import PeerMisbehaved
from identity.names import ServerId
from node.greeting import HELD_BYTES, HELLO_S, NO_TICKET, Greeted, Greeting, Hello, Proven, Say, State, TurnAway
from transport.events import Closed, Connected
from transport.wire import decode_untrusted, encode

ME = ServerId.parse("1.1")
PEER = ServerId.parse("1.2")
KEY = bytes([2]) * 32
WALL = 1_800_000_000_000


def prove(chain: Sequence[bytes]) -> Proven:
    """A chain of one certificate, which is the id in text, proves that id with the key that ends it."""
    if chain[0] == b"forged":
        raise PeerMisbehaved("the chain leads to no pinned root")
    server = ServerId.parse(chain[0].decode())
    return Proven(server, 7, b"s" * 32, bytes([server.components[-1]]) * 32)


def hello(server: ServerId, *, epoch: int = 1, wall_ms: int = WALL) -> Hello:
    return Hello((str(server).encode(),), epoch, wall_ms, (("127.0.0.1", 7),), "test")


def greeting() -> Greeting:
    return Greeting(ME, prove_untrusted=prove, hello=lambda: hello(ME), wall_ms=lambda: WALL)


def connected(number: int = 1, *, psk_id: bytes = NO_TICKET, key: bytes = KEY) -> Connected:
    return Connected(number, key, ("127.0.0.1", 7), psk_id, False)


def test_both_say_hello_and_know_each_other() -> None:
    machine = greeting()
    machine.handle_connected(connected(), now=0.0)
    assert machine.take_outputs() == [Say(1, hello(ME))]
    assert machine.server_on(1) is None
    machine.handle_hello(1, hello(PEER, wall_ms=WALL + 500), now=0.1)
    (greeted,) = machine.take_outputs()
    assert isinstance(greeted, Greeted)
    assert (greeted.server, greeted.clock_offset_ms) == (PEER, 500)
    assert machine.server_on(1) == PEER
    assert machine.deadline() == float("inf")


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        (Hello((b"forged",), 1, WALL, (), ""), "no pinned root"),
        (hello(ServerId.parse("1.3")), "another key than this session's"),
    ],
)
def test_a_chain_that_does_not_prove_the_key_ends_the_connection(said: Hello, cause: str) -> None:
    machine = greeting()
    machine.handle_connected(connected(), now=0.0)
    machine.take_outputs()
    machine.handle_hello(1, said, now=0.1)
    (away,) = machine.take_outputs()
    assert isinstance(away, TurnAway)
    assert cause in away.cause
    assert machine.server_on(1) is None


def test_somebody_else_with_our_name_is_named_as_that() -> None:
    machine = greeting()
    machine.handle_connected(connected(key=bytes([1]) * 32), now=0.0)
    machine.take_outputs()
    machine.handle_hello(1, hello(ME), now=0.1)
    (away,) = machine.take_outputs()
    assert "calls itself 1.1" in away.cause


def test_a_second_hello_is_a_breach() -> None:
    machine = greeting()
    machine.handle_connected(connected(), now=0.0)
    machine.handle_hello(1, hello(PEER), now=0.1)
    machine.take_outputs()
    machine.handle_hello(1, hello(PEER), now=0.2)
    assert [type(each) for each in machine.take_outputs()] == [TurnAway]


def test_silence_after_the_handshake_is_not_waited_out_for_ever() -> None:
    machine = greeting()
    machine.handle_connected(connected(1), now=0.0)
    machine.handle_connected(connected(2), now=4.0)
    machine.take_outputs()
    assert machine.deadline() == HELLO_S
    machine.handle_deadline(HELLO_S)
    (away,) = machine.take_outputs()
    assert away.connection == 1
    assert "no HELLO" in away.cause
    assert machine.deadline() == HELLO_S + 4.0


def test_who_comes_with_a_ticket_is_told_nothing_and_may_not_say_hello() -> None:
    machine = greeting()
    machine.handle_connected(connected(psk_id=b"t" * 16), now=0.0)
    assert machine.take_outputs() == []
    session = machine.session(1)
    assert session is not None
    assert session.state is State.JOINING
    machine.handle_hello(1, hello(PEER), now=0.1)
    assert [type(each) for each in machine.take_outputs()] == [TurnAway]


def test_a_closed_connection_is_forgotten() -> None:
    machine = greeting()
    machine.handle_connected(connected(), now=0.0)
    session = machine.handle_closed(Closed(1, "gone"), now=1.0)
    assert session is not None
    assert machine.session(1) is None
    assert machine.handle_closed(Closed(1, "gone"), now=1.0) is None
    machine.handle_hello(1, hello(PEER), now=1.0)
    assert [type(each) for each in machine.take_outputs()] == [Say]


def test_hello_has_bounds() -> None:
    table: dict[int, type] = {Hello.TYPE: Hello}
    said = hello(PEER)
    assert decode_untrusted(encode(said), table) == said
    for wrong in (
        Hello((), 1, 1, (), ""),
        Hello((b"x" * 5000,), 1, 1, (), ""),
        Hello((b"x",) * 17, 1, 1, (), ""),
        Hello((b"x",), 1, 1, (("a", 0),), ""),
        Hello((b"x",), 1, 1, (("", 1),), ""),
        Hello((b"x",), -1, 1, (), ""),
    ):
        with pytest.raises(PeerMisbehaved):
            decode_untrusted(encode(wrong), table)


def test_what_overtook_the_hello_waits_for_it() -> None:
    machine = greeting()
    machine.handle_connected(connected(), now=0.0)
    machine.hold(1, b"feed", 0)
    machine.hold(1, b"request", 1)
    machine.take_outputs()
    machine.handle_hello(1, hello(PEER), now=0.1)
    (greeted,) = machine.take_outputs()
    assert greeted.held == ((b"feed", 0), (b"request", 1))


def test_no_peer_is_kept_in_memory_for_long_before_it_is_proven() -> None:
    machine = greeting()
    machine.handle_connected(connected(), now=0.0)
    machine.take_outputs()
    machine.hold(1, bytes(HELD_BYTES + 1), 0)
    assert [type(each) for each in machine.take_outputs()] == [TurnAway]
    machine.hold(1, b"more", 0)
    session = machine.session(1)
    assert session is not None
    assert session.held == []
