"""Types as text; what cannot be a type is refused with the types there are. Values: see test_bodies."""

from __future__ import annotations

import pytest

from identity.errors import Refused
from store.fieldtypes import BASES, FieldType, is_name, parse_type


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int", FieldType("int")),
        (" string ", FieldType("string")),
        ("enum(a, b)", FieldType("enum", choices=("a", "b"))),
        ("reference", FieldType("reference")),
        ("reference(City)", FieldType("reference", target="City")),
        ("list", FieldType("list")),
        ("list(list(int))", FieldType("list", element=FieldType("list", element=FieldType("int")))),
        ("list(enum(a,b))", FieldType("list", element=FieldType("enum", choices=("a", "b")))),
    ],
)
def test_a_type_from_text_and_back(text: str, expected: FieldType) -> None:
    assert parse_type(text) == expected
    assert parse_type(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "integer", "int(", "int()", "int(5)", "enum", "enum()", "enum(a,)", "enum(a,a)", "list(", "list()", "list(x)",
     "reference(a b)", "map(int)", "list(" * 100 + "int" + ")" * 100],
)  # fmt: skip
def test_what_is_no_type(text: str) -> None:
    with pytest.raises(Refused):
        parse_type(text)


def test_every_type_has_a_name_and_a_check() -> None:
    for base in BASES:
        assert parse_type("enum(a)" if base == "enum" else base).base == base


def test_names() -> None:
    assert all(map(is_name, ("a", "_a1", "A" * 128)))
    assert not any(map(is_name, ("", "1a", "a-b", "a b", "é", "A" * 129, 5, None, "a\n")))
