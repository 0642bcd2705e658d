"""A blob: bytes of any length under the name of their hash, in chunks, each of which is verified when it is read.

    Blob(size, root)     text blob:SIZE:ROOT       in a body [size, root]

    root     the Merkle tree hash over the chunks (RFC 9162 2.1.1): SHA-256(0 | chunk), SHA-256(1 | left | right)
    chunk    256 KiB, the last one what is left; an empty blob has none, and the root SHA-256("")

    file     head, 4 096 bytes | chunks, one after another | leaf hashes, 32 bytes each | zeros, or nothing
             head: magic "bangblob", version u16, 0 u16, chunk bytes u32, size u64, root 32, CRC-32 of these u32, zeros

The tree makes a chunk verifiable by itself: by whoever holds the leaves (this file), and by a stranger with a path of
hashes. The leaves stand behind the data so that a blob is written in one pass, however long it will be. A chunk that
is not what its leaf says is `Damaged`, and never returned; so is a file whose leaves do not make its root.

Left to others: which blobs are kept, pins, when one goes (`store.blobs`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from hashlib import sha256
from typing import NamedTuple
from zlib import crc32

from identity.errors import Damaged, Refused
from store.disk import File

CHUNK_BYTES = 256 << 10
MAX_BLOB_BYTES = 1 << 40  # its leaves then take 128 MiB of memory while it is read
HASH_BYTES = 32
HEAD_BYTES = 4096
MAGIC = b"bangblob"
VERSION = 1
_HEAD = struct.Struct(">8sHHIQ32s")
_SUM = struct.Struct(">I")
_TEXT = re.compile(r"blob:(0|[1-9][0-9]{0,12}):([0-9a-f]{64})")


class Blob(NamedTuple):
    """The name of a blob: how long it is, and the root of its hashes."""

    size: int
    root: bytes

    def __str__(self) -> str:
        return f"blob:{self.size}:{self.root.hex()}"

    @classmethod
    def parse(cls, text: str) -> Blob:
        """From its text. Raises `ValueError`."""
        found = _TEXT.fullmatch(text)
        if found is None:
            raise ValueError(f"{text[:100]!r} names no blob")
        return cls.of(int(found[1]), bytes.fromhex(found[2]))

    @classmethod
    def of(cls, size: object, root: object) -> Blob:
        """Checked. Raises `ValueError`."""
        if (
            type(size) is not int
            or not 0 <= size <= MAX_BLOB_BYTES
            or type(root) is not bytes
            or len(root) != HASH_BYTES
        ):
            raise ValueError("no blob has such a size or root")
        if (size == 0) != (root == EMPTY):
            raise ValueError("an empty blob and its root belong together")
        return cls(size, root)

    @property
    def is_possible(self) -> bool:
        """Whether `of` would take it."""
        with suppress(ValueError):
            return self.of(*self) == self
        return False

    @property
    def chunks(self) -> int:
        """How many there are."""
        return -(-self.size // CHUNK_BYTES)


EMPTY = sha256(b"").digest()


def leaf_hash(chunk: bytes | bytearray | memoryview) -> bytes:
    digest = sha256(b"\0")
    digest.update(chunk)
    return digest.digest()


class Tree:
    """The root of leaves that come one by one; it keeps one hash for each power of two among them."""

    def __init__(self) -> None:
        self._stack: list[tuple[int, bytes]] = []  # (leaves below, hash), ever smaller

    def add(self, leaf: bytes) -> None:
        below = 1
        while self._stack and self._stack[-1][0] == below:
            leaf = _node(self._stack.pop()[1], leaf)
            below *= 2
        self._stack.append((below, leaf))

    def root(self) -> bytes:
        """Of the leaves so far; more may follow."""
        if not self._stack:
            return EMPTY
        found = self._stack[-1][1]
        for _, left in reversed(self._stack[:-1]):
            found = _node(left, found)
        return found


def root_of(leaves: Iterable[bytes]) -> bytes:
    tree = Tree()
    for leaf in leaves:
        tree.add(leaf)
    return tree.root()


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()


# Files


def leaves_at(size: int) -> int:
    """Where in the file the leaf hashes begin."""
    return HEAD_BYTES + size


def file_bytes(size: int) -> int:
    """How long the file of a blob is, at least."""
    return leaves_at(size) + -(-size // CHUNK_BYTES) * HASH_BYTES


def pack_head(blob: Blob) -> bytes:
    head = _HEAD.pack(MAGIC, VERSION, 0, CHUNK_BYTES, blob.size, blob.root)
    return (head + _SUM.pack(crc32(head))).ljust(HEAD_BYTES, b"\0")


def read_head(file: File) -> Blob:
    """Whose file it is. Raises `Damaged`, or `Refused` for one that a newer version wrote."""
    data = file.read(0, HEAD_BYTES)
    if len(data) < HEAD_BYTES:
        raise _damaged(file, f"it has {len(data)} bytes, and its head alone has {HEAD_BYTES}")
    head = data[: _HEAD.size]
    magic, version, zero, chunk, size, root = _HEAD.unpack(head)
    if magic != MAGIC:
        raise _damaged(file, "it has no head")
    if data[_HEAD.size : _HEAD.size + _SUM.size] != _SUM.pack(crc32(head)) or any(data[_HEAD.size + _SUM.size :]):
        raise _damaged(file, "its head is not what was written")
    if version != VERSION or zero or chunk != CHUNK_BYTES:
        raise Refused(f"blob {file.name} is of version {version}, {VERSION} is known", next_step="use a newer bangpath")
    try:
        return Blob.of(size, root)
    except ValueError as error:
        raise _damaged(file, str(error)) from error


class Verified:
    """An open file of a blob, read chunk by chunk. Raises `Damaged` when it is not that blob's."""

    def __init__(self, file: File, blob: Blob) -> None:
        self.blob = blob
        self._file = file
        found = read_head(file)
        if found != blob:
            raise _damaged(file, f"its head is that of {found}")
        data = file.read(leaves_at(blob.size), blob.chunks * HASH_BYTES)
        if len(data) < blob.chunks * HASH_BYTES or root_of(_split(data)) != blob.root:
            raise _damaged(file, "its hashes do not make its root")
        self._leaves = data

    def chunk(self, number: int) -> bytes:
        """A whole chunk, from 0. Raises `Damaged`, naming where in the blob it lies."""
        low = number * CHUNK_BYTES
        length = min(CHUNK_BYTES, self.blob.size - low)
        data = self._file.read(HEAD_BYTES + low, length)
        at = number * HASH_BYTES
        if len(data) != length or leaf_hash(data) != self._leaves[at : at + HASH_BYTES]:
            raise _damaged(self._file, f"its bytes {low} to {low + length} are not what was written")
        return data

    def close(self) -> None:
        self._file.close()


def _split(leaves: bytes) -> Iterator[bytes]:
    return (leaves[at : at + HASH_BYTES] for at in range(0, len(leaves), HASH_BYTES))


def _damaged(file: File, why: str) -> Damaged:
    return Damaged(f"blob {file.name} is damaged: {why}", next_step="restore it from a backup or another server")
