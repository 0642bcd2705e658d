"""An application's connection to a simulated server: the words, answers and errors of `bangpath.connect`."""

from __future__ import annotations

import pytest

import bangpath
from bangpath import simulate
from identity.errors import Conflict, NotFound, OutcomeUnknown, Refused, Unreachable
from simulations.world import World


@bangpath.stored
class Note:
    text: str
    stars: int = bangpath.field(default=0, index=True)


@simulate(nodes=2)
async def test_the_words_are_those_of_the_guide(mesh: World) -> None:
    async with mesh.nodes[1].connect() as node:
        await node.define(Note)
        made = await node.create(Note, {"text": "hello"})
        found = await node.get(made["reference"])
        assert (found["fields"], found["kind"]) == ({"text": "hello", "stars": 0}, "owned")
        await node.update(made["reference"], {"stars": 5}, expect=found["sequence"])
        with pytest.raises(Conflict):
            await node.update(made["reference"], {"stars": 6}, expect=found["sequence"])
        rows = [row async for row in node.rows("Note where stars > 3")]
        assert [row["fields"]["text"] for row in rows] == ["hello"]
        assert node.completeness["whole"]
        assert (await node.query("Note"))["rows"] == [dict(row) for row in rows]
        await node.delete(made["reference"])
        with pytest.raises(NotFound):
            await node.get(made["reference"])
        with pytest.raises(Refused, match="question"):
            await node.query("what is this")
        assert (await node.status())["server"] == "1.1"


@simulate(nodes=1, seeds=10)
async def test_a_crash_in_a_change_leaves_it_unknown_and_the_connection_usable(mesh: World) -> None:
    (server,) = mesh.nodes
    node = server.connect()
    await node.define(Note)
    made = await node.create(Note, {"text": "before"})
    server.disk.crash_at(sync=1)
    with pytest.raises(OutcomeUnknown):
        await node.update(made["reference"], {"text": "after"})
    with pytest.raises(Unreachable, match="1 does not run"):
        await node.get(made["reference"])
    await server.restart()
    assert (await node.get(made["reference"]))["fields"]["text"] in ("before", "after")


@simulate(nodes=2, seeds=5)
async def test_a_server_that_dies_under_a_word_has_not_answered(mesh: World) -> None:
    server, other = mesh.nodes
    node = server.connect()
    await node.define(Note)
    server.set_disk_speed(1.0)
    mesh.nursery.start_soon(_kill_soon, mesh)
    with pytest.raises(OutcomeUnknown, match="the connection broke while POST /v1/objects was carried out"):
        await node.create(Note, {"text": "lost"})
    await server.restart()
    await mesh.sleep(5)
    other.crash()
    mesh.nursery.start_soon(_kill_soon, mesh)
    with pytest.raises(Unreachable, match="the connection to 1 broke: it crashed"):
        await node.get(f"{other.name}/70", consistency="owner", deadline=20)


async def _kill_soon(mesh: World) -> None:
    await mesh.sleep(0.1)
    await mesh.nodes[0].kill()


@simulate(nodes=1)
async def test_a_paused_server_answers_when_it_goes_on(mesh: World) -> None:
    (server,) = mesh.nodes
    node = server.connect()
    await node.define(Note)
    await server.pause()
    mesh.nursery.start_soon(_resume_later, mesh)
    begun = mesh.now
    await node.create(Note, {"text": "late"})
    assert mesh.now - begun >= 5
    await server.pause()
    mesh.nursery.start_soon(_resume_later, mesh)
    await node.status()  # for which nothing of the server need run
    assert mesh.now - begun >= 10


async def _resume_later(mesh: World) -> None:
    await mesh.sleep(5)
    await mesh.nodes[0].resume()
