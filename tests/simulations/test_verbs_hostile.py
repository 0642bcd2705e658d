"""Hostile servers in prose: what the guide shows holds as it stands, however the hostility ends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from simulations.scenario import parse, run_scenario

GUIDE = Path(__file__).parents[2] / "docs" / "guide-simulation.md"
AROUND = """
servers 4
class Note text:string
1 commits 2 Note
1.1 mirrors 1
1.2 mirrors 1
"""


def guide_lines() -> list[str]:
    """`turns hostile`, `turns honest` and `has attacked`, as the guide has them."""
    found = re.search(r"```\n(at \S+ \S+ turns hostile: [^`]+)```", GUIDE.read_text(encoding="utf-8"))
    assert found is not None
    return found[1].splitlines()


def told_of_attacks(*lines: str) -> str:
    text = AROUND + "\n".join(lines)
    outcome = run_scenario(parse(text), seed=1)
    (told,) = [each for each in outcome.transcript if "has attacked" in each]
    return told


@pytest.mark.parametrize("end", ["1.3 turns honest", "heal", "run 10s"])
def test_what_was_done_is_known_however_the_hostility_ended(end: str) -> None:
    turns, honest, attacked = guide_lines()
    assert honest == "1.3 turns honest"
    told = told_of_attacks(turns.replace(" for 20s", " for 7s"), "run 10s", end, attacked)
    assert re.search(r"-> .*\d+ false proofs", told), told


def test_what_was_done_in_all_hostile_times_is_told() -> None:
    told = told_of_attacks(
        "1.3 turns hostile: forges", "run 3s", "1.3 turns hostile: floods for 3s", "run 4s", "expect 1.3 has attacked"
    )
    assert "false proofs" in told
    assert "packets of noise" in told


def test_an_attack_that_never_took_place_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="has done no harm"):
        told_of_attacks("1.3 turns hostile: swallows", "1.3 turns honest", "expect 1.3 has attacked")
