"""How a question was answered: the index, its bounds, what was expected and what it took; and the same rows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from identity.errors import Refused
from store.definitions import definition_from_toml
from store.query import And, Compare, Not, Question

CITY = definition_from_toml(
    'name = "City"\n[fields]\nland = "string"\nname = "string"\nsize = { type = "int", index = true }\n'
    'code = { type = "string", unique = true }\ntags = { type = "list(string)", index = true }\nseen = "timestamp"\n'
    '[[indexes]]\nfields = ["land", "size"]\n[[indexes]]\nfields = ["seen", "land"]\n'
)


async def fill(database: Any) -> None:
    await database.define(CITY)
    await database.transact(
        lambda t: [
            t.create("City", {"land": f"L{n % 4}", "name": f"n{n}", "size": n, "code": str(n), "tags": [str(n % 2)]})
            for n in range(100)
        ]
    )


def explained(view: Any, question: Question) -> dict[str, Any]:
    plan = view.explain(question)
    rows = [each for batch in plan.batches(7) for each in batch]
    assert rows == list(view.select(question))
    said: dict[str, Any] = plan.as_json()
    assert said["rows"] == len(rows)
    return said


async def test_an_order_from_an_index_ends_with_the_limit(server: Any) -> None:
    async with server.open() as database:
        await fill(database)
        with database.view() as view:
            land = Compare("land", "=", "L1")
            said = explained(view, Question("City", land, (("size", True),), limit=3))
            assert said == {
                "class": "City", "index": "land, size", "access": "equal", "order": "index",
                "bounds": [{"field": "land", "op": "=", "value": "L1"}],
                "estimated": 25, "entries": 4, "objects": 4, "rows": 3,
                "considered": [{"index": "land, size", "access": "equal", "estimated": 25}],
            }  # fmt: skip
            said = explained(view, Question("City", land, (("name", True),), limit=3))
            assert (said["order"], said["entries"], said["rows"]) == ("sorted", 25, 3)


async def test_each_way_has_its_word(server: Any) -> None:
    async with server.open() as database:
        await fill(database)
        with database.view() as view:

            def way(where: Any, *order: str) -> tuple[Any, ...]:
                said = explained(view, Question("City", where, tuple((each, False) for each in order)))
                return said["access"], said["index"], said["order"], said["estimated"], said["rows"]

            assert way(Compare("code", "=", "7")) == ("unique", "code", "none", 1, 1)
            assert way(Compare("tags", "contains", "1")) == ("equal", "tags", "none", 50, 50)
            assert way(Compare("size", "in", (1, 2, 2000))) == ("in", "size", "none", 2, 2)
            assert way(Compare("size", "<", 10), "size") == ("range", "size", "index", 11, 10)
            assert way(None, "size") == ("order", "size", "index", 100, 100)
            assert way(Compare("name", "=", "n5")) == ("all", "size", "none", 100, 1)
            assert way(Not(Compare("size", "=", 5)), "name") == ("all", "size", "sorted", 100, 99)
            assert way(Compare("size", "=", 1.5)) == ("nothing", "size", "none", 0, 0)
            both = And((Compare("size", ">=", 10), Compare("tags", "contains", "1"), Compare("land", "=", "L1")))
            said = explained(view, Question("City", both))
            assert [each["index"] for each in said["considered"]] == ["land, size", "tags", "size"]
            assert [each["estimated"] for each in said["considered"]] == [22, 50, 90]
            assert said["index"] == "land, size"
            assert len(said["bounds"]) == 2


async def test_values_are_shown_as_json_has_them(server: Any) -> None:
    async with server.open() as database:
        await fill(database)
        with database.view() as view:
            when = datetime(2026, 11, 21, tzinfo=UTC)
            for condition, shown in (
                (Compare("seen", "=", when), str(when)),
                (Compare("size", "<", 2**60), str(2**60)),
                (Compare("size", "in", (1, 2**60)), [1, str(2**60)]),
                (Compare("seen", "is null"), None),
            ):
                assert explained(view, Question("City", condition))["bounds"][0]["value"] == shown


@pytest.mark.parametrize("question", [Question("Town"), Question("City", Compare("age", "=", 1)), Question("Setting")])
async def test_what_makes_no_sense_is_refused_at_once(server: Any, question: Question) -> None:
    async with server.open() as database:
        await fill(database)
        with database.view() as view, pytest.raises(Refused):
            view.explain(question)
