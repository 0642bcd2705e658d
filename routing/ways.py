"""What the router puts out and answers, as values (LAYOUT: vocabulary).

put out    Dial, Drop, Reached, Unreachable
answered   Direct or Nowhere; NeighbourStatus for people
"""

from __future__ import annotations

import msgspec

from identity.names import ServerId
from routing.neighbours import Address


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
