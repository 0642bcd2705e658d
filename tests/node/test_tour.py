"""The tour on six real servers: every step holds, and without one of the abilities the step that shows it fails."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from identity.errors import Refused
from node.mesh import _alone
from node.switches import VARIABLE
from node.tour import EVIDENCE, run_tour
from node.tour_steps import STEPS

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide-tour.md"
AIRPORTS = "300"  # all that a step needs is that every owner has some
TOUR_S = 300.0

pytestmark = pytest.mark.slow


def environment(folder: Path, **more: str) -> dict[str, str]:
    found = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state"), **more}
    return {name: value for name, value in found.items() if name != VARIABLE or name in more}


def begin(folder: Path, *words: str, tour: bool = True, **more: str) -> subprocess.Popen[str]:
    words = ("--objects", AIRPORTS, *(["--tour"] if tour else []), *words)
    return subprocess.Popen(
        [sys.executable, "-m", "node.cli.main", "mesh", *words],
        cwd=folder,
        env=environment(folder, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def play(folder: Path, *words: str, **more: str) -> tuple[int, str, str]:
    """A whole tour: exit code and what it said."""
    tour = begin(folder, *words, **more)
    try:
        out, said = tour.communicate(timeout=TOUR_S)
    finally:
        tour.kill()
    return tour.returncode, out, said


def left_over(folder: Path) -> list[str]:
    """Processes that still run a server of this folder."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = each.read_bytes().split(b"\0")
            here = os.readlink(each.parent / "cwd") == str(folder)
        except OSError:
            continue
        if here and b"run" in words:
            found.append(" ".join(word.decode() for word in words))
    return found


def test_the_guide_tells_every_step() -> None:
    rows = re.findall(r"^\| (\d+) \| .+ \| .+ \|$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert list(map(int, rows)) == list(range(1, len(STEPS) + 1))


def test_every_step_holds_and_so_it_does_the_second_time(tmp_path: Path) -> None:
    shown = re.findall(r"^\$ (.*)$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE)
    assert shown == ["make mesh ARGS=--tour", "bangpath mesh --tour --json"]  # as they are played here, in this order
    code, out, said = play(tmp_path)
    assert code == 0, out + said
    assert out.count("held after") == len(STEPS) == 12
    assert "\x1b" not in out
    assert "all 12 steps held" in out
    code, out, said = play(tmp_path, "--json")
    assert code == 0, out + said
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(each["step"], each["held"]) for each in lines] == [(number, True) for number in range(1, 13)]
    assert [each["title"] for each in lines] == [each.title for each in STEPS]
    assert not (tmp_path / "mesh" / EVIDENCE).exists()
    assert left_over(tmp_path) == []


@pytest.mark.parametrize(
    ("ability", "step", "missed"),
    [
        ("mirrors", 3, "mirror"),
        ("outbox", 5, "outbox"),
        ("gateways", 7, "gateway"),
        ("direct-copies", 9, "the owner's own answer along"),
    ],
)
def test_without_an_ability_the_step_that_shows_it_fails(tmp_path: Path, ability: str, step: int, missed: str) -> None:
    if ability == "direct-copies":  # on a mesh that was built with them: a link that was doubted meanwhile is mended
        built = begin(tmp_path, "--once", tour=False)
        built.communicate(timeout=TOUR_S)
        assert built.returncode == 0
    code, out, said = play(tmp_path, "--json", **{VARIABLE: ability})
    lines: list[dict[str, Any]] = [json.loads(line) for line in out.splitlines()]
    last = lines[-1]
    if ability == "direct-copies" and last["step"] == 8:
        # On a machine too busy to answer in time the sound direction of step 8 had been doubted before, and only what
        # is missing here would have found it working: the same lack, one step earlier.
        assert re.fullmatch(r"owner along 1\.4!.*!1\.3", last["got"]), last
        step = 8
    assert [each["held"] for each in lines] == [True] * (step - 1) + [False], out + said
    assert (code, last["step"], last["title"]) == (1, step, STEPS[step - 1].title)
    assert missed in last["expected"]
    assert last["got"]
    assert all("{" not in each for each in last["try"])
    evidence = json.loads((tmp_path / "mesh" / EVIDENCE).read_bytes())
    assert evidence["servers"]["1.1"]["status"]["without"] == [ability]
    assert left_over(tmp_path) == []


def answers(path: Path) -> bool:
    """Whether anybody listens at this socket."""
    with socket.socket(socket.AF_UNIX) as asked:
        return asked.connect_ex(os.path.relpath(path)) == 0


def test_ctrl_c_ends_it_in_order_and_servers_run_by_hand_are_left_alone(tmp_path: Path) -> None:
    tour = begin(tmp_path)
    assert tour.stdout is not None
    for line in tour.stdout:
        if "Kill Europe" in line:
            break
    tour.send_signal(signal.SIGINT)
    out, said = tour.communicate(timeout=30)
    assert tour.returncode == 130, out + said
    assert "all stopped" in out
    assert left_over(tmp_path) == []
    by_hand = subprocess.Popen(
        [sys.executable, "-m", "node.cli.main", "-C", "mesh/1.2", "run"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while not answers(tmp_path / "mesh/1.2/socket") and time.monotonic() < deadline:  # a killed one leaves it
            time.sleep(0.02)
        code, out, said = play(tmp_path)
        assert (code, by_hand.poll()) == (1, None)
        assert "1.2 of the mesh in mesh runs already, by hand, and the tour would kill it" in said
        assert "next: stop it, or play the tour in another directory" in said
        assert "Kill Europe" not in out
    finally:
        by_hand.terminate()
    assert by_hand.wait(20) == 0


def test_it_is_refused_where_a_mesh_runs_already(tmp_path: Path) -> None:
    (tmp_path / "mesh").mkdir()
    with _alone(tmp_path / "mesh"), pytest.raises(Refused, match=r"a mesh runs in .*mesh already, process"):
        run_tour(tmp_path / "mesh")


@pytest.mark.parametrize("words", [["--json"], ["--fast"], ["--tour", "--once"]])
def test_options_that_make_no_sense_are_refused(tmp_path: Path, words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "node.cli.main", "mesh", *words],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "--tour" in done.stderr
