"""What a scenario says that cannot be, known from its lines alone: refused before anything runs. Pure.

    1.1 commits 5 Note        and no line makes a class Note
    1 gets 1 Note of 1.2      and no line lets 1.2 commit any
    class Note text:int       and a line above makes it with text:string
    crash 1.1
    crash 1.1                 it is down since the line before
    pause 1.2
    1.2 asks Note             nobody answers there, and no line after it is reached that could resume it
    resume 1.2                and no line pauses it
    restore 1.2               and no line backs it up
    1.2 stops mirroring 1.1   and no line mirrors just this
    cut 1 > 1.3               and `servers 4 line, no other links` has no such link
    part into halves          and `servers 1`; a majority ring of 3
    1.3 joins                 after it has joined; or it is the root, or has servers below it that need its word

Rules. Only what is certain is refused. What happens at a time of its own, or ends by itself, leaves a server's state
unknown: then the server itself refuses, and the transcript says so. A timed line may stand before what it needs. A line
that waits for ever all the same is ended by `patience.py`.

Left to others: the reading of each line (`scenario.py` and the verbs); questions (`sense_questions.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

import networkx

from identity.errors import Refused
from simulations.sense_questions import CLASS as _CLASS
from simulations.sense_questions import questions
from simulations.steps import ID, Step
from simulations.topologies import NO_OTHERS, inviter_of, not_late
from simulations.verbs_mirrors import asked_of
from simulations.verbs_network import too_few

_TEXT = re.compile(r"\btext:\S+")
_USES = re.compile(rf"(?:{ID} and )?{ID} (commits?|changes?|deletes|gets|passes values of) \d+ (\w+)\b.*")
_COMMITS = re.compile(rf"(?:{ID} and )?{ID} commits? \d+ (\w+)\b(.*)")
_WANTS = re.compile(rf"(?:{ID} and )?{ID} (?:commits|changes?|deletes|gets|passes values of) \d+ (\w+)\b(.*)")
_DOWN = re.compile(rf"(?:crash|kill|stop) {ID}(?: with a torn write)?")
_UP = re.compile(rf"restart {ID}")
_NEEDS_UP = re.compile(
    rf"{ID} (?:commits|changes|deletes|passes|mirrors|stops mirroring|cancels|forgets)\b.*|pause {ID}"
)
_WAITS = re.compile(
    rf"(?:{ID} and )?{ID} (?:commits?|changes?|deletes|passes|gets|asks|mirrors|stops mirroring|cancels|forgets)\b.*"
    rf"|stop {ID}"
)
_UNSURE = re.compile(rf"crash {ID} at .*|disk of {ID} .*|restore {ID}|back up {ID} and .*")
_UNIQUE = re.compile(r".*(?:with the same values|taken values| round)")
_CUTS = re.compile(r"(?:cut|isolate|part)\b.*|links? .*\bcut\b.*")
# who undoes: what it undoes, what is said of who does it without, and what would be right
_UNDOES: tuple[tuple[str, str, str, str], ...] = (
    (rf"resume {ID}", "pause {}", "pauses {}", "pause {}"),
    (rf"restore {ID}", "back up {}( and .*)?", "backs up {}", "back up {}"),
    (rf"{ID} turns honest", "{} turns hostile: .*", "turns {} hostile", "{} turns hostile: forges"),
    (rf"expect {ID} has attacked", "{} turns hostile: .*", "turns {} hostile", "{} turns hostile: forges"),
)
_JOINS = re.compile(rf"{ID} joins")
_LINK = re.compile(rf"(cut|mend|link) {ID} (>|<>) {ID}(?: .*)?")

Findings = Iterable[tuple[Step, str, str]]


def check(name: str, steps: Sequence[Step], graph: networkx.Graph) -> None:
    """Raises `Refused` naming the line and what would be right."""
    of_steps = (_classes(steps), questions(steps), _objects(steps), _undone(steps), _unmirrored(steps), _lives(steps))
    for findings in (
        *of_steps,
        _pauses(steps, graph),
        _joins(steps, graph),
        _links(steps, graph),
        _sizes(steps, graph),
    ):
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


def _sizes(steps: Sequence[Step], graph: networkx.Graph) -> Findings:
    """Who breaks the mesh in a way that takes more servers than it has."""
    for step in steps:
        if wrong := too_few(step.does, len(graph)):
            yield step, *wrong


def _classes(steps: Sequence[Step]) -> Findings:
    """Who asks for objects of a class that no line makes, or writes texts into one that has none."""
    anywhere = {match[1] for step in steps if (match := _CLASS.fullmatch(step.does))}
    above: dict[str, str] = {}
    first: dict[str, int] = {}
    for step in steps:
        if made := _CLASS.fullmatch(step.does):
            if above.setdefault(made[1], made[2]) != made[2]:
                yield (
                    step, f"line {first[made[1]]} makes {made[1]} with other fields: {above[made[1]]}",
                    f"leave one of the two, or make another class: class {made[1]}2 {made[2]}",
                )  # fmt: skip
            first.setdefault(made[1], step.line)
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
            fields = _TEXT.sub("text:string", above[used[4]])
            fields += "" if _TEXT.search(above[used[4]]) else " text:string"
            yield step, f"{used[4]} has no field for a text", f"make it with one: class {used[4]} {fields}"


def _objects(steps: Sequence[Step]) -> Findings:
    """Who asks for objects of an owner that no line lets commit any of that class; with a time, it may be refused."""
    made = [(step, _owner(match, "at")) for step in steps if (match := _COMMITS.fullmatch(step.does))]
    for step in steps:
        wants = _WANTS.fullmatch(step.does)
        if (
            wants is None
            or step.at_s is not None
            or (" commits " in step.does and not step.does.endswith(" with taken values"))
        ):
            continue
        owner, class_name = wanted = _owner(wants, "at" if " commits " in step.does else "of")
        makers = [maker for maker, of in made if of == wanted and maker is not step]
        if not _may_come_before(step, makers):
            when = "no line above lets" if makers else "no line lets"
            yield step, f"{when} {owner} commit any {class_name}", f"write before it: {owner} commits 5 {class_name}"


def _owner(match: re.Match[str], word: str) -> tuple[str, str]:
    """Whose objects a line is about, and of which class: of the server after this word, else of the one that acts."""
    said = re.search(rf" {word} {ID}(?!\S)", match[4])
    return (said or match)[1 if said else 2], match[3]


def _may_come_before(step: Step, others: Iterable[Step]) -> bool:
    """Whether one of these may have been done when this one is: it stands above, or one of the two has a time."""
    return any(step.at_s is not None or each.at_s is not None or each.line < step.line for each in others)


def _not_later(step: Step, others: Iterable[Step]) -> list[Step]:
    """Those of these that have no later time than this one, as far as both say theirs."""
    return [each for each in others if step.at_s is None or each.at_s is None or each.at_s <= step.at_s]


def _undone(steps: Sequence[Step]) -> Findings:
    """Who undoes what no line does."""
    for step in steps:
        for undoes, does, said, right in _UNDOES:
            if match := re.fullmatch(undoes, step.does):
                name = match[1]
                doers = [each for each in steps if re.fullmatch(does.format(re.escape(name)), each.does)]
                if not _may_come_before(step, _not_later(step, doers)):
                    when = "no line" if not doers else "no line above" if step.at_s is None else "no line before it"
                    yield step, f"{when} {said.format(name)}", f"write before it: {right.format(name)}"
        if step.does.startswith("mend "):
            cuts = [each for each in steps if _CUTS.fullmatch(each.does)]
            if not _may_come_before(step, cuts):
                when = "no line above" if cuts else "no line"
                yield step, f"{when} cuts anything", f"write before it: cut {step.does.removeprefix('mend ')}"


def _unmirrored(steps: Sequence[Step]) -> Findings:
    """Who ends a mirror that no line asks for, in the same words."""
    asked = [(step, *found) for step in steps if (found := asked_of(step.does))]
    for step, name, pattern, ends in asked:
        makers = [each for each, other, of, ended in asked if not ended and (other, of) == (name, pattern)]
        if ends and not _may_come_before(step, _not_later(step, makers)):
            others = [each.does for each, other, _, ended in asked if not ended and other == name]
            when = (
                "no line lets"
                if not makers
                else "no line above lets"
                if step.at_s is None
                else "no line before it lets"
            )
            right = (
                f"it does by: {others[0]}" if others and not makers else f"write before it: {name} mirrors {pattern}"
            )
            yield step, f"{when} {name} mirror {pattern}", right


def _joins(steps: Sequence[Step], graph: networkx.Graph) -> Findings:
    """Who joins and cannot, or is asked for something before."""
    joining: dict[str, Step] = {}
    there = graph.copy()
    for step in steps:
        name = _named(_JOINS.fullmatch, step)
        if not name:
            continue
        if name in joining:
            yield step, f"{name} joins in line {joining[name].line} already", f"write: restart {name}"
        elif wrong := not_late(name, there):
            yield step, *wrong
        joining[name] = step
        there.remove_nodes_from([name])
    for step in steps:
        acts = next(filter(None, (_named(each.fullmatch, step) for each in (_NEEDS_UP, _DOWN, _UP))), "")
        if acts in joining and not _may_come_before(step, [joining[acts]]):
            yield step, f"{acts} is not there yet: it joins in line {joining[acts].line}", "write it after that line"


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


def _pauses(steps: Sequence[Step], graph: networkx.Graph) -> Findings:
    """Who is asked while it is paused for certain: whoever asks waits until it is resumed, and no line after comes."""
    if any(step.at_s is not None and step.does == "heal" for step in steps):
        return
    unsure = {name for step in steps if step.at_s is not None for name in step.servers}
    paused: dict[str, int] = {}
    for step in steps:
        if step.at_s is not None:
            continue
        if match := re.fullmatch(rf"pause {ID}", step.does):
            if step.for_s is None and match[1] not in unsure:
                paused[match[1]] = step.line
            else:
                paused.pop(match[1], None)
        elif step.does == "heal":
            paused.clear()
        elif one := next(filter(paused.__contains__, _waited_for(step, graph)), None):
            yield (
                step, f"{one} is paused since line {paused[one]}, and the line would wait for ever",
                f"write before it: resume {one}",
            )  # fmt: skip
        elif not step.does.startswith("expect "):
            for name in step.servers:  # resumed, or crashed, and whatever else may end it
                paused.pop(name, None)


def _waited_for(step: Step, graph: networkx.Graph) -> Iterable[str]:
    """Without whom such a line does not end."""
    if _CLASS.fullmatch(step.does):
        return tuple(graph)
    if joins := _JOINS.fullmatch(step.does):
        return (inviter_of(joins[1], graph),)
    match = _WAITS.fullmatch(step.does)
    return tuple(filter(None, match.groups())) if match else ()


def _named(fits: Callable[[str], re.Match[str] | None], step: Step) -> str:
    """The server that such a line names; "" when it is no such line."""
    match = fits(step.does)
    return "" if match is None else next(group for group in match.groups() if group)
