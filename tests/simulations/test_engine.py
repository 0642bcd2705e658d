"""trio on virtual time: the same seed takes the same steps, in any process."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from identity.errors import LocalMistake
from simulations import engine
from simulations.world import World, simulate

STORY = """
import hashlib, random, sys
import trio
from simulations import engine

steps = []
junk = [object() for _ in range(random.SystemRandom().randrange(50_000))]  # other addresses in every process

async def main(agenda):
    async def aborted(number):
        def abort(_):
            steps.append(("abort", number))
            return trio.lowlevel.Abort.SUCCEEDED
        with trio.move_on_at(2.0):
            await trio.lowlevel.wait_task_rescheduled(abort)
    async def ties(number):
        for step in range(4):
            with trio.move_on_at(trio.current_time() + 1):
                await trio.sleep_forever()
            steps.append((number, step, trio.current_time()))
    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(ties, number)
            nursery.start_soon(aborted, number)
            agenda.at(0.5, lambda number=number: steps.append(("event", number)))

engine.run(main, seed=int(sys.argv[1]))
print(hashlib.sha256(repr(steps).encode()).hexdigest())
"""


def trace_in_a_fresh_process(seed: int, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", STORY, str(seed)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_one_seed_takes_the_same_steps_in_every_process() -> None:
    first = trace_in_a_fresh_process(7, "0")
    assert first == trace_in_a_fresh_process(7, "4711")
    assert first != trace_in_a_fresh_process(8, "0")


def test_an_hour_takes_no_time_and_the_clock_stands_where_it_should() -> None:
    async def main(agenda: engine.Agenda) -> float:
        await trio.sleep(3600)
        return agenda.now

    assert engine.run(main, seed=1) == 3600.0


def test_events_happen_in_order_of_time() -> None:
    happened: list[str] = []

    async def main(agenda: engine.Agenda) -> None:
        agenda.at(2.0, lambda: happened.append("late"))
        agenda.at(1.0, lambda: happened.append("early"))
        await trio.sleep(1.5)
        happened.append("between")
        await trio.sleep(1)

    engine.run(main, seed=1)
    assert happened == ["early", "between", "late"]


def test_events_that_wake_nobody_hold_nobody_up() -> None:
    seen: list[tuple[str, float]] = []

    async def main(agenda: engine.Agenda) -> None:
        woken = trio.Event()
        for number in range(1, 100):
            agenda.at(number / 100, lambda: None)
        agenda.at(0.255, woken.set)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def _() -> None:
                await trio.sleep(0.505)
                seen.append(("slept", agenda.now))

            await woken.wait()
            seen.append(("woken", agenda.now))

    engine.run(main, seed=1)
    assert seen == [("woken", 0.255), ("slept", 0.505)]


def test_a_deadlock_is_named_and_not_a_hang() -> None:
    async def main(agenda: engine.Agenda) -> None:
        await trio.sleep_forever()

    with pytest.raises(LocalMistake, match="every task waits and nothing is due"):
        engine.run(main, seed=1)


def in_the_name_of(name: str, nursery: trio.Nursery, what: Callable[..., Awaitable[None]], *args: object) -> None:
    before = engine.actor.set(name)
    nursery.start_soon(what, *args)
    engine.actor.reset(before)


def test_a_paused_actor_takes_no_step_and_then_all_that_it_missed() -> None:
    steps: list[tuple[str, float]] = []

    async def ticks(name: str) -> None:
        for _ in range(6):
            await trio.sleep(1)
            steps.append((name, trio.current_time()))

    async def main(agenda: engine.Agenda) -> None:
        async with trio.open_nursery() as nursery:
            in_the_name_of("a", nursery, ticks, "a")
            in_the_name_of("b", nursery, ticks, "b")
            await trio.sleep(2.5)
            agenda.pause("a")
            assert agenda.paused == ("a",)
            await trio.sleep(3)
            agenda.resume("a")
            agenda.resume("never paused")

    engine.run(main, seed=1)
    assert [at for name, at in steps if name == "b"] == [1, 2, 3, 4, 5, 6]
    assert [at for name, at in steps if name == "a"] == [1, 2, 5.5, 6.5, 7.5, 8.5]


@pytest.mark.parametrize("seed", range(5))
def test_no_task_of_a_paused_actor_runs_even_when_it_was_about_to(seed: int) -> None:
    """All wake in one batch; one of them pauses the others, those in the batch and those woken after it."""
    paused = False
    after: list[int] = []
    ran: list[int] = []

    async def woken(number: int, event: trio.Event) -> None:
        await event.wait()
        (after if paused else ran).append(number)
        inner.set()

    async def pauses(agenda: engine.Agenda, event: trio.Event) -> None:
        nonlocal paused
        await event.wait()
        agenda.pause("a")
        agenda.pause("a")
        inner.set()
        paused = True

    inner = trio.Event()

    async def main(agenda: engine.Agenda) -> None:
        nonlocal paused
        event = trio.Event()
        async with trio.open_nursery() as nursery:
            for number in range(20):
                in_the_name_of("a", nursery, woken, number, event)
            in_the_name_of("a", nursery, woken, 20, inner)
            in_the_name_of("b", nursery, pauses, agenda, event)
            await trio.testing.wait_all_tasks_blocked()
            event.set()
            await trio.sleep(10)
            assert not after
            agenda.pause("b")
            agenda.resume_all()
            assert agenda.paused == ()

    engine.run(main, seed=seed)
    assert after
    assert sorted(ran + after) == list(range(21))


def test_a_paused_actor_is_named_when_everybody_waits_for_it() -> None:
    async def sleeps() -> None:
        await trio.sleep(1)

    async def main(agenda: engine.Agenda) -> None:
        async with trio.open_nursery() as nursery:
            in_the_name_of("1.7", nursery, sleeps)
            agenda.pause("1.7")

    with pytest.raises(LocalMistake, match=r"paused: 1\.7"):
        engine.run(main, seed=1)


def test_a_world_ends_while_a_server_is_paused() -> None:
    """What the story returned or raised is told, and no deadlock."""

    async def story(world: World) -> int:
        await world.sleep(1)
        world.agenda.pause("1.1")
        await world.sleep(1)
        if world.seed == 2:
            raise ValueError("its own failure")
        return 5

    assert simulate(story, servers=2, seed=1)[0] == 5
    with pytest.raises(ValueError, match="its own failure"):
        simulate(story, servers=2, seed=2)


def test_what_belongs_to_nobody_cannot_be_paused() -> None:
    async def main(agenda: engine.Agenda) -> None:
        agenda.pause("")

    with pytest.raises(LocalMistake, match="belongs to no actor"):
        engine.run(main, seed=1)


def test_what_comes_from_a_signal_or_a_finalizer_is_seen_at_once() -> None:
    """It comes by a real socket, at which the simulator looks only when trio's queue of such calls has some."""
    seen: list[float] = []

    async def main(agenda: engine.Agenda) -> None:
        await trio.sleep(1)
        trio.lowlevel.current_trio_token().run_sync_soon(lambda: seen.append(agenda.now))
        await trio.sleep(5)

    engine.run(main, seed=1)
    assert seen == [1.0]


# -- the contract with trio: which of its private names the engine uses, and what it believes about each


MOVED = "trio {version} has moved it: mend simulations/engine.py, the one file that touches it, and this test"


def moved(what: str) -> str:
    return f"{what}: " + MOVED.format(version=trio.__version__)


def test_trio_still_has_every_private_name() -> None:
    from trio._core import _run

    for name in ("_ALLOW_DETERMINISTIC_SCHEDULING", "_r", "TheIOManager", "Deadlines", "GLOBAL_RUN_CONTEXT", "Runner"):
        assert hasattr(_run, name), moved(f"trio._core._run.{name}")
    assert isinstance(_run._ALLOW_DETERMINISTIC_SCHEDULING, bool), moved("_ALLOW_DETERMINISTIC_SCHEDULING")
    runner = {field.name for field in _run.Runner.__attrs_attrs__}
    assert {"runq", "entry_queue", "deadlines"} <= runner, moved("Runner.runq, Runner.entry_queue, Runner.deadlines")
    queues = {field.name for field in _run.EntryQueue.__attrs_attrs__}
    assert {"queue", "idempotent_queue"} <= queues, moved("EntryQueue.queue, EntryQueue.idempotent_queue")
    fields = {field.name for field in _run.Deadlines.__attrs_attrs__}
    assert {"_heap", "_active"} <= fields, moved("Deadlines._heap, Deadlines._active")
    assert hasattr(_run.TheIOManager, "get_events"), moved("TheIOManager.get_events")


def test_trio_still_shuffles_each_batch_and_takes_from_its_end() -> None:
    from trio._core import _run

    batches: list[list[str]] = []
    steps: list[str] = []

    class Seen(random.Random):
        def shuffle(self, batch: list[trio.lowlevel.Task]) -> None:  # type: ignore[override]
            batch.reverse()
            batches.append([task.name for task in batch])

    async def step(name: str) -> None:
        steps.append(name)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(step, name, name=name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_run, "_r", Seen())
        patch.setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        trio.run(main)
    assert ["c", "b", "a"] in batches, moved("_r.shuffle(batch), sorted by age before it")
    assert steps == ["a", "b", "c"], moved("the batch is taken from its end")


def test_trio_still_appends_to_its_run_queue_and_reads_it_each_time() -> None:
    from collections import deque

    from trio._core import _run

    appended: list[str] = []

    class Seen(deque[trio.lowlevel.Task]):
        def append(self, task: trio.lowlevel.Task) -> None:
            appended.append(task.name)
            super().append(task)

    async def main() -> None:
        runner = _run.GLOBAL_RUN_CONTEXT.runner
        assert runner.runq is not None, moved("GLOBAL_RUN_CONTEXT.runner.runq")
        runner.runq = Seen(runner.runq)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0, name="new")
        assert trio.lowlevel.current_task().context.get(engine.actor, "") == "", moved("Task.context")

    trio.run(main)
    assert appended.count("new") == 2, moved("Runner.runq.append")


def test_trio_still_asks_deadlines_by_add_and_time_by_its_clock() -> None:
    from trio._core import _run

    added: list[float] = []
    add = _run.Deadlines.add

    def seen(self: _run.Deadlines, deadline: float, scope: trio.CancelScope) -> None:
        added.append(deadline)
        add(self, deadline, scope)

    async def main(agenda: engine.Agenda) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_run.Deadlines, "add", seen)
            await trio.sleep(4)
        assert agenda.next_deadline == 4.0, moved("Clock.deadline_to_sleep_time, asked before each wait")

    engine.run(main, seed=1)
    assert added == [4.0], moved("Deadlines.add")


def test_trio_is_as_it_was_afterwards() -> None:
    from trio._core import _run

    def names() -> tuple[object, ...]:
        kept = (_run.TheIOManager, _run._ALLOW_DETERMINISTIC_SCHEDULING, _run.Deadlines.add, _run._r)
        return (*kept, _run._r.getstate())

    before = names()

    async def main(agenda: engine.Agenda) -> None:
        await trio.sleep(1)
        assert _run._ALLOW_DETERMINISTIC_SCHEDULING is True
        for one, other in zip(names(), before, strict=True):
            assert one is not other or one is True  # pytest-trio has set that one too

    engine.run(main, seed=1)
    assert names() == before
