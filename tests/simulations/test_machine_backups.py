"""A machine that is set back in time: its directory, and what a mesh makes of an owner that forgot."""

from __future__ import annotations

import pytest
import trio

from identity.errors import Refused
from simulations.plugin import simulate
from simulations.world import World
from simulations.world import simulate as run_world
from tests.simulations.machine_lab import Answered, begin, listen


@simulate(nodes=3, seeds=5)
async def test_a_backup_is_the_directory_at_one_moment_and_can_be_put_back(mesh: World) -> None:
    note = await begin(mesh)
    _, owner, _ = mesh.servers
    ledger = Answered(mesh, owner)
    await ledger.found()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ledger.write)
        await mesh.sleep(0.2 * mesh.random.random())
        answered = dict(ledger.answered)
        asked = {at: list(texts) for at, texts in ledger.asked.items()}
        backup = owner.back_up()
        await mesh.sleep(0.2)
        await owner.crash()
    await owner.restart()
    ledger.check()
    await owner.update(note, text="after the backup")
    await owner.restore(backup, told=False)
    ledger.answered, ledger.asked = answered, asked
    ledger.check()
    assert owner.read(note) == {"text": "first"}


def test_there_is_nothing_to_restore_without_a_backup_of_this_server() -> None:
    async def story(mesh: World) -> None:
        one, other = mesh.servers
        with pytest.raises(Refused, match="there is no backup of 1; back up 1 first"):
            await one.restore()
        with pytest.raises(Refused, match="there is no backup of 1;"):
            await one.restore(other.back_up())

    run_world(story, servers=2, seed=1)


@simulate(nodes=3, seeds=6)
async def test_a_rollback_is_refused_and_told_and_stops_nobody(mesh: World) -> None:
    """A machine was set back behind its node's back: no lie is seen where there is none (docs/decisions/0030)."""
    note = await begin(mesh)
    other, owner, mirror = mesh.servers
    await owner.mirror(mirror)
    backup = owner.back_up()
    for number in range(5):
        await owner.update(note, text=f"signed, and not in the backup {number}")
    await mesh.eventually(lambda: mirror.read(note) == owner.read(note), within=30)
    signed = mirror.read(note)
    await owner.restore(backup, told=False)
    heard: list[tuple[str, str]] = []
    for server in mesh.servers:
        listen(server, heard)
    for number in range(9):
        await owner.update(note, text=f"after the restore {number}")
    await mirror.create("Note", text="of the mirror")
    mine = await mirror.create("Note", text="of the mirror")
    await mesh.eventually(lambda: owner.read(mine) is not None, within=60)
    await mesh.sleep(30)
    told = {event for _, event in heard}
    assert ("1.2", "rolled_back") in heard
    assert not told & {"forked", "misbehaved", "mistake"}, told
    assert mirror.read(note) == signed, "what it signed first stays"
    assert all(server.died is None for server in mesh.servers)
    await other.update(mine, text="and everything else goes on")
    await mesh.eventually(lambda: owner.read(mine) == {"text": "and everything else goes on"}, within=60)
