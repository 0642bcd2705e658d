"""Stories for schedules of a server that is not there from the beginning. Pure.

    at 14.2s 1.4 joins                      by a ticket of who stands above it, whatever is broken at that moment
    at 18.0s 1.4 mirrors 1.1                all that was before it came
    at 18.9s 1.4 commits 2 Note             of whom nobody had heard
    at 20.3s 1.1 mirrors 1.4
    at 24.6s 1.1 changes 1 Note of 1.4

Left to others: what these lines do (`verbs_joining.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

LATE = 0.5  # of the schedules with a server of which nothing is asked at the beginning: that is one in two of five

Timed = list[tuple[float, str]]


def latecomer(random: Random, idle: Sequence[str], owners: Sequence[str], seconds: float, *, what: str) -> Timed:
    """The lines of one of the `idle` servers, and when; none where it is not drawn."""
    if random.random() > LATE:
        return []
    name, owner, other = random.choice(idle), random.choice(owners), random.choice(owners)
    joins = random.uniform(0.05, 0.5) * seconds
    then = joins + random.uniform(0.5, 5.0)
    return [
        (joins, f"{name} joins"),
        (then, f"{name} mirrors {owner}{random.choice(('', '', ' as backup'))}"),
        (then + random.uniform(0.0, 2.0), f"{name} commits 2 {what}"),
        (then + random.uniform(0.0, 4.0), f"{other} mirrors {name}"),
        (then + random.uniform(2.0, 9.0), f"{other} changes 1 {what} of {name}"),
        (then + random.uniform(2.0, 9.0), f"{name} changes 1 {what} of {owner}"),
    ]
