"""What a link does to a datagram: small rules, each giving one verdict, in the order of a wire.

    send --> cut? --> flap? --> too long? --> lost? --> queue --> turned bits --> copies --> each: delay, spike, late
               |        |           |           |         |
               '--------+-----------+-----------+---------'--> lost, and the trace says why

A *gate* lets a datagram pass (the verdict is "") or names what took it; on its way it may hold it up, copy it or turn
its bits. A *lag* gives seconds for each copy. A direction has only the gates and lags that its `Link` asks for, so
that a rule which is not set costs nothing. What a rule remembers (a queue's length, a burst, which moment of a flap)
lives as long as its part of the link is unchanged: a loss that comes and goes does not empty the queue.

All chance comes from the network's generator, drawn in the order in which datagrams are sent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, Protocol

from simulations.links import HEADER_BYTES, Flap, Link, Spike

PASSES = ""  # a gate's verdict when it takes nothing


class Passage:
    """One datagram on its way through one direction."""

    __slots__ = ("copies", "data", "held", "now")

    def __init__(self, data: bytes, now: float) -> None:
        self.data = data
        self.now = now
        self.held = 0.0  # by the queue
        self.copies = 1


class Gate(Protocol):
    def judge(self, passage: Passage, random: Random) -> str:
        """PASSES, or why the datagram is lost."""


class Lag(Protocol):
    def draw(self, now: float, random: Random) -> float:
        """Seconds that one copy, sent now, takes for this."""


# -- gates


class Cut:
    """Nothing passes."""

    def judge(self, passage: Passage, random: Random) -> str:
        return "cut"


class Flapping:
    """Up and down in turn, each time for half to one and a half times as long as said; up first."""

    def __init__(self, flap: Flap) -> None:
        self._times = (flap.up, flap.down)
        self._down = 1  # so that the first turn is up
        self._until = -math.inf

    def judge(self, passage: Passage, random: Random) -> str:
        if self._until == -math.inf:
            self._until = passage.now
        while self._until <= passage.now:
            self._down = 1 - self._down
            self._until += self._times[self._down] * (0.5 + random.random())
        return "flap" if self._down else PASSES


class TooLong:
    """A datagram that does not fit vanishes without a word."""

    def __init__(self, mtu: int) -> None:
        self._most = mtu - HEADER_BYTES

    def judge(self, passage: Passage, random: Random) -> str:
        return "mtu" if len(passage.data) > self._most else PASSES


class Losing:
    """Each by itself."""

    def __init__(self, chance: float) -> None:
        self._chance = chance

    def judge(self, passage: Passage, random: Random) -> str:
        return "loss" if random.random() < self._chance else PASSES


class Bursting:
    """Gilbert's model of a bad line: while it is bad all are lost; so long as `burst` on the average, `loss` in all."""

    def __init__(self, loss: float, burst: float) -> None:
        self._becomes_good = 1 / burst
        self._becomes_bad = loss / (burst * (1 - loss))
        self._bad = False

    def judge(self, passage: Passage, random: Random) -> str:
        chance = random.random()
        self._bad = chance >= self._becomes_good if self._bad else chance < self._becomes_bad
        return "burst" if self._bad else PASSES


class Queueing:
    """One after another at a rate; what would wait too long for its turn is dropped (drop-tail)."""

    def __init__(self, rate: float, queue: float) -> None:
        self._byte_s = 8 / rate
        self._longest = queue
        self._free_at = -math.inf

    def judge(self, passage: Passage, random: Random) -> str:
        begins = max(self._free_at, passage.now)
        if begins - passage.now > self._longest:
            return "queue"
        self._free_at = begins + (len(passage.data) + HEADER_BYTES) * self._byte_s
        passage.held = self._free_at - passage.now
        return PASSES


class Corrupting:
    """One to eight bits of some datagrams arrive turned, as behind a bad memory: UDP's own sum did not notice."""

    def __init__(self, chance: float) -> None:
        self._chance = chance

    def judge(self, passage: Passage, random: Random) -> str:
        if passage.data and random.random() < self._chance:
            turned = bytearray(passage.data)
            places = random.sample(range(len(turned) * 8), min(random.randint(1, 8), len(turned) * 8))
            for place in places:  # each another one: a bit that is turned twice would be right again
                turned[place >> 3] ^= 1 << (place & 7)
            passage.data = bytes(turned)
        return PASSES


class Duplicating:
    """Some arrive twice."""

    def __init__(self, chance: float) -> None:
        self._chance = chance

    def judge(self, passage: Passage, random: Random) -> str:
        if random.random() < self._chance:
            passage.copies = 2
        return PASSES


# -- lags


class Steady:
    """Always so long, and a jitter."""

    def __init__(self, delay: float, jitter: float) -> None:
        self._delay = delay
        self._jitter = jitter

    def draw(self, now: float, random: Random) -> float:
        return self._delay + (self._jitter * random.random() if self._jitter else 0.0)


class Varying:
    """By a distribution (`links.Even`, `Normal`, `LongTail`)."""

    def __init__(self, delay: Any) -> None:
        self._delay = delay

    def draw(self, now: float, random: Random) -> float:
        taken: float = self._delay.draw(random)
        return taken


class HoldingBack:
    """Some are overtaken by those sent after them."""

    def __init__(self, chance: float, by: float) -> None:
        self._chance = chance
        self._by = by

    def draw(self, now: float, random: Random) -> float:
        return self._by if random.random() < self._chance else 0.0


class Spiking:
    """For a while, now and then, slow; the pauses last half to one and a half times as long as said."""

    def __init__(self, spike: Spike, delay: float) -> None:
        self._more = max(0.0, spike.to - delay)
        self._pause, self._lasting = spike.every - spike.lasting, spike.lasting
        self._begins = -math.inf
        self._ends = -math.inf

    def draw(self, now: float, random: Random) -> float:
        if self._ends == -math.inf:
            self._ends = now
        while self._ends <= now:
            self._begins = self._ends + self._pause * (0.5 + random.random())
            self._ends = self._begins + self._lasting
        return self._more if self._begins <= now else 0.0


# -- a direction


class Direction:
    """The rules of one direction at work."""

    __slots__ = ("_gates", "_lags", "_random", "link")

    def __init__(self, link: Link, random: Random, before: Direction | None = None) -> None:
        """`before`: the same direction under other rules; what they have in common remembers what it knew."""
        self.link = link
        self._random = random
        gates, lags = ({}, {}) if before is None else (before._gates, before._lags)
        self._gates: dict[Any, Gate] = {key: gates.get(key) or make() for key, make in _gates(link)}
        self._lags: dict[Any, Lag] = {key: lags.get(key) or make() for key, make in _lags(link)}

    def judge(self, data: bytes, now: float) -> tuple[str, tuple[tuple[float, bytes], ...]]:
        """(why it is lost, nothing) or ("", the seconds after which each copy arrives, and its bytes)."""
        passage = Passage(data, now)
        random = self._random
        for gate in self._gates.values():
            if verdict := gate.judge(passage, random):
                return verdict, ()
        lags = self._lags.values()
        return PASSES, tuple(
            (passage.held + sum(lag.draw(now, random) for lag in lags), passage.data) for _ in range(passage.copies)
        )


def _gates(link: Link) -> Iterator[tuple[Any, Callable[[], Gate]]]:
    """Which gates a link asks for, each with the part of the link that it is made from."""
    if link.cut:
        yield "cut", Cut
    if link.flap is not None:
        flap = link.flap
        yield flap, lambda: Flapping(flap)
    if link.mtu:
        yield ("mtu", link.mtu), lambda: TooLong(link.mtu)
    if link.burst != 1:
        yield ("burst", link.loss, link.burst), lambda: Bursting(link.loss, link.burst)
    elif link.loss:
        yield ("loss", link.loss), lambda: Losing(link.loss)
    if link.rate != math.inf:
        yield ("rate", link.rate, link.queue), lambda: Queueing(link.rate, link.queue)
    if link.corrupt:
        yield ("corrupt", link.corrupt), lambda: Corrupting(link.corrupt)
    if link.duplicate:
        yield ("duplicate", link.duplicate), lambda: Duplicating(link.duplicate)


def _lags(link: Link) -> Iterator[tuple[Any, Callable[[], Lag]]]:
    delay = link.delay
    if isinstance(delay, float | int):
        if delay or link.jitter:
            yield ("delay", delay, link.jitter), lambda: Steady(delay, link.jitter)
    else:
        yield delay, lambda: Varying(delay)
    if link.reorder:
        yield ("reorder", link.reorder, link.reorder_by), lambda: HoldingBack(link.reorder, link.reorder_by)
    if link.spike is not None:
        spike, least = link.spike, _least(delay)
        yield (spike, least), lambda: Spiking(spike, least)


def _least(delay: Any) -> float:
    """What a delay is at least, so that a spike comes up to what was said."""
    if isinstance(delay, float | int):
        return float(delay)
    return float(getattr(delay, "least", 0.0))
