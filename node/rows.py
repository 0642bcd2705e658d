"""Rows of text or JSON, read by the definition of their class, each bad one named by line, field and cause.

    line 17, field elevation: 'high' is no float
    line 23, field icao: is missing, and it is required
    line 31: 12 cells, the head names 11

What a class says of its fields (`GET /v1/classes`) decides how a cell is read. An empty cell is an empty text where
the field is text, and otherwise no value. Everything is checked here before anything is sent, so that a file is taken
wholly or its bad rows are known; the node checks again what it stores.

Pure: files are handed in as lines, so that a test needs none. Left to others: sending (`node.importing`).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from identity.errors import Refused

MAX_LINE = 1 << 20  # one row; a transaction holds 16 MiB of changes (DESIGN L6)
csv.field_size_limit(MAX_LINE)  # of this process; 128 KiB otherwise, and a text may be longer


class Row(NamedTuple):
    """One good row."""

    line: int
    fields: dict[str, Any]


class BadRow(NamedTuple):
    """One row that cannot be taken, and why."""

    line: int
    field: str
    cause: str

    def __str__(self) -> str:
        return f"line {self.line}{f', field {self.field}' if self.field else ''}: {self.cause}"


class BadValue(ValueError):
    """What is wrong with one value, as a sentence that follows the field's name."""


class Reader:
    """Reads the fields of one class, as its definition in JSON describes them."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self.definition = definition
        self.class_name: str = definition["name"]
        self.fields: dict[str, Mapping[str, Any]] = {each["name"]: each for each in definition["fields"]}
        self._required = [name for name, each in self.fields.items() if each.get("required")]

    @classmethod
    def of(cls, classes: Sequence[Mapping[str, Any]], class_name: str) -> Reader:
        """The reader of one of a node's classes: of several majors that of new objects. Raises `Refused`."""
        named = [each for each in classes if each["name"] == class_name]
        if named:
            return cls(max(named, key=lambda each: (each.get("adopted", False), _major(each))))
        known = ", ".join(str(each["name"]) for each in classes) or "none"
        raise Refused(
            f"there is no class {class_name!r} here; known: {known}",
            next_step=f"bangpath class define {class_name} FIELD:TYPE ..., or bangpath class adopt {class_name}",
            **{"class": class_name},
        )

    def value(self, name: str, text: str) -> Any:
        """One field from text, as the JSON value that the node takes. Raises `Refused` naming the field."""
        field = self.fields.get(name)
        if field is None:
            raise Refused(f"{self.class_name} has no field {name!r}; it has {', '.join(self.fields)}", field=name)
        try:
            return value_of_text(field["type"], text)
        except BadValue as error:
            raise Refused(f"field {name}: {error}", field=name) from error

    def row_of_text(self, line: int, cells: Mapping[str, str]) -> Row | BadRow:
        """A CSV row."""
        fields: dict[str, Any] = {}
        for name, text in cells.items():
            field = self.fields.get(name)
            if field is None:
                return BadRow(line, name, f"{self.class_name} has no such field")
            try:
                value = value_of_text(field["type"], text)
            except BadValue as error:
                return BadRow(line, name, str(error))
            if value is not None:
                fields[name] = value
        return self._checked(line, fields)

    def row_of_json(self, line: int, said: object) -> Row | BadRow:
        """An NDJSON row, already decoded."""
        if not isinstance(said, dict):
            return BadRow(line, "", "is no JSON object")
        for name, value in said.items():
            field = self.fields.get(name)
            if field is None:
                return BadRow(line, name, f"{self.class_name} has no such field")
            cause = _wrong_json(field["type"], value)
            if cause:
                return BadRow(line, name, cause)
        return self._checked(line, {name: value for name, value in said.items() if value is not None})

    def _checked(self, line: int, fields: dict[str, Any]) -> Row | BadRow:
        for name in self._required:
            if name not in fields:
                return BadRow(line, name, "is missing, and it is required")
        return Row(line, fields)


def _major(definition: Mapping[str, Any]) -> int:
    return int(definition.get("version", "1.0").partition(".")[0])


def read_csv(lines: Iterable[str], reader: Reader) -> Iterator[Row | BadRow]:
    """A CSV file whose first row names the fields (RFC 4180). Raises `Refused` when it names none or one twice."""
    cells = csv.reader(lines, strict=True)
    try:
        head = next(cells, None)
    except csv.Error as error:
        raise Refused(f"line 1 is no CSV: {error}") from error
    if not head:
        raise Refused("the file is empty; its first line must name the fields")
    head[0] = head[0].removeprefix("\ufeff")
    unknown = [name for name in head if name not in reader.fields]
    if unknown or len(set(head)) != len(head):
        wrong = f"names {unknown[0]!r}, which {reader.class_name} has not" if unknown else "names a field twice"
        raise Refused(f"the first line {wrong}", next_step=f"the fields are {', '.join(reader.fields)}")
    while True:
        line = cells.line_num + 1
        try:
            row = next(cells, None)
        except csv.Error as error:
            yield BadRow(line, "", f"is no CSV: {error}")
            continue
        if row is None:
            return
        if not row:
            continue
        if len(row) != len(head):
            yield BadRow(line, "", f"{len(row)} cells, the first line names {len(head)} fields")
        else:
            yield reader.row_of_text(line, dict(zip(head, row, strict=True)))


def read_ndjson(lines: Iterable[str], reader: Reader) -> Iterator[Row | BadRow]:
    """A file with one JSON object a line; empty lines are passed over."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        if len(line) > MAX_LINE:
            yield BadRow(number, "", f"{len(line)} characters, {MAX_LINE} allowed")
            continue
        try:
            said = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            yield BadRow(number, "", f"is no JSON: {error}")
            continue
        yield reader.row_of_json(number, said)


def value_of_text(kind: str, text: str) -> Any:
    """The JSON value that `text` means for a field of type `kind`; None for no value. Raises `BadValue`."""
    base = kind.partition("<")[0].partition("(")[0].partition("[")[0]
    if base == "string":
        return text
    text = text.strip()
    if not text:
        return None
    read = _TEXT.get(base)
    if read is None:
        return text  # the node knows its own types; what it refuses it names
    try:
        return read(text)
    except BadValue:
        raise
    except (ValueError, msgspec.DecodeError) as error:
        raise BadValue(f"{text!r} is no {base}") from error


def _integer(text: str) -> int | str:
    value = int(text)
    if "_" in text or not -(2**63) <= value < 2**63:
        raise BadValue(f"{text!r} is no int of 64 bits")
    return value if abs(value) <= 2**53 else str(value)


def _float(text: str) -> float:
    value = float(text)
    if "_" in text or not math.isfinite(value):
        raise BadValue(f"{text!r} is no finite float")
    return value


def _bool(text: str) -> bool:
    try:
        return {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}[text.lower()]
    except KeyError:
        raise BadValue(f"{text!r} is no bool; write true or false") from None


_TEXT: dict[str, Callable[[str], Any]] = {
    "int": _integer,
    "float": _float,
    "bool": _bool,
    "list": msgspec.json.decode,
    "map": msgspec.json.decode,
}

# JSON kinds that a type accepts; types that are not named here are texts with a form that the node checks.
_JSON: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "int": (int, str),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "map": (dict,),
}


def _wrong_json(kind: str, value: object) -> str:
    """What is wrong with a JSON value, or nothing."""
    base = kind.partition("<")[0].partition("(")[0].partition("[")[0]
    accepted = _JSON.get(base)
    if value is None or accepted is None:
        return ""
    fits = isinstance(value, accepted) and (base == "bool" or not isinstance(value, bool))
    if fits and base == "int" and isinstance(value, str):  # beyond 2^53, as text (DESIGN N10)
        fits = value.removeprefix("-").isdecimal() and value.isascii() and len(value) <= 20
    if not fits:
        shown = msgspec.json.encode(value).decode()
        return f"{shown if len(shown) < 60 else shown[:57] + '...'} is no {base}"
    return ""
