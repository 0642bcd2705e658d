"""What objects of built-in classes change in the state that is kept in memory: servers, classes, how far indexes are.

    KnownServer              a number for a server
    KnownClass               a class is known, or longer, or otherwise indexed: then its objects get other entries here
    Class                    it is adopted
    Setting store/building   entries come or go in steps (`store.building`)
    Setting store/history    earlier versions are kept from now on (`store.history`)

Live commits and replay come here alike, in the order of the log, so both have the same classes and the same entries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from identity.errors import Damaged
from identity.names import ServerId
from store.building import BUILDING, SETTING_PREFIX, Building, leaving, more_indexes, walked
from store.definitions import ClassDefinition
from store.history import HISTORY_PREFIX, Kept
from store.indexes import BLOBS, entries
from store.reading import INDEX, OBJECTS, Servers, Source
from store.records import MAX_CHANGES, unpack_record
from store.registry import (
    BUILT_IN,
    CLASS,
    KNOWN_CLASS,
    KNOWN_SERVER,
    SETTING,
    ClassEntry,
    Registry,
    definition_of_class_untrusted,
)

REMEMBERED = 256  # definitions, by the bytes that say them
_BUILDING, _HISTORY = SETTING_PREFIX.encode(), HISTORY_PREFIX.encode()


class Learning:
    """Classes and servers as the log and the tables tell them. `source` gives the appended state."""

    def __init__(self, server: ServerId, incarnation: int, source: Callable[[], Source]) -> None:
        self.servers = Servers(server, incarnation)
        self.registry = Registry(self.servers.own_prefix)
        self._source = source

    def classes_of(self, server_key: bytes) -> list[ClassDefinition]:
        """The classes that another server says it has adopted."""
        source = self._source()
        entry = self._known(CLASS)
        low, high = entry.extent.whole_range()
        found = []
        for _, key in source.scan(INDEX, low, high):
            data = source.get(OBJECTS, key) if key.startswith(server_key) else None
            if data is not None:
                fields = entry.codec.load_fields(unpack_record(key, data).body)
                found.append(definition_of_class_untrusted(fields))
        return found

    def _known(self, class_number: int) -> ClassEntry:
        entry = self.registry.by_number(class_number)
        if entry is None:
            raise Damaged(f"the log speaks of class {class_number}, which no frame before defines")
        return entry

    def _learn(self, class_number: int, object_number: int, stored: bytes, index: dict[bytes, bytes | None]) -> None:
        """What an own object of a built-in class changes in the state."""
        if class_number == KNOWN_SERVER and stored:
            server, incarnation = BUILT_IN[KNOWN_SERVER].codec.load(stored)
            self.servers.add(object_number, ServerId(server), incarnation)
        elif class_number == KNOWN_CLASS and stored:
            self._learn_class(object_number, known_class_definition(stored), index)
        elif class_number == SETTING and _BUILDING in stored[:24]:
            key, value = BUILT_IN[SETTING].codec.load(stored)
            if key.startswith(SETTING_PREFIX):
                number = int(key.removeprefix(SETTING_PREFIX))
                self._learn_building(number, Building.from_plain(value[0]), index)
        elif class_number == SETTING and _HISTORY in stored[:24]:
            key, value = BUILT_IN[SETTING].codec.load(stored)
            if key.startswith(HISTORY_PREFIX):
                self.registry = self.registry.with_history(int(key.removeprefix(HISTORY_PREFIX)), Kept(*value[0]))
        elif class_number == CLASS and stored:
            definition = _adopted_definition(stored)
            entry = self.registry.by_fingerprint(definition.fingerprint)
            if entry is None:
                raise Damaged(f"class {definition.name} was adopted before it was known")
            self.registry = self.registry.with_adopted(entry.number, definition, object_number)

    def _learn_class(self, number: int, definition: ClassDefinition, index: dict[bytes, bytes | None]) -> None:
        """A class became known, longer or otherwise indexed; with other indexes, its objects get other entries."""
        before = self.registry.by_number(number)
        self.registry = self.registry.with_known(number, definition)
        if definition.privacy == "private":  # nobody else may hear of it, so no object of `Class` adopts it
            self.registry = self.registry.with_adopted(number, definition, number)
        building = self.registry.building(number)
        if before is None or (building is not None and building.unfinished):  # then its steps make the entries
            return
        after = self._known(number)
        if _kinds(before) == _kinds(after):
            return
        for key, values in self.objects_of(before):
            for entry_key in entries(before.indexes, values, key):
                index[entry_key] = None
            full = values + after.codec.defaults[len(values) :]
            for entry_key in entries(after.indexes, full, key):
                index[entry_key] = key

    def _learn_building(self, number: int, building: Building, index: dict[bytes, bytes | None]) -> None:
        """The cursor of a build moved: entries of the objects that it passed come, or those that it passed go."""
        before = self.registry.building(number)
        entry = self._known(number)
        self.registry = self.registry.with_building(number, building)
        if before is None or before.state != building.state or before.cursor == building.cursor:
            return
        source = self._source()
        other = more_indexes(building.other, entry.definition, number)
        if building.state == BUILDING:
            for _, key in walked(source, entry.extent, before.cursor, building.cursor, MAX_CHANGES):
                for entry_key in entries(other, self.values_of(entry, key), key):
                    index[entry_key] = key
        else:
            index.update(dict.fromkeys(leaving(source, other, before.cursor, building.cursor)))

    def objects_of(self, entry: ClassEntry) -> list[tuple[bytes, list[Any]]]:
        """Object key and values of everything of a class, in the appended state."""
        source = self._source()
        low, high = entry.extent.whole_range()
        return [(key, self.values_of(entry, key)) for _, key in source.scan(INDEX, low, high)]

    def values_of(self, entry: ClassEntry, key: bytes) -> list[Any]:
        """The values of an object that an index names, in the appended state."""
        data = self._source().get(OBJECTS, key)
        if data is None:
            raise Damaged(f"an index of {entry.definition.name} names {key.hex()}, which is not there")
        return entry.codec.load_values(unpack_record(key, data).body)


def _kinds(entry: ClassEntry) -> list[tuple[bytes, bool]]:
    """What its indexes are, but for that of blobs: a class that comes to it has none yet."""
    return [(each.prefix, each.unique) for each in entry.indexes if each.prefix != BLOBS]


def known_class_body(definition: ClassDefinition) -> bytes:
    """The body of the object of `KnownClass` for a class."""
    return BUILT_IN[KNOWN_CLASS].codec.encode([definition.to_plain()])


@lru_cache(maxsize=REMEMBERED)
def _adopted_definition(stored: bytes) -> ClassDefinition:
    """The class that an own object of `Class` says. Raises `PeerMisbehaved`."""
    return definition_of_class_untrusted(BUILT_IN[CLASS].codec.load_fields(stored))


@lru_cache(maxsize=REMEMBERED)
def known_class_definition(stored: bytes) -> ClassDefinition:
    """The class that such a body says. Who says the same again is not asked to compile it again (0.7 ms)."""
    return ClassDefinition.from_plain_untrusted(BUILT_IN[KNOWN_CLASS].codec.load(stored)[0])
