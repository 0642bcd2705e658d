"""One unit of work: what it read, what it would change, and whether that still holds when it is appended (DESIGN T3).

    body(t)     t.create(...)  t.update(...)  t.find(...)         memory only; nothing is undone, ever (L6)
                    |               |             |
                checked: fields, uniqueness, targets, expected sequence      Refused, NotFound, Conflict: here, at once
                    |
    appended    `transact`      the body itself ran on the appended state: nothing can have come between
                `transaction()` it ran on a view: whatever it read (objects, ranges of indexes, uniqueness, targets)
                                must not have been changed since, else `Conflict`

A transaction reads its own changes. Only own objects are changed; what others own is changed by asking them (F6).
Bounds: 16 MiB, 65 536 changes (L6). What becomes of them (records, leaves, entries) is decided in `store.applying`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from identity.encoding import encode_integer
from identity.errors import Conflict, LocalMistake, NotFound, Refused
from identity.names import END, Incarnation, ObjectId, Pattern, Position, Reference
from store.changes import CHANGE_BYTES, Change, Overlay
from store.fieldtypes import shown
from store.generations import View as GenerationsView
from store.indexes import Index, entries
from store.query import Compare, Question
from store.reading import INDEX, OBJECTS, Reader, Servers, Source
from store.records import MAX_BODY_BYTES, MAX_CHANGES, OWNED, Record, Stored
from store.references import check_blobs, check_targets, release_pointers
from store.registry import ANSWERED, CLASS, SETTING, ClassEntry, Registry
from store.roots import check_not_root, pin, set_root
from store.savepoints import Journal, Savepoint
from store.upgrading import NONE_GIVEN
from store.values import to_json

if TYPE_CHECKING:
    from store.blobs import Blobs
    from store.definitions import ClassDefinition


class Transaction(Reader):
    """Reads and changes of one unit of work. Made by `Database.transact` and `Database.transaction`.

    `sequence`: its store-wide number, and that of everything it changes; known in a synchronous body already, of others
    after the commit. Then `positions` says which own updates carry its changes, by kind of feed.
    """

    def __init__(
        self,
        below: Source,
        registry: Registry,
        servers: Servers,
        allocate: Callable[[], int],
        *,
        optimistic: bool,
    ) -> None:
        self._overlay = Overlay(below, noting=optimistic)
        super().__init__(self._overlay, registry, servers)
        self._allocate = allocate
        self._ended = False
        self.changes: dict[bytes, Change] = {}
        self._journal: Journal | None = None  # from the first savepoint on
        self.blobs: Blobs | None = None  # those that can be named; set by whoever begins it
        self.upgrades = NONE_GIVEN  # of older majors; set likewise
        self.going: Container[int] = ()  # objects that go anyway: what points from them keeps nothing
        self.sequence: int | None = None
        self.foretell: Callable[[], dict[int, Position]] = dict
        self.positions: dict[int, Position] = {}

    # Writing

    def create(self, class_name: str, fields: Mapping[str, Any], *, request: bytes = b"") -> Reference:
        """A new own object. `request` is the id of the request that asks for it (F6), at most 255 bytes.

        Raises `Refused` naming the field, or when the class is not adopted here.
        """
        entry = self.registry.visible(class_name)
        if entry.number == CLASS:
            raise Refused("classes are made by `define`, which checks them")
        return self.create_object(entry, fields, request)

    def update(
        self,
        target: Reference | int,
        fields: Mapping[str, Any],
        *,
        expect: int | None = None,
        request: bytes = b"",
    ) -> None:
        """Change the fields given, leave the others. `expect`: the sequence on which the change is based.

        An object of an older major that is being upgraded becomes one of the newest first. Raises `NotFound`,
        `Conflict` (details: `current`, `sequence`), `Refused` naming the field.
        """
        object_key, record, entry = self._own(target, expect)
        if entry.upgrading:
            entry, merged = self._upgraded(object_key, record, entry)
        else:
            values = entry.own_codec.load_values(record.body)
            merged = dict(zip(entry.own_codec.names, values, strict=False))
        merged.update(fields)
        self._put(entry, object_key, merged, request, before=record)

    def upgrade(self, target: Reference | int) -> None:
        """Make an own object one of the newest major of its class (`store.upgrading`). Raises `NotFound`, `Refused`."""
        object_key, record, entry = self._own(target, None)
        if entry.upgrading:
            newest, fields = self._upgraded(object_key, record, entry)
            self._put(newest, object_key, fields, b"", before=record, guarded=False)

    def clear(self, number: int, field: str) -> None:
        """Take a value away from an own object, whatever its major is."""
        object_key, record, entry = self._own(number, None)
        values = entry.own_codec.load_values(record.body)
        cleared = {**dict(zip(entry.own_codec.names, values, strict=False)), field: None}
        self._put(entry, object_key, cleared, b"", before=record)
        self.upgrades.kept_old += entry.upgrading

    def delete(self, target: Reference | int, *, expect: int | None = None, request: bytes = b"") -> None:
        """Delete an own object. What points to it is treated as its field's `on_delete` says.

        Raises `NotFound`, `Conflict`, or `Refused` when something keeps it.
        """
        object_key, record, entry = self._own(target, expect)
        number, before = self._number(object_key), self._before_keys(object_key, entry, record)
        check_not_root(self, number)
        self._take(Change(number, object_key, entry, b"", b"", before, [], request, existed=self._existed(object_key)))
        release_pointers(self, entry, self.own_reference(number))

    def set_root(self, target: Reference | int | None) -> None:
        """Make an own object the root of this store; None: there is none. Raises `NotFound`."""
        set_root(self, None if target is None else self._number(self._own(target, None)[0]))

    def pin(self, target: Reference | int, *, stays: bool = True) -> None:
        """Whether an own object of a collectable class stays though nothing points to it. Raises `NotFound`."""
        pin(self, self._number(self._own(target, None)[0]), stays=stays)

    def savepoint(self) -> Savepoint:
        """`with t.savepoint():` takes back what was changed in it when an error leaves it (`store.savepoints`)."""
        if self._journal is None:
            self._journal = Journal(self.changes, self._overlay)
        return Savepoint(self._journal)

    def create_object(self, entry: ClassEntry, fields: Mapping[str, Any], request: bytes = b"") -> Reference:
        """`create` for the store's own classes too."""
        if not entry.writable:
            raise Refused(
                f"class {entry.definition.name} is known here, but not adopted",
                next_step=f"bangpath class adopt {entry.definition.name}",
                **{"class": entry.definition.name},
            )
        number = self._allocate()
        object_key = END + encode_integer(number)
        self._put(entry, object_key, entry.own_codec.with_defaults(fields), request, before=None)
        return self.own_reference(number)

    def put_object(self, entry: ClassEntry, number: int | None, fields: Mapping[str, Any]) -> Reference:
        """Write an object of the store's own classes whole; without `number` a new one."""
        if number is None:
            return self.create_object(entry, fields)
        object_key = END + encode_integer(number)
        self._put(entry, object_key, fields, b"", before=super().record(object_key))
        return self.own_reference(number)

    def put_setting(self, key: str, value: Any) -> None:
        """Keep `value` (what CBOR knows) under `key`, for this server only; None forgets it."""
        self._keep(self._entry(SETTING), "key", key, None if value is None else {"key": key, "value": [value]})

    def record_answer(self, request: bytes, answer: bytes) -> None:
        """Keep the answer of a request in the same transaction as its work: asked twice, answered once (X6)."""
        self._keep(self._entry(ANSWERED), "request", request, {"request": request, "answer": answer})

    def forget_answer(self, request: bytes) -> None:
        """The one who asked has acknowledged the answer."""
        self._keep(self._entry(ANSWERED), "request", request, None)

    def answered(self, request: bytes) -> bytes | None:
        """The answer that was recorded; None: the request was not carried out here."""
        stored = self.find_internal(self._entry(ANSWERED), "request", request)
        return None if stored is None else stored.fields["answer"] or b""

    # Reading

    def get(self, target: Reference | tuple[Any, ObjectId] | int) -> Stored | None:
        """An object held here, own ones also by number; sequence 0 when this transaction changed it."""
        if isinstance(target, int):
            return super().get((None, ObjectId(target)))
        return super().get(target)

    def find(self, class_name: str, field: str, value: Any) -> Stored | None:
        """The first own object whose field has this value, by reference. Raises `Refused`."""
        entry = self.registry.visible(class_name)
        index = entry.index_on(field)
        if index is not None and index.unique and value is not None:
            value = entry.definition.field(field).checked_value(value)
            object_key = self.source.get(INDEX, index.unique_key(value))
            if object_key is not None:
                return self.read(object_key)
            if not any(each.upgrading for each in self.registry.named(class_name)):
                return None
        own = Pattern(str(self.servers.server))
        return next(self.select(Question(class_name, Compare(field, "=", value), limit=1), servers=own), None)

    def record(self, object_key: bytes) -> Record | None:
        """As `Reader.record`, with this transaction's changes."""
        change = self.changes.get(object_key)
        if change is not None:
            return Record(change.entry.number, change.entry.own_codec.definition.minor, 0, OWNED, 0, change.stored)
        return super().record(object_key)

    def class_to_change(self, stored: Stored) -> ClassDefinition:
        """Whose fields a change of this object may name: of an older major that is being upgraded the newest's."""
        entry = self.registry.by_fingerprint(stored.fingerprint)
        return self.registry.definition(stored.class_name) if entry is None or entry.upgrading else entry.definition

    # For the database

    def check_unchanged(self, view: GenerationsView, registry: Registry) -> None:
        """That nothing this transaction read was changed by commits appended since its view. Raises `Conflict`."""
        for change in self.changes.values():
            if registry.by_number(change.entry.number) is not change.entry:
                raise Conflict(f"class {change.entry.definition.name} has changed meanwhile", next_step="try again")
        for table, key in self._overlay.keys_read:
            if view.changed(table, key):
                self._conflict(table, key)
        for table, low, high in self._overlay.ranges_read:
            if view.range_changed(table, low, high):
                raise Conflict("what a question found has changed meanwhile", next_step="read again, then try again")

    @property
    def expected(self) -> dict[int, Position]:
        """In a synchronous body: the own updates that will carry its changes, by kind of feed."""
        return self.foretell()

    def end(self) -> None:
        """No more changes."""
        self._ended = True

    @property
    def weight(self) -> int:
        """About how many bytes it changes."""
        return self._overlay.weight

    @property
    def unnoted(self) -> Source:
        return self._overlay.below

    def own_reference(self, number: int) -> Reference:
        return Reference(self.servers.server, Incarnation(self.servers.incarnation), ObjectId(number))

    # What the above is made of

    def _put(
        self,
        entry: ClassEntry,
        object_key: bytes,
        fields: Mapping[str, Any],
        request: bytes,
        *,
        before: Record | None,
        guarded: bool = True,
    ) -> None:
        codec = entry.own_codec
        values = codec.check(fields)
        wire = codec.encode(values)
        stored = codec.store(wire)
        if codec.pointers:
            check_targets(self, entry, values)
        if codec.blobs:
            check_blobs(self, entry, values)
        full = values if codec is entry.codec else values + entry.codec.defaults[len(values) :]
        before_keys = self._before_keys(object_key, entry, before) if before is not None else []
        after_keys: list[bytes] = []
        for index in entry.indexes:
            keys = index.keys(full, object_key)
            after_keys += keys
            if index.unique:
                self._check_free(entry, index, full, keys, object_key)
        for index, theirs in self.registry.guards(entry) if guarded else ():
            for key, value in theirs.claims(index.moved_to(theirs, full)):
                taken = self._overlay.get(INDEX, key)
                if taken is not None and taken != object_key:
                    self._refuse_taken(entry, index, value, taken)
        if len(request) > 255:
            raise Refused(f"a request id of {len(request)} bytes, 255 allowed")
        existed = before is not None and self._existed(object_key)
        number = self._number(object_key)
        self._take(Change(number, object_key, entry, wire, stored, before_keys, after_keys, request, existed=existed))

    def _check_free(self, entry: ClassEntry, index: Index, values: list[Any], keys: list[bytes], mine: bytes) -> None:
        """That no other own object has these keys of a unique index. Raises `Refused`, naming one that has."""
        claims = [] if index.whole else index.claims(values)  # refuses elements that are too many to be unique
        for key in keys:
            taken = self._overlay.get(INDEX, key)
            if taken is not None and taken != mine:
                self._refuse_taken(entry, index, dict(claims or index.claims(values)).get(key), taken)

    def _take(self, change: Change) -> None:
        """Note a change; of an object changed before in this transaction, the entries below it still have to go."""
        if self._ended:
            raise LocalMistake("a transaction is changed after its end")
        overlay = self._overlay
        index = overlay.index
        if self._journal is not None:
            self._journal.note(change)
        object_key, changes = change.object_key, self.changes
        earlier = changes.get(object_key)
        for key in change.before_keys:
            index[key] = None
        if earlier is not None:
            change.before_keys = earlier.before_keys
            change.existed = earlier.existed
            overlay.weight -= len(earlier.wire) + CHANGE_BYTES
        for key in change.after_keys:
            index[key] = object_key
        overlay.weight += len(change.wire) + CHANGE_BYTES
        changes[object_key] = change
        if overlay.weight > MAX_BODY_BYTES or len(changes) > MAX_CHANGES:
            raise Refused(
                f"a transaction of {len(self.changes)} changes and {overlay.weight} bytes; "
                f"{MAX_CHANGES} and {MAX_BODY_BYTES} allowed",
                next_step="make it in several transactions",
            )

    def _upgraded(self, object_key: bytes, record: Record, old: ClassEntry) -> tuple[ClassEntry, dict[str, Any]]:
        """The newest major of its class, and the fields of an object there. Raises `Refused`, naming it."""
        newest = self.registry.visible(old.definition.name)
        fields = self.upgrades.fields_of(self, old, self._number(object_key), record.body)
        return newest, dict(newest.own_codec.with_defaults(fields))

    def _before_keys(self, object_key: bytes, entry: ClassEntry, before: Record) -> list[bytes]:
        if before.class_number != entry.number:  # of an older major
            entry = self.entry_of(object_key, before)
        return entries(entry.indexes, entry.codec.load_values(before.body), object_key)

    def _existed(self, object_key: bytes) -> bool:
        earlier = self.changes.get(object_key)
        return True if earlier is None else earlier.existed

    def _own(self, target: Reference | int, expect: int | None) -> tuple[bytes, Record, ClassEntry]:
        """Key, record and class of an own object that stands."""
        reference = target if isinstance(target, Reference) else self.own_reference(target)
        if (reference.server, reference.incarnation) != (self.servers.server, self.servers.incarnation):
            raise Refused(f"{reference} is not an object of {self.servers.server}", next_step="ask its owner")
        object_key = END + encode_integer(reference.object)
        record = self.record(object_key)
        entry = None if record is None else self.entry_of(object_key, record)
        if record is None or record.deleted or entry is None or entry.hidden or entry.number == CLASS:
            raise NotFound.by_owner(reference.server, reference)
        if expect is not None and record.sequence != expect:
            raise Conflict(
                f"{reference} has sequence {record.sequence}, not {expect}",
                next_step="read it again, then try again",
                current=to_json(entry.definition, entry.codec.load_fields(record.body)),
                sequence=record.sequence,
            )
        return object_key, record, entry

    def _keep(self, entry: ClassEntry, field: str, value: Any, fields: Mapping[str, Any] | None) -> None:
        """Create, replace or remove the one object of an internal class with this unique value."""
        index = entry.index_on(field)
        assert index is not None
        object_key = self.source.get(INDEX, index.unique_key(value))
        before = None if object_key is None else self.record(object_key)
        if fields is not None and (object_key is None or before is None):
            self.create_object(entry, fields)
        elif object_key is not None and before is not None and fields is not None:
            self._put(entry, object_key, fields, b"", before=before)
        elif object_key is not None and before is not None:
            keys = self._before_keys(object_key, entry, before)
            existed = self._existed(object_key)
            self._take(Change(self._number(object_key), object_key, entry, b"", b"", keys, [], b"", existed=existed))

    def _entry(self, number: int) -> ClassEntry:
        entry = self.registry.by_number(number)
        assert entry is not None, "built-in classes are always known"
        return entry

    def _number(self, object_key: bytes) -> int:
        return int.from_bytes(object_key[len(END) :], "big") & (2**63 - 1)

    def _refuse_taken(self, entry: ClassEntry, index: Index, value: Any, taken: bytes) -> NoReturn:
        holder = self.own_reference(self._number(taken))
        fields = "field" if len(index.parts) == 1 else "fields"
        raise Refused(
            f"{fields} {index.name}: {shown(value)} is taken by {holder}, "
            f"and {index.name} of {entry.definition.name} is unique",
            next_step="update that object, or choose another value",
            field=index.parts[-1].field,
            taken_by=str(holder),
        )

    def _conflict(self, table: str, key: bytes) -> NoReturn:
        if table == OBJECTS and key.startswith(END):
            reference = self.own_reference(self._number(key))
            raise Conflict(
                f"{reference} has changed meanwhile", next_step="read again, then try again", reference=str(reference)
            )
        raise Conflict("what was read has changed meanwhile", next_step="read again, then try again")
