"""A link that is cut at the port: packets from a server, to it, or both, are dropped, and the node is not told.

    pump --send_batch--> Blocking --> port            direction    dropped
         <-receive_into-    |                         "out"        what we send to it
                            who is at that address?   "in"         what it sends to us
                                                      "both"       both

No state above notices but by silence, as with a cable that is cut: this is how one tries what a mesh does then, by
hand, in the tour, and in tests. It is kept in memory only: a restart forgets it, unless it is told again at the start
(`run --blocked`).

A packet belongs to a server when it comes from, or goes to, an address under which the server is known now: those of
its own word and of the configuration, and that where its session stands. It belongs to it too when it bears the
index of a session whose packets were seen at such an address while it was blocked, so that one whose address changes
meanwhile stays cut off. Two limits follow. Who calls anew from an address that nobody knew of is let in as far as its
HELLO, for only that says who it is. And a batch that the port has begun to send is sent to its end.

What a gateway forwards goes to and comes from the gateway: a block cuts one link and no other way.

Bounds: `MAX_INDICES` remembered, for the next block too. While nothing is blocked, next to nothing is done. Left to
others: the words (`node.links`), which addresses a server has (`node.parts`).
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from identity.errors import Refused
from identity.names import ServerId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from identity.machine import Batch
    from transport.ports import Address, DatagramPort, Timer

IN, OUT, BOTH = "in", "out", "both"
DIRECTIONS = (BOTH, IN, OUT)

MAX_INDICES = 4096  # sessions of blocked servers; the oldest is forgotten, and found again at its address
MAX_DROPS = 64  # received and dropped in a row before others get their turn; the socket stays readable
_SEALED = 16  # the first byte of a packet that belongs to a session (the picture is in transport.packet)
_HEAD_BYTES = 5  # that byte, and the index


def check_direction(text: object) -> str:
    """Raises `Refused` naming the three there are."""
    if text not in DIRECTIONS:
        raise Refused(f"{text!r} is no direction", next_step=f"say {', '.join(DIRECTIONS)}", field="direction")
    return str(text)


def read_blocked(texts: Iterable[str]) -> dict[ServerId, str]:
    """`1.2`, `1.3=in`: what is blocked from the start. Raises `Refused`."""
    blocked: dict[ServerId, str] = {}
    for text in texts:
        server, _, direction = text.partition("=")
        peer = ServerId.parse(server)
        blocked[peer] = added(blocked.get(peer), check_direction(direction or BOTH))
    return blocked


def added(before: str | None, direction: str) -> str:
    """What is blocked after `direction` is blocked too."""
    return direction if before in (None, direction) else BOTH


def taken(before: str | None, direction: str) -> str | None:
    """What stays blocked after `direction` was opened."""
    if before is None or direction in (BOTH, before):
        return None
    return {IN: OUT, OUT: IN}[direction] if before == BOTH else before


class Blocking:
    """`transport.ports.DatagramPort` over another one. `is_at(server, address)`: whether it is known there now."""

    def __init__(
        self,
        port: DatagramPort,
        is_at: Callable[[ServerId, Address], bool],
        blocked: Mapping[ServerId, str] | None = None,
    ) -> None:
        self.dropped = 0  # buffers and batches
        self._port = port
        self._is_at = is_at
        self._blocked: dict[ServerId, str] = dict(blocked or {})
        self._received: dict[bytes, ServerId] = {}  # index of ours, as it stands in a packet: whose session
        self._sent: dict[bytes, ServerId] = {}  # index of theirs
        self._begun = False  # the port has sent a part of a batch and will be given it again

    # -- what is wanted

    def block(self, server: ServerId, direction: str) -> str:
        """Drop its packets in this direction too; what is blocked now."""
        self._blocked[server] = added(self._blocked.get(server), direction)
        return self._blocked[server]

    def unblock(self, server: ServerId, direction: str) -> str | None:
        """Let them pass in this direction; what stays blocked."""
        left = taken(self._blocked.pop(server, None), direction)
        if left is not None:
            self._blocked[server] = left
        return left

    def blocked(self, server: ServerId) -> str | None:
        """`in`, `out`, `both`, or None."""
        return self._blocked.get(server)

    def all_blocked(self) -> dict[ServerId, str]:
        return dict(self._blocked)

    # -- the port

    @property
    def address(self) -> Address:
        return self._port.address

    def receive_into(self, buffer: memoryview) -> tuple[int, int, Address] | None:
        if not self._blocked:
            return self._port.receive_into(buffer)
        for _ in range(MAX_DROPS):
            received = self._port.receive_into(buffer)
            if received is None:
                return None
            length, size, address = received
            if not self._drops(_heads(buffer[:length], size), address, OUT, self._received):
                return received
        return None

    def send_batch(self, batch: Batch) -> bool:
        if self._blocked and not self._begun:
            heads = _heads(batch.buffer, batch.segment_size)
            if self._drops(heads, batch.address, IN, self._sent):
                return True
        self._begun = not self._port.send_batch(batch)
        return not self._begun

    def timer(self) -> Timer:
        return self._port.timer()

    def wait_readable(self) -> Coroutine[Any, Any, None]:
        return self._port.wait_readable()

    def each_readable(self, act: Callable[[], None]) -> Coroutine[Any, Any, None]:
        return self._port.each_readable(act)

    def wait_writable(self) -> Coroutine[Any, Any, None]:
        return self._port.wait_writable()

    def close(self) -> None:
        self._port.close()

    # -- whose it is

    def _drops(self, heads: set[bytes], address: Address, open_when: str, known: dict[bytes, ServerId]) -> bool:
        """Whether these packets are of a server that is blocked, and not only in the direction `open_when`."""
        server = self._server_at(address)
        if server is None:
            server = next((known[head] for head in heads if head in known), None)
        else:
            for head in heads:
                if len(known) >= MAX_INDICES:
                    del known[next(iter(known))]
                known[head] = server
        if server is None or self._blocked.get(server) in (None, open_when):
            return False
        self.dropped += 1
        return True

    def _server_at(self, address: Address) -> ServerId | None:
        """Which of the blocked servers is known there."""
        for server in self._blocked:
            if self._is_at(server, address):
                return server
        return None


def _heads(buffer: memoryview, size: int) -> set[bytes]:
    """The sessions that the datagrams of a buffer belong to: one, as a rule; none in a handshake."""
    step = size if size > 0 else max(1, len(buffer))
    return {bytes(buffer[at : at + _HEAD_BYTES]) for at in range(0, len(buffer), step) if buffer[at] == _SEALED}
