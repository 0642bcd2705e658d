"""Classes of several majors in a mesh: answers are whole, and say whose major is what; what does not fit is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from identity.errors import Refused
from identity.names import ServerId
from node import opening
from node.cli.shaping import _indexes_text
from node.client import Client
from node.http.serve import serve_http
from node.node import Node
from node.rows import Reader
from simulations.plugin import simulate
from simulations.world import World
from store.definitions import definition_from_toml

FEET = definition_from_toml('name = "Port"\n[fields]\nname = { type = "string", unique = true }\nfeet = "int"\n')
METRES = definition_from_toml(
    'name = "Port"\nversion = "2.0"\n[fields]\nname = { type = "string", unique = true }\n'
    'metres = { type = "decimal", index = true }\nopen = { type = "bool", default = true }\n'
)


def to_metres(old: dict[str, Any]) -> dict[str, Any]:
    return {"name": old["name"], "metres": old["feet"] * 2}


def majors(answer: Any) -> dict[str, int]:
    assert answer.completeness["whole"]
    return {each["server"]: each["major"] for each in answer.completeness["owners"]}


async def fill(server: Any, count: int) -> None:
    for at in range(0, count, 100):
        rows = [{"name": f"{server.name} {n:04}", "feet": n} for n in range(at, min(at + 100, count))]
        await server.up.parts.database.transact(lambda t, rows=rows: [t.create("Port", each) for each in rows])


@simulate(nodes=3, seeds=2)
async def test_everybody_answers_whole_while_an_owner_upgrades(mesh: World) -> None:
    owner, mirror, other = mesh.nodes
    await owner.define(FEET)
    await fill(owner, 600)
    await mirror.mirror(owner)
    await other.define(FEET)
    await fill(other, 3)
    await mesh.sleep(10)
    seen: dict[int, None] = {}

    async def ask(server: Any, upgrade: Any) -> None:
        while not upgrade.is_set():
            answer = await server.query("Port order by name")
            assert len(answer.rows) == 603
            assert [each.fields["name"] for each in answer.rows] == sorted(each.fields["name"] for each in answer.rows)
            new = [each for each in answer.rows if each.fingerprint == METRES.fingerprint]
            seen[len(new)] = None
            assert majors(answer)[other.name] == 1

    ended = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, mirror, ended)
        nursery.start_soon(ask, other, ended)
        await owner.up.define(METRES, upgrades={1: to_metres})
        ended.set()
    assert seen
    await mesh.eventually(lambda: mirror.up.parts.directory.major(owner.server, "Port") == 2, within=30)
    for server in mesh.nodes:
        await mesh.eventually(
            lambda server=server: server.up.parts.directory.major(owner.server, "Port") == 2, within=30
        )
        answer = await server.query("Port where metres >= 1190 or feet = 1 order by metres, name", deadline=30)
        assert majors(answer) == {owner.name: 2, other.name: 1}
        assert [each.fields["name"] for each in answer.rows] == [
            f"{other.name} 0001", *(f"{owner.name} {n:04}" for n in range(595, 600))
        ]  # fmt: skip
    classes = {each["version"]: each for each in owner.up.classes()}
    assert (classes["1.0"]["adopted"], classes["2.0"]["adopted"]) == (False, True)
    assert other.name in classes["1.0"]["owners"]
    assert owner.name not in classes["1.0"]["owners"]


@simulate(nodes=3, seeds=2)
async def test_an_owner_that_dies_in_its_upgrade_is_answered_for_and_goes_on(mesh: World) -> None:
    owner, mirror, asker = mesh.nodes
    await owner.define(FEET)
    await fill(owner, 40)
    await mirror.mirror(owner)

    def half(old: dict[str, Any]) -> dict[str, Any]:
        if old["feet"] >= 20:
            raise ValueError("not today")
        return to_metres(old)

    with pytest.raises(Refused, match="20 objects stay at major 1"):
        await owner.up.define(METRES, upgrades={1: half})
    progress = next(each["building"] for each in owner.up.classes() if each["version"] == "1.0")
    assert (progress["state"], progress["done"]) == ("upgrading", 20)
    await mesh.sleep(20)
    await owner.crash()
    await mesh.sleep(20)
    for server in (mirror, asker):
        answer = await server.query("Port order by name", deadline=30)
        assert len(answer.rows) == 40
        assert majors(answer) == {owner.name: 2}
        assert answer.completeness["owners"][0]["how"] == "mirrored"
        assert len({each.fingerprint for each in answer.rows}) == 2
    await owner.restart()
    await owner.up.define(METRES, upgrades={1: to_metres})
    answer = await owner.query("Port where open = true")
    assert len(answer.rows) == 40


@simulate(nodes=2, seeds=2)
async def test_changes_of_others_meet_the_newest_major(mesh: World) -> None:
    owner, asker = mesh.nodes
    await owner.define(FEET)
    notes = [await owner.create("Port", {"name": f"p{n}", "feet": n}) for n in range(3)]
    with pytest.raises(Refused, match="own objects of major 1"):
        await owner.up.define(METRES)

    def never(old: dict[str, Any]) -> dict[str, Any]:
        if stuck:
            raise ValueError("not today")
        return to_metres(old)

    stuck = True
    with pytest.raises(Refused, match="3 objects stay at major 1"):
        await owner.up.define(METRES, upgrades={1: never})
    with pytest.raises(Refused, match=r"given .* raised ValueError: not today"):
        await asker.update(notes[0], {"open": False}, queue=False)
    stuck = False
    with pytest.raises(Refused, match="no field 'feet'"):
        await asker.update(notes[0], {"feet": 5}, queue=False)
    await asker.update(notes[0], {"open": False}, queue=False)
    found = await asker.get(notes[0])
    assert (dict(found.fields), found.fingerprint) == ({"name": "p0", "metres": 0, "open": False}, METRES.fingerprint)
    assert (await asker.get(notes[1])).fingerprint == FEET.fingerprint
    await asker.delete(notes[1], queue=False)
    await owner.crash()
    await owner.restart()
    with pytest.raises(Refused, match="define the class with its upgrade function"):
        await asker.update(notes[2], {"open": False}, queue=False)
    await owner.up.define(METRES, upgrades={1: never})
    await asker.update(notes[2], {"open": False}, queue=False)


@simulate(nodes=2, seeds=1)
async def test_who_adopts_takes_the_highest_major(mesh: World) -> None:
    owner, other = mesh.nodes
    await owner.define(FEET)
    await mesh.sleep(5)
    await other.up.adopt("Port")
    await owner.up.define(METRES)
    await mesh.sleep(5)
    note = await other.create("Port", {"name": "p", "feet": 1})
    with pytest.raises(Refused, match="own objects of major 1"):
        await other.up.adopt("Port")
    await other.delete(note)
    assert (await other.up.adopt("Port"))["version"] == "2.0"
    assert Reader.of(other.up.classes(), "Port").definition["version"] == "2.0"
    assert (await other.get(await other.create("Port", {"name": "q"}))).fields["open"]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    opening.create_root(tmp_path / "1", ServerId.parse("1"), local="*")
    async with opening.open_node(tmp_path / "1") as opened:
        yield opened


async def test_over_http_and_as_a_command(node: Node, tmp_path: Path) -> None:
    """What a client says and sees while the node that has the function upgrades."""
    async with serve_http(node, tmp_path), Client(tmp_path) as client:
        await client.define(FEET.as_json())
        made = [(await client.create("Port", {"name": f"p{n}", "feet": n}))["reference"] for n in range(3)]
        with pytest.raises(Refused, match="own objects of major 1") as refused:
            await client.define(METRES.as_json())
        assert "open_node" in refused.value.next_step
        with pytest.raises(Refused, match="1 object stays"):
            await node.define(METRES, upgrades={1: lambda old: to_metres(old) if old["feet"] else None})
        first, second = await client.classes()
        assert (first["version"], first["adopted"], first["building"]["done"]) == ("1.0", True, 2)
        assert (second["version"], second["adopted"], second["building"]) == ("2.0", True, None)
        assert _indexes_text(first).startswith(
            "name! (upgrading to 2.0: 2; the upgrade function of class Port, given 1/"
        )
        answer = await client.query("Port order by -metres, feet show name, metres, feet")
        assert [each["fields"] for each in answer["rows"]] == [
            {"name": "p2", "metres": "4", "feet": None},
            {"name": "p1", "metres": "2", "feet": None},
            {"name": "p0", "metres": None, "feet": 0},
        ]
        assert [each["major"] for each in answer["completeness"]["owners"]] == [2]
        told = await client.explain("Port where name = 'p0'")
        assert (told["rows"], [each["major"] for each in told["majors"]]) == (1, [1])
        assert (await client.complete("Port", "name", "p"))["values"] == ["p0", "p1", "p2"]
        with pytest.raises(Refused, match="gave None"):
            await client.update(made[0], {"open": False})
        with pytest.raises(Refused, match="no field 'feet'"):
            await client.update(made[0], {"feet": 1})
        await node.define(METRES, upgrades={1: to_metres})
        await client.update(made[0], {"metres": "7.5"})
        assert (await client.get(made[0]))["fields"] == {"name": "p0", "metres": "7.5", "open": True}
        assert [each["building"] for each in await client.classes()] == [None, None]
