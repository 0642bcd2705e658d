"""The vocabulary of questions, and what each means for one object (DESIGN A1).

    Airport where country = "DE" and elevation > 100 order by -elevation, name limit 10

    Question("Airport",
             And((Compare("country", "=", "DE"), Compare("elevation", ">", 100))),
             order=(("elevation", True), ("name", False)), limit=10)

    on the wire    [class, condition or null, [[field, descending]..], limit or null, [field..] or null]
    condition      ["=", field, value] | ["in", field, [value..]] | ["and", condition..] | ["or", ..] | ["not", one]
    value          as CBOR has it, or ["decimal" | "timestamp" | "date" | "uuid", text], ["reference", bytes]

Meaning. A null is equal to null only, smaller than everything in an order, and no comparison with it is true but `!=`
and `is null`; `not` is plain negation. `^=` is *begins with*, of text and bytes; `contains` is of lists, and true when
an element equals the value. Whatever the order, ties are by reference: the owner's bytes, then the object. `sort_key`
is that order, the same on every server, so that sorted answers of many servers merge.

A value may be given as Python value or as JSON says it; it is understood as the field's type. `compile_filter` makes
one closure per condition. Bounded: a stranger's question is at most 12 conditions deep, 4 096 in all. Which objects to
look at is decided in `store.selecting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from identity.encoding import encode_integer
from identity.errors import BangpathError, LocalMistake, PeerMisbehaved, Refused
from identity.names import Reference
from store.definitions import ClassDefinition, Field
from store.fieldtypes import FieldType, WrongValue, is_name
from store.keys import complement, key_writer
from store.values import Resolve, value_from_json

OPERATORS = ("=", "!=", "<", "<=", ">", ">=", "^=", "in", "is null", "contains")
MAX_NESTING = 12  # conditions travel as CBOR arrays, which may be 32 deep, two levels for each of ours (N8)
MAX_CONDITIONS = 4096  # and values of `in`: a list of some thousand keys still fits
MAX_ORDER = 16
MAX_LIMIT = 2**53


class Compare(msgspec.Struct, frozen=True):
    """A field and a value. `op` is one of `OPERATORS`; of "in" the value is a tuple, of "is null" None."""

    field: str
    op: str
    value: Any = None


class And(msgspec.Struct, frozen=True):
    """All of these; of none of them: true."""

    conditions: tuple[Condition, ...]


class Or(msgspec.Struct, frozen=True):
    """Any of these; of none of them: false."""

    conditions: tuple[Condition, ...]


class Not(msgspec.Struct, frozen=True):
    """Not this one."""

    condition: Condition


Condition = Compare | And | Or | Not
Filter = Callable[[Mapping[str, Any]], bool]


class Question(msgspec.Struct, frozen=True):
    """Objects of one class. `order` is ((field, descending), ...); `fields` None: all of them."""

    class_name: str
    where: Condition | None = None
    order: tuple[tuple[str, bool], ...] = ()
    limit: int | None = None
    fields: tuple[str, ...] | None = None

    def to_plain(self) -> list[Any]:
        """As CBOR carries it. Raises `LocalMistake` for a value that has no form there."""
        return [
            self.class_name,
            None if self.where is None else _condition_to_plain(self.where),
            [[field, descending] for field, descending in self.order],
            self.limit,
            None if self.fields is None else list(self.fields),
        ]

    @classmethod
    def from_plain_untrusted(cls, plain: Any) -> Question:
        """What a stranger asked. Raises `PeerMisbehaved`; classes and fields it names may not exist."""
        if type(plain) is not list or len(plain) < 5:
            raise PeerMisbehaved("a question that is no array of five")
        class_name, where, order, limit, fields = plain[:5]
        if not is_name(class_name) or type(order) is not list or len(order) > MAX_ORDER:
            raise PeerMisbehaved("a question without a class, or with an order that is none")
        if not all(
            type(each) is list and len(each) == 2 and is_name(each[0]) and type(each[1]) is bool for each in order
        ):
            raise PeerMisbehaved("a question whose order is no list of field and direction")
        if limit is not None and (type(limit) is not int or not 0 <= limit <= MAX_LIMIT):
            raise PeerMisbehaved("a question whose limit is no number")
        if fields is not None and (type(fields) is not list or len(fields) > 512 or not all(map(is_name, fields))):
            raise PeerMisbehaved("a question whose fields are no names")
        budget = _Budget()
        return cls(
            class_name,
            None if where is None else _condition_from_plain_untrusted(where, budget, 1),
            tuple((each[0], each[1]) for each in order),
            limit,
            None if fields is None else tuple(fields),
        )


def check_question(question: Question, definition: ClassDefinition) -> None:
    """That its fields exist and have an order where one is asked for. Raises `Refused`, naming the field."""
    for name, _ in question.order:
        _ordered_field(definition, name)
    for name in question.fields or ():
        definition.field(name)
    check_limit(question)


def check_limit(question: Question) -> None:
    """Raises `Refused` for one that is none."""
    if question.limit is not None and question.limit < 0:
        raise Refused(f"a limit of {question.limit}", next_step="write how many rows at most, or none")


# The order of rows.


def sort_key(
    definition: ClassDefinition, order: Sequence[tuple[str, bool]]
) -> Callable[[Reference, Mapping[str, Any]], bytes]:
    """A function to the bytes by which rows are ordered, ties by reference. Raises `Refused` for what has no order."""
    parts = [
        (field, write, descending)
        for (field, descending), write in zip(order, _writers(definition, order), strict=True)
    ]
    if len(parts) == 1 and not parts[0][2]:
        only, write_only, _ = parts[0]
        return lambda reference, fields: write_only(fields.get(only)) + reference_key(reference)

    def key(reference: Reference, fields: Mapping[str, Any]) -> bytes:
        pieces = [
            complement(write(fields.get(field))) if descending else write(fields.get(field))
            for field, write, descending in parts
        ]
        pieces.append(reference_key(reference))
        return b"".join(pieces)

    return key


def reference_key(reference: Reference) -> bytes:
    """What orders references: the owner's bytes, then the object; a newer incarnation's after an older one's."""
    return reference.server.ended + encode_integer(reference.object) + encode_integer(reference.incarnation)


def _writers(definition: ClassDefinition, order: Sequence[tuple[str, bool]]) -> list[Callable[[Any], bytes]]:
    writers = []
    for name, _ in order:
        write = key_writer(_ordered_field(definition, name).field_type)
        assert write is not None
        writers.append(write)
    return writers


def _ordered_field(definition: ClassDefinition, name: str) -> Field:
    field = definition.field(name)
    if key_writer(field.field_type) is None:
        raise Refused(f"field {name} of {definition.name} is a {field.type}, which has no order", field=name)
    return field


# Conditions as closures.


def compile_filter(condition: Condition, definition: ClassDefinition, resolve: Resolve | None = None) -> Filter:
    """A function that says whether fields meet the condition. Raises `Refused`, naming the field."""
    if isinstance(condition, And):
        every = [compile_filter(each, definition, resolve) for each in condition.conditions]
        if len(every) == 2:
            first, second = every
            return lambda fields: first(fields) and second(fields)
        return lambda fields: all(each(fields) for each in every)
    if isinstance(condition, Or):
        some = [compile_filter(each, definition, resolve) for each in condition.conditions]
        return lambda fields: any(each(fields) for each in some)
    if isinstance(condition, Not):
        inner = compile_filter(condition.condition, definition, resolve)
        return lambda fields: not inner(fields)
    return _compile_compare(condition, definition, resolve)


def _compile_compare(condition: Compare, definition: ClassDefinition, resolve: Resolve | None) -> Filter:
    name, op = condition.field, condition.op
    if op == "is null":
        definition.field(name)
        return lambda fields: fields[name] is None
    value = understood(condition, definition, resolve)
    if op == "in":
        return _compile_in(name, value)
    if op == "=":
        return lambda fields: fields[name] == value
    if op == "!=":
        return lambda fields: fields[name] != value
    if value is None:
        return lambda fields: False
    if op == "contains":
        return lambda fields: (found := fields[name]) is not None and holds(found, value)
    if op == "^=":
        return lambda fields: (found := fields[name]) is not None and found.startswith(value)
    if op == "<":
        return lambda fields: (found := fields[name]) is not None and found < value
    if op == "<=":
        return lambda fields: (found := fields[name]) is not None and found <= value
    if op == ">":
        return lambda fields: (found := fields[name]) is not None and found > value
    return lambda fields: (found := fields[name]) is not None and found >= value


def holds(found: Sequence[Any], value: Any) -> bool:
    """Whether a list has the value; true is no 1 there, as an untyped list may have both."""
    return any(each == value and (type(each) is bool) == (type(value) is bool) for each in found)


def _compile_in(name: str, values: Sequence[Any]) -> Filter:
    try:
        among = frozenset(values)
    except TypeError:  # lists and maps
        return lambda fields: fields[name] in values
    return lambda fields: fields[name] in among


def understood(condition: Compare, definition: ClassDefinition, resolve: Resolve | None = None) -> Any:
    """The condition's value as the field's type has it (of "in" a tuple). Raises `Refused`, naming the field."""
    field = definition.field(condition.field)
    op, value = condition.op, condition.value
    if op not in OPERATORS:
        raise Refused(
            f"{op!r} is no comparison", next_step=f"the comparisons are {' '.join(OPERATORS)}", field=field.name
        )
    base = field.field_type.base
    if op in ("<", "<=", ">", ">=") and key_writer(field.field_type) is None:
        raise Refused(
            f"field {field.name} of {definition.name} is a {field.type}, which has no order", field=field.name
        )
    if op == "^=":
        if base not in ("string", "bytes", "enum"):
            raise Refused(
                f"field {field.name} is a {field.type}; only text and bytes begin with something", field=field.name
            )
        if base == "enum" and isinstance(value, str):
            return value
    if op == "contains":
        if base != "list":
            raise Refused(f"field {field.name} is a {field.type}; only lists contain something", field=field.name)
        element = field.field_type.element
        return value if element is None else _understood_value(field, element, value, resolve)
    if op == "in":
        if not isinstance(value, (list, tuple)):
            raise Refused(f"field {field.name} in {value!r}: no list of values", field=field.name)
        return tuple(_understood_value(field, field.field_type, each, resolve) for each in value)
    return _understood_value(field, field.field_type, value, resolve)


def _understood_value(field: Field, of: FieldType, value: Any, resolve: Resolve | None) -> Any:
    base = of.base
    if base in ("int", "float", "decimal") and type(value) in (int, float, Decimal):
        if not (value.is_finite() if isinstance(value, Decimal) else type(value) is int or math.isfinite(value)):
            raise Refused(f"field {field.name}: {value} is no number to compare with", field=field.name)
        return value  # numbers compare as numbers: an int field with 2.5
    if base == "enum" and isinstance(value, str):
        return value  # a choice that is not known here is simply met by nothing
    try:
        return value_from_json(of, value, resolve)
    except WrongValue as error:
        raise Refused(f"field {field.name} is a {field.type}: {error}", field=field.name) from error


# The wire.


class _Budget:
    """Counts the conditions and values of one stranger's question."""

    def __init__(self) -> None:
        self.left = MAX_CONDITIONS

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise PeerMisbehaved(f"a question of more than {MAX_CONDITIONS} conditions")


def _condition_to_plain(condition: Condition) -> list[Any]:
    if isinstance(condition, Compare):
        if condition.op == "in":
            return ["in", condition.field, [_value_to_plain(each) for each in condition.value]]
        return [condition.op, condition.field, _value_to_plain(condition.value)]
    if isinstance(condition, Not):
        return ["not", _condition_to_plain(condition.condition)]
    word = "and" if isinstance(condition, And) else "or"
    return [word, *map(_condition_to_plain, condition.conditions)]


def _condition_from_plain_untrusted(plain: Any, budget: _Budget, depth: int) -> Condition:
    budget.take(1)
    if type(plain) is not list or not plain or type(plain[0]) is not str or depth > MAX_NESTING:
        raise PeerMisbehaved(f"a condition that is none, or more than {MAX_NESTING} deep")
    word, *rest = plain
    if word in ("and", "or"):
        conditions = tuple(_condition_from_plain_untrusted(each, budget, depth + 1) for each in rest)
        return And(conditions) if word == "and" else Or(conditions)
    if word == "not" and len(rest) == 1:
        return Not(_condition_from_plain_untrusted(rest[0], budget, depth + 1))
    if word not in OPERATORS or len(rest) != 2 or not is_name(rest[0]):
        raise PeerMisbehaved(f"a condition {word!r} that is not known here")
    if word == "in":
        if type(rest[1]) is not list:
            raise PeerMisbehaved("a condition `in` without a list")
        budget.take(len(rest[1]))
        return Compare(rest[0], word, tuple(map(_value_from_plain_untrusted, rest[1])))
    return Compare(rest[0], word, _value_from_plain_untrusted(rest[1]))


def _value_to_plain(value: Any) -> Any:
    if type(value) is int and not -(2**64) <= value < 2**64:
        value = Decimal(value)
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, Decimal):
        return ["decimal", str(value)]
    if isinstance(value, datetime):
        return ["timestamp", value.isoformat()]
    if isinstance(value, date):
        return ["date", value.isoformat()]
    if isinstance(value, UUID):
        return ["uuid", str(value)]
    if isinstance(value, Reference):
        return ["reference", value.to_bytes()]
    raise LocalMistake(f"a {type(value).__name__} cannot be asked for")


_VALUES: dict[str, Callable[[str], Any]] = {
    "decimal": Decimal,
    "timestamp": datetime.fromisoformat,
    "date": date.fromisoformat,
    "uuid": UUID,
}


def _value_from_plain_untrusted(plain: Any) -> Any:
    if type(plain) is not list:
        if type(plain) is dict:
            raise PeerMisbehaved("a condition with a map")
        return plain
    if len(plain) == 2 and type(plain[0]) is str:
        word, said = plain
        try:
            if word == "reference" and type(said) is bytes:
                return Reference.from_bytes_untrusted(said)
            if word in _VALUES and type(said) is str and len(said) <= 100:
                return _VALUES[word](said)
        except BangpathError:
            raise
        except Exception as error:  # each constructor has kinds of its own
            raise PeerMisbehaved(f"a condition with a {word} that is none: {error}") from error
    raise PeerMisbehaved("a condition with a list for a value")
