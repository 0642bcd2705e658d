"""A check of a store that nobody has open: what recovery would make of it, and where recovery would stop (DESIGN D1).

    recovery reaches its end   the tables and the log after their mark, as a start would serve them: all is compared
    it stops at damage         that is named; the tables as they were folded are compared with the log up to their mark
    classes are unreadable     that is named; then only frames and checksums are looked at

Nothing is written, so evidence stays as it is. Whoever calls holds the lock of the directory (`store.disk`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

from identity.errors import BangpathError, Damaged, Refused
from identity.names import ServerId
from store.applying import Applier
from store.checking import Checker
from store.checking_tables import Moment
from store.disk import Disk
from store.findings import FROM_LOG, FROM_OTHERS, Finding, Progress, Report
from store.fold import read_mark
from store.generations import ALL, Generations
from store.log import SEGMENT_BYTES, STEP_BYTES, Log
from store.recovery import recover
from store.tables import Snapshot, Tables


def check_stopped(
    disk: Disk,
    tables: Tables,
    *,
    server: ServerId,
    incarnation: int,
    trouble: Finding | None = None,
    blobs: Disk | None = None,
) -> Generator[Progress, None, Report]:
    """Look at everything; its value is the report. Raises `Refused` when the log is another server's.

    `trouble`: why `tables` are empty ones in the place of those that could not be opened.
    """
    report = Report()
    if trouble is not None:
        report.find(trouble)
    recovered = _recover(disk, tables, report, server, incarnation)
    found = yield from recovered
    if found is None:
        return report
    log, generations, applier, applied, blind = found
    try:
        checker = Checker(
            log, lambda: _moment(generations, applier), report, until=None, applied=applied, blind=blind, blobs=blobs
        )
        yield from checker.run()
    except BangpathError as error:
        report.find(Finding("check", "of this store", f"it could not go on: {error.cause}", FROM_LOG))
    finally:
        generations.close()
        log.close(clean=False)
    return report


_Found = tuple[Log, Generations, Applier, int | None, bool]


def _recover(
    disk: Disk, tables: Tables, report: Report, server: ServerId, incarnation: int
) -> Generator[Progress, None, _Found | None]:
    try:
        recovery = recover(
            disk, tables, server=server, incarnation=incarnation, clock=_no_clock, generation_bytes=ALL,
            segment_bytes=SEGMENT_BYTES, step_bytes=STEP_BYTES,
        )  # fmt: skip
        while True:
            try:
                next(recovery)
            except StopIteration as finished:
                opened = finished.value
                return opened.log, opened.generations, opened.applier, None, False
            yield Progress("recovery", 0, 0)
    except Refused:
        raise
    except BangpathError as error:
        report.find(_stopped(error))
    return _without_recovery(disk, tables, report, server, incarnation)


def _without_recovery(disk: Disk, tables: Tables, report: Report, server: ServerId, incarnation: int) -> _Found | None:
    try:
        log = Log(disk, server=server, incarnation=incarnation)
    except Damaged as error:  # a segment is missing
        report.find(_stopped(error))
        return None
    snapshot = tables.begin_read()
    generations = Generations(snapshot, clock=_no_clock, max_bytes=ALL)
    applier = Applier(server, incarnation, lambda: generations.appended)
    try:
        applied = _folded(snapshot)
        applier.load()
    except Exception as error:
        report.find(Finding("tables", "as they were folded", f"the classes in them cannot be read: {error}", FROM_LOG))
        return log, generations, Applier(server, incarnation, lambda: generations.appended), 0, True
    return log, generations, applier, applied, False


def _folded(snapshot: Snapshot) -> int:
    return read_mark(snapshot).position


def _stopped(error: BangpathError) -> Finding:
    return Finding(
        "recovery", "at the next start", error.cause, FROM_OTHERS if "segment" in error.details else FROM_LOG
    )


@contextmanager
def _moment(generations: Generations, applier: Applier) -> Iterator[Moment]:
    yield Moment(generations.appended, applier.registry, applier.servers)


def _no_clock() -> float:
    return 0.0
