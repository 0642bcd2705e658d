"""Directories as users of the plugin and of the command have one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.simulations.command_lab import BROKEN, GOOD


@pytest.fixture
def users(pytester: pytest.Pytester) -> pytest.Pytester:
    """A user's directory: no settings of ours."""
    pytester.makefile(".ini", pytest="[pytest]\nsimulation_twice = 0\n")
    return pytester


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own, with a scenario that holds and one that does not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.txt").write_text(GOOD)
    (tmp_path / "broken.txt").write_text(BROKEN)
    return tmp_path
