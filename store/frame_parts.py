"""What the frames of the log hold (DESIGN L9): the part that is in a feed, and the part that never leaves.

    kind 1  OWN       [registry leaves, data leaves, local part]     one transaction of this server
    kind 2  FOREIGN   [update, verbatim, local part]                 one update of another server's feed
    kind 3  COPIES    [copies]                                       cached copies that came or went

    local part        transaction number u64 | count u32 | change..
    change            operation u8 | object u64 | class u64 | body length u32 | stored body
    copies            count u32 | copy..
    copy              operation u8 | object key length u8 | object key | class u64 | sequence u64 | received_ms u64
                      | body length u32 | stored body

    seals of a group  seal..      kind u8 | number u64 | head length u16 | head | signature 64

Leaves stand once: of own distributed objects nothing else is logged. The local part holds private objects, among them
those of `KnownServer` and `KnownClass` that give the numbers used in records; they come first when a frame is applied.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from identity.errors import Damaged
from store.records import SIGNATURE_BYTES, Seal

OWN, FOREIGN, COPIES = 1, 2, 3

_LOCAL = struct.Struct(">QI")
_CHANGE = struct.Struct(">BQQI")
_COPY_START = struct.Struct(">BB")
_COPY = struct.Struct(">QQQI")
_SEAL = struct.Struct(">BQH")


class LocalChange(NamedTuple):
    """One private object's next version; `body` empty: deleted."""

    operation: int
    object: int
    class_number: int
    body: bytes


class CopyChange(NamedTuple):
    """One cached copy that came, or, with an empty body, went."""

    operation: int
    object_key: bytes
    class_number: int
    sequence: int
    received_ms: int
    body: bytes


def pack_local(number: int, changes: Sequence[LocalChange]) -> bytes:
    """The local part of the transaction with this store-wide number."""
    parts = [_LOCAL.pack(number, len(changes))]
    for operation, object_number, class_number, body in changes:
        parts.append(_CHANGE.pack(operation, object_number, class_number, len(body)))
        parts.append(body)
    return b"".join(parts)


def unpack_local(data: bytes) -> tuple[int, list[LocalChange]]:
    """Raises `Damaged`."""
    try:
        number, count = _LOCAL.unpack_from(data)
        offset = _LOCAL.size
        changes = []
        for _ in range(count):
            operation, object_number, class_number, length = _CHANGE.unpack_from(data, offset)
            offset += _CHANGE.size + length
            changes.append(LocalChange(operation, object_number, class_number, data[offset - length : offset]))
    except struct.error as error:
        raise Damaged(f"the local part of a frame is cut off: {error}") from error
    if offset != len(data):
        raise Damaged(f"the local part of transaction {number} has {len(data)} bytes instead of {offset}")
    return number, changes


def pack_copies(copies: Sequence[CopyChange]) -> bytes:
    parts = [len(copies).to_bytes(4, "big")]
    for copy in copies:
        parts.append(_COPY_START.pack(copy.operation, len(copy.object_key)))
        parts.append(copy.object_key)
        parts.append(_COPY.pack(copy.class_number, copy.sequence, copy.received_ms, len(copy.body)))
        parts.append(copy.body)
    return b"".join(parts)


def unpack_copies(data: bytes) -> list[CopyChange]:
    """Raises `Damaged`."""
    try:
        offset = 4
        copies = []
        for _ in range(int.from_bytes(data[:4], "big")):
            operation, key_length = _COPY_START.unpack_from(data, offset)
            offset += _COPY_START.size + key_length
            object_key = data[offset - key_length : offset]
            class_number, sequence, received_ms, length = _COPY.unpack_from(data, offset)
            offset += _COPY.size + length
            body = data[offset - length : offset]
            copies.append(CopyChange(operation, object_key, class_number, sequence, received_ms, body))
    except struct.error as error:
        raise Damaged(f"a frame of copies is cut off: {error}") from error
    return copies


def pack_seals(seals: Iterable[Seal]) -> bytes:
    return b"".join(
        part
        for seal in seals
        for part in (_SEAL.pack(seal.kind, seal.number, len(seal.head)), seal.head, seal.signature)
    )


def unpack_seals(data: bytes) -> list[Seal]:
    """Raises `Damaged`."""
    seals = []
    offset = 0
    while offset < len(data):
        if len(data) - offset < _SEAL.size:
            raise Damaged("the seals of a group are cut off")
        kind, number, length = _SEAL.unpack_from(data, offset)
        start = offset + _SEAL.size
        offset = start + length + SIGNATURE_BYTES
        if offset > len(data):
            raise Damaged("the seals of a group are cut off")
        seals.append(Seal(kind, number, data[start : start + length], data[start + length : offset]))
    return seals
