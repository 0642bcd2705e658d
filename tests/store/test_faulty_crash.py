"""Crash the log anywhere, in several lives: what was answered is there, in order; nothing else was ever invented.

A schedule is a disk, and lives on it: recover, append groups, die inside any write or sync (in recovery too), by a
power cut or by the death of the process alone. After each death that had unsynced writes the next recovery is one
*state*; every recovery is judged:

- everything answered before is there, first, in order;
- beyond it only what was submitted in that last life, whole groups from the first on;
- what one recovery did not find never comes back in a later one.

The second half takes the protections away one by one, and the same checker must notice.
"""

import random
from collections.abc import Callable

import pytest

from identity.errors import Damaged
from identity.names import ServerId
from simulations.faulty_disk import FaultyDisk, PowerCut
from store.cipher import Cipher
from store.frames import CLOSING, OPENING, ORDINARY, FrameCodec
from store.log import Log
from store.segments import GroupReader

SERVER = ServerId.parse("1.7.3")
LIVES = 6


class Violation(AssertionError):
    """The log broke its promise."""


class Schedule:
    """One disk and the lives on it."""

    def __init__(
        self,
        seed: int,
        make_log: Callable[[FaultyDisk], Log],
        sizes: tuple[int, ...],
        make_disk: type[FaultyDisk] = FaultyDisk,
    ) -> None:
        self.random = random.Random(seed)
        self.disk = make_disk(self.random)
        self.make_log = make_log
        self.sizes = sizes
        self.settled: list[bytes] = []  # answered, or found by a recovery that came to its end
        self.submitted: list[list[bytes]] = []  # groups since then, whose sync did not return
        self.serial = 0
        self.reach = self.random.choice((4, 14))  # how long lives are, in writes and syncs
        self.states = 0  # recoveries judged after a death that had something to lose
        self.dirty = False

    def run(self) -> int:
        for _ in range(LIVES):
            if self.random.random() < 0.9:
                self.disk.crash_at(write=self.random.randrange(1, self.reach), sync=self.random.randrange(self.reach))
            try:
                log = self.recover()
                for _ in range(self.random.randrange(self.reach // 2)):
                    self.commit_group(log)
                if self.random.random() < 0.2:
                    log.close()
            except PowerCut:
                pass
            self.dirty = self.disk.unsynced > 0
            self.disk.crash(keep=self.random.random() < 0.2)
        self.recover()
        return self.states

    def recover(self) -> Log:
        try:
            log = self.make_log(self.disk)
            found = [frame.sections[0] for group in log.replay() for frame in group.frames]
        except Damaged as error:
            raise Violation(f"a crash alone looked like damage: {error}") from error
        self.judge(found)
        log.start()
        self.settled, self.submitted = found, []
        return log

    def judge(self, found: list[bytes]) -> None:
        self.states += self.dirty
        if found[: len(self.settled)] != self.settled:
            raise Violation(f"answered transactions are missing: {len(self.settled)} were, {len(found)} are there")
        rest = found[len(self.settled) :]
        for group in self.submitted:
            if not rest:
                return
            if rest[: len(group)] != group:
                raise Violation("half a group, or one that was not the next")
            rest = rest[len(group) :]
        if rest:
            raise Violation(f"{len(rest)} transactions that this life never submitted")

    def commit_group(self, log: Log) -> None:
        group = []
        for _ in range(self.random.randrange(1, 13)):
            self.serial += 1
            body = self.serial.to_bytes(8, "big") + self.random.randbytes(self.random.choice(self.sizes) - 8)
            log.append(1, [body])
            group.append(body)
        self.submitted.append(group)
        log.end_group()
        log.sync()
        self.settled, self.submitted = self.settled + group, []


class SmallLog(Log):
    """Small enough that segments fill and grow many times in a life."""

    def __init__(self, disk: FaultyDisk) -> None:
        super().__init__(disk, server=SERVER, incarnation=1, segment_bytes=4096 + 6000, step_bytes=4096)


class RoomyLog(Log):
    """Segments get all their room at once, so no growth syncs what the log itself forgot to sync."""

    def __init__(self, disk: FaultyDisk) -> None:
        super().__init__(disk, server=SERVER, incarnation=1, segment_bytes=4096 + 3000, step_bytes=160 << 10)


# A frame of this many bytes is as long as a GROUP frame, so that remains of an earlier life stand where frames of
# a later one end: the worst case for the checks that keep dead frames out.
GROUP_LIKE = 80
MIXED = (8, 40, GROUP_LIKE, 700, 3000)


def count_violations(
    make_log: Callable[[FaultyDisk], Log],
    sizes: tuple[int, ...],
    seeds: range,
    make_disk: type[FaultyDisk] = FaultyDisk,
) -> int:
    found = 0
    for seed in seeds:
        try:
            Schedule(seed, make_log, sizes, make_disk).run()
        except Violation:
            found += 1
    return found


def test_ten_thousand_crashes_lose_nothing_answered_and_invent_nothing() -> None:
    states = 0
    seed = 0
    while states < 10_000:
        sizes = (GROUP_LIKE,) if seed % 2 else MIXED
        make_log = RoomyLog if seed % 4 > 1 else SmallLog
        try:
            states += Schedule(seed, make_log, sizes).run()
        except Violation as error:
            pytest.fail(f"{error}; replay: Schedule({seed}, {make_log.__name__}, {sizes}).run()")
        seed += 1


class SealedDisk(FaultyDisk):
    """What is written to it is encrypted."""

    def __init__(self, random: random.Random) -> None:
        super().__init__(random)
        self.cipher = Cipher(bytes(32), random.randbytes)


def test_crashes_of_a_sealed_log_lose_nothing_either() -> None:
    assert count_violations(SmallLog, MIXED, range(60), SealedDisk) == 0
    assert count_violations(RoomyLog, (GROUP_LIKE,), range(60), SealedDisk) == 0


class UnsyncedLog(SmallLog):
    """Answers before the disk has it."""

    def sync(self) -> None:
        self.durable = self._ended


def test_without_the_sync_answered_transactions_are_lost() -> None:
    assert count_violations(UnsyncedLog, MIXED, range(50)) > 10


class FrontLosingDisk(FaultyDisk):
    """A torn write lacks its first sector: what follows stands intact behind the place where the log is cut."""

    def _tear(self, content, offset, data) -> None:  # type: ignore[no-untyped-def]
        first = 512 - offset % 512
        content.put(offset + first, data[first:])


class BodySpoilingDisk(FaultyDisk):
    """A torn write holds garbage in one of its sectors, and all others landed."""

    def _tear(self, content, offset, data) -> None:  # type: ignore[no-untyped-def]
        content.put(offset, data)
        at = self._random.randrange(len(data) // 512 + 1) * 512
        content.put(offset + at, self._random.randbytes(min(512, len(data) - at)))


class EpochReader(GroupReader):
    """Of all that says where a frame belongs, only the epoch is left (and the position each frame states)."""

    def belongs(self, head, epoch, content, frames, before) -> bool:  # type: ignore[no-untyped-def]
        if head.purpose == ORDINARY:
            return frames > 0 and epoch == before.epoch
        if head.purpose == CLOSING:
            return frames == 0 and epoch == before.epoch
        return frames == 0 and head.purpose == OPENING and epoch >= before.epoch

    def same_group(self, header, epoch, first) -> bool:  # type: ignore[no-untyped-def]
        return epoch in (None, header.epoch)


class TimelessReader(EpochReader):
    """Not even the epoch."""

    def belongs(self, head, epoch, content, frames, before) -> bool:  # type: ignore[no-untyped-def]
        return (frames > 0) == (head.purpose == ORDINARY)

    def same_group(self, header, epoch, first) -> bool:  # type: ignore[no-untyped-def]
        return True


class EpochLog(SmallLog):
    def make_reader(self) -> GroupReader:
        return EpochReader(self._codec)


class TimelessLog(SmallLog):
    def make_reader(self) -> GroupReader:
        return TimelessReader(self._codec)


def test_the_epoch_keeps_dead_frames_out_and_without_it_they_replay() -> None:
    for disk in (FaultyDisk, FrontLosingDisk):
        assert count_violations(EpochLog, (GROUP_LIKE,), range(300), disk) == 0
        assert count_violations(SmallLog, (GROUP_LIKE,), range(300), disk) == 0
    assert count_violations(TimelessLog, (GROUP_LIKE,), range(300), FrontLosingDisk) > 0


class CredulousCodec(FrameCodec):
    """Believes any bytes of the right shape."""

    def crc_fits(self, header, frame) -> bool:  # type: ignore[no-untyped-def]
        return True

    def digest_fits(self, body, digest) -> bool:  # type: ignore[no-untyped-def]
        return True


class CredulousLog(SmallLog):
    def make_reader(self) -> GroupReader:
        return GroupReader(CredulousCodec())


def test_without_checksums_torn_transactions_are_believed() -> None:
    assert count_violations(CredulousLog, (700, 3000), range(100), BodySpoilingDisk) > 0
    assert count_violations(SmallLog, (700, 3000), range(100), BodySpoilingDisk) == 0
