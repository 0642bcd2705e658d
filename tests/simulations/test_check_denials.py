"""Whether a server was there to say so, and whether the object was there all the while."""

from __future__ import annotations

import pytest

from simulations.check_denials import was_there, was_up
from simulations.history import History
from simulations.ledger import Ledger, Made, Version
from simulations.marks import Mark
from simulations.world import World, simulate
from store.records import DATA, DELETE, PUT, Leaf

MARKS = [("start", 0.0), ("crash", 10.0), ("start", 20.0), ("pause", 30.0), ("resume", 40.0), ("died", 50.0)]


@pytest.mark.parametrize(
    ("begin", "end", "up"),
    [(1, 2, True), (9, 11, True), (11, 19, False), (19, 21, True), (31, 39, False), (39, 41, True), (51, 60, False)],
)
def test_a_server_that_is_down_or_paused_says_nothing(begin: float, end: float, up: bool) -> None:
    async def story(world: World) -> None:
        world.marks[:] = [Mark(at, kind, ("1.1",)) for kind, at in MARKS] + [Mark(60.0, "crash", ("1.2",))]
        assert was_up(world, "1.1", begin, end) is up

    simulate(story, servers=2, seed=1)


@pytest.mark.parametrize(
    ("asked", "since"),
    [((1, 2), None), ((6, 7), 1), ((4, 7), None), ((6, 12), None), ((11, 12), None), ((21, 22), 3), ((19, 22), None)],
)
def test_an_object_is_denied_wrongly_only_if_it_was_there_from_begin_to_end(
    asked: tuple[int, int], since: int | None
) -> None:
    """Made at tick 5, deleted at 10, made anew at 20."""

    async def story(world: World) -> None:
        ledger = Ledger(world, world.history)
        for number, (tick, body) in enumerate([(5, b"x"), (10, b""), (20, b"x")], start=1):
            leaf = Leaf(9, number, b"", PUT if body else DELETE, b"", b"", body)
            entry = Made(number, b"", tick, 0.0, (leaf,), tick)
            ledger.made.setdefault(("1.1", DATA), {})[number] = entry
            ledger._versions.setdefault("1.1", {}).setdefault(9, []).append(Version(number, leaf))
        with History(lambda: 0.0).word("1.2", "1.1", "get", target="1.1/9") as word:
            pass
        word.begin, word.end = asked
        assert was_there(ledger, word, 9) == since

    simulate(story, servers=2, seed=1)
