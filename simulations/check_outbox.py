"""P1: a change that was said to wait is there after any crash, until its owner has done what is told of it; in turn.

    1.3 asked of 1.1: update 1.1/4  -> waits as request 7
        while 1.3 is up     request 7 is in its outbox, open or with its outcome                       else accused
        committed           an outcome for each operation, each a version that 1.1 made, did what was asked, and
                            has the id of this request in its leaf                                     else accused
        conflict, refused, expired, cancelled   1.1 made nothing by this request, and never does       else accused
        expired, cancelled  1.1 has nothing that only this change would have written, by any request   else accused
        told as cancelled   to who took it back: so it stands, also after a crash, and waits no more   else accused
        in the end          it has an outcome, when its owner is there                                 else missing
    then it asked of 1.1: update 1.1/5  -> done, or waits as request 8
        both made           the first one's sequence is the lower                                      else accused

Not accused: who is excused. An outcome that was seen once may be forgotten later. Of one that is unknown nothing is
said, also not of its order; nor of a change that was not to wait, and so may pass those that do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from node.outcomes import Queued
from replication.entries import OPEN, Entry, State
from simulations.check_commits import does
from simulations.history import Outcome, Word
from simulations.promises import Watching
from simulations.truth import fields_of

if TYPE_CHECKING:
    from node.asking import Operation
    from simulations.world import World

LOOK_EVERY_S = 1.0


@dataclass(slots=True, eq=False)
class Waiting:
    """A change that waits. `asked`: the ids of the requests by which its owner was asked; the last one counts."""

    word: Word
    queued: Queued
    asked: dict[bytes, None] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"request {self.queued.request}"


class Following(Watching):
    """Follows all that waits until it has its outcome. A subclass has `missing`, `waits` or `settled`."""

    def __init__(self) -> None:
        self._words = 0
        self._at = -LOOK_EVERY_S
        self._waiting: list[Waiting] = []

    def missing(self, world: World, waiting: Waiting) -> None:
        """It is not in its outbox."""

    def waits(self, world: World, waiting: Waiting, entry: Entry) -> None:
        """It has no outcome yet."""

    def settled(self, world: World, waiting: Waiting, entry: Entry) -> None:
        """It has its outcome, durably, and all that its owner made until now is known."""

    def look(self, world: World) -> None:
        ended = world.history.ended
        fresh = [Waiting(word, word.result) for word in ended[self._words :] if isinstance(word.result, Queued)]
        self._words = len(ended)
        self._waiting += fresh
        if self._waiting and (fresh or world.now - self._at >= LOOK_EVERY_S):
            self._at = world.now
            world.ledger.refresh()
            self._waiting = [each for each in self._waiting if self._is_open(world, each)]

    def finish(self, world: World) -> str:
        self._at = -LOOK_EVERY_S
        self.look(world)
        return ""

    def _is_open(self, world: World, waiting: Waiting) -> bool:
        """Whether its outcome is still to come."""
        word, ledger = waiting.word, world.ledger
        if word.server in ledger.excused or word.owner in ledger.excused:
            return False
        node = world.server(word.server).node
        if node is None:
            return True
        delivering = node.parts.delivering
        entry: Entry | None = delivering.outbox.find(waiting.queued.request)
        if entry is None:
            self.missing(world, waiting)
            return False
        if entry.request is not None:
            request = node.parts.outstanding.request_id(entry.request)
            waiting.asked.pop(request, None)
            waiting.asked[request] = None
        if entry.open:
            self.waits(world, waiting, entry)
        if entry.open or delivering._carrying_out or delivering._news.is_set() or ledger.is_behind(word.owner):
            return True  # what is not written down yet would be forgotten by a crash
        self.settled(world, waiting, entry)
        return False


class NoForgottenChanges(Following):
    """What waits, waits, and what is told of its end is so."""

    name = "no forgotten changes"
    promise = "P1"

    def __init__(self) -> None:
        super().__init__()
        self._not_made: list[tuple[Waiting, State]] = []
        self._looked_s = -LOOK_EVERY_S

    def look(self, world: World) -> None:
        super().look(world)
        if world.now - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = world.now
            self._look_at_told(world)
        for waiting, state in self._not_made:
            word = waiting.word
            if word.owner in world.ledger.excused:
                continue
            for request in waiting.asked:
                sequence = world.ledger.sequence_by(word.owner, request)
                if sequence is not None:
                    self.accuse(
                        world,
                        f"{word.server} has it that {waiting} is {state.value}, which {word.owner} carried out as "
                        f"sequence {sequence}: {word}",
                    )

    def _look_at_told(self, world: World) -> None:
        """What somebody who took a change back was told of its end stands in the outbox, in each later life too."""
        for word in world.history.decisions:
            if word.verb not in ("cancel", "forget") or word.outcome is not Outcome.DONE:
                continue
            server, told = world.server(word.server), word.result["state"]
            if State(told) in OPEN or server.node is None or word.server in world.ledger.excused:
                continue
            entry = server.node.parts.delivering.outbox.find(word.target)
            if entry is not None and entry.state.value != told:
                self.accuse(
                    world,
                    f"{word.server} said at {word.end_s:.3f} s that request {word.target} is {told}, and has it as "
                    f"{entry.state.value}: {entry.text} for {entry.owner}",
                )

    def _look_for_taken_back(self, world: World) -> None:
        """What was cancelled, or expired, is not made by another request either: no text of it is at its owner.

        A hostile server may have asked for it once more, and so may one that came back in time.
        """
        for waiting, state in () if world.ledger.has_hostile else self._not_made:
            word = waiting.word
            if state not in (State.CANCELLED, State.EXPIRED) or {word.owner, word.server} & world.ledger.excused.keys():
                continue
            own = _own_texts(world, word)
            for object in world.ledger.objects(word.owner) if own else ():
                for version in world.ledger.versions(word.owner, object):
                    there = (fields_of(world, version.leaf) or {}).items() if version.leaf.request else ()
                    if not own.isdisjoint(each for each in there if isinstance(each[1], str)):
                        self.accuse(
                            world,
                            f"{word.server} has it that {waiting} is {state.value}, and {word.owner} made it in update "
                            f"{version.number}, as sequence {version.leaf.sequence}: {word}",
                        )

    def finish(self, world: World) -> str:
        super().finish(world)
        self._look_at_told(world)
        self._look_for_taken_back(world)
        return "; ".join(
            f"{each} still waits at {each.word.server}: {each.word}"
            for each in self._waiting
            if all(world.server(name).node is not None for name in (each.word.server, each.word.owner))
        )

    def missing(self, world: World, waiting: Waiting) -> None:
        word = waiting.word
        self.accuse(world, f"{word.server} forgot {waiting}, which it said waits: {word}")

    def settled(self, world: World, waiting: Waiting, entry: Entry) -> None:
        if entry.state is State.COMMITTED:
            self._check_made(world, waiting, entry.outcome or {})
        elif entry.state is not State.UNKNOWN:
            self._not_made.append((waiting, entry.state))

    def _check_made(self, world: World, waiting: Waiting, outcome: dict[str, Any]) -> None:
        """That the owner made what it is said to have committed, by this request."""
        word = waiting.word
        told = f"{word.server} has it that {word.owner} committed {waiting}"
        results = outcome.get("results", [])
        number = len(results) + outcome.get("further_results", 0)
        if number != len(word.operations):
            self.accuse(world, f"{told}, and an outcome for {number} of {len(word.operations)} operations: {word}")
        last = {result["reference"]: place for place, result in enumerate(results)}
        for place, (operation, result) in enumerate(zip(word.operations, results, strict=False)):
            if result["done"] == "unchanged" or last[result["reference"]] != place:
                continue
            said = f"{told}, {result['reference']} with sequence {result['sequence']}"
            object = int(str(result["reference"]).rpartition("/")[2])
            versions = world.ledger.versions(word.owner, object)
            leaf = next((each.leaf for each in versions if each.leaf.sequence == result["sequence"]), None)
            if leaf is None:
                self.accuse(world, f"{said}, which {word.owner} never made: {word}")
            if leaf.request not in waiting.asked:
                self.accuse(world, f"{said}, which {word.owner} made by another request: {word}")
            if not does(world, operation, leaf):
                self.accuse(world, f"{said}, by which {word.owner} did something else: {word}")


def _own_texts(world: World, word: Word) -> set[tuple[str, str]]:
    """What this word alone would write: fields and their texts. Where one is held, it was carried out."""
    own = {item for operation in word.operations for item in _texts(operation)}
    for other in world.history.words if own else ():
        if other is not word:
            own.difference_update(item for operation in other.operations for item in _texts(operation))
    return own


def _texts(operation: Operation) -> list[tuple[str, str]]:
    return [(name, value) for name, value in operation.fields.items() if isinstance(value, str) and value]


class _Made(NamedTuple):
    word: Word
    sequence: int
    waits: bool


class OutboxesInOrder(Following):
    """Of what one server asks of one owner, what was said to wait first is made first."""

    name = "outboxes in order"
    promise = "P1"

    def __init__(self) -> None:
        super().__init__()
        self._heard = 0
        self._made: dict[tuple[str, str], list[_Made]] = {}  # by asker and owner, since something waited

    def look(self, world: World) -> None:
        ended = world.history.ended
        fresh, self._heard = ended[self._heard :], len(ended)
        for word in fresh:
            if isinstance(word.result, Queued):
                self._made.setdefault((word.server, word.owner), [])
            elif word.verb == "change" and word.outcome is Outcome.DONE:
                self._note(world, word, _sequence_of(word), waits=False)
        super().look(world)

    def settled(self, world: World, waiting: Waiting, entry: Entry) -> None:
        if entry.state is State.COMMITTED:
            word, results = waiting.word, (entry.outcome or {}).get("results", ())
            sequence = max((each["sequence"] for each in results if each["done"] != "unchanged"), default=0)
            self._note(world, word, sequence, waits=True)

    def _note(self, world: World, word: Word, sequence: int, *, waits: bool) -> None:
        """A change was made under this sequence; 0: it changed nothing."""
        known = self._made.get((word.server, word.owner))
        if known is None or not sequence or not word.options.get("queue", True):
            return
        if any(each in world.ledger.excused for each in (word.server, word.owner)):
            return
        made = _Made(word, sequence, waits)
        for other in known:
            first, then = sorted((made, other), key=lambda each: each.word.begin)
            if first.waits and first.word.end < then.word.begin and first.sequence > then.sequence:
                self.accuse(
                    world,
                    f"{word.owner} did not do in turn what {word.server} asked: what waited before became sequence "
                    f"{first.sequence}, and what was asked then {then.sequence}: {first.word}; {then.word}",
                )
        known.append(made)


def _sequence_of(word: Word) -> int:
    results = word.result if isinstance(word.result, list) else [word.result]
    return max((each.sequence for each in results if each.done != "unchanged"), default=0)
