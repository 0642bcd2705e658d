"""One time for each server: the last one said, however often it changes."""

from __future__ import annotations

import math

from identity.names import ServerId
from routing.timers import Timers

A, B = ServerId.parse("1.1"), ServerId.parse("1.2")


def test_the_last_word_counts() -> None:
    timers = Timers()
    assert timers.deadline() == math.inf
    timers.set(A, 17.0)
    timers.set(B, 12.0)
    timers.set(A, 14.5)
    assert timers.deadline() == 12.0
    assert list(timers.take_due(11.9)) == []
    assert list(timers.take_due(15.0)) == [B, A]
    assert timers.deadline() == math.inf
    timers.set(A, 20.0)
    timers.set(A, 30.0)  # later than before
    assert list(timers.take_due(25.0)) == []
    assert timers.deadline() == 30.0


def test_who_is_looked_at_may_be_set_again_meanwhile() -> None:
    timers = Timers()
    timers.set(A, 1.0)
    timers.set(B, 2.0)
    for server in timers.take_due(5.0):
        timers.set(server, 6.0)
    assert len(timers) == 2
    assert timers.deadline() == 6.0


def test_nothing_piles_up() -> None:
    timers = Timers()
    for number in range(1000):
        timers.set(A, 1.0 + number / 1000)
        assert len(list(timers.take_due(number / 1000))) <= 1
    assert len(timers) == 1
    assert list(timers.take_due(10.0)) == [A]
    assert len(timers._heap) == 0
