"""What leaves and records say, read with the classes that the world's own servers know.

    fields_of(world, leaf)          {"text": "b"}, {} for a deletion, None where nobody knows its class
    record_at(view, server, 4)      what a store has of its own object 4, tombstones too
    held_records(view, ...)         what it has of another's

Small helpers that several checkers share; none of them judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from identity.encoding import encode_integer
from identity.errors import BangpathError
from store.reading import OBJECTS, View, split_object_key
from store.records import MIRRORED, Leaf, Record, unpack_record

if TYPE_CHECKING:
    from simulations.server import SimulatedServer
    from simulations.world import World


def fields_of(world: World, leaf: Leaf) -> dict[str, Any] | None:
    """The fields that a leaf writes, by name; empty for a deletion; None: no server that is up knows its class."""
    if not leaf.body:
        return {}
    read = world.ledger.read
    key = (leaf.fingerprint, leaf.body)
    if key not in read:
        entries = (
            server.node.parts.database.registry.by_fingerprint(leaf.fingerprint)
            for server in world.servers
            if server.node is not None
        )
        entry = next((each for each in entries if each is not None), None)
        if entry is None:
            return None
        try:
            read[key] = dict(zip(entry.codec.names, entry.codec.read_untrusted(leaf.body), strict=False))
        except BangpathError:
            read[key] = None
    return read[key]


def record_at(view: View, server: SimulatedServer, object: int) -> Record | None:
    """What a server's store has of its own object, a tombstone too."""
    key = view.object_key((server.server, object))  # type: ignore[arg-type]  # a plain number does
    return None if key is None else view.record(key)


def held_records(view: View, owner: SimulatedServer, incarnation: int) -> Iterator[tuple[int, Record]]:
    """Everything of the owner's users that a store holds as a mirror, by its numbers."""
    prefix = view.servers.key(owner.server, incarnation)
    if prefix is None:
        return
    for key, data in view.source.scan(OBJECTS, prefix, prefix + b"\xff"):
        record = unpack_record(key, data)
        if record.kind == MIRRORED:
            yield split_object_key(key)[1], record


def held_record(view: View, owner: SimulatedServer, incarnation: int, object: int) -> Record | None:
    """What a store has of another's object."""
    prefix = view.servers.key(owner.server, incarnation)
    return None if prefix is None else view.record(prefix + encode_integer(object))
