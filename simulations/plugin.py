"""The pytest plugin: simulated meshes for tests of anything that is built on Bangpath (DESIGN V4).

    from bangpath import simulate                       import pytest

    @simulate(nodes=5, seeds=200)                       @pytest.mark.mesh(nodes=5)
    async def test_mirrors_agree(mesh):                 @pytest.mark.seeds(200)
        a, b, *_ = mesh.nodes                           async def test_mirrors_agree(mesh): ...

    test_mirrors_agree[seed=1]   seed=2   ...   seed=200        each a test, in a world of its own

Both forms mean the same. Every seed is a test to pytest: it has its own fixtures, xdist deals the seeds out to its
workers, `-x` and `--lf` work as ever. A seed that failed is remembered in pytest's cache and runs first until it
passes. A failure names its seed and the one line that replays it, and its traceback holds the user's own frames. The
first seed of a test runs a second time in a fresh process with another hash seed, beside the first: unequal traces
fail and show the first event that differs (`plugin_twin.py`). A seed that failed is run again there, alone: one that
passes failed by what others left behind, and says so.

    async fixtures of such a test run inside its world; `mesh` is the `simulations.world.World`
    `simulation(story, servers=3, seed=7)` is for a test that wants worlds of its own, or their traces

It is loaded by pytest wherever Bangpath is installed, so it imports next to nothing until it is used, and it touches
no test that does not take this `mesh`: a fixture of that name of somebody's own wins.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar, overload

import pytest

if TYPE_CHECKING:
    from simulations.plugin_seeds import Seeds
    from simulations.world import World

Test = TypeVar("Test", bound=Callable[..., Any])

SEED = "simulation_seed"  # the name of the parameter, and of the property in reports
ENOUGH = 3  # failing seeds of one test tell what there is to tell; a hundred tracebacks tell less
_DECORATED = "bangpath_simulated"  # what `@simulate` leaves on a test, beside the marks
_STATE: pytest.StashKey[Seeds] = pytest.StashKey()


@overload
def simulate(nodes: Test) -> Test: ...
@overload
def simulate(nodes: Any = ..., seeds: int | None = ..., **options: Any) -> Callable[[Test], Test]: ...
def simulate(nodes: Any = None, seeds: int | None = None, **options: Any) -> Any:
    """Mark an async test that takes `mesh`: it runs in simulated worlds, once for each seed.

    `nodes`: how many (3), or a networkx graph. `seeds`: how many worlds (the ini setting `simulation_seeds`, which
    is 1). `limit_s`: virtual seconds a world may take (3600). `link="delay 20ms loss 1%"`: the rules of every link.
    `no_other_links=True`: only neighbours of the graph `nodes` reach each other without others between them.
    More options are those of `simulations.world.simulate`. Without arguments also `@simulate` alone.
    """
    if inspect.isfunction(nodes) or inspect.isclass(nodes):
        return simulate()(nodes)
    if nodes is not None:
        options["nodes"] = nodes

    def decorate(test: Test) -> Test:
        pytest.mark.mesh(**options)(test)
        if seeds is not None:
            pytest.mark.seeds(seeds)(test)
        setattr(test, _DECORATED, True)
        return test

    return decorate


@pytest.fixture
def simulation_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test's world."""
    return getattr(request, "param", 1)


@pytest.fixture
def mesh(simulation_seed: int) -> Any:
    """The world of a simulated test: real nodes on a virtual network, from a seed. It begins when the test does."""
    from simulations.plugin_story import Mesh

    return Mesh(simulation_seed)


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> Callable[..., World]:
    """`simulation(story, servers=3, seed=7)` runs an async story and gives the world it ran in, trace included."""

    def run(story: Callable[[World], Awaitable[Any]], **options: Any) -> World:
        __tracebackhide__ = True
        from simulations.plugin_story import run_story

        world: World = run_story(request.node, story, options)
        return world

    return run


# -- settings


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bangpath", "simulated meshes")
    group.addoption("--simulation-seed", type=int, metavar="N", help="run simulated tests with this seed only")
    group.addoption("--simulation-seeds", type=int, metavar="COUNT", help="so many seeds for every simulated test")
    group.addoption(
        "--simulation-twice", type=int, metavar="COUNT",
        help="so many seeds of each test run again, in a fresh process with another PYTHONHASHSEED",
    )  # fmt: skip
    group.addoption(
        "--simulation-enough", type=int, default=ENOUGH, metavar="COUNT",
        help=f"skip the seeds left of a test of which so many failed (default {ENOUGH}; 0: never)",
    )  # fmt: skip
    group.addoption(
        "--simulation-timeline", metavar="DIRECTORY", help="draw every seed that fails, and that of --simulation-seed"
    )
    group.addoption("--simulation-trace", metavar="FILE", help="write the trace of the last world into this file")
    group.addoption("--simulation-parent", type=int, metavar="PIPE", help=argparse.SUPPRESS)
    parser.addini("simulation_seeds", "seeds of a simulated test that names no number", default="1")
    parser.addini("simulation_twice", "seeds of each test that run again in a fresh process", default="1")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "seeds(count, also=()): how many worlds a test that takes `mesh` runs in, and seeds beyond these"
    )
    config.addinivalue_line("markers", "mesh(nodes=3, limit_s=3600, link=...): what the world of a test is made of")
    parent = config.getoption("simulation_parent")
    if parent is not None:
        from simulations.plugin_twin import live_with_parent

        live_with_parent(parent, config.getoption("simulation_trace") or "")


def pytest_sessionstart(session: pytest.Session) -> None:
    from simulations.plugin_seeds import Seeds

    state = session.config.stash[_STATE] = Seeds(session.config)
    session.config.pluginmanager.register(_Ear(state), "bangpath-ear")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Of xdist: its workers are told what is remembered, so that all collect the same tests, also one that is late."""
    from simulations.plugin_seeds import Seeds

    node.workerinput["simulation_failing"] = Seeds(node.config).failing


# -- which tests, and with which seeds


def _is_ours(fixtures: Any) -> bool:
    """Whether the `mesh` of a test is the one of this file, and none of somebody's own."""
    return bool(fixtures) and fixtures[-1].func.__module__ == __name__


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    ours = "mesh" in metafunc.fixturenames and _is_ours(metafunc._arg2fixturedefs.get("mesh"))
    if not ours and not getattr(metafunc.function, _DECORATED, False):
        return
    from simulations.plugin_options import check_decorated, check_test

    wrong = ""
    try:
        (check_test if ours else check_decorated)(metafunc)
        state = metafunc.config.stash[_STATE]
        seeds = state.wanted(metafunc.definition.nodeid, metafunc.definition.get_closest_marker("seeds"))
    except pytest.UsageError as error:
        wrong = str(error)
    if wrong:
        pytest.fail(wrong, pytrace=False)  # an error of the collection without a frame, as pytest's own of parametrize
    metafunc.parametrize(SEED, seeds, indirect=True, ids=[f"seed={seed}" for seed in seeds])


def _is_simulated(item: Any) -> bool:
    """Whether an item, maybe a module or a class, is a test that takes our `mesh`."""
    if not isinstance(item, pytest.Function) or "mesh" not in item.fixturenames:
        return False
    return _is_ours(item._fixtureinfo.name2fixturedefs.get("mesh"))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pycollect_makeitem(collector: Any, name: str, obj: Any) -> Generator[None, Any, Any]:
    """What other plugins for async tests made of a test of ours, as pytest-asyncio does, is made a plain one again."""
    made = yield
    if not isinstance(made, list):
        return made
    return [_plain(each) if _is_simulated(each) and type(each) is not pytest.Function else each for each in made]


def _plain(item: pytest.Function) -> pytest.Function:
    plain: pytest.Function = pytest.Function.from_parent(
        item.parent,
        name=item.name,
        callspec=getattr(item, "callspec", None),
        callobj=item.obj,
        fixtureinfo=item._fixtureinfo,
        keywords=item.keywords,
        originalname=item.originalname,
    )
    return plain


def pytest_itemcollected(item: pytest.Item) -> None:
    """From here on the test is an ordinary function, so that no other plugin for async tests feels called."""
    if _is_simulated(item):
        from simulations.plugin_story import adopt

        adopt(item, item.config.stash[_STATE])  # type: ignore[arg-type]  # a Function, said above


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Seeds that failed before come before everything else."""
    state = config.stash[_STATE]
    items[:] = [item for item in items if state.is_wanted(item)]
    items.sort(key=lambda item: not state.failed_before(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Generator[None, Any, Any]:
    """An async fixture of a simulated test runs inside its world, later; until then it is an ordinary one."""
    make = fixturedef.func
    if (inspect.iscoroutinefunction(make) or inspect.isasyncgenfunction(make)) and _is_simulated(request._pyfuncitem):
        from simulations.plugin_story import later

        fixturedef.func = later(fixturedef, request)
    try:
        return (yield)
    finally:
        fixturedef.func = make


def pytest_runtest_setup(item: pytest.Item) -> None:
    state = item.config.stash[_STATE]
    state.begun += 1
    reason = state.enough(item)
    if reason:
        pytest.skip(reason)


# -- what came of it


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Generator[None, Any, Any]:
    report = yield
    item.config.stash[_STATE].note(item, report)
    return report


class _Ear:
    """Hears every report, also those that xdist's workers send; a plugin of its own, for it must know its session."""

    def __init__(self, state: Seeds) -> None:
        self._state = state

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._state.hear(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    state = session.config.stash.get(_STATE, None)
    if state is not None:  # None: the session never began
        state.keep()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    state = terminalreporter.config.stash.get(_STATE, None)
    lines = state.summary() if state is not None else []
    if lines:
        terminalreporter.section("simulated meshes")
        for line in lines:
            terminalreporter.write_line(line)
