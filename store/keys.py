"""Keys whose byte order is the order of the values they stand for (DESIGN R4 "ordered").

    00               None, before every value
    01 value         of fixed length: bool, int, float, timestamp, date, uuid; by itself ended: decimal, reference
    01 text 00 00    string, enum, bytes: 00 inside is written 00 FF
    01 text 00 01    the same, cut at 400 bytes, or where several values share a key at each text's part of them

Promised: for values of one type, key order is value order, and no key is the beginning of another; so keys can be
joined for an order by several fields, and complemented for a descending one. Of two cut keys that are equal nothing
is known: readers look at the record again, and what follows in a joined key is then in no order.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Context, Decimal
from typing import Any
from uuid import UUID

from identity.errors import Refused
from identity.names import Reference
from store.fieldtypes import FieldType, day_to_body, time_to_body

MAX_KEY_VALUE_BYTES = 400  # LMDB's keys have 511; class, fields, hash, server and object need up to 58 of them
MIN_TEXT_BYTES = 40  # less of a text would put too many values under one key
TEXTS = ("string", "bytes", "enum")


def key_writer(of: FieldType) -> Callable[[Any], bytes] | None:
    """From a value (or None) to its key bytes, uncut; None for types without an order: list and map."""
    whole = _WHOLE_KEYS.get(of.base)
    if whole is not None:
        return whole
    write = _KEYS.get(of.base)
    if write is None:
        return None
    return lambda value: b"\0" if value is None else b"\1" + write(value)


def key_bytes(of: FieldType, value: Any) -> bytes:
    """The key of one value, or of None, uncut. Raises `Refused` for a type without an order."""
    write = key_writer(of)
    if write is None:
        raise Refused(f"values of type {of} have no order")
    return write(value)


def has_order(of: FieldType) -> bool:
    """Whether values of this type have one, and so a key."""
    return of.base in _KEYS


def text_room(types: Sequence[FieldType]) -> int:
    """How many bytes each text, enum or byte string may take of a key that values of these types share.

    Below `MIN_TEXT_BYTES`: they do not fit. Without any of them: what is left, below 0 when the others do not fit.
    """
    texts = sum(of.base in TEXTS for of in types)
    left = MAX_KEY_VALUE_BYTES - sum(1 + _LONGEST[of.base] for of in types if of.base not in TEXTS)
    return left // texts if texts else left


def cut_key(key: bytes, room: int = MAX_KEY_VALUE_BYTES) -> bytes:
    """At most `room` bytes of a key of text; what was cut ends in 00 01, which nothing else does."""
    if len(key) <= room:
        return key
    kept = key[: room - 2]
    if kept[-1] == 0:  # in the middle of 00 FF: a key must not read as ended here
        kept = kept[:-1]
    return kept + b"\0\1"


def is_cut(key: bytes) -> bool:
    """Whether `cut_key` took something away, given what it made of the key of a string or of bytes."""
    return key.endswith(b"\0\1") and len(key) >= MAX_KEY_VALUE_BYTES - 1


def prefix_range(prefix: str | bytes, room: int = MAX_KEY_VALUE_BYTES) -> tuple[bytes, bytes]:
    """Low and high (exclusive) of the keys, those cut at `room` included, of all values that begin with `prefix`."""
    raw = prefix.encode() if isinstance(prefix, str) else bytes(prefix)
    low = b"\1" + raw.replace(b"\0", b"\0\xff")
    low = low[: room - 3]
    return low, after_prefix(low)


def after_prefix(prefix: bytes) -> bytes:
    """The first bytes that are after everything that begins with `prefix`."""
    shortened = prefix.rstrip(b"\xff")
    return shortened[:-1] + bytes([shortened[-1] + 1]) if shortened else b"\xff" * (len(prefix) + 1)


def any_key(value: Any) -> bytes:
    """The key of a value of whatever type, for an order in which several types meet; of none with an order: of null.

    Of values of one type it is their order. Numbers come by their value, whatever their type.
    """
    for kind, place, write in _ANY:
        if isinstance(value, kind):
            return b"\1" + place + write(value)
    return b"\0"


_FLOAT = struct.Struct(">d")
_INT = struct.Struct(">Q")


def _int_key(value: int) -> bytes:
    return _INT.pack(value + 2**63)


def _float_key(value: float) -> bytes:
    (bits,) = _INT.unpack(_FLOAT.pack(value + 0.0))
    return _INT.pack(bits ^ 0xFFFFFFFFFFFFFFFF if bits >> 63 else bits | 1 << 63)


def _decimal_key(value: Decimal) -> bytes:
    if not value:
        return b"\1"
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    size = bytes([int(exponent) + len(text) + 127])  # where the first digit stands
    magnitude = size + text.rstrip("0").encode() + b"\0"
    return b"\0" + complement(magnitude) if sign else b"\2" + magnitude


def _text_key(value: str) -> bytes:
    return value.encode().replace(b"\0", b"\0\xff") + b"\0\0"


def _bytes_key(value: bytes) -> bytes:
    return value.replace(b"\0", b"\0\xff") + b"\0\0"


_COMPLEMENT = bytes(255 - each for each in range(256))


def complement(key: bytes) -> bytes:
    """The key in descending order; right because no key is the beginning of another."""
    return key.translate(_COMPLEMENT)


_KEYS: dict[str, Callable[[Any], bytes]] = {
    "bool": lambda value: b"\1" if value else b"\0",
    "int": _int_key,
    "float": _float_key,
    "decimal": _decimal_key,
    "string": _text_key,
    "bytes": _bytes_key,
    "timestamp": lambda value: _int_key(time_to_body(value)),
    "date": lambda value: _int_key(day_to_body(value)),
    "uuid": lambda value: value.bytes,
    "enum": _text_key,
    "reference": lambda value: value.to_bytes(),
}
_EXACT = Context(prec=400)  # a decimal of 64 places and the float beside it


def _number_key(value: int | float | Decimal) -> bytes:
    """The float beside it, and what it lacks."""
    beside = float(value)
    lacks = _EXACT.subtract(Decimal(value), Decimal(beside)) if value != beside else Decimal(0)
    return _float_key(beside) + _decimal_key(lacks)


_ANY: tuple[tuple[Any, bytes, Callable[[Any], bytes]], ...] = (
    (str, b"\5", _text_key),
    (bool, b"\1", _KEYS["bool"]),
    ((int, float, Decimal), b"\2", _number_key),
    (datetime, b"\3", _KEYS["timestamp"]),
    (date, b"\4", _KEYS["date"]),
    (bytes, b"\6", _bytes_key),
    (UUID, b"\7", _KEYS["uuid"]),
    (Reference, b"\x08", _KEYS["reference"]),
)
# The usual ones in one call instead of two.
_WHOLE_KEYS: dict[str, Callable[[Any], bytes]] = {
    "int": lambda value: b"\0" if value is None else b"\1" + _INT.pack(value + 2**63),
    "string": lambda value: b"\0" if value is None else b"\1" + value.encode().replace(b"\0", b"\0\xff") + b"\0\0",
}
_LONGEST = {
    "bool": 1, "int": 8, "float": 8, "decimal": 22, "timestamp": 8, "date": 8, "uuid": 16,
    "reference": 16 * 8 + 4 + 8 + 8,  # sixteen long components, the end, incarnation, object
}  # fmt: skip
