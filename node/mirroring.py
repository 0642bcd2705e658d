"""Which owners this server mirrors: from the configuration, and from `mirror`, which is durable.

    [mirror] patterns  ---+--> subscriptions of the data feeds (replication) --> applied as they come
    mirror(pattern)    ---+--> a setting in the store, so that a restart goes on where it was

A pattern is subscribed once, however often it is asked for. `unmirror` ends it; what is held stays as it is, and is
shown as cached from then on. Every registry feed is carried always (DESIGN F1), so nothing here is about those.
"""

from __future__ import annotations

from typing import Any

from identity.errors import Refused
from identity.names import Pattern, ServerId
from replication.flood import Flood
from store.database import Database
from store.reading import View
from store.records import DATA

SETTING = "mirrors"
MAX_MIRRORS = 256  # patterns: as many subscriptions as a peer takes (`replication.messages`)


class Mirroring:
    """The patterns, configured and asked for, in the order in which they came."""

    def __init__(self, configured: tuple[Pattern, ...], *, database: Database, flood: Flood) -> None:
        self._configured = configured
        self._database = database
        self._flood = flood
        self._asked: dict[str, int] = {}
        self._patterns: list[tuple[Pattern, int | None]] = []
        self._gather()

    def load(self, view: View, *, now: float) -> None:
        """Subscribe to everything that was mirrored before."""
        self._asked = dict(view.get_setting(SETTING) or ())
        self._gather()
        for pattern, _ in self.patterns():
            self._flood.subscribe(DATA, pattern, now)

    def patterns(self) -> list[tuple[Pattern, int | None]]:
        """Each with since when it was asked for, in wall-clock milliseconds; None: by the configuration."""
        return self._patterns

    def mirrors(self, server: ServerId) -> bool:
        """Whether the data feed of this owner is kept here."""
        return any(pattern.matches(server) for pattern, _ in self._patterns)

    async def mirror(self, pattern: Pattern, *, own: ServerId, wall_ms: int, now: float) -> None:
        """Mirror these owners from now on, durably. Raises `Refused`."""
        if len(self.patterns()) >= MAX_MIRRORS:
            raise Refused(f"{MAX_MIRRORS} patterns are mirrored already", next_step="put several into one, with commas")
        if pattern.text == str(own):
            raise Refused(f"{own} is this server, which needs no mirror of itself")
        if all(each.text != pattern.text for each, _ in self.patterns()):
            self._asked[pattern.text] = wall_ms
            self._gather()
            await self._write_down()
            self._flood.subscribe(DATA, pattern, now)

    async def unmirror(self, pattern: Pattern, *, now: float) -> None:
        """End it. Raises `Refused` for one that is not mirrored, or that the configuration says."""
        if any(each.text == pattern.text for each in self._configured):
            raise Refused(
                f"{pattern.text} is mirrored by bangpath.toml", next_step="take it out of [mirror] and restart"
            )
        if pattern.text not in self._asked:
            said = ", ".join(each.text for each, _ in self.patterns()) or "nothing"
            raise Refused(f"{pattern.text} is not mirrored here; mirrored: {said}")
        del self._asked[pattern.text]
        self._gather()
        await self._write_down()
        self._flood.unsubscribe(DATA, pattern, now)

    def _gather(self) -> None:
        found: dict[str, int | None] = {pattern.text: None for pattern in self._configured}
        for text, since_ms in self._asked.items():
            found.setdefault(text, since_ms)
        self._patterns = [(Pattern(text), since_ms) for text, since_ms in found.items()]

    async def _write_down(self) -> None:
        value: Any = [[text, since_ms] for text, since_ms in self._asked.items()]
        await self._database.transact(lambda transaction: transaction.put_setting(SETTING, value))
