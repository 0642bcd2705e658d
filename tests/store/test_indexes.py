"""The entries of a version, and the ranges that find them again."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.encoding import encode_integer
from identity.errors import Refused
from identity.names import END
from store.definitions import ClassDefinition, definition_from_toml
from store.indexes import MAX_ELEMENTS, ElementIndex, compile_indexes, entries
from store.keys import after_prefix
from store.query import And, Compare, Question
from store.tables import MemoryTables

SHOE = definition_from_toml(
    'name = "Shoe"\n[fields]\nnote = "string"\nname = { type = "string", unique = true }\n'
    'size = { type = "int", index = true }\n'
)
NAME, SIZE = compile_indexes(SHOE, 70)
OWN = END + encode_integer(5)
OTHER = encode_integer(66) + encode_integer(5)


def test_what_a_version_contributes() -> None:
    class_number = encode_integer(70)
    name, size = entries((NAME, SIZE), ["n", "left", 43], OWN)
    assert name == class_number + b"\0\2" + b"\1left\0\0" + END  # own and unique: the object is the value
    assert size == class_number + b"\0\3" + b"\1\x80" + bytes(6) + b"\x2b" + OWN
    name, size = entries((NAME, SIZE), ["n", "left", None], OTHER)
    assert name.endswith(b"\1left\0\0" + OTHER)  # of others' objects nothing is known to be unique
    assert size == class_number + b"\0\3" + b"\0" + OTHER
    (name,) = entries((NAME,), ["n", None, 1], OWN)
    assert name.endswith(b"\0" + OWN)  # null is never unique


def test_a_class_without_an_index_has_its_extent() -> None:
    (extent,) = compile_indexes(definition_from_toml('name = "Plain"\n[fields]\nx = "int"\n'), 71)
    (key,) = extent.keys([None], OWN)
    assert key == encode_integer(71) + b"\0\0" + OWN
    low, high = extent.whole_range()
    assert low <= key < high


@given(st.text("ab\0", max_size=3).map(lambda text: text * 150) | st.none(), st.sampled_from([OWN, OTHER]))
def test_keys_stay_short_and_are_found_by_their_value(value: Any, object_key: bytes) -> None:
    (key,) = NAME.keys(["n", value, 1], object_key)
    assert len(key) <= 511
    low, high = NAME.equal_range(value)
    assert low <= key < high
    part = NAME.value_part(key, object_key)
    assert part == low
    assert NAME.prefix + NAME.run_of({"name": value}, 1) == low
    whole_low, whole_high = NAME.whole_range()
    assert whole_low <= key < whole_high


@given(st.text("ab", min_size=390, max_size=405), st.text("ab", min_size=390, max_size=405))
def test_unique_keys_differ_where_values_differ(one: str, other: str) -> None:
    other = one[:398] + other[:3]
    assert (NAME.unique_key(one) == NAME.unique_key(other)) == (one == other)


FLAT = definition_from_toml(
    'name = "Flat"\n[fields]\nstreet = "string"\nhouse = "int"\ndoor = "string"\n'
    'tags = { type = "list(string)", index = true }\nkeys = { type = "list(int)", unique = true }\n'
    '[[indexes]]\nfields = ["street", "house"]\n[[indexes]]\nfields = ["street", "door"]\nunique = true\n'
)
TAGS, KEYS, HOUSE, DOOR = compile_indexes(FLAT, 70)


def flat(street: Any = None, house: Any = None, door: Any = None, tags: Any = None, keys: Any = None) -> list[Any]:
    return [street, house, door, tags, keys]


def test_an_index_of_several_fields_is_called_by_their_places() -> None:
    class_number = encode_integer(70)
    (key,) = HOUSE.keys(flat("Elm", 7), OWN)
    assert key == class_number + b"\x80\2\0\1\0\2" + b"\1Elm\0\0" + b"\1\x80" + bytes(6) + b"\7" + OWN
    (key,) = DOOR.keys(flat("Elm", door="a"), OWN)
    assert key == class_number + b"\x80\2\0\1\0\3" + b"\1Elm\0\0" + b"\1a\0\0" + END
    (key,) = DOOR.keys(flat("Elm"), OWN)
    assert key.endswith(b"\0" + OWN)  # what has a null is never unique
    assert DOOR.claims(flat("Elm")) == []
    assert DOOR.claims(flat("Elm", door="a")) == [(DOOR.keys(flat("Elm", door="a"), OWN)[0], ("Elm", "a"))]
    (key,) = DOOR.keys(flat("Elm", door="a"), OTHER)
    assert key.endswith(OTHER)


def test_texts_that_are_cut_alike_are_still_told_apart() -> None:
    long, longer = "Oak" * 200, "Oak" * 200 + "s"
    keys = [DOOR.keys(flat(street, door="a"), OWN)[0] for street in (long, longer)]
    assert keys[0] != keys[1]
    assert keys[0][:-12] == keys[1][:-12]  # but for a hash and the end
    assert keys[0][:-12] == DOOR.equal_range(long, "a")[0]


async def test_what_is_unique_changes_hands_in_one_transaction(server: Any) -> None:
    async with server.open() as database:
        await database.define(FLAT)
        one, other = await database.transact(
            lambda t: [t.create("Flat", {"street": "Elm", "door": door, "keys": [ord(door)]}) for door in "ab"]
        )
        with pytest.raises(
            Refused, match=r"fields street, door: \('Elm', 'a'\) is taken by 1.2/\d+, and street, door of"
        ):
            await database.transact(lambda t: t.update(other, {"door": "a"}))
        with pytest.raises(Refused, match=r"field keys: 97 is taken by 1.2/\d+"):
            await database.transact(lambda t: t.update(other, {"keys": [5, 97]}))

        def swap(t: Any) -> None:
            t.update(one, {"door": "c", "keys": []})
            t.update(other, {"door": "a", "keys": [97, 5]})
            t.update(one, {"door": "b", "keys": [98]})

        await database.transact(swap)
        with database.view() as view:
            for where, found in (
                (And((Compare("street", "=", "Elm"), Compare("door", "=", "a"))), other),
                (Compare("keys", "contains", 97), other),
                (Compare("keys", "contains", 98), one),
            ):
                assert [each.reference for each in view.select(Question("Flat", where))] == [found]


streets = st.none() | st.text("ab\0", max_size=3) | st.text("ab\0", max_size=3).map(lambda text: text * 100)


@given(streets, streets, st.none() | st.integers(-2, 2), streets, streets, st.sampled_from([OWN, OTHER]))
def test_keys_of_several_fields_are_in_order_and_found_by_the_first_ones(
    street: Any, other_street: Any, house: Any, door: Any, other_door: Any, object_key: bytes
) -> None:
    for index in (HOUSE, DOOR):
        (key,) = index.keys(flat(street, house, door), object_key)
        assert len(key) <= 511
        exact = (street, house) if index is HOUSE else (street, door)
        for depth in (0, 1, 2):
            low, high = index.equal_range(*exact[:depth])
            assert low <= key < high
    (key,) = DOOR.keys(flat(street, door=door), object_key)
    (other,) = DOOR.keys(flat(other_street, door=other_door), object_key)
    if object_key is OWN and None not in (street, door, other_street, other_door):
        assert (key == other) == ((street, door) == (other_street, other_door))
    runs = [DOOR.run_of({"street": one, "door": two}, 2) for one, two in ((street, door), (other_street, other_door))]
    orders = [
        [(each is not None, (each or "").encode()) for each in pair]
        for pair in ((street, door), (other_street, other_door))
    ]
    if runs[0] != runs[1]:
        assert (runs[0] < runs[1]) == (orders[0] < orders[1]) == (key < other)


def test_each_different_element_has_an_entry() -> None:
    assert isinstance(TAGS, ElementIndex)
    keys = TAGS.keys(flat(tags=["b", "a", "b"]), OWN)
    assert keys == [encode_integer(70) + b"\0\4" + value + OWN for value in (b"\1b\0\0", b"\1a\0\0")]
    assert TAGS.keys(flat(tags=[]), OWN) == TAGS.keys(flat(), OWN) == []
    assert KEYS.keys(flat(keys=[5]), OWN)[0].endswith(b"\5" + END)
    for low, high in TAGS.ranges_holding("a")[1:]:
        assert low <= keys[1] < high
        assert not low <= keys[0] < high


def test_a_list_of_very_many_elements_has_one_entry_and_is_always_looked_at() -> None:
    many = [str(each) for each in range(MAX_ELEMENTS + 1)]
    assert len(TAGS.keys(flat(tags=many[1:] * 2), OWN)) == MAX_ELEMENTS
    (key,) = TAGS.keys(flat(tags=many), OWN)
    low, high = TAGS.ranges_holding("7")[0]
    assert low <= key < high
    with pytest.raises(Refused, match="keys has more than 1024"):
        KEYS.claims(flat(keys=list(range(MAX_ELEMENTS + 1))))


def test_a_class_with_indexes_of_elements_only_has_its_extent_too() -> None:
    tagged = definition_from_toml('name = "T"\n[fields]\ntags = { type = "list(int)", index = true }\n')
    elements, extent = compile_indexes(tagged, 71)
    assert not elements.whole
    assert extent.whole
    assert entries((elements, extent), [None], OWN) == [encode_integer(71) + b"\0\0" + OWN]
    assert all(each.whole for each in (HOUSE, DOOR))


# In a store: whatever was written, crashed or defined otherwise meanwhile, the table has exactly these entries.

ENDS = ("close", "crash")
WAYS = {
    "none": "",
    "together": '[[indexes]]\nfields = ["street", "house"]\n',
    "unique": '[[indexes]]\nfields = ["street", "door"]\nunique = true\n[[indexes]]\nfields = ["house", "street"]\n',
}
TAGGED = {"none": "", "index": ", index = true", "unique": ", unique = true"}
flats = st.fixed_dictionaries(
    {
        "street": st.none() | st.sampled_from(["Elm", "Oak" * 200, "Oak" * 200 + "s"]),
        "house": st.none() | st.integers(1, 3),
        "door": st.none() | st.sampled_from("ab"),
        "tags": st.none() | st.lists(st.sampled_from(["a", "b", "c" * 500]), max_size=2),
    }
)
steps = st.lists(
    st.tuples(st.just("create"), flats)
    | st.tuples(st.just("update"), st.integers(0, 5), flats)
    | st.tuples(st.just("delete"), st.integers(0, 5))
    | st.tuples(st.just("define"), st.sampled_from(list(WAYS)), st.sampled_from(list(TAGGED)))
    | st.sampled_from([(each,) for each in ENDS]),
    min_size=3,
    max_size=14,
)


class Dead(Exception):
    """The process ends here."""


def flat_class(way: str, tagged: str) -> ClassDefinition:
    return definition_from_toml(
        'name = "Flat"\n[fields]\nstreet = "string"\nhouse = "int"\ndoor = "string"\n'
        f'tags = {{ type = "list(string)"{TAGGED[tagged]} }}\n{WAYS[way]}'
    )


def clash(definition: ClassDefinition, objects: dict[int, dict[str, Any]]) -> bool:
    """Whether two of these cannot stand together: said in values, not in keys."""
    seen: set[Any] = set()
    for fields in objects.values():
        claims: list[Any] = []
        if definition.by_name["tags"].unique:
            claims += [("tags", each) for each in dict.fromkeys(fields["tags"] or ())]
        for index in definition.indexes:
            said = tuple(fields[name] for name in index.fields)
            if index.unique and None not in said:
                claims.append((index.fields, said))
        if seen.intersection(claims):
            return True
        seen.update(claims)
    return False


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_entries_are_those_of_the_objects_whatever_happened(
    make_server: Callable[..., Any], taken: list[tuple[Any, ...]]
) -> None:
    async def story() -> None:
        server = make_server()
        definition = flat_class("none", "none")
        objects: dict[int, dict[str, Any]] = {}
        left = [("define", "none", "none"), *taken]
        while left:
            with contextlib.suppress(Dead):
                async with server.open() as database:
                    while left and left[0][0] not in ENDS:
                        definition = await carry_out(database, definition, objects, *left.pop(0))
                        check(database, objects)
                    if left and left.pop(0)[0] == "crash":
                        raise Dead
                server.tables = MemoryTables()  # the log alone must tell all of it
                continue
            server.crash()
        async with server.open() as database:
            check(database, objects)

    async def carry_out(
        database: Any, definition: ClassDefinition, objects: dict[int, dict[str, Any]], step: str, *said: Any
    ) -> ClassDefinition:
        after = dict(objects)
        if step == "define":
            definition, before = flat_class(*said), definition
            act = functools.partial(database.define, definition)
        elif step == "create":
            after[-1] = said[0]
            act = functools.partial(database.transact, lambda t: t.create("Flat", said[0]).object)
        elif not objects:
            return definition
        elif step == "update":
            number = sorted(objects)[said[0] % len(objects)]
            after[number] = said[1]
            act = functools.partial(database.transact, lambda t: t.update(number, said[1]))
        else:
            number = sorted(objects)[said[0] % len(objects)]
            del after[number]
            act = functools.partial(database.transact, lambda t: t.delete(number))
        refused = None
        try:
            made = await act()
        except Refused as error:
            refused = error
        assert clash(definition, after) == (refused is not None), refused
        if refused is not None:
            assert refused.details["field"] in ("tags", "door")
            return before if step == "define" else definition
        if step == "create":
            after[made] = after.pop(-1)
        objects.clear()
        objects.update(after)
        return definition

    def check(database: Any, objects: dict[int, dict[str, Any]]) -> None:
        with database.view() as view:
            entry = view.registry.entry("Flat")
            expected = {}
            for number, fields in objects.items():
                key = END + encode_integer(number)
                values = [fields[name] for name in entry.codec.names]
                expected.update(dict.fromkeys(entries(entry.indexes, values, key), key))
            start = encode_integer(entry.number)
            assert dict(view.source.scan("index", start, after_prefix(start))) == expected
            assert {each.reference.object: each.fields for each in view.select(Question("Flat"))} == objects

    trio.run(story)
