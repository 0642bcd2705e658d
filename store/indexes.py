"""Which entries a version of an object contributes to the ordered indexes, and the key ranges that find them again.

    table `index`      key                                                                    value
        others         class N1 | field u16 | value key, cut at 400 bytes | object key        object key
        owned, unique  class N1 | field u16 | value key | hash 8 if cut | 0                   object key
    object key         server number N1 | object N1

A unique index of own objects has the object in the value, so that "is this one taken" is one read of one key; of
others' objects nothing is known to be unique, and null is never unique. `field` is its place in the definition from
1; a class without any index has its extent in field 0, so that its objects can be found without walking all others.

`Index` is compiled once per class. Server 0 is this server (DESIGN N2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, NamedTuple

from identity.encoding import encode_integer
from identity.names import END
from store.definitions import ClassDefinition
from store.fieldtypes import FieldType
from store.keys import MAX_KEY_VALUE_BYTES, after_prefix, cut_key, key_writer

EXTENT = 0
_NULL = b"\0"
_HASH_BYTES = 8


class Index(NamedTuple):
    """One ordered index of one class."""

    name: str  # of the field; "" of the extent
    position: int  # of the field in the definition; -1 of the extent
    unique: bool
    prefix: bytes  # what all its keys begin with
    write: Callable[[Any], bytes]
    may_be_cut: bool
    field_type: FieldType | None

    def key(self, value: Any, object_key: bytes) -> bytes:
        """The entry of one object whose field has this value."""
        value_key = self.write(value)
        if self.may_be_cut and len(value_key) > MAX_KEY_VALUE_BYTES:
            value_key, whole = cut_key(value_key), value_key
            if self.unique and object_key.startswith(END):
                return b"".join((self.prefix, value_key, sha256(whole).digest()[:_HASH_BYTES], END))
        elif self.unique and value_key != _NULL and object_key.startswith(END):
            return self.prefix + value_key + END
        return self.prefix + value_key + object_key

    def unique_key(self, value: Any) -> bytes:
        """Where an own object with this value (not null) stands, of a unique index."""
        return self.key(value, END)

    def equal_range(self, value: Any) -> tuple[bytes, bytes]:
        """The keys of all objects with this value; of a value that was cut also of some others."""
        low = self.prefix + cut_key(self.write(value))
        return low, after_prefix(low)

    def whole_range(self) -> tuple[bytes, bytes]:
        return self.prefix, after_prefix(self.prefix)

    def value_part(self, key: bytes, object_key: bytes) -> bytes:
        """Of an entry and its value: class, field and value key, what equal values have in common."""
        if key.endswith(object_key):
            return key[: -len(object_key)]
        part = key[:-4]
        longest = len(self.prefix) + MAX_KEY_VALUE_BYTES
        return part[:-_HASH_BYTES] if len(part) > longest else part


def compile_indexes(definition: ClassDefinition, class_number: int) -> tuple[Index, ...]:
    """The indexes of a class: those its fields ask for, else its extent."""
    start = encode_integer(class_number)
    indexes = []
    for position, field in enumerate(definition.fields):
        if field.indexed:
            write = key_writer(field.field_type)
            assert write is not None, "a definition was checked"
            prefix = start + (position + 1).to_bytes(2, "big")
            may_be_cut = field.field_type.base in ("string", "bytes", "enum")
            indexes.append(Index(field.name, position, field.unique, prefix, write, may_be_cut, field.field_type))
    return tuple(indexes) or (
        Index("", -1, unique=False, prefix=start + b"\0\0", write=_nothing, may_be_cut=False, field_type=None),
    )


def entries(indexes: Iterable[Index], values: list[Any], object_key: bytes) -> list[bytes]:
    """The keys that a version contributes; the value of each is the object key."""
    return [index.key(values[index.position], object_key) for index in indexes]


def let_go(index: dict[bytes, bytes | None], entry_keys: Iterable[bytes], object_key: bytes) -> None:
    """An object's entries go; but not one that another has taken over: a unique value may change hands at once."""
    for each in entry_keys:
        if index.get(each) in (None, object_key):
            index[each] = None


def _nothing(_: Any) -> bytes:
    return b""
