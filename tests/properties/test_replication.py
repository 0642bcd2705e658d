"""Whatever is cut, crashed, delayed, reordered or refused: at the end everybody has everything, once and in order.

Each seed is one history of a random mesh (`tests.replication.lab`). The lab's store asserts at every step that nothing
is applied twice, out of order or unsigned; here it is asserted that nothing is missing when all is quiet again.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.records import DATA, REGISTRY
from tests.replication.lab import ADOPTION, Lab
from transport.wire import Priority

ACCUSATIONS = {"misbehaved", "forked", "rolled_back", "own_feed_ahead", "refused"}
SEEDS = range(80)  # 400 take 45 s and say the same


def wanted(server, owner) -> bool:
    return any(owner.id in pattern for _, pattern in server.wishes)


def check_equal(lab: Lab) -> None:
    for each in lab.all:
        for owner in lab.all:
            assert each.has_all(owner, REGISTRY), f"{each} lacks registry of {owner}"
            if wanted(each, owner):
                assert each.has_all(owner), f"{each} lacks data of {owner}: {each.numbers(owner)}"
            elif each is not owner:
                assert each.numbers(owner) == []
        assert each.flood.statistics()["held_bytes"] == 0
        assert not {"misbehaved", "forked", "rolled_back", "own_feed_ahead", "refused"} & set(each.events()), (
            each.events()
        )


def history(seed: int) -> Lab:
    random = Random(seed)
    lab = Lab(seed, delay=random.choice([0.001, 0.02]), jitter=random.choice([0, 0.01, 0.1]))
    count = random.randrange(3, 7)
    servers = lab.servers(*(f"1.{n}" for n in range(1, count + 1)))
    chosen = [random.sample(servers, random.randrange(0, count)) for _ in servers]
    for at, each in enumerate(servers):
        # Everybody carries what the next one wants, or there would be no carrier between it and the owner.
        patterns = ["*"] if random.random() < 0.6 else [str(other.id) for other in chosen[at]]
        for pattern in patterns:
            lab.subscribe(each, pattern)
        if random.random() < 0.3:
            each.sync_s = random.choice([0.0, 0.05, 0.5])
        if random.random() < 0.3:
            each.capacity = lambda to, message, r=random: message.PRIORITY == Priority.CONTROL or r.random() > 0.2
    links = [(one, other) for at, one in enumerate(servers) for other in servers[:at]]
    for one, other in links:
        if random.random() < 0.6:
            lab.connect(one, other)
    classes = 0
    for _ in range(random.randrange(20, 120)):
        step = random.random()
        one, other = random.choice(links)
        if step < 0.6:
            owner = random.choice(servers)
            if owner.up:
                owner.commit(leaves=random.randrange(1, 4))
        elif step < 0.66:
            owner = random.choice(servers)
            if owner.up:
                classes += 1
                name = f"class {classes:02}".encode()
                steps = [(REGISTRY, ADOPTION, name), (DATA, name, b"\x81\x02")]
                for kind, fingerprint, body in steps:
                    owner.commit(kind, fingerprint=fingerprint, body=body)
        elif step < 0.78:
            lab.cut(one, other)
        elif step < 0.92:
            lab.connect(one, other)
        elif step < 0.96:
            if one.up:
                one.crash()
            else:
                one.restart()
        elif one.capacity is not None:
            one.flood.handle_drained(other.id, lab.now)
            lab.pump(one)
        lab.run(random.choice([0, 0.005, 0.05, 0.3]))
    for each in servers:
        each.capacity = None
        each.sync_s = min(each.sync_s, 0.01)
        if not each.up:
            each.restart()
    for one, other in links:
        lab.connect(one, other)
    for each in servers:
        for other in servers:
            each.flood.handle_drained(other.id, lab.now)
        lab.pump(each)
    lab.run(60)
    return lab


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_missing_at_the_end(seed):
    check_equal(history(seed))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(["commit", "cut", "connect", "wait", "crash", "restart"]), max_size=40),
    st.integers(0, 2**32),
)
def test_a_chain_of_three_delivers_each_matching_update_once(steps, seed):
    lab = Lab(seed, jitter=0.02)
    a, b, c, stranger = lab.servers("1.2.1", "1.3", "1.4", "1.5")
    lab.subscribe(b, "1.2.*,1.5")
    lab.subscribe(c, "1.2.*")
    lab.connect(stranger, b)
    lab.connect(a, b)
    lab.connect(b, c)
    for step in steps:
        if step == "commit":
            a.commit()
            stranger.commit()
        elif step == "cut":
            lab.cut(*lab.random.choice([(a, b), (b, c)]))
        elif step == "connect":
            lab.connect(a, b)
            lab.connect(b, c)
        elif step == "wait":
            lab.run(lab.random.random() * 0.2)
        elif step == "crash" and b.up:
            b.crash()
        elif step == "restart" and not b.up:
            b.restart()
    if not b.up:
        b.restart()
    for one, other in ((stranger, b), (a, b), (b, c)):
        lab.connect(one, other)
    lab.run(30)
    assert c.has_all(a)
    assert b.has_all(a)
    assert c.numbers(stranger) == []
    assert not any(feed == stranger.feed() for feed, _ in c.copies)
    assert c.applied[a.feed()] == len(a.durable[a.feed()])


def test_the_same_seed_is_the_same_history():
    one, other = history(7), history(7)
    assert one.delivered == other.delivered
    assert [each.durable for each in one.all] == [each.durable for each in other.all]


@pytest.mark.slow
def test_ten_thousand_updates_cross_a_chain_once_and_nothing_else_does():
    lab = Lab(1)
    a, b, c, stranger = lab.servers("1.2.1", "1.3", "1.4", "1.5")
    lab.subscribe(b, "1.2.*,1.5")
    lab.subscribe(c, "1.2.*")
    for one, other in ((a, b), (b, c), (stranger, b)):
        lab.connect(one, other)
    lab.run(1)
    for number in range(10_000):
        a.commit()
        if number % 100 == 0:
            stranger.commit()
            lab.run(0.02)
        if number == 3_000:
            b.crash()
        if number == 6_000:
            b.restart()
            for other in (a, c, stranger):
                lab.connect(b, other)
    lab.run(40)  # the lab syncs each update by itself
    assert c.has_all(a)
    assert c.applied[a.feed()] == b.applied[a.feed()] == 10_000
    assert sum(count for (feed, _), count in c.copies.items() if feed == a.feed()) <= 10_100
    assert c.numbers(stranger) == []
    assert not any(feed == stranger.feed() for feed, _ in c.copies)
    assert b.numbers(stranger) == list(range(1, 101))
