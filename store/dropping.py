"""A class is dropped: no own objects of it are left, and none are made any more (DESIGN R2).

    drop("Note")                   refused while there is an own object; one of them is named
    drop("Note", objects=True)     they are deleted first, 256 in a transaction, as their references allow

What others own stays, and so does what is known of the class: their objects are read by it, and so is the history of
our own. Its object of `Class` therefore stays in the registry feed; that it was dropped is this server's own affair, a
setting (`store.building`). To define or adopt the class again is enough to have it back.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from identity.encoding import decode_integer_untrusted
from identity.errors import NotFound, Refused
from identity.names import END
from store.building import DROPPED, Building
from store.building_steps import put_building
from store.keys import after_prefix
from store.reading import OBJECTS
from store.records import unpack_record
from store.registry import FIRST_USER_NUMBER, ClassEntry, Registry

if TYPE_CHECKING:
    from store.applying import Applier
    from store.transaction import Transaction

DELETED_AT_ONCE = 256
LOOKED_AT = 4096  # own objects in one step, of whatever class


def droppable(registry: Registry, name: str) -> ClassEntry:
    """The class of that name. Raises `Refused` when there is nothing to drop."""
    entry = registry.visible(name)
    if entry.number < FIRST_USER_NUMBER:
        raise Refused(f"class {name} is built in", next_step="see which are yours: bangpath class", **{"class": name})
    if not entry.writable:
        raise Refused(
            f"class {name} is not adopted here, so there is nothing to drop",
            next_step="see which are: bangpath class",
            **{"class": name},
        )
    return entry


def put_drop(
    applier: Applier, transaction: Transaction, entry: ClassEntry, after: bytes, *, objects: bool
) -> bytes | None:
    """Write one step, from behind the object `after` on; where the next one begins, or None: the class is dropped.

    With it go older majors that are being upgraded. Objects do not move in their table, and new ones stand at its end:
    whoever has come there has seen all of them. Raises `Refused` when an own object is there and must not go.
    """
    name = entry.definition.name
    going = {each.number: each for each in (entry, *applier.registry.adopted_before(entry.definition))}
    low = after + b"\0" if after else END
    deleted = looked = 0
    for key, data in applier.appended.scan(OBJECTS, low, after_prefix(END)):
        if looked == LOOKED_AT or deleted == DELETED_AT_ONCE:
            return after
        looked += 1
        after = key
        record = unpack_record(key, data)
        if record.class_number not in going or record.deleted:
            continue
        number = decode_integer_untrusted(key, len(END))[0]
        if not objects:
            raise Refused(
                f"class {name} has own objects, {transaction.own_reference(number)} for one",
                next_step=f"bangpath class drop {name} --objects deletes them with it",
                **{"class": name},
            )
        with suppress(NotFound):  # it went with one before it
            transaction.delete(number)
        deleted += 1
    for number, each in going.items():
        put_building(transaction, number, Building(DROPPED, each.definition))
    return None
