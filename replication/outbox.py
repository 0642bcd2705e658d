r"""Changes to other servers' objects that wait for their owner: in order, durable, each with one outcome (DESIGN F6).

    admit ---> NEW --written down--> WAITING --the owner is there, it is the next--> SENT --answer--> its outcome
                 \                     ^                                              |
                  sent before,         +---------- not carried out just now ----------+
                  unanswered ------------------------------------------------------> SENT

Rules. Of one owner's changes the next is asked when the one before has its outcome: that is the order, and one that is
refused or conflicts does not stop those behind it. What was sent may have been carried out: cancelled or expired then,
the owner is asked, under the same request number, what became of it, and the queue goes on when it has said so; only
`forget` ends it without an answer, as UNKNOWN. What an owner could not do just now (it stops, its disk is full) is put
back and asked again after a pause under another number. An owner that is in doubt itself is asked again, under the
same number, in its next session; after MAX_DOUBTS the outcome is UNKNOWN. Of a server that came back from a backup
everything that waits is UNKNOWN: asked again, it might be carried out twice.

A machine without disk: `Write` says that an entry is to be written down as it is, and what may be done when that is
durable, and not before. Nothing it puts out may be left out or done in another order.

Bounds: `entries.Limits`, entries and bytes of one owner and of all; settled entries are kept by number and age.

Left to others: bytes and requests (`node.posting`), what an answer means (`node.outcomes`).
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator
from typing import Any

from sortedcontainers import SortedDict

from identity.errors import Exhausted
from identity.names import ServerId
from replication.entries import ASKED, STEPS, Entry, Forget, Happened, Limits, NoSuchEntry, State, Then, Write

PAUSE_S = 1.0  # before what an owner could not do just now is asked again; doubled up to PAUSE_MOST_S
PAUSE_MOST_S = 60.0
MAX_DOUBTS = 3  # sessions in which an owner says that it does not know itself


class _Owner:
    """What waits for one owner."""

    __slots__ = ("asked", "bytes", "count", "met", "not_before", "pause_s", "queue")

    def __init__(self) -> None:
        self.queue: Any = SortedDict()  # number: entry, those that are open and durable
        self.asked: dict[int, Entry] = {}  # of those, the ones that may have been sent: one, or what was taken over
        self.count = 0  # new ones included
        self.bytes = 0
        self.met = False
        self.not_before = -math.inf
        self.pause_s = PAUSE_S


class Outbox:
    """All changes that wait, and the outcomes of those that do no longer: a machine (`identity.machine`)."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = Limits() if limits is None else limits
        self._entries: dict[int, Entry] = {}
        self._owners: dict[ServerId, _Owner] = {}
        self._settled: dict[int, None] = {}  # in the order of their outcomes
        self._expiring: list[tuple[float, int]] = []
        self._paused: dict[ServerId, None] = {}
        self._outputs: list[Write | Forget] = []
        self._count = 0
        self._bytes = 0
        self.next = 1

    # -- questions

    def __iter__(self) -> Iterator[Entry]:
        """All entries, in the order in which they came."""
        return iter([self._entries[number] for number in sorted(self._entries)])

    def entry(self, number: int) -> Entry:
        """Raises `Refused` when there is none, or none any more."""
        entry = self._entries.get(number)
        if entry is None:
            raise NoSuchEntry(f"request {number} is not in the outbox", next_step="bangpath outbox lists what is")
        return entry

    def find(self, number: int) -> Entry | None:
        return self._entries.get(number)

    def ahead(self, entry: Entry) -> int:
        """How many changes of the same owner are to end before this one."""
        owner = self._owners.get(entry.owner)
        return owner.queue.bisect_left(entry.number) if owner is not None else 0

    @property
    def waiting(self) -> int:
        """How many changes wait, for all owners."""
        return self._count

    def waits_for(self, owner: ServerId) -> bool:
        """Whether a change of this owner would have to stand in a queue."""
        state = self._owners.get(owner)
        return state is not None and state.count > 0

    def owners(self) -> list[ServerId]:
        """Those for whom something waits."""
        return list(self._owners)

    # -- verbs

    def load(self, entries: Iterable[Entry], next_number: int, *, now: float, wall_ms: int) -> None:
        """What was written down in earlier runs."""
        settled = []
        for entry in sorted(entries, key=lambda each: each.number):
            self._entries[entry.number] = entry
            self.next = max(self.next, entry.number + 1)
            if entry.open:
                self._count_in(entry)
                self._enqueue(entry, now=now, wall_ms=wall_ms)
            else:
                settled.append(entry)
        self._settled = dict.fromkeys(each.number for each in sorted(settled, key=lambda each: each.settled_ms or 0))
        self.next = max(self.next, next_number)
        self._prune(wall_ms)

    def admit(
        self,
        owner: ServerId,
        *,
        incarnation: int,
        text: str,
        size: int,
        met: bool,
        wall_ms: int,
        expires_ms: int | None = None,
    ) -> Entry:
        """A new entry, to be written down by the caller, and then `handle_written`, or `abandon`.

        `met`: whether there is a session with its owner now.

        Raises `Exhausted`, naming the quota.
        """
        limits, state = self._limits, self._owners.get(owner)
        count, held = (state.count, state.bytes) if state is not None else (0, 0)
        for what, full in (
            (f"{limits.owner_entries} changes for {owner}", count >= limits.owner_entries),
            (f"{limits.owner_bytes} bytes of changes for {owner}", held + size > limits.owner_bytes),
            (f"{limits.entries} changes in all", self._count >= limits.entries),
            (f"{limits.bytes} bytes in all", self._bytes + size > limits.bytes),
        ):
            if full:
                raise Exhausted(
                    f"the outbox takes {what}, and this would be more",
                    next_step="wait until their owner is back, or cancel some: bangpath outbox",
                    quota=what,
                )
        entry = Entry(self.next, owner, incarnation, text, size, wall_ms, expires_ms)
        self.next += 1
        self._entries[entry.number] = entry
        self._count_in(entry)
        self._owners[owner].met = met
        return entry

    def abandon(self, entry: Entry) -> None:
        """It could not be written down: it never was."""
        del self._entries[entry.number]
        self._count_out(entry)

    def cancel(self, number: int, *, now: float, wall_ms: int) -> Entry:
        """CANCELLED if it was not sent, else WITHDRAWN until its owner has said what became of it."""
        entry = self.entry(number)
        if (entry.state, Happened.CANCELLED) in STEPS:
            self._step(entry, Happened.CANCELLED, now=now, wall_ms=wall_ms)
        return entry

    def forget(self, number: int, *, now: float, wall_ms: int) -> Entry:
        """The same, but what was sent ends as UNKNOWN at once, and whoever stands behind it goes on."""
        entry = self.cancel(number, now=now, wall_ms=wall_ms)
        if entry.state in ASKED:
            self._step(entry, Happened.LOST, now=now, wall_ms=wall_ms)
        return entry

    # -- what happened

    def handle_written(self, entry: Entry, *, now: float, wall_ms: int) -> None:
        """A new entry is durable; one that has a request number had been sent before it came here."""
        entry.state = STEPS[entry.state, entry.written]
        entry.again = entry.request is not None
        self._enqueue(entry, now=now, wall_ms=wall_ms)

    def handle_met(self, owner: ServerId, *, now: float) -> None:
        """A session with this owner begins: the first sign of life."""
        state = self._owners.get(owner)
        if state is None:
            return
        state.met = True
        state.not_before = -math.inf
        for entry in state.asked.values():
            entry.again = True
        self._ask_again(owner)
        self._go_on(owner, now)

    def handle_lost(self, owner: ServerId) -> None:
        """Nobody reaches it any more."""
        state = self._owners.get(owner)
        if state is not None:
            state.met = False

    def handle_outcome(
        self, number: int, happened: Happened, outcome: dict[str, Any] | None, *, now: float, wall_ms: int
    ) -> None:
        """What its owner says became of an entry. Of one that is not open any more it is no news."""
        entry = self._entries.get(number)
        if entry is None or (entry.state, happened) not in STEPS:
            return
        entry.outcome = outcome
        state = self._owners[entry.owner]
        if STEPS[entry.state, happened] is State.WAITING:
            self._pause(entry.owner, now)
        else:
            state.pause_s = PAUSE_S
        self._step(entry, happened, now=now, wall_ms=wall_ms)

    def handle_doubt(self, number: int, outcome: dict[str, Any], *, now: float, wall_ms: int) -> None:
        """Its owner does not know itself: asked again in the next session."""
        entry = self._entries.get(number)
        if entry is None or entry.state not in ASKED:
            return
        entry.unasked = True
        entry.doubts += 1
        if entry.doubts >= MAX_DOUBTS:
            self.handle_outcome(number, Happened.LOST, outcome, now=now, wall_ms=wall_ms)

    def handle_busy(self, number: int, *, now: float) -> None:
        """It could not even be asked just now: asked again after a pause, under the number that it has."""
        entry = self._entries.get(number)
        if entry is not None and entry.state in ASKED:
            entry.unasked = True
            self._pause(entry.owner, now)

    def lose(self, entry: Entry, *, now: float, wall_ms: int) -> None:
        """What is to be sent is not there."""
        self.handle_outcome(entry.number, Happened.LOST, None, now=now, wall_ms=wall_ms)

    def handle_set_back(self, outcome: dict[str, Any], *, now: float, wall_ms: int) -> None:
        """This server came back from a backup: whatever waits may have been sent and answered since that was made."""
        for entry in [each for each in self if each.open]:
            self.handle_outcome(entry.number, Happened.SET_BACK, outcome, now=now, wall_ms=wall_ms)

    # -- the verbs of every machine

    def deadline(self) -> float:
        while self._expiring and not self._may_expire(self._expiring[0][1]):
            heapq.heappop(self._expiring)
        expiring = self._expiring[0][0] if self._expiring else math.inf
        return min([expiring, *(self._owners[owner].not_before for owner in self._paused if owner in self._owners)])

    def handle_deadline(self, now: float, *, wall_ms: int) -> None:
        while self._expiring and self._expiring[0][0] <= now:
            number = heapq.heappop(self._expiring)[1]
            if self._may_expire(number):
                self._step(self._entries[number], Happened.EXPIRED, now=now, wall_ms=wall_ms)
        for owner in list(self._paused):
            state = self._owners.get(owner)
            if state is None or state.not_before <= now:
                del self._paused[owner]
                self._ask_again(owner)
                self._go_on(owner, now)

    def take_outputs(self) -> list[Write | Forget]:
        outputs, self._outputs = self._outputs, []
        return outputs

    # -- helpers

    def _pause(self, owner: ServerId, now: float) -> None:
        state = self._owners[owner]
        state.not_before = now + state.pause_s
        state.pause_s = min(2 * state.pause_s, PAUSE_MOST_S)
        self._paused[owner] = None

    def _ask_again(self, owner: ServerId) -> None:
        """What was sent, and whose question ended without an outcome."""
        state = self._owners.get(owner)
        for entry in state.asked.values() if state is not None and state.met else ():
            if entry.unasked:
                entry.unasked = False
                self._outputs.append(Write(entry.number, Then.ASK))

    def _may_expire(self, number: int) -> bool:
        entry = self._entries.get(number)
        return entry is not None and (entry.state, Happened.EXPIRED) in STEPS

    def _count_in(self, entry: Entry) -> None:
        state = self._owners.get(entry.owner) or self._owners.setdefault(entry.owner, _Owner())
        state.count += 1
        state.bytes += entry.size
        self._count += 1
        self._bytes += entry.size

    def _count_out(self, entry: Entry) -> None:
        state = self._owners[entry.owner]
        state.count -= 1
        state.bytes -= entry.size
        self._count -= 1
        self._bytes -= entry.size
        if not state.count:
            del self._owners[entry.owner]

    def _enqueue(self, entry: Entry, *, now: float, wall_ms: int) -> None:
        state = self._owners[entry.owner]
        state.queue[entry.number] = entry
        if entry.state in ASKED:
            state.asked[entry.number] = entry
        if entry.expires_ms is not None:
            heapq.heappush(self._expiring, (now + (entry.expires_ms - wall_ms) / 1000, entry.number))
        self._go_on(entry.owner, now)

    def _go_on(self, owner: ServerId, now: float) -> None:
        """The next of this owner, if nothing before it is open and the owner is there."""
        state = self._owners.get(owner)
        if state is None or not state.met or now < state.not_before or state.asked or not state.queue:
            return
        head: Entry = state.queue.peekitem(0)[1]
        head.state = STEPS[head.state, Happened.TURN]
        state.asked[head.number] = head
        self._outputs.append(Write(head.number, Then.ASK))

    def _step(self, entry: Entry, happened: Happened, *, now: float, wall_ms: int) -> None:
        entry.state = STEPS[entry.state, happened]
        request, state = entry.request, self._owners[entry.owner]
        if entry.state not in ASKED:
            state.asked.pop(entry.number, None)
        if entry.state is State.WAITING:
            entry.request, entry.again, entry.unasked, entry.doubts = None, False, False, 0
            self._outputs.append(Write(entry.number, Then.RELEASE, request))
        elif entry.open:
            self._outputs.append(Write(entry.number, Then.NOTHING))
        else:
            entry.settled_ms = wall_ms
            del state.queue[entry.number]
            self._count_out(entry)
            self._settled[entry.number] = None
            self._outputs.append(Write(entry.number, Then.TELL, request))
            self._prune(wall_ms)
        self._go_on(entry.owner, now)

    def _prune(self, wall_ms: int) -> None:
        for number in list(self._settled):
            old = wall_ms - (self._entries[number].settled_ms or 0) > self._limits.settled_ms
            if len(self._settled) <= self._limits.settled and not old:
                return
            del self._settled[number]
            del self._entries[number]
            self._outputs.append(Forget(number))
