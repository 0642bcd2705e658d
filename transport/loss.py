"""Round-trip time, and the three ways to know that a packet is lost (DESIGN X4).

    sent        10 11 12 13 14 15 16 17
    told        NAK 11                      the receiver misses it, longer than packets are late on this path
    overtaken   10 . 12 13 14               ACK 14 settles 11: three packets or 9/8 round trips behind (RFC 9002)
    silence     ......................      no ACK in a probe timeout: the tail itself may be lost, so send some again

Plain arithmetic: each function takes values and gives a value. Who is in flight is `transport.flights`' to know, who
is missing `transport.receipts`'.
"""

from __future__ import annotations

FIRST_SAMPLES = 4  # of which one that is less than half of the mean so far takes its place
GRANULARITY_S = 0.001  # of the timers, RFC 9002 section 6.1.2
MAX_ACK_DELAY_S = 0.010  # how long an ACK may wait for company: whoever waits for it must doubt the way so much later
INITIAL_S = 0.333  # a round trip nobody has measured yet, RFC 9002 section 6.2.2
PACKET_THRESHOLD = 3  # RFC 9002 section 6.1.1
TIME_THRESHOLD = 9 / 8
MAX_PACKET_THRESHOLD = 512  # beyond this a path reorders so much that NAK and time must do alone
MAX_TIME_THRESHOLD = 2.0
MAX_PROBE_S = 2.0  # probes never get rarer than this: a way that heals is noticed


class RoundTrip:
    """The estimate of RFC 9002, section 5: smoothed, its variance, the least, the latest."""

    __slots__ = ("latest", "minimum", "samples", "smoothed", "variance")

    def __init__(self) -> None:
        self.smoothed = INITIAL_S
        self.variance = INITIAL_S / 2
        self.minimum = INITIAL_S
        self.latest = INITIAL_S
        self.samples = 0

    def restart(self, sample_s: float) -> None:
        """The packets go another way from now on, on which a round trip takes about so long."""
        self.smoothed = self.minimum = self.latest = max(sample_s, 1e-6)
        self.variance = self.smoothed / 2
        self.samples = 1

    def update(self, sample_s: float, *, ack_delay_s: float = 0.0) -> None:
        """A packet sent `sample_s` ago was acknowledged, by a peer that says it waited `ack_delay_s` with it."""
        sample_s = max(sample_s, 1e-6)
        self.latest = sample_s
        if self.samples and self.samples < FIRST_SAMPLES and 2 * sample_s < self.smoothed:
            self.restart(sample_s)  # the ones before were those of a busy start
        elif not self.samples:
            self.smoothed = self.minimum = sample_s
            self.variance = sample_s / 2
        else:
            self.minimum = min(self.minimum, sample_s)
            self.smoothed, self.variance = smooth(
                self.smoothed,
                self.variance,
                without_delay(sample_s, self.minimum, ack_delay_s),
            )
        self.samples += 1


def without_delay(sample_s: float, minimum_s: float, ack_delay_s: float) -> float:
    """A sample without the peer's own delay, but never less than a round trip that was measured.

    RFC 9002 section 5.3 takes nothing off where that would be less. But the least one here is the handshake's, which a
    busy start makes slow, and an idle loopback link would then seem as long as its ACKs may wait.
    """
    delay = min(ack_delay_s, MAX_ACK_DELAY_S)
    return max(sample_s - delay, min(sample_s, minimum_s))


def smooth(smoothed_s: float, variance_s: float, sample_s: float) -> tuple[float, float]:
    """The next (smoothed, variance)."""
    variance_s = 0.75 * variance_s + 0.25 * abs(smoothed_s - sample_s)
    return 0.875 * smoothed_s + 0.125 * sample_s, variance_s


def probe_timeout(smoothed_s: float, variance_s: float, tries: int) -> float:
    """How long to wait for an ACK before sending something again, after `tries` that were not answered."""
    once = smoothed_s + max(4 * variance_s, GRANULARITY_S) + MAX_ACK_DELAY_S
    if not tries:  # mostly
        return once
    return max(min(once * (1 << min(tries, 16)), MAX_PROBE_S), once)


def loss_delay(smoothed_s: float, latest_s: float, threshold: float) -> float:
    """How long after its sending a packet that was overtaken counts as lost."""
    return max(threshold * max(smoothed_s, latest_s), GRANULARITY_S)


def reordering_delay(lateness_s: float, smoothed_s: float) -> float:
    """How old a gap must be before it is told: a little more than packets have been late, and never long."""
    return min(max(1.25 * lateness_s, GRANULARITY_S), max(smoothed_s, MAX_ACK_DELAY_S))


def ack_delay(smoothed_s: float) -> float:
    """How long to wait with the ACK of several packets: eight in a round trip keep the sender's clock going."""
    return min(max(smoothed_s / 8, GRANULARITY_S), MAX_ACK_DELAY_S)


class Overtaking:
    """How far a packet may be overtaken before it counts as lost: learned from those that came after all."""

    __slots__ = ("packets", "threshold")

    def __init__(self) -> None:
        self.packets = PACKET_THRESHOLD
        self.threshold = TIME_THRESHOLD

    def widen(self, distance: int) -> None:
        """A packet counted as lost was acknowledged, `distance` packets after it had been sent (RFC 8985 section 7)."""
        self.packets = min(max(self.packets, distance + 1), MAX_PACKET_THRESHOLD)
        self.threshold = min(self.threshold + 0.125, MAX_TIME_THRESHOLD)
