"""Next step for a packet: direct, by one gateway and direct, or nowhere; per direction (DESIGN section 6).

    dialling     Reached ------------> DIRECT  <----- DirectAgain, twice confirmed by the peer ----+
                                         | Doubted: nothing acknowledged for srtt + 2 var          |
                                         v                                                         |
    probing      Ask x3, x3, ... <--- DOUBTED --Found--> ROUTED: UseGateway, standby kept -----------+
                                         |                  | LOST, Doubted again, gateway gone
                                         | Failed, 2 s      +--> standby, or a search
                                         v
                                     Drop, Unreachable       no session: Stuck --> search --> Dial by gateways

Rules:

- A way is ours to the peer; the peer's to us is the peer's business. A packet that comes by gateways makes us answer
  the same way only until its sender's word says whether it hears us directly (`CameAside`, a *provisional* route).
- Only a confirmed path is used, and it is believed no longer than the target answers along it.
- A packet carries its whole path; a server on it hands it to the next by a direct session or says LOST (`_forward`).
- While a route is used, it and two others are asked for again every REFRESH_S: that keeps the standby verified, finds
  better ones, and notices addresses at which a peer may be tried directly.
- A server is told unreachable when a search failed and it has acknowledged nothing for UNREACHABLE_S.

Left to others: dials and crossing connections (`routing.dialling`), searches (`routing.probing`), probes of others
(`routing.inquiring`), what a route is worth (`routing.table`), seeing that a way does not work (`transport.ways`).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from itertools import chain, count
from random import Random
from typing import Any

from identity.names import ServerId
from routing.addresses import MayDial
from routing.dialling import Dialling
from routing.forwarding import Forwarding
from routing.inquiring import Inquiring
from routing.neighbours import Address
from routing.probes import Confirm, Forward, Lost, NoWay, Path, Probe
from routing.probing import Failed, Found, Probing
from routing.showing import Showing
from routing.table import Route, Way, replaces
from routing.using import Using
from routing.ways import Drop, HandOn, Reached, Stuck, Unreachable, UseDirect
from transport.events import is_routed, routed_address

REFRESH_S = 5.0
UNREACHABLE_S = 2.0  # without a word in spite of a search: a partner that only stalls is back within it
AGAIN_S = 0.25  # between searches for a server in doubt


class Router:
    """Ways to servers: a machine (`identity.machine`)."""

    def __init__(
        self,
        own: ServerId,
        *,
        may_dial: MayDial,
        random: Random,
        knows: Callable[[ServerId], bool] = lambda server: True,
        may_forward: Callable[[ServerId, ServerId], bool] = lambda source, target: True,
        gateways: bool = True,
    ) -> None:
        """`knows`: servers of this mesh; `may_forward(source, target)`: our policy; `gateways` False: tests only."""
        self._own = own
        self._gateways = gateways
        self._now = 0.0  # of the last word said
        dialling = self.dialling = Dialling(own, may_dial=may_dial, random=random)
        self._held: dict[ServerId, Unreachable] = {}  # not told before the search for a way has ended
        self._timers: list[tuple[float, ServerId]] = []
        self._outputs: list[Any] = []
        self._may_forward = may_forward
        using = self._using = Using(random=random, put=self._outputs.append)
        new_number = count(1).__next__
        self._probing = Probing(
            own, candidates=using.candidates, rtt_of=using.rtt_of, new_number=new_number, random=random
        )
        self._inquiring = Inquiring(
            own, knows=knows, direct=using.is_direct, candidates=using.candidates, new_number=new_number
        )
        self._forwarding = Forwarding(
            own, reached=using.is_reached, doubted=lambda server: not using.is_direct(server),
            may_forward=lambda source, target: gateways and may_forward(source, target),
            handle_lost=self._handle_lost, put=self._outputs.append,
        )  # fmt: skip
        showing = Showing(own, using=using, dialling=self.dialling, forwarding=self._forwarding)
        self.route, self.routes = showing.route, showing.routes
        self.path_to, self.path_from = showing.path_to, showing.path_from
        self.know, self.forget, self.release = dialling.know, dialling.forget, dialling.release
        self.handle_heard, self.handle_heard_us = dialling.handle_heard, dialling.handle_heard_us
        self.handle_restarted, self.neighbours = dialling.handle_restarted, dialling.neighbours

    # -- the machine

    def deadline(self) -> float:
        own = self._timers[0][0] if self._timers else math.inf
        return min(own, self.dialling.deadline(), self._probing.deadline(), self._inquiring.deadline())

    def handle_deadline(self, now: float) -> None:
        self._tick(now)
        self.dialling.handle_deadline(now)
        self._probing.handle_deadline(now)
        self._inquiring.handle_deadline(now)
        while self._timers and self._timers[0][0] <= now:
            _, server = heapq.heappop(self._timers)
            self._look(server, now)
        self._settle()

    def take_outputs(self) -> Sequence[Any]:
        self._settle()
        outputs = self._outputs[:]
        self._outputs.clear()
        return outputs

    def _settle(self) -> None:
        """What the parts put out: ours to act on, or to pass on."""
        for output in self.dialling.take_outputs():
            if isinstance(output, Reached):
                self._outputs.append(output)
                self._reached(output)
            elif isinstance(output, Stuck):
                self._stuck(output.server)
            elif isinstance(output, Unreachable) and self._probing.searches(output.server):
                self._held[output.server] = output
            else:
                self._outputs.append(output)
        for found in chain(self._probing.take_outputs(), self._inquiring.take_outputs()):
            if isinstance(found, Found):
                self._found(found)
            elif isinstance(found, Failed):
                self._failed(found)
            else:
                self._outputs.append(found)

    # -- coming and going

    def want(self, server: ServerId, now: float, *, keep: bool = True) -> None:
        """Reach this server (`routing.dialling`), by gateways where no address of it answers."""
        self._tick(now)
        self.dialling.want(server, now, keep=keep)

    def handle_connected(
        self, connection: int, server: ServerId, initiator: bool, address: Address, now: float, *, epoch: int = 0
    ) -> None:
        """Who is at the other end has proven it (`routing.dialling`)."""
        self._tick(now)
        self.dialling.handle_connected(connection, server, initiator, address, now, epoch=epoch)

    def handle_dial_failed(self, server: ServerId, address: Address, reason: str, now: float) -> None:
        """No answer at that address, or not the right one."""
        self._tick(now)
        self.dialling.handle_dial_failed(server, address, reason, now)

    def handle_closed(self, connection: int, reason: str, now: float) -> None:
        """A connection is over."""
        self._tick(now)
        server, _ = self._on(connection)
        self.dialling.handle_closed(connection, reason, now)
        if server is not None:
            self._using.ways.pop(server, None)
            self._probing.cancel(server)
            self._leave_gateway(server, f"{server} is gone", now)

    def handle_srtt(self, server: ServerId, seconds: float) -> None:
        """How long a round trip to it takes."""
        self._using.srtt[server] = seconds
        self.dialling.handle_srtt(server, seconds)

    def _reached(self, reached: Reached) -> None:
        server, now = reached.server, self._now
        self._held.pop(server, None)
        self._probing.cancel(server)
        way = self._using.ways[server] = Way(reached.connection, now)
        address = self.dialling.address(server)
        if address is None or not is_routed(address):
            self._using.table.forget(server)
            return
        route = self._using.best(server, now) or self._using.way_back(server, self._forwarding, now)
        if route is not None:
            self._use(server, way, route, "way found")
        else:
            way.doubted_at = now
        self._set_timer(server, now + 1.0)

    def _stuck(self, server: ServerId) -> None:
        """It was dialled in vain."""
        if self._gateways and server not in self._using.ways and self._using.others(server):
            self._probing.begin(server, self._now)

    # -- what the transport sees

    def handle_doubted(self, connection: int, since: float, tries: int, now: float) -> None:
        """Nothing that was sent on this connection `since` then has been acknowledged."""
        self._tick(now)
        server, way = self._on(connection)
        if server is None or way is None:
            return
        self._inquiring.handle_doubted(server, now)
        if way.doubted_at is None:
            way.doubted_at = since
            self._using.note("doubted", server, silent_ms=round(1000 * (now - since)))
        if way.route is not None:
            self._using.table.drop(server, way.route.gateway)
            self._switch(server, way, "no answer that way", now)
        else:
            if tries > 1:
                self._leave_gateway(server, f"{server} is in doubt", now)
            self._seek(server, now)
            guess = self._using.guess(server, self._own, tries, now) if self._probing.searches(server) else None
            if guess is not None:  # the stalled packets go with the probe (G2)
                self._use(server, way, guess, "")
                way.doubted_at = since
        self._settle()

    def handle_trusted(self, connection: int, now: float) -> None:
        """Something was acknowledged after all."""
        self._tick(now)
        server, way = self._on(connection)
        if server is not None and way is not None:
            way.doubted_at = None
            if way.route is None:
                self._probing.cancel(server)

    def handle_direct_again(self, connection: int, now: float) -> None:
        """The peer hears us directly, by its own word, twice."""
        self._tick(now)
        server, way = self._on(connection)
        if server is None or way is None or way.route is None:
            return
        self._outputs.append(UseDirect(connection))
        if not way.route.provisional:
            self._using.note("direct again", server, after_s=round(now - way.since, 3))
        way.route, way.doubted_at, way.since = None, None, now
        self._probing.cancel(server)
        self._using.table.forget(server)

    def handle_came_aside(self, connection: int, now: float) -> None:
        """The peer's packets come by gateways, and it may not hear us either: answer the same way until it says."""
        self._tick(now)
        server, way = self._on(connection)
        if server is None or way is None or way.route is not None:
            return
        back = self._using.way_back(server, self._forwarding, now)
        if back is not None:
            way.doubted_at = None
            self._use(server, way, back, "")

    # -- packets by gateways

    def detour(self, server: ServerId, packet: bytes, now: float) -> None:
        """Send a sealed packet to `server` by gateways; where none is known, it is lost like any other."""
        self._tick(now)
        way = self._using.ways.get(server)
        route = way.route if way is not None else None
        if route is None or not self._using.is_direct(route.gateway):
            route = self._using.best(server, now) or self._using.way_back(server, self._forwarding, now)
        if route is not None:
            self._outputs.append(HandOn(route.gateway, Forward(route.path, 1, packet)))

    def handle_forward_untrusted(self, peer: ServerId, message: Forward | Lost, now: float) -> str | None:
        """A FORWARD or LOST came. What is wrong with it, or None."""
        self._tick(now)
        return self._forwarding.handle_message_untrusted(peer, message, now)

    def _handle_lost(self, path: Path, reason: str) -> None:
        """A packet of ours did not get through."""
        server, now = path[-1], self._now
        way = self._using.ways.get(server)
        self._using.table.drop(server, path[1])
        if way is not None and way.route is not None and way.route.path == path:
            self._switch(server, way, reason, now)

    # -- searching, and helping others to

    def handle_probe_untrusted(self, peer: ServerId, token: int, probe: Probe, now: float) -> str | None:
        """A peer asks for a way. What is wrong with its probe, or None."""
        self._tick(now)
        if not self._gateways or not self._may_forward(probe.path[0], probe.target):
            probe = Probe(self._own, probe.number, probe.path, probe.hops)  # which is answered NOWAY
        return self._inquiring.handle_probe_untrusted(peer, token, probe, now)

    def handle_answer_untrusted(self, ask: int, answer: Confirm | NoWay | None, now: float) -> str | None:
        """The answer to an `Ask` (None: there was none). What is wrong with it, or None."""
        self._tick(now)
        ours, wrong = self._inquiring.handle_answer_untrusted(ask, answer, now)
        if not ours:
            wrong = self._probing.handle_answer_untrusted(ask, answer, now)
        self._settle()
        return wrong

    def handle_verified(self, ask: int, answered: bool, now: float) -> None:
        """The answer to a `Verify`."""
        self._tick(now)
        self._inquiring.handle_verified(ask, answered, now)

    def _seek(self, server: ServerId, now: float) -> None:
        """A way to a server in doubt is needed."""
        if not self._gateways or not self._using.others(server):
            self._judge(server, "no answer, and nobody else to ask", now)
        elif not self._probing.begin(server, now):
            self._set_timer(server, min(self._probing.may_begin_at(server), now + AGAIN_S))

    def _found(self, found: Found) -> None:
        server, now = found.target, self._now
        route = Route(found.path, found.rtt_s, now)
        self._using.table.confirm(route)
        way = self._using.ways.get(server)
        if way is None:
            self.dialling.dial_by_gateway(server, routed_address(str(server)), now)
        elif way.route is None:
            if way.doubted_at is not None:
                self._use(server, way, route, "way found")
        elif way.route.provisional:
            self._use(server, way, route, "way found")
        elif way.route.gateway == route.gateway:
            way.route = route
        elif replaces(route, way.route):
            self._use(server, way, route, "way changed")

    def _failed(self, failed: Failed) -> None:
        server, now = failed.target, self._now
        held = self._held.pop(server, None)
        if held is not None:
            self._outputs.append(held)
        way = self._using.ways.get(server)
        if way is not None and way.doubted_at is not None and (way.route is None or way.route.provisional):
            if way.route is not None:
                way.route = None
                self._outputs.append(UseDirect(way.connection))
            self._judge(server, f"no answer, and {failed.asked} servers asked know no way to it", now)

    def _judge(self, server: ServerId, reason: str, now: float) -> None:
        """Nobody knows a way to a server in doubt: it is unreachable, or is given a little more time."""
        way = self._using.ways[server]
        assert way.doubted_at is not None, "who is judged is in doubt"
        if now - way.doubted_at < max(UNREACHABLE_S, 8 * self._using.rtt_of(server)):
            self._set_timer(server, now + AGAIN_S)
            return
        self._using.note("no way", server, cause=reason)
        self._outputs.append(Drop(way.connection, reason))
        self.handle_closed(way.connection, reason, now)

    # -- routes in use

    def _use(self, server: ServerId, way: Way, route: Route, event: str) -> None:
        self._using.use(server, way, route, event, self._now)
        self._set_timer(server, self._now + (1.0 if route.provisional else REFRESH_S))

    def _switch(self, server: ServerId, way: Way, reason: str, now: float) -> None:
        """The route in use does not work: the standby takes over, or a search begins."""
        failed = way.route
        assert failed is not None, "only a route is switched"
        if not failed.provisional:
            self._using.note("way lost", server, gateway=str(failed.gateway), cause=reason)
        standby = self._using.best(server, now)
        if standby is not None and standby.gateway != failed.gateway:
            self._use(server, way, standby, "way changed")
            return
        if way.doubted_at is None:
            way.doubted_at = now
        way.route = None
        self._outputs.append(UseDirect(way.connection))
        self._seek(server, now)

    def _leave_gateway(self, gateway: ServerId, reason: str, now: float) -> None:
        """Whoever is reached through this server needs another way."""
        self._using.table.drop_gateway(gateway)
        for server, way in list(self._using.ways.items()):
            if way.route is not None and way.route.gateway == gateway:
                self._switch(server, way, reason, now)

    def _look(self, server: ServerId, now: float) -> None:
        """A timer of this server went off; what it was set for may be past."""
        self._tick(now)
        way = self._using.ways.get(server)
        if way is None:
            return
        if way.route is not None:
            self._probing.begin(server, now, quiet=True)
            self._set_timer(server, now + REFRESH_S)
            self._using.try_directly(way, self.dialling.dialable(server))
        elif way.doubted_at is not None and not self._probing.searches(server):
            self._seek(server, now)

    # -- small things

    def _on(self, connection: int) -> tuple[ServerId | None, Way | None]:
        """Who is on a connection, if it is the one that is used."""
        server = self.dialling.server_on(connection)
        way = None if server is None else self._using.ways.get(server)
        return (server, way) if way is not None and way.connection == connection else (None, None)

    def _tick(self, now: float) -> None:
        self._now = max(self._now, now)

    def _set_timer(self, server: ServerId, at: float) -> None:
        heapq.heappush(self._timers, (at, server))
