"""Updates in a timeline: how they spread, and how many of them a mirror is behind. Pure, and without a drawing in it.

    marks     commit 1.1 no. 4        applied 1.2 1.1 no. 4        1.2 stops mirroring 1.1
                    |                        |                            |
    spreads         '--------- spread -------'                             |
    lags            [ 1.2 is 1 behind -------] 0                          '- and is behind in nothing of 1.1's any more

A mirror is behind in what its owners made and it has not applied, of all that it mirrors, from its first second as a
mirror on: who never received anything is behind in everything. A server that came back from a backup mirrors what it
did then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from identity.names import Pattern, ServerId
from simulations.marks import Mark


class Spread(NamedTuple):
    """An update of `owner` (or several of one moment) that reached `mirror`."""

    owner: str
    begin: float
    mirror: str
    end: float
    updates: int


def _numbered(mark: Mark) -> int | None:
    number = mark.details.get("number")
    return number if isinstance(number, int) else None


def spreads(marks: Sequence[Mark], *, bin_s: float) -> list[Spread]:
    """From each update to where it arrived; those of one owner, one mirror and one moment (`bin_s`) are one."""
    committed = {
        (mark.servers[0], number): mark.at
        for mark in marks
        if mark.kind == "commit" and mark.servers and (number := _numbered(mark)) is not None
    }
    found: dict[tuple[str, int, str, int], list[tuple[float, float]]] = defaultdict(list)
    for mark in marks:
        number = _numbered(mark)
        if mark.kind != "applied" or len(mark.servers) < 2 or number is None:
            continue
        mirror, owner = mark.servers[:2]
        begin = committed.get((owner, number))
        if begin is not None:
            found[owner, int(begin / bin_s), mirror, int(mark.at / bin_s)].append((begin, mark.at))
    return [
        Spread(owner, times[0][0], mirror, times[0][1], len(times)) for (owner, _, mirror, _), times in found.items()
    ]


def lags(marks: Sequence[Mark]) -> dict[str, list[tuple[float, int]]]:
    """For each mirror: from when on it was how many updates behind, over all the feeds that it mirrors.

    It mirrors from when it was told to, until it was told to stop; and whatever it applied an update of.
    """
    newest: dict[str, int] = {}
    held: dict[str, dict[str, int]] = defaultdict(dict)
    told: dict[str, _Told] = {}
    backups: dict[str, _Told] = {}
    steps: dict[str, list[tuple[float, int]]] = defaultdict(list)

    def note(mirror: str, at: float) -> None:
        kept, ended = told.get(mirror, _NOTHING)
        for owner in newest:
            if owner != mirror and owner not in held[mirror] and _match(kept, owner):
                held[mirror][owner] = 0
        mirrored = [owner for owner in held[mirror] if not _match(ended, owner) or _match(kept, owner)]
        behind = sum(max(newest.get(owner, 0) - held[mirror][owner], 0) for owner in mirrored)
        own = steps[mirror]
        if own and own[-1][0] == at:
            own[-1] = (at, behind)
        elif not own or own[-1][1] != behind:
            own.append((at, behind))

    for mark in marks:
        number = _numbered(mark)
        for mirror in mark.servers[:1]:
            if mark.kind == "backup":
                backups[mirror] = told.get(mirror, _NOTHING)
            elif (now := _told_by(mark, told.get(mirror, _NOTHING), backups.get(mirror))) is not None:
                told[mirror] = now
                note(mirror, mark.at)
        if number is None or not mark.servers:
            continue
        if mark.kind == "commit":
            owner = mark.servers[0]
            newest[owner] = max(newest.get(owner, 0), number)
            for mirror in dict.fromkeys((*held, *told)):
                if owner in held.get(mirror, ()) or _match(told.get(mirror, _NOTHING).kept, owner):
                    note(mirror, mark.at)
        elif mark.kind == "applied" and len(mark.servers) >= 2:
            mirror, owner = mark.servers[:2]
            held[mirror][owner] = max(held[mirror].get(owner, 0), number)
            note(mirror, mark.at)
    return {mirror: own for mirror, own in steps.items() if held[mirror]}


class _Told(NamedTuple):
    """The patterns that a mirror was told to keep, and those that it was told to keep no longer."""

    kept: tuple[str, ...]
    ended: tuple[str, ...]


_NOTHING = _Told((), ())


def _told_by(mark: Mark, before: _Told, backup: _Told | None) -> _Told | None:
    """What a mirror is told after this mark; None: nothing else. What it was told since a backup ends with that."""
    if mark.kind == "restore" and backup is not None:
        return _Told(backup.kept, (*backup.ended, *(each for each in before.kept if each not in backup.kept)))
    if mark.kind not in ("mirrors", "stops mirroring"):
        return None
    kept, ended = (tuple(each for each in patterns if each != mark.text) for patterns in before)
    return _Told((*kept, mark.text), ended) if mark.kind == "mirrors" else _Told(kept, (*ended, mark.text))


def _match(patterns: Sequence[str], owner: str) -> bool:
    return any(_matches(pattern, owner) for pattern in patterns)


@lru_cache(maxsize=10_000)
def _matches(pattern: str, owner: str) -> bool:
    return Pattern(pattern).matches(ServerId.parse(owner))
