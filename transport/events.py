"""What the transport tells, as values (LAYOUT: vocabulary). What it is told are the verbs of `transport.endpoint`.

A connection is named by a number that this process gives it and never uses again.
"""

from __future__ import annotations

import msgspec


class Connected(msgspec.Struct, frozen=True, gc=False):
    """A peer has proven that it holds `peer_key` (X25519, 32 bytes). Who that is, the certificate will say."""

    connection: int
    peer_key: bytes
    address: tuple[str, int]
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


Event = Connected | MessageReceived | Drained | Closed
