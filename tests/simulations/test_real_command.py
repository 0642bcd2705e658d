"""`bangpath simulate FILE --real`: the command, its refusals, and a Ctrl-C that leaves nothing behind."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from simulations import real, real_ground

ROOT = Path(__file__).parents[2]
SCENARIO = ROOT / "tests" / "scenarios" / "real-mesh.txt"
COMMAND = (sys.executable, "-m", "node.cli.main", "simulate")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def simulate(*words: object, at: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, words)], cwd=at, env=ENVIRONMENT, capture_output=True, text=True)


@pytest.mark.slow
def test_a_real_run_is_told_drawn_and_reported(tmp_path: Path) -> None:
    done = simulate(SCENARIO, "--real", "--json", "--timeline", "real.svg", at=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["real"], report["passed"], report["trace"]) == (True, True, "")
    assert report["replay"].endswith("--seed 1 --real")
    assert "real servers stand" in report["transcript"][0]
    assert len(report["faults"]) == 3
    assert "1.3" in (tmp_path / "real.svg").read_text()


@pytest.mark.slow
def test_what_does_not_hold_says_where_the_servers_lie(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("servers 2\nclass Note text:string\n1 commits 3 Note\nexpect 1.1 has all of 1\n")
    done = simulate("bad.txt", "--real", at=tmp_path)
    assert done.returncode == 1
    assert "bad.txt:4: expect 1.1 has all of 1: 1.1 differs from 1 in 3 of 3 objects" in done.stdout
    kept = Path(done.stdout.partition("are kept, with their logs: ")[2].split()[0])
    assert (kept / "1" / "bangpath.toml").exists()
    shutil.rmtree(kept)


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        ("servers 2\nrun 1s\ndisk of 1.1 is full\n", ("--real",), "it.txt:3: disk of 1.1 is full: a disk that is full"),
        ("servers 2\nexpect every promise\n", ("--real",), "looked at inside the nodes"),
        ("servers 2\n", ("--real", "--seeds", "3"), "--real runs once"),
        ("servers 2\n", ("--real", "--twice"), "--real runs once"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    tmp_path: Path, text: str, words: tuple[str, ...], told: str
) -> None:
    (tmp_path / "it.txt").write_text(text)
    done = simulate("it.txt", *words, at=tmp_path)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_scenario_is_drawn_of_what_can_be_broken_on_real_processes(tmp_path: Path) -> None:
    drawn = simulate("--real", "--seed", "3", "--minutes", "0.2", "--print", at=tmp_path)
    assert "expect converged within" in drawn.stdout
    assert "expect no lost commits within" in drawn.stdout
    assert "every promise" not in drawn.stdout
    done = simulate("--real", "--seed", "3", "--minutes", "0.2", "--json", at=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["text"] == drawn.stdout
    assert report["replay"].endswith("--real")
    again = simulate(*shlex.split(report["replay"])[2:], "--print", at=tmp_path)
    assert again.stdout.splitlines()[1:] == drawn.stdout.splitlines()[1:]  # the first line tells how it was drawn


@pytest.mark.slow
def test_ctrl_c_ends_the_servers_and_tells_what_is_known(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("servers 2\nclass Note text:string\nrun 1s\n1 commits 3 Note\nrun 600s\n")
    process = subprocess.Popen(
        [*COMMAND, "long.txt", "--real"], cwd=tmp_path, env={**ENVIRONMENT, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    pids = [int(each.read_text()) for each in eventually(tmp_path, "bangpath-real-*/*/pid", 2)]
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "real servers stand" in out
    assert "ended by you" in out
    assert not list(tmp_path.glob("bangpath-real-*"))
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
def test_servers_end_with_a_run_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("servers 2\nrun 600s\n")
    process = subprocess.Popen(
        [*COMMAND, "long.txt", "--real"], cwd=tmp_path, env={**ENVIRONMENT, "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    pids = [int(each.read_text()) for each in eventually(tmp_path, "bangpath-real-*/*/pid", 2)]
    process.kill()
    process.wait()
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.1)
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert list(tmp_path.glob("bangpath-real-*"))
    real.remove_abandoned(tmp_path)
    assert not list(tmp_path.glob("bangpath-real-*"))
    if not real_ground.missing():
        real_ground.remove_abandoned()
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        assert f"{real_ground.PREFIX}-{process.pid}-" not in listed


def eventually(at: Path, pattern: str, number: int) -> list[Path]:
    """So many files, when they are there."""
    until = time.monotonic() + 60
    found: list[Path] = []
    while len(found) < number and time.monotonic() < until:
        time.sleep(0.1)
        found = list(at.glob(pattern))
    return found
