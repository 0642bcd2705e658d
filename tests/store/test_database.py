"""What was answered as committed is there after any crash; readers see what is durable."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from identity.errors import Conflict, Exhausted, NotFound, OutcomeUnknown, Refused
from identity.names import Pattern, Reference, ServerId
from store.database import Applied, Copy, Deferred, Rejected, Settings
from store.definitions import ClassDefinition, definition_from_toml
from store.query import Compare, Question
from store.records import DATA, REGISTRY, read_leaves_untrusted
from transport.wire import MAX_MESSAGE_BYTES


async def test_a_shoe_is_made_changed_found_and_there_after_a_crash(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        left = await database.transact(lambda t: t.create("Shoe", {"name": "left", "size": 42}))
        async with database.transaction() as t:
            t.update(left, {"size": t.get(left).fields["size"] + 1})
    server.crash()
    async with server.open() as database:
        with database.view() as view:
            found = view.get(left)
            assert found.fields["size"] == 43
            assert found.fields["note"] == "none"
            assert found.kind == "owned"
            assert [each.reference for each in view.select(Question("Shoe", Compare("name", "=", "left")))] == [left]
        with pytest.raises(Refused, match=r"name.*taken"):
            await database.transact(lambda t: t.create("Shoe", {"name": "left"}))
        right = await database.transact(lambda t: t.create("Shoe", {"name": "right"}))
        assert right.object > left.object


async def test_nothing_of_a_refused_transaction_remains(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)

        def body(t: Any) -> None:
            t.create("Shoe", {"name": "a"})
            t.create("Shoe", {"name": "b", "size": 99})

        syncs = database.syncs
        with pytest.raises(Refused, match=r"size.*99") as caught:
            await database.transact(body)
        assert caught.value.details["field"] == "size"
        assert database.syncs == syncs
        with database.view() as view:
            assert not list(view.select(Question("Shoe")))


async def test_errors_name_the_field(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        for fields, field in (
            ({"size": 1}, "name"),
            ({"name": 5}, "name"),
            ({"name": "x", "weight": 1}, "weight"),
            ({"name": "x", "size": "43"}, "size"),
            ({"name": "x", "colour": "green"}, "colour"),
            ({"name": "x", "pair": Reference(server.server, 5, 999)}, "pair"),
        ):
            with pytest.raises(Refused) as caught:
                await database.transact(lambda t, fields=fields: t.create("Shoe", fields))
            assert caught.value.details["field"] == field
        with pytest.raises(Refused, match="no class 'Hat'"):
            await database.transact(lambda t: t.create("Hat", {}))


async def test_optimistic_transactions_conflict_only_over_what_they_read(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        one = await database.transact(lambda t: t.create("Shoe", {"name": "one", "size": 1}))
        two = await database.transact(lambda t: t.create("Shoe", {"name": "two", "size": 2}))

        async with database.transaction() as t:  # another object: no conflict
            t.update(one, {"size": 10})
            await database.transact(lambda u: u.update(two, {"size": 20}))

        with pytest.raises(Conflict, match=r"1\.2/"):  # noqa: PT012 - an object
            async with database.transaction() as t:
                t.update(one, {"size": 11})
                await database.transact(lambda u: u.update(one, {"size": 12}))

        with pytest.raises(Conflict):  # noqa: PT012 - a range of an index
            async with database.transaction() as t:
                count = len(list(t.select(Question("Shoe", Compare("size", ">", 15)))))
                t.update(one, {"size": count})
                await database.transact(lambda u: u.create("Shoe", {"name": "three", "size": 30}))

        with pytest.raises(Conflict):  # noqa: PT012 - uniqueness
            async with database.transaction() as t:
                t.create("Shoe", {"name": "four"})
                await database.transact(lambda u: u.create("Shoe", {"name": "four"}))

        with pytest.raises(Conflict):  # noqa: PT012 - the target of a reference
            async with database.transaction() as t:
                t.update(one, {"pair": two})
                await database.transact(lambda u: u.delete(two))

        with database.view() as view:
            assert view.get(one).fields["size"] == 12
            assert view.get(two) is None


async def test_expected_sequence(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        one = await database.transact(lambda t: t.create("Shoe", {"name": "one", "price": Decimal("9.50")}))
        with database.view() as view:
            sequence = view.get(one).sequence
        await database.transact(lambda t: t.update(one, {"size": 3}, expect=sequence))
        with pytest.raises(Conflict) as caught:
            await database.transact(lambda t: t.update(one, {"size": 4}, expect=sequence))
        assert caught.value.details["current"]["size"] == 3
        assert caught.value.details["current"]["price"] == "9.50"
        assert caught.value.details["sequence"] == sequence + 1
        await database.transact(lambda t: t.delete(one))
        with pytest.raises(NotFound):
            await database.transact(lambda t: t.update(one, {"size": 4}))


async def test_sixty_four_tasks_share_few_syncs_and_lose_no_count(server: Any) -> None:
    counter = definition_from_toml('name = "Counter"\n[fields]\nvalue = "int"\n')
    async with server.open() as database:
        await database.define(counter)
        one = await database.transact(lambda t: t.create("Counter", {"value": 0}))
        syncs = database.syncs

        def add(t: Any) -> int:
            value = t.get(one).fields["value"] + 1
            t.update(one, {"value": value})
            return value

        seen: list[int] = []

        async def count() -> None:
            for _ in range(10):
                seen.append(await database.transact(add))

        async with trio.open_nursery() as nursery:
            for _ in range(64):
                nursery.start_soon(count)
        assert sorted(seen) == list(range(1, 641))
        assert database.syncs - syncs <= 25


async def test_a_group_s_update_always_fits_into_one_message(server: Any) -> None:
    """What compresses well is small in the log and large on the wire; the largest transaction begins a group."""
    page = definition_from_toml('name = "Page"\n[fields]\ntext = "string"\n')
    async with server.open() as database:
        await database.define(page)
        made: list[int] = []

        async def write(size: int) -> None:
            made.append((await database.transact(lambda t: t.create("Page", {"text": "x" * size}))).object)

        for _ in range(8):  # trio runs the writers in any order, and only a small one before a large one is the case
            async with trio.open_nursery() as nursery:
                for size in (1000, 1000, 16_700_000):
                    nursery.start_soon(write, size)
        assert len(set(made)) == 24
        (held,) = [each for each in database.feeds() if each.kind == DATA]
        sizes = [
            len(database.read_update(held.server, held.incarnation, DATA, number)) for number in range(1, held.last + 1)
        ]
        assert max(sizes) <= MAX_MESSAGE_BYTES - 8192  # room for the longest Path
        assert sum(sizes) > 8 * 16_700_000


async def test_readers_see_only_what_is_durable(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        seen_inside: list[int] = []
        appended: list[int] = []
        answered: list[int] = []

        def body(t: Any) -> None:
            t.create("Shoe", {"name": f"n{len(seen_inside)}"})
            appended.append(len(list(t.select(Question("Shoe")))))
            with database.view() as view:
                seen_inside.append(len(list(view.select(Question("Shoe")))))

        async def write() -> None:
            await database.transact(body)
            answered.append(len(appended))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(write)
        assert appended == [1, 2, 3, 4, 5]  # a body sees what was appended before it and is not synced yet
        assert all(seen < own for seen, own in zip(seen_inside, appended, strict=True))  # a view never does
        assert seen_inside[0] == 0
        assert len(answered) == 5


async def test_a_cancelled_commit_is_done_and_its_caller_learns_it(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        learned: list[Reference] = []
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:

                async def commit() -> None:
                    learned.append(await database.transact(lambda t: t.create("Shoe", {"name": "x"})))
                    scope.cancel()
                    learned.append(await database.transact(lambda t: t.create("Shoe", {"name": "y"})))

                async def cancel_early() -> None:
                    await trio.lowlevel.checkpoint()
                    scope.cancel()

                nursery.start_soon(commit)
                nursery.start_soon(cancel_early)
        with database.view() as view:
            names = [each.fields["name"] for each in view.select(Question("Shoe"))]
        assert names == (["x"] if learned else [])


async def test_a_failed_sync_stops_the_store_and_says_why(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        kept = await database.transact(lambda t: t.create("Shoe", {"name": "kept"}))
        server.disk.fail_sync = True
        with pytest.raises(OutcomeUnknown, match="sync"):
            await database.transact(lambda t: t.create("Shoe", {"name": "unknown"}))
        assert database.failure is not None
        with pytest.raises(type(database.failure)):
            await database.transact(lambda t: t.create("Shoe", {"name": "later"}))
        with database.view() as view:
            assert view.get(kept) is not None
        server.disk.fail_sync = False
    server.crash()
    async with server.open() as database:
        with database.view() as view:
            assert view.get(kept) is not None


async def test_a_full_disk_refuses_and_comes_back(make_server: Callable[..., Any], shoe: ClassDefinition) -> None:
    server = make_server(settings=Settings(segment_bytes=1 << 20))
    text = definition_from_toml('name = "Text"\n[fields]\ntext = "bytes"\n')
    async with server.open() as database:
        await database.define(text)
        server.disk.full = True
        body = bytes(server.random.randbytes(1_000_000))
        written = 0
        with pytest.raises(Exhausted):  # noqa: PT012 - at some write
            for _ in range(20):
                await database.transact(lambda t: t.create("Text", {"text": body}))
                written += 1
        server.disk.full = False
        await database.transact(lambda t: t.create("Text", {"text": body}))
        with database.view() as view:
            assert len(list(view.select(Question("Text")))) == written + 1


async def test_bounds_of_a_transaction(server: Any) -> None:
    text = definition_from_toml('name = "Text"\n[fields]\ntext = "bytes"\n')
    async with server.open() as database:
        await database.define(text)

        def body(t: Any) -> None:
            for _ in range(20):
                t.create("Text", {"text": bytes(1 << 20)})

        with pytest.raises(Refused, match="several transactions"):
            await database.transact(body)


async def test_updates_reach_another_store_byte_for_byte(
    make_server: Callable[..., Any], shoe: ClassDefinition
) -> None:
    owner, mirror = make_server("1.2"), make_server("1.3", seed=2)
    async with owner.open() as database:
        await database.define(shoe)
        one = await database.transact(lambda t: t.create("Shoe", {"name": "one", "size": 1}, request=b"r1"))
        two = await database.transact(lambda t: t.create("Shoe", {"name": "two", "pair": one}))
        await database.transact(lambda t: t.delete(one) or t.update(two, {"pair": None}))
        registry, data = owner.updates(database, REGISTRY), owner.updates(database, DATA)
        leaf = read_leaves_untrusted(data[0].leaves, 1)[0]
        assert leaf.request == b"r1"
        with database.view() as view:
            expected = {each.reference: each.fields for each in view.select(Question("Shoe"))}
    async with mirror.open() as database:
        assert isinstance((await database.apply(data[:1]))[0], Deferred)  # the class is not known
        assert [type(each) for each in await database.apply(registry)] == [Applied]
        assert [type(each) for each in await database.apply([data[0], data[2]])] == [Applied, Deferred]
        assert [type(each) for each in await database.apply(data)] == [Applied] * 3
        assert [type(each) for each in await database.apply(data)] == [Applied] * 3  # again: nothing happens
    mirror.crash()
    async with mirror.open() as database:
        for update in [*registry, *data]:
            head = update.head
            assert database.read_update(head.server, head.incarnation, head.kind, head.number) == update.to_bytes()
        with database.view() as view:
            rows = list(view.select(Question("Shoe")))
            assert {each.reference: each.fields for each in rows} == expected
            assert {each.kind for each in rows} == {"mirrored"}
            assert not list(view.select(Question("Shoe"), servers=Pattern("-1.2.*,1.3")))
        with pytest.raises(Refused, match="not adopted"):
            await database.transact(lambda t: t.create("Shoe", {"name": "mine"}))
        with pytest.raises(Refused, match="owner"):
            await database.transact(lambda t: t.delete(two))
        await database.define(database.registry.definition("Shoe"))
        await database.transact(lambda t: t.create("Shoe", {"name": "two"}))  # unique per owner
        assert database.counts() == {"owned": 1, "mirrored": 1, "cached": 0}


async def test_an_update_that_makes_no_sense_is_rejected(
    make_server: Callable[..., Any], shoe: ClassDefinition
) -> None:
    owner, mirror = make_server("1.2"), make_server("1.3")
    async with owner.open() as database:
        await database.define(shoe)
        await database.transact(lambda t: t.create("Shoe", {"name": "one"}))
        registry, data = owner.updates(database, REGISTRY), owner.updates(database, DATA)
    import msgspec

    async with mirror.open() as database:
        await database.apply(registry)
        bad = msgspec.structs.replace(data[0], leaves=data[0].leaves.replace(b"one", b"o\xffe"))
        outcome = (await database.apply([bad]))[0]
        assert isinstance(outcome, Rejected)
        forked = msgspec.structs.replace(registry[0].head, number=2, previous=bytes(32))
        outcome = (await database.apply([msgspec.structs.replace(registry[0], head=forked)]))[0]
        assert isinstance(outcome, Rejected)
        assert "continue" in outcome.reason
        assert [type(each) for each in await database.apply(data)] == [Applied]


async def test_own_numbers_go_on_across_epochs(server: Any, shoe: ClassDefinition) -> None:
    committed: list[Any] = []
    for epoch in (1, 2, 3):
        async with server.open() as database:
            database.on_committed = committed.append
            assert database.epoch >= epoch
            if epoch == 1:
                await database.define(shoe)
            await database.transact(lambda t, epoch=epoch: t.create("Shoe", {"name": f"n{epoch}"}))
            assert database.last_position(DATA).number == epoch
            held = database.feeds()
            assert [(each.kind, each.first, each.last) for each in held] == [(REGISTRY, 1, 1), (DATA, 1, epoch)]
        server.crash()
    assert [seal.number for each in committed for seal in each.seals if seal.kind == DATA] == [1, 2, 3]
    async with server.open() as database:
        heads = [update.head for update in server.updates(database, DATA)]
        assert [head.epoch for head in heads] == sorted(head.epoch for head in heads)


async def test_positions_are_told_to_the_transaction(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)

        def body(t: Any) -> Any:
            t.create("Shoe", {"name": "x"})
            t.record_answer(b"r", f"{t.sequence} {t.expected[DATA]}".encode())
            return t

        t = await database.transact(body)
        assert str(t.positions[DATA]) == f"1.2@{database.epoch}:1"
        assert database.answered(b"r") == f"{t.sequence} 1.2@{database.epoch}:1".encode()
        with database.view() as view:
            assert next(view.select(Question("Shoe"))).sequence == t.sequence


async def test_a_request_is_answered_once_across_restarts(server: Any, shoe: ClassDefinition) -> None:
    def body(t: Any) -> bytes:
        before = t.answered(b"req 1")
        if before is not None:
            return before
        answer = str(t.create("Shoe", {"name": "once"}, request=b"req 1")).encode()
        t.record_answer(b"req 1", answer)
        return answer

    async with server.open() as database:
        await database.define(shoe)
        answer = await database.transact(body)
    server.crash()
    async with server.open() as database:
        assert database.answered(b"req 1") == answer
        assert database.answered(b"req 2") is None
        assert await database.transact(body) == answer
        with pytest.raises(Refused, match="own affair"), database.view() as view:
            list(view.select(Question("Answered")))


async def test_settings_are_kept_and_never_leave(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.transact(lambda t: t.put_setting("mirrors", ["1.3", "1.4.*"]))
        await database.transact(lambda t: t.put_setting("other", 5))
        await database.transact(lambda t: t.put_setting("other", None))
        assert database.feeds() == []
    async with server.open() as database:
        with database.view() as view:
            assert view.get_setting("mirrors") == ["1.3", "1.4.*"]
            assert view.settings() == view.settings("mirr") == {"mirrors": ["1.3", "1.4.*"]}
            assert view.settings("x") == {}
            assert view.get((None, 65)) is None or view.get((None, 65)).class_name == "Shoe"


async def test_private_classes_never_leave(server: Any) -> None:
    diary = definition_from_toml('name = "Diary"\nprivacy = "private"\n[fields]\ntext = "string"\n')
    async with server.open() as database:
        await database.define(diary)
        page = await database.transact(lambda t: t.create("Diary", {"text": "secret"}))
        assert database.feeds() == []
    server.crash()
    async with server.open() as database:
        with database.view() as view:
            assert view.get(page).fields == {"text": "secret"}
        await database.transact(lambda t: t.update(page, {"text": "still"}))
        assert database.feeds() == []


async def test_cached_copies_never_stand_before_mirrored_ones(
    make_server: Callable[..., Any], shoe: ClassDefinition
) -> None:
    owner, other = make_server("1.2"), make_server("1.3")
    async with owner.open() as database:
        await database.define(shoe)
        one = await database.transact(lambda t: t.create("Shoe", {"name": "one", "size": 1}))
        registry, data = owner.updates(database, REGISTRY), owner.updates(database, DATA)
    body = shoe.to_body({"name": "one", "size": 2})
    newer = Copy(one, shoe.fingerprint, 9, body)
    async with other.open() as database:
        await database.apply(registry)
        other.wall_ms = 77_000
        await database.cache([newer, Copy(one, b"unknown!", 10, body), Copy(one, shoe.fingerprint, 8, body)])
        await database.transact(lambda t: t.put_setting("x", 1))  # the next sync brings plain writes
        with database.view() as view:
            found = view.get(one)
            assert (found.kind, found.sequence, found.fields["size"], found.received_ms) == ("cached", 9, 2, 77_000)
            assert [each.reference for each in view.select(Question("Shoe", Compare("size", "=", 2)))] == [one]
    other.crash()
    async with other.open() as database:
        with database.view() as view:
            assert view.get(one).kind == "cached"
        await database.apply(data)
        await database.cache([newer])
        await database.evict([one])
        await database.transact(lambda t: t.put_setting("x", 2))
        with database.view() as view:
            assert (view.get(one).kind, view.get(one).fields["size"]) == ("mirrored", 1)
        assert database.counts() == {"owned": 0, "mirrored": 1, "cached": 0}


async def test_plain_writes_become_durable_when_nobody_syncs(
    make_server: Callable[..., Any], shoe: ClassDefinition
) -> None:
    owner, other = make_server("1.2"), make_server("1.3")
    async with owner.open() as database:
        await database.define(shoe)
        one = await database.transact(lambda t: t.create("Shoe", {"name": "one"}))
        registry = owner.updates(database, REGISTRY)
    async with other.open() as database:
        await database.apply(registry)
        await database.cache([Copy(one, shoe.fingerprint, 3, shoe.to_body({"name": "one"}))])
        with trio.fail_after(5):
            while True:
                with database.view() as view:
                    if view.get(one) is not None:
                        break
                await trio.sleep(0.05)


async def test_a_new_minor_reads_old_objects_and_an_index_is_added_later(server: Any) -> None:
    first = definition_from_toml('name = "City"\n[fields]\nname = "string"\ncountry = "string"\n')
    second = definition_from_toml(
        'name = "City"\n[fields]\nname = {type = "string", index = true}\ncountry = "string"\n'
        'population = {type = "int", default = 7, index = true}\n'
    )
    async with server.open() as database:
        await database.define(first)
        for name in "cab":
            await database.transact(lambda t, name=name: t.create("City", {"name": name}))
        await database.define(second)
        assert database.registry.definition("City").minor == 1
        assert database.registry.definition("City").fingerprint == first.fingerprint
        await database.transact(lambda t: t.create("City", {"name": "d", "population": 9}))
        await database.define(second)  # again: nothing happens
    server.crash()
    async with server.open() as database:
        with database.view() as view:
            rows = [
                (each.fields["name"], each.fields["population"])
                for each in view.select(Question("City", order=(("name", False),)))
            ]
            assert rows == [("a", 7), ("b", 7), ("c", 7), ("d", 9)]
            assert len(list(view.select(Question("City", Compare("population", "=", 7))))) == 3
        assert database.last_position(REGISTRY).number == 2
        with pytest.raises(Refused, match="country"):
            await database.define(definition_from_toml('name = "City"\n[fields]\nname = "string"\n'))
        unique = (
            'name = "City"\n[fields]\nname = "string"\ncountry = "string"\n'
            'population = {type = "int", default = 7, unique = true}\n'
        )
        with pytest.raises(Refused, match=r"population.*unique"):
            await database.define(definition_from_toml(unique))


async def test_deleting_what_is_pointed_to(server: Any) -> None:
    person = definition_from_toml('name = "Person"\n[fields]\nname = "string"\n')
    letter = definition_from_toml(
        'name = "Letter"\n[fields]\n'
        'writer = {type = "reference(Person)", on_delete = "cascade"}\n'
        'reader = {type = "reference(Person)", on_delete = "clear"}\n'
        'judge = {type = "reference(Person)", on_delete = "restrict"}\n'
    )
    async with server.open() as database:
        await database.define(person)
        await database.define(letter)
        a, b, c = [await database.transact(lambda t, n=n: t.create("Person", {"name": n})) for n in "abc"]
        sent = await database.transact(lambda t: t.create("Letter", {"writer": a, "reader": b, "judge": c}))
        with pytest.raises(Refused, match="judge"):
            await database.transact(lambda t: t.delete(c))
        await database.transact(lambda t: t.delete(b))
        with database.view() as view:
            assert view.get(sent).fields == {"writer": a, "reader": None, "judge": c}
        await database.transact(lambda t: t.delete(a))
        with database.view() as view:
            assert view.get(sent) is None
        with pytest.raises(Refused, match="judge"):
            await database.transact(lambda t: t.create("Letter", {"judge": sent}))


async def test_a_transaction_reads_its_own_changes(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)

        def body(t: Any) -> None:
            one = t.create("Shoe", {"name": "one", "size": 5})
            assert t.get(one).fields["size"] == 5
            assert t.find("Shoe", "name", "one").reference == one
            t.update(one, {"size": 6, "name": "uno"})
            assert t.find("Shoe", "name", "one") is None
            assert t.find("Shoe", "size", 6).reference == one
            two = t.create("Shoe", {"name": "one", "size": 6})
            assert [each.reference for each in t.select(Question("Shoe", Compare("size", "=", 6)))] == [one, two]
            t.delete(one)
            assert t.get(one) is None
            assert [each.reference for each in t.select(Question("Shoe", order=(("size", True),)))] == [two]

        await database.transact(body)
        with database.view() as view:
            assert [each.fields["name"] for each in view.select(Question("Shoe"))] == ["one"]


async def test_generations_fold_in_the_background(make_server: Callable[..., Any], tmp_path: Path) -> None:
    text = definition_from_toml('name = "Text"\n[fields]\nnumber = {type = "int", index = true}\ntext = "bytes"\n')
    server = make_server(path=tmp_path, settings=Settings(generation_bytes=200_000, segment_bytes=1 << 20))
    async with server.open() as database:
        await database.define(text)

        async def write(task: int) -> None:
            for number in range(100):
                await database.transact(lambda t, n=number: t.create("Text", {"number": n, "text": bytes(500)}))

        async with trio.open_nursery() as nursery:
            for task in range(8):
                nursery.start_soon(write, task)
        with database.view() as view:
            assert sum(1 for _ in view.select(Question("Text"))) == 800
    async with server.open() as database:
        with database.view() as view:
            numbers = [each.fields["number"] for each in view.select(Question("Text", order=(("number", True),)))]
            assert numbers == sorted(numbers, reverse=True)
            assert len(numbers) == 800
        assert [each.head.number for each in server.updates(database, DATA)] == list(
            range(1, database.last_position(DATA).number + 1)
        )


async def test_the_wrong_server_is_refused(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
    server.server = ServerId.parse("1.9")
    with pytest.raises(Refused, match=r"1\.2"):
        async with server.open():
            pass


async def test_an_error_in_the_block_is_raised_as_it_is(server: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async with server.open():
            raise ZeroDivisionError
