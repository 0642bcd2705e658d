"""A class's fields to the body of a record and back, by functions compiled once per class (FACTS: 0.3 us against 1.1).

    fields {"icao": "EDDF", "elevation": 364}
        check     every field's type, required, limits         -> values ["EDDF", None, 364.0], definition's order
        encode    values                                       -> wire body, canonical CBOR array
        store     wire body: references to own objects get server 0 (DESIGN N2)  -> stored body
        load      stored body; short ones end in defaults      -> values

`wire body` is what leaves and rows carry, `stored body` what a record holds; for classes without references they are
the same bytes.

Promised: what `check` let through encodes, and loads equal; a stranger's body either becomes right values or
`PeerMisbehaved`. Left to others: what a type takes (`store.fieldtypes`), indexes (`store.indexes`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from types import CodeType
from typing import TYPE_CHECKING, Any

import cbor2

from identity.encoding import check_items, decode_value_untrusted
from identity.errors import LocalMistake, PeerMisbehaved, Refused
from identity.names import END
from store.fieldtypes import (
    MAX_INT,
    MIN_INT,
    FieldType,
    WrongValue,
    body_reader,
    body_writer,
    check_value,
    read_body_value_untrusted,
    shown,
    wrong_field,
)

if TYPE_CHECKING:
    from store.definitions import ClassDefinition, Field

Values = list[Any]
_loads = cbor2.loads
_dumps = cbor2.dumps


class Codec:
    """The compiled functions of one definition. `own` is this server's prefix of references: ended id, incarnation."""

    def __init__(self, definition: ClassDefinition, own: bytes = b"") -> None:
        self.definition = definition
        self.names = tuple(field.name for field in definition.fields)
        self._types = tuple(field.field_type for field in definition.fields)
        self._own = own
        self._count = len(self.names)
        self._writers = _positions(self._types, body_writer)
        self._readers = _positions(self._types, body_reader)
        self._references = tuple(at for at, of in enumerate(self._types) if _holds_references(of))
        self.pointers = tuple((at, _target(self._types[at])) for at in self._references)
        self.blobs = tuple(at for at, of in enumerate(self._types) if (of.element or of).base == "blob")
        self._plain = not self._readers and not self._references  # what CBOR gives are the values
        self._canonical = any(of.base in ("float", "map", "list") for of in self._types)
        self.defaults: Values = [
            None if field.default is None else check_value(field.field_type, field.default)
            for field in definition.fields
        ]
        self._defaults_by_name = {
            name: value for name, value in zip(self.names, self.defaults, strict=True) if value is not None
        }
        self.check: Callable[[Mapping[str, Any]], Values] = _compile_check(definition)
        self._is_usual: Callable[[Values], bool] = _compile_is_usual(self._types)
        self.load_fields: Callable[[bytes], dict[str, Any]] = self._load_fields  # `load`, by name
        if self._plain:
            self.load_fields = _compile_load_fields(self.names, self._load_fields)

    def of(self, own: bytes) -> Codec:
        """The same functions, for the server with this prefix of references; nothing is compiled again."""
        other = copy(self)
        other._own = own
        if not self._plain:  # those of a plain one know no references
            other.load_fields = other._load_fields
        return other

    def with_defaults(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields of a new object, with defaults for those not named."""
        return {**self._defaults_by_name, **fields} if self._defaults_by_name else fields

    def encode(self, values: Values) -> bytes:
        """The wire body of checked values. Raises `Refused` naming the field that CBOR cannot write."""
        if self._writers:
            values = values.copy()
            for at, write in self._writers:
                if values[at] is not None:
                    values[at] = write(values[at])
        try:
            data: bytes = _dumps(values, canonical=self._canonical)
            check_items(data)  # what a mirror's `read_untrusted` would refuse is refused here
        except (cbor2.CBOREncodeError, UnicodeEncodeError, ValueError) as error:
            raise self._name_unwritable(values, error) from error
        return data

    def store(self, wire: bytes) -> bytes:
        """The stored body of a wire body."""
        return self._exchange(wire, self._own, END) if self._references and self._own else wire

    def load(self, stored: bytes) -> Values:
        """The values of a stored body that this server wrote."""
        values: Values = _loads(stored)
        if len(values) < self._count:
            values += self._missing(len(values))
        for at, read in self._readers:
            if values[at] is not None:
                values[at] = read(values[at])
        return values

    def _load_fields(self, stored: bytes) -> dict[str, Any]:
        return dict(zip(self.names, self.load(self._globalize(stored)), strict=False))

    def load_values(self, stored: bytes) -> Values:
        """`load` of a body that may hold references to own objects."""
        return self.load(self._globalize(stored))

    def to_wire(self, stored: bytes) -> bytes:
        """The wire body of a stored body."""
        return self._globalize(stored)

    def read_untrusted(self, wire: bytes) -> Values:
        """The values of a wire body that a stranger sent. Raises `PeerMisbehaved`.

        A body with more fields than the definition is of a newer minor version: `LocalMistake`, ask `has_newer_fields`.
        """
        plain = decode_value_untrusted(wire)
        if type(plain) is not list or not plain:
            raise PeerMisbehaved(f"an object of {self.definition.name} that is no array of fields")
        if len(plain) > self._count:
            raise LocalMistake(f"an object of {self.definition.name} with {len(plain)} fields, {self._count} known")
        if len(plain) == self._count and self._is_usual(plain):
            return plain
        values = []
        for name, of, each in zip(self.names, self._types, plain, strict=False):
            try:
                values.append(None if each is None else read_body_value_untrusted(of, each))
            except PeerMisbehaved as error:
                raise PeerMisbehaved(f"field {name} of {self.definition.name}: {error.cause}") from error
        return values + self._missing(len(values))

    def _missing(self, count: int) -> Values:
        return self.defaults[count:]

    def _globalize(self, stored: bytes) -> bytes:
        return self._exchange(stored, END, self._own) if self._references and self._own else stored

    def _exchange(self, body: bytes, before: bytes, after: bytes) -> bytes:
        """The body with one beginning of references for another."""
        values = _loads(body)
        cut = len(before)
        for at in self._references:
            if at < len(values):
                values[at] = _exchange_in(values[at], before, after, cut)
        data: bytes = _dumps(values, canonical=self._canonical)
        return data

    def _name_unwritable(self, values: Values, error: Exception) -> Refused:
        for name, value in zip(self.names, values, strict=True):
            try:
                _dumps(value)
            except (cbor2.CBOREncodeError, UnicodeEncodeError, ValueError):
                return wrong_field(self.definition.name, name, f"{shown(value)} is no text that UTF-8 can write")
        return Refused(f"an object of {self.definition.name} cannot be written: {error}")


def has_newer_fields(codec: Codec, wire: bytes) -> bool:
    """Whether the body's array is longer than the definition; False for what is no array."""
    return body_length(wire) > len(codec.names)


def body_length(wire: bytes) -> int:
    """How many fields a body says it has, by its first bytes; 0 for what is no array of fields."""
    if not wire or wire[0] >> 5 != 4:
        return 0
    short = wire[0] & 31
    if short < 24:
        return short
    width = {24: 1, 25: 2}.get(short)  # more than 65 535 fields is no class
    return 0 if width is None else int.from_bytes(wire[1 : 1 + width], "big")


def _positions(
    types: tuple[FieldType, ...], make: Callable[[FieldType], Callable[[Any], Any] | None]
) -> tuple[tuple[int, Callable[[Any], Any]], ...]:
    made = ((at, make(of)) for at, of in enumerate(types))
    return tuple((at, function) for at, function in made if function is not None)


def _holds_references(of: FieldType) -> bool:
    return of.base == "reference" or (of.element is not None and _holds_references(of.element))


def _target(of: FieldType) -> str:
    """The class that references in it name, "" any."""
    return of.target if of.element is None else _target(of.element)


def _exchange_in(value: Any, before: bytes, after: bytes, cut: int) -> Any:
    if isinstance(value, bytes):
        return after + value[cut:] if value.startswith(before) else value
    if isinstance(value, list):
        return [_exchange_in(each, before, after, cut) for each in value]
    return value


# The compiled check: one line for each field's usual case, a call for everything else.

_USUAL = {
    "bool": "type({v}) is bool",
    "int": "type({v}) is int and {low} <= {v} <= {high}",
    "float": "type({v}) is float and {low} <= {v} <= {high} and {v} != 0.0",
    "string": "type({v}) is str and len({v}) <= {length}",
    "bytes": "type({v}) is bytes and len({v}) <= {length}",
    "enum": "type({v}) is str and {v} in choices{at}",
}
_LARGEST_FLOAT = 1.7976931348623157e308

# What canonical CBOR gave and is the value already; a body of nothing else needs no second look (60 us -> 12 us a row).
_PLAIN = {
    "bool": "type({v}) is bool",
    "int": f"type({{v}}) is int and {MIN_INT} <= {{v}} <= {MAX_INT}",
    "float": f"type({{v}}) is float and -{_LARGEST_FLOAT} <= {{v}} <= {_LARGEST_FLOAT} and {{v}} != 0.0",
    "string": "type({v}) is str",
    "bytes": "type({v}) is bytes",
    "enum": "type({v}) is str",
}


def _compile_is_usual(types: tuple[FieldType, ...]) -> Callable[[Values], bool]:
    """`is_usual(values) -> bool`: whether every value of a whole body stands there as it is."""
    names = [f"v{at}" for at in range(len(types))]
    tests = [
        f"({name} is None or {_PLAIN.get(of.base, 'False').format(v=name)})"
        for name, of in zip(names, types, strict=True)
    ]
    scope: dict[str, Any] = {}
    lines = ["def is_usual(values):", f"    [{', '.join(names)}] = values", f"    return {' and '.join(tests)}"]
    exec(_compiled("\n".join(lines)), scope)  # noqa: S102 - all of it is ours
    is_usual: Callable[[Values], bool] = scope["is_usual"]
    return is_usual


def _compile_load_fields(
    names: Sequence[str], load_fields: Callable[[bytes], dict[str, Any]]
) -> Callable[[bytes], dict[str, Any]]:
    """The fields of a whole stored body of which CBOR gives the values; other bodies are for `load_fields`."""
    scope: dict[str, Any] = {"loads": _loads, "load_fields": load_fields}
    variables = ", ".join(f"v{at}" for at in range(len(names)))
    fields = ", ".join(f"{name!r}: v{at}" for at, name in enumerate(names))
    lines = [
        "def load(stored):",
        "    values = loads(stored)",
        f"    if len(values) != {len(names)}: return load_fields(stored)",
        f"    [{variables}] = values",
        f"    return {{{fields}}}",
    ]
    exec(_compiled("\n".join(lines)), scope)  # noqa: S102 - all of it is ours
    load: Callable[[bytes], dict[str, Any]] = scope["load"]
    return load


def _compile_check(definition: ClassDefinition) -> Callable[[Mapping[str, Any]], Values]:
    """`check(fields) -> values`. Raises `Refused` naming the first field that is wrong."""
    known = frozenset(field.name for field in definition.fields)
    scope: dict[str, Any] = {"known": known, "refuse": _make_unknown(definition)}
    lines = ["def check(fields):", "    get = fields.get"]
    for at, field in enumerate(definition.fields):
        scope[f"check{at}"] = _make_slow(definition.name, field)
        scope[f"choices{at}"] = frozenset(field.field_type.choices)
        lines.append(f"    v{at} = get({field.name!r})")
        usual = _USUAL.get(field.field_type.base, "False").format(v=f"v{at}", at=at, **_limits(field))
        optional = "" if field.required else f"v{at} is None or "
        lines.append(f"    if not ({optional}{usual}): v{at} = check{at}(v{at})")
    lines.append("    if not known.issuperset(fields): refuse(fields)")
    lines.append(f"    return [{', '.join(f'v{at}' for at in range(len(definition.fields)))}]")
    exec(_compiled("\n".join(lines)), scope)  # noqa: S102 - names were checked to be identifiers, everything else is ours
    check: Callable[[Mapping[str, Any]], Values] = scope["check"]
    return check


@lru_cache(maxsize=256)
def _compiled(source: str) -> CodeType:
    """Compiling takes a hundred times as long as the rest; each opening of a store wants the built-in classes again."""
    return compile(source, "<the check of a class>", "exec")


def _limits(field: Field) -> dict[str, str]:
    whole = field.field_type.base == "int"
    low = field.min if field.min is not None else (MIN_INT if whole else -_LARGEST_FLOAT)
    high = field.max if field.max is not None else (MAX_INT if whole else _LARGEST_FLOAT)
    length = field.max_length if field.max_length is not None else MAX_INT
    return {"low": repr(low), "high": repr(high), "length": repr(length)}


def _make_unknown(definition: ClassDefinition) -> Callable[[Mapping[str, Any]], None]:
    def refuse(fields: Mapping[str, Any]) -> None:
        for name in fields:
            definition.field(name)

    return refuse


def _make_slow(class_name: str, field: Field) -> Callable[[Any], Any]:
    name, of = field.name, field.field_type

    def check(value: Any) -> Any:
        if value is None:
            if field.required:
                raise wrong_field(class_name, name, "is missing, and it is required")
            return None
        try:
            value = check_value(of, value)
        except WrongValue as error:
            raise wrong_field(class_name, name, error) from error
        if field.min is not None and value < field.min:
            raise wrong_field(class_name, name, f"{shown(value)} is below {shown(field.min)}")
        if field.max is not None and value > field.max:
            raise wrong_field(class_name, name, f"{shown(value)} is above {shown(field.max)}")
        if field.max_length is not None and len(value) > field.max_length:
            raise wrong_field(class_name, name, f"has length {len(value)}, {field.max_length} allowed")
        return value

    return check
