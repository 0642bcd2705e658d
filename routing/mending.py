"""A session whose way is in doubt: a gateway, a standby, back to direct, or unreachable (DESIGN G2, G4, G5).

    direct --Doubted--> in doubt: a search, and the stalled packets by a guess --Found--> routed, a standby beside it
                          |                                                                 |       |
                          | Failed, and nothing for UNREACHABLE_S                           |   LOST, Doubted, its
                          v                                                                 |   gateway gone: standby,
                        Drop, told unreachable                    direct <--DirectAgain-----+   or in doubt again

Rules:

- A way is ours to the peer; the peer's to us is the peer's business. A packet that comes by gateways makes us answer
  the same way only until its sender's word says whether it hears us directly (`CameAside`).
- Of two gateways the one by which the peer's packets come is believed, until ours has brought an answer; but not again
  before the first has had time to bring one (FOLLOW_TRIPS), and longer at the lesser: two ends would follow for ever.
- A route is *provisional* while nobody has confirmed it: a guess, the way back of a packet that came, or one that no
  longer works and has no standby. It is better than a link that is dead, and a search for a better one runs.
- A route by which a SEEK came (`routing.seeking`) is not left for another but a confirmed or a newer one: the answer,
  too, must find its way, over links that are all in doubt at once.
- Who says that a SEEK of ours came to it lives, and seeks us: it is not given up (`Way.sought_at`).
- While a route is used, it and two others are asked for again every REFRESH_S: that keeps the standby verified, finds
  better ones, and tries the peer's addresses.

Left to others: what is searched how (`routing.probing`), what a route is worth (`routing.table`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from identity.names import ServerId
from routing.neighbours import Address
from routing.probes import Path
from routing.probing import Failed, Probing
from routing.table import Route, Way, replaces
from routing.using import LEAST_RTT_S
from routing.ways import UseDirect

if TYPE_CHECKING:
    from routing.forwarding import Forwarding
    from routing.using import Using

REFRESH_S = 5.0
FIRST_REFRESH_S = 1.0  # of what nobody confirmed
UNREACHABLE_S = 2.0  # without a word in spite of a search: a partner that only stalls is back within it
HEARD_S = 8.0  # the same for one that is heard all the while: it is starved, or only our direction is dead
AGAIN_S = 0.25  # between searches for a server in doubt
FOLLOW_TRIPS = 2  # round trips in which what was sent by the peer's gateway is answered, or seen not to be
HOPELESS_S = 3.0  # of doubt in spite of ways that were found


class Mending:
    """The ways of sessions. `put` takes outputs; `set_timer(server, at)` asks for `look`; `drop(server, reason, now)`
    ends a session; `dialable(server)` tells addresses; `gateways` False: tests only."""

    def __init__(
        self,
        own: ServerId,
        *,
        using: Using,
        probing: Probing,
        forwarding: Callable[[], Forwarding],
        put: Callable[[Any], None],
        set_timer: Callable[[ServerId, float], None],
        drop: Callable[[ServerId, str, float], None],
        dialable: Callable[[ServerId], Sequence[Address]],
        gateways: bool,
    ) -> None:
        self._own = own
        self._using = using
        self._probing = probing
        self._forwarding = forwarding
        self._put = put
        self._set_timer = set_timer
        self._drop = drop
        self._dialable = dialable
        self._gateways = gateways

    # -- a session begins

    def begin(self, server: ServerId, connection: int, now: float, *, routed: bool) -> None:
        """`routed`: it came about by gateways."""
        way = self._using.ways[server] = Way(connection, now)
        if not routed:
            self._using.table.forget(server)
            return
        route = self.known(server, now)
        if route is not None:
            self._use(server, way, route, "way found", now)
        else:
            way.doubted_at = now
        self._set_timer(server, now + FIRST_REFRESH_S)

    def known(self, server: ServerId, now: float) -> Route | None:
        """A way by gateways, the best that is known."""
        best = self._using.best(server, now) or self._using.way_back(server, self._forwarding(), now)
        return best or self._using.sought(server, now)

    # -- what the transport sees

    def handle_doubted(self, server: ServerId, way: Way, since: float, tries: int, now: float) -> None:
        """Nothing that was sent `since` then has been acknowledged."""
        if way.doubted_at is None:
            way.doubted_at = since
            self._using.note("doubted", server, silent_ms=round(1000 * (now - since)))
        if now - way.doubted_at >= HOPELESS_S:  # whatever is found does not work
            self._judge(server, way, "no answer by any way that was found", now)
            return
        if way.route is not None and way.route.one_way:
            standby = self._using.best(server, now)
            if standby is not None:
                self._use(server, way, standby, "way changed", now)
                return
            way.route = msgspec.structs.replace(way.route, provisional=True)
            self._seek(server, now)
            return
        if way.route is not None and not way.route.provisional:
            self._using.table.fail(server, way.route.gateway, now)
            self._switch(server, way, "no answer that way", now)
            return
        if tries > 1:  # by a guess or not: nobody's packets wait for what becomes of it
            self.leave_gateway(server, f"{server} is in doubt", now)
        self._seek(server, now)
        self._guess(server, way, tries, now)

    def handle_trusted(self, server: ServerId, way: Way) -> None:
        """Something was acknowledged after all."""
        way.doubted_at = None
        if way.route is None:
            self._probing.cancel(server)
        elif way.route.one_way:
            way.route = msgspec.structs.replace(way.route, provisional=False)
        elif way.route.blame_s:
            self._using.table.trust(server, way.route.gateway)
            way.route = msgspec.structs.replace(way.route, blame_s=0.0)

    def handle_direct_again(self, server: ServerId, way: Way, now: float) -> None:
        """The peer hears us directly, by its own word, twice."""
        self._put(UseDirect(way.connection))
        if way.route is not None and way.told:
            self._using.note("direct again", server, after_s=round(now - way.since, 3))
        way.route, way.doubted_at, way.since, way.told = None, None, now, False
        self._probing.cancel(server)
        self._using.table.forget(server)

    def handle_came_aside(self, server: ServerId, way: Way, now: float) -> None:
        """The peer's packets come by gateways, and it may not hear us either: answer the same way until it says."""
        back = self._using.way_back(server, self._forwarding(), now)
        if back is None:
            return
        if way.route is None:
            self._use(server, way, back, "", now)
        elif back.gateway != way.route.gateway and not self._using.table.failed(server, back.gateway, now):
            # Ours has brought no answer yet, and by this gateway packets do get through. Else two ends that chose a
            # good gateway and one that swallows would not hear each other, and swap, and swap again. Two that follow
            # each other at the same moments swap for ever too: having followed, the lesser waits longer.
            trips = FOLLOW_TRIPS * (2 if self._own < server else 1)
            if now - way.followed_at < trips * max(self._using.rtt_of(server), LEAST_RTT_S):
                return
            way.followed_at = now
            known = [each for each in self._using.table.routes(server, now) if each.gateway == back.gateway]
            since = way.doubted_at
            self._use(server, way, (known or [back])[0], "way changed" if way.told else "", now)
            way.doubted_at = since

    def handle_lost(self, path: Path, reason: str, now: float) -> None:
        """A packet of ours did not get through."""
        server = path[-1]
        way = self._using.ways.get(server)
        self._using.table.drop(server, path[1])
        if way is not None and way.route is not None and way.route.path == path and not way.route.one_way:
            self._switch(server, way, reason, now)

    # -- what searches find

    def handle_found(self, route: Route, way: Way, now: float) -> None:
        """A way to a server with a session."""
        server = route.target
        if way.route is None:
            if way.doubted_at is not None:
                self._use(server, way, route, "way found", now)
        elif way.route.provisional:
            self._use(server, way, route, "way changed" if way.told else "way found", now)
        elif way.route.gateway == route.gateway:
            way.route = msgspec.structs.replace(route, one_way=way.route.one_way)
        elif replaces(route, way.route):
            self._use(server, way, route, "way changed", now)

    def handle_sought(self, route: Route, way: Way, now: float, *, proven: bool) -> None:
        """A SEEK came by this route to a server with a session, by its own word (`proven`) or by that of others."""
        server, since = route.target, way.doubted_at
        if proven:
            way.sought_at = now
        if since is None or (way.route is not None and not way.route.provisional):
            return
        if route.hops == 1:
            self._stop_using(way)  # our packets get through; that we hear of it is for the peer to see to
        elif (way.route is None or way.route.path != route.path) and (
            proven or not self._using.table.failed(server, route.gateway, now)
        ):
            self._use(server, way, route, "way found", now)
            if proven:
                return
        way.doubted_at = now if proven else since

    def handle_failed(self, failed: Failed, way: Way, now: float) -> None:
        """Nobody who was asked knows a way to a server with a session."""
        if way.doubted_at is None or (way.route is not None and not way.route.provisional):
            return
        if way.route is not None and not way.route.one_way:
            self._stop_using(way)
        self._judge(failed.target, way, f"no answer, and nobody of {failed.asked} asked knows a way to it", now)

    # -- time

    def look(self, server: ServerId, now: float) -> None:
        """A timer of this server went off; what it was set for may be past."""
        way = self._using.ways.get(server)
        if way is None:
            return
        if way.doubted_at is not None:
            if not self._probing.searches(server):
                self._seek(server, now)
        elif way.route is not None:
            self._probing.begin(server, now, quiet=True)
            self._using.try_directly(way, self._dialable(server))
            self._set_timer(server, now + REFRESH_S)

    # -- steps

    def leave_gateway(self, gateway: ServerId, reason: str, now: float) -> None:
        """Whoever is reached through this server needs another way."""
        self._using.table.drop_gateway(gateway)
        for server, way in list(self._using.ways.items()):
            if way.route is not None and way.route.gateway == gateway and not way.route.one_way:
                self._switch(server, way, reason, now)

    def _seek(self, server: ServerId, now: float) -> None:
        """A way to a server in doubt is needed."""
        if not self._gateways or not self._using.others(server):
            self._judge(server, self._using.ways[server], "no answer, and nobody else to ask", now)
        elif not self._probing.begin(server, now, until=(self._using.ways[server].doubted_at or now) + UNREACHABLE_S):
            self._judge(server, self._using.ways[server], "no answer, and nobody who was asked knew a way to it", now)

    def _guess(self, server: ServerId, way: Way, tries: int, now: float) -> None:
        """The stalled packets go with the probe (DESIGN G2)."""
        guess = self._using.guess(server, self._own, tries, now) if self._probing.searches(server) else None
        if guess is not None:
            since = way.doubted_at
            self._use(server, way, guess, "", now)
            way.doubted_at = since

    def _use(self, server: ServerId, way: Way, route: Route, event: str, now: float) -> None:
        self._using.use(server, way, route, event, now)
        self._set_timer(server, now + (FIRST_REFRESH_S if route.provisional else REFRESH_S))

    def _switch(self, server: ServerId, way: Way, reason: str, now: float) -> None:
        """The route in use does not work: the standby takes over, or a search begins."""
        failed = way.route
        assert failed is not None, "only a route is switched"
        self._using.table.drop(server, failed.gateway)
        if not failed.provisional:
            self._using.note("way lost", server, gateway=str(failed.gateway), cause=reason)
        standby = self._using.best(server, now)
        if standby is not None:
            self._use(server, way, standby, "way changed", now)
            return
        way.doubted_at = now if way.doubted_at is None else way.doubted_at
        way.route = msgspec.structs.replace(failed, provisional=True)
        if not self._using.is_usable(failed):
            self._stop_using(way)
        self._seek(server, now)

    def _stop_using(self, way: Way) -> None:
        if way.route is not None:
            way.route = None
            self._put(UseDirect(way.connection))

    def _judge(self, server: ServerId, way: Way, reason: str, now: float) -> None:
        """Nobody knows a way to a server in doubt: it is unreachable, or is given a little more time."""
        assert way.doubted_at is not None, "who is judged is in doubt"
        doubt_s, silence_s = now - way.doubted_at, now - max(way.doubted_at, way.heard_at)
        enough_s = max(UNREACHABLE_S, 8 * self._using.rtt_of(server))
        if now - way.sought_at < enough_s or (silence_s < enough_s and doubt_s < HEARD_S):
            self._set_timer(server, now + AGAIN_S)
        else:
            self._using.note("no way", server, cause=reason)
            self._drop(server, reason, now)
