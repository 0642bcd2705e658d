"""What the router answers: the next step to a server, the paths both ways, and all of it for people.

    route(1.2)        Direct(connection) | Gateway(connection, path, rtt) | Nowhere(reason, since)
    path_to(1.2)      1.1!1.5!1.2        path_from(1.2)      1.2!1.1         the two directions need not be alike

Reads what the router keeps and changes none of it.
"""

from __future__ import annotations

from collections.abc import Callable

from identity.names import ServerId
from routing.dialling import Dialling
from routing.forwarding import Forwarding
from routing.probes import Path
from routing.using import Using
from routing.ways import Direct, Gateway, Nowhere, RouteStatus

TWIN_S = 0.001  # a packet by gateways and its direct copy are received in one turn


class Showing:
    """Questions about ways."""

    def __init__(
        self,
        own: ServerId,
        *,
        using: Using,
        dialling: Dialling,
        forwarding: Forwarding,
    ) -> None:
        self._own = own
        self._using = using
        self._dialling = dialling
        self._forwarding = forwarding

    def route(self, server: ServerId, now: float) -> Direct | Gateway | Nowhere:
        """The next step for a message to `server`."""
        way = self._using.ways.get(server)
        if way is not None and way.route is not None:
            return Gateway(way.connection, way.route.path, way.route.rtt_s)
        return self._dialling.route(server, now)

    def path_to(self, server: ServerId, now: float) -> Path:
        """From here to it, as packets go now; empty when they do not."""
        route = self.route(server, now)
        if isinstance(route, Gateway):
            return route.path
        return (self._own, server) if isinstance(route, Direct) else ()

    def path_from(self, server: ServerId, now: float, *, heard_directly_at: float | None) -> Path:
        """From it to here, as its packets came last; empty when none came lately."""
        if heard_directly_at is not None and heard_directly_at >= self._forwarding.back_at(server) - TWIN_S:
            return (server, self._own)
        return self._forwarding.back(server, now)

    def routes(self, now: float, *, heard_directly_at: Callable[[int], float | None]) -> list[RouteStatus]:
        """How each server with a session is reached; `heard_directly_at` tells that of a connection."""
        return [self._status(server, now, heard_directly_at) for server in sorted(self._using.ways)]

    def _status(self, server: ServerId, now: float, heard: Callable[[int], float | None]) -> RouteStatus:
        way = self._using.ways[server]
        route = way.route
        guessed = route is not None and route.provisional and way.doubted_at is not None
        back = self.path_from(server, now, heard_directly_at=heard(way.connection))
        others = [each for each in self._using.table.routes(server, now) if route and each.gateway != route.gateway]
        return RouteStatus(
            server=server,
            way="direct" if route is None else "none" if guessed else "gateway",
            way_back="none" if not back else "direct" if len(back) == 2 else "gateway",
            path=() if guessed else self.path_to(server, now),
            path_back=back,
            standby=others[0].path if others else (),
            rtt_s=self._using.srtt.get(server) if route is None else route.rtt_s,
            since_s=now - way.since,
            doubted_s=None if way.doubted_at is None else now - way.doubted_at,
        )
