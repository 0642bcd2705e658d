"""The pytest plugin: simulated meshes for tests of anything that is built on Bangpath (DESIGN V4).

    from simulations.plugin import simulate

    @simulate(nodes=3, seeds=5)
    async def test_mirror_catches_up(mesh):
        a, b, c = mesh.nodes
        ...

The test runs once for every seed, each in a new world on virtual time; a failure names the seed. As a fixture, for a
test that wants the trace or decides the topology itself:

    def test_replays(simulation):
        first = simulation(story, servers=3, seed=7)
        again = simulation(story, servers=3, seed=7)
        assert first.trace.hash == again.trace.hash

It is loaded by pytest wherever Bangpath is installed, so this file imports next to nothing until it is used. Seeds
begin at 1, or at `--simulation-seed`, which replays one.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from simulations.world import World

_only_seed: list[int] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("bangpath", "simulated meshes")
    group.addoption("--simulation-seed", type=int, default=None, help="run simulated tests with this seed only")


def pytest_configure(config: pytest.Config) -> None:
    seed = config.getoption("--simulation-seed", default=None)
    _only_seed[:] = [] if seed is None else [seed]


def simulate(
    *, nodes: Any = 3, seeds: int = 1, limit_s: float = 3600.0, **options: Any
) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., None]]:
    """Make an async test that takes `mesh` (a `simulations.world.World`) run in simulated worlds, once for each seed.

    `nodes`: how many, or a networkx graph. `seeds`: how many worlds. `limit_s`: virtual seconds a world may take.
    Other arguments of the test are fixtures, as ever.
    """

    def decorate(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: Any, **fixtures: Any) -> None:
            from simulations.world import simulate as run_world

            for seed in _only_seed or range(1, seeds + 1):

                async def story(mesh: World) -> None:
                    await test(*args, mesh=mesh, **fixtures)

                run_world(story, servers=nodes, seed=seed, limit_s=limit_s, **options)

        signature = inspect.signature(test)
        kept = [parameter for name, parameter in signature.parameters.items() if name != "mesh"]
        run.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]  # what pytest reads
        return run

    return decorate


@pytest.fixture
def simulation() -> Callable[..., World]:
    """`simulation(story, servers=3, seed=7)` runs an async story and gives the world it ran in, trace included."""

    def run(story: Callable[[World], Awaitable[Any]], **options: Any) -> World:
        from simulations.world import simulate as run_world

        return run_world(story, **options)[1]

    return run
