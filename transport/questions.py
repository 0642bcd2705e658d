"""The asker's half of requests (DESIGN X6): outstanding until answered, asked again under the same number.

    WAITING ---- connected: REQUEST ----> SENT ---- RECEIPT ----> RECEIVED
       |                                   |  <--- REQUEST again --- |        after each reconnect
       deadline                            +----- ANSWER, last ------+----> Answered          then DONE
       v                                   +----- deadline ----------+----> OutcomeUnknown    then CANCEL, DONE
    Unreachable                            +----- REFUSE ------------+----> Exhausted or OutcomeUnknown, DONE

Rules: parts of a stream are told in order of their index, each once, and at most MAX_PARTS_AHEAD beyond what the
consumer has taken; a question has one ending and is forgotten with it; DONE is told together for what ended within
DONE_DELAY_S, in ranges as wide as they can be (`transport.requests`), and sooner beside a REQUEST that leaves anyway,
or when what the answerer keeps for us grows large. All state is memory: what must outlive a restart waits in the
outbox, which asks it again under its old number. Such a number is *kept*: before it is written down (`reserve`) and
until its outcome is (`release`) no DONE speaks of it, so that its answer stays at the answerer, however
often either side ends in between.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Container
from typing import Any

import msgspec

from identity.errors import BangpathError, Exhausted, LocalMistake, OutcomeUnknown, PeerMisbehaved, Unreachable
from identity.names import ServerId
from transport.ranges import Interval, Ranges
from transport.requests import (
    EXHAUSTED,
    MAX_BODY_BYTES,
    MAX_LISTED,
    MAX_OUTSTANDING,
    MAX_PARTS_AHEAD,
    Answer,
    Answered,
    Cancel,
    Done,
    Failed,
    Progress,
    Receipt,
    Refuse,
    Request,
    Taken,
    first_number,
)
from transport.wire import SendTo

# An answer stays kept so much longer. Alone a DONE costs two packets, itself and its ACK, half of what its question
# cost: who asks now and then tells it beside the next question, and who asks all the time tells it 20 times a second.
DONE_DELAY_S = 1.0
DONE_ASIDE_S = 0.05  # from then on it goes with the next REQUEST
MAX_NOT_TOLD = MAX_LISTED  # ended questions before a DONE leaves early
MAX_NOT_TOLD_BYTES = 256 << 10  # of answers: an answerer that keeps too many holds streams back (`transport.answers`)
MAX_EARLY_BYTES = 32 << 20  # of one peer's parts that overtook others; its streams together have 2 MiB each at most


class _Question(msgspec.Struct):
    number: int
    peer: ServerId
    body: bytes
    deadline: float
    priority: int
    attempt: int  # of the last REQUEST sent; 0: none was
    received: bool = False
    next_part: int = 0  # Invariant: taken_told <= taken <= next_part <= taken + MAX_PARTS_AHEAD.
    taken: int = 0
    taken_told: int = 0
    answer_bytes: int = 0
    early: dict[int, Answer] = msgspec.field(default_factory=dict)  # parts that overtook others


class _Peer(msgspec.Struct):
    numbers: Ranges = msgspec.field(default_factory=Ranges)  # outstanding or kept: not done
    outstanding: int = 0
    early_bytes: int = 0
    ended: list[int] = msgspec.field(default_factory=list)  # and not told by DONE
    ended_bytes: int = 0  # of the answers to these


class Questions:
    """Everything this server has asked and has no answer to."""

    def __init__(
        self, incarnation: int, epoch: int, connected: Container[ServerId], put_out: Callable[[Any], None]
    ) -> None:
        """`connected` is looked at, never changed; outputs go to `put_out`."""
        self._incarnation = incarnation
        self._first = self._next = first_number(epoch)
        self._connected = connected
        self._put_out = put_out
        self._questions: dict[int, _Question] = {}
        self._peers: dict[ServerId, _Peer] = {}
        self._kept: dict[int, ServerId] = {}  # numbers that are not done when their question ends
        self._reserved: set[int] = set()  # of those, the ones that were never asked
        self._heap: list[tuple[float, int]] = []  # deadlines; those of ended questions are skipped
        self._tell_done: dict[ServerId, float] = {}  # when; all wait equally long, so the first is the earliest

    # -- verbs

    def ask(self, peer: ServerId, body: bytes, now: float, deadline: float, priority: int, again: int | None) -> int:
        if len(body) > MAX_BODY_BYTES:
            raise LocalMistake(f"a request of {len(body)} bytes, {MAX_BODY_BYTES} allowed; ask in pieces")
        number = self._next if again is None else again
        kept = self._kept.get(number) == peer
        if again is not None and (number in self._questions or not (kept or 0 <= number < self._first)):
            raise LocalMistake(f"request {number} is outstanding already, or neither of an earlier run nor reserved")
        state = self._peers.get(peer) or self._peers.setdefault(peer, _Peer())
        if state.outstanding >= MAX_OUTSTANDING:
            raise Exhausted(f"{MAX_OUTSTANDING} requests to {peer} are outstanding", next_step="wait for an answer")
        self._next = max(self._next, number + 1)
        fresh = again is None or again in self._reserved
        self._reserved.discard(number)
        question = _Question(number, peer, body, deadline, priority, attempt=0 if fresh else 1)
        self._questions[number] = question
        state.numbers.add(number)
        state.outstanding += 1
        if deadline < math.inf:
            heapq.heappush(self._heap, (deadline, number))
        if peer in self._connected:
            if self._tell_done.get(peer, math.inf) <= now + DONE_DELAY_S - DONE_ASIDE_S:
                self._flush_done(peer)
            self._send(question, now)
        return number

    def cancel(self, number: int, now: float) -> bool:
        question = self._questions.get(number)
        if question is None:
            return False
        self._withdraw(question)
        self._end(question, now)
        return True

    def reserve(self, peer: ServerId) -> int:
        number = self._next
        self._next += 1
        self._kept[number] = peer
        self._reserved.add(number)
        (self._peers.get(peer) or self._peers.setdefault(peer, _Peer())).numbers.add(number)
        return number

    def keep(self, number: int) -> None:
        self._kept[number] = self._questions[number].peer

    def release(self, number: int, now: float) -> None:
        peer = self._kept.pop(number, None)
        self._reserved.discard(number)
        if peer is not None and number not in self._questions:
            self._done(peer, number, now)

    def was_sent(self, number: int) -> bool:
        question = self._questions.get(number)
        return question is None or question.attempt > 0

    def replace(self, number: int, body: bytes) -> None:
        question = self._questions.get(number)
        if question is not None:
            question.body = body

    def taken(self, number: int, parts: int) -> None:
        question = self._questions.get(number)
        if question is None:
            return  # its last part was told: nothing waits for credit
        if question.taken + parts > question.next_part:
            raise LocalMistake(f"request {number}: more parts are taken than were told")
        question.taken += parts
        if question.taken - question.taken_told >= MAX_PARTS_AHEAD // 2 and question.peer in self._connected:
            question.taken_told = question.taken
            self._put_out(SendTo(question.peer, Taken(self._incarnation, number, question.taken), question.priority))

    # -- what happened

    def handle_connected(self, peer: ServerId, now: float) -> None:
        """Tell all that is done, so that a run before this one is forgotten too; then ask again, in order."""
        self._tell_done.pop(peer, None)
        state = self._peers.get(peer)
        if state is None:
            self._put_out(SendTo(peer, Done(self._incarnation, self._next, (), self._next)))
            return
        state.ended.clear()
        state.ended_bytes = 0
        self._send_done(peer, state, state.numbers.missing(0, self._next - 1))
        for first, last in state.numbers.as_list():
            for number in range(first, last + 1):
                question = self._questions.get(number)
                if question is not None:
                    self._send(question, now)

    def handle_disconnected(self, peer: ServerId) -> None:
        self._tell_done.pop(peer, None)
        state = self._peers.get(peer)
        if state is not None:
            state.ended.clear()  # when it connects it is told everything
            state.ended_bytes = 0
            if not state.numbers:
                del self._peers[peer]

    def handle_receipt(self, peer: ServerId, message: Receipt) -> None:
        for number in message.numbers:
            question = self._find(peer, message.incarnation, number)
            if question is not None and not question.received:
                question.received = True
                self._put_out(Progress(number, peer))

    def handle_answer_untrusted(self, peer: ServerId, message: Answer, now: float) -> None:
        """Raises `PeerMisbehaved` for a part beyond what we gave credit for."""
        question = self._find(peer, message.incarnation, message.number)
        if question is None or message.index < question.next_part:
            return  # answered, cancelled or late; or a part that came before a reconnect too
        if message.index >= question.taken + MAX_PARTS_AHEAD:
            raise PeerMisbehaved(
                f"{peer} sent part {message.index} of its answer to request {message.number} when "
                f"{question.taken} were taken"
            )
        question.received = True
        state = self._peers[peer]
        if message.index not in question.early:
            question.early[message.index] = message
            state.early_bytes += len(message.body)
        while (part := question.early.pop(question.next_part, None)) is not None:
            question.next_part += 1
            question.answer_bytes += len(part.body)
            state.early_bytes -= len(part.body)
            self._put_out(Answered(part.number, peer, part.index, part.last, part.ok, part.body))
            if part.last:
                self._end(question, now)
                return
        if state.early_bytes > MAX_EARLY_BYTES:
            raise PeerMisbehaved(f"{peer} sent {state.early_bytes} bytes of answers whose beginnings it holds back")

    def handle_refuse(self, peer: ServerId, message: Refuse, now: float) -> None:
        question = self._find(peer, message.incarnation, message.number)
        if question is None or message.attempt != question.attempt:
            return  # of an earlier attempt: the later one will be answered for itself
        what = f"{peer} refused request {message.number}: {message.reason}"
        error: BangpathError
        if message.code == EXHAUSTED and question.next_part == 0:
            error = Exhausted(what, next_step="ask again later")
        else:
            error = OutcomeUnknown(what, next_step="look whether it was carried out before asking again")
        self._fail(question, error, now)

    # -- time

    def deadline(self) -> float:
        due = next(iter(self._tell_done.values())) if self._tell_done else math.inf
        heap = self._heap
        while heap and heap[0][1] not in self._questions:
            heapq.heappop(heap)
        return min(due, heap[0][0]) if heap else due

    def handle_deadline(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            question = self._questions.get(heapq.heappop(self._heap)[1])
            if question is not None:
                self._withdraw(question)
                self._fail(question, _too_late(question), now)
        while self._tell_done and next(iter(self._tell_done.values())) <= now:
            self._flush_done(next(iter(self._tell_done)))

    # -- helpers

    def _find(self, peer: ServerId, incarnation: int, number: int) -> _Question | None:
        question = self._questions.get(number)
        if question is None or question.peer != peer or incarnation != self._incarnation:
            return None
        return question

    def _send(self, question: _Question, now: float) -> None:
        question.attempt += 1
        question.taken_told = question.taken
        left_ms = 0 if question.deadline == math.inf else max(1, int((question.deadline - now) * 1000))
        request = Request(
            self._incarnation, question.number, question.attempt, left_ms, question.priority, question.taken,
            question.next_part, question.body,
        )  # fmt: skip
        self._put_out(SendTo(question.peer, request, question.priority))

    def _withdraw(self, question: _Question) -> None:
        if question.attempt and question.peer in self._connected:
            self._put_out(SendTo(question.peer, Cancel(self._incarnation, question.number)))

    def _fail(self, question: _Question, error: BangpathError, now: float) -> None:
        self._put_out(Failed(question.number, question.peer, error))
        self._end(question, now)

    def _end(self, question: _Question, now: float) -> None:
        del self._questions[question.number]
        if len(self._heap) > 2 * len(self._questions) + MAX_NOT_TOLD:  # mostly deadlines of what has ended
            self._heap = [each for each in self._heap if each[1] in self._questions]
            heapq.heapify(self._heap)
        state = self._peers[question.peer]
        state.outstanding -= 1
        state.early_bytes -= sum(len(part.body) for part in question.early.values())
        if question.number not in self._kept:
            self._done(question.peer, question.number, now, question.answer_bytes)

    def _done(self, peer: ServerId, number: int, now: float, answer_bytes: int = 0) -> None:
        state = self._peers[peer]
        state.numbers.subtract(number)
        if peer not in self._connected:
            if not state.numbers:
                del self._peers[peer]
            return
        state.ended.append(number)
        state.ended_bytes += answer_bytes
        self._tell_done.setdefault(peer, now + DONE_DELAY_S)
        if len(state.ended) >= MAX_NOT_TOLD or state.ended_bytes >= MAX_NOT_TOLD_BYTES:
            self._flush_done(peer)

    def _flush_done(self, peer: ServerId) -> None:
        del self._tell_done[peer]
        state = self._peers[peer]
        gaps = Ranges()
        for number in state.ended:
            if number not in gaps and number not in state.numbers:  # asked again under its old number
                gaps.add(*state.numbers.gap_around(number, highest=max(self._next - 1, number)))
        state.ended.clear()
        state.ended_bytes = 0
        self._send_done(peer, state, gaps.as_list())

    def _send_done(self, peer: ServerId, state: _Peer, gaps: list[Interval]) -> None:
        lowest = state.numbers.lowest
        floor = self._next if lowest is None else lowest
        above = [gap for gap in gaps if gap[0] > floor]
        for at in range(0, max(len(above), 1), MAX_LISTED):
            done = Done(self._incarnation, floor, tuple(above[at : at + MAX_LISTED]), self._next)
            self._put_out(SendTo(peer, done))


def _too_late(question: _Question) -> BangpathError:
    if not question.attempt:
        return Unreachable(
            f"request {question.number} found no way to {question.peer} before its deadline",
            next_step=f"bangpath route {question.peer}",
        )
    return OutcomeUnknown(
        f"{question.peer} did not answer request {question.number} before its deadline",
        next_step="look whether it was carried out before asking again",
    )
