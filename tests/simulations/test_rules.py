"""What links do to datagrams: each rule by itself, with its numbers; and the short way judges as the rules do."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from simulations import rules
from simulations.links import HEADER_BYTES, Even, Flap, Link, LongTail, Normal, Spike

DATA = bytes(100)


def judged(link: Link, count: int, *, every: float = 0.01, data: bytes = DATA, seed: int = 1) -> list[list[float]]:
    """Of `count` datagrams sent at a steady pace: the seconds each one's copies took; [] for a lost one."""
    direction = rules.Direction(link, random.Random(seed))
    return [[after for after, _ in direction.judge(data, number * every)[1]] for number in range(count)]


def why(link: Link, count: int, *, every: float = 0.01, data: bytes = DATA) -> list[str]:
    direction = rules.Direction(link, random.Random(1))
    return [direction.judge(data, number * every)[0] for number in range(count)]


def test_a_link_does_what_its_rules_say() -> None:
    direction = rules.Direction(Link(delay=0.02, jitter=0.0, duplicate=1.0), random.Random(1))
    assert direction.judge(b"hello", 0.0) == ("", ((0.02, b"hello"), (0.02, b"hello")))
    assert rules.Direction(Link(cut=True), random.Random(1)).judge(b"hello", 0.0) == ("cut", ())


def test_a_rule_that_is_not_set_is_not_there() -> None:
    direction = rules.Direction(Link(delay=0.0, jitter=0.0), random.Random(1))
    state = direction._random.getstate()
    assert direction.judge(b"hello", 0.0) == ("", ((0.0, b"hello"),))
    assert direction._random.getstate() == state
    assert not direction._gates
    assert not direction._lags


@pytest.mark.parametrize("chance", [0.02, 0.3, 0.8])
def test_loss_is_as_often_as_was_said_and_each_by_itself(chance: float) -> None:
    lost = [verdict == "loss" for verdict in why(Link(loss=chance), 20_000)]
    assert abs(sum(lost) / len(lost) - chance) < 0.015
    in_a_row = sum(one and other for one, other in pairwise(lost)) / sum(lost)
    assert abs(in_a_row - chance) < 0.05


@pytest.mark.parametrize(("chance", "burst"), [(0.05, 4), (0.3, 5), (0.5, 20), (0.9, 9)])
def test_bursts_are_as_long_as_was_said_and_no_more_is_lost(chance: float, burst: float) -> None:
    lost = [verdict == "burst" for verdict in why(Link(loss=chance, burst=burst), 60_000)]
    runs = sum(not one and other for one, other in pairwise(lost)) or 1
    assert abs(sum(lost) / len(lost) - chance) < 0.03
    assert abs(sum(lost) / runs - burst) < burst * 0.15


def test_a_rate_lets_one_after_another_pass_and_a_full_queue_drops_the_rest() -> None:
    # 128 bytes with their head at 10 240 bit/s take 0.1 s each; ten at once, of which 0.35 s may wait
    link = Link(delay=0.0, jitter=0.0, rate=10_240, queue=0.35)
    direction = rules.Direction(link, random.Random(1))
    at_once = [direction.judge(DATA, 0.0) for _ in range(10)]
    assert [round(copies[0][0], 6) for _, copies in at_once[:4]] == [0.1, 0.2, 0.3, 0.4]
    assert [verdict for verdict, _ in at_once] == [""] * 4 + ["queue"] * 6
    assert direction.judge(DATA, 0.1)[0] == ""  # one has left the queue
    assert direction.judge(DATA, 0.1)[0] == "queue"
    verdict, ((after, _),) = direction.judge(DATA, 60.0)
    assert (verdict, round(after, 6)) == ("", 0.1)  # and long after nobody waits
    assert len(DATA) + HEADER_BYTES == 128


def test_what_is_longer_than_the_mtu_vanishes() -> None:
    link = Link(mtu=1280)
    assert why(link, 1, data=bytes(1280 - HEADER_BYTES)) == [""]
    assert why(link, 1, data=bytes(1280 - HEADER_BYTES + 1)) == ["mtu"]


def test_a_link_that_flaps_is_down_for_about_its_part_of_the_time_and_up_first() -> None:
    verdicts = why(Link(flap=Flap(3, 1)), 100_000)
    assert verdicts[0] == ""
    down = [verdict == "flap" for verdict in verdicts]
    assert 0.21 < sum(down) / len(down) < 0.29
    changes = [number * 0.01 for number, (one, other) in enumerate(pairwise(down)) if one != other]
    turns = [later - earlier for earlier, later in pairwise(changes)]
    ups, downs = turns[1::2], turns[::2]
    assert 1.49 <= min(ups) < 1.8 < 4.2 < max(ups) <= 4.51
    assert 0.49 <= min(downs) < 0.6 < 1.4 < max(downs) <= 1.51


def test_what_is_corrupted_has_the_same_length_and_other_bits() -> None:
    direction = rules.Direction(Link(corrupt=0.5), random.Random(1))
    arrived = [direction.judge(DATA, 0.0)[1][0][1] for _ in range(2000)]
    turned = [sum(byte.bit_count() for byte in data) for data in arrived]
    assert all(len(data) == len(DATA) for data in arrived)
    assert 900 < sum(bool(bits) for bits in turned) < 1100
    assert set(turned) == set(range(9))  # one to eight bits, or none
    for size in (0, 1):
        assert len(rules.Direction(Link(corrupt=1.0), random.Random(1)).judge(bytes(size), 0.0)[1][0][1]) == size


def test_duplicates_come_as_often_as_was_said_each_with_a_delay_of_its_own() -> None:
    copies = judged(Link(duplicate=0.25, jitter=0.01), 4000)
    twice = [each for each in copies if len(each) == 2]
    assert 0.22 < len(twice) / len(copies) < 0.28
    assert all(one != other for one, other in twice)


def test_some_are_held_back_so_that_later_ones_overtake() -> None:
    delays = [copies[0] for copies in judged(Link(delay=0.02, jitter=0.0, reorder=0.1, reorder_by=0.05), 5000)]
    assert {round(delay, 6) for delay in delays} == {0.02, 0.07}
    assert 0.08 < sum(delay > 0.05 for delay in delays) / len(delays) < 0.12


@pytest.mark.parametrize("delay", [Even(0.1, 0.2), Normal(0.1, 0.02), LongTail(0.1, 2.0)])
def test_a_delay_may_vary_by_a_distribution(delay: Even | Normal | LongTail) -> None:
    again = random.Random(1)
    assert [copies[0] for copies in judged(Link(delay=delay, jitter=0.0), 50)] == [delay.draw(again) for _ in range(50)]


def test_spikes_come_about_as_often_as_was_said_and_reach_what_was_said() -> None:
    delays = [copies[0] for copies in judged(Link(delay=0.02, jitter=0.0, spike=Spike(0.5, 5, 1)), 100_000)]
    assert {round(delay, 6) for delay in delays} == {0.02, 0.5}
    assert 0.15 < sum(delay > 0.1 for delay in delays) / len(delays) < 0.25
    assert delays[0] == 0.02


def test_a_spike_on_a_delay_that_varies_adds_to_its_least() -> None:
    delays = [copies[0] for copies in judged(Link(delay=Even(0.1, 0.2), jitter=0.0, spike=Spike(0.5, 5, 1)), 5000)]
    assert all(delay <= 0.2 or 0.5 <= delay <= 0.6 for delay in delays)
    assert max(delays) > 0.5


def test_other_rules_do_not_empty_the_queue() -> None:
    slow = Link(delay=0.0, jitter=0.0, rate=10_240, queue=10)
    chance = random.Random(1)
    before = rules.Direction(slow, chance)
    for _ in range(5):
        before.judge(DATA, 0.0)
    during = rules.Direction(slow.changed({"duplicate": 0.0, "reorder": 0.5}), chance, before)
    assert during.judge(DATA, 0.0)[1][0][0] >= 0.6
    faster = rules.Direction(slow.changed({"rate": 20_480.0}), chance, during)  # another wire
    assert round(faster.judge(DATA, 0.0)[1][0][0], 6) == 0.05


def test_the_first_rule_that_takes_a_datagram_names_it() -> None:
    assert why(Link(flap=Flap(0.001, 1e9), mtu=1280), 3, data=bytes(2000)) == ["mtu", "flap", "flap"]
    assert why(Link(mtu=1280, loss=1.0), 1, data=bytes(2000)) == ["mtu"]
    assert why(Link(loss=1.0, rate=1.0, queue=0.0), 3) == ["loss"] * 3


def test_a_queue_is_empty_at_first() -> None:
    assert rules.Queueing(1.0, 0.0)._free_at == -math.inf
