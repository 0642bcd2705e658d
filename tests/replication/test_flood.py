"""Stories of whole meshes: who gets what, how often, and what becomes of lies."""

from __future__ import annotations

from store.records import DATA, REGISTRY
from tests.replication.lab import Lab


def test_a_commit_reaches_a_mirror_once():
    lab = Lab(1)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, "1.1")
    lab.connect(a, b)
    lab.run(1)
    a.commit()
    lab.run(1)
    assert b.numbers(a) == [1]
    assert b.copies[a.feed(), 1] == 1
    assert b.numbers(a, REGISTRY) == a.numbers(b, REGISTRY) == [1]
    assert a.numbers(b, DATA) == []


def test_a_chain_passes_on_what_matches_and_nothing_else():
    lab = Lab(2, jitter=0.01)
    a, b, c, other = lab.servers("1.2.1", "1.3", "1.4", "1.5")
    lab.subscribe(b, "1.2.*,1.5")
    lab.subscribe(c, "1.2.*")
    lab.connect(a, b)
    lab.connect(b, c)
    lab.connect(other, b)
    lab.run(1)
    for i in range(50):
        a.commit()
        if i % 5 == 0:
            other.commit()
        lab.run(0.02)
    b.crash()
    for _ in range(50):
        a.commit()
        lab.run(0.02)
    b.restart()
    for x in (a, c, other):
        lab.connect(b, x)
    for _ in range(50):
        a.commit()
        lab.run(0.02)
    lab.run(5)
    assert b.numbers(a) == c.numbers(a) == list(range(1, 151))
    assert b.numbers(other) == list(range(1, 11))
    assert c.numbers(other) == []
    assert not [feed for feed, _ in c.copies if feed == other.feed()]
    assert all(c.applied[a.feed()] == 150 for _ in [0])
    assert c.has_all(a)
