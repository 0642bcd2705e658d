"""The asker's side of requests: a word that waits for another server's answer, as an awaitable.

    ask_one(1.3, PING) -------> outstanding --> ... --> Answered, last --> returned, or the error it tells is raised
    ask_parts(1.3, QUERY) ----> outstanding --> ... --> Answered 0, 1, 2 ... last     each taken gives credit for more

    peer is reached            asked at once
    being dialled              waits for the outcome of the dial
    known to be silent         Unreachable at once, naming since when (DESIGN G2 comes with gateways)

Rules. Whoever stops waiting (cancelled, or its loop left) cancels the request, so nothing is answered into the void. A
question that changes nothing fails as soon as its peer is lost; a change that was sent waits on, because the peer may
have carried it out and will answer under the same number when it is back, until the deadline says `OutcomeUnknown`.

Bounds: those of `transport.outstanding`, 4 096 requests per peer and 32 parts ahead of the consumer.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncGenerator, Callable
from typing import Any

import trio

from identity.errors import BangpathError, OutcomeUnknown, PeerMisbehaved, Unreachable
from identity.names import ServerId
from node.requests import read_answer_untrusted
from routing import ways
from routing.router import Router
from transport.outstanding import Outstanding
from transport.requests import Answered, Failed, Progress
from transport.wire import Message, encode

Then = Callable[[Message | BangpathError, float], None]


class _Waiting:
    """One request of ours and who waits for it."""

    __slots__ = ("changes", "error", "news", "parts", "peer", "sent")

    def __init__(self, peer: ServerId, *, changes: bool) -> None:
        self.peer = peer
        self.changes = changes
        self.sent = False
        self.parts: deque[Answered] = deque()
        self.error: BangpathError | None = None
        self.news = trio.Event()


class Requesting:
    """All words of this node that wait for another server.

    `misbehaved(peer, cause)` is told when an answer makes no sense; `touch()` wakes the pump; `silent(peer)` gives
    what the router said last of a peer that is not reached; `is_kept(peer)` whether it is a neighbour, which the
    router dials again by itself.
    """

    def __init__(
        self,
        own: ServerId,
        outstanding: Outstanding,
        router: Router,
        *,
        silent: Callable[[ServerId], ways.Unreachable | None],
        is_kept: Callable[[ServerId], bool],
        misbehaved: Callable[[ServerId, str], None],
        touch: Callable[[], None],
    ) -> None:
        self._own = own
        self._outstanding = outstanding
        self._router = router
        self._silent = silent
        self._is_kept = is_kept
        self.misbehaved = misbehaved
        self._touch = touch
        self._waiting: dict[int, _Waiting] = {}
        self._thens: dict[int, tuple[ServerId, tuple[type[Message], ...], Then]] = {}
        self.outputs: dict[type, Callable[[Any, float], None]] = {
            Answered: self._answered,
            Failed: self._failed,
            Progress: self._progress,
        }

    # -- words

    async def ask_one(
        self, peer: ServerId, question: Message, expected: type[Message], *, deadline: float, changes: bool = False
    ) -> Any:
        """The one part of the answer, of the `expected` type. `deadline` is absolute.

        Raises what the answer tells, `Unreachable`, `OutcomeUnknown`, `Exhausted`, or `PeerMisbehaved` for an answer
        that makes no sense.
        """
        number, waiting = self._ask(peer, question, deadline, changes=changes)
        try:
            part = await self._next_part(waiting)
        except OutcomeUnknown as error:
            if changes:
                raise
            raise Unreachable(  # nothing was to be carried out, so there is nothing to look for
                f"{peer} did not answer {self._own} in time",
                next_step=f"wait longer, or see the way: bangpath @{self._own} route {peer}",
                server=str(peer),
            ) from error
        finally:
            self._end(number)
        return self._read(peer, part.body, expected)

    async def ask_parts(
        self, peer: ServerId, question: Message, *expected: type[Message], deadline: float
    ) -> AsyncGenerator[Any, None]:
        """Each part of the answer in order, until the last. Taking the next part gives the peer credit for one more.

        Raises as `ask_one`. Close it (`contextlib.aclosing`) when it is left early.
        """
        number, waiting = self._ask(peer, question, deadline, changes=False)
        try:
            while True:
                part = await self._next_part(waiting)
                yield self._read(peer, part.body, *expected)
                if part.last:
                    return
                self._outstanding.taken(number)
                self._touch()
        finally:
            self._end(number)

    def close(self) -> None:
        """The node has ended: nobody will hear of the answers that are still waited for."""
        for number, waiting in list(self._waiting.items()):
            kind = OutcomeUnknown if waiting.changes and waiting.sent else Unreachable
            self._fail(number, kind(f"{self._own} ended before {waiting.peer} had answered"))

    def ask_then(
        self,
        peer: ServerId,
        question: Message,
        expected: tuple[type[Message], ...],
        then: Then,
        *,
        deadline_s: float,
    ) -> None:
        """A question of a machine, which waits in no task: `then(answer or error, now)` is called once."""
        now = trio.current_time()
        try:
            number = self._outstanding.ask(
                peer, encode(question), now, deadline_s=deadline_s, priority=question.PRIORITY
            )
        except BangpathError as error:
            then(error, now)
            return
        self._thens[number] = peer, expected, then
        self._touch()

    # -- outputs of the machine

    def _answered(self, output: Answered, now: float) -> None:
        if output.number in self._thens:
            peer, expected, then = self._thens.pop(output.number)
            try:
                answer: Message | BangpathError = self._read(peer, output.body, *expected)
            except BangpathError as error:
                answer = error
            then(answer, now)
            return
        waiting = self._waiting.get(output.number)
        if waiting is not None:
            waiting.parts.append(output)
            waiting.news.set()

    def _failed(self, output: Failed, now: float) -> None:
        if output.number in self._thens:
            self._thens.pop(output.number)[2](output.error, now)
            return
        self._fail(output.number, output.error)

    def _progress(self, output: Progress, now: float) -> None:
        waiting = self._waiting.get(output.number)
        if waiting is not None:
            waiting.sent = True

    def handle_unreachable(self, lost: ways.Unreachable, now: float) -> None:
        """The router says that nobody reaches this server now: whoever may give up does."""
        for number, waiting in list(self._waiting.items()):
            if waiting.peer == lost.server and not (waiting.changes and waiting.sent):
                self._outstanding.cancel(number, now)
                self._fail(number, self.unreachable(lost, now))

    def unreachable(self, lost: ways.Unreachable, now: float) -> Unreachable:
        """The error that names since when, and why."""
        since_s = max(0.0, now - lost.since)
        return Unreachable(
            f"{lost.server} is not reached from {self._own} since {since_s:.1f} s: {lost.reason}",
            next_step=f"bangpath @{self._own} peers",
            server=str(lost.server),
            since_s=round(since_s, 3),
        )

    # -- helpers

    def _ask(self, peer: ServerId, question: Message, deadline: float, *, changes: bool) -> tuple[int, _Waiting]:
        now = trio.current_time()
        route = self._router.route(peer, now)
        lost = self._silent(peer)
        if isinstance(route, ways.Nowhere) and lost is not None and self._is_kept(peer):
            self._router.nudge(peer, now)
            self._touch()
            raise self.unreachable(lost, now)
        left_s = None if deadline == math.inf else max(0.0, deadline - now)
        number = self._outstanding.ask(peer, encode(question), now, deadline_s=left_s)
        waiting = self._waiting[number] = _Waiting(peer, changes=changes)
        if isinstance(route, ways.Nowhere):
            self._router.want(peer, now, keep=False)
        else:
            waiting.sent = True
        self._touch()
        return number, waiting

    async def _next_part(self, waiting: _Waiting) -> Answered:
        while not waiting.parts:
            if waiting.error is not None:
                raise waiting.error
            await waiting.news.wait()
            waiting.news = trio.Event()
        return waiting.parts.popleft()

    def _read(self, peer: ServerId, body: bytes, *expected: type[Message]) -> Message:
        try:
            return read_answer_untrusted(body, *expected)
        except PeerMisbehaved as error:
            self.misbehaved(peer, error.cause)
            raise

    def _fail(self, number: int, error: BangpathError) -> None:
        waiting = self._waiting.get(number)
        if waiting is not None:
            waiting.error = error
            waiting.news.set()

    def _end(self, number: int) -> None:
        if self._waiting.pop(number, None) is not None and self._outstanding.cancel(number, trio.current_time()):
            self._touch()
