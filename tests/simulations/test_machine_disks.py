"""Full, slow, failing and rotten disks under real nodes: what was answered stays, and what is wrong is named."""

from __future__ import annotations

import pytest
import trio

from identity.errors import Damaged, Exhausted, OutcomeUnknown, Refused
from simulations.machine import SYNC_S
from simulations.plugin import simulate
from simulations.world import World
from tests.simulations.machine_lab import NOTE, TINY, Answered, begin


@simulate(nodes=3, seeds=5)
async def test_a_full_disk_refuses_clearly_and_comes_back_by_itself(mesh: World) -> None:
    note = await begin(mesh)
    _, owner, mirror = mesh.servers
    life = owner.lives
    ledger = Answered(mesh, owner)
    await ledger.found()
    owner.set_room(mesh.random.choice([0, 5000, 100_000]))
    with pytest.raises(Exhausted, match="no room"):  # noqa: PT012 - which of them finds no room depends on the room
        for number in range(5000):
            await owner.update(note, text=f"{number} " + mesh.random.randbytes(500).hex())
    read = owner.read(note)
    assert read is not None
    assert (await owner.get(note)).fields == read
    await mesh.eventually(lambda: mirror.read(note) == read, within=60)
    mirror.set_room(0)
    owner.set_room(None)
    await mesh.sleep(2)  # a fold that found no room tries again every second
    for number in range(300):
        await owner.update(note, text=f"{number} " + mesh.random.randbytes(500).hex())
    await mesh.sleep(10)
    assert mirror.read(note) != owner.read(note)
    mirror.set_room(None)
    await mesh.eventually(lambda: mirror.read(note) == owner.read(note), within=60)
    assert (owner.lives, owner.died, mirror.died) == (life, None, None)


@simulate(nodes=3, seeds=5)
async def test_a_server_starts_on_a_full_disk_and_answers(mesh: World) -> None:
    """There is a reserve for it (DESIGN D2), however it went down, and again and again."""
    note = await begin(mesh)
    _, owner, mirror = mesh.servers
    owner.set_room(0)
    with pytest.raises(Exhausted, match="no room"):  # noqa: PT012 - which of them finds no room depends on its bytes
        for number in range(5000):
            await owner.update(note, text=f"{number} " + mesh.random.randbytes(300).hex())
    read = owner.read(note)
    for how in (owner.crash, owner.stop, owner.kill, owner.stop, owner.crash):
        await how()
        await owner.restart()
        assert owner.read(note) == read
        await mesh.sleep(10)  # its sessions are made anew
        assert (await mirror.get(note, consistency="owner")).fields == read
        with pytest.raises(Exhausted, match="no room"):
            await owner.update(note, text=mesh.random.randbytes(80_000).hex())
    owner.set_room(None)
    await owner.update(note, text="there is room again")
    await mesh.eventually(lambda: mirror.read(note) == {"text": "there is room again"}, within=60)
    assert owner.died is None


@simulate(nodes=1, seeds=10)
async def test_a_fold_without_room_waits_and_loses_nothing(mesh: World) -> None:
    (only,) = mesh.servers
    await only.stop()
    only.bounds = TINY
    await only.start()
    await only.define(NOTE)
    ledger = Answered(mesh, only)
    await ledger.found()
    only.set_room(0)
    await ledger.write()
    folds = only.tables.folds
    await mesh.sleep(5)
    assert only.tables.folds == folds
    only.set_room(None)
    await ledger.write(40)
    await mesh.sleep(2)
    assert only.tables.folds > folds
    await only.crash()
    await only.restart()
    ledger.check()


@simulate(nodes=3, seeds=3)
async def test_a_slow_disk_is_slow_and_no_silent_peer(mesh: World) -> None:
    note = await begin(mesh)
    _, owner, mirror = mesh.servers
    sessions = mirror.node.parts.sessions
    connection = sessions.connection(owner.server)
    owner.set_disk_speed(0.3)
    begun = mesh.now
    for number in range(12):
        await owner.update(note, text=str(number))
    assert mesh.now - begun > 12 * 0.15, "twelve syncs of 0.15 to 0.45 s"
    await mesh.eventually(lambda: mirror.read(note) == {"text": "11"}, within=10)
    assert sessions.connection(owner.server) is connection, "it was slow, and heard of all the time"
    owner.set_disk_speed()
    begun = mesh.now
    for number in range(12):
        await owner.update(note, text=str(number))
    assert mesh.now - begun < 12 * 0.01
    assert owner.sync_s == SYNC_S


@simulate(nodes=1, seeds=2)
async def test_the_first_slow_syncs_hold_up_the_whole_server(mesh: World) -> None:
    """A real one syncs inline until it has seen that its disk is slow (DESIGN L7)."""
    (only,) = mesh.servers
    await only.define(NOTE)
    held: list[bool] = []

    async def watch() -> None:
        while True:
            await mesh.sleep(0.05)
            held.append(only.paused)

    only.set_disk_speed(0.2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        for number in range(20):
            await only.create("Note", text=str(number))
        nursery.cancel_scope.cancel()
    half = len(held) // 2
    assert any(held[:half])
    assert not any(held[-half // 2 :])


@simulate(nodes=3, seeds=20)
async def test_after_a_failed_sync_nobody_is_told_more_than_is_true(mesh: World) -> None:
    note = await begin(mesh)
    _, owner, mirror = mesh.servers
    ledger = Answered(mesh, owner)
    await ledger.found()
    owner.disk.fail_at(**{mesh.random.choice(["sync", "write"]): mesh.random.randrange(1, 10)})
    await ledger.write()
    assert owner.disk.failure is not None or not owner.running
    with pytest.raises((Damaged, Refused, OutcomeUnknown)):
        await owner.update(note, text="too late")
    await mesh.sleep(5)
    if owner.running:
        await owner.kill()  # what a supervisor does with it; the page cache stays
    await owner.restart()
    ledger.check()
    await owner.update(note, text="after")
    await owner.crash()  # now the cache is gone, too
    await owner.restart()
    assert ledger.check() == 0
    assert owner.read(note) == {"text": "after"}
    await mesh.eventually(lambda: mirror.read(note) == {"text": "after"}, within=60)


@simulate(nodes=3, seeds=30)
async def test_what_rotted_is_never_given_out_and_named_at_the_next_start(mesh: World) -> None:
    note = await begin(mesh)
    other, owner, mirror = mesh.servers
    notes = [await owner.create("Note", text=f"note {number} " + "y" * 100) for number in range(30)]
    await mesh.eventually(lambda: all(mirror.read(each) is not None for each in notes), within=60)
    texts = {str(each): dict(owner.read(each) or {}) for each in notes}
    assert owner.rot(40) > 20
    await other.mirror(owner)  # needs all of the log, from the owner or from the mirror
    await mesh.sleep(20)
    for server in mesh.servers:
        for each in notes:
            found = server.read(each)
            assert found is None or found == texts[str(each)]
    await mesh.eventually(lambda: all(other.read(each) == texts[str(each)] for each in notes), within=120)
    if owner.running:
        await owner.crash()
    with pytest.raises(Damaged):
        await owner.restart()
    assert not owner.running
    owner.heal_rot()
    await owner.restart()
    for each in notes:
        assert owner.read(each) == texts[str(each)]
    await owner.update(note, text="healed")
    await mesh.eventually(lambda: mirror.read(note) == other.read(note) == {"text": "healed"}, within=120)


@simulate(nodes=3, seeds=12)
async def test_rot_in_what_nobody_needs_to_start_parts_nobody(mesh: World) -> None:
    """The tables hold all of it, so the owner starts; of its log, which mirrors still ask for, some cannot be read."""
    note = await begin(mesh)
    other, owner, mirror = mesh.servers
    notes = [await owner.create("Note", text=f"note {number} " + "y" * 100) for number in range(30)]
    await mesh.eventually(lambda: all(mirror.read(each) is not None for each in notes), within=60)
    await owner.stop()
    await owner.start()
    assert len(owner.disk.rot(40)) == 40
    heard: list[str] = []
    note_event = owner.node.note
    owner.node.parts.sessions._note = lambda event, **details: (heard.append(event), note_event(event, **details))
    await mirror.stop()
    await other.mirror(owner)
    await mesh.sleep(20)
    assert any(other.read(each) is None for each in notes), "the rot was in none of what was asked for"
    await mirror.start()
    await mesh.eventually(lambda: all(other.read(each) == owner.read(each) for each in notes), within=120)
    await other.mirror(mirror)
    await mirror.define(NOTE)
    mine = await mirror.create("Note", text="of the mirror")
    await owner.mirror(mirror)
    await mesh.eventually(lambda: owner.read(mine) is not None, within=60)
    await owner.update(note, text="after the rot")
    await mesh.eventually(lambda: mirror.read(note) == other.read(note) == {"text": "after the rot"}, within=60)
    assert (owner.died, [event for event in heard if event in ("mistake", "misbehaved")]) == (None, [])
