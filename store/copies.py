"""Cached copies of others' objects: which may be kept, which go, with the appended state as it is (DESIGN R6).

Skipped: what is owned or mirrored here, versions older than the one held, classes and owners that are not known, and
bodies that make no sense. Carried out by the task that owns the log (`store.work.TakeCopies`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from identity.encoding import encode_integer
from identity.errors import PeerMisbehaved
from identity.names import END, Reference
from store.bodies import has_newer_fields
from store.frame_parts import CopyChange
from store.reading import OBJECTS
from store.records import CACHED, DELETE, PUT, unpack_record

if TYPE_CHECKING:
    from store.writing import Writer


class Copy(NamedTuple):
    """An object fetched from its owner, to be kept as a cached copy. `body` is its wire body, empty: deleted."""

    reference: Reference
    fingerprint: bytes
    sequence: int
    body: bytes


def kept_copies(writer: Writer, copies: Sequence[Copy], received_ms: int) -> Iterator[CopyChange]:
    """Those that may stand, with the appended state as it is now."""
    applier = writer.applier
    for copy in sorted(copies, key=lambda each: each.sequence):  # of two of one object the newer one stays
        server_key = applier.servers.key(copy.reference.server, copy.reference.incarnation)
        entry = applier.registry.by_fingerprint(copy.fingerprint)
        if server_key in (None, END) or entry is None or entry.hidden or has_newer_fields(entry.codec, copy.body):
            continue
        assert server_key is not None
        object_key = server_key + encode_integer(copy.reference.object)
        standing = _standing(writer, object_key)
        if standing is not None and (standing.kind != CACHED or standing.sequence > copy.sequence):
            continue
        if not copy.body:
            if standing is not None:
                yield CopyChange(DELETE, object_key, entry.number, 0, 0, b"")
            continue
        try:
            entry.codec.read_untrusted(copy.body)
        except PeerMisbehaved:
            continue
        stored = entry.codec.store(copy.body)
        yield CopyChange(PUT, object_key, entry.number, copy.sequence, received_ms, stored)


def evictions(writer: Writer, references: Iterable[Reference]) -> Iterator[CopyChange]:
    """What ends those of these that are cached copies."""
    applier = writer.applier
    for reference in references:
        server_key = applier.servers.key(reference.server, reference.incarnation)
        if server_key is None:
            continue
        object_key = server_key + encode_integer(reference.object)
        standing = _standing(writer, object_key)
        if standing is not None and standing.kind == CACHED:
            yield CopyChange(DELETE, object_key, standing.class_number, 0, 0, b"")


def _standing(writer: Writer, object_key: bytes) -> Any:
    data = writer.generations.appended.get(OBJECTS, object_key)
    return None if data is None else unpack_record(object_key, data)
