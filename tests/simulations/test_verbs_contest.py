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
