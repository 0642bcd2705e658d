"""Ways in use: which sessions go directly, which by gateways, and who may be asked for a way.

    1.2    connection 7    direct                                   reached
    1.3    connection 9    direct, in doubt since 0.04 s            reached, but nobody to ask
    1.4    connection 8    by 1.1!1.5!1.4                           not reached by itself

Holds state and answers questions about it; what happens next is decided in `routing.router`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from identity.names import ServerId
from routing.forwarding import Forwarding
from routing.neighbours import Address
from routing.probes import Path
from routing.probing import in_order
from routing.table import EXPIRY_S, Route, Table, Way
from routing.ways import Noted, TryDirectly, UseGateway

MAX_SOUGHT = 4096  # servers to which such a way is remembered
LEAST_RTT_S = 0.01  # of a way back, which nobody measured


class Using:
    """The ways of one server. `put` takes outputs."""

    def __init__(self, *, random: Random, put: Callable[[Any], None]) -> None:
        self.ways: dict[ServerId, Way] = {}
        self.table = Table()
        self.srtt: dict[ServerId, float] = {}
        self._sought: dict[ServerId, Route] = {}  # over links that may carry one way only; the newest for each
        self._random = random
        self._put = put

    def rtt_of(self, server: ServerId) -> float:
        return self.srtt.get(server, 0.0)

    def is_reached(self, server: ServerId) -> bool:
        """A session whose packets go directly, even if the last ones have not been acknowledged."""
        way = self.ways.get(server)
        return way is not None and way.route is None

    def is_direct(self, server: ServerId) -> bool:
        """The same, and there is no doubt."""
        way = self.ways.get(server)
        return way is not None and way.route is None and way.doubted_at is None

    def is_doubted(self, server: ServerId) -> bool:
        """There is a session, and doubt."""
        way = self.ways.get(server)
        return way is not None and way.doubted_at is not None

    def others(self, target: ServerId) -> bool:
        """Whether there is anybody to ask for a way to it."""
        return any(each != target and self.is_direct(each) for each in self.ways)

    def candidates(self, target: ServerId) -> list[ServerId]:
        """Whom to ask, in order."""
        reached = [each for each in self.ways if self.is_direct(each)]
        return list(in_order(target, reached, self.table.bridges(target), self._random))

    def best(self, server: ServerId, now: float) -> Route | None:
        """The best verified route through a gateway that is reached."""
        return self.table.best(server, self.is_direct, now)

    def way_back(self, server: ServerId, forwarding: Forwarding, now: float) -> Route | None:
        """The way by which its packets came, backwards: nobody verified it."""
        path = forwarding.back(server, now)
        if not path or not self.is_reached(path[-2]) or forwarding.is_carried(server, now):
            return None
        return Route(path[::-1], max(self.rtt_of(server), LEAST_RTT_S), now, provisional=True)

    def is_usable(self, route: Route) -> bool:
        """Whether packets may be handed to its gateway: words need no session."""
        return route.one_way or self.is_direct(route.gateway)

    def seek_found(self, path: Path, now: float) -> Route:
        """A SEEK came by this path, to its end."""
        target = path[-1]
        self._sought.pop(target, None)
        if len(self._sought) >= MAX_SOUGHT:
            del self._sought[next(iter(self._sought))]
        route = self._sought[target] = Route(path, max(self.rtt_of(target), LEAST_RTT_S), now, one_way=True)
        return route

    def sought(self, server: ServerId, now: float) -> Route | None:
        """The way by which a SEEK came to it lately."""
        route = self._sought.get(server)
        return route if route is not None and now - route.confirmed_at < EXPIRY_S else None

    def ways_to(self, server: ServerId, now: float) -> list[Path]:
        """The paths by which its packets would go, were they words; none where they go directly."""
        way, sought = self.ways.get(server), self.sought(server, now)
        known = (way.route if way is not None else None), sought
        return [route.path for route in known if route is not None]

    def guess(self, server: ServerId, own: ServerId, tries: int, now: float) -> Route | None:
        """A way that nobody confirmed yet, through one of those who are being asked: what is stalled may try it."""
        candidates = self.candidates(server)
        if not candidates:
            return None
        gateway = candidates[(tries - 1) % len(candidates)]
        rtt_s = max(self.rtt_of(gateway) + self.rtt_of(server), LEAST_RTT_S)
        return Route((own, gateway, server), rtt_s, now, provisional=True)

    def use(self, server: ServerId, way: Way, route: Route, event: str, now: float) -> None:
        """Packets to `server` go by this route from now on; `event` is told, unless it is empty."""
        before = way.route
        way.route = route
        if before is None:
            way.since = now
        if not route.blame_s:  # else the doubt goes on: it is not forgotten over one lie after another
            way.doubted_at = None
        if before is None or before.gateway != route.gateway:
            self._put(UseGateway(way.connection, server, route.rtt_s))
        if event:
            way.told = True
            path = "!".join(map(str, route.path))
            rtt_ms = round(1000 * route.rtt_s, 3)
            details = {"path": path, "gateway": str(route.gateway), "hops": route.hops, "rtt_ms": rtt_ms}
            self.note(event, server, **details)

    def try_directly(self, way: Way, addresses: Sequence[Address]) -> None:
        """Let a routed connection's copies go to the next of the addresses that may be dialled."""
        if addresses:
            self._put(TryDirectly(way.connection, addresses[way.looked % len(addresses)]))
            way.looked += 1

    def note(self, event: str, server: ServerId, **details: object) -> None:
        """For the log."""
        self._put(Noted(event, {"peer": str(server), **details}))
