"""What the indexes of one server tell: in process, over HTTP and as commands, of a real node; and of a store alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

import bangpath
from identity.errors import Refused
from identity.names import ServerId
from node import opening
from node.cli.asking import plan_lines
from node.cli.main import run
from node.cli.shaping import _indexes_text, definition_of
from node.client import Client
from node.embedded import open_store
from node.embedded_blocking import open_store_blocking
from node.http.serve import serve_http
from node.node import Node
from store import building_steps
from store.definitions import definition_from_dict


@bangpath.stored(indexes=[("land", "size")], unique=[("land", "name")])
class City:
    land: str
    name: str = bangpath.field(index=True)
    size: int = 0
    tags: list[str] = bangpath.field(default=[], index=True)
    code: bytes | None = bangpath.field(index=True)


CITIES = [("DE", "Bonn", 3), ("DE", "Berlin", 9), ("CH", "Bern", 1), ("DE", "Halle", 2), ("CH", "Basel", 2)]
QUESTION = 'City where land = "DE" order by -size limit 2'


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    opening.create_root(tmp_path / "1", ServerId.parse("1"), local="*")
    async with opening.open_node(tmp_path / "1") as opened:
        await opened.define(definition_from_dict(City.definition))  # type: ignore[attr-defined]
        for land, name, size in CITIES:
            fields = {"land": land, "name": name, "size": size, "tags": [name[0], "town"], "code": name[:1].encode()}
            await opened.create("City", fields)
        yield opened


@pytest.fixture
async def client(node: Node, tmp_path: Path) -> AsyncIterator[Client]:
    async with serve_http(node, tmp_path), Client(tmp_path) as made:
        yield made


async def test_a_question_is_explained_by_a_node(client: Client) -> None:
    expected = {
        "class": "City", "index": "land, size", "access": "equal", "order": "index", "estimated": 3, "entries": 3,
        "objects": 3, "rows": 2, "bounds": [{"field": "land", "op": "=", "value": "DE"}],
        "considered": [
            {"index": "land, name", "access": "equal", "estimated": 3},
            {"index": "land, size", "access": "equal", "estimated": 3},
        ],
    }  # fmt: skip
    said = await client.explain(QUESTION)
    assert {**said, "considered": sorted(said["considered"], key=lambda each: each["index"])} == expected
    asked = bangpath.find(City).where(bangpath.F.tags.contains("town")).order_by("name")
    assert str(asked) == 'City where tags contains "town" order by name'
    assert (await client.explain(asked))["order"] == "sorted"
    assert [row["fields"]["name"] for row in (await client.query(str(asked)))["rows"]] == sorted(
        name for _, name, _ in CITIES
    )


async def test_values_are_completed_by_a_node(client: Client) -> None:
    assert await client.complete(City, "name", "B") == {
        "class": "City", "field": "name", "values": ["Basel", "Berlin", "Bern", "Bonn"],
    }  # fmt: skip
    assert (await client.complete("City", "name", "B", limit=1))["values"] == ["Basel"]
    assert (await client.complete("City", "tags"))["values"] == ["B", "H", "town"]
    assert (await client.complete("City", "land"))["values"] == ["CH", "DE"]
    assert (await client.complete("City", "code", "Qg=="))["values"] == ["Qg=="]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (lambda client: client.complete("City", "size"), "size of City has no index"),
        (lambda client: client.complete("Town", "size"), "no class 'Town'"),
        (lambda client: client.complete("City", "code", "?"), "code is of bytes"),
        (lambda client: client.complete("City", "name", limit=5000), "limit of 5000"),
        (lambda client: client.complete("City", "name", limit="x"), "limit of 'x'"),
        (lambda client: client.explain("City where"), "column 11"),
        (lambda client: client.explain("City where age = 1"), "age"),
        (lambda client: client.create("City", {"land": "DE", "name": "Bonn"}), "fields land, name"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(client: Client, word: Callable[[Client], Any], said: str) -> None:
    with pytest.raises(Refused, match=said) as caught:
        await word(client)
    assert caught.value.next_step


async def test_a_class_as_it_is_shown_defines_it(client: Client) -> None:
    shown = (await client.classes())[0]
    assert shown["building"] is None
    await client.define(shown)
    assert (await client.classes())[0] == shown


async def test_how_far_an_index_is_and_why_it_was_refused(
    node: Node, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building_steps, "BUILT_AT_ONCE", 2)
    seen = []
    async with trio.open_nursery() as nursery:

        async def look() -> None:
            while (said := node.classes()[0]["building"]) is None or said["state"] == "building":
                seen.append(said)
                await trio.lowlevel.checkpoint()

        nursery.start_soon(look)
        several = definition_of("City", ("land:string!", "name:string!"), unique=("land",))
        wanted = {**City.definition, "indexes": several["indexes"]}  # type: ignore[attr-defined]
        wanted["fields"] = [{**each, "unique": each["name"] == "land"} for each in wanted["fields"]]
        with pytest.raises(Refused, match=r"land of City cannot be unique: '..' stands in two objects, 1/") as caught:
            await client.define(wanted)
        assert caught.value.next_step
    assert {"state": "building", "indexes": ["land"], "done": 0, "reason": ""} in seen
    refused = (await client.classes())[0]
    assert refused["building"]["state"] == "refused"
    assert refused["building"]["reason"] == caught.value.cause
    assert len(refused["indexes"]) == 2
    assert _indexes_text(refused) == "name; tags; code; land,name!; land,size (refused land: 2)"


async def test_as_commands(node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def say(*words: str) -> str:
        assert await trio.to_thread.run_sync(lambda: run(["-C", str(tmp_path), *words])) in (0, None)
        return capsys.readouterr().out

    async with serve_http(node, tmp_path):
        assert await say("complete", "City", "name", "Be") == "Berlin\nBern\n"
        assert json.loads(await say("complete", "City", "land", "--json"))["values"] == ["CH", "DE"]
        assert json.loads(await say("explain", QUESTION, "--json"))["rows"] == 2
        assert (await say("explain", QUESTION)).splitlines()[:2] == [
            "City by the index on land, size, where land = DE; rows come in order",
            "  3 entries expected, 3 looked at, 3 objects read, 2 rows",
        ]
        assert "name; tags; code; land,name!; land,size" in await say("class")


def test_a_plan_in_words() -> None:
    said = {
        "class": "City", "index": None, "access": "all", "bounds": [], "order": "sorted", "estimated": 1, "entries": 1,
        "objects": 1, "rows": 1, "considered": [],
    }  # fmt: skip
    assert plan_lines(said) == [
        "City all of them, for no index fits; rows are collected and sorted",
        "  1 entry expected, 1 looked at, 1 object read, 1 row",
    ]
    nothing = {**said, "access": "nothing", "index": "size", "bounds": [{"field": "size", "op": "=", "value": 1.5}]}
    assert plan_lines(nothing)[0].startswith("City nothing is looked at: no value of the field is such that size = 1.5")
    null = {**said, "index": "size", "access": "equal", "bounds": [{"field": "size", "op": "is null", "value": None}]}
    assert plan_lines(null)[0].startswith("City by the index on size, where size is null")


def test_indexes_of_several_fields_from_words() -> None:
    fields = ("land:string", "name:string", "size:int")
    said = definition_of("City", fields, indexed=("size", "land,size"), unique=("land,name",))
    assert said["indexes"] == [
        {"fields": ["land", "size"], "unique": False}, {"fields": ["land", "name"], "unique": True},
    ]  # fmt: skip
    assert [each["index"] for each in said["fields"]] == [False, False, True]
    with pytest.raises(Refused, match="nobody"):
        definition_from_dict(definition_of("City", fields, indexed=("land,nobody",)))


async def test_a_class_is_dropped_in_all_faces(
    node: Node, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Refused, match="City has own objects"):
        await client.drop(City)
    assert await client.drop(City, objects=True) == {"class": "City", "adopted": False}
    assert [(each["adopted"], each["owners"]) for each in await client.classes()] == [(False, [])]
    await client.adopt("City")
    said = await trio.to_thread.run_sync(lambda: run(["-C", str(tmp_path), "class", "drop", "City", "--json"]))
    assert said in (0, None)
    assert json.loads(capsys.readouterr().out) == {"class": "City", "adopted": False}
    with pytest.raises(Refused, match="true or false"):
        await client.drop(City, objects="maybe")
    with pytest.raises(Refused, match="nothing to drop"):
        await client.drop(City)


def test_a_class_of_a_store_alone_is_dropped(tmp_path: Path) -> None:
    with open_store_blocking(tmp_path / "cities") as store:
        store.define(City)
        store.create(City, {"land": "DE", "name": "Bonn"})
        with pytest.raises(Refused, match="own objects") as caught:
            store.drop(City)
        assert caught.value.next_step == ""  # no command for who has no node
        store.drop(City, objects=True)
        with pytest.raises(Refused, match="not adopted"):
            store.create(City, {"land": "DE", "name": "Bonn"})


async def test_a_store_alone_tells_the_same(tmp_path: Path) -> None:
    async with open_store(tmp_path / "cities") as store:
        await store.define(City)
        for land, name, size in CITIES:
            await store.create(City, {"land": land, "name": name, "size": size, "tags": [name[0]]})
        assert (await store.explain(QUESTION))["index"] == "land, size"
        assert store.complete(City, "tags") == ["B", "H"]
        with pytest.raises(Refused, match="no index"):
            store.complete("City", "size")


def test_a_store_alone_without_trio_tells_the_same(tmp_path: Path) -> None:
    with open_store_blocking(tmp_path / "cities") as store:
        store.define(City)
        store.create(City, {"land": "DE", "name": "Bonn", "tags": ["a"]})
        assert store.explain(QUESTION)["rows"] == 1
        assert store.complete(City, "name", "Bo") == ["Bonn"]
