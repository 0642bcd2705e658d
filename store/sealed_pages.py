"""Sorted entries in pages that are sealed whole, so neither keys nor values are in the clear: a B+ tree.

    page 9   branch   b"" -> 7 | b"k" -> 8            a child has what is below it, from its bound to the next one's
    page 7   leaf     a: 1 | c: 2                     page 8   leaf     k: 3 | p: 4

    change c    ->    page 10 is page 7 with it, page 11 is page 9 with 10 in the place of 7; 7 and 9 go

A page never changes, and no number is given twice: a page is named by its number alone, an older one can never stand
for a newer one, and what was read once may be kept. Whoever holds a root has a whole tree of one moment.

Pure: `read` gives pages, `Rewriting` says which are new and which are gone. Left to others: where pages are, and the
sealing (`store.sealed_tables`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

PAGE_BYTES = 3900  # sealed, with LMDB's own 16 bytes and our checksum, it is one page of 4 096
FILL = 0.8  # of pages that are made new, so that what comes between finds room
SMALL = PAGE_BYTES // 4  # is joined with its neighbour
ENTRY_BYTES = 12  # that an entry takes besides its bytes, at most

Changes = Sequence[tuple[bytes, bytes | None]]  # in order of their keys; None: the key goes
_first = itemgetter(0)


class Page(NamedTuple):
    """`items` are the values of a leaf, or the numbers of a branch's children; `keys` those, or their bounds."""

    is_leaf: bool
    keys: list[bytes]
    items: list[Any]

    def to_bytes(self) -> bytes:
        return msgspec.msgpack.encode((self.is_leaf, self.keys, self.items))

    @classmethod
    def from_bytes(cls, data: bytes) -> Page:
        """Of what was sealed, and therefore made here."""
        return cls(*msgspec.msgpack.decode(data))

    def child(self, key: bytes) -> int:
        """Which of a branch's children has this key."""
        return max(bisect_right(self.keys, key) - 1, 0)

    @property
    def bytes(self) -> int:
        """What it takes, about."""
        return _bytes(self.keys, self.items if self.is_leaf else ())


Read = Callable[[int], Page]


def find(read: Read, root: int, key: bytes) -> bytes | None:
    """The value of a key, or None."""
    page = read(root)
    while not page.is_leaf:
        page = read(page.items[page.child(key)])
    at = bisect_left(page.keys, key)
    if at < len(page.keys) and page.keys[at] == key:
        value: bytes = page.items[at]
        return value
    return None


def leaves(read: Read, root: int, low: bytes, high: bytes | None, *, reverse: bool) -> Iterator[Page]:
    """Those that may have keys of low <= key < high, in order."""
    page = read(root)
    if page.is_leaf:
        yield page
        return
    first = page.child(low)
    end = len(page.keys) if high is None else max(bisect_left(page.keys, high), 1)
    numbers = page.items[first:end]
    for number in reversed(numbers) if reverse else numbers:
        yield from leaves(read, number, low, high, reverse=reverse)


class Rewriting:
    """What some changes make of trees: `new` pages, by number, and those that are `gone`."""

    def __init__(self, read: Read, next_page: int) -> None:
        self._read = read
        self.next_page = next_page
        self.new: dict[int, bytes] = {}
        self.gone: list[int] = []

    def change(self, root: int | None, changes: Changes) -> int | None:
        """The root of the changed tree; None: it is empty."""
        if root is None:
            pages = _pages(True, *_apply({}, changes))
        else:
            pages = [page for _, page in self._rewrite(root, changes)]
        while len(pages) > 1:
            numbers = [self._number(page) for page in pages]
            pages = _pages(False, [page.keys[0] for page in pages], numbers)
        if not pages:
            return None
        if not pages[0].is_leaf and len(pages[0].items) == 1:
            return self._lowered(pages[0].items[0])
        return self._number(pages[0])

    def _lowered(self, number: int) -> int:
        """Below a branch with one child only: the first that is a leaf or has more."""
        while True:
            page = self._page(number)
            if page.is_leaf or len(page.items) > 1:
                return number
            self._forget(number)
            number = page.items[0]

    def _rewrite(self, number: int, changes: Changes) -> list[tuple[bytes, Page]]:
        """What stands in the place of a page, with bounds; the first bound is the caller's to say."""
        page = self._page(number)
        self._forget(number)
        if page.is_leaf:
            made = _pages(True, *_apply(dict(zip(page.keys, page.items, strict=True)), changes))
            return [(each.keys[0], each) for each in made]
        children: list[tuple[bytes, int | Page]] = []
        at = 0
        for place, (bound, child) in enumerate(zip(page.keys, page.items, strict=True), start=1):
            end = len(changes)
            if place < len(page.keys):
                end = bisect_left(changes, page.keys[place], lo=at, key=_first)
            if at == end:
                children.append((bound, child))
            else:
                below = self._rewrite(child, changes[at:end])
                children += [(each_bound if count else bound, each) for count, (each_bound, each) in enumerate(below)]
            at = end
        joined = self._joined(children)
        numbers = [each if isinstance(each, int) else self._number(each) for _, each in joined]
        made = _pages(False, [bound for bound, _ in joined], numbers)
        return [(each.keys[0], each) for each in made]

    def _joined(self, children: list[tuple[bytes, int | Page]]) -> list[tuple[bytes, int | Page]]:
        """Pages that became small go together with the one before."""
        joined: list[tuple[bytes, int | Page]] = []
        for bound, child in children:
            if joined and (_is_small(child) or _is_small(joined[-1][1])):
                before_bound, before = joined.pop()
                one, other = self._taken(before), self._taken(child)
                keys = other.keys if other.is_leaf else [bound, *other.keys[1:]]
                made = _pages(one.is_leaf, one.keys + keys, one.items + other.items)
                joined += [(each.keys[0] if count else before_bound, each) for count, each in enumerate(made)]
            else:
                joined.append((bound, child))
        return joined

    def _taken(self, child: int | Page) -> Page:
        if isinstance(child, Page):
            return child
        page = self._page(child)
        self._forget(child)
        return page

    def _page(self, number: int) -> Page:
        made = self.new.get(number)
        return self._read(number) if made is None else Page.from_bytes(made)

    def _forget(self, number: int) -> None:
        if self.new.pop(number, None) is None:
            self.gone.append(number)

    def _number(self, page: Page) -> int:
        number = self.next_page
        self.next_page += 1
        self.new[number] = page.to_bytes()
        return number


def _apply(entries: dict[bytes, bytes], changes: Changes) -> tuple[list[bytes], list[bytes]]:
    for key, value in changes:
        if value is None:
            entries.pop(key, None)
        else:
            entries[key] = value
    keys = sorted(entries)
    return keys, [entries[key] for key in keys]


def _pages(is_leaf: bool, keys: list[bytes], items: list[Any]) -> list[Page]:
    """As many pages as they need, about equally full."""
    if not keys:
        return []
    total = _bytes(keys, items if is_leaf else ())
    if total <= PAGE_BYTES:
        return [Page(is_leaf, keys, items)]
    wanted = total / -(-total // int(PAGE_BYTES * FILL))
    pages = []
    start, taken = 0, 0
    for at, key in enumerate(keys):
        size = len(key) + ENTRY_BYTES + (len(items[at]) if is_leaf else 0)
        if at > start and (taken + size / 2 > wanted or taken + size > PAGE_BYTES):
            pages.append(Page(is_leaf, keys[start:at], items[start:at]))
            start, taken = at, 0
        taken += size
    pages.append(Page(is_leaf, keys[start:], items[start:]))
    return pages


def _bytes(keys: Sequence[bytes], values: Sequence[bytes]) -> int:
    return sum(map(len, keys)) + sum(map(len, values)) + ENTRY_BYTES * len(keys)


def _is_small(child: int | Page) -> bool:
    return isinstance(child, Page) and child.bytes < SMALL
