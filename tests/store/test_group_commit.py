"""When a drain ends, and whether it syncs: a table of cases."""

import pytest

from store.group_commit import MAX_DRAIN_S, MAX_GROUP_BYTES, MAX_TRANSACTIONS, Drain


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
        (1, 100, MAX_DRAIN_S / 2, False),
        (1, 100, MAX_DRAIN_S, True),
        (0, 0, MAX_DRAIN_S * 10, True),
    ],
)
def test_a_queue_that_never_empties_is_drained_in_pieces(
    transactions: int, bytes_each: int, waited_s: float, ends: bool
) -> None:
    drain = Drain(now=0.0)
    for _ in range(transactions):
        drain.note(bytes_each, held=True)
    assert drain.ends(queued=1000, now=waited_s) is ends
