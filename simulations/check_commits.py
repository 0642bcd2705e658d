"""P1: what was answered as committed is there after any crash; what was not answered is there wholly or not at all.

    word     1.3 asked of 1.1: update 1.1/4 {text: "b"} (done, sequence 9, position 17)
    truth    update 17 of 1.1, durable before the answer, has a leaf 1.1/4, sequence 9, with this text    else accused
    owner    has 1.1/4 with sequence 9 or later, at once and after each of its starts                     else accused

A transaction of several operations stands in one sequence of one update, all of it. One whose outcome nobody knows is
found by what it would have written; if one of its operations is there, all must be. What was refused must not be there.
A request of another server is carried out once, also by an owner that was restored from a backup: its id stands in the
leaves of one transaction only. And a change that somebody may have asked for again is not carried out more often than
it was asked for. What a hostile server asked, and was told, is nobody's promise. Objects of private classes are in no
feed: of them the owner's store alone is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from node.asking import Changed, Operation
from simulations.history import Outcome, Word, said
from simulations.promises import Watching
from simulations.truth import fields_of, record_at
from store.records import DATA, DELETE, Leaf

if TYPE_CHECKING:
    from simulations.world import World


class NoLostCommits(Watching):
    """Nothing acknowledged is lost, nothing is there by half, nothing refused is there."""

    name = "no lost commits"
    promise = "P1"

    def __init__(self) -> None:
        self._words = 0
        self._breaches = 0
        # owner -> object -> the highest sequence acknowledged, and by which word
        self._acknowledged: dict[str, dict[int, tuple[int, Word]]] = {}
        self._claimed: dict[str, dict[int, Word]] = {}  # owner -> sequence -> the word that made it
        self._requests: dict[str, dict[bytes, tuple[int, int]]] = {}  # owner -> request -> update, sequence
        self._numbers: dict[str, int] = {}
        self._unsure: list[Word] = []  # of several operations, outcome unknown
        self._refused: list[Word] = []

    def look(self, world: World) -> None:
        started = world.ledger.refresh()
        self._tell_breaches(world)
        ended = world.history.ended
        fresh = ended[self._words :]
        self._words = len(ended)
        touched: dict[str, dict[int, None]] = {}
        for word in fresh:
            if word.verb != "change" or world.ledger.is_hostile(word.server):
                continue
            if word.outcome is Outcome.DONE:
                for object in self._hear(world, word):
                    touched.setdefault(word.owner, {})[object] = None
            elif word.outcome is Outcome.REFUSED:
                self._refused.append(word)
            elif len(word.operations) > 1:
                self._unsure.append(word)
        for owner in started:
            touched[owner] = dict.fromkeys(self._acknowledged.get(owner, ()))
            self._check_own(world, owner)
        for owner, objects in touched.items():
            self._check_there(world, owner, objects)
        for owner, kind in world.ledger.made:
            if kind == DATA and owner not in world.ledger.excused:
                self._check_requests(world, owner)

    def finish(self, world: World) -> str:
        """Everything once more: every acknowledged object, every transaction that may be there by half."""
        self.look(world)
        for owner, acknowledged in self._acknowledged.items():
            self._check_there(world, owner, acknowledged)
        for server in world.servers:
            self._check_own(world, server.name)
        for owner, kind in world.ledger.made:
            if kind == DATA and world.ledger.remembers_requests(owner) and not world.ledger.is_behind(owner):
                self._check_requests(world, owner)
        for word in self._unsure:
            self._check_whole(world, word)
        for word in self._refused:
            self._check_absent(world, word)
        for word in world.history.words:
            if word.verb == "change" and word.outcome is Outcome.UNKNOWN:
                self._check_once(world, word)
        return ""

    def _tell_breaches(self, world: World) -> None:
        broken = world.ledger.broken
        for breach in broken[self._breaches :]:
            self._breaches += 1
            if breach.promise == self.promise:
                self.accuse(world, breach.said)

    # -- what was answered

    def _hear(self, world: World, word: Word) -> Iterator[int]:
        """A change that its owner said is durable."""
        results = word.result if isinstance(word.result, list) else [word.result]
        acknowledged = self._acknowledged.setdefault(word.owner, {})
        told = {changed.sequence for changed in results if changed.done != "unchanged"}
        if len(told) > 1:
            which = ", ".join(f"{changed.reference} {changed.sequence}" for changed in results)
            self.accuse(world, f"{word}; but it is no one transaction: its sequences are {which}")
        last = {changed.reference.object: number for number, changed in enumerate(results)}
        for number, (operation, changed) in enumerate(zip(word.operations, results, strict=True)):
            if changed.done == "unchanged" or last[changed.reference.object] != number:
                continue
            self._claimed.setdefault(word.owner, {})[changed.sequence] = word
            if word.owner not in world.ledger.excused:
                self._check_made(world, word, operation, changed)
            object = changed.reference.object
            if changed.sequence > acknowledged.get(object, (0, word))[0]:
                acknowledged[object] = (changed.sequence, word)
            yield object

    def _check_made(self, world: World, word: Word, operation: Operation, changed: Changed) -> None:
        """That the update which the answer names holds the change, and was durable before the answer."""
        ledger, object = world.ledger, changed.reference.object
        number = changed.position.number if changed.position is not None else None
        if number is None:  # private, so in no feed; else it should have said in which update
            versions = ledger.versions(word.owner, object)
            number = next((each.number for each in versions if each.leaf.sequence == changed.sequence), None)
            if number is None:
                return
        made = ledger.made.get((word.owner, DATA), {}).get(number)
        if made is None or made.since > word.end:
            when = "is not durable" if made is None else f"became durable at {made.at:.3f} s, after that"
            self.accuse(world, f"{word}; but update {number} of {word.owner} {when}")
        for leaf in made.leaves:
            if leaf.object == object and leaf.sequence == changed.sequence:
                if not does(world, operation, leaf):
                    self.accuse(world, f"{word}; but {word.owner} signed {fields_of(world, leaf)} for it")
                return
        self.accuse(
            world,
            f"{word}; but update {number} of {word.owner} has no change of {changed.reference} with sequence "
            f"{changed.sequence}",
        )

    def _check_there(self, world: World, owner: str, objects: Iterable[int]) -> None:
        """That the owner's own store has what it acknowledged, or something later."""
        server = world.server(owner)
        if server.node is None or owner in world.ledger.excused:
            return
        acknowledged = self._acknowledged.get(owner, {})
        with server.node.view() as view:
            for object in objects:
                sequence, word = acknowledged[object]
                found = record_at(view, server, object)
                if found is None or found.sequence < sequence:
                    has = "nothing" if found is None else f"sequence {found.sequence}"
                    self.accuse(
                        world,
                        f"{owner} lost {owner}/{object}: it has {has}, and acknowledged sequence {sequence}: {word}",
                    )

    def _check_own(self, world: World, owner: str) -> None:
        """That an owner's own store has every object as it signed it last."""
        ledger, server = world.ledger, world.server(owner)
        if server.node is None or owner in ledger.excused or ledger.is_behind(owner):
            return
        last = ledger.last(owner)
        with server.node.view() as view:
            for object in ledger.objects(owner):
                version = ledger.version(owner, object, last)
                found = record_at(view, server, object)
                if version is not None and (found is None or found.sequence != version.leaf.sequence):
                    has = "nothing" if found is None else f"sequence {found.sequence}"
                    self.accuse(
                        world,
                        f"{owner} has {has} of {owner}/{object}, and signed sequence {version.leaf.sequence} of it in "
                        f"update {version.number}",
                    )

    def _check_requests(self, world: World, owner: str) -> None:
        """That no request was carried out in two transactions; of a restored owner, in its history as it is now."""
        made = world.ledger.made[owner, DATA]
        if owner in world.ledger.excused:
            self._requests[owner], self._numbers[owner] = {}, 0
        known = self._requests.setdefault(owner, {})
        number = self._numbers.get(owner, 0) + 1
        while number in made:
            for leaf in made[number].leaves:
                if leaf.request:
                    first = known.setdefault(leaf.request, (number, leaf.sequence))
                    if first[1] != leaf.sequence:
                        self.accuse(
                            world,
                            f"{owner} carried out request {leaf.request.hex()} twice: as sequence {first[1]} in update "
                            f"{first[0]}, and as sequence {leaf.sequence} in update {number} for {owner}/{leaf.object}",
                        )
            self._numbers[owner] = number
            number += 1

    # -- what was not answered

    def _check_whole(self, world: World, word: Word) -> None:
        """If one operation of a transaction is there, in a sequence that nobody else made, all are."""
        if word.owner in world.ledger.excused:
            return
        for number, sequence, leaves in _transactions(world, word.owner):
            if sequence in self._claimed.get(word.owner, {}):
                continue
            wanted = _lasting(word.operations)
            there = [any(does(world, each, leaf) for leaf in leaves) for each in wanted]
            if any(has and _tells(each) for each, has in zip(wanted, there, strict=True)) and not all(there):
                missing = [said(word.owner, each) for each, has in zip(wanted, there, strict=True) if not has]
                self.accuse(
                    world,
                    f"sequence {sequence} in update {number} of {word.owner} is a part of a transaction: {word}; "
                    f"missing {', '.join(missing)}",
                )

    def _check_absent(self, world: World, word: Word) -> None:
        if word.owner in world.ledger.excused or not all(_tells(each) for each in word.operations):
            return
        wanted = _lasting(word.operations)
        for number, sequence, leaves in _transactions(world, word.owner):
            if sequence not in self._claimed.get(word.owner, {}) and all(
                any(does(world, each, leaf) for leaf in leaves) for each in wanted
            ):
                if self._is_asked_twice(world, word):
                    return
                self.accuse(world, f"{word}; and yet it is there, as sequence {sequence} in update {number}")

    def _check_once(self, world: World, word: Word) -> None:
        """That what one word asked for was not carried out twice; unless a hostile server may have said it again."""
        if word.owner in world.ledger.excused or world.ledger.has_hostile:
            return
        for operation in filter(_tells, _lasting(word.operations)):
            done = list(_times(world, word.owner, operation))
            if len(done) < 2:
                continue
            asked = sum(
                each.owner == word.owner and any(_may_be(other, operation) for other in each.operations)
                for each in world.history.words
            )
            if len(done) > asked:
                self.accuse(
                    world,
                    f"{word.owner} carried out {len(done)} times what was asked for {asked} times, as sequences "
                    f"{', '.join(map(str, done))}: {word}",
                )

    def _is_asked_twice(self, world: World, word: Word) -> bool:
        """Whether another word wanted the very same, and may be the one that was carried out."""
        return any(
            each is not word and each.owner == word.owner and each.operations == word.operations
            for each in world.history.words
        )


def _transactions(world: World, owner: str) -> Iterator[tuple[int, int, list[Leaf]]]:
    """Each transaction of an owner that is in its data feed: the update's number, its sequence, its leaves."""
    for number, made in world.ledger.made.get((owner, DATA), {}).items():
        by_sequence: dict[int, list[Leaf]] = {}
        for leaf in made.leaves:
            by_sequence.setdefault(leaf.sequence, []).append(leaf)
        for sequence, leaves in by_sequence.items():
            yield number, sequence, leaves


def does(world: World, operation: Operation, leaf: Leaf) -> bool:
    """Whether this leaf is what the operation would write."""
    if operation.object and operation.object != leaf.object:
        return False
    if operation.op == "delete" or leaf.operation == DELETE:
        return operation.op == "delete" and leaf.operation == DELETE
    fields = fields_of(world, leaf)
    return fields is None or all(is_alike(fields.get(name), value) for name, value in operation.fields.items())


def _times(world: World, owner: str, operation: Operation) -> Iterator[int]:
    """The sequences by which this operation was carried out: those that brought what it writes, or wrote it again."""
    objects = [operation.object] if operation.object else world.ledger.objects(owner)
    for object in objects:
        before: Leaf | None = None
        for version in world.ledger.versions(owner, object):
            leaf = version.leaf
            if operation.op == "update" or before is None:
                again = before is not None and does(world, operation, before) and leaf.body != before.body
                if leaf.body and fields_of(world, leaf) is not None and does(world, operation, leaf) and not again:
                    yield leaf.sequence
            before = leaf


def _may_be(operation: Operation, other: Operation) -> bool:
    """Whether carrying out one looks like carrying out the other."""
    return operation.object == other.object and all(
        operation.fields.get(name, value) == value for name, value in other.fields.items()
    )


def _lasting(operations: Sequence[Operation]) -> list[Operation]:
    """Those of a transaction that no later one of it writes over."""
    last = {each.object: number for number, each in enumerate(operations) if each.object}
    return [each for number, each in enumerate(operations) if last.get(each.object, number) == number]


def _tells(operation: Operation) -> bool:
    """Whether what it writes tells it from others: a deletion does not, for anybody may have wanted that."""
    return operation.op != "delete" and bool(operation.fields)


def is_alike(held: Any, written: Any) -> bool:
    """Whether a value that is held is the one that was written, maybe in its JSON form."""
    return bool(held == written) or str(held) == str(written) or not isinstance(written, _PLAIN)


_PLAIN = (str, int, bool, float, type(None))  # what is written in one form only, or in its JSON form
