"""The kinds of work that the task that owns the log carries out, each in one go without await (DESIGN T3, R2, F5).

RunBody     a synchronous body on the appended state: cannot conflict
Commit      a transaction that was made on a view: checked now
Define      a class made, adopted, extended or otherwise indexed
Drop        a step of dropping a class
BuildStep   a step of building or dropping indexes of many objects
UpgradeStep a step of upgrading the objects of an older major
CollectStep a step of finding, or of deleting, what nothing points to
TakeUpdates updates of others, each a frame of its own, in order
TakeCopies  cached copies that came or go; nobody waits
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import outcome
import trio

from identity.encoding import decode_integer_untrusted
from identity.errors import Exhausted, Refused
from identity.names import END
from store.building import BUILDING, DONE, UPGRADING, Building
from store.building_steps import differs, is_large, joined, put_building, put_class, put_step, with_indexes_of
from store.dropping import droppable, put_drop
from store.fieldtypes import shown
from store.foreign import Applied, Foreign, Outcome, read_foreign_untrusted
from store.frame_parts import COPIES, FOREIGN, CopyChange, pack_copies, pack_local
from store.generations import View as GenerationsView
from store.history import put_history
from store.indexes import compile_indexes
from store.records import Update
from store.references import check_blobs_again
from store.registry import CLASS, KNOWN_CLASS, ClassEntry, Registry, class_fields, is_built_in
from store.transaction import Transaction
from store.upgrading import put_upgrades

if TYPE_CHECKING:
    from store.collecting import Collection
    from store.definitions import ClassDefinition
    from store.upgrading import Upgrades
    from store.writing import Writer


class RunBody:
    """A body to run on the appended state; its result is the answer."""

    __slots__ = ("body", "task")

    def __init__(self, body: Callable[[Transaction], Any]) -> None:
        self.body = body
        self.task: trio.lowlevel.Task | None = None

    def carry_out(self, writer: Writer) -> bool:
        applier = writer.applier
        next_object = applier.next_object
        transaction = begin(writer, optimistic=False)
        transaction.sequence = applier.number + 1
        transaction.foretell = applier.expected_positions
        try:
            result = self.body(transaction)
            writer.append_own(transaction)
        except BaseException:
            applier.next_object = next_object  # ids of what never was: nobody else can have taken one meanwhile
            raise
        finally:
            transaction.end()
        return answer(writer, self, result, changed=bool(transaction.changes))


class Commit:
    """A transaction made on `view`."""

    def __init__(self, transaction: Transaction, view: GenerationsView) -> None:
        self.transaction = transaction
        self.view = view
        self.task: trio.lowlevel.Task | None = None

    def carry_out(self, writer: Writer) -> bool:
        self.transaction.check_unchanged(self.view, writer.applier.registry)
        check_blobs_again(self.transaction)
        writer.append_own(self.transaction)
        return answer(writer, self, None, changed=bool(self.transaction.changes))


class Define:
    """A class to be adopted here; the answer is its object of `Class`, of a private one that of `KnownClass`.

    Or it is `Busy`: indexes of the class are being made or dropped, perhaps those of this very definition.
    """

    def __init__(self, definition: ClassDefinition, upgrades: Upgrades | None = None) -> None:
        self.definition = definition
        self.upgrades = {} if upgrades is None else upgrades
        self.task: trio.lowlevel.Task | None = None

    def carry_out(self, writer: Writer) -> bool:
        registry = writer.applier.registry
        if is_built_in(self.definition.name):
            raise Refused(f"class {self.definition.name} is built in", next_step="choose another name")
        entry, definition = _plan(registry, self.definition.checked())
        transaction = begin(writer, optimistic=False)
        older = registry.adopted_before(definition)
        for each in older:
            building = registry.building(each.number)
            if building is not None and building.unfinished:
                return answer(writer, self, Busy(each.number, begun=False), changed=False)
        for each in older:
            if each.definition.major in self.upgrades:
                writer.upgrades.give(each, definition.major, self.upgrades[each.definition.major])
        marked = [each for each in older if not each.upgrading]
        for each in marked:
            put_building(transaction, each.number, Building(UPGRADING, definition))
        if entry is None:
            known = transaction.put_object(_entry(registry, KNOWN_CLASS), None, {"definition": definition.to_plain()})
            reference = known
            if definition.privacy != "private":
                reference = transaction.put_object(_entry(registry, CLASS), None, class_fields(definition))
            put_history(writer.applier, transaction, known.object, definition)
            writer.append_own(transaction)
            return answer(writer, self, reference, changed=True)
        building = registry.building(entry.number)
        if building is not None and building.unfinished:
            return answer(writer, self, Busy(entry.number, begun=False), changed=False)
        if entry.adopted and definition == entry.own_codec.definition and not marked:
            return answer(writer, self, transaction.own_reference(entry.own_object), changed=False)
        online = is_large(writer.applier, entry) and differs(entry, joined(entry, definition))
        holds = with_indexes_of(definition, entry.definition) if online else definition
        if not online:
            _check_unique(writer, entry, definition)
        known_as = {"definition": joined(entry, holds).to_plain()}
        transaction.put_object(_entry(registry, KNOWN_CLASS), entry.number, known_as)
        if online:
            put_building(transaction, entry.number, Building(BUILDING, definition))
        elif entry.dropped:
            put_building(transaction, entry.number, Building(DONE, definition))
        reference = put_class(transaction, entry, holds)
        put_history(writer.applier, transaction, entry.number, definition)
        writer.append_own(transaction)
        return answer(writer, self, Busy(entry.number, begun=True) if online else reference, changed=True)


class Busy(NamedTuple):
    """Indexes of the class with this number are being made or dropped; `begun`: by this very definition."""

    number: int
    begun: bool


class Drop:
    """One step of dropping a class; the answer says where the next one begins, None: it is dropped, or it is `Busy`."""

    def __init__(self, name: str, after: bytes, *, objects: bool) -> None:
        self.name = name
        self.after = after
        self.objects = objects
        self.task: trio.lowlevel.Task | None = None

    def carry_out(self, writer: Writer) -> bool:
        registry = writer.applier.registry
        entry = droppable(registry, self.name)
        building = registry.building(entry.number)
        if building is not None and building.unfinished:
            return answer(writer, self, Busy(entry.number, begun=False), changed=False)
        transaction = begin(writer, optimistic=False)
        after = put_drop(writer.applier, transaction, entry, self.after, objects=self.objects)
        writer.append_own(transaction)
        return answer(writer, self, after, changed=bool(transaction.changes))


class BuildStep:
    """One step towards the indexes that a class is to have; the answer is its state (`store.building`)."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.task: trio.lowlevel.Task | None = None

    def carry_out(self, writer: Writer) -> bool:
        transaction = begin(writer, optimistic=False)
        state = put_step(writer.applier, transaction, self.number)
        writer.append_own(transaction)
        return answer(writer, self, state, changed=bool(transaction.changes))


class UpgradeStep:
    """One step of upgrading the own objects of a class; the answer says how far it came (`store.upgrading`)."""

    def __init__(self, number: int, cursor: bytes, *, clean: bool) -> None:
        self.number = number
        self.cursor = cursor
        self.clean = clean
        self.task: trio.lowlevel.Task | None = None

    def carry_out(self, writer: Writer) -> bool:
        transaction = begin(writer, optimistic=False)
        step = put_upgrades(writer, transaction, self.number, self.cursor, clean=self.clean)
        writer.append_own(transaction)
        return answer(writer, self, step, changed=bool(transaction.changes))


class CollectStep:
    """One step of a collection (`store.collecting`); the answer is nothing."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.task: trio.lowlevel.Task | None = None

    def carry_out(self, writer: Writer) -> bool:
        transaction = begin(writer, optimistic=False)
        self.collection.step(transaction)
        writer.append_own(transaction)
        self.collection.appended()
        return answer(writer, self, None, changed=bool(transaction.changes))


class TakeUpdates:
    """Updates of others; the answer is the outcome of each, up to the one for which there was no room."""

    def __init__(self, updates: Sequence[Update]) -> None:
        self.updates = updates
        self.task: trio.lowlevel.Task | None = None

    def carry_out(self, writer: Writer) -> bool:
        outcomes: list[Outcome] = []
        changed = False
        for update in self.updates:
            try:
                found = self._take(writer, update)
            except Exhausted:
                if not outcomes:
                    raise
                break  # those before it are in the log, and are answered for
            if isinstance(found, Foreign):
                changed = True
                writer.group.applied.append(update)
                head = update.head
                if (head.server, head.incarnation) == writer.applier.servers.own and writer.sealer is not None:
                    writer.sealer.resume(head.kind, head.to_bytes())  # it was forgotten: the next own one follows it
                found = Applied(update)
            outcomes.append(found)
        return answer(writer, self, outcomes, changed=changed)

    def _take(self, writer: Writer, update: Update) -> Foreign | Outcome:
        applier = writer.applier
        next_object = applier.next_object
        found = read_foreign_untrusted(applier, update)
        if not isinstance(found, Foreign):
            applier.next_object = next_object
            return found
        sections = [update.to_bytes(), pack_local(applier.number + 1, found.local)]
        writer.append_foreign(
            FOREIGN,
            sections,
            lambda number, location: applier.foreign(update, found.local, found.puts, number, location),
        )
        return found


class TakeCopies:
    """Cached copies; with an empty body one goes."""

    def __init__(self, make: Callable[[Writer], list[CopyChange]]) -> None:
        self.make = make
        self.task: trio.lowlevel.Task | None = None

    def carry_out(self, writer: Writer) -> bool:
        copies = self.make(writer)
        if copies:
            try:
                writer.append_foreign(COPIES, [pack_copies(copies)], lambda *_: writer.applier.copies(copies))
            except Exhausted:  # a copy that has no room is simply not kept
                return False
        return False


def begin(writer: Writer, *, optimistic: bool, view: GenerationsView | None = None) -> Transaction:
    """A transaction on the appended state, or on a view."""
    applier = writer.applier
    below = writer.generations.appended if view is None else view
    registry = applier.registry if view is None else writer.published_registry
    transaction = Transaction(below, registry, applier.servers, applier.allocate, optimistic=optimistic)
    transaction.blobs = writer.blobs
    transaction.upgrades = writer.upgrades
    return transaction


def answer(writer: Writer, work: Any, value: Any, *, changed: bool) -> bool:
    """Held when something was changed, or when what was read is not durable yet."""
    if changed or writer.unsynced:
        return writer.hold(work, value)
    writer.answer(work.task, outcome.Value(value))
    return False


# Defining


def _entry(registry: Registry, number: int) -> ClassEntry:
    entry = registry.by_number(number)
    assert entry is not None, "built-in classes are always known"
    return entry


def _plan(registry: Registry, wanted: ClassDefinition) -> tuple[ClassEntry | None, ClassDefinition]:
    """The class that this definition is about, None: a new one; and the definition that will stand."""
    mine = registry.own(wanted.name)
    if mine is not None:
        before = mine.own_codec.definition
        if wanted.privacy != before.privacy:
            raise Refused(
                f"class {wanted.name} is {before.privacy}, and its objects cannot become {wanted.privacy} afterwards",
                next_step="give the new class a new name and copy the objects",
            )
        if wanted.major <= before.major:
            return mine, wanted.following(before)
    entry = registry.by_fingerprint(wanted.fingerprint)
    if entry is None:
        entry = registry.of_major(wanted.name, wanted.major)
    if entry is None:
        return None, wanted
    try:
        return entry, wanted.following(entry.definition)
    except Refused:
        if wanted.fingerprint == entry.definition.fingerprint:
            return entry, wanted  # an older minor version of what others have
        return None, wanted  # another server's class of that name is another class


def _check_unique(writer: Writer, entry: ClassEntry, definition: ClassDefinition) -> None:
    """That the own objects there are meet the unique indexes that are new. Raises `Refused`, naming two of them."""
    whole = joined(entry, definition)
    stand = {index.prefix for index in entry.indexes if index.unique}
    wanted = compile_indexes(whole, entry.number)
    fresh = [index for index in wanted if index.unique and index.prefix not in stand]
    if not fresh:
        return
    defaults = whole.codec.defaults
    taken: dict[bytes, bytes] = {}
    for object_key, values in writer.applier.objects_of(entry):
        if not object_key.startswith(END):
            continue
        full = values + defaults[len(values) :]
        for index in fresh:
            for key, value in index.claims(full):
                if taken.setdefault(key, object_key) != object_key:
                    one, other = (_own_name(writer, each) for each in (taken[key], object_key))
                    raise Refused(
                        f"{index.name} of {definition.name} cannot be unique: {shown(value)} stands in two objects, "
                        f"{one} and {other}",
                        next_step="change one of them first",
                        field=index.parts[-1].field,
                        objects=[one, other],
                    )


def _own_name(writer: Writer, object_key: bytes) -> str:
    return f"{writer.applier.servers.server}/{decode_integer_untrusted(object_key, len(END))[0]}"
