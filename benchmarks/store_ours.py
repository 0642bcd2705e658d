"""Our half of the store's benchmarks: the public API, with everything that it does for a server.

Every commit is a leaf of a feed, each group is signed (Ed25519); objects are checked, hashed, compressed and indexed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import trio
from nacl.signing import SigningKey

from benchmarks.store_filling import Filling, Run
from identity.names import ObjectId, ServerId
from replication.leaves import FeedSealer
from store.database import Database, open_database
from store.definitions import ClassDefinition, definition_from_toml
from store.disk import RealDisk
from store.tables import LmdbTables

SERVER, INCARNATION = ServerId.parse("1.7"), 1
BULK_CHUNK = 1000  # objects of a bulk load's transactions, of ours and theirs

BLOB = definition_from_toml('name = "Blob"\n[fields]\nbody = "bytes"\n')
NOTE = definition_from_toml(
    'name = "Note"\n[fields]\nkey = { type = "string", required = true, unique = true }\n'
    'number = { type = "int", index = true }\ncity = { type = "string", index = true }\ntext = "string"\n'
)

Make = Callable[[], Mapping[str, Any]]


def opened(directory: Path) -> Any:
    """A server's store in this directory."""
    key = SigningKey.generate()
    generator = random.SystemRandom()
    sealer = FeedSealer(SERVER, INCARNATION, lambda data: key.sign(data).signature, generator)
    return open_database(
        RealDisk(directory / "log"), LmdbTables(directory / "tables"), server=SERVER, incarnation=INCARNATION,
        sealer=sealer, random=generator, wall_ms=lambda: time.time_ns() // 1_000_000,
    )  # fmt: skip


def commits(definition: ClassDefinition, make: Make, committers: int, seconds: float) -> Callable[[Path], Run]:
    """So many tasks, each of which makes one object a transaction and awaits its answer."""

    async def run(directory: Path) -> Run:
        async with opened(directory) as database:
            await database.define(definition)
            return await _commit(database, definition.name, make, committers, seconds)

    return lambda directory: trio.run(run, directory)


async def _commit(database: Database, name: str, make: Make, committers: int, seconds: float) -> Run:
    count, syncs = 0, database.syncs
    begun = time.perf_counter()
    end = begun + seconds

    async def commit() -> None:
        nonlocal count
        while time.perf_counter() < end:
            fields = make()
            await database.transact(lambda t, fields=fields: t.create(name, fields))
            count += 1

    async with trio.open_nursery() as nursery:
        for _ in range(committers):
            nursery.start_soon(commit)
    return Run(count / (time.perf_counter() - begun), database.syncs - syncs, count)


def reads(filling: Filling, objects: int, count: int) -> Callable[[Path], Run]:
    """Point reads in random order through one view: found, checksum verified, decoded. All folded, and warm."""

    async def run(directory: Path) -> Run:
        async with opened(directory) as database:
            await database.define(BLOB)
            first = await _load(database, BLOB, filling.blob, objects)
        async with opened(directory) as database:
            chosen = random.Random(1)
            ids = [ObjectId(first + chosen.randrange(objects)) for _ in range(count)]
            with database.view() as view:
                for number in range(objects):
                    assert view.get((None, ObjectId(first + number))) is not None
            with database.view() as view:
                begun = time.perf_counter()
                for each in ids:
                    view.get((None, each))
                return Run(count / (time.perf_counter() - begun), 0, count)

    return lambda directory: trio.run(run, directory)


def bulk(filling: Filling, objects: int) -> Callable[[Path], Run]:
    """Objects with a unique and two ordered indexes, 1 000 a transaction; the clock stops when all of it is folded."""

    async def run(directory: Path) -> Run:
        begun = time.perf_counter()
        async with opened(directory) as database:
            await database.define(NOTE)
            await _load(database, NOTE, filling.note, objects)
        return Run(objects / (time.perf_counter() - begun), 0, objects)  # closing in order has folded it

    return lambda directory: trio.run(run, directory)


async def _load(database: Database, definition: ClassDefinition, make: Make, objects: int) -> int:
    """Make them, 16 transactions under way at a time; the number of the first."""
    name = definition.name
    left = objects
    first: list[int] = []

    def body(t: Any, count: int) -> int:
        return min(int(t.create(name, make()).object) for _ in range(count))

    async def load() -> None:
        nonlocal left
        while left > 0:
            count = min(BULK_CHUNK, left)
            left -= count
            first.append(await database.transact(partial(body, count=count)))

    async with trio.open_nursery() as nursery:
        for _ in range(16):
            nursery.start_soon(load)
    return min(first)


def replay(filling: Filling, seconds: float) -> Callable[[Path], tuple[Run, Run]]:
    """Commits of 512 tasks, the store left as by a crash, and how fast its log comes back: both in objects/s."""

    async def run(directory: Path) -> tuple[Run, Run]:
        made = None
        try:
            async with opened(directory) as database:
                await database.define(BLOB)
                made = await _commit(database, "Blob", filling.blob, 512, seconds)
                raise _CrashError
        except _CrashError:
            pass
        assert made is not None
        tables = LmdbTables(directory / "tables")
        meta = tables.begin_read()
        folded = sum(1 for _ in meta.scan("objects"))
        meta.close()
        tables.close()
        begun = time.perf_counter()
        async with opened(directory) as database:
            took = time.perf_counter() - begun
            assert database.counts()["owned"] == made.count
        return Run((made.count - folded) / took, 0, made.count - folded), made

    return lambda directory: trio.run(run, directory)


class _CrashError(Exception):
    """Leaves a store as a crash does: nothing is folded, nothing is closed in order."""
