"""Routes to servers out of direct reach: verified paths, the best one first, one more as standby (DESIGN G2).

    1.2    1.1!1.5!1.2       12 ms   in use
           1.1!1!1.4!1.2     31 ms   standby                   at most MAX_ROUTES, through different gateways
    1.7.3  ...

    metric     round trip + 10 ms for each server between; a better one replaces the one in use when it is better by a
               fifth, so that two alike do not take turns

An entry stands here only for a server that is not used directly, or was not a moment ago. Each was confirmed by an
answer of its target; one that nobody confirmed for EXPIRY_S is forgotten, as are those of a gateway that is lost.
Which gateways bridged to a target before is remembered longer: they are asked first. One that confirmed and then had
no answer is used again only where nobody else confirms, for DISTRUST_S: who lies does not win by being quick.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import msgspec

from identity.names import ServerId
from routing.probes import Path

HOP_S = 0.010  # what a server on the way costs beside the time it takes (DESIGN G2)
ONE_WAY = 2  # times as long: what is lost on such a way is repeated by the ends only
BETTER = 0.8  # of the metric of what is in use
MAX_ROUTES = 3  # to one target
MAX_TARGETS = 65_536
MAX_BRIDGES = 4
EXPIRY_S = 20.0  # three refreshes were missed
DISTRUST_S = 30.0  # a gateway that confirmed a way and then had no answer by it comes after every other one
MAX_FAILED = 4096  # remembered


class Route(msgspec.Struct, frozen=True):
    """A way from this server (first of `path`) to another (last)."""

    path: Path
    rtt_s: float
    confirmed_at: float
    provisional: bool = False  # the way back of a packet that came: nobody verified it
    blame_s: float = 0.0  # its gateway said yes before, and there was no answer that way
    one_way: bool = False  # a SEEK came by it: its links may carry this way only, and packets go along it as words

    @property
    def gateway(self) -> ServerId:
        return self.path[1]

    @property
    def target(self) -> ServerId:
        return self.path[-1]

    @property
    def hops(self) -> int:
        """Steps from server to server."""
        return len(self.path) - 1

    @property
    def metric(self) -> float:
        lasts_s = (self.rtt_s + HOP_S * (self.hops - 1)) * (ONE_WAY if self.one_way else 1)
        return lasts_s + self.blame_s + (1.0 if self.provisional else 0.0)


class Table:
    """All routes of one server."""

    def __init__(self) -> None:
        self._routes: dict[ServerId, list[Route]] = {}
        self._bridges: dict[ServerId, list[ServerId]] = {}
        self._failed: dict[tuple[ServerId, ServerId], float] = {}

    def confirm(self, route: Route) -> Route:
        """A way was found, or found again. Of one gateway the newest word counts. Given back marked if it failed."""
        target, now = route.target, route.confirmed_at
        age_s = now - self._failed.get((target, route.gateway), -math.inf)
        if age_s < DISTRUST_S:  # who failed longest ago comes first: it may not have been the gateway that failed
            route = msgspec.structs.replace(route, blame_s=2.0 - age_s / DISTRUST_S)
        if target not in self._routes and len(self._routes) >= MAX_TARGETS:
            return route
        routes = [each for each in self._fresh(target, now) if each.gateway != route.gateway]
        self._routes[target] = sorted([*routes, route], key=lambda each: each.metric)[:MAX_ROUTES]
        if not route.provisional and not route.blame_s:
            self._remember_bridge(target, route.gateway)
        return route

    def fail(self, target: ServerId, gateway: ServerId, now: float) -> None:
        """It was confirmed, and the target did not answer that way."""
        self.drop(target, gateway)
        self._failed.pop((target, gateway), None)
        if len(self._failed) >= MAX_FAILED:
            del self._failed[next(iter(self._failed))]
        self._failed[target, gateway] = now
        if gateway in self._bridges.get(target, ()):
            self._bridges[target].remove(gateway)

    def best(self, target: ServerId, usable: Callable[[ServerId], bool], now: float) -> Route | None:
        """The best whose gateway is usable now."""
        for route in self._fresh(target, now):
            if usable(route.gateway):
                return route
        return None

    def routes(self, target: ServerId, now: float) -> list[Route]:
        """All of them, best first."""
        return list(self._fresh(target, now))

    def drop(self, target: ServerId, gateway: ServerId) -> None:
        """This way does not work any more."""
        left = [each for each in self._routes.get(target, ()) if each.gateway != gateway]
        if left:
            self._routes[target] = left
        else:
            self._routes.pop(target, None)

    def drop_gateway(self, gateway: ServerId) -> None:
        """No way through this server works any more."""
        for target in list(self._routes):
            self.drop(target, gateway)

    def forget(self, target: ServerId) -> None:
        """It is used directly again; who bridged is remembered."""
        self._routes.pop(target, None)

    def failed(self, target: ServerId, gateway: ServerId, now: float) -> bool:
        """Whether it had no answer that way a moment ago."""
        return now - self._failed.get((target, gateway), -math.inf) < DISTRUST_S

    def trust(self, target: ServerId, gateway: ServerId) -> None:
        """The target did answer that way."""
        self._failed.pop((target, gateway), None)

    def bridges(self, target: ServerId) -> list[ServerId]:
        """Who confirmed ways to it before, the last one first."""
        return list(self._bridges.get(target, ()))

    def _fresh(self, target: ServerId, now: float) -> Iterable[Route]:
        return [each for each in self._routes.get(target, ()) if now - each.confirmed_at < EXPIRY_S]

    def _remember_bridge(self, target: ServerId, gateway: ServerId) -> None:
        if target not in self._bridges and len(self._bridges) >= MAX_TARGETS:
            del self._bridges[next(iter(self._bridges))]
        before = [each for each in self._bridges.get(target, ()) if each != gateway]
        self._bridges[target] = [gateway, *before][:MAX_BRIDGES]


def replaces(found: Route, used: Route | None) -> bool:
    """Whether a route that was just confirmed takes the place of the one in use."""
    if used is None or used.provisional or found.gateway == used.gateway:
        return True
    return found.metric < BETTER * used.metric


class Way:
    """How packets go to one server with which there is a session."""

    __slots__ = ("connection", "doubted_at", "followed_at", "heard_at", "looked", "route", "since", "sought_at", "told")

    def __init__(self, connection: int, now: float) -> None:
        self.connection = connection
        self.route: Route | None = None  # None: directly
        self.since = now  # of going directly, or by gateways
        self.doubted_at: float | None = None  # what was sent then, and after, has not been acknowledged
        self.heard_at = -math.inf  # when its newest packet came, as of the last doubt
        self.sought_at = -math.inf  # when its newest CAME came: it lives, and seeks a way to us as we to it
        self.followed_at = -math.inf  # when the peer's gateway was last taken instead of ours
        self.told = False  # people were told of a way by gateways
        self.looked = 0  # refreshes so far, by which addresses are tried in turn
