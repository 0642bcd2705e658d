"""Key order is value order, for every type that has one; no key is the beginning of another."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import Refused
from identity.names import Incarnation, ObjectId, Reference, ServerId
from store.fieldtypes import MAX_INT, MIN_INT, parse_type
from store.keys import (
    MAX_KEY_VALUE_BYTES,
    after_prefix,
    complement,
    cut_key,
    is_cut,
    key_bytes,
    prefix_range,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.text("a\0\1\xff", max_size=6)
decimals = st.builds(
    lambda coefficient, exponent: Decimal(coefficient).scaleb(exponent),
    st.integers(-(10**18) + 1, 10**18 - 1) | st.integers(-200, 200),
    st.integers(-64, 40),
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": st.integers(MIN_INT, MAX_INT) | st.integers(-300, 300),
    "float": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-3, 3).map(float),
    "decimal": decimals,
    "string": texts,
    "bytes": st.binary(max_size=8) | texts.map(str.encode),
    "timestamp": st.datetimes(timezones=st.just(UTC)),
    "date": st.dates(),
    "uuid": st.uuids(),
    "reference": st.builds(
        lambda parts, incarnation, number: Reference(ServerId.of(*parts), Incarnation(incarnation), ObjectId(number)),
        st.lists(st.integers(1, 2**40), min_size=1, max_size=3),
        st.integers(0, 2**40),
        st.integers(1, 2**40),
    ),
}


def ordered(type_name: str, value: Any) -> Any:
    """What Python compares; uuids and references by their bytes."""
    if type_name == "uuid":
        return value.bytes
    if type_name == "reference":
        return value.to_bytes()
    return value.encode() if type_name == "string" else value


@pytest.mark.parametrize("type_name", VALUES)
@given(data=st.data())
def test_key_order_is_value_order(type_name: str, data: st.DataObject) -> None:
    of = parse_type(type_name)
    one, other = data.draw(VALUES[type_name]), data.draw(VALUES[type_name])
    first, second = ordered(type_name, one), ordered(type_name, other)
    key, other_key = key_bytes(of, one), key_bytes(of, other)
    assert (key < other_key) == (first < second)
    assert (key == other_key) == (first == second)
    assert (complement(key) < complement(other_key)) == (first > second)
    if key != other_key:
        assert not key.startswith(other_key)
        assert not other_key.startswith(key)
    assert key_bytes(of, None) < key


@given(st.text("ab\0\1é", min_size=380, max_size=420), st.text("ab\0\1é", min_size=380, max_size=420), st.data())
def test_cut_keys_keep_the_order_as_far_as_they_go(one: str, other: str, data: st.DataObject) -> None:
    if data.draw(st.booleans()):  # values with a long common beginning, where cutting matters
        cut = data.draw(st.integers(350, 400))
        other = one[:cut] + other[:20]
    of = parse_type("string")
    key, other_key = cut_key(key_bytes(of, one)), cut_key(key_bytes(of, other))
    assert len(key) <= MAX_KEY_VALUE_BYTES
    if key < other_key:
        assert one < other
    if key == other_key and one != other:
        assert is_cut(key)
    if key != other_key:
        assert not key.startswith(other_key)
        assert not other_key.startswith(key)


@given(texts, texts, st.integers(0, 500))
def test_a_prefix_range_holds_all_that_begin_so(prefix: str, rest: str, repeat: int) -> None:
    of = parse_type("string")
    low, high = prefix_range(prefix * repeat if repeat > 400 else prefix)
    value = (prefix * repeat if repeat > 400 else prefix) + rest
    assert low <= cut_key(key_bytes(of, value)) < high


def test_after_prefix() -> None:
    assert after_prefix(b"a") == b"b"
    assert after_prefix(b"a\xff\xff") == b"b"
    assert after_prefix(b"\xff") > b"\xff\xff"[:1] + b"\x00"


def test_zero_has_one_key() -> None:
    of = parse_type("float")
    assert key_bytes(of, -0.0) == key_bytes(of, 0.0)
    of = parse_type("decimal")
    assert key_bytes(of, Decimal("-0.00")) == key_bytes(of, Decimal(0))
    assert key_bytes(of, Decimal("1.50")) == key_bytes(of, Decimal("1.5"))


def test_frozen_keys() -> None:
    """What stands in tables on disk must not change."""
    table = {
        ("bool", True): "0101",
        ("int", -1): "017fffffffffffffff",
        ("float", 1.5): "01bff8000000000000",
        ("decimal", Decimal("12.5")): "01028131323500",
        ("string", "a\0b"): "016100ff620000",
        ("bytes", b"\0"): "0100ff0000",
        ("date", date(1970, 1, 2)): "018000000000000001",
        ("timestamp", datetime(1970, 1, 1, tzinfo=UTC)): "018000000000000000",
        ("uuid", uuid.UUID(int=1)): "0100000000000000000000000000000001",
    }
    for (type_name, value), expected in table.items():
        assert key_bytes(parse_type(type_name), value).hex() == expected, type_name


def test_lists_and_maps_have_no_order() -> None:
    for type_name in ("list", "list(int)", "map"):
        with pytest.raises(Refused, match="no order"):
            key_bytes(parse_type(type_name), [])
