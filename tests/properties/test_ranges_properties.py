"""Ranges against a plain set of numbers, whatever is done to both."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from transport.ranges import Ranges

INTERVALS = st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda pair: (pair[0], pair[0] + pair[1]))
STEPS = st.lists(st.tuples(st.sampled_from(["add", "subtract", "forget", "keep"]), INTERVALS), max_size=40)


def numbers(ranges: Ranges) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


def check_form(ranges: Ranges) -> None:
    """Sorted, disjoint, never touching, and the one form that a stranger's list must have."""
    assert Ranges.from_list_untrusted(ranges.as_list(), max_ranges=len(ranges)) == ranges


@given(STEPS)
def test_against_a_set(steps: list[tuple[str, tuple[int, int]]]) -> None:
    ranges, plain = Ranges(), set[int]()
    for act, (first, last) in steps:
        span = set(range(first, last + 1))
        if act == "add":
            assert ranges.add(first, last) == bool(span - plain)
            plain |= span
        elif act == "subtract":
            assert ranges.subtract(first, last) == bool(span & plain)
            plain -= span
        elif act == "forget":
            ranges.forget_below(first)
            plain = {number for number in plain if number >= first}
        else:
            floor = ranges.keep_newest(last - first)
            assert len(ranges) <= last - first
            plain = {number for number in plain if number >= floor}
        check_form(ranges)
        assert numbers(ranges) == plain
        assert ranges.count() == len(plain)
        assert ranges.lowest == min(plain, default=None)
        assert ranges.highest == max(plain, default=None)
        for number in range(75):
            assert (number in ranges) == (number in plain)
            assert ranges.next_missing(number) == next(n for n in range(number, 200) if n not in plain)
        gaps = numbers(Ranges(ranges.missing(first, last)))
        assert gaps == span - plain
        assert numbers(Ranges(ranges.present(first, last))) == span & plain
        assert ranges.covers(first, last) == (not gaps)
        assert ranges.newest(3) == ranges.as_list()[::-1][:3]


@given(st.lists(INTERVALS, max_size=12), st.lists(INTERVALS, max_size=12))
def test_sets_out_of_sets(left_pairs: list[tuple[int, int]], right_pairs: list[tuple[int, int]]) -> None:
    left, right = Ranges(left_pairs), Ranges(right_pairs)
    for result, expected in (
        (left.union(right), numbers(left) | numbers(right)),
        (left.intersection(right), numbers(left) & numbers(right)),
        (left.difference(right), numbers(left) - numbers(right)),
    ):
        check_form(result)
        assert numbers(result) == expected
    left.update(right)
    assert left == Ranges(left_pairs + right_pairs)


@given(st.lists(st.integers(0, 40), max_size=60))
def test_order_does_not_matter(singles: list[int]) -> None:
    forwards, backwards = Ranges(), Ranges()
    for number in singles:
        forwards.add(number)
    for number in reversed(singles):
        backwards.add(number)
    assert forwards == backwards
    assert numbers(forwards) == set(singles)
