"""A line that never ends is told with its place and with who is paused; one that takes long is let be."""

from __future__ import annotations

import pytest

from simulations import patience
from simulations.cases import Case, run_case
from simulations.scenario import known_of, parse, run_scenario

NOTE = "servers 2\nclass Note text:string\n"
WAITS = NOTE + "at 1s pause 1.1\nat 2s crash 1\nat 3s 1.1 commits 1 Note\nrun 5s\n"


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute instead of an hour, which takes some real seconds."""
    monkeypatch.setattr(patience, "PATIENCE_S", 30.0)
    monkeypatch.setattr(patience, "EACH_S", 0.0)


@pytest.mark.usefixtures("soon")
def test_a_line_that_waits_at_a_paused_server_is_told_with_who_is_away() -> None:
    with pytest.raises(AssertionError) as told:
        run_scenario(parse(WAITS, name="story"), seed=5)
    assert str(told.value) == (
        "story:5: at 3s 1.1 commits 1 Note: it has not ended after 90 virtual s; 1.1 is paused; "
        "write before it: resume 1.1; down: 1 (seed 5)"
    )
    outcome = known_of(told.value)
    assert outcome is not None
    assert outcome.stands == ("story:5: at 3s 1.1 commits 1 Note",)
    assert outcome.paused == "1.1 is paused; write before it: resume 1.1"


@pytest.mark.usefixtures("soon")
def test_it_counts_as_an_expectation_that_failed() -> None:
    verdict = run_case(Case(seed=5, text=WAITS, name="story"))
    assert (verdict.promise, verdict.checker) == ("expectation", "at N N commits N Note")


@pytest.mark.usefixtures("soon")
def test_who_is_resumed_late_or_works_on_a_slow_disk_is_waited_for() -> None:
    lines = (
        "disk of 1.1 takes 30s a sync\n1.1 commits 3 Note\nheal\nat 1s pause 1.1\nat 300s resume 1.1\n1.1 asks Note\n"
    )
    transcript = run_scenario(parse(NOTE + lines), seed=5).transcript
    assert transcript[-1].endswith("1.1 asks Note  -> 3 rows, whole")


def test_an_hour_is_more_than_anything_takes_that_ends() -> None:
    scenario = parse(
        NOTE + "disk of 1.1 takes 2m a sync\nclock of 1 is 90m ahead\n1.1 commits 50 Note\nrun 10m # 99m\n"
    )
    allowed = [patience._allowed_s(scenario, step) for step in scenario.steps]
    assert min(allowed) >= 3600 + 600
    assert allowed[3] == 3600 + 52 * (60 + 4 * 600)
