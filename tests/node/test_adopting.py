"""A server that was restored learns what it had signed since, from whoever has it, before it signs anything new."""

from __future__ import annotations

import pytest

from identity.errors import BangpathError, Exhausted
from node.asking import Operation
from simulations.plugin import simulate
from simulations.server import SimulatedServer
from simulations.world import World
from store.registry import definition_from_toml
from tests.simulations.machine_lab import begin


@simulate(nodes=4, seeds=10)
async def test_a_restored_server_learns_what_it_had_signed_before_it_signs_anything_new(mesh: World) -> None:
    """DESIGN D4: what any neighbour holds comes back, no number is given twice, and mirrors go on with it."""
    note = await begin(mesh)
    _, owner, mirror, other = mesh.servers
    foreign = await other.create("Note", {"text": "of another"})
    for number in range(mesh.random.randrange(40)):
        await owner.create("Note", text=f"before the backup {number} " + mesh.random.randbytes(100).hex())
    backup = owner.back_up()
    if mesh.random.random() < 0.5:
        await owner.crash()
        await owner.restart()
        await mesh.eventually(lambda: owner.node.parts.sessions.connection(other.server) is not None, within=30)
    for number in range(3):
        await owner.update(foreign, text=f"asked for by {number}")
    late = [await owner.create("Note", text=f"after the backup {number}") for number in range(20)]
    await owner.define(definition_from_toml('name = "Later"\n[fields]\nsize = { type = "int", index = true }\n'))
    later = await owner.create("Later", size=7)
    await owner.update(note, text="changed after the backup")
    await owner.delete(late[3])
    await mesh.eventually(lambda: mirror.read(later) is not None and mirror.read(late[3]) is None, within=60)
    texts = {each: owner.read(each) for each in (note, later, *late)}
    await owner.restore(backup)
    with pytest.raises(Exhausted, match="came back from a backup, and first learns"):
        await owner.create("Note", text="too early")
    with pytest.raises(BangpathError):
        await other.get(note, consistency="owner", deadline=1)
    if mesh.random.random() < 0.5:  # and once more, in the middle
        await mesh.sleep(mesh.random.random())
        await owner.crash()
        await owner.restart()
        assert owner.node.parts.database.adopting
    await mesh.eventually(lambda: not owner.node.parts.database.adopting, within=60)
    await mesh.sleep(1)
    assert {each: owner.read(each) for each in texts} == texts
    new = await owner.create("Note", text="new")
    assert new.object > max(each.object for each in late) + (1 << 31)
    for number in range(3):
        await owner.update(foreign, text=f"asked for again {number}")
        assert (await other.get(foreign)).fields == {"text": f"asked for again {number}"}
    await owner.update(note, text="changed after the restore")
    await owner.update(later, size=8)
    await mesh.eventually(lambda: mirror.read(new) == {"text": "new"}, within=60)
    await mesh.eventually(lambda: mirror.read(later) == {"size": 8}, within=60)
    assert mirror.read(note) == {"text": "changed after the restore"}
    await other.mirror(owner)  # all of it, the adopted updates too, from whoever has them
    await mesh.eventually(lambda: other.read(new) is not None, within=60)
    assert all(other.read(each) == owner.read(each) for each in (note, later, new, *late))
    for how in (owner.crash, owner.stop):
        await how()
        await owner.restart()
        assert {each: owner.read(each) for each in late} == {each: texts[each] for each in late}
        await mesh.eventually(lambda: other.read(note) == owner.read(note), within=60)
        await owner.update(note, text=f"after {how.__name__}")
    await mesh.eventually(lambda: mirror.read(note) == other.read(note) == {"text": "after stop"}, within=60)


@simulate(nodes=3, seeds=3)
async def test_a_restored_server_waits_for_neighbours_that_are_away_but_not_for_ever(mesh: World) -> None:
    note = await begin(mesh)
    root, owner, mirror = mesh.servers
    backup = owner.back_up()
    await owner.update(note, text="only the mirror has it")
    await mesh.eventually(lambda: mirror.read(note) == {"text": "only the mirror has it"}, within=30)
    await mirror.stop()
    await root.stop()
    await owner.restore(backup)
    await root.restart()
    await mesh.sleep(120)
    assert owner.node.parts.database.adopting
    await mirror.restart()
    await mesh.eventually(lambda: not owner.node.parts.database.adopting, within=120)
    assert owner.read(note) == {"text": "only the mirror has it"}
    await mirror.stop()
    await owner.restore(backup)
    await mesh.sleep(700)
    assert not owner.node.parts.database.adopting
    await owner.update(note, text="it goes on alone")


def drop_answers(server: SimulatedServer) -> None:
    """What it answers does not leave it, in this life."""
    server.up.parts.outstanding.answer = lambda *_, **__: True


@simulate(nodes=3, seeds=8)
async def test_a_change_that_is_asked_again_after_a_restore_is_carried_out_once(mesh: World) -> None:
    """DESIGN F6: the request ids in the leaves that mirrors hold; while they are being learnt, nobody is refused."""
    note = await begin(mesh)
    asker, owner, mirror = mesh.servers
    gone = await owner.create("Note", text="to be deleted")
    await mesh.eventually(lambda: mirror.read(gone) is not None, within=30)
    backup = owner.back_up()
    drop_answers(owner)
    changes = [
        Operation(op="update", object=note.object, fields={"text": "once"}),
        Operation(op="create", class_name="Note", fields={"text": "new"}),
        Operation(op="delete", object=gone.object),
    ]
    queued = await asker.up.transact(changes, server=owner.server, deadline=3)
    assert queued.state == "sent"
    await mesh.eventually(lambda: mirror.read(note) == {"text": "once"}, within=60)
    await owner.update(note, text="changed since")
    await mesh.eventually(lambda: mirror.read(note) == {"text": "changed since"}, within=60)
    made = {each.leaf.sequence for each in mesh.ledger.versions("1.1", gone.object) if not each.leaf.body}
    cancelled = mesh.seed % 2 == 1
    if cancelled:
        await asker.up.cancel_change(queued.request, deadline=1)
    await owner.restore(backup)
    if mesh.random.random() < 0.3:
        await mesh.sleep(3 * mesh.random.random())
        await owner.crash()
        await owner.restart()
    await mesh.eventually(lambda: asker.up.outbox()[0]["settled_ms"], within=120)
    await mesh.eventually(lambda: not owner.node.parts.database.adopting, within=60)
    (entry,) = asker.up.outbox()
    assert entry["state"] == "committed", entry
    results = entry["outcome"]["results"]
    assert {each["sequence"] for each in results} == made
    assert sorted(each["done"] for each in results) == ["created", "deleted", "updated"]
    if not cancelled:
        assert [each["done"] for each in results] == ["updated", "created", "deleted"]
    assert owner.read(note) == {"text": "changed since"}
    assert [row.fields["text"] for row in (await owner.query('Note where text = "new"')).rows] == ["new"]
    await asker.update(note, text="and DONE forgets it")
    await mesh.eventually(lambda: len(owner.up.parts.recorded) == 0, within=60)


@simulate(nodes=3, seeds=6)
async def test_what_waited_in_an_outbox_that_came_back_from_a_backup_is_not_sent_again(mesh: World) -> None:
    """It may have been carried out since, and its owner may have been told to forget that it was."""
    note = await begin(mesh)
    _, owner, asker = mesh.servers
    await asker.unmirror("1.1")
    sent = mesh.seed % 2 == 1
    if sent:
        drop_answers(owner)
    else:
        await owner.stop()
        await mesh.eventually(lambda: owner.server in asker.up.parts.sessions.silent, within=60)
    queued = await asker.up.create("Note", {"text": "once"}, server=owner.server, deadline=3)
    assert queued.state == ("sent" if sent else "waiting")
    backup = asker.back_up()
    if sent:
        await owner.crash()
    await owner.restart()
    await mesh.eventually(lambda: asker.up.outbox()[0]["state"] == "committed", within=60)
    await mesh.eventually(lambda: len(owner.up.parts.recorded) == 0, within=60)
    await owner.crash()
    await owner.restart()
    await asker.restore(backup)
    if mesh.random.random() < 0.5:
        await mesh.sleep(mesh.random.random())
        await asker.crash()
        await asker.restart()
    await mesh.eventually(lambda: not asker.node.parts.database.adopting, within=60)
    (entry,) = asker.up.outbox()
    assert entry["state"] == "unknown"
    assert "came back from a backup" in entry["outcome"]["error"]["cause"]
    await mesh.sleep(10)
    assert len((await owner.query('Note where text = "once"')).rows) == 1
    assert await asker.up.update(note, {"text": "goes on"})
