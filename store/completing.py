"""Which values a field has that begin so: distinct, in their order, from an index (DESIGN R4).

    complete("City", "name", "Ber")      Berlin  Bern  Bernau ...

    entries   Berlin/5  Berlin/9  Berlin/70  Bern/8  Bernau/3
                 ^ read, and on behind all of Berlin's: ^

A value costs one look at the index and one object, however many have it. Values whose keys were cut share one place:
there all objects are read. Of lists the elements are completed; those that have too many for entries of their own are
read as well. Of types other than text the prefix is empty: their values in order. Nulls are no values.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from identity.errors import Refused
from identity.names import Pattern
from store.fieldtypes import shown
from store.indexes import ElementIndex, Index
from store.keys import TEXTS, after_prefix, prefix_range
from store.records import Stored
from store.registry import ClassEntry
from store.selecting import missing, wanted_owners

if TYPE_CHECKING:
    from store.reading import Reader

_INDEX_TABLE = "index"
MAX_VALUES = 1000
Shows = Callable[[Stored], bool]


def complete(
    reader: Reader,
    entries: Sequence[ClassEntry],
    field: str,
    prefix: Any,
    limit: int,
    servers: Pattern | None = None,
    shows: Shows = lambda _: True,
) -> list[Any]:
    """At most `limit` values that objects held here have in `field` and that begin with `prefix`.

    `shows` says whether an object counts. Raises `Refused`, naming the field, when there is no index that begins with
    it, when the prefix is none for its type, or the limit is none.
    """
    indexes = indexes_of(entries, field)
    entry, index = indexes[0]
    found = entry.definition.field(field)
    if type(limit) is not int or not 1 <= limit <= MAX_VALUES:
        raise Refused(
            f"a limit of {limit!r}: between 1 and {MAX_VALUES} values can be asked for",
            next_step="ask again with a longer beginning",
            field="limit",
        )
    part = index.parts[0]
    wanted_type = bytes if part.of.base == "bytes" else str
    if prefix is None or prefix == "":
        prefix = wanted_type()
    if not isinstance(prefix, wanted_type) or (prefix and part.of.base not in TEXTS):
        raise Refused(
            f"field {field} is a {found.type}, and {shown(prefix)} is no beginning of one",
            next_step="of text and bytes say how they begin, of others nothing",
            field=field,
        )
    owners = wanted_owners(reader, servers)
    walks = [_Values(reader, entry, index, prefix, owners, shows).walk() for entry, index in indexes]
    return list(islice(_different(heapq.merge(*walks, key=_key_of)), limit))


def indexes_of(entries: Sequence[ClassEntry], field: str) -> list[tuple[ClassEntry, Index]]:
    """The index of each class of that name that has one of such values, the one that leads first. Raises `Refused`."""
    having = [each for each in entries if field in each.definition.by_name]
    if not having:
        entries[0].definition.field(field)
    indexes = [(each, index) for each in having if (index := _index_of(each, field)) is not None]
    if not indexes:
        raise Refused(
            f"field {field} of {having[0].definition.name} has no index, and values are completed from one",
            next_step=f"define the class again with an index on {field}",
            field=field,
        )
    base = indexes[0][1].parts[0].of.base
    return [each for each in indexes if each[1].parts[0].of.base == base]


def _different(values: Iterator[tuple[bytes, Any]]) -> Iterator[Any]:
    last = b""
    for key, value in values:
        if key != last:
            yield value
        last = key


def _index_of(entry: ClassEntry, field: str) -> Index | None:
    """The narrowest index whose entries begin with the field's values, or with its elements."""
    beginning = [index for index in entry.usable if index.parts and index.parts[0].field == field]
    return min(beginning, key=lambda index: len(index.parts), default=None)


class _Values:
    """One walk along an index. Values go with their whole keys, which are their order."""

    def __init__(
        self, reader: Reader, entry: ClassEntry, index: Index, prefix: Any, owners: Mapping[bytes, bool], shows: Shows
    ) -> None:
        self._reader = reader
        self._entry = entry
        self._index = index
        self._part = index.parts[0]
        self._prefix = prefix
        self._owners = owners
        self._shows = shows

    def walk(self) -> Iterator[tuple[bytes, Any]]:
        """Every value that begins so, once, in order, behind its key."""
        crowded = sorted(self._of_crowded_lists().items(), key=_key_of) if isinstance(self._index, ElementIndex) else []
        last = b""
        for key, value in heapq.merge(self._standing(), crowded, key=_key_of):
            if key != last and (not self._prefix or value.startswith(self._prefix)):
                yield key, value
            last = key

    def _standing(self) -> Iterator[tuple[bytes, Any]]:
        """By the entries: from one value to behind it, so that the next entry is of the next one."""
        index, part = self._index, self._part
        low, high = index.prefix + b"\1", index.whole_range()[1]
        if self._prefix:
            low, high = (index.prefix + bound for bound in prefix_range(self._prefix, part.room))
        while (first := next(self._within(low, high), None)) is not None:
            place = part.cut(first[0])
            low = index.prefix + place
            behind = after_prefix(low)
            if place == first[0]:
                yield first
            else:
                yield from sorted(dict(self._within(low, behind)).items(), key=_key_of)
            low = behind

    def _within(self, low: bytes, high: bytes) -> Iterator[tuple[bytes, Any]]:
        """The values of the entries within these bounds, as often as they are there."""
        index, part = self._index, self._part
        for key, stored in self._objects(low, high):
            for value_key, value in self._values_of(stored):
                if key.startswith(index.prefix + part.cut(value_key)):
                    yield value_key, value

    def _of_crowded_lists(self) -> dict[bytes, Any]:
        """The elements of lists that have too many for entries of their own."""
        low, high = self._index.equal_range(None)
        return {key: value for _, stored in self._objects(low, high) for key, value in self._values_of(stored)}

    def _objects(self, low: bytes, high: bytes) -> Iterator[tuple[bytes, Stored]]:
        """The entries within these bounds of objects that count."""
        reader = self._reader
        for key, object_key in reader.source.scan(_INDEX_TABLE, low, high):
            if self._owners.get(object_key[: 8 if object_key[0] & 0x80 else 4], False):
                stored = reader.read(object_key)
                if stored is None:
                    raise missing(self._entry, object_key)
                if self._shows(stored):
                    yield key, stored

    def _values_of(self, stored: Stored) -> list[tuple[bytes, Any]]:
        found = stored.fields[self._part.field]
        values = (found or ()) if isinstance(self._index, ElementIndex) else (found,)
        return [(self._part.write(each), each) for each in values]


def _key_of(pair: tuple[bytes, Any]) -> bytes:
    return pair[0]
