"""A server's store for tests: it can be opened, crashed, and opened again, in memory or on the real disk."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from identity.names import ServerId
from simulations.faulty_disk import FaultyDisk
from store.database import Database, Settings, open_database
from store.definitions import ClassDefinition, definition_from_toml
from store.disk import RealDisk
from store.records import Head, Seal, Update, head_hash
from store.tables import LmdbTables, MemoryTables

INCARNATION = 5

SHOE = """
name = "Shoe"
[fields]
name = { type = "string", required = true, unique = true }
size = { type = "int", index = true, min = 0, max = 60 }
colour = { type = "enum(black,brown,red)", index = true }
price = "decimal"
note = { type = "string", default = "none" }
pair = "reference(Shoe)"
"""


class FakeSealer:
    """Numbers and chains as the real one does; its signature and root are hashes."""

    def __init__(self, server: ServerId, incarnation: int) -> None:
        self.server, self.incarnation = server, incarnation
        self.last: dict[int, tuple[int, bytes]] = {}
        self.epoch = 0

    def resume(self, kind: int, head: bytes | None) -> None:
        if head is None:
            self.last[kind] = (0, bytes(32))
        else:
            self.last[kind] = (Head.from_bytes_untrusted(head).number, head_hash(head))

    def begin_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def seal(self, kind: int, leaves: Sequence[bytes]) -> Seal:
        number, previous = self.last[kind]
        head = Head(
            self.server, self.incarnation, kind, self.epoch, self.epoch.to_bytes(16, "big"), number + 1, previous,
            sha256(b"".join(leaves)).digest(), len(leaves),
        ).to_bytes()  # fmt: skip
        self.last[kind] = (number + 1, head_hash(head))
        return Seal(kind, number + 1, head, sha256(head).digest() * 2)


class Server:
    """One server: its disk and tables outlive the runs of its store."""

    def __init__(self, name: str = "1.2", *, path: Path | None = None, seed: int = 1, settings: Settings | None = None):
        self.server = ServerId.parse(name)
        self.path = path
        self.settings = settings
        self.random = random.Random(seed)
        self.disk: Any = FaultyDisk(self.random)
        self.tables: Any = MemoryTables()
        self.wall_ms = 1_000

    def open(self) -> AbstractAsyncContextManager[Database]:
        disk, tables = self.disk, self.tables
        if self.path is not None:
            disk, tables = RealDisk(self.path / "log"), LmdbTables(self.path / "tables")
        return open_database(
            disk, tables, server=self.server, incarnation=INCARNATION,
            sealer=FakeSealer(self.server, INCARNATION), random=random.Random(7), wall_ms=lambda: self.wall_ms,
            settings=self.settings,
        )  # fmt: skip

    def crash(self) -> None:
        self.disk.crash()

    def updates(self, database: Database, kind: int, first: int = 1) -> list[Update]:
        """Own updates, as a mirror gets them."""
        last = database.last_position(kind).number
        found = [database.read_update(self.server, INCARNATION, kind, number) for number in range(first, last + 1)]
        return [Update.from_bytes_untrusted(each) for each in found if each is not None]


@pytest.fixture
def server() -> Server:
    """A store in memory."""
    return Server()


@pytest.fixture
def make_server() -> Callable[..., Server]:
    return Server


@pytest.fixture
def shoe() -> ClassDefinition:
    return definition_from_toml(SHOE)
