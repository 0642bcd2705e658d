"""Verbs of work: what people and programs ask of a mesh, from any server, about anybody's objects.

    class Note text:string              every server adopts it
    class Item text:string serial:int unique size:int index near:reference     `class_lines.py`: what is written there
    1.1 commits 50 Note                 one transaction each, one after another
    1.1 commits 5 Note together         all in one transaction
    1.1 commits 2 Note of 30kB          large ones
    1.3 commits 2 Note at 1.1           asked of their owner; they wait in 1.3's outbox while it is away
    1.1 changes 20 Note                 random ones of its own
    1.1 changes 3 Note together
    1.3 changes 2 Note of 1.1           asked of their owner, as above; and: ... as last seen, a conflict when it is not
    1.1 deletes 1 Note
    1.3 deletes 1 Note of 1.1
    1.4 gets 3 Note of 1.1              and: ... by their owner, ... as held here, ... after the last change
    1.4 asks Note from 1.1,1.2          a question in Bangpath's own language; and: ... of their owners
    1.1 moves 1 Note to 1.2             declared, and refused until objects can move

Every text that is written is written once in a run, so that whoever reads it can say which change it was; what other
fields have comes from the seed. Questions tell what was answered and never fail; a change that is refused does, unless
it was timed (`scenario.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from identity.errors import BangpathError, Refused
from identity.names import Reference
from node.asking import Changed, Operation
from node.language import parse
from node.outcomes import Queued
from simulations.class_lines import FIELDS, INDEXED, Values, definition_of
from simulations.history import NOTHING_DONE
from simulations.promises import PromiseBroken
from simulations.steps import ID, NUMBER, SECONDS, Act, Run, Verb, amount, lapse

_AFTER = "after the last change"
_CONSISTENCY = {None: "nearest", "by their owner": "owner", "of their owners": "owner", "as held here": "local"}


class Desk:
    """What a run knows of its objects: their class, which version was acknowledged last, which were let go."""

    def __init__(self) -> None:
        self.classes: dict[Reference, str] = {}
        self.sequences: dict[Reference, int] = {}
        self.positions: dict[Reference, str] = {}  # of their owner, when that sequence was made
        self._last: dict[Reference, dict[str, Any]] = {}  # what an object had when it was let go

    @staticmethod
    def of(run: Run) -> Desk:
        desk: Desk = run.memory.setdefault("desk", Desk())
        return desk

    def made(self, run: Run, class_name: str, fields: dict[str, Any], done: Changed) -> None:
        run.objects.setdefault(str(done.reference.server), []).append(done.reference)
        self.classes[done.reference] = class_name
        self.changed(run, fields, done)

    def changed(self, run: Run, fields: dict[str, Any], done: Changed) -> None:
        """Two changes may be acknowledged in another order than they were carried out in: the later version stands."""
        reference = done.reference
        owner, class_name = str(reference.server), self.classes.get(reference, "")
        if done.sequence < self.sequences.get(reference, 0):
            Values.of(run).let_go(owner, class_name, fields)
            return
        stood = run.texts.get(reference, {})
        Values.of(run).let_go(owner, class_name, {name: stood[name] for name in fields if name in stood})
        self.sequences[reference] = done.sequence
        run.texts[reference] = {**stood, **fields}
        if done.position is not None:
            self.positions[reference] = str(done.position)

    def gone(self, run: Run, reference: Reference) -> None:
        """Nobody asks for it any more. Once let go, also when nobody knows yet whether it was deleted."""
        own = run.objects.get(str(reference.server), [])
        if reference in own:
            own.remove(reference)
        self._last[reference] = run.texts.pop(reference, {})

    def deleted(self, run: Run, reference: Reference) -> None:
        """So its owner says: what it had of unique values others may have."""
        values = self._last.pop(reference, {})
        Values.of(run).let_go(str(reference.server), self.classes.get(reference, ""), values)

    def some(self, run: Run, owner: str, number: int, class_name: str) -> list[Reference]:
        """That many of an owner's objects, by chance, maybe one twice. Raises `Refused` when it has none."""
        own = [each for each in run.objects.get(owner, []) if self.classes.get(each) == class_name]
        if not own:
            raise Refused(f"{owner} has no {class_name} yet", next_step=f"begin with: {owner} commits 5 {class_name}")
        return [run.world.random.choice(own) for _ in range(number)]


def text_of(run: Run, name: str, kilobytes: int = 0) -> str:
    """A text that nobody wrote before; a long one cannot be compressed to less than half."""
    run.count += 1
    tail = run.world.random.randbytes(kilobytes * 512).hex() if kilobytes else ""
    return f"{name} says {run.count} {tail}".rstrip()


def _class(name: str, fields: str) -> Act:
    definition = definition_of(name, fields)

    async def act(run: Run) -> str:
        Values.of(run).classes[name] = definition
        for server in run.world.servers:
            if server.joined:
                await server.define(definition)
        return ""

    return act


# -- changes


def _commits(
    name: str, number: str, class_name: str, kilobytes: str | None, together: str | None, owner: str | None
) -> Act:
    wished, size = amount(number), amount(kilobytes or "0", "kB")
    amount(str(wished * size), "kB in one line")

    async def act(run: Run) -> str:
        texts = [text_of(run, name, size) for _ in range(wished)]
        values = Values.of(run)
        all_fields = [values.fill(run, owner or name, class_name, text, whole=True) for text in texts]
        creations = [Operation(op="create", class_name=class_name, fields=fields) for fields in all_fields]
        waiting = await carry_out(run, name, owner or name, creations, bool(together))
        return waiting or f"{len(run.objects.get(owner or name, []))} objects of {owner or name}"

    return act


def _changes(
    name: str, number: str, class_name: str, together: str | None, owner: str | None, expecting: str | None
) -> Act:
    wished = amount(number)

    async def act(run: Run) -> str:
        desk = Desk.of(run)
        chosen = desk.some(run, owner or name, wished, class_name)
        if expecting:  # what one change made cannot be what the next one saw
            chosen = list(dict.fromkeys(chosen))
        changes = [
            Operation(
                op="update",
                object=each.object,
                fields=Values.of(run).fill(run, owner or name, class_name, text_of(run, name), whole=False),
                expect=desk.sequences.get(each) if expecting else None,
            )
            for each in chosen
        ]
        return await carry_out(run, name, owner or name, changes, bool(together), chosen)

    return act


def _deletes(name: str, number: str, class_name: str, owner: str | None) -> Act:
    wished = amount(number)

    async def act(run: Run) -> str:
        desk = Desk.of(run)
        chosen = list(dict.fromkeys(desk.some(run, owner or name, wished, class_name)))
        for each in chosen:
            desk.gone(run, each)
        deletions = [Operation(op="delete", object=each.object) for each in chosen]
        return await carry_out(run, name, owner or name, deletions, False, chosen)

    return act


async def carry_out(
    run: Run,
    name: str,
    owner: str,
    operations: Sequence[Operation],
    together: bool,
    references: Sequence[Reference] = (),
    **how: Any,
) -> str:
    """Ask server `name` for these changes of the owner's objects; says which of them wait for the owner.

    `how`: the node's own options, such as `expires`.
    """
    desk, server = Desk.of(run), run.server(name)
    waiting = 0
    size = len(operations) if together else 1
    for start in range(0, len(operations), size):
        batch = operations[start : start + size]
        try:
            changed = await server.transact(batch, owner=None if owner == name else owner, **how)
        except NOTHING_DONE:
            let_go(run, owner, operations[start:], references[start:])
            raise
        if isinstance(changed, Queued):
            waiting += len(batch)
            for reference in references[start : start + size]:
                run.memory.setdefault("unsure", {})[reference] = changed
            continue
        for operation, done in zip(batch, changed, strict=True):
            if operation.op == "create":
                desk.made(run, operation.class_name, operation.fields, done)
            elif operation.op == "update":
                desk.changed(run, operation.fields, done)
            else:
                desk.deleted(run, done.reference)
    return f"{waiting} wait for {owner}" if waiting else ""


def let_go(run: Run, owner: str, operations: Sequence[Operation], references: Sequence[Reference]) -> None:
    """The unique values that these would have written are nobody's: they were not carried out."""
    desk = Desk.of(run)
    for number, operation in enumerate(operations):
        class_name = operation.class_name or desk.classes.get(references[number], "")
        Values.of(run).let_go(owner, class_name, operation.fields)


# -- questions


def _gets(name: str, number: str, class_name: str, owner: str, how: str | None) -> Act:
    wished = amount(number)

    async def act(run: Run) -> str:
        kinds: Counter[str] = Counter()
        desk = Desk.of(run)
        for reference in desk.some(run, owner, wished, class_name):
            options: dict[str, Any] = {"consistency": _CONSISTENCY.get(how, "nearest")}
            least = 0
            if how == _AFTER and reference in desk.positions:
                least = desk.sequences[reference]
                options["after"] = desk.positions[reference]
            try:
                found = await run.server(name).get(reference, **options)
            except BangpathError as error:
                kinds[type(error).__name__.lower()] += 1
                continue
            kinds[found.kind] += 1
            if found.sequence < least and not _excused(run):
                asked = f"after {options['after']}, which made {least}"
                said = f"{name} got {reference} with sequence {found.sequence} when it asked {asked}"
                raise PromiseBroken("P5", "read what was written", run.world.now, said)
        return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))

    return act


def _excused(run: Run) -> bool:
    """Whether a server lies, or one came back in time: then a position may be of another history."""
    ledger = getattr(run.world, "ledger", None)
    return ledger is not None and bool(ledger.excused)


def _asks(name: str, question: str, how: str | None) -> Act:
    parse(question)  # which says what is wrong with it; of its class and fields `sense_questions.py`

    async def act(run: Run) -> str:
        try:
            answer = await run.server(name).query(question, consistency=_CONSISTENCY[how])
        except BangpathError as error:
            return f"{type(error).__name__.lower()}: {error}"
        missing = answer.completeness["summary"]["missing"]
        whole = "whole" if answer.completeness["whole"] else f"not whole without {' '.join(missing)}"
        return f"{len(answer.rows)} rows, {whole}"

    return act


def _moves(name: str, number: str, class_name: str, other: str) -> Act:
    raise Refused(
        f"{number} {class_name} cannot move from {name} to {other}: Bangpath has no moves yet",
        next_step=f"{other} commits {number} {class_name}, {name} deletes {number} {class_name}",
    )


def _run(number: str, unit: str) -> Act:
    lasts = lapse(number, unit)

    async def act(run: Run) -> str:
        await run.world.sleep(lasts)
        return ""

    return act


_TOGETHER, _AT, _OF = r"(?: (together))?", rf"(?: at {ID})?", rf"(?: of {ID})?"

ASKS = Verb(rf"{ID} asks (.+?)(?: (of their owners|as held here))?", (1,), _asks, "1.4 asks Note from 1.1,1.2")

VERBS: tuple[Verb, ...] = (
    Verb(rf"class (\w+) {FIELDS}", (), _class, "class Note text:string"),
    Verb(rf"class (\w+) {INDEXED}", (), _class, "class Item text:string serial:int unique size:int index"),
    Verb(rf"{ID} commits {NUMBER} (\w+)(?: of {NUMBER}kB)?{_TOGETHER}{_AT}", (1, 6), _commits, "1.1 commits 50 Note"),
    Verb(rf"{ID} changes {NUMBER} (\w+){_TOGETHER}{_OF}( as last seen)?", (1, 5), _changes, "1.1 changes 20 Note"),
    Verb(rf"{ID} deletes {NUMBER} (\w+){_OF}", (1, 4), _deletes, "1.1 deletes 1 Note"),
    Verb(
        rf"{ID} gets {NUMBER} (\w+) of {ID}(?: (by their owner|as held here|{_AFTER}))?",
        (1, 4),
        _gets,
        "1.4 gets 3 Note of 1.1",
    ),
    ASKS,
    Verb(rf"{ID} moves {NUMBER} (\w+) to {ID}", (1, 4), _moves, "1.1 moves 1 Note to 1.2"),
    Verb(rf"run {SECONDS}", (), _run, "run 10s"),
)
