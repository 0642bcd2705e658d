"""Connections become sessions; a breach costs its sender a connection and nobody anything else."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest

from identity.errors import Exhausted, Refused
from identity.names import ServerId
from node.dispatch import Unsupported
from node.greeting import NO_TICKET, Greeting, Hello, Proven
from node.sessions import SHUN_MOST_S, SHUN_S, Sessions
from replication.messages import Lazy
from routing.router import Router
from transport.events import Closed, Connected, Drained, MessageReceived
from transport.outstanding import Outstanding
from transport.requests import Receipt
from transport.wire import Message, SendTo, decode_untrusted, encode

ME, PEER = ServerId.parse("1.1"), ServerId.parse("1.2")
KEY = b"k" * 32
ADDRESS = ("10.0.0.2", 7)
HELLO = Hello((b"chain",), 3, 1000, (ADDRESS,), "test")


class FakeEndpoint:
    """Takes what is sent until its queue is full."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, Message]] = []
        self.closed: list[tuple[int, str]] = []
        self.calls: list[tuple[str, int]] = []
        self.full = False

    def connect(self, address: tuple[str, int], peer_key: bytes, now: float) -> int:
        self.calls.append(address)
        return 100 + len(self.calls)

    def send(self, connection: int, message: bytes, priority: int, now: float) -> None:
        if any(connection == each for each, _ in self.closed):
            raise Refused("it is closed")
        if self.full:
            raise Exhausted("the queue is full")
        from node.dispatch import MESSAGES

        self.sent.append((connection, decode_untrusted(message, MESSAGES)))

    def close(self, connection: int, reason: str, now: float) -> None:
        self.closed.append((connection, reason))


class FakeFlood:
    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.breaks = False

    def handle_greeted(self, peer: ServerId, now: float) -> None:
        self.told.append(("greeted", peer))

    def handle_parted(self, peer: ServerId, now: float) -> None:
        self.told.append(("parted", peer))

    def handle_message(self, peer: ServerId, message: Message, now: float) -> None:
        if self.breaks:
            raise AssertionError("a mistake of ours")
        self.told.append(("message", peer, message))

    def handle_undelivered(self, peer: ServerId, message: Message, now: float) -> None:
        self.told.append(("undelivered", peer, message))

    def handle_drained(self, peer: ServerId, now: float) -> None:
        self.told.append(("drained", peer))


class World:
    """Sessions with everything below and above it faked or real and driven by hand."""

    def __init__(self) -> None:
        self.endpoint = FakeEndpoint()
        self.flood = FakeFlood()
        self.log: list[tuple[str, dict[str, Any]]] = []
        self.router = Router(ME, may_dial=lambda *_: True, random=random.Random(1))
        self.greeting = Greeting(ME, prove_untrusted=self._prove, hello=lambda: HELLO, wall_ms=lambda: 1000)
        self.outstanding = Outstanding(ME, 1, 1)
        self.joins: list[Message] = []
        self.lost: list[Any] = []
        self.sessions = Sessions(
            self.endpoint,
            self.greeting,
            self.router,
            self.outstanding,
            self.flood,
            note=lambda event, **details: self.log.append((event, details)),
            learn=lambda *_: None,
            joining=lambda connection, message: self.joins.append(message),
            lost=self.lost.append,
            done=lambda *_: None,
            routed=lambda peer, message, now: None,
            carry_out=lambda output, now: self.sessions.outputs[type(output)](output, now),
        )
        self.who = PEER

    def _prove(self, chain: Sequence[bytes]) -> Proven:
        return Proven(self.who, 1, b"s" * 32, KEY)

    def happen(self, *events: Any, now: float = 0.0) -> None:
        """As the pump would: carry these out, then everything that follows."""
        todo = list(events)
        while todo:
            for event in todo:
                self.sessions.outputs[type(event)](event, now)
            todo = [each for machine in (self.greeting, self.router) for each in machine.take_outputs()]

    def greet(self, connection: int = 1, *, now: float = 0.0) -> None:
        self.happen(
            Connected(connection, KEY, ADDRESS, NO_TICKET, False),
            MessageReceived(connection, encode(HELLO), 0),
            now=now,
        )

    def events(self) -> list[str]:
        return [event for event, _ in self.log]


@pytest.fixture
def world() -> World:
    return World()


def test_a_peer_that_proves_itself_is_there_for_everybody(world: World) -> None:
    world.greet()
    assert world.sessions.connection(PEER) == 1
    assert world.flood.told == [("greeted", PEER)]
    assert world.endpoint.sent == [(1, HELLO)]
    lazy = Lazy(ME)
    world.happen(MessageReceived(1, encode(lazy), 0))
    assert world.flood.told[-1] == ("message", PEER, lazy)
    world.happen(Closed(1, "gone", KEY, True))
    assert world.flood.told[-1] == ("parted", PEER)
    assert world.sessions.connection(PEER) is None
    assert [each.server for each in world.lost] == [PEER]


def test_what_follows_a_hello_in_the_same_turn_finds_the_session(world: World) -> None:
    lazy = Lazy(ME)
    world.happen(
        Connected(1, KEY, ADDRESS, NO_TICKET, False),
        MessageReceived(1, encode(HELLO), 0),
        MessageReceived(1, encode(lazy), 0),
    )
    assert world.flood.told == [("greeted", PEER), ("message", PEER, lazy)]


def test_what_overtakes_a_hello_waits_for_it(world: World) -> None:
    lazy = Lazy(ME)
    world.happen(
        Connected(1, KEY, ADDRESS, NO_TICKET, False),
        MessageReceived(1, encode(lazy), 0),
        MessageReceived(1, encode(HELLO), 0),
    )
    assert world.flood.told == [("greeted", PEER), ("message", PEER, lazy)]


def test_nonsense_ends_the_connection_and_is_counted_and_shunned(world: World) -> None:
    world.greet()
    world.happen(MessageReceived(1, b"\xff", 0), now=1.0)
    assert world.endpoint.closed[0][0] == 1
    misdeeds = world.sessions.misdeeds[PEER]
    assert (misdeeds.count, misdeeds.until) == (1, 1.0 + SHUN_S)
    world.greet(2, now=1.5)
    assert world.sessions.connection(PEER) is None
    assert "no session for" in world.endpoint.closed[-1][1]
    world.greet(3, now=2.5)
    assert world.sessions.connection(PEER) == 3
    for each in range(20):
        world.sessions.misbehaved(PEER, "again", 10.0 + each)
    assert misdeeds.until <= 30.0 + SHUN_MOST_S


def test_a_mistake_of_ours_costs_one_connection_and_is_written_down(world: World) -> None:
    world.greet()
    world.flood.breaks = True
    world.happen(MessageReceived(1, encode(Lazy(ME)), 0))
    assert "mistake" in world.events()
    assert world.endpoint.closed[0][0] == 1
    details = dict(world.log)["mistake"]
    assert "test_sessions.py" in details["place"]


def test_an_unknown_type_is_answered_and_no_crime(world: World) -> None:
    world.greet()
    from identity.encoding import encode_value

    world.happen(MessageReceived(1, encode_value([9999, 1]), 0))
    assert world.endpoint.sent[-1] == (1, Unsupported(9999))
    assert not world.sessions.misdeeds
    world.happen(MessageReceived(1, encode(Unsupported(7)), 0))
    assert world.events()[-1] == "unsupported"
    assert world.sessions.connection(PEER) == 1


def test_requests_wait_for_room_and_replication_is_told(world: World) -> None:
    world.greet()
    world.endpoint.sent.clear()
    world.endpoint.full = True
    first, second = Receipt(1, (1,)), Receipt(1, (2,))
    lazy = Lazy(ME)
    for message in (first, lazy, second):
        world.happen(SendTo(PEER, message))
    assert world.flood.told[-1] == ("undelivered", PEER, lazy)
    world.endpoint.full = False
    world.happen(Drained(1))
    assert [message for _, message in world.endpoint.sent] == [first, second]
    assert world.flood.told[-1] == ("drained", PEER)


def test_a_peer_that_reads_nothing_is_let_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.sessions.BACKLOG_BYTES", 20)
    world.greet()
    world.endpoint.full = True
    for number in range(10):
        world.happen(SendTo(PEER, Receipt(1, (number,))))
    assert world.sessions.connection(PEER) is None
    assert "takes none" in world.sessions.misdeeds[PEER].reason


def test_somebody_else_at_an_address_is_not_who_was_called(world: World) -> None:
    other = ServerId.parse("1.9")
    world.router.know(other, b"o" * 32, [ADDRESS], 0.0)
    world.router.want(other, 0.0)
    world.happen(now=0.0)
    for output in world.router.take_outputs():
        world.sessions.outputs[type(output)](output, 0.0)
    assert world.endpoint.calls == [ADDRESS]
    world.greet(101)
    assert world.sessions.connection(PEER) is None
    assert "1.9 was called, and 1.2 answered" in world.endpoint.closed[-1][1]


def test_a_newcomer_is_handed_to_joining_and_its_time_ends(world: World) -> None:
    from node.joining import Join

    join = Join(PEER, KEY, KEY, b"p" * 64)
    world.happen(Connected(1, KEY, ADDRESS, b"t" * 16, False), MessageReceived(1, encode(join), 0))
    assert world.joins == [join]
    assert world.greeting.deadline() < math.inf
    world.greeting.handle_deadline(100.0)
    world.happen(*world.greeting.take_outputs())
    assert world.endpoint.closed
    assert world.events()[-1] == "turned away"


def test_nothing_is_sent_to_who_is_not_there(world: World) -> None:
    world.happen(SendTo(PEER, Lazy(ME)))
    assert world.endpoint.sent == []
    world.greet()
    world.sessions.close_all("stopping", 1.0)
    assert world.endpoint.closed == [(1, "stopping")]
