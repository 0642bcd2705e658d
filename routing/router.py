"""Next step for a packet: direct, by one gateway and direct, or nowhere; per direction (DESIGN section 6).

    dialling     want --> Dial, Dial .. --> Reached                     Stuck --> search --> Dial by gateways
    mending      Doubted --> search --> UseGateway --> DirectAgain      each session, ours to the peer
    probing      Ask three, three more --> Found | Failed
    inquiring    PROBE of others --> Verify --> CONFIRM
    seeking      nobody may be asked, or knows: SEEK --> CAME --> Sought, over links that carry one way only
    forwarding   FORWARD of others --> HandOn | LOST; ours --> Detoured
    showing      route, path_to, path_from

Rules:

- Only a confirmed path is used, but while a search runs; it is believed no longer than the target answers along it.
- A packet carries its whole path; a server on it hands it to the next by a direct session or says LOST.
- Who is told unreachable was dialled at all its addresses, and searched; whoever asks for it again, and every server
  that comes, begins another search (`nudge`): hearing anything resets back-off (DESIGN F4).

The parts do the work, each in its file; here they meet: what one puts out is another's business, or leaves for the
node to carry out. Left to others: seeing that a way does not work (`transport.ways`).
"""

from __future__ import annotations

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
from routing.mending import Mending
from routing.neighbours import Address
from routing.probes import Came, Carry, Confirm, Forward, Lost, NoWay, Path, Probe, Seek
from routing.probing import Failed, Found, Probing
from routing.seeking import Seeking, Sought
from routing.showing import Showing
from routing.table import Route, Way
from routing.timers import Timers
from routing.using import Using
from routing.ways import Drop, Reached, Stuck, Unreachable
from transport.events import is_routed, routed_address

FIRST_ANSWER_S = 1.0  # of a server that is called by gateways, until another way is tried
MAX_NUDGED = 32  # servers searched anew when another one comes


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
        self._timers = Timers()
        self._outputs: list[Any] = []
        self._may_forward = may_forward
        using = self._using = Using(random=random, put=self._outputs.append)
        new_number = count(random.getrandbits(48)).__next__  # others remember those of our run before
        self._probing = Probing(
            own, candidates=using.candidates, rtt_of=using.rtt_of, new_number=new_number, random=random
        )
        self._inquiring = Inquiring(
            own, knows=knows, direct=using.is_direct, candidates=using.candidates, new_number=new_number,
            searches=self._probing.searches, rtt_of=using.rtt_of,
        )  # fmt: skip
        self._forwarding = Forwarding(
            own, reached=using.is_reached, doubted=lambda server: not using.is_direct(server),
            may_forward=lambda source, target: gateways and may_forward(source, target),
            handle_lost=self._handle_lost, put=self._outputs.append,
        )  # fmt: skip
        self._seeking = Seeking(
            own, sessions=using.ways.keys, others=dialling.others, direct=using.is_direct, doubted=using.is_doubted,
            knows=knows, may_forward=lambda source, target: gateways and may_forward(source, target),
            ways_to=using.ways_to, new_number=new_number,
        )  # fmt: skip
        self._mending = Mending(
            own, using=using, probing=self._probing, forwarding=lambda: self._forwarding, put=self._outputs.append,
            set_timer=self._timers.set, drop=self._drop, dialable=dialling.dialable, gateways=gateways,
        )  # fmt: skip
        showing = Showing(own, using=using, dialling=self.dialling, forwarding=self._forwarding)
        self.route, self.routes = showing.route, showing.routes
        self.path_to, self.path_from = showing.path_to, showing.path_from
        self.know, self.forget, self.release = dialling.know, dialling.forget, dialling.release
        self.handle_heard, self.handle_heard_us = dialling.handle_heard, dialling.handle_heard_us
        self.handle_restarted, self.neighbours = dialling.handle_restarted, dialling.neighbours

    # -- the machine

    def deadline(self) -> float:
        return min(
            self._timers.deadline(), self.dialling.deadline(), self._probing.deadline(), self._inquiring.deadline(),
            self._seeking.deadline(),
        )  # fmt: skip

    def handle_deadline(self, now: float) -> None:
        self._tick(now)
        self.dialling.handle_deadline(now)
        self._probing.handle_deadline(now)
        self._inquiring.handle_deadline(now)
        self._seeking.handle_deadline(now)
        for server in self._timers.take_due(now):
            self._look(server, now)
        self._settle()

    def take_outputs(self) -> Sequence[Any]:
        self._settle()
        if not self._outputs:
            return []
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
        searched, inquired, sought = (
            self._probing.take_outputs(), self._inquiring.take_outputs(), self._seeking.take_outputs()
        )  # fmt: skip
        if not searched and not inquired and not sought:  # mostly
            return
        for found in chain(searched, inquired, sought):
            if isinstance(found, Found | Failed):
                self._searched(found)
            elif isinstance(found, Sought):
                self._came_to(found)
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
        if is_routed(address):
            self._look(server, now)
        self.dialling.handle_dial_failed(server, address, reason, now)

    def handle_closed(self, connection: int, reason: str, now: float) -> None:
        """A connection is over."""
        self._tick(now)
        server, _ = self._on(connection)
        self.dialling.handle_closed(connection, reason, now)
        if server is not None:
            self._using.ways.pop(server, None)
            self._probing.cancel(server)
            self._seeking.forget(server)
            self._mending.leave_gateway(server, f"{server} is gone", now)

    def nudge(self, server: ServerId, now: float) -> None:
        """Somebody asks for a server that is not reached: search it, if that was not just done."""
        self._tick(now)
        if self._gateways and server not in self._using.ways and self._using.others(server):
            self._probing.begin(server, now, again=True)
        if self._gateways and server not in self._using.ways:
            self._seeking.want_lost(server, now, asked=True)

    def handle_srtt(self, server: ServerId, seconds: float) -> None:
        """How long a round trip to it takes."""
        self._using.srtt[server] = seconds
        self.dialling.handle_srtt(server, seconds)

    def _reached(self, reached: Reached) -> None:
        server, now = reached.server, self._now
        self._held.pop(server, None)
        self._probing.cancel(server)
        self._seeking.forget(server)
        address = self.dialling.address(server)
        self._mending.begin(server, reached.connection, now, routed=address is not None and is_routed(address))
        for other in self.dialling.missed(now)[:MAX_NUDGED]:
            self.nudge(other, now)  # who came may know a way

    def _stuck(self, server: ServerId) -> None:
        """It was dialled in vain."""
        if self._gateways and server not in self._using.ways and self._using.others(server):
            self._probing.begin(server, self._now)
        if self._gateways and server not in self._using.ways:
            self._seeking.want_lost(server, self._now)

    def _drop(self, server: ServerId, reason: str, now: float) -> None:
        """Its session brings nothing any more."""
        connection = self._using.ways[server].connection
        self._outputs.append(Drop(connection, reason))
        self.handle_closed(connection, reason, now)
        if self._gateways:
            self._seeking.want_lost(server, now)

    # -- what the transport sees

    def handle_doubted(
        self, connection: int, since: float, tries: int, now: float, *, heard_at: float = -math.inf
    ) -> None:
        """Nothing that was sent on this connection `since` then has been acknowledged; the peer was heard then."""
        self._tick(now)
        server, way = self._on(connection)
        if server is None or way is None:
            return
        way.heard_at = heard_at
        self._inquiring.handle_doubted(server, now)
        self._mending.handle_doubted(server, way, since, tries, now)
        if self._gateways and self._using.is_doubted(server):
            self._seeking.want_doubted(server, self._using.rtt_of(server), now)
        self._settle()

    def handle_trusted(self, connection: int, now: float) -> None:
        """Something was acknowledged after all."""
        self._tick(now)
        server, way = self._on(connection)
        if server is not None and way is not None:
            self._seeking.forget(server)
            self._mending.handle_trusted(server, way)

    def handle_direct_again(self, connection: int, now: float) -> None:
        """The peer hears us directly, by its own word, twice."""
        self._tick(now)
        server, way = self._on(connection)
        if server is not None and way is not None:
            self._mending.handle_direct_again(server, way, now)

    def handle_came_aside(self, connection: int, now: float) -> None:
        """The peer's packets come by gateways, and it may not hear us either: answer the same way until it says."""
        self._tick(now)
        server, way = self._on(connection)
        if server is not None and way is not None:
            self._mending.handle_came_aside(server, way, now)

    # -- packets by gateways

    def detour(self, server: ServerId, packet: bytes, now: float) -> None:
        """Send a sealed packet to `server` by gateways; where none is known, it is lost like any other."""
        self._tick(now)
        way = self._using.ways.get(server)
        route = way.route if way is not None else None
        if route is None or not self._using.is_usable(route):
            route = self._mending.known(server, now)
        if route is not None:
            self._forwarding.send(route.path, packet, now, one_way=route.one_way)

    def carry(self, path: Path, packet: bytes, now: float) -> None:
        """Send the sealed word of a `Tell`."""
        self._tick(now)
        self._forwarding.send(path, packet, now, one_way=True)

    def handle_word_untrusted(self, peer: ServerId, message: Carry | Seek, now: float) -> str | None:
        """A word came. What is wrong with it, or None."""
        self._tick(now)
        if not isinstance(message, Seek):
            return self._forwarding.handle_message_untrusted(peer, message, now)
        wrong = self._seeking.handle_seek_untrusted(peer, message, now)
        self._settle()
        return wrong

    def handle_came_untrusted(self, server: ServerId, message: Came, now: float) -> str | None:
        """A server says, sealed for us, by which way a SEEK of ours came to it. What is wrong with it, or None."""
        self._tick(now)
        wrong = self._seeking.handle_came_untrusted(server, message, now)
        self._settle()
        return wrong

    def handle_forward_untrusted(self, peer: ServerId, message: Forward | Lost, now: float) -> str | None:
        """A FORWARD or LOST came. What is wrong with it, or None."""
        self._tick(now)
        return self._forwarding.handle_message_untrusted(peer, message, now)

    def _handle_lost(self, path: Path, reason: str) -> None:
        """A packet of ours did not get through."""
        server, now = path[-1], self._now
        self._mending.handle_lost(path, reason, now)
        self._forwarding.forget_back(path)
        if server not in self._using.ways and self._using.best(server, now) is None:
            self.nudge(server, now)  # a handshake goes on by the next way that is found

    # -- searching, and helping others to

    def handle_probe_untrusted(
        self, peer: ServerId, token: int, probe: Probe, now: float, until: float = math.inf
    ) -> str | None:
        """A peer asks for a way, and waits `until` then. What is wrong with its probe, or None."""
        self._tick(now)
        if not self._gateways or not self._may_forward(probe.path[0], probe.target):
            probe = Probe(self._own, probe.number, probe.path, probe.hops)  # which is answered NOWAY
        return self._inquiring.handle_probe_untrusted(peer, token, probe, now, until)

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

    def _searched(self, outcome: Found | Failed) -> None:
        server, now = outcome.target, self._now
        way = self._using.ways.get(server)
        if isinstance(outcome, Found):
            self._inquiring.handle_found(outcome.path, outcome.rtt_s, now)
            route = self._using.table.confirm(Route(outcome.path, outcome.rtt_s, now))
            if way is not None:
                self._mending.handle_found(route, way, now)
            else:
                self.dialling.dial_by_gateway(server, routed_address(str(server)), now)
                self._timers.set(server, now + max(FIRST_ANSWER_S, 8 * route.rtt_s))
            return
        self._inquiring.handle_failed(server)
        held = self._held.pop(server, None)
        if held is not None:
            self._outputs.append(held)
        if way is not None:
            self._mending.handle_failed(outcome, way, now)

    def _came_to(self, sought: Sought) -> None:
        """There is a way over links that may carry one way only."""
        server, now = sought.target, self._now
        way = self._using.ways.get(server)
        route = self._using.seek_found(sought.path, now)
        if way is not None:
            self._mending.handle_sought(route, way, now, proven=sought.proven)
        elif self._seeking.wants(server):  # else it calls us
            self.dialling.dial_by_gateway(server, routed_address(str(server)), now)

    def _look(self, server: ServerId, now: float) -> None:
        """A timer of this server went off; what it was set for may be past."""
        if server in self._using.ways:
            self._mending.look(server, now)
            return
        route = self._using.best(server, now)
        if route is not None:  # the handshake has no answer that way: it goes on by another
            self._using.table.fail(server, route.gateway, now)
            if self._using.best(server, now) is None:
                self.nudge(server, now)
            else:
                self._timers.set(server, now + FIRST_ANSWER_S)

    # -- small things

    def _on(self, connection: int) -> tuple[ServerId | None, Way | None]:
        """Who is on a connection, if it is the one that is used."""
        server = self.dialling.server_on(connection)
        way = None if server is None else self._using.ways.get(server)
        return (server, way) if way is not None and way.connection == connection else (None, None)

    def _tick(self, now: float) -> None:
        self._now = max(self._now, now)
