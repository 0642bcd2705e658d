"""The search against histories that a person can judge, and against trying every order of small ones."""

from __future__ import annotations

import itertools
import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulations.linearize import Call, Verdict, linearize

OPEN = math.inf


def register(state: Any, what: tuple[str, Any]) -> Any:
    """One value that is written and read; ("add", n) adds and tells nothing."""
    verb, value = what
    if verb == "write":
        return value
    if verb == "add":
        return state + value
    return state if state == value else None


def search(*calls: Call, initial: Any = 0, budget: int = 100_000) -> Verdict:
    return linearize(calls, initial=initial, step=register, budget=budget)


def test_what_was_read_between_two_changes_has_one_order() -> None:
    found = search(Call(1, 6, ("write", 2)), Call(2, 3, ("read", 0)), Call(4, 5, ("read", 2)))

    assert found.ok
    assert found.order == (1, 0, 2)


def test_the_old_value_after_the_new_one_was_read_is_impossible() -> None:
    found = search(Call(1, 4, ("write", 2)), Call(2, 3, ("read", 2)), Call(5, 6, ("read", 0)))

    assert not found.ok
    assert found.stuck == (2,)  # who should have come next
    assert found.state == 2  # and where it stood
    assert found.order == (0, 1)


@pytest.mark.parametrize(("seen", "ok"), [(2, True), (0, True), (3, False)])
def test_a_change_whose_outcome_nobody_knows_may_have_happened_or_not(seen: int, ok: bool) -> None:
    assert search(Call(1, OPEN, ("write", 2)), Call(8, 9, ("read", seen))).ok is ok


def test_what_did_not_happen_yet_may_happen_later_but_not_be_undone() -> None:
    late = [Call(1, OPEN, ("write", 2)), Call(2, 3, ("read", 0)), Call(4, 5, ("read", 2))]

    assert search(*late).ok
    assert not search(*late, Call(6, 7, ("read", 0))).ok


def test_an_open_change_cannot_be_seen_before_it_began() -> None:
    assert not search(Call(1, 2, ("read", 2)), Call(3, OPEN, ("write", 2))).ok


def test_a_search_that_is_given_up_accuses_nobody() -> None:
    calls = [Call(0, OPEN, ("add", 2**number)) for number in range(24)] + [Call(1, 2, ("read", -1))]

    found = search(*calls, budget=5000)

    assert found.given_up


def test_a_long_right_history_costs_a_few_steps_for_each_call() -> None:
    dice = random.Random(7)
    moments: list[tuple[float, Any]] = []
    value = 0
    for at in range(5000):
        if dice.random() < 0.5:
            value = at
            moments.append((at, ("write", value)))
        else:
            moments.append((at, ("read", value)))
    calls = [Call(at - 4 * dice.random(), at + 4 * dice.random(), what) for at, what in moments]

    found = search(*calls, budget=100_000)

    assert found.ok
    assert len(found.order) == 5000


def brute_force(calls: list[Call]) -> bool:
    """Every subset of the open ones, in every order that respects the times."""
    certain = [call for call in calls if call.certain]
    unsure = [call for call in calls if not call.certain]
    for number in range(len(unsure) + 1):
        for happened in itertools.combinations(unsure, number):
            for order in itertools.permutations([*certain, *happened]):
                if any(b.end < a.begin for a, b in itertools.combinations(order, 2)):
                    continue
                state: Any = 0
                for call in order:
                    state = register(state, call.what)
                    if state is None:
                        break
                if state is not None:
                    return True
    return False


_what = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 2)),
    st.tuples(st.just("add"), st.just(1)),
    st.tuples(st.just("read"), st.integers(0, 3)),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(_what, st.floats(0, 10), st.floats(0, 5), st.booleans()), max_size=5))
def test_it_finds_an_order_exactly_where_there_is_one(drawn: list[Any]) -> None:
    times = sorted({time for _, begin, length, _ in drawn for time in (begin, begin + length + 0.001)})
    place = {time: number for number, time in enumerate(times)}  # counted, as a history counts them
    calls = [
        Call(
            place[begin] + index / 100,
            OPEN if unsure and what[0] != "read" else place[begin + length + 0.001] + index / 100,
            what,
        )
        for index, (what, begin, length, unsure) in enumerate(drawn)
    ]

    assert search(*calls).ok is brute_force(calls)
