"""Who tells two stories is found out in the end, or whoever was told them is named; and nobody is accused wrongly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

import pytest

from replication.forks import Forks
from simulations.check_forks import ForksAreProven
from simulations.promises import PromiseBroken
from simulations.scenario import parse, run_scenario

TWO_STORIES = """
servers 4
class Note text:string
1 commits 2 Note
1.1 mirrors 1
1.2 mirrors 1
1.3 mirrors 1
run 5s
1 turns hostile: tells two stories
1 commits 5 Note
run 5s
"""


def broken(text: str, *, seed: int = 1) -> PromiseBroken | None:
    text += "expect forks are proven within 10s\n"
    return run_scenario(parse(text), seed=seed, checkers=[ForksAreProven()]).broken


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Who tells forks does nothing of these."""
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(Forks, name, return_value=None))
        yield


def test_two_stories_are_found_out() -> None:
    assert broken(TWO_STORIES) is None


def test_two_stories_that_nobody_is_convicted_of_are_seen() -> None:
    with without("_quarantine"):
        found = broken(TWO_STORIES)
    assert found is not None
    assert (found.promise, found.checker) == ("P2", "forks are proven")
    assert "hold different updates 3 of 1's data feed, both signed in epoch 1; without a proof" in found.said


def test_two_who_met_only_after_their_crashes_find_it_out_from_their_logs() -> None:
    text = TWO_STORIES.replace("servers 4", "servers 3").replace("1.3 mirrors 1\n", "")
    text = text.replace("run 5s\n1 turns", "run 5s\ncut 1.1 <> 1.2\n1 turns").replace(
        "stories\n", "stories, swallows\n"
    )
    apart = text + "isolate 1\ncrash 1.1\ncrash 1.2\nrestart 1.1\nrestart 1.2\nrun 2s\n"
    found = broken(apart)
    assert found is not None
    assert found.said.endswith("without a proof of that: 1.1, 1.2")
    assert broken(apart + "mend 1.1 > 1.2\nmend 1.2 > 1.1\n") is None


@pytest.mark.parametrize("lines", ["", "1 turns hostile: rolls back\n1 commits 3 Note\nrun 20s\n"])
def test_one_story_and_stores_that_pretend_to_come_back_in_time_accuse_nobody(lines: str) -> None:
    text = TWO_STORIES.replace("1 turns hostile: tells two stories\n", "") + lines
    with without("_quarantine"):
        assert broken(text) is None


def test_a_prefix_of_one_of_the_stories_is_no_other_story() -> None:
    text = TWO_STORIES.replace("1.1 mirrors 1\n1.2 mirrors 1\n", "")
    with without("_quarantine"):
        assert broken(text) is None
