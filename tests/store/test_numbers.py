"""A set of numbers is a set of numbers, and comes back ascending."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from store.numbers import Numbers

NEAR = st.integers(0, 100) | st.integers(32_760, 32_780) | st.integers(2**40, 2**40 + 9)


@given(st.lists(st.tuples(st.booleans(), NEAR), max_size=60), NEAR)
def test_it_is_as_any_set(acts: list[tuple[bool, int]], beyond: int) -> None:
    numbers, plain = Numbers(), set[int]()
    for adds, number in acts:
        changed = (number not in plain) == adds
        assert (numbers.add if adds else numbers.discard)(number) == changed
        (plain.add if adds else plain.discard)(number)
    assert len(numbers) == len(plain)
    assert all((each in numbers) == (each in plain) for _, each in acts)
    assert list(numbers.beyond(-1)) == sorted(plain)
    assert list(numbers.beyond(beyond)) == sorted(each for each in plain if each > beyond)
