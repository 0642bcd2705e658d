"""What can be said of a link: right by construction, and a fault on top of it wins without contradicting it."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from identity.errors import Refused
from simulations.links import Even, Flap, Link, LongTail, Normal, Spike, percent, seconds


def test_an_ordinary_link_is_plain_and_anything_special_is_not() -> None:
    assert Link().plain
    assert Link(delay=0.5, jitter=0.1, loss=0.5, duplicate=0.1, cut=True).plain
    for special in (
        Link(delay=Even(0.1, 0.2)), Link(loss=0.2, burst=3), Link(reorder=0.1), Link(corrupt=0.1), Link(rate=1e6),
        Link(mtu=1280), Link(flap=Flap(1, 1)), Link(spike=Spike(1, 10, 1)),
    ):  # fmt: skip
        assert not special.plain


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda: Link(delay=-0.1), "delay must be 0 to 3600 seconds"),
        (lambda: Link(jitter=float("nan")), "jitter must be"),
        (lambda: Link(loss=2), "a chance of 0 to 1, not 2"),
        (lambda: Link(duplicate=-0.5), "a chance of 0 to 1"),
        (lambda: Link(reorder=1.5), "a chance of 0 to 1"),
        (lambda: Link(corrupt=1.5), "a chance of 0 to 1"),
        (lambda: Link(loss=0.9, burst=2), "less than one datagram between two bursts; say bursts of at least 9"),
        (lambda: Link(burst=5), "loss 0% in bursts of 5 is none"),
        (lambda: Link(loss=0.2, burst=0.5), "bursts are of more than 1"),
        (lambda: Link(rate=0), "carries nothing"),
        (lambda: Link(rate=float("nan")), "carries nothing"),
        (lambda: Link(queue=-1), "queue must be"),
        (lambda: Link(mtu=500), "no session ever begins: its first packet needs 1228"),
        (lambda: Link(delay=0.5, spike=Spike(0.3, 10, 1)), "a spike to 300ms is none on a link that"),
        (lambda: Even(0.2, 0.1), "say the shorter first"),
        (lambda: Normal(0.01, 0.02), "would be negative"),
        (lambda: LongTail(0.02, 0.01), "let it end above where it begins"),
        (lambda: LongTail(0), "let it end above"),
        (lambda: Flap(0, 1), "what is down for good is cut"),
        (lambda: Spike(0.3, 1, 2), "last shorter than it takes to the next"),
        (lambda: Spike(0, 2, 1), "let a spike be above 0"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(make: Callable[[], object], cause: str) -> None:
    with pytest.raises(Refused) as caught:
        make()
    assert cause in str(caught.value)


def test_as_much_loss_as_bursts_can_make_is_no_contradiction() -> None:
    assert Link(loss=0.9, burst=9).burst == 9
    assert Link(loss=0.5, burst=1.01).loss == 0.5


def test_a_fault_wins_over_what_stood_there() -> None:
    link = Link(delay=0.02, loss=0.2, burst=5, spike=Spike(0.3, 10, 1))
    assert link.changed({"loss": 0.9}) == Link(delay=0.02, loss=0.9, spike=Spike(0.3, 10, 1))  # no burst is left over
    assert link.changed({"delay": 0.5}).spike is None  # nobody would see it any more
    assert link.changed({"delay": 0.1}).spike == Spike(0.3, 10, 1)
    assert Link(delay=0.5).changed({"spike": Spike(0.3, 10, 1)}).spike is None
    assert link.changed({"cut": True}).delay == 0.02


@pytest.mark.parametrize("delay", [Even(0.01, 0.05), Normal(0.05, 0.02), LongTail(0.02, 0.5)])
def test_delays_stay_within_what_was_said(delay: Even | Normal | LongTail) -> None:
    chance = random.Random(1)
    drawn = [delay.draw(chance) for _ in range(20_000)]
    match delay:
        case Even(least, most):
            assert least <= min(drawn) < least * 1.01
            assert most * 0.99 < max(drawn) <= most
            assert abs(sum(drawn) / len(drawn) - (least + most) / 2) < 0.001
        case Normal(mean, deviation):
            assert min(drawn) == 0.0  # cut off, not negative
            assert abs(sum(drawn) / len(drawn) - mean) < 0.001
            assert 0.65 < sum(abs(each - mean) < deviation for each in drawn) / len(drawn) < 0.71
        case LongTail(least, most):
            assert least <= min(drawn)
            assert max(drawn) == most
            # Pareto with shape 1.5: one in 31.6 takes ten times as long, half of them 1.59 times at most
            assert 0.028 < sum(each > 10 * least for each in drawn) / len(drawn) < 0.036
            assert 1.5 < sorted(drawn)[10_000] / least < 1.7


def test_a_long_tail_ends_at_fifty_times_its_least_unless_it_is_said() -> None:
    assert LongTail(0.02).most == 1.0


def test_times_and_chances_are_written_as_people_do() -> None:
    assert [seconds(each) for each in (0.02, 1.5, 0, 0.0005, 90)] == ["20ms", "1.5s", "0s", "0.5ms", "90s"]
    assert percent(0.025) == "2.5%"
