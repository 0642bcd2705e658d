"""Farther servers that are kept for a feed which no neighbour carries: `replication.routed` over the running parts.

    mirrored here, and publishes    directory, mirroring  --> RoutedFeeds --> Seek   --> router: reach it, keep it
    who else mirrors it             directory             -->             --> Leave  --> router: no longer

Whom the router calls anyway, as a configured neighbour, is no source to be sought: it comes when it can.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from identity.names import ServerId
from node.sessions import Note
from replication.messages import FeedId
from replication.routed import Leave, RoutedFeeds, Seek
from store.records import DATA

if TYPE_CHECKING:
    from node.parts import Parts


class Farther:
    """The machine, asking the parts, and who carries out what it says."""

    def __init__(self, parts: Parts, *, is_kept: Callable[[ServerId], bool], note: Note, random: Random) -> None:
        """`is_kept(server)`: whether the router calls it anyway."""
        self._parts = parts
        self._is_kept = is_kept
        self._note = note
        self.machine = RoutedFeeds(
            wanted=self._wanted,
            carried=parts.flood.is_carried,
            age=self._age,
            sources=self._sources,
            greeted=lambda server: parts.sessions.connection(server) is not None,
            random=random,
        )
        self.outputs: dict[type, Callable[[Any, float], None]] = {Seek: self._seek, Leave: self._leave}

    def _wanted(self) -> list[ServerId]:
        """Owners that adopted a class: the others publish nothing."""
        parts = self._parts
        entries = parts.directory.entries()
        return [
            each.server
            for each in entries
            if each.server != parts.server and each.classes and parts.mirroring.keeps(each.server)
        ]

    def _age(self, owner: ServerId, now: float) -> float | None:
        parts = self._parts
        return parts.flood.age(FeedId(owner, parts.standpoint.incarnation_of(owner), DATA), now)

    def _sources(self, owner: ServerId) -> list[ServerId]:
        every = dict.fromkeys((owner, *self._parts.directory.mirrors_of(owner)))
        return [each for each in every if each != self._parts.server and not self._is_kept(each)]

    def _seek(self, output: Seek, now: float) -> None:
        self._note("feed sought afar", peer=str(output.server), owner=str(output.owner))
        self._parts.router.want(output.server, now)

    def _leave(self, output: Leave, now: float) -> None:
        self._note("feed near again", peer=str(output.server))
        self._parts.router.dialling.release(output.server, now)
