"""The data dictionary: which classes there are, by number, name and fingerprint (DESIGN R2, R3).

A class is *known* when its definition came, by our own `define` or in a registry feed; it is *adopted* when an own
object of `Class` says so, and only then are there own objects of it. What is known grows to the longest definition
heard of; own objects are written as adopted. Indexes are this server's own affair: a class heard of brings those of
its first definition, `define` changes them.

Several classes may have one name: its majors, and what servers have defined apart from each other. Questions ask all
of them (`store.majors`); new objects are of the one that *leads*: that is adopted here, else is known, with the highest
major; of those equal in that the one known first.

A registry is a value: a view keeps the one it began with, a change makes another. `Class` and `Server` are the only
built-in classes that leave a server; the others are hidden from questions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from identity.errors import PeerMisbehaved, Refused
from store.bodies import Codec
from store.building import BUILDING, DONE, DROPPED, DROPPING, UNDOING, UPGRADING, Building, more_indexes
from store.built_in import (
    ANSWERED,
    BUILT_IN,
    BUILT_IN_NAMES,
    CLASS,
    FIRST_USER_NUMBER,
    KNOWN_CLASS,
    KNOWN_SERVER,
    REGISTRY_FINGERPRINTS,
    SERVER,
    SETTING,
)
from store.definitions import ClassDefinition, Field, definition_from_dict, definition_from_toml
from store.history import Kept
from store.indexes import Index, compile_indexes
from store.records import DATA, DELETE, REGISTRY, Leaf

__all__ = [
    "ANSWERED",
    "BUILT_IN",
    "CLASS",
    "FIRST_USER_NUMBER",
    "KNOWN_CLASS",
    "KNOWN_SERVER",
    "SERVER",
    "SETTING",
    "ClassDefinition",
    "ClassEntry",
    "Field",
    "Registry",
    "definition_from_dict",
    "definition_from_toml",
    "read_registry_leaf_untrusted",
]  # fmt: skip


class ClassEntry(msgspec.Struct, frozen=True):
    """One class as this server keeps it.

    `definition` is the longest known, by which everything is read; `own_codec` writes own objects, and is that of the
    adopted definition. `own_object` is the object of `Class` that adopted it, 0: not adopted. `feed` None: private.
    """

    number: int
    definition: ClassDefinition
    codec: Codec
    own_codec: Codec
    indexes: tuple[Index, ...]  # that each change of an object writes to: those too that are being built
    usable: tuple[Index, ...]  # that questions may use
    feed: int | None
    own_object: int = 0
    dropped: bool = False  # here, after it was adopted (`store.dropping`)
    upgrading: bool = False  # its own objects are to become those of a newer major (`store.upgrading`)
    history: Kept | None = None  # earlier versions of own objects (`store.history`)
    first_fields: int = 0  # how many fields its first definition has, equal wherever the class is known

    @property
    def hidden(self) -> bool:
        """Whether it is this server's own affair: questions cannot see it, and no feed may speak of it."""
        return self.number < FIRST_USER_NUMBER and self.feed is None

    @property
    def adopted(self) -> bool:
        """Whether this server says that it has such objects."""
        return self.own_object != 0 and not self.dropped

    @property
    def writable(self) -> bool:
        """Whether own objects of it may be made."""
        return self.adopted or self.number < FIRST_USER_NUMBER

    @property
    def extent(self) -> Index:
        """An index in which each object of the class stands once."""
        return next(index for index in self.usable if index.whole)

    def index_on(self, field: str) -> Index | None:
        """The index of that field's value alone; None: there is none."""
        for index in self.usable:
            if index.name == field and index.whole:
                return index
        return None


class Registry:
    """All classes known to one server at one moment. `own` is its prefix of references in wire form."""

    def __init__(self, own: bytes) -> None:
        self._own = own
        self._by_number: dict[int, ClassEntry] = {}
        self._by_fingerprint: dict[bytes, ClassEntry] = {}
        self._by_name: dict[str, tuple[ClassEntry, ...]] = {}  # the one that leads first
        self._pointing: dict[str, tuple[tuple[ClassEntry, Field], ...]] | None = None
        self._guards: dict[int, tuple[tuple[Index, Index], ...]] = {}
        self._building: dict[int, Building] = {}
        self._history: dict[int, Kept] = {}
        for entry in _built_in_entries(own):
            self._take(entry)

    def __iter__(self) -> Iterator[ClassEntry]:
        return iter(self._by_number.values())

    def by_number(self, number: int) -> ClassEntry | None:
        return self._by_number.get(number)

    def by_fingerprint(self, fingerprint: bytes) -> ClassEntry | None:
        return self._by_fingerprint.get(fingerprint)

    def named(self, name: str) -> tuple[ClassEntry, ...]:
        """All classes of that name that questions may see, the one that leads first. Raises `Refused`."""
        self.visible(name)
        return self._by_name[name]

    def by_name(self, name: str) -> ClassEntry | None:
        """The class that leads of that name; built-in ones included."""
        found = self._by_name.get(name)
        return None if found is None else found[0]

    def entry(self, name: str) -> ClassEntry:
        """The same. Raises `Refused`, naming the classes there are."""
        entry = self.by_name(name)
        if entry is None:
            names = dict.fromkeys(each.definition.name for each in self._by_number.values() if not each.hidden)
            raise Refused(
                f"there is no class {name!r} here",
                next_step=f"known are {', '.join(sorted(names))}; `bangpath class` makes one, or adopts one from "
                "another server",
                **{"class": name},
            )
        return entry

    def find(self, name: str) -> ClassDefinition | None:
        """The definition of a class that questions may see, or None."""
        entry = self.by_name(name)
        return None if entry is None or entry.hidden else entry.definition

    def definition(self, name: str) -> ClassDefinition:
        """The same. Raises `Refused`, naming the classes there are."""
        return self.visible(name).definition

    def visible(self, name: str) -> ClassEntry:
        """The entry of a class that questions may see. Raises `Refused`."""
        entry = self.entry(name)
        if entry.hidden:
            raise Refused(f"class {name} is this server's own affair", **{"class": name})
        return entry

    def definitions(self) -> list[ClassDefinition]:
        """All users' classes known here, in the order in which they became known."""
        return [each.definition for number, each in self._by_number.items() if number >= FIRST_USER_NUMBER]

    def adopted(self, name: str) -> bool:
        """Whether own objects of a class of that name may be made."""
        entry = self.by_name(name)
        return entry is not None and entry.adopted

    def adopted_exactly(self, fingerprint: bytes) -> bool:
        """The same of one of the classes of a name."""
        entry = self._by_fingerprint.get(fingerprint)
        return entry is not None and entry.adopted

    def of_major(self, name: str, major: int) -> ClassEntry | None:
        """The class of that name and major, of several the one that stands first."""
        named = self._by_name.get(name, ())
        return next((each for each in named if each.definition.major == major), None)

    def own(self, name: str) -> ClassEntry | None:
        """Of the classes of that name that were adopted here, now dropped or not, that of the highest major."""
        mine = (each for each in self._by_name.get(name, ()) if each.own_object)
        return max(mine, key=lambda each: each.definition.major, default=None)

    def adopted_before(self, definition: ClassDefinition) -> list[ClassEntry]:
        """The older majors of which own objects may be here."""
        named = self._by_name.get(definition.name, ())
        return [each for each in named if each.adopted and each.definition.major < definition.major]

    def guards(self, entry: ClassEntry) -> tuple[tuple[Index, Index], ...]:
        """Unique indexes of a class, each with that on the same fields of an older major that is being upgraded."""
        found = self._guards.get(entry.number)
        if found is None:
            older = [each for each in self._by_name[entry.definition.name] if each.upgrading]
            pairs = ((mine, theirs) for mine in entry.indexes for each in older for theirs in each.indexes)
            found = self._guards[entry.number] = tuple(
                (mine, theirs)
                for mine, theirs in pairs
                if mine.unique and theirs.unique and mine.parts and _alike(mine, theirs)
            )
        return found

    def fields_pointing_to(self, class_name: str) -> tuple[tuple[ClassEntry, Field], ...]:
        """Reference fields of adopted classes that say what happens when an object of this class is deleted."""
        if self._pointing is None:
            self._pointing = {}
        found = self._pointing.get(class_name)
        if found is None:
            found = self._pointing[class_name] = tuple(
                (entry, field)
                for entry in self._by_number.values()
                for field in entry.definition.fields
                if field.on_delete and field.field_type.target in ("", class_name)
            )
        return found

    def building(self, number: int) -> Building | None:
        """How far the indexes of a class are, when some were made or dropped while it had many objects."""
        return self._building.get(number)

    def history(self, number: int) -> Kept | None:
        """Which earlier versions a class keeps here; None: it never kept any."""
        return self._history.get(number)

    def builds(self) -> list[int]:
        """The classes whose indexes are not as they are to be."""
        return [number for number, building in self._building.items() if building.unfinished]

    def progress(self, fingerprint: bytes) -> dict[str, Any] | None:
        """As JSON: which indexes of a class are being made or dropped, and how far, or why they were refused."""
        entry = self._by_fingerprint[fingerprint]
        building = self._building.get(entry.number)
        if building is None or building.state in (DONE, DROPPED):
            return None
        return building.as_json(entry.definition, entry.number)

    def is_leaving(self, number: int, key: bytes) -> bool:
        """Whether an index entry is one of those that are being dropped, so that what it says does not matter."""
        building = self._building.get(number)
        if building is None or building.state not in (UNDOING, DROPPING):
            return False
        gone = more_indexes(building.other, self._by_number[number].definition, number)
        return any(key.startswith(index.prefix) for index in gone)

    # Changes make another registry.

    def with_known(self, number: int, definition: ClassDefinition) -> Registry:
        """This one and a class that became known, or longer, or otherwise indexed, under `number`."""
        before = self._by_number.get(number)
        own_object = 0 if before is None else before.own_object
        own = definition if before is None or not own_object else before.own_codec.definition
        return self._with(self._make(number, definition, own, own_object=own_object))

    def with_adopted(self, number: int, definition: ClassDefinition, own_object: int) -> Registry:
        """This one, in which the class has been adopted by `own_object`, which says `definition`; 0: no longer."""
        before = self._by_number[number]
        return self._with(self._make(number, before.definition, definition, own_object=own_object))

    def with_building(self, number: int, building: Building) -> Registry:
        """This one, in which the indexes of a class are so far; who only changes objects need not notice a step."""
        before = self._building.get(number)
        after = self._copy()
        after._building = {**self._building, number: building}
        changed = before is None or (before.state, before.other) != (building.state, building.other)
        return after._made_again(number) if changed else after

    def with_history(self, number: int, kept: Kept) -> Registry:
        """This one, in which a class keeps these earlier versions."""
        after = self._copy()
        after._history = {**self._history, number: kept}
        return after._made_again(number)

    def _with(self, entry: ClassEntry) -> Registry:
        after = self._copy()
        after._take(entry)
        return after

    def _copy(self) -> Registry:
        after = Registry.__new__(Registry)
        after._own = self._own
        after._by_number = dict(self._by_number)
        after._by_fingerprint = dict(self._by_fingerprint)
        after._by_name = dict(self._by_name)
        after._pointing = None
        after._guards = {}
        after._building = self._building
        after._history = self._history
        return after

    def _take(self, entry: ClassEntry) -> None:
        self._by_number[entry.number] = entry
        self._by_fingerprint[entry.definition.fingerprint] = entry
        name = entry.definition.name
        others = (each for each in self._by_name.get(name, ()) if each.number != entry.number)
        self._by_name[name] = tuple(sorted((entry, *others), key=_place))

    def _made_again(self, number: int) -> Registry:
        entry = self._by_number[number]
        self._take(self._make(number, entry.definition, entry.own_codec.definition, own_object=entry.own_object))
        return self

    def _make(self, number: int, definition: ClassDefinition, own: ClassDefinition, *, own_object: int) -> ClassEntry:
        kept = self._history.get(number)
        if kept is not None:
            definition, own = (msgspec.structs.replace(each, history=kept.keep) for each in (definition, own))
        codec = definition.codec.of(self._own)
        if definition.privacy == "private":
            feed = None
        else:
            feed = REGISTRY if number < FIRST_USER_NUMBER else DATA
        usable = compile_indexes(definition, number)
        building = self._building.get(number)
        coming: tuple[Index, ...] = ()
        if building is not None and building.state == BUILDING:
            coming = more_indexes(building.other, definition, number)
        return ClassEntry(
            number=number,
            definition=definition,
            codec=codec,
            own_codec=codec if own == definition else own.codec.of(self._own),
            indexes=usable + coming,
            usable=usable,
            feed=feed,
            own_object=own_object,
            dropped=building is not None and building.state == DROPPED,
            upgrading=building is not None and building.state == UPGRADING,
            history=kept,
            first_fields=sum(field.since == 0 for field in definition.fields),
        )


def _alike(one: Index, other: Index) -> bool:
    """Whether two indexes are of the same fields, so that equal values mean the same."""
    return [(part.field, part.of) for part in one.parts] == [(part.field, part.of) for part in other.parts]


def _place(entry: ClassEntry) -> tuple[bool, int, int]:
    return not entry.writable, -entry.definition.major, entry.number


@lru_cache(maxsize=64)
def _built_in_entries(own: bytes) -> tuple[ClassEntry, ...]:
    """Those of the server with this prefix, which opens its store again and again (a simulation, tests)."""
    return tuple(
        ClassEntry(
            number=number,
            definition=definition,
            codec=(codec := definition.codec.of(own)),
            own_codec=codec,
            indexes=(indexes := compile_indexes(definition, number)),
            usable=indexes,
            feed=None if definition.privacy == "private" else REGISTRY,
            first_fields=sum(field.since == 0 for field in definition.fields),
        )
        for number, definition in BUILT_IN.items()
    )


def is_built_in(name: str) -> bool:
    """Whether users' classes may not have this name."""
    return name in BUILT_IN_NAMES


def class_fields(definition: ClassDefinition) -> dict[str, Any]:
    """The fields of the object of `Class` that adopts `definition`."""
    return dict(zip(BUILT_IN[CLASS].codec.names, definition.to_plain(), strict=True))


def definition_of_class_untrusted(fields: Mapping[str, Any]) -> ClassDefinition:
    """What an object of `Class` defines. Raises `PeerMisbehaved`."""
    definition = ClassDefinition.from_plain_untrusted([fields.get(name) for name in BUILT_IN[CLASS].codec.names])
    if is_built_in(definition.name):
        raise PeerMisbehaved(f"a class that calls itself {definition.name}, which is built in")
    return definition


def read_registry_leaf_untrusted(leaf: Leaf) -> tuple[str, dict[str, Any]] | None:
    """Class name and fields of a leaf of a registry feed; None for a deletion. Raises `PeerMisbehaved`.

    For those who must read a registry update before it can be applied: the chain of a server that is not known yet.
    """
    definition = REGISTRY_FINGERPRINTS.get(leaf.fingerprint)
    if definition is None:
        raise PeerMisbehaved(f"a registry feed with an object of class {leaf.fingerprint.hex()}, which is none of its")
    if leaf.operation == DELETE:
        return None
    return definition.name, definition.from_body_untrusted(leaf.body)
