"""From memory into the tables: changes and the log's position in one durable step, so replay starts there (DESIGN T1).

    group | group | group | GROUP synced          freeze(mark)    the active generation is exactly the log up to mark
                          ^ mark                  run()           generation + mark, one synced transaction; then swap
    ... commits go on into a new active generation meanwhile ...

Rules. A generation is frozen between groups, right after a sync, so what is folded was durable before (L6), and the
mark is the end of the last whole group it contains. A fold that found no room keeps its generation: it can be run
again, with the same mark, and gives the same tables. A crash in the middle leaves the old tables and the old mark.

Left to others: when to freeze (`Generations.fold_due`, or the database when idle), the writing (`store.tables`).
"""

from __future__ import annotations

import struct

from identity.errors import Damaged, LocalMistake
from store.generations import Generations
from store.segments import BEGINNING, Mark
from store.tables import Snapshot, Tables


class Fold:
    """Moves one frozen generation at a time from `generations` into `tables`."""

    def __init__(self, generations: Generations, tables: Tables) -> None:
        self._generations = generations
        self._tables = tables
        self._mark: Mark | None = None
        self._running = False

    @property
    def pending(self) -> bool:
        """Whether a generation is frozen and not yet in the tables."""
        return self._mark is not None

    def freeze(self, mark: Mark) -> None:
        """Freeze the active generation, which ends with the group that ends at `mark`.

        Raises `LocalMistake` while another is pending or commits are not durable.
        """
        self._generations.freeze()
        self._mark = mark

    async def run(self) -> None:
        """Write what is pending and swap. Nothing pending: nothing happens.

        Raises `Exhausted` when there is no room (run it again later), `Damaged` when the tables' disk failed,
        `LocalMistake` if it runs already.
        """
        if self._mark is None:
            return
        if self._running:
            raise LocalMistake("a fold is under way already")
        changes = self._generations.frozen
        assert changes is not None, "a mark is kept exactly as long as its generation"
        self._running = True
        try:
            await self._tables.fold(changes, self._mark.to_bytes())
            self._generations.swap(self._tables.begin_read())
            self._mark = None
        finally:
            self._running = False


def read_mark(snapshot: Snapshot) -> Mark:
    """How far `snapshot` contains the log; `BEGINNING` before the first fold. Raises `Damaged`."""
    meta = snapshot.meta
    if not meta:
        return BEGINNING
    try:
        return Mark.from_bytes(meta)
    except struct.error as error:
        raise Damaged(
            f"the tables' mark has {len(meta)} bytes", next_step="restore a backup, or let the log rebuild the tables"
        ) from error
