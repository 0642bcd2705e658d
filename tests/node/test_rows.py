"""Every bad row is named by line, field and cause; every good one is read as its class says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import Refused
from node.rows import BadRow, Reader, Row, read_csv, read_ndjson

CITY = {
    "name": "City",
    "fields": [
        {"name": "name", "type": "string", "required": True},
        {"name": "people", "type": "int"},
        {"name": "height", "type": "float"},
        {"name": "port", "type": "bool"},
        {"name": "born", "type": "date"},
        {"name": "tags", "type": "list(string)"},
    ],
}
READER = Reader(CITY)


def test_a_csv_row_is_read_by_its_class() -> None:
    lines = ["name,people,height,port,born,tags\n", 'Oslo,709000,23.5,true,1048-01-01,"[""cold""]"\n', "Rome,,,,,\n"]
    assert list(read_csv(lines, READER)) == [
        Row(
            2, {"name": "Oslo", "people": 709000, "height": 23.5, "port": True, "born": "1048-01-01", "tags": ["cold"]}
        ),
        Row(3, {"name": "Rome"}),
    ]


def test_bad_csv_rows_are_named_and_the_others_are_read() -> None:
    lines = ["name,people\n", "Oslo,many\n", "Rome\n", "Bonn,1\n", "\n", "Köln,1e3\n", 'Ulm,"1\n', "2\n"]
    rows = list(read_csv(lines, READER))
    assert [str(row) for row in rows if isinstance(row, BadRow)] == [
        "line 2, field people: 'many' is no int",
        "line 3: 1 cells, the first line names 2 fields",
        "line 6, field people: '1e3' is no int",
        "line 7: is no CSV: unexpected end of data",
    ]
    assert [row for row in rows if isinstance(row, Row)] == [Row(4, {"name": "Bonn", "people": 1})]


def test_a_head_that_names_what_the_class_has_not() -> None:
    with pytest.raises(Refused, match="names 'nam', which City has not") as refusal:
        list(read_csv(["nam,people\n"], READER))
    assert "the fields are name, people" in refusal.value.next_step
    with pytest.raises(Refused, match="empty"):
        list(read_csv([], READER))
    with pytest.raises(Refused, match="a field twice"):
        list(read_csv(["name,name\n"], READER))


def test_ndjson() -> None:
    lines = [
        '{"name": "Oslo", "people": 7}\n',
        "\n",
        "{oops\n",
        "[1]\n",
        '{"people": 7}\n',
        '{"name": 5}\n',
        '{"nam": ""}',
    ]
    assert [str(row) for row in read_ndjson(lines, READER) if isinstance(row, BadRow)] == [
        "line 3: is no JSON: JSON is malformed: object keys must be strings (byte 1)",
        "line 4: is no JSON object",
        "line 5, field name: is missing, and it is required",
        "line 6, field name: 5 is no string",
        "line 7, field nam: City has no such field",
    ]


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("people", " 7 ", 7),
        ("people", str(2**60), str(2**60)),  # beyond what JSON's numbers hold exactly (DESIGN N10)
        ("people", "", None),
        ("name", "", ""),
        ("port", "no", False),
        ("height", "-0.5", -0.5),
        ("born", "2026-01-01", "2026-01-01"),
    ],
)
def test_values_from_text(field: str, text: str, value: object) -> None:
    assert READER.value(field, text) == value


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("people", "1_000"),
        ("people", str(2**63)),
        ("height", "nan"),
        ("height", "1e999"),
        ("port", "maybe"),
        ("x", "1"),
    ],
)
def test_values_that_are_none(field: str, text: str) -> None:
    with pytest.raises(Refused) as refusal:
        READER.value(field, text)
    assert refusal.value.details["field"] == field


def test_the_classes_that_there_are_are_named() -> None:
    with pytest.raises(Refused, match="known: City"):
        Reader.of([CITY], "Town")
    assert Reader.of([CITY], "City").class_name == "City"


@given(st.lists(st.text(max_size=40), max_size=5))
def test_no_file_does_anything_but_give_rows(lines: list[str]) -> None:
    for read in (read_csv, read_ndjson):
        try:
            rows = list(read(lines, READER))
        except Refused:
            continue
        assert all(isinstance(row, (Row, BadRow)) for row in rows)
