"""Searches: three, three more, farther; only a good path is believed; pauses that double; and what ends one."""

from __future__ import annotations

import math
from itertools import count
from random import Random

import pytest

from identity.names import ServerId
from routing.probes import MAX_HOPS, Confirm, NoWay
from routing.probing import (
    ANSWER_S,
    FIRST_PAUSE_S,
    LEAST_S,
    MAX_SEARCHES,
    SEARCH_S,
    WIDTH,
    Failed,
    Found,
    Probing,
    in_order,
    shared,
)
from routing.ways import Ask

ME, T = ServerId.parse("1.1"), ServerId.parse("1.2")
N = [ServerId.of(5, number) for number in range(1, 13)]


def made(*candidates: ServerId) -> Probing:
    return Probing(
        ME, candidates=lambda target: list(candidates), rtt_of=lambda server: 0.01, new_number=count(1).__next__,
        random=Random(1),
    )  # fmt: skip


def asks(machine: Probing) -> list[Ask]:
    return [each for each in machine.take_outputs() if isinstance(each, Ask)]


def answer_all(machine: Probing, now: float) -> list[Found | Failed]:
    """No to everything that is asked, until the search ends."""
    said: list[Found | Failed] = []
    for _ in range(100):
        outputs = machine.take_outputs()
        said += [each for each in outputs if not isinstance(each, Ask)]
        for each in outputs:
            if isinstance(each, Ask):
                machine.handle_answer_untrusted(each.number, NoWay(""), now)
        machine.handle_deadline(now)
        if not outputs and machine.deadline() == math.inf:
            break
    return said


def test_three_are_asked_then_three_others_farther_after_a_round_trip() -> None:
    machine = made(*N)
    assert machine.begin(T, 0.0)
    first = asks(machine)
    assert [each.server for each in first] == N[:WIDTH]
    assert {each.probe.hops for each in first} == {1}
    assert all(each.probe.path == (ME,) and each.probe.target == T for each in first)
    assert machine.deadline() == pytest.approx(0.02)
    machine.handle_deadline(0.02)
    second = asks(machine)
    assert [each.server for each in second] == N[WIDTH : 2 * WIDTH]
    assert {each.probe.hops for each in second} == {2}
    assert {each.probe.number for each in (*first, *second)} == {first[0].probe.number}  # one search


def test_the_first_confirmation_wins_and_the_next_is_told_too() -> None:
    machine = made(*N[:3])
    machine.begin(T, 0.0)
    one, two, three = asks(machine)
    assert machine.handle_answer_untrusted(one.number, Confirm((N[0], T), 5000), 0.01) is None
    assert machine.take_outputs() == [Found(T, (ME, N[0], T), 0.01)]
    machine.handle_deadline(0.1)
    assert asks(machine) == []  # nobody else is bothered
    machine.handle_answer_untrusted(two.number, Confirm((N[1], N[5], T), 90_000), 0.02)
    assert machine.take_outputs() == [Found(T, (ME, N[1], N[5], T), 0.09)]
    machine.handle_answer_untrusted(three.number, None, 0.5)
    assert machine.deadline() == math.inf
    assert machine.take_outputs() == []  # it has not failed


def test_what_was_found_does_not_work_so_the_others_are_asked() -> None:
    machine = made(*N[:6])
    machine.begin(T, 0.0)
    one = asks(machine)[0]
    machine.handle_answer_untrusted(one.number, Confirm((N[0], T), 1), 0.01)
    machine.take_outputs()
    assert machine.begin(T, 0.05)  # the router is back: no answer that way
    assert machine.deadline() == 0.05
    machine.handle_deadline(0.05)
    assert [each.server for each in asks(machine)] == N[3:6]
    machine.handle_deadline(SEARCH_S)
    assert [type(each) for each in machine.take_outputs()] == [Failed]


@pytest.mark.parametrize(
    "path",
    [(N[1], T), (N[0],), (N[0], N[1]), (N[0], ME, T), (N[0], N[1], N[1], T), (T,), (N[0], *N[3 : 3 + MAX_HOPS], T)],
)
def test_a_path_that_cannot_be_is_named_and_not_believed(path: tuple[ServerId, ...]) -> None:
    machine = made(*N[:3])
    machine.begin(T, 0.0)
    ask = asks(machine)[0]
    assert machine.handle_answer_untrusted(ask.number, Confirm(path, 1), 0.01) is not None
    assert not any(isinstance(each, Found) for each in machine.take_outputs())
    assert machine.handle_answer_untrusted(ask.number, Confirm((N[0], T), 1), 0.01) is None  # said once
    assert machine.take_outputs() == []


def test_the_longest_path_is_eight_servers_between() -> None:
    machine = made(N[0])
    machine.begin(T, 0.0)
    path = (N[0], *N[1:MAX_HOPS], T)
    assert machine.handle_answer_untrusted(asks(machine)[0].number, Confirm(path, 1), 0.01) is None
    (found,) = machine.take_outputs()
    assert len(found.path) == MAX_HOPS + 2


def test_no_of_everybody_fails_at_once_and_the_pause_doubles() -> None:
    machine = made(*N[:4])
    now, pauses = 0.0, []
    for _ in range(4):
        assert machine.begin(T, now)
        (failed,) = answer_all(machine, now)
        assert failed == Failed(T, 4)
        pauses.append(machine.may_begin_at(T) - now)
        assert not machine.begin(T, now + 0.01)
        now = machine.may_begin_at(T)
    assert FIRST_PAUSE_S * 0.75 <= pauses[0] <= FIRST_PAUSE_S * 1.25
    assert pauses[3] > 4 * pauses[0]
    machine.cancel(T)
    assert machine.begin(T, now)


def test_silence_of_everybody_fails_in_time_or_sooner_where_it_is_wanted() -> None:
    machine = made(*N)
    machine.begin(T, 0.0)
    while machine.deadline() < SEARCH_S:
        machine.handle_deadline(machine.deadline())
    assert {each.probe.hops for each in asks(machine)} == {1, 2, 4, MAX_HOPS}
    machine.handle_deadline(SEARCH_S)
    assert [type(each) for each in machine.take_outputs()] == [Failed]
    machine.begin(N[11], 10.0, until=10.1)
    machine.take_outputs()
    machine.handle_deadline(10.0 + LEAST_S)
    assert any(isinstance(each, Failed) for each in machine.take_outputs())


def test_a_quiet_search_asks_three_and_its_failure_is_no_news() -> None:
    machine = made(*N)
    machine.begin(T, 0.0, quiet=True)
    assert not machine.searches(T)
    assert len(asks(machine)) == WIDTH
    machine.handle_deadline(1.0)
    assert asks(machine) == []
    machine.handle_deadline(SEARCH_S)
    assert machine.take_outputs() == []
    machine.begin(T, 5.0, quiet=True)
    assert machine.begin(T, 5.0)  # a need takes its place
    assert machine.searches(T)


def test_searches_are_bounded_and_one_for_each_target() -> None:
    machine = made(N[0])
    for number in range(1, MAX_SEARCHES + 1):
        assert machine.begin(ServerId.of(7, number), 0.0)
    assert not machine.begin(T, 0.0)
    machine.take_outputs()
    assert machine.begin(ServerId.of(7, 1), 0.0)
    assert asks(machine) == []


def test_whom_to_ask_is_who_bridged_before_then_the_nearest_name_then_anybody() -> None:
    near, bridge, gone = ServerId.parse("1.2.7"), N[4], N[11]
    for seed in range(20):
        order = list(in_order(T, [*N[:6], near, T], [bridge, gone], Random(seed)))
        assert order[:2] == [bridge, near]
        assert sorted(order) == sorted([*N[:6], near])
    assert [shared(T, ServerId.parse(each)) for each in ("1.2.7", "1.3", "2", "1")] == [2, 1, 0, 1]


# -- ways that take long to confirm


def test_a_search_that_failed_is_followed_by_a_more_patient_one() -> None:
    machine = made(N[0])
    now, waited = 0.0, []
    for _ in range(6):
        now = max(now, machine.may_begin_at(T))
        assert machine.begin(T, now)
        ask, _ = asks(machine)  # near, and as far as it goes
        begun = now
        while not any(isinstance(each, Failed) for each in machine.take_outputs()):
            now = machine.deadline()
            machine.handle_deadline(now)
        waited.append((ask.deadline_s, now - begun))
    assert [each / ANSWER_S for each, _ in waited] == [1, 2, 4, 8, 8, 8]
    assert [each / SEARCH_S for _, each in waited] == pytest.approx([1, 2, 4, 8, 8, 8])


def test_a_way_that_took_long_is_looked_after_with_as_much_patience() -> None:
    machine = made(N[0])
    machine.begin(T, 0.0)
    ask, _ = asks(machine)  # near, and as far as it goes
    machine.handle_answer_untrusted(ask.number, Confirm((N[0], T), 10), 1.4)
    machine.cancel(T)
    assert machine.begin(T, 5.0, quiet=True)
    ask = asks(machine)[0]
    assert ask.deadline_s == pytest.approx(2.8)
    machine.handle_answer_untrusted(ask.number, Confirm((N[0], T), 10), 5.1)
    machine.cancel(T)
    assert machine.begin(T, 9.0, quiet=True)
    ask = asks(machine)[0]
    assert ask.deadline_s == ANSWER_S


def test_how_long_ways_took_is_remembered_of_a_bounded_number() -> None:
    machine = made(N[0])
    for number in range(5 * MAX_SEARCHES):
        target = ServerId.of(6, number + 1)
        machine.begin(target, 0.0)
        ask, _ = asks(machine)  # near, and as far as it goes
        machine.handle_answer_untrusted(ask.number, Confirm((N[0], target), 10), 1.0)
        machine.cancel(target)
    assert len(machine._took_s) == 4 * MAX_SEARCHES
