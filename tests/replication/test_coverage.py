"""What is held, against a plain dictionary; and digests that differ exactly where it differs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from identity.names import Pattern, ServerId
from replication.coverage import NOTHING, Coverage, Held
from replication.messages import FeedId
from store.records import DATA, REGISTRY

ALL = Pattern("*")


def held(last, mark=0):
    return Held(1, last, bytes([mark]) * 32)


def test_two_that_hold_the_same_have_one_digest():
    one, other = Coverage(), Coverage()
    feeds = [FeedId(ServerId.parse(name), 1, DATA) for name in ("1.2", "1.10", "1", "1.2.3")]
    for feed in feeds:
        one.hold(feed, held(5))
    for feed in reversed(feeds):
        other.hold(feed, held(5))
    assert one.digest(DATA, ALL) == other.digest(DATA, ALL)
    assert one.digest(REGISTRY, ALL) == NOTHING
    other.hold(feeds[0], held(6))
    assert one.digest(DATA, ALL) != other.digest(DATA, ALL)
    assert one.digest(DATA, Pattern("1.10")) == other.digest(DATA, Pattern("1.10"))
    other.hold(feeds[0], held(5, mark=1))  # as many, but not the same
    assert one.digest(DATA, ALL) != other.digest(DATA, ALL)


names = st.lists(st.integers(1, 4) | st.just(2**40), min_size=1, max_size=4).map(lambda parts: ServerId.of(*parts))
contents = st.dictionaries(st.tuples(names, st.integers(1, 2)), st.integers(1, 3), max_size=30)


def build(content):
    made = Coverage()
    for (server, incarnation), last in content.items():
        made.hold(FeedId(server, incarnation, DATA), held(last))
    return made


@given(contents, st.sampled_from(["*", "1.*", "1", "*,-1.2.*", "2.*,3"]))
def test_what_is_selected_is_what_a_plain_filter_selects_in_order(content, text):
    pattern = Pattern(text)
    expected = sorted(
        ((server.ended, incarnation) for server, incarnation in content if server in pattern),
    )
    found = [(feed.server.ended, feed.incarnation) for feed, _ in build(content).select(DATA, pattern)]
    assert found == expected
    for prefix in {server.ended[:4] for server, _ in content}:
        below = [(feed.server.ended, feed.incarnation) for feed, _ in build(content).select(DATA, pattern, prefix)]
        assert below == [key for key in expected if key[0].startswith(prefix)]


@given(contents, contents)
def test_the_descent_finds_every_difference_and_ends(mine, theirs):
    """Follow the branches that differ, as `catch_up` does, to single names: all that differs is found there."""
    one, other = build(mine), build(theirs)
    found = set()
    steps = [b""]
    taken = 0
    while steps:
        taken += 1
        assert taken < 200
        prefix = steps.pop()
        if one.digest(DATA, ALL, prefix) == other.digest(DATA, ALL, prefix):
            continue
        branches = other.branches(DATA, ALL, prefix)
        if not branches:
            found |= {feed for feed, _ in other.select(DATA, ALL, prefix)}
        for branch in branches:
            assert branch.prefix.startswith(prefix)
            assert len(branch.prefix) > len(prefix)
            assert branch.digest == other.digest(DATA, ALL, branch.prefix)
            steps.append(branch.prefix)
    differing = {
        FeedId(server, incarnation, DATA)
        for (server, incarnation), last in theirs.items()
        if mine.get((server, incarnation)) != last
    }
    assert differing <= found


def test_a_strangers_prefixes_fill_no_memory():
    coverage = Coverage()
    for n in range(5000):
        coverage.digest(DATA, ALL, n.to_bytes(4, "big"))
    assert len(coverage._digests) <= 1024


def test_counting_stops_where_it_is_told():
    coverage = build({(ServerId.of(1, n), 1): 1 for n in range(1, 200)})
    assert coverage.count(DATA, ALL, most=65) == 65
    assert coverage.count(DATA, ALL, most=1000) == len(coverage) == 199
