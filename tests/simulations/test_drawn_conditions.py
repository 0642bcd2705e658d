"""Every condition that is drawn can be read, and they differ."""

from __future__ import annotations

from random import Random

from node.language import parse
from simulations.drawn_conditions import condition


def test_they_can_be_read_and_are_of_many_kinds() -> None:
    drawn = {condition(Random(seed), "1.1") for seed in range(300)}
    for each in drawn:
        parse(f"Item{each}")
    assert "" in drawn
    assert len({each[:16] for each in drawn}) > 8
