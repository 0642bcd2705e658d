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
from typing import Any, NoReturn

import cbor2

from identity.errors import LocalMistake, PeerMisbehaved

MAX_INTEGER = 2**63 - 1
_SMALL_LIMIT = 2**31  # the first integer that needs the long form
_TOP_BIT = 1 << 63

MAX_DEPTH = 32  # DESIGN N8
MAX_VALUE_BYTES = 16 << 20  # one transaction's bound (DESIGN L6); nothing larger is ever one value
_MAX_CBOR_INTEGER = 2**64 - 1


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

    Raises `LocalMistake` for anything else: what we send or store is right by construction.
    """
    try:
        data: bytes = cbor2.dumps(value, canonical=True)
    except (cbor2.CBOREncodeError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise LocalMistake(f"{type(value).__name__} has no canonical encoding: {error}") from error
    return data


def decode_value_untrusted(data: bytes | memoryview, *, max_bytes: int = MAX_VALUE_BYTES) -> Any:
    """The value that a stranger sent, or `PeerMisbehaved`.

    Refused: more than `max_bytes`; deeper than 32; indefinite lengths; any tag; duplicate or non-text keys; trailing
    bytes; simple values; anything that our own encoder would have written otherwise. Decoding is done with a
    fresh decoder, bounded before memory is taken (DESIGN N8; ATTACKS 7, 8).
    """
    data = bytes(data)
    if len(data) > max_bytes:
        raise PeerMisbehaved(f"a value of {len(data)} bytes, {max_bytes} allowed")
    try:
        value = cbor2.loads(
            data,
            tag_hook=_refuse_tag,
            semantic_decoders=_REFUSE_KNOWN_TAGS,
            max_depth=MAX_DEPTH,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
        )
        _check_types(value)
        again = cbor2.dumps(value, canonical=True)
    except PeerMisbehaved:
        raise
    except Exception as error:  # cbor2 raises a score of kinds; a stranger's bytes may only ever be one of ours
        raise PeerMisbehaved(f"a value that is not deterministic CBOR: {error}") from error
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


def _check_types(value: Any) -> None:
    """Only the kinds of value named in this file's picture; cbor2 also knows `undefined` and simple values."""
    kind = type(value)
    if kind is list:
        for each in value:
            _check_types(each)
    elif kind is dict:
        for key, each in value.items():
            if type(key) is not str:
                raise PeerMisbehaved("a map whose key is not text")
            _check_types(each)
    elif kind is int:
        if not -_MAX_CBOR_INTEGER - 1 <= value <= _MAX_CBOR_INTEGER:
            raise PeerMisbehaved("an integer of more than 64 bits")
    elif kind is not bytes and kind is not str and value is not None and kind is not bool and kind is not float:
        raise PeerMisbehaved(f"a CBOR {kind.__name__}, which has no meaning here")
