"""The plugin as its users meet it: a seed a test, failures that replay, seeds remembered, two equal processes."""

from __future__ import annotations

import re
import shlex
import sys

import pytest

import bangpath
from simulations.checkers import converged, no_loops, no_lost_commits
from simulations.world import World

pytest_plugins = ["pytester"]

INI = "[pytest]\nsimulation_twice = 0\n"
HEAD = "import bangpath, networkx, pytest, trio\nfrom bangpath import simulate\n"


@pytest.fixture
def users(pytester: pytest.Pytester) -> pytest.Pytester:
    """A user's directory: no settings of ours."""
    pytester.makefile(".ini", pytest=INI)
    return pytester


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
        await mesh.sleep(3000)
"""
    )
    result = users.runpytest("-v")
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["*::test_decorated?seed=3? PASSED*", "*::test_marked?seed=4711? PASSED*"])


FAILS = (
    HEAD
    + """
@simulate(nodes=2, seeds=6)
async def test_story(mesh):
    a, b = mesh.nodes
    await mesh.sleep(1)
    assert mesh.seed not in (3, 5), "a bad seed"
"""
)


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


DRAWN = (
    HEAD
    + """
@simulate(nodes=2)
async def test_order(mesh):
    a, b = mesh.nodes
    await mesh.sleep(1)
    for name in CHOICE:
        a.world.mark("chosen", name)
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
            "nodes=2", "nodes=2, seeds=3"
        ),
    )
    users.run("env", "PYTHONHASHSEED=1", sys.executable, "-m", "pytest").assert_outcomes(passed=3)
    assert sorted((users.path / "ran").read_text().split()) == ["1", "1", "1", "2"]


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


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def test_it(mesh): pass", "a test that takes `mesh` awaits things: write `async def`"),
        ("@pytest.mark.seeds(0)\nasync def test_it(mesh): pass", "seeds(0) is no number of worlds"),
        ("@pytest.mark.seeds()\nasync def test_it(mesh): pass", "seeds(None) is no number of worlds"),
        ("@pytest.mark.seeds(2, also='x')\nasync def test_it(mesh): pass", "names no seeds"),
        ("@pytest.mark.mesh(5)\nasync def test_it(mesh): pass", "write mesh(nodes=5)"),
        (
            "@simulate(node=5)\nasync def test_it(mesh): pass",
            "there is no option node=5; there are nodes, link, limit_s",
        ),
        ("@simulate(nodes=0)\nasync def test_it(mesh): pass", "a world without servers"),
        ("@simulate(nodes=-1)\nasync def test_it(mesh): pass", "a world without servers (-1)"),
        ("@simulate(nodes='3')\nasync def test_it(mesh): pass", "'3' is no mesh; write how many servers"),
        ("@simulate(link=0.02)\nasync def test_it(mesh): pass", "0.02 is no rule of a link; say for example"),
        ("@simulate(link='dealy 20ms')\nasync def test_it(mesh): pass", "did you mean: delay 20ms"),
        ("@simulate(limit_s='1m')\nasync def test_it(mesh): pass", "limit_s='1m' is no time"),
        ("@simulate(keep=-1)\nasync def test_it(mesh): pass", "keep=-1 is no number of events"),
        ("@simulate(nodes=3)\nasync def test_it(): pass", "takes no `mesh`*; write: async def test_it(mesh)"),
        ("@simulate\ndef test_it(): pass", "takes no `mesh`*; write: async def test_it(mesh)"),
        (
            "@pytest.fixture\ndef mesh(): pass\n@simulate\nasync def test_it(mesh): pass",
            "its `mesh` is the fixture of test_it, not Bangpath's",
        ),
        (
            "@pytest.fixture(scope='module')\nasync def ward(): pass\nasync def test_it(mesh, ward): pass",
            "its scope must be function, not module",
        ),
    ],
)
def test_what_makes_no_sense_is_told(users: pytest.Pytester, code: str, told: str) -> None:
    users.makepyfile(test_it=HEAD + code)
    result = users.runpytest()
    result.assert_outcomes(errors=1)  # nothing ran, and no frame is shown
    assert "simulations/" not in result.stdout.str()
    assert "exception" not in result.stdout.str()
    result.stdout.fnmatch_lines([f"*{told.replace('[', '?')}*"])


def test_links_are_said_as_in_scenarios(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it=HEAD
        + """
@simulate(nodes=2, link="delay 20ms and loss 1%")
class TestClass:
    async def test_words(self, mesh):
        link = mesh.network.link("1", "1.1")
        assert (link.delay, link.loss) == (0.02, 0.01)

    def test_other(self):
        pass

@simulate(nodes=networkx.path_graph(3), no_other_links=True)
async def test_line(mesh):
    assert mesh.network.link("1", "1.2").cut
    assert not mesh.network.link("1", "1.1").cut
"""
    )
    users.runpytest().assert_outcomes(passed=3)


def test_a_limit_of_virtual_time_ends_a_world(users: pytest.Pytester) -> None:
    users.makepyfile(test_it=HEAD + "@simulate(limit_s=5)\nasync def test_it(mesh): await trio.sleep(6)\n")
    result = users.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*did not end within 5 virtual seconds*", "*--simulation-seed 1"])
