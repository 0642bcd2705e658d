"""What is done to the directory of a store that nobody has open: it is checked (DESIGN D1).

    DIR/log, DIR/tables    of a server (`node.opening`) or of a store alone (`node.embedded`): both look the same here

Whose store it is, is read from the log itself, so that nothing else in the directory need be whole. The lock of the log
is held meanwhile: a server that runs is refused by name, and is asked to do it itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from identity.errors import BangpathError, Damaged, Refused
from identity.names import ServerId
from store.checking_stopped import check_stopped
from store.disk import Disk, RealDisk
from store.findings import FROM_LOG, Finding, Progress, Report
from store.frames import SEGMENT_HEADER_BYTES
from store.log import segment_names
from store.mending_log import read_header
from store.probing import probe_tables
from store.tables import LmdbTables, MemoryTables, Tables

LOG, TABLES, BLOBS = "log", "tables", "blobs"

Tell = Callable[[Progress], None]


def wall_clock_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


class Whose(NamedTuple):
    """The server whose objects a store holds."""

    server: ServerId
    incarnation: int


def check_directory(directory: Path, tell: Tell = lambda progress: None) -> Report:
    """Look at everything in it. Raises `Refused` when there is no store, or somebody has it open."""
    with held(directory) as disk:
        return check_held(directory, disk, tell)


@contextmanager
def held(directory: Path) -> Iterator[RealDisk]:
    """The log's disk, locked. Raises `Refused`."""
    if not (directory / LOG).is_dir():
        raise Refused(f"there is no store in {directory}: it has no {LOG}/", next_step="name the directory of a server")
    disk = RealDisk(directory / LOG)
    try:
        yield disk
    finally:
        disk.close()


def whose(disk: Disk) -> Whose:
    """Whose log it is, as its segments say. Raises `Refused` when there are none, `Damaged` when none is readable."""
    names = segment_names(disk)
    if not names:
        raise Refused("there is no store here: the log has no segments", next_step="name the directory of a server")
    for name in names:
        file = disk.open(name)
        try:
            header = read_header(name, file.read(0, SEGMENT_HEADER_BYTES))
        finally:
            file.close()
        if header is not None:
            return Whose(header.server, header.incarnation)
    raise Damaged("no header of any segment of the log can be read", next_step="restore a backup: `bangpath restore`")


def check_held(directory: Path, disk: Disk, tell: Tell) -> Report:
    """The same of a directory whose lock is held already."""
    owner = whose(disk)
    tables, trouble = open_tables(directory)
    blobs = RealDisk(directory / BLOBS) if (directory / BLOBS).is_dir() else None
    try:
        work = check_stopped(
            disk, tables, server=owner.server, incarnation=owner.incarnation, trouble=trouble, blobs=blobs
        )
        while True:
            try:
                tell(next(work))
            except StopIteration as finished:
                report: Report = finished.value
                return report
    finally:
        tables.close()
        if blobs is not None:
            blobs.close()


def open_tables(directory: Path) -> tuple[Tables, Finding | None]:
    """The tables, or none and why: what LMDB dies of must not be opened here. None there: the log makes them."""
    path = directory / TABLES
    if not (path / "data.mdb").exists():
        return MemoryTables(), None
    trouble = probe_tables(str(path))
    if not trouble:
        try:
            return LmdbTables(path), None
        except BangpathError as error:
            trouble = error.cause
    return MemoryTables(), Finding("tables", str(path), f"they cannot be read: {trouble}", FROM_LOG)
