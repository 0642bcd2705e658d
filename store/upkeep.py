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
from store.archive import log_disk
from store.checking_stopped import check_stopped
from store.cipher import Cipher
from store.data_key import Secret, open_key
from store.disk import Disk, RealDisk
from store.findings import FROM_LOG, Finding, Progress, Report
from store.frames import SEGMENT_HEADER_BYTES, SegmentHeader
from store.log import segment_names
from store.mending_log import read_header
from store.probing import probe_tables
from store.sealed_files import unsealed
from store.sealed_frames import check_key_id
from store.sealed_tables import sealed_in
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


def check_directory(directory: Path, tell: Tell = lambda progress: None, *, key: Secret | None = None) -> Report:
    """Look at everything in it; `key` opens an encrypted one.

    Raises `Refused` when there is no store, or somebody has it open, or it is not the right key.
    """
    with held(directory, key) as disk:
        return check_held(directory, disk, tell)


@contextmanager
def held(directory: Path, key: Secret | None = None) -> Iterator[Disk]:
    """The log's disk, locked, with the cipher of an encrypted one. Raises `Refused`."""
    if not (directory / LOG).is_dir():
        raise Refused(f"there is no store in {directory}: it has no {LOG}/", next_step="name the directory of a server")
    cipher = open_key(directory, key)
    disk = log_disk(directory, cipher=cipher, whole=True)
    try:
        check_key(disk)
        yield disk
    finally:
        disk.close()


def check_key(disk: Disk) -> None:
    """Before anything else is looked at, so that a wrong key is told, and never looks like damage. Raises `Refused`."""
    for name, header in _headers(disk):
        if header is not None:
            check_key_id(name, header.key_id, b"" if disk.cipher is None else disk.cipher.id)
            return


def whose(disk: Disk) -> Whose:
    """Whose log it is, as its segments say. Raises `Refused` when there are none, `Damaged` when none is readable."""
    names = segment_names(disk)
    if not names:
        raise Refused("there is no store here: the log has no segments", next_step="name the directory of a server")
    for _, header in _headers(disk):
        if header is not None:
            return Whose(header.server, header.incarnation)
    raise Damaged("no header of any segment of the log can be read", next_step="restore a backup: `bangpath restore`")


def _headers(disk: Disk) -> Iterator[tuple[str, SegmentHeader | None]]:
    """Of each segment, by name; None: it cannot be read."""
    for name in segment_names(disk):
        file = disk.open(name)
        try:
            yield name, read_header(name, file.read(0, SEGMENT_HEADER_BYTES))
        finally:
            file.close()


def check_held(directory: Path, disk: Disk, tell: Tell) -> Report:
    """The same of a directory whose lock is held already."""
    owner = whose(disk)
    tables, trouble = open_tables(directory, disk.cipher)
    path = directory / BLOBS
    blobs = unsealed(RealDisk(path, cipher=disk.cipher)) if path.is_dir() else None
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


def open_tables(directory: Path, cipher: Cipher | None) -> tuple[Tables, Finding | None]:
    """The tables, or none and why: what LMDB dies of must not be opened here. None there: the log makes them."""
    path = directory / TABLES
    if not (path / "data.mdb").exists():
        return MemoryTables(), None
    trouble = probe_tables(str(path))
    if not trouble:
        try:
            return sealed_in(LmdbTables(path), cipher), None
        except BangpathError as error:
            trouble = error.cause
    return MemoryTables(), Finding("tables", str(path), f"they cannot be read: {trouble}", FROM_LOG)
