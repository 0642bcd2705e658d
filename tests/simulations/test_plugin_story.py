"""Where a failure of a simulated test is shown: at the lines of whoever wrote it."""

from __future__ import annotations

import re

import pytest

from tests.simulations.plugin_lab import HEAD

pytest_plugins = ["pytester"]


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
    body = 1 + code.index("        await wait(mesh)")  # shown or not: the seed says which of the two tasks ends first
    assert [(int(number), name) for _, number, name in places if int(number) != body] == [
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


def test_a_traceback_holds_the_user_s_frames_and_no_others(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it=HEAD
        + """
async def ward(mesh):
    await mesh.nodes[0].query("this is no question")

@simulate(nodes=1)
async def test_refused(mesh):
    await ward(mesh)

@simulate(nodes=1)
async def test_never(mesh):
    await mesh.eventually(lambda: ready(mesh), within=1)

def ready(mesh):
    return mesh.now > 3600

@simulate(nodes=1)
async def test_cause(mesh):
    try:
        ready(None)
    except AttributeError as error:
        raise AssertionError("what I say") from error

@simulate(nodes=1)
async def test_clock(mesh):
    import time
    time.sleep(1)
"""
    )
    result = users.runpytest("--tb=short")
    result.assert_outcomes(failed=4)
    text = result.stdout.str()
    places = re.findall(r"^(\S+\.py):\d+: in (\w+)", text, re.MULTILINE)
    assert places == [
        ("test_it.py", "test_refused"), ("test_it.py", "ward"), ("test_it.py", "test_never"),
        ("test_it.py", "test_cause"), ("test_it.py", "ready"), ("test_it.py", "test_cause"),
        ("test_it.py", "test_clock"),
    ]  # fmt: skip
    assert "ExceptionGroup" not in text
    assert text.count("direct cause") == 1  # the user's own
    assert "simulations" in users.runpytest("--tb=short", "--full-trace").stdout.str()


def test_an_error_that_we_do_not_raise_on_purpose_is_shown_with_all_its_frames(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it=HEAD
        + """
@simulate(nodes=1)
async def test_mistake(mesh):
    mesh.generator = None
    await mesh.nodes[0].crash()
    await mesh.nodes[0].restart()
"""
    )
    result = users.runpytest("--tb=short")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*world.py:*", "*TypeError*"])


def test_what_breaks_while_the_world_ends_does_not_hide_the_test_s_own_failure(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it=HEAD
        + """
@simulate(nodes=1)
async def test_both(mesh):
    async def grumble():
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("at the end")
    mesh.nursery.start_soon(grumble)
    await mesh.sleep(1)
    raise KeyError("my own")

@simulate(nodes=1)
async def test_background(mesh):
    async def fall():
        raise ValueError("in the background")
    mesh.nursery.start_soon(fall)
    await mesh.sleep(1)
"""
    )
    result = users.runpytest("--tb=short")
    result.assert_outcomes(failed=2)
    text = result.stdout.str()
    assert "E   KeyError: 'my own'" in text
    assert "at the end" not in text
    assert "E   ValueError: in the background" in text


def test_a_promise_of_the_user_s_own_is_looked_at_all_the_time(users: pytest.Pytester) -> None:
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
    def finish(self, world):
        return "" if world.now > 3 else "it is too young"

class Never(Young):
    def finish(self, world):
        return "it is not there"

@simulate(nodes=1)
async def test_watched(mesh):
    mesh.watch(Young)
    await mesh.sleep(60)

@simulate(nodes=1)
async def test_expected(mesh):
    young = Young()
    await mesh.expect(young, within=5)
    mesh.check(young)
    await mesh.expect(Never(), within=2)

@simulate(nodes=1)
async def test_nonsense(mesh):
    mesh.check("converged")
"""
    )
    result = users.runpytest("--tb=short")
    result.assert_outcomes(failed=3)
    result.stdout.re_match_lines(
        [
            r"E .*PromiseBroken: mine broken \(young\) at 7\.[0-9]+ s: it is old",
            r"E .*PromiseBroken: mine broken \(young\) at [0-9.]+ s: not within 2(\.\d*)? s: it is not there",
            r"E .*Refused: 'converged' is no promise; import one from simulations.checkers .*",
        ]
    )


def test_async_fixtures_live_in_the_world_of_their_test(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it=HEAD
        + """
ended = []

@bangpath.stored
class Note:
    text: str

@pytest.fixture
async def ward(mesh):
    return await mesh.nodes[0].create(Note, text="hi")

@pytest.fixture
async def mirror(mesh, ward):
    await mesh.nodes[1].mirror(ward)
    yield mesh.nodes[1]
    await mesh.sleep(1)  # the world still goes
    ended.append(mesh.seed)

@pytest.fixture
def clinic(mesh):
    with pytest.raises(bangpath.LocalMistake, match="begins when its test does"):
        mesh.nodes
    return lambda: len(mesh.nodes)

@pytest.mark.seeds(2)
async def test_ward(mirror, ward, clinic):
    assert clinic() == 3
    await mirror.world.eventually(lambda: mirror.read(ward) is not None, within=30)

def test_all_ended():
    assert ended == [1, 2]
"""
    )
    users.runpytest().assert_outcomes(passed=3)


def test_fixtures_of_a_class_are_its_own(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it=HEAD
        + """
class TestWard:
    size = 2

    @pytest.fixture
    async def some(self, mesh):
        self.seen = mesh.seed
        await mesh.sleep(1)
        return mesh.nodes[: self.size]

    @pytest.mark.seeds(2)
    async def test_some(self, some, mesh):
        assert len(some) == 2
        assert self.seen == mesh.seed
"""
    )
    users.runpytest().assert_outcomes(passed=2)
