"""trio on virtual time: the same seed takes the same steps, in any process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import trio

from identity.errors import LocalMistake
from simulations import engine

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


def test_a_deadlock_is_named_and_not_a_hang() -> None:
    async def main(agenda: engine.Agenda) -> None:
        await trio.sleep_forever()

    with pytest.raises(LocalMistake, match="every task waits and nothing is due"):
        engine.run(main, seed=1)


def test_trio_is_as_it_was_afterwards() -> None:
    """The private names that the engine replaces; when this fails, a new trio has moved them: see the engine's head."""
    from trio._core import _run

    before = (_run.TheIOManager, _run._ALLOW_DETERMINISTIC_SCHEDULING, _run.Deadlines.add, _run._r.getstate())

    async def main(agenda: engine.Agenda) -> None:
        await trio.sleep(1)

    engine.run(main, seed=1)
    assert before == (_run.TheIOManager, _run._ALLOW_DETERMINISTIC_SCHEDULING, _run.Deadlines.add, _run._r.getstate())
