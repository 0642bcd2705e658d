"""What is taken back leaves nothing behind, and takes nothing along: random plans against copies of a dictionary."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from identity.errors import Conflict, LocalMistake, NotFound, Refused
from identity.names import Reference
from store.database import Database
from store.definitions import ClassDefinition
from store.query import Compare, Question

Shoes = dict[Reference, dict[str, Any]]


class TakenBackError(Exception):
    """What a plan leaves its block by."""


def rows(reader: Any) -> Shoes:
    """By scan, and the same by each index, or the test fails."""
    shoes = {each.reference: each.fields for each in reader.select(Question("Shoe"))}
    for size in range(4):
        found = {each.reference for each in reader.select(Question("Shoe", Compare("size", "=", size)))}
        assert found == {each for each, fields in shoes.items() if fields["size"] == size}
    for name in range(6):
        found = {each.reference for each in reader.select(Question("Shoe", Compare("name", "=", f"n{name}")))}
        assert found == {each for each, fields in shoes.items() if fields["name"] == f"n{name}"}
    return shoes


def play(t: Any, shoes: Shoes, generator: random.Random, depth: int) -> Shoes:
    """Acts and savepoints within savepoints; what should stand after them."""
    for _ in range(generator.randrange(1, 6)):
        chance = generator.random()
        if chance < 0.3 and depth < 4:
            shoes = within(t, shoes, generator, depth)
            assert rows(t) == shoes
            continue
        name, size = f"n{generator.randrange(6)}", generator.randrange(4)
        known = list(shoes)
        with suppress(Refused):  # the name is taken
            if chance < 0.6 or not known:
                made = t.create("Shoe", {"name": name, "size": size})
                shoes = {**shoes, made: t.get(made).fields}
            elif chance < 0.85:
                shoe = generator.choice(known)
                t.update(shoe, {"name": name, "size": size})
                shoes = {**shoes, shoe: {**shoes[shoe], "name": name, "size": size}}
            else:
                shoe = generator.choice(known)
                t.delete(shoe)
                shoes = {each: fields for each, fields in shoes.items() if each != shoe}
    return shoes


def within(t: Any, shoes: Shoes, generator: random.Random, depth: int) -> Shoes:
    end = generator.choice(["kept", "left by an error", "rolled back", "rolled back and used on"])
    try:
        with t.savepoint() as point:
            inside = play(t, shoes, generator, depth + 1)
            if end == "left by an error":
                raise TakenBackError
            if end.startswith("rolled back"):
                point.roll_back()
                inside = play(t, shoes, generator, depth + 1) if end.endswith("on") else shoes
            return inside
    except TakenBackError:
        return shoes


@pytest.mark.parametrize("seed", range(20))
async def test_random_plans(make_server: Callable[..., Any], shoe: ClassDefinition, seed: int) -> None:
    generator = random.Random(seed)
    server = make_server(seed=seed)
    shoes: Shoes = {}
    async with server.open() as database:
        await database.define(shoe)
        for _ in range(12):
            before = shoes
            if generator.random() < 0.5:
                shoes = await database.transact(lambda t, before=before: play(t, before, generator, 0))
            else:
                async with database.transaction() as t:
                    shoes = play(t, before, generator, 0)
            with database.view() as view:
                assert rows(view) == shoes
    server.crash()
    async with server.open() as database:
        with database.view() as view:
            assert rows(view) == shoes


@pytest.fixture
async def database(server: Any, shoe: ClassDefinition) -> Any:
    async with server.open() as opened:
        await opened.define(shoe)
        yield opened


async def test_an_error_takes_back_what_was_done_before_it(database: Database) -> None:
    def body(t: Any) -> Reference:
        kept: Reference = t.create("Shoe", {"name": "kept"})
        with suppress(Refused), t.savepoint():
            t.create("Shoe", {"name": "other"})
            t.update(kept, {"name": "changed"})
            t.create("Shoe", {"name": "changed"})
        return kept

    kept = await database.transact(body)

    with database.view() as view:
        assert [(each.reference, each.fields["name"]) for each in view.select(Question("Shoe"))] == [(kept, "kept")]


async def test_what_was_taken_back_makes_room(database: Database) -> None:
    """A transaction holds 16 MiB: five times ten, of which nine were taken back each time."""
    text = "x" * (1 << 20)

    def body(t: Any) -> None:
        for turn in range(5):
            t.create("Shoe", {"name": f"kept {turn}", "note": text})
            with t.savepoint() as point:
                for number in range(9):
                    t.create("Shoe", {"name": f"{turn} {number}", "note": text})
                point.roll_back()

    await database.transact(body)

    with database.view() as view:
        assert sum(1 for _ in view.select(Question("Shoe"))) == 5


async def test_what_steps_keep_is_bounded(database: Database) -> None:
    """One object, again and again: the changes weigh little, what could be taken back does not."""
    text = "x" * (1 << 20)

    def body(t: Any) -> None:
        shoe = t.create("Shoe", {"name": "one", "note": text})
        with t.savepoint():
            for size in range(40):
                t.update(shoe, {"size": size, "note": text})

    with pytest.raises(Refused, match="a savepoint could take back"):
        await database.transact(body)

    with database.view() as view:
        assert not list(view.select(Question("Shoe")))


async def test_steps_that_are_over_weigh_nothing(database: Database) -> None:
    text = "x" * (1 << 20)

    def body(t: Any) -> None:
        shoe = t.create("Shoe", {"name": "one", "note": text})
        for size in range(40):
            with t.savepoint():
                t.update(shoe, {"size": size, "note": text})
        with t.savepoint() as outer:
            for size in range(40):
                t.update(shoe, {"size": size, "note": text})
                outer.roll_back()

    await database.transact(body)

    with database.view() as view:
        assert [each.fields["size"] for each in view.select(Question("Shoe"))] == [39]


async def test_numbers_are_not_used_again_and_settings_come_back(database: Database) -> None:
    def body(t: Any) -> tuple[Reference, Reference]:
        t.put_setting("key", "before")
        with t.savepoint() as point:
            first = t.create("Shoe", {"name": "one"})
            t.put_setting("key", "after")
            point.roll_back()
        assert t.get(first) is None
        with pytest.raises(NotFound):
            t.update(first, {"size": 1})
        return first, t.create("Shoe", {"name": "one"})

    first, second = await database.transact(body)

    assert second.object > first.object
    with database.view() as view:
        assert view.get_setting("key") == "before"
        assert view.get(first) is None


async def test_what_was_read_in_it_still_conflicts(database: Database) -> None:
    shoe = await database.transact(lambda t: t.create("Shoe", {"name": "one", "size": 1}))

    async def change() -> None:
        async with database.transaction() as t:
            t.create("Shoe", {"name": "two"})
            with t.savepoint() as point:
                t.update(shoe, {"size": t.get(shoe).fields["size"] + 1})
                point.roll_back()
            await database.transact(lambda other: other.update(shoe, {"size": 7}))

    with pytest.raises(Conflict):
        await change()


async def test_one_that_ended_is_refused(database: Database) -> None:
    def body(t: Any) -> None:
        with t.savepoint() as outer:
            with t.savepoint() as inner:
                t.create("Shoe", {"name": "one"})
            with pytest.raises(LocalMistake, match="after its end"):
                inner.roll_back()
        with pytest.raises(LocalMistake, match="after its end"):
            outer.roll_back()

    await database.transact(body)

    with database.view() as view:
        assert [each.fields["name"] for each in view.select(Question("Shoe"))] == ["one"]
