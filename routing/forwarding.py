"""Packets that go by gateways: handed on along the path they carry, or LOST is said to where they came from (G3 to G5).

    1.1 --FORWARD [1.1 1.5 1.2] at 1--> 1.5 --FORWARD at 2--> 1.2      for us: Detoured, and the way back is remembered
    1.1 <--LOST failed 1 at 0---------- 1.5   X                        1.5 has no direct session with 1.2, or no answer
    1.1 --CARRY [1.1 1.5 1.2] at 1----> 1.5 --CARRY at 2----> 1.2      over links that carry one way only

Each step is a message of a direct session, so each is acknowledged and repeated hop by hop; a step that is in doubt
takes the packet all the same, and says LOST at once so that the source need not wait for the outcome.

A link that carries one way only brings no acknowledgement by itself: that would travel by gateways, and be acknowledged
there in turn, without end. So over such links packets go as CARRY, a word, and what gets lost is the ends' business. It
is such a link if a SEEK found it, or the next server's own packets come by CARRY; what came as CARRY goes on so. Where
they have come by FORWARD for ASIDE_S, small packets go as CARRY, which acknowledgements are.

The way by which packets came is good for an answer for BACK_S: it is nobody's word but theirs who handed them on, and
what travels back by it is sealed like everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from identity.names import ServerId
from routing.probes import Carry, Forward, Lost, Path, check_forward_untrusted
from routing.ways import Detoured, HandOn

BACK_S = 20.0
LOST_S = 0.05  # one LOST for a path in so long
MAX_BACK = 4096  # sources and paths remembered
CARRIED_S = 5.0  # since a packet of a server came by gateways: it goes on doing so
ASIDE_S = 1.0  # of coming by FORWARD: the link to it may carry one way only, else both ends leave that mostly by then
SMALL_BYTES = 200  # an acknowledgement, with the ranges of a bad link


class Forwarding:
    """What one server does with packets of others.

    `reached(server)`: by a direct session; `doubted(server)`: which has no answer just now; `may_forward(source,
    target)`: policy; `handle_lost(path, reason)`: told of own packets; `put` takes outputs.
    """

    def __init__(
        self,
        own: ServerId,
        *,
        reached: Callable[[ServerId], bool],
        doubted: Callable[[ServerId], bool],
        may_forward: Callable[[ServerId, ServerId], bool],
        handle_lost: Callable[[Path, str], None],
        put: Callable[[Any], None],
    ) -> None:
        self.forwarded = 0
        self.refused = 0
        self._own = own
        self._reached = reached
        self._doubted = doubted
        self._may_forward = may_forward
        self._handle_own_lost = handle_lost
        self._put = put
        self._back: dict[ServerId, tuple[Path, float]] = {}
        self._carried: dict[ServerId, float] = {}  # when the newest packet of each came by CARRY
        self._aside: dict[ServerId, float] = {}  # since when its packets come by gateways
        self._lost_told: dict[Path, float] = {}

    def handle_message_untrusted(self, peer: ServerId, message: Forward | Lost, now: float) -> str | None:
        """A FORWARD or LOST came. What is wrong with it, or None."""
        wrong = check_forward_untrusted(message, self._own, peer)
        if wrong is not None:
            return wrong
        if isinstance(message, Lost):
            self._handle_lost(message)
        elif message.at == len(message.path) - 1:
            self._arrive(message, now)
        else:
            self._hand_on(message, now)
        return None

    def back(self, source: ServerId, now: float) -> Path:
        """By which servers its packets came lately, from it to here; empty when none came."""
        path, at = self._back.get(source, ((), -math.inf))
        return path if now - at < BACK_S else ()

    def back_at(self, source: ServerId) -> float:
        """When the newest of them came."""
        return self._back.get(source, ((), -math.inf))[1]

    def send(self, path: Path, packet: bytes, now: float, *, one_way: bool) -> None:
        """A packet of ours, along a path that begins here."""
        self._step(path, 1, packet, now, carried=one_way)

    def _step(self, path: Path, to: int, packet: bytes, now: float, *, carried: bool) -> None:
        onward = path[to]
        small = len(packet) <= SMALL_BYTES and self._is_aside(onward, now)
        kind = Carry if carried or small or self.is_carried(onward, now) else Forward
        self._put(HandOn(onward, kind(path, to, packet)))

    def is_carried(self, source: ServerId, now: float) -> bool:
        """Whether its packets came by CARRY lately: no link of ours brings them, and their path is no way back."""
        return now - self._carried.get(source, -math.inf) < CARRIED_S

    def _is_aside(self, source: ServerId, now: float) -> bool:
        """Whether its packets have come by gateways for a while."""
        return now - self.back_at(source) < CARRIED_S and now - self._aside[source] >= ASIDE_S

    def forget_back(self, path: Path) -> None:
        """This path was lost; if it is a way back, it is none any more."""
        if self.back(path[-1], -math.inf) == path[::-1]:
            self._forget(path[-1])

    def _arrive(self, message: Forward, now: float) -> None:
        source = message.path[0]
        if source not in self._back and len(self._back) >= MAX_BACK:
            self._forget(next(iter(self._back)))
        if now - self.back_at(source) >= CARRIED_S:
            self._aside[source] = now
        self._back[source] = message.path, now
        if isinstance(message, Carry) and len(message.path) > 2:
            self._carried[source] = now
        self._put(Detoured(source, message.packet))

    def _forget(self, source: ServerId) -> None:
        del self._back[source]
        self._carried.pop(source, None)
        self._aside.pop(source, None)

    def _hand_on(self, message: Forward, now: float) -> None:
        path, at = message.path, message.at
        onward = path[at + 1]
        if isinstance(message, Carry):
            if self._may_forward(path[0], path[-1]):
                self.forwarded += 1
                self._step(path, at + 1, message.packet, now, carried=True)
            return
        if not self._may_forward(path[0], path[-1]):
            self._say_lost(path, at, f"{self._own} does not forward for {path[0]}", now)
            return
        if not self._reached(onward):
            self._say_lost(path, at, f"{self._own} does not reach {onward}", now)
            return
        if self._doubted(onward):
            self._say_lost(path, at, f"{self._own} has no answer from {onward}", now)
        self.forwarded += 1
        self._step(path, at + 1, message.packet, now, carried=False)

    def _say_lost(self, path: Path, at: int, reason: str, now: float) -> None:
        self.refused += 1
        if now - self._lost_told.get(path, -math.inf) < LOST_S:
            return
        if len(self._lost_told) >= MAX_BACK:
            self._lost_told.clear()
        self._lost_told[path] = now
        self._put(HandOn(path[at - 1], Lost(path, at, at - 1, reason)))

    def _handle_lost(self, message: Lost) -> None:
        path, at = message.path, message.at
        if at == 0:
            self._handle_own_lost(path, message.reason)
        else:
            self._put(HandOn(path[at - 1], Lost(path, message.failed, at - 1, message.reason)))
