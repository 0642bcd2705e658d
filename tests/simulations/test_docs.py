"""Every command of the simulator's guide runs, as a reader would type it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide-simulation.md"
COMMANDS = [
    line.removeprefix("$ ")
    for block in re.findall(r"```console\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_guide_s_commands_run(command: str) -> None:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment = {key: value for key, value in environment.items() if not key.startswith("PYTEST")}
    done = subprocess.run(
        command, shell=True, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Traceback" not in done.stdout


def test_the_guide_shows_the_example_as_it_stands() -> None:
    example = (ROOT / "examples" / "test_ward_round.py").read_text(encoding="utf-8")
    shown = re.search(r"```py\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None
    said = {line.strip() for line in example.splitlines()}
    for line in shown[1].splitlines():
        assert line.strip() in said, line
