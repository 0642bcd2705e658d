"""What can be said of a link: one direction between two hosts, as values that are right by construction.

    Link(delay=0.02, jitter=0.002)                    a good line
    Link(delay=LongTail(0.02, most=2.0))              now and then very late
    Link(loss=0.3, burst=5)                           loses five in a row, and so 30 % in all
    Link(rate=2e6, queue=0.2)                         2 Mbit/s; what would wait longer than 0.2 s is dropped
    Link(flap=Flap(up=3, down=1))                     comes and goes
    Link(spike=Spike(to=0.5, every=20, lasting=1))    at times slow

Times are seconds, chances 0 to 1, rates bits a second. A rule that is not set costs nothing (`simulations.rules`).
What contradicts itself is refused here, whoever says it: a program, a scenario or a drawn schedule. How people say all
this is in `link_text.py`; what the rules do to a datagram in `rules.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from random import Random
from typing import Any

from identity.errors import Refused

HEADER_BYTES = 28  # IPv4 and UDP: an MTU counts them, and so does a rate
LEAST_MTU = 1228  # below it the transport's first packet (1200 bytes) vanishes, and with it every session
MOST_SECONDS = 3600.0  # of any delay: what comes an hour late is lost to everybody


@dataclass(frozen=True)
class Even:
    """A delay anywhere between two times, all equally likely."""

    least: float
    most: float

    def __post_init__(self) -> None:
        if not 0 <= self.least < self.most <= MOST_SECONDS:
            raise Refused(
                f"a delay between {seconds(self.least)} and {seconds(self.most)} is none",
                next_step="say the shorter first, and at most an hour",
            )

    def draw(self, random: Random) -> float:
        return self.least + (self.most - self.least) * random.random()

    def __str__(self) -> str:
        return f"between {seconds(self.least)} and {seconds(self.most)}"


@dataclass(frozen=True)
class Normal:
    """A delay around a mean, by the bell curve; never less than nothing."""

    mean: float
    deviation: float

    def __post_init__(self) -> None:
        if not 0 < self.deviation <= self.mean <= MOST_SECONDS:
            raise Refused(
                f"a delay of about {seconds(self.mean)}, give or take {seconds(self.deviation)}, would be negative",
                next_step="let it give or take less than the delay itself, and something",
            )

    def draw(self, random: Random) -> float:
        return max(0.0, random.gauss(self.mean, self.deviation))

    def __str__(self) -> str:
        return f"about {seconds(self.mean)} give or take {seconds(self.deviation)}"


@dataclass(frozen=True)
class LongTail:
    """Most are near the least, and one of a thousand takes a hundred times as long (Pareto), up to `most`."""

    least: float
    most: float = 0.0  # 0: fifty times the least

    SHAPE = 1.5  # 1 in 32 takes ten times the least, 1 in 1 000 a hundred times: what busy radio links measure

    def __post_init__(self) -> None:
        if self.most == 0:
            object.__setattr__(self, "most", min(50 * self.least, MOST_SECONDS))
        if not 0 < self.least < self.most <= MOST_SECONDS:
            raise Refused(
                f"a long tail from {seconds(self.least)} up to {seconds(self.most)} is none",
                next_step="let it end above where it begins, and within an hour",
            )

    def draw(self, random: Random) -> float:
        return min(self.most, self.least * random.paretovariate(self.SHAPE))

    def __str__(self) -> str:
        return f"{seconds(self.least)} with a long tail up to {seconds(self.most)}"


Delay = float | Even | Normal | LongTail


@dataclass(frozen=True)
class Flap:
    """Comes and goes: each time up and down for half to one and a half times as long as said."""

    up: float
    down: float

    def __post_init__(self) -> None:
        if not (0 < self.up < math.inf and 0 < self.down < math.inf):
            raise Refused(
                f"a link that flaps {seconds(self.up)} up and {seconds(self.down)} down does not flap",
                next_step="say how long it is up and how long down, both above 0; what is down for good is cut",
            )

    def __str__(self) -> str:
        return f"{seconds(self.up)} up {seconds(self.down)} down"


@dataclass(frozen=True)
class Spike:
    """Now and then, for a while, at least this slow."""

    to: float
    every: float
    lasting: float

    def __post_init__(self) -> None:
        if not 0 < self.to <= MOST_SECONDS or not 0 < self.lasting < self.every < math.inf:
            raise Refused(
                f"spikes to {seconds(self.to)} every {seconds(self.every)} lasting {seconds(self.lasting)} are none",
                next_step="let a spike be above 0 and last shorter than it takes to the next one",
            )

    def __str__(self) -> str:
        return f"to {seconds(self.to)} every {seconds(self.every)} lasting {seconds(self.lasting)}"


@dataclass(frozen=True)
class Link:
    """One direction between two hosts. Times in seconds, chances 0..1. Raises `Refused` for what makes no sense."""

    delay: Delay = 0.02
    jitter: float = 0.002  # added evenly between 0 and this; above the sending interval it reorders
    loss: float = 0.0
    burst: float = 1.0  # how many are lost in a row, on the average; 1: each by itself
    duplicate: float = 0.0
    reorder: float = 0.0  # the chance to be held back by `reorder_by`, so that later ones overtake
    reorder_by: float = 0.05
    corrupt: float = 0.0  # the chance that some of its bits arrive turned
    rate: float = math.inf  # bits a second; `queue` is how long one may wait for its turn
    queue: float = 0.1
    mtu: int = 0  # longer ones vanish, as behind a tunnel that tells nobody; 0: none is too long
    flap: Flap | None = None
    spike: Spike | None = None
    cut: bool = False
    # Whether only what every good line has is set; then the network takes the shortest way (`network.send`).
    plain: bool = field(init=False, repr=False, compare=False, default=True)

    def __post_init__(self) -> None:
        self._check_times()
        for name in ("loss", "duplicate", "reorder", "corrupt"):
            chance = getattr(self, name)
            if not 0 <= chance <= 1:
                raise Refused(
                    f"a link's {name} must be a chance of 0 to 1, not {chance:g}", next_step="in text: 0% to 100%"
                )
        if self.burst != 1 and not (1 < self.burst < math.inf and 0 < self.loss < 1):
            raise Refused(
                f"loss {percent(self.loss)} in bursts of {self.burst:g} is none",
                next_step="bursts are of more than 1, of a loss above 0% and below 100%",
            )
        least = self.loss / (1 - self.loss) - 1e-9 if self.loss < 1 else 1.0  # 9 for 90 %, not 9.000000000002
        if self.burst != 1 and self.burst < least:
            raise Refused(
                f"loss {percent(self.loss)} in bursts of {self.burst:g} cannot be: there would be less than one "
                "datagram between two bursts",
                next_step=f"say bursts of at least {math.ceil(least)}, or less loss",
            )
        if not self.rate > 0:
            raise Refused(f"a link of {self.rate:g} bit/s carries nothing", next_step="say a rate above 0, or cut")
        if self.mtu and self.mtu < LEAST_MTU:
            raise Refused(
                f"through an MTU of {self.mtu} no session ever begins: its first packet needs {LEAST_MTU}",
                next_step=f"say {LEAST_MTU} or more, or cut",
            )
        plain = (
            isinstance(self.delay, float | int) and self.burst == 1 and not self.reorder and not self.corrupt
            and self.rate == math.inf and not self.mtu and self.flap is None and self.spike is None
        )  # fmt: skip
        object.__setattr__(self, "plain", plain)

    def _check_times(self) -> None:
        for name in ("delay", "jitter", "reorder_by", "queue"):
            time = getattr(self, name)
            if isinstance(time, float | int) and not 0 <= time <= MOST_SECONDS:
                raise Refused(f"a link's {name} must be 0 to {MOST_SECONDS:g} seconds, not {time}")
        if self.spike is not None and isinstance(self.delay, float | int) and self.spike.to <= self.delay:
            raise Refused(
                f"a spike to {seconds(self.spike.to)} is none on a link that always takes {seconds(self.delay)}",
                next_step="let it be higher than the delay",
            )

    def changed(self, changes: Mapping[str, Any]) -> Link:
        """This link under a fault's rules, by field. The fault wins over what stood here, and never contradicts it."""
        wanted = dict(changes)
        if "loss" in wanted:
            wanted.setdefault("burst", 1.0)
        delay, spike = wanted.get("delay", self.delay), wanted.get("spike", self.spike)
        if spike is not None and isinstance(delay, float | int) and spike.to <= delay:
            wanted["spike"] = None  # nobody would see it any more
        return replace(self, **wanted)

    def differences(self) -> dict[str, Any]:
        """What is said of this link beyond the ordinary one, by field."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if each.init and getattr(self, each.name) != each.default
        }


def seconds(time: float) -> str:
    """A time as people write it: 20ms, 1.5s. What is read again gives the same number (`link_text`)."""
    if time == 0 or time >= 1:
        return f"{time:.12g}s"
    return f"{time * 1000:.12g}ms"


def percent(chance: float) -> str:
    return f"{chance * 100:.12g}%"
