"""Whether the peer hears us directly, and which packets go which way because of it (DESIGN G1, G2, G4).

    direct    every packet to the peer's address
              nothing acknowledged for srtt + 2 var ......... Doubted, told again ever more rarely while it lasts
    routed    every packet by gateways, and some directly too:
                two round trips long all, then of each batch the last, at most once in two round trips
              ACK "your newest direct packet was 4711" ...... a PING, both ways
              ACK "your newest direct packet was 4713" ...... DirectAgain: two in a row, so no stray packet decides

The two directions of a link are told apart: this is ours to the peer, known from what the peer says in every ACK. What
comes from the peer, directly or by gateways, decides nothing here but one thing: a peer whose packets begin to come by
gateways may not hear us either, so if its word does not say that it heard us since, we answer the same way (`Answered
the same way` costs a few packets; its next ACK tells us whether that was needed).

A doubt that proves wrong makes the next one slower (a peer that stalls is not a link that died), up to PATIENCE_MOST.
"""

from __future__ import annotations

import math

FLOOR_S = 0.015  # of the doubt, beside the round trip: a process that syncs its log answers as late as that
LAG_KEPT = 0.95  # of our own slowness, from one timer to the next
LAG_MOST_S = 0.5  # of it, at most, is added: the peer may share it, as two processes of one machine do
PATIENCE_MOST = 4.0
PATIENCE_S = 2.0  # so long without a wrong doubt, and the patience halves
REPEAT_MOST_S = 1.0  # between two tellings of one doubt
BRIEF_S = 0.5  # a way by gateways that was needed no longer than this shows a wrong doubt
FRESH_S = 0.025  # the other side, too, must find its way to answer
COPY_ALL_TRIPS = 2.0  # round trips for which everything goes directly too
COPY_TRIPS = 2.0  # then one packet in so many
LEAST_COPY_S = 0.002
ASIDE_S = 2.0  # a peer whose packets came by gateways this long ago does so no more


class Directness:
    """The direction from us to one peer. Times are monotonic seconds, numbers those of our packets."""

    def __init__(self, *, direct: bool, ack_delay_s: float, now: float) -> None:
        self.routed = not direct
        self.forwarded_at = -math.inf  # when the newest packet of the peer came by gateways
        self.heard_us_at: float | None = None  # by the peer's word: when it heard us directly
        self.doubts = 0  # tellings of the doubt that lasts
        self._ack_delay_s = ack_delay_s
        self._base = now  # no doubt reaches back further: the newest news or telling, or the start of a route
        self._untried = not direct  # nothing was acknowledged since the way changed
        self._proof = 0  # the first packet that went by the present route; its acknowledgement proves the route
        self._proven = False
        self._fresh_s = 0.0  # what a way that was just taken is given beside the usual
        self._lag_s = 0.0  # how late our own timers were lately
        self._patience = 1.0
        self._patience_at = now
        self._since = self._routed_at = now  # of the route; of going by gateways
        self._copied_at = -math.inf
        self._copy_due = True
        self._expected = 0  # the lowest number that, heard directly, is news
        self._seen_once = False

    # -- doubts

    def doubt_at(self, oldest_sent_at: float, smoothed_s: float, variance_s: float) -> float:
        """When the peer's silence becomes a doubt, the next one if it was told."""
        spread = 2 * variance_s  # comparisons instead of max(): this is asked of every connection in every turn
        wait = smoothed_s + (spread if spread > FLOOR_S else FLOOR_S) + self._ack_delay_s + self._fresh_s
        if self._lag_s:
            wait += min(2 * self._lag_s, LAG_MOST_S)
        if self._patience > 1.0:
            wait = min(wait * self._patience, max(wait, REPEAT_MOST_S))
        if self.doubts:
            wait = max(wait, min(wait * (1 << min(self.doubts, 16)), REPEAT_MOST_S))
        return (oldest_sent_at if oldest_sent_at > self._base else self._base) + wait

    def doubt(self, now: float) -> None:
        """It was told."""
        self.doubts += 1
        self._base = now

    def note_lag(self, lag_s: float) -> None:
        """One of our timers was judged so late."""
        self._lag_s = max(lag_s, LAG_KEPT * self._lag_s)

    def forgive(self, now: float) -> None:
        """The silence so far was our own."""
        self._base = now

    def handle_news(self, now: float) -> bool:
        """Something of ours was acknowledged. Whether that ends a doubt, or is the first since the way changed."""
        self._base = now
        self._fresh_s = 0.0
        ended = self.doubts > 0
        if ended and not self.routed:
            self._patience = min(self._patience * 2, PATIENCE_MOST)
            self._patience_at = now
        elif self._patience > 1.0 and now - self._patience_at > PATIENCE_S:
            self._patience = max(1.0, self._patience / 2)
            self._patience_at = now
        ended, self._untried = ended or self._untried, False
        self.doubts = 0
        return ended

    def handle_acknowledged(self, highest: int) -> None:
        """The peer has our packet of this number."""
        self._proven = self._proven or highest >= self._proof

    # -- ways

    def take_route(self, next_number: int, now: float) -> None:
        """From packet `next_number` on everything goes by gateways."""
        if not self.routed:
            self.routed = True
            self._routed_at = now
            self._expected = next_number
            self._seen_once = False
        self._proof, self._proven = next_number, False
        self._base = self._since = now
        self._fresh_s = FRESH_S
        self._untried = True
        self.doubts = 0
        self._copy_due = True

    def take_direct(self, now: float) -> None:
        """From now on everything goes directly only."""
        if self.routed and now - self._routed_at < BRIEF_S:  # the peer was slow, no more
            self._patience = min(self._patience * 2, PATIENCE_MOST)
            self._patience_at = now
        self.routed = False
        self._untried = True
        self._base = now
        self.doubts = 0

    def routed_for(self, now: float) -> float:
        """Since when packets go by gateways, in seconds before now."""
        return now - self._routed_at

    def handle_told(self, age_s: float | None, number: int, next_number: int, now: float) -> tuple[bool, bool]:
        """The peer's word on our newest direct packet. Says (ask once more, the direct way works again)."""
        if age_s is None:
            return False, False
        self.heard_us_at = max(self.heard_us_at or 0.0, now - age_s)
        if not self.routed or number < self._expected:
            return False, False
        if self._seen_once:
            return False, True
        self._seen_once = True
        self._expected = next_number
        self._copy_due = True
        return True, False

    def answers_aside(self, smoothed_s: float, now: float) -> bool:
        """A packet of the peer came by gateways: whether we take the same way, for all we know of the direct one.

        Also while ours is a route that has brought no answer yet: by that way, packets do get through.
        """
        first = now - self.forwarded_at > ASIDE_S
        self.forwarded_at = now
        if self.routed:
            return not self._proven
        if not first:
            return False
        return self.heard_us_at is None or now - self.heard_us_at > 2 * smoothed_s

    def expects_twins(self, now: float) -> bool:
        """Whether a direct packet may have been overtaken by its copy that came by gateways."""
        return now - self.forwarded_at < ASIDE_S

    def copies(self, smoothed_s: float, now: float) -> tuple[bool, bool]:
        """Of a batch that goes by gateways: (all go directly too, the last one does)."""
        if now - self._since < COPY_ALL_TRIPS * smoothed_s:
            self._copied_at = now
            self._copy_due = False
            return True, True
        if self._copy_due or now - self._copied_at >= max(COPY_TRIPS * smoothed_s, LEAST_COPY_S):
            self._copied_at = now
            self._copy_due = False
            return False, True
        return False, False
