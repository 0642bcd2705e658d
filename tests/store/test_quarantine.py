"""Evidence is kept whole, in its order, within bounds; of a file that is damaged itself that is said."""

from __future__ import annotations

import random

import pytest

from identity.errors import Damaged
from simulations.faulty_disk import FaultyDisk
from store import quarantine
from store.cipher import Cipher
from store.findings import Finding, InLog
from store.quarantine import Quarantine, read_evidence

FRAME = Finding("frame", "log-1 at offset 8", "the CRC-32 differs", "a backup", InLog(1, 8, 16))


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk(random.Random(1))


def test_what_is_kept_outlives_a_power_cut(disk: FaultyDisk) -> None:
    kept = Quarantine(disk, lambda: 7)
    assert kept.keep(FRAME, b"bad bytes", "backup b") == "quarantine-00000001"
    assert kept.keep(FRAME, b"others", "") == "quarantine-00000002"
    disk.crash()
    first, second = read_evidence(disk)
    assert (first.name, first.data, second.data) == ("quarantine-00000001", b"bad bytes", b"others")
    assert first.head == {
        "what": "frame", "where": "log-1 at offset 8", "cause": "the CRC-32 differs", "repair": "a backup",
        "segment": 1, "offset": 8, "end": 16, "mended_from": "backup b", "time_ms": 7,
    }  # fmt: skip


def test_what_is_met_again_is_kept_once(disk: FaultyDisk) -> None:
    kept = Quarantine(disk, lambda: 7)
    first = kept.keep(FRAME, b"bad", "")
    assert [kept.keep(FRAME, b"bad", "") for _ in range(3)] == [first] * 3
    assert kept.keep(FRAME, b"worse", "") != first
    assert kept.keep(FRAME, b"bad", "backup b") != first
    disk.flip(first, 50)
    assert kept.keep(FRAME, b"bad", "") == "quarantine-00000004", "what is damaged itself is no evidence"


def test_every_bit_and_every_length_of_it(disk: FaultyDisk) -> None:
    name = Quarantine(disk, lambda: 7).keep(FRAME, b"bad", "")
    size = disk.used()[name]
    for offset in range(size):
        for bit in range(8):
            disk.flip(name, offset, 1 << bit)
            with pytest.raises(Damaged, match="quarantine-00000001 is not what was kept"):
                read_evidence(disk)
            disk.flip(name, offset, 1 << bit)
    whole = disk.image()[name]
    for length in range(size):
        with pytest.raises(Damaged):
            quarantine._read(name, whole[:length])
    assert len(read_evidence(disk)) == 1


def test_bounds(disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quarantine, "MAX_FILES", 2)
    monkeypatch.setattr(quarantine, "MAX_BYTES", 10)
    kept = Quarantine(disk, lambda: 7)
    assert [kept.keep(FRAME, bytes([each]) * 100, "") for each in range(3)] == [
        "quarantine-00000001",
        "quarantine-00000002",
        "",
    ]
    assert read_evidence(disk)[0].data == bytes(10)


def test_a_full_disk_keeps_nothing_and_stops_nothing(disk: FaultyDisk) -> None:
    kept = Quarantine(disk, lambda: 7)
    disk.full = True
    assert kept.keep(FRAME, b"bad", "") == ""
    disk.room = 10
    assert kept.keep(FRAME, b"bad", "") == ""
    assert disk.failure is None
    assert disk.list() == []


def test_evidence_of_an_encrypted_store_is_sealed(disk: FaultyDisk) -> None:
    disk.cipher = Cipher(bytes(32))
    name = Quarantine(disk, lambda: 7).keep(FRAME, b"secret words", "")
    assert b"secret" not in disk.image()[name]
    assert FRAME.cause.encode() not in disk.image()[name]
    (kept,) = read_evidence(disk)
    assert (kept.data, kept.head["what"]) == (b"secret words", FRAME.what)
    assert Quarantine(disk, lambda: 8).keep(FRAME, b"secret words", "") == name
    disk.cipher = Cipher(bytes(31) + b"x")
    with pytest.raises(Damaged, match="does not open"):
        read_evidence(disk)
