"""Schedules draw patterns, and changes that are taken back, or whose time is over; all of it can be read."""

from __future__ import annotations

import re
from random import Random

from identity.names import Pattern, ServerId
from simulations.scenario import parse
from simulations.schedule import draw
from simulations.second_thoughts import asked_as, taken_back
from simulations.verbs_mirrors import pattern_of

NAMES = ("1", "1.1", "1.2", "1.3", "1.4")


def test_a_sixth_of_the_mirrors_are_patterns_that_ask_for_whom_is_meant_and_few_more() -> None:
    said = [asked_as(Random(seed), "1.2", "1.1", NAMES) for seed in range(600)]
    patterns = [each for each in said if each != "1.1"]
    assert 70 < len(patterns) < 130
    assert any(" but not " in each for each in patterns)
    assert any(",-" in each for each in patterns)
    for each in patterns:
        text, _, but = each.partition(" but not ")
        asked = {name for name in NAMES if Pattern(pattern_of(text, but)).matches(ServerId.parse(name))} - {"1.2"}
        assert "1.1" in asked
        assert len(asked) <= 3


def test_a_story_takes_back_what_waits_and_crashes_then() -> None:
    stories = [taken_back(Random(seed), NAMES, NAMES[:3], 60.0, what="Note", begin=9.0) for seed in range(200)]
    drawn = [each for each in stories if any(" what waits for " in line for _, line in each[0])]
    assert 30 < len(drawn) < 75
    for work, ((begin, isolate),), ((crash, line),) in drawn:
        owner, other = isolate.split()[1], line.split()[1]
        (back,) = [when for when, each in work if each.endswith(f" what waits for {owner}")]
        assert begin < min(when for when, _ in work) < back < crash < work[-1][0]
        assert all(each.startswith(f"{other} ") for _, each in work)


def test_a_story_lets_the_time_of_what_waits_pass_before_its_owner_is_back() -> None:
    stories = [taken_back(Random(seed), NAMES, NAMES[:3], 60.0, what="Note", begin=9.0) for seed in range(200)]
    lapsed = [each for each in stories if each[0] and not any(" what waits for " in line for _, line in each[0])]
    assert 30 < len(lapsed) < 75
    assert 10 < sum(bool(crashes) for _, _, crashes in lapsed) < len(lapsed) - 10
    for work, ((begin, isolate),), crashes in lapsed:
        _, owner, _, lasts = isolate.split()
        for when, line in work:
            limit = re.fullmatch(rf".* {owner} within (\d+)s or not at all", line)
            assert limit
            assert when + int(limit[1]) < begin + float(lasts.rstrip("s"))
            assert all(line.startswith(f"{crash.split()[1]} ") for _, crash in crashes)


def test_schedules_say_both_and_break_only_what_they_may() -> None:
    drawn = [draw(seed, faults=["isolation"]) for seed in range(1, 41)]
    for text in drawn:
        parse(text)
        assert "crash" not in text
    assert sum(" what waits for " in text for text in drawn) >= 4
    assert sum(" mirrors 1.*" in text or " mirrors *" in text for text in drawn) >= 8
    assert "isolate" not in "".join(draw(seed, faults=[]) for seed in range(1, 21))
