"""An encrypted store: nobody reads a word of it from its files, and nothing else about it is different."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio

from benchmarks import crash_states
from identity.errors import Damaged, Refused
from identity.names import ServerId
from node.embedded import open_store
from node.embedded_blocking import open_store_blocking
from simulations.faulty_disk import FaultyDisk
from store.backup_directories import back_up_directory, restore_directory, verify_directory
from store.cipher import Cipher
from store.data_key import COPY, NAME, change_key, create_key, open_key
from store.log import BEGINNING, Log
from store.repair import is_blob, repair_directory
from store.sealed_files import HEAD_BYTES, opened_name
from store.sealed_frames import SealedCodec
from store.upkeep import check_directory

SERVER = ServerId.parse("1.2")
KEY = bytes(range(32))
MARKER = "xyzzy-marker"
NOTE = {
    "name": "XyzzyMarker",
    "fields": {"text": {"type": "string", "index": True}, "file": {"type": "blob", "required": False}},
}


async def fill(directory: Path, key: Any) -> None:
    async with open_store(directory, key=key) as store:
        await store.define(NOTE)
        async with store.write_blob() as new:
            await new.write((MARKER * 30_000).encode())  # more than one chunk
            blob = await new.finish()
            await store.create(NOTE["name"], {"text": MARKER, "file": blob})
        for number in range(40):
            await store.create(NOTE["name"], {"text": f"{MARKER} {number}"})


async def texts(directory: Path, key: Any) -> list[str]:
    async with open_store(directory, key=key) as store:
        found = [each async for each in store.rows(f"{NOTE['name']} order by text")]
        for each in found:
            if each.fields["file"] is not None:
                async with store.open_blob(each.fields["file"]) as reader:
                    assert b"".join([chunk async for chunk in reader]) == (MARKER * 30_000).encode()
        return [each.fields["text"] for each in found]


def files_with(directory: Path, marker: bytes) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and marker in path.read_bytes()]


def all_of(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "store"
    trio.run(fill, directory, KEY)
    return directory


@pytest.fixture
def directory(made: Path, tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(made, tmp_path / "store")
    return tmp_path / "store"


WRITTEN = sorted([MARKER, *(f"{MARKER} {number}" for number in range(40))])


async def test_it_is_as_any_other_and_no_file_says_a_word_of_it(directory: Path, tmp_path: Path) -> None:
    assert await texts(directory, KEY) == WRITTEN
    back_up_directory(directory, tmp_path / "backup", key=KEY)
    assert check_directory(directory, key=KEY).whole
    for marker in (MARKER.encode(), b"XyzzyMarker", b"incarnation = ", MARKER.encode().hex().encode()):
        assert files_with(tmp_path / "backup", marker) == []
    for marker in (MARKER.encode(), b"XyzzyMarker", MARKER.encode().hex().encode()):
        assert files_with(directory, marker) == []
    plain = tmp_path / "plain"
    await fill(plain, None)
    assert {each.parent.name for each in files_with(plain, MARKER.encode())} == {"log", "tables", "blobs"}


def blobs_of(directory: Path) -> set[str]:
    return {each.name for each in (directory / "blobs").glob("*.blob")}


async def test_names_of_blobs_do_not_tell_who_has_the_same_file(directory: Path, tmp_path: Path) -> None:
    await fill(tmp_path / "other", bytes(32))
    await fill(tmp_path / "plain", None)
    assert len(blobs_of(directory) | blobs_of(tmp_path / "other") | blobs_of(tmp_path / "plain")) == 3


async def test_a_backup_is_verified_restored_and_added_to(directory: Path, tmp_path: Path) -> None:
    back_up_directory(directory, tmp_path / "backup", key=KEY)
    assert back_up_directory(directory, tmp_path / "backup", key=KEY).added == 0
    assert verify_directory(tmp_path / "backup").report.whole
    for wrong in (None, bytes(32), "passphrase"):
        with pytest.raises(Refused):
            await restore_directory(tmp_path / "backup", tmp_path / "again", key=wrong)
    assert not (tmp_path / "again").exists()
    await restore_directory(tmp_path / "backup", tmp_path / "again", key=KEY)
    assert await texts(tmp_path / "again", KEY) == WRITTEN
    assert check_directory(tmp_path / "again", key=KEY).whole


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (None, "is encrypted"),
        (bytes(32), "that is not the key file of"),
        ("password", "is opened by a key file"),
        (b"short", "a key has 32 bytes"),
    ],
)
async def test_a_wrong_key_is_told_and_is_never_damage(directory: Path, wrong: Any, why: str) -> None:
    before = all_of(directory)
    with pytest.raises(Refused, match=why):
        await texts(directory, wrong)
    with pytest.raises(Refused, match=why):
        check_directory(directory, key=wrong)
    with pytest.raises(Refused, match=why):
        await repair_directory(directory, key=wrong)
    assert all_of(directory) == before


async def test_a_key_for_what_is_plain_and_files_of_another_key(directory: Path, tmp_path: Path) -> None:
    await fill(tmp_path / "plain", None)
    with pytest.raises(Refused, match="is not encrypted"):
        await texts(tmp_path / "plain", KEY)
    for name in (NAME, COPY):  # the key that opens it is right, and it is of another store
        shutil.copyfile(directory / name, tmp_path / "plain" / name)
    with pytest.raises(Refused, match="is not encrypted, and a key was given"):
        await texts(tmp_path / "plain", KEY)
    await fill(tmp_path / "other", KEY)
    for name in (NAME, COPY):
        shutil.copyfile(tmp_path / "other" / name, directory / name)
    with pytest.raises(Refused, match="is sealed with the data key"):
        await texts(directory, KEY)
    with pytest.raises(Refused, match="is sealed with the data key"):
        check_directory(directory, key=KEY)
    with pytest.raises(Refused, match="is sealed with the data key"):
        back_up_directory(directory, tmp_path / "backup", key=KEY)
    for name in (NAME, COPY):
        (directory / name).unlink()
    with pytest.raises(Refused, match=r"log-00000001-\w+ is encrypted"):
        await texts(directory, None)
    with pytest.raises(Refused, match=r"log-00000001-\w+ is encrypted"):
        check_directory(directory)


def test_a_passphrase_is_changed_without_writing_anything_else(tmp_path: Path) -> None:
    with open_store_blocking(tmp_path / "s", key="ku\u0308ste") as store:
        store.define(NOTE)
    before = {path.name: path.read_bytes() for path in (tmp_path / "s" / "log").iterdir() if path.name != "lock"}
    change_key(tmp_path / "s", "k\u00fcste", KEY)  # the same text, of another keyboard
    assert {
        path.name: path.read_bytes() for path in (tmp_path / "s" / "log").iterdir() if path.name != "lock"
    } == before
    with pytest.raises(Refused, match="is opened by a key file, not by a passphrase"):
        open_store_blocking(tmp_path / "s", key="ku\u0308ste").__enter__()
    change_key(tmp_path / "s", KEY, "another")
    with open_store_blocking(tmp_path / "s", key="another") as store:
        store.create(NOTE["name"], {"text": "a"})
    with pytest.raises(Refused, match="that is not the passphrase"):
        open_store_blocking(tmp_path / "s", key="Another").__enter__()


def test_the_key_file_survives_each_flipped_bit_and_says_when_both_are_gone(directory: Path) -> None:
    text = (directory / NAME).read_bytes()
    for bit in range(0, len(text) * 8, 41):
        rotten = bytearray(text)
        rotten[bit // 8] ^= 1 << bit % 8
        (directory / NAME).write_bytes(rotten)
        assert open_key(directory, KEY) is not None
        assert (directory / NAME).read_bytes() == text
        for name in (NAME, COPY):
            (directory / name).write_bytes(rotten)
        with pytest.raises(Damaged, match="is not what was written"):
            open_key(directory, KEY)
        (directory / COPY).write_bytes(text)
    (directory / NAME).unlink()
    assert open_key(directory, KEY) is not None
    assert (directory / NAME).read_bytes() == text


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("argon2id 65 65536 " + "00" * 16, "asks for 65 operations in 65536 KiB"),
        ("argon2id 1 5000000 " + "00" * 16, "asks for 1 operations in 5000000 KiB"),
        ("argon2id 1 65536 " + "00" * 15, "is not what was written"),
    ],
)
def test_a_key_file_may_not_ask_for_any_memory_and_time(directory: Path, line: str, why: str) -> None:
    text = (directory / NAME).read_text().replace("key file", line).rpartition("sum ")[0]
    for name in (NAME, COPY):
        (directory / name).write_text(f"{text}sum {sha256(text.encode()).hexdigest()}\n")
    with pytest.raises((Refused, Damaged), match=why):
        open_key(directory, "passphrase")


def test_a_passphrase_is_neither_empty_nor_endless_and_is_given_to_a_new_store_once(tmp_path: Path) -> None:
    for secret in ("", "x" * 1025):
        with pytest.raises(Refused, match="a passphrase has 1 to 1024 bytes"):
            open_key(tmp_path, secret, create=True)
    assert open_key(tmp_path, None, create=True) is None
    assert open_key(tmp_path, KEY, create=True) is not None
    with pytest.raises(Refused, match="has a data key already"):
        create_key(tmp_path, KEY)
    with pytest.raises(Refused, match="is not encrypted"):
        change_key(tmp_path.parent, KEY, KEY)


# -- crashes and rot


def sealed_log(disk: FaultyDisk) -> Log:
    return Log(disk, server=SERVER, incarnation=5, segment_bytes=5500, step_bytes=1024)


@pytest.fixture(scope="module")
def disk() -> FaultyDisk:
    """Two segments; groups of one and of several frames, plain and compressed; two runs, the last one closed."""
    disk = FaultyDisk(random.Random(1))
    disk.cipher = Cipher(KEY, random.Random(2).randbytes)
    for run in range(2):
        log = sealed_log(disk)
        list(log.replay())
        log.start()
        for group in range(2):
            log.append(1, [b"%d %d" % (run, group), b"", b"short"])
            log.append(2, [bytes(range(200)) * 2, b"x" * 90 * group])
            log.end_group(b"seal %d" % group)
            log.sync()
        log.close()
    disk.close()
    return disk


def replayed(disk: FaultyDisk) -> list[tuple[Any, ...]] | None:
    try:
        return [
            (group.seals, [(each.kind, each.sections) for each in group.frames])
            for group in sealed_log(disk).replay(BEGINNING)
        ]
    except Damaged:
        return None


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.sweep), 71])
def test_every_bit_flipped_in_a_sealed_log_is_named_or_changes_nothing(disk: FaultyDisk, every: int) -> None:
    whole = replayed(disk)
    assert whole is not None
    assert len(whole) == 4
    named = 0
    for name, data in disk.image().items():
        used = len(data.rstrip(b"\0"))
        for bit in range(0, used * 8, every):
            disk.flip(name, bit // 8, 1 << bit % 8)
            found = replayed(disk)
            assert found is None or found == whole[: len(found)]
            if found != whole:
                named += 1
            disk.flip(name, bit // 8, 1 << bit % 8)
    assert named
    assert replayed(disk) == whole


@pytest.mark.parametrize("every", [pytest.param(997, marks=pytest.mark.sweep), 20_011])
async def test_every_bit_flipped_in_a_sealed_blob_is_named(directory: Path, every: int) -> None:
    (path,) = (directory / "blobs").glob("*.blob")
    cipher = open_key(directory, KEY)
    name = opened_name(path.name, cipher)
    data = path.read_bytes()
    blocks = (len(data) - HEAD_BYTES) // 4136
    last = HEAD_BYTES + blocks * 4136
    assert is_blob(path, name, cipher)
    for bit in [*range(0, last * 8, every), last * 8 - 1]:
        rotten = bytearray(data)
        rotten[bit // 8] ^= 1 << bit % 8
        path.write_bytes(rotten)
        unused = data[bit // 8 : last].strip(b"\0") == b""  # room behind it that was never written
        assert is_blob(path, name, cipher) == unused, bit
    path.write_bytes(data)


async def test_sealed_tables_that_rot_are_named_and_made_anew(directory: Path) -> None:
    path = directory / "tables" / "data.mdb"
    data = bytearray(path.read_bytes())
    for offset in range(2 * 4096 + 900, len(data), 4096):  # one byte of each page: some of them are in use
        data[offset] ^= 4
    path.write_bytes(data)
    assert not check_directory(directory, key=KEY).whole
    with pytest.raises(Damaged):
        await texts(directory, KEY)
    assert (await repair_directory(directory, key=KEY)).after.whole
    assert await texts(directory, KEY) == WRITTEN


class SealedDisk(crash_states.WatchedDisk):
    """Its log is encrypted."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.cipher = Cipher(KEY, random.Random(5).randbytes)


def test_power_cuts_of_a_store_with_an_encrypted_log_lose_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its judge compares tables entry by entry, so they are plain here; their pages come and go in one transaction."""
    monkeypatch.setattr("store.database.sealed_in", lambda tables, cipher: tables)
    sealed = []
    encode = SealedCodec.encode

    def counted(*arguments: Any, **named: Any) -> Any:
        sealed.append(1)
        return encode(*arguments, **named)

    monkeypatch.setattr(SealedCodec, "encode", counted)
    assert crash_states.sweep(states=150, seed=1, make_disk=SealedDisk) >= 150
    assert len(sealed) > 150
