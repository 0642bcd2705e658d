"""Ranges: the next ACK and the next NAK."""

from __future__ import annotations

import pytest

from identity.errors import LocalMistake, PeerMisbehaved
from transport.ranges import Ranges


def test_what_was_received_is_the_ack_and_what_is_missing_the_nak() -> None:
    received = Ranges()
    for number in (0, 1, 2, 5, 6):
        received.add(number)
    assert received.as_list() == [(0, 2), (5, 6)]
    assert received.missing_below(7) == [(3, 4)]
    assert received.newest(1) == [(5, 6)]
    received.add(4)
    received.add(3)
    assert received.as_list() == [(0, 6)]
    assert received.missing_below(7) == []


@pytest.mark.parametrize(
    ("before", "added", "after", "new"),
    [
        ([], (5, 5), [(5, 5)], True),
        ([(0, 4)], (5, 9), [(0, 9)], True),
        ([(5, 9)], (0, 3), [(0, 3), (5, 9)], True),
        ([(5, 9)], (0, 4), [(0, 9)], True),
        ([(5, 9)], (6, 8), [(5, 9)], False),
        ([(5, 9)], (5, 9), [(5, 9)], False),
        ([(5, 9)], (3, 6), [(3, 9)], True),
        ([(5, 9)], (8, 12), [(5, 12)], True),
        ([(0, 1), (4, 5), (8, 9)], (2, 7), [(0, 9)], True),
        ([(0, 1), (4, 5), (8, 9)], (3, 6), [(0, 1), (3, 6), (8, 9)], True),
        ([(0, 1), (4, 5), (8, 9)], (5, 20), [(0, 1), (4, 20)], True),
        ([(0, 1)], (3, 3), [(0, 1), (3, 3)], True),
    ],
)
def test_add(before: list, added: tuple, after: list, new: bool) -> None:
    ranges = Ranges(before)
    assert ranges.add(*added) is new
    assert ranges.as_list() == after


@pytest.mark.parametrize(
    ("before", "removed", "after", "was_in"),
    [
        ([], (0, 9), [], False),
        ([(5, 9)], (0, 4), [(5, 9)], False),
        ([(5, 9)], (10, 11), [(5, 9)], False),
        ([(5, 9)], (5, 9), [], True),
        ([(5, 9)], (6, 8), [(5, 5), (9, 9)], True),
        ([(5, 9)], (0, 6), [(7, 9)], True),
        ([(5, 9)], (8, 20), [(5, 7)], True),
        ([(0, 1), (4, 5), (8, 9)], (1, 8), [(0, 0), (9, 9)], True),
    ],
)
def test_subtract(before: list, removed: tuple, after: list, was_in: bool) -> None:
    ranges = Ranges(before)
    assert ranges.subtract(*removed) is was_in
    assert ranges.as_list() == after


def test_questions() -> None:
    ranges = Ranges([(3, 5), (9, 9)])
    assert [number for number in range(12) if number in ranges] == [3, 4, 5, 9]
    assert (ranges.lowest, ranges.highest, ranges.count(), len(ranges)) == (3, 9, 4, 2)
    assert ranges.covers(3, 5)
    assert not ranges.covers(3, 9)
    assert not ranges.covers(10, 10)
    assert [ranges.next_missing(number) for number in (0, 3, 5, 6, 9, 10)] == [0, 6, 6, 6, 10, 10]
    assert ranges.missing(4, 20) == [(6, 8), (10, 20)]
    assert ranges.missing(9, 8) == []
    assert ranges.missing_below(10, bottom=5) == [(6, 8)]
    assert ranges.newest(9) == [(9, 9), (3, 5)]
    assert ranges.newest(0) == []
    assert ranges.present(4, 20) == [(4, 5), (9, 9)]
    assert ranges.present(4, 4) == [(4, 4)]
    assert ranges.present(6, 8) == ranges.present(10, 99) == []
    assert [ranges.gap_around(number, highest=50) for number in (0, 6, 8, 10)] == [(0, 2), (6, 8), (6, 8), (10, 50)]
    assert ranges.gap_around(7, lowest=7, highest=7) == (7, 7)
    for inside in (3, 9):
        with pytest.raises(LocalMistake):
            ranges.gap_around(inside)
    assert repr(ranges) == "Ranges(3-5 9)"
    assert ranges
    assert not Ranges()
    assert (Ranges().lowest, Ranges().highest, Ranges().count()) == (None, None, 0)


def test_equal_when_the_numbers_are_equal() -> None:
    assert Ranges([(5, 6), (0, 1), (2, 2)]) == Ranges([(0, 2), (5, 6)])
    assert Ranges([(0, 2)]) != Ranges([(0, 3)])
    assert Ranges() != [(0, 1)]
    with pytest.raises(TypeError):
        hash(Ranges())


def test_sets_out_of_sets() -> None:
    left, right = Ranges([(0, 9), (20, 29)]), Ranges([(5, 24), (40, 41)])
    assert left.union(right).as_list() == [(0, 29), (40, 41)]
    assert left.intersection(right).as_list() == [(5, 9), (20, 24)]
    assert left.difference(right).as_list() == [(0, 4), (25, 29)]
    assert right.difference(left).as_list() == [(10, 19), (40, 41)]
    assert Ranges([(0, 9), (12, 15)]).difference(Ranges([(2, 3), (8, 13)])).as_list() == [(0, 1), (4, 7), (14, 15)]
    copy = left.copy()
    copy.add(100)
    assert 100 not in left
    left.update(right)
    assert left.as_list() == [(0, 29), (40, 41)]
    many = Ranges((number, number) for number in range(0, 100, 2))
    many.update(Ranges([(1, 1)]))
    assert many.as_list()[0] == (0, 2)


def test_forgetting_and_bounds() -> None:
    ranges = Ranges([(0, 3), (6, 9), (20, 20)])
    ranges.forget_below(0)
    ranges.forget_below(8)
    assert ranges.as_list() == [(8, 9), (20, 20)]
    ranges.forget_below(8)
    assert ranges.keep_newest(2) == 0
    assert ranges.keep_newest(1) == 10
    assert ranges.as_list() == [(20, 20)]
    assert ranges.subtract(20)
    assert not ranges.subtract(20)


@pytest.mark.parametrize("pair", [(5, 4), (-1, 3)])
def test_no_such_range(pair: tuple) -> None:
    with pytest.raises(LocalMistake):
        Ranges().add(*pair)
    with pytest.raises(LocalMistake):
        Ranges([(0, 4)]).add(*pair)
    with pytest.raises(LocalMistake):
        Ranges().subtract(*pair)


def test_from_a_stranger() -> None:
    ranges = Ranges.from_list_untrusted([[1, 3], (5, 5)], max_ranges=2, lowest=1, highest=5)
    assert ranges.as_list() == [(1, 3), (5, 5)]
    assert not Ranges.from_list_untrusted([], max_ranges=0)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "12",
        [[1, 2], [4, 5], [7, 8]],
        [1, 2],
        [[1]],
        [[1, 2, 3]],
        [[2, 1]],
        [[0, 1]],
        [[1, 10]],
        [[1, 2], [3, 4]],
        [[4, 5], [1, 2]],
        [[1, 4], [3, 5]],
        [[1.0, 2]],
        [[True, 2]],
        [["1", 2]],
    ],
)
def test_refused_from_a_stranger(value: object) -> None:
    with pytest.raises(PeerMisbehaved):
        Ranges.from_list_untrusted(value, max_ranges=2, lowest=1, highest=9)
