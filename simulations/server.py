"""One server of a simulated world: what of it survives a crash, the node that runs while it is up, and its words.

    survives          keys, certificates, disk, tables, clock offset
    dies with it      the node: sessions, ports, tasks

The words are the node's own (`node.node`), with classes by name; what a person does to a machine (start, stop, pull
the plug) stands beside them. Left to others: links and partitions (`network.py`), how a world founds its servers
(`founding.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from identity.errors import BangpathError, LocalMistake, Refused
from identity.keys import Keys
from identity.names import Reference, ServerId
from simulations import engine
from simulations.faulty_disk import FaultyDisk, PowerCut

if TYPE_CHECKING:
    from simulations.world import World

SYNC_S = 0.002  # a sync of a simulated disk takes half of this to half as much again


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
        self.hostility: Any = None  # simulations.hostile.Hostility, while it is hostile
        self.was_hostile = False
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
        self.world.mark("start", self.name, life=self.lives)
        node = self.world.new_node(self)
        self._gone = trio.Event()
        await self.world.nursery.start(self._live, node)
        self.node = node
        if self.hostility is not None:
            self.hostility.begin(node)

    async def _live(self, node: Any, task_status: trio.TaskStatus[None]) -> None:
        engine.actor.set(self.name)
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
        self.world.mark("crash", self.name, keep=keep)
        self.disk.crash(keep=keep)
        self._scope.cancel()
        await self._gone.wait()

    async def stop(self) -> None:
        """A clean shutdown."""
        if self.node is None:
            raise LocalMistake(f"{self.name} is down already")
        self.world.mark("stop", self.name)
        await self.node.stop()
        await self._gone.wait()

    async def restart(self) -> None:
        await self.start()

    # -- words: the node's own (node.node), with classes by name

    @property
    def up(self) -> Any:
        if self.node is None:
            raise Refused(f"{self.name} is down", next_step="restart it first")
        return self.world.history.recording(self.name, self.node)

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

    async def transact(self, operations: Sequence[Any], *, owner: str | None = None, **options: Any) -> Any:
        """All of these operations (`node.asking.Operation`) at one owner, this server or another, or none of them."""
        return await self.up.transact(operations, server=ServerId.parse(owner) if owner else None, **options)

    async def get(self, reference: Reference, **options: Any) -> Any:
        return await self.up.get(reference, **options)

    async def query(self, text: str, **options: Any) -> Any:
        return await self.up.query(text, **options)

    async def mirror(self, what: SimulatedServer | Reference | str, kind: str = "mirrored") -> None:
        """Mirror another server, the server of an object, or all of a pattern."""
        if isinstance(what, SimulatedServer):
            what = what.name
        await self.up.mirror(str(what.server) if isinstance(what, Reference) else what, kind)

    async def unmirror(self, what: str) -> None:
        """Keep it no longer; what is held stays, and is shown as cached from then on."""
        await self.up.unmirror(what)

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
