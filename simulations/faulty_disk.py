"""A disk that keeps only what it must: what was synced. It is as bad as the contract of `store.disk` allows.

    write A   write B   sync   write C   write D   crash
    '---- kept ----'           each by itself: kept, lost, or torn by 512-byte sectors, which land,
                               stay as they were, or hold garbage

Names obey the same rule in their order: of the names made, changed and removed since the last `sync_directory`, a
crash keeps some first ones. Unsynced writes are judged one by one, so a later one may be there without an earlier one.
What is garbage lies within the bytes that were being written: a sector that also holds older bytes keeps those, as
disks with atomic sectors do.

`crash(keep=True)` is the death of the process only: the page cache stays, unsynced still. `crash_at` cuts the power
inside the k-th write or sync from now; `fail_sync` and `full` are the two failures that a store must survive with a
clear word. Everything random comes from the generator handed in; `trace` hears of every write and sync, so that a
simulation can hash them (DESIGN P6, V1, V2). Without thread or clock: `pause` is awaited by `sync_async`, for a slow
disk in virtual time.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Awaitable, Callable
from zlib import crc32

from identity.errors import BangpathError, Damaged, Exhausted, LocalMistake
from store.disk import Buffer, plain_name

SECTOR_BYTES = 512
P_LOST, P_KEPT = 0.3, 0.3  # the rest is torn; sketches/crashstates.py
P_SECTOR_LANDS, P_SECTOR_GARBAGE = 0.5, 0.1


class PowerCut(Exception):
    """The machine stopped here. Nothing of this run goes on; `crash` says what is left."""


class _Content:
    """What a file holds: `data` as programs see it, and how to get back to what is durable."""

    __slots__ = ("data", "durable_size", "overwritten")

    def __init__(self) -> None:
        self.data = bytearray()
        # Unsynced, in order: offset, the bytes written, and those that stood there before.
        self.overwritten: list[tuple[int, bytes, bytes]] = []
        self.durable_size = 0

    def put(self, offset: int, data: bytes) -> None:
        if len(self.data) < offset:
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data


class FaultyDisk:
    """A `store.disk.Disk` in memory, with faults."""

    def __init__(
        self,
        random: random_module.Random,
        *,
        trace: Callable[[str], None] | None = None,
        pause: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._random = random
        self._trace = trace
        self._pause = pause
        self.failure: BangpathError | None = None
        self.fail_sync = False
        self.full = False
        self.writes = 0
        self.syncs = 0
        self._cut_at_write = 0
        self._cut_at_sync = 0
        self._dark = False  # The power is cut; nothing works until `crash`.
        self._life = 0
        self._files: dict[str, _Content] = {}
        self._durable_names: dict[str, _Content] = {}
        self._name_steps: list[dict[str, _Content]] = []  # the names after each step since the last sync_directory

    # The contract of store.disk

    def list(self) -> list[str]:
        self._check()
        return sorted(self._files)

    def open(self, name: str, *, create: bool = False) -> FaultyFile:
        self._check()
        if create:
            if name in self._files:
                raise LocalMistake(f"file {name} exists already")
            if self.full:
                raise self._exhausted(name)
            self._files[plain_name(name)] = _Content()
            self._note_names()
        if plain_name(name) not in self._files:
            raise Damaged(f"file {name} cannot be opened: no such file")
        return FaultyFile(self, name, self._files[name])

    def rename(self, old: str, new: str) -> None:
        self._check()
        self._files[plain_name(new)] = self._files.pop(plain_name(old))
        self._note_names()

    def remove(self, name: str) -> None:
        self._check()
        del self._files[plain_name(name)]
        self._note_names()

    def sync_directory(self) -> None:
        self._before_sync("directory")
        self._durable_names = dict(self._files)
        self._name_steps.clear()

    def close(self) -> None:
        """Give the directory back: handles die, nothing is synced, the next run finds the page cache."""
        self._life += 1
        self.failure = None

    # Faults

    def crash_at(self, *, write: int = 0, sync: int = 0) -> None:
        """Cut the power inside the `write`-th write or the `sync`-th sync from now, whichever comes first."""
        self._cut_at_write = self.writes + write if write else 0
        self._cut_at_sync = self.syncs + sync if sync else 0

    def crash(self, *, keep: bool = False) -> None:
        """End this run: its handles are dead, and without `keep` what was not synced is lost, torn or kept by chance.

        The disk can be used again at once, as after the machine's start.
        """
        self._life += 1
        self._dark = False
        self._cut_at_write = self._cut_at_sync = 0
        self.failure = None
        if keep:
            return
        steps = [self._durable_names, *self._name_steps]
        self._files = dict(steps[self._random.randrange(len(steps))])
        self._durable_names = dict(self._files)
        self._name_steps.clear()
        for name in sorted(self._files):
            self._lose_writes(self._files[name])
        self._tell(f"crash {len(self._files)}")

    @property
    def unsynced(self) -> int:
        """Writes and steps of names that a crash may now lose."""
        return len(self._name_steps) + sum(len(content.overwritten) for content in self._files.values())

    def flip(self, name: str, offset: int, mask: int = 0xFF) -> None:
        """Bit rot: change one durable byte."""
        self._files[name].data[offset] ^= mask

    def image(self) -> dict[str, bytes]:
        """What programs would read now, by name."""
        return {name: bytes(content.data) for name, content in sorted(self._files.items())}

    # What the above is made of

    def _lose_writes(self, content: _Content) -> None:
        for offset, _, before in reversed(content.overwritten):
            content.put(offset, before)
        del content.data[content.durable_size :]
        for offset, data, _ in content.overwritten:
            chance = self._random.random()
            if chance < P_LOST:
                continue
            if chance < P_LOST + P_KEPT:
                content.put(offset, data)
            else:
                self._tear(content, offset, data)
        content.overwritten.clear()
        content.durable_size = len(content.data)

    def _tear(self, content: _Content, offset: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            end = min(at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES, len(data))
            chance = self._random.random()
            if chance < P_SECTOR_LANDS:
                content.put(offset + at, data[at:end])
            elif chance < P_SECTOR_LANDS + P_SECTOR_GARBAGE:
                content.put(offset + at, self._random.randbytes(end - at))
            at = end

    def _note_names(self) -> None:
        self._name_steps.append(dict(self._files))

    def _check(self, life: int | None = None) -> None:
        if self._dark:
            raise PowerCut("the power is cut")
        if life is not None and life != self._life:
            raise PowerCut("this handle is of a run that ended")
        if self.failure is not None:
            raise self.failure

    def _exhausted(self, name: str) -> Exhausted:
        return Exhausted(f"no room for {name}: the disk is full", next_step="free space; the store goes on by itself")

    def _before_sync(self, name: str) -> None:
        self._check()
        self.syncs += 1
        self._tell(f"sync {name}")
        if self.syncs == self._cut_at_sync:
            self._dark = True
            raise PowerCut(f"in sync {self.syncs}")
        if self.fail_sync:
            self.failure = Damaged(f"cannot sync {name}: input/output error", next_step="start again")
            raise self.failure

    def _before_write(self, name: str, offset: int, data: bytes) -> bool:
        """Whether the power is cut in this write: it is then under way, and nothing after it happens."""
        self._check()
        self.writes += 1
        if self._trace is not None:
            self._trace(f"write {name} {offset} {len(data)} {crc32(data):08x}")
        self._dark = self.writes == self._cut_at_write
        return self._dark

    def _tell(self, event: str) -> None:
        if self._trace is not None:
            self._trace(event)


class FaultyFile:
    """A file of a `FaultyDisk`."""

    def __init__(self, disk: FaultyDisk, name: str, content: _Content) -> None:
        self.name = name
        self._disk = disk
        self._content = content
        self._life = disk._life

    def read(self, offset: int, length: int) -> bytes:
        self._disk._check(self._life)
        return bytes(memoryview(self._content.data)[offset : offset + length])

    def write(self, offset: int, data: Buffer) -> None:
        self._disk._check(self._life)
        content = self._content
        end = offset + len(data)
        if self._disk.full and end > len(content.data):
            self._disk.failure = Exhausted(f"cannot write {self.name}: the disk is full", next_step="free space")
            raise self._disk.failure
        written = bytes(data)
        cut = self._disk._before_write(self.name, offset, written)
        before = bytes(memoryview(content.data)[offset:end])
        content.overwritten.append((offset, written, before))
        content.put(offset, written)
        if cut:
            raise PowerCut(f"in write {self._disk.writes}")

    def allocate(self, size: int) -> None:
        self._disk._check(self._life)
        before = len(self._content.data)
        if size <= before:
            return
        if self._disk.full:
            raise self._disk._exhausted(self.name)
        self.write(before, bytes(size - before))
        self.sync()

    def sync(self) -> None:
        self._disk._check(self._life)
        self._disk._before_sync(self.name)
        self._content.overwritten.clear()
        self._content.durable_size = len(self._content.data)

    async def sync_async(self) -> None:
        if self._disk._pause is not None:
            await self._disk._pause()
        self.sync()

    def size(self) -> int:
        self._disk._check(self._life)
        return len(self._content.data)

    def close(self) -> None:
        """Nothing is synced by it."""
