"""Router cores alone on the agenda, without trio, sockets and ciphers: meshes of thousands of servers.

    router --Dial, Ask, HandOn, UseGateway--> cores --packets, one way of a link that may be cut--> cores --> router

    cores = Cores(seed=7)
    cores.build(networkx.random_regular_graph(4, 10_000, seed=7))
    cores.run(10)
    cores.cut(a, b, both=False)
    number = cores.ping(a, b)
    cores.run(10)
    cores.answered(a, number)       at which virtual second, or None

Promise: the routers are the product's own machines, driven by the verbs that every machine speaks
(`identity.machine`); sessions are a model (core_sessions.py). One seed gives one trace in every process. What a router
calls misbehaviour is kept in `wrongs`; a server becomes a liar by a function in `liars` that may change, drop or add
what it says. A path with a server twice is an error at once.

A mesh costs what its events cost, and a core is hardly more than its router. Stores, feeds and questions have none
here: for whole servers there is world.py.
"""

from __future__ import annotations

import math
from itertools import count
from typing import Any

import networkx

from identity.names import ServerId
from routing.probes import WORDS, Forward, Lost, Seek
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
    Tell,
    TryDirectly,
    Unreachable,
    UseDirect,
    UseGateway,
    Verify,
)  # fmt: skip
from simulations.core_sessions import Core, End, Packet, Traffic

KEY = b"k" * 32
HELLO_S = 10.0  # in which a call must have succeeded
ASKED_AGAIN_S = 0.5


class Cores(Traffic):
    """Routers, their links, and virtual time."""

    def __init__(self, seed: int = 1, *, loss: float = 0.0) -> None:
        super().__init__(seed, loss=loss)
        self.forwards = 0  # packets handed on by gateways
        self.sought = 0  # SEEKs handed on
        self._pings = count(1)

    # -- building

    def build(self, graph: networkx.Graph) -> list[ServerId]:
        """A server for each place, `1`, `1.1`, `1.2` ..., a link for each edge; neighbours know and want each other.

        What they know of each other are keys and addresses; of all others they know that those exist.
        """
        names = dict(zip(graph.nodes, ["1", *(f"1.{number}" for number in range(1, len(graph)))], strict=True))
        servers = {place: self.server(name) for place, name in names.items()}
        for one, other in graph.edges:
            self.link(servers[one], servers[other])
            for a, b in ((servers[one], servers[other]), (servers[other], servers[one])):
                self.servers[a].router.know(b, KEY, [(str(b), 7000)], self.now)
                self.connect(a, b)
        return list(servers.values())

    def server(self, name: str) -> ServerId:
        each = ServerId.parse(name)
        self.servers[each] = Core(self, each)
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

    def run(self, seconds: float) -> None:
        """Let that much virtual time pass."""
        self.agenda.run_until(self.now + seconds)

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
        self.at(self.now + ASKED_AGAIN_S, lambda: self._ping(a, b, number))

    def answered(self, a: ServerId, ping: int) -> float | None:
        return self.servers[a].pongs.get(ping)

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

    def _carry_out(self, server: Core, output: Any) -> None:
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
            self._say(me, output.server, "probe", (output.number, output.probe, output.deadline_s))
            self.at(now + output.deadline_s, lambda: self._ask_ends(server, output.number))
        elif isinstance(output, Verify):
            server.verifies[output.number] = output
            self._say(me, output.server, "ask", ("verify", output.number))
            self.at(now + output.deadline_s, lambda: self._verify_ends(server, output.number))
        elif isinstance(output, AnswerProbe):
            peer, number = server.asked.pop(output.token)
            self._say(me, peer, "answer", (number, output.answer))
        elif isinstance(output, HandOn):
            if isinstance(output.message, Seek):
                self.sought += 1
            else:
                self._check_path(output.message)
            if isinstance(output.message, WORDS):
                self._say_word(me, output.peer, output.message)
            else:
                self._say(me, output.peer, "forward", output.message)
        elif isinstance(output, Tell):
            key = self.random.randbytes(8)
            self.packets[key] = Packet(me, output.path[-1], "word", 0, output.message)
            router.carry(output.path, key, now)
        elif isinstance(output, Detoured):
            packet = self.packets.get(output.packet)
            if packet is not None and packet.source == output.source:
                self._arrive(me, packet, aside=output.source)
        else:
            assert isinstance(output, Noted), output
            server.noted.append((now, output))
        assert router is server.router

    def _start_over(self, server: Core, end: End) -> None:
        for number in list(end.open):
            self._transmit(server.name, end, number)
        self._queue(server.name, end, ("nothing", None))

    def _ask_ends(self, server: Core, number: int) -> None:
        if server.asks.pop(number, None) is not None:
            server.router.handle_answer_untrusted(number, None, self.now)
            self._settle(server.name)

    def _verify_ends(self, server: Core, number: int) -> None:
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
