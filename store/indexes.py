"""Which entries a version of an object contributes to the ordered indexes, and the key ranges that find them again.

    table `index`      key                                                                    value
        others         class N1 | index | value keys, of text cut | object key                object key
        owned, unique  class N1 | index | value keys | hash 8 if one was cut | 0              object key
    index              field u16                              of one field, its place in the definition from 1
                       8000 + n u16 | field u16, n times      of several fields
                       0 u16                                  the extent
        blobs, of all  0 N1 | 1 u16 | root of the blob | object key                           object key
    object key         server number N1 | object N1

    of a value         one entry for each object, null included
    of elements        one for each different element of a list; none for an empty one. More than 1 024 of them have
                       one entry in all, under null: whoever looks for an element looks at those objects too
    the extent         one for each object, of a class that has no index of values: so that its objects can be found
                       without walking all others

A unique index of own objects has the object in the value, so that "is this one taken" is one read of one key; of
others' objects nothing is known to be unique, and what has a null is never unique.

    blobs              one for each blob that an object names: whoever looks after blobs sees that one is needed

`Index` is compiled once per class. Server 0 is this server (DESIGN N2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from identity.encoding import encode_integer
from identity.errors import Refused
from identity.names import END
from store.blob_files import HASH_BYTES, Blob
from store.definitions import ClassDefinition
from store.fieldtypes import FieldType
from store.keys import MAX_KEY_VALUE_BYTES, TEXTS, after_prefix, cut_key, key_writer, text_room

MAX_ELEMENTS = 1024  # of one list that have entries of their own: a stranger's list of 16 MiB must not become a million
BLOBS = encode_integer(0) + b"\0\1"  # class 0 is no class
_SEVERAL = 0x8000
_NULL = b"\0"
_HASH_BYTES = 8


class Part(NamedTuple):
    """One value of a key. `room`: how many bytes it may take, 0 when nothing is ever cut."""

    field: str
    position: int  # of the field in the definition
    of: FieldType
    write: Callable[[Any], bytes]
    room: int

    def cut(self, key: bytes) -> bytes:
        return cut_key(key, self.room) if self.room else key


class Index:
    """One ordered index of one class: of one field, of several, or, without any part, the extent."""

    __slots__ = ("_room", "_write", "name", "parts", "position", "prefix", "unique")

    whole = True  # whether each object has exactly one entry

    def __init__(self, prefix: bytes, parts: Sequence[Part], *, unique: bool) -> None:
        self.name = ", ".join(part.field for part in parts)  # "" of the extent
        self.prefix = prefix  # what all its keys begin with
        self.parts = tuple(parts)
        self.position = parts[0].position if parts else -1
        self.unique = unique
        self._write = parts[0].write if len(parts) == 1 else None  # of a single field
        self._room = parts[0].room if parts else 0

    def keys(self, values: Sequence[Any], object_key: bytes) -> list[bytes]:
        """The entries of one object with these values, which are in the order of the definition."""
        if self._write is not None:
            return [self._key(self._write(values[self.position]), object_key)]
        parts = self.parts
        if not parts:
            return [self.prefix + object_key]
        keys = [part.write(values[part.position]) for part in parts]
        cut = [part.cut(key) for part, key in zip(parts, keys, strict=True)]
        joined = b"".join(cut)
        if not self.unique or _NULL in cut or not object_key.startswith(END):
            return [self.prefix + joined + object_key]
        digest = b"" if cut == keys else sha256(b"".join(keys)).digest()[:_HASH_BYTES]
        return [self.prefix + joined + digest + END]

    def _key(self, value_key: bytes, object_key: bytes) -> bytes:
        """The entry for one value alone."""
        own = self.unique and object_key.startswith(END)
        room = self._room
        if room and len(value_key) > room:
            value_key, whole = cut_key(value_key, room), value_key
            if own:
                return b"".join((self.prefix, value_key, sha256(whole).digest()[:_HASH_BYTES], END))
        elif own and value_key != _NULL:
            return self.prefix + value_key + END
        return self.prefix + value_key + object_key

    def unique_key(self, value: Any) -> bytes:
        """Where an own object with this value (not null) stands, of a unique index of one field."""
        return self._key(self.parts[0].write(value), END)

    def claims(self, values: Sequence[Any]) -> list[tuple[bytes, Any]]:
        """The keys that an own object with these values takes for itself, of a unique index, and the value of each."""
        if len(self.parts) == 1:
            value = values[self.position]
            return [] if value is None else [(self._key(self.parts[0].write(value), END), value)]
        said = tuple(values[part.position] for part in self.parts)
        return [] if None in said else [(self.keys(values, END)[0], said)]

    def moved_to(self, other: Index, values: Sequence[Any]) -> list[Any]:
        """The values of its fields where another index of the same fields, of another class, has them."""
        moved: list[Any] = [None] * (1 + max(part.position for part in other.parts))
        for mine, theirs in zip(self.parts, other.parts, strict=True):
            moved[theirs.position] = values[mine.position]
        return moved

    def equal_range(self, *exact: Any) -> tuple[bytes, bytes]:
        """The keys of all objects with these values in its first fields; of values that were cut of some others too."""
        parts = zip(self.parts, exact, strict=False)
        low = self.prefix + b"".join(part.cut(part.write(value)) for part, value in parts)
        return low, after_prefix(low)

    def whole_range(self) -> tuple[bytes, bytes]:
        return self.prefix, after_prefix(self.prefix)

    def run_of(self, fields: Mapping[str, Any], depth: int) -> bytes:
        """What objects have in common that are equal in the first `depth` fields, or cut alike in one of them.

        Behind a value that was cut the index is in no order: those objects are one run.
        """
        pieces = []
        for part in self.parts[:depth]:
            key = part.write(fields[part.field])
            pieces.append(part.cut(key))
            if part.room and len(key) > part.room:
                break
        return b"".join(pieces)

    def value_part(self, key: bytes, object_key: bytes) -> bytes:
        """Of an entry of one value and its object: class, field and value key, what equal values have in common."""
        if key.endswith(object_key):
            return key[: -len(object_key)]
        part = key[:-4]
        longest = len(self.prefix) + MAX_KEY_VALUE_BYTES
        return part[:-_HASH_BYTES] if len(part) > longest else part


class ElementIndex(Index):
    """An index of the elements of a list."""

    __slots__ = ()

    whole = False

    def keys(self, values: Sequence[Any], object_key: bytes) -> list[bytes]:
        found = self._different(values)
        if len(found) > MAX_ELEMENTS:
            return [self.prefix + _NULL + object_key]
        return list(dict.fromkeys(self._key(each, object_key) for each in found))

    def claims(self, values: Sequence[Any]) -> list[tuple[bytes, Any]]:
        """As of one value, for each element. Raises `Refused` for more of them than can have entries."""
        if len(self._different(values)) > MAX_ELEMENTS:
            raise Refused(
                f"field {self.name} has more than {MAX_ELEMENTS} different elements, each of which must be unique",
                next_step="keep them in several objects",
                field=self.name,
            )
        return [(self.unique_key(each), each) for each in values[self.position] or ()]

    def ranges_holding(self, value: Any) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
        """Where the objects are whose list may hold this value: those too whose elements are too many."""
        low = self.prefix + _NULL
        return (low, after_prefix(low)), self.equal_range(value)

    def _different(self, values: Sequence[Any]) -> dict[bytes, None]:
        """The keys of the elements, each once, in their order; no more than one above the bound."""
        write = self.parts[0].write
        found: dict[bytes, None] = {}
        for each in values[self.position] or ():
            found[write(each)] = None
            if len(found) > MAX_ELEMENTS:
                break
        return found


class BlobIndex(Index):
    """Who names which blob: one range of keys for the objects of all classes."""

    __slots__ = ("_positions",)

    whole = False

    def __init__(self, positions: Sequence[int]) -> None:
        super().__init__(BLOBS, (), unique=False)
        self._positions = tuple(positions)

    def keys(self, values: Sequence[Any], object_key: bytes) -> list[bytes]:
        named: list[Blob] = []
        for value in (values[position] for position in self._positions):
            named += value if isinstance(value, list) else [] if value is None else [value]
        roots = dict.fromkeys(each.root for each in named[:MAX_ELEMENTS])  # own objects name no more (`check_blobs`)
        return [BLOBS + root + object_key for root in roots]


def compile_indexes(definition: ClassDefinition, class_number: int) -> tuple[Index, ...]:
    """The indexes of a class: of its fields, of several of them, and its extent when none has all its objects.

    Compiled once: the definition remembers them.
    """
    remembered: dict[int, tuple[Index, ...]] = definition.__dict__.setdefault("compiled_indexes", {})
    if class_number not in remembered:
        remembered[class_number] = _compile_indexes(definition, class_number)
    return remembered[class_number]


def _compile_indexes(definition: ClassDefinition, class_number: int) -> tuple[Index, ...]:
    start = encode_integer(class_number)
    places = {field.name: at for at, field in enumerate(definition.fields)}
    indexes: list[Index] = []
    for position, field in enumerate(definition.fields):
        if field.indexed:
            part = _part(field.name, position, field.key_type, MAX_KEY_VALUE_BYTES)
            kind = Index if field.field_type.element is None else ElementIndex
            indexes.append(kind(start + _number(position), [part], unique=field.unique))
    for several in definition.indexes:
        room = text_room([definition.by_name[name].field_type for name in several.fields])
        parts = [_part(name, places[name], definition.by_name[name].field_type, room) for name in several.fields]
        called = (_SEVERAL + len(parts)).to_bytes(2, "big") + b"".join(_number(part.position) for part in parts)
        indexes.append(Index(start + called, parts, unique=several.unique))
    if not any(each.whole for each in indexes):
        indexes.append(Index(start + b"\0\0", (), unique=False))
    if definition.codec.blobs:
        indexes.append(BlobIndex(definition.codec.blobs))
    return tuple(indexes)


def entries(indexes: Iterable[Index], values: list[Any], object_key: bytes) -> list[bytes]:
    """The keys that a version contributes; the value of each is the object key."""
    keys: list[bytes] = []
    for index in indexes:
        keys += index.keys(values, object_key)
    return keys


def blob_range(root: bytes) -> tuple[bytes, bytes]:
    """The entries of all objects that name a blob."""
    return BLOBS + root, after_prefix(BLOBS + root)


def blobs_let_go(before_keys: Iterable[bytes], after_keys: Iterable[bytes]) -> list[bytes]:
    """The roots of blobs that an object has named, and names no more."""
    kept = set(after_keys)
    gone = dict.fromkeys(key for key in before_keys if key.startswith(BLOBS) and key not in kept)
    return [key[len(BLOBS) : len(BLOBS) + HASH_BYTES] for key in gone]


def let_go(index: dict[bytes, bytes | None], entry_keys: Iterable[bytes], object_key: bytes) -> None:
    """An object's entries go; but not one that another has taken over: a unique value may change hands at once."""
    for each in entry_keys:
        if index.get(each) in (None, object_key):
            index[each] = None


def _part(name: str, position: int, of: FieldType, room: int) -> Part:
    write = key_writer(of)
    assert write is not None, "a definition was checked"
    return Part(name, position, of, write, room if of.base in TEXTS else 0)


def _number(position: int) -> bytes:
    return (position + 1).to_bytes(2, "big")
