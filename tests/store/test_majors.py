"""A name means all classes of that name: each question is answered from all of them, as from one."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from identity.errors import Refused
from identity.names import Incarnation, ObjectId, Reference, ServerId
from store.definitions import ClassDefinition, definition_from_toml
from store.fieldtypes import parse_type
from store.keys import any_key, key_bytes
from store.majors import ALWAYS, NEVER, adapted, check_named, common_sort_key
from store.query import And, Compare, Condition, Not, Or, Question, reference_key
from store.records import DATA, REGISTRY
from store.registry import BUILT_IN, CLASS
from tests.store.conftest import Server
from tests.store.test_foreign import Feed, class_body, kinds

FEET = definition_from_toml(
    'name = "Port"\n[fields]\nname = {type = "string", index = true}\nfeet = "int"\nkind = "int"\n'
)
METRES = definition_from_toml(
    'name = "Port"\nversion = "2.0"\n[fields]\nname = {type = "string", index = true}\n'
    'metres = {type = "float", index = true}\nkind = "float"\n'
)
WORDS = definition_from_toml(
    'name = "Port"\nversion = "3.0"\n[fields]\nname = {type = "enum(Bern,Rome,Oslo)", index = true}\n'
    'kind = "string"\ntags = "list"\n'
)
ALL = {1: FEET, 2: METRES, 3: WORDS}


def bodies(rows: list[tuple[int, tuple[Any, ...]]]) -> list[tuple[int, ClassDefinition, bytes]]:
    return [(100 + at, ALL[major], ALL[major].codec.encode(list(values))) for at, (major, values) in enumerate(rows)]


async def hear(database: Any, rows: list[tuple[int, tuple[Any, ...]]]) -> None:
    """A mirror of a server whose objects are of several majors."""
    registry, data = Feed("1.9", REGISTRY), Feed("1.9", DATA)
    told = [(70 + at, BUILT_IN[CLASS], class_body(each)) for at, each in enumerate(ALL.values())]
    assert kinds(await database.apply([registry.update(*told)])) == ["Applied"]
    if rows:
        assert kinds(await database.apply([data.update(*bodies(rows))])) == ["Applied"]


def names(view: Any, question: Question) -> list[Any]:
    return [each.fields["name"] for each in view.select(question)]


async def test_a_question_is_answered_from_all_majors(server: Any) -> None:
    rows = [(1, ("Bern", 1771, 1)), (2, ("Rome", 13.5, 1.5)), (1, ("Oslo", 75, 2)), (3, ("Rome", "x", [1]))]
    async with server.open() as database:
        await hear(database, rows)
        with database.view() as view:
            ordered = list(view.select(Question("Port", order=(("name", False), ("feet", True)))))
            assert [(each.fields["name"], each.major) for each in ordered] == [
                ("Bern", 1), ("Oslo", 1), ("Rome", 2), ("Rome", 3),
            ]  # fmt: skip
            assert view.class_of(ordered[2]) == METRES
            assert names(view, Question("Port", Compare("feet", ">", 100))) == ["Bern"]
            assert names(view, Question("Port", Compare("feet", "is null"))) == ["Rome", "Rome"]
            assert names(view, Question("Port", Not(Compare("metres", ">", 100)), limit=3)) == ["Bern", "Rome", "Oslo"]
            assert names(view, Question("Port", order=(("kind", True),))) == ["Rome", "Oslo", "Rome", "Bern"]
            shown = Question("Port", Compare("name", "^=", "R"), fields=("metres", "tags"))
            assert [each.fields for each in view.select(shown)] == [
                {"metres": 13.5, "tags": None}, {"metres": None, "tags": [1]},
            ]  # fmt: skip
            assert view.complete("Port", "name", "") == ["Rome"]  # text and a choice are no values of one kind
            assert view.definition("Port") == WORDS
            assert {each.name for each in view.definitions("Port")} == {"Port"}
    server.crash()
    async with server.open() as database:
        with database.view() as view:
            assert names(view, Question("Port", Compare("feet", "!=", None))) == ["Bern", "Oslo"]


async def test_what_no_major_knows_is_refused_and_what_one_knows_is_not(server: Any) -> None:
    async with server.open() as database:
        await hear(database, [(1, ("Bern", 1771, 1)), (3, ("Rome", "x", [1]))])
        with database.view() as view:
            for bad, cause in (
                (Question("Port", Compare("beds", "=", 1)), "no field 'beds'"),
                (Question("Port", Compare("beds", "is null")), "no field 'beds'"),
                (Question("Port", order=(("beds", False),)), "no field 'beds'"),
                (Question("Port", fields=("beds",)), "no field 'beds'"),
                (Question("Port", order=(("tags", False),)), "no order"),
                (Question("Port", Compare("feet", "^=", "x")), "only text and bytes"),
                (Question("Port", Not(And((Compare("kind", "contains", 1),)))), "only lists"),
                (Question("Port", limit=-1), "limit"),
            ):
                with pytest.raises(Refused, match=cause):
                    list(view.select(bad))
                with pytest.raises(Refused, match=cause):
                    view.explain(bad)
            assert names(view, Question("Port", Compare("tags", "contains", 1))) == ["Rome"]
            assert names(view, Question("Port", Compare("kind", ">", "a"))) == ["Rome"]
            assert names(view, Question("Port", Compare("kind", ">=", 1))) == ["Bern"]
            assert names(view, Question("Port", Compare("kind", "in", (1, "x")))) == ["Bern", "Rome"]


async def test_a_plan_tells_of_each_major_and_skips_those_that_cannot_answer(server: Any) -> None:
    async with server.open() as database:
        await hear(database, [(1, ("Bern", 1771, 1)), (2, ("Rome", 13.5, 1.5)), (2, ("Oslo", 9.0, 1.5))])
        with database.view() as view:
            plan = view.explain(Question("Port", Compare("name", "=", "Rome")))
            assert [each.fields["name"] for batch in plan.batches() for each in batch] == ["Rome"]
            told = plan.as_json()
            assert (told["index"], told["access"], told["rows"]) == ("name", "equal", 1)
            assert [(each["major"], each["index"], each["estimated"]) for each in told["majors"]] == [(1, "name", 0)]
            plan = view.explain(Question("Port", Compare("metres", ">", 10)))
            assert [each.fields["name"] for batch in plan.batches() for each in batch] == ["Rome"]
            assert plan.as_json()["index"] == "metres"
            assert "majors" not in plan.as_json()
            plan = view.explain(Question("Port", Compare("tags", "contains", 1)))
            assert [list(batch) for batch in plan.batches() if batch] == []


def test_what_a_class_has_not_is_null_in_a_condition() -> None:
    feet, metres = Compare("feet", ">", 5), Compare("metres", ">", 5)
    for condition, means in (
        (metres, NEVER),
        (Not(metres), ALWAYS),
        (Compare("metres", "!=", 5), ALWAYS),
        (Compare("metres", "!=", None), NEVER),
        (Compare("metres", "=", None), ALWAYS),
        (Compare("metres", "in", (1, None)), ALWAYS),
        (Compare("metres", "in", (1,)), NEVER),
        (And((feet, metres)), NEVER),
        (And((feet, Not(metres))), feet),
        (Or((feet, metres)), feet),
        (Or((feet, Not(metres))), ALWAYS),
        (Or((metres, metres)), NEVER),
        (Not(feet), Not(feet)),
        (Compare("name", "<", 5), NEVER),
        (Compare("name", "!=", 5), ALWAYS),
        (Compare("name", "in", (5, "x")), Compare("name", "in", ("x",))),
    ):
        question = adapted(Question("Port", condition, fields=("metres",)), FEET)
        assert question.where == (None if means == ALWAYS else means), condition
        assert question.fields is None


numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**18), max_value=10**18),
    st.sampled_from(
        [2**53, 2**53 + 1, float(2**53), Decimal(2**53) + Decimal("0.5"), 0, -0.0, Decimal("1E-64"), 1e-64]
    ),
)


@given(one=numbers, other=numbers)
def test_numbers_of_all_types_have_one_order(one: Any, other: Any) -> None:
    a, b = Fraction(one), Fraction(other)
    assert (any_key(one) < any_key(other)) == (a < b)
    assert (any_key(one) == any_key(other)) == (a == b)


@given(st.text(), st.text(), st.binary(), st.binary())
def test_values_of_one_type_keep_their_order(one: str, other: str, raw: bytes, more: bytes) -> None:
    text, data = parse_type("string"), parse_type("bytes")
    assert (any_key(one) < any_key(other)) == (key_bytes(text, one) < key_bytes(text, other))
    assert (any_key(raw) < any_key(more)) == (key_bytes(data, raw) < key_bytes(data, more))
    assert any_key(None) == any_key([1]) < any_key(True) < any_key(0) < any_key("") < any_key(b"")


def test_an_order_goes_on_when_a_class_becomes_known_meanwhile() -> None:
    key = common_sort_key([FEET], (("kind", True),))
    row = Reference(ServerId.parse("1.9"), Incarnation(5), ObjectId(7))
    assert key(row, {"kind": 3}) < key(row, {"kind": 2})
    assert key(row, {"kind": "x"}).endswith(reference_key(row))
    with pytest.raises(Refused):
        check_named(Question("Port", Compare("metres", "=", 1)), [FEET])


# Against the plainest answer there is.

NAMES = ("Bern", "Rome", "Oslo")
FIELDS = ("name", "feet", "metres", "kind", "tags")
ROWS = st.lists(
    st.one_of(
        st.tuples(st.just(1), st.tuples(st.sampled_from(NAMES), st.integers(0, 3) | st.none(), st.integers(0, 3))),
        st.tuples(
            st.just(2), st.tuples(st.sampled_from(NAMES), st.sampled_from([0.0, 1.5, 2.0]), st.sampled_from([1.0, 1.5]))
        ),
        st.tuples(st.just(3), st.tuples(st.sampled_from(NAMES), st.sampled_from(["", "1", "x"]), st.just([1]))),
    ),
    max_size=12,
)
COMPARES = st.one_of(
    st.builds(Compare, st.just("name"), st.sampled_from(["=", "!=", "^="]), st.sampled_from([*NAMES, "R"])),
    st.builds(
        Compare, st.sampled_from(["feet", "metres", "kind"]), st.sampled_from(["=", "!=", "<", ">="]), st.integers(0, 2)
    ),
    st.builds(Compare, st.just("kind"), st.sampled_from(["=", "!=", "<", "^="]), st.sampled_from(["1", "x"])),
    st.builds(Compare, st.sampled_from(["kind", "feet"]), st.just("in"), st.sampled_from([(1, 2), (1, None)])),
    st.builds(Compare, st.sampled_from(FIELDS), st.just("is null")),
)
CONDITIONS = st.recursive(
    COMPARES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.lists(inner, max_size=3).map(tuple).flatmap(lambda all_: st.sampled_from([And(all_), Or(all_)])),
    ),
    max_leaves=5,
)


def meets(condition: Condition, fields: Mapping[str, Any]) -> bool:
    if isinstance(condition, And):
        return all(meets(each, fields) for each in condition.conditions)
    if isinstance(condition, Or):
        return any(meets(each, fields) for each in condition.conditions)
    if isinstance(condition, Not):
        return not meets(condition.condition, fields)
    found, op, value = fields.get(condition.field), condition.op, condition.value
    if isinstance(found, int) and isinstance(value, str) and op != "^=" and value.isdigit():
        value = int(value)  # as the command line writes numbers
    if op in ("is null", "in", "=", "!="):
        return {
            "is null": found is None,
            "in": op == "in" and found in value,
            "=": found == value,
            "!=": found != value,
        }[op]
    if found is None or isinstance(found, str) != isinstance(value, str):
        return False
    return bool({"^=": lambda: found.startswith(value), "<": lambda: found < value, ">=": lambda: found >= value}[op]())


def plain_key(value: Any) -> tuple[int, Any]:
    return (0, 0) if value is None else (2, value) if isinstance(value, str) else (1, value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=ROWS,
    where=st.none() | CONDITIONS,
    order=st.lists(st.tuples(st.sampled_from(FIELDS[:4]), st.booleans()), max_size=2, unique_by=lambda each: each[0]),
    limit=st.none() | st.integers(0, 4),
)
async def test_the_answer_is_that_of_one_class_with_all_fields(rows: Any, where: Any, order: Any, limit: Any) -> None:
    server = Server()
    async with server.open() as database:
        await hear(database, rows)
        expected = [
            (100 + at, dict(zip(ALL[major].codec.names, values, strict=True)))
            for at, (major, values) in enumerate(rows)
        ]
        expected = [each for each in expected if where is None or meets(where, each[1])]
        for field, descending in reversed(order):
            expected.sort(key=lambda each: plain_key(each[1].get(field)), reverse=descending)
        question = Question("Port", where, tuple(order), limit)
        with database.view() as view:
            found = [(each.reference.object, each.fields) for each in view.select(question)]
            assert found == expected[:limit]
            shown = [each.fields for each in view.select(Question("Port", where, tuple(order), limit, FIELDS))]
            assert shown == [{name: fields.get(name) for name in FIELDS} for _, fields in expected[:limit]]
            plan = view.explain(question)
            assert [each.reference.object for batch in plan.batches() for each in batch] == [at for at, _ in found]
