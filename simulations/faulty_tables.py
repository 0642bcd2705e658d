"""Tables as bad as LMDB may be: a fold takes a while, needs room, may fail, and a power cut in it leaves one of two.

    fold begins    ... a sync's time ...    commit        a crash before: as it was     a crash after: as it is
                          '--- a crash here: as it was, or as it will be, by chance; never between, with its meta

They lie on the same disk as the log (`faulty_disk`): its power, its room and its failure are theirs, and its steps
are counted with those of the log, so that a crash at the k-th write or sync falls into folds as well. What LMDB
promises is not doubted here (DESIGN T4 tests the real one by itself), but for bit rot: `rot` flips bits of values.

Left to others: what is in them (`store`), and a plain set of tables (`store.tables.MemoryTables`, which this one is).
"""

from __future__ import annotations

import random as random_module
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from sortedcontainers import SortedDict

from identity.errors import LocalMistake
from simulations.faulty_disk import FaultyDisk, PowerCut
from store.tables import Changes, MemoryTables, check_key

NAME = "tables"  # as the trace and errors call them; no file of the disk
P_COMMITTED = 0.5  # that a fold which was under way when everything ended had just been committed


class Rotten(NamedTuple):
    """One bit of one value."""

    table: str
    key: bytes
    offset: int
    mask: int


class FaultyTables(MemoryTables):
    """Tables of one simulated server; the same object serves all its lives."""

    def __init__(
        self, disk: FaultyDisk, random: random_module.Random, *, pause: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        super().__init__()
        self._disk = disk
        self._random = random
        self._pause = pause
        self._under_way: tuple[Changes, bytes] | None = None
        self.folds = 0

    async def fold(self, changes: Changes, meta: bytes) -> None:
        disk, life = self._disk, self._disk.life
        if self._under_way is not None:
            raise LocalMistake("two folds at once: one thread does all the writing")
        disk.check(life)
        for changed in changes.values():
            for key in changed:
                check_key(key)
        if disk.room is not None and _bytes(changes) > disk.room:
            raise disk.no_room(NAME)
        self._under_way = (changes, meta)
        try:
            if self._pause is not None:
                await self._pause()
            disk.check(life)
            if disk.before_write(NAME, self.folds, meta):
                raise disk.cut(f"write {disk.writes}")
            disk.before_sync(NAME)
        except PowerCut:
            self.crash()  # nothing, when the whole server ended meanwhile: it was decided then
            raise
        finally:
            self._under_way = None
        await super().fold(changes, meta)
        self.folds += 1

    def crash(self) -> None:
        """Everything ends: a fold that was under way is there or not, wholly and with its meta."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None and self._random.random() < P_COMMITTED:
            self._tables, self._meta = self.folded(*under_way)
            self._disk.tell(f"{NAME} committed")

    def rot(self, count: int = 1, *, table: str = "") -> Sequence[Rotten]:
        """Bit rot: one bit in each of `count` random values, of one table or of all; where. Fewer, if there are."""
        values = [
            (name, key) for name in sorted(self._tables) if not table or name == table for key in self._tables[name]
        ]
        rotten = []
        for name, key in self._random.sample(values, min(count, len(values))):
            value: bytes = self._tables[name][key]
            if value:
                found = Rotten(name, key, self._random.randrange(len(value)), 1 << self._random.randrange(8))
                self.flip(found)
                rotten.append(found)
        return rotten

    def flip(self, place: Rotten) -> None:
        """Change that bit, and by a second time change it back; nothing, when the value is gone."""
        table = self._tables.get(place.table)
        value = None if table is None else table.get(place.key)
        if table is None or value is None or len(value) <= place.offset:
            return
        flipped = bytearray(value)
        flipped[place.offset] ^= place.mask
        changed: SortedDict = table.copy()
        changed[place.key] = bytes(flipped)
        self._tables = {**self._tables, place.table: changed}
        self._disk.troubles += 1
        self._disk.tell(f"rot {place.table} {place.key.hex()} {place.offset}")

    def copy(self) -> MemoryTables:
        """As they are now, for a backup: a fold copies the tables that it changes, so nothing need be copied here."""
        copied = MemoryTables()
        copied._tables, copied._meta = self._tables, self._meta
        return copied

    def load(self, copy: MemoryTables) -> None:
        """Put a copy in the place of everything."""
        self._tables, self._meta = copy._tables, copy._meta
        self._under_way = None


def _bytes(changes: Changes) -> int:
    return sum(len(key) + len(value or b"") for changed in changes.values() for key, value in changed.items())
