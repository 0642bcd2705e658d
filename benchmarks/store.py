"""The store beside SQLite: one real disk, real syncs, rounds in turn, 1 KB objects, 64 committers.

    commits64_vs_sqlite    one object of 1 KB per transaction, a class with a single bytes field and no index; against
                           SQLite in WAL mode with synchronous=FULL, one row of 1 KB per transaction
    typed64_vs_sqlite      four typed fields, one unique and two ordered indexes, checks; against a STRICT table with
                           the same columns and indexes
    commits1_vs_sqlite     as the first, with a single committer

    sketch, per commit     CPU: check, encode, SHA-256, zstd, 2-4 table entries; disk: 1 KB, and 1/n of a sync

Ours is the public API with everything it does for a server: every commit is a leaf of a feed, each group is signed
(Ed25519). `syncs` and `commits_per_sync` tell how many syncs paid for the commits; SQLite syncs once for each.
`python -m benchmarks store --json` runs it.
"""

from __future__ import annotations

import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import trio
from nacl.signing import SigningKey

from identity.names import ServerId
from replication.leaves import FeedSealer
from store.database import open_database
from store.definitions import definition_from_toml
from store.disk import RealDisk
from store.tables import LmdbTables

SECONDS = 2.0  # of each half of a round
BODY_BYTES = 1000
SERVER, INCARNATION = ServerId.parse("1.7"), 1

BLOB = definition_from_toml('name = "Blob"\n[fields]\nbody = "bytes"\n')
NOTE = definition_from_toml(
    'name = "Note"\n[fields]\nkey = { type = "string", required = true, unique = true }\n'
    'number = { type = "int", index = true }\ncity = { type = "string", index = true }\ntext = "string"\n'
)
SQLITE_BLOB = ("create table blob(id integer primary key, body blob)",)
SQLITE_NOTE = (
    "create table note(id integer primary key, key text not null, number integer, city text, text text) strict",
    "create unique index note_key on note(key)",
    "create index note_number on note(number)",
    "create index note_city on note(city)",
)


class Run(NamedTuple):
    """One half of a round."""

    commits_per_s: float
    syncs: int
    commits: int


class Filling:
    """Objects like people's texts: words, so that compression has something to do and not everything."""

    def __init__(self) -> None:
        generator = random.Random(1)
        words = [generator.randbytes(4).hex()[: generator.randrange(3, 9)] for _ in range(500)]
        self.texts = [" ".join(generator.choices(words, k=300))[:BODY_BYTES] for _ in range(256)]
        self.bodies = [text.encode() for text in self.texts]
        self.cities = words[:200]
        self._next = 0

    def blob(self) -> dict[str, Any]:
        self._next += 1
        return {"body": self.bodies[self._next & 255]}

    def note(self) -> dict[str, Any]:
        self._next = number = self._next + 1
        return {
            "key": f"key {number * 7919 % 1_000_003} {number}",
            "number": number * 31 % 100_003,
            "city": self.cities[number % 200],
            "text": self.texts[number & 255],
        }


def measure(*, rounds: int = 3) -> dict[str, dict[str, Any]]:
    """The rows of this area."""
    filling = Filling()
    rows = {}
    for name, committers, ours, theirs in (
        ("commits1_vs_sqlite", 1, _ours(BLOB, filling.blob), _sqlite(SQLITE_BLOB, "blob", filling.blob)),
        ("commits64_vs_sqlite", 64, _ours(BLOB, filling.blob), _sqlite(SQLITE_BLOB, "blob", filling.blob)),
        ("typed64_vs_sqlite", 64, _ours(NOTE, filling.note), _sqlite(SQLITE_NOTE, "note", filling.note)),
    ):
        mine, other = [], []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(dir=real_directory()) as directory:
                mine.append(ours(Path(directory), committers))
            with tempfile.TemporaryDirectory(dir=real_directory()) as directory:
                other.append(theirs(Path(directory), committers))
        rows[name] = _row(mine, other)
    return rows


def _row(mine: list[Run], other: list[Run]) -> dict[str, Any]:
    ours = statistics.median(each.commits_per_s for each in mine)
    theirs = statistics.median(each.commits_per_s for each in other)
    syncs = sum(each.syncs for each in mine)
    commits = sum(each.commits for each in mine)
    return {
        "value": round(ours / theirs, 2), "unit": "x", "ours": round(ours), "theirs": round(theirs),
        "rounds": len(mine), "measured_in": "commits/s", "commits": commits, "syncs": syncs,
        "commits_per_sync": round(commits / max(syncs, 1), 1), "theirs_syncs": sum(each.syncs for each in other),
    }  # fmt: skip


def _ours(definition: Any, make: Callable[[], Mapping[str, Any]]) -> Callable[[Path, int], Run]:
    async def run(directory: Path, committers: int) -> Run:
        key = SigningKey.generate()
        generator = random.SystemRandom()
        sealer = FeedSealer(SERVER, INCARNATION, lambda data: key.sign(data).signature, generator)
        async with open_database(
            RealDisk(directory / "log"), LmdbTables(directory / "tables"), server=SERVER, incarnation=INCARNATION,
            sealer=sealer, random=generator, wall_ms=lambda: time.time_ns() // 1_000_000,
        ) as database:  # fmt: skip
            await database.define(definition)
            name = definition.name
            commits, syncs = 0, database.syncs
            begun = time.perf_counter()
            end = begun + SECONDS

            async def commit() -> None:
                nonlocal commits
                while time.perf_counter() < end:
                    fields = make()
                    await database.transact(lambda t, fields=fields: t.create(name, fields))
                    commits += 1

            async with trio.open_nursery() as nursery:
                for _ in range(committers):
                    nursery.start_soon(commit)
            seconds = time.perf_counter() - begun
            return Run(commits / seconds, database.syncs - syncs, commits)

    return lambda directory, committers: trio.run(run, directory, committers)


def _sqlite(schema: tuple[str, ...], table: str, make: Callable[[], Mapping[str, Any]]) -> Callable[[Path, int], Run]:
    """One writer at a time is SQLite's rule, so the committers are a loop; more tasks would only make it slower."""

    def run(directory: Path, committers: int) -> Run:
        connection = sqlite3.connect(directory / "sqlite.db", isolation_level=None)
        connection.execute("pragma journal_mode=wal")
        connection.execute("pragma synchronous=full")
        for statement in schema:
            connection.execute(statement)
        names = list(make())
        insert = f"insert into {table}({', '.join(names)}) values({', '.join(['?'] * len(names))})"
        commits = 0
        begun = time.perf_counter()
        end = begun + SECONDS
        while time.perf_counter() < end:
            row = tuple(make().values())
            connection.execute("begin immediate")
            connection.execute(insert, row)
            connection.execute("commit")
            commits += 1
        seconds = time.perf_counter() - begun
        connection.close()
        return Run(commits / seconds, commits, commits)

    return run


def real_directory() -> Path:
    """A directory on a disk: the temporary one unless that lives in memory; BANGPATH_BENCH_DIR chooses."""
    chosen = os.environ.get("BANGPATH_BENCH_DIR")
    if chosen:
        return Path(chosen)
    for directory in (Path(tempfile.gettempdir()), Path.cwd()):
        if _file_system(directory) != "tmpfs":
            return directory
    return Path.cwd()


def _file_system(directory: Path) -> str:
    """Its kind, by the longest mount point above it; "" where the system does not say."""
    found, kind = -1, ""
    try:
        mounts = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return ""
    for line in mounts:
        _, point, this, *_ = line.split()
        if directory.resolve().is_relative_to(point) and len(point) > found:
            found, kind = len(point), this
    return kind
