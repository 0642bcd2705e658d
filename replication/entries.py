"""A change that waits in the outbox: what it holds, where it can stand, and what may happen to it there (vocabulary).

    NEW ---> WAITING ---> SENT ---> COMMITTED  CONFLICT  REFUSED  UNKNOWN
                |          |
                |          +---> WITHDRAWN ---> CANCELLED, or one of those above
                |          +---> LAPSED ------> EXPIRED, or one of those above
                +---> CANCELLED  EXPIRED  UNKNOWN

STEPS is the whole truth: what is not in it does not happen. Nothing here acts; the machine is `replication.outbox`.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar

import msgspec

from identity.errors import Refused
from identity.names import ServerId


class NoSuchEntry(Refused):
    """There is none of that number in the outbox, or none any more."""

    http_status: ClassVar[int] = 404


class Limits(msgspec.Struct, frozen=True):
    """How much waits, and how much that is settled is remembered."""

    owner_entries: int = 10_000
    owner_bytes: int = 64 << 20
    entries: int = 50_000
    bytes: int = 256 << 20
    settled: int = 10_000
    settled_ms: int = 7 * 24 * 3600 * 1000


class State(enum.Enum):
    """Where a change stands. The values are what people read."""

    NEW = "new"  # being written down
    WAITING = "waiting"
    SENT = "sent"  # under a request number that is durable; it may have been carried out
    WITHDRAWN = "withdrawn"  # cancelled after it was sent
    LAPSED = "lapsed"  # expired after it was sent
    COMMITTED = "committed"
    CONFLICT = "conflict"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class Happened(enum.Enum):
    WRITTEN = "it is durable"
    TAKEN_OVER = "it is durable, and had been sent before"
    TURN = "it is the next, and its owner is there"
    PUT_BACK = "its owner could not do it just now, and has not"
    COMMITTED = "its owner carried it out"
    CONFLICT = "what it was based on had changed"
    REFUSED = "its owner does not do that"
    NOT_DONE = "its owner has not carried it out, and will not"
    LOST = "nobody knows any more what became of it"
    SET_BACK = "this server came back from a backup, and may have sent it since that"
    CANCELLED = "somebody cancelled it"
    EXPIRED = "its time is over"


STEPS: dict[tuple[State, Happened], State] = {
    (State.NEW, Happened.WRITTEN): State.WAITING,
    (State.NEW, Happened.TAKEN_OVER): State.SENT,
    (State.WAITING, Happened.TURN): State.SENT,
    (State.WAITING, Happened.CANCELLED): State.CANCELLED,
    (State.WAITING, Happened.EXPIRED): State.EXPIRED,
    (State.SENT, Happened.PUT_BACK): State.WAITING,
    (State.SENT, Happened.CANCELLED): State.WITHDRAWN,
    (State.SENT, Happened.EXPIRED): State.LAPSED,
    (State.LAPSED, Happened.CANCELLED): State.WITHDRAWN,
    (State.WITHDRAWN, Happened.PUT_BACK): State.CANCELLED,
    (State.WITHDRAWN, Happened.NOT_DONE): State.CANCELLED,
    (State.LAPSED, Happened.PUT_BACK): State.EXPIRED,
    (State.LAPSED, Happened.NOT_DONE): State.EXPIRED,
    (State.WAITING, Happened.SET_BACK): State.UNKNOWN,
    **{
        (state, happened): outcome
        for state in (State.SENT, State.WITHDRAWN, State.LAPSED)
        for happened, outcome in (
            (Happened.COMMITTED, State.COMMITTED),
            (Happened.CONFLICT, State.CONFLICT),
            (Happened.REFUSED, State.REFUSED),
            (Happened.LOST, State.UNKNOWN),
            (Happened.SET_BACK, State.UNKNOWN),
        )
    },
}
ASKED = frozenset({State.SENT, State.WITHDRAWN, State.LAPSED})
OPEN = ASKED | {State.NEW, State.WAITING}


class Entry(msgspec.Struct):
    """One change. `text` says it in words; `outcome` is what is told of its end, as JSON."""

    number: int
    owner: ServerId
    incarnation: int  # of the owner, as known when it was queued; 0: not known
    text: str
    size: int  # of what is sent
    since_ms: int  # by the wall
    expires_ms: int | None = None
    state: State = State.NEW
    request: int | None = None  # the number it was, or is to be, asked under
    outcome: dict[str, Any] | None = None
    settled_ms: int | None = None
    doubts: int = 0
    unasked: bool = False  # sent, and to be asked again: its question ended without an outcome
    again: bool = False  # asked in another session, or another run of ours, before

    @property
    def written(self) -> Happened:
        """What it means to a new entry that it is durable."""
        return Happened.WRITTEN if self.request is None else Happened.TAKEN_OVER

    @property
    def open(self) -> bool:
        return self.state in OPEN

    def as_plain(self) -> list[Any]:
        """What is written down: of a new entry as it stands when that is durable."""
        state = self.state if self.state is not State.NEW else STEPS[State.NEW, self.written]
        return [
            str(self.owner), self.incarnation, self.text, self.size, self.since_ms, self.expires_ms, state.value,
            self.request, self.outcome, self.settled_ms,
        ]  # fmt: skip

    @classmethod
    def from_plain(cls, number: int, said: list[Any]) -> Entry:
        owner, incarnation, text, size, since_ms, expires_ms, state, request, outcome, settled_ms = said
        entry = cls(number, ServerId.parse(owner), incarnation, text, size, since_ms, expires_ms, State(state))
        entry.request, entry.outcome, entry.settled_ms = request, outcome, settled_ms
        if entry.state is State.SENT and request is None:
            entry.state = State.WAITING  # its turn had come, and no number was written down with it
        entry.again = entry.state in ASKED
        return entry


class Then(enum.Enum):
    """What may be done when an entry is durable as it is."""

    ASK = "ask its owner, under its number; a number that it has not yet is to be written down with it"
    RELEASE = "let the number go that it was asked under"
    TELL = "the same, and tell its outcome"
    NOTHING = "nothing"


class Write(msgspec.Struct, frozen=True):
    """Write this entry down; `request` is the number to let go, where one is."""

    number: int
    then: Then
    request: int | None = None


class Forget(msgspec.Struct, frozen=True):
    """Strike this settled entry from what is written down."""

    number: int
