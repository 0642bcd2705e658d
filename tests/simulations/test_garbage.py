"""What a run leaves behind goes, at the same steps in every process."""

from __future__ import annotations

import gc
import weakref

import pytest
import trio

from simulations import engine, garbage


class Circle:
    def __init__(self) -> None:
        self.self = self


@pytest.fixture
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "YOUNG_EVERY", 64)
    monkeypatch.setattr(garbage, "ALL_FROM", 256)


@pytest.mark.usefixtures("_few_steps")
def test_a_finalizer_runs_at_the_same_step_of_every_run() -> None:
    def steps_until_gone(junk: int) -> float:
        gone: list[float] = []

        async def main(agenda: engine.Agenda) -> None:
            kept = [[] for _ in range(junk)]  # what makes Python collect, by itself
            weakref.finalize(Circle(), lambda: gone.append(agenda.now))
            for _ in range(100):
                kept += [[] for _ in range(junk)]
                await trio.sleep(1)

        engine.run(main, seed=1)
        return gone[0]

    assert 0 < steps_until_gone(0) < 100
    assert steps_until_gone(0) == steps_until_gone(1000)


@pytest.mark.usefixtures("_few_steps")
@pytest.mark.parametrize("steps", [10, 1000])
def test_a_run_takes_away_what_the_one_before_left_behind(steps: int) -> None:
    left: list[weakref.ref[Circle]] = []

    async def main(agenda: engine.Agenda) -> None:
        circle = Circle()
        left.append(weakref.ref(circle))
        for _ in range(steps):
            await trio.sleep(1)

    engine.run(main, seed=1)
    engine.run(main, seed=2)
    assert left[0]() is None


def test_pythons_own_collector_is_as_it_was_afterwards() -> None:
    seen: list[bool] = []

    async def main(_: engine.Agenda) -> None:
        seen.append(gc.isenabled())

    assert gc.isenabled()
    engine.run(main, seed=1)
    assert gc.isenabled()
    gc.disable()
    try:
        engine.run(main, seed=1)
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert seen == [False, False]
