"""Connections become sessions with servers: what transport, greeting and router put out is carried out here.

    endpoint   Connected ----> greeting --HELLO--> Greeted --> router --> Reached --> flood, outstanding: it is there
               MessageReceived -> decoded -> the one table of node.dispatch
               Closed ----> router, flood, outstanding: it is gone; or a dial that failed
    router     Dial ----> endpoint.connect             Unreachable ----> whoever waits for that server

Rules. Nothing that a peer sends ends more than its own connection, even when what it uncovers is a mistake of our own
code: that is written to the log with its place. A breach closes the connection with the reason, is counted, and the
peer is shunned for a while that doubles, so that a broken peer costs little; what it signed is believed all the same.
A message of a server whose HELLO is still missing waits for it (`node.greeting`). What requests want to say while the
transport's queue is full waits here and is said first when it drains, because nobody else would repeat it; replication
is told, and repeats by itself.

A session that the transport replaces by a newer one with the same peer is no loss: router and waiting requests hear of
its end when the new one has greeted, or has failed too. Otherwise each of two ends would call again and replace it.

Bounds: `BACKLOG_BYTES` of requests per connection, then the peer counts as one that does not read. `MAX_NOTED` peers.

Pure: a class that is told and tells; its caller is the pump. Left to others: what a message means (its machine).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from identity.errors import Exhausted, PeerMisbehaved, Refused
from identity.names import ServerId
from node.dispatch import MESSAGES, TAKEN_BY, Unsupported
from node.greeting import Greeted, Greeting, Hello, Say, Session, State, TurnAway
from node.reporting import place_of
from node.succession import Succession
from routing.router import Router
from routing.ways import Dial, Drop, Nowhere, Reached, Unreachable
from transport.endpoint import BOTH, REPLACED
from transport.events import Closed, Connected, Drained, MessageReceived
from transport.outstanding import Outstanding
from transport.requests import Done
from transport.wire import Message, SendTo, UnknownType, decode_untrusted, encode

BACKLOG_BYTES = 64 << 20  # as much again as the transport's own queue for one connection
SHUN_S = 1.0  # after the first breach; doubled by each further one up to SHUN_MOST_S
SHUN_MOST_S = 300.0
MAX_NOTED = 4096

Note = Callable[..., None]


class Misdeeds(msgspec.Struct):
    """What a peer did that no correct server does."""

    count: int = 0
    reason: str = ""
    until: float = 0.0


class Replication(Protocol):
    """What sessions tell `replication.flood.Flood`."""

    def handle_greeted(self, peer: ServerId, now: float) -> None: ...
    def handle_parted(self, peer: ServerId, now: float) -> None: ...
    def handle_message(self, peer: ServerId, message: Message, now: float) -> None: ...
    def handle_undelivered(self, peer: ServerId, message: Message, now: float) -> None: ...
    def handle_drained(self, peer: ServerId, now: float) -> None: ...


class Sessions:
    """All connections of this node, by peer. `note(event, **details)` writes to the log;
    `learn(greeted)` takes a HELLO into the directory; `joining(connection, message)` is told what a newcomer says;
    `lost(unreachable)` is told whom nobody reaches, `done(peer, message)` which of its requests a peer declares done;
    """

    def __init__(
        self,
        endpoint: Any,
        greeting: Greeting,
        router: Router,
        outstanding: Outstanding,
        flood: Replication,
        *,
        note: Note,
        learn: Callable[[Greeted, float], None],
        joining: Callable[[int, Message], None],
        lost: Callable[[Unreachable], None],
        done: Callable[[ServerId, Done], None],
        routed: Callable[[ServerId, Message, float], None],
        carry_out: Callable[[Any, float], None],
    ) -> None:
        self.misdeeds: dict[ServerId, Misdeeds] = {}
        self.offsets: dict[ServerId, int] = {}  # wall clock of a peer ahead of ours, ms
        self.silent: dict[ServerId, Unreachable] = {}
        self._endpoint = endpoint
        self._greeting = greeting
        self._router = router
        self._outstanding = outstanding
        self._flood = flood
        self._note = note
        self._learn = learn
        self._joining = joining
        self._lost = lost
        self._done = done
        self._routed = routed
        self._carry_out = carry_out
        self._dialled: dict[int, tuple[ServerId, tuple[str, int]]] = {}
        self._current: dict[ServerId, int] = {}
        self._succession = Succession()
        self._held: dict[int, tuple[tuple[bytes, int], ...]] = {}
        self._backlog: dict[int, deque[tuple[bytes, int]]] = {}
        self._backlog_bytes: dict[int, int] = {}
        self._carry: dict[type, Callable[[Any, float], None]] = {
            Connected: self._greeting.handle_connected,
            MessageReceived: self._receive,
            Closed: self._closed,
            Drained: self._drained,
            Say: self._say,
            Greeted: self._greeted,
            TurnAway: self._turn_away,
            Dial: self._dial,
            Drop: self._drop,
            Reached: self._reached,
            Unreachable: self._unreachable,
            SendTo: self.send,
        }

    @property
    def outputs(self) -> dict[type, Callable[[Any, float], None]]:
        """What is carried out here: for the node's one table of outputs."""
        return self._carry

    def connection(self, peer: ServerId) -> int | None:
        """The connection that is used for this peer."""
        return self._current.get(peer)

    def peers(self) -> list[ServerId]:
        """Who is there, in the order in which they came."""
        return list(self._current)

    def close_all(self, reason: str, now: float) -> None:
        """Tell everybody that this server goes."""
        for session in self._greeting.connections():
            self._endpoint.close(session.connection, reason, now)

    # -- sending

    def send(self, output: SendTo, now: float) -> None:
        """To that peer, however it is reached; to nobody when it is not."""
        connection = self._current.get(output.peer)
        if connection is None:
            return  # every machine was told that it is gone
        message = output.message
        data = encode(message)
        priority = int(message.PRIORITY if output.priority is None else output.priority)
        if TAKEN_BY[type(message)] == "flood":
            try:
                self._endpoint.send(connection, data, priority, now)
            except (Exhausted, Refused):
                self._flood.handle_undelivered(output.peer, message, now)
            return
        backlog = self._backlog.get(connection)
        if backlog:
            self._keep(output.peer, connection, data, priority, now)
            return
        try:
            self._endpoint.send(connection, data, priority, now)
        except Exhausted:
            self._keep(output.peer, connection, data, priority, now)
        except Refused:
            return  # it closed in this very turn; Closed follows

    def _keep(self, peer: ServerId, connection: int, data: bytes, priority: int, now: float) -> None:
        held = self._backlog_bytes.get(connection, 0) + len(data)
        if held > BACKLOG_BYTES:
            self.misbehaved(peer, f"{held} bytes wait for it and it takes none", now)
            return
        self._backlog_bytes[connection] = held
        self._backlog.setdefault(connection, deque()).append((data, priority))

    def _drained(self, event: Drained, now: float) -> None:
        backlog = self._backlog.get(event.connection)
        while backlog:
            data, priority = backlog[0]
            try:
                self._endpoint.send(event.connection, data, priority, now)
            except (Exhausted, Refused):
                return
            backlog.popleft()
            self._backlog_bytes[event.connection] -= len(data)
        peer = self._greeting.server_on(event.connection)
        if peer is not None and self._current.get(peer) == event.connection:
            self._flood.handle_drained(peer, now)

    def _say(self, output: Say, now: float) -> None:
        try:
            self._endpoint.send(output.connection, encode(output.message), int(output.message.PRIORITY), now)
        except (Exhausted, Refused):
            return  # a queue that is full before the HELLO, or a connection that closed: its deadline will end it

    # -- receiving

    def _receive(self, event: MessageReceived, now: float) -> None:
        session = self._greeting.session(event.connection)
        if session is None:
            return
        try:
            self._take_in(event, session, now)
        except Exception as error:  # a machine of ours broke over this message: its sender goes, the others stay
            self._note("mistake", connection=event.connection, cause=repr(error), place=place_of(error))
            self._breach(event.connection, session.server, f"a message that broke us: {type(error).__name__}", now)

    def _take_in(self, event: MessageReceived, session: Session, now: float) -> None:
        try:
            message = decode_untrusted(event.message, MESSAGES)
        except UnknownType as error:
            if session.server is not None:
                self.send(SendTo(session.server, Unsupported(int(error.details["type"]))), now)
            return
        except PeerMisbehaved as error:
            self._breach(event.connection, session.server, error.cause, now)
            return
        if session.state is State.GREETED and session.server is not None:
            self._router.handle_heard(session.server, now)
            self._hand_on(event.connection, session.server, message, now)
        elif isinstance(message, Hello):
            self._greeting.handle_hello(event.connection, message, now)
            self._settle(now)
        elif session.state is State.JOINING:
            self._joining(event.connection, message)
        else:
            self._greeting.hold(event.connection, event.message, event.priority)

    def _settle(self, now: float) -> None:
        """Carry out at once what a HELLO led to, so that the next message of this very turn finds the session."""
        for machine in (self._greeting, self._router):
            for output in machine.take_outputs():
                self._carry_out(output, now)

    def _hand_on(self, connection: int, peer: ServerId, message: Message, now: float) -> None:
        taken_by = TAKEN_BY[type(message)]
        if taken_by == "flood":
            self._flood.handle_message(peer, message, now)
        elif taken_by == "outstanding":
            try:
                self._outstanding.handle_message(peer, message, now)
                if isinstance(message, Done):
                    self._done(peer, message)
            except PeerMisbehaved as error:
                self.misbehaved(peer, error.cause, now)
        elif taken_by == "router":
            self._routed(peer, message, now)
        elif isinstance(message, Unsupported):
            self._note("unsupported", peer=str(peer), number=message.type)
        elif isinstance(message, Hello):
            self._greeting.handle_hello(connection, message, now)  # a second one, which it will refuse
        else:
            self.misbehaved(peer, f"a {type(message).__name__} from a server that is in the mesh already", now)

    def misbehaved(self, peer: ServerId, reason: str, now: float) -> None:
        """Count it, close the connection with the reason, and shun the peer for a while."""
        misdeeds = self.misdeeds.get(peer)
        if misdeeds is None:
            if len(self.misdeeds) >= MAX_NOTED:
                del self.misdeeds[next(iter(self.misdeeds))]
            misdeeds = self.misdeeds[peer] = Misdeeds()
        misdeeds.count += 1
        misdeeds.reason = reason
        misdeeds.until = now + min(SHUN_MOST_S, SHUN_S * 2 ** min(misdeeds.count - 1, 16))
        self._note("misbehaved", peer=str(peer), number=misdeeds.count, cause=reason)
        connection = self._current.get(peer)
        if connection is not None:
            self._close(connection, reason, now)

    def _breach(self, connection: int, peer: ServerId | None, reason: str, now: float) -> None:
        if peer is not None:
            self.misbehaved(peer, reason, now)
        else:
            self._note("stranger", connection=connection, cause=reason)
            self._close(connection, reason, now)

    # -- coming and going

    def _greeted(self, output: Greeted, now: float) -> None:
        dialled = self._dialled.pop(output.connection, None)
        misdeeds = self.misdeeds.get(output.server)
        if dialled is not None and dialled[0] != output.server:
            self._close(output.connection, f"{dialled[0]} was called, and {output.server} answered", now)
            self._router.handle_dial_failed(*dialled, f"{output.server} answered there", now)
            return
        if misdeeds is not None and misdeeds.until > now:
            reason = f"no session for {misdeeds.until - now:.0f} s more: {misdeeds.reason}"
            self._close(output.connection, reason, now)
            if dialled is not None:
                self._router.handle_dial_failed(*dialled, reason, now)
            return
        self.offsets[output.server] = output.clock_offset_ms
        self._held[output.connection] = output.held
        self._tell_replaced(output.server, now)
        self._dialled = {each: whom for each, whom in self._dialled.items() if whom[0] != output.server}
        self._router.handle_connected(
            output.connection, output.server, output.initiator, output.address, now, epoch=output.hello.epoch
        )
        self._learn(output, now)  # after it is there: whom the directory learns of anew is dialled otherwise

    def _reached(self, output: Reached, now: float) -> None:
        self._current[output.server] = output.connection
        self.silent.pop(output.server, None)
        self._note("greeted", peer=str(output.server), connection=output.connection)
        self._flood.handle_greeted(output.server, now)
        self._outstanding.handle_connected(output.server, now)
        for data, priority in self._held.pop(output.connection, ()):
            self._receive(MessageReceived(output.connection, data, priority), now)

    def _drop(self, output: Drop, now: float) -> None:
        self._close(output.connection, output.reason, now, known_to_router=False)

    def _turn_away(self, output: TurnAway, now: float) -> None:
        host, port = output.address
        self._note("turned away", address=f"{host}:{port}", cause=output.cause)
        self._close(output.connection, output.cause, now)

    def _dial(self, output: Dial, now: float) -> None:
        if not isinstance(self._router.route(output.server, now), Nowhere) or self._greeting.is_met(output.peer_key):
            return  # it greeted us in this very turn, or is about to, and a second session would replace that one
        misdeeds = self.misdeeds.get(output.server)
        if misdeeds is not None and misdeeds.until > now:
            self._router.handle_dial_failed(output.server, output.address, f"shunned: {misdeeds.reason}", now)
            return
        try:
            connection = self._endpoint.connect(output.address, output.peer_key, now)
        except (Exhausted, Refused) as error:
            self._router.handle_dial_failed(output.server, output.address, error.cause, now)
            return
        self._dialled[connection] = (output.server, output.address)

    def _close(self, connection: int, reason: str, now: float, *, known_to_router: bool = True) -> None:
        """Close by our own will: the transport puts out no `Closed` for it."""
        self._endpoint.close(connection, reason, now)
        self._gone(Closed(connection, reason), now, known_to_router=known_to_router)

    def _closed(self, event: Closed, now: float) -> None:
        self._gone(event, now, known_to_router=True)

    def _gone(self, event: Closed, now: float, *, known_to_router: bool) -> None:
        connection = event.connection
        session = self._greeting.handle_closed(event, now)
        dialled = self._dialled.pop(connection, None)
        self._held.pop(connection, None)
        self._backlog.pop(connection, None)
        self._backlog_bytes.pop(connection, None)
        server = session.server if session is not None else None
        if server is not None and self._current.get(server) == connection:
            del self._current[server]
            self._note("parted", peer=str(server), connection=connection, cause=event.reason)
            self._flood.handle_parted(server, now)
            self._outstanding.handle_disconnected(server, now)
        if dialled is not None and not self._is_calling(event):
            self._router.handle_dial_failed(*dialled, event.reason, now)
        elif server is not None and known_to_router:
            if event.reason == REPLACED:
                self._succession.note(server, connection, event.peer_key, now)
            else:
                self._router.handle_closed(connection, event.reason, now)
        if server is None:
            self._end_replaced(event.peer_key if session is None else session.peer_key, now)

    def _is_calling(self, event: Closed) -> bool:
        """Whether a call of ours ended because the peer's own session is about to greet us.

        A peer that says so of a session that is not here speaks of one that our last run had: then we call again.
        """
        return event.reason == BOTH and self._greeting.is_met(event.peer_key)

    def _tell_replaced(self, server: ServerId, now: float) -> None:
        """The router hears of the end of a replaced session when the new one is known, or has failed too."""
        replaced = self._succession.take(server)
        if replaced is not None:
            self._router.handle_closed(replaced, REPLACED, now)

    def _end_replaced(self, peer_key: bytes, now: float) -> None:
        """A session or call ended before its HELLO: if nothing else is there of that peer, it is not there any more."""
        if not self._greeting.is_met(peer_key):
            for server in self._succession.of_key(peer_key):
                self._tell_replaced(server, now)

    def tend(self, now: float) -> None:
        """Once a second: newer sessions that have not greeted in time are none."""
        for server in self._succession.overdue(now):
            self._tell_replaced(server, now)

    def _unreachable(self, output: Unreachable, now: float) -> None:
        if not isinstance(self._router.route(output.server, now), Nowhere):
            return  # its old session ended as the new one began
        if output.server not in self.silent:
            self._note("unreachable", peer=str(output.server), cause=output.reason)
        self.silent[output.server] = output
        self._lost(output)
