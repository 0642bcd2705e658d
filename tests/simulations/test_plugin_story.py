"""Where a failure of a simulated test is shown: at the lines of whoever wrote it."""

from __future__ import annotations

import re

import pytest

pytest_plugins = ["pytester"]

HEAD = "import pytest, trio\nfrom bangpath import simulate\n"


@pytest.fixture
def users(pytester: pytest.Pytester) -> pytest.Pytester:
    """A user's directory: no settings of ours."""
    pytester.makefile(".ini", pytest="[pytest]\nsimulation_twice = 0\n")
    return pytester


def test_what_ends_a_world_from_outside_is_shown_where_the_test_stood(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it=HEAD
        + """
from simulations.promises import Watching

class Young(Watching):
    name = "young"
    promise = "mine"
    def look(self, world):
        if world.now > 7:
            self.accuse(world, "it is old")

async def wait(mesh):
    await mesh.sleep(60)

@simulate(nodes=1, limit_s=5)
async def test_time(mesh):
    await mesh.sleep(1)
    await wait(mesh)

@simulate(nodes=1, limit_s=5)
async def test_nursery(mesh):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, mesh)
        await wait(mesh)

@simulate(nodes=1)
async def test_promise(mesh):
    mesh.watch(Young)
    await wait(mesh)

@simulate(nodes=1)
async def test_event(mesh):
    await trio.Event().wait()
"""
    )
    result = users.runpytest("--tb=short")
    result.assert_outcomes(failed=4)
    text = result.stdout.str()
    code = (users.path / "test_it.py").read_text().splitlines()
    time, accused = (
        1 + code.index(line) for line in ("    await wait(mesh)", '            self.accuse(world, "it is old")')
    )
    sleep, event = (1 + code.index(f"    await {word}") for word in ("mesh.sleep(60)", "trio.Event().wait()"))
    places = re.findall(r"^(\S+\.py):(\d+): in (\w+)$", text, re.MULTILINE)
    nursery = 1 + code.index("    async with trio.open_nursery() as nursery:")
    assert [(int(number), name) for _, number, name in places] == [
        (time, "test_time"), (sleep, "wait"), (nursery, "test_nursery"), (sleep, "wait"), (accused, "look"),
        (event, "test_event"),
    ]  # fmt: skip
    assert {file for file, _, _ in places} == {"test_it.py"}
    assert text.count(f"E   the test stood at test_it.py:{sleep}, in wait") == 3
    assert text.count(f"E   the test stood at test_it.py:{event}, in test_event") == 1


def test_a_story_of_the_fixture_is_shown_as_a_test_is(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it=HEAD
        + """
def test_time(simulation):
    async def story(mesh):
        await mesh.sleep(60)

    simulation(story, servers=1, seed=7, limit_s=5)

def test_assertion(simulation):
    async def story(mesh):
        assert mesh.nodes[0].name == "1.1"

    simulation(story, servers=1, seed=7)

def test_raised(simulation):
    async def story(mesh):
        raise KeyError("mine")

    with pytest.raises(KeyError):
        simulation(story, servers=1, seed=7)
"""
    )
    result = users.runpytest("--tb=short")
    result.assert_outcomes(failed=2, passed=1)
    text = result.stdout.str()
    code = (users.path / "test_it.py").read_text().splitlines()
    calls = [number for number, line in enumerate(code, 1) if line.startswith("    simulation(")]
    sleep, wrong = (
        number for number, line in enumerate(code, 1) if line.startswith(("        await mesh", "        assert mesh"))
    )
    assert re.findall(r"^(\S+):(\d+): in (\w+)$", text, re.MULTILINE) == [
        ("test_it.py", str(calls[0]), "test_time"), ("test_it.py", str(sleep), "story"),
        ("test_it.py", str(calls[1]), "test_assertion"), ("test_it.py", str(wrong), "story"),
    ]  # fmt: skip
    assert f"E   the test stood at test_it.py:{sleep}, in story" in text
    assert text.count("the same call with seed=7 takes the same steps") >= 2
    assert "simulations/" not in text
