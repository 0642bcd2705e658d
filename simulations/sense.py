"""What a scenario says that cannot be, known from its lines alone: refused before anything runs. Pure.

    1.1 commits 5 Note        and no line makes a class Note
    crash 1.1
    crash 1.1                 it is down since the line before
    resume 1.2                and no line pauses it
    cut 1 > 1.3               and `servers 4 line, no other links` has no such link

Rules. Only what is certain is refused. What happens at a time of its own, or ends by itself, leaves a server's state
unknown: then the server itself refuses, and the transcript says so. A timed line may stand before what it needs.

Left to others: the reading of each line (`scenario.py` and the verbs).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import networkx

from identity.errors import Refused
from simulations.steps import ID, Step
from simulations.topologies import NO_OTHERS

_CLASS = re.compile(r"class (\w+) (.+)")
_USES = re.compile(rf"(?:{ID} and )?{ID} (commits?|changes?|deletes|gets|passes values of) \d+ (\w+)\b.*")
_DOWN = re.compile(rf"(?:crash|kill|stop) {ID}(?: with a torn write)?")
_UP = re.compile(rf"restart {ID}")
_NEEDS_UP = re.compile(rf"{ID} (?:commits|changes|deletes|passes|mirrors|stops mirroring)\b.*|pause {ID}")
_UNSURE = re.compile(rf"crash {ID} at .*|disk of {ID} .*|restore {ID}|back up {ID} and .*")
_UNIQUE = re.compile(r".*(?:with the same values|taken values| round)")
_RESUME = re.compile(rf"resume {ID}")
_CUTS = re.compile(r"(?:cut|isolate|part)\b.*|links? .*\bcut\b.*")
_LINK = re.compile(rf"(cut|mend|link) {ID} (>|<>) {ID}(?: .*)?")

Findings = Iterable[tuple[Step, str, str]]


def check(name: str, steps: Sequence[Step], graph: networkx.Graph) -> None:
    """Raises `Refused` naming the line and what would be right."""
    for findings in (_classes(steps), _undone(steps), _lives(steps), _links(steps, graph)):
        for step, cause, right in findings:
            raise Refused(f"{name}:{step.line}: {step.text!r}: {cause}", next_step=right)


def is_of_no_link(line: str, graph: networkx.Graph) -> bool:
    """Whether a line without its times is about a link that such a mesh does not have."""
    match = _LINK.fullmatch(line)
    return match is not None and bool(graph.graph.get(NO_OTHERS)) and not graph.has_edge(match[2], match[4])


def _links(steps: Sequence[Step], graph: networkx.Graph) -> Findings:
    """Who cuts, mends or alters a link where there is none, and none can come."""
    for step in steps:
        if is_of_no_link(step.does, graph) and (match := _LINK.fullmatch(step.does)):
            verb, one, way, other = match.groups()
            links = ", ".join(f"{verb} {one} {way} {each}" for each in graph[one])
            yield (
                step, f"there is no link of {one} and {other}, and the mesh has {NO_OTHERS}",
                f"{one} has these: {links}",
            )  # fmt: skip


def _classes(steps: Sequence[Step]) -> Findings:
    """Who asks for objects of a class that no line makes, or writes texts into one that has none."""
    anywhere = {match[1] for step in steps if (match := _CLASS.fullmatch(step.does))}
    above: dict[str, str] = {}
    for step in steps:
        if made := _CLASS.fullmatch(step.does):
            above[made[1]] = made[2]
        used = _USES.fullmatch(step.does)
        if used is None:
            continue
        known = anywhere if step.at_s is not None else above
        if used[4] not in known:
            when = "no line makes" if used[4] not in anywhere else "no line above makes"
            yield step, f"{when} a class {used[4]}", f"write before it: class {used[4]} text:string"
        elif _UNIQUE.fullmatch(step.does) and not re.search(
            r":\S+(?: index)* unique\b", above.get(used[4], ":int unique")
        ):
            fields = f"{above[used[4]]} serial:int unique"
            yield step, f"{used[4]} has no unique field", f"make it with one: class {used[4]} {fields}"
        elif used[3] not in ("deletes", "gets") and not re.search(
            r"\btext:string\b", above.get(used[4], "text:string")
        ):
            fields = f"{above[used[4]]} text:string"
            yield step, f"{used[4]} has no field for a text", f"make it with one: class {used[4]} {fields}"


def _undone(steps: Sequence[Step]) -> Findings:
    """Who undoes what no line does."""
    paused = {match[1] for step in steps if (match := re.fullmatch(rf"pause {ID}", step.does))}
    cuts = any(_CUTS.fullmatch(step.does) for step in steps)
    for step in steps:
        if (resumed := _RESUME.fullmatch(step.does)) and resumed[1] not in paused:
            yield step, f"no line pauses {resumed[1]}", f"write before it: pause {resumed[1]}"
        if step.does.startswith("mend ") and not cuts:
            yield step, "no line cuts anything", f"write before it: cut {step.does.removeprefix('mend ')}"


def _lives(steps: Sequence[Step]) -> Findings:
    """Who is asked while it is down for certain, or started while it is up."""
    unsure = {name for step in steps if step.at_s is not None for name in step.servers}
    if any(step.at_s is not None and step.does == "heal" for step in steps):
        return
    down: dict[str, int] = {}
    for step in steps:
        if step.at_s is not None:
            continue
        if step.does == "heal":
            down.clear()
        elif one := _named(_UNSURE.fullmatch, step):
            unsure.add(one)
            down.pop(one, None)
        elif (one := _named(_DOWN.fullmatch, step) or _named(_NEEDS_UP.fullmatch, step)) in down:
            yield step, f"{one} is down since line {down[one]}", f"write before it: restart {one}"
        elif (one := _named(_DOWN.fullmatch, step)) and one not in unsure:
            if step.for_s is None:
                down[one] = step.line
            else:
                unsure.add(one)  # up again at a time of its own
        elif (one := _named(_UP.fullmatch, step)) and one not in unsure:
            if one not in down:
                yield step, f"{one} is up", f"write before it: crash {one}"
            down.pop(one, None)
        elif down and _CLASS.fullmatch(step.does):
            one = next(iter(down))
            yield step, f"{one} is down since line {down[one]} and cannot adopt it", f"write before it: restart {one}"


def _named(fits: Callable[[str], re.Match[str] | None], step: Step) -> str:
    """The server that such a line names; "" when it is no such line."""
    match = fits(step.does)
    return "" if match is None else next(group for group in match.groups() if group)
