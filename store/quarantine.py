"""Damaged bytes are kept before anything is written in their place, with what was said of them (DESIGN D1).

    quarantine-00000017     on the log's disk, one for each place that was mended, or could not be

    magic 8 "BPQUA" CR LF 1A | version u16 = 1 | head length u32 | data length u32 | CRC-32 u32 over head and data
    | head, JSON: {"what", "where", "cause", ..., "mended_from", "time_ms"} | data, the bytes as they were read

Nothing reads them but people, and `read_evidence`; nothing removes them but people. At most `MAX_FILES` are kept and of
each at most `MAX_BYTES`: a disk that rots as a whole must not be filled by the proof of it.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple
from zlib import crc32

import msgspec

from identity.errors import Damaged, Exhausted
from store.cipher import OVERHEAD, Cipher, DoesNotOpen
from store.disk import Disk
from store.findings import Finding

MAGIC = b"BPQUA\r\n\x1a"
VERSION = 1
SEALED_VERSION = 2  # head and bytes are sealed, for the file's name
MAX_FILES = 1000
MAX_BYTES = 1 << 20
LARGEST = 2 << 20  # of a file: what it keeps, and what was said of that
_FIXED = struct.Struct(">8sHIII")
_NAME = re.compile(r"quarantine-([0-9]{8})")


class Evidence(NamedTuple):
    """One kept piece: what was said of it, and its bytes."""

    name: str
    head: dict[str, Any]
    data: bytes


class Quarantine:
    """Keeps evidence on `disk`. `wall_ms` is the wall clock."""

    def __init__(self, disk: Disk, wall_ms: Callable[[], int]) -> None:
        self._disk = disk
        self._wall_ms = wall_ms

    def keep(self, finding: Finding, data: bytes, mended_from: str) -> str:
        """Make the evidence durable; the name of its file, empty where no more is kept. Raises why the disk stopped."""
        names = _names(self._disk)
        kept = data[:MAX_BYTES]
        for name in reversed(names):  # what cannot be mended is met again by every look
            if self._has(name, finding, kept, mended_from):
                return name
        if len(names) >= MAX_FILES:
            return ""
        name = f"quarantine-{int(names[-1][11:]) + 1 if names else 1:08d}"
        head = msgspec.json.encode({**finding.as_json(), "mended_from": mended_from, "time_ms": self._wall_ms()})
        packed = _pack(self._disk.cipher, name, head, kept)
        try:
            file = self._disk.open(name, create=True)
        except Exhausted:
            return ""  # told all the same; a full disk must not stop what may free it
        try:
            file.allocate(len(packed))
            file.write(0, packed)
            file.sync()
        except Exhausted:
            if self._disk.failure is not None:
                raise
            self._disk.remove(name)
            return ""
        finally:
            file.close()
        self._disk.sync_directory()
        return name

    def _has(self, name: str, finding: Finding, data: bytes, mended_from: str) -> bool:
        try:
            found = _open(self._disk, name)
        except Damaged:
            return False
        said = [found.head.get(each) for each in ("what", "where", "mended_from")]
        return said == [finding.what, finding.where, mended_from] and found.data == data


def read_evidence(disk: Disk) -> list[Evidence]:
    """Everything that is kept, in its order. Raises `Damaged`, naming the file."""
    return [_open(disk, name) for name in _names(disk)]


def _open(disk: Disk, name: str) -> Evidence:
    file = disk.open(name)
    try:
        return _read(name, file.read(0, min(file.size(), LARGEST)), disk.cipher)
    finally:
        file.close()


def _pack(cipher: Cipher | None, name: str, head: bytes, kept: bytes) -> bytes:
    rest = head + kept if cipher is None else cipher.evidence.seal(head + kept, name.encode())
    version = VERSION if cipher is None else SEALED_VERSION
    return _FIXED.pack(MAGIC, version, len(head), len(kept), crc32(rest)) + rest


def _read(name: str, data: bytes, cipher: Cipher | None = None) -> Evidence:
    if len(data) >= _FIXED.size:
        magic, version, head_length, length, crc = _FIXED.unpack_from(data)
        more, ours = (0, VERSION) if cipher is None else (OVERHEAD, SEALED_VERSION)
        rest = data[_FIXED.size : _FIXED.size + head_length + length + more]
        if (magic, version) == (MAGIC, ours) and len(rest) == head_length + length + more and crc32(rest) == crc:
            if cipher is not None:
                rest = _opened(cipher, name, rest)
            return Evidence(name, msgspec.json.decode(rest[:head_length]), rest[head_length:])
    raise Damaged(f"{name} is not what was kept", next_step="it is evidence only: nothing depends on it")


def _opened(cipher: Cipher, name: str, sealed: bytes) -> bytes:
    try:
        return cipher.evidence.open(sealed, name.encode())
    except DoesNotOpen:
        raise Damaged(f"{name} does not open", next_step="it is evidence only: nothing depends on it") from None


def _names(disk: Disk) -> list[str]:
    return [name for name in disk.list() if _NAME.fullmatch(name)]
