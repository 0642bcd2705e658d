"""Which classes there are: known, adopted, built in; a registry is a value."""

from __future__ import annotations

import pytest

from identity.errors import PeerMisbehaved, Refused
from store.definitions import definition_from_toml, joined_definition
from store.records import DATA, DELETE, PUT, REGISTRY, Leaf
from store.registry import (
    BUILT_IN,
    CLASS,
    FIRST_USER_NUMBER,
    SERVER,
    Registry,
    class_fields,
    definition_of_class_untrusted,
    read_registry_leaf_untrusted,
)

CITY = definition_from_toml('name = "City"\n[fields]\nname = { type = "string", index = true }\n')
LONGER = definition_from_toml(
    'name = "City"\n[fields]\nname = "string"\nmayor = { type = "reference(City)", on_delete = "clear" }\n'
).following(CITY)


def test_a_class_is_known_then_adopted_and_older_registries_stay_as_they_were() -> None:
    empty = Registry(b"")
    known = empty.with_known(70, CITY)
    adopted = known.with_adopted(70, CITY, 71)
    assert empty.find("City") is None
    assert known.find("City") == CITY
    assert not known.adopted("City")
    assert adopted.adopted("City")
    assert not known.adopted("City")
    assert [each.name for each in adopted.definitions()] == ["City"]
    assert adopted.entry("City").feed == DATA
    with pytest.raises(Refused, match=r"known are .*City"):
        adopted.entry("Town")


def test_an_adopted_class_goes_before_one_of_the_same_name() -> None:
    other = definition_from_toml('name = "City"\n[fields]\ncode = "int"\n')
    registry = Registry(b"").with_known(70, other).with_known(80, CITY)
    assert registry.entry("City").number == 70
    assert registry.with_adopted(80, CITY, 81).entry("City").number == 80
    assert registry.by_fingerprint(CITY.fingerprint).number == 80  # type: ignore[union-attr]


def test_own_objects_are_written_as_adopted_and_read_as_known() -> None:
    registry = Registry(b"").with_known(70, CITY).with_adopted(70, CITY, 71).with_known(70, LONGER)
    entry = registry.entry("City")
    assert entry.definition == LONGER
    assert entry.own_codec.definition == CITY
    assert [field.name for _, field in registry.fields_pointing_to("City")] == ["mayor"]


def test_built_in_classes_keep_their_numbers_and_fingerprints() -> None:
    """They stand in every record and leaf on disk."""
    assert {number: each.name for number, each in BUILT_IN.items()} == {
        1: "Class", 2: "KnownServer", 3: "Server", 4: "Answered", 5: "Setting", 6: "KnownClass",
    }  # fmt: skip
    assert FIRST_USER_NUMBER == 64
    assert BUILT_IN[CLASS].fingerprint.hex() == "626fa7e554e3cc69"
    assert BUILT_IN[SERVER].fingerprint.hex() == "11a5917d45ea002a"
    registry = Registry(b"")
    assert [registry.entry(name).feed for name in ("Class", "Server", "Setting")] == [REGISTRY, REGISTRY, None]
    assert registry.find("Setting") is None


def test_definitions_that_join() -> None:
    unindexed = definition_from_toml('name = "City"\n[fields]\nname = "string"\n')
    assert joined_definition(CITY, CITY) == CITY
    joined = joined_definition(CITY, LONGER)
    assert joined is not None
    assert [(each.name, each.indexed) for each in joined.fields] == [("name", True), ("mayor", False)]
    assert joined_definition(LONGER, unindexed) == LONGER
    other = definition_from_toml('name = "City"\n[fields]\nname = "string"\nsize = "int"\n').following(CITY)
    assert joined_definition(LONGER, other) is None


def test_a_class_object_says_its_definition() -> None:
    assert definition_of_class_untrusted(class_fields(LONGER)) == LONGER
    for spoiled in ({"name": "Server"}, {"fields": []}, {"fields": None}, {"major": None}):
        with pytest.raises(PeerMisbehaved):
            definition_of_class_untrusted({**class_fields(CITY), **spoiled})


def test_a_registry_leaf_is_read_without_a_store() -> None:
    body = BUILT_IN[CLASS].to_body(class_fields(CITY))
    leaf = Leaf(70, 1, BUILT_IN[CLASS].fingerprint, PUT, b"", bytes(16), body)
    assert read_registry_leaf_untrusted(leaf) == ("Class", class_fields(CITY))
    gone = Leaf(70, 1, BUILT_IN[CLASS].fingerprint, DELETE, b"", bytes(16), b"")
    assert read_registry_leaf_untrusted(gone) is None
    for fingerprint, bad in ((CITY.fingerprint, body), (BUILT_IN[CLASS].fingerprint, b"\x81\x01")):
        with pytest.raises(PeerMisbehaved):
            read_registry_leaf_untrusted(Leaf(70, 1, fingerprint, PUT, b"", bytes(16), bad))
