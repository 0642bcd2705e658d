"""A program that never gives the word back ends with a word about where it stands."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import pytest
import trio

from identity.errors import LocalMistake
from simulations import engine, watchdog


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "SPINS", 2000)
    monkeypatch.setattr(watchdog, "STUCK_S", 0.6)


@pytest.mark.usefixtures("_impatient")
def test_a_loop_in_which_no_time_passes_is_told_with_its_line() -> None:
    async def main(agenda: engine.Agenda) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1)
            while True:
                await trio.lowlevel.checkpoint()

    with pytest.raises(
        LocalMistake, match=rf"time stands still: .*test_watchdog\.py:{main.__code__.co_firstlineno + 4}"
    ):
        engine.run(main, seed=1)


@pytest.mark.usefixtures("_impatient")
def test_many_steps_of_one_instant_are_no_standstill_while_time_goes_on() -> None:
    async def main(agenda: engine.Agenda) -> float:
        for _ in range(4):
            for _ in range(1500):
                await trio.lowlevel.checkpoint()
            await trio.sleep(1)
        return trio.current_time()

    assert engine.run(main, seed=1) == 4


def wait_for_a_lock() -> None:
    threading.Event().wait()


def wait_for_nothing() -> None:
    while trio.current_time() < 1:
        pass


@pytest.mark.usefixtures("_impatient")
@pytest.mark.parametrize("stuck", [wait_for_a_lock, wait_for_nothing])
def test_a_step_that_does_not_end_is_told_with_its_line(stuck: Any) -> None:
    async def main(agenda: engine.Agenda) -> None:
        stuck()

    with pytest.raises(LocalMistake) as told:
        engine.run(main, seed=1)
    assert f"{os.path.relpath(__file__)}:" in str(told.value)
    assert "no step for 0.6 real seconds" in str(told.value)
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_somebody_else_s_alarm_is_left_alone() -> None:
    def theirs(number: int, frame: Any) -> None:
        """Never called here."""

    before = signal.signal(signal.SIGALRM, theirs)
    try:

        async def main(agenda: engine.Agenda) -> Any:
            return signal.getsignal(signal.SIGALRM)

        assert engine.run(main, seed=1) is theirs
        assert signal.getsignal(signal.SIGALRM) is theirs
    finally:
        signal.signal(signal.SIGALRM, before)


def test_elsewhere_than_in_the_main_thread_a_run_does_without_signals() -> None:
    results: list[Any] = []

    async def main(agenda: engine.Agenda) -> int:
        await trio.sleep(1)
        return 7

    thread = threading.Thread(target=lambda: results.append(engine.run(main, seed=1)))
    thread.start()
    thread.join()
    assert results == [7]
