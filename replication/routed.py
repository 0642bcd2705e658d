"""A feed that no neighbour carries is fetched from farther away: from its owner, or from who mirrors it (DESIGN F4).

    lacking     nobody greeted is its owner or mirrors it          for 5 s   --+
                somebody is, and it grows older than a minute      for 60 s  --+--> Seek(owner), Seek(mirror), ...
    sought      greeted within 15 s? then it feeds us like any neighbour; if not: the next source, then a pause
    carried     a neighbour carries it again, and it is young      ------------------> Leave(source)

A source is reached however the router can, directly or by gateways; a session with it looks like any other, and what
flows in it is `Flood`'s. Leaving ends no session: it is only not sought again when it is lost. Only carriers pass on:
a neighbour that does not mirror the feed is no help, and is not asked to.

Two neighbours that both lost their source each take the other for a carrier. So who is believed is measured by the age
of the feed, which nobody can make younger than its owner's last proof.

Bounds: `MAX_SOURCES` sought at once, `MAX_CANDIDATES` tried for an owner, pauses that double to ten minutes (all
mirrors of an owner that died look for it at once). Left to others: who mirrors what (the directory), how to reach it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Sequence
from random import Random
from typing import Any

import msgspec

from identity.names import ServerId

REVIEW_S = 2.0
NOBODY_S = 5.0  # a neighbour that restarts is back by then
STALE_S = 60.0  # ages travel by a vector every 5 s and hop: twelve hops
TRY_S = 15.0  # a search over gateways and a handshake
PAUSE_S, MAX_PAUSE_S = 30.0, 600.0
MAX_SOURCES = 16
MAX_CANDIDATES = 4


class Seek(msgspec.Struct, frozen=True):
    """Reach this server and keep it, for the feed of `owner`."""

    server: ServerId
    owner: ServerId


class Leave(msgspec.Struct, frozen=True):
    """It need not be kept any longer."""

    server: ServerId


class _Search:
    """For one owner: what is tried, and what was."""

    def __init__(self, since: float) -> None:
        self.since = since  # lacking without a break
        self.source: ServerId | None = None
        self.tried: list[ServerId] = []
        self.tried_at = -math.inf
        self.pause_s = PAUSE_S
        self.paused_until = -math.inf


class RoutedFeeds:
    """Which farther servers are kept for which feeds: a machine (`identity.machine`).

    `wanted()`: owners whose data feeds are mirrored here and that publish; `carried(owner, but)`: whether anybody
    greeted, `but` these, is the owner or mirrors it; `age(owner, now)`; `sources(owner)`: whom to try, in order;
    `greeted(server)`.
    """

    def __init__(
        self,
        *,
        wanted: Callable[[], Sequence[ServerId]],
        carried: Callable[[ServerId, Container[ServerId]], bool],
        age: Callable[[ServerId, float], float | None],
        sources: Callable[[ServerId], Sequence[ServerId]],
        greeted: Callable[[ServerId], bool],
        random: Random,
    ) -> None:
        self._wanted = wanted
        self._carried = carried
        self._age = age
        self._sources = sources
        self._greeted = greeted
        self._random = random
        self._searches: dict[ServerId, _Search] = {}
        self._kept: dict[ServerId, dict[ServerId, None]] = {}  # source -> the owners it is kept for
        self._outputs: list[Seek | Leave] = []
        self._due = 0.0

    def deadline(self) -> float:
        return self._due

    def handle_deadline(self, now: float) -> None:
        if now < self._due:
            return
        self._due = now + REVIEW_S
        wanted = dict.fromkeys(self._wanted())
        for owner in [owner for owner in self._searches if owner not in wanted]:
            self._drop(owner)
        for owner in wanted:
            self._review(owner, now)

    def take_outputs(self) -> Sequence[Any]:
        if not self._outputs:  # mostly: it is asked in every turn
            return []
        outputs, self._outputs = self._outputs, []
        return outputs

    def kept(self) -> dict[ServerId, tuple[ServerId, ...]]:
        """The farther servers that are kept now, each with the owners whose feeds it gives."""
        return {source: tuple(owners) for source, owners in self._kept.items()}

    def _review(self, owner: ServerId, now: float) -> None:
        carried = self._carried(owner, self._kept)
        age = self._age(owner, now)
        stale = age is None or age > STALE_S
        if carried and not stale:
            self._drop(owner)
            return
        search = self._searches.get(owner)
        if search is None:
            search = self._searches[owner] = _Search(now)
        if now - search.since >= (STALE_S if carried else NOBODY_S):
            self._seek(owner, search, now)

    def _seek(self, owner: ServerId, search: _Search, now: float) -> None:
        if search.source is not None and self._greeted(search.source):
            search.tried_at = now
            search.pause_s = PAUSE_S
            return
        if now < search.paused_until or now < search.tried_at + TRY_S:
            return
        self._leave(owner, search)
        candidates = [each for each in self._sources(owner)[:MAX_CANDIDATES] if each not in search.tried]
        known = [each for each in candidates if each in self._kept]  # one source may carry many feeds
        if not candidates:
            search.tried.clear()
            search.paused_until = now + search.pause_s * (0.5 + self._random.random())
            search.pause_s = min(2 * search.pause_s, MAX_PAUSE_S)
            return
        if not known and len(self._kept) >= MAX_SOURCES:
            return
        source = (known or candidates)[0]
        search.source, search.tried_at = source, now
        search.tried.append(source)
        if source not in self._kept:
            self._kept[source] = {}
            self._outputs.append(Seek(source, owner))
        self._kept[source][owner] = None

    def _drop(self, owner: ServerId) -> None:
        search = self._searches.pop(owner, None)
        if search is not None:
            self._leave(owner, search)

    def _leave(self, owner: ServerId, search: _Search) -> None:
        source, search.source = search.source, None
        if source is not None and source in self._kept:
            self._kept[source].pop(owner, None)
            if not self._kept[source]:
                del self._kept[source]
                self._outputs.append(Leave(source))
