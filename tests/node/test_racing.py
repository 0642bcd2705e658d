"""Several who may answer: the first good answer wins, and nobody waits long for the dead."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from identity.errors import NotFound, Unreachable
from node.racing import Attempt, race, until, until_good


class Track:
    """Runners by name; what they did, when."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}
        self.cancelled: list[str] = []
        self.zero = trio.current_time()

    def runner(
        self, name: str, *, after_s: float = 0.0, fails: bool = False, gap_s: float = 0.0, leads: bool = False
    ) -> Attempt[str]:
        return Attempt(name, self._run(name, after_s, fails), gap_s, leads)

    def _run(self, name: str, after_s: float, fails: bool) -> Callable[[], Awaitable[str]]:
        async def run() -> str:
            self.began[name] = round(trio.current_time() - self.zero, 3)
            try:
                await trio.sleep(after_s)
            except trio.Cancelled:
                self.cancelled.append(name)
                raise
            if fails:
                raise Unreachable(name)
            return name

        return run


async def test_the_next_begins_when_the_one_before_had_its_time(autojump_clock: trio.testing.MockClock) -> None:
    track = Track()
    front = [
        track.runner("owner", after_s=100, gap_s=0.7),
        track.runner("a", after_s=100, gap_s=0.2),
        track.runner("b", after_s=0.1, gap_s=0.2),
        track.runner("c"),
    ]
    raced = await race(front, deadline=trio.current_time() + 30)
    assert raced.answer == "b"
    assert track.began == {"owner": 0.0, "a": 0.7, "b": 0.9}
    assert sorted(track.cancelled) == ["a", "owner"]


async def test_the_next_begins_at_once_when_one_has_failed(autojump_clock: trio.testing.MockClock) -> None:
    track = Track()
    front = [
        track.runner("owner", after_s=0.1, fails=True, gap_s=10),
        track.runner("a", after_s=0.3, fails=True, gap_s=10),
        track.runner("b"),
    ]
    raced = await race(front, deadline=trio.current_time() + 30)
    assert raced.answer == "b"
    assert track.began == {"owner": 0.0, "a": 0.1, "b": 0.4}
    assert sorted(raced.errors) == ["a", "owner"]


async def test_the_rear_waits_for_the_leader_and_then_not_long_for_the_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for others_fail, began in ((True, 1.5), (False, 3.0)):
        track = Track()
        front = [
            track.runner("owner", after_s=1, fails=True, gap_s=0.5, leads=True),
            track.runner("a", after_s=1 if others_fail else 100, fails=True),
        ]
        raced = await race(front, [track.runner("kept")], deadline=trio.current_time() + 30, spare_s=2)
        assert raced.answer == "kept"
        assert track.began["kept"] == began
    track = Track()
    front = [track.runner("owner", after_s=20, leads=True), track.runner("a", fails=True)]
    assert (await race(front, [track.runner("kept")], deadline=trio.current_time() + 30)).answer == "owner"


async def test_when_all_have_failed_nobody_waits_for_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    track = Track()
    raced = await race(
        [track.runner("owner", fails=True, leads=True, gap_s=1)],
        [track.runner("kept", after_s=1, fails=True)],
        deadline=trio.current_time() + 30,
        spare_s=5,
    )
    assert raced.answer is None
    assert sorted(raced.errors) == ["kept", "owner"]
    assert trio.current_time() - track.zero < 3
    assert (await race([], deadline=trio.current_time() + 30)).answer is None


async def test_the_deadline_ends_it(autojump_clock: trio.testing.MockClock) -> None:
    track = Track()
    raced = await race([track.runner("owner", after_s=100)], deadline=trio.current_time() + 5)
    assert (raced.answer, track.cancelled) == (None, ["owner"])
    assert trio.current_time() - track.zero == pytest.approx(5)


async def test_a_final_word_ends_it(autojump_clock: trio.testing.MockClock) -> None:
    track = Track()

    async def none() -> str:
        raise NotFound("there is none")

    with pytest.raises(NotFound):
        await race(
            [track.runner("a", after_s=100), Attempt("owner", none)],
            deadline=trio.current_time() + 5,
            is_final=lambda name, error: name == "owner",
        )
    assert trio.current_time() == track.zero


async def test_a_mistake_of_ours_is_told_as_it_is(autojump_clock: trio.testing.MockClock) -> None:
    async def wrong() -> str:
        raise KeyError("ours")

    with pytest.raises(KeyError):
        await race([Attempt("a", wrong)], deadline=trio.current_time() + 5)


async def test_who_is_not_needed_is_never_looked_for(autojump_clock: trio.testing.MockClock) -> None:
    track = Track()

    def front() -> object:
        yield track.runner("owner", gap_s=1)
        raise AssertionError("it has answered")

    assert (await race(front(), deadline=trio.current_time() + 5)).answer == "owner"  # type: ignore[arg-type]


async def test_asked_again_while_time_may_heal_it(autojump_clock: trio.testing.MockClock) -> None:
    answers = iter([Unreachable("behind", behind="x"), Unreachable("behind", behind="x"), "good"])

    async def ask() -> str:
        answer = next(answers)
        if isinstance(answer, Unreachable):
            raise answer
        return answer

    begun = trio.current_time()
    assert await until_good(ask, again=lambda error: "behind" in error.details, every_s=0.5) == "good"
    assert trio.current_time() - begun == pytest.approx(1.0)
    answers = iter([Unreachable("gone")])
    with pytest.raises(Unreachable):
        await until_good(ask, again=lambda error: "behind" in error.details, every_s=0.5)
    seen = iter([None, None, 7])
    assert await until(lambda: next(seen), every_s=0.5) == 7
