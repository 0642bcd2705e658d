"""Objects of collectable classes go when nothing points to them any more: which they are, step by step (DESIGN R5).

    list     own objects of collectable classes: each may go until something is known to point to it
    mark     from the root object, pins, all other objects held here, temporary ones: what they point to stays, and what
             that points to. So does what an object that is written meanwhile points to, and pointed to before
    sweep    what is left goes: a chunk is one transaction, of deletions as any others. To write a reference to it is
             refused from here on
    count    in place of it when nothing is to go

An object that could be reached from the beginning of the marking on, at any commit, therefore stays; so does one that
was made meanwhile. Objects of others that are held here say what they point to: they are roots. What nobody here holds
cannot be asked: whoever hands a reference out of this server's sight pins its object (`Transaction.pin`).

What points with an `on_delete` goes with its target or before it, in one transaction where they stand in a circle, so
that such a field never names what is gone. A chunk may be larger for it, up to `CIRCLE` objects.

Nothing of it is kept on disk: whoever was interrupted begins again. In memory two bits stand for each object that may
go. A step is some milliseconds of the task that owns the log. Left to others: who drives them (`store.collector`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from identity.encoding import decode_integer_untrusted, encode_integer
from identity.errors import Conflict, Exhausted, NotFound, Refused
from identity.names import END, Incarnation, ObjectId, Reference
from store.building import walked
from store.numbers import Numbers
from store.reading import INDEX, OBJECTS
from store.records import Record, unpack_record
from store.references import pointing_to, references_in
from store.registry import SETTING, ClassEntry
from store.roots import ROOT, pin_of

if TYPE_CHECKING:
    from store.applying import Applier
    from store.temporary import Session
    from store.transaction import Transaction

LISTING, MARKING, SWEEPING, COUNTING, ENDED = "listing", "marking", "sweeping", "counting", "ended"
LOOKED_AT = 2048  # entries in one step
TRACED_AT_ONCE = 256  # objects whose bodies are read in one step: some milliseconds in which nobody else is served
STEP_BYTES = 1 << 20  # of their bodies
DELETED_AT_ONCE = 256
CIRCLE = 60_000  # a transaction holds 65 536 changes (L6)
EXAMPLES = 20


class Collected(msgspec.Struct, frozen=True, kw_only=True):
    """What a collection has done. `objects`: how many went, or would go, by class; `examples`: the first of them."""

    dry_run: bool
    looked_at: int
    objects: dict[str, int]
    examples: tuple[str, ...]

    @property
    def count(self) -> int:
        return sum(self.objects.values())


class Collection:
    """One collection. `note` is told of every change that is appended meanwhile."""

    def __init__(self, applier: Applier, sessions: Iterable[Session], *, dry_run: bool) -> None:
        if applier.adopting:
            raise Exhausted("a restored server first learns what it had signed", next_step="collect again later")
        self._applier = applier
        self._sessions = sessions
        self._dry_run = dry_run
        self._classes = tuple(applier.registry)
        self.phase = LISTING
        self._left = [each for each in self._classes if _is_collectable(each)]  # classes still to be walked
        self._temporary: list[tuple[Session, int]] = []
        self._cursor = b""
        self.done = 0  # objects that this phase has passed
        self.looked_at = 0
        self._going = 0
        self._unreached = Numbers()
        self._reached = Numbers()  # but what they point to was not looked at
        self._passed = -1  # the sweep and the count go on behind it
        self._met = Numbers()  # by the sweep
        self._path: list[int] = []  # each but the first points to the one before it, and goes first
        self._places: dict[int, int] = {}  # on the path
        self._batch: list[tuple[int, str]] = []  # what goes in the next transaction, and their classes
        self._objects: dict[str, int] = {}
        self._examples: list[str] = []

    @property
    def total(self) -> int:
        """Of `done`; 0: not known before the end."""
        return self._going

    def collected(self) -> Collected:
        return Collected(
            dry_run=self._dry_run,
            looked_at=self.looked_at,
            objects=dict(sorted(self._objects.items())),
            examples=tuple(self._examples),
        )

    # Steps

    def step(self, transaction: Transaction) -> None:
        """Do the next one; what goes is deleted in `transaction`. Raises `Conflict` when a class was defined anew."""
        registry = self._applier.registry
        for entry in self._classes:
            if registry.by_number(entry.number) is not entry:
                raise Conflict(f"class {entry.definition.name} was defined anew meanwhile", next_step="collect again")
        if self.phase == LISTING:
            self._list()
        elif self.phase == MARKING:
            self._mark()
        elif self.phase == SWEEPING:
            self._sweep(transaction)
        elif self.phase == COUNTING:
            self._count()

    def appended(self) -> None:
        """The transaction of the last step is in the log."""
        for number, name in self._batch:
            self._unreached.discard(number)
            self._tell(number, name)
        self.done += len(self._batch)
        self._batch = []
        if self.phase == SWEEPING and not self._unreached:
            self.phase = ENDED

    def _list(self) -> None:
        for _, key in self._walk(LOOKED_AT):
            if key.startswith(END) and self._unreached.add(_number(key)):
                self.done += 1
        if self._left:
            return
        self.phase, self.done, self.looked_at = MARKING, 0, len(self._unreached)
        self._left = [each for each in self._classes if each.codec.pointers]
        settings = self._classes_by_number(SETTING)
        for _, key in self._applier.appended.scan(INDEX, *settings.extent.whole_range()):
            self._reach_from(self._record(key))
        self._temporary = [(each, handle) for each in self._sessions for handle in each.handles()]

    def _mark(self) -> None:
        if self._reached:
            traced = weight = 0
            while self._reached and traced < TRACED_AT_ONCE and weight < STEP_BYTES:
                number = next(self._reached.beyond(-1))  # one by one: a chain reaches one only
                self._reached.discard(number)
                weight += self._reach_from(self._record(END + encode_integer(number)))
                traced += 1
            self.done += traced
        elif self._left:
            for entry, key in self._walk(TRACED_AT_ONCE):
                if not (key.startswith(END) and _is_collectable(entry) and _number(key) in self._unreached):
                    self._reach_from(self._record(key))  # also of one that came while others were listed
        elif self._temporary:
            going = self._temporary[-TRACED_AT_ONCE:]
            del self._temporary[-TRACED_AT_ONCE:]
            for session, handle in going:
                with suppress(NotFound):
                    self.note_values(session.values(handle))
        else:
            self.phase, self.done = COUNTING if self._dry_run else SWEEPING, 0
            self._going = len(self._unreached)
            if not self._unreached:
                self.phase = ENDED

    def _sweep(self, transaction: Transaction) -> None:
        if not self._batch:  # else the last step's transaction found no room in its group, and comes again
            self._choose()
        transaction.going = self._unreached
        for number, _ in self._batch:
            with suppress(NotFound):  # somebody deleted it
                transaction.delete(number)

    def _count(self) -> None:
        for number in islice(self._unreached.beyond(self._passed), LOOKED_AT):
            self._passed = number
            self.done += 1
            record = self._record(END + encode_integer(number))
            if record is not None:
                self._tell(number, self._classes_by_number(record.class_number).definition.name)
        if next(self._unreached.beyond(self._passed), None) is None:
            self.phase = ENDED

    # Which go next: whoever points with an `on_delete` goes before its target

    def _choose(self) -> None:
        """Fill the batch. It ends where nobody on the path points to what goes with it."""
        looked, open_from = 0, math.inf  # the least place on the path of whom a circle holds together
        while True:
            if not self._path:
                if looked >= LOOKED_AT or len(self._batch) >= DELETED_AT_ONCE:
                    return
                found = next((each for each in self._unreached.beyond(self._passed) if each not in self._met), None)
                if found is None:
                    return
                self._passed = found
                self._enter(found)
            looked += 1
            number = self._path[-1]
            name = self._class_of(number)
            if name is None:  # deleted, or of another class now
                self._leave()
                self._unreached.discard(number)
                continue
            pointing, least = self._pointing(name, number)
            if pointing is not None:
                self._enter(pointing)
            else:
                self._leave()
                self._batch.append((number, name))
                open_from = min(open_from, least)
            if len(self._path) <= open_from:
                open_from = math.inf
                if looked >= LOOKED_AT or len(self._batch) >= DELETED_AT_ONCE:
                    return
            elif len(self._batch) >= CIRCLE:
                return

    def _pointing(self, class_name: str, number: int) -> tuple[int | None, float]:
        """One that goes too and was not met, and points to an object; the least place of those on the path that do."""
        least = math.inf
        applier = self._applier
        target = Reference(applier.servers.server, Incarnation(applier.servers.incarnation), ObjectId(number))
        for _, key in pointing_to(applier.registry, applier.appended, class_name, target):
            other = _number(key)
            if other == number or other not in self._unreached:
                continue
            if other not in self._met:
                return other, least
            least = min(least, self._places.get(other, math.inf))
        return None, least

    def _enter(self, number: int) -> None:
        self._met.add(number)
        self._places[number] = len(self._path)
        self._path.append(number)

    def _leave(self) -> None:
        del self._places[self._path.pop()]

    def _class_of(self, number: int) -> str | None:
        record = self._record(END + encode_integer(number))
        entry = None if record is None else self._classes_by_number(record.class_number)
        return entry.definition.name if entry is not None and _is_collectable(entry) else None

    # What stays

    def note(self, objects: dict[bytes, bytes | None]) -> None:
        """Records that are about to be appended. Raises `Refused` for an own one that points to what goes."""
        if self.phase == MARKING:
            for key, data in objects.items():
                self._reach_from(self._record(key))
                self._reach_from(None if data is None else unpack_record(key, data))
        elif self.phase == SWEEPING and self._unreached:
            for key, data in objects.items():
                if data is not None and key.startswith(END) and _number(key) not in self._unreached:
                    self._refuse_pointing(unpack_record(key, data))

    def note_values(self, value: Any) -> None:
        """What a value points to stays, while it is being marked."""
        if self.phase != MARKING:
            return
        for each in references_in(value):
            if (each.server, each.incarnation) == self._applier.servers.own:
                self._reach(each.object)

    def _reach(self, number: int | None) -> None:
        if number is not None and self._unreached.discard(number):
            self._reached.add(number)

    def _reach_from(self, record: Record | None) -> int:
        """Mark what a version points to; the bytes that were read for it."""
        if record is None or record.deleted:
            return 0
        entry = self._applier.registry.by_number(record.class_number)
        if entry is None:
            return 0
        if entry.number == SETTING:
            self._reach(_kept_by(entry, record))
        elif entry.codec.pointers:
            values = entry.codec.load_values(record.body)
            for position, _ in entry.codec.pointers:
                self.note_values(values[position])
        return len(record.body)

    def _refuse_pointing(self, record: Record) -> None:
        entry = self._applier.registry.by_number(record.class_number)
        if record.deleted or entry is None:
            return
        if entry.number == SETTING:
            self._check_stays(_kept_by(entry, record), "")
        elif entry.codec.pointers:
            values = entry.codec.load_values(record.body)
            for position, _ in entry.codec.pointers:
                for reference in references_in(values[position]):
                    if (reference.server, reference.incarnation) == self._applier.servers.own:
                        self._check_stays(reference.object, entry.codec.names[position])

    def _check_stays(self, number: int | None, field: str) -> None:
        if number is not None and number in self._unreached:
            where = f"field {field}: " if field else ""
            name = f"{self._applier.servers.server}/{number}"
            raise Refused(
                f"{where}{name} is being collected, for nothing pointed to it",
                next_step="make a new object, and whatever points to it, in one transaction",
                field=field,
            )

    # What the above is made of

    def _walk(self, most: int) -> list[tuple[ClassEntry, bytes]]:
        """The next objects of the classes that are left."""
        found: list[tuple[ClassEntry, bytes]] = []
        while self._left and len(found) < most:
            entry = self._left[-1]
            passed = walked(self._applier.appended, entry.extent, self._cursor, None, most - len(found))
            found += [(entry, key) for _, key in passed]
            self._cursor = passed[-1][0] if passed else b""
            if not passed:
                self._left.pop()
        return found

    def _record(self, key: bytes) -> Record | None:
        data = self._applier.appended.get(OBJECTS, key)
        record = None if data is None else unpack_record(key, data)
        return None if record is None or record.deleted else record

    def _classes_by_number(self, number: int) -> ClassEntry:
        entry = self._applier.registry.by_number(number)
        assert entry is not None, "a record is of a class that is known"
        return entry

    def _tell(self, number: int, name: str) -> None:
        self._objects[name] = self._objects.get(name, 0) + 1
        if len(self._examples) < EXAMPLES:
            self._examples.append(f"{self._applier.servers.server}/{number}")


def _is_collectable(entry: ClassEntry) -> bool:
    return entry.own_object != 0 and entry.own_codec.definition.collectable


def _number(object_key: bytes) -> int:
    return decode_integer_untrusted(object_key, len(END))[0]


def _kept_by(setting: ClassEntry, record: Record) -> int | None:
    """The object that a setting keeps: the root, or one that is pinned."""
    key, value = setting.codec.load(record.body)
    return value[0] if key == ROOT and value else pin_of(key)
