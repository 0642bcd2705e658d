"""A seed becomes clock, network, disks and real nodes; then servers crash, links break, and all of it replays.

                          one seed
        /           /         |          \\            \\
    agenda      network     disks      generators     trace
    (virtual    (links,     (forget    (keys, nonces, (hash over every
     time)       cuts)       what was   ids, faults)   delivery, write, fault)
                             not synced)
        \\           \\        |          /            /
             real `node.node.Node`s, one a server

What is promised: the nodes are the ones that run in earnest, given other ground to stand on (the seams of LAYOUT);
two runs of one seed give one trace hash, in any process (DESIGN P6). A server that crashes loses what it had not
synced and nothing else; its folded tables and synced log remain.

    async def story(world):
        a, b, *_ = world.servers
        note = await a.create("Note", {"text": "hi"})
        await b.mirror(a)
        with world.partition({a}, {b}):
            await a.update(note, {"text": "bye"})
        await world.eventually(lambda: b.read(note)["text"] == "bye", within=30)

    result, world = simulate(story, servers=2, seed=7)
"""

from __future__ import annotations

import contextlib
import inspect
import math
import random
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import networkx
import trio

from identity.errors import LocalMistake, Refused
from identity.names import Pattern
from simulations import engine
from simulations.ending import alone
from simulations.founding import BIRTH_MS, as_graph, found
from simulations.history import History, Word
from simulations.ledger import Ledger
from simulations.link_text import as_link, read_rules
from simulations.marks import Mark
from simulations.nat import Wall
from simulations.network import Link, SimulatedNetwork
from simulations.promises import Checker, Wanted
from simulations.server import Direction, SimulatedServer
from simulations.stage import Undo, Way
from simulations.topologies import NO_OTHERS, not_late
from simulations.trace import Trace

Result = TypeVar("Result")

PORT = 7000


class World:
    """Servers, network and time of one simulation."""

    def __init__(
        self, agenda: engine.Agenda, *, seed: int, link: Link | None = None, keep: int | None = 10_000
    ) -> None:
        self.agenda = agenda
        self.seed = seed
        self.trace = Trace(keep=keep)
        self.random = self.generator("faults")
        self.network = SimulatedNetwork(agenda, self.generator("network"), self.trace, default=link, mark=self.mark)
        self.marks: list[Mark] = []
        self.history = History(lambda: agenda.now, self._trace_word)
        self.ledger = Ledger(self, self.history)
        self.checkers: list[Checker] = []  # that watch this world
        self.servers: list[SimulatedServer] = []
        self.graph: networkx.Graph = networkx.Graph()
        self._nursery: trio.Nursery | None = None

    def __repr__(self) -> str:
        return f"<mesh of {len(self.servers)} servers, seed {self.seed}, {self.agenda.now:.3f} s old>"

    # -- ground

    @property
    def now(self) -> float:
        """Virtual seconds since this world began."""
        return self.agenda.now

    def _trace_word(self, word: Word) -> None:
        """What people were told is what a run comes to: two runs that told them otherwise are not the same."""
        told = word.told().encode(errors="backslashreplace")
        self.trace.record_bytes(self.now, "told", told, word.server, word.verb, word.outcome.value)

    @property
    def nodes(self) -> list[SimulatedServer]:
        return self.servers

    @property
    def nursery(self) -> trio.Nursery:
        if self._nursery is None:
            raise LocalMistake("this world has not begun", next_step="use it inside `async with world.life()`")
        return self._nursery

    def generator(self, what: str) -> random.Random:
        """A generator of its own for every use, so that one more draw here changes nothing there."""
        return random.Random(f"bangpath/{self.seed}/{what}")

    def wall_ms(self, server: SimulatedServer) -> int:
        """What its wall clock shows, in milliseconds since 1970."""
        return BIRTH_MS + int(self.agenda.now * 1000) + server.clock_offset_ms

    def new_node(self, server: SimulatedServer) -> Any:
        from node.config import Config
        from node.node import Node

        peers = sorted(self.graph.neighbors(server.name)) if self.graph.has_node(server.name) else []
        known = [each for each in map(self.server, peers) if not each.late]
        config = Config(
            server=server.server,
            roots=(self.root,),
            listen=(server.name, PORT),
            local=Pattern("*"),
            connect=Pattern(",".join(peers) if peers else "*"),
            addresses=server.told or {each.server: ((each.name, PORT),) for each in known},
        )
        return Node(
            keys=server.keys,
            chain=server.chain,
            config=config,
            disk=server.disk,
            tables=server.tables,
            network=server.network(),
            random=self.generator(f"node/{server.name}/{server.lives}"),
            wall_ms=lambda: self.wall_ms(server),
            log=lambda event: self.trace.record(self.now, "log", server.name, event.get("event", "")),
            bounds=server.bounds,
            restored=server.restored,
            observe=self.ledger.observer(server.name),
        )

    @contextlib.asynccontextmanager
    async def life(
        self, topology: networkx.Graph | int, *, no_other_links: bool = False, late: Collection[str] = ()
    ) -> AsyncIterator[World]:
        """Found the servers (root `1`, the others its children), start them all, and end them in the end.

        `topology`: how many servers, every two of them neighbours; or a graph whose nodes are taken in order.
        `no_other_links`: who are no neighbours reach one another over others only; also where the graph says so
        (`topologies.NO_OTHERS`). `late`: names of those that are not there yet: nobody has their address, they have no
        certificate, and stand when they have joined (`SimulatedServer.join`). Raises `Refused` for what is no mesh.
        """
        self._found(as_graph(topology), late)
        if no_other_links or self.graph.graph.get(NO_OTHERS):
            self.network.only(self.graph.edges)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                for server in self.servers:
                    if not server.late:
                        await server.start()
                yield self
            finally:
                self.agenda.resume_all()  # who is paused could not end
            nursery.cancel_scope.cancel()

    def _found(self, graph: networkx.Graph, late: Collection[str]) -> None:
        founded = found(graph, self.generator)
        there = founded.graph.copy()
        for name in late:
            if name not in there:
                raise Refused(f"there is no server {name!r}", next_step=f"there are {', '.join(there)}")
            if wrong := not_late(name, there):
                raise Refused(f"{name} is to join later: {wrong[0]}", next_step=wrong[1])
            there.remove_node(name)
        self.graph, self.root = founded.graph, founded.root
        for server, keys, chain in founded.members:
            self.servers.append(SimulatedServer(self, server, keys, () if str(server) in late else chain))

    def server(self, name: str) -> SimulatedServer:
        """The server of a name such as `1.2`. Raises `Refused`, naming those there are."""
        for server in self.servers:
            if server.name == name:
                return server
        there = ", ".join(server.name for server in self.servers)
        raise Refused(f"there is no server {name!r}", next_step=f"there are {there}")

    # -- what is told of it

    def mark(self, kind: str, *servers: str, text: str = "", **details: Any) -> None:
        """Note what happened, for the trace and for people (`simulations.marks`)."""
        self.marks.append(Mark(self.now, kind, servers, text, details))
        self.trace.record(self.now, kind, *servers, *[f"{name}={value}" for name, value in details.items()])

    def check(self, *promises: Wanted) -> None:
        """That these hold now, or all: `mesh.check(no_loops, converged)`, named in `simulations.checkers`."""
        from simulations.checkers import check

        check(self, promises)

    def watch(self, *promises: Wanted) -> None:
        """Look at these from now on, while everything else goes on; the first that is broken ends the run."""
        from simulations.checkers import watch, watching

        self.nursery.start_soon(watch, self, [watching(self, each) for each in promises])

    async def expect(self, *promises: Wanted, within: float) -> None:
        """That these come to hold, or all, within so many virtual seconds."""
        from simulations.checkers import expect

        await expect(self, promises, within=within)

    async def expect_named(self, run: object, name: str, *, within: float) -> float:
        """The same of one by its name, or of `every promise`; after how many seconds (`stage.Stage`)."""
        from simulations.checkers import BY_NAME, expect

        return await expect(self, () if name == "every promise" else (BY_NAME[name],), within=within)

    # -- faults

    def cut(self, direction: Direction) -> None:
        """One way only: `world.cut(a >> b)`."""
        if not isinstance(direction, Direction) or direction.source is direction.target:
            raise Refused(f"{direction!r} is no direction", next_step="write mesh.cut(a >> b), and b >> a for both")
        self.network.cut(direction.source.name, direction.target.name)

    def mend(self, direction: Direction) -> None:
        self.network.mend(direction.source.name, direction.target.name)

    @contextlib.contextmanager
    def partition(self, *groups: Iterable[SimulatedServer]) -> Iterator[None]:
        """Cut the groups from one another while the block runs; what was cut before stays cut. Raises `Refused`."""
        layer = self.network.part(*_sides(groups))
        try:
            yield
        finally:
            self.network.lift(layer)

    @contextlib.contextmanager
    def link(self, direction: Direction | None, rules: str) -> Iterator[None]:
        """Lay rules over one direction, or over all (None), while the block runs: `mesh.link(a >> b, "loss 30%")`.

        `rules` as in a scenario (`link_text.py`). Raises `Refused` for what makes no sense.
        """
        ways = None if direction is None else [(direction.source.name, direction.target.name)]
        layer = self.network.lay(ways, read_rules(rules), text=rules)
        try:
            yield
        finally:
            self.network.lift(layer)

    async def cut_ways(self, ways: Iterable[Way]) -> Undo:
        """Cut these directions, by name; the undo ends this cut and no other (`stage.Stage`)."""
        chosen = list(ways)
        return await self.lay_ways(chosen, {"cut": True}, kind="cut" if len(chosen) == 1 else "part")

    async def lay_ways(
        self, ways: Iterable[Way] | None, fields: Mapping[str, Any], *, kind: str = "link", text: str = ""
    ) -> Undo:
        """Change these fields of the links of these directions, or of all (None); the undo ends this and no other."""
        layer = self.network.lay(ways, fields, kind=kind, text=text)

        async def undo() -> None:
            self.network.lift(layer)

        return undo

    async def wall_in(self, wall: Wall, *, text: str = "") -> Undo:
        """Put a NAT or a firewall in front of its servers; the undo takes it away."""
        self.network.build(wall, text=text)

        async def undo() -> None:
            self.network.tear_down(wall)

        return undo

    async def rebind(self, name: str) -> None:
        """The NAT in front of this server forgets who spoke through it."""
        self.network.rebind(name)

    async def mend_ways(self, ways: Iterable[Way]) -> None:
        for way in ways:
            self.network.mend(*way)

    def heal(self) -> None:
        """End every fault of any link."""
        self.network.heal()

    # -- time

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def eventually(self, happens: Callable[[], Any], *, within: float, every: float = 0.05) -> None:
        """Wait until `happens()` is true, at most `within` virtual seconds; else an AssertionError with the seed.

        It may be async. What cannot be asked yet, as `c.read(note).text` of a note that is not there, has not happened
        yet.
        """
        if not within >= 0 or not every > 0:
            raise Refused(f"within={within} s, every={every} s makes no sense", next_step="write for example within=30")
        end = self.now + within
        missing: Exception | None = None
        while True:
            try:
                found = happens()
                if inspect.isawaitable(found):
                    found = await found
                if found:
                    return
                missing = None
            except (AttributeError, LookupError, TypeError) as error:
                missing = error
            if self.now >= end:
                why = f": {missing}" if missing else f": it was {textwrap.shorten(repr(found), 100)}"
                told = f"not within {within} virtual seconds, at {self.now:.3f}{why} (seed {self.seed})"
                raise AssertionError(told) from missing
            await trio.sleep(every)


def _sides(groups: tuple[Iterable[SimulatedServer], ...]) -> list[list[str]]:
    """The names of the servers of each side of a partition."""
    right = "write mesh.partition({a}, {b, c})"
    sides: list[list[str]] = []
    for group in groups:
        members = [] if isinstance(group, SimulatedServer) else list(group)
        if not members or not all(isinstance(each, SimulatedServer) for each in members):
            raise Refused(f"{group!r} is no group of servers", next_step=right)
        sides.append(sorted(server.name for server in members))
        twice = next((name for name in sides[-1] if any(name in side for side in sides[:-1])), "")
        if twice:
            raise Refused(f"{twice} cannot be on two sides", next_step="name every server once")
    if len(sides) < 2:
        raise Refused("a partition has two sides or more", next_step=right)
    return sides


def simulate(
    story: Callable[[World], Awaitable[Result]],
    *,
    servers: networkx.Graph | int = 3,
    seed: int = 1,
    link: Link | str | None = None,
    limit_s: float = math.inf,
    keep: int | None = 10_000,
    no_other_links: bool = False,
    late: Collection[str] = (),
) -> tuple[Result, World]:
    """Run `story(world)` in a new world and give what it returned, and the world (its trace's hash is the run's).

    `link`: the rules of every link, a `Link` or in words, as "delay 20ms loss 1%" (`link_text.py`).
    `limit_s`: virtual seconds after which the run is ended with an AssertionError. A failure names the seed.
    `no_other_links`: a datagram passes only between neighbours of the graph `servers`; else everybody has an address
    that all can reach, and the graph says who knows whose at the start. `late`: who joins in the story (`World.life`).
    """
    kept: list[World] = []

    async def main(agenda: engine.Agenda) -> Result:
        world = World(agenda, seed=seed, link=as_link(link), keep=keep)
        kept.append(world)
        with trio.move_on_after(limit_s):
            async with world.life(servers, no_other_links=no_other_links, late=late):
                return await story(world)
        raise AssertionError(f"the story did not end within {limit_s} virtual seconds (seed {seed})")

    try:
        return engine.run(main, seed=seed), kept[0]
    except BaseException as error:
        one = alone(error)
        one.add_note(f"seed {seed}; it replays: the same call with seed={seed} takes the same steps")
        raise one from one.__cause__  # its own, and not the groups around it
