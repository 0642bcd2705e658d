"""Killed at any moment, or cut off from power at any write: every answered pair is there, whole and equal.

The long runs are `python -m benchmarks.kill_loop --cycles 200` and `python -m benchmarks.crash_states --states 10000`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import crash_states, kill_loop
from benchmarks.pairs import Violation


def test_a_process_killed_with_9_loses_no_answer(tmp_path: Path) -> None:
    assert kill_loop.run_cycles(3, directory=tmp_path, seed=7) >= 3 * kill_loop.LEAST_ANSWERS


def test_power_cuts_lose_no_answer() -> None:
    assert crash_states.sweep(states=150, seed=1) >= 150


def test_without_the_sync_answers_are_lost_and_the_judge_sees_it() -> None:
    with pytest.raises(Violation):
        crash_states.sweep(states=150, seed=1, make_disk=crash_states.Forgetful)
