"""Schedules have servers that join later, of whom nothing is asked before; all of it can be read."""

from __future__ import annotations

import re
from random import Random

from simulations.latecomers import latecomer
from simulations.scenario import parse
from simulations.schedule import draw

OWNERS = ("1", "1.1")


def test_who_joins_is_idle_until_then_and_works_afterwards() -> None:
    stories = [latecomer(Random(seed), ("1.3", "1.4"), OWNERS, 60.0, what="Note") for seed in range(100)]
    drawn = [each for each in stories if each]
    assert 30 < len(drawn) < 70
    for (begin, joins), *rest in drawn:
        name = joins.removesuffix(" joins")
        assert name in ("1.3", "1.4")
        assert all(when > begin and name in line.split() for when, line in rest)


def test_schedules_say_it_and_ask_nothing_of_it_before() -> None:
    drawn = [draw(seed, faults=[]) for seed in range(1, 61)]
    late = [(text, name) for text in drawn for name in re.findall(r"^at \S+ (\S+) joins$", text, re.MULTILINE)]
    assert 6 <= len(late) <= 30
    for text, name in late:
        assert parse(text).late == (name,)
        assert not re.search(rf"^{re.escape(name)} ", text, re.MULTILINE)
