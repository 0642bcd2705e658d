"""Their half of the store's benchmarks: SQLite, SQLite behind our queue, LMDB and ZODB, each as its users would.

sqlite     WAL, synchronous=FULL, one transaction a row. One writer at a time is its rule, so committers are a loop:
           more threads would only make it slower
grouped    the same behind a queue as ours: all rows that wait go into one transaction, then all are answered
lmdb       a synced transaction a row, keys ascending
zodb       FileStorage, a thread and a connection for each committer, an OOBTree of its own for each, so that
           they do not conflict; each commit ends with its fsync
"""

from __future__ import annotations

import importlib.util
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lmdb
import trio

from benchmarks.store_filling import Filling, Run
from benchmarks.store_ours import BULK_CHUNK

Make = Callable[[], Mapping[str, Any]]

SQLITE_BLOB = ("create table blob(id integer primary key, body blob)",)
SQLITE_NOTE = (
    "create table note(id integer primary key, key text not null, number integer, city text, text text) strict",
    "create unique index note_key on note(key)",
    "create index note_number on note(number)",
    "create index note_city on note(city)",
)


def missing() -> str:
    """Which peers are not installed; "" none."""
    lacking = [name for name in ("ZODB", "BTrees") if importlib.util.find_spec(name) is None]
    return f"{lacking[0]} is not installed: pip install --requirement requirements-bench.txt" if lacking else ""


def _sqlite(directory: Path, schema: tuple[str, ...]) -> sqlite3.Connection:
    connection = sqlite3.connect(directory / "sqlite.db", isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    for statement in schema:
        connection.execute(statement)
    return connection


def _insert(table: str, make: Make) -> str:
    names = list(make())
    return f"insert into {table}({', '.join(names)}) values({', '.join(['?'] * len(names))})"


def sqlite_commits(schema: tuple[str, ...], table: str, make: Make, seconds: float) -> Callable[[Path], Run]:
    def run(directory: Path) -> Run:
        connection = _sqlite(directory, schema)
        insert = _insert(table, make)
        count = 0
        begun = time.perf_counter()
        end = begun + seconds
        while time.perf_counter() < end:
            row = tuple(make().values())
            connection.execute("begin immediate")
            connection.execute(insert, row)
            connection.execute("commit")
            count += 1
        took = time.perf_counter() - begun
        connection.close()
        return Run(count / took, count, count)

    return run


def grouped_sqlite_commits(make: Make, committers: int, seconds: float) -> Callable[[Path], Run]:
    async def run(directory: Path) -> Run:
        connection = _sqlite(directory, SQLITE_BLOB)
        insert = _insert("blob", make)
        queue: list[tuple[tuple[Any, ...], trio.lowlevel.Task]] = []
        wanted = trio.Event()
        count = syncs = 0
        begun = time.perf_counter()
        end = begun + seconds

        async def commit() -> None:
            nonlocal count
            while time.perf_counter() < end:
                queue.append((tuple(make().values()), trio.lowlevel.current_task()))
                wanted.set()
                await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)
                count += 1

        async def serve() -> None:
            nonlocal queue, wanted, syncs
            while True:
                await wanted.wait()
                wanted = trio.Event()
                await trio.lowlevel.checkpoint()  # until the queue stops growing
                taken, queue = queue, []
                connection.execute("begin immediate")
                connection.executemany(insert, [row for row, _ in taken])
                connection.execute("commit")
                syncs += 1
                for _, task in taken:
                    trio.lowlevel.reschedule(task)

        async with trio.open_nursery() as serving:
            serving.start_soon(serve)
            async with trio.open_nursery() as nursery:
                for _ in range(committers):
                    nursery.start_soon(commit)
            serving.cancel_scope.cancel()
        took = time.perf_counter() - begun
        connection.close()
        return Run(count / took, syncs, count)

    return lambda directory: trio.run(run, directory)


def lmdb_commits(make: Make, seconds: float) -> Callable[[Path], Run]:
    def run(directory: Path) -> Run:
        environment = lmdb.open(str(directory / "lmdb"), map_size=1 << 34)
        count = 0
        begun = time.perf_counter()
        end = begun + seconds
        while time.perf_counter() < end:
            with environment.begin(write=True) as transaction:
                transaction.put(count.to_bytes(8, "big"), make()["body"])
            count += 1
        took = time.perf_counter() - begun
        environment.close()
        return Run(count / took, count, count)

    return run


def zodb_commits(make: Make, committers: int, seconds: float) -> Callable[[Path], Run]:
    def run(directory: Path) -> Run:
        import transaction
        from BTrees.OOBTree import OOBTree

        database = _zodb(directory)
        connection = database.open()
        for number in range(committers):
            connection.root()[number] = OOBTree()
        transaction.commit()
        connection.close()
        counts = [0] * committers
        begun = time.perf_counter()
        end = begun + seconds

        def commit(number: int) -> None:
            manager = transaction.TransactionManager()
            own = database.open(manager)
            tree = own.root()[number]
            while time.perf_counter() < end:
                tree[counts[number]] = _persistent(make())
                manager.commit()
                counts[number] += 1
            own.close()

        threads = [threading.Thread(target=commit, args=(number,)) for number in range(committers)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        took = time.perf_counter() - begun
        database.close()
        return Run(sum(counts) / took, sum(counts), sum(counts))

    return run


def sqlite_reads(filling: Filling, objects: int, count: int) -> Callable[[Path], Run]:
    """The bytes of a row by its number; nothing is decoded."""

    def run(directory: Path) -> Run:
        connection = _sqlite(directory, SQLITE_BLOB)
        connection.execute("begin")
        insert = _insert("blob", filling.blob)
        connection.executemany(insert, (tuple(filling.blob().values()) for _ in range(objects)))
        connection.execute("commit")
        chosen = random.Random(1)
        ids = [(1 + chosen.randrange(objects),) for _ in range(count)]
        question = "select body from blob where id = ?"
        for number in range(objects):
            assert connection.execute(question, (number + 1,)).fetchone() is not None
        connection.execute("begin")
        begun = time.perf_counter()
        for each in ids:
            connection.execute(question, each).fetchone()
        took = time.perf_counter() - begun
        connection.close()
        return Run(count / took, 0, count)

    return run


def zodb_reads(filling: Filling, objects: int, count: int) -> Callable[[Path], Run]:
    """Objects that are ghosts again before each is loaded: found in the storage, unpickled."""

    def run(directory: Path) -> Run:
        import transaction
        from BTrees.IOBTree import IOBTree

        database = _zodb(directory)
        connection = database.open()
        tree = connection.root()["tree"] = IOBTree()
        for number in range(objects):
            tree[number] = _persistent(filling.blob())
            if number % BULK_CHUNK == 0:
                transaction.commit()
        transaction.commit()
        chosen = random.Random(1)
        found = [tree[chosen.randrange(objects)] for _ in range(count)]
        for each in found:
            each._p_activate()
            each._p_deactivate()
        begun = time.perf_counter()
        for each in found:
            each._p_activate()
            each._p_deactivate()
        took = time.perf_counter() - begun
        connection.close()
        database.close()
        return Run(count / took, 0, count)

    return run


def sqlite_bulk(filling: Filling, objects: int) -> Callable[[Path], Run]:
    def run(directory: Path) -> Run:
        connection = _sqlite(directory, SQLITE_NOTE)
        insert = _insert("note", filling.note)
        begun = time.perf_counter()
        for _ in range(0, objects, BULK_CHUNK):
            connection.execute("begin")
            connection.executemany(insert, [tuple(filling.note().values()) for _ in range(BULK_CHUNK)])
            connection.execute("commit")
        connection.execute("pragma wal_checkpoint(truncate)")
        took = time.perf_counter() - begun
        connection.close()
        return Run(objects / took, objects // BULK_CHUNK, objects)

    return run


def zodb_bulk(filling: Filling, objects: int) -> Callable[[Path], Run]:
    """With the same indexes, as trees: one by the unique key, two by value and number."""

    def run(directory: Path) -> Run:
        import transaction
        from BTrees.OOBTree import OOBTree

        database = _zodb(directory)
        connection = database.open()
        root = connection.root()
        notes, keys, numbers, cities = (root.setdefault(name, OOBTree()) for name in ("notes", "key", "number", "city"))
        begun = time.perf_counter()
        for start in range(0, objects, BULK_CHUNK):
            for number in range(start, start + BULK_CHUNK):
                note = filling.note()
                if note["key"] in keys:
                    raise AssertionError("a key twice")
                notes[number] = _persistent(note)
                keys[note["key"]] = number
                numbers[note["number"], number] = None
                cities[note["city"], number] = None
            transaction.commit()
            connection.cacheMinimize()
        took = time.perf_counter() - begun
        connection.close()
        database.close()
        return Run(objects / took, objects // BULK_CHUNK, objects)

    return run


def _zodb(directory: Path) -> Any:
    import ZODB
    from ZODB.FileStorage import FileStorage

    return ZODB.DB(FileStorage(str(directory / "Data.fs")), pool_size=1 << 10)


def _persistent(fields: Mapping[str, Any]) -> Any:
    from persistent.mapping import PersistentMapping

    return PersistentMapping(fields)
