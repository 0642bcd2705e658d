"""Which updates of which feeds are here, and where in the log they lie (DESIGN L9: the feed is the log).

    table `feeds`   server key | kind u8 | number u64        ->  hash 32 | head length u16 | head | signature 64
                                                                 | segment and offset 12 | offset - first u32 ..
                    server key | kind u8 | 0                 ->  first u64 | head of the last

An own update is the leaves of all frames of a group, so its entry holds what the owner signed and where those frames
are, in one segment; another's is one frame that holds it verbatim, so head and signature are left out. Either way
`read` gives the very bytes that the owner made. Numbers are dense from `first`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from identity.errors import Damaged
from identity.names import END, ServerId
from store.frame_parts import FOREIGN, OWN
from store.records import SIGNATURE_BYTES, Head, Seal, head_hash, join_update
from store.segments import Frame, Location

FEEDS = "feeds"
_KEY = struct.Struct(">BQ")
_OFFSET = struct.Struct(">I")
_HASH_BYTES = 32
_LOCATION_BYTES = 12


class FeedHeld(NamedTuple):
    """What is held of one feed. `last_hash` is what update last + 1 names as `previous`; `epoch` is the last one's."""

    server: ServerId
    incarnation: int
    kind: int
    first: int
    last: int
    last_hash: bytes
    epoch: int


class FeedState(NamedTuple):
    """The ends of one feed; `head` is the signed part of the last update."""

    first: int
    last: int
    epoch: int
    last_hash: bytes
    head: bytes


def state_entry(server_key: bytes, kind: int, state: FeedState) -> tuple[bytes, bytes]:
    """Key and value of a feed's ends."""
    return server_key + _KEY.pack(kind, 0), state.first.to_bytes(8, "big") + state.head


def own_entry(seal: Seal, head_digest: bytes, locations: Sequence[Location]) -> tuple[bytes, bytes]:
    """Key and value of an own update, whose leaves lie in the frames at these places."""
    first = locations[0]
    parts = [head_digest, len(seal.head).to_bytes(2, "big"), seal.head, seal.signature, first.to_bytes()]
    parts += [_OFFSET.pack(each.offset - first.offset) for each in locations[1:]]
    return END + _KEY.pack(seal.kind, seal.number), b"".join(parts)


def foreign_entry(server_key: bytes, kind: int, number: int, digest: bytes, location: Location) -> tuple[bytes, bytes]:
    """Key and value of another's update."""
    return server_key + _KEY.pack(kind, number), digest + b"\0\0" + location.to_bytes()


def entry_key(server_key: bytes, kind: int, number: int) -> bytes:
    return server_key + _KEY.pack(kind, number)


def read_states(
    seek: Callable[[bytes], Iterator[tuple[bytes, bytes]]],
) -> Iterator[tuple[bytes, int, FeedState]]:
    """Server key, kind and ends of every feed, stepping over their updates; `seek` scans the table from a key on.

    Raises `Damaged`.
    """
    low = b"\0"
    while True:
        found = next(seek(low), None)
        if found is None:
            return
        key, value = found
        server_key, kind = key[:-9], key[-9]
        number = int.from_bytes(key[-8:], "big")
        if number == 0:
            try:
                head = Head.from_bytes_untrusted(value[8:])
            except Exception as error:
                raise Damaged(f"the ends of feed {key.hex()} cannot be read: {error}") from error
            first = int.from_bytes(value[:8], "big")
            yield server_key, kind, FeedState(first, head.number, head.epoch, head_hash(value[8:]), value[8:])
        low = server_key + bytes([kind]) + b"\xff" * 9


def read_update(value: bytes, kind: int, read: Callable[[Location], Frame]) -> bytes:
    """The bytes of the update whose entry this is. Raises `Damaged`."""
    head_length = int.from_bytes(value[_HASH_BYTES : _HASH_BYTES + 2], "big")
    start = _HASH_BYTES + 2
    if head_length == 0:
        frame = read(Location.from_bytes(value[start : start + _LOCATION_BYTES]))
        if frame.kind != FOREIGN:
            raise Damaged(f"a frame of kind {frame.kind} lies where an update should be")
        return frame.sections[0]
    head = value[start : start + head_length]
    start += head_length
    signature = value[start : start + SIGNATURE_BYTES]
    start += SIGNATURE_BYTES
    first = Location.from_bytes(value[start : start + _LOCATION_BYTES])
    offsets = value[start + _LOCATION_BYTES :]
    leaves = [_own_leaves(read(first), kind)]
    for (step,) in _OFFSET.iter_unpack(offsets):
        leaves.append(_own_leaves(read(Location(first.segment, first.offset + step)), kind))
    return join_update(head, signature, b"".join(leaves))


def _own_leaves(frame: Frame, kind: int) -> bytes:
    if frame.kind != OWN:
        raise Damaged(f"a frame of kind {frame.kind} lies where own leaves should be")
    return frame.sections[kind]
