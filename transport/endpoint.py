"""All connections of one port: find them by index, admit strangers, call others, let everybody send in turn.

    datagrams --> type? --> sealed   --> index --> connection --> events
                     |----> first    --> admission --> second
                     |----> third    --> half open --> connection, Connected
                     |----> second   --> call      --> connection, Connected, third
                     |----> cookie   --> call      --> first, again
                     +----> word     --> Said                                  no session is needed (`transport.words`)

    departures    who was touched fills the one buffer, in turn, until nobody has anything to send
    turns         (when, number)    the earliest deadline of each connection and call

Rules:

- Whatever comes in, nothing is raised: what is not ours, or not yet, or forged, meets silence (ATTACKS 1-7).
- **One session with each peer** (by key, and by the secret it was shaken under). A newer one replaces the older:
  `Closed` for that, then `Connected`. When both call at once, the session begun by the smaller key stays, on both
  sides; the larger key's call was not told as `Connected` yet: the other session takes its number and what waited to be
  sent. One on which the peer was heard before it called again was lost by it (it restarted): the new one replaces it.
- A connection that ended answers what still comes for it with its CLOSE, a few times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from identity.errors import Exhausted, LocalMistake, PeerMisbehaved, Refused
from identity.machine import Batch
from transport import noise
from transport.admission import Admission, HalfOpen
from transport.calling import Call, Calls, ours_stays
from transport.connection import Connection
from transport.departures import Departures
from transport.events import Closed, Event, Said
from transport.farewells import Farewells, refusal
from transport.figures import Statistics
from transport.fragments import Outgoing
from transport.handshake import ZERO_ID
from transport.packet import CLOSE_DONE, COOKIE, FIRST_XK, FIRST_XX, SEALED, SECOND, THIRD, WORD
from transport.parameters import Parameters
from transport.ports import Address
from transport.sealing import SessionKeys
from transport.settings import Settings
from transport.states import State
from transport.turns import Turns

if TYPE_CHECKING:
    import random

BOTH = "both called at once; the other session is used"
REPLACED = "replaced by a newer session"
INDEX_BYTES = 5  # type and index: what packets for one connection have in common


class Endpoint:
    """The transport of one server on one port; an `identity.machine.Transmitter`."""

    def __init__(
        self,
        exchange_key: bytes,
        network: bytes,
        find_psk: Callable[[bytes], bytes | None],
        random: random.Random,
        settings: Settings | None = None,
        now: float = 0.0,
        *,
        copies: bool = True,
    ) -> None:
        """`exchange_key` is our private X25519 key, `network` the mesh's id, `find_psk` gives the secret of a 16-byte
        id (zeros: the mesh's own), or None for one we do not know; `copies`: of what goes by gateways (tests only)."""
        self._exchange_key = exchange_key
        self._public_key = noise.public_key(exchange_key)
        self._network = network
        self._find_psk = find_psk
        self._random = random
        self._settings = settings or Settings()
        self._parameters = Parameters(self._settings.window_bytes, self._settings.window_messages).to_bytes()
        self._admission = Admission(
            exchange_key=exchange_key, network=network, find_psk=find_psk, random=random, settings=self._settings,
            parameters=self._parameters,
        )  # fmt: skip
        self._numbers = 0
        self._connections: dict[int, Connection] = {}
        self._sessions: dict[int, Connection] = {}  # by our index
        self._peers: dict[tuple[bytes, bytes], Connection] = {}  # by peer key and psk id
        self._calls = Calls()
        self._farewells = Farewells()
        self._to_take: list[Connection] = []  # told messages that nobody has taken yet
        self._turns = Turns()
        self._outputs: list[Event] = []
        self._departures = Departures(
            turns=self._turns, farewells=self._farewells, drop=self._drop, tell=self._outputs.append, copies=copies
        )

    # -- what is wanted

    def connect(
        self, address: Address, peer_key: bytes, now: float, *, psk_id: bytes = ZERO_ID, psk: bytes | None = None
    ) -> int:
        """Call a peer. The number of the connection to be; `Connected` or `Closed(established=False)` follows.

        `peer_key` empty: whoever answers there and knows the mesh's secret; `Connected` tells the key it proved.

        Raises `Refused` for our own key or a key that is none, `Exhausted` when there are too many connections,
        `LocalMistake` for a secret nobody knows.
        """
        if peer_key == self._public_key:
            raise Refused("this server does not call itself")
        if len(self._connections) + len(self._calls) >= self._settings.max_connections:
            raise Exhausted("too many connections are open", next_step="close some")
        if psk is None and (psk := self._find_psk(psk_id)) is None:
            raise LocalMistake(f"no secret is known under {psk_id.hex()}")
        self._numbers += 1
        try:
            call = Call(
                number=self._numbers, address=address, peer_key=peer_key, psk_id=psk_id, psk=psk,
                exchange_key=self._exchange_key, network=self._network, parameters=self._parameters,
                random=self._random, settings=self._settings, new_index=self._new_index, now=now,
            )  # fmt: skip
        except PeerMisbehaved as error:
            raise Refused(f"the key of {address[0]}:{address[1]} is none: {error.cause}") from error
        self._try(call, now)
        return call.number

    def send(self, connection: int, message: bytes, priority: int, now: float) -> None:
        """Queue a message on a connection, or on a call that was not answered yet.

        Raises `Exhausted` for a full queue (`Drained` follows), `Refused` without such a connection, `LocalMistake` for
        a message too long.
        """
        found = self._connections.get(connection)
        if found is not None and found.alive:
            found.send(message, priority)
            self._touch(found)
            return
        call = self._calls.get(connection)
        if call is None:
            raise Refused(f"connection {connection} is closed", next_step="connect again")
        call.outgoing.push(message, priority)

    def queued_bytes(self, connection: int) -> int:
        """Bytes accepted by `send` that the peer is not known to have."""
        found = self._connections.get(connection) or self._calls.get(connection)
        return found.outgoing.queued_bytes if found else 0

    def close(self, connection: int, reason: str, now: float) -> None:
        """End a connection or a call; the peer is told why. No `Closed` follows. An unknown number is ignored."""
        call = self._calls.get(connection)
        if call is not None:
            self._calls.forget(call)
            return
        found = self._connections.get(connection)
        if found is not None:
            found.end(CLOSE_DONE, reason, told=False)
            self._forget_peer(found)
            self._touch(found)

    # -- ways (what the router wants)

    def route(self, connection: int, detour: Address, round_trip_s: float, now: float) -> None:
        """Send everything of this connection by gateways to a routed address, over which a round trip takes so long."""
        found = self._connections.get(connection)
        if found is not None and found.alive:
            found.take_route(detour, round_trip_s, now)
            self._touch(found)

    def unroute(self, connection: int, now: float) -> None:
        """Send everything of this connection directly again."""
        found = self._connections.get(connection)
        if found is not None and found.alive:
            found.take_direct(now)
            self._touch(found)

    def try_directly(self, connection: int, address: Address) -> None:
        """Of a connection that was begun by gateways: its peer may be heard at this address."""
        if (found := self._connections.get(connection)) is not None:
            found.ways.try_directly(address)

    def say(self, word: bytes, address: Address) -> None:
        """A word leaves, once."""
        self._departures.reply(word, address)

    def handle_detoured(self, packet: bytes, source: Address, now: float) -> None:
        """A packet that came by gateways, from whom they say that it is. Raises nothing."""
        self.handle_datagrams(memoryview(packet), len(packet), source, now)

    # -- questions

    def connections(self) -> list[int]:
        """The numbers of the connections that stand, oldest first."""
        return [number for number, each in self._connections.items() if each.established]

    def place(self, connection: int) -> Address | None:
        """Where its peer was heard last; a routed address where it never was heard directly."""
        return found.place if (found := self._connections.get(connection)) else None

    def statistics(self, connection: int) -> Statistics | None:
        return found.statistics() if (found := self._connections.get(connection)) else None

    # -- datagrams in

    def handle_datagrams(self, buffer: memoryview, segment_size: int, address: Address, now: float) -> None:
        """One received buffer: datagrams of `segment_size` bytes, the last may be shorter. Raises nothing."""
        length = len(buffer)
        size, at = segment_size if segment_size > 0 else length, 0
        while at < length:
            head = bytes(buffer[at : at + INDEX_BYTES])
            end = at + size
            if head[0] != SEALED:
                self._handle_handshake_untrusted(bytes(buffer[at:end]), address, now)
                at = end
                continue
            while end < length and buffer[end : end + INDEX_BYTES] == head:
                end += size
            index = int.from_bytes(head[1:], "big")
            connection = self._sessions.get(index)
            if connection is not None:
                connection.handle_packets_untrusted(buffer[at : min(end, length)], size, address, now)
                if connection.untaken_messages:
                    self._to_take.append(connection)
                self._touch(connection)
            elif (farewell := self._farewells.answer(index, address, now)) is not None:
                self._departures.reply(farewell, address)
            at = end

    def _handle_handshake_untrusted(self, packet: bytes, address: Address, now: float) -> None:
        if len(packet) < INDEX_BYTES:
            return
        kind, index = packet[0], int.from_bytes(packet[1:INDEX_BYTES], "big")
        if kind in (FIRST_XK, FIRST_XX):
            full = len(self._connections) >= self._settings.max_connections
            answer = self._admission.handle_first(packet, address, now, full=full, new_index=self._new_index)
            if answer is not None:
                self._departures.reply(answer, address)
        elif kind == THIRD:
            half_open = self._admission.find(index)
            if half_open is not None:
                self._handle_third_untrusted(half_open, packet, address, now)
        elif kind == WORD:
            self._outputs.append(Said(packet))
        elif kind in (SECOND, COOKIE):
            call = self._calls.of_index(index)
            if call is not None and kind == SECOND:
                self._handle_second_untrusted(call, index, packet, now)
            elif call is not None:
                first = call.handle_cookie(index, packet, now)
                if first is not None:
                    self._departures.reply(first, call.address)

    def _handle_second_untrusted(self, call: Call, index: int, packet: bytes, now: float) -> None:
        made = call.handle_second(index, packet, now)
        if made is None:
            return
        keys, third, round_trip_s = made
        self._calls.forget(call)
        if keys.peer_key == self._public_key:
            reason = f"{call.address[0]}:{call.address[1]} is this server itself"
            self._outputs.append(Closed(call.number, reason, call.peer_key, False))
            return
        try:
            parameters = Parameters.from_bytes_untrusted(keys.peer_parameters)
        except PeerMisbehaved as error:
            self._outputs.append(Closed(call.number, error.cause, call.peer_key, False))
            return
        self._establish(
            call.number, keys, parameters, call.address, call.outgoing, third=third, round_trip_s=round_trip_s, now=now
        )

    def _handle_third_untrusted(self, half_open: HalfOpen, packet: bytes, address: Address, now: float) -> None:
        try:
            keys = half_open.responder.handle_third_untrusted(packet)
        except PeerMisbehaved:
            return  # forged, perhaps; the true one may still come
        self._admission.finish(half_open)
        try:
            parameters = Parameters.from_bytes_untrusted(keys.peer_parameters)
        except PeerMisbehaved:
            return
        other = self._peers.get((keys.peer_key, keys.psk_id))
        if (
            other is not None
            and other.keys.initiator
            and ours_stays(
                self._public_key, keys.peer_key, since=other.since, heard_at=other.heard_first_at,
                called_at=half_open.since, now=now,
            )
        ):  # fmt: skip
            self._departures.reply(refusal(keys, BOTH), address)
            return
        number, outgoing = self._number_for(keys)
        round_trip_s = now - half_open.since if half_open.seconds == 1 else None
        self._establish(number, keys, parameters, address, outgoing, third=b"", round_trip_s=round_trip_s, now=now)

    def _number_for(self, keys: SessionKeys) -> tuple[int, Outgoing]:
        """The number and queue of our own call to this peer, if it has not succeeded yet; else new ones."""
        call = self._calls.of_peer(keys.peer_key, keys.psk_id)
        if call is not None:
            self._calls.forget(call)
            return call.number, call.outgoing
        unheard = self._peers.get((keys.peer_key, keys.psk_id))
        if unheard is not None and unheard.state is State.UNHEARD:
            unheard.end(CLOSE_DONE, BOTH, told=False)
            self._drop(unheard)
            return unheard.number, unheard.outgoing.again()
        self._numbers += 1
        return self._numbers, Outgoing(queue_bytes=self._settings.queue_bytes)

    def _establish(
        self, number: int, keys: SessionKeys, parameters: Parameters, address: Address, outgoing: Outgoing, *,
        third: bytes, round_trip_s: float | None, now: float,
    ) -> None:  # fmt: skip
        peer = keys.peer_key, keys.psk_id
        self._calls.forget_peer(*peer)
        older = self._peers.get(peer)
        if older is not None:
            older.end(CLOSE_DONE, REPLACED, told=True)
            self._touch(older)
        connection = Connection(
            number=number, keys=keys, parameters=parameters, address=address, settings=self._settings, third=third,
            round_trip_s=round_trip_s, outgoing=outgoing, tell=self._outputs.append, random=self._random, now=now,
        )  # fmt: skip
        self._connections[number] = self._sessions[keys.receive_index] = self._peers[peer] = connection
        self._touch(connection)

    # -- datagrams out

    def transmit(self, now: float) -> Batch | None:
        """The next batch; None when nobody has anything to send now. What goes by gateways is told as `Detour`."""
        return self._departures.transmit(now)

    # -- time and outputs

    def deadline(self) -> float:
        return self._turns.earliest()

    def handle_deadline(self, now: float) -> None:
        for number in self._turns.take_due(now):
            connection = self._connections.get(number)
            if connection is not None:
                connection.handle_deadline(now)
                self._touch(connection)
                continue
            if (call := self._calls.get(number)) is not None:
                self._try(call, now)

    def take_outputs(self) -> Sequence[Event]:
        outputs: list[Event] = []
        if self._outputs:
            outputs = self._outputs.copy()
            self._outputs.clear()
        if self._to_take:
            for connection in self._to_take:
                if connection.untaken_messages:
                    connection.take()
                    self._touch(connection)
            self._to_take = []
        return outputs

    # -- book-keeping

    def _try(self, call: Call, now: float) -> None:
        """Call (again), or give up."""
        if now >= call.ends_at:
            self._calls.forget(call)
            host, port = call.address
            reason = f"no answer from {host}:{port} in {self._settings.handshake_timeout_s:.0f} s, {call.tries} tries"
            self._outputs.append(Closed(call.number, reason, call.peer_key, False))
            return
        self._departures.reply(call.next_first(now), call.address)
        self._calls.add(call)
        self._turns.arm(call.number, call.next_at)

    def _touch(self, connection: Connection) -> None:
        """Something happened to it: it may have something to send."""
        if connection.state is State.OVER and not connection.ready:
            self._drop(connection)
        else:
            self._departures.touch(connection)
        if not connection.alive:
            self._forget_peer(connection)

    def _forget_peer(self, connection: Connection) -> None:
        if self._peers.get(peer := (connection.keys.peer_key, connection.keys.psk_id)) is connection:
            del self._peers[peer]

    def _drop(self, connection: Connection) -> None:
        self._forget_peer(connection)
        self._sessions.pop(connection.keys.receive_index, None)
        if self._connections.get(connection.number) is connection:  # not another that took its number
            del self._connections[connection.number]
            self._turns.disarm(connection.number)

    def _new_index(self) -> int:
        """An index that is not in use."""
        while True:
            index = self._random.randrange(1, 2**32)
            if not (index in self._sessions or index in self._calls or index in self._admission):
                self._farewells.forget(index)
                return index
