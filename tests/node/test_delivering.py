"""What waits in an outbox reaches its owner: who was there and went is called again, with nobody's help."""

from __future__ import annotations

import networkx

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
