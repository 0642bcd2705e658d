"""Mirrors of one owner, and of all that a pattern asks for, as lines of a scenario."""

from __future__ import annotations

import pytest

from identity.errors import Refused
from simulations.scenario import parse, run_scenario
from simulations.verbs_mirrors import pattern_of

HEAD = "servers 4\nclass Note text:string\n1.1 commits 2 Note\n1.3 commits 2 Note\n"


def holds(lines: str) -> None:
    run_scenario(parse(HEAD + lines), seed=1)


def test_a_pattern_is_bangpaths_own_text_or_prose() -> None:
    assert pattern_of("1.*", "1.3 1.4") == "1.*,-1.3,-1.4" == pattern_of("1.*,-1.3,-1.4", None)
    assert pattern_of("*", None) == "*"


@pytest.mark.parametrize("pattern", ["1.*", "*", "1.* but not 1.2", "1.*,-1.2", "-1.2,1.1,1.3"])
def test_all_that_it_matches_are_mirrored(pattern: str) -> None:
    holds(f"1 mirrors {pattern}\nexpect 1 has all of 1.1 within 5s\nexpect 1 has all of 1.3 within 5s")


def test_who_is_excluded_is_not_mirrored_and_nobody_lacks_it_for_that() -> None:
    holds("1 mirrors 1.* but not 1.3\nrun 5s\nexpect 1 has all of 1.1\nexpect 1 lacks some of 1.3\n"
          "expect every promise within 30s")  # fmt: skip


def test_of_two_patterns_that_overlap_one_may_end() -> None:
    holds("1 mirrors 1.*\n1 mirrors *,-1.3\n1 stops mirroring 1.*\nrun 2s\n1.1 commits 1 Note\n1.3 commits 1 Note\n"
          "run 2s\nexpect 1 has all of 1.1\nexpect 1 lacks some of 1.3")  # fmt: skip


def test_who_stops_says_the_pattern_that_it_said() -> None:
    holds("1 mirrors 1.* but not 1.3\n1 stops mirroring 1.*,-1.3")
    with pytest.raises(Refused, match=r"no line lets 1 mirror 1\.\*; it does by: 1 mirrors 1\.\* but not 1\.3"):
        holds("1 mirrors 1.* but not 1.3\n1 stops mirroring 1.*")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("1.1 mirrors 1.1", "needs no mirror of itself"),
        ("1 mirrors 1.* but not 1.9", "there is no server '1.9'"),
        ("1 mirrors 1.0.*", "is no server id|is no component"),
    ],
)
def test_what_is_no_mirror_is_refused_before_anything_runs(line: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        parse(HEAD + line)
