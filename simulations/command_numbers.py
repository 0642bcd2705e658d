"""Numbers that `bangpath simulate` is told: seeds and times, refused where they make no sense, with what would.

--seeds 100, --seeds 20-29      --minutes 0.5, --limit 60
"""

from __future__ import annotations

import re
from typing import Any

import click

MOST_SEED = 2**63 - 1
MOST_SEEDS = 1_000_000


class Seeds(click.ParamType[tuple[int | None, int]]):
    """How many seeds (100), or which (20-29): the first, None where it was not said, and how many."""

    name = "SEEDS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | None, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", str(value), re.ASCII)
        if match is None:
            self.fail(f"{value!r} is no number of seeds and no range: write 100, or 20-29.", param, ctx)
        first, last = int(match[1]), int(match[2] or 0)
        found = (None, first) if match[2] is None else (first, last - first + 1)
        if found[1] < 1:
            self.fail(f"{value} has no seed in it: write 100, or 20-29.", param, ctx)
        if found[1] > MOST_SEEDS or max(first, last) > MOST_SEED:
            self.fail(f"{value} is more than {MOST_SEEDS:,} seeds at a time.".replace(",", " "), param, ctx)
        return found


class Time(click.ParamType[float]):
    """A number above 0, at most a day."""

    def __init__(self, name: str, what: str, most: float, *, least: float = 0.0) -> None:
        self.name, self._what, self._most, self._least = name, what, most, least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value) if str(value).isascii() else 0.0
        except ValueError:
            number = 0.0
        if not 0 < number <= self._most:
            self.fail(f"{value} is no number of {self._what} above 0, at most {self._most:g} (a day).", param, ctx)
        if number < self._least:
            self.fail(f"{value} is too few {self._what}: write at least {self._least:g}.", param, ctx)
        return number
