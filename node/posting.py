"""Changes of other servers' objects: asked at once while their owner is there, else left in the outbox (DESIGN F6).

    change --> something of this owner waits? -- yes --> the outbox, behind it
                  | no
               asked directly --> answered: done, as if there were no outbox
                  |-- not sent: nobody reaches the owner ------------------> the outbox
                  '-- sent, and the owner was lost, or the deadline passed -> the outbox, under the same request number

    the outbox --> the owner is there: its outcome, by the deadline; else `Queued`

Rules. What was not sent is asked anew under another number; what was sent keeps its own, so that it is carried out
once whatever became of the first message. Nothing is queued for a server that nobody knows: a misspelt id is told.

Left to others: durability and delivery (`node.delivering`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import trio

from identity.errors import BangpathError, OutcomeUnknown, PeerMisbehaved, Refused, Unreachable
from identity.names import ServerId
from node.asking import Changed, Operation
from node.delivering import Delivering, New
from node.outcomes import Queued, changed_of, describe, error_of
from node.requesting import Requesting
from node.requests import ChangedAll, Modify, act_of, read_answer_untrusted
from replication.entries import Entry
from routing import ways
from routing.router import Router
from transport.outstanding import Outstanding
from transport.requests import MAX_BODY_BYTES, Answered, Failed, Met
from transport.wire import encode

PATIENCE_S = 4.0  # for a session that has yet to begin: silence is told after 2 to 3 s, a dial that fails sooner


class _Direct:
    """A change that was asked directly, and who waits for it."""

    __slots__ = ("ended", "lost", "news", "owner")

    def __init__(self, owner: ServerId) -> None:
        self.owner = owner
        self.ended: Answered | Failed | None = None
        self.lost = False
        self.news = trio.Event()


class Posting:
    """The way of a change to its owner.

    `silent`, `is_kept` and `touch` as for `Requesting`; `is_known(server)`: whether there is any such server.
    """

    def __init__(
        self,
        delivering: Delivering,
        *,
        outstanding: Outstanding,
        router: Router,
        requesting: Requesting,
        silent: Callable[[ServerId], ways.Unreachable | None],
        is_kept: Callable[[ServerId], bool],
        is_known: Callable[[ServerId], bool],
        incarnation_of: Callable[[ServerId], int],
        wall_ms: Callable[[], int],
        touch: Callable[[], None],
        without: bool,
    ) -> None:
        self._delivering = delivering
        self._outbox = delivering.outbox
        self._outstanding = outstanding
        self._router = router
        self._requesting = requesting
        self._silent = silent
        self._is_kept = is_kept
        self._is_known = is_known
        self._incarnation_of = incarnation_of
        self._wall_ms = wall_ms
        self._touch = touch
        self._without = without
        self._direct: dict[int, _Direct] = {}
        self.outputs: dict[type, Callable[[Any, float], None]] = {
            Answered: self._ended,
            Failed: self._ended,
            Met: lambda output, now: delivering.handle_met(output.peer, now),
        }

    async def change(
        self,
        owner: ServerId,
        operations: Sequence[Operation],
        *,
        incarnation: int,
        deadline: float,
        queue: bool,
        expires_s: float | None,
    ) -> list[Changed] | Queued:
        """Have `owner` carry this out; `deadline` is absolute. Raises what the owner says of it.

        With `queue` it is left in the outbox where `Unreachable` or `OutcomeUnknown` would be raised.
        """
        question = Modify(tuple(act_of(each) for each in operations), incarnation or self._incarnation_of(owner))
        if not queue or self._without or not self._is_known(owner):
            answer = await self._requesting.ask_one(owner, question, ChangedAll, deadline=deadline, changes=True)
            return changed_of(owner, answer)
        body = encode(question)
        if len(body) > MAX_BODY_BYTES:
            raise Refused(f"a change of {len(body)} bytes, {MAX_BODY_BYTES} allowed", next_step="send it in pieces")
        expires_ms = None if expires_s is None else self._wall_ms() + round(expires_s * 1000)
        new = New(owner, question.incarnation, describe(operations, owner), body, expires_ms)
        if not self._outbox.waits_for(owner):
            found = await self._ask_directly(new, deadline)
            if found is not None:
                return found
        return await self._outcome(await self._delivering.queue(new), deadline)

    def close(self) -> None:
        """The node has ended: what was asked directly has no answer, and what waits goes on with the next start."""
        self._delivering.leave()
        for number, direct in self._direct.items():
            kind = OutcomeUnknown if self._outstanding.was_sent(number) else Unreachable
            direct.ended = Failed(number, direct.owner, kind(f"this server ended before {direct.owner} had answered"))
            direct.news.set()

    # -- what happened

    def _ended(self, output: Answered | Failed, now: float) -> None:
        direct = self._direct.get(output.number)
        if direct is not None:
            direct.ended = output
            direct.news.set()
        else:
            self._delivering.handle_ended(output, now)
            self._requesting.outputs[type(output)](output, now)

    def handle_unreachable(self, lost: ways.Unreachable) -> None:
        """Nobody reaches this server now."""
        self._delivering.handle_lost(lost.server)
        for direct in self._direct.values():
            if direct.owner == lost.server:
                direct.lost = True
                direct.news.set()

    # -- asked at once

    async def _ask_directly(self, new: New, deadline: float) -> list[Changed] | Queued | None:
        """None: it was not sent, and is to be queued."""
        now = trio.current_time()
        route = self._router.route(new.owner, now)
        away = isinstance(route, ways.Nowhere)
        if away and self._silent(new.owner) is not None and self._is_kept(new.owner):
            return None
        number = self._outstanding.ask(new.owner, new.body, now, deadline_s=None)
        direct = self._direct[number] = _Direct(new.owner)
        taken_over = False
        try:
            if away:
                self._router.want(new.owner, now, keep=False)
            self._touch()
            while direct.ended is None:
                sent = self._outstanding.was_sent(number)
                until = deadline if sent else min(deadline, now + PATIENCE_S)
                if direct.lost or trio.current_time() >= until:
                    if not sent:
                        return None
                    taken_over = True
                    return await self._take_over(new, number, direct, deadline)
                with trio.move_on_at(until):
                    await direct.news.wait()
                direct.news = trio.Event()
            return changed_of(new.owner, self._read(direct.ended))
        finally:
            self._direct.pop(number, None)
            if not taken_over and self._outstanding.cancel(number, trio.current_time()):
                self._touch()

    def _read(self, ended: Answered | Failed) -> Any:
        if isinstance(ended, Failed):
            raise ended.error
        try:
            return read_answer_untrusted(ended.body, ChangedAll)
        except PeerMisbehaved as error:
            if ended.ok:
                self._requesting.misbehaved(ended.peer, error.cause)
            raise

    async def _take_over(self, new: New, number: int, direct: _Direct, deadline: float) -> list[Changed] | Queued:
        """Sent, and not answered: its outcome is still to be learnt, under the same number."""
        self._outstanding.keep(number)
        try:
            entry = await self._delivering.queue(new, request=number)
        except BangpathError as error:
            now = trio.current_time()
            self._outstanding.cancel(number, now)
            self._outstanding.release(number, now)
            if direct.ended is not None:
                return changed_of(new.owner, self._read(direct.ended))
            raise OutcomeUnknown(
                f"{new.owner} did not answer, and the outbox does not take the change: {error.cause}",
                next_step="look whether it was carried out before asking again",
            ) from error
        del self._direct[number]  # what comes now is the outbox's
        if direct.ended is not None:
            self._delivering.handle_ended(direct.ended, trio.current_time())
            return changed_of(new.owner, self._read(direct.ended))
        return await self._outcome(entry, deadline)

    async def _outcome(self, entry: Entry, deadline: float) -> list[Changed] | Queued:
        """What became of it if its owner is there, by the deadline; else that it waits."""
        answer = None
        if self._outstanding.watch(entry.owner):
            _, answer = await self._delivering.settled(entry.number, deadline, patient=False)
        if answer is not None:
            return changed_of(entry.owner, answer)
        if entry.open:
            return Queued(entry.number, entry.owner, entry.state.value, self._outbox.ahead(entry))
        raise error_of(entry)
