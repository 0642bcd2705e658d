"""What must hold at each step of the tour, exactly: answers come in, and what is not as it must be is raised.

    check(answer) --> nothing to say: it holds
                  --> Unmet(expected, got): two halves of one sentence, for a person

Whoever asks may ask again: a mesh needs a moment to notice what happened to it. Pure; no check waits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from node.cli.output import counted

ANSWERED = ("owned", "owner", "mirrored")  # how an owner's rows may be told, and be all of them
LOST = ("silent", "calling")  # states of a peer without any session
SENT, COMMITTED = ("waiting", "sent"), "committed"

Counts = Mapping[str, int]  # airports by owner


class Unmet(Exception):
    """A step does not hold, or not yet."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected = expected
        self.got = got


def require(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise Unmet(expected, str(got))


def path_text(path: Iterable[str]) -> str:
    return "!".join(path) or "none"


def everything(answer: Mapping[str, Any], counts: Counts) -> None:
    """Every row of every owner, once, and known to be all."""
    _rows_of_owners(answer, counts)
    require(answer["completeness"]["whole"] is True, "an answer that is whole", _report(answer))
    for owner in counts:
        told = _owner(answer, owner)
        require(told["how"] in ANSWERED, f"{owner} answered for", _line(told))


def owner_silent(answer: Mapping[str, Any], counts: Counts, *, owner: str, mirror: str) -> None:
    """Everything, one owner's rows by a mirror: it says so, for how many rows, and since when the owner is silent."""
    everything(answer, counts)
    told = _owner(answer, owner)
    expected = f"{owner} mirrored by {mirror}, {counted(counts[owner])} rows, with its age, unreachable since"
    told_so = told["how"] == "mirrored" and told.get("by", mirror) == mirror and told["rows"] == counts[owner]
    require(told_so and mirror in told["path"] and is_seconds(told["age"]), expected, _line(told))
    require(is_seconds(told.get("since")), expected, _line(told))
    silent = [each["server"] for each in answer["completeness"]["owners"] if each.get("since") is not None]
    require(silent == [owner], f"only {owner} told as unreachable", ", ".join(silent))


def half(answer: Mapping[str, Any], counts: Counts, *, seen: Sequence[str]) -> None:
    """All of those that are seen, nothing of the others, and both are said."""
    _rows_of_owners(answer, {owner: count for owner, count in counts.items() if owner in seen})
    missing = [owner for owner in counts if owner not in seen]
    require(answer["completeness"]["whole"] is False, "an answer that is not whole", _report(answer))
    for owner in counts:
        told = _owner(answer, owner)
        if owner in missing:
            require(told["how"] == "unreachable", f"{owner} unreachable", _line(told))
        else:
            require(told["how"] in ANSWERED, f"{owner} answered for", _line(told))


def mirrored(found: Mapping[str, Any], *, owner: str, mirror: str, asker: str) -> None:
    """One object by a mirror of an owner that is silent: path, age and since when; by a gateway, if need be."""
    expected = f"an answer by mirror {mirror} along {owner}!{mirror}!{asker} with its age, the owner unreachable since"
    path = found["path"]
    got = f"{found['kind']} along {path_text(found['path'])}, age {found['age']}"
    got += f", owner unreachable since {found.get('owner_unreachable_since')}"
    require(found["kind"] == "mirrored" and path[:2] == [owner, mirror] and path[-1] == asker, expected, got)
    require(is_seconds(found["age"]) and is_seconds(found.get("owner_unreachable_since")), expected, got)


def by_gateway(found: Mapping[str, Any], *, owner: str, asker: str) -> str:
    """An object by its owner itself, over one or more others; the path."""
    path = found["path"]
    got = f"{found['kind']} along {path_text(path)}"
    expected = f"the owner's own answer from {owner} to {asker} by a gateway"
    require(found["kind"] == "owner" and path[:1] == [owner] and path[-1:] == [asker], expected, got)
    require(len(path) > 2, expected, got)
    return path_text(path)


def by_owner(found: Mapping[str, Any], *, owner: str, asker: str) -> None:
    """An object by its owner itself, directly."""
    got = f"{found['kind']} along {path_text(found['path'])}"
    directly = found["kind"] == "owner" and found["path"] == [owner, asker]
    require(directly, f"the owner's own answer along {owner}!{asker}", got)


def ways(peers: Sequence[Mapping[str, Any]], *, at: str, server: str, out: str, back: str) -> None:
    """How `at` says that packets go to a server, and how those of it come."""
    entry = next((each for each in peers if each["server"] == server), {})
    got = f"{entry.get('way')} and back {entry.get('way_back')}"
    asked = f"{at} to {server}: {out} and back {back}"
    require((entry.get("way"), entry.get("way_back")) == (out, back), asked, got)


def lost(peers: Sequence[Mapping[str, Any]], *, at: str, server: str) -> None:
    """Whether `at` has noticed that nobody reaches a server."""
    entry = next((each for each in peers if each["server"] == server), {})
    state = entry.get("state")
    require(state in LOST, f"{at} to have lost {server}", f"{at} says {server} is {state}, way {entry.get('way')}")


def waiting(entries: Sequence[Mapping[str, Any]], before: Iterable[int], *, server: str) -> int:
    """The one new change in an outbox, which waits for a server; its request."""
    known = set(before)
    new = [each for each in entries if each["request"] not in known]
    got = ", ".join(f"request {each['request']} for {each['server']}, {each['state']}" for each in new) or "none"
    holds = len(new) == 1 and new[0]["server"] == server and new[0]["state"] in SENT
    require(holds, f"one new change that waits for {server}", got)
    return int(new[0]["request"])


def committed(entry: Mapping[str, Any], reference: str) -> int:
    """A change of the outbox has its outcome: carried out; the sequence that the object has by it."""
    results = (entry.get("outcome") or {}).get("results") or []
    got = f"{entry['state']}, {len(results)} results"
    expected = f"request {entry['request']} committed, with one result"
    require(entry["state"] == COMMITTED and len(results) == 1, expected, got)
    require(results[0]["reference"] == reference, f"a result for {reference}", results[0]["reference"])
    return int(results[0]["sequence"])


def has(found: Mapping[str, Any], fields: Mapping[str, Any], *, sequence: int, at: str) -> None:
    """An object with these fields, by that very change and by none after it."""
    said = {name: found["fields"].get(name) for name in fields}
    wanted = ", ".join(f"{name}={value}" for name, value in fields.items())
    got = ", ".join(f"{name}={value}" for name, value in said.items())
    holds = said == dict(fields) and found["sequence"] == sequence
    require(holds, f"{wanted} at {at}, sequence {sequence}", f"{got}, sequence {found['sequence']}")


def once(found: Mapping[str, Any], *, after: int, at: str) -> None:
    """Its owner has published one update since the one with this number, and no second."""
    number = number_of(found["position"])
    require(number == after + 1, f"one update after {after} at {at}", f"{number - after}")


def number_of(position: str) -> int:
    """17, of `1.2@3:17`."""
    return int(position.rpartition(":")[2])


def equal(prints: Mapping[str, str], positions: Mapping[str, Mapping[str, int]], owned: Mapping[str, int]) -> str:
    """Every server answers the same rows, and every copy of a feed ends where its owner's does; the rows' hash."""
    differing = sorted({each: server for server, each in prints.items()}.values())
    require(len(set(prints.values())) == 1, "the same rows from every server", f"others from {', '.join(differing)}")
    for holder, held in sorted(positions.items()):
        for owner, last in sorted(held.items()):
            expected = f"{holder} to hold {owner} up to update {owned.get(owner)}"
            require(last == owned.get(owner), expected, f"up to {last}")
    return next(iter(prints.values()))


def fingerprint(rows: Iterable[Mapping[str, Any]]) -> str:
    """A hash of rows, in whatever order they came: what they are, not who told them."""
    lines = sorted(
        msgspec.json.encode((row["reference"], row["sequence"], row["fields"]), order="deterministic") for row in rows
    )
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and value >= 0


def _rows_of_owners(answer: Mapping[str, Any], counts: Counts) -> None:
    """So many rows of each owner, none twice, and the report says the same."""
    references = [row["reference"] for row in answer["rows"]]
    total = sum(counts.values())
    require(len(references) == total, f"{counted(total)} rows", f"{counted(len(references))}: {_report(answer)}")
    require(len(set(references)) == total, "no row twice", f"{counted(total - len(set(references)))} twice")
    got: dict[str, int] = dict.fromkeys(counts, 0)
    for reference in references:
        owner = reference.rpartition("/")[0]
        got[owner] = got.get(owner, 0) + 1
    for owner, count in counts.items():
        told = _owner(answer, owner)
        expected = f"{counted(count)} rows of {owner}, and told so"
        require(got[owner] == count == told["rows"], expected, f"{counted(got[owner])}, told {told['rows']}")


def _owner(answer: Mapping[str, Any], owner: str) -> Mapping[str, Any]:
    found = [each for each in answer["completeness"]["owners"] if each["server"] == owner]
    require(len(found) == 1, f"the report to name {owner} once", f"{len(found)} times")
    one: Mapping[str, Any] = found[0]
    return one


def _report(answer: Mapping[str, Any]) -> str:
    report = answer["completeness"]
    silent = [f"{each['server']} {each['how']}" for each in report["owners"] if each["how"] not in ANSWERED]
    return ", ".join(("whole" if report["whole"] else "not whole", *silent))


def _line(owner: Mapping[str, Any]) -> str:
    said = f"{owner['server']} {owner['how']}, {owner['rows']} rows, along {path_text(owner.get('path') or ())}"
    cause = (owner.get("error") or {}).get("cause")
    return f"{said}, age {owner.get('age')}, since {owner.get('since')}" + (f": {cause}" if cause else "")
