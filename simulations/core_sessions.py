"""What router cores stand on: sessions that send again, doubt and copy, without sockets, ciphers and trio.

    message --> sent again until it is acknowledged, by the way that the router chose --> message, once

The judgement is the product's own (`transport.directness`): doubts, copies and the direct way coming back are what the
real transport would tell. What is simpler than there: an acknowledgement names packets one by one, a round trip is one
running mean, nothing is bounded, and nothing is sealed, though nobody reads what is for others. What routers want done
is carried out in cores.py.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from identity.names import ServerId
from routing.probes import Came
from routing.router import Router
from routing.ways import Ask, Noted, Unreachable, Verify
from simulations.engine import Agenda
from simulations.trace import Trace
from transport.directness import Directness
from transport.events import is_routed, routed_address

ACK_DELAY_S = 0.010
ACK_WAIT_S = 0.003
AGAIN_S = 0.06  # a packet that was not acknowledged is sent again, later each time
AGAIN_MOST_S = 0.5
PACKET_S = 1e-6  # between the end of a handshake and the first message: what leaves at one instant comes in any order
CALL_S = 0.25  # until a call that nobody answered is made again
CLOSE_S = 0.005  # until the other side hears that a session was closed
SILENCE_S = 10.0  # and where it cannot hear it, until it gives up by itself


class Packet:
    """What is sealed: nobody on the way reads it."""

    __slots__ = ("body", "kind", "number", "source", "target")

    def __init__(self, source: ServerId, target: ServerId, kind: str, number: int, body: Any) -> None:
        self.source, self.target, self.kind, self.number, self.body = source, target, kind, number, body


class End:
    """One end of a session."""

    def __init__(self, connection: int, peer: ServerId, session: int, *, direct: bool, initiator: bool, now: float):
        self.connection = connection
        self.peer = peer
        self.session = session  # the same at both ends
        self.initiator = initiator
        self.begun_directly = direct
        self.direct = direct  # whether an address is known at which the peer may be heard
        self.directness = Directness(direct=direct, ack_delay_s=ACK_DELAY_S, now=now)
        self.trip = 0.02
        self.next = 0  # packet numbers
        self.messages = count()
        self.open: dict[int, list[Any]] = {}  # message: [what, sent first, sent last, tries, packet numbers]
        self.carried: dict[int, int] = {}  # packet number: message
        self.sent_at: dict[int, float] = {}
        self.came: set[int] = set()  # messages
        self.unacked: list[int] = []  # packet numbers
        self.heard_at: float | None = None
        self.heard_number = 0
        self.armed = math.inf


def again_at(entry: list[Any]) -> float:
    """When a message that was not acknowledged is sent again."""
    at: float = entry[2] + min(AGAIN_S * 2 ** min(entry[3] - 1, 6), AGAIN_MOST_S)
    return at


class Core:
    """A router, and its ends of sessions."""

    def __init__(self, traffic: Traffic, name: ServerId) -> None:
        self.name = name
        self.text = str(name)
        self.router = Router(
            name,
            may_dial=lambda server, address: not is_routed(address),
            random=random.Random(f"{traffic.seed}/{name}"),
            knows=lambda server: server in traffic.servers,
        )
        self.ends: dict[int, End] = {}
        self.by_session: dict[int, End] = {}
        self.current: dict[ServerId, End] = {}
        self.calls: dict[int, tuple[ServerId, tuple[str, int], float]] = {}
        self.called: dict[int, int] = {}
        self.asked: dict[int, tuple[ServerId, int]] = {}
        self.asks: dict[int, Ask] = {}
        self.verifies: dict[int, Verify] = {}
        self.unreachable: list[tuple[float, Unreachable]] = []
        self.noted: list[tuple[float, Noted]] = []
        self.pongs: dict[int, float] = {}
        self.armed = math.inf


class Traffic(ABC):
    """All links and sessions. `_settle(server)` sees to what its router wants done."""

    def __init__(self, seed: int, *, loss: float) -> None:
        self.seed = seed
        self.loss = loss
        self.random = random.Random(f"{seed}/cores")
        self.agenda = Agenda(random.Random(f"{seed}/agenda"))
        self.trace = Trace()
        self.servers: dict[ServerId, Core] = {}
        self.links: set[tuple[ServerId, ServerId]] = set()  # each one way; never gone through in order
        self.dead: set[ServerId] = set()
        self.wrongs: list[tuple[ServerId, ServerId, str]] = []
        self.liars: dict[ServerId, Callable[[ServerId, str, Any], Iterable[tuple[ServerId, str, Any]]]] = {}
        self.packets: dict[bytes, Packet] = {}  # on their way by gateways
        self._delays: dict[tuple[ServerId, ServerId], float] = {}
        self._numbers = count(1)

    @property
    def now(self) -> float:
        return self.agenda.now

    def at(self, when: float, what: Callable[[], None]) -> None:
        self.agenda.at(when, what)

    @abstractmethod
    def _settle(self, me: ServerId) -> None:
        """Carry out what this server's router wants done, and wake it when its time comes."""

    # -- packets

    def _wire(self, a: ServerId, b: ServerId, packet: Packet) -> None:
        if (a, b) not in self.links or self.random.random() < self.loss:
            return
        if (a, b) not in self._delays:
            self._delays[a, b] = 0.001 + 0.004 * self.random.random()
        self.at(self.now + self._delays[a, b], lambda: self._arrive(b, packet, aside=None))

    def _depart(self, a: ServerId, packet: Packet, end: End | None, *, routed: bool, direct: bool) -> None:
        """By the way of the session."""
        if routed:
            key = self.random.randbytes(8)
            self.packets[key] = packet
            self.servers[a].router.detour(packet.target, key, self.now)
        if direct:
            self._wire(a, packet.target, packet)

    def _send(self, a: ServerId, end: End, kind: str, body: Any) -> int:
        packet = Packet(a, end.peer, kind, end.next, (end.session, body))
        end.sent_at[end.next] = self.now
        end.next += 1
        routed = end.directness.routed
        copies = routed and end.direct and any(end.directness.copies(end.trip, self.now))
        self._depart(a, packet, end, routed=routed, direct=not routed or copies)
        return packet.number

    def _say(self, a: ServerId, b: ServerId, kind: str, what: Any) -> None:
        """A message to whoever there is a session with."""
        said: Iterable[tuple[ServerId, str, Any]] = [(b, kind, what)]
        if a in self.liars:
            said = self.liars[a](b, kind, what)
        for peer, each, body in said:
            end = self.servers[a].current.get(peer)
            if end is not None:
                self._queue(a, end, (each, body))

    def _say_word(self, a: ServerId, b: ServerId, what: Any) -> None:
        """A word: no session is needed, and nobody acknowledges it."""
        said: Iterable[tuple[ServerId, str, Any]] = [(b, "forward", what)]
        if a in self.liars:
            said = self.liars[a](b, "forward", what)
        for peer, _, body in said:
            self._wire(a, peer, Packet(a, peer, "word", 0, body))

    def _queue(self, a: ServerId, end: End, what: Any) -> None:
        number = next(end.messages)
        end.open[number] = [what, self.now, self.now, 0, []]
        self._transmit(a, end, number)
        self._arm_end(a, end)

    def _transmit(self, a: ServerId, end: End, number: int) -> None:
        entry = end.open[number]
        entry[2] = self.now
        entry[3] += 1
        packet = self._send(a, end, "data", (number, entry[0]))
        entry[4].append(packet)
        end.carried[packet] = number

    def _arm_end(self, a: ServerId, end: End) -> None:
        if not end.open:
            return
        oldest = min(entry[1] for entry in end.open.values())
        due = min(self._doubt_at(end, oldest), min(again_at(entry) for entry in end.open.values()))
        due = max(due, self.now + 1e-4)
        if due < end.armed or end.armed <= self.now:
            end.armed = due
            self.at(due, lambda: self._look(a, end, due))

    def _doubt_at(self, end: End, oldest: float) -> float:
        return end.directness.doubt_at(oldest, end.trip, end.trip / 2)

    def _look(self, a: ServerId, end: End, armed: float) -> None:
        server = self.servers[a]
        if a in self.dead or end.connection not in server.ends or not end.open or end.armed != armed:
            return
        oldest = min(entry[1] for entry in end.open.values())
        if self._doubt_at(end, oldest) <= self.now:
            end.directness.doubt(self.now)
            server.router.handle_doubted(end.connection, oldest, end.directness.doubts, self.now)
            self._settle(a)
        if end.connection not in server.ends:
            return
        for number, entry in list(end.open.items()):
            if number in end.open and again_at(entry) <= self.now:
                self._transmit(a, end, number)
        self._settle(a)
        end.armed = math.inf
        self._arm_end(a, end)

    # -- arriving

    def _arrive(self, me: ServerId, packet: Packet, *, aside: ServerId | None) -> None:
        if me in self.dead or packet.target != me:
            return
        server = self.servers[me]
        by = "direct" if aside is None else "aside"
        self.trace.record(self.now, by, self.servers[packet.source].text, server.text, packet.kind, packet.number)
        if packet.kind in ("first", "second", "third"):
            self._shake(server, packet, aside)
            self._settle(me)
            return
        if packet.kind == "word":
            self._hear_word(server, packet)
            self._settle(me)
            return
        session, body = packet.body
        end = server.by_session.get(session)
        if end is None or end.peer != packet.source:
            return
        if aside is None:
            end.heard_at = self.now
            end.heard_number = max(end.heard_number, packet.number)
            if not end.direct:
                end.direct = True  # it proves itself there (`transport.paths`)
        elif end.directness.answers_aside(end.trip, self.now):
            server.router.handle_came_aside(end.connection, self.now)
        if packet.kind == "ack":
            self._acked(server, end, body)
        else:
            number, what = body
            fresh = number not in end.came
            end.came.add(number)
            end.unacked.append(packet.number)
            if len(end.unacked) == 1:  # one ACK for all that comes within its delay, as the transport does
                self.at(self.now + ACK_WAIT_S, lambda: self._acknowledge(me, end))
            self._settle(me)
            if fresh:
                self._take(server, end, *what)
        self._settle(me)

    def _hear_word(self, server: Core, packet: Packet) -> None:
        word, peer, now = packet.body, packet.source, self.now
        if isinstance(word, Came):
            wrong = server.router.handle_came_untrusted(peer, word, now)
        else:
            wrong = server.router.handle_word_untrusted(peer, word, now)
        if wrong is not None:
            self.wrongs.append((server.name, peer, wrong))

    def _acknowledge(self, me: ServerId, end: End) -> None:
        numbers, end.unacked = end.unacked, []
        if me in self.dead or end.connection not in self.servers[me].ends:
            return
        age = None if end.heard_at is None else self.now - end.heard_at
        self._send(me, end, "ack", (numbers, age, end.heard_number))
        self._settle(me)

    def _acked(self, server: Core, end: End, body: tuple[list[int], float | None, int]) -> None:
        numbers, age, heard = body
        for number in numbers:
            message = end.carried.pop(number, None)
            if message is not None and end.open.pop(message, None) is not None:
                end.trip = 0.875 * end.trip + 0.125 * min(self.now - end.sent_at[number], 0.2)
                server.router.handle_srtt(end.peer, end.trip)
                if end.directness.handle_news(self.now):
                    server.router.handle_trusted(end.connection, self.now)
        ask, works = end.directness.handle_told(age, heard, end.next, self.now)
        if ask:
            self._queue(server.name, end, ("nothing", None))
        if works:
            server.router.handle_direct_again(end.connection, self.now)

    def _take(self, server: Core, end: End, kind: str, what: Any) -> None:
        me, peer, now = server.name, end.peer, self.now
        router = server.router
        if kind == "hello":
            if server.current.get(peer) is not end:
                address = (str(peer), 7000) if end.begun_directly else routed_address(str(peer))
                router.handle_connected(end.connection, peer, end.initiator, address, now)
            return
        wrong = None
        if kind == "forward":
            wrong = router.handle_forward_untrusted(peer, what, now)
        elif kind == "probe":
            number, probe, wait_s = what
            token = next(self._numbers)
            server.asked[token] = (peer, number)
            wrong = router.handle_probe_untrusted(peer, token, probe, now, now + wait_s)
        elif kind == "answer":
            number, answer = what
            ask = server.asks.pop(number, None)
            if ask is not None:
                wrong = router.handle_answer_untrusted(number, answer, now)
        elif kind == "ask":
            self._say(me, peer, "told", what)
        elif kind == "told":
            said, number = what
            if said == "ping":
                server.pongs.setdefault(number, now)
            elif server.verifies.pop(number, None) is not None:
                router.handle_verified(number, True, now)
        if wrong is not None:
            self.wrongs.append((me, peer, wrong))

    # -- handshakes

    def _shake(self, server: Core, packet: Packet, aside: ServerId | None) -> None:
        me, peer, session = server.name, packet.source, packet.body
        direct = aside is None
        if packet.kind == "first":
            if direct and me < peer and self._calls_to(server, peer):
                return  # calls that cross: that of the lesser id goes on, as in the transport
            reply = Packet(me, peer, "second", 0, session)
            self._depart(me, reply, None, routed=not direct, direct=direct)
        elif packet.kind == "second":
            number = server.called.pop(session, None)
            if number is None or number not in server.calls:
                return
            whom, address, _ = server.calls.pop(number)
            end = self._begin(server, number, whom, session, direct=not is_routed(address), initiator=True)
            third = Packet(me, peer, "third", 0, session)
            self._depart(me, third, None, routed=not direct, direct=direct)
            self.at(self.now + PACKET_S, lambda: self._queue(me, end, ("hello", None)))
        elif session not in server.by_session:
            for number in self._calls_to(server, peer):
                del server.calls[number]
            end = self._begin(server, next(self._numbers), peer, session, direct=direct, initiator=False)
            self._queue(me, end, ("hello", None))

    def _calls_to(self, server: Core, peer: ServerId) -> list[int]:
        """The calls under way that go directly to it."""
        return [
            number for number, (whom, address, _) in server.calls.items() if whom == peer and not is_routed(address)
        ]

    def _begin(self, server: Core, number: int, peer: ServerId, session: int, *, direct: bool, initiator: bool) -> End:
        end = End(number, peer, session, direct=direct, initiator=initiator, now=self.now)
        server.ends[number] = server.by_session[session] = end
        return end

    def _close(self, server: Core, connection: int, reason: str, *, tell: bool) -> None:
        end = server.ends.pop(connection, None)
        if end is None:
            return
        server.by_session.pop(end.session, None)
        if server.current.get(end.peer) is end:
            del server.current[end.peer]
        if tell:
            server.router.handle_closed(connection, reason, self.now)
        other = self.servers[end.peer]

        def gone() -> None:
            theirs = other.by_session.get(end.session)
            if theirs is not None and end.peer not in self.dead:
                self._close(other, theirs.connection, "the peer closed it", tell=True)
                self._settle(end.peer)

        if (server.name, end.peer) in self.links:
            self.at(self.now + CLOSE_S, gone)
        else:
            self.at(self.now + SILENCE_S, gone)  # by its silence

    def _call(self, server: Core, number: int, session: int) -> None:
        call = server.calls.get(number)
        if call is None or server.name in self.dead:
            return
        peer, address, ends = call
        if self.now >= ends:
            del server.calls[number]
            server.router.handle_dial_failed(peer, address, "no answer", self.now)
        else:
            packet = Packet(server.name, peer, "first", 0, session)
            self._depart(server.name, packet, None, routed=is_routed(address), direct=not is_routed(address))
            self.at(self.now + CALL_S, lambda: self._call(server, number, session))
        self._settle(server.name)
