"""Packets that go by gateways: handed on along the path they carry, or LOST is said to where they came from (G3 to G5).

    1.1 --FORWARD [1.1 1.5 1.2] at 1--> 1.5 --FORWARD at 2--> 1.2      for us: Detoured, and the way back is remembered
    1.1 <--LOST failed 1 at 0---------- 1.5   X                        1.5 has no direct session with 1.2, or no answer

Each step is a message of a direct session, so each is acknowledged and repeated hop by hop; a step that is in doubt
takes the packet all the same, and says LOST at once so that the source need not wait for the outcome.

The way by which packets came is good for an answer for BACK_S: it is nobody's word but theirs who handed them on, and
what travels back by it is sealed like everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from identity.names import ServerId
from routing.probes import Forward, Lost, Path, check_forward_untrusted
from routing.ways import Detoured, HandOn

BACK_S = 20.0
LOST_S = 0.05  # one LOST for a path in so long
MAX_BACK = 4096  # sources and paths remembered


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

    def forget_back(self, path: Path) -> None:
        """This path was lost; if it is a way back, it is none any more."""
        if self.back(path[-1], -math.inf) == path[::-1]:
            del self._back[path[-1]]

    def _arrive(self, message: Forward, now: float) -> None:
        source = message.path[0]
        if source not in self._back and len(self._back) >= MAX_BACK:
            del self._back[next(iter(self._back))]
        self._back[source] = message.path, now
        self._put(Detoured(source, message.packet))

    def _hand_on(self, message: Forward, now: float) -> None:
        path, at = message.path, message.at
        onward = path[at + 1]
        if not self._may_forward(path[0], path[-1]):
            self._say_lost(path, at, f"{self._own} does not forward for {path[0]}", now)
            return
        if not self._reached(onward):
            self._say_lost(path, at, f"{self._own} does not reach {onward}", now)
            return
        if self._doubted(onward):
            self._say_lost(path, at, f"{self._own} has no answer from {onward}", now)
        self.forwarded += 1
        self._put(HandOn(onward, Forward(path, at + 1, message.packet)))

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
