"""Bugs planted on purpose: what their tests share, and the row of each for the table in docs/simulator-planted.md.

    planted/NAME.py    plant(): the product has the bug while it lasts      PROMISE, SAYS, DRAWING, BLIND, SEEDS
    planted/NAME.txt   the scenario to which a sweep's failure was shrunk   # seed 4

    python -m tests.simulations.planted_lab [NAME ...]
        no_gateways: seed 1, 85 to 3 lines; holds without the bug
            servers 3 line, no other links
            ...

Each takes some minutes of a core. BLIND: by somebody who had not read the checkers.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import msgspec

from simulations.cases import Case, Verdict, run_case
from simulations.failure import Found, shrink_case
from simulations.sweep import drawn_cases, sweep

HERE = Path(__file__).parent / "planted"
BUGS = sorted(HERE.glob("*.py"))
SEEDS = 30  # of drawn schedules, unless a bug names its own number: what it breaks is drawn seldom


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


@dataclass(frozen=True)
class Hunt:
    """What a sweep found of a bug: the failure as it was drawn, as it was made small, and that without the bug."""

    seed: int
    drawn: Case
    small: Found
    without: Verdict

    def __str__(self) -> str:
        """`seed 1, 85 to 3 lines; holds without the bug`."""
        without = "holds without the bug"
        if not self.without.passed:
            without = f"BREAKS without the bug too ({self.without.promise}: {self.without.said})"
        return f"seed {self.seed}, {len(steps(self.drawn.text))} to {self.small.lines} lines; {without}"


def hunt(path: Path) -> Hunt:
    """Sweep over drawn schedules until one fails with this bug, and make that small.

    AssertionError where none does, or where another promise is broken than the bug says.
    """
    planted = bug(path)
    seeds = getattr(planted, "SEEDS", SEEDS)
    drawn = drawn_cases(range(1, seeds + 1), **planted.DRAWING)
    cases = {case.seed: msgspec.structs.replace(case, planted=str(path)) for case in drawn}
    failed = [each for each in sweep(cases.values(), stop_after=1) if not each.passed]
    assert failed, f"{seeds} seeds passed"
    first = min(failed, key=lambda each: each.seed)  # several run at a time
    assert first.promise == planted.PROMISE, first.said
    found = shrink_case(cases[first.seed], first)
    return Hunt(first.seed, cases[first.seed], found, run_case(msgspec.structs.replace(found.case, planted="")))


def main(names: list[str]) -> int:
    """Print what a sweep finds of these bugs, of all where none is named.

    The exit code: 1 where one is not found, or what is left of it breaks without it too; 2 for a name of none.
    """
    strange = sorted(set(names) - {path.stem for path in BUGS})
    if strange:
        print(f"no bug is planted as {', '.join(strange)}; see {HERE}", file=sys.stderr)
        return 2
    missed = False
    for path in BUGS:
        if names and path.stem not in names:
            continue
        try:
            found = hunt(path)
        except AssertionError as error:
            missed = True
            print(f"{path.stem}: NOT FOUND: {error}", flush=True)
            continue
        missed = missed or not found.without.passed
        print(f"{path.stem}: {found}", flush=True)
        print("".join(f"    {line}\n" for line in found.small.case.text.splitlines()), flush=True)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
