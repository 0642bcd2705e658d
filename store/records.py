"""The vocabulary of the store: a record, a leaf, a signed update, and the bytes of each.

    record      one version of one object, as the table `objects` holds it (DESIGN R1); the key is not in it, the
                checksum covers it (LMDB has none of its own, T4)

        length u32 | class u64 | definition u32 | sequence u64 | kind u8 | number u64 | checksum u32 | body
        of all of it               minor version              OWNED..    see Stored     CRC-32        CBOR array, or
                                                                                                      empty: deleted

    leaf        one change of one distributed object, in wire form: what is hashed, signed and sent (I6)

        operation u8 | object u64 | sequence u64 | fingerprint 8 | salt 16 | request length u8 | body length u32
        | request | body

    update      the leaves of one group: number n of its owner's feed of one kind; kept and sent verbatim (F3, L9)

        version u8 = 1 | server ended | incarnation u64 | kind u8 | epoch u64 | nonce 16 | number u64 | previous 32
        | root 32 | count u32                                                        = head, the signed part
        | signature 64 | leaves length u32 | leaves

A feed is (server, incarnation, kind); its numbers are dense from 1 and go on across epochs. `epoch` and `nonce` are
counter and random nonce of the owner's run: where they change between two neighbours stands the epoch record of N6,
which is no update of its own (docs/decisions/0030). `previous` is the hash of the update before, 32 zero bytes first.

Rules: a body is the CBOR array of the fields in the order of the class's definition; what is missing at its end has
its default. Deletions are tombstones, for an allocated id without a record is damage and not absence (T4).

Left to others: who may sign, whether a signature and a Merkle root are right (`replication.leaves`), what the fields
mean (`store.values`), where records lie (`store.tables`).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Protocol
from zlib import crc32

import msgspec

from identity.errors import Damaged, LocalMistake, PeerMisbehaved
from identity.names import Reference, ServerId

REGISTRY = 0  # the feed that every server carries: servers, classes (DESIGN F1)
DATA = 1  # the feed that mirrors carry
FEED_NAMES = {REGISTRY: "registry", DATA: "data"}

PUT = 1
DELETE = 2

OWNED, MIRRORED, CACHED = 1, 2, 3  # what a record is here (R6); copied, backup and index references come later
KIND_NAMES = {OWNED: "owned", MIRRORED: "mirrored", CACHED: "cached"}

MAX_CHANGES = 65_536  # of one transaction (L6)
MAX_BODY_BYTES = 16 << 20  # of one transaction, so of one object too (L6)
MAX_UPDATE_BYTES = 30 << 20  # a drain ends at 8 MiB (L5), one transaction may add its 16 MiB; a frame holds 32
MAX_INTEGER = 2**63 - 1

_RECORD = struct.Struct(">IQIQBQI")
_LEAF = struct.Struct(">BQQ8s16sBI")
_LENGTHS = struct.Struct(">BI")
_LENGTHS_AT = _LEAF.size - _LENGTHS.size
_HEAD_END = struct.Struct(">QBQ16sQ32s32sI")
_UPDATE_VERSION = 1
_UPDATE_DOMAIN = b"bangpath update 1\0"
RECORD_HEAD_BYTES = _RECORD.size
LEAF_HEAD_BYTES = _LEAF.size
SIGNATURE_BYTES = 64
_unpack_record = _RECORD.unpack_from
_pack_record = _RECORD.pack
_pack_leaf = _LEAF.pack


class Stored(msgspec.Struct, frozen=True, gc=False):
    """One object as a reader sees it.

    `fields` are Python values by name (`store.values`). `kind` is "owned", "mirrored" or "cached".
    `position_number` is the number of its owner's update that brought this version (0: owned, where the group may
    not be sealed yet, or not known). `received_ms` is the wall clock at which a cached copy came, else 0. `major` and
    `fingerprint` say which of the classes of that name it is.
    """

    reference: Reference
    class_name: str
    sequence: int
    fields: dict[str, Any]
    kind: str = "owned"
    position_number: int = 0
    received_ms: int = 0
    major: int = 1
    fingerprint: bytes = b""


class Record(msgspec.Struct, frozen=True, gc=False):
    """One version of one object, its body not yet decoded. `number` is the update's, or of a cached copy its age."""

    class_number: int
    definition: int
    sequence: int
    kind: int
    number: int
    body: bytes  # empty: a tombstone

    @property
    def deleted(self) -> bool:
        return not self.body


def pack_record(
    key: bytes, class_number: int, definition: int, sequence: int, kind: int, number: int, body: bytes
) -> bytes:
    """The bytes of a record that will stand under `key` in the table of objects."""
    head = _pack_record(RECORD_HEAD_BYTES + len(body), class_number, definition, sequence, kind, number, 0)
    return head[:-4] + crc32(body, crc32(key, crc32(head))).to_bytes(4, "big") + body


def unpack_record(key: bytes, data: bytes) -> Record:
    """The record that stands under `key`, verified. Raises `Damaged`, naming the key."""
    if len(data) >= RECORD_HEAD_BYTES:
        length, class_number, definition, sequence, kind, number, checksum = _unpack_record(data)
        body = data[RECORD_HEAD_BYTES:]
        if (
            length == len(data)
            and crc32(body, crc32(key, crc32(b"\0\0\0\0", crc32(data[: RECORD_HEAD_BYTES - 4])))) == checksum
        ):
            return Record(class_number, definition, sequence, kind, number, body)
    raise Damaged(
        f"the record under {key.hex()} is not what was written",
        next_step="restore it from a mirror or a backup of this server",
        key=key.hex(),
    )


class Leaf(msgspec.Struct, frozen=True, gc=False):
    """One change of one object in wire form. `request` is the id of the request that caused it, or empty."""

    object: int
    sequence: int
    fingerprint: bytes
    operation: int
    request: bytes
    salt: bytes
    body: bytes


def pack_leaf(leaf: Leaf) -> bytes:
    """The bytes of one leaf. Raises `LocalMistake` for a request id of more than 255 bytes."""
    if len(leaf.request) > 255:
        raise LocalMistake(f"a request id of {len(leaf.request)} bytes, 255 allowed")
    return pack_leaf_fields(
        leaf.operation, leaf.object, leaf.sequence, leaf.fingerprint, leaf.salt, leaf.request, leaf.body
    )


def pack_leaf_fields(
    operation: int, number: int, sequence: int, fingerprint: bytes, salt: bytes, request: bytes, body: bytes
) -> bytes:
    """`pack_leaf` without the object in between, for the commit's path."""
    return _pack_leaf(operation, number, sequence, fingerprint, salt, len(request), len(body)) + request + body


def read_leaves_untrusted(data: bytes | memoryview, count: int) -> list[Leaf]:
    """Exactly `count` leaves that fill `data`. Raises `PeerMisbehaved`; costs no more than the data's size."""
    data = bytes(data)
    if count < 0 or count * LEAF_HEAD_BYTES > len(data):
        raise PeerMisbehaved(f"{count} leaves cannot stand in {len(data)} bytes")
    leaves = []
    offset = 0
    for _ in range(count):
        if offset + LEAF_HEAD_BYTES > len(data):
            raise PeerMisbehaved(f"a leaf is cut off at byte {offset}")
        operation, number, sequence, fingerprint, salt, request_length, length = _LEAF.unpack_from(data, offset)
        start = offset + LEAF_HEAD_BYTES
        body = start + request_length
        offset = body + length
        if offset > len(data):
            raise PeerMisbehaved(f"a leaf is cut off at byte {len(data)}")
        if operation not in (PUT, DELETE) or (length == 0) != (operation == DELETE):
            raise PeerMisbehaved(f"a leaf with operation {operation} and a body of {length} bytes")
        if not 1 <= number <= MAX_INTEGER or not 1 <= sequence <= MAX_INTEGER:
            raise PeerMisbehaved(f"a leaf of object {number}, sequence {sequence}, which have 1 to 63 bits")
        leaves.append(
            Leaf(number, sequence, fingerprint, operation, bytes(data[start:body]), salt, bytes(data[body:offset]))
        )
    if offset != len(data):
        raise PeerMisbehaved(f"{len(data) - offset} bytes after {count} leaves")
    return leaves


def read_own_leaves(data: bytes) -> list[Leaf]:
    """All leaves that fill `data`, which this server wrote."""
    count = offset = 0
    while offset < len(data):
        request_length, length = _LENGTHS.unpack_from(data, offset + _LENGTHS_AT)
        offset += LEAF_HEAD_BYTES + request_length + length
        count += 1
    return read_leaves_untrusted(data, count)


class Head(msgspec.Struct, frozen=True, gc=False):
    """What the owner signs of an update."""

    server: ServerId
    incarnation: int
    kind: int
    epoch: int
    nonce: bytes
    number: int
    previous: bytes
    root: bytes
    count: int

    def to_bytes(self) -> bytes:
        return (
            b"\x01"
            + self.server.ended
            + _HEAD_END.pack(
                self.incarnation, self.kind, self.epoch, self.nonce, self.number, self.previous, self.root, self.count
            )
        )

    @classmethod
    def from_bytes_untrusted(cls, data: bytes | memoryview) -> Head:
        """From bytes that hold one head and nothing else. Raises `PeerMisbehaved`."""
        head, offset = _read_head_untrusted(bytes(data))
        if offset != len(data):
            raise PeerMisbehaved(f"{len(data) - offset} bytes after the head of an update")
        return head


def head_hash(head: bytes) -> bytes:
    """The hash of the update whose signed part this is: what the next one names as `previous`."""
    return sha256(_UPDATE_DOMAIN + head).digest()


class Update(msgspec.Struct, frozen=True, gc=False):
    """One update of a feed; `to_bytes` gives the very bytes that its owner made, however often it was passed on."""

    head: Head
    signature: bytes
    leaves: bytes

    def to_bytes(self) -> bytes:
        return join_update(self.head.to_bytes(), self.signature, self.leaves)

    @classmethod
    def from_bytes_untrusted(cls, data: bytes | memoryview) -> Update:
        """From bytes that hold one update and nothing else. Its signature and root are *not* checked here.

        Raises `PeerMisbehaved`.
        """
        data = bytes(data)
        if len(data) > MAX_UPDATE_BYTES:
            raise PeerMisbehaved(f"an update of {len(data)} bytes, {MAX_UPDATE_BYTES} allowed")
        head, offset = _read_head_untrusted(data)
        start = offset + SIGNATURE_BYTES + 4
        length = int.from_bytes(data[offset + SIGNATURE_BYTES : start], "big")
        if len(data) < start or len(data) - start != length:
            raise PeerMisbehaved(f"an update of {head.server} whose leaves are not as long as it says")
        return cls(head, data[offset : offset + SIGNATURE_BYTES], data[start:])


def join_update(head: bytes, signature: bytes, leaves: bytes) -> bytes:
    """The bytes of an update from its parts."""
    return b"".join((head, signature, len(leaves).to_bytes(4, "big"), leaves))


def _read_head_untrusted(data: bytes) -> tuple[Head, int]:
    if not data or data[0] != _UPDATE_VERSION:
        raise PeerMisbehaved(f"an update of version {data[0] if data else 'nothing'}, {_UPDATE_VERSION} is known here")
    server, offset = ServerId.read_ended_untrusted(data, 1)
    if len(data) < offset + _HEAD_END.size:
        raise PeerMisbehaved(f"the head of an update of {server} is cut off")
    incarnation, kind, epoch, nonce, number, previous, root, count = _HEAD_END.unpack_from(data, offset)
    if kind not in FEED_NAMES:
        raise PeerMisbehaved(f"an update of {server} in feed {kind}, which is not known here")
    if not 1 <= number <= MAX_INTEGER or incarnation > MAX_INTEGER or epoch > MAX_INTEGER or count == 0:
        raise PeerMisbehaved(
            f"update {number} of {server} with incarnation {incarnation}, epoch {epoch}, {count} leaves"
        )
    return (
        Head(server, incarnation, kind, epoch, nonce, number, previous, root, count),
        offset + _HEAD_END.size,
    )


class Seal(msgspec.Struct, frozen=True, gc=False):
    """What the sealer made of one group's leaves of one feed: its number, signed part and signature."""

    kind: int
    number: int
    head: bytes
    signature: bytes


class Sealer(Protocol):
    """Numbers, chains and signs the groups of this server; the store knows neither feeds nor keys.

    `replication.leaves.FeedSealer` is the real one.
    """

    def resume(self, kind: int, head: bytes | None) -> None:
        """At opening, per kind: the signed part of the last durable update, None when there is none."""

    def begin_epoch(self, epoch: int) -> None:
        """After `resume`: this run's number (L1)."""

    def seal(self, kind: int, leaves: Sequence[bytes]) -> Seal:
        """The packed leaves of one group, at least one, in order; called once per group and kind, before its sync."""
