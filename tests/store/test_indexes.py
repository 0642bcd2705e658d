"""The entries of a version, and the ranges that find them again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.encoding import encode_integer
from identity.errors import Refused
from identity.names import END
from store.definitions import definition_from_toml
from store.indexes import MAX_ELEMENTS, ElementIndex, compile_indexes, entries

SHOE = definition_from_toml(
    'name = "Shoe"\n[fields]\nnote = "string"\nname = { type = "string", unique = true }\n'
    'size = { type = "int", index = true }\n'
)
NAME, SIZE = compile_indexes(SHOE, 70)
OWN = END + encode_integer(5)
OTHER = encode_integer(66) + encode_integer(5)


def test_what_a_version_contributes() -> None:
    class_number = encode_integer(70)
    name, size = entries((NAME, SIZE), ["n", "left", 43], OWN)
    assert name == class_number + b"\0\2" + b"\1left\0\0" + END  # own and unique: the object is the value
    assert size == class_number + b"\0\3" + b"\1\x80" + bytes(6) + b"\x2b" + OWN
    name, size = entries((NAME, SIZE), ["n", "left", None], OTHER)
    assert name.endswith(b"\1left\0\0" + OTHER)  # of others' objects nothing is known to be unique
    assert size == class_number + b"\0\3" + b"\0" + OTHER
    (name,) = entries((NAME,), ["n", None, 1], OWN)
    assert name.endswith(b"\0" + OWN)  # null is never unique


def test_a_class_without_an_index_has_its_extent() -> None:
    (extent,) = compile_indexes(definition_from_toml('name = "Plain"\n[fields]\nx = "int"\n'), 71)
    (key,) = extent.keys([None], OWN)
    assert key == encode_integer(71) + b"\0\0" + OWN
    low, high = extent.whole_range()
    assert low <= key < high


@given(st.text("ab\0", max_size=3).map(lambda text: text * 150) | st.none(), st.sampled_from([OWN, OTHER]))
def test_keys_stay_short_and_are_found_by_their_value(value: Any, object_key: bytes) -> None:
    (key,) = NAME.keys(["n", value, 1], object_key)
    assert len(key) <= 511
    low, high = NAME.equal_range(value)
    assert low <= key < high
    part = NAME.value_part(key, object_key)
    assert part == low
    assert NAME.prefix + NAME.run_of({"name": value}, 1) == low
    whole_low, whole_high = NAME.whole_range()
    assert whole_low <= key < whole_high


@given(st.text("ab", min_size=390, max_size=405), st.text("ab", min_size=390, max_size=405))
def test_unique_keys_differ_where_values_differ(one: str, other: str) -> None:
    other = one[:398] + other[:3]
    assert (NAME.unique_key(one) == NAME.unique_key(other)) == (one == other)


FLAT = definition_from_toml(
    'name = "Flat"\n[fields]\nstreet = "string"\nhouse = "int"\ndoor = "string"\n'
    'tags = { type = "list(string)", index = true }\nkeys = { type = "list(int)", unique = true }\n'
    '[[indexes]]\nfields = ["street", "house"]\n[[indexes]]\nfields = ["street", "door"]\nunique = true\n'
)
TAGS, KEYS, HOUSE, DOOR = compile_indexes(FLAT, 70)


def flat(street: Any = None, house: Any = None, door: Any = None, tags: Any = None, keys: Any = None) -> list[Any]:
    return [street, house, door, tags, keys]


def test_an_index_of_several_fields_is_called_by_their_places() -> None:
    class_number = encode_integer(70)
    (key,) = HOUSE.keys(flat("Elm", 7), OWN)
    assert key == class_number + b"\x80\2\0\1\0\2" + b"\1Elm\0\0" + b"\1\x80" + bytes(6) + b"\7" + OWN
    (key,) = DOOR.keys(flat("Elm", door="a"), OWN)
    assert key == class_number + b"\x80\2\0\1\0\3" + b"\1Elm\0\0" + b"\1a\0\0" + END
    (key,) = DOOR.keys(flat("Elm"), OWN)
    assert key.endswith(b"\0" + OWN)  # what has a null is never unique
    assert DOOR.claims(flat("Elm")) == []
    assert DOOR.claims(flat("Elm", door="a")) == [(DOOR.keys(flat("Elm", door="a"), OWN)[0], ("Elm", "a"))]
    (key,) = DOOR.keys(flat("Elm", door="a"), OTHER)
    assert key.endswith(OTHER)


streets = st.none() | st.text("ab\0", max_size=3) | st.text("ab\0", max_size=3).map(lambda text: text * 100)


@given(streets, streets, st.none() | st.integers(-2, 2), streets, streets, st.sampled_from([OWN, OTHER]))
def test_keys_of_several_fields_are_in_order_and_found_by_the_first_ones(
    street: Any, other_street: Any, house: Any, door: Any, other_door: Any, object_key: bytes
) -> None:
    for index in (HOUSE, DOOR):
        (key,) = index.keys(flat(street, house, door), object_key)
        assert len(key) <= 511
        exact = (street, house) if index is HOUSE else (street, door)
        for depth in (0, 1, 2):
            low, high = index.equal_range(*exact[:depth])
            assert low <= key < high
    (key,) = DOOR.keys(flat(street, door=door), object_key)
    (other,) = DOOR.keys(flat(other_street, door=other_door), object_key)
    if object_key is OWN and None not in (street, door, other_street, other_door):
        assert (key == other) == ((street, door) == (other_street, other_door))
    runs = [DOOR.run_of({"street": one, "door": two}, 2) for one, two in ((street, door), (other_street, other_door))]
    orders = [
        [(each is not None, (each or "").encode()) for each in pair]
        for pair in ((street, door), (other_street, other_door))
    ]
    if runs[0] != runs[1]:
        assert (runs[0] < runs[1]) == (orders[0] < orders[1]) == (key < other)


def test_each_different_element_has_an_entry() -> None:
    assert isinstance(TAGS, ElementIndex)
    keys = TAGS.keys(flat(tags=["b", "a", "b"]), OWN)
    assert keys == [encode_integer(70) + b"\0\4" + value + OWN for value in (b"\1b\0\0", b"\1a\0\0")]
    assert TAGS.keys(flat(tags=[]), OWN) == TAGS.keys(flat(), OWN) == []
    assert KEYS.keys(flat(keys=[5]), OWN)[0].endswith(b"\5" + END)
    for low, high in TAGS.ranges_holding("a")[1:]:
        assert low <= keys[1] < high
        assert not low <= keys[0] < high


def test_a_list_of_very_many_elements_has_one_entry_and_is_always_looked_at() -> None:
    many = [str(each) for each in range(MAX_ELEMENTS + 1)]
    assert len(TAGS.keys(flat(tags=many[1:] * 2), OWN)) == MAX_ELEMENTS
    (key,) = TAGS.keys(flat(tags=many), OWN)
    low, high = TAGS.ranges_holding("7")[0]
    assert low <= key < high
    with pytest.raises(Refused, match="keys has more than 1024"):
        KEYS.claims(flat(keys=list(range(MAX_ELEMENTS + 1))))


def test_a_class_with_indexes_of_elements_only_has_its_extent_too() -> None:
    tagged = definition_from_toml('name = "T"\n[fields]\ntags = { type = "list(int)", index = true }\n')
    elements, extent = compile_indexes(tagged, 71)
    assert not elements.whole
    assert extent.whole
    assert entries((elements, extent), [None], OWN) == [encode_integer(71) + b"\0\0" + OWN]
    assert all(each.whole for each in (HOUSE, DOOR))
