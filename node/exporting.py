"""Rows out of a node, into files that other programs read (DESIGN D3, U2).

    ndjson     a JSON object a line                  csv       RFC 4180, the first line names the fields
    cbor       a CBOR sequence (RFC 8742)            parquet   columns, with pyarrow

`bangpath import` takes all of them back but Parquet, and every value comes back equal; CSV alone cannot tell an empty
text from none.

Pure: rows come in as JSON values (`store.values`), bytes go to what is handed in. Who asks, and what becomes of an
answer that is not whole, is `node.cli.exporting`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import msgspec

from identity.errors import Refused
from node.cbor_sequence import CborRows

FORMATS = {
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".cbor": "cbor",
    ".cborseq": "cbor",
    ".parquet": "parquet",
}
REFERENCE = "reference"


class Rows(Protocol):
    """A file under way."""

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows: the JSON values of fields by name."""

    def finish(self) -> None:
        """What a format has at its end."""


def columns_of(definition: Mapping[str, Any], shown: Sequence[str] | None, *, references: bool) -> dict[str, str]:
    """Names and types of what is written: fields as shown or all, before them the reference if wanted.

    Raises `Refused` for a field that the class has not, and for a field that would be called as the reference is.
    """
    types = {each["name"]: str(each["type"]) for each in definition["fields"]}
    for name in shown or ():
        if name not in types:
            raise Refused(f"{definition['name']} has no field {name!r}; it has {', '.join(types)}", field=name)
    chosen = {name: types[name] for name in (shown or types)}
    if not references:
        return chosen
    if REFERENCE in chosen:
        raise Refused(
            f"{definition['name']} has a field {REFERENCE!r}, and each row's own reference would be called so",
            next_step="leave out --references, or choose fields with show",
        )
    return {REFERENCE: "string", **chosen}


def open_rows(form: str, out: BinaryIO, columns: Mapping[str, str], definition: Mapping[str, Any]) -> Rows:
    """Begin a file of that format. Raises `Refused` when what writes it is not installed."""
    if form == "ndjson":
        return _Ndjson(out, columns)
    if form == "csv":
        return _Csv(out, columns)
    if form == "cbor":
        return _Cbor(out, columns)
    from node.parquet import ParquetRows

    about = {"class": str(definition["name"]), "fingerprint": str(definition.get("fingerprint", ""))}
    return ParquetRows(out, columns, about)


class _Ndjson:
    def __init__(self, out: BinaryIO, columns: Mapping[str, str]) -> None:
        self._out = out
        self._names = tuple(columns)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        encode, names = msgspec.json.encode, self._names
        self._out.write(b"".join(encode({name: row.get(name) for name in names}) + b"\n" for row in rows))

    def finish(self) -> None:
        """A line is whole by itself."""


class _Csv:
    def __init__(self, out: BinaryIO, columns: Mapping[str, str]) -> None:
        self._out = out
        self._names = tuple(columns)
        self._write([self._names])

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._write([[_cell(row.get(name)) for name in self._names] for row in rows])

    def finish(self) -> None:
        """A line is whole by itself."""

    def _write(self, rows: Sequence[Sequence[str]]) -> None:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        self._out.write(text.getvalue().encode())


class _Cbor:
    def __init__(self, out: BinaryIO, columns: Mapping[str, str]) -> None:
        self._out = out
        self._rows = CborRows(columns)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._out.write(b"".join(map(self._rows.item, rows)))

    def finish(self) -> None:
        """An item is whole by itself."""


def _cell(value: Any) -> str:
    """As `node.rows.value_of_text` reads it."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return msgspec.json.encode(value).decode()
    return repr(value)
