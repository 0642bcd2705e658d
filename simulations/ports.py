"""What nodes and programs hold of the virtual network: ports, and the hosts on which they are opened.

    node --Batch--> SimulatedPort --datagram by datagram--> SimulatedNetwork.send
    node <--receive_into, as UDP_GRO gives them-- SimulatedPort <--accept-- SimulatedNetwork

The ports keep the contract of `transport.ports` (tests/contracts/test_ports.py), as the real ones do. What happens to
a datagram between two of them is `network.py`'s.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import trio

from identity.machine import Batch
from simulations.standby import Standby
from simulations.streams import SimulatedListener, SimulatedStream, open_stream

if TYPE_CHECKING:
    from simulations.engine import Agenda
    from simulations.network import SimulatedNetwork

Address = tuple[str, int]

MAX_WAITING = 4096  # datagrams a port holds before it drops, about what a kernel's 4 MiB receive buffer holds


class HostNetwork:
    """`transport.ports.Network` of one host."""

    def __init__(self, network: SimulatedNetwork, name: str) -> None:
        self._network = network
        self.name = name

    async def open_datagram_port(self, host: str, port: int) -> SimulatedPort:
        """A port on this host; the address asked for is this host's whatever it says, as behind 0.0.0.0."""
        await trio.lowlevel.checkpoint()
        return self._network.open(self.name, port)

    async def open_stream(self, host: str, port: int) -> SimulatedStream:
        """A stream to who listens there. Raises OSError, as `trio.open_tcp_stream` does."""
        return await open_stream(self._network.streams, self.name, (host, port))

    async def listen(self, port: int) -> SimulatedListener:
        """Let streams arrive at this port, 0 for any free one. Raises `Refused` where it is in use."""
        await trio.lowlevel.checkpoint()
        return SimulatedListener(self._network.streams.listen(self.name, port))


class SimulatedTimer:
    """`transport.ports.Timer` on the agenda. A cancel scope for each wait was a tenth of what a run cost.

    One moved later costs nothing until the agenda comes by; then it is put down for its new time.
    """

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._deadline = math.inf
        self._next = math.inf  # when the agenda comes by; what it has put down for later than that is void
        self._standby: Standby | None = None

    @property
    def deadline(self) -> float:
        return self._deadline

    @deadline.setter
    def deadline(self, when: float) -> None:
        self._deadline = when
        if when < self._next:
            self._put_down(when)

    async def each_due(self, act: Callable[[], None]) -> None:
        self._standby = Standby(self._agenda, act, lambda: self._deadline <= self._agenda.now)
        try:
            await self._standby.serve()
        finally:
            self._standby = None

    def _put_down(self, when: float) -> None:
        self._next = max(when, self._agenda.now)
        self._agenda.at(self._next, partial(self._come_by, self._next), counts=False)

    def _come_by(self, when: float) -> None:
        if when != self._next:
            return
        self._next = math.inf
        if self._deadline > when:
            if self._deadline < math.inf:
                self._put_down(self._deadline)
        elif self._standby is not None:
            self._standby.call()


class SimulatedPort:
    """`transport.ports.DatagramPort` on the virtual network."""

    def __init__(self, network: SimulatedNetwork, address: Address) -> None:
        self._network = network
        self.address = address
        self._waiting: deque[tuple[Address, bytes]] = deque()
        self._readers: dict[trio.lowlevel.Task, None] = {}
        self._standby: Standby | None = None
        self._closed = False

    def accept(self, source: Address, datagram: bytes) -> bool:
        """A datagram arrives; False when the port's buffer is full."""
        if self._closed or len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append((source, datagram))
        if self._standby is not None:
            self._standby.call()
        elif self._readers:
            self._wake()
        return True

    def receive_into(self, buffer: memoryview) -> tuple[int, int, Address] | None:
        """Datagrams of one sender and one size, one after another in `buffer`, as UDP_GRO gives them."""
        if self._closed:
            raise trio.ClosedResourceError("this port is closed")
        if not self._waiting:
            return None
        source, first = self._waiting.popleft()
        size = len(first)
        buffer[:size] = first
        length = size
        while self._waiting and size:
            other, datagram = self._waiting[0]
            if other != source or len(datagram) > size or length + len(datagram) > len(buffer):
                break
            self._waiting.popleft()
            buffer[length : length + len(datagram)] = datagram
            length += len(datagram)
            if len(datagram) < size:  # only the last of a batch may be shorter
                break
        return length, size, source

    def send_batch(self, batch: Batch) -> bool:
        """Always has room: a simulated sender is held back by its congestion window, not by a socket's buffer."""
        if self._closed:
            raise trio.ClosedResourceError("this port is closed")
        data = bytes(batch.buffer)
        for start in range(0, len(data), batch.segment_size):
            self._network.send(self.address, batch.address, data[start : start + batch.segment_size])
        return True

    async def wait_readable(self) -> None:
        """Until a datagram waits. Raises `trio.ClosedResourceError` when the port is closed, also meanwhile."""
        if self._waiting:
            await trio.lowlevel.checkpoint()
        elif not self._closed:
            task = trio.lowlevel.current_task()
            self._readers[task] = None

            def abort(_: object) -> trio.lowlevel.Abort:
                del self._readers[task]
                return trio.lowlevel.Abort.SUCCEEDED

            await trio.lowlevel.wait_task_rescheduled(abort)
        if self._closed:
            raise trio.ClosedResourceError("this port is closed")

    async def each_readable(self, act: Callable[[], None]) -> None:
        """`act` whenever a datagram waits, and once when the port is closed, which it will find."""
        if self._closed:
            raise trio.ClosedResourceError("this port is closed")
        self._standby = Standby(self._network.agenda, act, lambda: self._closed or bool(self._waiting))
        try:
            await self._standby.serve()
        finally:
            self._standby = None

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError("this port is closed")

    def timer(self) -> SimulatedTimer:
        return SimulatedTimer(self._network.agenda)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._network.close(self)
            self._wake()
            if self._standby is not None:
                self._standby.wake()

    def _wake(self) -> None:
        for task in self._readers:
            trio.lowlevel.reschedule(task)
        self._readers.clear()
