"""Answer a question from what is held here: choose an index, scan, filter, order, limit (DESIGN A1).

    conditions that must all hold      ->  one index and a range of its keys   (Path)
    equality on a unique field  >  equality  >  `in`  >  prefix or range  >  the order asked for  >  any index at all

    entries  ->  owners wanted?  ->  record, filter  ->  rows  ->  sorted within equal values, or all  ->  limit

An index only narrows: the whole condition is asked of every row again, which also settles cut keys. When the first
field of the order is the index's, rows come in its order and only those with equal values are sorted, by the rest of
the order and the reference; so a limit ends the scan. Otherwise all rows are collected and sorted by `query.sort_key`,
or with a limit the best are kept.

Reads nothing but the reader's source, so a view or a transaction gives one consistent answer.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from identity.errors import Damaged
from identity.names import Pattern
from store.indexes import Index
from store.keys import prefix_range
from store.query import And, Compare, Condition, Filter, Question, check_question, compile_filter, sort_key, understood
from store.records import Stored
from store.registry import ClassEntry
from store.values import Resolve

if TYPE_CHECKING:
    from store.reading import Reader

_INDEX_TABLE = "index"
MAX_POINTS = 256  # equalities of one `in` that are looked up one by one; more are one scan
EQUAL_UNIQUE, EQUAL, AMONG, RANGE, ORDER, ANY = range(6)


class Path(NamedTuple):
    """Where to look: ranges of one index, ascending."""

    rank: int
    over: Index
    ranges: tuple[tuple[bytes, bytes], ...]
    reverse: bool = False


def select_rows(
    reader: Reader, entry: ClassEntry, question: Question, pattern: Pattern | None, size: int
) -> Iterator[list[Stored]]:
    """Batches of at most `size` rows. Raises `Refused` at once for what the class has not, before the first row."""
    definition = entry.definition
    check_question(question, definition)
    where = None
    resolve = reader.servers.resolve
    if question.where is not None:
        where = compile_filter(question.where, definition, resolve)
    path = choose_path(entry, question, resolve)
    key = sort_key(definition, question.order)
    rows = _rows(reader, entry, path, where, _wanted(reader, pattern))
    in_order = bool(question.order) and path.over.name == question.order[0][0]
    if in_order:
        ordered = _sorted_runs(rows, key)
    else:
        ordered = _sorted(rows, key, question.limit)
    if question.limit is not None:
        ordered = islice(ordered, question.limit)
    if question.fields is not None:
        ordered = _projected(ordered, question.fields)
    return _batches(ordered, size)


def choose_path(entry: ClassEntry, question: Question, resolve: Resolve | None = None) -> Path:
    """The index and ranges by which the fewest objects are looked at, as far as can be told without counting."""
    conditions = list(_required(question.where))
    best = _by_order(entry, question)
    for index in entry.indexes:
        mine = [each for each in conditions if each.field == index.name]
        found = _narrow(entry, index, mine, resolve) if mine else None
        if found is not None and found.rank < best.rank:
            best = found
    if question.order and best.over.name == question.order[0][0]:
        return best._replace(reverse=question.order[0][1])
    return best


def _required(where: Condition | None) -> Iterator[Compare]:
    """The comparisons that every row must meet."""
    if isinstance(where, Compare):
        yield where
    elif isinstance(where, And):
        for each in where.conditions:
            yield from _required(each)


def _by_order(entry: ClassEntry, question: Question) -> Path:
    if question.order:
        index = entry.index_on(question.order[0][0])
        if index is not None:
            return Path(ORDER, index, (index.whole_range(),))
    index = entry.indexes[0]
    return Path(ANY, index, (index.whole_range(),))


def _narrow(entry: ClassEntry, index: Index, conditions: list[Compare], resolve: Resolve | None) -> Path | None:
    """What the conditions on one index's field leave of it."""
    low, high = index.whole_range()
    narrowed = False
    for each in conditions:
        if each.op == "is null":
            return Path(EQUAL, index, (index.equal_range(None),))
        value = understood(each, entry.definition, resolve)
        if each.op == "=":
            exact = _as_indexed(index, value)
            if exact is not None or value is None:
                unique = index.unique and exact is not None
                return Path(EQUAL_UNIQUE if unique else EQUAL, index, (index.equal_range(exact),))
        elif each.op == "in" and len(value) <= MAX_POINTS:
            ranges = {index.equal_range(_as_indexed(index, one)) for one in value if _fits(index, one)}
            return Path(AMONG, index, tuple(sorted(ranges)))
        elif each.op == "^=" and value is not None and index.field_type is not None:
            bounds = prefix_range(index.field_type, value)
            low, high = max(low, index.prefix + bounds[0]), min(high, index.prefix + bounds[1])
            narrowed = True
        elif each.op in ("<", "<=", ">", ">=") and value is not None:
            bound = _bound(index, each.op, value)
            if bound is not None:
                low, high = max(low, bound[0]), min(high, bound[1])
                narrowed = True
    return Path(RANGE, index, ((low, high),)) if narrowed else None


def _bound(index: Index, op: str, value: Any) -> tuple[bytes, bytes] | None:
    """Low and high of the keys that may compare so: a little too wide, nulls left out. None where it is unclear."""
    first, last = index.prefix + b"\1", index.whole_range()[1]
    base = index.field_type.base if index.field_type is not None else ""
    if base == "int" and type(value) is not int:
        if abs(value) >= 2**63:  # also keeps a Decimal of a million digits from becoming an integer
            return None
        value = math.floor(value) if op in ("<", "<=", ">") else math.ceil(value)
        op = "<=" if op in ("<", "<=") else ">="
        if not -(2**63) <= value < 2**63:
            return None
    exact = _as_indexed(index, value)
    if exact is None:
        return None
    low, high = index.equal_range(exact)
    return (first, high) if op in ("<", "<=") else (low, last)


def _fits(index: Index, value: Any) -> bool:
    return value is None or _as_indexed(index, value) is not None


def _as_indexed(index: Index, value: Any) -> Any:
    """A number as the index's type has it; None when no value of that type equals it."""
    base = index.field_type.base if index.field_type is not None else ""
    if value is None or base not in ("int", "float", "decimal"):
        return value
    try:
        if base == "int":
            return int(value) if -(2**63) <= value < 2**63 and value == int(value) else None
        if base == "float":
            return float(value) if float(value) == value else None
        exact = Decimal(value) if not isinstance(value, Decimal) else value
        index.write(exact)
    except (ValueError, OverflowError, ArithmeticError):
        return None
    return exact


# From entries to rows.


def _wanted(reader: Reader, pattern: Pattern | None) -> dict[bytes, bool]:
    """For each server's part of an object key: whether its objects are asked for. Old incarnations are not."""
    return {
        key: newest and (pattern is None or pattern.matches(server))
        for key, server, _, newest in reader.servers.known()
    }


class _Row(NamedTuple):
    value_part: bytes
    stored: Stored


def _rows(
    reader: Reader, entry: ClassEntry, path: Path, where: Filter | None, wanted: Mapping[bytes, bool]
) -> Iterator[_Row]:
    """Rows in the order of the path's entries."""
    index = path.over
    load = entry.codec.load_fields
    record_of, make = reader.record, reader.stored
    number = entry.number
    ranges = reversed(path.ranges) if path.reverse else path.ranges
    for low, high in ranges:
        if low >= high:
            continue
        for key, object_key in reader.source.scan(_INDEX_TABLE, low, high, path.reverse):
            if not wanted.get(object_key[: 8 if object_key[0] & 0x80 else 4], False):
                continue
            record = record_of(object_key)
            if record is None or record.class_number != number or not record.body:
                raise Damaged(
                    f"an index of {entry.definition.name} names {object_key.hex()}, which is not there",
                    next_step="restore a backup of this server",
                )
            fields = load(record.body)
            if where is None or where(fields):
                yield _Row(index.value_part(key, object_key), make(object_key, record, entry, fields))


def _sorted_runs(rows: Iterator[_Row], key: Callable[..., bytes]) -> Iterator[Stored]:
    """Rows whose index has the order's first field: only equal values (or values cut alike) are still to be ordered."""
    for _, run in groupby(rows, key=lambda row: row.value_part):
        together = list(run)
        if len(together) > 1:
            together.sort(key=lambda row: key(row.stored.reference, row.stored.fields))
        for each in together:
            yield each.stored


def _sorted(rows: Iterator[_Row], key: Callable[..., bytes], limit: int | None) -> Iterator[Stored]:
    keyed = ((key(row.stored.reference, row.stored.fields), row.stored) for row in rows)
    if limit is not None and limit < 10_000:
        best = heapq.nsmallest(limit, keyed, key=_first)
    else:
        best = sorted(keyed, key=_first)
    return (stored for _, stored in best)


def _first(pair: tuple[bytes, Stored]) -> bytes:
    return pair[0]


def _projected(rows: Iterator[Stored], fields: tuple[str, ...]) -> Iterator[Stored]:
    for row in rows:
        chosen = {name: row.fields[name] for name in fields}
        yield Stored(
            row.reference, row.class_name, row.sequence, chosen, row.kind, row.position_number, row.received_ms
        )


def _batches(rows: Iterator[Stored], size: int) -> Iterator[list[Stored]]:
    while batch := list(islice(rows, size)):
        yield batch
