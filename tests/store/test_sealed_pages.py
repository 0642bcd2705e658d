"""A tree of pages holds what a dictionary would, whatever is put in and taken out, and its pages stay small."""

from __future__ import annotations

import random

import pytest

from store.sealed_pages import PAGE_BYTES, Page, Rewriting, find, leaves


class Kept:
    """Pages by number, as some tables keep them."""

    def __init__(self) -> None:
        self.pages: dict[int, bytes] = {}
        self.next_page = 1
        self.root: int | None = None

    def read(self, number: int) -> Page:
        return Page.from_bytes(self.pages[number])

    def change(self, changes: dict[bytes, bytes | None]) -> None:
        work = Rewriting(self.read, self.next_page)
        self.root = work.change(self.root, [(key, changes[key]) for key in sorted(changes)])
        assert not work.new.keys() & self.pages.keys()  # no number twice
        for number in work.gone:
            del self.pages[number]
        self.pages |= work.new
        self.next_page = work.next_page

    def entries(self, low: bytes = b"", high: bytes | None = None, *, reverse: bool = False) -> list[bytes]:
        if self.root is None:
            return []
        found = [leaf.keys for leaf in leaves(self.read, self.root, low, high, reverse=reverse)]
        return [key for keys in found for key in (reversed(keys) if reverse else keys)]


def test_a_few_entries_are_one_page() -> None:
    kept = Kept()
    kept.change({b"b": b"2", b"a": b"1"})
    assert kept.root is not None
    assert (find(kept.read, kept.root, b"a"), find(kept.read, kept.root, b"c")) == (b"1", None)
    kept.change({b"a": None, b"b": None, b"c": None})
    assert (kept.root, kept.pages) == (None, {})


@pytest.mark.parametrize("seed", range(8))
def test_it_is_a_sorted_dictionary(seed: int) -> None:
    draw = random.Random(seed)
    kept, wanted = Kept(), dict[bytes, bytes]()
    for step in range(40):
        changes: dict[bytes, bytes | None] = {}
        for _ in range(draw.choice((1, 5, 400))):
            key = draw.randrange(3000).to_bytes(2, "big") * draw.choice((1, 1, 40))
            changes[key] = (
                None if draw.random() < (0.2, 0.9)[step // 10 % 2] else draw.randbytes(draw.choice((0, 9, 90)))
            )
        if draw.random() < 0.1:
            changes[b"large"] = draw.randbytes(20_000)
        if draw.random() < 0.1:
            changes |= dict.fromkeys(wanted)
        kept.change(changes)
        wanted = {key: value for key, value in {**wanted, **changes}.items() if value is not None}
        assert kept.entries() == sorted(wanted)
        assert kept.entries(reverse=True) == sorted(wanted, reverse=True)
        low, high = sorted((draw.randbytes(2), draw.randbytes(2)))
        for reverse in (False, True):
            found = [key for key in kept.entries(low, high, reverse=reverse) if low <= key < high]
            assert found == sorted((key for key in wanted if low <= key < high), reverse=reverse)
        for key in draw.sample(sorted(wanted), min(20, len(wanted))):
            assert kept.root is not None
            assert find(kept.read, kept.root, key) == wanted[key]
        reached = set[int]()
        _reach(kept, kept.root, reached)
        assert reached == kept.pages.keys()  # nothing is left over
        for number in reached:
            page = kept.read(number)
            assert len(kept.pages[number]) <= PAGE_BYTES or len(page.keys) == 1


def _reach(kept: Kept, number: int | None, reached: set[int]) -> None:
    if number is None:
        return
    reached.add(number)
    page = kept.read(number)
    for child in () if page.is_leaf else page.items:
        _reach(kept, child, reached)


def test_pages_that_became_small_are_joined() -> None:
    kept = Kept()
    kept.change({number.to_bytes(4, "big"): b"x" * 40 for number in range(20_000)})
    full = len(kept.pages)
    kept.change({number.to_bytes(4, "big"): None for number in range(20_000) if number % 50})
    assert len(kept.entries()) == 400
    assert len(kept.pages) < full / 20
