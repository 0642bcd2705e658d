"""Probes of others: is there a way from here? Said yes only after a real answer of the target (DESIGN G2).

    PROBE 1.2 --> reached directly, and not in doubt? --> Verify 1.2 --> answered --> CONFIRM [own, 1.2]
                  |                                          |---> silent, or doubted meanwhile --> NOWAY
                  '-> hops left? --> searched from here too? --> wait for that: Found --> CONFIRM [own, .., 1.2]
                       |        '--> Ask three of ours, one hop less --> their CONFIRM, own name before it
                       '--> NOWAY

Where a mesh falls in two, everybody searches everybody: a server that searches 1.2 itself asks nobody a second time
for the others who do, it lets them share in what it finds (two halves of 25 servers with one bridge sent 150 000
packets in the first two seconds without this).

Each answers a round trip before its asker's time is over, and gives those it asks what is left of it: who searches
decides how long everybody on the way waits (`routing.probing`).

Bounds (ATTACKS 15): MAX_OPEN inquiries of one peer at a time, each MAX_OPEN_S long at most; one search, named by its
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
MAX_OPEN_S = 12.0
LEAST_OPEN_S = 0.2
MARGIN_S = 0.1  # so much sooner than the asker ceases to wait, or a round trip
VERIFY_S = 1.0  # or half of the time there is
GRACE_S = 0.02  # after the target is doubted: an answer on its way may still come


class _Asked(msgspec.Struct):
    """One question to one server, and all who wait for its answer, the first of them first."""

    server: ServerId
    target: ServerId
    hops: int
    waiting: list[_Inquiry]


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
    `candidates(target)`: whom to ask, in order; `searches(target)`: a search of our own for it is under way;
    `rtt_of(server)`: seconds.
    """

    def __init__(
        self,
        own: ServerId,
        *,
        knows: Callable[[ServerId], bool],
        direct: Callable[[ServerId], bool],
        candidates: Callable[[ServerId], Sequence[ServerId]],
        new_number: Callable[[], int],
        searches: Callable[[ServerId], bool] = lambda target: False,
        rtt_of: Callable[[ServerId], float] = lambda server: 0.0,
    ) -> None:
        self._searches = searches
        self._rtt_of = rtt_of
        self._sharing: dict[ServerId, list[_Inquiry]] = {}  # those who wait for our own search
        self._own = own
        self._knows = knows
        self._direct = direct
        self._candidates = candidates
        self._new_number = new_number
        self._open: dict[ServerId, int] = {}
        self._verifying: dict[int, _Inquiry] = {}
        self._by_ask: dict[int, _Asked] = {}
        self._asking: dict[tuple[ServerId, ServerId], int] = {}  # target and whom: the ask that is open
        self._seen: dict[tuple[ServerId, int, int, bool], None] = {}
        self._timers: list[tuple[float, int, _Inquiry]] = []  # the number in the middle breaks ties
        self._outputs: list[Ask | Verify | AnswerProbe] = []

    def deadline(self) -> float:
        while self._timers and self._timers[0][2].done:  # nearly all are answered long before
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else math.inf

    def handle_deadline(self, now: float) -> None:
        while self._timers and self._timers[0][0] <= now:
            _, _, inquiry = heapq.heappop(self._timers)
            if not inquiry.done and inquiry.ends <= now:
                self._answer(inquiry, NoWay("no answer in time"))

    def take_outputs(self) -> Sequence[Ask | Verify | AnswerProbe]:
        if not self._outputs:  # mostly: it is asked in every turn
            return []
        outputs, self._outputs = self._outputs, []
        return outputs

    # -- what happens

    def handle_probe_untrusted(
        self, peer: ServerId, token: int, probe: Probe, now: float, until: float = math.inf
    ) -> str | None:
        """A peer asks and waits `until` then; the answer goes out under its `token`. What is wrong with the probe, or
        None."""
        open_s = until - max(MARGIN_S, self._rtt_of(peer)) - now
        inquiry = _Inquiry(token, peer, probe, now, now + min(max(open_s, LEAST_OPEN_S), MAX_OPEN_S), {})
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
                self._verifying[number] = inquiry
                open_s = inquiry.ends - now
                self._outputs.append(Verify(number, target, min(open_s, max(VERIFY_S, open_s / 2))))
            else:
                self._ask_on(inquiry, now)
        return None

    def handle_verified(self, ask: int, answered: bool, now: float) -> bool:
        """The target answered, or did not. False: not an ask of this part."""
        inquiry = self._verifying.pop(ask, None)
        if inquiry is None:
            return False
        target = inquiry.open.pop(ask, None)
        inquiry.verifying = False
        if inquiry.done or target is None:
            return True
        if answered and self._direct(target):
            self._answer(inquiry, Confirm((self._own, target), _microseconds(now - inquiry.begun)))
        elif not inquiry.asked_on:
            self._ask_on(inquiry, now)
        elif not inquiry.open:
            self._answer(inquiry, NoWay("nobody asked knows a way"))
        return True

    def handle_answer_untrusted(self, ask: int, answer: object, now: float) -> tuple[bool, str | None]:
        """A server that was asked on answered. (whether that was an ask of this part, what is wrong with it)."""
        asked = self._by_ask.get(ask)
        if asked is None:
            return False, None
        self._forget(ask, asked)
        wrong = None
        for inquiry in asked.waiting:
            if inquiry.open.pop(ask, None) is None or inquiry.done:
                continue
            if isinstance(answer, Confirm):
                no = self._wrong_with(answer.path, asked.server, inquiry.probe)
                if no is None:
                    self._answer(inquiry, Confirm((self._own, *answer.path), _microseconds(now - inquiry.begun)))
                    continue
                if inquiry is asked.waiting[0]:  # it was asked with this one's path; the others only share
                    wrong = no
            if not inquiry.open:
                self._answer(inquiry, NoWay("nobody asked knows a way"))
        return True, wrong

    def handle_doubted(self, target: ServerId, now: float) -> None:
        """Our own way to it is in doubt: who waits for its answer is not kept waiting for the whole time."""
        for inquiry in list(self._verifying.values()):
            if inquiry.probe.target != target or inquiry.asked_on:
                continue
            if inquiry.probe.hops > 1:
                self._ask_on(inquiry, now)
            elif inquiry.ends > now + GRACE_S:
                inquiry.ends = now + GRACE_S
                heapq.heappush(self._timers, (inquiry.ends, self._new_number(), inquiry))

    def handle_found(self, path: Path, rtt_s: float, now: float) -> None:
        """Our own search found a way (`path` begins with this server): those who share in it are told."""
        left = []
        for inquiry in self._sharing.pop(path[-1], ()):
            if inquiry.done:
                continue
            if any(each in inquiry.probe.path for each in path) or len(inquiry.probe.path) + len(path) > MAX_PATH:
                left.append(
                    inquiry
                )  # a way that comes back to who asked, or too long with theirs: another may be found
            else:
                self._answer(inquiry, Confirm(path, _microseconds(rtt_s)))
        if left:
            self._sharing[path[-1]] = left

    def handle_failed(self, target: ServerId) -> None:
        """Our own search found nothing, or is not needed any more."""
        for inquiry in self._sharing.pop(target, ()):
            if not inquiry.done:
                self._answer(inquiry, NoWay("searched from here in vain"))

    # -- steps

    def _ask_on(self, inquiry: _Inquiry, now: float) -> None:
        inquiry.asked_on = True
        probe = inquiry.probe
        path = (*probe.path, self._own)
        if probe.hops <= 1 or len(path) > MAX_HOPS:
            self._answer(inquiry, NoWay("not reached from here"))
            return
        if self._searches(probe.target):
            sharing = self._sharing.setdefault(probe.target, [])
            sharing[:] = [each for each in sharing if not each.done]
            sharing.append(inquiry)
            return
        whom = [each for each in self._candidates(probe.target) if each not in path][:WIDTH]
        for server in whom:
            open_ask = self._asking.get((probe.target, server))
            if open_ask is not None and self._by_ask[open_ask].hops >= probe.hops - 1:
                inquiry.open[open_ask] = server
                self._by_ask[open_ask].waiting.append(inquiry)
                continue
            number = self._new_number()
            inquiry.open[number] = server
            self._by_ask[number] = _Asked(server, probe.target, probe.hops - 1, [inquiry])
            self._asking[probe.target, server] = number
            onward = Probe(probe.target, probe.number, path, probe.hops - 1)
            self._outputs.append(Ask(number, server, onward, max(inquiry.ends - now, LEAST_OPEN_S)))
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
            self._verifying.pop(ask, None)
            asked = self._by_ask.get(ask)
            if asked is not None and all(each.done for each in asked.waiting):
                self._forget(ask, asked)
        inquiry.open.clear()
        self._open[inquiry.peer] -= 1
        if not self._open[inquiry.peer]:
            del self._open[inquiry.peer]
        self._outputs.append(AnswerProbe(inquiry.token, inquiry.peer, answer))

    def _forget(self, ask: int, asked: _Asked) -> None:
        self._by_ask.pop(ask, None)
        if self._asking.get((asked.target, asked.server)) == ask:
            del self._asking[asked.target, asked.server]

    def _remember(self, search: tuple[ServerId, int, int, bool]) -> None:
        if len(self._seen) >= MAX_SEEN:
            del self._seen[next(iter(self._seen))]
        self._seen[search] = None


def _microseconds(seconds: float) -> int:
    return min(max(0, round(seconds * 1e6)), MAX_RTT_US)
