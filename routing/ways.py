"""What the router puts out and answers, as values (LAYOUT: vocabulary).

put out    Dial, Drop, Reached, Unreachable                of dialling
           UseGateway, UseDirect, TryDirectly              which way a connection's packets go
           Ask, Verify, AnswerProbe                        searching ways, and helping others to
           HandOn, Detoured                                packets that go by gateways, and those for this server
           Tell                                            words that go by gateways, sealed for their target
           Noted                                           for the log
answered   Direct, Gateway or Nowhere; NeighbourStatus and RouteStatus for people
"""

from __future__ import annotations

import msgspec

from identity.names import ServerId
from routing.neighbours import Address, Neighbour
from routing.probes import Came, Confirm, Forward, Lost, NoWay, Path, Probe, Seek


class Dial(msgspec.Struct, frozen=True):
    """Begin a connection: transport's `connect(address, peer_key)`."""

    server: ServerId
    address: Address
    peer_key: bytes


class Drop(msgspec.Struct, frozen=True):
    """Close this connection: another one to the same server is kept."""

    connection: int
    reason: str


class Reached(msgspec.Struct, frozen=True):
    """The server is reached directly by this connection, from now on, or instead of the one before."""

    server: ServerId
    connection: int


class Unreachable(msgspec.Struct, frozen=True):
    """The server is not reached, since this monotonic time; what waits for it should not."""

    server: ServerId
    since: float
    reason: str


class Stuck(msgspec.Struct, frozen=True):
    """Every address of this server was tried in vain: a way by gateways is all that is left."""

    server: ServerId


class UseGateway(msgspec.Struct, frozen=True):
    """Send everything of this connection by gateways to `server`; a round trip takes about so long."""

    connection: int
    server: ServerId
    rtt_s: float


class UseDirect(msgspec.Struct, frozen=True):
    """Send everything of this connection directly again."""

    connection: int


class TryDirectly(msgspec.Struct, frozen=True):
    """Of a connection that was begun by gateways: its peer may be heard at this address."""

    connection: int
    address: Address


class Ask(msgspec.Struct, frozen=True):
    """Ask that server this probe, as a request; the answer comes back under the number."""

    number: int
    server: ServerId
    probe: Probe
    deadline_s: float


class Verify(msgspec.Struct, frozen=True):
    """See whether that server answers, as a request."""

    number: int
    server: ServerId
    deadline_s: float


class AnswerProbe(msgspec.Struct, frozen=True):
    """The answer to a probe of `peer`, known by the token with which it was handed in."""

    token: int
    peer: ServerId
    answer: Confirm | NoWay


class Detoured(msgspec.Struct, frozen=True, gc=False):
    """A sealed packet for this server, which came along a path; nobody vouches for its source but itself."""

    source: ServerId
    packet: bytes


class HandOn(msgspec.Struct, frozen=True, gc=False):
    """A packet for the next server on its path, or a SEEK for another one."""

    peer: ServerId
    message: Forward | Lost | Seek


class Tell(msgspec.Struct, frozen=True):
    """A word for the last of a path, which it opens alone: `Router.carry` takes it, sealed."""

    path: Path
    message: Came


class Noted(msgspec.Struct, frozen=True):
    """An event for the log."""

    event: str
    details: dict[str, object]


class Gateway(msgspec.Struct, frozen=True):
    """The way is this connection, and its packets go along `path`, which begins here."""

    connection: int
    path: Path
    rtt_s: float

    @property
    def gateway(self) -> ServerId:
        return self.path[1]


class RouteStatus(msgspec.Struct, frozen=True):
    """How one server is reached, as people see it; times in seconds."""

    server: ServerId
    way: str  # of our packets: "direct", "gateway", "none"
    way_back: str  # of its packets to us
    path: Path  # () when there is no way
    path_back: Path
    standby: Path
    rtt_s: float | None
    since_s: float | None
    doubted_s: float | None


class Direct(msgspec.Struct, frozen=True, gc=False):
    """The way is this connection."""

    connection: int


class Nowhere(msgspec.Struct, frozen=True):
    """There is no way. `calling`: a dial is under way, and its outcome will be told."""

    reason: str
    since: float
    calling: bool = False


class NeighbourStatus(msgspec.Struct, frozen=True):
    """One server as people see it; times in seconds before now, None: never."""

    server: ServerId
    state: str  # "unknown", "silent", "calling", "heard", "doubted"
    address: Address | None
    connection: int | None
    heard_s: float | None
    hears_us_s: float | None
    srtt_s: float | None
    since_s: float
    kept: bool
    reason: str


def status_of(each: Neighbour, *, kept: bool, why: str, now: float) -> NeighbourStatus:
    """A neighbour as people see it; `why` the last dial failed."""
    return NeighbourStatus(
        server=each.server,
        state=each.state.value,
        address=each.address,
        connection=each.connection,
        heard_s=_ago(each.heard_at, now),
        hears_us_s=_ago(each.hears_us_at, now),
        srtt_s=each.srtt_s,
        since_s=now - each.since,
        kept=kept,
        reason="" if each.connected else why or each.reason,
    )


def _ago(at: float | None, now: float) -> float | None:
    return None if at is None else max(0.0, now - at)
