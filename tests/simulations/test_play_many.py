"""Many runs: a line each, what failed by kinds, each kind made small, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from simulations import play_many
from simulations.cases import Case, Verdict
from tests.simulations.command_lab import code_of, report_of, said

ROOT = Path(__file__).parents[2]


TWO_KINDS = """
import contextlib
from unittest import mock
from simulations.server import SimulatedServer

@contextlib.contextmanager
def plant():
    before = SimulatedServer.restart
    async def restart(self):
        await before(self)
        raise ValueError(f"{'left' if self.world.seed % 2 else 'right'} is wrong on {self.name}")
    with mock.patch.object(SimulatedServer, "restart", restart):
        yield
"""


def test_many_seeds_are_a_line_each_and_a_count(at: Path) -> None:
    result = said("good.txt", "--seeds", "4-6")
    assert code_of(result) == 0
    assert sorted(re.findall(r"^seed (\d+): \d+ events", result.stdout, re.MULTILINE)) == ["4", "5", "6"]
    assert "3 passed, 0 failed" in result.stdout
    report = report_of("good.txt", "--seed", "4", "--seeds", "3")
    assert [run["seed"] for run in report["runs"]] == [4, 5, 6]
    assert report["runs"][0]["trace"] == report_of("good.txt", "--seed", "4")["trace"]


def test_each_seed_twice_is_a_sweep_of_fresh_processes(at: Path) -> None:
    report = report_of("good.txt", "--seed", "7", "--twice")
    assert (report["seeds"], report["failed"]) == (1, 0)


def test_the_failure_of_a_sweep_is_made_small_once(at: Path) -> None:
    report = report_of("broken.txt", "--seeds", "2")
    assert (report["passed"], report["failed"]) == (0, 2)
    (kind,) = report["kinds"]
    assert kind["seeds"] == [1, 2]
    assert kind["small"]["lines"] <= 6
    assert kind["small"]["files"] == report["files"] == {"scenario": "small-broken-1.txt"}
    assert Path("small-broken-1.txt").exists()


def test_a_failure_of_each_kind_is_made_small(at: Path) -> None:
    (at / "bug.py").write_text(TWO_KINDS)
    (at / "down.txt").write_text("servers 2\n" + "run 1s\n" * 9 + "crash 1.1\nrestart 1.1\n")
    result = said("down.txt", "--seeds", "3", "--plant", "bug.py", "--processes", "1")
    assert code_of(result) == 1
    assert "2 kinds of failures in 3 seeds" in result.stdout
    assert "making 2 of 2 small, within 15 real minutes; --shrink 0 leaves it" in result.stdout
    assert len(re.findall(r"^made small: .*\(small-down-[12]\.txt\)$", result.stdout, re.MULTILINE)) == 2
    for seed, word in ((1, "left"), (2, "right")):
        assert f"ValueError: {word} is wrong" in result.stdout
        again = said(f"small-down-{seed}.txt", "--seed", str(seed), "--plant", "bug.py", "--shrink", "0")
        assert f"ValueError: {word} is wrong" in again.stdout
    report = report_of("down.txt", "--seeds", "3", "--plant", "bug.py", "--shrink", "1", "--processes", "1")
    assert [(kind["seeds"], bool(kind["small"])) for kind in report["kinds"]] == [([1, 3], True), ([2], False)]


def test_a_sweep_that_held_says_that_nothing_was_drawn(at: Path) -> None:
    result = said("good.txt", "--seeds", "1", "--timeline", "run.html")
    assert code_of(result) == 0
    assert "nothing is drawn to run.html" in result.stdout
    assert not (at / "run.html").exists()
    result = said("good.txt", "--seeds", "1", "--timeline", "run.html", "--json")
    assert json.loads(result.stdout)["files"] == {}
    assert "nothing is drawn to run.html" in result.stderr


def test_runs_of_a_sweep_without_a_verdict_are_counted_apart(at: Path) -> None:
    (at / "long.txt").write_text("servers 3\nclass Note text:string\n1.1 commits 1 Note\nrun 86400s\n")
    result = said("long.txt", "--seeds", "2", "--limit", "2")
    assert code_of(result) == 3
    assert "seed 1: no verdict: not done within 2 real s\n" in result.stdout
    assert "no verdict: not done within 2 real s, 2 seeds: 1, 2\n  ask for fewer servers" in result.stdout
    assert "0 passed, 0 failed, 2 without a verdict" in result.stdout
    report = report_of("long.txt", "--seeds", "1", "--limit", "2")
    assert (report["passed"], report["failed"], report["without_verdict"], report["kinds"]) == (0, 0, 1, [])
    assert report["runs"][0]["no_verdict"] == "no verdict: not done within 2 real s"


def test_what_was_broken_outweighs_what_has_no_verdict(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = [Verdict(seed=1, given_up_s=9), Verdict(seed=2, promise="expectation", checker="x", said="x")]

    def sweep(cases: Iterable[Case], *, told: Callable[[Verdict], None], **_: Any) -> None:
        for each, _case in zip(verdicts, cases, strict=True):
            told(each)

    monkeypatch.setattr(play_many, "sweep", sweep)
    assert code_of(said("good.txt", "--seeds", "2", "--shrink", "0")) == 1


def test_ctrl_c_ends_a_sweep_with_what_is_known_and_leaves_nobody_behind(at: Path) -> None:
    sweep = [sys.executable, "-m", "simulations", "good.txt", "--seeds", "100000", "--processes", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        sweep, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # where the tests run in a shell's background
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline().startswith("seed ")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        told, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert re.search(r"^\d+ passed, 0 failed in .* s, ended by you with \d+ to go$", told, re.MULTILINE), told
    assert errors == ""
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
