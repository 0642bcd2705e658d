"""When silence becomes a doubt, when the direct way is known to work again, and what goes directly beside a route."""

from __future__ import annotations

import pytest

from transport.directness import (
    ASIDE_S,
    FLOOR_S,
    FRESH_S,
    LEAST_COPY_S,
    PATIENCE_MOST,
    PATIENCE_S,
    REPEAT_MOST_S,
    Directness,
)

DELAY_S = 0.010


def made(*, direct: bool = True) -> Directness:
    return Directness(direct=direct, ack_delay_s=DELAY_S, now=0.0)


@pytest.mark.parametrize(
    ("smoothed", "variance", "wait"),
    [(0.001, 0.0, 0.001 + FLOOR_S), (0.100, 0.020, 0.140), (0.300, 0.001, 0.300 + FLOOR_S)],
)
def test_silence_is_a_doubt_after_a_round_trip_and_two_variances(smoothed: float, variance: float, wait: float) -> None:
    each = made()
    assert each.doubt_at(5.0, smoothed, variance) == pytest.approx(5.0 + wait + DELAY_S)
    each.handle_news(6.0)  # what was acknowledged meanwhile counts
    assert each.doubt_at(5.0, smoothed, variance) == pytest.approx(6.0 + wait + DELAY_S)
    each.forgive(7.0)  # and so does our own lateness
    assert each.doubt_at(5.0, smoothed, variance) == pytest.approx(7.0 + wait + DELAY_S)


def test_a_doubt_is_told_again_ever_more_rarely() -> None:
    each = made()
    waits, now = [], 0.0
    for _ in range(10):
        due = each.doubt_at(0.0, 0.02, 0.005)
        waits.append(due - now)
        now = due
        each.doubt(now)
    assert waits == pytest.approx(sorted(waits))
    assert waits[1] >= 2 * waits[0] - 1e-9
    assert waits[-1] == pytest.approx(REPEAT_MOST_S)


def test_news_ends_a_doubt_once_and_a_wrong_doubt_makes_patient() -> None:
    each = made()
    usual = each.doubt_at(0.0, 0.02, 0.005)
    assert not each.handle_news(0.5)  # no doubt, nothing to tell
    each.doubt(1.0)
    assert each.handle_news(1.1)
    assert not each.handle_news(1.2)
    assert each.doubt_at(1.2, 0.02, 0.005) - 1.2 == pytest.approx(2 * usual)
    for turn in range(8):
        each.doubt(2.0 + turn)
        each.handle_news(2.1 + turn)
    assert each.doubt_at(20.0, 0.02, 0.005) - 20.0 <= max(PATIENCE_MOST * usual, REPEAT_MOST_S)
    for turn in range(1, 6):
        each.handle_news(20.0 + turn * (PATIENCE_S + 1))
    assert each.doubt_at(100.0, 0.02, 0.005) - 100.0 == pytest.approx(usual)


@pytest.mark.parametrize("change", ["route", "direct"])
def test_the_first_news_after_a_change_of_way_is_told(change: str) -> None:
    """The router may have changed it by its own word, without a doubt of ours: it must hear that this way works."""
    each = made(direct=change == "route")
    each.handle_news(0.5)
    if change == "route":
        each.take_route(7, 1.0)
    else:
        each.take_direct(1.0)
    assert each.handle_news(1.1)
    assert not each.handle_news(1.2)


def test_a_route_is_given_a_moment_more_until_something_is_acknowledged() -> None:
    each = made()
    usual = each.doubt_at(0.0, 0.02, 0.005)
    each.take_route(7, 0.0)
    assert each.routed
    assert each.doubt_at(0.0, 0.02, 0.005) == pytest.approx(usual + FRESH_S)
    each.handle_news(0.01)
    assert each.doubt_at(0.01, 0.02, 0.005) == pytest.approx(0.01 + usual)


def test_the_direct_way_works_again_when_the_peer_says_so_of_two_packets() -> None:
    each = made()
    each.take_route(100, 1.0)
    assert each.handle_told(None, 0, 100, 1.1) == (False, False)  # it never heard us
    assert each.handle_told(0.5, 99, 100, 1.1) == (False, False)  # before the route
    assert each.handle_told(0.01, 101, 105, 1.2) == (True, False)  # once: ask again
    assert each.handle_told(0.02, 101, 106, 1.3) == (False, False)  # the same packet, told again
    assert each.handle_told(0.02, 104, 107, 1.3) == (False, False)  # one that was on its way then
    assert each.handle_told(0.01, 105, 108, 1.4) == (False, True)
    each.take_direct(1.4)
    assert each.handle_told(0.01, 107, 110, 1.5) == (False, False)  # nothing to say of a direct way
    each.take_route(200, 2.0)
    assert each.handle_told(0.01, 150, 201, 2.1) == (False, False)  # begins anew


def test_another_gateway_is_not_another_beginning() -> None:
    each = made()
    each.take_route(100, 1.0)
    assert each.handle_told(0.01, 101, 105, 1.2) == (True, False)
    each.take_route(110, 1.3)
    assert each.handle_told(0.01, 105, 111, 1.4) == (False, True)


def test_a_peer_whose_packets_begin_to_come_aside_is_answered_aside_unless_it_hears_us() -> None:
    each = made()
    assert each.answers_aside(0.02, 1.0)
    assert not each.answers_aside(0.02, 1.1)  # once
    assert each.expects_twins(1.1)
    assert not each.expects_twins(1.1 + ASIDE_S)
    assert each.answers_aside(0.02, 1.2 + ASIDE_S)
    heard = made()
    heard.handle_told(0.01, 5, 9, 1.0)
    assert not heard.answers_aside(0.02, 1.01)  # it heard us within two round trips


def test_while_a_route_has_brought_no_answer_each_packet_that_comes_by_gateways_is_told() -> None:
    routed = made()
    routed.take_route(100, 1.0)
    routed.handle_acknowledged(99)  # one that was sent before
    assert routed.answers_aside(0.02, 1.1)
    assert routed.answers_aside(0.02, 1.2)
    routed.handle_acknowledged(100)
    assert not routed.answers_aside(0.02, 1.3)
    routed.take_route(120, 1.4)
    routed.handle_acknowledged(110)
    assert routed.answers_aside(0.02, 1.5)


def test_copies_are_all_at_first_then_the_last_of_a_batch_now_and_then() -> None:
    each = made()
    each.take_route(0, 10.0)
    assert each.copies(0.05, 10.0) == (True, True)
    assert each.copies(0.05, 10.09) == (True, True)
    copied = [now for step in range(1000) if each.copies(0.05, now := 10.1 + step * 0.001) == (False, True)]
    assert 8 <= len(copied) <= 10  # one in two round trips
    near = made()
    near.take_route(0, 0.0)
    near.copies(0.0001, 0.0)
    many = sum(near.copies(0.0001, 0.01 + step * 0.0001) == (False, True) for step in range(1000))
    assert many <= 0.1 / LEAST_COPY_S + 1
    each.handle_told(0.01, 5, 9, 11.2)  # heard once: the next packet goes directly, so that it can be heard twice
    assert each.copies(0.05, 11.1001) == (False, True)


def test_a_route_that_was_hardly_needed_shows_a_wrong_doubt() -> None:
    each = made()
    usual = each.doubt_at(0.0, 0.02, 0.005)
    each.take_route(1, 1.0)
    each.take_direct(1.1)
    assert each.doubt_at(1.1, 0.02, 0.005) - 1.1 > 1.5 * usual
    lasting = made()
    lasting.take_route(1, 1.0)
    lasting.take_direct(5.0)
    lasting.handle_news(5.0)
    assert lasting.doubt_at(5.0, 0.02, 0.005) - 5.0 == pytest.approx(usual)
