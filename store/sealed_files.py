"""A disk whose files say nothing without the key: for blobs, which are whole before they have a name (`store.blobs`).

    file     magic "BPSEALED", version u16, 0 u16, 0 u32, key id 16, salt 32 | block 0 | block 1 | ...
    block    4 096 bytes, sealed with a key of this file's own salt, for its number: 4 136; the last one is filled up
    name     ROOT.blob, the hash of what is in it, would tell who has the same file: the root is sealed, in base32

Whatever is written, whole blocks are sealed anew, with a nonce of their own; part of one is read, opened and sealed
again. So a power cut may leave a block that does not open: this is a disk for files that count only once they are
synced and named. What was reserved and never written reads as zeros.

A block that was moved, in its file or to another, does not open; that a file is the one its name says, the hashes in a
blob prove. What files mean is left to `store.blob_files`, where they lie to the disk underneath.
"""

from __future__ import annotations

import struct
from base64 import b32decode, b32encode
from zlib import crc32

from identity.errors import BangpathError, Damaged
from store.cipher import ID_BYTES, KEY_BYTES, OVERHEAD, Box, Cipher, DoesNotOpen
from store.disk import Buffer, Disk, File
from store.sealed_frames import check_key_id

MAGIC = b"BPSEALED"
VERSION = 1
BLOCK_BYTES = 4096  # the head of a blob is one, and a chunk is 64, so no chunk but the last is read to be written
_SEALED = BLOCK_BYTES + OVERHEAD
_HEAD = struct.Struct(f">8sHHI{ID_BYTES}s{KEY_BYTES}s")
_SUM = struct.Struct(">I")
HEAD_BYTES = _HEAD.size + _SUM.size
SUFFIX = ".blob"
_ROOT_DIGITS = 64
_NAME_LETTERS = 77  # 48 bytes in base32, without its filling


class SealedDisk:
    """A `store.disk.Disk` that seals into another one, with the cipher of that."""

    def __init__(self, inner: Disk) -> None:
        assert inner.cipher is not None
        self.cipher: Cipher = inner.cipher
        self._inner = inner

    @property
    def failure(self) -> BangpathError | None:
        return self._inner.failure

    def list(self) -> list[str]:
        return sorted(opened_name(name, self.cipher) for name in self._inner.list())

    def open(self, name: str, *, create: bool = False) -> SealedFile:
        place = sealed_name(name, self.cipher)
        inner = self._inner.open(place, create=True) if create else self._inner.open(place)
        try:
            if create:
                salt = self.cipher.new_salt()
                head = _HEAD.pack(MAGIC, VERSION, 0, 0, self.cipher.id, salt)
                inner.write(0, head + _SUM.pack(crc32(head)))
            else:
                salt = self._salt(inner, name)
            return SealedFile(name, inner, self.cipher.file_box(salt))
        except BangpathError:
            inner.close()
            raise

    def rename(self, old: str, new: str) -> None:
        self._inner.rename(sealed_name(old, self.cipher), sealed_name(new, self.cipher))

    def remove(self, name: str) -> None:
        self._inner.remove(sealed_name(name, self.cipher))

    def sync_directory(self) -> None:
        self._inner.sync_directory()

    def close(self) -> None:
        self._inner.close()

    def _salt(self, inner: File, name: str) -> bytes:
        data = inner.read(0, HEAD_BYTES)
        if len(data) < HEAD_BYTES:
            raise _damaged(name, "it has no head")
        magic, version, _, _, key_id, salt = _HEAD.unpack_from(data)
        if magic != MAGIC or _SUM.pack(crc32(data[: _HEAD.size])) != data[_HEAD.size :]:
            raise _damaged(name, "its head is not what was written")
        if version != VERSION:
            raise _damaged(name, f"it is of format {version}")
        check_key_id(name, key_id, self.cipher.id)
        return bytes(salt)


class SealedFile:
    """A `store.disk.File` of a `SealedDisk`."""

    def __init__(self, name: str, inner: File, box: Box) -> None:
        self.name = name
        self._inner = inner
        self._box = box

    def read(self, offset: int, length: int) -> bytes:
        first, last = offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES)
        sealed = memoryview(self._inner.read(_at(first), (last - first) * _SEALED))
        blocks = [
            self._open(first + count, sealed[at : at + _SEALED])
            for count, at in enumerate(range(0, len(sealed), _SEALED))
        ]
        start = offset - first * BLOCK_BYTES
        return b"".join(blocks)[start : start + length]

    def write(self, offset: int, data: Buffer) -> None:
        first, start = divmod(offset, BLOCK_BYTES)
        end = offset + len(data)
        before = self.read(offset - start, start).ljust(start, b"\0") if start else b""
        after = self.read(end, -end % BLOCK_BYTES)
        plain = memoryview(b"".join((before, data, after)))
        blocks = [
            self._box.seal(bytes(plain[at : at + BLOCK_BYTES]).ljust(BLOCK_BYTES, b"\0"), _place(first + count))
            for count, at in enumerate(range(0, len(plain), BLOCK_BYTES))
        ]
        self._inner.write(_at(first), b"".join(blocks))

    def allocate(self, size: int) -> None:
        self._inner.allocate(_at(-(-size // BLOCK_BYTES)))

    def reserve(self, size: int) -> None:
        self._inner.reserve(_at(-(-size // BLOCK_BYTES)))

    def sync(self) -> None:
        self._inner.sync()

    async def sync_async(self) -> None:
        await self._inner.sync_async()

    def settle(self) -> None:
        self._inner.settle()

    def size(self) -> int:
        """With what the last block is filled up by."""
        return max(self._inner.size() - HEAD_BYTES, 0) // _SEALED * BLOCK_BYTES

    def close(self) -> None:
        self._inner.close()

    def _open(self, number: int, sealed: memoryview) -> bytes:
        if len(sealed) < _SEALED:
            return b""  # cut off, as a plain file would be: whoever needs those bytes says so
        try:
            return self._box.open(sealed, _place(number))
        except DoesNotOpen:
            if not any(sealed):
                return bytes(BLOCK_BYTES)
            raise _damaged(self.name, f"its block {number} does not open") from None


def unsealed(inner: Disk) -> Disk:
    """The disk itself when it is plain, else what is in its sealed files."""
    return inner if inner.cipher is None else SealedDisk(inner)


def sealed_name(name: str, cipher: Cipher) -> str:
    """What the file of this name is called on the disk underneath."""
    root = name.removesuffix(SUFFIX)
    if not name.endswith(SUFFIX) or len(root) != _ROOT_DIGITS:
        return name
    return b32encode(cipher.seal_name(bytes.fromhex(root))).decode().rstrip("=").lower() + SUFFIX


def opened_name(place: str, cipher: Cipher | None) -> str:
    """The name of a file; one that no name of ours leads to keeps what it is called."""
    letters = place.removesuffix(SUFFIX)
    if cipher is None or not place.endswith(SUFFIX) or len(letters) != _NAME_LETTERS:
        return place
    try:
        return cipher.open_name(b32decode(letters.upper() + "=" * (-len(letters) % 8))).hex() + SUFFIX
    except (ValueError, DoesNotOpen):
        return place


def _at(block: int) -> int:
    return HEAD_BYTES + block * _SEALED


def _place(block: int) -> bytes:
    return block.to_bytes(8, "big")


def _damaged(name: str, why: str) -> Damaged:
    return Damaged(f"file {name} is damaged: {why}", next_step="restore it from a backup or another server")
