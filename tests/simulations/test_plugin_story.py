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
