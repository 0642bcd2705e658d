"""What a timeline shows, as numbers: marks become spans, operations and rows. Pure, and without a drawing in it.

    marks    crash 1.2   restart 1.2      part      heal
                 |            |             |         |
    spans        [ 1.2 down --]             [ parted -]

Rules. What lasts ends with its own `until`, with the mark that is its opposite, with the same kind marked `ended`, or
with a `heal` that means it; else with the run. A `fault` is a line of the scenario, from its begin to its end: what
the network and the disks mark meanwhile of the same servers is folded into it, and so are the cuts of a partition into
that. A kind that is not known here is shown by its text, so that a new kind of fault needs no change of this file.

Left to others: updates and who is behind (`timeline_updates.py`), the drawing (`timeline.py`), the page around it
(`timeline_page.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from simulations.marks import Mark

ENDED_BY = {
    "crash": ("restart", "start"),
    "stop": ("restart", "start"),
    "pause": ("resume",),
    "cut": ("mend",),
    "part": (),
}  # besides `heal` and `ended`
DOWN, PAUSED = ("crash", "stop"), ("pause",)
QUIET = (
    "start",
    "restart",
    "resume",
    "mend",
    "heal",
    "commit",
    "applied",
    "operation",
    "broken",
    "mirrors",
    "stops mirroring",
)  # no fault themselves
OWN = ("crash", "stop", "pause")  # a heal of the network does not end these
_LIVES = {"crash": "crash", "kill": "crash", "stop": "stop", "pause": "pause"}  # faults that a server's own mark tells
LETTER = 0.62  # width of a letter, of its size: a little more than the widest usual font needs


class Span(NamedTuple):
    """Something that lasted. `open`: it had not ended when the run did."""

    begin: float
    end: float
    kind: str
    servers: tuple[str, ...]
    text: str
    open: bool
    groups: tuple[tuple[str, ...], ...] = ()


class Operation(NamedTuple):
    """Something a person asked for: `outcome` is done, refused or unknown."""

    server: str
    begin: float
    end: float
    what: str
    outcome: str


@dataclass(frozen=True)
class Picture:
    """A run as it is shown. `servers`: the lanes, from the top."""

    title: str
    seed: int
    servers: tuple[str, ...]
    seconds: float
    marks: tuple[Mark, ...]
    trace: str
    replay: str
    events: int = 0
    broken: str = ""  # what did not hold, for people; "" when everything did
    broken_at: float | None = None
    real: bool = False  # real processes: real seconds, and neither trace nor updates are seen from outside

    @property
    def clock(self) -> str:
        return "real" if self.real else "virtual"

    @property
    def end(self) -> float:
        """Where the time axis ends; above 0."""
        return max([self.seconds, *(mark.at for mark in self.marks), 0.001])


def lanes(marks: Iterable[Mark], named: Iterable[str] = ()) -> tuple[str, ...]:
    """All servers there are, in the order of their numbers."""
    found = dict.fromkeys(named)
    for mark in marks:
        found.update(dict.fromkeys(mark.servers))
    return tuple(sorted(found, key=lambda name: [(not part.isdigit(), part.zfill(20)) for part in name.split(".")]))


def spans(marks: Sequence[Mark], end_s: float) -> list[Span]:
    """Everything that lasted, in the order of its begin."""
    done: list[Span] = []
    running: list[Mark] = []
    folds = _folds(marks)
    parts = [mark for mark in marks if mark.kind == "part" and groups_of(mark)]

    def close(which: Callable[[Mark], bool], at: float) -> None:
        for each in [each for each in running if which(each)]:
            running.remove(each)
            done.append(_span(each, at, still_open=False))

    for mark in marks:
        _close_ended(mark, close)
        if mark.kind in QUIET or mark.details.get("ended") or any(fold(mark) for fold in folds):
            continue
        if (until := mark.details.get("until")) is not None:
            done.append(_span(mark, min(float(until), end_s), still_open=float(until) > end_s))
        elif mark.kind in ENDED_BY or mark.details.get("lasting") or _ends_somewhere(mark, marks):
            running.append(mark)
        else:
            done.append(_span(mark, mark.at, still_open=False))
    done += [_span(mark, end_s, still_open=True) for mark in running]
    told = [span._replace(groups=span.groups or _sides_at(span, parts)) for span in done]
    return sorted(told, key=lambda span: (span.begin, span.kind, span.servers))


def _sides_at(span: Span, parts: Sequence[Mark]) -> tuple[tuple[str, ...], ...]:
    """The sides of a partition whose line does not say them (drawn halves, an isolation): the network does."""
    if span.kind in OWN or span.end == span.begin:
        return ()
    drawn = (part for part in parts if part.at == span.begin and set(span.servers) <= set(part.servers))
    return next((groups_of(part) for part in drawn), ())


def _folds(marks: Sequence[Mark]) -> list[Callable[[Mark], bool]]:
    """Which marks say again what another says better."""

    def of_a_part(part: Mark) -> Callable[[Mark], bool]:
        groups = groups_of(part)
        begin, end = _since(part), part.at
        return lambda mark: mark.kind == "cut" and begin <= mark.at <= end and _crosses(mark.servers, groups)

    def of_a_fault(fault: Mark) -> Callable[[Mark], bool]:
        begin = _since(fault)
        servers = set(fault.servers)
        return lambda mark: (
            mark.kind not in (*OWN, "fault")
            and begin <= mark.at <= fault.at
            and (set(mark.servers) <= servers or servers <= set(mark.servers))  # a line need not name all it breaks
        )

    def of_a_life(life: Mark) -> Callable[[Mark], bool]:
        return lambda mark: (
            _LIVES.get(str(mark.details.get("fault"))) == life.kind
            and mark.servers == life.servers
            and _since(mark) <= life.at <= mark.at
        )

    begun = [mark for mark in marks if not mark.details.get("ended")]
    parts = [of_a_part(mark) for mark in begun if groups_of(mark)]
    faults = [of_a_fault(mark) for mark in marks if mark.kind == "fault"]  # what is marked at its end is told too
    return [*parts, *faults, *(of_a_life(mark) for mark in begun if mark.kind in OWN)]


def _since(mark: Mark) -> float:
    since = mark.details.get("since", mark.at)
    return float(since) if isinstance(since, int | float) else mark.at


def _close_ended(mark: Mark, close: Callable[[Callable[[Mark], bool], float], None]) -> None:
    kind, servers = mark.kind, mark.servers
    ends = [begun for begun, endings in ENDED_BY.items() if kind in endings]
    layer = mark.details.get("fault")
    if kind == "mend" and isinstance(layer, int):  # the network's own number of a fault
        close(lambda begun: begun.kind != "fault" and begun.details.get("fault") == layer, mark.at)
    elif ends:
        close(lambda begun: begun.kind in ends and begun.servers[: len(servers)] == servers, mark.at)
    if kind == "heal":
        close(lambda begun: begun.kind not in OWN and (not servers or set(begun.servers) <= set(servers)), mark.at)
    if mark.details.get("ended"):
        close(lambda begun: begun.kind == kind and begun.servers == servers and begun.text == mark.text, mark.at)


def _ends_somewhere(mark: Mark, marks: Sequence[Mark]) -> bool:
    if isinstance(mark.details.get("fault"), int):
        return True
    return any(
        each.at >= mark.at and each.kind == mark.kind and each.servers == mark.servers and each.details.get("ended")
        for each in marks
    )


def _crosses(pair: Sequence[str], groups: tuple[tuple[str, ...], ...]) -> bool:
    sides = [number for name in pair for number, group in enumerate(groups) if name in group]
    return len(sides) == 2 and sides[0] != sides[1]


def _span(mark: Mark, end: float, *, still_open: bool) -> Span:
    begin = _since(mark)
    kind = str(mark.details.get("fault", mark.kind)) if mark.kind == "fault" else mark.kind
    return Span(begin, max(end, begin), kind, mark.servers, says(mark), still_open, groups_of(mark))


def groups_of(mark: Mark) -> tuple[tuple[str, ...], ...]:
    """The sides of a partition, as details or as text has them; of anything else none."""
    if mark.kind != "part" and mark.details.get("fault") != "partition":
        return ()
    given = mark.details.get("groups")
    sides = given if given is not None else mark.text.removeprefix("part ").split("|")
    found = tuple(tuple(side.split() if isinstance(side, str) else side) for side in sides)
    return found if len(found) > 1 else ()


def says(mark: Mark) -> str:
    """A mark in words: `1.1 > 1.2 cut`, `1.3 crashed`, or what its text says of its servers."""
    if groups_of(mark) and mark.kind == "part":
        return f"part {' | '.join(' '.join(side) for side in groups_of(mark))}"
    who = " > ".join(mark.servers) if mark.kind in ("cut", "mend") else " ".join(mark.servers)
    plain = {"crash": "crashed", "stop": "stopped", "pause": "paused", "start": "up", "restart": "up", "broken": ""}
    what = mark.text or ("killed" if mark.details.get("keep") else plain.get(mark.kind, mark.kind))
    named = not who or all(name in what.replace(":", " ").split() for name in mark.servers)
    return what if named else f"{who} {what}".strip()


def operations(marks: Iterable[Mark]) -> list[Operation]:
    """What was asked for, with begin, end and outcome."""
    found = []
    for mark in marks:
        if mark.kind == "operation" and mark.servers:
            told: Mapping[str, Any] = mark.details
            begin, end = float(told.get("begin", mark.at)), float(told.get("end", mark.at))
            what, outcome = str(told.get("what", mark.text or "operation")), str(told.get("outcome", "done"))
            found.append(Operation(mark.servers[0], begin, max(begin, end), what, outcome))
    return found


# -- places on paper


def text_px(text: str, size: float) -> float:
    """How wide a text may be."""
    return len(text) * size * LETTER


def ticks(end_s: float, *, at_most: int = 10) -> list[float]:
    """Round seconds from 0 to the end."""
    step = 1e-4
    factors = (2.0, 2.5, 2.0)
    turn = 0
    while end_s / step > at_most:
        step *= factors[turn % 3]
        turn += 1
    return [round(step * number, 6) for number in range(int(end_s / step + 1e-9) + 1)]


def pack(extents: Sequence[tuple[float, float]], *, gap: float = 4.0) -> list[int]:
    """A row for each extent, given by its begins, so that none covers another; the first row that is free."""
    ends: list[float] = []
    rows = []
    for begin, end in extents:
        row = next((number for number, free in enumerate(ends) if free + gap <= begin), len(ends))
        if row == len(ends):
            ends.append(end)
        ends[row] = end
        rows.append(row)
    return rows


def merged(pieces: Iterable[tuple[float, float]], *, gap: float) -> list[tuple[float, float, int]]:
    """Begin, end and number of what lies within `gap` of one another, together."""
    found: list[tuple[float, float, int]] = []
    for begin, end in sorted(pieces):
        if found and begin - found[-1][1] <= gap:
            found[-1] = (found[-1][0], max(found[-1][1], end), found[-1][2] + 1)
        else:
            found.append((begin, end, 1))
    return found


def thinned(steps: Sequence[tuple[float, int]], *, bin_s: float) -> list[tuple[float, int]]:
    """Of each moment the highest step, then the last: no peak is lost, and what stands afterwards is true."""
    kept: list[tuple[float, int]] = []
    for _, group in itertools.groupby(steps, key=lambda step: int(step[0] / bin_s)):
        moment = list(group)
        kept.append((moment[0][0], max(behind for _, behind in moment)))
        if moment[-1][1] != kept[-1][1]:
            kept.append(moment[-1])
    return kept
