"""The outbox made durable, and its changes brought to their owners: `replication.outbox` carried out (DESIGN F6).

    Write, Forget --> one transaction --> and only then: asked, its number let go, its outcome told
    Answered, Failed of a request of ours --> `node.outcomes` --> the machine
    Met --> the machine: the owner is there

    outbox                    the next request
    outbox/0000000000000017   the entry, without what is sent                   `replication.entries.Entry.as_plain`
    outbox-change/00...17     what is sent: MODIFY; struck out with the outcome

Rules. A number is durable before it is sent, and its outcome before DONE may speak of it (`Outstanding.reserve`,
`keep`, `release`): so after kill -9 of either side the same number is asked again, and the owner's record answers it.
One task writes, in the machine's order; while the disk is full it tries again and nothing is asked. A server that is
no neighbour is called again with growing pauses while something waits for it, and soon when others hear it.

Left to others: order and states (`replication.outbox`), the way into the outbox (`node.posting`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import trio

from identity.errors import BangpathError, Exhausted, OutcomeUnknown, PeerMisbehaved
from identity.names import ServerId
from node.outcomes import operations_json, read_answered_untrusted
from node.requests import ChangedAll, Modify, Withdraw, read_request_untrusted
from replication.entries import ASKED, Entry, Forget, State, Then, Write
from replication.outbox import Outbox
from store.database import Database
from store.reading import View
from transport.outstanding import Outstanding
from transport.requests import Answered, Failed
from transport.wire import encode

NEXT, ENTRIES, CHANGES = "outbox", "outbox/", "outbox-change/"
WITHDRAW_S = 2.0  # how long who cancels what was sent waits for its outcome, if the owner is there
DISK_PAUSE_S = 1.0  # before a write that found no room is tried again
SET_BACK = OutcomeUnknown(
    "this server came back from a backup, and may have sent the change since that was made",
    next_step="look whether it was carried out before asking again",
)
DIAL_S, DIAL_MOST_S = 2.0, 60.0  # between two calls of a server that is no neighbour


class New(NamedTuple):
    """A change on its way into the outbox."""

    owner: ServerId
    incarnation: int
    text: str
    body: bytes
    expires_ms: int | None


class _Waiter:
    """Somebody who waits for an outcome."""

    __slots__ = ("answer", "news", "owner", "patient")

    def __init__(self, owner: ServerId, *, patient: bool) -> None:
        self.owner = owner
        self.patient = patient
        self.answer: ChangedAll | None = None
        self.news = trio.Event()


class Delivering:
    """The outbox of one server.

    `call(owner, now)` looks for a way to a server that is no neighbour; `heard_s(owner)` is how long ago it was alive,
    by the word of others.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        database: Database,
        outstanding: Outstanding,
        call: Callable[[ServerId, float], None],
        heard_s: Callable[[ServerId], float | None],
        misbehaved: Callable[[ServerId, str], None],
        wall_ms: Callable[[], int],
        note: Callable[..., None],
        touch: Callable[[], None],
    ) -> None:
        self.outbox = outbox
        self._database = database
        self._outstanding = outstanding
        self._call = call
        self._heard_s = heard_s
        self._misbehaved = misbehaved
        self._wall_ms = wall_ms
        self._note = note
        self._touch = touch
        self._requests: dict[int, int] = {}  # request number: entry, those that are outstanding
        self._waiters: dict[int, list[_Waiter]] = {}  # by entry
        self._calls: dict[ServerId, tuple[float, float]] = {}  # when last, and the pause after that
        self._news = trio.Event()
        self._written = trio.Event()
        self._carrying_out = False
        self._leaving = False

    def load(self, view: View, *, now: float) -> None:
        """What waits since earlier runs; what was sent is asked again, under its number, in the first session.

        Where this server came back from a backup nothing of it is asked: it may have been, since that was made.
        """
        entries = [Entry.from_plain(int(key[len(ENTRIES) :]), said) for key, said in view.settings(ENTRIES).items()]
        self.outbox.load(entries, view.get_setting(NEXT) or 1, now=now, wall_ms=self._wall_ms())
        if self._database.adopting:
            outcome = {"error": SET_BACK.as_json()}
            self.outbox.handle_set_back(outcome, now=now, wall_ms=self._wall_ms())
        for entry in entries:
            if entry.state in ASKED:
                self._ask(entry, now)
        for owner in self.outbox.owners():
            self._outstanding.watch(owner)

    # -- words

    async def queue(self, new: New, *, request: int | None = None) -> Entry:
        """The change as an entry, durable; with `request` one that was sent under that number, which is kept."""
        entry = self.outbox.admit(
            new.owner, incarnation=new.incarnation, text=new.text, size=len(new.body), wall_ms=self._wall_ms(),
            met=self._outstanding.watch(new.owner), expires_ms=new.expires_ms,
        )  # fmt: skip
        entry.request = request

        def body(transaction: Any) -> None:
            transaction.put_setting(NEXT, self.outbox.next)
            transaction.put_setting(_key(ENTRIES, entry.number), entry.as_plain())
            transaction.put_setting(_key(CHANGES, entry.number), new.body)

        try:
            with trio.CancelScope(shield=True):  # once durable it must be here too, or the next start would surprise
                await self._database.transact(body)
        except BaseException:
            self.outbox.abandon(entry)
            raise
        if request is not None:
            self._requests[request] = entry.number
        self._note("outbox queued", peer=str(new.owner), request=entry.number)
        self.outbox.handle_written(entry, now=trio.current_time(), wall_ms=self._wall_ms())
        self._news.set()
        return entry

    async def settled(self, number: int, deadline: float, *, patient: bool) -> tuple[Entry, ChangedAll | None]:
        """The entry as soon as its outcome is durable, else as it stands at the deadline. Raises `Refused`, and
        `OutcomeUnknown` as `written` does.

        Who is not `patient` waits no longer than its owner is there.
        """
        entry = self.outbox.entry(number)
        if not entry.open:
            await self.written()
            return entry, None
        waiter = _Waiter(entry.owner, patient=patient)
        self._waiters.setdefault(number, []).append(waiter)
        try:
            with trio.move_on_at(deadline):
                await waiter.news.wait()
        finally:
            self._waiters[number].remove(waiter)
            if not self._waiters[number]:
                del self._waiters[number]
        return entry, waiter.answer

    async def cancel(self, number: int, *, forget: bool, deadline: float) -> Entry:
        """The entry as it stands then, durably. What was sent is withdrawn, unless its owner answers in a moment.

        Raises `OutcomeUnknown` as `written` does.
        """
        verb = self.outbox.forget if forget else self.outbox.cancel
        now = trio.current_time()
        entry = verb(number, now=now, wall_ms=self._wall_ms())
        self._news.set()
        await self.written()
        if entry.open and self._outstanding.watch(entry.owner):
            await self.settled(number, min(deadline, now + WITHDRAW_S), patient=False)
        return entry

    async def written(self) -> None:
        """Wait until everything that has happened here is durable.

        Raises `OutcomeUnknown` when the node goes before: what was not written down will not have happened.
        """
        while self._carrying_out or self._news.is_set():
            if self._leaving:
                raise OutcomeUnknown(
                    "the server stopped, and whether what became of the change was written down is not known",
                    next_step="look with `bangpath outbox` when it runs again",
                )
            await self._written.wait()

    def body(self, entry: Entry) -> bytes | None:
        """What is sent; None of what is settled."""
        with self._database.view() as view:
            found: bytes | None = view.get_setting(_key(CHANGES, entry.number))
        return found

    def operations(self, entry: Entry) -> list[dict[str, Any]] | None:
        """What a change that waits is going to do; None when that is not kept any more."""
        body = self.body(entry) if entry.open else None
        question = None if body is None else read_request_untrusted(body)
        return operations_json(question, entry.owner) if isinstance(question, Modify) else None

    def leave(self) -> None:
        """The node stops: whoever waits for an outcome learns that its change waits in the outbox."""
        self._leaving = True
        self._written.set()
        self._wake(lambda waiter: True)

    # -- what happened

    def handle_ended(self, output: Answered | Failed, now: float) -> None:
        """A request ended; one that is not of the outbox is no news."""
        number = self._requests.get(output.number)
        if number is None:
            return
        entry, wall_ms = self.outbox.entry(number), self._wall_ms()
        self._news.set()
        if isinstance(output, Failed) and isinstance(output.error, Exhausted):
            self.outbox.handle_busy(number, now=now)
            return
        try:
            read = read_answered_untrusted(output, entry)
        except PeerMisbehaved as error:
            self._misbehaved(entry.owner, error.cause)
            self.outbox.handle_doubt(number, {"error": error.as_json()}, now=now, wall_ms=wall_ms)
        else:
            for waiter in self._waiters.get(number, ()):
                waiter.answer = read.answer
            if read.happened is None:
                self.outbox.handle_doubt(number, read.outcome, now=now, wall_ms=wall_ms)
            else:
                self.outbox.handle_outcome(number, read.happened, read.outcome, now=now, wall_ms=wall_ms)

    def handle_met(self, owner: ServerId, now: float) -> None:
        """A session with an owner begins."""
        self.outbox.handle_met(owner, now=now)
        self._news.set()

    def handle_lost(self, owner: ServerId) -> None:
        """Nobody reaches it."""
        self.outbox.handle_lost(owner)
        self._news.set()  # it is to be called, if anything waits for it: nobody else may have a reason to
        self._wake(lambda waiter: waiter.owner == owner and not waiter.patient)

    # -- the task

    async def run(self) -> None:
        """Carry out what the machine puts out. Until cancelled."""
        while True:
            now = trio.current_time()
            self._news = trio.Event()
            self.outbox.handle_deadline(now, wall_ms=self._wall_ms())
            outputs = self.outbox.take_outputs()
            if outputs:
                self._carrying_out = True
                await self._carry_out(outputs)
                self._carrying_out = False
                continue
            written, self._written = self._written, trio.Event()
            written.set()
            with trio.move_on_at(min(self.outbox.deadline(), self._call_all(now))):
                await self._news.wait()

    async def _carry_out(self, outputs: Sequence[Write | Forget]) -> None:
        numbers = dict.fromkeys(output.number for output in outputs)
        entries = {number: self.outbox.find(number) for number in numbers}
        for entry in entries.values():
            # taken back or lapsed since its turn came a moment ago: its owner is asked, as of whatever was sent
            if entry is not None and entry.state in ASKED and entry.request is None:
                entry.request = self._outstanding.reserve(entry.owner)

        def body(transaction: Any) -> None:
            for number, entry in entries.items():
                transaction.put_setting(_key(ENTRIES, number), None if entry is None else entry.as_plain())
                if entry is None or not entry.open:
                    transaction.put_setting(_key(CHANGES, number), None)

        while True:
            try:
                await self._database.transact(body)
                break
            except Exhausted as error:
                if self._database.failure is not None:
                    raise
                self._note("outbox waits", cause=error.cause)
                await trio.sleep(DISK_PAUSE_S)
        now = trio.current_time()
        for output in outputs:
            entry = entries[output.number]
            if isinstance(output, Write) and entry is not None:
                self._carry_on(output, entry, now)
        self._touch()

    def _carry_on(self, output: Write, entry: Entry, now: float) -> None:
        """What may be done now that the entry is durable."""
        if output.then is Then.ASK:
            if entry.state in ASKED:
                self._ask(entry, now)
        elif output.then is Then.NOTHING:
            if entry.request is not None and entry.state in ASKED:
                self._outstanding.replace(entry.request, encode(Withdraw()))
        elif output.request is not None:
            self._requests.pop(output.request, None)
            self._outstanding.cancel(output.request, now)
            self._outstanding.release(output.request, now)
        if output.then is Then.TELL:
            self._note("outbox settled", peer=str(entry.owner), request=entry.number, outcome=entry.state.value)
            for waiter in self._waiters.get(entry.number, ()):
                waiter.news.set()

    def _ask(self, entry: Entry, now: float) -> None:
        """Under its number, which is durable; now or in the next session."""
        assert entry.request is not None
        body = self.body(entry) if entry.state is State.SENT else encode(Withdraw())
        if body is None:
            self.outbox.lose(entry, now=now, wall_ms=self._wall_ms())
            return
        try:
            self._outstanding.ask(entry.owner, body, now, deadline_s=None, again=entry.request)
        except BangpathError as error:  # too many others are outstanding there
            self._note("outbox waits", peer=str(entry.owner), cause=error.cause)
            self.outbox.handle_busy(entry.number, now=now)
            return
        self._outstanding.keep(entry.request)
        self._requests[entry.request] = entry.number

    def _wake(self, which: Callable[[_Waiter], bool]) -> None:
        for waiters in self._waiters.values():
            for waiter in filter(which, waiters):
                waiter.news.set()

    def _call_all(self, now: float) -> float:
        """Look for a way to those who are not there; when to do so again."""
        absent = [owner for owner in self.outbox.owners() if not self._outstanding.watch(owner)]
        for owner in absent:
            called_at, pause_s = self._calls.get(owner, (-math.inf, DIAL_S / 2))
            heard_s = self._heard_s(owner)
            alive = heard_s is not None and now - heard_s > called_at + DIAL_S
            if alive or called_at + pause_s <= now:
                self._calls[owner] = now, DIAL_S if alive else min(2 * pause_s, DIAL_MOST_S)
                self._call(owner, now)
        for owner in [each for each in self._calls if each not in absent]:
            del self._calls[owner]
        return now + DIAL_S if absent else math.inf


def _key(prefix: str, number: int) -> str:
    return f"{prefix}{number:016}"
