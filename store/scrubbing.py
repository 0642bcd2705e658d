"""A check of a store that is in use, at once or slowly for ever; commits and questions go on beside it (DESIGN D1).

    mend_running     what it found, put back where it can be proven, also beside other work
    check_running    slices of 2 ms, others run between them; with a bound on the bytes read in a second it naps longer
    Scrub            round after round: look at everything, have what was found mended, tell, rest

What was durable at the beginning is looked at: the log up to there, each slice of the tables as it is then. Scrubbing
finds rot while the log, the mirrors and the backups still have what it ate; nobody else reads a cold frame for years.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from identity.errors import BangpathError
from store.checking import Checker
from store.checking_tables import Moment
from store.database import Database
from store.findings import FROM_LOG, Finding, InTable, Progress, Report
from store.mending_log import Mended, mend_log
from store.mending_tables import mend_tables
from store.quarantine import Quarantine

SLICE_S = 0.002  # as long as a drain of commits may take (DESIGN L5)
MOST_BYTES = 16 << 10  # of a frame whose flipped bit is looked for beside other work: some ten milliseconds
FROM_THE_LOG = "the log"
REST_S = 3600.0  # between two rounds: a small store is not read over and over

Tell = Callable[[Progress], Awaitable[None]]


async def check_running(database: Database, *, bytes_per_s: float | None = None, tell: Tell | None = None) -> Report:
    """Look at everything; `tell` hears how far it is. Raises what made the store stop."""
    writer = database.inside
    report = Report()

    @contextmanager
    def moment() -> Iterator[Moment]:
        with writer.generations.view() as view:
            yield Moment(view, writer.published_registry, writer.applier.servers)

    blobs = None if writer.blobs is None else writer.blobs.disk
    checker = Checker(writer.log, moment, report, until=writer.log.durable.position, blobs=blobs)
    begun = trio.current_time()
    slice_began = time.perf_counter()  # of this process: virtual time stands still within a slice
    try:
        for progress in checker.run():
            ahead_s = report.bytes / bytes_per_s - (trio.current_time() - begun) if bytes_per_s else 0.0
            if ahead_s > SLICE_S:
                await trio.sleep(ahead_s)
            elif time.perf_counter() - slice_began >= SLICE_S:
                await trio.lowlevel.checkpoint()
            else:
                continue
            if tell is not None:
                await tell(progress)
            slice_began = time.perf_counter()
    except BangpathError as error:
        if database.failure is not None:
            raise
        report.find(Finding("check", "of this store", f"it could not go on: {error.cause}", FROM_LOG))
    return report


async def mend_running(database: Database, report: Report, *, wall_ms: Callable[[], int]) -> list[Mended]:
    """Put back what can be proven: frames from themselves, entries of the tables from the log; keep what was there.

    Raises why the store stopped.
    """
    writer = database.inside
    log = writer.log
    quarantine = Quarantine(log.disk, wall_ms)
    done = []
    for each in mend_log(log, report.findings, quarantine, until=log.durable.position, most=MOST_BYTES):
        if each is not None:
            done.append(each)
        await trio.lowlevel.checkpoint()
    found = [(each, _raw(database, each)) for each in report.findings if isinstance(each.place, InTable)]
    for finding, data in found:
        evidence = quarantine.keep(finding, data, FROM_THE_LOG)
        done.append(Mended(finding, FROM_THE_LOG, evidence))
        await trio.lowlevel.checkpoint()
    if found and not await mend_tables(writer, report.findings):
        done = [each._replace(source="") if each.source == FROM_THE_LOG else each for each in done]
    return done


def _raw(database: Database, finding: Finding) -> bytes:
    """The record as it is; other entries are not given out when their checksum is wrong."""
    assert isinstance(finding.place, InTable)
    try:
        with database.inside.generations.view() as view:
            return view.get(finding.place.table, finding.place.key) or b""
    except BangpathError:
        return b""


class Scrub:
    """Looks at a store without end. `mend` is given each report that is not whole, and `told` each one."""

    def __init__(
        self,
        database: Database,
        *,
        bytes_per_s: float,
        told: Callable[[Report], None],
        mend: Callable[[Report], Awaitable[None]] | None = None,
        rest_s: float = REST_S,
    ) -> None:
        self._database = database
        self._bytes_per_s = bytes_per_s
        self._told = told
        self._mend = mend
        self._rest_s = rest_s

    async def run(self) -> None:
        """Until cancelled, or until the store has stopped, which it says itself."""
        while True:
            try:
                report = await check_running(self._database, bytes_per_s=self._bytes_per_s)
                self._told(report)
                if not report.whole and self._mend is not None:
                    await self._mend(report)
            except BangpathError:
                if self._database.failure is not None:
                    return
            await trio.sleep(self._rest_s)
