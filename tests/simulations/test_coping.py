"""Faults that stand while news is to spread: each line can be said, and none takes a part of the mesh away."""

from __future__ import annotations

from random import Random

import pytest

from simulations.coping import LINKS, WALLS, copes
from simulations.faults import Mesh, kinds
from simulations.scenario import parse
from simulations.schedule import draw

MESH = Mesh(("1", "1.1", "1.2"), (("1", "1.1"), ("1.1", "1.2")))
HEAD = "servers 3\nclass Note text:string\n1 mirrors 1.1\n"


@pytest.mark.parametrize("fault", [*LINKS, *WALLS])
def test_the_lines_of_a_fault_can_be_said(fault: str) -> None:
    lines = copes(Random(1), MESH, fault, owner="1.1", what="Note")
    parse(HEAD + "\n".join(lines))
    assert lines[0] == "heal"  # nothing else is broken then
    assert lines[-2:] == ["1.1 commits 2 Note of 20kB", "expect converged within 180s"]
    assert fault in {kind.name for kind in kinds()}


@pytest.mark.parametrize("fault", ["crash", "partition", "loss"])
def test_nothing_is_drawn_of_other_faults(fault: str) -> None:
    assert copes(Random(1), MESH, fault, owner="1.1", what="Note") == []


def test_half_of_the_schedules_end_with_such_a_fault_and_tell_it() -> None:
    texts = [draw(seed, faults=["small MTU"]) for seed in range(1, 41)]
    coping = [text for text in texts if text.endswith("expect converged within 180s\n")]
    assert 10 <= len(coping) <= 30
    for text in coping:
        assert "link mtu" in text.splitlines()[-4]
        assert "small MTU" in text.splitlines()[0]
