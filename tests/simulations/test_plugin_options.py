"""What is said about a simulated test: understood, or told when it is collected."""

from __future__ import annotations

import pytest

from tests.simulations.plugin_lab import HEAD

pytest_plugins = ["pytester"]


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


@pytest.mark.parametrize(
    "decorators", ["@given(x=st.integers())\n@simulate(nodes=1)", "@simulate\n@given(x=st.integers())"]
)
@pytest.mark.parametrize("wrapped", ["", "@settings(max_examples=3)\n"])
def test_hypothesis_draws_for_no_mesh_and_that_is_what_is_told(
    users: pytest.Pytester, decorators: str, wrapped: str
) -> None:
    head = HEAD + "from hypothesis import given, settings, strategies as st\n"
    users.makepyfile(test_it=f"{head}{wrapped}{decorators}\nasync def test_it(mesh, x): pass\n")
    result = users.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*@given draws for no test that takes `mesh`*simulations.world.simulate(story,*"])


def test_what_is_advised_beside_hypothesis_works(users: pytest.Pytester) -> None:
    users.makepyfile(
        test_it=HEAD
        + """
from hypothesis import given, settings, strategies as st
from simulations.world import simulate

@settings(max_examples=3, deadline=None)
@given(st.integers(1, 9))
def test_it(seconds):
    async def story(mesh):
        await mesh.sleep(seconds)
    assert simulate(story, servers=1, seed=1)[1].now >= seconds
"""
    )
    users.runpytest().assert_outcomes(passed=1)


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
