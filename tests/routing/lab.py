"""Router machines alone, without trio, sockets or ciphers: sessions are modelled, their ways are the real machines'.

    router --Dial, Ask, HandOn, UseGateway--> lab --packets, each one way of a link that may be cut--> lab --> router

A session carries messages as the transport does: each is sent again until it is acknowledged, by the way that the
router chose, and the real `transport.directness` sees doubts, copies and the direct way coming back. Time is virtual
and everything follows from the seed. What honest routers call misbehaviour is kept in `wrongs`; a server becomes a
liar by a function in `liars` that may change, drop or add what it says.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

from identity.names import ServerId
from routing.probes import Forward, Lost
from routing.router import Router
from routing.ways import (
    AnswerProbe,
    Ask,
    Detoured,
    Dial,
    Drop,
    Gateway,
    HandOn,
    Noted,
    Reached,
    TryDirectly,
    Unreachable,
    UseDirect,
    UseGateway,
    Verify,
)  # fmt: skip
from transport.directness import Directness
from transport.events import is_routed, routed_address

KEY = b"k" * 32
ACK_DELAY_S = 0.010
ACK_WAIT_S = 0.003
AGAIN_S = 0.06  # a packet that was not acknowledged is sent again, later each time
AGAIN_MOST_S = 0.5
CALL_S = 0.25
HELLO_S = 10.0


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


class Server:
    def __init__(self, lab: Lab, name: ServerId, number: int) -> None:
        self.name = name
        self.router = Router(
            name,
            may_dial=lambda server, address: not is_routed(address),
            random=random.Random(f"{lab.seed}/{name}"),
            knows=lambda server: server in lab.servers,
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


class Lab:
    """All of it. `delay(a, b)` of links is drawn once."""

    def __init__(self, seed: int = 1, *, loss: float = 0.0) -> None:
        self.seed = seed
        self.now = 0.0
        self.random = random.Random(seed)
        self.servers: dict[ServerId, Server] = {}
        self.links: set[tuple[ServerId, ServerId]] = set()
        self.loss = loss
        self.wrongs: list[tuple[ServerId, ServerId, str]] = []
        self.liars: dict[ServerId, Callable[[ServerId, str, Any], Iterable[tuple[ServerId, str, Any]]]] = {}
        self.forwards = 0
        self.packets: dict[bytes, Packet] = {}
        self.dead: set[ServerId] = set()
        self._delays: dict[tuple[ServerId, ServerId], float] = {}
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = count()
        self._numbers = count(1)
        self._pings = count(1)

    # -- building

    def server(self, name: str) -> ServerId:
        each = ServerId.parse(name)
        self.servers[each] = Server(self, each, len(self.servers))
        return each

    def all_know(self, addresses: bool = True) -> None:
        for each in self.servers.values():
            for other in self.servers:
                if other != each.name:
                    each.router.know(other, KEY, [(str(other), 7000)] if addresses else [], self.now)

    def link(self, a: ServerId, b: ServerId) -> None:
        self.links |= {(a, b), (b, a)}

    def cut(self, a: ServerId, b: ServerId, *, both: bool = True) -> None:
        self.links.discard((a, b))
        if both:
            self.links.discard((b, a))

    def connect(self, a: ServerId, b: ServerId) -> None:
        self.servers[a].router.want(b, self.now)
        self._settle(a)

    def kill(self, server: ServerId) -> None:
        self.dead.add(server)

    # -- time

    def at(self, when: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when, next(self._serial), what))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._agenda and self._agenda[0][0] <= end:
            when, _, what = heapq.heappop(self._agenda)
            self.now = max(self.now, when)
            what()
        self.now = end

    def ping(self, a: ServerId, b: ServerId) -> int:
        """A question that b answers; `answered` tells when. It is asked again on every session there will be."""
        number = next(self._pings)
        self._ping(a, b, number)
        return number

    def _ping(self, a: ServerId, b: ServerId, number: int) -> None:
        server = self.servers[a]
        if a in self.dead or number in server.pongs:
            return
        if b in server.current:
            self._say(a, b, "ask", ("ping", number))
        else:
            server.router.want(b, self.now, keep=False)
            self._settle(a)
        self.at(self.now + 0.5, lambda: self._ping(a, b, number))

    def answered(self, a: ServerId, ping: int) -> float | None:
        return self.servers[a].pongs.get(ping)

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
        if packet.kind in ("first", "second", "third"):
            self._shake(server, packet, aside)
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

    def _acknowledge(self, me: ServerId, end: End) -> None:
        numbers, end.unacked = end.unacked, []
        if me in self.dead or end.connection not in self.servers[me].ends:
            return
        age = None if end.heard_at is None else self.now - end.heard_at
        self._send(me, end, "ack", (numbers, age, end.heard_number))
        self._settle(me)

    def _acked(self, server: Server, end: End, body: tuple[list[int], float | None, int]) -> None:
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

    def _take(self, server: Server, end: End, kind: str, what: Any) -> None:
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
            number, probe = what
            token = next(self._numbers)
            server.asked[token] = (peer, number)
            wrong = router.handle_probe_untrusted(peer, token, probe, now)
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

    def _shake(self, server: Server, packet: Packet, aside: ServerId | None) -> None:
        me, peer, session = server.name, packet.source, packet.body
        direct = aside is None
        if packet.kind == "first":
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
            self._queue(me, end, ("hello", None))
        elif session not in server.by_session:
            end = self._begin(server, next(self._numbers), peer, session, direct=direct, initiator=False)
            self._queue(me, end, ("hello", None))

    def _begin(
        self, server: Server, number: int, peer: ServerId, session: int, *, direct: bool, initiator: bool
    ) -> End:
        end = End(number, peer, session, direct=direct, initiator=initiator, now=self.now)
        server.ends[number] = server.by_session[session] = end
        return end

    def _close(self, server: Server, connection: int, reason: str, *, tell: bool) -> None:
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
            self.at(self.now + 0.005, gone)
        else:
            self.at(self.now + 10.0, gone)  # by its silence

    def _call(self, server: Server, number: int, session: int) -> None:
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

    # -- what routers want

    def _settle(self, me: ServerId) -> None:
        if me in self.dead:
            return
        server = self.servers[me]
        while outputs := server.router.take_outputs():
            for output in outputs:
                self._carry_out(server, output)
        due = server.router.deadline()
        if due < server.armed or server.armed <= self.now:
            server.armed = due
            if due < math.inf:
                self.at(max(due, self.now), lambda: self._wake(me))

    def _wake(self, me: ServerId) -> None:
        if me in self.dead:
            return
        server = self.servers[me]
        server.armed = math.inf
        if server.router.deadline() <= self.now:
            server.router.handle_deadline(self.now)
        self._settle(me)

    def _carry_out(self, server: Server, output: Any) -> None:
        me, now, router = server.name, self.now, server.router
        if isinstance(output, Dial):
            if output.server in server.current:
                return
            number, session = next(self._numbers), next(self._numbers)
            server.calls[number] = (output.server, output.address, now + HELLO_S)
            server.called[session] = number
            self.at(now, lambda: self._call(server, number, session))
        elif isinstance(output, Reached):
            server.current[output.server] = server.ends[output.connection]
        elif isinstance(output, Drop):
            self._close(server, output.connection, output.reason, tell=False)
        elif isinstance(output, Unreachable):
            server.unreachable.append((now, output))
        elif isinstance(output, UseGateway):
            end = server.ends.get(output.connection)
            if end is not None:
                end.directness.take_route(end.next, now)
                end.trip = max(output.rtt_s, 1e-6)
                self._start_over(server, end)
        elif isinstance(output, UseDirect):
            end = server.ends.get(output.connection)
            if end is not None and end.direct and end.directness.routed:
                end.directness.take_direct(now)
                self._start_over(server, end)
        elif isinstance(output, TryDirectly):
            end = server.ends.get(output.connection)
            if end is not None:
                end.direct = True
        elif isinstance(output, Ask):
            server.asks[output.number] = output
            self._say(me, output.server, "probe", (output.number, output.probe))
            self.at(now + output.deadline_s, lambda: self._ask_ends(server, output.number))
        elif isinstance(output, Verify):
            server.verifies[output.number] = output
            self._say(me, output.server, "ask", ("verify", output.number))
            self.at(now + output.deadline_s, lambda: self._verify_ends(server, output.number))
        elif isinstance(output, AnswerProbe):
            peer, number = server.asked.pop(output.token)
            self._say(me, peer, "answer", (number, output.answer))
        elif isinstance(output, HandOn):
            self._check_path(output.message)
            self._say(me, output.peer, "forward", output.message)
        elif isinstance(output, Detoured):
            packet = self.packets.get(output.packet)
            if packet is not None and packet.source == output.source:
                self._arrive(me, packet, aside=output.source)
        else:
            assert isinstance(output, Noted), output
            server.noted.append((now, output))
        assert router is server.router

    def _start_over(self, server: Server, end: End) -> None:
        for number in list(end.open):
            self._transmit(server.name, end, number)
        self._queue(server.name, end, ("nothing", None))

    def _ask_ends(self, server: Server, number: int) -> None:
        if server.asks.pop(number, None) is not None:
            server.router.handle_answer_untrusted(number, None, self.now)
            self._settle(server.name)

    def _verify_ends(self, server: Server, number: int) -> None:
        if server.verifies.pop(number, None) is not None:
            server.router.handle_verified(number, False, self.now)
            self._settle(server.name)

    def _check_path(self, message: Forward | Lost) -> None:
        self.forwards += 1
        path = message.path
        assert len(set(path)) == len(path) <= 10, f"a path with a server twice: {path}"
        assert 0 <= message.at < len(path)

    # -- what is seen

    def way(self, a: ServerId, b: ServerId) -> str:
        """As people write it."""
        return "!".join(map(str, self.servers[a].router.path_to(b, self.now)))

    def uses_gateway(self, a: ServerId, b: ServerId) -> bool:
        return isinstance(self.servers[a].router.route(b, self.now), Gateway)
