"""A test that forgot an `await` is not green."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]


def test_a_forgotten_await_is_told_with_its_line_and_others_warn_as_ever(pytester: pytest.Pytester) -> None:
    pytester.makefile(".ini", pytest="[pytest]\nsimulation_twice = 0\n")
    pytester.makepyfile(
        test_it="""
import warnings
from bangpath import simulate

@simulate(nodes=1, seeds=2)
async def test_forgets(mesh):
    mesh.sleep(3)

@simulate(nodes=1)
async def test_fails(mesh):
    mesh.sleep(3)
    assert mesh.now > 3

@simulate(nodes=1)
async def test_warns(mesh):
    mesh.sleep(0).close()
    warnings.warn("of something else")

def test_plain():
    async def story(): pass
    story()
"""
    )
    result = pytester.runpytest_subprocess("--tb=short")
    result.assert_outcomes(failed=3, passed=2, warnings=5)
    text = result.stdout.str()
    for seed in (1, 2):
        told = "test_it.py:6: World.sleep was never awaited; write `await` before it"
        assert f"{told}\nseed {seed}; replay: pytest test_it.py::test_forgets --simulation-seed {seed}" in text
    assert "E   assert " in text
    assert "UserWarning: of something else" in text
    assert "plugin_story" not in text
