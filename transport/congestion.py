"""How much may be on the way, and how fast it leaves: by the rate that arrives, not by the packets that do not.

    STARTUP    rate * 2.9, twice the data each round trip     until the rate that arrives grows no more
    DRAIN      rate / 2.9                                     until the queue made by that is gone
    STEADY     rate * 1.25, 0.75, 1, 1, 1, 1, 1, 1            one round trip each: is there more? then make up for it
    LOOK       window halved for a moment                     every 10 s: how short is the path without us?

    window = 2 * rate * (shortest round trip + HOST_S)

The rate is the highest delivery rate of the last ten round trips (BBR, draft-cardwell-iccrg-bbr-congestion-control-00
and draft-cheng-iccrg-delivery-rate-estimation-02). A link that loses packets without being full keeps its speed, which
is why it is so (DESIGN X4: our users' links do). Only a round in which more than LOSS_LIMIT of the packets are lost
lowers a ceiling on the window: then a buffer is overflowing, most likely the socket's on a fast machine.

The pace is a credit that grows with time and never beyond BURST_S of it: timers of this system wake to a millisecond,
so on a fast path several batches leave at once. Within one machine there is no path to find out about, only a socket's
buffer: no pace there, and a window of at least LOCAL_BYTES. All sizes are bytes, times seconds.
"""

from __future__ import annotations

import math
from collections import deque

INITIAL_PACKETS = 32  # as the sketch; RFC 9002's ten are three round trips slower
MINIMUM_PACKETS = 4
STARTUP_GAIN = 2.89  # 2/ln 2: the smallest that doubles each round
WINDOW_GAIN = 2.0
CYCLE = (1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
RATE_ROUNDS = 10
GROWTH = 1.25  # less than this three rounds in a row, and the path is full
LOOK_EVERY_S = 10.0
LOOK_S = 0.2
HOST_S = 0.002  # a receiver's millisecond of ACK delay and the time both machines take for a batch
BURST_S = 0.004
LOCAL_BYTES = 1 << 20  # a quarter of a socket's buffer; both sides work on some of it while the rest is on the way
LOSS_LIMIT = 0.15
LOSS_SLACK = 16  # packets: a few in a small round are chance
MAX_LOSS = 0.5  # that the pace makes up for
MADE_UP = 0.9
QUEUED = 1.25  # times the shortest round trip, and HOST_S: beyond it there is a queue

STARTUP, DRAIN, STEADY, LOOK = "startup", "drain", "steady", "look"


class Congestion:
    """One path's window and pace."""

    def __init__(self, packet_bytes: int, now: float, *, local: bool = False) -> None:
        """`local`: the peer is on this machine."""
        self.state = STARTUP
        self.rate = 0.0  # bytes/s that arrive; 0: not known yet
        self.pace = math.inf  # bytes/s that leave
        self.window = LOCAL_BYTES if local else INITIAL_PACKETS * min(packet_bytes, 1500)
        self._least = LOCAL_BYTES if local else 0
        self._paced = not local
        self._first_window = self.window
        self.minimum_s = math.inf  # the shortest round trip of the last 10 s
        self._packet = packet_bytes
        self._minimum_at = now
        self._rates: deque[tuple[int, float]] = deque()  # (round, rate), rates falling
        self._rounds = 0
        self._round_end = 0  # delivered in all, when the present round is over
        self._full_rate = 0.0
        self._full_count = 0
        self._cycle = 2
        self._cycle_at = now
        self._looked_at = now
        self._look_until = 0.0
        self._sent = self._lost = 0  # packets settled in this round, and those of them lost
        self._loss = 0.0  # the share that is lost without a queue
        self._quickest_s = math.inf  # round trip of this round
        self._ceiling = math.inf
        self._silent = False
        self._credit = float(self.window)
        self._credit_at = now

    # -- asking

    def room(self, in_flight: int, now: float) -> int:
        """How many bytes may leave now; 0 or less: none."""
        room = self.window - in_flight
        if self.pace == math.inf or room <= 0:
            return room
        self._earn(now)
        return min(room, int(self._credit))

    def next_at(self, now: float) -> float:
        """When the pace allows a packet again (the window is another matter)."""
        if self.pace == math.inf or self._credit >= self._packet:
            return now
        return now + (self._packet - self._credit) / self.pace

    # -- what happened

    def handle_sent(self, size: int, now: float) -> None:
        if self.pace != math.inf:
            self._earn(now)
            self._credit -= size

    def handle_round_trip(self, sample_s: float, now: float) -> None:
        """A round trip was measured, the peer's delay taken out."""
        self._quickest_s = min(self._quickest_s, sample_s)
        if sample_s <= self.minimum_s or now - self._minimum_at > LOOK_EVERY_S + LOOK_S * 2:
            self.minimum_s = sample_s
            self._minimum_at = now
        if self.pace == math.inf and not self.rate:  # pace the first window too, now that its round trip is known
            self._set_pace(STARTUP_GAIN * self.window / max(sample_s, 0.001), now)

    def handle_lost(self, packets: int) -> None:
        self._lost += packets
        self._sent += packets

    def handle_silence(self) -> None:
        """A second probe timeout in a row: the path may be gone. The next ACK restores the window."""
        self.window = min(self.window, MINIMUM_PACKETS * self._packet)
        self._silent = True

    def handle_packet_bytes(self, size: int) -> None:
        """Packets have another size from now on."""
        self._packet = size

    def handle_acked(
        self, *, packets: int, sample: float | None, limited: bool, delivered: int, sent_at_delivered: int,
        in_flight: int, now: float,
    ) -> None:  # fmt: skip
        """Packets arrived. `sample` is their delivery rate, None where there is none; `limited`: it was our own lack
        of data that made it low. `delivered` bytes in all, of which `sent_at_delivered` when the newest was sent."""
        self._sent += packets
        ended = sent_at_delivered >= self._round_end
        if ended:
            self._round_end = delivered
            self._rounds += 1
        if ended:
            self._end_round(in_flight, limited=limited)
        if sample is not None and (not limited or sample > self.rate):
            self._learn(sample)
        elif limited and not self._silent and (self.state is STARTUP or self.state is STEADY):
            return  # a request now and then: nothing was learned, so nothing changes
        self._silent = False
        self._step(in_flight, now)
        self._set_window(packets * self._packet, now)

    # -- deciding

    def _learn(self, sample: float) -> None:
        rates = self._rates
        while rates and rates[-1][1] <= sample:
            rates.pop()
        rates.append((self._rounds, sample))
        while rates[0][0] < self._rounds - RATE_ROUNDS:
            rates.popleft()
        self.rate = rates[0][1]

    def _end_round(self, in_flight: int, *, limited: bool) -> None:
        """Judge the round that ended: losing too much? still growing?"""
        queued = self.minimum_s * QUEUED + HOST_S < self._quickest_s < math.inf
        heavy = queued and self._lost > LOSS_SLACK + LOSS_LIMIT * self._sent
        if self._sent:
            share = 0.0 if queued else self._lost / self._sent
            self._loss += (min(share, MAX_LOSS) - self._loss) / 4
        if heavy:
            self._ceiling = max(0.85 * min(self._ceiling, max(in_flight, self.window / 2)), 16 * self._packet)
        elif self._ceiling < math.inf and self._lost * 50 <= self._sent:
            self._ceiling *= 1.05
            if self._ceiling > 4 * self.window:
                self._ceiling = math.inf
        if self.state is STARTUP and not limited:
            if self.rate >= GROWTH * self._full_rate:
                self._full_rate = self.rate
                self._full_count = 0
            else:
                self._full_count += 1
            if heavy or self._full_count >= 3:
                self.state = DRAIN
        self._sent = self._lost = 0
        self._quickest_s = math.inf

    def _step(self, in_flight: int, now: float) -> None:
        target = self.rate * (self.minimum_s + HOST_S)
        if self.state is DRAIN and in_flight <= target:
            self.state = STEADY
            self._cycle, self._cycle_at = 2, now
        elif self.state is STEADY:
            if now - self._cycle_at >= self.minimum_s:
                self._cycle = (self._cycle + 1) % len(CYCLE)
                self._cycle_at = now
            if now - self._minimum_at > LOOK_EVERY_S and now - self._looked_at > LOOK_EVERY_S:
                self.state = LOOK
                self._look_until = now + LOOK_S
                self._looked_at = now
        elif self.state is LOOK and now >= self._look_until:
            self.state = STEADY

    def _set_window(self, arrived: int, now: float) -> None:
        if not self.rate or self.minimum_s == math.inf:
            return
        path = self.rate * (self.minimum_s + HOST_S)
        if self.state is STARTUP:
            pace = max(STARTUP_GAIN * self.rate, self.pace if self.pace < math.inf else 0.0)
            window = min(max(STARTUP_GAIN * path, 2 * self._first_window), self.window + arrived)
        elif self.state is DRAIN:
            pace, window = self.rate / STARTUP_GAIN, WINDOW_GAIN * path
        elif self.state is LOOK:
            pace, window = self.rate, path / 2
        else:
            pace, window = CYCLE[self._cycle] * self.rate, WINDOW_GAIN * path
        self.window = int(max(min(max(window, self._least), self._ceiling), MINIMUM_PACKETS * self._packet))
        self._set_pace(pace if self.state is STARTUP else pace / (1 - MADE_UP * self._loss), now)

    def _set_pace(self, pace: float, now: float) -> None:
        if not self._paced:
            return
        if self.pace == math.inf:
            self._credit_at = now
        else:
            self._earn(now)
        self.pace = pace

    def _earn(self, now: float) -> None:
        burst, least = self.pace * BURST_S, 10 * self._packet
        most = burst if burst > least else least
        credit = self._credit + (now - self._credit_at) * self.pace
        self._credit = credit if credit < most else most
        self._credit_at = now
