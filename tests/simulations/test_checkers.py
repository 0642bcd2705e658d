"""Promises are asked for by name, in tests and in scenarios; and nobody is accused wrongly.

That each checker notices what it is for is shown in test_checkers_notice.py.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from identity.errors import Refused
from simulations import checkers
from simulations.checkers import check, every_checker, expect, watching
from simulations.promises import PromiseBroken
from simulations.scenario import parse, run_scenario
from simulations.world import World, simulate
from store.definitions import ClassDefinition, Field

NOTE = ClassDefinition(name="Note", fields=(Field(name="text"),))


def run(text: str, *, seed: int = 1) -> PromiseBroken | None:
    return run_scenario(parse(text), seed=seed, checkers=every_checker()).broken


def test_a_test_asks_for_the_promises_it_cares_about() -> None:
    async def story(mesh: World) -> None:
        a, b = mesh.servers[1:3]
        await a.define(NOTE)
        await b.mirror(a)
        with mesh.partition({a}, {b, mesh.servers[0]}):
            await a.create("Note", {"text": "hi"})
            mesh.check(checkers.no_loops, checkers.no_lost_commits)
            with pytest.raises(PromiseBroken, match=r"1\.2 has 0 of 1 updates of 1\.1's data feed") as broken:
                mesh.check(checkers.no_loops, checkers.converged)
            assert (broken.value.promise, broken.value.checker) == ("P3", "converged")
        assert await expect(mesh, [checkers.converged], within=30) < 30
        mesh.check(checkers.converged)
        mesh.check()  # all of them, though who is reached is not known at once
        await mesh.expect(within=30)

    simulate(story, servers=3, seed=2)


def test_what_is_no_promise_is_refused_with_those_there_are() -> None:
    async def story(mesh: World) -> None:
        with pytest.raises(Refused, match="no lost commits"):
            check(mesh, [str])  # type: ignore[list-item]  # that is the point

    simulate(story, servers=1, seed=2)


def test_a_checker_that_watches_is_the_one_that_is_asked() -> None:
    async def story(mesh: World) -> None:
        assert watching(mesh, checkers.no_loops) is watching(mesh, checkers.no_loops)
        assert len(mesh.checkers) == 1

    simulate(story, servers=1, seed=2)


def test_a_promise_that_is_expected_and_does_not_hold_ends_the_run() -> None:
    text = "servers 3\nclass Note text:string\n1.2 mirrors 1.1\npart 1.2 | 1 1.1\n1.1 commits 1 Note\n"

    broken = run(text + "expect converged within 3s")

    assert broken is not None
    assert broken.said.startswith("not within 3 s: ")
    assert broken.said.endswith("1.2 has 0 of 1 updates of 1.1's data feed")
    assert run(text + "heal\nexpect converged within 30s\nexpect no lost commits") is None


def test_what_nobody_promises_is_refused_when_it_is_read() -> None:
    with pytest.raises(Refused, match="expect every promise within 120s"):
        parse("servers 3\nexpect every promis within 120s")


def test_the_page_has_every_checker_with_its_promise() -> None:
    page = (Path(__file__).parents[2] / "docs" / "simulator-promises.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (P\d|bounds) \| `([a-z ]+)` \|", page, re.MULTILINE)
    assert sorted(rows) == sorted((kind.promise, kind.name) for kind in checkers.KINDS)


SPARED = {
    "an owner that came back in time": """
servers 3
class Note text:string
1.2 mirrors 1.1
1.1 commits 2 Note
run 2s
back up 1.1
1.1 commits 5 Note
run 2s
restore 1.1
run 30s
1.1 commits 3 Note
run 5s
1.2 gets 3 Note of 1.1
expect every promise within 30s
""",
    "a mirror that came back in time": """
servers 3
class Note text:string
1.2 mirrors 1.1
1.1 commits 2 Note
run 2s
back up 1.2
1.1 commits 5 Note
run 2s
restore 1.2
run 10s
1.2 gets 3 Note of 1.1
expect every promise within 60s
""",
    "a mirror that is none any more, and keeps a copy": """
servers 2
class Note text:string
1.1 mirrors 1
1 commits 1 Note
at 1s 1.1 stops mirroring 1
at 1s 1.1 commits 1 Note at 1
1 deletes 1 Note
at 2s 1.1 gets 1 Note of 1 by their owner
run 3s
expect every promise within 60s
""",
    "an owner that lies": """
servers 4
class Note text:string
1.2 mirrors 1.1
1.3 mirrors 1.1
1.1 commits 2 Note
run 2s
1.1 turns hostile: forges
1.1 commits 6 Note
run 10s
expect every promise within 60s
""",
}


@pytest.mark.parametrize("text", SPARED.values(), ids=SPARED)
def test_nobody_is_accused_wrongly(text: str) -> None:
    for seed in (1, 2, 3):
        assert run(text, seed=seed) is None
