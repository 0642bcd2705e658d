"""What another server says of its classes and objects: taken, taken later, or never; decided by its words alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import msgspec
import pytest

from identity.errors import Exhausted, Refused
from store.database import Applied, Deferred, Rejected
from store.definitions import ClassDefinition, definition_from_toml
from store.query import Compare, Question
from store.records import DATA, DELETE, PUT, REGISTRY, Head, Leaf, Update, head_hash, pack_leaf
from store.registry import BUILT_IN, CLASS, KNOWN_CLASS, SERVER, read_registry_leaf_untrusted
from tests.store.conftest import INCARNATION, Server

CITY = 'name = "City"\n[fields]\nname = {type = "string", index = true}\n'


class Feed:
    """A stranger's feed, leaf by leaf."""

    def __init__(self, name: str, kind: int) -> None:
        self.head = Head(Server(name).server, INCARNATION, kind, 1, bytes(16), 0, bytes(32), bytes(32), 1)
        self.sequence = 0

    def update(self, *leaves: tuple[int, ClassDefinition | bytes, bytes]) -> Update:
        """The next update: object, class, body (empty: deleted)."""
        packed = b""
        for number, of, body in leaves:
            self.sequence += 1
            fingerprint = of if isinstance(of, bytes) else of.fingerprint
            operation = PUT if body else DELETE
            packed += pack_leaf(Leaf(number, self.sequence, fingerprint, operation, b"", bytes(16), body))
        previous = head_hash(self.head.to_bytes()) if self.head.number else bytes(32)
        self.head = msgspec.structs.replace(
            self.head, number=self.head.number + 1, previous=previous, count=len(leaves)
        )
        return Update(self.head, bytes(64), packed)


def class_body(definition: ClassDefinition) -> bytes:
    return BUILT_IN[CLASS].codec.encode(definition.to_plain())


def kinds(outcomes: Sequence[Any]) -> list[str]:
    return [type(each).__name__ for each in outcomes]


async def test_a_class_becomes_known_and_grows_with_what_is_heard(server: Any) -> None:
    first = definition_from_toml(CITY)
    second = definition_from_toml(CITY + 'mayor = {type = "string", index = true}\n').following(first)
    registry, data = Feed("1.9", REGISTRY), Feed("1.9", DATA)
    one = data.update((1, first, first.codec.encode(["Rome"])))
    two = data.update((2, first, second.codec.encode(["Oslo", "Ida"])))
    async with server.open() as database:
        assert kinds(await database.apply([one, two])) == ["Deferred", "Deferred"]
        assert kinds(await database.apply([registry.update((70, BUILT_IN[CLASS], class_body(first)))])) == ["Applied"]
        outcomes = await database.apply([one, two])
        assert kinds(outcomes) == ["Applied", "Deferred"]
        assert "minor" in outcomes[1].reason
        assert kinds(await database.apply([registry.update((70, BUILT_IN[CLASS], class_body(second)))])) == ["Applied"]
        assert kinds(await database.apply([two])) == ["Applied"]
        assert not database.registry.adopted("City")
    server.crash()
    async with server.open() as database:
        with database.view() as view:
            rows = list(view.select(Question("City", order=(("name", False),))))
            assert [each.fields for each in rows] == [{"name": "Oslo", "mayor": "Ida"}, {"name": "Rome", "mayor": None}]
            assert len(list(view.select(Question("City", Compare("mayor", "=", "Ida"))))) == 1
        await database.define(database.registry.definition("City"))
        await database.transact(lambda t: t.create("City", {"name": "Bern", "mayor": "Urs"}))


async def test_privacy_is_everybodys_own(server: Any) -> None:
    """A private class here and a distributed one there are one class; a stranger cannot make ours private."""
    city = definition_from_toml(CITY)
    private = definition_from_toml('privacy = "private"\n' + CITY)
    assert private.fingerprint == city.fingerprint
    registry, data = Feed("1.9", REGISTRY), Feed("1.9", DATA)
    async with server.open() as database:
        await database.define(private)
        await database.transact(lambda t: t.create("City", {"name": "mine"}))
        assert kinds(await database.apply([registry.update((70, BUILT_IN[CLASS], class_body(city)))])) == ["Applied"]
        assert kinds(await database.apply([data.update((1, city, city.codec.encode(["Rome"])))])) == ["Applied"]
        assert [(each.server, each.kind) for each in database.feeds()] == [
            (registry.head.server, 0),
            (data.head.server, 1),
        ]
        with pytest.raises(Refused, match="private"):
            await database.define(city)
    other = Server("1.5")
    async with other.open() as database:
        hostile = Feed("1.9", REGISTRY)
        assert kinds(await database.apply([hostile.update((70, BUILT_IN[CLASS], class_body(private)))])) == ["Applied"]
        assert not database.registry.adopted("City")
        with pytest.raises(Refused, match="not adopted"):
            await database.transact(lambda t: t.create("City", {"name": "x"}))


async def test_what_is_never_taken_changes_nothing(server: Any) -> None:
    city = definition_from_toml(CITY)
    known = BUILT_IN[KNOWN_CLASS]
    built_in_name = msgspec.structs.replace(city, name="Server")
    bad: list[tuple[int, tuple[int, Any, bytes]]] = [
        (REGISTRY, (1, b"unknown!", b"\x80")),
        (REGISTRY, (1, BUILT_IN[CLASS], b"\x81\x01")),
        (REGISTRY, (1, BUILT_IN[CLASS], class_body(built_in_name))),
        (REGISTRY, (1, BUILT_IN[CLASS], b"\xff")),
        (REGISTRY, (1, known, known.codec.encode([city.to_plain()]))),
        (DATA, (1, known, known.codec.encode([city.to_plain()]))),
        (DATA, (1, BUILT_IN[SERVER], b"")),
        (REGISTRY, (1, city, city.codec.encode(["Rome"]))),
        (DATA, (1, city, b"\x80")),
        (DATA, (1, city, b"\x81\x05")),
        (DATA, (1, city, b"\x81\x61x" + b"y")),
    ]
    async with server.open() as database:
        await database.define(city)
        before = database.feeds()
        for kind, leaf in bad:
            outcome = (await database.apply([Feed("1.9", kind).update(leaf)]))[0]
            assert isinstance(outcome, Rejected), leaf
        own = Feed("1.2", DATA).update((1, city, city.codec.encode(["Rome"])))
        assert isinstance((await database.apply([own]))[0], Rejected)
        assert database.feeds() == before
        with database.view() as view:
            assert not list(view.select(Question("City")))


async def test_two_owners_that_extended_a_class_differently(server: Any) -> None:
    first = definition_from_toml(CITY)
    mayor = definition_from_toml(CITY + 'mayor = "string"\n').following(first)
    size = definition_from_toml(CITY + 'size = "int"\n').following(first)
    a, b = Feed("1.7", REGISTRY), Feed("1.8", REGISTRY)
    b_data = Feed("1.8", DATA)
    async with server.open() as database:
        for feed, definition in ((a, first), (b, first), (a, mayor), (b, size)):
            assert kinds(await database.apply([feed.update((70, BUILT_IN[CLASS], class_body(definition)))])) == [
                "Applied"
            ]
        assert list(database.registry.definition("City").by_name) == ["name", "mayor"]
        outcome = (await database.apply([b_data.update((1, first, size.codec.encode(["Rome", 5])))]))[0]
        assert isinstance(outcome, Deferred)
        assert "other fields" in outcome.reason
        a_data, c_data = Feed("1.7", DATA), Feed("1.6", DATA)
        assert kinds(await database.apply([a_data.update((1, first, mayor.codec.encode(["Rome", "Ada"])))])) == [
            "Applied"
        ]
        assert kinds(await database.apply([c_data.update((1, first, mayor.codec.encode(["Rome", "Eve"])))])) == [
            "Deferred"
        ]
        assert kinds(await database.apply([c_data.update((1, first, first.codec.encode(["Rome"])))])) == ["Deferred"]
    server.crash()
    async with server.open() as database:
        with database.view() as view:
            assert [each.fields for each in view.select(Question("City"))] == [{"name": "Rome", "mayor": "Ada"}]


async def test_deletions_and_a_newer_incarnation(server: Any) -> None:
    city = definition_from_toml(CITY)
    data = Feed("1.9", DATA)
    async with server.open() as database:
        await database.define(city)
        await database.apply(
            [data.update((1, city, city.codec.encode(["Rome"])), (2, city, city.codec.encode(["Oslo"])))]
        )
        await database.apply([data.update((1, city, b""))])
        assert database.counts()["mirrored"] == 1
        newer = Feed("1.9", DATA)
        newer.head = msgspec.structs.replace(newer.head, incarnation=INCARNATION + 1)
        await database.apply([newer.update((1, city, city.codec.encode(["Bern"])))])
        with database.view() as view:
            assert [each.fields["name"] for each in view.select(Question("City"))] == ["Bern"]
            assert view.get((newer.head.server, 2)) is None
            assert view.incarnation_of(newer.head.server) == INCARNATION + 1


async def test_what_own_objects_of_server_say_reaches_others(make_server: Callable[..., Any]) -> None:
    owner, mirror = make_server("1.2"), make_server("1.3")
    fields = {
        "server": bytes(owner.server), "incarnation": INCARNATION, "name": "Europe", "chain": [b"root", b"own"],
        "addresses": [["127.0.0.1", 7002]], "wall_ms": 5,
    }  # fmt: skip
    async with owner.open() as database:
        me = await database.transact(lambda t: t.create("Server", fields))
        await database.transact(lambda t: t.update(me, {"wall_ms": 6}))
        updates = owner.updates(database, REGISTRY)
        assert database.last_position(DATA).number == 0
    from store.records import read_leaves_untrusted

    leaf = read_leaves_untrusted(updates[0].leaves, 1)[0]
    assert read_registry_leaf_untrusted(leaf) == ("Server", {**fields, "mirrors": None})
    async with mirror.open() as database:
        assert kinds(await database.apply(updates)) == [Applied.__name__] * 2
        with database.view() as view:
            found = list(view.registry_objects("Server"))
            assert [(each.reference, each.fields["wall_ms"]) for each in found] == [(me, 6)]
            with pytest.raises(Refused):
                view.registry_objects("Setting")


async def test_what_was_taken_before_the_disk_was_full_is_answered_for(server: Any) -> None:
    """Once the whole call failed: of what stood in the log nobody knew until all of it was handed in again."""
    city = definition_from_toml(CITY)
    registry, data = Feed("1.9", REGISTRY), Feed("1.9", DATA)
    async with server.open() as database:
        await database.apply([registry.update((70, BUILT_IN[CLASS], class_body(city)))])
        updates = [data.update((number, city, city.codec.encode([f"city {number}"]))) for number in (1, 2, 3)]
        log = database._writer.log
        append, calls = log.append, itertools.count()

        def full_after_one(*said: Any) -> Any:
            if next(calls):
                raise Exhausted("the disk is full")
            return append(*said)

        with mock.patch.object(log, "append", full_after_one):
            outcomes = await database.apply(updates)
            with pytest.raises(Exhausted):
                await database.apply(updates[1:])
        assert [(type(each), each.update) for each in outcomes] == [(Applied, updates[0])]
        with database.view() as view:
            assert [each.fields["name"] for each in view.select(Question("City"))] == ["city 1"]
        assert kinds(await database.apply(updates[1:])) == ["Applied"] * 2
