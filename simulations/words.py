"""What a scenario can say, gathered from the verbs themselves: `bangpath simulate --words`. Pure.

A verb that is written today stands here today: its example, whether it lasts, and which kind of fault it is.
"""

from __future__ import annotations

import re

from identity.errors import Refused
from simulations.checkers import BY_NAME
from simulations.faults import kinds
from simulations.topologies import NO_OTHERS, SHAPES
from simulations.verbs import VERBS


def lines() -> list[str]:
    """The mesh, the work, the faults and what can be expected, with an example of each."""
    work = [verb.says for verb in VERBS if not verb.fault and not verb.says.startswith("expect ")]
    expected = [verb.says for verb in VERBS if verb.says.startswith("expect ")]
    told = ["the mesh, once and first:", *(f"  {says}" for says in meshes()), "", "work:"]
    refused = _refused()
    told += [f"  {says}" + (f"  # refused: {refused[says]}" if says in refused else "") for says in dict.fromkeys(work)]
    told += ["", "faults (what lasts may end with `for 8s`):"]
    examples = {kind.name: list(dict.fromkeys(verb.says for verb in kind.verbs)) for kind in kinds()}
    width = max((len(name) for name in examples), default=0)
    for name, says in examples.items():
        told += [f"  {name if number == 0 else '':{width}}  {each}" for number, each in enumerate(says)]
    told += ["", "what must be true:", *(f"  {says}" for says in expected)]
    told += [f"  expect {name} within 60s" for name in BY_NAME]
    told += ["", "any line may begin with `at 3.5s`: it is begun then, beside what else goes on; # begins a comment"]
    return told


def _refused() -> dict[str, str]:
    """What can be said and makes no sense as yet: the example, and why."""
    found = {}
    for verb in VERBS:
        match = re.fullmatch(verb.pattern, verb.says)
        try:
            if match is not None:
                verb.make(*match.groups())
        except Refused as refused:
            found[verb.says] = refused.cause.rpartition(": ")[2]
    return found


def meshes() -> list[str]:
    """An example of each shape, and the line about all links."""
    return [
        *(f"servers {shape.says}" for shape in SHAPES.values()),
        f"servers 5 line, {NO_OTHERS}",
        "link delay 20ms jitter 5ms loss 1%",
    ]
