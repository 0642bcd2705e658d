"""The blobs of one store: written in one pass, read in pieces, kept as long as anything needs them (DESIGN R4, R5).

    async with blobs.write() as new:                 pieces of any size; never whole in memory
        await new.write(piece)
        blob = await new.finish()                    durable, under the name of its hash; pinned until the block ends
        ... create an object that names it ...

    async with blobs.open(blob) as found:            pinned until the block ends
        async for chunk in found: ...                each verified before it is returned
        await found.read(1_000_000, 500)

    new-N  --finish: leaves, head, sync, name-->  ROOT.blob  --nobody needs it-->  removed

A blob is needed by objects that name it (each has an index entry for it, `store.indexes`), by pins, and by views that
still see such an object: `note_gone` is told of the commit that ended the last entry, and the file goes when that is
durable and no older view is open. What a crash left goes at the next start: unfinished files, blobs that nobody names.
The same bytes written twice are one file.

It has a disk of its own: when that is full or fails, blobs are, and everything else goes on. Bounds: for whoever reads
or writes one chunk and 32 bytes for each; 100 bytes for each blob there is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

import trio

from identity.errors import BangpathError, Damaged, LocalMistake, NotFound, Refused
from store.blob_files import (
    CHUNK_BYTES,
    HEAD_BYTES,
    MAX_BLOB_BYTES,
    Blob,
    Tree,
    Verified,
    file_bytes,
    leaf_hash,
    leaves_at,
    pack_head,
    read_head,
)
from store.disk import Disk, File
from store.indexes import blobs_let_go

if TYPE_CHECKING:
    from store.changes import Change

SUFFIX = ".blob"
UNFINISHED = "new-"
GROWTH, MAX_GROWTH = 16, 64 << 20  # a file under way takes room for a sixteenth more than it has, and not for more
SWEEP_STEP = 64  # files removed between two checkpoints
SWEEP_AGAIN_S = 1.0  # while a view or a pin still needs one


class Needs(Protocol):
    """What the rest of the store knows of who needs a blob."""

    def is_named(self, root: bytes) -> bool:
        """Whether an object names it, in the newest state, durable or not."""

    @property
    def newest(self) -> int:
        """The number of the commit that the newest state ends with."""

    @property
    def oldest(self) -> int:
        """The number of the last commit that everybody sees: it is durable, and no open view is older."""


class Blobs:
    """The blobs in one directory."""

    def __init__(self, disk: Disk, needs: Needs) -> None:
        self._disk = disk
        self._needs = needs
        self._pins: dict[bytes, int] = {}
        self._gone: dict[bytes, int] = {}  # root: the commit with which the last that named it ended
        self._wanted = trio.Event()
        self._last = 0
        self._here = dict.fromkeys(self._clean())

    # Words

    def has(self, blob: Blob) -> bool:
        """Whether it is here."""
        return blob.root in self._here

    @property
    def disk(self) -> Disk:
        """Where their files lie, for those who look after them."""
        return self._disk

    def roots(self) -> Iterator[bytes]:
        """Of all that are here now."""
        return iter(tuple(self._here))

    @asynccontextmanager
    async def write(self) -> AsyncIterator[BlobWriter]:
        """A new blob. Left without `finish` nothing of it stays.

        Raises `Exhausted` when there is no room, `Damaged` when the disk fails.
        """
        self._last += 1
        name = f"{UNFINISHED}{self._last}"
        writer = BlobWriter(self, self._disk.open(name, create=True))
        try:
            yield writer
        finally:
            writer.close()
            if writer.blob is not None:
                self._unpin(writer.blob.root)
            else:
                with suppress(BangpathError):  # then the next start removes it
                    self._disk.remove(name)

    @asynccontextmanager
    async def open(self, blob: Blob) -> AsyncIterator[BlobReader]:
        """To read it. Raises `NotFound` when it is not here, `Damaged` when it is not what was written."""
        if blob.root not in self._here:
            if self._needs.is_named(blob.root):
                raise Damaged(
                    f"{blob} is named by an object, and its file is gone",
                    next_step="restore it from a backup or another server",
                )
            raise NotFound(f"{blob} is not here", next_step="read the object that names it again")
        self._pin(blob.root)
        try:
            file = self._disk.open(_name(blob.root))
            try:
                yield BlobReader(Verified(file, blob))
            finally:
                file.close()
        finally:
            self._unpin(blob.root)

    async def check(self, root: bytes) -> str:
        """Read one to its end: what is wrong with it, or nothing."""
        if root not in self._here:
            return "its file is gone"
        try:
            file = self._disk.open(_name(root))
            try:
                blob = read_head(file)
                if blob.root != root:
                    return f"its head is that of {blob}"
                verified = Verified(file, blob)
                for number in range(blob.chunks):
                    verified.chunk(number)
                    await trio.lowlevel.checkpoint()
            finally:
                file.close()
        except (Damaged, Refused) as error:
            return error.cause
        return ""

    # For the store

    def note_changes(self, changes: Iterable[Change], number: int) -> None:
        """Blobs that objects have named before commit `number`, which changed them, and name no more."""
        for change in changes:
            if change.entry.codec.blobs:
                for root in blobs_let_go(change.before_keys, change.after_keys):
                    self.note_gone(root, number)

    def note_gone(self, root: bytes, number: int) -> None:
        """Perhaps nobody names it any more, from commit `number` on."""
        self._gone[root] = number
        self._wanted.set()

    async def run(self) -> None:
        """The task that removes what nobody needs; ends when cancelled, or when its disk fails."""
        with suppress(BangpathError):  # `write` and `open` tell it to those who care
            while True:
                await self._wanted.wait()
                self._wanted = trio.Event()
                await self.sweep()
                if self._gone:
                    await trio.sleep(SWEEP_AGAIN_S)
                    self._wanted.set()

    async def sweep(self) -> None:
        """Remove what nobody needs any more."""
        oldest = self._needs.oldest
        due = [root for root, number in self._gone.items() if number <= oldest and root not in self._pins]
        for count, root in enumerate(due, start=1):
            if root in self._pins or root not in self._gone:  # meanwhile
                continue
            del self._gone[root]
            if root in self._here and not self._needs.is_named(root):
                del self._here[root]
                self._disk.remove(_name(root))
            if count % SWEEP_STEP == 0:
                await trio.lowlevel.checkpoint()

    # For its writers

    async def take(self, blob: Blob, file: File) -> None:
        """A file is written: sync it, and give it its name, which outlives a power cut."""
        await file.sync_async()
        self._disk.rename(file.name, _name(blob.root))  # also over the same bytes, which may have rotted meanwhile
        self._disk.sync_directory()
        self._here[blob.root] = None
        self._pin(blob.root)

    # What the above is made of

    def _clean(self) -> list[bytes]:
        """At the start: remove what a crash left over; the roots of what stays."""
        roots = []
        for name in self._disk.list():
            root = _root(name)
            if root is not None and self._needs.is_named(root):
                roots.append(root)
            elif root is not None or name.startswith(UNFINISHED):
                self._disk.remove(name)
        return roots

    def _pin(self, root: bytes) -> None:
        self._pins[root] = self._pins.get(root, 0) + 1

    def _unpin(self, root: bytes) -> None:
        self._pins[root] -= 1
        if not self._pins[root]:
            del self._pins[root]
            if not self._needs.is_named(root):  # never named, or no more: an older view may still see who did
                self.note_gone(root, self._gone.get(root, self._needs.newest))


class BlobWriter:
    """One blob under way; made by `Blobs.write`. `blob` is its name once it is finished."""

    def __init__(self, blobs: Blobs, file: File) -> None:
        self.blob: Blob | None = None
        self._blobs = blobs
        self._file = file
        self._tree = Tree()
        self._leaves = bytearray()
        self._rest = bytearray()  # less than a chunk
        self._size = 0  # of the chunks that are written
        self._room = 0
        self._closed = False

    @property
    def size(self) -> int:
        """Bytes that were written so far."""
        return self._size + len(self._rest)

    async def write(self, piece: bytes | bytearray | memoryview) -> None:
        """More of it. Raises `Refused` when it becomes too long, `Exhausted` when there is no room."""
        self._check()
        if self.size + len(piece) > MAX_BLOB_BYTES:
            raise Refused(f"a blob of more than {MAX_BLOB_BYTES} bytes", next_step="cut it into several")
        view = memoryview(piece).cast("B")
        while len(self._rest) + len(view) >= CHUNK_BYTES:
            taken = CHUNK_BYTES - len(self._rest)
            self._put(bytes(self._rest) + view[:taken] if self._rest else view[:taken])
            self._rest.clear()
            view = view[taken:]
            await trio.lowlevel.checkpoint()
        self._rest += view
        await trio.lowlevel.checkpoint()

    async def finish(self) -> Blob:
        """Make it durable; its name. Nothing can be written after it."""
        self._check()
        self._closed = True
        if self._rest:
            self._put(self._rest)
            self._rest.clear()
        blob = Blob(self._size, self._tree.root())
        self._reserve(file_bytes(self._size))
        if self._leaves:
            self._file.write(leaves_at(self._size), self._leaves)
        self._file.write(0, pack_head(blob))
        await self._blobs.take(blob, self._file)
        self.blob = blob
        return blob

    def close(self) -> None:
        self._closed = True
        self._file.close()

    def _put(self, chunk: bytes | bytearray | memoryview) -> None:
        self._reserve(HEAD_BYTES + self._size + len(chunk))
        self._file.write(HEAD_BYTES + self._size, chunk)
        leaf = leaf_hash(chunk)
        self._tree.add(leaf)
        self._leaves += leaf
        self._size += len(chunk)

    def _reserve(self, end: int) -> None:
        if end > self._room:
            self._room = end + min(end // GROWTH, MAX_GROWTH)
            self._file.reserve(self._room)

    def _check(self) -> None:
        if self._closed:
            raise LocalMistake("a blob is written after its end", next_step="begin another one")


class BlobReader:
    """One blob, open; made by `Blobs.open`. Iterating gives its chunks in order."""

    def __init__(self, verified: Verified) -> None:
        self._verified = verified
        self.blob = verified.blob

    async def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset`, fewer only at the end. Raises `Damaged`; `LocalMistake` below 0."""
        if offset < 0 or length < 0:
            raise LocalMistake(f"{length} bytes from {offset} of a blob")
        end = min(offset + length, self.blob.size)
        pieces = []
        while offset < end:
            number, inside = divmod(offset, CHUNK_BYTES)
            piece = self._verified.chunk(number)[inside : inside + end - offset]
            pieces.append(piece)
            offset += len(piece)
            await trio.lowlevel.checkpoint()
        return b"".join(pieces)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for number in range(self.blob.chunks):
            yield self._verified.chunk(number)
            await trio.lowlevel.checkpoint()


def _name(root: bytes) -> str:
    return root.hex() + SUFFIX


def _root(name: str) -> bytes | None:
    """Of a blob's file; None of any other."""
    if not name.endswith(SUFFIX) or len(name) != 64 + len(SUFFIX):
        return None
    try:
        return bytes.fromhex(name.removesuffix(SUFFIX))
    except ValueError:
        return None
