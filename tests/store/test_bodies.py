"""What `check` lets through encodes and loads equal; a stranger's body is right values or `PeerMisbehaved`."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.encoding import encode_value
from identity.errors import PeerMisbehaved, Refused
from identity.names import END, Incarnation, ObjectId, Reference, ServerId
from store.bodies import Codec, has_newer_fields
from store.definitions import ClassDefinition, Field

EVERYTHING = ClassDefinition(
    name="Everything",
    fields=(
        Field(name="flag", type="bool"),
        Field(name="count", type="int", min=-5, max=10**6),
        Field(name="ratio", type="float"),
        Field(name="price", type="decimal"),
        Field(name="text", max_length=40),
        Field(name="data", type="bytes", max_length=40),
        Field(name="at", type="timestamp"),
        Field(name="day", type="date"),
        Field(name="id", type="uuid"),
        Field(name="colour", type="enum(red,green)"),
        Field(name="sizes", type="list(int)"),
        Field(name="more", type="map"),
        Field(name="friend", type="reference"),
        Field(name="friends", type="list(reference)"),
    ),
).checked()
OWN = ServerId.parse("1.2")
CODEC = Codec(EVERYTHING, OWN.ended + (5).to_bytes(4, "big"))

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
references = st.builds(
    lambda server, incarnation, number: Reference(ServerId.parse(server), Incarnation(incarnation), ObjectId(number)),
    st.sampled_from(["1.2", "1.3", "1.2.4"]),
    st.sampled_from([5, 6]),
    st.integers(1, 2**50),
)
free = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.fixed_dictionaries(
    {},
    optional={
        "flag": st.booleans(),
        "count": st.integers(-5, 10**6),
        "ratio": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-10, 10),
        "price": st.decimals(-(10**9), 10**9, allow_nan=False, places=4),
        "text": texts,
        "data": st.binary(max_size=40),
        "at": st.datetimes(
            timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))]),
            min_value=datetime(2, 1, 1),
            max_value=datetime(9998, 1, 1),
        ),
        "day": st.dates(),
        "id": st.uuids(),
        "colour": st.sampled_from(["red", "green"]),
        "sizes": st.lists(st.integers(-9, 9), max_size=4),
        "more": st.dictionaries(texts, free, max_size=3),
        "friend": references,
        "friends": st.lists(references, max_size=3),
    },
)


@given(objects)
def test_fields_come_back_equal(fields: dict[str, Any]) -> None:
    values = CODEC.check(fields)
    wire = CODEC.encode(values)
    stored = CODEC.store(wire)
    assert CODEC.to_wire(stored) == wire
    loaded = CODEC.load_fields(stored)
    assert loaded == {**dict.fromkeys(CODEC.names), **fields}
    assert dict(zip(CODEC.names, CODEC.read_untrusted(wire), strict=True)) == loaded
    assert EVERYTHING.from_body_untrusted(EVERYTHING.to_body(loaded)) == loaded


def test_references_to_own_objects_name_server_0() -> None:
    own = Reference(OWN, Incarnation(5), ObjectId(7))
    wire = CODEC.encode(CODEC.check({"friend": own}))
    assert own.to_bytes() in wire
    stored = CODEC.store(wire)
    assert own.to_bytes() not in stored
    assert END + (7).to_bytes(4, "big") in stored


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flag", 1), ("flag", "true"), ("count", True), ("count", 1.0), ("count", -6), ("count", 2**70),
        ("ratio", float("nan")), ("ratio", float("inf")), ("ratio", "1"), ("price", 1.5), ("price", Decimal("NaN")),
        ("price", Decimal("1E+80")), ("price", Decimal(10**20)), ("text", b"x"), ("text", "x" * 41), ("text", "\ud800"),
        ("data", "x"), ("data", bytes(41)), ("at", datetime(2026, 1, 1)), ("at", date(2026, 1, 1)),
        ("day", "2026-01-01"),
        ("day", datetime(2026, 1, 1, tzinfo=UTC)), ("id", "x"), ("colour", "blue"), ("colour", ["red"]), ("sizes", 5),
        ("sizes", ["x"]), ("more", []), ("more", {1: 2}), ("more", {"x": object()}), ("friend", 7), ("friends", [7]),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_by_field(field: str, value: Any) -> None:
    with pytest.raises(Refused) as caught:
        CODEC.encode(CODEC.check({field: value}))
    assert caught.value.details["field"] == field
    assert field in str(caught.value)


def test_minus_zero_is_zero() -> None:
    assert str(CODEC.check({"ratio": -0.0})[2]) == "0.0"
    assert str(CODEC.check({"price": Decimal("-0.00")})[3]) == "0.00"


def test_deep_maps_are_refused() -> None:
    deep: Any = {}
    for _ in range(40):
        deep = {"x": deep}
    with pytest.raises(Refused, match="nested"):
        CODEC.check({"more": deep})


def test_a_short_body_ends_in_defaults_and_a_long_one_is_newer() -> None:
    old = ClassDefinition(name="A", fields=(Field(name="x", type="int"),)).checked()
    new = ClassDefinition(
        name="A", minor=1, fields=(Field(name="x", type="int"), Field(name="y", type="int", default=3, since=1))
    ).checked()
    body = old.codec.encode([1])
    assert new.codec.load_fields(body) == {"x": 1, "y": 3}
    assert new.from_body_untrusted(body) == {"x": 1, "y": 3}
    longer = new.codec.encode([1, 2])
    assert has_newer_fields(old.codec, longer)
    assert not has_newer_fields(new.codec, longer)
    with pytest.raises(PeerMisbehaved):
        old.from_body_untrusted(longer)


@pytest.mark.parametrize("field", CODEC.names)
@given(plain=free | st.binary(max_size=30) | st.lists(st.integers(), max_size=2))
def test_a_strangers_value_is_right_or_misbehaved(field: str, plain: Any) -> None:
    values = [plain if name == field else None for name in CODEC.names]
    try:
        wire = encode_value(values)
    except Exception:
        return
    try:
        read = CODEC.read_untrusted(wire)
    except PeerMisbehaved:
        return
    at = CODEC.names.index(field)
    if field not in ("count", "text", "data", "colour"):  # limits are the owner's affair
        assert CODEC.check({field: read[at]})[at] == read[at]


@given(st.binary(max_size=60))
def test_bytes_of_a_stranger(data: bytes) -> None:
    with pytest.raises(PeerMisbehaved):
        EVERYTHING.from_body_untrusted(b"\x9f" + data)
    try:
        EVERYTHING.from_body_untrusted(data)
    except PeerMisbehaved:
        return


def test_frozen_body() -> None:
    body = CODEC.encode(
        CODEC.check(
            {
                "flag": True,
                "count": 7,
                "ratio": 1.5,
                "price": Decimal("1.50"),
                "text": "é",
                "at": datetime(2026, 11, 21, 9, tzinfo=UTC),
                "day": date(2026, 11, 21),
                "id": uuid.UUID(int=5),
                "colour": "red",
                "sizes": [1, 2],
                "more": {"b": 1, "a": None},
                "friend": Reference(OWN, Incarnation(5), ObjectId(9)),
            }
        )
    )
    assert body.hex() == (
        "8ef507f93e0082211896" "62c3a9f6" "1b000660c595e68400" "19512a" "5000000000000000000000000000000005"
        "63726564" "820102" "a26161f6616201" "54" "000000010000000200000000" "00000005" "00000009" "f6"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "field", "problem"),
    [
        ({}, "name", "is missing, and it is required"),
        ({"name": 7}, "name", "7 is no string"),
        ({"name": "long"}, "name", "has length 4, 3 allowed"),
        ({"name": "x", "size": -1}, "size", "-1 is below 0"),
        ({"name": "x", "size": 61}, "size", "61 is above 60"),
    ],
)
def test_what_is_refused_names_class_and_field_and_where_its_rules_stand(
    fields: dict[str, Any], field: str, problem: str
) -> None:
    shoe = ClassDefinition(
        name="Shoe",
        fields=(Field(name="name", required=True, max_length=3), Field(name="size", type="int", min=0, max=60)),
    ).checked()
    with pytest.raises(Refused) as refused:
        Codec(shoe).check(fields)
    assert refused.value.cause == f"field {field} of Shoe: {problem}"
    assert refused.value.next_step == "bangpath class shows the fields of Shoe"
    assert refused.value.details == {"field": field, "class": "Shoe"}
