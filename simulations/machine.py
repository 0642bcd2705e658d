"""The machine under one server: what of it survives, the node that runs while it is up, and all that can befall it.

    survives          disk, tables, clock offset, backups that were taken
    dies with it      the node: sessions, ports, tasks

    start ---> running ---> stop                   in order: what was answered is folded, peers are told
      ^           |-------> crash                  the power fails: unsynced writes are lost, torn or kept by chance
      |           |-------> kill                   the process dies: its page cache stays
      |           |-------> (a chosen write/sync)  the power fails inside it: `disk.crash_at`
      |           '-------> (a failing disk)       the node gives up by itself, for a fault that was made: `died`
      '--- pause, resume: SIGSTOP, SIGCONT; set_clock, jump_clock; rot, heal_rot; back_up, restore

Rules. A machine without power does nothing more: its port is closed, its disk dark and its tasks are cancelled in the
step in which it goes. A paused one runs nothing, and what is said to it waits at the door. A node that falls although
nothing was wrong with its ground fails the run, for that is a bug. Each fault is a mark (`World.mark`).

What words the node understands is `server.py`'s; what the disk does, `faulty_disk.py`'s and `faulty_tables.py`'s.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple

import trio

from identity.errors import BangpathError, LocalMistake, Refused
from simulations import engine
from simulations.ending import Ending, Started, alone, leaves
from simulations.faulty_disk import FaultyDisk
from simulations.faulty_tables import FaultyTables, Rotten
from simulations.medium import Medium
from simulations.network import HostNetwork, SimulatedNetwork, SimulatedPort
from store.database import Settings
from store.tables import MemoryTables

if TYPE_CHECKING:
    from simulations.world import World

SYNC_S = 0.002  # a sync of a simulated disk takes half of this to half as much again
SYNCS_INLINE = 8  # so many slow ones in a row block all of a real server, until the median of 15 is slow: then a thread
# Small, so that a few virtual minutes fold, fill segments and begin new ones; the product's are 64 MiB.
BOUNDS = Settings(generation_bytes=64 << 10, segment_bytes=256 << 10, step_bytes=128 << 10)
# Of every other machine: within a minute its log has many segments, and it folds now and then.
TIGHT = Settings(generation_bytes=24 << 10, segment_bytes=16 << 10, step_bytes=8 << 10)


class Backup(NamedTuple):
    """A machine's directory, as it was at one moment: log and tables together, as a file system's snapshot has them."""

    server: str
    at: float
    disk: Medium
    tables: MemoryTables


class Machine(ABC):
    """One machine of a world. Made and driven by its world; `SimulatedServer` adds the words of its node."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.disk = FaultyDisk(
            world.generator(f"disk/{name}"), trace=self._trace_disk, pause=self._sync, when_cut=self._power_cut
        )
        self.tables = FaultyTables(self.disk, world.generator(f"tables/{name}"), pause=self._fold)
        self.bounds = world.generator(f"bounds/{name}").choice((BOUNDS, TIGHT))
        self.clock_offset_ms = 0
        self.sync_s = SYNC_S
        self.node: Any = None
        self.lives = 0
        self.died: BangpathError | None = None  # why the node gave up by itself, since the last start
        self.backup: Backup | None = None  # the last that was taken
        self.restored = False  # from a backup, and no start since has become ready
        self._disk_speed = world.generator(f"disk-speed/{name}")
        self._slow_syncs = 0
        self._syncing: dict[trio.CancelScope, None] = {}
        self._ports: list[SimulatedPort] = []
        self._scope: trio.CancelScope | None = None  # while anything of the node runs
        self._gone = trio.Event()
        self._holds: dict[str, None] = {}  # why it is paused
        self._resumed = trio.Event()
        self._rotten: list[Rotten] = []

    # -- life

    @property
    def running(self) -> bool:
        """Whether it is up: it serves, though it may be paused."""
        return self.node is not None

    @property
    def paused(self) -> bool:
        return bool(self._holds)

    async def start(self) -> None:
        """Open the store, the port and the sessions; returns when the node serves. Raises what opening raises."""
        self.check_start()
        if self._scope is not None and self._scope.cancel_called:
            await self._gone.wait()
        if self._scope is not None:
            raise LocalMistake(f"{self.name} is up already")
        self.lives += 1
        self.died = None
        self.world.mark("start", self.name, life=self.lives)
        self._slow_syncs = 0
        self._gone = trio.Event()
        scope = self._scope = trio.CancelScope()
        try:
            await self.world.nursery.start(self._live, self.make_node(), scope)
        except RuntimeError as error:  # trio's word for a task that ended before it said that it had started
            if not scope.cancel_called:
                raise
            raise Refused(f"{self.name} went down while it started", next_step="restart it") from error

    async def restart(self) -> None:
        """Start it again, after it went down."""
        await self.start()

    @abstractmethod
    def check_start(self) -> None:
        """Raises `Refused` where it cannot be started at all."""

    @abstractmethod
    def make_node(self) -> Any:
        """A new node on this ground."""

    @abstractmethod
    def begin(self, node: Any) -> None:
        """It serves: what is to be done to every node of this machine."""

    async def _live(self, node: Any, scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        engine.actor.set(self.name)

        def serve() -> None:
            self.node = node
            self.restored = False
            self.begin(node)

        status = Started(task_status, serve)
        try:
            with scope:
                await node.run(task_status=status)
        except BaseException as error:
            if not self._may_fall(error, scope, started=status.done):
                raise alone(error) from None
        finally:
            if self.disk.dark:
                self.disk.crash(torn_write=False)
            self.node = None
            self._scope = None
            self._gone.set()

    def _may_fall(self, error: BaseException, scope: trio.CancelScope, *, started: bool) -> bool:
        """Whether a node may end by this: its power went, or its ground was broken on purpose."""
        kinds = leaves(error)
        if scope.cancel_called:  # a disk that went dark under it may break anything: that is what a crash is
            own = [each for each in kinds if not isinstance(each, trio.Cancelled)]  # the world may end meanwhile
            return bool(own) and not any(isinstance(each, AssertionError) for each in own)
        if not started or not self.disk.troubles or not all(isinstance(each, BangpathError) for each in kinds):
            return False
        died = kinds[0]
        assert isinstance(died, BangpathError)
        self.died = died
        self.world.mark("died", self.name, text=died.cause)
        return True

    async def stop(self) -> None:
        """A clean shutdown; a paused server hears of it when it is resumed."""
        if self.node is None:
            raise LocalMistake(f"{self.name} is down already")
        self.world.mark("stop", self.name)
        await self.node.stop()
        await self._gone.wait()

    def crash(self, *, keep: bool = False, torn_write: bool = False) -> Ending:
        """As if power failed: writes not synced are each lost, torn or kept by chance; nothing is closed.

        `keep`: only the process died, and what it wrote without a sync is still in the machine's cache. `torn_write`:
        the write under way is torn for certain. It is done at once; awaiting it waits until the last task has ended.
        """
        if self._scope is None or self._scope.cancel_called:
            raise LocalMistake(f"{self.name} is down already")
        self.world.mark("crash", self.name, keep=keep, torn=torn_write)
        self._end()
        self.disk.crash(keep=keep, torn_write=torn_write)
        return Ending(self._gone)

    async def ended(self) -> None:
        """Until nothing of it runs any more: after a power cut in a chosen step, or a failure of its disk."""
        await self._gone.wait()

    def kill(self) -> Ending:
        """The process dies, as by `kill -9`; the machine goes on, and its page cache with it."""
        return self.crash(keep=True)

    def _power_cut(self) -> None:
        """Inside a write or a sync of the node's own: the disk is dark, and `_live` sees what it keeps."""
        self.world.mark("crash", self.name, text=f"in {self.disk.dark}")
        if self._scope is not None:
            self._end()

    def _end(self) -> None:
        """Nothing of the node runs on, is sent or received."""
        assert self._scope is not None
        for reason in tuple(self._holds):
            self._release(reason)
        for port in self._ports:
            port.close()
        self._ports.clear()
        self.tables.crash()
        self._scope.cancel()
        for scope in self._syncing:
            scope.cancel()

    # -- pause

    async def pause(self) -> None:
        """Nothing of it runs any more (SIGSTOP): what is sent to it waits, its timeouts pass unseen."""
        if self._scope is None:
            raise LocalMistake(f"{self.name} is down", next_step="restart it first")
        if "pause" not in self._holds:
            self.world.mark("pause", self.name)
            self._hold("pause")

    async def resume(self) -> None:
        """It goes on where it was (SIGCONT); no error when it was not paused."""
        if "pause" in self._holds:
            self.world.mark("resume", self.name)
            self._release("pause")

    async def awake(self) -> None:
        """Until it is not paused: what a client says to it waits at the door."""
        while self._holds:
            await self._resumed.wait()

    def _hold(self, reason: str) -> None:
        if not self._holds:
            self._resumed = trio.Event()
            self.world.agenda.pause(self.name)
        self._holds[reason] = None

    def _release(self, reason: str) -> None:
        if reason in self._holds:
            del self._holds[reason]
            if not self._holds:
                self.world.agenda.resume(self.name)
                self._resumed.set()

    # -- clock

    def set_clock(self, ahead_s: float) -> None:
        """Its wall clock is so many seconds ahead of the world's from now on, or behind; its monotonic one is not."""
        self.clock_offset_ms = round(ahead_s * 1000)
        self.world.mark("clock", self.name, ahead_ms=self.clock_offset_ms)

    def jump_clock(self, by_s: float) -> None:
        """Its wall clock jumps, forwards or backwards."""
        self.set_clock(self.clock_offset_ms / 1000 + by_s)

    # -- disk

    def set_disk_speed(self, sync_s: float = SYNC_S) -> None:
        """How long a sync takes, in the middle. Slow ones block the whole server at first, as a real one's do (L7)."""
        self.sync_s = sync_s
        self._slow_syncs = 0
        self.world.mark("disk", self.name, text="slow" if sync_s > SYNC_S else "fast", sync_s=sync_s)

    def set_room(self, room: int | None) -> None:
        """Its files may grow by so many bytes more; None: as they like."""
        self.disk.room = room
        self.world.mark("disk", self.name, text="full" if room == 0 else "room", room=room)

    def rot(self, count: int = 1) -> int:
        """Flip bits of so many durable bytes, in log and tables alike; how many there were."""
        of_tables = count // 2
        self._rotten += (flipped := self.tables.rot(of_tables))
        places = self.disk.rot(count - len(flipped))
        self.world.mark("disk", self.name, text="rot", log=len(places), tables=len(flipped))
        return len(places) + len(flipped)

    def heal_rot(self) -> None:
        """Put back what rotted and was not written anew since: the intact disk of a pair took over."""
        self.disk.heal_rot()
        for place in self._rotten:
            self.tables.flip(place)
        self._rotten.clear()
        self.world.mark("disk", self.name, text="whole")

    async def _sync(self) -> None:
        """How long this disk's syncs take: crashes are about what was not synced yet."""
        lasts = self._sync_lasts()
        self._slow_syncs += self.sync_s > SYNC_S
        if 0 < self._slow_syncs <= SYNCS_INLINE:
            self._hold("sync")
            self.world.agenda.at(self.world.now + lasts, lambda: self._release("sync"))
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self._wait_for_disk(lasts)

    async def _fold(self) -> None:
        """A fold is synced too, always in a thread of its own (DESIGN T4)."""
        await self._wait_for_disk(self._sync_lasts())

    def _sync_lasts(self) -> float:
        return self.sync_s * (0.5 + self._disk_speed.random())

    async def _wait_for_disk(self, seconds: float) -> None:
        """A sync that has begun cannot be called back, but by a crash."""
        with trio.CancelScope(shield=True) as scope:
            self._syncing[scope] = None
            try:
                await trio.sleep(seconds)
            finally:
                del self._syncing[scope]

    # -- backups

    def back_up(self) -> Backup:
        """Copy its directory as it lies there, up or down; kept as `backup`, too."""
        generator = self.world.generator(f"backup/{self.name}/{self.world.now}")
        self.backup = Backup(self.name, self.world.now, self.disk.copy(generator), self.tables.copy())
        self.world.mark("backup", self.name)
        return self.backup

    async def restore(self, backup: Backup | None = None, *, told: bool = True) -> None:
        """Its directory becomes that of a backup, by default the last, and it starts; killed first, if it is up.

        `told`: its node knows that it was restored; else it is a virtual machine that was set back behind its back.
        """
        self.check_start()
        backup = backup or self.backup
        if backup is None or backup.server != self.name:
            raise Refused(f"there is no backup of {self.name}", next_step=f"back up {self.name} first")
        if self._scope is not None:
            if not self._scope.cancel_called:
                self.crash(keep=True)
            await self._gone.wait()
        self.world.mark("restore", self.name, backup_at=f"{backup.at:.3f}", told=told)
        self.disk.load(backup.disk)
        self.tables.load(backup.tables)
        self.restored = told
        await self.start()

    # -- ground

    def network(self) -> HostNetwork:
        """What its node is given: its ports are closed when its power goes."""
        return _Plugged(self.world.network, self.name, self._ports)

    def _trace_disk(self, what: str) -> None:
        self.world.trace.record(self.world.now, "disk", self.name, what)


class _Plugged(HostNetwork):
    """A host's network that remembers the ports which were opened."""

    def __init__(self, network: SimulatedNetwork, name: str, ports: list[SimulatedPort]) -> None:
        super().__init__(network, name)
        self._ports = ports

    async def open_datagram_port(self, host: str, port: int) -> SimulatedPort:
        opened = await super().open_datagram_port(host, port)
        self._ports.append(opened)
        return opened
