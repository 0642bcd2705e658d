"""What lies on a simulated disk: each write is durable, or shown, or gone, and zeros cost nothing."""

import random

import pytest

from simulations.medium import SECTOR_BYTES, Contents, Medium


def test_a_file_is_what_was_written_and_after_a_power_cut_what_was_synced() -> None:
    contents = Contents()
    contents.write(0, b"durable")
    contents.sync()
    contents.write(3, b"lost or kept")
    assert contents.read(0, 100) == b"durlost or kept"
    contents.lose(random.Random(1))
    assert contents.read(0, 3) == b"dur"
    assert contents.unsynced == 0


def test_dropping_the_cache_shows_what_a_failed_sync_forsook() -> None:
    contents = Contents()
    contents.write(0, b"durable")
    contents.sync()
    contents.write(0, b"forsake")
    contents.forsake(random.Random(1))
    contents.write(7, b", dirty")
    assert contents.read(0, 20) == b"forsake, dirty"
    contents.drop_cache()
    assert contents.read(0, 20) == b"durable, dirty"
    assert contents.unsynced == 1
    contents.sync()
    contents.lose(random.Random(1))
    assert contents.read(0, 20) == b"durable, dirty"


def test_what_is_synced_over_a_forsaken_write_is_durable() -> None:
    contents = Contents()
    contents.write(0, b"first")
    contents.forsake(random.Random(1))
    contents.write(2, b"second")
    contents.sync()
    assert contents.unsynced == 1
    contents.lose(random.Random(1))
    assert contents.read(0, 20) == b"\0\0second"


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_a_file_is_like_the_plain_bytes_of_a_simple_model(seed: int) -> None:
    """Reads, sizes and syncs against a bytearray; a power cut right after a sync loses nothing."""
    generator = random.Random(seed)
    contents, model = Contents(), bytearray()
    for _ in range(200):
        offset = generator.randrange(3000)
        step = generator.randrange(5)
        if step == 0 and offset > len(model):
            contents.write(len(model), bytes(offset - len(model)), zeros=True)
            model.extend(bytes(offset - len(model)))
        elif step == 1:
            contents.sync()
            contents.lose(generator)
        else:
            data = generator.choice([generator.randbytes(40), bytes(30), b"ends in zeros" + bytes(20)])
            contents.write(offset, data)
            model.extend(bytes(max(offset + len(data) - len(model), 0)))
            model[offset : offset + len(data)] = data
        assert contents.size == len(model)
        assert contents.read(0, 5000) == model
        assert contents.read(offset, 100) == model[offset : offset + 100]
    assert contents.used <= contents.size


def test_a_copy_goes_its_own_way() -> None:
    medium = Medium(random.Random(1))
    one = medium.files["one"] = Contents()
    medium.note_names()
    one.write(0, b"x")
    copy = medium.copy(random.Random(1))
    one.write(0, b"y")
    medium.files.pop("one")
    assert copy.files["one"].read(0, 1) == b"x"
    copy.files["one"].write(0, b"z")
    assert one.read(0, 1) == b"y"
    assert copy.unsynced == 3


def test_a_torn_last_write_leaves_the_others_to_chance() -> None:
    seen = set()
    for seed in range(60):
        medium = Medium(random.Random(seed))
        contents = medium.last = medium.files["one"] = Contents()
        medium.sync_names()
        contents.write(0, b"a" * SECTOR_BYTES)
        contents.write(SECTOR_BYTES, b"b" * SECTOR_BYTES * 2)
        medium.lose(tear_last=True)
        left = contents.read(0, 3 * SECTOR_BYTES)
        assert left.count(b"b") in range(SECTOR_BYTES, SECTOR_BYTES + 20), "one sector of two, and chance in garbage"
        seen.add(left[:SECTOR_BYTES] == b"a" * SECTOR_BYTES)
    assert seen == {True, False}


@pytest.mark.parametrize("zeros", range(8))
def test_a_write_that_was_under_way_lies_behind_what_was_synced_whatever_that_ends_with(zeros: int) -> None:
    """One in 256 groups of a log ends with a zero byte: it was overwritten, and an owner accused of losing its last."""
    data = b"x" * (24 - zeros) + bytes(zeros)
    for seed in range(20):
        medium = Medium(random.Random(seed))
        contents = medium.files["log"] = Contents()
        medium.note_names()
        contents.write(0, bytes(4096), zeros=True)
        contents.write(0, data)
        contents.sync()
        medium.sync_names()
        medium.last = contents
        medium.lose(tear_last=True)
        assert medium.files["log"].read(0, 24) == data
