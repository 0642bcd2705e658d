"""From what the disk holds to a store that may answer: tables, then the log after their mark (DESIGN L3, L4, T1, R2).

    tables   mark, classes, servers, ends of feeds
    log      every whole group after the mark, frame by frame, through the same `Applier` as live commits
    start    the torn tail is cut, a new epoch begins; only now anything is answered
    sealer   goes on after the last own update of each kind, with the new epoch

Classes are known before the first frame is replayed, and whatever frames define is known to the frames after them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from random import Random
from typing import NamedTuple

from identity.errors import Damaged
from identity.names import END, ServerId
from store.applying import STATE, Applier, ForeignPut
from store.disk import Disk
from store.fold import read_mark
from store.foreign import understand_untrusted
from store.frame_parts import COPIES, FOREIGN, OWN, unpack_copies, unpack_local, unpack_seals
from store.generations import Generations
from store.held_feeds import FEEDS
from store.log import Log
from store.records import DATA, REGISTRY, Head, Sealer, Update, read_own_leaves
from store.segments import Frame, Group, Location
from store.tables import Tables

STEP_GROUPS = 16  # some milliseconds of single commits
RESTORED_STEP = 1 << 32  # DESIGN D4: by so much object ids and transaction numbers advance over what was forgotten
RESTORED_EPOCHS = 1 << 10  # and runs; request numbers hold 2^23 of them (`transport.requests`)
RESTORED_SPREAD = 1 << 14  # and up to so many more, by chance: two restores of one backup know nothing of each other


class Opened(NamedTuple):
    """The parts of a store, recovered."""

    log: Log
    generations: Generations
    applier: Applier


def recover(
    disk: Disk,
    tables: Tables,
    *,
    server: ServerId,
    incarnation: int,
    clock: Callable[[], float],
    generation_bytes: int,
    segment_bytes: int,
    step_bytes: int,
) -> Generator[None, None, Opened]:
    """Read everything and return it; the log is not started yet. Raises `Damaged`, `Refused`.

    Gives way after every few groups, so that whoever drives it can be told to stop half-way: nothing was written.
    """
    snapshot = tables.begin_read()
    mark = read_mark(snapshot)
    generations = Generations(snapshot, clock=clock, max_bytes=generation_bytes)
    applier = Applier(server, incarnation, lambda: generations.appended)
    applier.load()
    log = Log(disk, server=server, incarnation=incarnation, segment_bytes=segment_bytes, step_bytes=step_bytes)
    number = 0
    for count, group in enumerate(log.replay(mark), start=1):
        number = replay_group(group, applier, generations, number)
        generations.publish(number)
        if count % STEP_GROUPS == 0:
            yield
    return Opened(log, generations, applier)


def begin_run(opened: Opened, sealer: Sealer | None, random: Random, *, restored: bool = False) -> int:
    """Take a new epoch, durably; return it.

    `restored`: the store came back in time. No number that it may have given meanwhile is given again: not that of a
    run, of a transaction or of an object; nor, but by a small chance, one that was given after another restore of what
    this one was restored from. The latter become durable with the first private change (`store.database`).
    """
    epoch = opened.log.start(skip=RESTORED_EPOCHS + random.randrange(RESTORED_SPREAD) if restored else 0)
    opened.applier.epoch = epoch
    if restored:
        step = RESTORED_STEP + random.randrange(RESTORED_STEP)
        opened.applier.number += step
        opened.applier.next_object += step
    if sealer is not None:
        for kind in (REGISTRY, DATA):
            state = opened.applier.feeds.get((END, kind))
            sealer.resume(kind, None if state is None else state.head)
        sealer.begin_epoch(epoch)
    return epoch


def replay_group(group: Group, applier: Applier, generations: Generations, number: int) -> int:
    """Apply one group, of which `number` commits were given to the generations before; how many they are now."""
    locations: tuple[list[Location], list[Location]] = ([], [])
    for frame in group.frames:
        number += 1
        if frame.kind == OWN:
            for kind in (REGISTRY, DATA):
                if frame.sections[kind]:
                    locations[kind].append(frame.location)
            leaves = [leaf for kind in (REGISTRY, DATA) for leaf in read_own_leaves(frame.sections[kind])]
            transaction, local = unpack_local(frame.sections[2])
            generations.apply(number, applier.own_again(leaves, local, transaction))
        elif frame.kind == FOREIGN:
            _replay_foreign(frame, applier, generations, number)
        elif frame.kind == COPIES:
            generations.apply(number, applier.copies(unpack_copies(frame.sections[0])))
        else:
            raise Damaged(f"a frame of kind {frame.kind} at {frame.location}, which this version does not know")
    feeds: dict[bytes, bytes | None] = {}
    for seal in unpack_seals(group.seals):
        feeds.update(applier.sealed(seal, locations[seal.kind], Head.from_bytes_untrusted(seal.head).epoch))
    generations.apply(number + 1, {FEEDS: feeds, STATE: applier.ends()})
    return number + 1


def _replay_foreign(frame: Frame, applier: Applier, generations: Generations, number: int) -> None:
    update = Update.from_bytes_untrusted(frame.sections[0])
    transaction, local = unpack_local(frame.sections[1])

    def understand() -> list[ForeignPut]:
        puts = understand_untrusted(applier, update)
        if isinstance(puts, str):
            raise Damaged(f"update {update.head.number} of {update.head.server} was taken, but now {puts}")
        return puts

    generations.apply(number, applier.foreign(update, local, understand, transaction, frame.location))
