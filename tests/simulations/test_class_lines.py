"""Classes with fields of every kind: the line is read, and what is written there comes from the seed."""

from __future__ import annotations

from typing import Any

import pytest

from identity.errors import Refused
from identity.names import Incarnation, ObjectId, Reference, ServerId
from simulations.cases import Case, run_case
from simulations.class_lines import as_written, definition_of
from simulations.scenario import parse, run_scenario
from simulations.world import World

ITEM = "class Item text:string serial:int unique size:int index weight:float done:bool near:reference(Item) index"
HEAD = f"servers 3\n{ITEM}\n1.2 mirrors 1.1\n1.1 commits 4 Item\n1.1 commits 20 Item\n1.1 commits 4 Item together\n"


def rows(lines: str, monkeypatch: pytest.MonkeyPatch, *, seed: int = 1) -> list[dict[str, Any]]:
    """All that 1.1 has when the lines have been done."""
    found: list[dict[str, Any]] = []
    end = World.expect_named

    async def look(self: World, run: Any, name: str, *, within: float) -> float:
        answer = await self.server("1.1").query("Item from 1.1")
        found.extend(dict(row.fields) for row in answer.rows)
        return await end(self, run, name, within=within)

    monkeypatch.setattr(World, "expect_named", look)
    run_scenario(parse(HEAD + lines + "\nexpect no lost commits"), seed=seed)
    return found


def test_a_line_is_a_class() -> None:
    definition = definition_of("Item", ITEM.removeprefix("class Item "))
    assert {each.name: (each.type, each.index, each.unique) for each in definition.fields} == {
        "text": ("string", False, False), "serial": ("int", False, True), "size": ("int", True, False),
        "weight": ("float", False, False), "done": ("bool", False, False), "near": ("reference(Item)", True, False),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("class Item text:string size:number index", "'number' is no type of field"),
        ("class Item text:string places:list index", "has no order, so it cannot be indexed"),
        ("class Item text:string index unique size:int sorted", "is nothing a scenario can do"),
        ("class Item index", "is nothing a scenario can do"),
    ],
)
def test_what_is_no_class_is_refused_before_anything_runs(line: str, wrong: str) -> None:
    with pytest.raises(Refused, match=wrong):
        parse(f"servers 2\n{line}")


def test_values_come_from_the_seed_and_are_null_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    items = rows("run 1s\n1.1 changes 12 Item\n1.2 changes 4 Item of 1.1", monkeypatch)
    assert len(items) == 28
    serials = [each["serial"] for each in items if each["serial"] is not None]
    assert len(serials) == len(set(serials)) >= 18
    assert max(serials) <= 28 + 16  # the least that nobody has
    for name, kind in {"serial": int, "size": int, "weight": float, "done": bool, "near": Reference}.items():
        values = [each[name] for each in items]
        assert None in values
        assert {type(each) for each in values if each is not None} == {kind}
        assert len(set(values)) > 2
    assert told(items) == told(rows("run 1s\n1.1 changes 12 Item\n1.2 changes 4 Item of 1.1", monkeypatch))
    assert told(items) != told(rows("run 1s\n1.1 changes 12 Item\n1.2 changes 4 Item of 1.1", monkeypatch, seed=2))


def told(items: list[dict[str, Any]]) -> list[str]:
    return sorted(map(str, items))


def test_a_value_that_is_let_go_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    items = rows("1.1 deletes 20 Item\n1.1 commits 20 Item", monkeypatch)
    assert max(each["serial"] or 0 for each in items) <= len(items)


def test_everything_holds_with_such_a_class_and_the_mirror_has_it() -> None:
    text = HEAD + "1.1 changes 9 Item\nexpect 1.2 has all of 1.1 within 9s\nexpect every promise within 60s"
    assert run_case(Case(seed=3, text=text, name="items")).passed


def test_references_are_written_as_text_and_read_back_as_such() -> None:
    near = Reference(ServerId.parse("1.1"), Incarnation(3), ObjectId(7))
    assert as_written({"near": near, "size": 2, "text": None}) == {"near": "1.1/7", "size": 2, "text": None}
    assert as_written(None) is None
