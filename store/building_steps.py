"""What one step of building or dropping indexes writes, on the appended state (DESIGN R2, `store.building`).

A step is one transaction of some milliseconds, made like any other, so commits go on between two of them. The last one
of a build makes the new definition hold, in one transaction with the end of the build: from then on questions use the
indexes, and uniqueness is promised. What else a definition says holds from its beginning.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from identity.encoding import decode_integer_untrusted
from identity.errors import Refused
from identity.names import END
from store.building import (
    BUILDING,
    BUILT_AT_ONCE,
    DONE,
    DROPPED_AT_ONCE,
    DROPPING,
    REFUSED,
    SETTING_PREFIX,
    UNDOING,
    Building,
    leaving,
    more_indexes,
    walked,
)
from store.fieldtypes import shown
from store.indexes import BLOBS, compile_indexes
from store.reading import INDEX
from store.registry import CLASS, KNOWN_CLASS, ClassEntry, Registry, class_fields
from store.statistics import count_entries

if TYPE_CHECKING:
    from store.applying import Applier
    from store.definitions import ClassDefinition
    from store.transaction import Transaction


def is_large(applier: Applier, entry: ClassEntry) -> bool:
    """Whether its objects are too many to be given other entries at once."""
    whole = [entry.extent.whole_range()]
    return count_entries(applier.appended, whole, BUILT_AT_ONCE + 1) > BUILT_AT_ONCE


def with_indexes_of(definition: ClassDefinition, before: ClassDefinition) -> ClassDefinition:
    """What a definition says, but with the indexes that were there before."""
    fields = []
    for field in definition.fields:
        old = before.by_name.get(field.name)
        said = (old.index, old.unique, old.on_delete) if old is not None else (False, False, "")
        fields.append(msgspec.structs.replace(field, index=said[0], unique=said[1], on_delete=said[2]))
    return msgspec.structs.replace(definition, fields=tuple(fields), indexes=before.indexes)


def differs(entry: ClassEntry, joined: ClassDefinition) -> bool:
    """Whether a definition has other indexes than are there. Raises `Refused` where one only becomes unique, or not."""
    wanted = {index.prefix: index for index in compile_indexes(joined, entry.number)}
    for index in entry.usable:
        other = wanted.get(index.prefix)
        if other is not None and other.unique != index.unique:
            raise Refused(
                f"the index on {index.name} of {joined.name} is there, and its objects are many: it cannot become "
                f"{'unique' if other.unique else 'one that is not unique'} in its place",
                next_step="define the class without it first, then with the new one",
                field=index.parts[-1].field,
            )
    return wanted.keys() - {BLOBS} != {index.prefix for index in entry.usable} - {BLOBS}


def put_step(applier: Applier, transaction: Transaction, number: int) -> str:
    """Write one step of the class with this number; its state afterwards, "" when nothing was begun."""
    entry = applier.registry.by_number(number)
    building = applier.registry.building(number)
    if entry is None or building is None or not building.unfinished:
        return "" if building is None else building.state
    if building.state != BUILDING:
        after = _drop(applier, entry, building)
    else:
        after = _build(applier, transaction, entry, building)
    put_building(transaction, number, after)
    if building.state == BUILDING and after.state in (DROPPING, DONE):
        put_class(transaction, entry, building.other)
    return after.state


def put_building(transaction: Transaction, number: int, building: Building) -> None:
    transaction.put_setting(f"{SETTING_PREFIX}{number}", building.to_plain())


def put_class(transaction: Transaction, entry: ClassEntry, definition: ClassDefinition) -> Any:
    """The definition holds: the object of `Class` that adopts it, of a private one that of `KnownClass`."""
    own_object = entry.own_object
    reference = transaction.own_reference(own_object or entry.number)
    if definition.privacy != "private":
        reference = transaction.put_object(_built_in(transaction, CLASS), own_object or None, class_fields(definition))
    return reference


def _build(applier: Applier, transaction: Transaction, entry: ClassEntry, building: Building) -> Building:
    """The next objects get their entries; or two of them cannot both, or there are no more."""
    source = applier.appended
    coming = more_indexes(building.other, entry.definition, entry.number)
    passed = walked(source, entry.extent, building.cursor, None, BUILT_AT_ONCE)
    claimed: dict[bytes, bytes] = {}
    for _, key in passed:
        if not key.startswith(END):
            continue
        values = applier.values_of(entry, key)
        for index in coming:
            for claim, value in index.claims(values) if index.unique else ():
                holder = source.get(INDEX, claim) or claimed.setdefault(claim, key)
                if holder != key:
                    one, other = (f"{transaction.servers.server}/{_number(each)}" for each in (holder, key))
                    reason = f"{index.name} of {entry.definition.name} cannot be unique: {shown(value)} stands in two "
                    reason += f"objects, {one} and {other}"
                    return Building(UNDOING, building.other, b"", 0, reason)
    if passed:
        return msgspec.structs.replace(building, cursor=passed[-1][0], done=building.done + len(passed))
    before, after = entry.definition, joined(entry, building.other)
    transaction.put_object(_built_in(transaction, KNOWN_CLASS), entry.number, {"definition": after.to_plain()})
    gone = more_indexes(before, after, entry.number)
    return Building(DROPPING if gone else DONE, before)


def _drop(applier: Applier, entry: ClassEntry, building: Building) -> Building:
    """The next entries go; or there are no more."""
    gone = more_indexes(building.other, entry.definition, entry.number)
    keys = list(islice(leaving(applier.appended, gone, building.cursor, None), DROPPED_AT_ONCE))
    if keys:
        return msgspec.structs.replace(building, cursor=keys[-1], done=building.done + len(keys))
    state = REFUSED if building.state == UNDOING else DONE
    return msgspec.structs.replace(building, state=state, cursor=b"")


def joined(entry: ClassEntry | None, definition: ClassDefinition) -> ClassDefinition:
    """What is known of the class afterwards: as defined, and the fields that only others have."""
    if entry is None or len(entry.definition.fields) <= len(definition.fields):
        return definition
    more = entry.definition.fields[len(definition.fields) :]
    return msgspec.structs.replace(definition, fields=definition.fields + more, minor=entry.definition.minor)


def _built_in(transaction: Transaction, number: int) -> ClassEntry:
    registry: Registry = transaction.registry
    entry = registry.by_number(number)
    assert entry is not None, "built-in classes are always known"
    return entry


def _number(object_key: bytes) -> int:
    return decode_integer_untrusted(object_key, len(END))[0]
