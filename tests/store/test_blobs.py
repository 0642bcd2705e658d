"""Blobs come back as they were, or are named as damaged; they stay as long as somebody needs them, and no longer."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import Damaged, Exhausted, LocalMistake, NotFound, Refused
from identity.names import Reference
from simulations.faulty_disk import FaultyDisk, PowerCut
from store import blobs as blobs_module
from store.blob_files import CHUNK_BYTES, EMPTY, HEAD_BYTES, Blob, Tree, file_bytes, leaf_hash, root_of
from store.blobs import Blobs
from store.database import Database, open_database
from store.definitions import definition_from_toml
from store.disk import RealDisk
from store.indexes import compile_indexes
from store.query import Question


class Named:
    """Who needs which, said by the test."""

    def __init__(self) -> None:
        self.roots: set[bytes] = set()
        self.newest = 0
        self.oldest = 0

    def is_named(self, root: bytes) -> bool:
        return root in self.roots


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk(random.Random(1))


@pytest.fixture
def needs() -> Named:
    return Named()


@pytest.fixture
def blobs(disk: FaultyDisk, needs: Named) -> Blobs:
    return Blobs(disk, needs)


async def put(blobs: Blobs, data: bytes, needs: Named | None = None, *, pieces: int = 100_000) -> Blob:
    """Written in pieces, and named by an object if `needs` is given."""
    async with blobs.write() as new:
        for at in range(0, len(data), pieces):
            await new.write(data[at : at + pieces])
        blob = await new.finish()
        if needs is not None:
            needs.roots.add(blob.root)
    return blob


async def got(blobs: Blobs, blob: Blob) -> bytes:
    async with blobs.open(blob) as found:
        return b"".join([chunk async for chunk in found])


def noise(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


# The tree


def tree_of_rfc9162(leaves: list[bytes]) -> bytes:
    """MTH of 2.1.1, word by word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\1" + tree_of_rfc9162(leaves[:half]) + tree_of_rfc9162(leaves[half:])).digest()


@pytest.mark.parametrize("count", range(40))
def test_the_root_is_that_of_the_rfc(count: int) -> None:
    leaves = [leaf_hash(bytes([number])) for number in range(count)]
    assert root_of(leaves) == tree_of_rfc9162(leaves)


def test_a_leaf_is_no_node() -> None:
    """Two leaves side by side are not the leaf of their bytes."""
    tree = Tree()
    for leaf in (leaf_hash(b"a"), leaf_hash(b"b")):
        tree.add(leaf)
    assert tree.root() != leaf_hash(leaf_hash(b"a") + leaf_hash(b"b"))


@given(st.integers(1, 1 << 40), st.binary(min_size=32, max_size=32))
def test_a_name_as_text_comes_back(size: int, root: bytes) -> None:
    if root != EMPTY:
        assert Blob.parse(str(Blob(size, root))) == (size, root)


@pytest.mark.parametrize(
    "text",
    ["", "blob:1", "blob:01:" + "ab" * 32, "blob:1:" + "AB" * 32, "blob:1:" + "ab" * 31, f"blob:1:{EMPTY.hex()}",
     "blob:0:" + "ab" * 32, "blob:9999999999999:" + "ab" * 32, "blob:1:" + "ab" * 32 + "\n"],
)  # fmt: skip
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="blob"):
        Blob.parse(text)


# Writing and reading


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 1_000_001])
async def test_it_comes_back_whatever_its_length(blobs: Blobs, needs: Named, size: int) -> None:
    data = noise(size)

    blob = await put(blobs, data, needs)

    assert blob.size == size
    chunks = [data[at : at + CHUNK_BYTES] for at in range(0, size, CHUNK_BYTES)]
    assert blob.root == tree_of_rfc9162([leaf_hash(each) for each in chunks])
    assert await got(blobs, blob) == data
    assert await blobs.check(blob.root) == ""


async def test_pieces_of_any_size_make_one_blob(blobs: Blobs) -> None:
    data = noise(2 * CHUNK_BYTES + 77)
    generator = random.Random(3)
    expected = await put(blobs, data)
    for most in (1_000, CHUNK_BYTES, 3 * CHUNK_BYTES):
        async with blobs.write() as new:
            at = 0
            while at < len(data):
                piece = data[at : at + generator.randrange(most)]
                await new.write(memoryview(piece))
                at += len(piece)
                assert new.size == at
            assert await new.finish() == expected


async def test_parts_of_it(blobs: Blobs, needs: Named) -> None:
    data = noise(2 * CHUNK_BYTES + 50)
    generator = random.Random(2)
    blob = await put(blobs, data, needs)
    async with blobs.open(blob) as found:
        for _ in range(200):
            offset, length = generator.randrange(len(data) + 100), generator.choice([0, 1, 500, CHUNK_BYTES, len(data)])
            assert await found.read(offset, length) == data[offset : offset + length]
        with pytest.raises(LocalMistake):
            await found.read(-1, 5)


async def test_the_same_bytes_are_one_file(blobs: Blobs, needs: Named, disk: FaultyDisk) -> None:
    first = await put(blobs, b"the same", needs)
    assert await put(blobs, b"the same", needs) == first
    assert disk.list() == [f"{first.root.hex()}.blob"]


async def test_bytes_that_are_written_again_mend_what_rotted(blobs: Blobs, needs: Named, disk: FaultyDisk) -> None:
    blob = await put(blobs, b"the same", needs)
    disk.flip(f"{blob.root.hex()}.blob", HEAD_BYTES + 3)
    assert "bytes 0 to 8 are not what was written" in await blobs.check(blob.root)
    await put(blobs, b"the same", needs)
    assert await blobs.check(blob.root) == ""


async def test_many_at_once(blobs: Blobs, needs: Named) -> None:
    made: dict[int, Blob] = {}

    async def one(number: int) -> None:
        made[number] = await put(blobs, noise(300_000, number), needs, pieces=70_000)

    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(one, number)
    for number, blob in made.items():
        assert await got(blobs, blob) == noise(300_000, number)


async def test_what_is_not_finished_leaves_nothing(blobs: Blobs, disk: FaultyDisk) -> None:
    with suppress(ZeroDivisionError):
        async with blobs.write() as new:
            await new.write(b"x" * 300_000)
            raise ZeroDivisionError
    assert disk.list() == []
    with pytest.raises(LocalMistake, match="after its end"):
        await new.write(b"more")
    async with blobs.write() as new:
        await new.finish()
        with pytest.raises(LocalMistake, match="after its end"):
            await new.finish()


async def test_one_that_is_too_long(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs_module, "MAX_BLOB_BYTES", 10)
    async with blobs.write() as new:
        await new.write(b"0123456789")
        with pytest.raises(Refused, match="more than 10 bytes"):
            await new.write(b"x")


# Who needs it


async def test_what_nobody_names_goes_when_its_writer_has_ended(blobs: Blobs, disk: FaultyDisk, needs: Named) -> None:
    async with blobs.write() as new:
        await new.write(b"nobody's")
        blob = await new.finish()
        needs.oldest = needs.newest = 5
        await blobs.sweep()
        assert blobs.has(blob)
    await blobs.sweep()
    assert not blobs.has(blob)
    assert disk.list() == []
    with pytest.raises(NotFound):
        await got(blobs, blob)


async def test_it_stays_for_older_views_and_for_readers(blobs: Blobs, needs: Named, disk: FaultyDisk) -> None:
    blob = await put(blobs, b"x" * 400_000, needs)
    needs.roots.clear()
    blobs.note_gone(blob.root, 7)
    needs.oldest, needs.newest = 6, 9
    await blobs.sweep()
    assert blobs.has(blob)
    async with blobs.open(blob) as found:
        needs.oldest = 9
        await blobs.sweep()
        assert len(await found.read(0, 400_000)) == 400_000
    await blobs.sweep()
    assert not blobs.has(blob)
    assert disk.list() == []


async def test_it_stays_when_somebody_names_it_again(blobs: Blobs, needs: Named) -> None:
    blob = await put(blobs, b"again", needs)
    blobs.note_gone(blob.root, 7)  # one of two objects was deleted
    needs.oldest = needs.newest = 9
    await blobs.sweep()
    assert await got(blobs, blob) == b"again"
    needs.roots.clear()
    blobs.note_gone(blob.root, 10)
    needs.oldest = needs.newest = 10
    await blobs.sweep()
    assert not blobs.has(blob)


async def test_the_task_removes_what_has_become_free(
    blobs: Blobs, needs: Named, nursery: trio.Nursery, autojump_clock: Any
) -> None:
    nursery.start_soon(blobs.run)
    blob = await put(blobs, b"one", needs)
    needs.roots.clear()
    blobs.note_gone(blob.root, 3)
    await trio.testing.wait_all_tasks_blocked()
    assert blobs.has(blob)
    needs.oldest = needs.newest = 3
    await trio.sleep(2)
    assert not blobs.has(blob)


async def test_the_next_start_removes_what_a_crash_left(
    disk: FaultyDisk, needs: Named, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = Blobs(disk, needs)
    kept = await put(blobs, b"kept", needs)
    async with blobs.write() as finished:
        await finished.write(b"finished, and named by nobody yet")
        await finished.finish()
        async with blobs.write() as unfinished:
            await unfinished.write(b"unfinished" * 100_000)
            assert len(disk.list()) == 3
            disk.crash(keep=True)
            again = Blobs(disk, needs)
            assert disk.list() == [f"{kept.root.hex()}.blob"]
            assert await got(again, kept) == b"kept"
            with suppress(PowerCut):
                await unfinished.finish()
            monkeypatch.setattr(disk, "remove", lambda _: None)  # of a run that ended


async def test_one_that_is_named_and_gone_is_damage(blobs: Blobs, needs: Named, disk: FaultyDisk) -> None:
    blob = await put(blobs, b"named", needs)
    disk.remove(f"{blob.root.hex()}.blob")
    again = Blobs(disk, needs)
    with pytest.raises(Damaged, match="its file is gone"):
        await got(again, blob)
    assert await again.check(blob.root) == "its file is gone"


# Faults


async def test_every_byte_that_is_turned_is_found(blobs: Blobs, needs: Named, disk: FaultyDisk) -> None:
    """Of head, data and hashes; what is behind them says nothing and may be anything."""
    data = noise(CHUNK_BYTES + 40)
    blob = await put(blobs, data, needs)
    name = f"{blob.root.hex()}.blob"
    last = file_bytes(len(data))
    places = [*range(HEAD_BYTES + 20), *range(HEAD_BYTES + CHUNK_BYTES - 5, last), *range(HEAD_BYTES, last, 9973)]
    for offset in places:
        disk.flip(name, offset, 1 << (offset % 8))
        with pytest.raises((Damaged, Refused)):
            await got(blobs, blob)
        assert await blobs.check(blob.root)
        disk.flip(name, offset, 1 << (offset % 8))
    assert await got(blobs, blob) == data


@pytest.mark.parametrize("length", [0, 5, HEAD_BYTES - 1, HEAD_BYTES, HEAD_BYTES + 9, HEAD_BYTES + 10, HEAD_BYTES + 41])
async def test_a_file_that_was_cut_off_is_named(tmp_path: Path, needs: Named, length: int) -> None:
    disk = RealDisk(tmp_path)
    blobs = Blobs(disk, needs)
    blob = await put(blobs, b"0123456789", needs)
    with (tmp_path / f"{blob.root.hex()}.blob").open("r+b") as file:
        file.truncate(length)
    with pytest.raises(Damaged):
        await got(blobs, blob)
    assert await blobs.check(blob.root)
    disk.close()


async def test_another_blob_under_its_name_is_not_it(blobs: Blobs, needs: Named, disk: FaultyDisk) -> None:
    one, other = await put(blobs, b"one", needs), await put(blobs, b"other", needs)
    disk.rename(f"{other.root.hex()}.blob", f"{one.root.hex()}.blob")
    with pytest.raises(Damaged, match="its head is that of"):
        await got(blobs, one)
    assert "its head is that of" in await blobs.check(one.root)


async def test_other_bytes_with_hashes_that_fit_them_are_not_it(blobs: Blobs, needs: Named, disk: FaultyDisk) -> None:
    blob = await put(blobs, b"0123456789", needs)
    file = disk.open(f"{blob.root.hex()}.blob")
    file.write(HEAD_BYTES, b"9876543210")
    file.write(HEAD_BYTES + 10, leaf_hash(b"9876543210"))
    with pytest.raises(Damaged, match="do not make its root"):
        await got(blobs, blob)


@pytest.mark.parametrize("kind", ["write", "sync"])
@pytest.mark.parametrize("step", range(1, 12))
async def test_what_was_finished_outlives_a_cut_in_any_step(needs: Named, kind: str, step: int) -> None:
    for seed in range(6):
        disk = FaultyDisk(random.Random(seed))
        blobs = Blobs(disk, needs)
        needs.roots.clear()
        finished: list[tuple[Blob, bytes]] = []
        disk.crash_at(**{kind: step})
        with suppress(PowerCut):
            for number in range(4):
                data = noise(CHUNK_BYTES + 5 if number == 1 else 70, number)
                finished.append((await put(blobs, data, needs), data))
        disk.crash()
        again = Blobs(disk, needs)
        for blob, data in finished:
            assert await got(again, blob) == data
        assert set(again.roots()) == {blob.root for blob, _ in finished}


@pytest.mark.parametrize("kind", ["write", "sync"])
async def test_a_disk_that_fails_is_told_and_takes_nothing_along(disk: FaultyDisk, needs: Named, kind: str) -> None:
    blobs = Blobs(disk, needs)
    kept = await put(blobs, b"kept", needs)
    disk.fail_at(**{kind: 1})
    with pytest.raises(Damaged):
        await put(blobs, b"lost", needs)
    with pytest.raises(Damaged):
        await put(blobs, b"later", needs)
    disk.crash()
    needs.roots = {kept.root}
    assert await got(Blobs(disk, needs), kept) == b"kept"


async def test_a_full_disk_is_told_and_goes_on_when_there_is_room(blobs: Blobs, disk: FaultyDisk, needs: Named) -> None:
    disk.room = 300_000
    with pytest.raises(Exhausted):
        await put(blobs, noise(400_000), needs)
    assert disk.list() == []
    small = await put(blobs, noise(1000), needs)
    disk.room = None
    large = await put(blobs, noise(400_000), needs)
    assert (await got(blobs, small), await got(blobs, large)) == (noise(1000), noise(400_000))


@contextmanager
def traced() -> Iterator[Callable[[], int]]:
    """What Python took at most meanwhile, in bytes."""
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


async def test_on_a_real_disk_without_more_memory_than_a_chunk(tmp_path: Path, needs: Named) -> None:
    disk = RealDisk(tmp_path)
    blobs = Blobs(disk, needs)
    piece = noise(1 << 20)
    with traced() as peak:
        async with blobs.write() as new:
            for _ in range(64):
                await new.write(piece)
            blob = await new.finish()
            needs.roots.add(blob.root)
        async with blobs.open(blob) as found:
            total = 0
            async for chunk in found:
                total += len(chunk)
        assert peak() < 4 << 20
    assert total == blob.size == 64 << 20
    disk.close()


# With objects


PHOTO = definition_from_toml(
    """
name = "Photo"
[fields]
name = { type = "string", unique = true }
data = "blob"
more = "list(blob)"
"""
)


class Machine:
    """A store whose blobs lie on a disk of their own."""

    def __init__(self, make_server: Callable[..., Any], seed: int) -> None:
        self.server = make_server(seed=seed)
        self.disk = FaultyDisk(random.Random(seed + 1))

    def open(self) -> Any:
        server = self.server
        return open_database(
            server.disk, server.tables, server=server.server, incarnation=5, random=random.Random(7),
            wall_ms=lambda: 1000, blobs=self.disk,
        )  # fmt: skip

    def crash(self) -> None:
        self.server.crash()
        self.disk.crash()


@pytest.fixture
def machine(make_server: Callable[..., Any]) -> Machine:
    return Machine(make_server, 1)


async def add(database: Database, name: str, data: bytes) -> tuple[Reference, Blob]:
    async with database.write_blob() as new:
        await new.write(data)
        blob = await new.finish()
        return await database.transact(lambda t: t.create("Photo", {"name": name, "data": blob})), blob


async def read(database: Database, blob: Blob) -> bytes:
    async with database.open_blob(blob) as found:
        return b"".join([chunk async for chunk in found])


async def test_an_object_names_its_blob_until_it_does_so_no_more(machine: Machine, autojump_clock: Any) -> None:
    async with machine.open() as database:
        await database.define(PHOTO)
        photo, blob = await add(database, "one", b"pixels")
        other, _ = await add(database, "two", b"pixels")
        await database.transact(lambda t: t.delete(photo))
        await trio.sleep(5)
        assert await read(database, blob) == b"pixels"
        view = database.view()
        await database.transact(lambda t: t.update(other, {"data": None}))
        await trio.sleep(5)
        assert view.get(other).fields["data"] == blob
        assert await read(database, blob) == b"pixels"  # the view still sees it
        view.close()
        await trio.sleep(5)
        with pytest.raises(NotFound):
            await read(database, blob)
        assert machine.disk.list() == []


@pytest.mark.parametrize("field", ["data", "more"])
@pytest.mark.parametrize("end", ["delete", "update"])
async def test_it_goes_with_the_last_that_named_it(machine: Machine, field: str, end: str, autojump_clock: Any) -> None:
    async with machine.open() as database:
        await database.define(PHOTO)
        async with database.write_blob() as new:
            await new.write(b"pixels")
            blob = await new.finish()
            named = blob if field == "data" else [blob, blob]
            photo = await database.transact(lambda t: t.create("Photo", {field: named}))
        await trio.sleep(5)
        assert len(machine.disk.list()) == 1
        await database.transact(lambda t: t.delete(photo) if end == "delete" else t.update(photo, {field: None}))
        await trio.sleep(5)
        assert machine.disk.list() == []


async def test_what_is_not_here_cannot_be_named(machine: Machine, autojump_clock: Any) -> None:
    async with machine.open() as database:
        await database.define(PHOTO)
        stranger = Blob(5, b"\7" * 32)
        for fields in ({"data": stranger}, {"more": [stranger]}):
            with pytest.raises(Refused, match="is not here"):
                await database.transact(lambda t, fields=fields: t.create("Photo", fields))
        with pytest.raises(Refused, match="is no blob"):
            await database.transact(lambda t: t.create("Photo", {"data": Blob(-1, b"")}))
        with pytest.raises(Refused, match="is no blob"):
            await database.transact(lambda t: t.create("Photo", {"data": b"bytes"}))
    async with machine.server.open() as database:  # without a directory for them
        with pytest.raises(Refused, match="no blobs are kept here"):
            await database.transact(lambda t: t.create("Photo", {"data": stranger}))
        with pytest.raises(Refused, match="no blobs are kept here"):
            database.write_blob()


async def test_an_object_names_no_more_than_have_entries(machine: Machine) -> None:
    """Else one whose file goes could still be named; and a stranger's list would become as many entries."""
    async with machine.open() as database:
        await database.define(PHOTO)
        async with database.write_blob() as new:
            blob = await new.finish()
            with pytest.raises(Refused, match="names 1024 blobs at most"):
                await database.transact(lambda t: t.create("Photo", {"more": [blob] * 1025}))
            await database.transact(lambda t: t.create("Photo", {"more": [blob] * 1024}))
    index = compile_indexes(PHOTO, 70)[-1]
    strangers = [Blob(1, number.to_bytes(32, "big")) for number in range(1, 3000)]
    assert len(index.keys([None, None, strangers], b"\0\0\0\5\0\0\0\6")) == 1024


async def test_one_that_went_while_a_transaction_waited(machine: Machine, autojump_clock: Any) -> None:
    async def late(database: Database) -> None:
        async with database.transaction() as t:
            async with database.write_blob() as new:
                await new.write(b"soon gone")
                blob = await new.finish()
                t.create("Photo", {"data": blob})
            await trio.sleep(5)

    async with machine.open() as database:
        await database.define(PHOTO)
        with pytest.raises(Refused, match="is not here"):
            await late(database)


@pytest.mark.parametrize("seed", range(12))
async def test_random_lives(make_server: Callable[..., Any], seed: int, autojump_clock: Any) -> None:
    """Whatever is crashed when: each object that is there has its blob, and there is no other."""
    generator = random.Random(seed)
    machine = Machine(make_server, seed)
    photos: dict[Reference, bytes] = {}

    async def act(database: Database) -> None:
        known = list(photos)
        chance = generator.random()
        if chance < 0.5 or not known:
            data = noise(generator.choice([0, 10, 300, CHUNK_BYTES + 3]), generator.randrange(6))
            photo, _ = await add(database, f"n{generator.random()}", data)
            photos[photo] = data
        elif chance < 0.7:
            photo = generator.choice(known)
            await database.transact(lambda t: t.delete(photo))
            del photos[photo]
        elif chance < 0.9:
            photo, source = generator.choice(known), generator.choice(known)
            with database.view() as view:
                blob = view.get(source).fields["data"]
            await database.transact(lambda t: t.update(photo, {"data": blob, "more": [blob, blob]}))
            photos[photo] = photos[source]
        else:
            await trio.sleep(3)

    async with machine.open() as database:
        await database.define(PHOTO)
    for _ in range(6):
        before = dict(photos)
        try:
            async with machine.open() as database:
                with database.view() as view:
                    found = {each.reference: each.fields["data"] for each in view.select(Question("Photo"))}
                assert {photo: await read(database, blob) for photo, blob in found.items()} == photos
                assert len(machine.disk.list()) == len({blob.root for blob in found.values()})
                if generator.random() < 0.4:
                    machine.disk.crash_at(**{generator.choice(["write", "sync"]): generator.randrange(1, 12)})
                for _ in range(generator.randrange(14)):
                    before = dict(photos)
                    await act(database)
                if generator.random() < 0.5:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        except (PowerCut, BaseExceptionGroup):
            photos.clear()  # the act under way was not answered; all acts of blobs end before their object's commit
            photos.update(before)
        machine.crash()
