"""A seed that fails is drawn, and one that somebody looks at."""

from __future__ import annotations

import pytest

from tests.simulations.plugin_lab import FAILS

pytest_plugins = ["pytester"]


def test_a_seed_that_fails_is_drawn_and_one_that_is_looked_at(users: pytest.Pytester) -> None:
    users.makepyfile(test_it=FAILS)
    result = users.runpytest("--simulation-timeline", "drawn")
    result.stdout.fnmatch_lines(["E * picture: drawn/test_story-seed=3.html"])
    assert sorted(each.name for each in (users.path / "drawn").iterdir()) == [
        "test_story-seed=3.html", "test_story-seed=5.html",
    ]  # fmt: skip
    drawn = (users.path / "drawn" / "test_story-seed=3.html").read_text(encoding="utf-8")
    assert "a bad seed" in drawn
    assert "pytest test_it.py::test_story --simulation-seed 3" in drawn
    users.runpytest("--simulation-timeline", "one", "--simulation-seed", "4").assert_outcomes(passed=1)
    assert "a bad seed" not in (users.path / "one" / "test_story-seed=4.html").read_text(encoding="utf-8")
