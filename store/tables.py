"""Ordered tables of bytes to bytes, changed by one synced transaction at a time: LMDB, and the same in memory.

    "objects"   key -> value, key -> value ...      each table sorted by key
    "index"     key -> value ...
    meta        what the fold said last: how far the log is contained

    snapshot 1  |-------- reads what stood here --------|
                fold ======|synced
                           snapshot 2  |------- reads the new state, meta included -------|

A snapshot never changes. A fold is there wholly or not at all, with its meta, also after a power cut (DESIGN T1).

LMDB's traps, each measured in sketches/lmdb_pitfalls.py (DESIGN T4): a write transaction ended by another thread
than the one that began it hangs, so one dedicated thread does all writing; a full map loses the transaction and may
not be resized under readers, so the map is 1 TiB, sparse, once and for all; `writemap` would let a stray pointer
damage the file and is never used; after a fork the child writes without error, so every call refuses; a reader that
stays makes the file grow for ever, so `store.generations` lets views expire; of 40 flipped bytes 24 came back silently
wrong, so every entry ends with a CRC-32 over key and value, but for objects, whose records carry their own
(`store.records`). It bypasses the disk seam: the simulator uses `MemoryTables`, and one contract suite runs against
both.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, cast

import lmdb
from sortedcontainers import SortedDict

from identity.errors import BangpathError, Damaged, Exhausted, LocalMistake, Refused
from store.checked import open_entry, seal_entry
from store.disk import sync_names
from store.worker import Worker

if TYPE_CHECKING:
    from lmdb import _Database

Changes = Mapping[str, Mapping[bytes, bytes | None]]  # table, key, value; None: the key goes

MAP_BYTES = 1 << 40
MAX_TABLES = 64
MAX_READERS = 512  # views of one process; each holds a slot of 64 bytes in the lock file
MAX_KEY_BYTES = 511  # LMDB's own bound, kept by both
META_TABLE = ".meta"
NO_ROOM_BYTES = 1 << 20  # a short write takes what was free; so much may have come back since, by others' doing
CHECKED_ABOVE = "objects"  # the table whose values have a checksum already, over the same bytes
_META_KEY = b"meta"


class Snapshot(Protocol):
    """The tables as they stood at one moment."""

    @property
    def meta(self) -> bytes:
        """What the last fold before this moment said; empty before the first. Raises `Damaged`."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value of `key`, or None."""

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values with low <= key < high (None: to the end), ascending, or descending with `reverse`."""

    def close(self) -> None:
        """Nothing is read through it afterwards; a scan under way raises `LocalMistake`."""


class Tables(Protocol):
    """A set of named tables."""

    def begin_read(self) -> Snapshot:
        """The tables as they stand now. Raises `LocalMistake` after `close`."""

    async def fold(self, changes: Changes, meta: bytes) -> None:
        """Carry out all changes and keep `meta`, durably, in one step. Not cancellable.

        Raises `Exhausted` when there is no room (nothing changed; it may be tried again), `Damaged` when the disk
        fails (nothing more is folded in this run), `LocalMistake` for keys that are empty or too long.
        """

    def close(self) -> None:
        """Let go. What was folded stays."""


class MemoryTables:
    """Tables without a disk. They outlive `close`: hand the same object to the next run, as a directory would be.

    Each fold copies the tables that it changes, so that snapshots need no bookkeeping: made for simulations, where
    tables are small.
    """

    def __init__(self) -> None:
        self._tables: dict[str, SortedDict] = {}
        self._meta = b""

    def begin_read(self) -> MemorySnapshot:
        return MemorySnapshot(self._tables, self._meta)

    async def fold(self, changes: Changes, meta: bytes) -> None:
        self._tables, self._meta = self.folded(changes, meta)

    def folded(self, changes: Changes, meta: bytes) -> tuple[dict[str, SortedDict], bytes]:
        """What a fold of these makes of tables and meta, without carrying it out."""
        tables = dict(self._tables)
        for name, changed in changes.items():
            table = tables[name].copy() if name in tables else SortedDict()
            for key, value in changed.items():
                check_key(key)
                if value is None:
                    table.pop(key, None)
                else:
                    table[key] = value if name == CHECKED_ABOVE else seal_entry(key, value)
            tables[name] = table
        return tables, meta

    def close(self) -> None:
        """Nothing to let go of."""


class MemorySnapshot:
    """A `Snapshot` of `MemoryTables`."""

    def __init__(self, tables: dict[str, SortedDict], meta: bytes) -> None:
        self._tables = tables
        self._meta = meta
        self._closed = False

    @property
    def meta(self) -> bytes:
        return self._meta

    def get(self, table: str, key: bytes) -> bytes | None:
        self._check()
        value: bytes | None = self._tables[table].get(key) if table in self._tables else None
        return value if value is None or table == CHECKED_ABOVE else open_entry(table, key, value)

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self._check()
        entries = self._tables.get(table)
        if entries is None:
            return
        for key in entries.irange(low, high, (True, False), reverse):
            self._check()
            value = entries[key]
            yield key, value if table == CHECKED_ABOVE else open_entry(table, key, value)

    def close(self) -> None:
        self._closed = True

    def _check(self) -> None:
        if self._closed:
            raise LocalMistake("a snapshot that was closed is read")


class LmdbTables:
    """Tables in a directory of their own, made with mode 0700. Whoever opens it holds the lock of the store's disk.

    Raises `Refused` if the directory cannot be used, `Damaged` if it holds no readable tables.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.failure: BangpathError | None = None
        self._process = os.getpid()
        self._closed = False
        self._worker = Worker("bangpath tables")
        self._handles: dict[str, _Database] = {}  # replaced, never changed: a snapshot keeps the one it began with
        try:
            os.makedirs(self.path, mode=0o700, exist_ok=True)
            self._environment = lmdb.open(
                self.path,
                map_size=MAP_BYTES,
                max_dbs=MAX_TABLES,
                max_readers=MAX_READERS,
                mode=0o600,
                writemap=False,
                metasync=True,
                sync=True,
                readahead=False,
            )
            self._worker.run_blocking(self._open_tables)
            _sync_names(self.path)
        except OSError as error:
            raise Refused(
                f"the directory {self.path} cannot be used: {error.strerror}",
                next_step="choose a directory that this user may write to",
            ) from error
        except lmdb.Error as error:
            if isinstance(error, lmdb.DiskError) or _is_short_write(error, self.path):
                raise Exhausted(
                    f"no room to open the tables in {self.path}, {_free_bytes(self.path)} bytes are free: {error}",
                    next_step="make room on that file system, then start again",
                ) from error
            raise Damaged(
                f"the tables in {self.path} cannot be opened: {error}",
                next_step="move that directory away: the log rebuilds it, as far as it reaches; or restore a backup",
            ) from error

    def begin_read(self) -> LmdbSnapshot:
        self._check()
        handles = self._handles
        try:
            return LmdbSnapshot(self._environment.begin(buffers=False), handles, self.path)
        except lmdb.ReadersFullError as error:
            raise Exhausted(f"{MAX_READERS} snapshots of {self.path} are open", next_step="end some queries") from error

    async def fold(self, changes: Changes, meta: bytes) -> None:
        self._check()
        try:
            await self._worker.run(lambda: self._write(changes, meta))
        except lmdb.Error as error:
            if isinstance(error, (lmdb.MapFullError, lmdb.DiskError)) or _is_short_write(error, self.path):
                raise Exhausted(
                    f"no room for the tables in {self.path}, {_free_bytes(self.path)} bytes are free: {error}",
                    next_step="make room on that file system; the store goes on by itself",
                ) from error
            self.failure = Damaged(
                f"the tables in {self.path} cannot be written: {error}",
                next_step="look at the disk's health (dmesg), then start again",
            )
            raise self.failure from error

    def close(self) -> None:
        if not self._closed and os.getpid() == self._process:
            self._closed = True
            self._worker.stop()
            self._environment.close()

    def _check(self) -> None:
        if os.getpid() != self._process:
            raise LocalMistake("tables are used after a fork; the child must open its own, elsewhere")
        if self._closed:
            raise LocalMistake(f"the tables in {self.path} were closed")
        if self.failure is not None:
            raise self.failure

    # In the writing thread

    def _open_tables(self) -> None:
        """Handles of all tables there are. LMDB keeps their names as keys of its unnamed table."""
        with self._environment.begin() as transaction:
            names = [bytes(key).decode() for key in transaction.cursor().iternext(keys=True, values=False)]
        for name in {META_TABLE: None, **dict.fromkeys(names)}:
            self._open_table(name)

    def _open_table(self, name: str) -> _Database:
        """The table's handle; the table is made in a transaction of its own if there is none.

        Published before anything is written into it: a snapshot that does not know the handle is older than its
        first entry.
        """
        handle = self._handles.get(name)
        if handle is None:
            handle = self._environment.open_db(name.encode())
            self._handles = {**self._handles, name: handle}
        return handle

    def _write(self, changes: Changes, meta: bytes) -> None:
        handles = {name: self._open_table(name) for name in changes}
        with self._environment.begin(write=True) as transaction:
            for name, changed in changes.items():
                _write_table(transaction, handles[name], changed, sealed=name != CHECKED_ABOVE)
            transaction.put(_META_KEY, seal_entry(_META_KEY, meta), db=self._handles[META_TABLE])


class LmdbSnapshot:
    """A `Snapshot` of `LmdbTables`: one read transaction."""

    def __init__(self, transaction: lmdb.Transaction, handles: dict[str, _Database], path: str) -> None:
        self._transaction = transaction
        self._handles = handles
        self._path = path
        self._closed = False

    @property
    def meta(self) -> bytes:
        return self.get(META_TABLE, _META_KEY) or b""

    def get(self, table: str, key: bytes) -> bytes | None:
        handle = self._handles.get(table)
        if handle is None or not key:
            return None
        try:
            value: Any = self._transaction.get(key, None, handle)  # bytes, never a buffer: begin_read says so
        except lmdb.Error as error:
            self._fail(error)
        if table == CHECKED_ABOVE or value is None:
            found: bytes | None = value
            return found
        return open_entry(f"{table} in {self._path}", key, value)

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        handle = self._handles.get(table)
        if handle is None:
            return
        try:
            cursor = self._transaction.cursor(db=handle)
            entries = _walk_down(cursor, low, high) if reverse else _walk_up(cursor, low, high)
            if table == CHECKED_ABOVE:
                yield from entries
            else:
                for key, value in entries:
                    yield key, open_entry(f"{table} in {self._path}", key, value)
        except lmdb.Error as error:
            self._fail(error)

    def close(self) -> None:
        self._closed = True
        self._transaction.abort()

    def _fail(self, error: lmdb.Error) -> NoReturn:
        if self._closed:
            raise LocalMistake(f"a snapshot that was closed is read ({error})") from error
        raise Damaged(
            f"the tables in {self._path} cannot be read: {error}", next_step="run `bangpath check`"
        ) from error


def check_key(key: bytes) -> None:
    """Raises `LocalMistake` unless the key has 1 to 511 bytes."""
    if not 0 < len(key) <= MAX_KEY_BYTES:
        raise LocalMistake(f"a key of {len(key)} bytes; keys have 1 to {MAX_KEY_BYTES}")


def _walk_up(cursor: lmdb.Cursor, low: bytes, high: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    if not (cursor.set_range(low) if low else cursor.first()):
        return
    entries = cast(Iterator[tuple[bytes, bytes]], cursor.iternext())
    if high is None:
        yield from entries
        return
    for entry in entries:
        if entry[0] >= high:
            return
        yield entry


def _walk_down(cursor: lmdb.Cursor, low: bytes, high: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    found = cursor.prev() if high is not None and cursor.set_range(high) else cursor.last()
    if not found:
        return
    for entry in cast(Iterator[tuple[bytes, bytes]], cursor.iterprev()):
        if entry[0] < low:
            return
        yield entry


def _write_table(
    transaction: lmdb.Transaction, handle: _Database, changed: Mapping[bytes, bytes | None], *, sealed: bool
) -> None:
    """In key order, which keeps LMDB on the pages it has at hand."""
    keys = sorted(changed)
    for key in keys:
        check_key(key)
    cursor = transaction.cursor(db=handle)
    puts: Iterable[tuple[bytes, bytes]] = (
        (key, seal_entry(key, value) if sealed else value) for key in keys if (value := changed[key]) is not None
    )
    cursor.putmulti(puts)
    for key in keys:
        if changed[key] is None:
            transaction.delete(key, db=handle)


def _is_short_write(error: lmdb.Error, path: str) -> bool:
    """Whether LMDB's EIO means a full disk: it says so of any write that was cut short (mdb_page_flush)."""
    return os.strerror(errno.EIO) in str(error) and _free_bytes(path) < NO_ROOM_BYTES


def _free_bytes(path: str) -> int:
    """What this user may still write there."""
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize


def _sync_names(path: str) -> None:
    """The names of the files that LMDB made, and of the directory itself, outlive a power cut."""
    for directory in (path, os.path.dirname(os.path.abspath(path))):
        sync_names(directory)
