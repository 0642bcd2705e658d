"""Tables of an encrypted store: keys are field values too, so what lies on the disk is sealed pages, and no entries.

    what others see      "objects"  key -> value ...      "index"  key -> value ...       meta
    pages of a tree      page 1 . page 2 . page 3 ...     (`store.sealed_pages`), each sealed for its number
    what LMDB holds      "pages"    number -> sealed page                                 meta: sealed [roots, meta]

LMDB orders its keys and sees them, and an index entry begins with the value of a field: with values alone encrypted,
every indexed name would stand there in the clear. So LMDB keeps pages under their numbers; it still gives what it is
good at: one synced transaction for a fold, a snapshot that never changes, and a checksum that tells damage from a wrong
key (`store.checked`). In the clear: how many pages there are, how long each is, and which folds changed how many.

Pages are named by number in the page above them, up to the roots, which stand with the log's mark in one sealed entry:
no page can be moved, exchanged or put back in an older version without being named. Pages that were opened are kept, up
to `KEPT_BYTES`, for they never change. A fold opens and seals pages in a thread of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from identity.errors import Damaged, LocalMistake, Refused
from store.cipher import Cipher, DoesNotOpen
from store.sealed_pages import Page, Rewriting, find, leaves
from store.tables import MAX_KEY_BYTES, Changes, LmdbTables, Snapshot, Tables, check_key
from store.worker import Worker

PAGES = "pages"
KEPT_BYTES = 16 << 20  # of pages as they are sealed; opened they take about three times as much
GENERATION_BYTES = 16 << 20  # of an encrypted store: each entry of a fold may rewrite a page of 4 KiB, all in memory
LIFE_BYTES = 16


class Head(NamedTuple):
    """What the one sealed entry says. `life`: of these tables, made anew they have another."""

    life: bytes
    next_page: int
    roots: dict[str, int]
    meta: bytes


class SealedTables:
    """A `store.tables.Tables` whose content is sealed into `inner`. `threaded` False: everything in the loop."""

    def __init__(self, inner: Tables, cipher: Cipher, *, threaded: bool = True) -> None:
        self.inner = inner
        self._cipher = cipher
        self._worker = Worker("bangpath pages") if threaded else None
        self._kept: dict[int, tuple[int, Page]] = {}
        self._kept_bytes = 0

    def begin_read(self) -> SealedSnapshot:
        return SealedSnapshot(self.inner.begin_read(), self)

    async def fold(self, changes: Changes, meta: bytes) -> None:
        for changed in changes.values():
            for key in changed:
                check_key(key)
        snapshot = self.begin_read()
        try:
            if self._worker is None:
                pages, head = self._rewrite(snapshot, changes, meta)
            else:
                pages, head = await self._worker.run(lambda: self._rewrite(snapshot, changes, meta))
        finally:
            snapshot.close()
        await self.inner.fold({PAGES: pages}, self._cipher.pages.seal(msgspec.msgpack.encode(head), b"head"))

    def close(self) -> None:
        if self._worker is not None:
            self._worker.stop()
        self._kept.clear()
        self.inner.close()

    def _rewrite(
        self, snapshot: SealedSnapshot, changes: Changes, meta: bytes
    ) -> tuple[dict[bytes, bytes | None], Head]:
        """Pages that come and go, and the head after it. In the thread: it only reads what is kept."""
        head = snapshot.head() or Head(self._cipher.new_salt()[:LIFE_BYTES], 1, {}, b"")
        work = Rewriting(lambda number: snapshot.page(number, keep=False), head.next_page)
        roots = dict(head.roots)
        for name, changed in changes.items():
            entries = [(key, changed[key]) for key in sorted(changed)]
            root = work.change(roots.pop(name, None), entries) if entries else roots.pop(name, None)
            if root is not None:
                roots[name] = root
        pages: dict[bytes, bytes | None] = {_key(number): None for number in work.gone}
        for number, data in work.new.items():
            pages[_key(number)] = self._cipher.pages.seal(data, _place(head.life, number))
        return pages, Head(head.life, work.next_page, roots, meta)

    # For its snapshots

    def open_head(self, sealed: bytes) -> Head | None:
        """None before the first fold. Raises `Refused`: its checksum was right, so it is of another store."""
        if not sealed:
            return None
        try:
            return msgspec.msgpack.decode(self._cipher.pages.open(sealed, b"head"), type=Head)
        except (DoesNotOpen, msgspec.MsgspecError):
            raise Refused(
                "the tables were not sealed with the key of this store",
                next_step="move tables/ away: the log makes them anew, as far as it reaches",
            ) from None

    def kept(self, number: int) -> Page | None:
        """A page that was opened before."""
        kept = self._kept.get(number)
        return None if kept is None else kept[1]

    def open_page(self, life: bytes, number: int, sealed: bytes, *, keep: bool) -> Page:
        """`sealed` is empty when there is none. Raises `Damaged`."""
        try:
            page = Page.from_bytes(self._cipher.pages.open(sealed, _place(life, number)))
        except DoesNotOpen:
            raise Damaged(
                f"page {number} of the tables is {'not the one that was sealed' if sealed else 'gone'}",
                next_step="stop the server and run `bangpath check --repair`: the log has what was written",
            ) from None
        if keep:
            self._keep(number, page, len(sealed))
        return page

    def _keep(self, number: int, page: Page, size: int) -> None:
        while self._kept and self._kept_bytes + size > KEPT_BYTES:  # the one that came first goes first
            self._kept_bytes -= self._kept.pop(next(iter(self._kept)))[0]
        self._kept[number] = (size, page)
        self._kept_bytes += size


class SealedSnapshot:
    """A `store.tables.Snapshot` of `SealedTables`."""

    def __init__(self, inner: Snapshot, tables: SealedTables) -> None:
        self._inner = inner
        self._tables = tables
        self._head: Head | None = None
        self._closed = False

    @property
    def meta(self) -> bytes:
        head = self.head()
        return b"" if head is None else head.meta

    def head(self) -> Head | None:
        """Roots and meta. Raises `Damaged`, `Refused`."""
        if self._head is None:
            self._head = self._tables.open_head(self._inner.meta)
        return self._head

    def get(self, table: str, key: bytes) -> bytes | None:
        root = self._root(table)
        if len(key) > MAX_KEY_BYTES:
            raise LocalMistake(f"a key of more than {MAX_KEY_BYTES} bytes")
        return None if root is None else find(self.page, root, key)

    def scan(
        self, table: str, low: bytes = b"", high: bytes | None = None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        root = self._root(table)
        if root is None:
            return
        for leaf in leaves(self.page, root, low, high, reverse=reverse):
            entries = zip(leaf.keys, leaf.items, strict=True)
            for key, value in reversed(list(entries)) if reverse else entries:
                self._check()
                if low <= key and (high is None or key < high):
                    yield key, value

    def page(self, number: int, *, keep: bool = True) -> Page:
        """An opened page. Raises `Damaged`."""
        page = self._tables.kept(number)
        if page is None:
            assert self._head is not None, "a number of a page comes from the head"
            sealed = self._inner.get(PAGES, _key(number)) or b""
            page = self._tables.open_page(self._head.life, number, sealed, keep=keep)
        return page

    def close(self) -> None:
        self._closed = True
        self._inner.close()

    def _root(self, table: str) -> int | None:
        self._check()
        head = self.head()
        return None if head is None else head.roots.get(table)

    def _check(self) -> None:
        if self._closed:
            raise LocalMistake("a snapshot that was closed is read")


def sealed_in(inner: Tables, cipher: Cipher | None) -> Tables:
    """Tables that are sealed into these; these themselves where nothing is encrypted."""
    return inner if cipher is None else SealedTables(inner, cipher, threaded=isinstance(inner, LmdbTables))


def _key(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _place(life: bytes, number: int) -> bytes:
    return b"page" + life + _key(number)
