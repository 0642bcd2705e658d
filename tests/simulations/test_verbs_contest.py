"""Two who want the same: one gets it, the other is told, and who lets both have it is accused."""

from __future__ import annotations

from typing import Any

import pytest

from simulations.cases import Case, run_case
from simulations.scenario import parse, run_scenario
from store.transaction import Transaction

HEAD = "servers 3\nclass Note text:string\n1.1 commits 1 Note\nrun 2s\n"


def told(line: str) -> str:
    return run_scenario(parse(HEAD + line), seed=1).transcript[-1].partition("  -> ")[2]


@pytest.mark.parametrize("askers", ["1 and 1.2", "1.1 and 1.2", "1.2 and 1.1", "1 and 1", "1.1 and 1.1"])
def test_of_two_who_change_what_both_have_seen_one_is_told_so(askers: str) -> None:
    assert told(f"{askers} change 3 Note of 1.1 as last seen") == "1 conflict, 1 done"


def test_who_cannot_reach_the_owner_waits_and_loses_later() -> None:
    lines = "isolate 1.2 for 20s\nrun 5s\n1.2 and 1 change 1 Note of 1.1 as last seen\nrun 30s"
    assert "1 done, 1 waiting" in run_scenario(parse(HEAD + lines), seed=1).transcript[-2]
    assert run_case(Case(seed=1, text=HEAD + lines + "\nexpect every promise within 60s", name="waits")).passed


@pytest.mark.parametrize("askers", ["1 and 1.2", "1.1 and 1.2"])
def test_an_owner_that_lets_both_is_accused(askers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Transaction._own

    def careless(self: Transaction, target: Any, expect: int | None) -> Any:
        return own(self, target, None)

    text = HEAD + f"{askers} change 1 Note of 1.1 as last seen\nexpect every promise within 60s"
    assert run_case(Case(seed=1, text=text, name="two")).passed
    monkeypatch.setattr(Transaction, "_own", careless)
    broken = run_case(Case(seed=1, text=text, name="two"))
    assert broken.promise == "P1"
    assert "as of sequence" in broken.said


ITEM = "servers 3\nclass Item text:string serial:int unique\n1.1 commits 6 Item\nrun 2s\n"


def said(lines: str, *, seed: int = 1) -> str:
    return run_scenario(parse(ITEM + lines), seed=seed).transcript[-1].partition("  -> ")[2]


@pytest.mark.parametrize("askers", ["1 and 1.2", "1.1 and 1.2", "1.2 and 1.1", "1.1 and 1.1"])
def test_of_two_who_want_one_value_one_gets_it(askers: str) -> None:
    assert said(f"{askers} commit 3 Item at 1.1 with the same values") == "3 done, 3 refused"


def test_a_transaction_that_contradicts_itself_is_refused() -> None:
    assert said("1.1 commits 2 Item together with the same values") == "1 refused"
    assert said("1.2 commits 3 Item together at 1.1 with the same values") == "1 refused"
    assert said("1.2 commits 1 Item together at 1.1 with the same values") == "1 done"


def test_who_wants_what_somebody_has_is_refused() -> None:
    assert said("1.2 commits 4 Item at 1.1 with taken values") == "4 refused"
    assert said("1.1 commits 4 Item with taken values") == "4 refused"
    assert "refused" in said("1.2 changes 4 Item of 1.1 to taken values")


def test_values_that_are_passed_round_are_had_by_others_and_by_one_each() -> None:
    lines = "1.1 passes values of 4 Item round\n1.2 passes values of 3 Item of 1.1 round\n"
    assert said(lines) == "1 done"
    assert said(lines + "1.1 commits 6 Item with taken values") == "6 refused"
    text = ITEM + lines + "expect every promise within 60s"
    assert run_case(Case(seed=1, text=text, name="round")).passed
