"""The table of fault kinds: all that a scenario can break, what it breaks, and how one such line is drawn by chance.

    verbs.py  --fault="crash"-->  Kind("crash", ...)  --draw(random, mesh)-->  "crash 1.3"

The table asks the verbs: whatever verb names a fault kind can be drawn, from its own example, with other servers,
times and figures in the places where the example has them. So a new verb joins every sweep on the day it is written.
A few kinds have a better way than their example (`_OWN`): it is used where its line is one that a verb understands.

What is drawn here can be read: each line is tried by the verb's own reader, and the example as it stands is the last
resort. When a fault happens and for how long is `schedule.py`'s.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import combinations
from random import Random
from typing import NamedTuple

from identity.errors import Refused
from simulations import verbs_hostile, verbs_network, verbs_servers, verbs_walls
from simulations.steps import Verb
from simulations.verbs import VERBS

ECHOES = 0.12  # of what befalls a server: so often several go at once (their power line), so often it comes again
MOST_TAKEN = 10  # servers that any kind takes, and more
ATTEMPTS = 8  # at a line that its verb accepts, before the example is taken as it stands


# How often a schedule takes a kind of each family: what stops machines and what parts them has found the most bugs.
WEIGHTS = {"servers": 5, "cuts": 4, "links": 4, "walls": 1, "hostile": 1, "others": 3}
_BROUGHT_BY = {"servers": verbs_servers, "cuts": verbs_network, "walls": verbs_walls, "hostile": verbs_hostile}


class Mesh(NamedTuple):
    """Who there is and who is whose neighbour, as names."""

    servers: tuple[str, ...]
    links: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Kind:
    """One kind of fault: its name and the verbs that make it. `lasting`: it can be given a time, and is undone."""

    name: str
    verbs: tuple[Verb, ...]

    @property
    def lasting(self) -> bool:
        return all(verb.lasting for verb in self.verbs)

    @property
    def family(self) -> str:
        """What it breaks, as in `WEIGHTS`."""
        first = self.verbs[0]
        family = next((name for name, module in _BROUGHT_BY.items() if first in module.VERBS), "others")
        return "links" if family == "cuts" and first.says.startswith("link ") else family

    def draw(self, random: Random, mesh: Mesh) -> str | None:
        """A line without its `at` and `for`, such as `cut 1.2 > 1`; None when no such line makes sense on this mesh."""
        verb = random.choice(self.verbs)
        ways: list[Callable[[Random, Mesh], str]] = [lambda random, mesh: _wider(like(verb, random, mesh), random)]
        if self.name in _OWN:
            ways.insert(0, _OWN[self.name])
        for way in ways:
            for _ in range(ATTEMPTS):
                line = way(random, mesh)
                if any(understands(each, line, mesh) for each in self.verbs):
                    return line
        for _ in range(ATTEMPTS):
            if understands(verb, line := _on(verb, random, mesh), mesh):
                return line
        return None


def kinds(names: Iterable[str] | None = None, *, verbs: Iterable[Verb] = VERBS) -> tuple[Kind, ...]:
    """The kinds of these names, or all, by name. Raises `Refused` for one that does not exist, with what is near it."""
    found: dict[str, list[Verb]] = {}
    for verb in verbs:
        if verb.fault:
            found.setdefault(verb.fault, []).append(verb)
    table = {name: Kind(name, tuple(found[name])) for name in sorted(found)}
    if names is None:
        return tuple(table.values())
    wished = list(dict.fromkeys(names))
    for name in wished:
        if name not in table:
            near = difflib.get_close_matches(name, table, n=3, cutoff=0.4) or list(table)
            raise Refused(f"there is no fault {name!r}", next_step=f"did you mean {', '.join(near)}?")
    return tuple(table[name] for name in sorted(wished))


def check_kinds(names: Iterable[str], servers: int) -> None:
    """Raises `Refused` for kinds that cannot be with so few servers: a run without them would pass for nothing."""
    for kind in kinds(names):
        if not _can_be(kind, servers):
            enough = next((number for number in range(servers, servers + MOST_TAKEN) if _can_be(kind, number)), 0)
            right = f"write --nodes {enough} or more, or other --faults" if enough else "write other --faults"
            raise Refused(
                f"{servers} {'server is' if servers == 1 else 'servers are'} too few for the fault {kind.name!r}",
                next_step=right,
            )


def _can_be(kind: Kind, servers: int) -> bool:
    names = ("1", *(f"1.{number}" for number in range(1, servers)))
    mesh = Mesh(names, tuple(combinations(names, 2)))
    return any(kind.draw(Random(number), mesh) is not None for number in range(ATTEMPTS))


def understands(verb: Verb, line: str, mesh: Mesh) -> bool:
    """Whether this verb takes the line on this mesh."""
    match = re.fullmatch(verb.pattern, line)
    if match is None:
        return False
    named = [name for group in verb.names for name in (match[group] or "").replace("|", " ").split()]
    if not set(named) <= set(mesh.servers) or verbs_network.too_few(line, len(mesh.servers)):
        return False
    try:
        verb.make(*match.groups())
    except Refused:
        return False
    return True


# -- a line like a verb's example

_FIGURE = re.compile(r"(?<![\w.>])(\d+(?:\.\d+)?)(ms|s|m|%)?(?![\w.]|\.\d)")
_NUDGES = (0.25, 0.5, 1.0, 1.0, 2.0, 4.0)


def like(verb: Verb, random: Random, mesh: Mesh) -> str:
    """The example of a verb with other servers in it, and its figures a quarter to four times as large."""
    example, names = _places(verb)
    for start, end in reversed(names):
        example = example[:start] + "\0" * (end - start) + example[end:]
    nudged = _FIGURE.sub(lambda figure: _nudged(figure, random), example)
    core = _strip(verb.says)
    spans = [match.span() for match in re.finditer("\0+", nudged)]
    chosen = _names([core[start:end] for start, end in names], random, mesh)
    for (start, end), name in zip(reversed(spans), reversed(chosen), strict=True):
        nudged = nudged[:start] + name + nudged[end:]
    return nudged


def _wider(line: str, random: Random) -> str:
    """Half of the rules for one direction are taken for both, for all links of a server, or for every link."""
    match = re.fullmatch(r"link (\S+) > (\S+) (.+)", line)
    if match is None or random.random() < 0.5:
        return line
    one, other, rules = match.groups()
    return random.choice((f"link {one} <> {other} {rules}", f"links of {one} {rules}", f"link {rules}"))


def _on(verb: Verb, random: Random, mesh: Mesh) -> str:
    """The example with its figures as they are, on servers of this mesh."""
    example, names = _places(verb)
    chosen = _names([example[start:end] for start, end in names], random, mesh)
    for (start, end), name in zip(reversed(names), reversed(chosen), strict=True):
        example = example[:start] + name + example[end:]
    return example


def _places(verb: Verb) -> tuple[str, list[tuple[int, int]]]:
    """An example without `at` and `for`, and where in it servers are named, in order."""
    core = _strip(verb.says)
    match = re.fullmatch(verb.pattern, core)
    if match is None:
        core, match = verb.says, re.fullmatch(verb.pattern, verb.says)
    if match is None:
        raise Refused(f"the example {verb.says!r} does not fit its own verb", next_step="mend the verb's `says`")
    return core, sorted(match.span(group) for group in verb.names if match[group])


def _strip(example: str) -> str:
    return re.sub(r" for \S+$", "", re.sub(r"^at \S+ ", "", example))


def _nudged(figure: re.Match[str], random: Random) -> str:
    value = float(figure[1]) * random.choice(_NUDGES)
    if figure[2] == "%":
        value = min(value, 90.0)
    if "." not in figure[1] and figure[2] is None:
        value = max(round(value), 1)
    return f"{value:g}{figure[2] or ''}"


def _names(examples: list[str], random: Random, mesh: Mesh) -> list[str]:
    """Servers in the places of an example's: groups become groups, one becomes one, two become neighbours mostly."""
    distinct = list(dict.fromkeys(name for each in examples for name in each.replace("|", " ").split()))
    if any("|" in each for each in examples):
        return [_groups(random, mesh, each.count("|") + 1) for each in examples]
    if len(distinct) == 2 and mesh.links and random.random() < 0.8:
        pair = list(random.choice(mesh.links))
        random.shuffle(pair)
        chosen = dict(zip(distinct, pair, strict=True))
    else:
        several = random.sample(mesh.servers, min(len(distinct), len(mesh.servers)))
        chosen = {name: several[at % len(several)] for at, name in enumerate(distinct)}
    return [" ".join(chosen[name] for name in each.split()) for each in examples]


def _groups(random: Random, mesh: Mesh, number: int) -> str:
    """All servers in so many groups, none of them empty, each in the order of the mesh."""
    number = max(min(number, len(mesh.servers)), 1)
    shuffled = random.sample(mesh.servers, len(mesh.servers))
    belongs = {name: at if at < number else random.randrange(number) for at, name in enumerate(shuffled)}
    groups = [" ".join(name for name in mesh.servers if belongs[name] == at) for at in range(number)]
    return " | ".join(groups)


# -- kinds that know better than their example


def _part(random: Random, mesh: Mesh) -> str:
    """Halves, or one server alone, or three groups."""
    way = random.random()
    if way < 0.4:
        alone = random.choice(mesh.servers)
        rest = " ".join(name for name in mesh.servers if name != alone)
        return f"part {alone} | {rest}"
    return f"part {_groups(random, mesh, 2 if way < 0.8 else 3)}"


def _in_a_step(random: Random, mesh: Mesh) -> str:
    """Mostly in one of the next few writes or syncs: what is in them is then what has just been answered or taken."""
    step, soon = random.choice((("sync", (1, 1, 1, 2, 3, 10)), ("write", (1, 2, 3, 5, 10, 40))))
    return f"crash {random.choice(mesh.servers)} at {step} {random.choice(soon)}"


def _hostile(random: Random, mesh: Mesh) -> str:
    """One trick or two that leave honest servers their promises. The root signs who the others are: it stays honest."""
    from simulations.hostile import DRAWN

    tricks = random.sample(DRAWN, random.choice((1, 2)))
    return f"{random.choice(mesh.servers[1:] or mesh.servers)} turns hostile: {', '.join(tricks)}"


_OWN: dict[str, Callable[[Random, Mesh], str]] = {
    "partition": _part,
    "crash in a write": _in_a_step,
    "hostile": _hostile,
}


def echoes(random: Random, line: str, mesh: Mesh) -> list[tuple[float, str]]:
    """What befalls one server sometimes befalls several at that moment, or the same again and again: when, what."""
    words = line.split()
    place = next((at for at, word in enumerate(words) if word in mesh.servers), None)
    chance = random.random()
    if place is None or chance > 2 * ECHOES:
        return []
    if chance > ECHOES:
        gap = random.uniform(0.3, 5.0)
        return [(gap * number, line) for number in range(1, random.randint(2, 3))]
    others = [name for name in mesh.servers if name != words[place]]
    several = random.sample(others, random.randint(1, len(others))) if others else []
    return [(0.0, " ".join([*words[:place], name, *words[place + 1 :]])) for name in several]
