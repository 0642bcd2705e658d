"""A story for schedules: an owner that is mirrored tells two stories while it commits. Chance alone seldom draws it.

    at 18s 1.1 mirrors 1.2        at 18s 1.4 mirrors 1.2
    at 21.3s 1.2 turns hostile: tells two stories for 12s
    at 22.5s 1.2 commits 2 Note   at 25.1s 1.2 changes 1 Note

Whoever it told which story, in the end they must know (`check_forks.py`). The root stays honest, as in `faults.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

OFTEN, SELDOM = 0.25, 0.1  # of the minutes that have no faults but hostile servers; of those that have others, too
MOST_MIRRORS = 3


def two_stories(
    random: Random, servers: Sequence[str], owners: Sequence[str], *, seconds: float, what: str, alone: bool
) -> list[tuple[float, str]]:
    """Its lines and when, none where it is not drawn or the mesh is too small. `servers`: the root first;
    `alone`: there are no other faults."""
    liars = [name for name in owners if name != servers[0]]
    if not liars or len(servers) < 3 or random.random() > (OFTEN if alone else SELDOM) * seconds / 60:
        return []
    liar = random.choice(liars)
    others = [name for name in servers if name != liar]
    begin = random.uniform(0.2, 0.5) * seconds
    told = [(begin - 3.0, f"{name} mirrors {liar}") for name in random.sample(others, min(MOST_MIRRORS, len(others)))]
    told.append((begin, f"{liar} turns hostile: tells two stories for {random.choice((5, 12, 20))}s"))
    for line in (f"{liar} commits 2 {what}", f"{liar} changes 1 {what}", f"{liar} commits 1 {what} of 3kB"):
        told.append((begin + random.uniform(0.2, 4.0), line))
    return [(round(max(when, 0.1), 1), line) for when, line in told]
