"""How long a line may take: one that never ends is told with its line, and is no hang.

    pause 1.2
    at 1s 1.2 commits 1 Note      waits at 1.2 until somebody resumes it, and no line does
      -->  story:3: ... it has not ended after 3724 virtual s; 1.2 is paused; write before it: resume 1.2

What is certain from the lines alone is refused before (`sense.py`). Here it is waited for longer than anything that
ends can take: an hour of virtual time, which passes in some real seconds, and for each thing that the line asks for a
minute and four times the longest time that any line says, since a slow disk or a fault that lasts may hold up each.

On real processes nothing is ended: there the words of a client have deadlines of their own.
"""

from __future__ import annotations

import math
import re

import trio

from simulations.steps import LONGEST_S, SECONDS, Lasting, Run, Scenario, Step, seconds
from simulations.world import World

PATIENCE_S = 3600.0  # virtual
EACH_S = 60.0  # for each object or server, beside what the lines say
_TIMES = re.compile(rf"(?<![\w.]){SECONDS}(?!\w)")
_MANY = re.compile(r" (?:commits?|changes?|deletes|gets|passes values of) (\d+)")


async def in_time(run: Run, scenario: Scenario, step: Step) -> str | Lasting:
    """Do what the line says. Raises AssertionError, saying who is paused or down, where it does not end."""
    allowed_s = _allowed_s(scenario, step) if isinstance(run.world, World) else math.inf
    with trio.move_on_after(allowed_s):
        return await step.act(run)
    raise AssertionError(f"it has not ended after {allowed_s:.0f} virtual s; {_who_is_away(run.world)}")


def _allowed_s(scenario: Scenario, step: Step) -> float:
    lines = (line.partition("#")[0] for line in scenario.text.splitlines())
    said = (match for line in lines if "clock of " not in line for match in _TIMES.finditer(line))
    longest_s = max((min(seconds(match[1], match[2]), LONGEST_S) for match in said), default=0.0)
    many = _MANY.search(f" {step.does}")
    number = len(scenario.graph) + (int(many[1]) if many else 0)
    return PATIENCE_S + number * (EACH_S + 4 * longest_s)


def paused(world: World) -> list[str]:
    """Who is paused now, in words that say what would be right; at most three."""
    return [f"{each.name} is paused; write before it: resume {each.name}" for each in world.servers if each.paused][:3]


def _who_is_away(world: World) -> str:
    down = [each.name for each in world.servers if each.joined and not each.running]
    away = paused(world)
    if down:
        away.append(f"down: {' '.join(down)}")
    return "; ".join(away) or "nobody is paused or down: it is the program that never ends it"
