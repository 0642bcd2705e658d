"""What an object was is told rightly or refused: a store is compared with a list of all that was ever committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from identity.encoding import encode_integer
from identity.errors import NotFound, Refused
from identity.names import END, Incarnation, Position, Reference, ServerId
from simulations.faulty_disk import PowerCut
from store.applying import ForeignPut
from store.checked import seal_entry
from store.database import Database
from store.definitions import ClassDefinition, definition_from_dict, definition_from_toml
from store.history import ALL, HISTORY, MAX_KEPT
from store.past import get_at, versions
from store.records import DATA, PUT, REGISTRY, Head, Leaf, Stored, Update, unpack_record
from store.scrubbing import check_running, mend_running
from store.segments import Location
from tests.store.conftest import Server


def note(history: object, *, version: str = "1.0", privacy: str = "distributed") -> ClassDefinition:
    return definition_from_dict(
        {
            "name": "Note", "version": version, "privacy": privacy, "history": history,
            "fields": {"text": {"type": "string", "index": True}},
        }
    )  # fmt: skip


async def write(database: Database, target: Reference | None, text: str | None) -> tuple[Reference, int]:
    """Make (no target), change or delete (no text) a note; which it is, and the number of the transaction."""

    def body(transaction: Any) -> tuple[Reference, int]:
        if target is None:
            return transaction.create("Note", {"text": text}), transaction.sequence
        if text is None:
            transaction.delete(target)
        else:
            transaction.update(target, {"text": text})
        return target, transaction.sequence

    return await database.transact(body)


def text_at(database: Database, target: Reference, at: int | Position) -> str | None:
    with database.view() as view:
        found: Stored | None = get_at(view, target, at)
    return None if found is None else found.fields["text"]


def kept(database: Database, target: Reference) -> list[str | None]:
    with database.view() as view:
        return [each.stored and each.stored.fields["text"] for each in versions(view, target)]


def entries(database: Database) -> dict[bytes, bytes]:
    with database.view() as view:
        return dict(view.source.scan(HISTORY))


async def test_what_a_note_was_is_told_at_every_moment_and_after_a_crash(server: Any) -> None:
    async with server.open() as database:
        await database.define(note("all"))
        mine, made = await write(database, None, "one")
        other, _ = await write(database, None, "another")
        _, changed = await write(database, mine, "two")
        await write(database, other, "of another")
        _, deleted = await write(database, mine, None)
    server.crash()
    async with server.open() as database:
        said = {at: text_at(database, mine, at) for at in range(made, deleted + 1)}
        assert said == {
            at: "one" if at < changed else "two" if at < deleted else None for at in range(made, deleted + 1)
        }
        assert kept(database, mine) == [None, "two", "one"]
        with database.view() as view:
            assert [each.sequence for each in versions(view, mine)] == [deleted, changed, made]
        with pytest.raises(NotFound, match="was not there yet"):
            text_at(database, mine, made - 1)
        with pytest.raises(Refused, match="not here yet, the last is"):
            text_at(database, mine, deleted + 100)
        for wrong in (0, -1, True, "3", None):
            with pytest.raises(Refused, match="is no moment"):
                text_at(database, mine, wrong)  # type: ignore[arg-type]
        nobody = Reference(mine.server, mine.incarnation, type(mine.object)(99_999))
        assert text_at(database, nobody, made) is None
        assert kept(database, nobody) == []


async def test_after_an_own_update(server: Any) -> None:
    async with server.open() as database:
        await database.define(note("all"))
        mine, _ = await write(database, None, "one")
        first = database.last_position(DATA)
        await write(database, mine, "two")
        second = database.last_position(DATA)
        assert text_at(database, mine, first) == "one"
        assert text_at(database, mine, second) == "two"
        with pytest.raises(Refused, match="not here yet"):
            text_at(database, mine, second._replace(number=second.number + 1))
        with pytest.raises(Refused, match="from update"):
            text_at(database, mine, first._replace(number=0))
        for other in (first._replace(server=ServerId.parse("1.9")), first._replace(incarnation=Incarnation(77))):
            with pytest.raises(Refused, match="another server"):
                text_at(database, mine, other)


async def test_of_a_private_class_no_position_says_when(server: Any) -> None:
    async with server.open() as database:
        await database.define(note(2, privacy="private"))
        mine, made = await write(database, None, "one")
        await write(database, mine, "two")
        assert text_at(database, mine, made) == "one"
        with pytest.raises(Refused, match="no signed update"):
            text_at(database, mine, database.last_position(DATA)._replace(number=1))


async def test_the_newest_n_are_kept_and_what_is_gone_is_said(server: Any) -> None:
    async with server.open() as database:
        await database.define(note(2))
        mine, made = await write(database, None, "0")
        at = [made]
        for number in range(1, 9):
            at.append((await write(database, mine, str(number)))[1])
            assert kept(database, mine) == [str(each) for each in range(number, max(-1, number - 3), -1)]
            assert len(entries(database)) <= 3
        assert [text_at(database, mine, each) for each in at[6:]] == ["6", "7", "8"]
        for each in at[:6]:
            with pytest.raises(Refused, match="is gone: Note keeps the newest"):
                text_at(database, mine, each)
        with pytest.raises(Refused, match="gone"):
            text_at(database, mine, made - 1)
        young, born = await write(database, None, "young")
        await write(database, young, "older")
        with pytest.raises(NotFound, match="not there yet"):
            text_at(database, young, born - 1)


async def test_more_fewer_none_and_again(server: Any) -> None:
    async with server.open() as database:
        await database.define(note(5))
        mine, _ = await write(database, None, "0")
        for number in range(1, 5):
            await write(database, mine, str(number))
        await database.define(note(1))
        assert kept(database, mine) == ["4", "3", "2", "1", "0"]  # they go with the next change
        await write(database, mine, "5")
        assert kept(database, mine) == ["5", "4"]
        await database.define(note("all"))
        await write(database, mine, "6")
        assert kept(database, mine) == ["6", "5", "4"]
        await database.define(note(0))
        with pytest.raises(Refused, match="keeps no earlier versions here") as refused:
            kept(database, mine)
        assert "history" in refused.value.next_step
        _, unkept = await write(database, mine, "7")
        assert [each for each in entries(database).values() if each] == []
        _, standing = await write(database, mine, "8")
        await database.define(note(3))
        begun = standing
        _, last = await write(database, mine, "9")
        assert kept(database, mine) == ["9", "8"]
        assert [text_at(database, mine, each) for each in (begun, last)] == ["8", "9"]
        with pytest.raises(Refused, match="from transaction"):
            text_at(database, mine, unkept)
    async with server.open() as database:
        assert kept(database, mine) == ["9", "8"]
        assert database.registry.definition("Note").history == 3


async def test_what_stood_when_it_began_is_the_first_of_them(server: Any) -> None:
    async with server.open() as database:
        await database.define(note(0))
        mine, _ = await write(database, None, "0")
        _, standing = await write(database, mine, "1")
        assert entries(database) == {}
        reference = await database.define(note("all"))
        assert await database.define(note("all")) == reference  # says nothing new
        await write(database, mine, "2")
        assert kept(database, mine) == ["2", "1"]
        assert text_at(database, mine, standing) == "1"
        assert (await check_running(database)).whole
        with pytest.raises(Refused, match="from transaction"):
            text_at(database, mine, standing - 1)


async def test_what_was_kept_before_a_pause_is_told_no_more(server: Any) -> None:
    async with server.open() as database:
        await database.define(note("all"))
        mine, _ = await write(database, None, "0")
        await write(database, mine, "1")
        await database.define(note(0))
        other, _ = await write(database, None, "other")
        await database.define(note("all"))
        assert kept(database, mine) == ["1"]
        await write(database, mine, "2")
        assert kept(database, mine) == ["2", "1"]
        assert kept(database, other) == ["other"]


async def test_one_update_may_bring_back_several_versions(server: Any) -> None:
    """As after a restore, when this server is told what it had signed: two transactions of one group."""
    async with server.open() as database:
        await database.define(note("all"))
        mine, made = await write(database, None, "0")
        applier = database.inside.applier
        entry = database.registry.entry("Note")
        bodies = [entry.own_codec.encode([text]) for text in ("1", "2")]
        leaves = [
            Leaf(mine.object, made + 1 + at, entry.definition.fingerprint, PUT, b"", bytes(16), body)
            for at, body in enumerate(bodies)
        ]
        head = Head(server.server, mine.incarnation, DATA, 9, bytes(16), 2, bytes(32), bytes(32), 2)
        update = Update(head, bytes(64), b"")
        puts = [ForeignPut(leaf, entry, entry.codec.load_values(entry.codec.store(leaf.body))) for leaf in leaves]
        changes = applier.foreign(update, [], puts, made + 2, Location(1, 0))
        key = END + encode_integer(mine.object)
        assert [unpack_record(key, data).sequence for data in changes[HISTORY].values() if data] == [made, made + 1]


async def test_who_keeps_nothing_writes_nothing(server: Any) -> None:
    async with server.open() as database:
        await database.define(note(0))
        mine, made = await write(database, None, "0")
        await write(database, mine, "1")
        await write(database, mine, None)
        assert entries(database) == {}
        with pytest.raises(Refused, match="keeps no earlier versions"):
            text_at(database, mine, made)
    assert HISTORY not in server.tables._tables


async def test_a_refused_change_leaves_no_version(server: Any) -> None:
    async with server.open() as database:
        await database.define(note("all"))
        mine, _ = await write(database, None, "0")

        def body(transaction: Any) -> None:
            transaction.update(mine, {"text": "1"})
            raise Refused("no")

        with pytest.raises(Refused, match="no"):
            await database.transact(body)
        assert entries(database) == {}
        await database.transact(lambda t: [t.update(mine, {"text": each}) for each in ("1", "2", "3")])
        assert kept(database, mine) == ["3", "0"]  # a transaction makes one version


async def test_the_history_goes_on_over_majors(server: Any) -> None:
    upgraded = definition_from_toml('name = "Note"\nversion = "2.0"\nhistory = "all"\n[fields]\nwords = "list(string)"')
    async with server.open() as database:
        await database.define(note("all"))
        mine, made = await write(database, None, "a")
        await write(database, mine, "a b")
        await database.define(upgraded, {1: lambda old: {"words": old["text"].split()}})
        with database.view() as view:
            found = list(versions(view, mine))
            assert [(each.stored.major, each.stored.fields) for each in found if each.stored] == [
                (2, {"words": ["a", "b"]}), (1, {"text": "a b"}), (1, {"text": "a"}),
            ]  # fmt: skip
        assert text_at(database, mine, made) == "a"
        assert (await check_running(database)).whole


async def test_a_major_that_begins_to_keep_has_what_stood_then(server: Any) -> None:
    upgraded = definition_from_toml('name = "Note"\nversion = "2.0"\nhistory = 4\n[fields]\nwords = "list(string)"')
    async with server.open() as database:
        await database.define(note(0))
        mine, _ = await write(database, None, "a")
        _, standing = await write(database, mine, "b")
        old = database.registry.entry("Note")
        await database.define(upgraded, {1: lambda old: {"words": [old["text"]]}})
        new = database.registry.entry("Note")
        assert (
            database.registry.history(old.number) == new.history
        )  # an old form may still be written, to clear a pointer
        assert text_at(database, mine, standing) == "b"
        with pytest.raises(Refused, match="from transaction"):
            text_at(database, mine, standing - 1)


async def test_others_keep_their_own(make_server: Callable[..., Any]) -> None:
    server, other = make_server("1.2"), make_server("1.3")
    async with other.open() as database:
        await database.define(note("all"))
        theirs, made = await write(database, None, "theirs")
        await write(database, theirs, "changed")
        updates = [*other.updates(database, REGISTRY), *other.updates(database, DATA)]
    async with server.open() as database:
        await database.apply(updates)
        assert database.registry.definition("Note").history == 0  # what one server keeps is no affair of others
        await database.define(note("all"))
        with pytest.raises(Refused, match="another server's"):
            text_at(database, theirs, made)
        assert entries(database) == {}


def test_limits_name_the_class() -> None:
    assert note("all").history == ALL
    assert note(MAX_KEPT).as_json()["history"] == MAX_KEPT
    assert definition_from_dict(note("all").as_json()) == note("all")
    assert "history" not in note(0).as_json()
    assert note("all").fingerprint == note(0).fingerprint
    for wrong in (MAX_KEPT + 1, -2, True, 1.5, "10", None, []):
        with pytest.raises(Refused, match="class Note: history"):
            note(wrong)


async def tell_story(database: Database, told: list[tuple[Reference, int, str | None]]) -> None:
    """Some notes are made, changed and deleted; `told` gets what was answered."""
    await database.define(note(3))
    mine: list[Reference] = []
    for number in range(3):
        target, at = await write(database, None, f"{number}")
        mine.append(target)
        told.append((target, at, f"{number}"))
    for number in range(5):
        for each in mine:
            told.append((each, (await write(database, each, f"then {number}"))[1], f"then {number}"))
    told.append((mine[0], (await write(database, mine[0], None))[1], None))


def judge(database: Database, told: list[tuple[Reference, int, str | None]]) -> int:
    """Every version that must be kept is, as it was answered; how many were asked for."""
    asked = 0
    for target in {each for each, _, _ in told}:
        mine = [(at, text) for each, at, text in told if each == target]
        with database.view() as view:
            standing = list(versions(view, target))
        # one that was not answered may stand above them
        assert standing[0].sequence >= mine[-1][0]
        unanswered = sum(each.sequence > mine[-1][0] for each in standing)
        assert unanswered <= 1
        for at, text in mine[-(4 - unanswered) :]:
            assert text_at(database, target, at) == text
            asked += 1
        for at, _ in mine[:-4]:
            with pytest.raises(Refused, match="gone"):
                text_at(database, target, at)
    return asked


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("when", ["write", "sync"])
async def test_the_power_goes_at_every_write_and_sync(when: str, torn: bool) -> None:
    at = asked = 0
    while True:
        at += 1
        server = Server(seed=at)
        told: list[tuple[Reference, int, str | None]] = []
        try:
            async with server.open() as database:
                server.disk.crash_at(**{when: at})
                await tell_story(database, told)
        except* (PowerCut, Exception):
            pass
        if server.disk.will_crash:
            break
        server.disk.crash(torn_write=torn)
        async with server.open() as database:
            asked += judge(database, told)
        async with server.open() as database:  # folded, and opened once more
            judge(database, told)
            report = await check_running(database)
            assert report.whole, [str(each) for each in report.findings]
    assert at > 15
    assert asked > 100


@pytest.fixture
async def folded(server: Any) -> Any:
    async with server.open() as database:
        await database.define(note("all"))
        mine, _ = await write(database, None, "0")
        for number in range(1, 6):
            await write(database, mine, str(number))
        server.mine = mine
    return server


async def test_what_is_lost_or_spoiled_is_named_and_comes_back_from_the_log(folded: Any) -> None:
    table = folded.tables._tables[HISTORY]
    keys = list(table)
    one, two, three = keys[0], keys[1], keys[2]
    before = dict(table)
    table[one] = table[one][:-1] + bytes([table[one][-1] ^ 1])  # its checksum is wrong
    del table[two]  # as LMDB may lose one
    table[three] = seal_entry(three, before[keys[3]][:-4])  # another version in its place
    async with folded.open() as database:
        report = await check_running(database)
        assert sorted(each.what for each in report.findings) == ["earlier version", "earlier version", "entry"]
        done = await mend_running(database, report, wall_ms=lambda: 7)
        assert [each.source for each in done] == ["the log"] * 3
        assert (await check_running(database)).whole
        assert kept(database, folded.mine) == ["5", "4", "3", "2", "1", "0"]
    assert dict(folded.tables._tables[HISTORY]) == before


async def test_the_version_that_stands_is_never_put_among_the_earlier_ones(folded: Any) -> None:
    table = folded.tables._tables[HISTORY]
    before = dict(table)
    last = list(table)[-1]
    table[last[:-8] + (int.from_bytes(last[-8:], "big") + 1).to_bytes(8, "big")] = b"never written"
    async with folded.open() as database:
        report = await check_running(database)
        assert [each.what for each in report.findings] == ["entry"]
        await mend_running(database, report, wall_ms=lambda: 7)
    assert dict(folded.tables._tables[HISTORY]) == before


async def test_what_marks_those_that_are_gone_is_never_mended_into_a_wrong_answer(server: Any) -> None:
    async with server.open() as database:
        await database.define(note(2))
        mine, made = await write(database, None, "0")
        for number in range(1, 6):
            await write(database, mine, str(number))
    table = server.tables._tables[HISTORY]
    mark, third, fourth = list(table)
    table[mark] = table[mark] + b"?"
    async with server.open() as database:
        report = await check_running(database)
        assert [each.what for each in report.findings] == ["entry"]
        await mend_running(database, report, wall_ms=lambda: 7)
        assert (await check_running(database)).whole
        for at in range(made, made + 3):
            with pytest.raises(Refused, match="gone"):
                text_at(database, mine, at)
        assert kept(database, mine) == ["5", "4", "3"]
    table = server.tables._tables[HISTORY]
    del table[third]
    async with server.open() as database:
        report = await check_running(database)
        assert [each.what for each in report.findings] == ["earlier version"]
        await mend_running(database, report, wall_ms=lambda: 7)
        assert (await check_running(database)).whole
        with pytest.raises(Refused, match="gone"):  # nobody can tell any more that it was not trimmed
            text_at(database, mine, made + 3)
        assert kept(database, mine) == ["5", "4"]
    assert fourth in server.tables._tables[HISTORY]


async def test_what_went_meanwhile_stays_gone_and_what_stands_is_no_earlier_version(server: Any) -> None:
    async with server.open() as database:
        await database.define(note(2))
        mine, made = await write(database, None, "0")
        for number in range(1, 3):
            await write(database, mine, str(number))
    table = server.tables._tables[HISTORY]
    oldest = next(iter(table))
    table[oldest] = table[oldest] + b"?"
    stands = oldest[:-8] + (made + 2).to_bytes(8, "big")
    table[stands] = b"nothing that was ever written"
    async with server.open() as database:
        report = await check_running(database)
        assert len(report.findings) == 2
        del table[oldest], table[stands]  # so that the changes below can look at it
        for number in range(3, 6):
            await write(database, mine, str(number))
        await mend_running(database, report, wall_ms=lambda: 7)
        assert kept(database, mine) == ["5", "4", "3"]
        for at in range(made, made + 3):
            with pytest.raises(Refused, match="gone"):
                text_at(database, mine, at)
        assert (await check_running(database)).whole
