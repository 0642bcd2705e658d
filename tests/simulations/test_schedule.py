"""Scenarios drawn from seeds: the same text everywhere, readable, with work, mirrors and faults that meet."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from identity.errors import Refused
from simulations.scenario import parse
from simulations.schedule import FEWEST_FAULTS, ITEM, MOST_FAULTS, draw, said_as_options

ROOT = Path(__file__).parents[2]


def test_a_seed_is_a_scenario_with_work_and_faults() -> None:
    for seed in range(1, 41):
        scenario = parse(draw(seed))
        assert len(scenario.graph) == 5
        faults = [step for step in scenario.steps if step.at_s is not None and step.verb.fault]
        work = [step for step in scenario.steps if step.at_s is not None and not step.verb.fault]
        assert FEWEST_FAULTS <= len(faults) <= MOST_FAULTS
        assert len({step.verb.fault for step in faults}) >= 2
        assert any(len(work) - each in range(0, 15, 2) for each in (15, 30, 60))  # and what stories have besides
        owners = {step.text.split()[0] for step in scenario.steps if step.text.endswith(" commits 2 Note")}
        assert len(owners) >= 3
        assert sum(" mirrors " in step.text for step in scenario.steps) >= 3
        lines = [step.text for step in scenario.steps if step.at_s is None]
        end = lines.index("heal")
        assert lines[end + 1] == "expect every promise within 120s"
        before = next(at for at in range(end - 1, -1, -1) if not lines[at].startswith(("cut ", "expect everybody ")))
        assert lines[before] == "run 60s"


def test_two_ask_for_the_same_and_owners_are_asked_again() -> None:
    texts = [draw(seed) for seed in range(1, 41)]
    assert sum(" as last seen" in text and " and " in text for text in texts) >= 30
    assert sum(" 2 Note at " in text and "part one way " in text for text in texts) >= 12


def test_half_of_them_have_a_class_with_indexes_and_ask_for_its_values() -> None:
    texts = [draw(seed) for seed in range(1, 61)]
    indexed = [text for text in texts if ITEM in text]
    assert 20 <= len(indexed) <= 40
    assert not any(" Item" in text for text in texts if text not in indexed)
    for words in ("with the same values", "with taken values", "to taken values", " round", "asks Item where"):
        assert sum(words in text for text in indexed) >= len(indexed) / 3, words
    asked = [line.partition(" asks ")[2] for text in indexed for line in text.splitlines() if " asks Item" in line]
    for words in ("serial =", "size =", "size <", "near is null", 'near = "', "weight", "done", "order by -s", "limit"):
        assert any(words in each for each in asked), words


def test_all_else_is_drawn_as_it_is_without_such_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    with_items = [draw(seed) for seed in range(1, 21)]
    monkeypatch.setattr("simulations.schedule.INDEXED", 0.0)
    for text, other in zip(with_items, [draw(seed) for seed in range(1, 21)], strict=True):
        if ITEM not in text:
            assert text == other
        else:
            assert len(text.splitlines()) == len(other.splitlines())
            assert not_of_classes(text) == not_of_classes(other)


def not_of_classes(text: str) -> list[str]:
    return [line for line in text.splitlines() if not any(name in line for name in ("Item", "Note", "Memo"))]


def test_faults_meet() -> None:
    together = 0
    for seed in range(1, 41):
        steps = [step for step in parse(draw(seed)).steps if step.verb.fault and step.for_s]
        spans = sorted((step.at_s or 0.0, (step.at_s or 0.0) + (step.for_s or 0.0)) for step in steps)
        together += any(one[1] > other[0] for one, other in itertools.pairwise(spans))
    assert together >= 30


def test_the_same_seed_is_the_same_text_in_another_process() -> None:
    code = "from simulations.schedule import draw; print(draw(7), end='')"
    for hash_seed in ("0", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        told = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=ROOT
        )
        assert told.stdout == draw(7)
    assert draw(7) != draw(8)


def test_other_faults_leave_the_work_as_it_was() -> None:
    def without_faults(text: str) -> list[str]:
        steps = [step for step in parse(text).steps if not step.verb.fault]
        return [step.text for step in steps if not step.text.startswith("expect everybody")]  # what a cut is asked

    assert without_faults(draw(4)) == without_faults(draw(4, faults=["crash"])) == without_faults(draw(4, faults=[]))
    assert not [step for step in parse(draw(5, faults=[])).steps if step.verb.fault]


@pytest.mark.parametrize(("servers", "shape", "minutes"), [(1, None, 1.0), (2, None, 0.1), (12, "ring", 3.0)])
def test_meshes_of_other_sizes(servers: int, shape: str | None, minutes: float) -> None:
    scenario = parse(draw(3, servers=servers, shape=shape, minutes=minutes))
    assert len(scenario.graph) == servers
    assert max(step.at_s or 0.0 for step in scenario.steps) <= minutes * 60
    assert f"run {minutes * 60:g}s" in [step.text for step in scenario.steps]


def test_what_there_is_not_is_refused() -> None:
    with pytest.raises(Refused, match="doughnut"):
        draw(1, shape="doughnut")
    with pytest.raises(Refused, match="no fault 'plague'"):
        draw(1, faults=["plague"])
    with pytest.raises(Refused, match="0 minutes"):
        draw(1, minutes=0)


def test_the_options_that_draw_it_again() -> None:
    assert said_as_options() == ("--nodes", "5", "--minutes", "1")
    said = said_as_options(servers=7, shape="ring", faults=["crash", "one-way cut"], minutes=0.5)
    assert said == ("--nodes", "7", "--minutes", "0.5", "--topology", "ring", "--faults", "crash,one-way cut")
    assert said_as_options(faults=[])[-2:] == ("--faults", "none")


def test_some_meshes_have_no_links_but_their_own() -> None:
    drawn = [draw(seed).splitlines()[1] for seed in range(1, 61)]
    alone = [line for line in drawn if line.endswith(", no other links")]
    assert 15 <= len(alone) <= 40
    assert not any("full" in line for line in alone)  # it has no others
    assert not any("no other links" in draw(seed, shape="ring") for seed in range(1, 20))  # who says a shape says that


def test_some_ask_who_is_reached_while_a_cut_stands_and_soon_after_one_in_the_quiet() -> None:
    texts = {seed: draw(seed).splitlines() for seed in range(1, 61)}
    standing = [text for text in texts.values() if "cut " in text[text.index("heal") - 2]]
    assert 20 <= len(standing) <= 40
    for text in standing:
        assert text[text.index("heal") - 1] == "expect everybody reached within 120s"
    quiet = [text for text in standing if text[-1] == "expect everybody reached within 8s"]
    assert len(quiet) >= 5
    assert not any("hostile" in text[0] or "no other links" in text[1] for text in quiet)
    assert not any("everybody" in draw(seed, faults=["crash"]) for seed in range(1, 20))
