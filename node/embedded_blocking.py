"""The store alone, for programs without trio: the words of `node.embedded`, called from any thread.

    with open_store_blocking("notes") as store:
        store.define(Note)
        note = store.create(Note, {"text": "hello"})         durable when it returns
        for each in store.rows("Note order by text"): ...
        with store.transaction() as t:                       nobody else comes between: it cannot conflict
            t.update(note, {"stars": t.get(note).fields["stars"] + 1})

    your threads     words --> one thread with a trio loop of its own, which has the store --> results

A transaction's block runs in the thread that opened it while the loop stands still, so all other words wait for its
end: keep it short. A word of the store inside it would wait for itself, and is refused; use those of `t`.
"""

from __future__ import annotations

import functools
import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

import outcome
import trio
import trio.from_thread

from identity.errors import LocalMistake
from identity.names import Position, Reference
from node.embedded import Store, batches, class_name, open_store
from node.language import Find
from store.blob_files import CHUNK_BYTES, Blob
from store.blobs import BlobReader, BlobWriter
from store.collecting import Collected
from store.data_key import Secret
from store.database import Settings, Transaction
from store.definitions import ClassDefinition
from store.findings import Progress
from store.past import MOST_VERSIONS, Version
from store.records import Stored
from store.upgrading import Upgrades

Result = TypeVar("Result")
Outcomes = queue.SimpleQueue[outcome.Outcome[Any]]


class _Loop(NamedTuple):
    """The thread's loop, open."""

    store: Store
    token: trio.lowlevel.TrioToken
    nursery: trio.Nursery
    closing: trio.Event


class StoreBlocking:
    """An open store; made by `open_store_blocking`. After its block every word raises `LocalMistake`."""

    def __init__(self, loop: _Loop) -> None:
        self._loop = loop
        self._store = loop.store
        self._in_transaction: int | None = None  # the thread whose block runs

    # Changing

    def define(self, definition: Any, *, upgrades: Upgrades | None = None) -> None:
        """As `Store.define`."""
        self._run(functools.partial(self._store.define, definition, upgrades=upgrades))

    def drop(self, of: Any, *, objects: bool = False) -> None:
        """As `Store.drop`."""
        self._run(functools.partial(self._store.drop, of, objects=objects))

    def collect(self, *, dry_run: bool = False, progress: Callable[[Progress], object] | None = None) -> Collected:
        """As `Store.collect`; `progress` is called in the store's thread."""
        done: Collected = self._run(functools.partial(self._store.collect, dry_run=dry_run, progress=progress))
        return done

    def create(self, of: Any, fields: Mapping[str, Any]) -> Reference:
        """As `Store.create`."""
        return self.transact(lambda t: t.create(class_name(of), fields))

    def update(self, target: Reference | str, fields: Mapping[str, Any], *, expect: int | None = None) -> None:
        """As `Store.update`."""
        self.transact(lambda t: t.update(self._store.reference(target), fields, expect=expect))

    def delete(self, target: Reference | str, *, expect: int | None = None) -> None:
        """As `Store.delete`."""
        self.transact(lambda t: t.delete(self._store.reference(target), expect=expect))

    def transact(self, body: Callable[[Transaction], Result]) -> Result:
        """Run `body` as one transaction, in the store's thread; it cannot conflict. What it raises is raised here."""
        result: Result = self._run(self._store.transact, body)
        return result

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One transaction, in this thread, while everybody else waits. An error that leaves it changes nothing."""
        self._check_thread()
        begun: queue.SimpleQueue[Transaction | None] = queue.SimpleQueue()
        left: Outcomes = queue.SimpleQueue()
        ended: Outcomes = queue.SimpleQueue()

        def body(transaction: Transaction) -> None:
            begun.put(transaction)
            left.get().unwrap()  # the loop stands still: what the block reads and changes belongs to its thread alone

        async def carry_out() -> None:
            result = await outcome.acapture(self._store.transact, body)
            ended.put(result)
            begun.put(None)  # nobody takes it, but when the body never ran

        self._soon(lambda: self._loop.nursery.start_soon(carry_out))
        transaction = begun.get()
        if transaction is None:
            ended.get().unwrap()
            raise LocalMistake("a transaction ended before it began")
        self._in_transaction = threading.get_ident()
        try:
            yield transaction
        except BaseException:
            left.put(outcome.Error(_LeftError()))
            result = ended.get()
            assert isinstance(result, outcome.Error), "a body that raises commits nothing"
            raise
        else:
            left.put(outcome.Value(None))
            ended.get().unwrap()
        finally:
            self._in_transaction = None

    @contextmanager
    def write_blob(self) -> Iterator[WriterBlocking]:
        """A new blob, which an object must name before the block ends: `write` pieces, then `finish`."""
        with self._entered(self._store.write_blob()) as writer:
            yield WriterBlocking(self._run, writer)

    # Reading

    @contextmanager
    def open_blob(self, blob: Blob) -> Iterator[ReaderBlocking]:
        """To read one in pieces. Raises `NotFound`; `Damaged` instead of a byte that is not what was written."""
        with self._entered(self._store.open_blob(blob)) as reader:
            yield ReaderBlocking(self._run, reader)

    def get(self, target: Reference | str, *, at: int | Position | None = None) -> Stored | None:
        """As `Store.get`."""
        return self._run_sync(lambda: self._store.get(target, at=at))

    def history(self, target: Reference | str, *, limit: int = MOST_VERSIONS) -> list[Version]:
        """As `Store.history`."""
        return self._run_sync(lambda: self._store.history(target, limit=limit))

    def rows(self, question: str | Find) -> Iterator[Stored]:
        """As `Store.rows`."""
        view = self._run_sync(self._store.view)
        try:
            found = batches(view, question)
            while (batch := self._run_sync(lambda: next(found, None))) is not None:
                yield from batch
        finally:
            self._run_sync(view.close)

    def explain(self, question: str | Find) -> dict[str, Any]:
        """As `Store.explain`."""
        said: dict[str, Any] = self._run(self._store.explain, question)
        return said

    def complete(self, of: Any, field: str, prefix: Any = "", *, limit: int = 20) -> list[Any]:
        """As `Store.complete`."""
        return self._run_sync(lambda: self._store.complete(of, field, prefix, limit=limit))

    @property
    def root(self) -> Stored | None:
        """As `Store.root`."""
        return self._run_sync(lambda: self._store.root)

    def classes(self) -> list[ClassDefinition]:
        """As `Store.classes`."""
        return self._run_sync(self._store.classes)

    # What the above is made of

    @contextmanager
    def _entered(self, manager: AbstractAsyncContextManager[Result]) -> Iterator[Result]:
        """What an asynchronous with-statement does, in the store's thread."""
        entered: Result = self._run(manager.__aenter__)
        try:
            yield entered
        except BaseException as error:
            self._run(manager.__aexit__, type(error), error, error.__traceback__)
            raise
        else:
            self._run(manager.__aexit__, None, None, None)

    def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._check_thread()
        try:
            return trio.from_thread.run(function, *arguments, trio_token=self._loop.token)
        except (trio.RunFinishedError, trio.Cancelled):
            raise _closed() from None

    def _run_sync(self, function: Callable[[], Result]) -> Result:
        self._check_thread()
        try:
            return trio.from_thread.run_sync(function, trio_token=self._loop.token)
        except (trio.RunFinishedError, trio.Cancelled):
            raise _closed() from None

    def _soon(self, function: Callable[[], object]) -> None:
        try:
            self._loop.token.run_sync_soon(function)
        except trio.RunFinishedError:
            raise _closed() from None

    def _check_thread(self) -> None:
        if self._in_transaction == threading.get_ident():
            raise LocalMistake(
                "a word of the store inside its own transaction would wait for ever",
                next_step="use the words of the transaction, or end it first",
            )


class WriterBlocking:
    """A blob under way (`store.blobs.BlobWriter`)."""

    def __init__(self, run: Callable[..., Any], writer: BlobWriter) -> None:
        self._run = run
        self._writer = writer

    def write(self, piece: bytes | bytearray | memoryview) -> None:
        """More of it. Raises `Exhausted` when there is no room."""
        self._run(self._writer.write, piece)

    def finish(self) -> Blob:
        """Make it durable; its name."""
        blob: Blob = self._run(self._writer.finish)
        return blob


class ReaderBlocking:
    """An open blob (`store.blobs.BlobReader`). Iterating gives its chunks in order."""

    def __init__(self, run: Callable[..., Any], reader: BlobReader) -> None:
        self._run = run
        self._reader = reader

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`, fewer only at the end."""
        data: bytes = self._run(self._reader.read, offset, length)
        return data

    def __iter__(self) -> Iterator[bytes]:
        for offset in range(0, self._reader.blob.size, CHUNK_BYTES):
            yield self.read(offset, CHUNK_BYTES)


@contextmanager
def open_store_blocking(
    directory: str | os.PathLike[str], *, settings: Settings | None = None, key: Secret | None = None
) -> Iterator[StoreBlocking]:
    """The store in this directory, which is made when it is not there; for `with`. Raises as `open_store`."""
    opened: queue.SimpleQueue[_Loop | None] = queue.SimpleQueue()
    ended: Outcomes = queue.SimpleQueue()

    async def main() -> None:
        async with open_store(directory, settings=settings, key=key) as store, trio.open_nursery() as nursery:
            closing = trio.Event()
            opened.put(_Loop(store, trio.lowlevel.current_trio_token(), nursery, closing))
            await closing.wait()

    def serve() -> None:
        ended.put(outcome.capture(trio.run, main))
        opened.put(None)  # nobody takes it, but when it could not be opened

    threading.Thread(target=serve, name="bangpath store", daemon=True).start()
    loop = opened.get()
    if loop is None:
        ended.get().unwrap()
        raise LocalMistake("a store was closed before it was open")
    try:
        yield StoreBlocking(loop)
    finally:
        with suppress(trio.RunFinishedError):  # it fell before, and says why
            loop.token.run_sync_soon(loop.closing.set)
        ended.get().unwrap()


class _LeftError(Exception):
    """Ends a transaction whose block was left by an error."""


def _closed() -> LocalMistake:
    return LocalMistake("the store was closed", next_step="open it again")
