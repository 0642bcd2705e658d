"""What is exported comes back equal by an import, and what is not whole bears no name."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import Refused
from node.cbor_sequence import read_cbor
from node.exporting import columns_of, open_rows
from node.rows import BadRow, Reader, Row, read_csv, read_ndjson
from store.definitions import definition_from_dict
from store.values import to_json

FIELDS = {
    "yes": "bool", "count": "int", "height": "float", "price": "decimal", "name": "string", "data": "bytes",
    "seen": "timestamp", "born": "date", "key": "uuid", "state": "enum(new,old)", "tags": "list(string)",
    "sizes": "list(int)", "parts": "list(bytes)", "any": "list", "more": "map",
}  # fmt: skip
DEFINITION = definition_from_dict({"name": "Thing", "fields": FIELDS})
SAID = DEFINITION.as_json()
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INT = st.integers(-(2**63), 2**63 - 1)
FLOAT = st.floats(allow_nan=False, allow_infinity=False)
FREE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT, lambda each: st.lists(each, max_size=3)
)
TIME = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))
VALUES = {
    "yes": st.booleans(), "count": INT, "height": FLOAT, "price": st.decimals(-(10**6), 10**6, places=3),
    "name": TEXT.filter(bool), "data": st.binary(min_size=1, max_size=30), "seen": TIME, "born": st.dates(),
    "key": st.uuids(),
    "state": st.sampled_from(["new", "old"]), "tags": st.lists(TEXT, max_size=3), "sizes": st.lists(INT, max_size=3),
    "parts": st.lists(st.binary(max_size=9), max_size=3), "any": st.lists(FREE, max_size=3),
    "more": st.dictionaries(TEXT, FREE, max_size=3),
}  # fmt: skip
THINGS = st.lists(st.fixed_dictionaries({}, optional=VALUES).filter(bool), max_size=5)


def exported(form: str, rows: list[dict[str, Any]], *, pieces: int = 2) -> bytes:
    out = io.BytesIO()
    writer = open_rows(form, out, columns_of(SAID, None, references=False), SAID)
    for at in range(0, len(rows), pieces):
        writer.add(rows[at : at + pieces])
    writer.finish()
    return out.getvalue()


def imported(form: str, data: bytes) -> list[Any]:
    reader = Reader(SAID)
    if form == "cbor":
        return list(read_cbor(io.BytesIO(data), reader))
    lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8", newline="")
    return list((read_csv if form == "csv" else read_ndjson)(lines, reader))


@pytest.mark.parametrize("form", ["ndjson", "csv", "cbor"])
@given(things=THINGS)
def test_what_was_exported_comes_back_equal(form: str, things: list[dict[str, Any]]) -> None:
    rows = [to_json(DEFINITION, each) for each in things]

    back = imported(form, exported(form, rows))

    found = [each.fields for each in back]
    if form == "csv":  # which cannot tell an empty text from none
        found = [{name: value for name, value in each.items() if value != ""} for each in found]
    assert found == rows


def test_a_long_text_comes_back_too() -> None:
    rows = [{"name": "x" * 900_000}]
    for form in ("ndjson", "csv", "cbor"):
        assert [each.fields for each in imported(form, exported(form, rows))] == rows


def test_a_file_read_by_others_is_what_they_expect() -> None:
    rows = [to_json(DEFINITION, {"name": "a,b", "yes": True, "data": b"\x00\xff", "count": 2**62}), {"name": None}]
    head, first, second, last = exported("csv", rows).decode().split("\r\n")
    assert (head.split(","), last) == (list(FIELDS), "")
    assert first.startswith('true,4611686018427387904,,,"a,b",AP8=,')
    assert set(second) == {","}
    assert [json.loads(line)["name"] for line in exported("ndjson", rows).splitlines()] == ["a,b", None]
    cbor2 = pytest.importorskip("cbor2")
    stream = io.BytesIO(exported("cbor", rows))
    items = [cbor2.CBORDecoder(stream).decode() for _ in rows]
    assert (items[0]["data"], items[0]["count"], items[1]["name"]) == (b"\x00\xff", 2**62, None)


def test_columns_are_those_that_are_shown() -> None:
    assert list(columns_of(SAID, ("name", "count"), references=True)) == ["reference", "name", "count"]
    with pytest.raises(Refused, match="no field 'colour'"):
        columns_of(SAID, ("colour",), references=False)
    clash = {"name": "Link", "fields": [{"name": "reference", "type": "string"}]}
    with pytest.raises(Refused, match="each row's own reference would be called so"):
        columns_of(clash, None, references=True)


def test_without_pyarrow_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Refused, match="pyarrow") as refused:
        open_rows("parquet", io.BytesIO(), columns_of(SAID, None, references=False), SAID)
    assert "pip install" in refused.value.next_step


def test_parquet_has_the_values_and_types() -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    import pyarrow.parquet as parquet

    thing = {
        "yes": True, "count": -(2**63), "height": 1.5, "price": Decimal("1.50"), "name": "é", "data": b"\x00",
        "seen": datetime(2026, 11, 21, 9, tzinfo=UTC), "born": date(1, 1, 1), "key": UUID(int=7), "state": "old",
        "tags": ["a"], "sizes": [2**60], "parts": [b"\x01"], "any": [1, "x"], "more": {"a": None},
    }  # fmt: skip
    table = parquet.read_table(io.BytesIO(exported("parquet", [to_json(DEFINITION, thing), {}])))

    first, second = table.to_pylist()
    assert first == {**thing, "price": "1.50", "key": str(UUID(int=7)), "any": '[1, "x"]', "more": '{"a": null}'}
    assert set(second.values()) == {None}
    assert table.schema.field("seen").type == pyarrow.timestamp("us", tz="UTC")
    assert table.schema.metadata[b"bangpath.class"] == b"Thing"
    assert table.schema.field("price").metadata[b"bangpath"] == b"decimal"


# Hostile and broken files


@given(st.binary(max_size=60), st.integers(0, 40))
def test_any_bytes_are_rows_or_named(noise: bytes, cut: int) -> None:
    whole = exported("cbor", [{"name": "one", "count": 5}, {"name": "two"}])
    for data in (noise, whole[:cut], whole + noise, whole[:cut] + noise):
        with suppress(Refused):
            for row in imported("cbor", data):
                assert isinstance(row, (Row, BadRow))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xbf\x61a\x01\xff", "indefinite"),
        (b"\x81" * 40, "nested more than"),
        (b"\x7b" + b"\x7f" * 8, "a text of"),
        (b"\x9b" + b"\x7f" * 8, "an array of"),
        (b"\xa1\x64name", "is cut off"),
        (b"\x83" + 2 * (b"\x5a\x00\x0f\xff\xf0" + bytes(0xFFFF0)), "more than the 1048576 bytes"),
    ],
)
def test_an_item_without_an_end_ends_the_file(data: bytes, words: str) -> None:
    with pytest.raises(Refused, match=words):
        imported("cbor", data)


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (b"\x05", "is no map of fields"),
        (b"\xc0\x60", "is no CBOR that is taken here"),
        (b"\xa1\x65count\x18\x05", "is no CBOR that is taken here"),
        (b"\xa1\x65count\x61x", 'field count: "x" is no int'),
        (b"\xa1\x61x\x05", "field x: Thing has no such field"),
    ],
)
def test_a_bad_item_is_named_and_the_next_is_read(item: bytes, words: str) -> None:
    good = exported("cbor", [{"name": "good"}])
    bad, row = imported("cbor", item + good)
    assert words in str(bad)
    assert row.fields == {"name": "good"}


# The command


Say = Callable[..., Awaitable[Any]]  # of the fixture `say`


async def test_a_file_of_each_kind(say: Say, fake: Any, tmp_path: Path) -> None:
    for number in range(1, 2_301):
        fake.objects[number] = ("Note", 1, {"text": f"é{number}", "stars": number})
    for ending in ("csv", "ndjson", "cbor"):
        said = await say("export", "Note", str(tmp_path / f"notes.{ending}"))
        assert (said.code, said.out) == (0, f"2 300 Note in {tmp_path}/notes.{ending}\n")
        assert said.err.startswith("2 300 rows, whole: 1 owner answered")
    assert (tmp_path / "notes.csv").read_text().splitlines()[:2] == ["text,stars", "é1,1"]
    assert len((tmp_path / "notes.ndjson").read_text().splitlines()) == 2_300
    said = await say("export", "Note show stars limit 2", "-", "--format", "csv", "--references")
    assert said.out.splitlines() == ["reference,stars", "1.2/1,1", "1.2/2,2"]
    said = await say("export", "Note", str(tmp_path / "notes.ndjson"), "--json")
    assert {"class": "Note", "rows": 2_300, "whole": True}.items() <= json.loads(said.out).items()
    fake.objects.clear()
    said = await say("import", str(tmp_path / "notes.cbor"), "--class", "Note", "--key", "text")
    assert said.out == "2300 created, 0 updated, 0 unchanged\n"
    assert fake.objects[2_300][2] == {"text": "é2300", "stars": 2_300}


async def test_what_is_not_whole_bears_no_name(say: Say, fake: Any, tmp_path: Path) -> None:
    fake.objects[1] = ("Note", 1, {"text": "x"})
    file = tmp_path / "notes.csv"
    file.write_text("before")
    said = await say("export", "Note", str(file), "--consistency", "local")
    assert said.code == 3
    assert "NOT whole" in said.err
    assert "was not written" in said.err
    assert file.read_text() == "before"
    said = await say("export", "Note", str(file), "--consistency", "local", "--json")
    assert (said.code, json.loads(said.out)["file"]) == (3, None)
    said = await say("export", "Note", str(file), "--consistency", "local", "--partial")
    assert said.code == 3
    assert file.read_text().splitlines() == ["text,stars", "x,"]
    fake.trouble, fake.trouble_after = Refused("half-way"), 1
    assert (await say("export", "Note", str(file))).code == 1
    assert file.read_text().splitlines() == ["text,stars", "x,"]
    assert [each for each in os.listdir(tmp_path) if each.startswith("notes")] == ["notes.csv"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("export", "Note", "notes"), "does not say its format"),
        (("export", "Note whre", "notes.csv"), "column 6 of the question"),
        (("export", "Town", "town.csv"), "there is no class 'Town' here"),
        (("export", "Note", "no/such/place.csv"), "cannot be written"),
        (("export", "Note", "-", "--format", "csv", "--json"), "cannot both go"),
        (("import", "notes.parquet", "--class", "Note"), "written and not read"),
        (("import", "notes", "--class", "Note"), "does not say its format"),
    ],
)
async def test_what_makes_no_sense_is_refused(say: Say, words: tuple[str, ...], told: str) -> None:
    said = await say(*words)
    assert said.code == 1
    assert told in said.err
