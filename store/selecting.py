"""Answer a question from what is held here: choose an index, scan, filter, order, limit (DESIGN A1).

    country = "DE" and city ^= "B" and size > 9    conditions that all must hold
    index of (country, city)                       equality on the first fields, then `in`, prefix or range on the next
    bounds    DE, B ... DE, C                      ->  Path
    unique, all its fields  >  any that narrows, the one with the fewest entries  >  the order asked for  >  all

    entries  ->  owners wanted?  ->  record, filter  ->  rows  ->  sorted within runs, or all  ->  limit

An index only narrows: the whole condition is asked of every row again, which also settles cut keys. When the order
begins with the fields that follow those of the equalities, rows come in that order, and only runs of those that are
equal in it are sorted, by the rest of the order and the reference; so a limit ends the scan. Otherwise all rows are
collected and sorted by `query.sort_key`, or with a limit the best are kept. Whoever drives a long look hears of it
every 512 entries, by an empty batch, and can let others run.

Reads nothing but the reader's source, so a view or a transaction gives one consistent answer. Left to others: what a
plan looks like to people (`store.explaining`), how many entries there are (`store.statistics`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from identity.errors import Damaged
from identity.names import Pattern
from store.indexes import BlobIndex, ElementIndex, Index, Part
from store.keys import after_prefix, prefix_range
from store.query import And, Compare, Condition, Filter, Question, check_question, compile_filter, sort_key, understood
from store.records import Stored
from store.registry import ClassEntry
from store.statistics import Range, Scanned, narrowest
from store.values import Resolve

if TYPE_CHECKING:
    from store.reading import Reader

_INDEX_TABLE = "index"
MAX_POINTS = 256  # equalities of one `in` that are looked up one by one; more are one scan
PULSE = 512  # entries, some milliseconds with their objects, after which whoever waits may be let run
_SPARE = 1000  # rows kept beyond twice the limit, so that a small one does not sort all the time
EQUAL_UNIQUE, EQUAL, AMONG, RANGE, ORDER, ANY = range(6)


_Understood = tuple[Compare, Any]  # a condition and its value as the field has it


class Path(NamedTuple):
    """Where to look: ranges of one index, ascending; of none of them: nothing can meet the condition.

    `used`: the conditions that the ranges stand for. `depth`: rows come in the order asked for as far as the first so
    many fields of the index go; 0: they have to be sorted.
    """

    rank: int
    over: Index
    ranges: tuple[Range, ...]
    used: tuple[Compare, ...] = ()
    depth: int = 0
    reverse: bool = False


def select_rows(
    reader: Reader,
    entry: ClassEntry,
    question: Question,
    pattern: Pattern | None,
    size: int,
    path: Path | None = None,
) -> Iterator[list[Stored]]:
    """Batches of at most `size` rows, by `path` if it was chosen before. Empty ones let others run during a long look.

    Raises `Refused` at once for what the class has not, before the first row.
    """
    rows = select_ordered(reader, entry, question, pattern, path)
    return batches_of(rows if question.fields is None else _projected(rows, question.fields), size)


def select_ordered(
    reader: Reader, entry: ClassEntry, question: Question, pattern: Pattern | None, path: Path | None = None
) -> Iterator[Stored | None]:
    """The same rows one by one with all their fields, and None where others may be let run."""
    definition = entry.definition
    check_question(question, definition)
    where = None
    resolve = reader.servers.resolve
    if question.where is not None:
        where = compile_filter(question.where, definition, resolve)
    if path is None:
        path = choose_path(entry, question, resolve, reader.unnoted)
    key = sort_key(definition, question.order)
    rows = _rows(reader, entry, path, where, wanted_owners(reader, pattern))
    if path.depth:
        ordered = _sorted_runs(rows, key)
    else:
        ordered = _sorted(rows, key, question.limit)
    if question.limit is not None:
        ordered = limited(ordered, question.limit)
    return ordered


def choose_path(
    entry: ClassEntry, question: Question, resolve: Resolve | None = None, source: Scanned | None = None
) -> Path:
    """The index and ranges by which the fewest objects are looked at; without a source as far as can be told."""
    paths = possible_paths(entry, question, resolve)
    best = paths[0]
    if best.rank == EQUAL_UNIQUE or best.rank >= ORDER or source is None:
        return best
    narrowing = [path for path in paths if path.rank < ORDER]
    return narrowing[0 if len(narrowing) == 1 else narrowest(source, [path.ranges for path in narrowing])]


def possible_paths(entry: ClassEntry, question: Question, resolve: Resolve | None = None) -> list[Path]:
    """Every way to the rows, of equal rank those first that spare a sort, then those with more fields bound."""
    conditions: dict[str, list[_Understood]] = {}
    for each in _required(question.where):
        conditions.setdefault(each.field, []).append((each, understood(each, entry.definition, resolve)))
    first = question.order[0][0] if question.order else ""
    extent = entry.extent
    paths: list[Path] = []
    for index in entry.usable:
        leading = index.parts[0].field if index.parts else ""
        if isinstance(index, BlobIndex):
            continue
        if isinstance(index, ElementIndex):
            paths += _by_elements(index, conditions.get(leading, ()))
        elif leading in conditions or leading == first or index is extent:
            paths.append(_by_values(index, conditions, question.order))
    if len(paths) > 1:
        paths.sort(key=lambda path: (path.rank, -path.depth, -len(path.used)))
    return paths


def _required(where: Condition | None) -> Iterator[Compare]:
    """The comparisons that every row must meet."""
    if isinstance(where, Compare):
        yield where
    elif isinstance(where, And):
        for each in where.conditions:
            yield from _required(each)


def _by_elements(index: ElementIndex, conditions: Sequence[_Understood]) -> Iterator[Path]:
    for each, value in conditions:
        if each.op == "contains":
            exact = _as_indexed(index.parts[0], value)
            ranges = () if exact is None else index.ranges_holding(exact)
            yield Path(EQUAL_UNIQUE if index.unique else EQUAL, index, ranges, (each,))


def _by_values(
    index: Index, conditions: Mapping[str, Sequence[_Understood]], order: tuple[tuple[str, bool], ...]
) -> Path:
    """What the conditions on an index's fields leave of it: one value each of the first, then a part of the next."""
    low = index.prefix
    used: list[Compare] = []
    nulls = False
    narrowed: tuple[int, tuple[Range, ...], list[Compare]] | None = None
    for part in index.parts:
        mine = conditions.get(part.field, ())
        one = next(((each, value) for each, value in mine if each.op in ("=", "is null")), None)
        if one is None:
            narrowed = _narrow(part, low, mine)
            break
        exact = None if one[0].op == "is null" else _as_indexed(part, one[1])
        if exact is None and one[0].op == "=" and one[1] is not None:
            return Path(EQUAL_UNIQUE, index, (), (one[0],))  # 2.5 of integers: there is no such value
        used.append(one[0])
        nulls = nulls or exact is None
        low += part.cut(part.write(exact))
    bound = len(used)
    ranges: tuple[Range, ...] = ((low, after_prefix(low)),)
    rank = EQUAL if bound else ANY
    if narrowed is not None:
        kind, ranges, more = narrowed
        rank = min(rank, kind)
        used += more
    elif bound and bound == len(index.parts) and index.unique and not nulls:
        rank = EQUAL_UNIQUE
    depth, reverse = _order_served(index, bound, {each.field for each in used[:bound]}, order)
    return Path(min(rank, ORDER) if depth else rank, index, ranges, tuple(used), depth, reverse)


def _order_served(
    index: Index, bound: int, constant: set[str], order: tuple[tuple[str, bool], ...]
) -> tuple[int, bool]:
    """How many fields of an index, of which the first `bound` have one value, give the order, and whether backwards."""
    varying = [each for each in order if each[0] not in constant]
    served = 0
    for part, (field, descending) in zip(index.parts[bound:], varying, strict=False):
        if part.field != field or descending != varying[0][1]:
            break
        served += 1
    return (bound + served, varying[0][1]) if served else (0, False)


def _narrow(
    part: Part, base: bytes, conditions: Sequence[_Understood]
) -> tuple[int, tuple[Range, ...], list[Compare]] | None:
    """What conditions other than equality leave of one field's values behind `base`."""
    low, high = base, after_prefix(base)
    used = []
    for each, value in conditions:
        if each.op == "in" and len(value) <= MAX_POINTS:
            keys = {base + part.cut(part.write(_as_indexed(part, one))) for one in value if _fits(part, one)}
            return AMONG, tuple((key, after_prefix(key)) for key in sorted(keys)), [each]
        bounds = None
        if each.op == "^=" and value is not None:
            bounds = prefix_range(value, part.room)
        elif each.op in ("<", "<=", ">", ">=") and value is not None:
            bounds = _bounds(part, each.op, value)
        if bounds is not None:
            low, high = max(low, base + bounds[0]), min(high, base + bounds[1] if bounds[1] else high)
            used.append(each)
    return (RANGE, ((low, high),), used) if used else None


def _bounds(part: Part, op: str, value: Any) -> tuple[bytes, bytes] | None:
    """Low and high of the keys that may compare so, high empty: none; a little too wide, nulls left out.

    None where it is unclear.
    """
    if part.of.base == "int" and type(value) is not int:
        if abs(value) >= 2**63:  # also keeps a Decimal of a million digits from becoming an integer
            return None
        value = math.floor(value) if op in ("<", "<=", ">") else math.ceil(value)
        op = "<=" if op in ("<", "<=") else ">="
        if not -(2**63) <= value < 2**63:
            return None
    exact = _as_indexed(part, value)
    if exact is None:
        return None
    key = part.cut(part.write(exact))
    return (b"\1", after_prefix(key)) if op in ("<", "<=") else (key, b"")


def _fits(part: Part, value: Any) -> bool:
    return value is None or _as_indexed(part, value) is not None


def _as_indexed(part: Part, value: Any) -> Any:
    """A number as the index's type has it; None when no value of that type equals it."""
    base = part.of.base
    if value is None or base not in ("int", "float", "decimal"):
        return value
    try:
        if base == "int":
            return int(value) if -(2**63) <= value < 2**63 and value == int(value) else None
        if base == "float":
            return float(value) if float(value) == value else None
        exact = Decimal(value) if not isinstance(value, Decimal) else value
        part.write(exact)
    except (ValueError, OverflowError, ArithmeticError):
        return None
    return exact


# From entries to rows.


def wanted_owners(reader: Reader, pattern: Pattern | None) -> dict[bytes, bool]:
    """For each server's part of an object key: whether its objects are asked for. Old incarnations are not."""
    return {
        key: newest and (pattern is None or pattern.matches(server))
        for key, server, _, newest in reader.servers.known()
    }


class _Row(NamedTuple):
    run: bytes
    stored: Stored


def _rows(
    reader: Reader, entry: ClassEntry, path: Path, where: Filter | None, wanted: Mapping[bytes, bool]
) -> Iterator[_Row | None]:
    """Rows in the order of the path's entries; None after each `PULSE` entries, whatever was found."""
    index = path.over
    depth = path.depth
    alone = len(index.parts) == 1  # then the key says it, and nothing has to be written again
    load = entry.codec.load_fields
    record_of, make = reader.record, reader.stored
    number = entry.number
    looked = 0
    ranges = reversed(path.ranges) if path.reverse else path.ranges
    for low, high in ranges:
        if low >= high:
            continue
        for key, object_key in reader.source.scan(_INDEX_TABLE, low, high, path.reverse):
            looked += 1
            if looked == PULSE:
                looked = 0
                yield None
            if not wanted.get(object_key[: 8 if object_key[0] & 0x80 else 4], False):
                continue
            record = record_of(object_key)
            if record is None or record.class_number != number or not record.body:
                raise missing(entry, object_key)
            fields = load(record.body)
            if where is None or where(fields):
                run = b""
                if depth:
                    run = index.value_part(key, object_key) if alone else index.run_of(fields, depth)
                yield _Row(run, make(object_key, record, entry, fields))


def missing(entry: ClassEntry, object_key: bytes) -> Damaged:
    """What is said of an entry whose object is not there."""
    return Damaged(
        f"an index of {entry.definition.name} names {object_key.hex()}, which is not there",
        next_step="restore a backup of this server",
    )


def _sorted_runs(rows: Iterator[_Row | None], key: Callable[..., bytes]) -> Iterator[Stored | None]:
    """Rows whose index gives the order: only those of one run, equal in it or cut alike, are still to be ordered."""
    together: list[_Row] = []
    for row in rows:
        if row is None:
            yield None
            continue
        if together and row.run != together[0].run:
            yield from _ordered(together, key)
            together = []
        together.append(row)
    yield from _ordered(together, key)


def _ordered(together: list[_Row], key: Callable[..., bytes]) -> Iterator[Stored]:
    if len(together) > 1:
        together.sort(key=lambda row: key(row.stored.reference, row.stored.fields))
    for each in together:
        yield each.stored


def _sorted(rows: Iterator[_Row | None], key: Callable[..., bytes], limit: int | None) -> Iterator[Stored | None]:
    best: list[tuple[bytes, Stored]] = []
    most = math.inf if limit is None else 2 * limit + _SPARE
    for row in rows:
        if row is None:
            yield None
            continue
        best.append((key(row.stored.reference, row.stored.fields), row.stored))
        if len(best) > most:
            best.sort(key=_first)
            del best[limit:]
    best.sort(key=_first)
    for _, stored in best:
        yield stored


def _first(pair: tuple[bytes, Stored]) -> bytes:
    return pair[0]


def limited(rows: Iterator[Stored | None], limit: int) -> Iterator[Stored | None]:
    left = limit
    for row in rows if left else ():
        yield row
        if row is not None:
            left -= 1
            if not left:
                return


def _projected(rows: Iterator[Stored | None], fields: tuple[str, ...]) -> Iterator[Stored | None]:
    for row in rows:
        yield row and replace(row, fields={name: row.fields[name] for name in fields})


def batches_of(rows: Iterator[Stored | None], size: int) -> Iterator[list[Stored]]:
    """Full ones, and the rest; where many entries were looked at for none an empty one."""
    batch: list[Stored] = []
    quiet = True
    for row in rows:
        if row is None:
            if quiet:
                yield []
            quiet = True
            continue
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch, quiet = [], False
    if batch:
        yield batch
