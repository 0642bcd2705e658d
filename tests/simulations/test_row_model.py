"""What a question means, in a few lines of its own: held to examples, and to the product's own filters and orders."""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from identity.names import Incarnation, ObjectId, Reference, ServerId
from simulations.row_model import comes_first, fits
from store.definitions import ClassDefinition, Field
from store.query import And, Compare, Condition, Not, Or, compile_filter, sort_key

NOTE = ClassDefinition(
    name="Note",
    fields=(
        Field(name="text"), Field(name="n", type="int"), Field(name="f", type="float"), Field(name="b", type="bool"),
        Field(name="near", type="reference"),
    ),
)  # fmt: skip
TEXTS = st.none() | st.text(alphabet="ab\0é", max_size=3)
NUMBERS = st.none() | st.integers(-2, 2)
HALVES = st.none() | st.sampled_from([-1.5, -1.0, 0.0, 0.5, 2.0])
TRUTHS = st.none() | st.booleans()
NEAR = st.none() | st.builds(
    lambda server, number: Reference(ServerId.parse(server), Incarnation(1), ObjectId(number)),
    st.sampled_from(["1", "1.1", "1.2", "1.1.1", "2"]),
    st.sampled_from([1, 2, 300]),
)
ROWS = st.fixed_dictionaries({"text": TEXTS, "n": NUMBERS, "f": HALVES, "b": TRUTHS, "near": NEAR})
ORDERS = st.lists(st.tuples(st.sampled_from(["text", "n", "f", "b", "near"]), st.booleans()), max_size=3)
COMPARISONS = st.one_of(
    st.builds(Compare, st.just("text"), st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "^="]), TEXTS),
    st.builds(Compare, st.just("n"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), NUMBERS),
    st.builds(Compare, st.just("n"), st.just("in"), st.lists(NUMBERS, max_size=2).map(tuple)),
    st.builds(Compare, st.just("n"), st.sampled_from(["=", "<", "<=", ">", ">="]), HALVES),
    st.builds(Compare, st.just("f"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), HALVES | NUMBERS),
    st.builds(Compare, st.just("b"), st.sampled_from(["=", "!="]), TRUTHS),
    st.builds(Compare, st.just("near"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), NEAR),
    st.builds(Compare, st.sampled_from(["text", "near"]), st.just("is null")),
)
CONDITIONS: st.SearchStrategy[Condition] = st.recursive(
    COMPARISONS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)


def at(number: int, server: str = "1.1") -> Reference:
    return Reference(ServerId.parse(server), Incarnation(1), ObjectId(number))


def before(order: list[tuple[str, bool]], one: dict[str, Any], other: dict[str, Any]) -> bool | None:
    return comes_first(order, (at(1), one), (at(2), other))


@given(CONDITIONS, ROWS)
def test_it_understands_conditions_as_the_product_promises(where: Condition, row: dict[str, Any]) -> None:
    assert fits(where, row) is compile_filter(where, NOTE)(row)


@given(ORDERS, ROWS, ROWS)
def test_it_understands_orders_as_the_product_promises(
    order: list[tuple[str, bool]], one: dict[str, Any], other: dict[str, Any]
) -> None:
    key = sort_key(NOTE, order)
    assert before(order, one, other) is (key(at(1), one) < key(at(2), other))


def test_descending_is_the_other_way_round_but_for_the_reference() -> None:
    assert before([("n", False)], {"n": 1}, {"n": 2})
    assert before([("n", True)], {"n": 2}, {"n": 1})
    assert before([("n", True)], {"n": 1}, {"n": 2}) is False
    assert before([("n", True)], {"n": 1}, {"n": 1})
    assert before([("n", True)], {"n": 1}, {"n": None})
    assert comes_first([], (at(9), {}), (at(1, "1.2"), {}))


def test_a_reference_may_be_said_as_text_with_its_server() -> None:
    assert fits(Compare("near", "=", "1.2/7"), {"near": at(7, "1.2")}) is True
    assert fits(Compare("near", "!=", "1.2/7"), {"near": at(8, "1.2")}) is True
    assert fits(Compare("near", "in", ("1.2/7", "1.1/8")), {"near": at(8)}) is True
    assert fits(Compare("near", "=", "1.2/7"), {"near": None}) is False
    assert fits(Compare("near", "=", "/7"), {"near": at(7)}) is None  # the asker's own, and nobody says who asked


def test_what_it_does_not_know_it_does_not_say() -> None:
    assert fits(Compare("day", "=", "2026-11-21"), {"day": date(2026, 11, 21)}) is None
    assert fits(Compare("gone", "=", 1), {}) is None
    assert fits(And((Compare("n", "=", 1), Compare("gone", "=", 1))), {"n": 2}) is False
    assert fits(Or((Compare("n", "=", 1), Compare("gone", "=", 1))), {"n": 2}) is None
    assert before([("n", False)], {"n": [1]}, {"n": [2]}) is None
    assert before([("n", False)], {"n": math.nan}, {"n": 1.0}) is None
    assert before([("n", False)], {"n": Decimal("0.5")}, {"n": Decimal("0.25")}) is False
