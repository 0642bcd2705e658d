"""What a question means for its rows, said a second time and as simply as can be: the judge of answers asks here.

    fits(where, fields)            True, False, or None where this small model does not know
    comes_first(order, a, b)       whether row a stands before row b; ties by reference; None as above

    Compare("text", "^=", "1.2 ")  {"text": "1.2 says 4"} -> True       {"text": "1.1 says 3"} -> False
    Compare("near", "=", "1.1/4")  {"near": 1.1/4} -> True               {"near": None} -> False
    order ((text, descending),)    "b" before "a" before null

Promise: nothing of the product's own filters, orders and keys of values is used, so a mistake there is not made here
too. It knows values that Python compares as the product promises to (text, numbers, truth, bytes, times), and
references, which go by their servers' components, then by number; of others it says None, and the judge is silent or
asks the product. Pure.

Left to others: which versions there are (`ledger.py`), who is accused (`check_answers.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from identity.names import Reference
from store.query import And, Compare, Condition, Not, Or

Row = tuple[Reference, Mapping[str, Any]]
_PLAIN = (str, bytes, bool, int, float)  # what a question says as it is; a time or a decimal it may say as text
_NUMBERS = (int, float, Decimal)
_ORDERED = str | bytes | bool | int | float | Decimal | datetime | date | UUID | Reference
_REFERENCE = re.compile(r"(\d+(?:\.\d+)*)/(\d+)")
_SENSES = {
    "<": lambda found, value: found < value,
    "<=": lambda found, value: found <= value,
    ">": lambda found, value: found > value,
    ">=": lambda found, value: found >= value,
    "^=": lambda found, value: found.startswith(value),
}


def fits(where: Condition | None, fields: Mapping[str, Any]) -> bool | None:
    """Whether an object with these fields meets the condition."""
    if where is None:
        return True
    if isinstance(where, Not):
        inner = fits(where.condition, fields)
        return None if inner is None else not inner
    if isinstance(where, And | Or):
        decides = isinstance(where, Or)  # one true one, or one false one, settles it
        each = [fits(condition, fields) for condition in where.conditions]
        if decides in each:
            return decides
        return None if None in each else not decides
    return _meets(where, fields)


def _meets(where: Compare, fields: Mapping[str, Any]) -> bool | None:
    if where.field not in fields:
        return None
    found = fields[where.field]
    if where.op == "is null":
        return found is None
    values = list(where.value) if where.op == "in" else [where.value]
    if isinstance(found, Reference):
        found, values = _place(found), [_place(value) for value in values]
        if "" in values:
            return None
    if not all(value is None or found is None or _is_alike(found, value) for value in values):
        return None
    if where.op in ("=", "in", "!="):
        return (found in values) != (where.op == "!=")
    if found is None or where.value is None:
        return False
    if where.op == "^=" and not isinstance(found, str | bytes):
        return None
    return bool(_SENSES[where.op](found, values[0])) if where.op in _SENSES else None


def _is_alike(found: Any, value: Any) -> bool:
    """Whether these are of one kind, which a question writes as it is."""
    if type(found) in _NUMBERS and type(value) in _NUMBERS:
        return True
    return type(found) is type(value) and isinstance(found, (*_PLAIN, tuple))


def _place(value: Any) -> Any:
    """A reference as components and number, also one that a question writes as text; "" for what is none here."""
    match = _REFERENCE.fullmatch(str(value))
    if value is None:
        return None
    return "" if match is None else (tuple(map(int, match[1].split("."))), int(match[2]))


def _is_ordered(value: Any) -> bool:
    return isinstance(value, _ORDERED | tuple | None) and value == value  # NaN is not equal to itself


def comes_first(order: Sequence[tuple[str, bool]], one: Row, other: Row) -> bool | None:
    """Whether `one` stands before `other`; nulls are the smallest, and equal rows go by their references."""
    for name, descending in order:
        if name not in one[1] or name not in other[1]:
            return None
        first, second = one[1][name], other[1][name]
        if isinstance(first, Reference) and isinstance(second, Reference):
            first, second = _place(first), _place(second)
        if first == second:
            continue
        if not (_is_ordered(first) and _is_ordered(second)):
            return None
        smaller = first is None or (second is not None and bool(first < second))
        return smaller != descending
    return bool(_place(one[0]) < _place(other[0]))
