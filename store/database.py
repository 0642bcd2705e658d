"""One server's objects, and those it holds of others: open, read, commit, apply, close (DESIGN section 3).

    async with open_database(disk, tables, server=..., incarnation=..., ...) as database:

        shoe = await database.transact(lambda t: t.create("Shoe", {"size": 43}))     durable when this returns (P1)

        async with database.transaction() as t:                                      may await; checked at the end
            old = t.get(shoe)
            t.update(shoe, {"size": old.fields["size"] + 1})

        with database.view() as view:                                                one durable moment, synchronous
            for each in view.select(Question("Shoe", order=(("size", False),))): ...

        await database.apply(updates)                 others' updates, in order, verbatim, each wholly or not at all
        database.read_update(server, incarnation, DATA, 17)                          the very bytes that its owner made

Promised: what `transact`, `transaction`, `define` and `apply` answered is there after any crash; what was not answered
is there wholly or not at all. Readers see durable states only, `transact` bodies the appended one. Object ids ascend
and are never used again; own updates are sealed once per group and feed, before the sync, so one number never means
two things. Closing in order folds everything; leaving by an error or a cancellation writes nothing more, which is no
different from a crash.

The work itself is done by one task (`store.writing`). Left to others: who may do what, signatures, sending.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

import msgspec
import trio
from msgspec.structs import replace

from identity.errors import BangpathError, Conflict, Refused
from identity.names import END, Incarnation, Position, Reference, ServerId
from store.blob_files import Blob
from store.blobs import BlobReader, Blobs, BlobWriter
from store.builder import Builder
from store.copies import Copy, evictions, kept_copies
from store.definitions import ClassDefinition
from store.disk import Disk
from store.fold import Fold
from store.foreign import Applied, Deferred, Outcome, Rejected
from store.generations import MAX_BYTES
from store.grouping import Committed
from store.held_feeds import FEEDS, FeedHeld, entry_key, read_update
from store.log import SEGMENT_BYTES, STEP_BYTES
from store.reading import View
from store.records import KIND_NAMES, Sealer, Update
from store.recovery import Opened, begin_run, recover
from store.references import BlobNeeds
from store.registry import ANSWERED, Registry
from store.sealed_files import unsealed
from store.sealed_tables import GENERATION_BYTES, sealed_in
from store.statistics import count_kinds
from store.tables import Tables
from store.temporary import Session
from store.transaction import Transaction
from store.upgrader import Upgrader
from store.upgrading import Upgrades
from store.work import Busy, Commit, Define, Drop, RunBody, TakeCopies, TakeUpdates, begin
from store.writing import Writer

__all__ = [
    "Applied", "Committed", "Copy", "Database", "Deferred", "FeedHeld", "Rejected", "Settings", "Transaction", "View",
    "open_database",
]  # fmt: skip

Result = TypeVar("Result")

ADOPTING = "store/adopting"  # the setting that is there from a restore to the end of its adoption


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds that a test or a small machine may want smaller.

    `generation_bytes`: of one memory generation (T1); the log's segments grow by `step_bytes` up to `segment_bytes`.
    """

    generation_bytes: int = MAX_BYTES
    segment_bytes: int = SEGMENT_BYTES
    step_bytes: int = STEP_BYTES


class Database:
    """One server's store, open. Made by `open_database`."""

    def __init__(self, writer: Writer, nursery: trio.Nursery, epoch: int, wall_ms: Callable[[], int]) -> None:
        self._writer = writer
        self._builder = Builder(writer, nursery)
        self._upgrader = Upgrader(writer, nursery)
        self.inside = writer  # for those who look after the store: scrubbing, repair, backup
        self._servers = writer.applier.servers
        self._wall_ms = wall_ms
        self._counted: dict[int, int] | None = None
        self.server = self._servers.server
        self.incarnation = self._servers.incarnation
        self.epoch = epoch

    # Changing

    async def transact(self, body: Callable[[Transaction], Result]) -> Result:
        """Run `body` on the appended state and return its result when everything it saw and did is durable.

        The body is synchronous, so nothing can come between: it cannot conflict. What it raises is raised here, and
        nothing is changed. Not cancellable once it is queued (L8).
        """
        result: Result = await self._writer.do(RunBody(body))
        return result

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A transaction that may await: it reads one durable state, and is committed at the end of the block.

        Raises `Conflict` there when something it read was changed meanwhile, and changes nothing when the block is
        left by an exception.
        """
        view = self._writer.generations.view()
        transaction = begin(self._writer, optimistic=True, view=view)
        try:
            yield transaction
            transaction.end()
            await self._writer.do(Commit(transaction, view))
        finally:
            transaction.end()
            view.close()

    async def retry(self, change: Callable[[Transaction], Awaitable[Result]], *, tries: int = 5) -> Result:
        """Run `change` in a `transaction()`, and again from its beginning when that conflicts.

        Each conflict is somebody else's commit, so all together get on. Raises the last `Conflict` after so many tries.
        """
        while True:
            tries -= 1
            try:
                async with self.transaction() as transaction:
                    result = await change(transaction)
            except Conflict:
                if tries <= 0:
                    raise
                await self.transact(lambda _: None)  # until that commit is durable: before, nobody would see it
            else:
                return result

    async def define(
        self, definition: ClassDefinition, upgrades: Upgrades | None = None, tell: Callable[[Reference], object] = id
    ) -> Reference:
        """Make, adopt, extend, otherwise index or upgrade a class (R2); the reference of the object that says so.

        The same definition again changes nothing. Raises `Refused`, naming the field that cannot change. Indexes of
        many objects are made while everything goes on (`store.building`), and questions use them when this returns:
        who is cancelled stops waiting. `upgrades`: functions for older majors, `tell` hears of the class before them.
        """
        functions = await self._upgrader.checked(definition, upgrades)
        while isinstance(done := await self._writer.do(Define(definition, functions)), Busy):
            await self._builder.finish(done.number, begun=done.begun)
        tell(reference := cast(Reference, done))
        await self._upgrader.finish(definition)
        return reference

    async def drop(self, class_name: str, *, objects: bool = False) -> None:
        """No own objects of a class are made any more; with `objects` those that are there are deleted first.

        Raises `Refused` when there are some, or when something keeps one of them: then others are gone already.
        """
        after: bytes | None = b""
        while after is not None:
            done = await self._writer.do(Drop(class_name, after, objects=objects))
            if isinstance(done, Busy):
                await self._builder.finish(done.number, begun=False)
            else:
                after = done

    async def apply(self, updates: Sequence[Update]) -> list[Outcome]:
        """Take updates of others, verified before; an outcome for each, durable on return.

        In order per feed. `Deferred`: an update before it is missing, or a class it needs. `Rejected`: never. Neither
        changes anything. Fewer outcomes than updates: there was no room for the next one. Raises `Exhausted` when there
        was none for the first.
        """
        outcomes: list[Outcome] = await self._writer.do(TakeUpdates(updates))
        return outcomes

    async def cache(self, copies: Sequence[Copy]) -> None:
        """Keep copies of others' objects until evicted; they become durable, and visible, with the next sync.

        Skipped: own and mirrored objects, older versions than the one held, classes or owners that are not known.
        """
        received_ms = self._wall_ms()
        self._writer.note(TakeCopies(lambda writer: list(kept_copies(writer, copies, received_ms))))

    async def evict(self, references: Iterable[Reference]) -> None:
        """Let go of cached copies; others are left alone."""
        wanted = list(references)
        self._writer.note(TakeCopies(lambda writer: list(evictions(writer, wanted))))

    def session(self) -> Session:
        """For objects that end with it, under handles (`store.temporary`): use it in a with-statement."""
        return Session(lambda: self.registry, self._writer.applier)

    # Blobs

    def write_blob(self) -> AbstractAsyncContextManager[BlobWriter]:
        """A new blob, which an object must name before the block ends. Raises `Refused` when none are kept here."""
        return self._blobs().write()

    def open_blob(self, blob: Blob) -> AbstractAsyncContextManager[BlobReader]:
        """To read one. Raises `NotFound`, `Damaged`, or `Refused` when none are kept here."""
        return self._blobs().open(blob)

    def _blobs(self) -> Blobs:
        if self._writer.blobs is None:
            raise Refused("no blobs are kept here", next_step="open the store with a directory for them")
        return self._writer.blobs

    # After a restore

    @property
    def adopting(self) -> bool:
        """Whether this store came back in time, and has not yet learned what it had signed meanwhile."""
        return self._writer.applier.adopting

    async def begin_adoption(self, *, restored: bool) -> None:
        """At opening: is what was signed still to be learnt? Then interrupted work on indexes goes on."""
        if restored:

            def remember(transaction: Transaction) -> None:
                transaction.put_setting(ADOPTING, True)
                transaction.put_setting(f"store/restored/{self.epoch}", self._wall_ms())  # new: so are the numbers

            await self.transact(remember)
        with self.view() as view:
            self._writer.applier.adopting = bool(view.get_setting(ADOPTING))
        self._builder.resume()

    async def end_adoption(self) -> None:
        """Own updates of before are here, as far as anybody has them: go on from there."""
        await self.transact(lambda transaction: transaction.put_setting(ADOPTING, None))
        self._writer.applier.adopting = False

    # Reading

    def view(self) -> View:
        """What is durable now, fixed: use it in a with-statement. Expires after 30 s (`SnapshotExpired`)."""
        return View(self._writer.generations.view(), self._writer.published_registry, self._servers)

    @property
    def registry(self) -> Registry:
        """The classes known, as far as they are durable."""
        return self._writer.published_registry

    def answered(self, request: bytes) -> bytes | None:
        """The answer that was recorded for a request, durably; None: it was not carried out."""
        with self.view() as view:
            entry = view.registry.by_number(ANSWERED)
            assert entry is not None
            stored = view.find_internal(entry, "request", request)
        return None if stored is None else stored.fields["answer"] or b""

    def read_update(self, server: ServerId, incarnation: int, kind: int, number: int) -> bytes | None:
        """An update of a feed held here, own or another's, as its owner made it; None: not here, or not durable yet.

        Raises `Damaged` when the log cannot give it back.
        """
        server_key = self._servers.key(server, incarnation)
        if server_key is None or number < 1:
            return None
        with self._writer.generations.view() as view:
            value = view.get(FEEDS, entry_key(server_key, kind, number))
        if value is None:
            return None
        recent = self._writer.recent.get(server, incarnation, kind, number)
        return read_update(value, kind, self._writer.log.read) if recent is None else recent

    def feeds(self) -> list[FeedHeld]:
        """What is held of every feed, own ones included, in order of server, incarnation and kind."""
        held = []
        for (server_key, kind), state in self._writer.published_feeds.items():
            server, incarnation = self._servers.at(server_key)
            held.append(FeedHeld(server, incarnation, kind, state.first, state.last, state.last_hash, state.epoch))
        return sorted(held)

    def last_position(self, kind: int) -> Position:
        """The last own update of a feed; number 0: none yet."""
        state = self._writer.published_feeds.get((END, kind))
        epoch, number = (self.epoch, 0) if state is None else (state.epoch, state.last)
        return Position(self.server, Incarnation(self.incarnation), epoch, number)

    def counts(self) -> dict[str, int]:
        """How many objects of users' classes are here, by kind. The first call walks all of them."""
        gained = self._writer.applier.gained
        if self._counted is None:
            counted = count_kinds(self._writer.generations.appended)
            self._counted = {kind: count - gained[kind] for kind, count in counted.items()}
        return {KIND_NAMES[kind]: count + gained[kind] for kind, count in self._counted.items()}

    # What happens inside

    @property
    def on_committed(self) -> Callable[[Committed], None] | None:
        """Called after each sync that made updates durable, own or others', in order; must not raise."""
        return self._writer.on_committed

    @on_committed.setter
    def on_committed(self, tell: Callable[[Committed], None] | None) -> None:
        self._writer.on_committed = tell

    @property
    def failure(self) -> BangpathError | None:
        """Why the store stopped taking changes; None: it has not."""
        return self._writer.failure

    @property
    def syncs(self) -> int:
        """Groups made durable since opening."""
        return self._writer.syncs


@asynccontextmanager
async def open_database(
    disk: Disk,
    tables: Tables,
    *,
    server: ServerId,
    incarnation: int,
    sealer: Sealer | None = None,
    random: Any,
    wall_ms: Callable[[], int],
    settings: Settings | None = None,
    restored: bool = False,
    blobs: Disk | None = None,
) -> AsyncIterator[Database]:
    """Recover, begin a new epoch, and serve until the block is left; all that is handed in is closed with it.

    `restored`: `disk` and `tables` are those of a backup. No number is given twice, and until `end_adoption`, over
    restarts too, nothing is committed that leaves this server, and own updates are taken from others (DESIGN D4).

    Raises `Refused` when the log is another server's, `Damaged` when it cannot be recovered.
    """
    settings = Settings() if settings is None else settings
    if disk.cipher is not None:
        tables = sealed_in(tables, disk.cipher)
        settings = replace(settings, generation_bytes=min(settings.generation_bytes, GENERATION_BYTES))
    left_by: BaseException | None = None
    opened = None
    try:
        opened = await _in_steps(recover(
            disk, tables, server=server, incarnation=incarnation, clock=trio.current_time,
            generation_bytes=settings.generation_bytes, segment_bytes=settings.segment_bytes,
            step_bytes=settings.step_bytes,
        ))  # fmt: skip
        epoch = begin_run(opened, sealer, random, restored=restored)
        fold = Fold(opened.generations, tables)
        writer = Writer(opened.log, opened.generations, opened.applier, fold, sealer, random)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            nursery.start_soon(writer.run_fold)
            if blobs is not None:
                writer.blobs = Blobs(unsealed(blobs), BlobNeeds(opened.generations))
                nursery.start_soon(writer.blobs.run)
            try:
                database = Database(writer, nursery, epoch, wall_ms)
                await database.begin_adoption(restored=restored)
                yield database
            except Exception as error:  # raised again outside the nursery, which would wrap it in a group
                left_by = error
                writer.abandon()
            except BaseException:
                writer.abandon()
                raise
            else:
                await writer.close()
            nursery.cancel_scope.cancel()
        if left_by is None:
            with trio.CancelScope(shield=True):
                await writer.fold_everything()
            opened.log.close(clean=writer.failure is None)
    finally:
        if opened is not None:
            opened.log.close(clean=False)
            opened.generations.close()
        tables.close()
        disk.close()
        if blobs is not None:
            blobs.close()
    if left_by is not None:
        raise left_by


async def _in_steps(recovery: Generator[None, None, Opened]) -> Opened:
    """What it returns, with signals and cancellation heard between its steps."""
    while True:
        try:
            next(recovery)
        except StopIteration as finished:
            opened: Opened = finished.value
            return opened
        await trio.lowlevel.checkpoint()
