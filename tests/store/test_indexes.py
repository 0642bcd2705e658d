"""The entries of a version, and the ranges that find them again."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from identity.encoding import encode_integer
from identity.names import END
from store.definitions import definition_from_toml
from store.indexes import compile_indexes, entries

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
    key = extent.key(None, OWN)
    assert key == encode_integer(71) + b"\0\0" + OWN
    low, high = extent.whole_range()
    assert low <= key < high


@given(st.text("ab\0", max_size=3).map(lambda text: text * 150) | st.none(), st.sampled_from([OWN, OTHER]))
def test_keys_stay_short_and_are_found_by_their_value(value: Any, object_key: bytes) -> None:
    key = NAME.key(value, object_key)
    assert len(key) <= 511
    low, high = NAME.equal_range(value)
    assert low <= key < high
    part = NAME.value_part(key, object_key)
    assert part == low
    whole_low, whole_high = NAME.whole_range()
    assert whole_low <= key < whole_high


@given(st.text("ab", min_size=390, max_size=405), st.text("ab", min_size=390, max_size=405))
def test_unique_keys_differ_where_values_differ(one: str, other: str) -> None:
    other = one[:398] + other[:3]
    assert (NAME.unique_key(one) == NAME.unique_key(other)) == (one == other)
