"""What is sealed opens with its key in its place, and nowhere else; no nonce comes twice, whatever comes again."""

from __future__ import annotations

import random
from zlib import crc32

import pytest

from identity.errors import Damaged, Refused
from simulations.faulty_disk import FaultyDisk
from store.cipher import NONCE_BYTES, OVERHEAD, Box, Cipher, DoesNotOpen
from store.frames import FLAG_SEALED, FRAME_HEADER_BYTES, FrameCodec
from store.sealed_files import HEAD_BYTES, SealedDisk
from store.sealed_frames import SealedCodec
from store.sealed_tables import PAGES, SealedTables, sealed_in
from store.tables import MemoryTables

KEY = bytes(range(32))


def test_what_is_sealed_opens_and_says_nothing() -> None:
    box = Box(KEY)
    sealed = box.seal(b"words", b"place")
    assert len(sealed) == len(b"words") + OVERHEAD
    assert b"words" not in sealed
    assert box.open(sealed, b"place") == b"words"
    for other, place in ((box, b"another"), (Box(bytes(32)), b"place")):
        with pytest.raises(DoesNotOpen):
            other.open(sealed, place)
    for bit in range(len(sealed) * 8):
        rotten = bytearray(sealed)
        rotten[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DoesNotOpen):
            box.open(rotten, b"place")
    for length in range(len(sealed)):
        with pytest.raises(DoesNotOpen):
            box.open(sealed[:length], b"place")


def test_no_nonce_comes_twice_even_where_randomness_does() -> None:
    box = Box(KEY)
    assert len({box.seal(b"words", b"place")[:NONCE_BYTES] for _ in range(100)}) == 100
    stuck = Box(KEY, bytes)  # two copies of one machine
    said = [(b"", b""), (b"a", b""), (b"", b"a"), (b"b", b"a"), (b"a", b"b"), (b"ab", b""), (b"", b"ab")]
    assert len({stuck.seal(plain, place)[:NONCE_BYTES] for plain, place in said}) == len(said)
    assert stuck.seal(b"a", b"b") == stuck.seal(b"a", b"b")


def test_frames_open_where_they_were_written_and_nowhere_else() -> None:
    codec = SealedCodec(Cipher(KEY))
    data, digest = codec.encode(1, [b"words" * 100], epoch=3, position=800, group_position=640)
    assert b"words" not in data
    body = codec.read_body(codec.read_header(data), data)
    assert (body.sections, body.digest) == ([b"words" * 100], digest)
    assert FrameCodec().encode(1, [b"words" * 100], epoch=3, position=800, group_position=640)[1] != digest
    for at in range(4, 36):  # lengths, epoch, position, group: whoever changes them gives the frame a right CRC-32
        moved = bytearray(data)
        moved[at] ^= 1
        stored = int.from_bytes(moved[4:8], "big")
        end = FRAME_HEADER_BYTES + stored
        moved[36:40] = crc32(moved[FRAME_HEADER_BYTES:end], crc32(moved[:36])).to_bytes(4, "big")
        with pytest.raises(Damaged):
            codec.read_body(codec.read_header(moved), moved)
    other = SealedCodec(Cipher(bytes(32)))
    with pytest.raises(Damaged, match="does not open"):
        other.read_body(other.read_header(data), data)


def test_plain_frames_are_none_of_a_sealed_log_and_the_other_way_round() -> None:
    sealed, plain = SealedCodec(Cipher(KEY)), FrameCodec()
    for writer, reader in ((sealed, plain), (plain, sealed)):
        data, _ = writer.encode(1, [b"words"], epoch=1, position=0, group_position=0)
        assert bool(data[3] & FLAG_SEALED) == (writer is sealed)
        with pytest.raises(Damaged):
            reader.read_header(data)
    with pytest.raises(Damaged, match="cut off"):
        sealed.read_header(b"short")


async def test_pages_of_tables_open_under_their_own_number_only() -> None:
    inner = MemoryTables()
    tables = sealed_in(inner, Cipher(KEY))
    entries = {number.to_bytes(4, "big"): bytes(90) for number in range(200)}
    await tables.fold({"t": entries}, b"mark")
    snapshot = inner.begin_read()
    pages = dict(snapshot.scan(PAGES))
    assert len(pages) > 3
    one, other = list(pages)[:2]
    await inner.fold({PAGES: {one: pages[other], other: pages[one]}}, snapshot.meta)
    with pytest.raises(Damaged, match="is not the one that was sealed"):
        list(sealed_in(inner, Cipher(KEY)).begin_read().scan("t"))
    await inner.fold({PAGES: {one: None, other: pages[other]}}, snapshot.meta)
    with pytest.raises(Damaged, match="is gone"):
        list(sealed_in(inner, Cipher(KEY)).begin_read().scan("t"))


def test_blocks_of_files_open_in_their_own_place_only() -> None:
    disk = FaultyDisk(random.Random(1))
    disk.cipher = Cipher(KEY)
    files = SealedDisk(disk)
    for name in ("new-1", "new-2"):
        file = files.open(name, create=True)
        file.write(0, bytes(range(256)) * 64)
        file.write(5000, b"over two blocks" * 300)
        assert file.read(4990, 30) == (bytes(range(256)) * 64)[4990:5000] + b"over two blocks" * 1 + b"over "
        assert file.read(16_380, 100) == (bytes(range(256)) * 64)[16_380:]
    block = 4096 + OVERHEAD
    one, two = disk.open("new-1"), disk.open("new-2")
    second = one.read(HEAD_BYTES + block, block)
    for file, at in ((one, 2), (two, 1)):
        before = file.read(HEAD_BYTES + at * block, block)
        file.write(HEAD_BYTES + at * block, second)
        with pytest.raises(Damaged, match=f"its block {at} does not open"):
            files.open(file.name).read(at * 4096, 10)
        file.write(HEAD_BYTES + at * block, before)


def test_names_of_blobs_are_sealed_and_found_again() -> None:
    disk = FaultyDisk(random.Random(1))
    disk.cipher = Cipher(KEY)
    files = SealedDisk(disk)
    name = bytes(range(32)).hex() + ".blob"
    files.open("new-1", create=True).close()
    files.rename("new-1", name)
    assert files.list() == [name]
    assert disk.list() != [name]
    disk.rename(disk.list()[0], "a" * 77 + ".blob")
    assert files.list() == ["a" * 77 + ".blob"]  # of nobody here


async def test_pages_are_kept_up_to_a_bound_and_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = MemoryTables()
    tables = sealed_in(inner, Cipher(KEY))
    assert isinstance(tables, SealedTables)
    entries = {number.to_bytes(4, "big"): bytes(90) for number in range(2000)}
    await tables.fold({"t": entries}, b"mark")
    monkeypatch.setattr("store.sealed_tables.KEPT_BYTES", 20_000)
    snapshot = tables.begin_read()
    for _ in range(2):
        assert dict(snapshot.scan("t")) == entries
        assert 10_000 < tables._kept_bytes <= 20_000
        assert tables._kept_bytes == sum(size for size, _ in tables._kept.values())


def test_a_file_that_is_no_sealed_one_is_named() -> None:
    disk = FaultyDisk(random.Random(1))
    disk.cipher = Cipher(KEY)
    files = SealedDisk(disk)
    files.open("new-1", create=True).close()
    whole = disk.image()["new-1"]
    for bit in range(len(whole) * 8):
        disk.flip("new-1", bit // 8, 1 << bit % 8)
        with pytest.raises(Damaged, match="its head is not what was written"):
            files.open("new-1")
        disk.flip("new-1", bit // 8, 1 << bit % 8)
    disk.open("new-2", create=True).write(0, whole[:50])
    with pytest.raises(Damaged, match="it has no head"):
        files.open("new-2")
    disk.cipher = Cipher(bytes(32))
    with pytest.raises(Refused, match="is sealed with the data key"):
        SealedDisk(disk).open("new-1")


async def test_tables_that_another_key_sealed_are_refused_and_are_no_damage() -> None:
    inner = MemoryTables()
    await sealed_in(inner, Cipher(KEY)).fold({"t": {b"a": b"1"}}, b"mark")
    snapshot = sealed_in(inner, Cipher(bytes(32))).begin_read()
    with pytest.raises(Refused, match="were not sealed with the key of this store"):
        assert snapshot.meta
