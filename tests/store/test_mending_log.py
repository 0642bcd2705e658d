"""Bytes of a log are put back only if they are proven to be those that stood there; what is not stays, and is kept."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from identity.names import ServerId
from simulations.faulty_disk import FaultyDisk
from store.checking_log import LogWalk, Walked
from store.findings import Finding, InTable, Report
from store.log import Log
from store.mending_log import FROM_ITSELF, Backup, Mended, mend_log
from store.quarantine import Quarantine, read_evidence

SERVER = ServerId.parse("1.2")


def open_log(disk: FaultyDisk) -> Log:
    return Log(disk, server=SERVER, incarnation=5, segment_bytes=5500, step_bytes=1024)


def write(disk: FaultyDisk, groups: int, word: bytes = b"word") -> None:
    log = open_log(disk)
    list(log.replay())
    log.start()
    for group in range(groups):
        log.append(1, [b"%d" % group, word * 20])
        log.append(1, [b"second of %d" % group])
        log.end_group(b"seal")
        log.sync()
    log.close()
    disk.close()


@pytest.fixture
def disk() -> FaultyDisk:
    disk = FaultyDisk(random.Random(1))
    write(disk, 10)
    assert len(disk.list()) >= 2
    return disk


def copy_of(disk: FaultyDisk) -> FaultyDisk:
    other = FaultyDisk(random.Random(2))
    other.load(disk.copy(random.Random(2)))
    return other


def findings(disk: FaultyDisk) -> list[Finding]:
    report = Report()
    list(LogWalk(open_log(disk), report, until=None).walk())
    return report.findings


def mend(disk: FaultyDisk, *others: FaultyDisk) -> list[Mended]:
    backups = [Backup(f"b{number}", open_log(each)) for number, each in enumerate(others)]
    found: Sequence[Finding] = [*findings(disk), Finding("record", "1.2/7", "no matter", "", InTable("objects", b"7"))]
    work = mend_log(open_log(disk), found, Quarantine(disk, lambda: 7), until=None, backups=backups)
    return [each for each in work if each is not None]


def test_one_bit_anywhere_comes_back_from_itself(disk: FaultyDisk) -> None:
    before = disk.image()
    chosen = random.Random(3)
    tried = 0
    for name, used in disk.used().items():
        for offset in [*range(0, 204, 17), *chosen.sample(range(4096, used - 200), 20)]:
            disk.flip(name, offset, 1 << chosen.randrange(8))
            done = mend(disk)
            tried += len(done)
            assert [each.source for each in done] == [FROM_ITSELF] * len(done)
            for each in done:
                disk.remove(each.evidence)
            assert findings(disk) == []
    assert tried > 50
    assert {name: disk.image()[name][:4300] for name in before} == {name: data[:4300] for name, data in before.items()}


def test_more_than_a_bit_comes_back_from_a_backup_that_the_chain_proves(disk: FaultyDisk) -> None:
    backup = copy_of(disk)
    before = disk.image()
    name = disk.list()[0]
    for offset in (4300, 4301, 4302, 4700):
        disk.flip(name, offset)
    bad = disk.image()[name]
    done = mend(disk, backup)
    assert [each.source for each in done] == ["backup b0"] * len(done)
    assert findings(disk) == []
    assert disk.image()[name] == before[name]
    for each, kept in zip(done, read_evidence(disk), strict=True):
        assert kept.name == each.evidence
        assert kept.head["mended_from"] == "backup b0"
        start = kept.head["offset"]
        assert kept.data == bad[start : start + len(kept.data)]


def test_a_backup_of_another_history_or_with_a_hole_proves_nothing(disk: FaultyDisk) -> None:
    other = FaultyDisk(random.Random(4))
    write(other, 10, b"same")  # as long, with the same positions
    holed = copy_of(disk)
    holed.flip(holed.list()[1], 4300)
    name = disk.list()[0]
    bad = disk.image()[name]
    disk.flip(name, 4300)
    disk.flip(name, 4301)
    done = mend(disk, other, holed)
    assert [each.source for each in done] == [""]
    assert [each.evidence for each in done] == ["quarantine-00000001"]
    disk.flip(name, 4300)
    disk.flip(name, 4301)
    assert disk.image()[name] == bad, "it stayed as it was"


def test_a_group_of_another_history_is_none_of_this_one(disk: FaultyDisk) -> None:
    """Each of its frames is intact, of the right epoch and in the right place."""
    other = FaultyDisk(random.Random(4))
    write(other, 10, b"same")
    groups = [each for each in LogWalk(open_log(disk), Report(), until=None).walk() if isinstance(each, Walked)]
    first = groups[2].frames[0].location
    end = groups[3].frames[0].location.offset
    name = disk.list()[0]
    assert first.segment == 1
    foreign = other.open(other.list()[0]).read(first.offset, end - first.offset)
    file = disk.open(name)
    assert file.read(first.offset, 3) == foreign[:3]
    file.write(first.offset, foreign)
    file.sync()
    assert {each.what for each in findings(disk)} == {"group"}
    assert {each.source for each in mend(disk)} == {""}


def test_an_older_backup_mends_what_it_has(disk: FaultyDisk) -> None:
    young = FaultyDisk(random.Random(5))
    write(young, 2)
    older = copy_of(young)
    write(young, 6)
    name = young.list()[0]
    young.flip(name, 4300)
    young.flip(name, 4310)
    assert [each.source for each in mend(young, older)] == ["backup b0"]
    name = young.list()[1]
    assert name not in older.list()
    young.flip(name, 4200)
    young.flip(name, 4210)
    assert {each.source for each in mend(young, older)} == {""}
