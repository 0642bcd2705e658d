"""Bugs planted on purpose: each is found by a sweep of drawn schedules, and shrunk to a scenario of at most ten lines.

    planted/NAME.py    plant(): the product has the bug while it lasts      PROMISE, SAYS, DRAWING, BLIND
    planted/NAME.txt   the scenario to which a sweep's failure was shrunk   # seed 4

Quick: the small scenario breaks with the bug, by the promise that is named, and holds without; under its seed, or, as
each change of the product deals the cards anew, under one of MORE_SEEDS. BLIND: by somebody who had not read the
checkers. Slow (marked): the sweep and the shrinking.
docs/simulator-planted.md is the table of them, and is held to what stands here.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import msgspec
import pytest

from simulations.cases import Case, run_case
from simulations.failure import FEW_LINES, shrink_case
from simulations.sweep import drawn_cases, sweep

HERE = Path(__file__).parent / "planted"
BUGS = sorted(HERE.glob("*.py"))
TABLE = Path(__file__).parents[2] / "docs" / "simulator-planted.md"
SEEDS = 30  # of drawn schedules
MORE_SEEDS = 12  # of a small scenario


def bug(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_blind(planted: ModuleType) -> bool:
    """Whether who wrote it had not read the checkers."""
    return getattr(planted, "BLIND", False)


def small(path: Path) -> Case:
    """The stored scenario; its first line names the seed."""
    text = path.with_suffix(".txt").read_text(encoding="utf-8")
    seed = re.match(r"# seed (\d+)\n", text)
    assert seed is not None, f"{path.stem}.txt begins with its seed"
    return Case(seed=int(seed[1]), text=text, name=f"{path.stem}.txt")


def steps(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_there_are_enough_of_them() -> None:
    assert len(BUGS) >= 12
    assert sum(is_blind(bug(path)) for path in BUGS) >= 6


@pytest.mark.parametrize("path", BUGS, ids=lambda path: path.stem)
def test_the_small_scenario_breaks_with_the_bug_and_holds_without(path: Path) -> None:
    case = small(path)
    assert len(steps(case.text)) <= FEW_LINES
    for seed in dict.fromkeys([case.seed, *range(1, MORE_SEEDS + 1)]):
        case = msgspec.structs.replace(case, seed=seed)
        broken = run_case(msgspec.structs.replace(case, planted=str(path)))
        if not broken.passed:
            break
    assert broken.promise == bug(path).PROMISE, broken.said
    again = run_case(msgspec.structs.replace(case, planted=str(path)))
    assert (again.trace, again.said) == (broken.trace, broken.said)
    held = run_case(case)
    assert held.passed, held.said


@pytest.mark.sweep
@pytest.mark.parametrize("path", BUGS, ids=lambda path: path.stem)
def test_a_sweep_finds_it_and_makes_it_small(path: Path) -> None:
    planted = bug(path)
    drawn = drawn_cases(range(1, SEEDS + 1), **planted.DRAWING)
    cases = {case.seed: msgspec.structs.replace(case, planted=str(path)) for case in drawn}
    failed = [each for each in sweep(cases.values(), stop_after=1) if not each.passed]
    assert failed, f"{SEEDS} seeds passed"
    assert failed[0].promise == planted.PROMISE, failed[0].said
    found = shrink_case(cases[failed[0].seed], failed[0])
    assert found.verdict.promise == planted.PROMISE
    assert found.lines <= FEW_LINES, found.text
    held = run_case(msgspec.structs.replace(found.case, planted=""))
    assert held.passed, held.said


@pytest.mark.parametrize("path", BUGS, ids=lambda path: path.stem)
def test_the_table_tells_it(path: Path) -> None:
    planted = bug(path)
    written = "blind" if is_blind(planted) else "knowing"
    told = f"| `{path.stem}` | {planted.SAYS} | {planted.PROMISE} | {written} |"
    assert told in TABLE.read_text(encoding="utf-8"), f"docs/simulator-planted.md lacks: {told}"


def test_the_table_names_nothing_else() -> None:
    names = re.findall(r"^\| `(\w+)` \|", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(names) == [path.stem for path in BUGS]
