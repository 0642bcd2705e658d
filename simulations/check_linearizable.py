"""P1 and P5: one owner's objects behave as if its operations happened one at a time, each between question and answer.

    1.3 changed 1.1/4 to b, sequence 9      at ticks 12 to 15
    1.1 got     1.1/4: b, sequence 9                  17 to 18       good
    1.4 got     1.1/4: a, from the owner                  19 to 22   accused: b was there before it asked

Held to it is what an owner says itself: changes it acknowledged, and answers that are "owned" or the "owner"'s. Mirrors
promise a prefix, not the newest (`check_mirrors`, `check_answers`). A change that was based on a version (`expect`) is
one only where that version stood: of two that saw the same, one was to be refused. And who is told of a conflict is
told which sequence stands: that must have stood, and be another than the one expected. Changes of unknown outcome may
have happened at any moment since, or never. A version that nobody is known to have made is taken as it is read the
first time. Objects that a transaction changed together are judged together, all others each by itself, for
linearizability is local.

The order is searched by `linearize`; an object is looked at when words about it have ended, and in the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from identity.errors import Conflict, NotFound
from identity.names import Reference
from simulations.check_commits import is_alike
from simulations.history import Outcome, Word
from simulations.linearize import Call, Verdict, linearize
from simulations.promises import Watching

if TYPE_CHECKING:
    from simulations.world import World

FROM_THE_OWNER = ("owned", "owner")

Fields = tuple[tuple[str, Any], ...]


class Value(NamedTuple):
    """What stands in an object. `fields` None: no such object.

    `sequence` 0: it is not known which, but that it is a later one than `after`.
    """

    sequence: int
    fields: Fields | None
    after: int = 0

    @property
    def least(self) -> int:
        """No earlier sequence can be its own."""
        return self.sequence or self.after + 1


UNKNOWN = None  # nobody has written or read it yet
UNBORN = Value(0, None)


class Act(NamedTuple):
    """One thing done to the object at place `at`: written or read. `expect`: the sequence that it was based on.

    A "conflict" read nothing but the `sequence` that stood, and wrote nothing.
    """

    at: int
    verb: str  # create, update, delete, same, read, conflict
    sequence: int
    fields: Fields | None
    expect: int | None = None


class LinearizableOwners(Watching):
    """Every owner's own answers have one order."""

    name = "linearizable owners"
    promise = "P1"

    def __init__(self) -> None:
        self._words = 0
        self._begun = 0
        self._open: list[Word] = []  # changes under way: they may have happened already
        self._heads: dict[tuple[str, int], tuple[str, int]] = {}  # objects that belong together
        self._of: dict[tuple[str, int], list[Word]] = {}  # by the first object of each group
        self._dirty: dict[tuple[str, int], None] = {}
        self._given_up: dict[tuple[str, int], None] = {}  # whose search was too long; nobody is accused

    def look(self, world: World) -> None:
        self._search(world)

    def finish(self, world: World) -> str:
        self._search(world)
        return ""

    @property
    def unjudged(self) -> str:
        """The objects for whose answers it could not search all orders."""
        number = len(dict.fromkeys(map(self._head, self._given_up)))
        return f"not judged: {number} object{'' if number == 1 else 's'}, too many orders" if number else ""

    def _search(self, world: World) -> None:
        ended = world.history.ended
        fresh, self._words = ended[self._words :], len(ended)
        begun = (*self._open, *world.history.words[self._begun :])
        self._open = [word for word in begun if word.outcome is Outcome.OPEN and word.verb == "change"]
        self._begun = len(world.history.words)
        for word in fresh:
            self._sort_in(word)
        dirty, self._dirty = self._dirty, {}
        for group in dict.fromkeys(map(self._head, dirty)):
            self._judge(world, group)

    def _sort_in(self, word: Word) -> None:
        objects = list(dict.fromkeys(objects_of(word)))
        if not objects:
            return
        heads = list(dict.fromkeys(self._head((word.owner, each)) for each in objects))
        first = heads[0]
        for other in heads[1:]:
            self._heads[other] = first
            self._of.setdefault(first, []).extend(self._of.pop(other, ()))
        self._of.setdefault(first, []).append(word)
        self._dirty[first] = None

    def _head(self, object: tuple[str, int]) -> tuple[str, int]:
        while object in self._heads:
            object = self._heads[object]
        return object

    def _judge(self, world: World, group: tuple[str, int]) -> None:
        owner = group[0]
        words = list(self._of[group])
        since = world.ledger.excused[owner][0] if owner in world.ledger.excused else math.inf
        # What was answered since is not looked at; but a change that was asked before may have been made before.
        words = [word for word in words if word.end_s < since or (word.verb == "change" and word.begin_s < since)]
        objects = list(dict.fromkeys(each for word in words for each in objects_of(word)))
        places = {object: place for place, object in enumerate(objects)}
        under_way = (word for word in self._open if word.owner == owner)
        words += [word for word in under_way if any(each.object in places for each in word.operations)]
        words = [word for word in words if word.verb == "change" or not world.ledger.is_hostile(word.server)]
        told = [word for word in words if word.end_s < since]
        words = [*told, *(word for word in words if word.end_s >= since)]
        calls = [Call(word.begin, end_of(world, word), acts_of(world, word, places)) for word in told]
        calls += [Call(word.begin, math.inf, asked_for(world, word, places)) for word in words[len(told) :]]
        known = [word for word in told if word.outcome is Outcome.DONE and word.verb == "change"]
        born = {each for word in known for each in created_by(word)}
        initial = tuple(UNBORN if each in born else UNKNOWN for each in objects)
        verdict = linearize(calls, initial=initial, step=step)
        self._given_up.pop(group, None)
        if verdict.given_up:
            self._given_up[group] = None
        elif not verdict.ok:
            self.accuse(world, explain(owner, objects, words, verdict))


def objects_of(word: Word) -> Iterable[int]:
    """The objects of its owner that a word says something of."""
    if word.verb == "get":
        if is_owners_word(word):
            yield int(str(word.target).rpartition("/")[2])
    elif word.verb == "change" and word.outcome is Outcome.REFUSED:
        if (told := conflict_told(word)) is not None:
            yield told[0]
    elif word.verb == "change":
        if word.outcome is Outcome.DONE:
            yield from (changed.reference.object for changed in results_of(word))
        else:
            yield from (each.object for each in word.operations if each.object)


def conflict_told(word: Word) -> tuple[int, int, int] | None:
    """The object, the sequence that was expected, and the one that its owner said stands; None: no such conflict.

    Of a transaction that expects several versions nobody says which one did not stand.
    """
    based = [each for each in word.operations if each.expect is not None and each.op in ("update", "delete")]
    if not isinstance(word.error, Conflict) or len(based) != 1:
        return None
    sequence = word.error.details.get("sequence")
    object, expect = based[0].object, based[0].expect
    changed_before = any(each.object == object for each in word.operations[: word.operations.index(based[0])])
    return None if expect is None or not sequence or changed_before else (object, expect, sequence)


def is_owners_word(word: Word) -> bool:
    """Whether a get was answered by the owner itself."""
    if isinstance(word.error, NotFound):
        return word.error.details.get("owner") == word.owner
    return word.outcome is Outcome.DONE and word.result.kind in FROM_THE_OWNER


def results_of(word: Word) -> list[Any]:
    return word.result if isinstance(word.result, list) else [word.result]


def created_by(word: Word) -> list[int]:
    return [changed.reference.object for changed in results_of(word) if changed.done == "created"]


def end_of(world: World, word: Word) -> float:
    """A change of unknown outcome never ends: it may still happen. Nor does one that a hostile server asked for.

    A conflict with a version that was never durable may be one with a change that its owner lost in a crash.
    """
    sure = word.outcome is Outcome.DONE and not world.ledger.is_hostile(word.server)
    if word.outcome is Outcome.REFUSED and (told := conflict_told(word)) is not None:
        object, expect, sequence = told
        lost = sequence != expect and _may_be_lost(world, word, object, sequence)
        sure = not lost and not world.ledger.is_hostile(word.server)
    return math.inf if word.verb == "change" and not sure else word.end


def _may_be_lost(world: World, word: Word, object: int, sequence: int) -> bool:
    """Whether this version of an object is not known, and its owner went down since it told of it."""
    known = any(each.leaf.sequence == sequence for each in world.ledger.versions(word.owner, object))
    server = world.server(word.owner)
    return not known and (
        server.node is None
        or world.ledger.is_behind(word.owner)
        or any(
            each.kind == "start" and each.servers == (word.owner,) and each.at >= word.begin_s for each in world.marks
        )
    )


def acts_of(world: World, word: Word, places: Mapping[int, int]) -> tuple[Act, ...]:
    """What a word did to the objects of its group. What a hostile server asked may have been based on anything."""
    if word.verb == "get":
        at = places[int(str(word.target).rpartition("/")[2])]
        if word.error is not None:
            return (Act(at, "read", 0, None),)
        return (Act(at, "read", word.result.sequence, frozen(word.result.fields)),)
    if word.outcome is Outcome.REFUSED:
        told = conflict_told(word)
        assert told is not None
        return (Act(places[told[0]], "conflict", told[2], None, told[1]),)
    if word.outcome is not Outcome.DONE:
        return asked_for(world, word, places)
    based = not world.ledger.is_hostile(word.server)
    acts = []
    for operation, changed in zip(word.operations, results_of(word), strict=True):
        verb = {"created": "create", "updated": "update", "deleted": "delete", "unchanged": "same"}[changed.done]
        expect = operation.expect if based and verb != "create" else None  # a "put" may have found nothing
        acts.append(Act(places[changed.reference.object], verb, changed.sequence, frozen(operation.fields), expect))
    return tuple(acts)


def asked_for(world: World, word: Word, places: Mapping[int, int]) -> tuple[Act, ...]:
    """What a change does if it is carried out, to those of its objects that others speak of too."""
    based = not world.ledger.is_hostile(word.server)
    return tuple(
        Act(places[each.object], each.op, 0, frozen(each.fields), each.expect if based else None)
        for each in word.operations
        if each.object in places
    )


def step(state: tuple[Value | None, ...], acts: tuple[Act, ...]) -> tuple[Value | None, ...] | None:
    """The objects after these acts, all at once; None: that is impossible."""
    after = list(state)
    for act in acts:
        value = _one(after[act.at], act)
        if value is IMPOSSIBLE:
            return None
        after[act.at] = value
    return tuple(after)


IMPOSSIBLE = Value(-1, None)


def _one(before: Value | None, act: Act) -> Value | None:
    if act.verb == "read":
        return _read(before, act)
    if act.verb == "conflict":
        return _conflicted(before, act)
    if act.expect is not None and not _may_be(before, act.expect):
        return IMPOSSIBLE  # based on what did not stand
    if act.verb == "same":
        return before
    if before is not None and act.sequence and before.sequence > act.sequence:
        return IMPOSSIBLE  # written with an older sequence than stands
    if act.verb == "create":
        return Value(act.sequence, act.fields) if before in (UNKNOWN, UNBORN) else IMPOSSIBLE
    if before is not None and before.fields is None:
        return IMPOSSIBLE  # changed or deleted where there is none
    base = act.expect or (0 if before is None else before.least)
    after = 0 if act.sequence else base
    if act.verb == "delete":
        return Value(act.sequence, None, after)
    known = {} if before is None or before.fields is None else dict(before.fields)
    return Value(act.sequence, frozen({**known, **dict(act.fields or ())}), after)


def _may_be(before: Value | None, sequence: int) -> bool:
    """Whether what stands may be of this sequence."""
    if before is None:
        return True
    return before.sequence == sequence if before.sequence else before.after < sequence


def _conflicted(before: Value | None, act: Act) -> Value | None:
    """What is told of a conflict must stand, and be one: another version than was expected."""
    if act.sequence == act.expect:
        return IMPOSSIBLE
    if before is UNKNOWN:
        return before
    if before.fields is None or not _may_be(before, act.sequence):
        return IMPOSSIBLE
    return before._replace(sequence=act.sequence, after=0)


def _read(before: Value | None, act: Act) -> Value | None:
    seen = Value(act.sequence, act.fields)
    if before is UNKNOWN:
        return seen
    if (before.fields is None) != (act.fields is None):
        return IMPOSSIBLE
    if before.fields is None or act.fields is None:
        return before
    if not _may_be(before, act.sequence):
        return IMPOSSIBLE
    read = dict(act.fields)
    return seen if all(is_alike(read.get(name), value) for name, value in before.fields) else IMPOSSIBLE


def frozen(fields: Mapping[str, Any]) -> Fields:
    """Fields as a value that can be a part of a state."""
    return tuple(sorted((name, _frozen(value)) for name, value in fields.items()))


def _frozen(value: Any) -> Any:
    if isinstance(value, Reference):
        return str(value)  # as it was written
    if isinstance(value, Mapping):
        return tuple(sorted((str(name), _frozen(each)) for name, each in value.items()))
    if isinstance(value, (list, tuple)):
        return tuple(map(_frozen, value))
    return value


def explain(owner: str, objects: list[int], words: list[Word], verdict: Verdict) -> str:
    """Where the longest order came to its end, for a person."""
    stands = []
    for object, value in zip(objects, verdict.state, strict=True):
        if value is not None:
            what = "nothing" if value.fields is None else f"{dict(value.fields)}, sequence {value.sequence or '?'}"
            stands.append(f"{owner}/{object} is {what}")
    last = f"after {words[verdict.order[-1]]}" if verdict.order else "at the beginning"
    stuck = " and ".join(str(words[number]) + _told(words[number]) for number in verdict.stuck[:2])
    return f"{owner}'s answers have no order: {last}, {'; '.join(stands)}; then cannot come: {stuck}"


def _told(word: Word) -> str:
    if word.verb != "get" or word.error is not None:
        return ""
    return f": {dict(word.result.fields)}, sequence {word.result.sequence}"
