"""Probes of others: is there a way from here? Said yes only after a real answer of the target (DESIGN G2).

    PROBE 1.2 --> reached directly, and not in doubt? --> Verify 1.2 --> answered --> CONFIRM [own, 1.2]
                  |                                          |---> silent, or doubted meanwhile --> NOWAY
                  '-> hops left? --> Ask three of ours, one hop less --> their CONFIRM, own name before it
                                  '--> NOWAY

Bounds (ATTACKS 15): MAX_OPEN inquiries of one peer at a time, each OPEN_S long at most; one search, named by its
origin and number, is answered once here, whoever brings it, so a search over a whole mesh costs each server three
probes, and three more where its origin asks by itself (that is kept apart, so that nobody spoils it by asking in its
name before); only servers that are known here are looked for; a probe that has passed here is not passed on again.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence

import msgspec

from identity.names import ServerId
from routing.probes import MAX_HOPS, MAX_PATH, MAX_RTT_US, Confirm, NoWay, Path, Probe
from routing.probing import WIDTH
from routing.ways import AnswerProbe, Ask, Verify

MAX_OPEN = 64  # of one peer
MAX_SEEN = 4096  # searches remembered
OPEN_S = 1.4  # a little less than the asker waits
VERIFY_S = 1.0
GRACE_S = 0.02  # after the target is doubted: an answer on its way may still come


class _Inquiry(msgspec.Struct):
    token: int
    peer: ServerId
    probe: Probe
    begun: float
    ends: float
    open: dict[int, ServerId]  # asks and the one verification that are not answered
    verifying: bool = False
    asked_on: bool = False
    done: bool = False


class Inquiring:
    """The probes that others asked of one server.

    `knows(server)`: it is a server of this mesh; `direct(server)`: it is reached directly and not in doubt;
    `candidates(target)`: whom to ask, in order.
    """

    def __init__(
        self,
        own: ServerId,
        *,
        knows: Callable[[ServerId], bool],
        direct: Callable[[ServerId], bool],
        candidates: Callable[[ServerId], Sequence[ServerId]],
        new_number: Callable[[], int],
    ) -> None:
        self._own = own
        self._knows = knows
        self._direct = direct
        self._candidates = candidates
        self._new_number = new_number
        self._open: dict[ServerId, int] = {}
        self._by_ask: dict[int, _Inquiry] = {}
        self._seen: dict[tuple[ServerId, int, int, bool], None] = {}
        self._timers: list[tuple[float, int, _Inquiry]] = []  # the number in the middle breaks ties
        self._outputs: list[Ask | Verify | AnswerProbe] = []

    def deadline(self) -> float:
        return self._timers[0][0] if self._timers else math.inf

    def handle_deadline(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, _, inquiry = heapq.heappop(self._timers)
            if not inquiry.done and inquiry.ends <= now:
                self._answer(inquiry, NoWay("no answer in time"))

    def take_outputs(self) -> list[Ask | Verify | AnswerProbe]:
        outputs, self._outputs = self._outputs, []
        return outputs

    # -- what happens

    def handle_probe_untrusted(self, peer: ServerId, token: int, probe: Probe, now: float) -> str | None:
        """A peer asks; the answer goes out under its `token`. What is wrong with the probe, or None."""
        inquiry = _Inquiry(token, peer, probe, now, now + OPEN_S, {})
        self._open[peer] = self._open.get(peer, 0) + 1
        path, target = probe.path, probe.target
        if path[-1] != peer or len(set(path)) != len(path):
            self._answer(inquiry, NoWay("a path that is none"))
            return "a PROBE whose path does not end with its sender, or circles"
        search = path[0], probe.number, probe.hops, path[0] == peer
        if self._open[peer] > MAX_OPEN:
            self._answer(inquiry, NoWay(f"{MAX_OPEN} probes of yours are open here"))
        elif self._own in path or target in path or search in self._seen:
            self._answer(inquiry, NoWay("asked here already"))
        elif target == self._own or not self._knows(target):
            self._answer(inquiry, NoWay("that is me" if target == self._own else "no such server is known here"))
        else:
            self._remember(search)
            heapq.heappush(self._timers, (inquiry.ends, self._new_number(), inquiry))
            if self._direct(target):
                number = self._new_number()
                inquiry.open[number] = target
                inquiry.verifying = True
                self._by_ask[number] = inquiry
                self._outputs.append(Verify(number, target, VERIFY_S))
            else:
                self._ask_on(inquiry)
        return None

    def handle_verified(self, ask: int, answered: bool, now: float) -> bool:
        """The target answered, or did not. False: not an ask of this part."""
        inquiry = self._by_ask.pop(ask, None)
        if inquiry is None:
            return False
        target = inquiry.open.pop(ask, None)
        inquiry.verifying = False
        if inquiry.done or target is None:
            return True
        if answered and self._direct(target):
            self._answer(inquiry, Confirm((self._own, target), _microseconds(now - inquiry.begun)))
        elif not inquiry.asked_on:
            self._ask_on(inquiry)
        elif not inquiry.open:
            self._answer(inquiry, NoWay("nobody asked knows a way"))
        return True

    def handle_answer_untrusted(self, ask: int, answer: object, now: float) -> tuple[bool, str | None]:
        """A server that was asked on answered. (whether that was an ask of this part, what is wrong with it)."""
        inquiry = self._by_ask.pop(ask, None)
        if inquiry is None:
            return False, None
        peer = inquiry.open.pop(ask, None)
        if inquiry.done or peer is None:
            return True, None
        if isinstance(answer, Confirm):
            wrong = self._wrong_with(answer.path, peer, inquiry.probe)
            if wrong is None:
                self._answer(inquiry, Confirm((self._own, *answer.path), _microseconds(now - inquiry.begun)))
                return True, None
            if not inquiry.open:
                self._answer(inquiry, NoWay("nobody asked knows a way"))
            return True, wrong
        if not inquiry.open:
            self._answer(inquiry, NoWay("nobody asked knows a way"))
        return True, None

    def handle_doubted(self, target: ServerId, now: float) -> None:
        """Our own way to it is in doubt: who waits for its answer is not kept waiting for the whole time."""
        for inquiry in list({id(each): each for each in self._by_ask.values()}.values()):
            if not inquiry.verifying or inquiry.probe.target != target or inquiry.asked_on:
                continue
            if inquiry.probe.hops > 1:
                self._ask_on(inquiry)
            elif inquiry.ends > now + GRACE_S:
                inquiry.ends = now + GRACE_S
                heapq.heappush(self._timers, (inquiry.ends, self._new_number(), inquiry))

    # -- steps

    def _ask_on(self, inquiry: _Inquiry) -> None:
        inquiry.asked_on = True
        probe = inquiry.probe
        path = (*probe.path, self._own)
        if probe.hops <= 1 or len(path) > MAX_HOPS:
            self._answer(inquiry, NoWay("not reached from here"))
            return
        whom = [each for each in self._candidates(probe.target) if each not in path][:WIDTH]
        for server in whom:
            number = self._new_number()
            inquiry.open[number] = server
            self._by_ask[number] = inquiry
            onward = Probe(probe.target, probe.number, path, probe.hops - 1)
            self._outputs.append(Ask(number, server, onward, OPEN_S))
        if not inquiry.open:
            self._answer(inquiry, NoWay("nobody here to ask"))

    def _wrong_with(self, path: Path, peer: ServerId, probe: Probe) -> str | None:
        if path[0] != peer or path[-1] != probe.target or len(path) < 2 or len(set(path)) != len(path):
            return "a CONFIRM of a path that leads elsewhere, or circles"
        if self._own in path or any(each in probe.path for each in path):
            return "a CONFIRM of a path that comes back to who asked"
        return None if len(probe.path) + 1 + len(path) <= MAX_PATH else "a CONFIRM of a path that is too long"

    def _answer(self, inquiry: _Inquiry, answer: Confirm | NoWay) -> None:
        inquiry.done = True
        for ask in inquiry.open:
            self._by_ask.pop(ask, None)
        self._open[inquiry.peer] -= 1
        if not self._open[inquiry.peer]:
            del self._open[inquiry.peer]
        self._outputs.append(AnswerProbe(inquiry.token, inquiry.peer, answer))

    def _remember(self, search: tuple[ServerId, int, int, bool]) -> None:
        if len(self._seen) >= MAX_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[search] = None


def _microseconds(seconds: float) -> int:
    return min(max(0, round(seconds * 1e6)), MAX_RTT_US)
