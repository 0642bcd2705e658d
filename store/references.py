"""References that must not dangle: a target exists when it is pointed to, and its deletion is no surprise (DESIGN R5).

    create, update     a reference to an own object: it must be there, and of the class that the field names
    delete             every own object that points to it, found by the field's index:
                           restrict   the deletion is refused        clear   the reference becomes null
                           cascade    that object goes too           ""      nothing is said; it may dangle

    blob               it must be here when it is named: who writes one keeps it until then (`store.blobs`)

References to others' objects are not looked at: only their owner may say what exists (P5). Both acts note what they
read, so that an optimistic transaction that points at what another deletes conflicts with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from identity.encoding import encode_integer
from identity.errors import Refused
from identity.names import END, Reference
from store.fieldtypes import wrong_field
from store.indexes import MAX_ELEMENTS, blob_range
from store.registry import ClassEntry, Registry

if TYPE_CHECKING:
    from store.fields import Field
    from store.generations import Generations
    from store.reading import Source
    from store.transaction import Transaction

_INDEX_TABLE = "index"


def check_targets(transaction: Transaction, entry: ClassEntry, values: list[Any]) -> None:
    """That the own objects that these values point to exist. Raises `Refused`, naming the field."""
    servers = transaction.servers
    for position, target_class in entry.own_codec.pointers:
        for reference in references_in(values[position]):
            if (reference.server, reference.incarnation) != (servers.server, servers.incarnation):
                continue
            object_key = END + encode_integer(reference.object)
            record = transaction.record(object_key)
            name = entry.own_codec.names[position]
            if record is None or record.deleted:
                raise Refused(f"field {name}: {reference} does not exist", field=name)
            found = transaction.entry_of(object_key, record)
            if found.hidden or (target_class and found.definition.name != target_class):
                raise Refused(f"field {name}: {reference} is no {target_class or 'object to point to'}", field=name)


def references_in(value: Any) -> Iterator[Reference]:
    """Those that a value holds, also within lists of lists."""
    if isinstance(value, list):
        for each in value:
            yield from references_in(each)
    elif isinstance(value, Reference):
        yield value


def check_blobs(transaction: Transaction, entry: ClassEntry, values: list[Any]) -> None:
    """That the blobs that these values name are here, and not too many. Raises `Refused`, naming the field."""
    codec = entry.own_codec
    count = 0
    for position in codec.blobs:
        value = values[position]
        for blob in value if isinstance(value, list) else () if value is None else (value,):
            count += 1
            if count > MAX_ELEMENTS:
                why = f"an object names {MAX_ELEMENTS} blobs at most"
                raise wrong_field(codec.definition.name, codec.names[position], why)
            if transaction.blobs is None or not transaction.blobs.has(blob):
                why = "no blobs are kept here" if transaction.blobs is None else f"{blob} is not here"
                raise wrong_field(codec.definition.name, codec.names[position], why)


def check_blobs_again(transaction: Transaction) -> None:
    """The same of all that a transaction has changed, for it may have waited."""
    for change in transaction.changes.values():
        if change.entry.own_codec.blobs and change.stored:
            check_blobs(transaction, change.entry, change.entry.own_codec.load_values(change.stored))


class BlobNeeds:
    """What generations tell of who needs a blob (`store.blobs.Needs`)."""

    def __init__(self, generations: Generations) -> None:
        self._generations = generations

    def is_named(self, root: bytes) -> bool:
        return next(self._generations.appended.scan(_INDEX_TABLE, *blob_range(root)), None) is not None

    @property
    def newest(self) -> int:
        return self._generations.appended_number

    @property
    def oldest(self) -> int:
        return self._generations.oldest_seen


def pointing_to(
    registry: Registry, source: Source, class_name: str, target: Reference
) -> Iterator[tuple[Field, bytes]]:
    """Own objects that point to an own object of a class by a field with `on_delete`: the field, the object key."""
    for pointing, field in registry.fields_pointing_to(class_name):
        index = pointing.index_on(field.name)
        assert index is not None, "a field with on_delete is indexed"
        for _, object_key in source.scan(_INDEX_TABLE, *index.equal_range(target)):
            if object_key.startswith(END):
                yield field, object_key


def release_pointers(transaction: Transaction, entry: ClassEntry, target: Reference) -> None:
    """What happens to own objects that point to `target`, which was just deleted. Raises `Refused`."""
    found = list(pointing_to(transaction.registry, transaction.source, entry.definition.name, target))
    for field, object_key in found:
        record = transaction.record(object_key)
        if record is None or record.deleted:  # gone with one that went before
            continue
        number = int.from_bytes(object_key[len(END) :], "big") & (2**63 - 1)
        if number in transaction.going:
            continue
        if field.on_delete == "restrict":
            raise Refused(
                f"{target} is kept by field {field.name} of {transaction.own_reference(number)}",
                next_step="delete or change that object first",
                field=field.name,
            )
        if field.on_delete == "clear":
            transaction.clear(number, field.name)
        else:
            transaction.delete(number)
