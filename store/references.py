"""References that must not dangle: a target exists when it is pointed to, and its deletion is no surprise (DESIGN R5).

    create, update     a reference to an own object: it must be there, and of the class that the field names
    delete             every own object that points to it, found by the field's index:
                           restrict   the deletion is refused        clear   the reference becomes null
                           cascade    that object goes too           ""      nothing is said; it may dangle

References to others' objects are not looked at: only their owner may say what exists (P5). Both acts note what they
read, so that an optimistic transaction that points at what another deletes conflicts with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from identity.encoding import encode_integer
from identity.errors import Refused
from identity.names import END, Reference
from store.registry import ClassEntry

if TYPE_CHECKING:
    from store.transaction import Transaction

_INDEX_TABLE = "index"


def check_targets(transaction: Transaction, entry: ClassEntry, values: list[Any]) -> None:
    """That the own objects that these values point to exist. Raises `Refused`, naming the field."""
    servers = transaction.servers
    for position, target_class in entry.own_codec.pointers:
        value = values[position]
        for reference in value if isinstance(value, list) else (value,):
            if reference is None or (reference.server, reference.incarnation) != (servers.server, servers.incarnation):
                continue
            object_key = END + encode_integer(reference.object)
            record = transaction.record(object_key)
            name = entry.own_codec.names[position]
            if record is None or record.deleted:
                raise Refused(f"field {name}: {reference} does not exist", field=name)
            found = transaction.entry_of(object_key, record)
            if found.hidden or (target_class and found.definition.name != target_class):
                raise Refused(f"field {name}: {reference} is no {target_class or 'object to point to'}", field=name)


def release_pointers(transaction: Transaction, entry: ClassEntry, target: Reference) -> None:
    """What happens to own objects that point to `target`, which was just deleted. Raises `Refused`."""
    for pointing, field in transaction.registry.fields_pointing_to(entry.definition.name):
        index = pointing.index_on(field.name)
        assert index is not None, "a field with on_delete is indexed"
        low, high = index.equal_range(target)
        for _, object_key in list(transaction.source.scan(_INDEX_TABLE, low, high)):
            record = transaction.record(object_key) if object_key.startswith(END) else None
            if record is None or record.deleted:  # another's, or gone with one that went before
                continue
            number = int.from_bytes(object_key[len(END) :], "big") & (2**63 - 1)
            if field.on_delete == "restrict":
                raise Refused(
                    f"{target} is kept by field {field.name} of {transaction.own_reference(number)}",
                    next_step="delete or change that object first",
                    field=field.name,
                )
            if field.on_delete == "clear":
                transaction.update(number, {field.name: None})
            else:
                transaction.delete(number)
