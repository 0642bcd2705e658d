"""How many entries lie in ranges: exact below the bound, and the narrowest of several is found without walking all."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from store.statistics import FIRST_BOUND, GROWTH, LAST_BOUND, count_entries, narrowest


class Numbers:
    """One entry for each number below `count`, under its two bytes; counts what is taken."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        assert table == "index"
        assert not reverse
        assert high is not None
        for number in range(int.from_bytes(low, "big"), min(int.from_bytes(high, "big"), self.count)):
            self.taken += 1
            yield number.to_bytes(2, "big"), b"object"


def between(low: int, high: int) -> tuple[bytes, bytes]:
    return low.to_bytes(2, "big"), high.to_bytes(2, "big")


def test_entries_are_counted_up_to_a_bound() -> None:
    numbers = Numbers(100)
    assert count_entries(numbers, [between(0, 10), between(20, 25)], 1000) == 15
    assert count_entries(numbers, [between(5, 3), between(90, 500)], 1000) == 10
    assert count_entries(numbers, [], 1000) == 0
    numbers.taken = 0
    assert count_entries(numbers, [between(0, 60), between(60, 90)], 7) == 7
    assert numbers.taken == 7


@given(st.lists(st.integers(0, 9000), min_size=1, max_size=4))
def test_the_narrowest_is_found_and_costs_little_more_than_it_holds(sizes: list[int]) -> None:
    numbers = Numbers(60_000)
    candidates = [[between(10_000 * n, 10_000 * n + size)] for n, size in enumerate(sizes)]
    found = narrowest(numbers, candidates)
    least = min(sizes)
    assert sizes[found] == least or least >= LAST_BOUND
    assert numbers.taken <= len(sizes) * max(FIRST_BOUND, 2 * GROWTH * min(least + 1, LAST_BOUND))
