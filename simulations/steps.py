"""What a scenario is made of: verbs, steps, and the run that the acts of verbs speak to.

    line --matches a Verb--> Step(act) --act(run)--> said, or Lasting(said, undo)

Vocabulary of `scenario.py`, which reads and runs, and of the verbs_*.py files, which each bring a family of lines.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import networkx

from identity.errors import Refused
from identity.names import Reference
from simulations.network import Link
from simulations.promises import Checker
from simulations.server import SimulatedServer
from simulations.world import World

ID = r"(\d+(?:\.\d+)*)"  # for the patterns of verbs: one group
IDS = r"([\d. ]+)"
SECONDS = r"(\d+(?:\.\d+)?)(ms|s|m)"  # two groups, for `seconds`
NUMBER = r"(\d+)"
FOR = re.compile(rf"(.+) for {SECONDS}")  # a line that says how long it lasts


LONGEST_S = 86_400.0  # of any one wait


def seconds(number: str, unit: str) -> float:
    """`seconds("20", "ms")` is 0.02."""
    return float(number) * {"ms": 0.001, "s": 1.0, "m": 60.0}[unit]


def lapse(number: str, unit: str) -> float:
    """The same, for time that will be waited out. Raises `Refused` for more than a day."""
    found = seconds(number, unit)
    if found > LONGEST_S:
        raise Refused(f"{number}{unit} is longer than a day", next_step=f"write at most {LONGEST_S / 60:g}m")
    return found


MOST = 100_000  # of what one line asks for


def amount(number: str, what: str = "in one line") -> int:
    """How many. Raises `Refused` for more than one line can ask for."""
    if len(number) > 15 or int(number) > MOST:
        raise Refused(f"{number[:20]} is more than {MOST} {what}", next_step=f"write at most {MOST}")
    return int(number)


class Lasting(NamedTuple):
    """What an act gives that can be undone: what it says, and how its end is made."""

    said: str
    undo: Callable[[], Awaitable[None]]


Act = Callable[["Run"], Awaitable["str | Lasting"]]


@dataclass(frozen=True)
class Verb:
    """One kind of line.

    `pattern`: of the whole line, its spaces normalised; its groups go to `make`. `names`: which groups hold server
    ids, for a check before the run. `says`: an example line. `fault`: the name of the fault kind it is, "" for work.
    """

    pattern: str
    names: tuple[int, ...]
    make: Callable[..., Act]
    says: str
    lasting: bool = False
    fault: str = ""


@dataclass(frozen=True)
class Step:
    """One line that acts: what it says, where it stands, what it does, when (None: after the line before it).

    `does`: the line without its times. `servers`: those it names.
    """

    line: int
    text: str
    act: Act
    verb: Verb
    at_s: float | None = None
    for_s: float | None = None
    does: str = ""
    servers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scenario:
    """A script that was read: the mesh it wants and what happens in it."""

    name: str
    text: str
    graph: networkx.Graph
    link: Link
    steps: tuple[Step, ...]
    late: tuple[str, ...] = ()  # servers that are not there from the beginning: a step has them join


@dataclass
class Run:
    """A scenario while it runs: what verbs may use."""

    world: World
    checkers: Sequence[Checker] = ()
    objects: dict[str, list[Reference]] = field(default_factory=dict)  # by owner, in the order of their making
    texts: dict[Reference, dict[str, Any]] = field(default_factory=dict)  # what was last acknowledged
    count: int = 0
    lasting: list[Callable[[], Awaitable[None]]] = field(default_factory=list)  # what `heal` undoes, newest last
    under_way: dict[int, str] = field(default_factory=dict)  # lines that have begun and not ended, by their number
    memory: dict[str, Any] = field(default_factory=dict)  # for verbs that must remember something, by their own key

    def server(self, name: str) -> SimulatedServer:
        return self.world.server(name)

    def simulated(self, what: str) -> World:
        """The simulated world; where the scenario runs on real processes, `Refused`: `what` cannot be made there."""
        if not isinstance(self.world, World):
            raise Refused(f"{what} can be made only in the simulator", next_step="run this scenario without --real")
        return self.world

    async def heal(self) -> None:
        """Undo every fault that lasts, the newest first."""
        while self.lasting:
            await self.lasting.pop()()
