"""What waits in an outbox reaches its owner: who was there and went is called again, with nobody's help."""

from __future__ import annotations

import networkx
import pytest
import trio

from node.asking import Operation
from node.outcomes import Queued
from simulations.machine import SYNCS_INLINE
from simulations.plugin import simulate
from simulations.world import World
from store.definitions import ClassDefinition, Field

NOTE = ClassDefinition(name="Note", fields=(Field(name="text"),))


@simulate(nodes=networkx.path_graph(3), no_other_links=True, seeds=3)
async def test_an_owner_that_goes_before_it_answers_is_called_again_when_it_is_back(mesh: World) -> None:
    """No neighbour calls it, and nothing else happens at the asker: only the outbox has a reason to."""
    asker, _, owner = mesh.servers
    await owner.define(NOTE)
    create = Operation(op="create", class_name="Note", fields={"text": "first"})
    await mesh.sleep(8)
    await asker.transact([create], owner=owner.name)
    owner.set_disk_speed(8.0)
    owner._slow_syncs = SYNCS_INLINE  # they have a thread by now: it speaks while they last
    queued = await asker.transact([create], owner=owner.name, deadline=1.0)
    assert isinstance(queued, Queued)
    with mesh.partition({owner}, {asker, mesh.servers[1]}):
        owner.set_disk_speed()
        await mesh.sleep(40)

    async def settled() -> bool:
        return {each["state"] for each in await asker.outbox()} == {"committed"}

    await mesh.eventually(settled, within=30)


@pytest.mark.parametrize("ended", ["cancelled", "expired"])
@simulate(nodes=2, seeds=1)
async def test_what_is_taken_back_in_the_moment_in_which_its_turn_comes_is_not_carried_out(
    mesh: World, ended: str
) -> None:
    """Nothing is written down yet of its turn, and it has no number."""
    asker, owner = mesh.servers
    await owner.define(NOTE)
    create = Operation(op="create", class_name="Note", fields={"text": "first"})
    await mesh.sleep(8)
    with mesh.partition({owner}, {asker}):
        await mesh.sleep(60)  # no session is left that it might be sent in
        queued = await asker.transact([create], owner=owner.name, expires=20.0 if ended == "expired" else None)
        assert isinstance(queued, Queued)
        assert queued.state == "waiting"
        outbox = asker.up.parts.delivering.outbox
        now = trio.current_time()
        outbox.handle_met(owner.server, now=now)
        if ended == "expired":
            outbox.handle_deadline(now + 20, wall_ms=0)
        else:
            outbox.cancel(queued.request, now=now, wall_ms=0)
        outbox.handle_lost(owner.server)
        asker.up.parts.delivering._news.set()
        await mesh.sleep(1)
        assert (await asker.outbox())[0]["state"] in ("withdrawn", "lapsed")

    async def settled() -> bool:
        return [each["state"] for each in await asker.outbox()] == [ended]

    await mesh.eventually(settled, within=60)
    assert not (await owner.query("Note")).rows
