"""Whoever collects: one step after the other goes to the task that owns the log, and others commit between two of them.

    collected = await collect(database.inside)                     what nothing points to is gone when it returns
    collected = await collect(database.inside, dry_run=True)       the same is found and counted, and nothing goes

One at a time. Who is cancelled, or meets a full disk, or a crash, has deleted whole chunks; the rest goes the next time
(`store.collecting`).
"""

from __future__ import annotations

from collections.abc import Callable

from identity.errors import Refused
from store.collecting import ENDED, Collected, Collection
from store.findings import Progress
from store.work import CollectStep
from store.writing import Writer


async def collect(
    writer: Writer, *, dry_run: bool = False, progress: Callable[[Progress], object] | None = None
) -> Collected:
    """Delete own objects of collectable classes that nothing leads to. `progress` is called after each step.

    Raises `Refused` while another collection is under way, `Conflict` when a class was defined anew meanwhile.
    """
    applier = writer.applier
    if applier.collection is not None:
        raise Refused("a collection is under way", next_step="wait for its end")
    collection = applier.collection = Collection(applier, applier.sessions, dry_run=dry_run)
    try:
        while collection.phase != ENDED:
            await writer.do(CollectStep(collection))
            if progress is not None:
                progress(Progress(collection.phase, collection.done, collection.total))
    finally:
        applier.collection = None
    return collection.collected()
