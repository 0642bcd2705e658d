"""An update is believed when its owner's signature covers the root of a tree over exactly these leaves (DESIGN I6).

    leaf    SHA-256("bangpath leaf 1" 00 | server ended | incarnation u64 | operation .. fingerprint, 25 bytes
                    | request length u8 | request | SHA-256(salt | body))
    node    SHA-256(01 | left | right), pairs from the left, an odd one is promoted unchanged
    head    the signed part of an update, pictured in `store.records`; previous = hash of the head before
    sign    Ed25519 over "bangpath update 1" 00 | head

A leaf's inner hash stands alone so that a stub (header and inner hash) proves the same root without the body. Leaves
are hashed in their wire form, as `store.records.pack_leaf` wrote them, never by local numbers.

`FeedSealer` is what the store calls once per group and feed, before its sync, so one number never means two things:
a group that was not synced never left the server, and what was synced is resent as these very bytes (DESIGN L3).
Costs: 1.7 us per leaf, 23 us to sign, 48 us to verify.

Left to others: whether the update continues the feed (`replication.feeds`), what its leaves mean (`store`), and
whose key it is (`identity.trust`, through the node).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from hashlib import sha256
from random import Random
from typing import NamedTuple

from nacl.bindings import crypto_sign_open
from nacl.exceptions import CryptoError

from identity.errors import LocalMistake, PeerMisbehaved
from identity.names import ServerId
from store.records import DATA, REGISTRY, Head, Seal, Update, head_hash

LEAF_DOMAIN = b"bangpath leaf 1\0"
UPDATE_DOMAIN = b"bangpath update 1\0"
NODE_DOMAIN = b"\x01"  # no leaf begins with it
FIRST_PREVIOUS = bytes(32)  # what the first update of a feed names as the one before
MAX_LEAVES = 1 << 20  # a drain holds 1 024 transactions or 8 MiB (DESIGN L5); 46 bytes is the least of a leaf

_LEAF_HEAD_BYTES = 46  # operation u8, object u64, sequence u64, fingerprint 8, salt 16, request length u8, body u32
_LENGTHS = struct.Struct(">BI")
_SEQUENCE = struct.Struct(">Q")


class Checked(NamedTuple):
    """What one walk over an update's leaves tells."""

    root: bytes
    lowest: int  # of the sequences
    highest: int


def leaf_prefix(server: ServerId, incarnation: int) -> bytes:
    """What the hashes of all leaves of one owner begin with."""
    return LEAF_DOMAIN + server.ended + incarnation.to_bytes(8, "big")


def leaf_hash(prefix: bytes, leaf: bytes) -> bytes:
    """The hash of one packed leaf under `leaf_prefix(owner, incarnation)`."""
    body = _LEAF_HEAD_BYTES + leaf[41]
    inner = sha256(leaf[25:41] + leaf[body:]).digest()
    return sha256(prefix + leaf[:25] + leaf[41:42] + leaf[_LEAF_HEAD_BYTES:body] + inner).digest()


def merkle_root(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, 32 bytes. Raises `LocalMistake` for none: such a group takes no number (F1)."""
    if not hashes:
        raise LocalMistake("an update without leaves has no root, and takes no number")
    level = list(hashes)
    while len(level) > 1:
        odd = [level[-1]] if len(level) & 1 else []
        pairs = iter(level)
        level = [sha256(NODE_DOMAIN + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
        level += odd
    return level[0]


def check_leaves_untrusted(server: ServerId, incarnation: int, leaves: bytes, count: int) -> Checked:
    """Root and sequences of `count` packed leaves that a stranger sent. Raises `PeerMisbehaved` where they don't fit.

    Only lengths are trusted from it: what a leaf says is read by the store (`read_leaves_untrusted`).
    """
    if not 1 <= count <= MAX_LEAVES or len(leaves) < count * _LEAF_HEAD_BYTES:
        raise PeerMisbehaved(f"an update of {server} that says {count} leaves in {len(leaves)} bytes")
    prefix = leaf_prefix(server, incarnation)
    hashes = []
    offset = 0
    lowest, highest = 2**64, 0
    end = len(leaves)
    for _ in range(count):
        if offset + _LEAF_HEAD_BYTES > end:
            raise PeerMisbehaved(f"an update of {server} whose leaves are cut off")
        request_length, body_length = _LENGTHS.unpack_from(leaves, offset + 41)
        body = offset + _LEAF_HEAD_BYTES + request_length
        after = body + body_length
        if after > end:
            raise PeerMisbehaved(f"an update of {server} whose leaves are cut off")
        inner = sha256(leaves[offset + 25 : offset + 41] + leaves[body:after]).digest()
        hashes.append(
            sha256(
                prefix
                + leaves[offset : offset + 25]
                + leaves[offset + 41 : offset + 42]
                + leaves[offset + _LEAF_HEAD_BYTES : body]
                + inner
            ).digest()
        )
        (sequence,) = _SEQUENCE.unpack_from(leaves, offset + 9)
        if sequence < lowest:
            lowest = sequence
        if sequence > highest:
            highest = sequence
        offset = after
    if offset != end:
        raise PeerMisbehaved(f"an update of {server} with {end - offset} bytes after its leaves")
    return Checked(merkle_root(hashes), lowest, highest)


def verify_signature(head: bytes, signature: bytes, signing_key: bytes) -> bool:
    """Whether `signing_key` (Ed25519, 32 bytes) signed this head."""
    try:
        crypto_sign_open(signature + UPDATE_DOMAIN + head, signing_key)
    except (CryptoError, ValueError):  # nacl raises ValueError for a key of the wrong length
        return False
    return True


def verify_update_untrusted(update: Update, signing_key: bytes) -> Checked:
    """That `signing_key` signed exactly these leaves as one update. Raises `PeerMisbehaved`.

    It does not say that the update continues the feed: compare its `previous` and epoch with the update before.
    """
    head = update.head
    checked = check_leaves_untrusted(head.server, head.incarnation, update.leaves, head.count)
    if checked.root != head.root:
        raise PeerMisbehaved(f"update {head.number} of {head.server} whose leaves are not what its head says")
    if not verify_signature(head.to_bytes(), update.signature, signing_key):
        raise PeerMisbehaved(f"update {head.number} of {head.server} that {head.server} did not sign")
    return checked


def update_hash(update: Update) -> bytes:
    """What the next update of the feed names as `previous`, 32 bytes."""
    return head_hash(update.head.to_bytes())


class FeedSealer:
    """Gives the groups of one server their numbers, chains them and signs them (`store.records.Sealer`)."""

    def __init__(self, server: ServerId, incarnation: int, sign: Callable[[bytes], bytes], random: Random) -> None:
        """`sign` gives the 64 bytes of an Ed25519 signature; `random` the nonce of each epoch (DESIGN U6)."""
        self._server = server
        self._incarnation = incarnation
        self._prefix = leaf_prefix(server, incarnation)
        self._sign = sign
        self._random = random
        self._epoch = 0
        self._nonce = b""
        self._last: dict[int, tuple[int, bytes]] = {REGISTRY: (0, FIRST_PREVIOUS), DATA: (0, FIRST_PREVIOUS)}

    def resume(self, kind: int, head: bytes | None) -> None:
        """Continue feed `kind` after its last durable update, whose signed part this is (None: it has none yet)."""
        if head is None:
            self._last[kind] = (0, FIRST_PREVIOUS)
            return
        last = Head.from_bytes_untrusted(head)
        if (last.server, last.incarnation, last.kind) != (self._server, self._incarnation, kind):
            raise LocalMistake(f"feed {kind} of {self._server} cannot continue after an update of {last.server}")
        self._last[kind] = (last.number, head_hash(head))

    def begin_epoch(self, epoch: int) -> None:
        """A new run of the server: the pair (epoch, nonce) in its updates is its epoch record (DESIGN N6)."""
        self._epoch = epoch
        self._nonce = self._random.randbytes(16)

    def seal(self, kind: int, leaves: Sequence[bytes]) -> Seal:
        """Number, chain and sign one group's leaves of one feed. Raises `LocalMistake` before `begin_epoch`."""
        if not self._nonce:
            raise LocalMistake("a group cannot be sealed before the epoch has begun")
        number, previous = self._last[kind]
        number += 1
        prefix = self._prefix
        head = Head(
            server=self._server,
            incarnation=self._incarnation,
            kind=kind,
            epoch=self._epoch,
            nonce=self._nonce,
            number=number,
            previous=previous,
            root=merkle_root([leaf_hash(prefix, leaf) for leaf in leaves]),
            count=len(leaves),
        ).to_bytes()
        self._last[kind] = (number, head_hash(head))
        return Seal(kind=kind, number=number, head=head, signature=self._sign(UPDATE_DOMAIN + head))
