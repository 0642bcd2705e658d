"""A store alone in its directory: what is answered stays, and what cannot be is refused in words that fit."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

import bangpath
from identity.errors import Conflict, LocalMistake, NotFound, Refused
from identity.names import Position, ServerId
from node.embedded import Store, open_store
from node.embedded_blocking import StoreBlocking, open_store_blocking
from node.opening import create_root

ROOT = Path(__file__).parents[2]


@bangpath.stored
class Note:
    text: str = bangpath.field(unique=True)
    stars: int = bangpath.field(default=0, index=True)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_store(tmp_path / "notes") as opened:
        await opened.define(Note)
        yield opened


@pytest.fixture
def blocking(tmp_path: Path) -> Iterator[StoreBlocking]:
    with open_store_blocking(tmp_path / "notes") as opened:
        opened.define(Note)
        yield opened


async def test_what_is_made_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    async with open_store(tmp_path / "deep" / "notes") as store:
        await store.define(Note)
        made = await store.create(Note, {"text": "one"})
        await store.create("Note", {"text": "two", "stars": 5})
        await store.update(made, {"stars": 3}, expect=store.get(made).sequence)
        gone = await store.create(Note, {"text": "gone"})
        await store.delete(gone)

    async with open_store(tmp_path / "deep" / "notes") as store:
        assert store.get(made).fields == {"text": "one", "stars": 3}
        assert store.get(f"/{made.object}") == store.get(made) == store.get(str(made))
        assert store.get(gone) is None
        assert [each.name for each in store.classes()] == ["Note"]
        question = bangpath.find(Note).where(bangpath.F.stars > 2).order_by("-stars").show("stars")
        assert [each.fields async for each in store.rows(question)] == [{"stars": 5}, {"stars": 3}]
        assert [each.fields["text"] async for each in store.rows('Note where text ^= "t"')] == ["two"]


async def test_many_rows_are_of_one_moment_and_let_others_run(store: Store) -> None:
    await store.transact(lambda t: [t.create("Note", {"text": str(number)}) for number in range(2_000)])
    ran, seen = 0, 0

    async def others() -> None:
        nonlocal ran
        while True:
            await store.create(Note, {"text": f"later {ran}"})
            ran += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        async for each in store.rows("Note order by text"):
            assert "later" not in each.fields["text"]
            seen += 1
        nursery.cancel_scope.cancel()

    assert seen == 2_000
    assert ran > 0


async def test_a_change_that_conflicts_is_made_again(store: Store) -> None:
    note = await store.create(Note, {"text": "counted"})
    tries = 0

    async def count(t: Any) -> None:
        nonlocal tries
        tries += 1
        stars = t.get(note).fields["stars"]
        await trio.testing.wait_all_tasks_blocked()  # everybody has read before anybody writes
        t.update(note, {"stars": stars + 1})

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(lambda: store.retry(count, tries=4))

    assert store.get(note).fields["stars"] == 4
    assert tries > 4


async def test_after_its_tries_the_conflict_is_told(store: Store) -> None:
    note = await store.create(Note, {"text": "one"})

    async def always_late(t: Any) -> None:
        stars = t.get(note).fields["stars"]
        await store.update(note, {"stars": stars + 1})
        t.update(note, {"stars": 0})

    with pytest.raises(Conflict):
        await store.retry(always_late, tries=3)
    assert store.get(note).fields["stars"] == 3


async def test_refusals_name_the_cause_and_no_command_that_needs_a_node(store: Store) -> None:
    with pytest.raises(Refused, match="no field 'colour'") as refused:
        await store.create(Note, {"text": "x", "colour": "red"})
    assert "bangpath" not in refused.value.next_step
    with pytest.raises(NotFound) as missing:
        await store.update("/77", {"stars": 1})
    assert "bangpath" not in missing.value.next_step
    with pytest.raises(Refused, match="of another server"):
        store.get("1.2/7")
    with pytest.raises(Refused, match="no reference"):
        store.get("seven")
    with pytest.raises(Refused, match="is no class of objects"):
        await store.create(Path, {})
    with pytest.raises(Refused, match="defines no class"):
        await store.define(7)
    with pytest.raises(Refused, match="column"):
        [each async for each in store.rows("Note where")]
    await store.define('name = "Other"\n[fields]\nsize = "int"')
    await store.define({"name": "Third", "fields": {"size": "int"}})
    assert [each.name for each in store.classes()] == ["Note", "Other", "Third"]


async def test_after_its_block_a_store_is_closed(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        await store.define(Note)
    with pytest.raises(LocalMistake, match="closed"):
        await store.create(Note, {"text": "late"})


async def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    async def refused(path: Path, words: str) -> None:
        with pytest.raises(Refused, match=words):
            async with open_store(path):
                pass

    create_root(tmp_path / "server", ServerId.parse("1"))
    await refused(tmp_path / "server", "is a server's directory")
    (tmp_path / "file").write_text("")
    await refused(tmp_path / "file", "cannot be made")
    async with open_store(tmp_path / "notes") as store:
        await store.define(Note)
        await refused(tmp_path / "notes", "in use|another process|is held|holds")
    name = tmp_path / "notes" / "store.toml"
    text = name.read_text()
    for wrong, words in (
        ("format =", "no TOML"),
        ("format = 2", "format 2"),
        ("format = 1\nincarnation = 0", "names no incarnation"),
        (text.replace("incarnation = ", "incarnation = 1"), "is of|another"),
    ):
        name.write_text(wrong)
        await refused(tmp_path / "notes", words)
    name.unlink()
    await refused(tmp_path / "notes", "is not there, but a log is")
    name.write_text(text)
    async with open_store(tmp_path / "notes") as store:
        assert [each.name for each in store.classes()] == ["Note"]


KILLED = """
import sys, bangpath
with bangpath.open_store_blocking(sys.argv[1]) as store:
    store.define('name = "Note"\\n[fields]\\ntext = { type = "string", unique = true }')
    number = sum(1 for _ in store.rows("Note"))
    while True:
        store.create("Note", {"text": str(number)})
        print(number, flush=True)
        number += 1
"""


def test_what_was_answered_outlives_a_kill(tmp_path: Path) -> None:
    answered = -1
    for _ in range(3):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "notes")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for _ in range(40):
                answered = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
            answered = max([answered, *map(int, rest)])
    with open_store_blocking(tmp_path / "notes") as store:
        found = sorted(int(each.fields["text"]) for each in store.rows("Note"))
    assert found in (list(range(answered + 1)), list(range(answered + 2)))


def test_many_threads_share_it(blocking: StoreBlocking) -> None:
    note = blocking.create(Note, {"text": "counted"})

    def count(how: int) -> None:
        for _ in range(25):
            if how % 2:
                blocking.transact(lambda t: t.update(note, {"stars": t.get(note).fields["stars"] + 1}))
            else:
                with blocking.transaction() as t:
                    t.update(note, {"stars": t.get(note).fields["stars"] + 1})

    threads = [threading.Thread(target=count, args=(number,)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert blocking.get(note).fields["stars"] == 150


def test_a_block_that_is_left_by_an_error_changes_nothing(blocking: StoreBlocking) -> None:
    def one_and(other: Any) -> None:
        with blocking.transaction() as t:
            t.create("Note", {"text": "one"})
            t.create("Note", {"text": other})

    with pytest.raises(Refused, match="is taken"):
        one_and("one")
    with pytest.raises(Refused, match="is no string"):
        one_and(7)
    assert not list(blocking.rows("Note"))
    with blocking.transaction() as t:
        with pytest.raises(Refused), t.savepoint():
            t.create("Note", {"text": "three", "stars": "none"})
        t.create("Note", {"text": "four"})
    assert [each.fields["text"] for each in blocking.rows("Note")] == ["four"]


def test_a_word_inside_its_own_transaction_is_refused_and_not_waited_for(blocking: StoreBlocking) -> None:
    with blocking.transaction() as t:
        note = t.create("Note", {"text": "one"})
        with pytest.raises(LocalMistake, match="inside its own transaction"):
            blocking.get(note)
        with pytest.raises(LocalMistake, match="inside its own transaction"), blocking.transaction():
            pass
        t.set_root(note)
    assert blocking.get(note).fields["text"] == "one"
    assert blocking.root.reference == note
    blocking.transact(lambda t: t.set_root(None))
    blocking.update(note, {"stars": 2})
    blocking.delete(note)
    assert blocking.get(note) is None


def test_rows_may_be_left_early_and_changed_on_the_way(blocking: StoreBlocking) -> None:
    blocking.transact(lambda t: [t.create("Note", {"text": f"{number:04}"}) for number in range(1_500)])
    for number, each in enumerate(blocking.rows("Note order by text")):
        blocking.update(each.reference, {"stars": 1})
        if number == 600:
            break
    assert sum(1 for _ in blocking.rows("Note where stars = 1")) == 601


@bangpath.stored
class Picture:
    name: str = bangpath.field(unique=True)
    data: bangpath.Blob | None


def test_large_data_in_pieces(blocking: StoreBlocking) -> None:
    blocking.define(Picture)
    data = bytes(range(256)) * 3_000
    with blocking.write_blob() as new:
        for at in range(0, len(data), 100_000):
            new.write(data[at : at + 100_000])
        picture = blocking.create(Picture, {"name": "one", "data": new.finish()})
    blob = blocking.get(picture).fields["data"]
    with blocking.open_blob(blob) as found:
        assert b"".join(found) == data
        assert found.read(300_000, 5) == data[300_000:300_005]
    with suppress(ZeroDivisionError), blocking.write_blob() as new:
        new.write(data[1:])
        raise ZeroDivisionError
    with pytest.raises(NotFound), blocking.open_blob(bangpath.Blob(5, b"\7" * 32)):
        pass
    with blocking.write_blob() as new:
        unnamed = new.finish()
    with pytest.raises(Refused, match="is not here"):
        blocking.update(picture, {"data": bangpath.Blob(7, b"\7" * 32)})
    assert unnamed.size == 0


@bangpath.stored(history="all")
class Page:
    text: str = bangpath.field(index=True)


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_what_a_page_was_stays_known_over_a_rebuilding_of_the_tables(tmp_path: Path, key: bytes | None) -> None:
    path = tmp_path / "pages"
    with open_store_blocking(path, key=key) as store:
        store.define(Page)
        page = store.create(Page, {"text": "secret one"})
        made = store.get(page).sequence
        store.update(page, {"text": "secret two"})
        with pytest.raises(Refused, match="no position"):
            store.get(page, at=Position(page.server, page.incarnation, 1, 1))
    tables = b"".join(each.read_bytes() for each in (path / "tables").iterdir())
    assert (b"secret one" in tables) == (key is None)
    shutil.rmtree(path / "tables")
    with open_store_blocking(path, key=key) as store:
        assert store.get(page, at=made).fields == {"text": "secret one"}
        assert store.get(page).fields == {"text": "secret two"}
        assert [each.stored and each.stored.fields["text"] for each in store.history(str(page))] == [
            "secret two", "secret one",
        ]  # fmt: skip
        assert len(store.history(page, limit=1)) == 1
        assert store.classes()[0].as_json()["history"] == "all"
        store.delete(page)
        assert store.get(page) is None
        assert store.get(page, at=made).fields == {"text": "secret one"}
        with pytest.raises(NotFound, match="not there yet"):
            store.get(page, at=made - 1)


def test_errors_of_opening_are_raised_where_it_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="cannot be made"), open_store_blocking(tmp_path / "file"):
        pass
    with open_store_blocking(tmp_path / "notes") as store:
        assert store.classes() == []
    with pytest.raises(LocalMistake, match="closed"):
        store.classes()
    with pytest.raises(LocalMistake, match="closed"):
        store.transact(lambda t: None)
    with pytest.raises(LocalMistake, match="closed"), store.transaction():
        pass


def test_no_socket_is_opened_and_no_transport_loaded(tmp_path: Path) -> None:
    program = (
        "import sys, socket, bangpath\n"
        f"with bangpath.open_store_blocking({str(tmp_path / 'notes')!r}) as store: store.classes()\n"
        "print(sorted(each for each in sys.modules if each.split('.')[0] in ('transport', 'routing', 'replication')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "[]"


async def test_what_nothing_points_to_is_collected(tmp_path: Path) -> None:
    @bangpath.stored(collectable=True)
    class Page:
        text: str

    async with open_store(tmp_path / "pages") as store:
        await store.define(Page)
        assert [each.as_json().get("collectable") for each in store.classes()] == [True]
        kept, _ = [await store.create(Page, {"text": text}) for text in ("kept", "gone")]
        await store.transact(lambda t: t.pin(kept))
        told: list[Any] = []
        assert (await store.collect(dry_run=True, progress=told.append)).objects == {"Page": 1}
        assert told
        assert (await store.collect()).count == 1
        assert [each.reference async for each in store.rows("Page")] == [kept]


def test_what_nothing_points_to_is_collected_without_trio(tmp_path: Path) -> None:
    with open_store_blocking(tmp_path / "pages") as store:
        store.define('name = "Page"\ncollectable = true\n[fields]\ntext = "string"\n')
        store.create("Page", {"text": "gone"})
        told: list[Any] = []
        assert store.collect(progress=told.append).objects == {"Page": 1}
        assert told[-1].total == 1
