"""Seeds that fail: told with the line that replays them, remembered, first the next time, and enough of them."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

from tests.simulations.plugin_lab import FAILS, HEAD

pytest_plugins = ["pytester"]


def test_a_failure_says_its_seed_and_a_line_that_replays_it(users: pytest.Pytester) -> None:
    users.makepyfile(test_it=FAILS)
    result = users.runpytest()
    result.assert_outcomes(passed=4, failed=2)
    text = result.stdout.str()
    assert "test_it.py::test_story: 2 of 6 seeds failed: 3, 5; replay:" in text
    (line,) = {each.strip() for each in text.splitlines() if each.startswith("    pytest test_it.py")}
    assert line == "pytest test_it.py::test_story --simulation-seed 3"
    assert "E       seed 5; replay: pytest test_it.py::test_story --simulation-seed 5" in text
    again = users.run(sys.executable, "-m", *shlex.split(line))
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["*a bad seed*"])


def test_seeds_that_failed_run_first_until_they_pass(users: pytest.Pytester) -> None:
    users.makepyfile(test_it=FAILS, test_before="def test_other(): pass\n")
    users.runpytest().assert_outcomes(passed=5, failed=2)
    order = re.findall(r"::(\S+) (?:PASSED|FAILED)", users.runpytest("-v").stdout.str())
    assert order[:3] == ["test_story[seed=3]", "test_story[seed=5]", "test_other"]
    # Three of the six are enough now, with the seeds beyond them that failed before.
    users.makepyfile(test_it=FAILS.replace("seeds=6", "seeds=2"))
    users.runpytest().assert_outcomes(passed=3, failed=2)
    users.makepyfile(test_it=FAILS.replace("seeds=6", "seeds=2").replace("(3, 5)", "(3,)"))
    users.runpytest().assert_outcomes(passed=4, failed=1)
    users.makepyfile(test_it=FAILS.replace("seeds=6", "seeds=2").replace("(3, 5)", "()"))
    users.runpytest().assert_outcomes(passed=4)
    users.runpytest().assert_outcomes(passed=3)


def test_one_seed_by_option_is_remembered_and_crossed_out_as_any(users: pytest.Pytester) -> None:
    users.makepyfile(test_it=FAILS)
    users.runpytest("--simulation-seed", "5").assert_outcomes(failed=1)
    assert re.findall(r"seed=(\d)\] ", users.runpytest("-v").stdout.str())[0] == "5"
    users.runpytest("--simulation-seed", "99").assert_outcomes(passed=1)
    users.runpytest("--simulation-seeds", "2").assert_outcomes(passed=2, failed=2)


def test_workers_of_xdist_share_the_seeds_and_what_is_remembered(users: pytest.Pytester) -> None:
    users.makepyfile(test_it=FAILS)
    result = users.runpytest_subprocess("-n", "2", "-v")
    result.assert_outcomes(passed=4, failed=2)
    workers = set(re.findall(r"\[(gw\d)\] .*test_story", result.stdout.str()))
    assert workers == {"gw0", "gw1"}
    result.stdout.fnmatch_lines(["*test_story: 2 of 6 seeds failed: 3, 5; replay:"])
    users.makepyfile(test_it=FAILS.replace("seeds=6", "seeds=1"))
    again = users.runpytest_subprocess("-n", "2")
    again.assert_outcomes(passed=1, failed=2)
    users.makepyfile(test_it=FAILS.replace("seeds=6", "seeds=1").replace("(3, 5)", "()"))
    users.runpytest_subprocess("-n", "2").assert_outcomes(passed=3)
    users.runpytest("-p", "no:xdist").assert_outcomes(passed=1)


def test_after_some_failing_seeds_it_is_enough(users: pytest.Pytester) -> None:
    users.makepyfile(test_it=FAILS.replace("not in (3, 5)", "== 1"))
    users.runpytest("--simulation-seeds", "9").assert_outcomes(passed=1, failed=3, skipped=5)
    result = users.runpytest("--simulation-seeds", "9", "--simulation-enough", "1", "-rs")
    result.assert_outcomes(failed=1, skipped=8)
    result.stdout.fnmatch_lines(["*seeds 2 of this test failed; --simulation-enough 0 runs all the same*"])
    users.runpytest("--simulation-seeds", "9", "--simulation-enough", "0").assert_outcomes(passed=1, failed=8)


PARAMETERS = (
    HEAD
    + """
@pytest.mark.parametrize("ward", ["a", "b", "c", "d", "e"])
@simulate(nodes=1, seeds=2)
async def test_story(mesh, ward):
    assert mesh.seed not in BAD.get(ward, ()), "a bad seed"
"""
)


def test_other_parameters_are_tests_of_their_own(users: pytest.Pytester) -> None:
    users.makepyfile(test_it=PARAMETERS + "BAD = {'a': [1], 'b': [1], 'c': [1], 'd': [1]}\n")
    result = users.runpytest("--simulation-enough", "1", "--simulation-twice", "0")
    result.assert_outcomes(failed=4, skipped=4, passed=2)  # a failure of ward a says nothing of ward e
    result.stdout.fnmatch_lines(["*::test_story?a?: 1 of 1 seed failed: 1; replay:"])


def test_a_seed_is_remembered_for_the_parameters_it_failed_with(users: pytest.Pytester) -> None:
    users.makepyfile(test_it=PARAMETERS + "BAD = {'b': [7], 'd': [2]}\n")
    users.runpytest("--simulation-seed", "7", "--simulation-twice", "0").assert_outcomes(failed=1, passed=4)
    result = users.runpytest("-v", "--simulation-twice", "0")
    result.assert_outcomes(failed=2, passed=9)  # 7 runs with b alone
    order = re.findall(r"::test_story.seed=(\d)-(\w). ", result.stdout.str())
    assert order[:2] == [("7", "b"), ("1", "a")]
    again = users.runpytest("-v", "--simulation-twice", "0").stdout.str()
    assert re.findall(r"::test_story.seed=(\d)-(\w). ", again)[:2] == [("7", "b"), ("2", "d")]


def test_a_seed_whose_teardown_fails_too_is_one_failing_seed(users: pytest.Pytester) -> None:
    fixture = "@pytest.fixture\ndef torn():\n    yield\n    raise OSError('torn')\n"
    story = FAILS.replace("(mesh)", "(mesh, torn)").replace("not in (3, 5)", "> 5")
    users.makepyfile(test_it=story.replace("@simulate", fixture + "@simulate"))
    result = users.runpytest("-rs", "--simulation-enough", "2", "--simulation-twice", "0")
    result.stdout.fnmatch_lines(["*seeds 1, 2 of this test failed;*"])
