"""The seam: what a datagram port must do, whether real (`transport.sockets`) or simulated (`simulations.network`).

    pump --send_batch(Batch)--> port --> network --> port --receive_into(buffer)--> pump

    buffer    | datagram 1400 | datagram 1400 | ... | datagram 800 |       one sender, one size, the last may be shorter

Rules, which tests/contracts/test_ports.py checks on every implementation:

- A datagram arrives whole or not at all, perhaps twice, perhaps later than one sent after it. Nobody is told of loss.
- Nothing blocks but the verbs `wait_` and `each_`. What a network answers about an earlier datagram (nobody listens
  there, no way to that host) is no error of a port: the datagram is lost, and lost datagrams are the transport's
  business.
- `send_batch` that gives False kept a note of how far it came: call it again with the same batch after
  `wait_writable`, and nothing is sent twice.
- Addresses are `(host, port)` with the host as digits (a name would have to be looked up, which blocks). The
  simulator's hosts are whatever it calls them.
- A closed port raises `trio.ClosedResourceError` at every use, and wakes whoever waits with it. Closing twice is
  harmless.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from identity.machine import Batch

Address = tuple[str, int]

MAX_READ_BYTES = 1 << 16  # the most one `receive_into` gives: what UDP_GRO puts together


class Timer(Protocol):
    """One time at which to wake, which may be moved while somebody waits for it."""

    deadline: float  # in trio's seconds; infinity: never

    async def each_due(self, act: Callable[[], None]) -> None:
        """Call `act` at the deadline, wherever it is moved meanwhile, and at once where it has passed; again and again.

        `act` moves it: else it is called for ever, with others in between. Ends by being cancelled, or by what `act`
        raises. One task at a time.
        """


class DatagramPort(Protocol):
    """One open port. Not a task of its own: whoever drives it calls it."""

    @property
    def address(self) -> Address:
        """Where this port is; a port opened as 0 tells which one it got."""

    def receive_into(self, buffer: memoryview) -> tuple[int, int, Address] | None:
        """The next datagrams: (length in all, bytes of each but the last, sender), or None when none is waiting.

        `buffer` has at least MAX_READ_BYTES.
        """

    def send_batch(self, batch: Batch) -> bool:
        """Send all datagrams of a batch; False when the port cannot take (the rest of) them now."""

    async def wait_readable(self) -> None:
        """Until `receive_into` may give something. It may still give None."""

    async def each_readable(self, act: Callable[[], None]) -> None:
        """Call `act` whenever `receive_into` may give something, with others in between; again and again.

        Ends by being cancelled, or by what `act` raises. One task at a time, and nobody in `wait_readable` meanwhile.
        """

    async def wait_writable(self) -> None:
        """Until `send_batch` may go on."""

    def timer(self) -> Timer:
        """A new timer of the clock that this port lives by."""

    def close(self) -> None:
        """Give the port back."""


class Network(Protocol):
    """Where ports are opened."""

    async def open_datagram_port(self, host: str, port: int) -> DatagramPort:
        """Open a port, 0 for any free one.

        Raises `Refused` where the port is in use, not ours to open, or the host is not an address of this machine.
        """
