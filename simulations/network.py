"""A virtual network: every datagram's fate is decided by its link's rules and the seed.

    1.1 --send_batch--> [wall: out?] [rules of 1.1 > 1.2] --agenda--> [wall: in?] port of 1.2 --receive_into--> 1.2
                                          |
                        what was set, and over it the layers of faults, the newest on top

A link is one direction between two hosts; the other direction has rules of its own (one-way faults are real, DESIGN
G1). A fault is a *layer* over some links: what it changes it changes while it lies there, and faults that overlap end
each by itself. What is cut while a datagram is under way still arrives: wires are not emptied by cutting them. Hosts
may have no links but some (`only`): the others are cut, and nothing mends them. A datagram for a port that nobody
opened vanishes, as UDP's do. The ports pass the same contract suite as the real ones
(tests/contracts/test_ports.py).

Speed: a link with nothing but delay, jitter, loss and duplication is `plain` and judged here, in the same order of
draws as its rules would be (tests/simulations/test_rules.py); all else is judged by `rules.Direction`.

Left to others: what can be said of a link (`links.py`, `link_text.py`), NATs and firewalls (`nat.py`), streams
(`streams.py`), which servers there are (`world.py`).
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from identity.errors import Refused
from simulations.engine import Agenda
from simulations.links import Link
from simulations.nat import TCP, UDP, Wall
from simulations.ports import Address, HostNetwork, SimulatedPort
from simulations.rules import Direction
from simulations.stage import Way, parted
from simulations.stream_ends import Streams
from simulations.trace import Trace

__all__ = ["Address", "HostNetwork", "Layer", "Link", "SimulatedNetwork", "SimulatedPort"]

_FIRST_PORT = 40_000  # where ports that were asked for as 0 begin


class Layer:
    """A fault over some links, or over all: which of their fields it changes while it lies there."""

    __slots__ = ("fields", "number", "spared", "text", "ways")

    def __init__(self, number: int, ways: dict[Way, None] | None, fields: Mapping[str, Any], text: str) -> None:
        self.number = number
        self.ways = ways  # None: all of them
        self.fields = fields
        self.text = text
        self.spared: dict[Way, None] = {}  # mended one by one before the whole layer was lifted

    def covers(self, way: Way) -> bool:
        return (self.ways is None or way in self.ways) and way not in self.spared

    @property
    def hosts(self) -> list[str]:
        """Who is concerned: of one direction its source and its target, of several everybody in order, of all: none."""
        if self.ways is None:
            return []
        return (
            list(next(iter(self.ways))) if len(self.ways) == 1 else sorted({host for way in self.ways for host in way})
        )


class SimulatedNetwork:
    """All hosts and the links between them. Hosts are named by text; a node's port lives on its host."""

    def __init__(
        self, agenda: Agenda, generator: random.Random, trace: Trace, *,
        default: Link | None = None, mark: Callable[..., None] | None = None,
    ) -> None:  # fmt: skip
        """`mark(kind, *hosts, text=, **details)` is told what breaks and what is mended (`world.World.mark`)."""
        self.agenda = agenda
        self.trace = trace
        self._mark = mark or self._trace_mark
        self._random = generator
        self._default = default or Link()
        self._set: dict[Way, Link] = {}
        self._layers: list[Layer] = []
        self._neighbours: dict[str, frozenset[str]] = {}  # of hosts that have no links but these
        self._numbers = itertools.count(1)
        self._links: dict[Way, Link] = {}  # what was set and the layers over it, as far as it was asked for
        self._directions: dict[Way, Direction] = {}  # the rules at work of those that are not plain
        self._walls: dict[str, Wall] = {}
        self._ports: dict[Address, SimulatedPort] = {}
        self._next_port = _FIRST_PORT
        self.streams = Streams(self)
        self.delivered = 0
        self.dropped = 0

    def host(self, name: str) -> HostNetwork:
        """What a node on host `name` is given as its network (the seam `transport.ports.Network`)."""
        return HostNetwork(self, name)

    # -- links

    def link(self, source: str, target: str) -> Link:
        """The rules of one direction as they are now."""
        found = self._links.get((source, target))
        return self._look_up((source, target)) if found is None else found

    @property
    def default(self) -> Link:
        """The rules of every direction that has none of its own."""
        return self._default

    @default.setter
    def default(self, link: Link) -> None:
        self._default = link
        self._links.clear()

    def set_link(self, source: str, target: str, link: Link) -> None:
        """Rules for one direction, from now on; faults that lie over it stay."""
        self._set[source, target] = link
        self._links.pop((source, target), None)

    def change_link(self, source: str, target: str, fields: Mapping[str, Any]) -> None:
        """Change some rules of what is set for one direction, from now on."""
        self.set_link(source, target, self._set.get((source, target), self._default).changed(fields))

    def only(self, links: Iterable[Way]) -> None:
        """These, in both directions, are all the links there are among their hosts; nothing mends another one."""
        neighbours: dict[str, set[str]] = {}
        for source, target in links:
            neighbours.setdefault(source, {source}).add(target)
            neighbours.setdefault(target, {target}).add(source)
        self._neighbours = {host: frozenset(others) for host, others in neighbours.items()}
        self._links.clear()

    def _look_up(self, way: Way) -> Link:
        link = self._set.get(way, self._default)
        for layer in self._layers:
            if layer.covers(way):
                link = link.changed(layer.fields)
        source, target = way
        if source in self._neighbours and target in self._neighbours and target not in self._neighbours[source]:
            link = link.changed({"cut": True})
        self._links[way] = link
        if not link.plain:
            self._directions[way] = Direction(link, self._random, self._directions.get(way))
        return link

    # -- faults

    def lay(
        self, ways: Iterable[Way] | None, fields: Mapping[str, Any], *, kind: str = "link", text: str = ""
    ) -> Layer:
        """Change these fields of some links, or of all (None), until the layer is lifted.

        `kind` and `text` are for the mark. Raises `Refused` for fields that contradict each other, and for no ways.
        """
        chosen = None if ways is None else dict.fromkeys(ways)
        if chosen is not None and not chosen:
            raise Refused(
                "a fault on no link at all", next_step="name two servers, or two groups with somebody in each"
            )
        Link().changed(fields)
        if kind == "part" and not text and chosen:
            text = " | ".join(map(" ".join, sides_of(chosen)))
        layer = Layer(next(self._numbers), chosen, dict(fields), text)
        self._layers.append(layer)
        self._forget(chosen)
        self._mark(kind, *layer.hosts, text=text, fault=layer.number)
        return layer

    def lift(self, layer: Layer) -> None:
        """End this fault, and no other; one that `mend` or `heal` ended before stays ended."""
        if layer in self._layers:
            self._layers.remove(layer)
            self._forget(layer.ways)
            self._mark("mend", *layer.hosts, text=layer.text, fault=layer.number)

    def cut(self, source: str, target: str) -> Layer:
        """Nothing sent from `source` reaches `target` any more; the other direction is not touched."""
        return self.lay([(source, target)], {"cut": True}, kind="cut")

    def mend(self, source: str, target: str) -> None:
        """End every cut of this direction, whoever made it; other rules stay."""
        way = source, target
        if way in self._set and self._set[way].cut:
            self._set[way] = replace(self._set[way], cut=False)
        for layer in list(self._layers):
            if layer.fields.get("cut") and layer.covers(way):
                layer.spared[way] = None
                if layer.ways is not None and len(layer.spared) == len(layer.ways):
                    self._layers.remove(layer)
        self._forget({way: None})
        self._mark("mend", source, target)

    def part(self, *groups: Iterable[str]) -> Layer:
        """Cut every link between hosts of different groups."""
        sides = [sorted(group) for group in groups]
        return self.lay(parted(sides), {"cut": True}, kind="part", text=" | ".join(map(" ".join, sides)))

    def heal(self) -> None:
        """End every fault on any link, and mend every cut. What was set otherwise, and walls, stay."""
        self._layers.clear()
        for way, link in self._set.items():
            if link.cut:
                self._set[way] = replace(link, cut=False)
        self._links.clear()
        self._mark("heal")

    def _forget(self, ways: dict[Way, None] | None) -> None:
        if ways is None:
            self._links.clear()
        else:
            for way in ways:
                self._links.pop(way, None)

    def _trace_mark(self, kind: str, *hosts: str, text: str = "", **details: Any) -> None:
        self.trace.record(self.agenda.now, kind, *hosts, *[f"{name}={value}" for name, value in details.items()])

    # -- walls

    def wall(self, host: str) -> Wall | None:
        """What this host stands behind."""
        return self._walls.get(host)

    def can_call(self, source: str, target: str) -> bool:
        """Whether `target` gets what `source` sends unasked: no wall stands there that keeps it out."""
        wall = self._walls.get(target)
        return wall is None or source in wall.hosts or wall.is_open

    def build(self, wall: Wall, *, text: str = "") -> None:
        """Put a NAT or a firewall in front of its hosts. Raises `Refused` where one of them has a wall already."""
        for host in sorted(wall.hosts):
            if host in self._walls:
                raise Refused(
                    f"{host} stands behind a wall already",
                    next_step="tear that one down first, or choose another server",
                )
        for host in sorted(wall.hosts):
            self._walls[host] = wall
        self._mark("nat", *sorted(wall.hosts), text=text)

    def tear_down(self, wall: Wall) -> None:
        """Away with it: its hosts are seen as they are."""
        for host in sorted(wall.hosts):
            if self._walls.get(host) is wall:
                del self._walls[host]
        self._mark("mend", *sorted(wall.hosts), text="the wall is gone")

    def rebind(self, host: str) -> None:
        """The NAT in front of `host` forgets who spoke through it. Raises `Refused` where there is none."""
        wall = self._walls.get(host)
        if wall is None:
            raise Refused(f"{host} stands behind no NAT", next_step=f"put it there first: {host} stands behind a NAT")
        wall.rebind()
        self._mark("nat", *sorted(wall.hosts), text="rebinds")

    def leave(self, source: Address, target: Address, protocol: str) -> Address | None:
        """The address from which `target` sees what `source` sends now; None: a wall does not let it out."""
        wall = self._walls.get(source[0])
        if wall is None or target[0] in wall.hosts:
            return source
        return wall.outward(source, target, self.agenda.now) if protocol in wall.passes else None

    def enter(self, source: Address, target: Address, protocol: str) -> Address | None:
        """The address that `source` reaches as `target` now; None: a wall does not let it in."""
        wall = self._walls.get(target[0])
        if wall is None or source[0] in wall.hosts:
            return target
        return wall.inward(source, target, self.agenda.now) if protocol in wall.passes else None

    # -- what ports need

    def open(self, host: str, port: int) -> SimulatedPort:
        if port == 0:
            port, self._next_port = self._next_port, self._next_port + 1
        address = (host, port)
        if address in self._ports:
            raise Refused(f"port {port} of {host} is in use", next_step="choose another port, or stop its other user")
        opened = self._ports[address] = SimulatedPort(self, address)
        return opened

    def close(self, port: SimulatedPort) -> None:
        self._ports.pop(port.address, None)

    def send(self, source: Address, target: Address, datagram: bytes, protocol: str = UDP) -> None:
        """A datagram, or a segment of a stream, begins its way."""
        way = source[0], target[0]
        link = self._links.get(way) or self._look_up(way)
        if self._walls:
            seen = self.leave(source, target, protocol)
            if seen is None:
                self._drop(way, datagram, "wall")
                return
            source = seen
        now = self.agenda.now
        deliver = self._deliver if protocol == UDP else self._deliver_segment
        if not link.plain:
            lost, arrivals = self._directions[way].judge(datagram, now)
            if lost:
                self._drop(way, datagram, lost)
            for after, arriving in arrivals:
                if protocol == TCP and arriving is not datagram:  # its own sum tells turned bits
                    self._drop(way, datagram, "corrupt")
                else:
                    self.agenda.at(now + after, partial(deliver, source, target, arriving))
            return
        chance = self._random.random
        if link.cut or (link.loss and chance() < link.loss):
            self._drop(way, datagram, "cut" if link.cut else "loss")
            return
        for _ in range(2 if link.duplicate and chance() < link.duplicate else 1):
            after = link.delay + (link.jitter * chance() if link.jitter else 0.0)  # type: ignore[operator]  # plain: a number
            self.agenda.at(now + after, partial(deliver, source, target, datagram))

    def _deliver_segment(self, source: Address, target: Address, segment: bytes) -> None:
        inside = self.enter(source, target, TCP)
        if inside is None:
            self._drop((source[0], target[0]), segment, "wall")
            return
        self.trace.record_bytes(self.agenda.now, "segment", segment, source[0], target[0])
        self.streams.handle_segment(source, inside, segment)

    def _drop(self, way: Way, datagram: bytes, why: str) -> None:
        self.dropped += 1
        self.trace.record(self.agenda.now, "drop", *way, len(datagram), why)

    def _deliver(self, source: Address, target: Address, datagram: bytes) -> None:
        if self._walls:
            inside = self.enter(source, target, UDP)
            if inside is None:
                self._drop((source[0], target[0]), datagram, "wall")
                return
            target = inside
        self.trace.record_bytes(self.agenda.now, "deliver", datagram, source[0], target[0])
        port = self._ports.get(target)
        if port is None or not port.accept(source, datagram):
            self.dropped += 1
            return
        self.delivered += 1


def sides_of(ways: Iterable[Way]) -> list[list[str]]:
    """Into which sides these cuts part their hosts; none when they leave everybody a way to everybody."""
    cut = dict.fromkeys(ways)
    apart = {way for way in cut if way[::-1] in cut}
    left = dict.fromkeys(sorted({host for way in cut for host in way}))
    sides: list[list[str]] = []
    while left:
        side = [next(iter(left))]
        for here in side:
            left.pop(here, None)
            side += [other for other in left if (here, other) not in apart and other not in side]
        sides.append(sorted(side))
    return sides if len(sides) > 1 else []
