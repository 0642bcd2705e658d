"""Whatever befalls a machine, its real node keeps what it promised; and whatever is said to befall it really does."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from identity.errors import BangpathError, Damaged, LocalMistake, OutcomeUnknown, Refused
from simulations.machine import BOUNDS, TIGHT
from simulations.plugin import simulate
from simulations.world import World
from simulations.world import simulate as run_world
from store.database import Settings
from tests.simulations.machine_lab import NOTE, TINY, Answered, begin


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
        port, heard = owner.node.parts.port, owner.disk._when_cut
        deaf: list[bool] = []

        def cut() -> None:
            assert heard is not None
            heard()
            with pytest.raises(trio.ClosedResourceError):
                port.receive_into(memoryview(bytearray(2000)))
            deaf.append(True)

        owner.disk._when_cut = cut
        with pytest.raises(OutcomeUnknown):
            await owner.update(note, text="never synced")
        assert deaf, "in the very step in which it goes"
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

        async def ask(said: list[str] = said) -> None:
            assert (await owner.get(note)).fields["text"]
            said.append("answered")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(say, f"while paused {seconds}")
            nursery.start_soon(ask)
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


def test_every_other_machine_has_a_log_of_many_segments() -> None:
    assert TIGHT.segment_bytes < BOUNDS.segment_bytes < Settings().segment_bytes

    async def story(mesh: World) -> None:
        of = {bounds: [each for each in mesh.servers if each.bounds == bounds] for bounds in (BOUNDS, TIGHT)}
        assert min(map(len, of.values())) >= 2
        owner = of[TIGHT][0]
        await owner.define(NOTE)
        for _ in range(40):
            await owner.create("Note", {"text": mesh.random.randbytes(700).hex()})  # what does not get smaller
        assert len(owner.node.parts.database._writer.log._segments) >= 3

    run_world(story, servers=10, seed=4)
