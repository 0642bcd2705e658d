"""Whom a live update is pushed, as a table of cases."""

from __future__ import annotations

import pytest

from identity.names import Pattern, ServerId
from replication.feeds import MAX_KNOWN_FEEDS, Session, check_path_untrusted, may_push
from replication.messages import MAX_RANGES, FeedId, Subscription
from store.records import DATA, REGISTRY
from transport.ranges import Ranges

OWNER, ME, PEER = (ServerId.parse(name) for name in ("1.2", "1.3", "1.4"))
FEED = FeedId(OWNER, 1, DATA)


def session(pattern="1.2", kind=DATA, hop_limit=8):
    made = Session(PEER)
    made.subscribe((Subscription(kind, Pattern(pattern), b"", hop_limit, bytes(32)),))
    return made


def changed(change):
    made = session()
    change(made)
    return made


@pytest.mark.parametrize(
    ("to", "path", "expected"),
    [
        (session(), (OWNER, ME), True),
        (session("*"), (OWNER, ME), True),
        (session("1.3"), (OWNER, ME), False),
        (session("*,-1.2"), (OWNER, ME), False),
        (session("*", kind=REGISTRY), (OWNER, ME), False),
        (session(), (OWNER, PEER, ME), False),
        (session(hop_limit=2), (OWNER, ME), True),
        (session(hop_limit=1), (OWNER, ME), False),
        (changed(lambda each: each.lazy.update({OWNER: None})), (OWNER, ME), False),
        (changed(lambda each: each.lazy.update({ME: None})), (OWNER, ME), True),
        (changed(lambda each: setattr(each, "congested", True)), (OWNER, ME), False),
        (changed(lambda each: each.note_known(FEED, 1, 9)), (OWNER, ME), False),
        (changed(lambda each: each.note_known(FEED, 1, 8)), (OWNER, ME), True),
        (changed(lambda each: each.note_sent(FEED, 9)), (OWNER, ME), False),
        (changed(lambda each: each.streams.update({FEED: Ranges([(1, 5)])})), (OWNER, ME), False),
    ],
)
def test_whom_update_9_is_pushed(to, path, expected):
    assert may_push(to, FEED, 9, path) is expected


def test_an_owner_is_not_told_of_its_own_updates():
    own = Session(OWNER)
    own.subscribe((Subscription(DATA, Pattern("*"), b"", 8, bytes(32)),))
    assert not own.lacks_news(FEED, 9)
    assert session().lacks_news(FEED, 9)


@pytest.mark.parametrize(
    ("path", "live", "wrong"),
    [
        ((OWNER, PEER), True, None),
        ((PEER,), False, None),
        ((PEER,), True, "does not begin with the owner"),
        ((OWNER, ME), True, "does not end with its sender"),
        ((OWNER, PEER, OWNER, PEER), True, "twice"),
    ],
)
def test_what_is_wrong_with_a_path(path, live, wrong):
    found = check_path_untrusted(path, live=live, origin=OWNER, peer=PEER)
    assert (found is None) if wrong is None else (wrong in found)


def test_what_a_peer_says_to_hold_is_bounded():
    talker = session()
    for n in range(1, 400):
        talker.note_known(FEED, 2 * n, 2 * n)
    assert len(talker.known[FEED]) == MAX_RANGES
    talker.known.update({FeedId(OWNER, n, DATA): Ranges() for n in range(MAX_KNOWN_FEEDS)})
    assert not talker.note_known(FeedId(OWNER, 2**40, DATA), 1, 1)


def test_a_new_list_of_wishes_replaces_the_old():
    each = session()
    assert each.hop_limit(FEED) == 8
    each.subscribe(())
    assert each.hop_limit(FEED) == 0
