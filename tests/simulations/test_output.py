"""A verdict stands whoever listens; what cannot be written is known before anything runs, and is 2."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from identity.errors import Refused
from simulations.output import Output, ready_file

ROOT = Path(__file__).parents[2]
HOLDS = "servers 2\nclass Note text:string\n1.1 commits 1 Note\n"
BREAKS = HOLDS + "expect 1 has all of 1.1\n"
FULL = Path("/dev/full")


def code_of(text: str, words: str, shell: str, directory: Path) -> tuple[int, str]:
    """The exit code of the command itself (not of a pipe's reader), and what it wrote to standard error."""
    (directory / "story.txt").write_text(text)
    line = f"exec {sys.executable} -m simulations story.txt {words} {shell}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", line], cwd=directory, env=environment, stderr=subprocess.PIPE, text=True, check=False
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(("text", "code"), [(HOLDS, 0), (BREAKS, 1)])
@pytest.mark.parametrize("words", ["", "--json", "--seeds 2 --processes 1 --shrink 0"])
def test_a_reader_that_goes_away_turns_no_verdict_round(text: str, code: int, words: str, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)  # whatever is written meets a pipe that nobody reads
    (tmp_path / "story.txt").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "simulations", "story.txt", *words.split()], cwd=tmp_path, stdout=writer,
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (code, "")


def test_a_closed_standard_output_is_refused_and_no_traceback(tmp_path: Path) -> None:
    code, told = code_of(BREAKS, "", ">&-", tmp_path)
    assert code == 2
    assert told.startswith("bangpath: standard output is closed\n  next: ")
    assert code_of(HOLDS, "", "> /dev/null 2>&-", tmp_path)[0] == 0


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_a_full_output_is_told_before_anything_runs(tmp_path: Path) -> None:
    code, told = code_of(BREAKS, "", "> /dev/full", tmp_path)
    assert code == 2  # else 1: it breaks
    assert told.startswith("bangpath: standard output cannot be written: No space left on device\n")
    assert code_of(HOLDS, "", "> /dev/null 2> /dev/full", tmp_path)[0] == 0


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc here")
def test_a_picture_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    code, told = code_of(BREAKS, "--timeline /proc/x.svg", "", tmp_path)
    assert code == 2
    assert told.startswith("bangpath: /proc/x.svg cannot be written: ")


def test_a_file_that_is_tried_stays_as_it_is(tmp_path: Path) -> None:
    held = tmp_path / "old.svg"
    held.write_text("old")
    ready_file(held)
    assert held.read_text() == "old"
    ready_file(tmp_path / "new.svg")
    assert not (tmp_path / "new.svg").exists()
    os.mkfifo(tmp_path / "pipe.svg")
    ready_file(tmp_path / "pipe.svg")  # and does not wait for its reader
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe.svg").st_mode)
    with pytest.raises(Refused, match=r"held\.svg cannot be written"):
        ready_file(tmp_path / "nowhere" / "held.svg")


def test_what_was_missed_spoils_only_a_run_that_held(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    assert [output.settled(code) for code in (0, 1, 130)] == [0, 1, 130]
    output.missed("why.html", OSError(28, "No space left on device"))
    assert [output.settled(code) for code in (0, 1, 130)] == [2, 1, 130]
    assert capsys.readouterr().err.startswith("bangpath: why.html could not be written: No space left on device\n")
