"""A Python class says what its objects look like."""

import enum
from datetime import date, datetime
from decimal import Decimal
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
