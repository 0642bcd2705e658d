"""What the transport tells, as values (LAYOUT: vocabulary). What it is told are the verbs of `transport.endpoint`.

A connection is named by a number that this process gives it and never uses again.
"""

from __future__ import annotations

import math

import msgspec

Address = tuple[str, int]

ROUTED = "!"  # begins the host of a routed address, ("!1.3", 0): by gateways to that server, no port of any machine


def routed_address(server: str) -> Address:
    """The address of a server that is reached by gateways."""
    return ROUTED + server, 0


def is_routed(address: Address) -> bool:
    """Whether packets to this address go by gateways and not to a port."""
    return address[0].startswith(ROUTED)


class Connected(msgspec.Struct, frozen=True, gc=False):
    """A peer has proven that it holds `peer_key` (X25519, 32 bytes). Who that is, the certificate will say."""

    connection: int
    peer_key: bytes
    address: Address
    psk_id: bytes  # 16 bytes: zeros for the mesh's secret, else the id of the ticket that a joining server used
    initiator: bool  # whether we began


class MessageReceived(msgspec.Struct, frozen=True, gc=False):
    """One whole message, decrypted, given once."""

    connection: int
    message: bytes
    priority: int


class Drained(msgspec.Struct, frozen=True, gc=False):
    """The queue of a connection that was full has room again."""

    connection: int


class Closed(msgspec.Struct, frozen=True, gc=False):
    """The connection is over; nothing more comes of it. Messages not acknowledged may or may not have arrived."""

    connection: int
    reason: str
    peer_key: bytes = b""
    established: bool = True


class Doubted(msgspec.Struct, frozen=True, gc=False):
    """Nothing was acknowledged for longer than the path takes; `since` is when the oldest of it was sent.

    Told again, ever more rarely, while it lasts. `tries` counts the tellings from 1; `heard_at` is when the newest
    packet of the peer came: one that is heard and does not answer is no dead one.
    """

    connection: int
    since: float
    tries: int
    heard_at: float = -math.inf


class Trusted(msgspec.Struct, frozen=True, gc=False):
    """A doubt has ended: something was acknowledged."""

    connection: int


class DirectAgain(msgspec.Struct, frozen=True, gc=False):
    """A routed connection's peer hears us directly, confirmed twice."""

    connection: int


class CameAside(msgspec.Struct, frozen=True, gc=False):
    """The peer's packets come by gateways: they begin to, and nothing says that it hears us directly; or ours go by a
    route that has brought no answer yet."""

    connection: int


class Detour(msgspec.Struct, frozen=True, gc=False):
    """This sealed packet is to go by gateways to the server of a routed address."""

    address: Address
    packet: bytes


class Said(msgspec.Struct, frozen=True, gc=False):
    """A datagram that needs no session (`transport.words`), not opened yet."""

    word: bytes


Event = Connected | MessageReceived | Drained | Closed | Doubted | Trusted | DirectAgain | CameAside | Detour | Said
