"""How people say what a link does: read, written, and what is told of a line that makes no sense."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.errors import Refused
from simulations.link_text import EXAMPLES, read_rules, say_link, say_rules
from simulations.links import Even, Flap, Link, LongTail, Normal, Spike


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("delay 20ms jitter 10ms loss 1%", {"delay": 0.02, "jitter": 0.01, "loss": 0.01, "burst": 1.0}),
        ("delay between 10ms and 40ms and loss 2%", {"delay": Even(0.01, 0.04), "loss": 0.02, "burst": 1.0}),
        ("delay about 20ms give or take 5ms", {"delay": Normal(0.02, 0.005)}),
        ("delay about 20ms, give or take 5ms", {"delay": Normal(0.02, 0.005)}),
        ("delay 20ms with a long tail", {"delay": LongTail(0.02, 1.0)}),
        ("delay 20ms with a long tail up to 2s, cut", None),
        ("loss 30% in bursts of 5", {"loss": 0.3, "burst": 5.0}),
        ("loses 30%, duplicates 1%", {"loss": 0.3, "burst": 1.0, "duplicate": 0.01}),
        ("reorder 5% by 80ms", {"reorder": 0.05, "reorder_by": 0.08}),
        ("reorders 5%", {"reorder": 0.05, "reorder_by": 0.05}),
        ("corrupt 1%", {"corrupt": 0.01}),
        ("rate 2Mbit/s queue 200ms", {"rate": 2e6, "queue": 0.2}),
        ("2 Mbit/s with a queue of 25kB", {"rate": 2e6, "queue": 0.1}),
        ("64kbit/s", {"rate": 64e3, "queue": 0.1}),
        ("mtu 1280", {"mtu": 1280}),
        ("flaps 3s up, 1s down", {"flap": Flap(3, 1)}),
        ("spike to 500ms every 1m lasting 1s", {"spike": Spike(0.5, 60, 1)}),
        ("cut", {"cut": True}),
    ],
)
def test_rules_are_read_as_they_are_said(text: str, fields: dict[str, object] | None) -> None:
    if fields is None:
        with pytest.raises(Refused, match="a link that is cut has no"):
            read_rules(text)
    else:
        assert read_rules(text) == fields


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "a link without a rule; say for example: delay 20ms, loss 2%"),
        ("dely 20ms", "'dely' is no rule of a link; did you mean: delay 20ms"),
        ("drop 2%", "cannot be read; write for example: loss 2%"),
        ("gravity 9.81", "'gravity' is no rule of a link; there are delay, jitter, loss"),
        ("delay 20", "'delay 20' cannot be read; write for example: delay 20ms"),
        ("loss 2% blah", "'blah' is no rule of a link"),
        ("delay 20ms delay 30ms", "'delay 20ms' and 'delay 30ms' contradict each other; say delay once"),
        ("loss 3% cut", "a link that is cut has no 'loss 3%'"),
        ("queue 20ms", "a queue without a rate is never full; say for example: rate 2Mbit/s queue 200ms"),
        ("reorder 5% by 0s", "held back by 0s is not reordered"),
        ("loss 120%", "a chance of 0 to 1, not 1.2"),
        ("loss 90% in bursts of 2", "say bursts of at least 9"),
        ("delay 500ms, spike to 300ms every 20s lasting 1s", "a spike to 300ms is none"),
        ("1.2 loss 3%", "1.2 is one server, and a link is between two; write for example: link 1.2 > OTHER loss 2%"),
    ],
)
def test_what_makes_no_sense_says_what_would_be_right(text: str, cause: str) -> None:
    with pytest.raises(Refused) as caught:
        read_rules(text)
    assert cause in str(caught.value)


def test_every_rule_has_an_example_that_is_read_and_written_alike() -> None:
    for rule, example in EXAMPLES.items():
        fields = read_rules(example)
        assert example.startswith(rule)
        assert say_rules(fields) == example


def test_an_ordinary_link_is_said_to_be_so() -> None:
    assert say_link(Link()) == "ordinary"
    assert say_link(Link(loss=0.3, burst=5, mtu=1280)) == "loss 30% in bursts of 5, mtu 1280"


_times = st.integers(1, 10_000).map(lambda number: number / 1000)
_chances = st.integers(1, 999).map(lambda number: number / 1000)
_links = st.builds(
    Link,
    delay=st.one_of(
        _times,
        st.builds(lambda least, more: Even(least, least + more), _times, _times),
        st.builds(lambda mean: Normal(mean, mean / 4), _times),
        st.builds(lambda least: LongTail(least, least * 9), _times),
    ),
    jitter=_times,
    loss=_chances,
    duplicate=_chances,
    reorder=_chances,
    reorder_by=_times,
    corrupt=_chances,
    rate=st.one_of(st.just(math.inf), st.integers(1, 10**10).map(float)),
    mtu=st.one_of(st.just(0), st.integers(1228, 65_535)),
    flap=st.one_of(st.none(), st.builds(Flap, _times, _times)),
    spike=st.one_of(st.none(), st.builds(lambda to: Spike(10 + to, 60, 2.5), _times)),
)


@given(_links)
def test_what_is_written_of_a_link_is_read_as_the_same_link(link: Link) -> None:
    read = Link().changed(read_rules(say_link(link)))
    assert say_link(read) == say_link(link)
    for name, value in link.differences().items():
        again = getattr(read, name)
        if isinstance(value, float):
            assert math.isclose(again, value, rel_tol=1e-9)
        elif not isinstance(value, Even | Normal | LongTail | Flap | Spike):
            assert again == value
