"""Whatever breaks, nothing is missing: some of the histories that `python -m benchmarks.schedules` has by the thousand.

And the figures of the trees: on a small world where nothing is broken, each server gets each update once.
"""

from __future__ import annotations

import pytest

from benchmarks.flooding import Mesh
from benchmarks.schedules import schedule


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_missing_after_everything_broke(seed: int) -> None:
    assert schedule(seed) == 0


def test_in_a_mesh_at_rest_each_update_comes_once() -> None:
    mesh = Mesh(40, seed=3)
    mesh.warm()
    figures = mesh.run(updates=16)
    assert figures.missing == 0
    assert figures.copies <= 1.05


def test_of_a_mesh_that_breaks_few_copies_are_useless() -> None:
    mesh = Mesh(40, seed=3)
    mesh.warm()
    figures = mesh.run(updates=24, churn=0.3, loss=0.02, crash=True)
    assert figures.missing == 0
    assert figures.useless < 0.3
