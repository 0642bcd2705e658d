"""Many cases: the same verdicts on one core and on all, twice the same trace, and the first event that differs."""

from __future__ import annotations

from pathlib import Path

import pytest

from identity.errors import Refused
from simulations.cases import Case, Verdict
from simulations.sweep import Judges, drawn_cases, other_hash_seed, sweep, text_cases
from simulations.worker import Worker

TEXT = "servers 2\nclass Note text:string\n1.1 mirrors 1\n1 commits 3 Note\nexpect 1.1 has all of 1 within 10s\n"
EARLY = TEXT.replace("within 10s", "within 1ms")


def plain(verdicts: list[Verdict]) -> list[tuple[object, ...]]:
    return [(each.seed, each.trace, each.events, each.broken, each.differs) for each in verdicts]


def test_the_verdicts_are_the_same_on_one_core_and_on_two() -> None:
    told: list[Verdict] = []
    two = sweep(text_cases(range(1, 6), TEXT, name="two"), processes=2, told=told.append)
    one = sweep(text_cases(range(1, 6), TEXT, name="two"), processes=1)
    assert plain(one) == plain(two)
    assert [each.seed for each in two] == [1, 2, 3, 4, 5]
    assert sorted(each.seed for each in told) == [1, 2, 3, 4, 5]
    assert len({each.trace for each in two}) == 5
    assert all(each.passed for each in two)


def test_each_case_is_the_same_in_a_second_process() -> None:
    verdicts = sweep(text_cases(range(1, 3), TEXT, name="two"), processes=2, twice=True)
    assert [each.differs for each in verdicts] == ["", ""]


def test_what_depends_on_the_order_of_a_set_is_found_with_its_first_event(tmp_path: Path) -> None:
    bug = tmp_path / "bug.py"
    bug.write_text(
        "import contextlib\nfrom simulations.world import World\n"
        "@contextlib.contextmanager\ndef plant():\n"
        "    before = World.sleep\n"
        "    async def sleep(self, seconds):\n"
        "        self.trace.record(self.now, 'friends', *{'ada', 'bob', 'cyd', 'dan', 'eve', 'fay'})\n"
        "        await before(self, seconds)\n"
        "    World.sleep = sleep\n    try: yield\n    finally: World.sleep = before\n"
    )
    import msgspec

    cases = [msgspec.structs.replace(case, planted=str(bug)) for case in text_cases([1], TEXT + "run 1s\n", name="two")]
    (verdict,) = sweep(cases, twice=True)
    assert not verdict.passed
    assert not verdict.promise
    assert verdict.differs.startswith("event ")
    assert verdict.differs.count(" friends ") == 2


def test_enough_failures_end_a_sweep() -> None:
    verdicts = sweep(text_cases(range(1, 50), EARLY, name="early"), processes=1, stop_after=2)
    assert 2 <= len(verdicts) <= 4  # those that were under way get their verdict
    assert not any(each.passed for each in verdicts)


def test_what_takes_too_long_is_no_failure_and_ends_no_sweep(tmp_path: Path) -> None:
    bug = tmp_path / "slow.py"
    bug.write_text(
        "import contextlib\n@contextlib.contextmanager\ndef plant():\n    [None for _ in iter(int, 1)]\n    yield\n"
    )
    slow = Case(seed=1, text=TEXT, planted=str(bug))
    for twice in (False, True):
        verdicts = sweep([slow, Case(seed=2, text=TEXT)], processes=1, stop_after=1, limit_s=3.0, twice=twice)
        assert [(each.given_up_s, each.passed, each.failed) for each in verdicts] == [
            (3, False, False),
            (0, True, False),
        ]


def test_a_second_run_that_takes_too_long_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    late = Verdict(seed=1, given_up_s=3.0)
    for first, told in [(Verdict(seed=1), late), (broken := Verdict(seed=1, promise="P1"), broken)]:
        both = iter((first, late))
        monkeypatch.setattr(Worker, "judge", lambda self, case, both=both: next(both))
        with Judges(twice=True) as judges:
            assert judges.judge(Case(seed=1, text=TEXT)) == told


def test_drawn_cases_say_how_they_are_drawn_again() -> None:
    first, second = drawn_cases([4, 5], servers=3, minutes=0.2, faults=["crash"])
    assert (first.seed, first.name) == (4, "seed-4")
    assert first.drawn == ("--nodes", "3", "--minutes", "0.2", "--faults", "crash")
    assert first.text != second.text


def test_a_scenario_that_cannot_be_read_is_refused_at_once() -> None:
    with pytest.raises(Refused, match=r"bad\.txt:1"):
        list(text_cases([1], "dance\n", name="bad.txt"))


def test_the_second_process_has_another_hash_seed() -> None:
    assert len({other_hash_seed(seed) for seed in range(1000)}) == 1000
    assert all(2 <= other_hash_seed(seed) <= 4_294_967_295 for seed in (0, 1, 2**31, 2**63))
