"""Changes that wait, and are taken back, as lines of a scenario."""

from __future__ import annotations

import pytest

from identity.errors import Refused
from simulations.scenario import parse, run_scenario

HEAD = "servers 3\nclass Note text:string\n1.1 commits 2 Note\nrun 2s\nisolate 1.1\nrun 5s\n"


def said(lines: str, *, last: int) -> list[str]:
    """What the last so many lines said."""
    transcript = run_scenario(parse(HEAD + lines), seed=1).transcript
    return [each.partition("  -> ")[2] for each in transcript[-last:]]


@pytest.mark.parametrize("verb", ["cancels", "forgets"])
def test_what_waits_is_taken_back_and_what_is_asked_then_is_done(verb: str) -> None:
    lines = f"1.2 commits 2 Note at 1.1\n1.2 {verb} what waits for 1.1\n1.2 {verb} what waits for 1.1\n"
    lines += "1.2 commits 1 Note at 1.1\nheal\nexpect every promise within 60s\n1.1 asks Note from 1.1"
    told = said(lines, last=7)
    assert told[:4] == ["2 wait for 1.1", "2 cancelled", "nothing waits", "1 wait for 1.1"]
    assert told[6] == "3 rows, whole"


def test_what_was_sent_is_withdrawn_or_ends_as_unknown() -> None:
    head = "servers 3\nclass Note text:string\n1.1 commits 2 Note\nrun 2s\ncut 1.1 > 1.2\ncut 1.1 > 1\n"
    for verb, state in (("cancels", "withdrawn"), ("forgets", "unknown")):
        lines = f"1.2 commits 1 Note at 1.1\n1.2 {verb} what waits for 1.1\nheal\nexpect every promise within 60s"
        transcript = run_scenario(parse(head + lines), seed=1).transcript
        assert [each for each in transcript if each.endswith(f"  -> 1 {state}")], transcript


def test_what_is_of_use_for_a_while_only_is_not_done_later() -> None:
    lines = "1.2 commits 2 Note at 1.1 within 3s or not at all\n1.2 changes 1 Note of 1.1 within 3s or not at all\n"
    told = said(lines + "run 9s\nheal\nexpect every promise within 60s\n1.1 asks Note from 1.1", last=6)
    assert told[:2] == ["2 wait for 1.1", "1 wait for 1.1"]
    assert told[5] == "2 rows, whole"


@pytest.mark.parametrize(
    "line", ["1.1 cancels what waits for 1.1", "1.1 commits 1 Note at 1.1 within 3s or not at all"]
)
def test_nothing_of_its_own_waits(line: str) -> None:
    with pytest.raises(Refused, match=r"nothing of its own waits at 1\.1"):
        parse(HEAD + line)
