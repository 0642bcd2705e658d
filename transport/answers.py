"""The answerer's half of requests (DESIGN X6): asked twice, answered once.

    nothing ---- REQUEST ----> WORKING ---- answer, last ----> ANSWERED ---- DONE ----> known, and nothing else
                                  |  ^                            |  |                     |
                               CANCEL, DONE: Cancelled            |  +- no room: kept no more
                                  |                               |                        |
       asked again:            receipt                      the same answer      REFUSE, FORGOTTEN

    one asker's numbers    0 ......... 90  91 ..95 ...... 99  100          seen 0-99:  none of these is carried out anew
                           DONE below 90    held 91-93 95                  held: asked, and not DONE

Rules: a number in `seen` is never told as `Asked` again; what is below the floor and round the held numbers is in
`seen` because DONE said so, whether it was asked here or not. An answer stays until DONE, never by age, as long as all
of one asker's fit in MAX_KEPT_BYTES; beyond that the oldest are kept no more, and who asks again learns that nothing
is known. A stream is MAX_PARTS_AHEAD parts ahead of its asker at most, and one part when that memory is full. A
receipt waits RECEIPT_DELAY_S for the answer that would make it needless.

All is memory. After a restart a request may come again that an earlier run carried out: its `attempt` shows it, and
who changes things looks for its id among the leaves (`Asked.again`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from typing import Any

import msgspec

from identity.errors import Exhausted, LocalMistake, PeerMisbehaved
from identity.names import ServerId
from transport.ranges import Ranges
from transport.requests import (
    COUNT_BITS,
    EXHAUSTED,
    FORGOTTEN,
    MAX_BODY_BYTES,
    MAX_LISTED,
    MAX_OUTSTANDING,
    MAX_PARTS_AHEAD,
    Answer,
    Asked,
    Cancel,
    Cancelled,
    Done,
    MaySend,
    Receipt,
    Refuse,
    Request,
    Taken,
    request_id,
)
from transport.wire import SendTo

RECEIPT_DELAY_S = 0.001  # an answer ready in the same tick is its own receipt (DESIGN U7)
MAX_OPEN_BYTES = 2 * MAX_BODY_BYTES  # of one asker's questions that are being worked on
MAX_KEPT_BYTES = 8 << 20  # of one asker: beyond it streams wait and the oldest whole answers are kept no more
MAX_STREAM_BYTES = 16 << 20  # of one asker: beyond it a stream is kept no more either
KEPT_HEAD_BYTES = 256  # what an answer costs beside its body
MAX_SEEN_RANGES = 32_768  # an honest asker's are a few; the rest of a hostile one's requests are refused


class _Work(msgspec.Struct):
    request_id: bytes
    number: int
    priority: int
    question_bytes: int
    next_index: int = 0
    taken: int = 0
    answered: bool = False  # the last part was given
    waits: bool = False  # for credit
    whole: bool = True  # every part from `taken` on is in `parts`
    parts: dict[int, Answer] = msgspec.field(default_factory=dict)
    kept_bytes: int = 0


class _Asker(msgspec.Struct):
    incarnation: int
    seen: Ranges = msgspec.field(default_factory=Ranges)
    held: Ranges = msgspec.field(default_factory=Ranges)
    works: dict[int, _Work] = msgspec.field(default_factory=dict)
    answered: dict[int, None] = msgspec.field(default_factory=dict)  # of works, in the order they were answered
    open_bytes: int = 0
    kept_bytes: int = 0
    receipts: dict[int, None] = msgspec.field(default_factory=dict)

    @property
    def open(self) -> int:
        return len(self.works) - len(self.answered)


class Answers:
    """Everything this server was asked and that its askers have not declared done."""

    def __init__(self, connected: Container[ServerId], put_out: Callable[[Any], None]) -> None:
        """`connected` is looked at, never changed; outputs go to `put_out`."""
        self._connected = connected
        self._put_out = put_out
        self._askers: dict[ServerId, _Asker] = {}
        self._owed: dict[ServerId, float] = {}  # receipts: when; all wait equally long, so the first is the earliest

    # -- verbs

    def answer(self, peer: ServerId, request: bytes, body: bytes, *, last: bool, index: int, ok: bool) -> bool:
        if len(body) > MAX_BODY_BYTES:
            raise LocalMistake(f"an answer of {len(body)} bytes, {MAX_BODY_BYTES} allowed; answer in parts")
        asker, work = self._find(peer, request)
        if asker is None or work is None:
            return False
        if work.answered or index != work.next_index:
            raise LocalMistake(f"part {index} of the answer to {request.hex()}, of which {work.next_index} were given")
        if index and index >= work.taken + MAX_PARTS_AHEAD:
            raise Exhausted(f"{peer} has not used up {MAX_PARTS_AHEAD} parts", next_step="wait for MaySend")
        part = Answer(asker.incarnation, work.number, index, last, ok, body)
        work.next_index += 1
        asker.receipts.pop(work.number, None)
        if not asker.receipts:
            self._owed.pop(peer, None)  # the answer says that the question came; nobody is woken for nothing
        if last:
            work.answered = True
            asker.answered[work.number] = None
            asker.open_bytes -= work.question_bytes
        self._keep(asker, work, part)
        if work.answered and not work.whole:
            self._remove(asker, work.number)
        if peer in self._connected:
            self._put_out(SendTo(peer, part, work.priority))
        return True

    def may_send(self, peer: ServerId, request: bytes) -> bool:
        asker, work = self._find(peer, request)
        if asker is None or work is None:
            return True  # `answer` will say that nobody waits
        if self._has_credit(asker, work):
            return True
        work.waits = True
        return False

    # -- what happened

    def handle_request(self, peer: ServerId, message: Request, now: float) -> None:
        asker = self._asker(peer, message.incarnation)
        number = message.number
        if asker is None:
            self._refuse(peer, message, FORGOTTEN, "this incarnation was succeeded")
            return
        work = asker.works.get(number)
        if work is not None:
            self._ask_again(peer, asker, work, message, now)
        elif number in asker.seen or message.told:
            self._refuse(peer, message, FORGOTTEN, "it was answered or declared done, and nothing else is kept of it")
        elif asker.open >= MAX_OUTSTANDING or asker.open_bytes + len(message.body) > MAX_OPEN_BYTES:
            self._refuse(peer, message, EXHAUSTED, f"{asker.open} requests of yours are being worked on")
        elif max(len(asker.seen), len(asker.held)) > MAX_SEEN_RANGES:
            self._refuse(peer, message, EXHAUSTED, "too many requests of yours are not declared done")
        else:
            asker.seen.add(number)
            asker.held.add(number)
            name = request_id(peer, message.incarnation, number)
            asker.works[number] = _Work(name, number, message.priority, len(message.body))
            asker.open_bytes += len(message.body)
            self._owe_receipt(peer, asker, number, now)
            deadline = now + message.deadline_ms / 1000 if message.deadline_ms else None
            self._put_out(Asked(peer, name, message.body, deadline, message.priority, message.attempt > 1))

    def handle_cancel(self, peer: ServerId, message: Cancel) -> None:
        asker = self._asker(peer, message.incarnation)
        if asker is not None and (message.number in asker.held or len(asker.seen) <= MAX_SEEN_RANGES):
            self._forget(peer, asker, message.number, message.number)

    def handle_done_untrusted(self, peer: ServerId, message: Done) -> None:
        """Raises `PeerMisbehaved` for ranges that are none."""
        ranges = Ranges.from_list_untrusted(message.ranges, max_ranges=MAX_LISTED, lowest=message.floor + 1)
        asker = self._asker(peer, message.incarnation)
        if asker is None:
            return
        if message.upcoming and message.upcoming >> COUNT_BITS < (asker.seen.highest or 0) >> COUNT_BITS:
            self._begin_anew(asker)
        if len(asker.seen) + len(ranges) > 2 * MAX_SEEN_RANGES:
            raise PeerMisbehaved(f"{peer} declares its requests done in {len(asker.seen)} shreds")
        if message.floor:
            self._forget(peer, asker, 0, message.floor - 1)
        for first, last in ranges:
            self._forget(peer, asker, first, last)

    def handle_taken(self, peer: ServerId, message: Taken) -> None:
        asker = self._asker(peer, message.incarnation)
        work = asker.works.get(message.number) if asker is not None else None
        if asker is not None and work is not None:
            self._take(peer, asker, work, message.parts)

    def handle_disconnected(self, peer: ServerId) -> None:
        self._owed.pop(peer, None)
        asker = self._askers.get(peer)
        if asker is not None:
            asker.receipts.clear()
            if not asker.held:
                del self._askers[peer]  # all it asked is done, and what is done is not asked again

    # -- time

    def deadline(self) -> float:
        if not self._owed:  # mostly
            return math.inf
        return next(iter(self._owed.values()))

    def handle_deadline(self, now: float) -> None:
        while self._owed and next(iter(self._owed.values())) <= now:
            peer = next(iter(self._owed))
            del self._owed[peer]
            asker = self._askers[peer]
            numbers = tuple(asker.receipts)
            asker.receipts.clear()
            for at in range(0, len(numbers), MAX_LISTED):
                self._put_out(SendTo(peer, Receipt(asker.incarnation, numbers[at : at + MAX_LISTED])))

    # -- helpers

    def _asker(self, peer: ServerId, incarnation: int) -> _Asker | None:
        """What we know of an asker; None for an incarnation that another has succeeded (DESIGN N5)."""
        asker = self._askers.get(peer)
        if asker is None or asker.incarnation < incarnation:
            if asker is not None:
                self._forget(peer, asker, 0, asker.held.highest or 0)
                self._owed.pop(peer, None)
            asker = self._askers[peer] = _Asker(incarnation)
        return asker if asker.incarnation == incarnation else None

    def _begin_anew(self, asker: _Asker) -> None:
        """An asker that came back in time knows nothing of what it asked since, and gives lower numbers now.

        Else all of them would count as done long ago. What stays known is what is still held, so that no request is
        told twice while one of its name is worked on, and the latest epoch that was seen: whoever says an old DONE
        again, and then old requests, has them refused.
        """
        highest = asker.seen.highest or 0
        seen = Ranges()
        for first, last in (
            *asker.held.as_list(),
            *asker.seen.present(highest >> COUNT_BITS << COUNT_BITS, highest),
        ):
            seen.add(first, last)
        asker.seen = seen

    def _find(self, peer: ServerId, request: bytes) -> tuple[_Asker | None, _Work | None]:
        asker = self._askers.get(peer)
        work = asker.works.get(int.from_bytes(request[-8:], "big")) if asker is not None else None
        return asker, (work if work is not None and work.request_id == request else None)

    def _refuse(self, peer: ServerId, message: Request, code: int, reason: str) -> None:
        refuse = Refuse(message.incarnation, message.number, message.attempt, code, reason)
        self._put_out(SendTo(peer, refuse))

    def _owe_receipt(self, peer: ServerId, asker: _Asker, number: int, now: float) -> None:
        asker.receipts[number] = None
        self._owed.setdefault(peer, now + RECEIPT_DELAY_S)

    def _ask_again(self, peer: ServerId, asker: _Asker, work: _Work, message: Request, now: float) -> None:
        if not work.whole:
            self._refuse(peer, message, FORGOTTEN, "its answer is kept no more")
            return
        self._take(peer, asker, work, message.taken)
        if not work.parts and not work.answered:
            self._owe_receipt(peer, asker, work.number, now)
        for part in work.parts.values():
            if part.index >= message.told:
                self._put_out(SendTo(peer, part, work.priority))

    def _has_credit(self, asker: _Asker, work: _Work) -> bool:
        """A stream whose asker has used up all goes on even without room, so that no two wait for each other."""
        ahead = work.next_index - work.taken
        return ahead <= 0 or (ahead < MAX_PARTS_AHEAD and asker.kept_bytes < MAX_KEPT_BYTES)

    def _take(self, peer: ServerId, asker: _Asker, work: _Work, parts: int) -> None:
        """The asker has used up all parts below `parts`; more than were given cannot be."""
        while work.taken < min(parts, work.next_index):
            self._drop(asker, work, work.taken)
            work.taken += 1
        if work.waits and self._has_credit(asker, work):
            work.waits = False
            self._put_out(MaySend(peer, work.request_id))

    def _keep(self, asker: _Asker, work: _Work, part: Answer) -> None:
        """Keep a part for a resend; make room by keeping the oldest answers no more, and at last not this one."""
        if len(part.body) > MAX_KEPT_BYTES // 2:
            work.whole = False  # rather this one than all others
        if work.whole:
            work.parts[part.index] = part
            work.kept_bytes += len(part.body) + KEPT_HEAD_BYTES
            asker.kept_bytes += len(part.body) + KEPT_HEAD_BYTES
        while asker.kept_bytes > MAX_KEPT_BYTES and asker.answered:
            self._remove(asker, next(iter(asker.answered)))
        if asker.kept_bytes > MAX_STREAM_BYTES:
            work.whole = False
        if not work.whole:
            for index in list(work.parts):
                self._drop(asker, work, index)

    def _drop(self, asker: _Asker, work: _Work, index: int) -> None:
        part = work.parts.pop(index, None)
        if part is not None:
            work.kept_bytes -= len(part.body) + KEPT_HEAD_BYTES
            asker.kept_bytes -= len(part.body) + KEPT_HEAD_BYTES

    def _remove(self, asker: _Asker, number: int) -> _Work | None:
        work = asker.works.pop(number, None)
        if work is not None:
            asker.kept_bytes -= work.kept_bytes
            asker.receipts.pop(number, None)
            if work.answered:
                del asker.answered[number]
            else:
                asker.open_bytes -= work.question_bytes
        return work

    def _forget(self, peer: ServerId, asker: _Asker, first: int, last: int) -> None:
        """first..last are done: what was still worked on is cancelled."""
        for low, high in asker.held.present(first, last):
            for number in range(low, high + 1):
                work = self._remove(asker, number)
                if work is not None and not work.answered:
                    self._put_out(Cancelled(peer, work.request_id))
        asker.held.subtract(first, last)
        asker.seen.add(first, last)
