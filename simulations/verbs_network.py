"""Verbs of the network: shapes, rules of links, cuts and partitions.

servers 4                       the root 1 and its children 1.1 1.2 1.3; or: servers 4 ring | line | star
link delay 20ms loss 2%         for all links: delay, jitter, loss, duplicate
part 1 1.1 | 1.2 1.3            cut the groups from one another
cut 1.1 > 1.2                   one way only
heal                            mend every link, undo every fault that lasts
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import networkx

from identity.errors import Refused
from simulations.network import Link
from simulations.stage import parted
from simulations.steps import ID, SECONDS, Act, Lasting, Run, Verb, seconds

_TOPOLOGIES: dict[str, Callable[[int], networkx.Graph]] = {
    "full": networkx.complete_graph,
    "ring": networkx.cycle_graph,
    "line": networkx.path_graph,
    "star": lambda number: networkx.star_graph(number - 1),
}


def read_servers(line: str, where: str) -> tuple[networkx.Graph, list[str]]:
    """The graph of a line such as `servers 5 ring`, and the names its servers will have. Raises `Refused`."""
    match = re.fullmatch(r"servers (\d+)(?: (\w+))?", line)
    kind = match[2] or "full" if match else ""
    if not match or kind not in _TOPOLOGIES or not 1 <= int(match[1]) <= 1000:
        wanted = f"servers NUMBER of 1 to 1000, then one of {', '.join(_TOPOLOGIES)}"
        raise Refused(f"{where}: {line!r} is no topology", next_step=f"write: {wanted}")
    number = int(match[1])
    return _TOPOLOGIES[kind](number), ["1", *[f"1.{child}" for child in range(1, number)]]


def read_link(line: str, where: str) -> Link:
    """The rules of a line such as `link delay 20ms loss 2%`. Raises `Refused`."""
    rules: dict[str, float] = {}
    words = line.split()[1:]
    for rule, value in zip(words[::2], [*words[1::2], ""], strict=False):
        duration = re.fullmatch(SECONDS, value)
        percent = re.fullmatch(r"(\d+(?:\.\d+)?)%", value)
        if rule in ("delay", "jitter") and duration:
            rules[rule] = seconds(*duration.groups())
        elif rule in ("loss", "duplicate") and percent:
            rules[rule] = float(percent[1]) / 100
        else:
            right = "delay 20ms, jitter 5ms, loss 2% or duplicate 1%"
            raise Refused(f"{where}: {rule} {value!r} is no rule of a link", next_step=f"write for example {right}")
    return replace(Link(), **rules)  # type: ignore[arg-type]  # every rule read above is a number


def _part(groups: str) -> Act:
    async def act(run: Run) -> Lasting:
        return Lasting("", await run.world.cut_ways(parted([group.split() for group in groups.split("|")])))

    return act


def _cut(source: str, target: str) -> Act:
    async def act(run: Run) -> Lasting:
        return Lasting("", await run.world.cut_ways([(source, target)]))

    return act


def _heal() -> Act:
    async def act(run: Run) -> str:
        await run.heal()
        run.world.heal()
        return ""

    return act


VERBS: tuple[Verb, ...] = (
    Verb(r"part ([\d. ]+(?:\|[\d. ]+)+)", (1,), _part, "part 1 1.1 | 1.2 1.3", lasting=True, fault="partition"),
    Verb(rf"cut {ID} > {ID}", (1, 2), _cut, "cut 1.1 > 1.2", lasting=True, fault="one-way cut"),
    Verb(r"heal", (), _heal, "heal"),
)
