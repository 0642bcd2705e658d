"""One server, running: one nursery, one pump, and the words that people and programs say to it.

    await nursery.start(node.run)        store open, port open, machines loaded, own record written: ready
    await node.create("Note", {...})     words: here, or as requests to the owner
    node.status()                        what it says of itself
    await node.stop()                    refuse, let what is under way end, CLOSE to peers, close the store

    opening    store -> port -> parts -> tasks -> own Server object -> ready
    closing    words refused -> requests end (GRACE_S) -> CLOSE -> tasks -> port -> store

Rules. The seams are handed in: disk, tables, network, randomness, the wall clock, the log; the monotonic clock is
trio's. So the very same node runs in a simulation (DESIGN P6). Every task is in the one nursery of `run`; cancelling it
is a crash that loses nothing answered. A word that is said before the node is ready, or while it stops, is refused.

Left to others: HTTP and the command (`node.http`, `node.cli`), a server's directory (`node.opening`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import trio

from identity.errors import Exhausted, LocalMistake
from identity.keys import Keys
from identity.names import Pattern, ServerId
from node import adopting, announcing
from node.altering import Altering
from node.answering import Answering
from node.asking import Found
from node.config import Config
from node.embedded import as_definition
from node.links import Links
from node.mirroring import MIRRORED
from node.observing import Observe
from node.parts import Parts
from node.saying import Saying
from node.tending import Tending
from node.tracing import Tracing
from replication.leaves import FeedSealer
from store.archive import TieredDisk
from store.database import Settings as StoreSettings
from store.database import open_database
from store.definitions import ClassDefinition
from store.disk import Disk
from store.tables import Tables
from store.upgrading import Upgrades
from transport.ports import Network
from transport.settings import Settings

DEADLINE_S = 30.0  # of a word that names none
_ADOPTING = "{} came back from a backup, and first learns what it had signed since"
GRACE_S = 3.0  # for requests under way when the node stops; with closing everything, less than 5 s (DESIGN U5)

Log = Callable[[dict[str, Any]], None]


class Node(Answering, Altering, Saying, Links, Tracing, Tending):
    """A server. `log` takes one event as a dictionary; `settings` are the transport's, `bounds` the store's.

    `restored`: disk and tables are those of a backup (`node.adopting`). `observe`: `node.observing`.
    """

    def __init__(
        self,
        *,
        keys: Keys,
        chain: Sequence[bytes],
        config: Config,
        disk: Disk,
        tables: Tables,
        network: Network,
        random: Random,
        wall_ms: Callable[[], int],
        log: Log | None = None,
        settings: Settings | None = None,
        bounds: StoreSettings | None = None,
        restored: bool = False,
        observe: Observe | None = None,
    ) -> None:
        self.config = config
        self.server = config.server
        self._certificate = announcing.own_certificate(keys, chain, config)
        self.incarnation = int(self._certificate.incarnation)
        self.wall_ms = wall_ms
        self._keys = keys
        self._chain = tuple(chain)
        self._disk = disk
        self._tables = tables
        self._network = network
        self._random = random
        self._log = log
        self._settings = settings
        self._bounds = bounds
        self._restored = restored
        self._observe = observe
        self._parts: Parts | None = None
        self._started = 0.0
        self._started_ms = 0
        self._saying = 0  # words under way
        self._stop_asked = trio.Event()
        self._idle = trio.Event()
        self._ended = trio.Event()

    # -- life

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until `stop`, or until it cannot go on. Raises what made it impossible, as a kind of `identity.errors`."""
        try:
            sealer = FeedSealer(self.server, self.incarnation, self._keys.sign, self._random)
            async with open_database(
                self._disk,
                self._tables,
                server=self.server,
                incarnation=self.incarnation,
                sealer=sealer,
                random=self._random,
                wall_ms=self.wall_ms,
                settings=self._bounds,
                restored=self._restored,
            ) as database:
                port = await self._network.open_datagram_port(*self.config.listen)
                try:
                    await self._run_parts(database, port, task_status)
                finally:
                    port.close()
                    if self._parts is not None:
                        self._parts.requesting.close()
                        self._parts.posting.close()
        finally:
            self._parts = None
            self._ended.set()

    async def _run_parts(self, database: Any, port: Any, task_status: trio.TaskStatus[None]) -> None:
        now = self._started = trio.current_time()
        self._started_ms = self.wall_ms()
        parts = Parts(
            keys=self._keys,
            chain=self._chain,
            config=self.config,
            database=database,
            port=port,
            random=self._random,
            wall_ms=self.wall_ms,
            note=self.note,
            idle=self._check_idle,
            settings=self._settings,
            observe=self._observe,
            now=now,
        )
        parts.load(now)
        async with trio.open_nursery() as nursery:
            parts.start(nursery)
            nursery.start_soon(parts.pump.run)
            nursery.start_soon(parts.applier.run)
            nursery.start_soon(parts.standpoint.keep)
            nursery.start_soon(parts.delivering.run)
            nursery.start_soon(parts.watch.run)
            if self.config.scrub:
                nursery.start_soon(self.scrub, database, self.config.scrub)
            if isinstance(self._disk, TieredDisk):
                nursery.start_soon(self.archive, self._disk)
            if database.adopting:
                parts.flood.adopt(True)
                parts.serving.wait(_ADOPTING.format(self.server))
                nursery.start_soon(self._adopt, parts)
            else:
                await announcing.announce(parts, self._certificate, self._chain, wall_ms=self._started_ms)
            self._parts = parts
            announcing.note_validity(self._certificate, wall_ms=self._started_ms, note=self.note)
            self.note("ready", epoch=database.epoch, address=list(port.address))
            task_status.started()
            await self._stop_asked.wait()
            await self._close(parts)
            nursery.cancel_scope.cancel()

    async def _adopt(self, parts: Parts) -> None:
        await adopting.adopt(parts, note=self.note)
        await announcing.announce(parts, self._certificate, self._chain, wall_ms=self.wall_ms())
        parts.touch()

    async def stop(self) -> None:
        """Refuse what is new, let end what is under way, tell the peers, close. Returns when all is closed."""
        if not self._stop_asked.is_set():
            self.note("stopping")
            self._stop_asked.set()
        await self._ended.wait()

    async def _close(self, parts: Parts) -> None:
        parts.serving.refuse(f"{self.server} is stopping")
        parts.delivering.leave()
        with trio.move_on_after(GRACE_S):
            self._check_idle()
            await self._idle.wait()
        parts.standpoint.note_whole()
        await parts.standpoint.keep_whole()
        parts.sessions.close_all("the server stops", trio.current_time())
        parts.pump.turn()

    def _check_idle(self) -> None:
        """Whether, while this server stops, nothing is under way any more."""
        parts = self._parts
        if parts is not None and self._stop_asked.is_set() and not self._saying and not parts.serving.working:
            self._idle.set()

    def note(self, event: str, **details: Any) -> None:
        """One line of the log."""
        if self._log is not None:
            self._log({**details, "time_ms": self.wall_ms(), "server": str(self.server), "event": event})

    @property
    def parts(self) -> Parts:
        """Everything that runs. Raises `Exhausted` when nothing does."""
        if self._parts is None:
            raise Exhausted(f"{self.server} is not running", next_step=f"bangpath @{self.server} run")
        return self._parts

    @asynccontextmanager
    async def _word(self, deadline: float | None) -> AsyncIterator[tuple[Parts, float]]:
        """Around every word: counted, so that stopping waits for it; with its deadline, absolute."""
        parts = self.parts
        if self._stop_asked.is_set():
            raise Exhausted(f"{self.server} is stopping", next_step=f"bangpath @{self.server} run")
        if parts.database.adopting:
            raise Exhausted(_ADOPTING.format(self.server), next_step="try again in a minute")
        self._saying += 1
        try:
            yield parts, trio.current_time() + (DEADLINE_S if deadline is None else deadline)
        finally:
            self._saying -= 1
            self._check_idle()

    # -- asking

    # -- classes, mirrors, newcomers

    def definition(self, class_name: str, fingerprint: bytes = b"") -> ClassDefinition:
        """Of several of that name the one with that fingerprint, else the one that leads. Raises `Refused`."""
        registry = self.parts.database.registry
        entry = registry.by_fingerprint(fingerprint)
        return registry.definition(class_name) if entry is None else entry.definition

    def definition_to_change(self, found: Found, names: Iterable[str]) -> ClassDefinition:
        """Whose fields a change of that object means: of its own class, else of another major that has them all.

        An own object of a major that is being upgraded has become one of the newest when it is changed.
        """
        registry = self.parts.database.registry
        own = registry.by_fingerprint(found.fingerprint)
        upgraded = own is not None and own.upgrading and found.reference.server == self.server
        every = registry.named(found.class_name)
        ordered = every if own is None or upgraded else (own, *every)
        fitting = (each.definition for each in ordered if set(names) <= each.definition.by_name.keys())
        return next(fitting, ordered[0].definition)

    def resolve(self, server: ServerId | None) -> tuple[ServerId, int]:
        """The server and the incarnation that a reference in text means."""
        return self.parts.standpoint.resolve(server)

    async def define(self, definition: Any, *, upgrades: Upgrades | None = None) -> dict[str, Any]:
        """A new class, a new version of one, or other indexes; the class is adopted here.

        `definition`: also a class made by `bangpath.stored`, TOML or a map. `upgrades`: for a new major, by the number
        of an older one, a function of its objects' fields; such a class has its own.
        """
        if upgrades is None:
            upgrades = getattr(definition, "upgrades", None)
        async with self._word(None) as (parts, _):
            return await announcing.define(parts, as_definition(definition), upgrades)

    async def adopt(self, class_name: str) -> dict[str, Any]:
        """Make own objects of a class that another server defined; of several majors of the highest."""
        async with self._word(None) as (parts, _):
            named = (each.definition for each in parts.database.registry.named(class_name))
            return await announcing.define(parts, max(named, key=lambda each: each.major))

    async def drop(self, class_name: str, *, objects: bool = False) -> dict[str, Any]:
        """No own objects of a class are made any more; with `objects` those that are there are deleted first."""
        async with self._word(None) as (parts, _):
            await parts.database.drop(class_name, objects=objects)
            return {"class": class_name, "adopted": False}

    async def mirror(self, pattern: str, kind: str = MIRRORED) -> dict[str, Any]:
        """Keep these owners' objects current here from now on, durably; `kind` backup: for them, and not shown."""
        async with self._word(None) as (parts, _):
            wanted = Pattern(pattern)
            await parts.mirroring.mirror(wanted, kind, own=self.server, wall_ms=self.wall_ms(), now=trio.current_time())
            parts.touch()
            await announcing.announce(parts, self._certificate, self._chain, wall_ms=self.wall_ms())
            return self._mirror_of(wanted)

    async def unmirror(self, pattern: str) -> dict[str, Any]:
        """End that; what is held stays, and is shown as cached."""
        async with self._word(None) as (parts, _):
            await parts.mirroring.unmirror(Pattern(pattern), now=trio.current_time())
            parts.touch()
            await announcing.announce(parts, self._certificate, self._chain, wall_ms=self.wall_ms())
            return {"pattern": Pattern(pattern).text}

    async def invite(self, server: ServerId | str, *, valid_s: int = 86_400) -> dict[str, Any]:
        """A ticket by which `server`, below this one, joins the mesh."""
        newcomer = ServerId.parse(server) if isinstance(server, str) else server
        async with self._word(None) as (parts, _):
            ticket = await parts.inviting.invite(newcomer, valid_s=valid_s)
            self.note("invited", peer=str(newcomer))
            return {"ticket": ticket.to_text(), "server": str(newcomer), "expires_ms": ticket.expires_ms}

    # -- helpers

    def _mirror_of(self, pattern: Pattern) -> dict[str, Any]:
        for each in self.mirrors():
            if each["pattern"] == pattern.text:
                return each
        raise LocalMistake(f"{pattern} was not kept")
