"""Whether another server's update can be taken now, later, or never (DESIGN F4, F5).

    Foreign    in order, of known classes, with fields that make sense: append it
    Applied    it is here already
    Deferred   not yet: an update before it is missing, or a class is not known; ask again when the registry advances
    Rejected   never: its leaves make no sense, or it continues another history; the feed stands still and is reported

Signature, Merkle root and chain were verified before (`replication`); here leaves become values, by the class that
their fingerprint names. Reading changes nothing: what the update will need (a number for its owner, for a class that
it makes known) is made ready as private changes that go into the same frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from identity.encoding import encode_integer
from identity.errors import PeerMisbehaved
from identity.names import END, ServerId
from store.answered import rebuilt
from store.applying import Applier, ForeignPut
from store.bodies import body_length, has_newer_fields
from store.definitions import joined_definition
from store.frame_parts import LocalChange
from store.learning import known_class_body, known_class_definition
from store.records import DATA, DELETE, PUT, REGISTRY, Leaf, Update, read_leaves_untrusted
from store.registry import (
    ANSWERED,
    BUILT_IN,
    CLASS,
    FIRST_USER_NUMBER,
    KNOWN_CLASS,
    KNOWN_SERVER,
    ClassEntry,
    Registry,
    definition_of_class_untrusted,
)


class Applied(NamedTuple):
    """The update is durable here, now or already before."""

    update: Update


class Deferred(NamedTuple):
    """The update cannot be understood yet: it stays missing, and is asked for again."""

    update: Update
    reason: str


class Rejected(NamedTuple):
    """The update will never be taken."""

    update: Update
    reason: str


Outcome = Applied | Deferred | Rejected


class Foreign(NamedTuple):
    """An update that can be appended."""

    update: Update
    puts: list[ForeignPut]
    local: list[LocalChange]


def read_foreign_untrusted(applier: Applier, update: Update) -> Foreign | Outcome:
    """What can be done with an update. Never raises for what it says."""
    head = update.head
    servers = applier.servers
    if (head.server, head.incarnation) == (servers.server, servers.incarnation) and not applier.adopting:
        return Rejected(update, "it is of this very server")
    server_key = servers.key(head.server, head.incarnation)
    state = None if server_key is None else applier.feeds.get((server_key, head.kind))
    expected = 1 if state is None else state.last + 1
    if head.number < expected:
        return Applied(update)
    if head.number > expected:
        return Deferred(update, f"update {expected} of {head.server} is missing before it")
    if state is not None and head.previous != state.last_hash:
        return Rejected(update, f"it does not continue update {state.last} of {head.server} that is held here")
    try:
        read = understand_untrusted(applier, update)
    except PeerMisbehaved as error:
        return Rejected(update, error.cause)
    if isinstance(read, str):
        return Deferred(update, read)
    local: list[LocalChange] = []
    if server_key is None:
        body = BUILT_IN[KNOWN_SERVER].codec.encode([bytes(head.server), head.incarnation])
        local.append(LocalChange(PUT, applier.allocate(), KNOWN_SERVER, body))
    try:
        for put in read:
            if put.entry.number == CLASS and put.values is not None:
                local += _heard_class_untrusted(applier, put, local)
    except PeerMisbehaved as error:
        return Rejected(update, error.cause)
    if server_key == END and head.kind == DATA:
        local += _carried_out(applier, update, read)
    return Foreign(update, read, local)


def _carried_out(applier: Applier, update: Update, puts: Sequence[ForeignPut]) -> list[LocalChange]:
    """The records of requests that this server had carried out, and had forgotten with its own update."""
    head = update.head

    def stands(number: int) -> bool:
        standing = applier.standing({}, END + encode_integer(number))
        return standing is not None and not standing.deleted

    records = rebuilt((put.leaf for put in puts), epoch=head.epoch, number=head.number, stands=stands)
    codec = BUILT_IN[ANSWERED].codec
    return [
        LocalChange(PUT, applier.allocate(), ANSWERED, codec.encode([request, kept.to_bytes()]))
        for request, kept in records
    ]


def understand_untrusted(applier: Applier, update: Update) -> list[ForeignPut] | str:
    """The leaves as values, or why one of them cannot be understood yet. Raises `PeerMisbehaved`."""
    head = update.head
    puts = []
    known_alike: dict[int, bool] = {}

    def reads_alike(entry: ClassEntry) -> bool:
        if entry.number not in known_alike:
            known_alike[entry.number] = _reads_alike(applier, head.server, head.incarnation, entry)
        return known_alike[entry.number]

    for leaf in read_leaves_untrusted(update.leaves, head.count):
        put = _understand_leaf_untrusted(applier.registry, leaf, head.kind, reads_alike)
        if isinstance(put, str):
            return put
        puts.append(put)
    return puts


def _understand_leaf_untrusted(
    registry: Registry, leaf: Leaf, kind: int, reads_alike: Callable[[ClassEntry], bool]
) -> ForeignPut | str:
    entry = registry.by_fingerprint(leaf.fingerprint)
    if entry is None:
        if kind == REGISTRY:
            raise PeerMisbehaved(f"a registry feed with an object of class {leaf.fingerprint.hex()}")
        return f"class {leaf.fingerprint.hex()} is not known here yet"
    name = entry.definition.name
    if (entry.number < FIRST_USER_NUMBER) != (kind == REGISTRY) or entry.hidden:
        raise PeerMisbehaved(f"an object of {name} in the wrong feed")
    if leaf.operation == DELETE:
        return ForeignPut(leaf, entry, None)
    if has_newer_fields(entry.codec, leaf.body):
        return f"a newer minor version of class {name} is not known here yet"
    if body_length(leaf.body) > entry.first_fields and not reads_alike(entry):
        return f"its owner gave class {name} other fields than are known here"
    return ForeignPut(leaf, entry, entry.codec.read_untrusted(leaf.body))


def _reads_alike(applier: Applier, server: ServerId, incarnation: int, entry: ClassEntry) -> bool:
    """Whether this owner's own definition, heard in its registry feed, has our fields where both have some.

    Two owners may add different fields to one class; read by our definition, one's mayor would be the other's twin.
    """
    if entry.number < FIRST_USER_NUMBER:
        return True
    server_key = applier.servers.key(server, incarnation)
    for definition in applier.classes_of(server_key) if server_key is not None else ():
        if definition.fingerprint == entry.definition.fingerprint:
            return joined_definition(entry.definition, definition) is not None
    return False


def _heard_class_untrusted(applier: Applier, put: ForeignPut, before: Sequence[LocalChange]) -> list[LocalChange]:
    """The private object that makes the class of another server known here, or longer."""
    assert put.values is not None
    heard = definition_of_class_untrusted(dict(zip(put.entry.codec.names, put.values, strict=True)))
    heard = msgspec.structs.replace(heard, privacy="distributed", collectable=False)  # those are for `define` to say
    for change in before:  # twice in one update: what it says first
        if change.class_number == KNOWN_CLASS and known_class_definition(change.body).fingerprint == heard.fingerprint:
            return []
    entry = applier.registry.by_fingerprint(heard.fingerprint)
    if entry is None:
        return [LocalChange(PUT, applier.allocate(), KNOWN_CLASS, known_class_body(heard))]
    joined = joined_definition(entry.definition, heard)
    if joined is None or joined == entry.definition:
        return []
    return [LocalChange(PUT, entry.number, KNOWN_CLASS, known_class_body(joined))]
