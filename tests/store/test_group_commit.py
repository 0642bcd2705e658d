"""When a drain ends, and whether it syncs: a table of cases."""

import pytest

from store.group_commit import LEAST_DRAIN_S, MAX_GROUP_BYTES, MAX_TRANSACTIONS, MOST_DRAIN_S, REST_EVERY_S, Drain, Pace


def test_an_empty_queue_ends_the_drain_and_a_held_commit_wants_the_sync() -> None:
    drain = Drain(now=10.0)
    drain.note(500, held=True)
    assert not drain.ends(queued=1, now=10.0)
    drain.note(500, held=False)
    assert drain.ends(queued=0, now=10.0)
    assert drain.must_sync


def test_plain_writes_and_aborts_are_never_held() -> None:
    drain = Drain(now=0.0)
    for _ in range(5):
        drain.note(100, held=False)
    assert drain.ends(queued=0, now=0.0)
    assert not drain.must_sync


@pytest.mark.parametrize(
    ("transactions", "bytes_each", "waited_s", "ends"),
    [
        (1, 100, 0.0, False),
        (MAX_TRANSACTIONS - 1, 100, 0.0, False),
        (MAX_TRANSACTIONS, 100, 0.0, True),
        (1, MAX_GROUP_BYTES - 1, 0.0, False),
        (1, MAX_GROUP_BYTES, 0.0, True),
        (8, MAX_GROUP_BYTES // 8, 0.0, True),
        (1, 100, LEAST_DRAIN_S / 2, False),
        (1, 100, LEAST_DRAIN_S, True),
        (0, 0, LEAST_DRAIN_S * 10, True),
    ],
)
def test_a_queue_that_never_empties_is_drained_in_pieces(
    transactions: int, bytes_each: int, waited_s: float, ends: bool
) -> None:
    drain = Drain(now=0.0)
    for _ in range(transactions):
        drain.note(bytes_each, held=True)
    assert drain.ends(queued=1000, now=waited_s) is ends


@pytest.mark.parametrize(
    ("syncs", "drain_s"),
    [
        ([], LEAST_DRAIN_S),
        ([0.0002] * 20, LEAST_DRAIN_S),
        ([0.003] * 3, 0.012),
        ([0.003] * 15 + [9.0], 0.012),  # one that stalled
        ([0.003] * 15 + [0.0001] * 8, LEAST_DRAIN_S),  # the disk is fast again
        ([9.0], MOST_DRAIN_S),
    ],
)
def test_a_drain_may_take_as_long_as_four_syncs_have_taken_lately(syncs: list[float], drain_s: float) -> None:
    pace = Pace()
    for seconds in syncs:
        pace.note_sync(seconds)
    assert pace.drain_s == pytest.approx(drain_s)


def test_a_long_drain_lets_others_run_between_two_transactions() -> None:
    drain = Drain(now=1.0, limit_s=1.0)
    drain.note(100, held=True)
    assert not drain.must_rest(1.0)
    late = 1.0 + REST_EVERY_S
    assert drain.must_rest(late)
    assert not drain.ends(queued=5, now=late)
    drain.rested(late)
    assert not drain.must_rest(late)
    assert drain.ends(queued=5, now=2.0)
