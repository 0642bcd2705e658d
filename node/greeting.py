"""Who is on which connection: a HELLO each way, and no rights before the chain in it verifies (DESIGN X1).

    connection      Connected --> AWAITED --HELLO that proves--> GREETED --> Closed
                        |            |
                        |            +-- 10 s, or a HELLO that does not prove: closed, with the cause
                        +-- psk_id of a ticket --> JOINING: says JOIN and nothing else (node.joining), for 10 s

    1 HELLO    chain of certificates (root first), epoch of this run, wall clock, addresses to dial, software

The transport has proven that the peer holds an exchange key; the chain proves whose that key is. A connection that we
began towards one server is closed when another answers. The transport keeps no order, so a message may overtake its
sender's HELLO: it waits, within `HELD_BYTES` and `HELD_MESSAGES`, and is handed on under the proven name, which no
message states again.

Several connections with one peer may stand for a moment (both dialled at once, or one end restarted): all are
GREETED, and `routing.router` says which to drop.

Left to others: what chains prove (`node.directory`, `identity.trust`); which connection is used (`routing.router`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Annotated, Any, ClassVar

import msgspec

from identity.errors import BangpathError, PeerMisbehaved
from identity.names import ServerId
from transport.events import Closed, Connected
from transport.wire import Message, Number

HELLO_S = 10.0  # a peer that has proven its key and then says nothing for so long only holds memory
MAX_CHAIN = 16  # a certificate for each component of a server id
MAX_CERTIFICATE_BYTES = 4096
MAX_ADDRESSES = 16
NO_TICKET = bytes(16)
HELD_BYTES = 256 << 10  # FEED and a few requests, for the round trip that a lost HELLO takes
HELD_MESSAGES = 64

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Host = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Chain = Annotated[
    tuple[Annotated[bytes, msgspec.Meta(max_length=MAX_CERTIFICATE_BYTES)], ...],
    msgspec.Meta(min_length=1, max_length=MAX_CHAIN),
]
Addresses = Annotated[tuple[tuple[Host, Port], ...], msgspec.Meta(max_length=MAX_ADDRESSES)]


class Hello(Message, frozen=True):
    """HELLO: who I am, and what proves it."""

    TYPE: ClassVar[int] = 1
    chain: Chain
    epoch: Number
    wall_ms: Number
    addresses: Addresses
    software: Annotated[str, msgspec.Meta(max_length=64)]


class Proven(msgspec.Struct, frozen=True):
    """What a chain of certificates proves of its last link."""

    server: ServerId
    incarnation: int
    signing_key: bytes
    exchange_key: bytes


class State(Enum):
    """What we know of who is on a connection."""

    AWAITED = auto()
    GREETED = auto()
    JOINING = auto()


class Session(msgspec.Struct):
    """One connection. `server` stands once it is GREETED."""

    connection: int
    peer_key: bytes
    address: tuple[str, int]
    initiator: bool
    psk_id: bytes
    state: State
    due: float  # until when the next step must have come
    server: ServerId | None = None
    hello: Hello | None = None
    held: list[tuple[bytes, int]] = []  # what overtook the HELLO
    held_bytes: int = 0


class Say(msgspec.Struct, frozen=True):
    """Send this message on that connection."""

    connection: int
    message: Message


class Greeted(msgspec.Struct, frozen=True):
    """The peer of a connection is proven to be `server`."""

    connection: int
    server: ServerId
    hello: Hello
    address: tuple[str, int]
    initiator: bool
    clock_offset_ms: int  # how far its wall clock is ahead of ours
    held: tuple[tuple[bytes, int], ...]  # messages that overtook the HELLO, with their priorities, as they came


class TurnAway(msgspec.Struct, frozen=True):
    """Close the connection; `cause` is told to the peer and written down beside `address`."""

    connection: int
    cause: str
    address: tuple[str, int]
    peer_key: bytes


class Greeting:
    """All connections of this server and who is on them.

    `prove_untrusted(chain)` gives what a chain proves or raises `PeerMisbehaved` with the cause; `hello()`
    gives our own HELLO as it is now; `wall_ms()` our wall clock.
    """

    def __init__(
        self,
        own: ServerId,
        *,
        prove_untrusted: Callable[[Sequence[bytes]], Proven],
        hello: Callable[[], Hello],
        wall_ms: Callable[[], int],
    ) -> None:
        self._own = own
        self._prove_untrusted = prove_untrusted
        self._hello = hello
        self._wall_ms = wall_ms
        self._sessions: dict[int, Session] = {}
        self._awaited: dict[int, Session] = {}  # of equal waits, so the first is due first
        self._outputs: list[Any] = []

    # -- what happens

    def handle_connected(self, event: Connected, now: float) -> None:
        joining = event.psk_id != NO_TICKET
        session = Session(
            event.connection, event.peer_key, event.address, event.initiator, event.psk_id,
            State.JOINING if joining else State.AWAITED, now + HELLO_S,
        )  # fmt: skip
        self._sessions[event.connection] = session
        self._awaited[event.connection] = session
        if not joining:
            self._outputs.append(Say(event.connection, self._hello()))

    def handle_hello(self, connection: int, hello: Hello, now: float) -> None:
        """A HELLO came. One that does not prove its sender ends the connection."""
        session = self._sessions.get(connection)
        if session is None:
            return
        if session.state is not State.AWAITED:
            self.turn_away(connection, "a HELLO that nobody waited for")
            return
        try:
            proven = self._prove_untrusted(hello.chain)
            if proven.exchange_key != session.peer_key:
                raise PeerMisbehaved(f"the certificate of {proven.server} is for another key than this session's")
            if proven.server == self._own:
                raise PeerMisbehaved(f"somebody else calls itself {self._own}, as this server does")
        except BangpathError as error:
            self.turn_away(connection, error.cause)
            return
        del self._awaited[connection]
        session.state, session.due = State.GREETED, math.inf
        session.server, session.hello = proven.server, hello
        offset = hello.wall_ms - self._wall_ms()
        held, session.held, session.held_bytes = tuple(session.held), [], 0
        self._outputs.append(
            Greeted(
                connection, proven.server, hello, session.address, session.initiator, clock_offset_ms=offset, held=held
            )
        )

    def hold(self, connection: int, message: bytes, priority: int) -> None:
        """Keep what came before its sender's HELLO; more than a correct peer sends ends the connection."""
        session = self._sessions.get(connection)
        if session is None or session.due == math.inf:
            return
        session.held_bytes += len(message)
        if session.held_bytes > HELD_BYTES or len(session.held) >= HELD_MESSAGES:
            self.turn_away(connection, f"more than {HELD_BYTES} bytes before a HELLO")
            session.held = []
        else:
            session.held.append((message, priority))

    def handle_closed(self, event: Closed, now: float) -> Session | None:
        """Forget the connection; gives what was known of it."""
        self._awaited.pop(event.connection, None)
        return self._sessions.pop(event.connection, None)

    def say(self, connection: int, message: Message) -> None:
        """Send something on a connection that stands, whoever is on it; on one that is over, nothing."""
        if connection in self._sessions:
            self._outputs.append(Say(connection, message))

    def turn_away(self, connection: int, cause: str) -> None:
        """End a connection for a reason that its peer is told."""
        session = self._sessions.get(connection)
        if session is not None:
            self._awaited.pop(connection, None)
            session.due = math.inf
            self._outputs.append(TurnAway(connection, cause, session.address, session.peer_key))

    # -- questions

    def session(self, connection: int) -> Session | None:
        return self._sessions.get(connection)

    def server_on(self, connection: int) -> ServerId | None:
        """Who is on the connection; None before that is proven, and for one that is over."""
        session = self._sessions.get(connection)
        return session.server if session is not None else None

    def is_met(self, peer_key: bytes) -> bool:
        """Whether somebody who proved this key is on a connection, greeted or not yet."""
        return bool(peer_key) and any(each.peer_key == peer_key for each in self._sessions.values())

    def connections(self) -> list[Session]:
        """All of them, oldest first."""
        return list(self._sessions.values())

    # -- a machine

    def deadline(self) -> float:
        for session in self._awaited.values():
            return session.due
        return math.inf

    def handle_deadline(self, now: float) -> None:
        for session in list(self._awaited.values()):
            if session.due > now:
                return
            late = (
                f"not joined within {HELLO_S:.0f} s"
                if session.state is State.JOINING
                else f"no HELLO within {HELLO_S:.0f} s"
            )
            self.turn_away(session.connection, late)

    def take_outputs(self) -> list[Any]:
        outputs, self._outputs = self._outputs, []
        return outputs
