"""What lies on a simulated disk: bytes and names, which of them are durable, and what power cuts and time do to them.

    write A   write B   sync   write C   write D   power cut
    '---- durable --'          each by itself: kept, lost, or torn by 512-byte sectors, which land, stay as they were,
                               or hold garbage

Names obey the same rule in their order: of the names made, changed and removed since the last sync of the directory,
a power cut keeps some first ones. Unsynced writes are judged one by one, so a later one may be there without an
earlier one. Garbage lies within the bytes that were being written: a sector that also holds older bytes keeps those,
as disks with atomic sectors do.

A sync that failed is the worst of all (`forsake`): the page cache goes on showing what was written, as clean pages
that no later sync writes out, and the next power cut takes them. Only `drop_cache` shows before that what is true.

Zeros behind the last byte written take no memory: a log of 4 MiB with 3 KiB in it costs 3 KiB, which is what lets a
thousand servers run in one process. Everything random comes from the generator handed in (DESIGN P6, V2).

When which of this happens is left to `simulations.faulty_disk`.
"""

from __future__ import annotations

import random as random_module
from collections.abc import Callable
from typing import NamedTuple
from zlib import crc32

SECTOR_BYTES = 512
ALIGNED = 8  # all that logs write begins and ends at multiples of it (DESIGN L1)
P_LOST, P_KEPT = 0.3, 0.3  # the rest is torn; sketches/crashstates.py
P_SECTOR_LANDS, P_SECTOR_GARBAGE = 0.5, 0.1
P_FORSAKEN = 0.5  # of each write that a failed sync was for; one of them always

DIRTY, CLEAN, DURABLE = "dirty", "clean", "durable"  # clean: shown by the cache, and never on the medium


class Place(NamedTuple):
    """One byte of one file."""

    name: str
    offset: int


class _Write:
    """A write that is not durable, or that follows one that is not; `before` is what stood there."""

    __slots__ = ("before", "data", "offset", "size_before", "state", "zeros")

    def __init__(self, offset: int, data: bytes, before: bytes, size_before: int, *, zeros: bool = False) -> None:
        self.offset = offset
        self.data = data
        self.before = before
        self.size_before = size_before
        self.zeros = zeros
        self.state = DIRTY


class Contents:
    """One file: what programs see, and how to get back to what is durable."""

    __slots__ = ("_data", "_rotten", "_writes", "followed", "size")

    def __init__(self) -> None:
        self.size = 0
        self._data = bytearray()  # Invariant: zeros from its end to `size`.
        self._writes: list[_Write] = []  # in order; durable ones only behind one that is not
        self.followed = 0  # where the durable write began that was made last
        self._rotten: dict[int, int] = {}  # offset -> bits that are wrong, until something else is durable there

    def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self.size)
        there = bytes(memoryview(self._data)[offset:end])
        return there + bytes(max(end - offset - len(there), 0))

    def write(self, offset: int, data: bytes, *, zeros: bool = False) -> None:
        """`zeros`: all of it are, behind the end of the file; not looking at them is what makes a large log cheap."""
        end = offset + len(data)
        self._writes.append(_Write(offset, data, self.read(offset, end - offset), self.size, zeros=zeros))
        if zeros:
            self.size = max(self.size, end)
        else:
            self.put(offset, data)

    def sync(self) -> None:
        """What was written is durable, but for what an earlier sync forsook."""
        for write in self._writes:
            if write.state == DIRTY and not write.zeros:
                self.followed = write.offset
            if write.state == DIRTY:
                write.state = DURABLE
                self._landed(write.offset, len(write.data))
        self._forget_durable()

    def forsake(self, random: random_module.Random) -> None:
        """A sync fails: some of what it was for, one write at least, is clean in the cache and not on the medium."""
        dirty = [write for write in self._writes if write.state == DIRTY]
        lost = [write for write in dirty if random.random() < P_FORSAKEN] or dirty[-1:]
        for write in dirty:
            write.state = CLEAN if write in lost else DURABLE
            if write.state == DURABLE:
                self._landed(write.offset, len(write.data))
        self._forget_durable()

    def drop_cache(self) -> None:
        """Programs see what is on the medium: what a failed sync forsook is gone. What is dirty stays so."""
        if any(write.state == CLEAN for write in self._writes):
            kept = [write for write in self._writes if write.state != CLEAN]
            self._undo()
            for write in kept:
                self.write(write.offset, write.data)
                self._writes[-1].state = write.state
            self._forget_durable()

    def lose(self, random: random_module.Random, *, tear: Tear | None = None, tear_last: bool = False) -> None:
        """The power is cut: each write that is not durable is lost, torn or kept; the last one torn for certain.

        `tear`: in another way than by sectors that land or not.
        """
        writes = self._writes
        self._undo()
        for write in writes:
            if write.state == DURABLE:
                self.put(write.offset, write.data)
            elif write.state == DIRTY:
                chance = random.random()
                if tear_last and write is writes[-1]:
                    self.tear(random, write.offset, write.data, surely=True)
                elif chance < P_LOST:
                    continue
                elif chance < P_LOST + P_KEPT:
                    self.put(write.offset, write.data)
                    self._landed(write.offset, len(write.data))
                elif tear is not None:
                    tear(self, write.offset, write.data)
                else:
                    self.tear(random, write.offset, write.data)

    @property
    def unsynced(self) -> int:
        """Writes that a power cut may lose."""
        return sum(write.state != DURABLE for write in self._writes)

    def flip(self, offset: int, mask: int) -> None:
        """Change bits of one byte, in the cache and on the medium."""
        self.put(offset, bytes([self.read(offset, 1)[0] ^ mask]))

    def rot(self, offset: int, mask: int) -> None:
        """The same, kept in mind for `heal`."""
        self.flip(offset, mask)
        self._rotten[offset] = self._rotten.get(offset, 0) ^ mask

    def heal(self) -> int:
        """Put right what rotted, unless something else was written there; how many bytes."""
        healed = len(self._rotten)
        for offset, mask in self._rotten.items():
            over = next((each for each in self._writes if each.offset <= offset < each.offset + len(each.data)), None)
            if over is None:
                self.flip(offset, mask)
            elif offset - over.offset < len(over.before):  # hidden under a write that is not durable yet
                before = bytearray(over.before)
                before[offset - over.offset] ^= mask
                over.before = bytes(before)
        self._rotten.clear()
        return healed

    @property
    def rotten(self) -> int:
        """Bytes that would be put right."""
        return len(self._rotten)

    @property
    def used(self) -> int:
        """Where the bytes that anybody wrote end."""
        return len(self._data)

    def digest(self) -> int:
        """A checksum of what programs see; zeros that nobody wrote are left out."""
        return crc32(self._data, self.size)

    def begins_otherwise(self, other: Contents, length: int) -> bool:
        """Whether the first bytes are not those of `other`; zeros behind what was written count."""
        used = max(self.used, other.used)
        mine, its = self._data[:length], other._data[:length]
        return mine != its and mine.ljust(min(length, used), b"\0") != its.ljust(min(length, used), b"\0")

    def durable_at(self, offset: int) -> bool:
        """Whether the byte there is on the medium as it is shown."""
        return offset < self.size and not any(
            write.offset <= offset < write.offset + len(write.data) for write in self._writes if write.state != DURABLE
        )

    def copy(self) -> Contents:
        copied = Contents()
        copied.size = self.size
        copied._data = bytearray(self._data)
        copied._rotten = dict(self._rotten)
        copied.followed = self.followed
        for write in self._writes:
            again = _Write(write.offset, write.data, write.before, write.size_before, zeros=write.zeros)
            again.state = write.state
            copied._writes.append(again)
        return copied

    # What the above is made of

    def _undo(self) -> None:
        """Back to before the first write that is kept in mind."""
        for write in reversed(self._writes):
            self.put(write.offset, write.before)
            self.size = write.size_before
            del self._data[self.size :]
        self._writes = []

    def put(self, offset: int, data: bytes) -> None:
        """Bytes as they lie on the medium from now on: no write that could be lost."""
        end = offset + len(data)
        self.size = max(self.size, end)
        if offset >= len(self._data):
            data = data.rstrip(b"\0")
            if not data:
                return
            self._data.extend(bytes(offset - len(self._data)))
        self._data[offset : offset + len(data)] = data

    def tear(self, random: random_module.Random, offset: int, data: bytes, *, surely: bool = False) -> None:
        """By sectors. `surely`: one that lands and one that does not, as far as there are two."""
        bounds = _sectors(offset, len(data))
        fates = [random.random() for _ in bounds]
        if surely and all(fate < P_SECTOR_LANDS for fate in fates):
            fates[random.randrange(len(fates))] = P_SECTOR_LANDS
        if surely and len(fates) > 1 and all(fate >= P_SECTOR_LANDS for fate in fates):
            fates[0] = 0.0
        for (start, end), fate in zip(bounds, fates, strict=True):
            if fate < P_SECTOR_LANDS:
                self.put(offset + start, data[start:end])
                self._landed(offset + start, end - start)
            elif fate < P_SECTOR_LANDS + P_SECTOR_GARBAGE:
                self.put(offset + start, random.randbytes(end - start))
                self._landed(offset + start, end - start)

    def _landed(self, offset: int, length: int) -> None:
        """Something else is durable there than what rotted."""
        for rotten in [each for each in self._rotten if offset <= each < offset + length]:
            del self._rotten[rotten]

    def _forget_durable(self) -> None:
        writes = self._writes
        first = next((at for at, write in enumerate(writes) if write.state != DURABLE), len(writes))
        del writes[:first]


Tear = Callable[[Contents, int, bytes], None]


class Medium:
    """The files of one directory, by name. `tear` makes a torn write, if not in the usual way."""

    def __init__(self, random: random_module.Random, *, tear: Tear | None = None) -> None:
        self._random = random
        self._tear = tear
        self.files: dict[str, Contents] = {}
        self._durable_names: dict[str, Contents] = {}
        self._name_steps: list[dict[str, Contents]] = []  # the names after each step since they were last synced
        self.last: Contents | None = None  # the file that was written last

    def note_names(self) -> None:
        """A name was made, changed or removed."""
        self._name_steps.append(dict(self.files))

    def sync_names(self) -> None:
        self._durable_names = dict(self.files)
        self._name_steps.clear()

    @property
    def unsynced(self) -> int:
        """Writes and steps of names that a power cut may now lose."""
        return len(self._name_steps) + sum(contents.unsynced for contents in self.files.values())

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(contents.size for contents in self.files.values())

    def lose(self, *, tear_last: bool = False) -> None:
        """The power is cut. `tear_last`: the write under way is torn for certain."""
        if tear_last and self.last is not None and not self.last.unsynced:
            self._begin_a_write(self.last)
        steps = [self._durable_names, *self._name_steps]
        self.files = dict(steps[self._random.randrange(len(steps))])
        self.sync_names()
        for name in sorted(self.files):
            contents = self.files[name]
            contents.lose(self._random, tear=self._tear, tear_last=tear_last and contents is self.last)

    def rot(self, *, count: int, name: str = "") -> list[Place]:
        """Flip one bit in each of `count` durable bytes, of one file or of all, where something was written.

        Not in the write that was synced last, nor behind it: no log can tell its loss from a write that was torn.
        """
        weights = [(each, self.files[each].followed) for each in sorted(self.files) if not name or each == name]
        total = sum(used for _, used in weights)
        rotten: list[Place] = []
        for _ in range(64 * count if total else 0):
            place = _at(weights, self._random.randrange(total))
            if place not in rotten and self.files[place.name].durable_at(place.offset):
                self.files[place.name].rot(place.offset, 1 << self._random.randrange(8))
                rotten.append(place)
                if len(rotten) == count:
                    break
        return rotten

    def copy(self, random: random_module.Random, *, tear: Tear | None = None) -> Medium:
        """The same once more, to go its own way."""
        copies: dict[int, Contents] = {}

        def copied(names: dict[str, Contents]) -> dict[str, Contents]:
            return {name: copies.setdefault(id(each), each.copy()) for name, each in names.items()}

        other = Medium(random, tear=tear)
        other.files = copied(self.files)
        other._durable_names = copied(self._durable_names)
        other._name_steps = [copied(step) for step in self._name_steps]
        other.last = copies.get(id(self.last))
        return other

    def _begin_a_write(self, contents: Contents) -> None:
        """Nothing was under way: the machine had just begun to write behind the end of what it wrote before."""
        end = -(-contents.used // ALIGNED) * ALIGNED  # zeros at the end of a write are part of it, and not of `used`
        room = min(contents.size - end, 2 * SECTOR_BYTES)
        contents.write(end, self._random.randbytes(room if room > 0 else 2 * SECTOR_BYTES))


def _sectors(offset: int, length: int) -> list[tuple[int, int]]:
    """The pieces of a write at `offset` that lie in one sector each, from its beginning."""
    bounds = []
    at = 0
    while at < length:
        end = min(at + SECTOR_BYTES - (offset + at) % SECTOR_BYTES, length)
        bounds.append((at, end))
        at = end
    return bounds


def _at(weights: list[tuple[str, int]], index: int) -> Place:
    """The byte with this number, counting through the files in order."""
    for name, used in weights:
        if index < used:
            return Place(name, index)
        index -= used
    raise AssertionError("an index beyond the files")
