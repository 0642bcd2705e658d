"""How a question is answered here: which index, which bounds, how many entries were expected, and how many it took.

    plan = view.explain(Question("City", where, order))        chosen; nothing is read yet but what a choice counts
    for batch in plan.batches(): ...                           the very rows of the answer
    plan.as_json()

    {"class": "City", "index": "land, size", "access": "equal", "bounds": [{"field": "land", "op": "=", "value": "DE"}],
     "order": "index", "estimated": 40, "entries": 11, "objects": 11, "rows": 10,
     "considered": [{"index": "land, size", "access": "equal", "estimated": 40}, ...]}

    majors       where several classes of that name have objects here: as above up to `estimated`, of each of the others

    access       nothing  no value of the field's type can meet it     unique, equal, in, range    bounds of an index
                 order    the whole index, for it has the order        all                         the whole class
    order        index    rows come so, and a limit ends the scan      sorted      all are collected first
    estimated    entries within the bounds, counted up to 10 000
    entries      those that were looked at                 objects     those that were read for them

Left to others: the choice itself (`store.selecting`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from identity.names import Pattern
from store.majors import NEVER, Part, merged, parts_of
from store.query import Compare, Question
from store.records import Stored
from store.registry import ClassEntry
from store.selecting import (
    AMONG,
    ANY,
    EQUAL,
    EQUAL_UNIQUE,
    ORDER,
    RANGE,
    Path,
    batches_of,
    choose_path,
    possible_paths,
    select_ordered,
)
from store.statistics import count_entries

if TYPE_CHECKING:
    from store.reading import Reader, Source
    from store.values import Resolve

ACCESS = {EQUAL_UNIQUE: "unique", EQUAL: "equal", AMONG: "in", RANGE: "range", ORDER: "order", ANY: "all"}
ESTIMATED = 10_000  # entries that are counted for an estimate, some milliseconds
_INDEX_TABLE = "index"
_LARGEST = 2**53  # of integers in JSON (DESIGN N10)


class CountingSource:
    """A source that knows how much was read of it."""

    def __init__(self, below: Source) -> None:
        self.below = below
        self.entries = 0
        self.objects = 0

    def get(self, table: str, key: bytes) -> bytes | None:
        self.objects += 1
        return self.below.get(table, key)

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        for entry in self.below.scan(table, low, high, reverse):
            self.entries += 1
            yield entry


class _Way:
    """The way of one class's part of a question."""

    def __init__(self, part: Part, resolve: Resolve, below: Source) -> None:
        self.entry, self.question = part
        self.path: Path = choose_path(self.entry, self.question, resolve, below)
        ways = [each for each in possible_paths(self.entry, self.question, resolve) if each.rank < ORDER]
        self.considered = [(each, count_entries(below, each.ranges, ESTIMATED)) for each in ways]
        self.estimated = count_entries(below, self.path.ranges, ESTIMATED)

    def as_json(self) -> dict[str, Any]:
        path = self.path
        order = "none"
        if self.question.order:
            order = "index" if path.depth else "sorted"
        return {
            "index": path.over.name or None,
            "access": _access(path),
            "bounds": [_shown(each) for each in path.used],
            "order": order,
            "estimated": self.estimated,
        }


class Explained:
    """A question's way through the store: chosen when it is made, measured while `batches` is read to its end."""

    def __init__(
        self,
        reader: Reader,
        counting: CountingSource,
        entries: Sequence[ClassEntry],
        question: Question,
        servers: Pattern | None,
    ) -> None:
        """`reader` reads through `counting`. Raises `Refused` for what no class of that name has."""
        below = counting.below
        resolve = reader.servers.resolve
        self._reader = reader
        self._counting = counting
        self._question = question
        self._servers = servers
        parts = [Part(entries[0], question)]
        if len(entries) > 1:
            parts = [each for each in parts_of(reader, entries, question) if _has_objects(below, each.entry)]
        if not parts:  # nothing can meet it, which is told of the class that leads
            parts = [Part(entries[0], replace(question, where=NEVER, order=()))]
        self._ways = [_Way(each, resolve, below) for each in parts]
        self._begin(1)  # what makes no sense is refused here
        self.path = self._ways[0].path
        self.considered, self.estimated = self._ways[0].considered, self._ways[0].estimated
        self.rows = 0

    def batches(self, size: int = 512) -> Iterator[list[Stored]]:
        """The rows of the answer, so many at a time."""
        for batch in self._begin(size):
            self.rows += len(batch)
            yield batch

    def _begin(self, size: int) -> Iterator[list[Stored]]:
        reader, servers = self._reader, self._servers
        streams = [select_ordered(reader, each.entry, each.question, servers, each.path) for each in self._ways]
        return batches_of(merged(streams, [each.entry.definition for each in self._ways], self._question), size)

    def as_json(self) -> dict[str, Any]:
        told = {
            "class": self._question.class_name,
            **self._ways[0].as_json(),
            "entries": self._counting.entries,
            "objects": self._counting.objects,
            "rows": self.rows,
            "considered": [
                {"index": each.over.name, "access": _access(each), "estimated": estimated}
                for each, estimated in self.considered
            ],
        }
        if len(self._ways) > 1:
            told["majors"] = [{"major": each.entry.definition.major, **each.as_json()} for each in self._ways[1:]]
        return told


def _has_objects(source: Source, entry: ClassEntry) -> bool:
    return next(source.scan(_INDEX_TABLE, *entry.extent.whole_range()), None) is not None


def _access(path: Path) -> str:
    return ACCESS[path.rank] if path.ranges else "nothing"


def _shown(condition: Compare) -> dict[str, Any]:
    value = condition.value
    if isinstance(value, (list, tuple)):
        value = [_plain(each) for each in value]
    return {"field": condition.field, "op": condition.op, "value": _plain(value)}


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, float, list)) or (type(value) is int and abs(value) <= _LARGEST):
        return value
    return str(value)
