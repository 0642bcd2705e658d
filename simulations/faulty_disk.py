"""A disk that keeps only what it must: what was synced. It is as bad as the contract of `store.disk` allows.

    fault                  word                          what a store meets
    power cut              crash, crash(torn_write=True)  writes not synced are each lost, torn or kept (`medium`)
    death of the process   crash(keep=True)              the page cache stays, unsynced still
    power cut in a step    crash_at(write=3, sync=0)     `PowerCut` inside the k-th write or sync from now
    failing                fail_at(write=0, sync=1)      that step and all after it in this run raise `Damaged`, and
                                                         of what the failed sync was for some is lost, unseen
    full                   room = 4000, full = True      growing beyond so many bytes raises `Exhausted`
    slow                   `pause`, handed in            awaited by `sync_async`: it takes virtual time
    bit rot                flip, rot                     durable bytes that read differently, and no error
    unreadable             unreadable                    reading that byte raises `Damaged`

Everything random comes from the generator handed in; `trace` hears of every write, sync and fault, so that a
simulation can hash them (DESIGN P6, V1, V2); `when_cut` hears of a power cut in a step, for the whole machine stops
then, not its disk alone. `image` and `load` are a copy of the directory, as a backup takes it, and its return.

What a power cut leaves is decided by `simulations.medium`.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Awaitable, Callable, Sequence
from zlib import crc32

from identity.errors import BangpathError, Damaged, Exhausted, LocalMistake
from simulations.medium import SECTOR_BYTES, Contents, Medium, Place
from store.cipher import Cipher
from store.disk import Buffer, plain_name

__all__ = ["SECTOR_BYTES", "FaultyDisk", "FaultyFile", "Place", "PowerCut"]

P_PART_OF_ROOM = 0.5  # that an allocation which finds no room has taken what there was, as some file systems do


class PowerCut(Exception):
    """The machine stopped here. Nothing of this run goes on; `crash` says what is left."""


class FaultyDisk:
    """A `store.disk.Disk` in memory, with faults."""

    def __init__(
        self,
        random: random_module.Random,
        *,
        trace: Callable[[str], None] | None = None,
        pause: Callable[[], Awaitable[None]] | None = None,
        when_cut: Callable[[], None] | None = None,
    ) -> None:
        self._random = random
        self._trace = trace
        self._pause = pause
        self._when_cut = when_cut
        self.cipher: Cipher | None = None
        self.failure: BangpathError | None = None
        self.fail_sync = False
        self.room: int | None = None  # bytes by which files may still grow; None: as many as they like
        self.unreadable: dict[Place, None] = {}
        self.writes = 0
        self.syncs = 0
        self.troubles = 0  # faults that a store has met, or that lie there for it
        self._cut_at = {"write": 0, "sync": 0}  # the step's number, counted from the first; 0: none
        self._fail_at = {"write": 0, "sync": 0}
        self.dark = ""  # In which step the power was cut; nothing works until `crash`.
        self._life = 0
        self._medium = Medium(random, tear=self._tear)

    # The contract of store.disk

    def list(self) -> list[str]:
        self.check()
        return sorted(self._medium.files)

    def open(self, name: str, *, create: bool = False) -> FaultyFile:
        self.check()
        files = self._medium.files
        if create:
            if name in files:
                raise LocalMistake(f"file {name} exists already")
            if self.full:
                raise self.no_room(name)
            files[plain_name(name)] = Contents()
            self._medium.note_names()
        if plain_name(name) not in files:
            raise Damaged(f"file {name} cannot be opened: no such file")
        return FaultyFile(self, name, files[name])

    def rename(self, old: str, new: str) -> None:
        self.check()
        files = self._medium.files
        files[plain_name(new)] = files.pop(plain_name(old))
        self._medium.note_names()

    def remove(self, name: str) -> None:
        self.check()
        gone = self._medium.files.pop(plain_name(name))
        if self.room is not None:
            self.room += gone.size
        self._medium.note_names()

    def sync_directory(self) -> None:
        self.before_sync("directory")
        self._medium.sync_names()

    def close(self) -> None:
        """Give the directory back: handles die, nothing is synced, the next run finds the page cache."""
        self._end_run()

    # Faults

    @property
    def full(self) -> bool:
        """Whether no file may grow any more."""
        return self.room is not None and self.room <= 0

    @full.setter
    def full(self, full: bool) -> None:
        self.room = 0 if full else None

    def crash_at(self, *, write: int = 0, sync: int = 0) -> None:
        """Cut the power inside the `write`-th write or the `sync`-th sync from now, whichever comes first."""
        self._cut_at = {"write": write and self.writes + write, "sync": sync and self.syncs + sync}

    @property
    def will_crash(self) -> bool:
        """Whether a step was chosen in which the power goes, and has not come yet."""
        return self._cut_at["write"] > self.writes or self._cut_at["sync"] > self.syncs

    def fail_at(self, *, write: int = 0, sync: int = 0) -> None:
        """Let the `write`-th write or the `sync`-th sync from now fail: an input/output error of this run only."""
        self._fail_at = {"write": write and self.writes + write, "sync": sync and self.syncs + sync}

    @property
    def will_fail(self) -> bool:
        """The same for a step that fails."""
        return self._fail_at["write"] > self.writes or self._fail_at["sync"] > self.syncs

    @property
    def rotten(self) -> int:
        """Bytes that `rot` changed and nothing overwrote."""
        return sum(contents.rotten for contents in self._medium.files.values())

    def crash(self, *, keep: bool = False, torn_write: bool = False) -> None:
        """End this run: its handles are dead, and without `keep` what was not synced is lost, torn or kept by chance.

        `torn_write`: the write under way is torn for certain; when none was, one had just begun behind the last.
        The disk can be used again at once, as after the machine's start.
        """
        if keep and torn_write:
            raise LocalMistake(
                "a process that dies tears no write: the machine goes on",
                next_step="crash with keep=True or with torn_write=True",
            )
        self._end_run()
        self._cut_at = {"write": 0, "sync": 0}
        self._fail_at = {"write": 0, "sync": 0}
        if not keep:
            self._medium.lose(tear_last=torn_write)
            self.tell(f"crash {len(self._medium.files)} {self._digest():08x}")

    def flip(self, name: str, offset: int, mask: int = 0xFF) -> None:
        """Bit rot: change one durable byte."""
        self._medium.files[name].flip(offset, mask)
        self.troubles += 1
        self.tell(f"rot {name} {offset}")

    def rot(self, count: int = 1, *, name: str = "") -> Sequence[Place]:
        """Bit rot: one bit in each of `count` random durable bytes, of a file or of all; where.

        Fewer when there are not so many durable bytes that were ever written.
        """
        rotten = self._medium.rot(count=count, name=name)
        self.troubles += len(rotten)
        for place in rotten:
            self.tell(f"rot {place.name} {place.offset}")
        return rotten

    def heal_rot(self) -> None:
        """What rotted by `rot` is put right again, where nothing else was written since."""
        healed = [name for name, contents in sorted(self._medium.files.items()) if contents.heal()]
        self.tell(f"heal {' '.join(healed)}")

    @property
    def unsynced(self) -> int:
        """Writes and steps of names that a crash may now lose."""
        return self._medium.unsynced

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return self._medium.size

    def used(self) -> dict[str, int]:
        """Up to where anything was written, by name."""
        return {name: contents.used for name, contents in sorted(self._medium.files.items())}

    def image(self) -> dict[str, bytes]:
        """What programs would read now, by name."""
        return {name: each.read(0, each.size) for name, each in sorted(self._medium.files.items())}

    def copy(self, random: random_module.Random) -> Medium:
        """The whole directory as it lies there, as a file system's snapshot takes it: all at one moment."""
        self.tell("copy")
        return self._medium.copy(random)

    def load(self, copy: Medium) -> None:
        """Put a copy in the place of everything. Nobody may have the disk open."""
        self._end_run()
        self._medium = copy.copy(self._random, tear=self._tear)
        self._medium.lose()  # What had not reached the medium when the copy was taken.
        self.tell(f"load {len(self._medium.files)} {self._digest():08x}")

    # For its files, and for the tables that lie on the same disk

    def check(self, life: int | None = None) -> None:
        """Raise why nothing works, if nothing does."""
        if self.dark:
            raise PowerCut("the power is cut")
        if life is not None and life != self._life:
            raise PowerCut("this handle is of a run that ended")
        if self.failure is not None:
            raise self.failure

    @property
    def life(self) -> int:
        """Which run this is: handles of another one are dead."""
        return self._life

    def no_room(self, name: str) -> Exhausted:
        self.troubles += 1
        return Exhausted(f"no room for {name}: the disk is full", next_step="free space; the store goes on by itself")

    def before_sync(self, name: str, forsaken: Contents | None = None) -> None:
        """One sync begins: it is counted, and may be the one in which the power is cut or which fails."""
        self.check()
        self.syncs += 1
        self.tell(f"sync {name}")
        if self.syncs == self._cut_at["sync"]:
            raise self.cut(f"sync {self.syncs}")
        if self.fail_sync or self.syncs == self._fail_at["sync"]:
            if forsaken is not None:
                forsaken.forsake(self._random)
            raise self.stop("sync", name)

    def before_write(self, name: str, offset: int, data: bytes, *, zeros: bool = False) -> bool:
        """One write begins: it is counted. Whether the power is cut in it: then nothing after it happens."""
        self.check()
        self.writes += 1
        if self._trace is not None:  # the sum over the 4 MiB of zeros of every log takes longer than all the rest
            self._trace(f"write {name} {offset} {len(data)} {0 if zeros else crc32(data):08x}")
        if self.writes == self._fail_at["write"]:
            raise self.stop("write", name)
        return self.writes == self._cut_at["write"]

    def cut(self, where: str) -> PowerCut:
        """The power goes in this step; the error to raise."""
        self.dark = where
        self.tell(f"dark {where}")
        if self._when_cut is not None:
            self._when_cut()
        return PowerCut(f"in {where}")

    def stop(self, act: str, name: str) -> Damaged:
        """The disk fails in this step, and gives nothing more in this run; the error to raise."""
        self.troubles += 1
        self.failure = Damaged(f"cannot {act} {name}: input/output error", next_step="start again")
        self.tell(f"fail {act} {name}")
        return self.failure

    def tell(self, event: str) -> None:
        if self._trace is not None:
            self._trace(event)

    def _tear(self, contents: Contents, offset: int, data: bytes) -> None:
        """How a torn write comes out; tests have disks that tear in ways of their own."""
        contents.tear(self._random, offset, data)

    def _end_run(self) -> None:
        self._life += 1
        self.dark = ""
        self.failure = None

    def _digest(self) -> int:
        """Of what is left, for the trace; zeros that nobody wrote are left out."""
        digest = 0
        for name, contents in sorted(self._medium.files.items()):
            digest = crc32(contents.read(0, contents.used), crc32(f"{name} {contents.size}".encode(), digest))
        return digest


class FaultyFile:
    """A file of a `FaultyDisk`."""

    def __init__(self, disk: FaultyDisk, name: str, contents: Contents) -> None:
        self.name = name
        self._disk = disk
        self._contents = contents
        self._life = disk.life

    def read(self, offset: int, length: int) -> bytes:
        self._disk.check(self._life)
        for place in self._disk.unreadable:
            if place.name == self.name and offset <= place.offset < offset + length:
                self._disk.troubles += 1
                raise Damaged(
                    f"{self.name} cannot be read at offset {offset}: input/output error",
                    next_step="look at the disk's health (dmesg)",
                )
        return self._contents.read(offset, length)

    def write(self, offset: int, data: Buffer, *, zeros: bool = False) -> None:
        disk = self._disk
        disk.check(self._life)
        written = bytes(data)
        growth = offset + len(written) - self._contents.size
        short = disk.room is not None and growth > disk.room
        if short:  # what there is room for lands, as on any file system
            written = written[: len(written) - growth + max(disk.room or 0, 0)]
        cut = disk.before_write(self.name, offset, written, zeros=zeros)
        self._put(offset, written, zeros=zeros)
        if cut:
            raise disk.cut(f"write {disk.writes}")
        if short:
            disk.troubles += 1
            disk.failure = Exhausted(f"cannot write {self.name}: the disk is full", next_step="free space")
            raise disk.failure

    def allocate(self, size: int) -> None:
        self._disk.check(self._life)
        before = self._contents.size
        if size <= before:
            return
        room = self._disk.room
        if room is not None and size - before > room:
            if room > 0 and self._disk._random.random() < P_PART_OF_ROOM:
                self.write(before, bytes(room), zeros=True)
            raise self._disk.no_room(self.name)
        self.write(before, bytes(size - before), zeros=True)
        self.sync()

    def reserve(self, size: int) -> None:
        self._disk.check(self._life)
        room = self._disk.room
        if room is not None and size - self._contents.size > room:
            raise self._disk.no_room(self.name)

    def sync(self) -> None:
        self._disk.check(self._life)
        self._disk.before_sync(self.name, self._contents)
        self._contents.sync()

    async def sync_async(self) -> None:
        if self._disk._pause is not None:
            await self._disk._pause()
        self.sync()

    def settle(self) -> None:
        self.sync()
        self._contents.drop_cache()

    def size(self) -> int:
        self._disk.check(self._life)
        return self._contents.size

    def close(self) -> None:
        """Nothing is synced by it."""

    def _put(self, offset: int, data: bytes, *, zeros: bool) -> None:
        before = self._contents.size
        self._contents.write(offset, data, zeros=zeros)
        self._disk._medium.last = self._contents
        if self._disk.room is not None:
            self._disk.room -= self._contents.size - before
