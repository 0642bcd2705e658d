"""Which owners this server mirrors or keeps as a backup: by the configuration, and by `mirror`, which is durable.

    [mirror] patterns  ---+--> subscriptions of the data feeds (replication) --> applied as they come
    mirror(pattern)    ---+--> a setting in the store, so that a restart goes on where it was
    mirror(pattern, "backup")  the same; but nothing of it is shown (DESIGN R6)

A mirror answers for its owner. A backup keeps the owner's whole feed, serves it to whoever misses something of it, and
shows nothing: no query finds its objects, no `get` answers with them, nobody is told to ask here. It is for an owner
who wants its data safe at somebody who is not to read it out. (He could: only sealed fields will change that.) Who
matches both is mirrored. A backup becomes a mirror by `mirror` without fetching anything again, and a mirror a backup.

A pattern is subscribed once, however often it is asked for. `unmirror` ends it; what is held stays as it is, and is
shown as cached from then on. Every registry feed is carried always (DESIGN F1), so nothing here is about those.

What keeps a feed from growing is durable too: the proofs that an owner lied (`replication.forks`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from identity.errors import Refused
from identity.names import Pattern, ServerId
from replication.flood import Flood
from replication.messages import Fork
from store.database import Database
from store.reading import View
from store.records import DATA

SETTING = "mirrors"
BACKUPS_SETTING = "backups"
PROOFS_SETTING = "forks"
MAX_PROOFS = 64  # kept beyond a restart, 700 bytes each; neighbours tell the others again
MIRRORED, BACKUP = "mirrored", "backup"
MAX_MIRRORS = 254  # patterns: as many subscriptions as a peer takes (`replication.messages`), less two of everybody's


class Mirroring:
    """The patterns, configured and asked for, in the order in which they came."""

    def __init__(self, configured: tuple[Pattern, ...], *, database: Database, flood: Flood) -> None:
        self._configured = configured
        self._database = database
        self._flood = flood
        self._asked: dict[str, dict[str, int]] = {MIRRORED: {}, BACKUP: {}}  # kind -> pattern -> since when
        self._patterns: list[tuple[Pattern, int | None]] = []
        self._backups: list[tuple[Pattern, int | None]] = []
        self._gather()

    def load(self, view: View, *, now: float) -> None:
        """Subscribe to everything that was kept before."""
        for kind, setting in ((MIRRORED, SETTING), (BACKUP, BACKUPS_SETTING)):
            self._asked[kind] = dict(view.get_setting(setting) or ())
        self._gather()
        self._flood.load_proofs(Fork(*parts) for parts in view.get_setting(PROOFS_SETTING) or ())
        for pattern, _ in (*self._patterns, *self._backups):
            self._flood.subscribe(DATA, pattern, now)

    def patterns(self) -> list[tuple[Pattern, int | None]]:
        """What is mirrored, each with since when it was asked for, in wall-clock ms; None: by the configuration."""
        return self._patterns

    def backups(self) -> list[tuple[Pattern, int | None]]:
        """What is kept as a backup, in the same way."""
        return self._backups

    def mirrors(self, server: ServerId) -> bool:
        """Whether the data feed of this owner is kept here to be shown."""
        return any(pattern.matches(server) for pattern, _ in self._patterns)

    def backs_up(self, server: ServerId) -> bool:
        """Whether it is kept for its owner, and not shown."""
        return any(pattern.matches(server) for pattern, _ in self._backups) and not self.mirrors(server)

    def keeps(self, server: ServerId) -> bool:
        """Whether the data feed of this owner is kept here at all."""
        return any(pattern.matches(server) for pattern, _ in (*self._patterns, *self._backups))

    async def mirror(self, pattern: Pattern, kind: str, *, own: ServerId, wall_ms: int, now: float) -> None:
        """Keep these owners as `kind` from now on, durably. Raises `Refused`, `Exhausted`."""
        if kind not in self._asked:
            raise Refused(f"{kind!r} is no way to keep others' objects", next_step="mirrored or backup", field="kind")
        if pattern.text == str(own):
            raise Refused(f"{own} is this server, which needs no mirror of itself")
        before = self._kind_of(pattern)
        if before == kind:
            return
        if before is None and len(self._patterns) + len(self._backups) >= MAX_MIRRORS:
            raise Refused(f"{MAX_MIRRORS} patterns are mirrored already", next_step="put several into one, with commas")
        if before is not None:
            self._refuse_configured(pattern)
            del self._asked[before][pattern.text]
        else:
            self._flood.require_room(pattern)
        self._asked[kind][pattern.text] = wall_ms
        self._gather()
        await self._write_down()
        self._flood.subscribe(DATA, pattern, now)

    async def unmirror(self, pattern: Pattern, *, now: float) -> None:
        """End it. Raises `Refused` for one that is not kept, or that the configuration says."""
        self._refuse_configured(pattern)
        kind = self._kind_of(pattern)
        if kind is None:
            said = ", ".join(each.text for each, _ in (*self._patterns, *self._backups)) or "nothing"
            raise Refused(f"{pattern.text} is not mirrored here; mirrored: {said}")
        del self._asked[kind][pattern.text]
        self._gather()
        await self._write_down()
        self._flood.unsubscribe(DATA, pattern, now)

    async def keep_proofs(self) -> None:
        """An owner was found to lie: remember it."""
        proofs = [list(msgspec.structs.astuple(each)) for each in self._flood.proofs().values()][:MAX_PROOFS]
        await self._database.transact(lambda transaction: transaction.put_setting(PROOFS_SETTING, proofs))

    def _kind_of(self, pattern: Pattern) -> str | None:
        if any(each.text == pattern.text for each, _ in self._patterns):
            return MIRRORED
        return BACKUP if pattern.text in self._asked[BACKUP] else None

    def _refuse_configured(self, pattern: Pattern) -> None:
        if any(each.text == pattern.text for each in self._configured):
            raise Refused(
                f"{pattern.text} is mirrored by bangpath.toml", next_step="take it out of [mirror] and restart"
            )

    def _gather(self) -> None:
        found: dict[str, int | None] = {pattern.text: None for pattern in self._configured}
        for text, since_ms in self._asked[MIRRORED].items():
            found.setdefault(text, since_ms)
        self._patterns = [(Pattern(text), since_ms) for text, since_ms in found.items()]
        kept = self._asked[BACKUP].items()
        self._backups = [(Pattern(text), since_ms) for text, since_ms in kept if text not in found]

    async def _write_down(self) -> None:
        values: dict[str, Any] = {
            setting: [[text, since_ms] for text, since_ms in self._asked[kind].items()]
            for kind, setting in ((MIRRORED, SETTING), (BACKUP, BACKUPS_SETTING))
        }

        def write(transaction: Any) -> None:
            for setting, value in values.items():
                transaction.put_setting(setting, value)

        await self._database.transact(write)
