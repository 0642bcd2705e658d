"""Which seeds a simulated test runs with, which of them failed, and what a person is told of that in the end.

    --simulation-seed 7        7, and nothing else
    else                       those that failed last time, then 1 to the number wanted, then those of `also`

    pytest's cache             bangpath/failing: {"tests/test_ward.py::test_mirrors": [3, 117]}
    other parameters           each set of them is a test of its own: "...::test_mirrors[ring]"
    a seed that failed         is written down by the process that talks to the person (not by xdist's workers)
    a seed that passed         is crossed out, also when it was run by --simulation-seed

Bounds: `REMEMBERED` failing seeds of one test; tests whose file has gone are forgotten.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from simulations.plugin import SEED

KEY = "bangpath/failing"
REPLAY = "simulation_replay"  # the property of a report that holds the command
TEST = "simulation_test"  # the property that holds the test without its seed
REMEMBERED = 100


def base_of(nodeid: str) -> str:
    """A test without its parameters, as pytest names it."""
    file, colons, name = nodeid.partition("::")
    return file + colons + name.partition("[")[0]


def seed_of(item: pytest.Item) -> int | None:
    """The seed of a simulated test, None of any other."""
    callspec = getattr(item, "callspec", None)
    seed = None if callspec is None else callspec.params.get(SEED)
    return seed if isinstance(seed, int) else None


def test_of(item: pytest.Item) -> str:
    """A simulated test with its other parameters and without its seed: `test_ward.py::test_mirrors[ring]`."""
    others = re.sub(rf"(^|-)seed={seed_of(item)}(?=-|$)", "", getattr(item, "callspec").id, count=1)  # noqa: B009
    return base_of(item.nodeid) + (f"[{others.removeprefix('-')}]" if others else "")


def replay(item: pytest.Item) -> str:
    """The one line that runs this test with this seed again, as one types it where pytest was called."""
    seed = seed_of(item)
    config = item.config
    file = item.path
    for place in (config.invocation_params.dir, config.rootpath):
        if item.path.is_relative_to(place):
            file = item.path.relative_to(place)
            break
    name = item.nodeid.partition("::")[2]
    others = set(getattr(item, "callspec").params) - {SEED}  # noqa: B009 - pytest.Item has none, Function has
    test = f"{file}::{name if others else name.partition('[')[0]}"
    return f"pytest {shlex.quote(test)} --simulation-seed {seed}"


class Seeds:
    """The seeds of one pytest process."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._worker = hasattr(config, "workerinput")
        self._cache = getattr(config, "cache", None)
        self.failing: dict[str, list[int]] = self._remembered()
        self._wanted: dict[str, list[int]] = {}  # by test without parameters
        self._for_some: dict[str, set[int]] = {}  # of these the ones that failed with some parameters only
        self.begun = 0  # tests of all kinds in this process
        self._failed_now: dict[str, list[int]] = defaultdict(list)  # in this process
        self._heard: Counter[str] = Counter()  # worlds by test, of all processes
        self._replays: dict[str, list[tuple[int, str]]] = defaultdict(list)
        self._learned: dict[str, dict[int, bool]] = defaultdict(dict)  # whether a seed failed

    def _remembered(self) -> dict[str, list[int]]:
        if self._worker:
            return dict(self._config.workerinput.get("simulation_failing", {}))  # type: ignore[attr-defined]
        found = self._cache.get(KEY, {}) if self._cache is not None else {}
        return {
            test: [seed for seed in seeds if isinstance(seed, int)]
            for test, seeds in (found.items() if isinstance(found, dict) else ())
            if isinstance(seeds, list)
        }

    # -- before

    def wanted(self, nodeid: str, marker: pytest.Mark | None) -> list[int]:
        """The seeds of a test, in order. Raises `pytest.UsageError` for a number that makes no sense."""
        only = self._config.getoption("simulation_seed")
        if only is not None:
            return [only]
        also: tuple[int, ...] = ()
        count: Any = self._config.getini("simulation_seeds")
        if marker is not None:
            count, also = _read_seeds(nodeid, *marker.args, **marker.kwargs)
        asked = self._config.getoption("simulation_seeds")
        count = _number(asked if asked is not None else count, "simulation_seeds")
        test, all_have = base_of(nodeid), [*range(1, count + 1), *also]
        first = [seed for each, seeds in self.failing.items() if base_of(each) == test for seed in seeds]
        self._for_some[test] = set(first) - set(all_have)
        self._wanted[test] = list(dict.fromkeys([*first, *all_have]))
        return self._wanted[test]

    def failed_before(self, item: pytest.Item) -> bool:
        return seed_of(item) is not None and seed_of(item) in self.failing.get(test_of(item), [])

    def is_wanted(self, item: pytest.Item) -> bool:
        """Whether a test was made for its own sake: not for a seed that failed with other parameters than these."""
        return seed_of(item) not in self._for_some.get(base_of(item.nodeid), ()) or self.failed_before(item)

    def enough(self, item: pytest.Item) -> str:
        """Why this seed need not run any more, or ""."""
        limit = self._config.getoption("simulation_enough")
        if seed_of(item) is None or not limit:
            return ""
        failed = self._failed_now[test_of(item)]
        if len(failed) < limit:
            return ""
        return f"seeds {', '.join(map(str, failed))} of this test failed; --simulation-enough 0 runs all the same"

    def runs_twice(self, item: pytest.Item) -> bool:
        """Whether a second process takes the same steps, for comparison: the first seeds of each test do."""
        base, before = base_of(item.nodeid), self.failing.get(test_of(item), [])
        wanted = self._wanted.get(base, [seed_of(item)])
        own = [seed for seed in wanted if seed in before or seed not in self._for_some.get(base, ())]
        return seed_of(item) in own[: self._second_processes()]

    def asks_why(self, item: pytest.Item) -> bool:
        """Whether a seed that failed is run once more, in a fresh process: is it the seed, or what ran before it?"""
        return self._second_processes() > 0 and item.get_closest_marker("xfail") is None

    def _second_processes(self) -> int:
        """How many seeds of each test have one; 0: none, also of those that failed."""
        if self._config.getoption("simulation_trace"):
            return 0  # this is the second process
        asked = self._config.getoption("simulation_twice")
        return _number(
            asked if asked is not None else self._config.getini("simulation_twice"), "simulation_twice", least=0
        )

    # -- after

    def note(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Write into a report what its reader, maybe in another process, must know."""
        seed = seed_of(item)
        if seed is None:
            return
        if (SEED, seed) not in report.user_properties:
            report.user_properties += [(SEED, seed), (TEST, test_of(item))]
        if report.failed:
            report.user_properties.append((REPLAY, replay(item)))
            failed = self._failed_now[test_of(item)]
            if seed not in failed:  # its teardown may fail as well
                failed.append(seed)

    def hear(self, report: pytest.TestReport) -> None:
        """Of every report of every process."""
        told = dict(report.user_properties)
        seed = told.get(SEED)
        if self._worker or not isinstance(seed, int):
            return
        test = str(told.get(TEST, base_of(report.nodeid)))
        if report.failed:
            self._learned[test][seed] = True
            self._replays[test].append((seed, str(told.get(REPLAY, ""))))
        elif report.when == "call" and report.passed:
            self._learned[test].setdefault(seed, False)
        self._heard[test] += report.when == "call" and not report.skipped

    def keep(self) -> None:
        """Write down what failed, for the next time."""
        if self._worker or self._cache is None or not self._learned:
            return
        for test, seeds in self._learned.items():
            before = [seed for seed in self.failing.get(test, []) if seed not in seeds]
            failed = [seed for seed, bad in seeds.items() if bad]
            self.failing[test] = [*failed, *before][:REMEMBERED]
        root = Path(self._config.rootpath)
        kept = {
            test: seeds for test, seeds in self.failing.items() if seeds and (root / test.partition("::")[0]).exists()
        }
        self._cache.set(KEY, kept)

    def summary(self) -> list[str]:
        """For each test that failed: how many of its seeds, and the line that replays the first."""
        lines = []
        for test, failed in self._replays.items():
            seeds = sorted({seed for seed, _ in failed})
            shown = ", ".join(map(str, seeds[:10])) + (", ..." if len(seeds) > 10 else "")
            run = max(self._heard[test], len(seeds))
            lines.append(f"{test}: {len(seeds)} of {run} {'seed' if run == 1 else 'seeds'} failed: {shown}; replay:")
            lines.append(f"    {min(failed)[1]}")
        return lines


def _read_seeds(nodeid: str, count: Any = None, also: Any = ()) -> tuple[Any, tuple[int, ...]]:
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise pytest.UsageError(f"{nodeid}: seeds({count!r}) is no number of worlds; write for example seeds(200)")
    also = tuple(also) if isinstance(also, (list, tuple, set)) else (also,)
    if not all(isinstance(seed, int) for seed in also):
        raise pytest.UsageError(f"{nodeid}: also={also!r} names no seeds; write for example seeds(20, also=(4711,))")
    return count, tuple(sorted(also))


def _number(text: Any, name: str, *, least: int = 1) -> int:
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < least:
        raise pytest.UsageError(f"{name} is {text!r}; it must be a number of at least {least}")
    return number
