"""Every command of the simulator's guides runs, as a reader would type it; what they show and name is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from simulations.command import simulate_command
from simulations.faults import kinds

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide-simulation.md"
TESTING = ROOT / "docs" / "guide-testing.md"
COMMANDS = [
    line.removeprefix("$ ")
    for guide in (GUIDE, TESTING)
    for block in re.findall(r"```console\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
]
FENCE = re.compile(r"```console\n(?P<commands>.*?)```(?:(?!```).)*(?:```text\n(?P<shown>.*?)```)?", re.DOTALL)
SHOWN = {  # by the last command of a block: what the guide says that it prints, figures left out as `...`
    found["commands"].splitlines()[-1].removeprefix("$ "): found["shown"]
    for found in FENCE.finditer(GUIDE.read_text(encoding="utf-8"))
    if found["shown"]
}


def is_printed(shown: str, printed: str) -> bool:
    """Whether all of that was printed in this order. `...` is any part of a line, or on a line of its own any lines."""
    lines = ["(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"[ ]*\n"
             for line in shown.splitlines()]  # fmt: skip
    return re.search("^" + "".join(lines), printed, re.MULTILINE) is not None


def test_what_was_not_printed_is_noticed() -> None:
    printed = "one  2\nthree\n\ntrace   ab12\n"
    assert is_printed("...\none  ...\n...\ntrace   ...\n", printed)
    for wrong in ("one  3\n", "one  2\ntrace   ...\n", "...\ntrace   ...\nthree\n", "trace   ab\n"):
        assert not is_printed(wrong, printed)


def test_no_trace_stands_in_the_guides_for_each_change_of_the_program_makes_another() -> None:
    assert len(SHOWN) == 2
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("guide-*.md"))):
        assert not re.search(r"\btrace\s+[0-9a-f]{8}", page.read_text(encoding="utf-8")), page.name


@pytest.mark.parametrize("command", COMMANDS)
def test_the_guide_s_commands_run(command: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment = {key: value for key, value in environment.items() if not key.startswith("PYTEST")}
    wanted = re.search(r"# exit (\d+)$", command)
    where = ROOT
    if command.startswith("bangpath"):  # which writes pictures and failures where it is called
        where = tmp_path
        for name in ("tests", "examples"):
            (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        command, shell=True, cwd=where, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == (int(wanted[1]) if wanted else 0), done.stdout[-2000:]
    for file in re.findall(r"--timeline (\S+)", command):
        assert (where / file).exists()
    if wanted:
        assert "made small:" in done.stdout
    assert "Traceback" not in done.stdout
    if command in SHOWN:
        shown, printed = SHOWN[command], done.stdout
        if "--seeds" in command:  # which seeds fail, and what is left of one, is of the day
            shown, printed = (re.sub(r"\d+(\.\d+)*", "1", text) for text in (shown, printed))
            shown = re.sub(r"(?m)^    .*\n", "...\n", shown)
        assert is_printed(shown, printed), done.stdout[-4000:]


@pytest.mark.parametrize("block", re.findall(r"```py\n(.*?)```", TESTING.read_text(encoding="utf-8"), re.DOTALL))
def test_every_test_the_guide_shows_runs_when_it_is_copied(block: str, tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_mine.py").write_text(block, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--simulation-seeds", "1"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert re.search(r"^1 passed", done.stdout, re.MULTILINE), done.stdout[-2000:]


def test_the_guide_shows_the_example_as_it_stands() -> None:
    example = (ROOT / "examples" / "test_ward_round.py").read_text(encoding="utf-8")
    shown = re.search(r"```py\n(.*?)```", TESTING.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    said = {line.strip() for line in example.splitlines()}
    for line in shown[1].splitlines():
        assert line.strip() in said, line


def test_what_the_guide_to_testing_names_is_there() -> None:
    guide = TESTING.read_text(encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "--help"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for option in re.findall(r"`(--simulation-\w+)", guide) + re.findall(r"`(simulation_\w+)", guide):
        assert option in told, option
    for line in re.findall(r"^from .* import .*$", guide, re.MULTILINE):
        exec(line, {})
    from simulations.server import SimulatedServer
    from simulations.world import World

    for word in re.findall(r"mesh\.(\w+)\(", guide):
        assert hasattr(World, word), word
    for word in re.findall(r"server\.(\w+)\(", guide):
        assert hasattr(SimulatedServer, word), word


def test_the_scenario_of_the_guide_is_the_one_in_the_repository_and_so_is_its_picture() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    shown = re.search(r"```scenario\n(.*?)```", guide, re.DOTALL)
    assert shown is not None
    lines = (ROOT / "tests" / "scenarios" / "bad-weather.txt").read_text(encoding="utf-8").splitlines()
    for line in shown[1].splitlines():
        assert line == "..." or line in lines, line
    picture = re.search(r"!\[[^\]]+\]\(([\w.-]+)\)", guide)
    assert picture is not None
    drawn = ElementTree.parse(ROOT / "docs" / picture[1]).getroot()
    assert "tests/scenarios/bad-weather.txt, seed 7" in "".join(drawn.itertext())


def test_the_guide_counts_the_faults_and_knows_every_option() -> None:
    guide = GUIDE.read_text(encoding="utf-8")
    counted = re.search(r"over (\d+)\s+kinds of faults", guide)
    assert counted is not None
    assert int(counted[1]) < len(kinds()) <= int(counted[1]) + 10
    known = {name for option in simulate_command.params for name in option.opts}
    for option in re.findall(r"`(--[a-z-]+)", guide):
        assert option in known, option
