"""Fields as JSON, both ways; errors name the field."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given

from identity.errors import Refused
from identity.names import Incarnation, ObjectId, Reference, ServerId
from store.values import from_json, to_json
from tests.store.test_bodies import EVERYTHING, objects  # type: ignore[import-not-found,unused-ignore]

OWN = ServerId.parse("1.2")


def resolve(server: ServerId | None) -> tuple[ServerId, int]:
    return (OWN if server is None else server), 5


def test_what_json_shows() -> None:
    fields = {
        "flag": True,
        "count": 2**53 + 1,
        "ratio": 1.5,
        "price": Decimal("1.50"),
        "text": "é",
        "data": b"\0\1\2",
        "at": datetime(2026, 11, 21, 9, tzinfo=UTC),
        "day": date(2026, 11, 21),
        "id": uuid.UUID(int=5),
        "colour": "red",
        "sizes": [1, 2**60],
        "more": {"a": [2**60, None, {"b": 1.5}]},
        "friend": Reference(OWN, Incarnation(5), ObjectId(42)),
        "friends": [],
    }
    shown = to_json(EVERYTHING, fields)
    assert shown == {
        "flag": True,
        "count": "9007199254740993",
        "ratio": 1.5,
        "price": "1.50",
        "text": "é",
        "data": "AAEC",
        "at": "2026-11-21T09:00:00.000000Z",
        "day": "2026-11-21",
        "id": "00000000-0000-0000-0000-000000000005",
        "colour": "red",
        "sizes": [1, "1152921504606846976"],
        "more": {"a": ["1152921504606846976", None, {"b": 1.5}]},
        "friend": "1.2/42",
        "friends": [],
    }
    back = from_json(EVERYTHING, json.loads(json.dumps(shown)), resolve=resolve)
    assert back == {**fields, "more": shown["more"]}  # untyped: stays as JSON said it
    assert from_json(EVERYTHING, {"friend": "/7"}, resolve=resolve)["friend"].object == 7


@given(objects)
def test_fields_come_back(fields: dict[str, Any]) -> None:
    fields = {name: value for name, value in fields.items() if name not in ("more", "friend", "friends")}
    shown = json.loads(json.dumps(to_json(EVERYTHING, fields)))
    assert from_json(EVERYTHING, shown) == fields
    assert from_json(EVERYTHING, fields) == fields  # Python values as they are


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", "12x"), ("count", "٣"), ("count", "99999999999999999999"), ("count", 1.5), ("price", "abc"),
        ("price", "NaN"), ("data", "AAE"), ("data", "!"), ("at", "2026-11-21"), ("at", "2026-11-21T09:00:00"),
        ("at", 5), ("day", "21.11.2026"), ("id", "1234"), ("colour", "blue"), ("sizes", "[1]"), ("sizes", ["x"]),
        ("friend", "1.2"), ("friend", "1.2/x"), ("friend", 7), ("flag", "true"), ("more", "x"), ("nothing", 1),
    ],
)  # fmt: skip
def test_what_json_cannot_say(field: str, value: Any) -> None:
    with pytest.raises(Refused) as caught:
        from_json(EVERYTHING, {field: value}, resolve=resolve)
    assert caught.value.details["field"] == field


def test_a_reference_in_text_needs_somebody_who_knows_incarnations() -> None:
    with pytest.raises(Refused, match="incarnation"):
        from_json(EVERYTHING, {"friend": "1.2/4"})


def test_required_fields() -> None:
    from store.definitions import definition_from_toml

    shoe = definition_from_toml('name = "Shoe"\n[fields]\nname = { type = "string", required = true }\nsize = "int"\n')
    with pytest.raises(Refused, match=r"field name of Shoe: is missing.*; bangpath class shows"):
        from_json(shoe, {"size": 1})
    with pytest.raises(Refused, match=r"field size of Shoe: 'many' is no int.*; bangpath class shows"):
        from_json(shoe, {"size": "many"})
    assert from_json(shoe, {"size": 1}, partial=True) == {"size": 1}
