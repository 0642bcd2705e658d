"""Rows as a CBOR sequence (RFC 8742): one map of fields after another, nothing between them, nothing around them.

    a3 64 name ... 65 count ... 64 seen ...  |  a3 64 name ...  |  ...

Values are those of JSON (`store.values`), but for two that JSON cannot hold as they are: bytes are byte strings, and
integers are integers however large. No tags, deterministic, as everything of ours (DESIGN N8): any CBOR reader reads
it without knowing the class. An item is bounded before it is decoded, and a file is never whole in memory.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

from identity.encoding import MAX_DEPTH, decode_value_untrusted, encode_value
from identity.errors import PeerMisbehaved, Refused
from node.rows import MAX_LINE, BadRow, Reader, Row
from store.fieldtypes import FieldType, parse_type

PIECE = 256 << 10


class _MoreNeededError(Exception):
    """The item goes on behind what was read."""


class CborRows:
    """From the JSON values of rows to items."""

    def __init__(self, types: Mapping[str, str]) -> None:
        self._types = {name: parse_type(text) for name, text in types.items()}

    def item(self, fields: Mapping[str, Any]) -> bytes:
        """One row, the fields in the order of the class."""
        return encode_value({name: _from_json(of, fields.get(name)) for name, of in self._types.items()})


def read_cbor(stream: BinaryIO, reader: Reader) -> Iterator[Row | BadRow]:
    """The rows of a file; `line` counts items. Raises `Refused` where an item has no end: whatever follows has none."""
    for number, item in enumerate(_items(stream), start=1):
        try:
            said = decode_value_untrusted(item, max_bytes=MAX_LINE)
        except PeerMisbehaved as error:
            yield BadRow(number, "", f"is no CBOR that is taken here: {error.cause}")
            continue
        if not isinstance(said, dict):
            yield BadRow(number, "", "is no map of fields")
            continue
        types = {name: each["type"] for name, each in reader.fields.items()}
        fields = {name: _to_json(parse_type(types.get(name, "map")), value) for name, value in said.items()}
        yield reader.row_of_json(number, fields)


def _items(stream: BinaryIO) -> Iterator[bytes]:
    """Whole items, one at a time, however the file is cut into pieces."""
    buffer, number = b"", 1
    while True:
        try:
            end = _end_of(buffer, 0, MAX_DEPTH)
        except _MoreNeededError:
            piece = stream.read(PIECE) if len(buffer) <= MAX_LINE else b""
            if piece:
                buffer += piece
                continue
            if not buffer:
                return
            why = "is cut off" if len(buffer) <= MAX_LINE else f"has more than the {MAX_LINE} bytes that are allowed"
            raise Refused(
                f"item {number} of the file {why}; nothing was imported", next_step="write the file anew"
            ) from None
        except ValueError as error:
            raise Refused(
                f"item {number} of the file is no CBOR: {error}; nothing was imported",
                next_step="look whether it is a CBOR sequence (RFC 8742)",
            ) from None
        yield buffer[:end]
        buffer, number = buffer[end:], number + 1


def _end_of(data: bytes, at: int, depth: int) -> int:
    """Where the item that begins there ends, by its heads alone (RFC 8949 section 3). Raises `ValueError`."""
    if depth < 0:
        raise ValueError(f"nested more than {MAX_DEPTH} deep")
    if at >= len(data):
        raise _MoreNeededError
    kind, short = data[at] >> 5, data[at] & 31
    at += 1
    value = short
    if 24 <= short <= 27:
        width = 1 << (short - 24)
        if at + width > len(data):
            raise _MoreNeededError
        value = int.from_bytes(data[at : at + width], "big")
        at += width
    elif short > 27:
        raise ValueError("an indefinite length, or a head that has no meaning")
    if kind in (2, 3):
        if value > MAX_LINE:
            raise ValueError(f"a text of {value} bytes, {MAX_LINE} allowed for a whole row")
        if at + value > len(data):
            raise _MoreNeededError
        return at + value
    if kind in (4, 5):
        if value > MAX_LINE:
            raise ValueError(f"an array of {value} items")
        for _ in range(value * (kind - 3)):
            at = _end_of(data, at, depth - 1)
        return at
    return _end_of(data, at, depth - 1) if kind == 6 else at


def _from_json(of: FieldType, value: Any) -> Any:
    if value is None:
        return None
    if of.base == "list" and of.element is not None:
        return [_from_json(of.element, each) for each in value]
    if of.base == "bytes":
        return base64.b64decode(value)
    return int(value) if of.base == "int" else value


def _to_json(of: FieldType, value: Any) -> Any:
    """What `Reader.row_of_json` judges; what does not fit is left as it is, and named there."""
    if of.base == "list" and of.element is not None and isinstance(value, list):
        return [_to_json(of.element, each) for each in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [_to_json(_FREE, each) for each in value]
    if isinstance(value, dict):
        return {name: _to_json(_FREE, each) for name, each in value.items()}
    return str(value) if of.base == "int" and type(value) is int and abs(value) > 2**53 else value


_FREE = FieldType("map")
