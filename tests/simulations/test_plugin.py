"""The plugin as its users meet it: a seed a test, in either form, beside whatever else pytest runs."""

from __future__ import annotations

import shlex
import sys

import pytest

import bangpath
from simulations.checkers import converged, no_loops, no_lost_commits
from simulations.world import World
from tests.simulations.plugin_lab import HEAD

pytest_plugins = ["pytester"]

pytest_plugins = ["pytester"]


@bangpath.stored
class Note:
    text: str


@bangpath.simulate(nodes=5, seeds=5)
async def test_mirror_catches_up(mesh: World) -> None:
    """The form of DESIGN V4, word by word."""
    a, b, c, *_ = mesh.nodes
    note = await a.create(Note, text="hi")
    await c.mirror(note)
    mesh.cut(a >> c)  # one way only
    with mesh.partition({a, b}, {c}):
        await a.update(note, text="bye")
        b.crash(torn_write=True)
        await b.restart()
    await mesh.eventually(lambda: c.read(note).text == "bye", within=30)  # type: ignore[union-attr]  # None: not yet
    mesh.check(no_loops, no_lost_commits, converged)


def test_a_seed_is_a_test_in_either_form(users: pytest.Pytester) -> None:
    users.makepyfile(
        HEAD
        + """
@simulate(nodes=2, seeds=3)
async def test_decorated(mesh):
    assert len(mesh.nodes) == 2

@pytest.mark.mesh(nodes=4)
@pytest.mark.seeds(2, also=(4711,))
async def test_marked(mesh):
    assert len(mesh.nodes) == 4
    assert mesh.seed in (1, 2, 4711)

@simulate
async def test_bare(mesh):
    assert len(mesh.nodes) == 3

class TestWard:
    async def test_plain(self, mesh, tmp_path):
        assert len(mesh.nodes) == 3
        assert tmp_path.exists()
        await mesh.sleep(60)
"""
    )
    result = users.runpytest("-v")
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["*::test_decorated?seed=3? PASSED*", "*::test_marked?seed=4711? PASSED*"])


def test_plugins_that_want_every_async_test_leave_ours_alone(users: pytest.Pytester) -> None:
    """As pytest-asyncio does in its automatic mode: items of another class, and fixtures made at once."""
    users.makepyfile(
        conftest="""
import inspect, pytest

class Theirs(pytest.Function):
    def runtest(self):
        raise AssertionError("run by somebody else")

@pytest.hookimpl(hookwrapper=True)
def pytest_pycollect_makeitem(collector, name, obj):
    result = yield
    made = result.get_result()
    if isinstance(made, list):
        result.force_result([
            Theirs.from_parent(each.parent, name=each.name, callspec=getattr(each, "callspec", None),
                callobj=each.obj, fixtureinfo=each._fixtureinfo, keywords=each.keywords,
                originalname=each.originalname)
            if inspect.iscoroutinefunction(each.obj) else each for each in made])

@pytest.hookimpl(hookwrapper=True)
def pytest_fixture_setup(fixturedef, request):
    if inspect.iscoroutinefunction(fixturedef.func):
        fixturedef.func = lambda **_: "made by somebody else"
    yield
""",
        test_it=HEAD
        + """
@pytest.fixture
async def size(mesh):
    return len(mesh.nodes)

@simulate(nodes=2, seeds=2)
async def test_ours(mesh, size):
    assert size == 2

async def test_theirs():
    pass
""",
    )
    result = users.runpytest()
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*run by somebody else*"])


def test_a_fixture_called_mesh_of_somebody_s_own_wins(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it="""
import pytest

@pytest.fixture
def mesh():
    return "triangles"

def test_mine(mesh):
    assert mesh == "triangles"

@pytest.mark.trio
async def test_mine_too(mesh):
    assert mesh == "triangles"
"""
    )
    users.runpytest("--simulation-seed", "7").assert_outcomes(passed=2)


def test_other_params_marks_and_outcomes_are_as_ever(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it=HEAD
        + """
@pytest.mark.parametrize("size", [1, 2])
@simulate(seeds=2)
async def test_sizes(mesh, size):
    assert size == 1 or mesh.seed == 1

@simulate(nodes=1)
async def test_skips(mesh):
    pytest.skip("not today")

@pytest.mark.xfail(strict=True)
@simulate(nodes=1)
async def test_expected(mesh):
    assert not mesh.nodes
"""
    )
    result = users.runpytest()
    result.assert_outcomes(passed=3, failed=1, skipped=1, xfailed=1)
    line = next(each.strip() for each in result.stdout.lines if each.startswith("    pytest "))
    again = users.run(sys.executable, "-m", *shlex.split(line))
    again.assert_outcomes(failed=1)
