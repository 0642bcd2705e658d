"""A test's second process: what differs in it is told, and it ends with the first, however that ends."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulations.plugin_lab import HEAD

pytest_plugins = ["pytester"]

PATIENCE_S = 50.0  # less than what ends a test that stands still by itself

HANGS = """
import os
from bangpath import simulate

@simulate(nodes=1)
async def test_hangs(mesh):
    with open(f"{os.getpid()}.hangs", "w"):
        pass
    os.read(os.open("never", os.O_RDWR), 1)  # outside of virtual time, for ever
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_first_process_and_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(HANGS)
    os.mkfifo(tmp_path / "never")
    places = tmp_path / "places"
    places.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    environment["TMPDIR"] = str(places)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    second = None
    try:
        while len(begun := list(tmp_path.glob("*.hangs"))) < 2:  # until both processes are in the test
            assert first.poll() is None
            time.sleep(0.05)
        assert [place.name.rpartition("-")[0] for place in places.iterdir()] == ["bangpath-twin"]
        (second,) = (os.pidfd_open(int(each.stem)) for each in begun if int(each.stem) != first.pid)
        first.send_signal(how)
        first.wait()
        assert select.select([second], [], [], PATIENCE_S)[0]  # it has ended
        assert list(places.iterdir()) == []
    finally:
        first.kill()
        first.wait()
        if second is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(second, signal.SIGKILL)
            os.close(second)


DRAWN = (
    HEAD
    + """
@simulate(nodes=1)
async def test_order(mesh):
    await mesh.sleep(1)
    for name in CHOICE:
        mesh.mark("chosen", name)
"""
)


def test_a_test_that_is_not_the_same_in_a_second_process_is_told_where(users: pytest.Pytester) -> None:
    users.makepyfile(test_it=DRAWN.replace("CHOICE", '{f"note {number}" for number in range(20)}'))
    result = users.runpytest_subprocess("--simulation-twice", "1")
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert re.search(r"In a fresh process with PYTHONHASHSEED=[12] the same seed took other steps", text)
    here, there = (re.search(rf"^ *{which} +(.*)$", text, re.MULTILINE) for which in ("here", "there"))
    assert here is not None
    assert there is not None
    assert "chosen note" in here[1]
    assert "chosen note" in there[1]
    assert here[1] != there[1]
    assert "replay: pytest test_it.py::test_order --simulation-seed 1" in text
    assert "plugin_twin.py" not in text
    users.runpytest_subprocess("--simulation-twice", "0").assert_outcomes(passed=1)


def test_a_test_that_is_the_same_passes_twice_and_by_default(users: pytest.Pytester) -> None:
    users.makefile(".ini", pytest="[pytest]\n")
    users.makepyfile(
        conftest="""
import os

def pytest_runtest_call(item):
    with open("ran", "a") as file:
        file.write(os.environ["PYTHONHASHSEED"] + "\\n")
""",
        test_it=DRAWN.replace("CHOICE", 'sorted({f"note {number}" for number in range(20)})').replace(
            "nodes=1", "nodes=1, seeds=3"
        ),
    )
    users.run("env", "PYTHONHASHSEED=1", sys.executable, "-m", "pytest").assert_outcomes(passed=3)
    assert sorted((users.path / "ran").read_text().split()) == ["1", "1", "1", "2"]


LEFT_BEHIND = (
    HEAD
    + """
import itertools

NUMBERS = itertools.count()

@simulate(nodes=1, seeds=4)
async def test_numbers(mesh):
    await mesh.sleep(1)
    assert next(NUMBERS) < 2

@simulate(nodes=1, seeds=3)
async def test_seed(mesh):
    await mesh.sleep(1)
    assert mesh.seed < 3
"""
)
ONLY_HERE = "state that outlives a test: module globals, caches"


@pytest.mark.parametrize(("hash_seed", "more"), [("5", ""), ("random", "; or else the order of a set")])
def test_a_seed_that_fails_by_what_others_left_behind_says_so(
    users: pytest.Pytester, hash_seed: str, more: str
) -> None:
    users.makepyfile(test_it=LEFT_BEHIND)
    command = ("env", f"PYTHONHASHSEED={hash_seed}", sys.executable, "-m", "pytest", "--simulation-twice", "1")
    result = users.run(*command)
    result.assert_outcomes(passed=4, failed=3)
    told = re.findall(r"^E +(seed \d fails only .*)$", result.stdout.str(), re.MULTILINE)
    assert told == [f"seed {seed} fails only after others in one process: {ONLY_HERE}{more}" for seed in (3, 4)]
    assert ONLY_HERE not in users.run(*command[:-1], "0").stdout.str()


def test_a_first_seed_that_fails_by_what_other_tests_left_behind_says_so(users: pytest.Pytester) -> None:
    first = "def test_before():\n    next(NUMBERS), next(NUMBERS)\n\n@simulate(nodes=1, seeds=4)"
    users.makepyfile(test_it=LEFT_BEHIND.replace("@simulate(nodes=1, seeds=4)", first))
    result = users.runpytest_subprocess("--simulation-twice", "1", "-k", "before or test_numbers")
    result.assert_outcomes(passed=1, failed=3, skipped=1)
    result.stdout.fnmatch_lines([f"E *seed 1 fails only after others in one process: {ONLY_HERE}; or else*"])


def test_a_seed_that_fails_alone_and_passes_elsewhere_is_laid_to_its_hash_seed(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it=HEAD + "\nimport os\n\n@simulate(nodes=1)\nasync def test_order(mesh):\n"
        '    assert os.environ.get("PYTHONHASHSEED") == "1"\n'
    )
    result = users.run("env", "PYTHONHASHSEED=3", sys.executable, "-m", "pytest", "--simulation-twice", "1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *seed 1 passes in a fresh process with PYTHONHASHSEED=1: the order of a set*"])


def test_what_fails_in_the_second_process_alone_is_told(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it=HEAD
        + """
import os

@simulate(nodes=1)
async def test_environment(mesh):
    await mesh.sleep(1)
    assert os.environ.get("PYTHONHASHSEED") not in ("1", "2"), "elsewhere"
"""
    )
    result = users.run("env", "PYTHONHASHSEED=3", sys.executable, "-m", "pytest", "--simulation-twice", "1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*PYTHONHASHSEED=1 this test failed after the same steps:*", "*elsewhere*"])
