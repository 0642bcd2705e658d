"""What was answered to another server's change is answered again, whatever came between."""

from __future__ import annotations

from node.asking import Operation
from simulations.plugin import simulate
from simulations.server import SimulatedServer
from simulations.world import World
from tests.simulations.machine_lab import begin


def drop_answers(server: SimulatedServer) -> None:
    """What it answers does not leave it, in this life."""
    server.up.parts.outstanding.answer = lambda *_, **__: True


@simulate(nodes=3, seeds=4)
async def test_an_answer_that_is_repeated_after_a_crash_is_the_one_that_the_change_got(mesh: World) -> None:
    note = await begin(mesh)
    asker, owner, _ = mesh.servers
    gone = await owner.create("Note", text="to be deleted")
    drop_answers(owner)
    changes = [
        Operation(op="update", object=note.object, fields={"text": "asked for"}),
        Operation(op="delete", object=gone.object),
    ]
    queued = await asker.up.transact(changes, server=owner.server, deadline=3)
    (deleted,) = (each for each in mesh.ledger.versions("1.1", gone.object) if not each.leaf.body)
    await owner.update(note, text="changed since")
    await owner.crash()
    await owner.restart()
    await mesh.eventually(lambda: asker.up.outbox()[0]["settled_ms"], within=120)
    entry = asker.up.outbox_entry(queued.request)
    told = [(each["sequence"], each["done"]) for each in entry["outcome"]["results"]]
    assert told == [(deleted.leaf.sequence, "updated"), (deleted.leaf.sequence, "deleted")]
    assert entry["outcome"]["position"].endswith(f":{deleted.number}")
