"""A Python class says what its objects look like."""

import enum
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

import bangpath
from identity.errors import Refused


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


def test_annotations_are_fields() -> None:
    @bangpath.stored
    class Thing:
        """A thing. And more."""

        key: str = bangpath.field(unique=True)
        note: str | None
        size: float = bangpath.field(index=True)
        count: int = 0
        colour: Colour = Colour.RED
        tags: list[str]
        when: datetime
        day: date
        price: Decimal
        id: UUID
        more: dict
        raw: bytes | None = bangpath.field(description="as it came")

    definition = Thing.definition  # type: ignore[attr-defined]
    assert definition["name"] == "Thing"
    assert definition["description"] == "A thing. And more."
    fields = {each["name"]: each for each in definition["fields"]}
    assert fields["key"] == {"name": "key", "type": "string", "required": True, "index": True, "unique": True}
    assert fields["note"]["required"] is False
    assert fields["count"] == {
        "name": "count", "type": "int", "required": False, "index": False, "unique": False, "default": 0,
    }  # fmt: skip
    assert fields["colour"]["default"] == "red"
    assert [each["type"] for each in definition["fields"]] == [
        "string", "string", "float", "int", "enum(red,blue)", "list(string)", "timestamp", "date", "decimal",
        "uuid", "map", "bytes",
    ]  # fmt: skip
    assert fields["raw"]["description"] == "as it came"


def test_what_has_no_counterpart_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"Wrong\.x"):

        @bangpath.stored
        class Wrong:
            x: complex

    with pytest.raises(Refused, match="declares no field"):

        @bangpath.stored
        class Empty:
            pass


async def test_a_class_says_how_objects_of_older_majors_are_upgraded(tmp_path: Path) -> None:
    @bangpath.stored
    class Port:
        name: str = bangpath.field(unique=True)
        feet: int

    old = Port

    @bangpath.stored(version="2.0", indexes=[("name", "metres")])
    class Port:  # type: ignore[no-redef]
        name: str = bangpath.field(unique=True)
        metres: float
        open: bool = True

        @bangpath.upgrade(1)
        @staticmethod
        def from_feet(old: dict[str, Any]) -> dict[str, Any]:
            return {"name": old["name"], "metres": old["feet"] * 0.25}

    assert Port.from_feet({"name": "x", "feet": 4}) == {"name": "x", "metres": 1.0}
    assert list(Port.upgrades) == [1]
    async with bangpath.open_store(tmp_path / "ports") as store:
        await store.define(old)
        made = await store.create(old, {"name": "Genoa", "feet": 10})
        with pytest.raises(Refused, match="own objects of major 1"):
            await store.define(Port, upgrades={})
        await store.define(Port)
        found = store.get(made)
        assert found is not None
        assert (found.major, found.fields) == (2, {"name": "Genoa", "metres": 2.5, "open": True})


def test_a_definition_comes_with_functions_too(tmp_path: Path) -> None:
    with bangpath.open_store_blocking(tmp_path / "ports") as blocking:
        blocking.define('name = "Port"\nversion = "2.0"\n[fields]\nname = "string"\n')
        blocking.create("Port", {"name": "Genoa"})
        third = 'name = "Port"\nversion = "3.0"\n[fields]\nname = "string"\n'
        blocking.define(third, upgrades={2: lambda old: {"name": old["name"].upper()}})
        assert [each.fields for each in blocking.rows("Port")] == [{"name": "GENOA"}]


def test_two_upgrades_from_one_major_are_refused() -> None:
    with pytest.raises(Refused, match="two upgrades"):

        @bangpath.stored(version="2.0")
        class Port:
            name: str
            one = bangpath.upgrade(1)(dict)
            two = bangpath.upgrade(1)(dict)


def test_the_face_loads_nothing_before_it_is_touched() -> None:
    import subprocess
    import sys

    code = (
        "import sys, bangpath; assert 'trio' not in sys.modules and 'msgspec' not in sys.modules; "
        "bangpath.Refused; assert 'trio' not in sys.modules; dir(bangpath)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_name_of_the_face_is_there() -> None:
    for name in bangpath.__all__:
        assert getattr(bangpath, name) is not None
    with pytest.raises(AttributeError):
        bangpath.Nobody  # noqa: B018
