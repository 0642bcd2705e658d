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
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import networkx
import trio

from identity.errors import BangpathError, LocalMistake, Refused
from identity.keys import Keys
from identity.names import Incarnation, Pattern, Reference, ServerId
from simulations import engine
from simulations.faulty_disk import FaultyDisk, PowerCut
from simulations.network import Link, SimulatedNetwork
from simulations.trace import Trace

Result = TypeVar("Result")

BIRTH_MS = 1_767_225_600_000  # 2026-01-01: when every simulated world begins, by the wall
PORT = 7000
SYNC_S = 0.002  # a sync of a simulated disk takes half of this to half as much again
YEAR_MS = 365 * 24 * 3600 * 1000


class Direction(NamedTuple):
    """`a >> b`: what a sends towards b."""

    source: SimulatedServer
    target: SimulatedServer


class Fields(dict[str, Any]):
    """The fields of an object, by name or as attributes: `c.read(note).text`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no field {name}") from None


class SimulatedServer:
    """One server of a world: what of it survives a crash, and the node that runs while it is up."""

    def __init__(self, world: World, server: ServerId, keys: Keys, chain: tuple[bytes, ...]) -> None:
        self.world = world
        self.server = server
        self.name = str(server)
        self.keys = keys
        self.chain = chain
        self._disk_speed = world.generator(f"disk-speed/{self.name}")
        self.disk = FaultyDisk(world.generator(f"disk/{self.name}"), trace=self._trace_disk, pause=self._pause)
        self.tables = world.new_tables()
        self.clock_offset_ms = 0
        self.node: Any = None
        self.lives = 0
        self._scope: trio.CancelScope | None = None
        self._gone = trio.Event()

    def __rshift__(self, other: SimulatedServer) -> Direction:
        return Direction(self, other)

    def __repr__(self) -> str:
        return f"<server {self.name}>"

    # -- life

    async def start(self) -> None:
        """Open the store, the port and the sessions; returns when the node serves. Raises what opening raises."""
        if self.node is not None:
            raise LocalMistake(f"{self.name} is up already")
        self.lives += 1
        self.world.trace.record(self.world.now, "start", self.name, self.lives)
        node = self.world.new_node(self)
        self._gone = trio.Event()
        await self.world.nursery.start(self._live, node)
        self.node = node

    async def _live(self, node: Any, task_status: trio.TaskStatus[None]) -> None:
        scope = self._scope = trio.CancelScope()
        try:
            with scope:
                await node.run(task_status=task_status)
        except* (BangpathError, PowerCut):
            if not scope.cancel_called:  # a disk that went dark under it may break anything: that is what a crash is
                raise
        finally:
            self.node = None
            self._gone.set()

    async def crash(self, *, keep: bool = False) -> None:
        """As if power failed: writes not synced are each lost, torn or kept by chance; nothing is closed.

        `keep`: only the process died, and what it wrote without a sync is still in the machine's cache.
        """
        if self.node is None or self._scope is None:
            raise LocalMistake(f"{self.name} is down already")
        self.world.trace.record(self.world.now, "crash", self.name, keep)
        self.disk.crash(keep=keep)
        self._scope.cancel()
        await self._gone.wait()

    async def stop(self) -> None:
        """A clean shutdown."""
        if self.node is None:
            raise LocalMistake(f"{self.name} is down already")
        self.world.trace.record(self.world.now, "stop", self.name)
        await self.node.stop()
        await self._gone.wait()

    async def restart(self) -> None:
        await self.start()

    # -- words: the node's own (node.node), with classes by name

    @property
    def up(self) -> Any:
        if self.node is None:
            raise Refused(f"{self.name} is down", next_step="restart it first")
        return self.node

    async def define(self, what: Any) -> None:
        """Adopt a class: a definition, or a Python class made by `bangpath.stored`."""
        from store.definitions import ClassDefinition, definition_from_dict

        if not isinstance(what, ClassDefinition):
            what = definition_from_dict(what.definition)
        await self.up.define(what)

    async def create(self, what: Any, fields: Mapping[str, Any] | None = None, /, **more: Any) -> Reference:
        """A new object of this server; its reference, when durable: `await a.create(Note, text="hi")`.

        `what`: a class by name, or one made by `bangpath.stored`, which is adopted at its first use.
        """
        if not isinstance(what, str):
            await self.define(what)
            what = what.__name__
        changed = await self.up.create(what, {**(fields or {}), **more})
        reference: Reference = changed.reference
        return reference

    async def update(self, reference: Reference, fields: Mapping[str, Any] | None = None, /, **more: Any) -> Any:
        """Change some fields, here or by a request to the owner."""
        return await self.up.update(reference, {**(fields or {}), **more})

    async def delete(self, reference: Reference, **options: Any) -> Any:
        return await self.up.delete(reference, **options)

    async def get(self, reference: Reference, **options: Any) -> Any:
        return await self.up.get(reference, **options)

    async def query(self, text: str, **options: Any) -> Any:
        return await self.up.query(text, **options)

    async def mirror(self, what: SimulatedServer | Reference | str, kind: str = "mirrored") -> None:
        """Mirror another server, the server of an object, or all of a pattern."""
        if isinstance(what, SimulatedServer):
            what = what.name
        await self.up.mirror(str(what.server) if isinstance(what, Reference) else what, kind)

    def read(self, reference: Reference) -> Fields | None:
        """The fields this server itself holds of an object, owned or copied; None when it holds none or is down."""
        if self.node is None:
            return None
        with self.node.view() as view:
            found = view.get(reference)
        return None if found is None else Fields(found.fields)

    async def _pause(self) -> None:
        """How long this disk's syncs take: crashes are about what was not synced yet."""
        with trio.CancelScope(shield=True):  # a sync that has begun cannot be called back
            await trio.sleep(SYNC_S * (0.5 + self._disk_speed.random()))

    def _trace_disk(self, what: str) -> None:
        self.world.trace.record(self.world.now, "disk", self.name, what)


class World:
    """Servers, network and time of one simulation."""

    def __init__(
        self, agenda: engine.Agenda, *, seed: int, link: Link | None = None, keep: int | None = 10_000
    ) -> None:
        self.agenda = agenda
        self.seed = seed
        self.trace = Trace(keep=keep)
        self.random = self.generator("faults")
        self.network = SimulatedNetwork(agenda, self.generator("network"), self.trace, default=link)
        self.servers: list[SimulatedServer] = []
        self.graph: networkx.Graph = networkx.Graph()
        self._nursery: trio.Nursery | None = None

    # -- ground

    @property
    def now(self) -> float:
        """Virtual seconds since this world began."""
        return self.agenda.now

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

    def new_tables(self) -> Any:
        from store.tables import MemoryTables

        return MemoryTables()

    def new_node(self, server: SimulatedServer) -> Any:
        from node.config import Config
        from node.node import Node

        peers = sorted(self.graph.neighbors(server.name)) if self.graph.has_node(server.name) else []
        config = Config(
            server=server.server,
            roots=(self.root,),
            listen=(server.name, PORT),
            local=Pattern("*"),
            connect=Pattern(",".join(peers) if peers else "*"),
            addresses={ServerId.parse(peer): ((peer, PORT),) for peer in peers},
        )
        return Node(
            keys=server.keys,
            chain=server.chain,
            config=config,
            disk=server.disk,
            tables=server.tables,
            network=self.network.host(server.name),
            random=self.generator(f"node/{server.name}/{server.lives}"),
            wall_ms=lambda: BIRTH_MS + int(self.agenda.now * 1000) + server.clock_offset_ms,
            log=lambda event: self.trace.record(self.now, "log", server.name, event.get("event", "")),
        )

    @contextlib.asynccontextmanager
    async def life(self, topology: networkx.Graph | int) -> AsyncIterator[World]:
        """Found the servers (root `1`, the others its children), start them all, and end them in the end.

        `topology`: how many servers, every two of them neighbours; or a graph whose nodes are taken in order.
        """
        graph = networkx.complete_graph(topology) if isinstance(topology, int) else topology
        if graph.number_of_nodes() < 1:
            raise Refused("a world without servers", next_step="ask for at least one")
        self._found(graph)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for server in self.servers:
                await server.start()
            yield self
            nursery.cancel_scope.cancel()

    def _found(self, graph: networkx.Graph) -> None:
        from identity.trust import Certificate, fingerprint, issue

        places = (
            sorted(graph.nodes, key=str) if not all(isinstance(n, int) for n in graph.nodes) else sorted(graph.nodes)
        )
        ids = [ServerId.of(1)] + [ServerId.of(1, number) for number in range(1, len(places))]
        names = {place: str(server) for place, server in zip(places, ids, strict=True)}
        self.graph = networkx.relabel_nodes(networkx.Graph(graph), names)
        keys = [Keys.generate(self.generator(f"keys/{server}")) for server in ids]
        common: dict[str, Any] = {
            "incarnation": Incarnation(BIRTH_MS - 1000),
            "not_before_ms": BIRTH_MS - YEAR_MS,
            "not_after_ms": BIRTH_MS + 10 * YEAR_MS,
        }
        chain: list[Certificate] = []
        for number, (server, own) in enumerate(zip(ids, keys, strict=True)):
            certificate = issue(
                keys[0], server=server, issuer=ids[0], signing_key=own.signing_public, exchange_key=own.exchange_public,
                serial=number + 1, may_delegate=number == 0, **common,
            )  # fmt: skip
            chain.append(certificate)
        self.root = fingerprint(ids[0], keys[0].signing_public)
        for number, (server, own) in enumerate(zip(ids, keys, strict=True)):
            links = (chain[0],) if number == 0 else (chain[0], chain[number])
            self.servers.append(SimulatedServer(self, server, own, tuple(each.to_bytes() for each in links)))

    # -- faults

    def cut(self, direction: Direction) -> None:
        """One way only: `world.cut(a >> b)`."""
        self.network.cut(direction.source.name, direction.target.name)

    def mend(self, direction: Direction) -> None:
        self.network.mend(direction.source.name, direction.target.name)

    @contextlib.contextmanager
    def partition(self, *groups: Iterable[SimulatedServer]) -> Iterator[None]:
        """Cut the groups from one another while the block runs; what was cut before stays cut."""
        done = self.network.part(*[[server.name for server in group] for group in groups])
        try:
            yield
        finally:
            for source, target in done:
                self.network.mend(source, target)

    def heal(self) -> None:
        """Mend every link."""
        self.network.heal()

    # -- time

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    async def eventually(self, happens: Callable[[], Any], *, within: float, every: float = 0.05) -> None:
        """Wait until `happens()` is true, at most `within` virtual seconds; else an AssertionError with the seed."""
        end = self.now + within
        while True:
            if happens():
                return
            if self.now >= end:
                raise AssertionError(f"not within {within} virtual seconds, at {self.now:.3f} (seed {self.seed})")
            await trio.sleep(every)


def simulate(
    story: Callable[[World], Awaitable[Result]],
    *,
    servers: networkx.Graph | int = 3,
    seed: int = 1,
    link: Link | None = None,
    limit_s: float = math.inf,
    keep: int | None = 10_000,
) -> tuple[Result, World]:
    """Run `story(world)` in a new world and give what it returned, and the world (its trace's hash is the run's).

    `limit_s`: virtual seconds after which the run is ended with an AssertionError. A failure names the seed.
    """
    kept: list[World] = []

    async def main(agenda: engine.Agenda) -> Result:
        world = World(agenda, seed=seed, link=link, keep=keep)
        kept.append(world)
        with trio.move_on_after(limit_s):
            async with world.life(servers):
                return await story(world)
        raise AssertionError(f"the story did not end within {limit_s} virtual seconds (seed {seed})")

    try:
        return engine.run(main, seed=seed), kept[0]
    except BaseException as error:
        alone = _alone(error)
        alone.add_note(f"seed {seed}; it replays: the same call with seed={seed} takes the same steps")
        raise alone from (None if alone is error else error)


def _alone(error: BaseException) -> BaseException:
    """The one error inside nurseries' groups, where it is one: what a person wants to read of a failed story."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
