"""Rows as Parquet, for programs that count: a column a field, typed, in groups of rows (https://parquet.apache.org).

    bool int float string bytes    as they are         timestamp                  microseconds, UTC
    list(T)                        a list of T         date                       days
    list, map                      text, JSON          enum                       text, a dictionary
                                                       uuid, decimal, reference   text

A decimal is text because a column of decimals has one scale for all and ours have each their own. The file's metadata
says the class, its fingerprint, and each column's type here. Written with pyarrow, which is an extra: it is
loaded when somebody wants a file, and its absence is told with the command that installs it.
"""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO

from identity.errors import Refused
from store.fieldtypes import FieldType, parse_type

GROUP_ROWS = 65_536  # in memory at once


class ParquetRows:
    """A file under way. Raises `Refused` when pyarrow is not installed."""

    def __init__(self, out: BinaryIO, types: Mapping[str, str], about: Mapping[str, str]) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise Refused(
                "Parquet is written with pyarrow, which is not installed",
                next_step="pip install 'bangpath[parquet]', or choose --format ndjson, csv or cbor",
            ) from error
        self._pyarrow = pyarrow
        self._types = {name: parse_type(text) for name, text in types.items()}
        fields = [
            pyarrow.field(name, _column(pyarrow, of), metadata={"bangpath": str(of)})
            for name, of in self._types.items()
        ]
        self._schema = pyarrow.schema(fields, metadata={f"bangpath.{key}": value for key, value in about.items()})
        self._writer = pyarrow.parquet.ParquetWriter(out, self._schema, compression="zstd")
        self._waiting: list[Mapping[str, Any]] = []

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """The JSON values of rows, by field."""
        self._waiting.extend(rows)
        while len(self._waiting) >= GROUP_ROWS:
            self._write(self._waiting[:GROUP_ROWS])
            del self._waiting[:GROUP_ROWS]

    def finish(self) -> None:
        """The rest, and the file's foot: before it, it is no Parquet."""
        if self._waiting:
            self._write(self._waiting)
        self._writer.close()

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        columns = [
            self._pyarrow.array([_value(of, row.get(name)) for row in rows], type=field.type)
            for (name, of), field in zip(self._types.items(), self._schema, strict=True)
        ]
        self._writer.write_batch(self._pyarrow.RecordBatch.from_arrays(columns, schema=self._schema))


def _column(pyarrow: Any, of: FieldType) -> Any:
    if of.base == "list" and of.element is not None:
        return pyarrow.list_(_column(pyarrow, of.element))
    return {
        "bool": pyarrow.bool_(),
        "int": pyarrow.int64(),
        "float": pyarrow.float64(),
        "bytes": pyarrow.binary(),
        "timestamp": pyarrow.timestamp("us", tz="UTC"),
        "date": pyarrow.date32(),
        "enum": pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    }.get(of.base, pyarrow.string())


def _value(of: FieldType, value: Any) -> Any:
    """From JSON to what pyarrow takes for the column."""
    if value is None:
        return None
    if of.base == "list" and of.element is not None:
        return [_value(of.element, each) for each in value]
    if of.base in ("list", "map"):
        return json.dumps(value, ensure_ascii=False)
    read = _READ.get(of.base)
    return value if read is None else read(value)


_READ: dict[str, Callable[[Any], Any]] = {
    "int": int,
    "float": float,
    "bytes": base64.b64decode,
    "timestamp": datetime.datetime.fromisoformat,
    "date": datetime.date.fromisoformat,
}
