"""Who mirrors whom is what was said: patterns are read by the checker itself, and what is lost is missing."""

from __future__ import annotations

from typing import Any

import pytest

from simulations.check_asked import MirrorsAsAsked, asks_for, patterns_told
from simulations.world import World, simulate


@pytest.mark.parametrize(
    ("pattern", "owner", "asked"),
    [
        ("1.1", "1.1", True),
        ("1.1", "1.1.1", False),
        ("1.*", "1.1.1", True),
        ("1.*", "1", False),
        ("1.*", "11.1", False),
        ("*", "1", True),
        ("*,-1.1", "1.1", False),
        ("*,-1.*,1.1", "1.1", True),
        ("-1.1,1.*", "1.1", True),
        ("-1.1", "1.2", False),
    ],
)
def test_the_last_rule_that_fits_decides(pattern: str, owner: str, asked: bool) -> None:
    assert asks_for(pattern, owner) is asked


def test_a_pattern_is_told_until_it_is_ended_and_not_where_nobody_knows() -> None:
    async def story(world: World) -> None:
        one = world.server("1")
        await one.mirror("1.*,-1.2")
        await one.mirror("1.1", "backup")
        assert patterns_told(world, "1") == ["1.*,-1.2", "1.1"]
        await one.unmirror("1.1")
        assert patterns_told(world, "1") == ["1.*,-1.2"]
        world.mark("restore", "1", told=True)
        assert patterns_told(world, "1") == []

    simulate(story, servers=3, seed=1)


def test_a_pattern_that_was_lost_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        one, checker = world.server("1"), MirrorsAsAsked()
        await one.mirror("1.*,-1.2")
        assert checker.finish(world) == ""
        there: Any = one.node.parts.mirroring  # type: ignore[union-attr]  # it is up
        monkeypatch.setattr(there, "patterns", list)
        assert checker.finish(world) == "1 does not mirror 1.1 any more, asked for by 1.*,-1.2"

    simulate(story, servers=3, seed=1)
