"""The one canonical form of every number and value, on disk and on the wire (DESIGN N1, N8).

    extensible integer         0xxxxxxx xxxxxxxx xxxxxxxx xxxxxxxx                 4 bytes, below 2^31
                               1xxxxxxx xxxxxxxx ... (8 bytes)                     63 bits, from 2^31 on

    value                      deterministic CBOR (RFC 8949 section 4.2.1), and of that only
                               null, bool, integers of 64 bits, 64-bit floats, text, byte strings,
                               arrays, and maps whose keys are text

What is promised: one value has one encoding, so bytes can be compared, hashed and signed; byte order of extensible
integers is numeric order; nothing a stranger sent costs more than its size, or raises anything but `PeerMisbehaved`.

No CBOR tags: a typed field knows what its bytes mean (`store.values`), so a timestamp is an integer and a decimal a
pair of integers, and nothing is left for a decoder to construct (docs/decisions/0003).
"""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any, NoReturn

import cbor2

from identity.errors import LocalMistake, PeerMisbehaved

MAX_INTEGER = 2**63 - 1
_SMALL_LIMIT = 2**31  # the first integer that needs the long form
_TOP_BIT = 1 << 63

MAX_DEPTH = 32  # arrays and maps within one another (DESIGN N8)
MAX_VALUE_BYTES = 16 << 20  # one transaction's bound (DESIGN L6); nothing larger is ever one value
MAX_ITEMS = 1 << 18  # in one value. An empty array is one byte here and 64 in memory: 16 MiB of them would take 1 GiB
_LEAST, _MOST = -(2**64), 2**64 - 1  # what CBOR has without tags


def encode_integer(number: int) -> bytes:
    """An extensible integer, 4 or 8 bytes (DESIGN N1). Raises `LocalMistake` outside 0..2^63-1."""
    if 0 <= number < _SMALL_LIMIT:
        return number.to_bytes(4, "big")
    if _SMALL_LIMIT <= number <= MAX_INTEGER:
        return (number | _TOP_BIT).to_bytes(8, "big")
    raise LocalMistake(f"{number} is not an extensible integer, which has 0 to 63 bits")


def decode_integer_untrusted(buffer: bytes | bytearray | memoryview, offset: int = 0) -> tuple[int, int]:
    """The integer at `offset` and the offset after it. Refuses the long form of a short number (DESIGN N1).

    Raises `PeerMisbehaved`.
    """
    head = bytes(buffer[offset : offset + 4])
    if len(head) < 4:
        raise PeerMisbehaved(f"an extensible integer is cut off at byte {offset}")
    if head[0] < 0x80:
        return int.from_bytes(head, "big"), offset + 4
    whole = bytes(buffer[offset : offset + 8])
    if len(whole) < 8:
        raise PeerMisbehaved(f"an extensible integer is cut off at byte {offset}")
    number = int.from_bytes(whole, "big") & MAX_INTEGER
    if number < _SMALL_LIMIT:
        raise PeerMisbehaved(f"an extensible integer at byte {offset} is not in its shortest form")
    return number, offset + 8


def encode_value(value: Any) -> bytes:
    """The canonical CBOR of `value` (None, bool, int, float, str, bytes, list or tuple, dict with str keys).

    Raises `LocalMistake` for anything else, and for whatever `decode_value_untrusted` would refuse for its depth or
    its items: what we send or store is right by construction.
    """
    try:
        _check_types(value, MAX_DEPTH)
        data: bytes = cbor2.dumps(value, canonical=True)
        check_items(data)
    except (_Unfit, cbor2.CBOREncodeError, ValueError) as error:
        raise LocalMistake(f"{type(value).__name__} has no canonical encoding: {error}") from error
    return data


def decode_value_untrusted(data: bytes | memoryview, *, max_bytes: int = MAX_VALUE_BYTES) -> Any:
    """The value that a stranger sent, or `PeerMisbehaved`.

    Refused: more than `max_bytes` or `MAX_ITEMS`; deeper than 32; indefinite lengths; any tag; duplicate or non-text
    keys; trailing bytes; simple values; anything that our own encoder would have written otherwise. Decoding is done
    with a fresh decoder, bounded before memory is taken (DESIGN N8; ATTACKS 7, 8).
    """
    data = bytes(data)
    if len(data) > max_bytes:
        raise PeerMisbehaved(f"a value of {len(data)} bytes, {max_bytes} allowed")
    try:
        check_items(data)
        value = cbor2.loads(
            data,
            tag_hook=_refuse_tag,
            semantic_decoders=_REFUSE_KNOWN_TAGS,
            max_depth=MAX_DEPTH,  # but cbor2 does not count an empty one; `_check_types` does
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        _check_types(value, MAX_DEPTH)
        again = cbor2.dumps(value, canonical=True)
    except PeerMisbehaved:
        raise
    except Exception as error:  # cbor2 raises a score of kinds; a stranger's bytes may only ever be one of ours
        cause = str(error)[:200]  # it may repeat what was sent, which may be long
        raise PeerMisbehaved(f"a value that is not deterministic CBOR: {cause}") from error
    if again != data:  # also what finds trailing bytes, long integers and unsorted keys
        raise PeerMisbehaved("a value that is not in its canonical encoding")
    return value


def decode_value_trusted(data: bytes | memoryview) -> Any:
    """A value that this server wrote and whose checksum was verified: no second check, a third of the time."""
    return cbor2.loads(data)


def _refuse_tag(*_: Any) -> NoReturn:
    raise PeerMisbehaved("a CBOR tag, and none is used here")


# Every tag that cbor2 gives a meaning of its own (6.2: dates, bignums, decimals, regular expressions, MIME, shared
# references, sets, addresses ...). Those above go to the tag hook; a test walks all tags below 2^16.
_REFUSE_KNOWN_TAGS: dict[int, Callable[..., Any]] = dict.fromkeys(
    (*range(64), 100, *range(256, 280), 1004, 1040, 43000, 55799), _refuse_tag
)


def check_items(data: bytes) -> None:
    """Raises `ValueError` where `data` holds more than `MAX_ITEMS` items, by their heads alone (0.2 us each).

    Every item begins with a head: 3 bits of kind, 5 bits of a number or of the length of one. A head that makes no
    sense ends the count; the decoder, which comes after, refuses it.
    """
    offset, count, end = 0, 0, len(data)
    if end <= MAX_ITEMS:  # none is shorter than a byte
        return
    while offset < end:
        count += 1
        if count > MAX_ITEMS:
            raise ValueError(f"a value of more than {MAX_ITEMS} items")
        kind, number = data[offset] >> 5, data[offset] & 31
        offset += 1
        if number >= 24:
            width = 1 << (number - 24)
            if width > 8:
                return
            number = int.from_bytes(data[offset : offset + width], "big")
            offset += width
        if kind in (2, 3):  # bytes and text: their content has no heads
            offset += number


class _Unfit(Exception):
    """A value that is none of the kinds in this file's picture."""


_SCALARS = frozenset({NoneType, bool, float, str, bytes})


def _check_types(value: Any, depth: int) -> None:
    """Only the kinds of value named in this file's picture; cbor2 also knows `undefined`, simple values, dates...

    `depth` arrays or maps may stand within one another. Raises `_Unfit`.
    """
    kind = type(value)
    if kind is not list and kind is not tuple:  # nearly every value is a list: a message, or a list within one
        if isinstance(value, (bytes, str, float, NoneType)):  # subclasses too: a name such as ServerId is its bytes
            return
        if isinstance(value, int):
            if not _LEAST <= value <= _MOST:
                raise _Unfit("an integer of more than 64 bits")
            return
        if isinstance(value, dict):
            for key in value:
                if not isinstance(key, str):
                    raise _Unfit("a map whose key is not text")
            value = value.values()
        elif not isinstance(value, (list, tuple)):
            raise _Unfit(f"a {kind.__name__}, which has no meaning here")
    if not depth:
        raise _Unfit(f"more than {MAX_DEPTH} arrays and maps within one another")
    for each in value:
        kind = type(each)
        if kind not in _SCALARS and (kind is not int or not _LEAST <= each <= _MOST):
            _check_types(each, depth - 1)
