"""What a test says of its world, read and looked at when pytest collects it: a wrong word costs no run.

    @simulate(nodes=5, link="delay 20ms")   ---- marks `mesh`, the nearest first ---> arguments of `world.simulate`
    def test_it(mesh) without async,        ----> an error of the collection that says what would be right
    nodes="3", link="dealy 20ms", nods=3

A test that was decorated and takes no `mesh`, or somebody else's, would pass and have simulated nothing: it is told.
Left to others: how many seeds, and which (`plugin_seeds.py`).
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from identity.errors import Refused
from simulations.founding import as_graph
from simulations.link_text import as_link
from simulations.world import simulate

LIMIT_S = 3600.0


def check_decorated(metafunc: pytest.Metafunc) -> None:
    """Raise `pytest.UsageError` for a test that asked for a simulated mesh by `@simulate` and would get none."""
    name = metafunc.function.__name__
    if "mesh" not in metafunc.fixturenames:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: @simulate, but it takes no `mesh`, so that nothing would be simulated; "
            f"write: async def {name}(mesh)"
        )
    theirs = metafunc._arg2fixturedefs["mesh"][-1].func
    raise pytest.UsageError(
        f"{metafunc.definition.nodeid}: @simulate, but its `mesh` is the fixture of {theirs.__module__}, "
        "not Bangpath's; give that one another name"
    )


def check_test(metafunc: pytest.Metafunc) -> None:
    """Raise `pytest.UsageError` for a test that takes our `mesh` in a way that cannot run."""
    name = metafunc.function.__name__
    if getattr(metafunc.function, "is_hypothesis_test", False):  # what hypothesis made of it is no async function
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: @given draws for no test that takes `mesh`, whose chance comes from its "
            f"seed; draw with mesh.random and @simulate(seeds=...), or write def {name} with simulations.world.simulate"
            "(story, servers=3, seed=1) in it, a world an example"
        )
    if not inspect.iscoroutinefunction(metafunc.function):
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: a test that takes `mesh` awaits things: write `async def` {name}"
        )
    options(metafunc.definition)


def options(item: pytest.Item) -> dict[str, Any]:
    """The arguments of `world.simulate` that the marks `mesh` of a test say. Raises `pytest.UsageError`."""
    said: dict[str, Any] = {"limit_s": LIMIT_S}
    for mark in reversed(list(item.iter_markers("mesh"))):
        if mark.args:
            raise pytest.UsageError(f"{item.nodeid}: write mesh(nodes={mark.args[0]!r}): its arguments have names")
        said.update(mark.kwargs)
    for name in said:
        if name not in _there_are():
            there = ", ".join(_there_are())
            raise pytest.UsageError(f"{item.nodeid}: there is no option {name}={said[name]!r}; there are {there}")
    limit_s, keep = said["limit_s"], said.get("keep")
    if isinstance(limit_s, bool) or not isinstance(limit_s, (int, float)) or not limit_s > 0:
        raise pytest.UsageError(f"{item.nodeid}: limit_s={limit_s!r} is no time; write virtual seconds, as limit_s=600")
    if keep is not None and (isinstance(keep, bool) or not isinstance(keep, int) or keep < 0):
        raise pytest.UsageError(f"{item.nodeid}: keep={keep!r} is no number of events; write keep=None to keep all")
    try:
        if "nodes" in said:
            said["servers"] = as_graph(said.pop("nodes"))
        said["link"] = as_link(said.get("link"))
    except Refused as error:
        raise pytest.UsageError(f"{item.nodeid}: {error}") from error
    return said


@functools.cache
def _there_are() -> tuple[str, ...]:
    given = inspect.signature(simulate).parameters
    return ("nodes", *(name for name in given if name not in ("story", "servers", "seed")))
