"""A standby acts as its task would have."""

from __future__ import annotations

import pytest
import trio

from identity.errors import LocalMistake
from simulations import engine, watchdog
from simulations.standby import Standby


def never() -> bool:
    return False


async def serve(standby: Standby, name: str) -> None:
    engine.actor.set(name)
    await standby.serve()


def test_it_acts_at_the_end_of_the_instant_once_and_under_its_own_name() -> None:
    happened: list[str] = []

    async def main(agenda: engine.Agenda) -> None:
        standby = Standby(agenda, lambda: happened.append(f"{engine.actor.get()} at {agenda.now}"), never)
        standby.call()  # nobody stands by yet
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, standby, "one")
            for _ in range(3):
                agenda.at(1.0, standby.call)
                agenda.at(1.0, lambda: happened.append("event"))
            agenda.at(2.0, standby.call)
            await trio.sleep(3)
            nursery.cancel_scope.cancel()
        agenda.at(4.0, standby.call)
        await trio.sleep(5)

    engine.run(main, seed=1)
    assert happened == ["event", "event", "event", "one at 1.0", "one at 2.0"]


def test_what_it_wakes_goes_on_at_once_and_what_it_lets_wait_shorter_is_not_passed_over() -> None:
    seen: list[tuple[str, float]] = []

    async def main(agenda: engine.Agenda) -> None:
        woken, scope = trio.Event(), trio.CancelScope()

        def act() -> None:
            if agenda.now == 1.0:
                scope.deadline = 2.5  # trio was told of no deadline before the next event, 3.0
            else:
                woken.set()

        standby = Standby(agenda, act, never)
        agenda.at(1.0, standby.call)
        agenda.at(3.0, standby.call)
        agenda.at(4.0, lambda: None)

        async def sleep() -> None:
            with scope:
                await trio.sleep_forever()
            seen.append(("slept", agenda.now))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, standby, "one")
            nursery.start_soon(sleep)
            await woken.wait()
            seen.append(("woken", agenda.now))
            nursery.cancel_scope.cancel()

    engine.run(main, seed=1)
    assert seen == [("slept", 2.5), ("woken", 3.0)]


def test_it_may_begin_tasks_which_belong_to_its_actor() -> None:
    seen: list[str] = []

    async def main(agenda: engine.Agenda) -> None:
        async def begun() -> None:
            seen.append(engine.actor.get())
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            standby = Standby(agenda, lambda: nursery.start_soon(begun), never)
            nursery.start_soon(serve, standby, "one")
            agenda.at(1.0, standby.call)

    engine.run(main, seed=1)
    assert seen == ["one"]


def test_a_paused_one_acts_when_it_is_resumed() -> None:
    seen: list[float] = []

    async def main(agenda: engine.Agenda) -> None:
        standby = Standby(agenda, lambda: seen.append(agenda.now), never)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, standby, "one")
            await trio.sleep(0.5)
            agenda.pause("one")
            for at in (1.0, 2.0):
                agenda.at(at, standby.call)
            await trio.sleep(3)
            assert not seen
            agenda.resume("one")
            await trio.sleep(1)
            agenda.at(6.0, standby.call)
            await trio.sleep(3)
            nursery.cancel_scope.cancel()

    engine.run(main, seed=1)
    assert seen == [3.5, 6.0]


def test_what_it_raises_is_its_tasks() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    async def main(agenda: engine.Agenda) -> str:
        standby = Standby(agenda, fail, never)
        agenda.at(1.0, standby.call)
        agenda.at(1.5, lambda: None)
        with pytest.raises(ZeroDivisionError):
            await standby.serve()
        return f"told at {agenda.now}"

    assert engine.run(main, seed=1) == "told at 1.0"


def test_what_it_raises_is_its_tasks_even_where_it_has_ended_that() -> None:
    async def main(agenda: engine.Agenda) -> None:
        def act() -> None:
            scope.cancel()
            raise ZeroDivisionError

        standby = Standby(agenda, act, never)
        agenda.at(1.0, standby.call)
        with trio.CancelScope() as scope:
            await standby.serve()

    with pytest.raises(ZeroDivisionError):
        engine.run(main, seed=1)


def test_it_may_be_called_by_a_task_or_by_what_it_does_itself() -> None:
    seen: list[float] = []

    async def main(agenda: engine.Agenda) -> None:
        def act() -> None:
            seen.append(agenda.now)
            if len(seen) < 3:
                standby.call()

        standby = Standby(agenda, act, never)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, standby, "one")
            agenda.at(1.0, standby.call)
            await trio.sleep(2)
            assert seen == [1.0, 1.0, 1.0]
            standby.call()
            await trio.sleep(1)
            nursery.cancel_scope.cancel()

    engine.run(main, seed=1)
    assert seen == [1.0, 1.0, 1.0, 2.0]


@pytest.mark.parametrize("left", [1, 5])
def test_others_go_first_where_there_is_more_to_do(left: int) -> None:
    steps: list[str] = []

    async def main(agenda: engine.Agenda) -> None:
        left_now = 0

        def act() -> None:
            nonlocal left_now
            left_now -= 1
            steps.append("act")
            other.set()

        def more() -> bool:
            return left_now > 0

        def begin() -> None:
            nonlocal left_now
            left_now = left
            standby.call()

        other = trio.Event()
        standby = Standby(agenda, act, more)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, standby, "one")
            agenda.at(1.0, begin)
            await other.wait()
            steps.append("other")
            await trio.sleep(1)
            nursery.cancel_scope.cancel()

    engine.run(main, seed=1)
    assert sorted(steps) == ["act"] * left + ["other"]
    assert "other" in steps[1:3]


def test_one_that_never_lets_time_go_on_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "SPINS", 1000)

    async def main(agenda: engine.Agenda) -> None:
        standby = Standby(agenda, lambda: None, lambda: agenda.now >= 1.0)
        agenda.at(1.0, standby.call)
        await standby.serve()

    with pytest.raises(LocalMistake, match="steps were taken and time stands still"):
        engine.run(main, seed=1)


def test_a_deadlock_among_those_that_stand_by_is_named() -> None:
    async def main(agenda: engine.Agenda) -> None:
        await Standby(agenda, lambda: None, never).serve()

    with pytest.raises(LocalMistake, match="every task waits and nothing is due"):
        engine.run(main, seed=1)
