"""Views over two generations and a snapshot: each sees its moment, whatever is committed and folded meanwhile."""

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from identity.errors import Exhausted, LocalMistake
from store.generations import Generations, SnapshotExpired, View
from store.tables import MemorySnapshot, MemoryTables
from store.versions import SLICE


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Store:
    """Generations over tables in memory, without a log."""

    def __init__(self, **settings: float) -> None:
        self.tables = MemoryTables()
        self.clock = Clock()
        self.generations = Generations(self.tables.begin_read(), clock=self.clock, **settings)  # type: ignore[arg-type]
        self.number = 0

    def commit(self, *, publish: bool = True, table: str = "t", **changes: bytes | None) -> None:
        self.number += 1
        self.generations.apply(self.number, {table: {key.encode(): value for key, value in changes.items()}})
        if publish:
            self.generations.publish(self.number)

    def fold(self) -> None:
        """What `store.fold` does, in one step."""
        finish = self.tables.fold(self.generations.frozen or {}, b"mark %d" % self.number)
        with pytest.raises(StopIteration):
            finish.send(None)
        self.generations.swap(self.tables.begin_read())


def test_a_view_sees_its_moment_through_commits_freeze_and_fold() -> None:
    store = Store()
    store.commit(a=b"1", b=b"1")
    view = store.generations.view()
    for step in (
        lambda: store.commit(a=b"2", b=None, c=b"2"),
        store.generations.freeze,
        lambda: store.commit(a=b"3"),
        store.fold,
        lambda: store.commit(a=b"4"),
    ):
        step()
        assert list(view.scan("t")) == [(b"a", b"1"), (b"b", b"1")]
        assert (view.get("t", b"a"), view.get("t", b"c")) == (b"1", None)
    with store.generations.view() as newest:
        assert list(newest.scan("t")) == [(b"a", b"4"), (b"c", b"2")]
        assert list(newest.scan("t", reverse=True)) == [(b"c", b"2"), (b"a", b"4")]
        assert newest.get("t", b"b") is None


def test_appended_is_seen_by_bodies_and_by_views_only_when_published() -> None:
    store = Store()
    store.commit(a=b"1")
    store.commit(a=b"2", publish=False)
    with store.generations.view() as view:
        assert view.get("t", b"a") == b"1"
        assert store.generations.appended.get("t", b"a") == b"2"
        store.generations.publish(2)
        assert view.get("t", b"a") == b"1"
    with store.generations.view() as view:
        assert view.get("t", b"a") == b"2"


def test_what_changed_since_a_view_is_known_even_after_folds() -> None:
    store = Store()
    store.commit(a=b"1", b=b"1")
    view = store.generations.view()
    assert not view.changed("t", b"a")
    assert not view.range_changed("t")
    store.commit(b=b"1", publish=False)  # to what it was: a change all the same
    assert view.changed("t", b"b")
    assert not view.changed("t", b"a")
    store.generations.publish(store.number)
    store.generations.freeze()
    store.fold()
    store.commit(c=b"1")
    assert view.changed("t", b"b")
    assert view.changed("t", b"c")
    assert not view.changed("t", b"a")
    assert view.range_changed("t", b"b", b"c")
    assert view.range_changed("t", b"c")
    assert not view.range_changed("t", b"", b"b")
    assert not view.range_changed("t", b"d")
    assert not view.range_changed("other")
    with store.generations.view() as newer:
        assert not newer.range_changed("t")


def test_a_view_expires_after_its_time_and_its_snapshot_is_closed() -> None:
    store = Store()
    store.commit(**{f"k{number}": b"1" for number in range(9)})
    store.generations.freeze()
    store.fold()
    snapshot = store.generations._base.snapshot
    assert isinstance(snapshot, MemorySnapshot)
    old = store.generations.view()
    scan = old.scan("t")
    next(scan)
    store.clock.now += 20
    young = store.generations.view()
    store.generations.freeze()
    store.fold()
    assert not snapshot._closed
    store.clock.now += 10
    store.commit(x=b"1")
    for read in (
        lambda: old.get("t", b"k1"),
        lambda: next(scan),
        lambda: old.scan("t"),
        lambda: old.changed("t", b"k1"),
        lambda: old.range_changed("t"),
    ):
        with pytest.raises(SnapshotExpired, match="older than it may be"):
            read()
    assert issubclass(SnapshotExpired, Exhausted)
    assert not snapshot._closed, "the young view reads through the same snapshot"
    assert young.get("t", b"k1") == b"1"
    young.close()
    young.close()
    assert snapshot._closed


def test_a_scan_that_was_not_begun_when_the_view_ended() -> None:
    store = Store()
    store.commit(a=b"1")
    view = store.generations.view()
    scan = view.scan("t")
    view.close()
    with pytest.raises(SnapshotExpired):
        next(scan)


def test_a_scan_held_over_commits_gives_its_moment() -> None:
    store = Store()
    count = SLICE * 3
    store.commit(**{f"{number:05d}": b"old" for number in range(0, count * 2, 2)})
    with store.generations.view() as view:
        for reverse in (False, True):
            seen = []
            for entry in view.scan("t", reverse=reverse):
                seen.append(entry)
                if len(seen) % 100 == 0:
                    store.commit(**{f"{random.Random(len(seen)).randrange(count * 2):05d}": b"new"})
                    store.commit(**{entry[0].decode(): None})
            expected = [(b"%05d" % number, b"old") for number in range(0, count * 2, 2)]
            assert seen == (expected[::-1] if reverse else expected)


def test_versions_that_nobody_can_see_are_dropped() -> None:
    store = Store()
    store.commit(hot=bytes(1000))
    with store.generations.view():
        store.commit(hot=bytes(1000))
        grown = store.generations.active_bytes
        for _ in range(100):
            store.commit(hot=bytes(1000))
        assert store.generations.active_bytes < grown + 3000
    for _ in range(3):
        store.commit(hot=bytes(1000))
    assert store.generations.active_bytes < 4000
    assert store.generations.active_entries == 1


def test_a_group_of_many_changes_of_one_key_is_undone_by_nothing() -> None:
    store = Store()
    store.commit(hot=b"0")
    for number in range(1, 50):
        store.commit(hot=b"%d" % number, publish=False)
        with store.generations.view() as view:
            assert view.get("t", b"hot") == b"0"
    store.generations.publish(30)
    with store.generations.view() as view:
        assert view.get("t", b"hot") == b"29"


def test_full_generations_make_commits_wait_for_the_fold() -> None:
    store = Store(max_bytes=10_000)
    assert not store.generations.fold_due
    store.commit(a=bytes(5000))
    assert store.generations.fold_due
    store.generations.freeze()
    assert not store.generations.fold_due
    assert not store.generations.must_wait
    store.commit(b=bytes(10_000))
    assert store.generations.must_wait
    store.fold()
    assert not store.generations.must_wait
    assert store.generations.fold_due


def test_steps_out_of_order_are_our_mistake() -> None:
    store = Store()
    store.commit(a=b"1", publish=False)
    with pytest.raises(LocalMistake, match="not durable"):
        store.generations.freeze()
    with pytest.raises(LocalMistake, match="commit 1 after commit 1"):
        store.generations.apply(1, {})
    with pytest.raises(LocalMistake, match="published"):
        store.generations.publish(2)
    with pytest.raises(LocalMistake, match="nothing was frozen"):
        store.generations.swap(store.tables.begin_read())
    store.generations.publish(1)
    with pytest.raises(LocalMistake, match="published"):
        store.generations.publish(0)
    store.generations.freeze()
    with pytest.raises(LocalMistake, match="frozen already"):
        store.generations.freeze()
    with pytest.raises(LocalMistake, match="keys have"):
        store.generations.apply(2, {"t": {b"": b"x"}})


def test_what_may_still_be_seen_is_known() -> None:
    """Blobs that nobody needs any more are kept as long."""
    store = Store()
    store.commit(a=b"1")
    view = store.generations.view()
    store.commit(a=b"2")
    assert store.generations.oldest_seen == 1
    view.close()
    assert store.generations.oldest_seen == 2


def test_closing_ends_all_views() -> None:
    store = Store()
    view = store.generations.view()
    store.generations.close()
    with pytest.raises(SnapshotExpired):
        view.get("t", b"a")


KEYS = st.sampled_from([b"%c%c" % (first, second) for first in b"abc" for second in b"123"])
VALUES = st.one_of(st.none(), st.binary(max_size=3))
BOUNDS = st.sampled_from([b"", b"a2", b"b", b"b9", b"c3", b"d"])


class GenerationsAgainstDicts(RuleBasedStateMachine):
    """Any order of commits, publishing, freezing, folding, viewing and closing, against plain copies of a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.appended: dict[bytes, bytes] = {}
        self.published: dict[bytes, bytes] = {}
        self.views: list[tuple[View, dict[bytes, bytes], set[bytes]]] = []

    @rule(changes=st.dictionaries(KEYS, VALUES, max_size=4))
    def append(self, changes: dict[bytes, bytes | None]) -> None:
        self.store.number += 1
        self.store.generations.apply(self.store.number, {"t": changes})
        for key, value in changes.items():
            if value is None:
                self.appended.pop(key, None)
            else:
                self.appended[key] = value
        for _, _, touched in self.views:
            touched.update(changes)

    @rule()
    def publish(self) -> None:
        self.store.generations.publish(self.store.number)
        self.published = dict(self.appended)

    @precondition(lambda self: self.appended == self.published and self.store.generations.frozen is None)
    @rule()
    def freeze(self) -> None:
        self.publish()
        self.store.generations.freeze()

    @precondition(lambda self: self.store.generations.frozen is not None)
    @rule()
    def fold(self) -> None:
        self.store.fold()

    @precondition(lambda self: self.store.generations.published == self.store.generations.appended_number)
    @rule()
    def open_view(self) -> None:
        self.views.append((self.store.generations.view(), dict(self.published), set()))

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def close_view(self, data: st.DataObject) -> None:
        self.views.pop(data.draw(st.integers(0, len(self.views) - 1)))[0].close()

    @rule(low=BOUNDS, high=st.one_of(st.none(), BOUNDS), reverse=st.booleans())
    def scan(self, low: bytes, high: bytes | None, reverse: bool) -> None:
        for view, model, touched in [*self.views, (self.store.generations.appended, self.appended, set())]:
            expected = sorted((k, v) for k, v in model.items() if low <= k and (high is None or k < high))
            assert list(view.scan("t", low, high, reverse)) == (expected[::-1] if reverse else expected)
            changed = any(low <= key and (high is None or key < high) for key in touched)
            assert view.range_changed("t", low, high) == changed

    @invariant()
    def every_view_sees_its_moment(self) -> None:
        for view, model, touched in [*self.views, (self.store.generations.appended, self.appended, set())]:
            for key in (b"a1", b"b2", b"c3"):
                assert view.get("t", key) == model.get(key)
                assert view.changed("t", key) == (key in touched)


TestGenerationsAgainstDicts = GenerationsAgainstDicts.TestCase
TestGenerationsAgainstDicts.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
