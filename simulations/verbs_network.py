"""Verbs of the network: shapes of meshes, rules of links, cuts, partitions.

servers 5 ring                       `topologies.py` has the shapes
servers 5 line, no other links       nobody is reached but by neighbours; `heal` leaves it
link delay 20ms jitter 10ms loss 1%  before the first step: how every link is; `link_text.py` has the rules
link 1.1 > 1.2 loss 30% for 8s       a step: one direction; `<>` both
links of 1.2 corrupt 2%              a step: all to it and from it
link 1.1 <> 1.2 always delay 300ms   no fault but how it is: `heal` leaves it
at 3s link delay 300ms for 5s        a step: all there are
cut 1.1 > 1.2                        one way only; `<>` both
mend 1.1 > 1.2                       whoever cut it
isolate 1.2                          from everybody
part 1 1.1 | 1.2 1.3                 the groups from one another; who is not named sees all
part one way 1 1.1 > 1.2 1.3         what the first send the others is lost, not the answers
part into halves                     drawn; `with a bridge`: one more server sees both halves
part into a majority ring            everybody sees most, and no two the same (Jepsen's)
heal                                 end every fault that lasts

Left to others: NATs and firewalls (`verbs_walls.py`), what a rule does (`rules.py`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import networkx

from identity.errors import Refused
from simulations.link_text import EXAMPLES, read_rules, say_rules
from simulations.links import Link
from simulations.stage import Way, parted
from simulations.steps import ID, IDS, Act, Lasting, Run, Verb
from simulations.topologies import read_topology


def read_servers(line: str, where: str) -> tuple[networkx.Graph, list[str]]:
    """The graph of a line such as `servers 5 ring`, and the names its servers will have. Raises `Refused`."""
    try:
        topology = read_topology(line.removeprefix("servers").strip())
    except Refused as refused:
        raise Refused(f"{where}: {refused.cause}", next_step=refused.next_step) from None
    return topology.graph, list(topology.names)


def read_link(line: str, where: str) -> Link:
    """The rules of a line such as `link delay 20ms loss 2%`. Raises `Refused`."""
    try:
        return Link().changed(read_rules(re.sub(r"^links?", "", line).strip()))
    except Refused as refused:
        raise Refused(f"{where}: {refused.cause}", next_step=refused.next_step) from None


# -- rules of links


def _link(of: str | None, source: str | None, arrow: str | None, target: str | None, rules: str) -> Act:
    fields = read_rules(rules)
    chosen = None if source is None or target is None else _ways(source, arrow or ">", target)

    async def act(run: Run) -> Lasting:
        ways = chosen if of is None else _ways_of(run, of)
        return Lasting("", await run.world.lay_ways(ways, fields, text=say_rules(fields)))

    return act


def _always(of: str | None, source: str | None, arrow: str | None, target: str | None, rules: str) -> Act:
    fields = read_rules(rules)
    pair = _ways(source, arrow or ">", target) if source is not None and target is not None else []

    async def act(run: Run) -> str:
        network = run.simulated("a link that is always so").network
        for way in pair if of is None else _ways_of(run, of):
            network.change_link(*way, fields)
        return ""

    return act


def _ways_of(run: Run, names: str) -> list[Way]:
    """Every direction to one of these servers and from it."""
    chosen = names.split()
    others = [server.name for server in run.world.servers if server.name not in chosen]
    return parted([*[[name] for name in chosen], others])


def _ways(source: str, arrow: str, target: str) -> list[Way]:
    if source == target:
        raise Refused(f"{source} has no link to itself", next_step="name two servers")
    return [(source, target)] if arrow == ">" else [(source, target), (target, source)]


# -- cuts and partitions


def _cut(source: str, arrow: str, target: str) -> Act:
    ways = _ways(source, arrow, target)

    async def act(run: Run) -> Lasting:
        return Lasting("", await run.world.cut_ways(ways))

    return act


def _mend(source: str, arrow: str, target: str) -> Act:
    ways = _ways(source, arrow, target)

    async def act(run: Run) -> str:
        await run.world.mend_ways(ways)
        return ""

    return act


def _isolate(names: str) -> Act:
    async def act(run: Run) -> Lasting:
        return Lasting("", await run.world.cut_ways(_ways_of(run, names)))

    return act


def _part(text: str) -> Act:
    groups = [group.split() for group in text.split("|")]
    if not all(groups):
        raise Refused(f"a group of {text!r} is empty", next_step="name a server on each side of every |")
    _once([name for group in groups for name in group])

    async def act(run: Run) -> Lasting:
        return Lasting("", await run.world.cut_ways(parted(groups)))

    return act


def _part_one_way(sources: str, targets: str) -> Act:
    _once([*sources.split(), *targets.split()])
    ways = [(source, target) for source in sources.split() for target in targets.split()]

    async def act(run: Run) -> Lasting:
        return Lasting("", await run.world.cut_ways(ways))

    return act


def _halves(bridged: str | None, bridge: str | None) -> Act:
    async def act(run: Run) -> Lasting:
        names = _shuffled(run)
        between = [bridge or names[0]] if bridged else []
        rest = [name for name in names if name not in between]
        halves = [sorted(rest[: len(rest) // 2]), sorted(rest[len(rest) // 2 :])]
        said = " | ".join(map(" ".join, halves)) + (f", and {between[0]} sees both" if between else "")
        return Lasting(said, await run.world.cut_ways(parted(halves)))

    return act


def _majority_ring() -> Act:
    async def act(run: Run) -> Lasting:
        ring = _shuffled(run)
        ways = ring_cuts(ring)
        return Lasting(f"in the order {' '.join(ring)}", await run.world.cut_ways(ways))

    return act


def ring_cuts(ring: Sequence[str]) -> list[Way]:
    """Who must lose whom so that each sees only its nearest in the ring: as few on either side as make a majority."""
    number = len(ring)
    nearest = (number // 2 + 1) // 2  # on either side; with oneself that is more than half
    return [
        (source, target)
        for here, source in enumerate(ring)
        for there, target in enumerate(ring)
        if min((here - there) % number, (there - here) % number) > nearest
    ]


def _heal() -> Act:
    async def act(run: Run) -> str:
        await run.heal()
        run.world.heal()
        return ""

    return act


def _shuffled(run: Run) -> list[str]:
    names = [server.name for server in run.world.servers]
    return run.world.random.sample(names, len(names))


# A line without its times, how many servers it takes, and what it makes of them.
_TAKES = (
    (r"isolate .*", 2, "somebody to be isolated from"),
    (r"part into halves", 2, "two halves"),
    (r"part into halves with a bridge.*", 3, "two halves and a bridge"),
    (r"part into a majority ring", 4, "a ring in which nobody sees all"),
)


def too_few(line: str, servers: int) -> tuple[str, str] | None:
    """Why a line without its times cannot be said of so few servers, and what would be right; None when it can."""
    for pattern, least, what in _TAKES:
        if servers < least and re.fullmatch(pattern, line):
            return (
                f"{servers} {'server is' if servers == 1 else 'servers are'} too few for {what}",
                f"begin with: servers {least}",
            )
    return None


def _once(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise Refused(f"{name} stands on both sides", next_step="name each server once")


# -- the table

# All ids behind `of`, so that none is taken for a rule; but `2 Mbit/s` is one.
_OF = r"of (\d[\d. ]*)(?! \d[\d.]* (?![kMG]?bit/s))"
_WHERE = rf"links?(?: {_OF}| {ID} (>|<>) {ID})?"
_REST = r"(?:(?! for ).)*"  # a time at the end is the runner's
_TWO = rf"{ID} (>|<>) {ID}"

# A fault kind for each rule: how a line of it begins, the kind's name, and an example that hurts.
_RULE_KINDS: tuple[tuple[str, str, str], ...] = (
    (r"delay (?![^,]*long tail)", "delay", "delay 300ms"),
    (r"delay (?=[^,]*long tail)", "long tail of delays", "delay 20ms with a long tail up to 3s"),
    (r"jitter ", "jitter", "jitter 200ms"),
    (r"(?:loss|loses) (?![^,]*in bursts)", "loss", "loss 30%"),
    (r"(?:loss|loses) (?=[^,]*in bursts)", "bursts of loss", "loss 20% in bursts of 8"),
    (r"duplicates? ", "duplication", "duplicate 20%"),
    (r"reorders? ", "reordering", "reorder 20% by 150ms"),
    (r"corrupts? ", "corruption", "corrupt 5%"),
    (r"(?:rate )?(?=[\d.]+ ?[kMG]?bit/s)", "slow link", "rate 400kbit/s queue 300ms"),
    (r"(?:mtu|MTU) ", "small MTU", "mtu 1280"),
    (r"flaps? ", "flapping", "flap 3s up 1s down"),
    (r"spikes? ", "spikes of delay", "spike to 800ms every 4s lasting 1s"),
)
_KNOWN = "|".join(begins for begins, _, _ in _RULE_KINDS)

VERBS: tuple[Verb, ...] = (
    *(
        Verb(rf"{_WHERE} ((?:{begins}){_REST})", (1, 2, 4), _link, f"link 1.1 > 1.2 {says}", lasting=True, fault=kind)
        for begins, kind, says in _RULE_KINDS
    ),
    # What no rule begins with: `cut`, and whatever `read_rules` then says is none.
    Verb(
        rf"{_WHERE} ((?!always |of |[kMG]?bit/s|\d+(?:\.\d+)* <?>|{_KNOWN})\w{_REST})", (1, 2, 4), _link,
        "link 1.1 <> 1.2 cut", lasting=True,
    ),
    Verb(
        rf"links?(?: {_OF}| {ID} (>|<>) {ID}) always (\w{_REST})", (1, 2, 4), _always,
        "link 1.1 <> 1.2 always delay 300ms",
    ),
    Verb(rf"cut {_TWO}", (1, 3), _cut, "cut 1.1 > 1.2", lasting=True, fault="one-way cut"),
    Verb(rf"mend {_TWO}", (1, 3), _mend, "mend 1.1 > 1.2"),
    Verb(rf"isolate {IDS}", (1,), _isolate, "isolate 1.2", lasting=True, fault="isolation"),
    Verb(r"part ([\d. ]+(?:\|[\d. ]*)+)", (1,), _part, "part 1 1.1 | 1.2 1.3", lasting=True, fault="partition"),
    Verb(
        r"part one way ([\d.]+(?: [\d.]+)*) > ([\d.]+(?: [\d.]+)*)", (1, 2), _part_one_way,
        "part one way 1 1.1 > 1.2 1.3", lasting=True, fault="one-way partition",
    ),
    Verb(r"part into halves()()", (), _halves, "part into halves", lasting=True, fault="halves"),
    Verb(
        rf"part into halves( with a bridge)(?: {ID})?", (2,), _halves, "part into halves with a bridge", lasting=True,
        fault="bridge",
    ),
    Verb(
        r"part into a majority ring", (), _majority_ring, "part into a majority ring", lasting=True,
        fault="majority ring",
    ),
    Verb(r"heal", (), _heal, "heal"),
)  # fmt: skip

assert set(EXAMPLES) <= {re.split(r"\W", says)[0] for _, _, says in _RULE_KINDS} | {"cut"}  # every rule can be drawn
