"""What continues a feed, as a table of cases; and the bookkeeping between the wire and the disk."""

from __future__ import annotations

import pytest

from identity.names import ServerId
from replication.chain import RECENT, START, Arrival, Chain, Mark, Standing, Verdict, are_conflicting, judge
from replication.messages import FeedId
from store.records import DATA, Head, Update, head_hash

SERVER = ServerId.parse("1.2")
FEED = FeedId(SERVER, 1, DATA)
NONCE, OTHER = b"n" * 16, b"o" * 16
MARK = Mark(7, b"h" * 32, 3, NONCE, 50)


def head(number=8, previous=b"h" * 32, epoch=3, nonce=NONCE, root=b"r" * 32):
    return Head(SERVER, 1, DATA, epoch, nonce, number, previous, root, 1)


@pytest.mark.parametrize(
    ("mark", "offered", "lowest", "verdict"),
    [
        (MARK, head(), 51, Verdict.CONTINUES),
        (MARK, head(), 50, Verdict.CONTINUES),  # two groups of one transaction's number cannot be told apart
        (MARK, head(), 49, Verdict.ROLLBACK),  # the sequence falls
        (MARK, head(epoch=4, nonce=OTHER), 51, Verdict.CONTINUES),  # the owner restarted
        (MARK, head(epoch=4, nonce=OTHER), 49, Verdict.ROLLBACK),
        (MARK, head(epoch=2, nonce=OTHER), 51, Verdict.ROLLBACK),  # the epoch falls
        (MARK, head(epoch=3, nonce=OTHER), 51, Verdict.ROLLBACK),  # one counter, two runs
        (MARK, head(epoch=4, nonce=NONCE), 51, Verdict.CONTINUES),
        (MARK, head(previous=b"x" * 32), 51, Verdict.FORK),
        (MARK, head(previous=b"x" * 32, epoch=4, nonce=OTHER), 51, Verdict.ROLLBACK),  # another branch: no lie
        (MARK, head(previous=b"x" * 32, epoch=2, nonce=OTHER), 51, Verdict.ROLLBACK),
        (START, head(number=1, previous=bytes(32)), 1, Verdict.CONTINUES),
        (START, head(number=1, previous=bytes(32), epoch=0), 1, Verdict.CONTINUES),
        (START, head(number=1, previous=b"x" * 32), 1, Verdict.ROLLBACK),
    ],
)
def test_what_continues_a_feed(mark, offered, lowest, verdict):
    assert judge(mark, offered, lowest=lowest) is verdict


def test_what_proves_a_fork():
    one = head()
    assert are_conflicting(one, head(root=b"s" * 32))
    assert not are_conflicting(one, one)
    assert not are_conflicting(one, head(root=b"s" * 32, nonce=OTHER))
    assert not are_conflicting(one, head(root=b"s" * 32, epoch=4))
    follows = head(number=9, previous=head_hash(one.to_bytes()))
    disowns = head(number=9, previous=b"x" * 32)
    assert not are_conflicting(one, follows)
    assert are_conflicting(one, disowns)
    assert are_conflicting(disowns, one)
    assert not are_conflicting(one, head(number=10))


def arrival(number, live=True):
    update = Update(head(number), bytes(64), b"")
    return Arrival(update, bytes([number]) * 32, 100, (SERVER,), live, not live, 50 + number, 50 + number, None)


def test_from_the_wire_to_the_disk():
    chain = Chain(FEED)
    first, second = arrival(1), arrival(2)
    chain.take(first)
    chain.take(second)
    assert (chain.durable.number, chain.taken.number) == (0, 2)
    assert chain.confirm(second.update) is None  # out of order: never
    assert chain.confirm(first.update) is first
    assert chain.confirm(first.update) is None  # once
    assert chain.confirm(arrival(2).update) is None  # another object: of before a fall back
    assert chain.fall_back() == [second]
    assert chain.taken == chain.durable
    assert chain.taken.number == 1


def test_a_feed_that_stands_forgets_what_waited():
    chain = Chain(FEED)
    late = arrival(5)
    chain.waiting[5] = late
    assert chain.stand(Standing.QUARANTINED, "it lied") == [late]
    assert not chain.grows
    assert not chain.waiting


def test_only_recent_hashes_are_remembered():
    chain = Chain(FEED)
    for number in range(1, RECENT + 50):
        chain.note(number, bytes(32), live=True)
    assert len(chain.recent) == RECENT
    assert 49 not in chain.recent
    assert RECENT + 49 in chain.recent


def test_a_claim_is_redeemed_when_the_numbers_are_there():
    chain = Chain(FEED)
    chain.prove_current(0, 5.0)
    assert chain.current_at == 5.0
    chain.prove_current(1, 9.0)
    assert chain.current_at == 5.0
    chain.take(arrival(1))
    chain.redeem()
    assert chain.current_at == 5.0
    chain.confirm(chain.in_flight[1][0].update)
    chain.redeem()
    assert chain.current_at == 9.0
    chain.prove_current(1, 3.0)  # an older proof takes nothing away
    assert chain.current_at == 9.0
