"""One question to many owners: who is asked, how their ordered rows become one, and what the answer is worth.

    plan        owner by owner:  ours -> here    mirrored whole and as good as was asked for -> here    else -> ask
                 the owner, then who mirrors it  -> our cached copies (said to be so) -> stale, or unreachable

    merge       source A   1 4 7 .          taken so far  1 2 4          . still to come
                source B   2 9 .            waiting       7 | 9          7 < 9, but A's next may be 8
                A row is certain when no source that still sends can send a smaller one.

    report      {whole, summary, owners: [{server, how, major, position, age, path, rows, since}], directory}  (A3)

    how         owned        here
                owner        by the owner, just now
                mirrored     by a mirror that holds its whole feed up to the position that is told
                cached       only those of its rows that are kept by chance: never whole
                stale        only copies were reached that are older than was asked for; none of their rows is given
                unreachable  nobody who could tell                 refused    by the owner
                not asked    consistency local, and nothing of it is held here

Rules. Filters and the limit travel to the owners (a limit of 10 needs 10 of each). Ties end by reference, so that two
nodes asked the same give the same rows in the same order. `whole` is true when every matching owner was answered by
itself, or by a mirror that holds its whole feed up to the position that is told; it is relative to the directory, which
the report names with its positions. Where an owner was not reached, `since` says for how many seconds. A server asked
for by its exact name that the directory does not know matches too, and is told as unreachable. An owner that fell
silent after some of its rows had left is told as broken off.

Pure: values in, values out. Who waits for whom is `node.fan_out`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from identity.errors import BangpathError
from identity.names import Position, ServerId
from node.asking import Found, Holding
from node.wanted import Wanted
from store.query import Question

WHOLE_HOW = ("owned", "owner", "mirrored")
NOT_HELD = Holding("none", None, None, False)
Path = tuple[ServerId, ...]
Key = bytes  # of `store.query.sort_key`: its order is the one that the question asks, and no two rows have one


class Plan(NamedTuple):
    """Whose rows are here; who must be asked, or waited for; and who may not be asked (consistency `local`)."""

    here: tuple[ServerId, ...]
    asked: tuple[ServerId, ...]
    left: tuple[ServerId, ...]


def plan(owners: Iterable[ServerId], *, own: ServerId, holdings: Mapping[ServerId, Holding], wanted: Wanted) -> Plan:
    """Where each owner's rows come from."""
    here: list[ServerId] = []
    asked: list[ServerId] = []
    left: list[ServerId] = []
    for owner in owners:
        holding = holdings.get(owner, NOT_HELD)
        mirrored = holding.kind == "mirrored" and holding.whole
        if owner == own or (mirrored and wanted.consistency != "owner"):
            fault = wanted.fault(owner, position=holding.position, age=holding.age, by_owner=owner == own)
            (asked if fault else here).append(owner)
        elif wanted.consistency == "local":
            left.append(owner)
        else:
            asked.append(owner)
    return Plan(tuple(here), tuple(asked), tuple(left))


def pushed_down(question: Question) -> Question:
    """What each owner is asked: as the question, but with the fields that the merge orders by."""
    if question.fields is None:
        return question
    wanted = dict.fromkeys((*question.fields, *(field for field, _ in question.order)))
    return msgspec.structs.replace(question, fields=tuple(wanted))


def trimmer(question: Question) -> Callable[[list[Found]], list[Found]]:
    """Takes away the fields that nobody asked to see: those that only the merge wanted, and those that an owner's
    answer holds the places of."""
    shown = question.fields
    if shown is None:
        return lambda rows: rows

    def trim(rows: list[Found]) -> list[Found]:
        return [row._replace(fields={name: row.fields.get(name) for name in shown}) for row in rows]

    return trim


class Source:
    """One source's rows that are not yet certain, smallest first, and whether more may come."""

    __slots__ = ("ended", "keys", "last_taken", "rows")

    def __init__(self) -> None:
        self.rows: list[Found] = []
        self.keys: list[Key] = []
        self.ended = False
        self.last_taken: Key | None = None


class Merge:
    """Ordered streams become one ordered stream, each row as soon as it is certain."""

    def __init__(self, key: Callable[[Found], Key], *, limit: int | None = None) -> None:
        self._key = key
        self._left = limit
        self._limited = limit != 0
        self._sources: list[Source] = []

    @property
    def finished(self) -> bool:
        """Whether nothing more will be taken: every source ended and is empty, or the limit is reached.

        A limit of 0 is reached before anybody was heard; it waits until all have said how they stand.
        """
        return (self._left == 0 and self._limited) or all(each.ended and not each.rows for each in self._sources)

    def open(self) -> int:
        """A new source; its number."""
        self._sources.append(Source())
        return len(self._sources) - 1

    def add(self, source: int, rows: Sequence[Found]) -> None:
        """More rows of a source, in order. Whoever sends more than the limit asked for sends it in vain."""
        if self._left == 0:
            return
        one = self._sources[source]
        keys = list(map(self._key, rows))
        if one.last_taken is not None:  # a second teller of the same rows: what was taken is passed over
            start = bisect_right(keys, one.last_taken)
            keys, rows = keys[start:], rows[start:]
        one.keys.extend(keys)
        one.rows.extend(rows)

    def end(self, source: int) -> None:
        self._sources[source].ended = True

    def forget(self, source: int) -> bool:
        """Drop a source's waiting rows, because another teller will give them; whether some were taken already."""
        one = self._sources[source]
        one.rows, one.keys = [], []
        return one.last_taken is not None

    def waiting(self, source: int) -> int:
        """How many rows of a source are not taken yet."""
        return len(self._sources[source].rows)

    def take(self) -> list[Found]:
        """The rows that have become certain, in their final order."""
        still = [each for each in self._sources if not each.ended]
        if self._left == 0 or any(not each.keys for each in still):
            return []
        bound = min((each.keys[-1] for each in still), default=None)
        parts: list[tuple[list[Key], list[Found]]] = []
        for each in self._sources:
            count = len(each.keys) if bound is None else bisect_right(each.keys, bound)
            if count:
                each.last_taken = each.keys[count - 1]
                parts.append((each.keys[:count], each.rows[:count]))
                del each.keys[:count], each.rows[:count]
        rows = _merged(parts)
        if self._left is not None:
            rows = rows[: self._left]
            self._left -= len(rows)
        return rows


def _merged(parts: Sequence[tuple[list[Key], list[Found]]]) -> list[Found]:
    """Ordered runs as one: Python's sort finds the runs and merges them in C."""
    if len(parts) == 1:
        return parts[0][1]
    pairs = [pair for keys, rows in parts for pair in zip(keys, rows, strict=True)]
    pairs.sort(key=itemgetter(0))
    return [row for _, row in pairs]


class Owner:
    """What is known of one owner's part of an answer."""

    __slots__ = ("age", "broken", "by", "error", "how", "major", "path", "position", "rows", "server", "since")

    def __init__(self, server: ServerId, how: str = "unreachable", *, major: int | None = None) -> None:
        self.server = server
        self.how = how
        self.major = major  # the newest of its class that it has adopted
        self.position: Position | None = None
        self.age: float | None = None
        self.path: tuple[ServerId, ...] = ()
        self.by: ServerId | None = None  # who told its rows, where that is not itself
        self.rows = 0
        self.error: BangpathError | None = None
        self.broken = False  # some rows had left when its teller fell silent
        self.since: float | None = None  # for how many seconds it has not been reached, where it was not

    @property
    def whole(self) -> bool:
        return self.how in WHOLE_HOW and not self.broken

    def answered(
        self, how: str, *, position: Position | None, age: float | None, path: Path, by: ServerId | None = None
    ) -> None:
        """Somebody told its rows; `by` None: itself."""
        self.how, self.position, self.age, self.path, self.by = how, position, age, path, by

    def found_stale(
        self, error: BangpathError, *, position: Position | None, age: float | None, path: Path, by: ServerId
    ) -> None:
        """A copy was reached that is older than was asked for; of several the newest is told."""
        if self.how == "stale" and (position is None or (self.position is not None and position <= self.position)):
            return
        self.answered("stale", position=position, age=age, path=path, by=by)
        self.error = error

    def failed(self, error: BangpathError) -> None:
        """Nobody could; the first failure is the owner's own and the one worth telling."""
        self.error = self.error or error

    def as_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "server": str(self.server),
            "how": self.how,
            "major": self.major,
            "position": None if self.position is None else str(self.position),
            "age": None if self.age is None else round(self.age, 3),
            "path": [str(each) for each in self.path],
            "rows": self.rows,
        }
        if self.by is not None and self.by != self.server:
            told["by"] = str(self.by)
        if self.since is not None and self.how not in ("owned", "owner"):
            told["since"] = self.since
        if self.error is not None and not self.whole:
            told["error"] = self.error.as_json()
        return told


def completeness(owners: Iterable[Owner], directory: Any) -> dict[str, Any]:
    """The report that ends every answer (DESIGN A3)."""
    every = sorted(owners, key=lambda each: each.server)
    return {
        "whole": all(each.whole for each in every),
        "summary": summary(every),
        "owners": [each.as_json() for each in every],
        "directory": directory,
    }


def summary(owners: Sequence[Owner]) -> dict[str, Any]:
    """The report in one glance: how many owners and rows in each way, who was not reached, whose rows are missing."""
    by: dict[str, dict[str, int]] = {}
    for each in owners:
        count = by.setdefault(each.how, {"owners": 0, "rows": 0})
        count["owners"] += 1
        count["rows"] += each.rows
    return {
        "owners": len(owners),
        "rows": sum(each.rows for each in owners),
        "by": by,
        "not_reached": [str(each.server) for each in owners if each.since is not None],
        "missing": [str(each.server) for each in owners if not each.whole],
    }
