"""Hypothesis draws schedules, and finds the small one that shows what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from identity.errors import Refused
from simulations.checkers import every_checker
from simulations.scenario import parse, run_scenario
from simulations.strategies import schedules


@given(schedules(servers=4, shape="ring"))
@settings(max_examples=25, deadline=None)
def test_whatever_is_drawn_can_be_read(text: str) -> None:
    scenario = parse(text)
    assert len(scenario.graph) == 4
    assert scenario.steps[-1].text == "expect every promise within 120s"


@given(schedules(seconds=10, most_steps=8, faults=["crash", "one-way cut", "partition"]), st.integers(1, 1000))
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow], phases=[Phase.generate])
def test_promises_hold_under_whatever_is_drawn(text: str, seed: int) -> None:
    outcome = run_scenario(parse(text), seed=seed, checkers=every_checker())
    assert outcome.broken is None, f"{outcome.broken}\n{text}"


def test_it_finds_the_plainest_schedule_with_a_crash() -> None:
    text = find(
        schedules(seconds=10, most_steps=8, faults=["crash", "partition"]),  # short: hypothesis draws it 500 times
        lambda drawn: " crash " in drawn,
        settings=settings(max_examples=500, deadline=None, database=None),
    )
    timed = [line for line in text.splitlines() if line.startswith("at ")]
    assert len(timed) == 1
    assert timed[0].startswith("at 1s crash 1")
    assert timed[0].endswith(" for 0.5s")


def test_only_the_faults_that_are_wished() -> None:
    with pytest.raises(Refused, match="no fault 'plague'"):
        find(schedules(faults=["plague"]), lambda drawn: True, settings=settings(database=None))
