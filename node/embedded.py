"""The store alone, in one directory and one process: no server, no port, no peers.

    async with open_store("notes") as store:                 trio; without it: `node.embedded_blocking`
        await store.define(Note)
        note = await store.create(Note, {"text": "hello"})   durable when it returns
        store.get(note).fields["text"]                       synchronous, and of what is durable
        async for each in store.rows("Note where stars > 3 order by -stars"): ...
        await store.transact(lambda t: t.update(note, {"stars": t.get(note).fields["stars"] + 1}))

    DIR/  store.toml     whose objects these are: a server's number and its incarnation, as in every log
          log/           the redo log; holds the lock that keeps a second process out (store.disk)
          tables/        LMDB, folded from the log (store.tables)
          blobs/         files under the names of their hashes (store.blobs)

It is the same store that a node has, with classes, indexes, references and transactions, and keeps the same promise:
what was answered is there after any crash (P1). Nothing in it is signed, for nobody is told. All words but `get`,
`rows` and `view` are those of `store.database`, which stands behind them as `database`.
"""

from __future__ import annotations

import os
import random
import time
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import trio
from msgspec.structs import replace

from identity.errors import BangpathError, Refused
from identity.names import Incarnation, Position, Reference, ServerId, parse_reference
from node.language import Asked, Find, parse
from store.archive import TieredDisk, log_disk, move_old
from store.blob_files import Blob
from store.blobs import BlobReader, BlobWriter
from store.collecting import Collected
from store.collector import collect
from store.data_key import Secret, open_key
from store.database import Database, Settings, Transaction, View, open_database
from store.definitions import ClassDefinition, definition_from_dict, definition_from_toml
from store.disk import RealDisk, sync_names
from store.findings import Progress
from store.past import MOST_VERSIONS, Version, get_at, versions
from store.records import Stored
from store.tables import LmdbTables
from store.upgrading import Upgrades
from store.upkeep import check_key

Result = TypeVar("Result")

NAME = "store.toml"
FORMAT = 1
ALONE = ServerId.of(1)
MAX_NAME_FILE = 4096
BATCH = 512  # rows between two checkpoints


class Store:
    """An open store; made by `open_store`. After its block every word raises `LocalMistake`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    # Changing

    async def define(self, definition: Any, *, upgrades: Upgrades | None = None) -> None:
        """A class made by `bangpath.stored`, or a definition as TOML or a map; known already: its next version.

        `upgrades`: for a new major, by the number of an older one, a function from the fields of its objects to the
        new ones; a class has its own (`bangpath.upgrade`). It returns when all objects are of the new major; others go
        on meanwhile. What was interrupted goes on when it is said again. Raises `Refused`, naming the field that cannot
        be so, or the object that could not be upgraded.
        """
        if upgrades is None:
            upgrades = getattr(definition, "upgrades", None)
        with _said_here():
            await self.database.define(as_definition(definition), upgrades)

    async def drop(self, of: Any, *, objects: bool = False) -> None:
        """No objects of a class are made any more; with `objects` those that are there are deleted first.

        Raises `Refused` when there are some, or when something that points to one of them keeps it.
        """
        with _said_here():
            await self.database.drop(class_name(of), objects=objects)

    async def collect(
        self, *, dry_run: bool = False, progress: Callable[[Progress], object] | None = None
    ) -> Collected:
        """Delete the objects of collectable classes to which nothing leads: neither the root nor any other object.

        `t.pin(note)` keeps one all the same. With `dry_run` they are only counted. Others go on meanwhile; `progress`
        is called after each step. Raises `Refused` while another one is under way, `Conflict` when a class was defined
        anew meanwhile: say it again.
        """
        with _said_here():
            return await collect(self.database.inside, dry_run=dry_run, progress=progress)

    async def create(self, of: Any, fields: Mapping[str, Any]) -> Reference:
        """A new object; `of` is the name of its class, or the class. Raises `Refused`, naming the field."""
        return await self.transact(lambda t: t.create(class_name(of), fields))

    async def update(self, target: Reference | str, fields: Mapping[str, Any], *, expect: int | None = None) -> None:
        """Change the fields given. Raises `NotFound`, `Refused`; `Conflict` when its sequence is not `expect`."""
        await self.transact(lambda t: t.update(self.reference(target), fields, expect=expect))

    async def delete(self, target: Reference | str, *, expect: int | None = None) -> None:
        """Delete an object. Raises `NotFound`, `Conflict`; `Refused` when something that points to it keeps it."""
        await self.transact(lambda t: t.delete(self.reference(target), expect=expect))

    async def transact(self, body: Callable[[Transaction], Result]) -> Result:
        """Run a synchronous body as one transaction; it cannot conflict. If it raises, nothing is changed."""
        with _said_here():
            return await self.database.transact(body)

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """One that may await. Raises `Conflict` at its end when what it read was changed meanwhile."""
        return self.database.transaction()

    async def retry(self, change: Callable[[Transaction], Awaitable[Result]], *, tries: int = 5) -> Result:
        """Run `change`, which may await, in a transaction; again from the beginning when it conflicts."""
        with _said_here():
            return await self.database.retry(change, tries=tries)

    def write_blob(self) -> AbstractAsyncContextManager[BlobWriter]:
        """`async with store.write_blob() as new:` write pieces, `finish`, and name it in an object (`store.blobs`)."""
        return self.database.write_blob()

    # Reading

    def open_blob(self, blob: Blob) -> AbstractAsyncContextManager[BlobReader]:
        """To read one in pieces. Raises `NotFound`; `Damaged` instead of a byte that is not what was written."""
        return self.database.open_blob(blob)

    def get(self, target: Reference | str, *, at: int | Position | None = None) -> Stored | None:
        """An object as it is durable now; None: there is none.

        `at`: as it stood after that transaction (the sequence of any object says one) or that own update. Then `None`:
        it was deleted by then. Raises `NotFound` when it was not there yet, `Refused` when its class keeps no such
        version (`store.past`).
        """
        with _said_here(), self.database.view() as view:
            reference = self.reference(target)
            return view.get(reference) if at is None else get_at(view, reference, at)

    def history(self, target: Reference | str, *, limit: int = MOST_VERSIONS) -> list[Version]:
        """Its versions that are kept, the newest first, at most so many. Raises `Refused` when its class keeps none."""
        with _said_here(), self.database.view() as view:
            return list(islice(versions(view, self.reference(target)), limit))

    async def rows(self, question: str | Find) -> AsyncIterator[Stored]:
        """The objects that answer a question (`node.language`), in its order, all of one moment.

        Raises `Refused` naming the column or the field; `SnapshotExpired` when the rows are not taken within 30 s.
        """
        with _said_here(), self.database.view() as view:
            for batch in batches(view, question):
                for each in batch:
                    yield each
                await trio.lowlevel.checkpoint()

    @property
    def root(self) -> Stored | None:
        """The object from which all others are found, chosen by `t.set_root`; None: there is none."""
        with self.database.view() as view:
            return view.root

    def view(self) -> View:
        """What is durable now, fixed for 30 s: `with store.view() as view: ...`."""
        return self.database.view()

    async def explain(self, question: str | Find) -> dict[str, Any]:
        """Which index answers it, how many entries were expected, and how many it took (`store.explaining`)."""
        asked: Asked = parse(question) if isinstance(question, str) else question.asked()
        with _said_here(), self.database.view() as view:
            plan = view.explain(asked.question, servers=asked.servers)
            for _ in plan.batches():
                await trio.lowlevel.checkpoint()
            return plan.as_json()

    def complete(self, of: Any, field: str, prefix: Any = "", *, limit: int = 20) -> list[Any]:
        """The first different values of an indexed field, or elements of a list, that begin so, in their order."""
        with _said_here(), self.database.view() as view:
            return view.complete(class_name(of), field, prefix, limit=limit)

    def classes(self) -> list[ClassDefinition]:
        """The classes that were defined, by name."""
        return sorted(self.database.registry.definitions(), key=lambda each: each.name)

    def reference(self, target: Reference | str) -> Reference:
        """The reference that a text such as `/42` means. Raises `Refused`."""
        if isinstance(target, Reference):
            return target
        server, number = parse_reference(target)
        if server not in (None, self.database.server):
            raise Refused(f"{target} is of another server, and this store has no peers", next_step=f"write /{number}")
        return Reference(self.database.server, Incarnation(self.database.incarnation), number)


@asynccontextmanager
async def open_store(
    directory: str | os.PathLike[str], *, settings: Settings | None = None, key: Secret | None = None
) -> AsyncIterator[Store]:
    """The store in this directory, which is made when it is not there.

    `key` encrypts a new one, and opens it from then on: a passphrase (str), 32 bytes, or the path of a key file.

    Raises `Refused` when another process has it open, it is a server's, or `key` is not what opens it; `Damaged` when
    it cannot be read.
    """
    path = Path(directory)
    if (path / "bangpath.toml").exists():
        raise Refused(f"{path} is a server's directory", next_step=f"use bangpath.open_node({str(path)!r})")
    _make(path)
    disk = log_disk(path)  # the lock first: two that make one directory at once must not both name it
    blobs = None
    try:
        fresh = not disk.list()
        disk.cipher = open_key(path, key, create=fresh)
        check_key(disk)
        incarnation = _incarnation(path, fresh=fresh)
        blobs = RealDisk(path / "blobs", cipher=disk.cipher)
        if isinstance(disk, TieredDisk):
            await move_old(disk)
        tables = LmdbTables(path / "tables")
    except BaseException:
        disk.close()
        if blobs is not None:
            blobs.close()
        raise
    async with open_database(
        disk, tables, server=ALONE, incarnation=incarnation, random=random.SystemRandom(), wall_ms=_wall_ms,
        settings=settings, blobs=blobs,
    ) as database:  # fmt: skip
        yield Store(database)


def class_name(of: Any) -> str:
    """Of a name, or of a class made by `bangpath.stored`. Raises `Refused`."""
    if isinstance(of, str):
        return of
    definition = getattr(of, "definition", None)
    if not isinstance(definition, Mapping):
        raise Refused(f"{of!r} is no class of objects", next_step="decorate it with @bangpath.stored")
    return str(definition["name"])


def as_definition(said: Any) -> ClassDefinition:
    """From a class made by `bangpath.stored`, TOML, a map or a definition. Raises `Refused`."""
    said = getattr(said, "definition", said)
    if isinstance(said, ClassDefinition):
        return said
    if isinstance(said, str):
        return definition_from_toml(said)
    if isinstance(said, Mapping):
        return definition_from_dict(said)
    raise Refused(f"{said!r} defines no class", next_step="decorate a class with @bangpath.stored, or give TOML")


def batches(view: View, question: str | Find) -> Iterator[list[Stored]]:
    """What answers a question in a view, some rows at a time, with the fields that it shows."""
    asked: Asked = parse(question) if isinstance(question, str) else question.asked()
    shown = asked.question.fields
    for batch in view.select_batches(asked.question, servers=asked.servers, size=BATCH):
        if shown is None:
            yield batch
        else:
            yield [replace(each, fields={name: each.fields.get(name) for name in shown}) for each in batch]


@contextmanager
def _said_here() -> Iterator[None]:
    """A command that asks a node is no next step for somebody who has none."""
    try:
        yield
    except BangpathError as error:
        if "bangpath " in error.next_step:
            error.next_step = ""
        raise


def _make(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{path} cannot be made: {error.strerror}", next_step="choose another directory") from error


def _incarnation(path: Path, *, fresh: bool) -> int:
    """Read from the directory, or, of a new one, chosen now and written down. Raises `Refused`."""
    name = path / NAME
    try:
        data = name.read_bytes()[: MAX_NAME_FILE + 1]
    except FileNotFoundError:
        if not fresh:
            raise Refused(
                f"{name} is not there, but a log is", next_step="restore it from a backup, or choose another directory"
            ) from None
        return _name(name)
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error.strerror}", next_step="look at it: ls -l") from error
    try:
        said = tomllib.loads(data.decode())
    except ValueError as error:
        raise Refused(f"{name} is no TOML: {error}", next_step="restore it from a backup") from error
    if said.get("format") != FORMAT:
        raise Refused(f"{name} is of format {said.get('format')}, {FORMAT} is known", next_step="use a newer bangpath")
    incarnation = said.get("incarnation")
    if type(incarnation) is not int or not 0 < incarnation < 2**63:
        raise Refused(f"{name} names no incarnation", next_step="restore it from a backup")
    return incarnation


def _name(name: Path) -> int:
    """Write whose objects will stand there; it outlives a power cut before anything else is written."""
    incarnation = _wall_ms()
    text = f"# A store of bangpath; its objects begin with this. Never edit or copy it.\nformat = {FORMAT}\n"
    new = name.with_name(NAME + ".new")
    with suppress(FileNotFoundError):
        new.unlink()
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{text}incarnation = {incarnation}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(name)
        sync_names(name.parent)
    except OSError as error:
        raise Refused(f"{name} cannot be written: {error.strerror}", next_step="choose another directory") from error
    return incarnation


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
