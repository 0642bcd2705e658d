"""Conditions that schedules draw for questions of `schedule.ITEM`, whose values are those of `class_lines.py`. Pure.

asks Item where size >= -3 and size <= 2
"""

from __future__ import annotations

from random import Random


def condition(random: Random, owner: str) -> str:
    """One of them, or none; `owner`: whose texts and objects it may speak of."""
    low, half = random.randint(-9, 6), random.randint(-18, 18) / 2
    return random.choice((
        "",
        f" where serial = {random.randint(1, 9)}",
        f" where serial in [{', '.join(str(random.randint(1, 15)) for _ in range(3))}]",
        f" where size = {low}",
        f" where size {random.choice(('<', '<=', '>', '>='))} {low}",
        f" where size >= {low} and size <= {low + random.randint(0, 9)}",
        f" where size != {low} and not done = {random.choice(('true', 'false'))}",
        f" where weight {random.choice(('<', '<=', '>', '>=', '='))} {half:g}",
        f" where done = {random.choice(('true', 'false'))} or size is null",
        " where near is null",
        f' where near = "{owner}/{random.randint(1, 20)}"',
        f' where near is not null and text ^= "{owner} "',
    ))  # fmt: skip
