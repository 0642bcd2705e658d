"""Whom we hear and who hears us: two directions, kept apart (DESIGN G1).

    direction     known from
    they -> us    every packet that comes directly: `heard_at`
    us -> they    what they say about ours in every acknowledgement: `hears_us_at`

    UNKNOWN   no way to it is known: no key, or no address that we may dial
    SILENT    a way is known, no connection; the next try has its time
    CALLING   a dial is under way
    HEARD     a connection on which its HELLO was verified
    DOUBTED   that connection, and nothing came by it for a while

The table `NEXT` is the truth: every pair of state and event stands in it or among the `IMPOSSIBLE`, which are
mistakes of our own code. What a change of state clears is cleared in `Neighbour.become` and nowhere else.
"""

from __future__ import annotations

import math
from enum import Enum

from identity.errors import LocalMistake
from identity.names import ServerId

Address = tuple[str, int]

QUIET_S = 15.0  # a neighbour tells its vectors every 5 s (`replication.telling`): three in a row are missing


class State(Enum):
    UNKNOWN = "unknown"
    SILENT = "silent"
    CALLING = "calling"
    HEARD = "heard"
    DOUBTED = "doubted"


class Happened(Enum):
    """What moves a neighbour from state to state."""

    LEARNED = "learned"  # a key and an address that we may dial
    FORGOTTEN = "forgotten"  # the last of them is gone
    DIALLED = "dialled"
    FAILED = "failed"  # every address was tried in vain
    GREETED = "greeted"  # a connection, and its HELLO verified
    HEARD = "heard"  # something came directly
    QUIET = "quiet"  # nothing came for QUIET_S
    LOST = "lost"  # the connection is closed


NEXT: dict[tuple[State, Happened], State] = {
    (State.UNKNOWN, Happened.LEARNED): State.SILENT,
    (State.UNKNOWN, Happened.FORGOTTEN): State.UNKNOWN,
    (State.UNKNOWN, Happened.FAILED): State.UNKNOWN,  # a dial whose address was forgotten meanwhile
    (State.UNKNOWN, Happened.GREETED): State.HEARD,  # it found us first
    (State.SILENT, Happened.LEARNED): State.SILENT,
    (State.SILENT, Happened.FORGOTTEN): State.UNKNOWN,
    (State.SILENT, Happened.DIALLED): State.CALLING,
    (State.SILENT, Happened.FAILED): State.SILENT,  # a dial that was given up
    (State.SILENT, Happened.GREETED): State.HEARD,
    (State.CALLING, Happened.LEARNED): State.CALLING,
    (State.CALLING, Happened.FORGOTTEN): State.UNKNOWN,
    (State.CALLING, Happened.DIALLED): State.CALLING,  # the next address
    (State.CALLING, Happened.FAILED): State.SILENT,
    (State.CALLING, Happened.GREETED): State.HEARD,
    (State.HEARD, Happened.LEARNED): State.HEARD,
    (State.HEARD, Happened.FORGOTTEN): State.HEARD,  # the connection lasts
    (State.HEARD, Happened.FAILED): State.HEARD,  # our dial, while theirs had come through
    (State.HEARD, Happened.GREETED): State.HEARD,  # the second of two connections
    (State.HEARD, Happened.HEARD): State.HEARD,
    (State.HEARD, Happened.QUIET): State.DOUBTED,
    (State.HEARD, Happened.LOST): State.SILENT,
    (State.DOUBTED, Happened.LEARNED): State.DOUBTED,
    (State.DOUBTED, Happened.FORGOTTEN): State.DOUBTED,
    (State.DOUBTED, Happened.FAILED): State.DOUBTED,
    (State.DOUBTED, Happened.GREETED): State.HEARD,
    (State.DOUBTED, Happened.HEARD): State.HEARD,
    (State.DOUBTED, Happened.QUIET): State.DOUBTED,
    (State.DOUBTED, Happened.LOST): State.SILENT,
}

# Only our own code could make these happen: who has no connection can neither be heard on one nor lose it, and who
# has one, or no address, is not dialled.
IMPOSSIBLE: frozenset[tuple[State, Happened]] = frozenset(
    {
        (State.UNKNOWN, Happened.DIALLED),
        (State.HEARD, Happened.DIALLED),
        (State.DOUBTED, Happened.DIALLED),
        *((state, event) for state in (State.UNKNOWN, State.SILENT, State.CALLING)
          for event in (Happened.HEARD, Happened.QUIET, Happened.LOST)),
    }
)  # fmt: skip


class Neighbour:
    """One server, as far as direct contact goes."""

    __slots__ = (
        "address", "connection", "connection_epoch", "connection_since", "heard_at", "hears_us_at", "initiator",
        "look_at", "reason", "server", "since", "srtt_s", "state",
    )  # fmt: skip

    def __init__(self, server: ServerId, now: float) -> None:
        self.server = server
        self.state = State.UNKNOWN
        self.since = now  # of the state
        self.reason = "no address is known"
        # The two directions, monotonic seconds of ours; None: never. They outlive a connection.
        self.heard_at: float | None = None
        self.hears_us_at: float | None = None
        self.srtt_s: float | None = None
        # The connection, while HEARD or DOUBTED.
        self.connection: int | None = None
        self.connection_since = 0.0
        self.connection_epoch = 0
        self.initiator = False  # whether we began it
        self.look_at = -math.inf  # when it is to be seen whether it is quiet
        self.address: Address | None = None  # at its other end, or being dialled

    @property
    def connected(self) -> bool:
        return self.state is State.HEARD or self.state is State.DOUBTED

    def become(self, happened: Happened, now: float, reason: str = "") -> State:
        """The step of the table. Returns the state before. Raises `LocalMistake` for a step that is impossible."""
        before = self.state
        after = NEXT.get((before, happened))
        if after is None:
            raise LocalMistake(f"{self.server} is {before.value} and cannot be {happened.value}")
        if after is not before:
            self.state = after
            self.since = now
            self.reason = reason
            if after in (State.SILENT, State.UNKNOWN):
                self.connection = None
                self.srtt_s = None
                self.address = None
        return before

    def quiet_at(self) -> float:
        """When it is doubted if nothing comes before."""
        return max(self.heard_at or 0.0, self.connection_since) + QUIET_S

    def next_look(self, now: float) -> float:
        """When to see whether it is quiet; infinity where a time was given before that is still to come.

        So one timer is set for each neighbour, however many rounds of dials it took.
        """
        if self.look_at > now:
            return math.inf
        self.look_at = self.quiet_at()
        return self.look_at


def keep_newer(
    *, mine: ServerId, theirs: ServerId, old_initiator: bool, new_initiator: bool, apart_s: float, restarted: bool
) -> bool:
    """Whether the second of two connections to one server is kept, and the first one closed; both ends must agree.

    A peer dials only when it has no connection, so one that comes later than a handshake can cross another means that
    it lost the first one. Crossing ones: the one that the lesser id began is kept.
    """
    if restarted or apart_s > CROSSING_S or old_initiator == new_initiator:
        return True
    return new_initiator == (mine < theirs)


CROSSING_S = 5.0  # two handshakes of slow links, each resent once, may cross within this time
