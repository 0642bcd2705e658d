"""An owner that has published nothing: its mirrors know that they hold all of it, and how long ago that was so."""

from __future__ import annotations

import pytest

from replication.messages import FeedId
from replication.spool import Spool
from tests.replication.lab import Lab, Server

TWO_BEATS_S = 11.0


def age(server: Server, owner: Server) -> float | None:
    assert server.flood is not None
    return server.flood.age(owner.feed(), server.lab.now)


def test_a_mirror_of_an_owner_without_anything_holds_all_of_it():
    lab = Lab(1)
    owner, mirror, other = lab.servers("1.1", "1.2", "1.3")
    lab.subscribe(mirror, "1.1")
    lab.connect(owner, mirror)
    lab.connect(owner, other)
    lab.run(1)
    assert age(mirror, owner) == pytest.approx(0.9, abs=0.2)
    assert age(other, owner) is None  # it did not ask for it
    lab.run(TWO_BEATS_S)
    assert age(mirror, owner) < 6  # told again with every beat


def test_its_word_is_passed_on_and_grows_old_with_every_step():
    lab = Lab(2)
    owner, middle, end = lab.servers("1.1", "1.2", "1.3")
    for each in (middle, end):
        lab.subscribe(each, "1.*")
    lab.connect(owner, middle)
    lab.connect(middle, end)
    lab.run(TWO_BEATS_S)
    assert age(end, owner) is not None
    lab.cut(owner, middle)
    lab.run(30)
    assert 30 < age(middle, owner) <= age(end, owner) < 42


def test_who_hears_of_more_believes_no_older_word_that_there_is_nothing():
    spool = Spool("1.2", 1, lambda *_: None)  # type: ignore[arg-type]
    feed = FeedId("1.1", 1, 1)  # type: ignore[arg-type]
    spool.claim(feed, 0, 10.0)
    assert spool.age(feed, 12.0) == 2.0
    spool.claim(feed, 5, 11.0)
    assert spool.age(feed, 12.0) is None  # there is something, and nothing of it is here
    spool.claim(feed, 0, 100.0)
    assert spool.age(feed, 101.0) is None


def test_its_first_update_comes_as_ever():
    lab = Lab(3)
    owner, middle, end = lab.servers("1.1", "1.2", "1.3")
    for each in (middle, end):
        lab.subscribe(each, "1.*")
    lab.connect(owner, middle)
    lab.connect(middle, end)
    lab.run(TWO_BEATS_S)
    owner.commit()
    lab.run(2)
    assert end.numbers(owner) == [1]
    assert age(end, owner) is not None
    lab.run(2 * TWO_BEATS_S)
    assert age(end, owner) < 12
