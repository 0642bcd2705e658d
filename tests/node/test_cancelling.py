"""A change that is taken back: what is told of it is durable, or it is said that nobody knows."""

from __future__ import annotations

import trio

from identity.errors import OutcomeUnknown
from node.asking import Operation
from node.outcomes import Queued
from simulations.plugin import simulate
from simulations.world import World
from store.definitions import ClassDefinition, Field

NOTE = ClassDefinition(name="Note", fields=(Field(name="text"),))


@simulate(nodes=2, seeds=1)
async def test_who_cancels_at_a_server_that_dies_learns_that_nobody_knows(mesh: World) -> None:
    owner, asker = mesh.servers
    await owner.define(NOTE)
    await mesh.sleep(2)
    with mesh.partition({owner}, {asker}):
        await mesh.sleep(5)
        create = Operation(op="create", class_name="Note", fields={"text": "a"})
        queued = await asker.transact([create], owner=owner.name, deadline=1.0)
        assert isinstance(queued, Queued)
        asker.sync_s = 1.0  # so long it takes to write down that it is cancelled
        told: list[object] = []

        async def cancel() -> None:
            try:
                told.append(await asker.cancel_change(queued.request))
            except OutcomeUnknown as error:
                told.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel)
            await mesh.sleep(0.2)
            assert not told
            await asker.crash()
        assert [type(each) for each in told] == [OutcomeUnknown]
        await asker.restart()
        (entry,) = await asker.outbox()
        assert entry["state"] in ("waiting", "cancelled")  # the write that was not synced may have come through
