"""Real processes, killed with -9 on both sides while changes are queued and delivered: each once, each told.

A short story here; `BANGPATH_OUTBOX_CHANGES=1000 pytest tests/node/test_outbox_kills.py`, or `python -m
benchmarks.outbox_kills`, tells the whole one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks.outbox_kills import Trial, Violation, run_trial

CHANGES = int(os.environ.get("BANGPATH_OUTBOX_CHANGES", "200"))


def test_a_thousand_changes_survive_kill_9_of_either_side(tmp_path: Path) -> None:
    kills = max(1, CHANGES // 200)
    told = run_trial(tmp_path, changes=CHANGES, kills=kills, seed=7, tell=lambda text: None)
    assert told["queued"] > 0.8 * CHANGES
    assert (told["sender_kills"], told["owner_kills"]) == (2 * kills, kills + 1)
    assert told["outcomes"]["committed"] == 0.8 * CHANGES
    assert told["outcomes"]["conflict"] == 0.1 * CHANGES


def test_the_judge_sees_what_is_wrong(tmp_path: Path) -> None:
    trial = Trial(tmp_path, changes=10, kills=0, seed=1, tell=print)
    trial._note(5, 1)
    with pytest.raises(Violation, match="request 5"):
        trial._note(5, 2)
    conflict = {"state": "conflict", "outcome": {"error": {"current": {"number": 9}}}}
    trial._judge_one(16, conflict)
    with pytest.raises(Violation, match="met the counter at 9"):
        trial._judge_one(26, conflict)
    with pytest.raises(Violation, match="without reference"):
        trial._judge_one(1, {"state": "committed", "outcome": {"results": [{"reference": "1.1/1"}], "position": None}})
