"""Cuts that stand while it is asked who is reached, drawn for the end of a schedule (`schedule.py`).

cut 1.1 > 1.2                            one link, before `heal`: other faults may stand beside it
cut 1 > 1.1, cut 1.2 > 1, cut 1.1 > 1.2  or many, each one way only: who is left in rings reaches all in them
expect everybody reached within 120s
..
cut 1 <> 1.2                             and one link in the quiet, where there is a way round it
expect everybody reached within 8s
"""

from __future__ import annotations

import re
from random import Random

import networkx

from simulations.faults import Mesh

ONE_WAY = 0.4  # of the schedules have many links cut one way before `heal`
CUT = 0.7  # of their links


def stands(random: Random, one_way: Random, mesh: Mesh, *, within_s: int, soon_s: int) -> tuple[list[str], list[str]]:
    """The lines before all is healed, and those of the quiet; none there, where each link is the only way."""
    bridges = {frozenset(link) for link in networkx.bridges(networkx.Graph(mesh.links))}
    spare = [link for link in mesh.links if frozenset(link) not in bridges]  # there is a way round
    cuts = [
        f"cut {one} {random.choice(('>', '<', '<>'))} {other}"
        for one, other in [random.choice(links) for links in (mesh.links, spare or mesh.links)]
    ]
    first, last = [re.sub(r"cut (\S+) < (\S+)", r"cut \2 > \1", each) for each in cuts]
    many = [
        f"cut {one} > {other}" if one_way.random() < 0.5 else f"cut {other} > {one}"
        for one, other in mesh.links
        if one_way.random() < CUT
    ]
    before = many if many and one_way.random() < ONE_WAY else [first]
    quiet = [last, f"expect everybody reached within {soon_s}s"] if spare else []
    return [*before, f"expect everybody reached within {within_s}s"], quiet
