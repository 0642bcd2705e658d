"""Whatever befalls a machine, its real node keeps what it promised; and whatever is said to befall it really does."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from identity.errors import BangpathError, Damaged, Exhausted, LocalMistake, OutcomeUnknown, Refused
from identity.names import Reference
from node.asking import Operation
from simulations.machine import BOUNDS, SYNC_S
from simulations.plugin import simulate
from simulations.server import SimulatedServer
from simulations.world import World
from simulations.world import simulate as run_world
from store.database import Settings
from store.registry import definition_from_toml

NOTE = definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string" }\n')
TINY = Settings(generation_bytes=8 << 10, segment_bytes=80 << 10, step_bytes=72 << 10)  # folds after a few commits


async def begin(mesh: World) -> Reference:
    """Everybody knows the class; the second server has a note, which the third mirrors."""
    for server in mesh.servers:
        await server.define(NOTE)
    _, owner, mirror, *_ = mesh.servers
    note = await owner.create("Note", {"text": "first"})
    await mirror.mirror(owner)
    await mesh.eventually(lambda: mirror.read(note) is not None, within=30)
    return note


class Answered:
    """What an owner answered, and what it was asked meanwhile: a pair of notes changes as one, or not at all."""

    def __init__(self, mesh: World, owner: SimulatedServer) -> None:
        self._mesh = mesh
        self._owner = owner
        self.pairs: list[tuple[Reference, Reference]] = []
        self.answered: dict[int, str] = {}
        self.asked: dict[int, list[str]] = {}

    async def found(self, number: int = 4) -> None:
        for at in range(number):
            self.pairs.append((await self._owner.create("Note", text="0"), await self._owner.create("Note", text="0")))
            self.answered[at], self.asked[at] = "0", []

    async def write(self, texts: int = 10_000) -> None:
        """One pair after another, until the server falls or refuses."""
        for count in range(1, texts + 1):
            at = count % len(self.pairs)
            text = f"{self._mesh.now:.6f} " + self._mesh.random.randbytes(200).hex()
            self.asked[at].append(text)
            try:
                await self._owner.transact(
                    [Operation(op="update", object=each.object, fields={"text": text}) for each in self.pairs[at]]
                )
            except BangpathError:
                return
            self.answered[at], self.asked[at] = text, []

    def check(self) -> int:
        """P1, as far as this owner is concerned; how many pairs show what was not answered."""
        more = 0
        for at, (one, other) in enumerate(self.pairs):
            found, twin = self._owner.read(one), self._owner.read(other)
            assert found is not None
            assert twin is not None
            assert found.text == twin.text, f"half of a transaction at pair {at}"
            assert found.text == self.answered[at] or found.text in self.asked[at], f"pair {at} lost its answer"
            more += found.text != self.answered[at]
            self.answered[at], self.asked[at] = found.text, []
        return more


# -- crashes


@simulate(nodes=3, seeds=30)
async def test_a_crash_in_any_write_or_sync_loses_nothing_answered(mesh: World) -> None:
    _, owner, mirror = mesh.servers
    await owner.stop()
    owner.bounds = TINY
    await owner.start()
    note = await begin(mesh)
    ledger = Answered(mesh, owner)
    await ledger.found()
    for _ in range(4):
        steps = {mesh.random.choice(["write", "sync"]): mesh.random.randrange(1, 120)}
        owner.disk.crash_at(**steps)
        with trio.move_on_after(20):
            await ledger.write()
            await owner.ended()
        assert not owner.running, f"the power was to go at {steps}"
        with pytest.raises(Refused, match=r"1\.1 is down"):
            await owner.get(note)
        owner.disk.crash_at(write=mesh.random.randrange(1, 4))  # and once more while it recovers
        try:
            await owner.restart()
        except Refused:
            await owner.restart()
        ledger.check()
    pairs = [each for pair in ledger.pairs for each in pair]
    await mesh.eventually(lambda: all(mirror.read(each) == owner.read(each) for each in pairs), within=120)


def test_crashes_fall_into_folds_and_into_new_segments_too() -> None:
    """Else the test above would say less than it seems to."""
    where: dict[str, int] = {}

    async def story(mesh: World) -> None:
        (owner,) = mesh.servers
        await owner.stop()
        owner.bounds = TINY
        await owner.start()
        await owner.define(NOTE)
        ledger = Answered(mesh, owner)
        await ledger.found()
        owner.disk.crash_at(write=100 + 7 * mesh.seed)
        await ledger.write()
        last = [line for line in mesh.trace.lines() if " disk 1 write " in line][-1].split()[4]
        where[last] = where.get(last, 0) + 1
        await owner.restart()
        ledger.check()

    for seed in range(40):
        run_world(story, servers=1, seed=seed)
    assert where["tables"] > 0
    assert len(where) > 2, f"segments and tables: {where}"


@simulate(nodes=3, seeds=10)
async def test_a_write_that_is_torn_for_certain_is_cut_and_nothing_else(mesh: World) -> None:
    await begin(mesh)
    _, owner, _ = mesh.servers
    ledger = Answered(mesh, owner)
    await ledger.found()
    for _ in range(3):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.write)
            await mesh.sleep(0.05 * mesh.random.random())
            await owner.crash(torn_write=True)
        await owner.restart()
        ledger.check()


async def crashed_once(mesh: World, **how: Any) -> bytes:
    """The end of an idle server's log after a crash."""
    (only,) = mesh.servers
    await only.define(NOTE)
    await only.create("Note", text="durable")
    await mesh.sleep(5)
    before = only.disk.image()
    await only.crash(**how)
    after = only.disk.image()
    return b"".join(after[name][len(before[name].rstrip(b"\0")) :].rstrip(b"\0") for name in before)


@pytest.mark.parametrize(("how", "torn"), [({"torn_write": True}, True), ({}, False)])
def test_an_idle_server_had_just_begun_a_write_that_is_torn(how: dict[str, bool], torn: bool) -> None:
    async def story(mesh: World) -> None:
        assert bool(await crashed_once(mesh, **how)) == torn

    run_world(story, servers=1, seed=3)


@simulate(nodes=1, seeds=5)
async def test_a_process_that_dies_loses_nothing_that_it_wrote(mesh: World) -> None:
    (only,) = mesh.servers
    await only.define(NOTE)
    ledger = Answered(mesh, only)
    await ledger.found()
    for life in range(4):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ledger.write)
            await mesh.sleep(0.02 * mesh.random.random())
            image = only.disk.image()
            await only.kill()
        assert only.disk.image() == image
        await only.restart()
        ledger.check()
        if life % 2:
            await only.crash()  # what recovery read from the cache has become durable
            await only.restart()
            assert ledger.check() == 0


@simulate(nodes=2, seeds=3)
async def test_a_crash_is_done_at_once_and_need_not_be_awaited(mesh: World) -> None:
    one, other = mesh.servers
    one.crash()
    with pytest.raises(LocalMistake, match="1 is down already"):
        one.crash()
    await one.restart()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.crash)
    assert not other.running
    await other.restart()
    await mesh.eventually(lambda: one.up.status()["peers"], within=30)


@simulate(nodes=1, seeds=3)
async def test_a_crash_while_it_starts_is_told(mesh: World) -> None:
    (only,) = mesh.servers
    await only.crash()
    only.disk.crash_at(sync=1)
    with pytest.raises(Refused, match="1 went down while it started; restart it"):
        await only.start()
    assert [mark.text for mark in mesh.marks if mark.kind == "crash"][-1].startswith("in sync")
    await only.start()
    assert only.running


def test_a_machine_without_power_sends_nothing_more() -> None:
    async def story(mesh: World) -> None:
        _, owner, mirror = mesh.servers
        note = await begin(mesh)
        owner.disk.crash_at(sync=1)
        with pytest.raises(OutcomeUnknown):
            await owner.update(note, text="never synced")
        went = next(mark.at for mark in mesh.marks if mark.kind == "crash")
        await mesh.sleep(10)
        late = [
            line for line in mesh.trace.lines()
            if line.split()[1] == "deliver" and line.split()[2] == "1.1" and float(line.split()[0]) > went + 0.5
        ]  # fmt: skip
        assert late == []
        assert mirror.read(note) == {"text": "first"}

    run_world(story, servers=3, seed=5)


def test_a_node_that_falls_on_good_ground_fails_the_run() -> None:
    async def story(mesh: World) -> None:
        (only,) = mesh.servers

        def fall(*_: Any) -> None:
            raise Damaged("a bug of ours")

        only.node.parts.pump._carry_out_all = fall
        only.node.parts.touch()
        await only.define(NOTE)
        await mesh.sleep(60)

    with pytest.raises(Damaged, match="a bug of ours"):
        run_world(story, servers=1, seed=1)


# -- pause


@simulate(nodes=3, seeds=3)
async def test_a_paused_server_does_nothing_and_goes_on_where_it_was(mesh: World) -> None:
    note = await begin(mesh)
    _, owner, mirror = mesh.servers
    for seconds in (1, 90):
        await owner.pause()
        node, turns, writes = owner.node, owner.node.parts.pump.turns, owner.disk.writes
        said = []

        async def say(text: str, said: list[str] = said) -> None:
            await owner.update(note, text=text)
            said.append(text)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(say, f"while paused {seconds}")
            await mesh.sleep(seconds)
            assert (owner.node.parts.pump.turns, owner.disk.writes, said) == (turns, writes, [])
            assert mirror.read(note) != {"text": f"while paused {seconds}"}
            await owner.resume()
        assert owner.node is node
        assert owner.node.parts.pump.turns > turns or seconds == 1
        await mesh.eventually(lambda: mirror.read(note) == owner.read(note), within=60)


@simulate(nodes=3, seeds=2)
async def test_a_paused_server_can_lose_its_power_and_be_told_to_stop(mesh: World) -> None:
    note = await begin(mesh)
    _, owner, mirror = mesh.servers
    await owner.pause()
    await owner.crash()
    assert not owner.paused
    assert mesh.agenda.paused == ()
    await owner.restart()
    assert owner.read(note) is not None
    await mirror.pause()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mirror.stop)
        await mesh.sleep(5)
        assert mirror.running, "a process that is stopped by SIGSTOP does not hear SIGTERM"
        await mirror.resume()
    assert not mirror.running
    with pytest.raises(LocalMistake, match=r"1\.2 is down"):
        await mirror.pause()
    await mirror.resume()


# -- disks


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


# -- clocks


@pytest.mark.parametrize("by_s", [-3600, 3600, -90, 0.5])
def test_a_wall_clock_that_jumps_changes_nothing_that_is_promised(by_s: float) -> None:
    async def story(mesh: World) -> None:
        note = await begin(mesh)
        _, owner, mirror = mesh.servers
        before = owner.up.wall_ms()
        owner.jump_clock(by_s)
        assert owner.up.wall_ms() == before + by_s * 1000
        mirror.set_clock(-by_s)
        await owner.update(note, text="second")
        await mesh.eventually(lambda: mirror.read(note) == {"text": "second"}, within=10)
        await owner.crash()
        await owner.restart()
        assert owner.clock_offset_ms == by_s * 1000, "a clock outlives the power"
        await owner.update(note, text="third")
        await mesh.eventually(lambda: mirror.read(note) == {"text": "third"}, within=30)
        found = await mirror.get(note, consistency="nearest")
        assert found.age is None or 0 <= found.age < 60, "ages are monotonic"
        owner.jump_clock(-by_s)
        mirror.set_clock(0)
        await owner.update(note, text="fourth")
        await mesh.eventually(lambda: mirror.read(note) == {"text": "fourth"}, within=30)

    run_world(story, servers=3, seed=2)


@pytest.mark.parametrize("years", [-5, 20])
def test_who_believes_it_is_another_decade_speaks_to_nobody_until_its_clock_is_right(years: int) -> None:
    """Certificates are judged by the verifier's own clock (DESIGN I3)."""

    async def story(mesh: World) -> None:
        note = await begin(mesh)
        _, owner, mirror = mesh.servers
        await mirror.crash()
        mirror.set_clock(years * 365 * 24 * 3600)
        try:
            await mirror.restart()
        except BangpathError:  # its own certificate has expired, or is not valid yet
            assert not mirror.running
        await owner.update(note, text="second")
        await mesh.sleep(60)
        assert mirror.read(note) != {"text": "second"}
        mirror.set_clock(0)
        if not mirror.running:
            await mirror.restart()
        await mesh.eventually(lambda: mirror.read(note) == {"text": "second"}, within=300)

    run_world(story, servers=3, seed=2)


# -- backups


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


def test_every_fault_is_a_mark_and_replays() -> None:
    async def story(mesh: World) -> None:
        note = await begin(mesh)
        _, owner, mirror = mesh.servers
        owner.set_disk_speed(0.01)
        mirror.rot(4)
        mirror.heal_rot()
        owner.jump_clock(5)
        owner.back_up()
        await owner.pause()
        await mesh.sleep(1)
        await owner.resume()
        await owner.update(note, text="x")
        await owner.crash(torn_write=True)
        await owner.restore()
        await mirror.kill()
        await mirror.restart()
        mirror.set_room(0)
        await mesh.sleep(5)

    first, again, other = (run_world(story, servers=3, seed=seed)[1] for seed in (4, 4, 5))
    assert first.trace.hash == again.trace.hash != other.trace.hash
    kinds = [mark.kind for mark in first.marks]
    assert {"disk", "clock", "backup", "pause", "resume", "crash", "restore", "start"} <= set(kinds)


def test_the_bounds_of_a_simulated_store_are_small_ones() -> None:
    assert BOUNDS.segment_bytes < Settings().segment_bytes


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


def listen(server: SimulatedServer, heard: list[tuple[str, str]]) -> None:
    """Hear what a node notes."""
    note = server.node._log

    def hear(event: dict[str, Any]) -> None:
        heard.append((server.name, event["event"]))
        note(event)

    server.node._log = hear


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
