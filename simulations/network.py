"""A virtual network: every datagram's fate is decided by its link's rules and the seed.

    1.1 --send_batch--> [cut?] [loss?] [delay + jitter] [twice?] --agenda--> port of 1.2 --receive_into--> 1.2

A link is one direction between two hosts; the other direction has rules of its own (one-way faults are real, DESIGN
G1). What is cut while a datagram is under way still arrives: wires are not emptied by cutting them. A datagram for a
port that nobody opened vanishes, as UDP's do. The ports pass the same contract suite as the real ones
(tests/contracts/test_ports.py).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace

import trio

from identity.errors import Refused
from identity.machine import Batch
from simulations.engine import Agenda
from simulations.trace import Trace

Address = tuple[str, int]

MAX_WAITING = 4096  # datagrams a port holds before it drops, about what a kernel's 4 MiB receive buffer holds
_FIRST_PORT = 40_000  # where ports that were asked for as 0 begin


@dataclass(frozen=True)
class Link:
    """One direction between two hosts. Times in seconds, chances 0..1."""

    delay: float = 0.02
    jitter: float = 0.002  # added evenly between 0 and this; above the sending interval it reorders
    loss: float = 0.0
    duplicate: float = 0.0
    cut: bool = False

    def __post_init__(self) -> None:
        if self.delay < 0 or self.jitter < 0:
            raise Refused(f"a link's delay {self.delay} and jitter {self.jitter} must not be negative")
        for name, chance in (("loss", self.loss), ("duplicate", self.duplicate)):
            if not 0 <= chance <= 1:
                raise Refused(f"a link's {name} must be a chance of 0 to 1, not {chance}")


class SimulatedNetwork:
    """All hosts and the links between them. Hosts are named by text; a node's port lives on its host."""

    def __init__(self, agenda: Agenda, generator: random.Random, trace: Trace, *, default: Link | None = None) -> None:
        self.agenda = agenda
        self.trace = trace
        self.default = default or Link()
        self._random = generator
        self._links: dict[tuple[str, str], Link] = {}
        self._ports: dict[Address, SimulatedPort] = {}
        self._next_port = _FIRST_PORT
        self.delivered = 0
        self.dropped = 0

    def host(self, name: str) -> HostNetwork:
        """What a node on host `name` is given as its network (the seam `transport.ports.Network`)."""
        return HostNetwork(self, name)

    def link(self, source: str, target: str) -> Link:
        return self._links.get((source, target), self.default)

    def set_link(self, source: str, target: str, link: Link) -> None:
        """Rules for one direction, from now on."""
        self._links[source, target] = link

    def cut(self, source: str, target: str) -> None:
        """Nothing sent from `source` reaches `target` any more; the other direction is not touched."""
        self.trace.record(self.agenda.now, "cut", source, target)
        self.set_link(source, target, replace(self.link(source, target), cut=True))

    def mend(self, source: str, target: str) -> None:
        self.trace.record(self.agenda.now, "mend", source, target)
        self.set_link(source, target, replace(self.link(source, target), cut=False))

    def part(self, *groups: Iterable[str]) -> list[tuple[str, str]]:
        """Cut every link between hosts of different groups; the links cut by this call, so that it can be undone."""
        sides = [sorted(group) for group in groups]
        done = []
        for here, side in enumerate(sides):
            for there, other in enumerate(sides):
                if here == there:
                    continue
                for source in side:
                    for target in other:
                        if not self.link(source, target).cut:
                            self.cut(source, target)
                            done.append((source, target))
        return done

    def heal(self) -> None:
        """Mend every cut."""
        for (source, target), link in list(self._links.items()):
            if link.cut:
                self.mend(source, target)

    # -- what ports need

    def open(self, host: str, port: int) -> SimulatedPort:
        if port == 0:
            port, self._next_port = self._next_port, self._next_port + 1
        address = (host, port)
        if address in self._ports:
            raise Refused(f"port {port} of {host} is in use", next_step="choose another port, or stop its other user")
        opened = self._ports[address] = SimulatedPort(self, address)
        return opened

    def close(self, port: SimulatedPort) -> None:
        self._ports.pop(port.address, None)

    def send(self, source: Address, target: Address, datagram: bytes) -> None:
        link = self.link(source[0], target[0])
        if link.cut or (link.loss and self._random.random() < link.loss):
            self.dropped += 1
            self.trace.record(self.agenda.now, "drop", source[0], target[0], len(datagram))
            return
        copies = 2 if link.duplicate and self._random.random() < link.duplicate else 1
        for _ in range(copies):
            delay = link.delay + (link.jitter * self._random.random() if link.jitter else 0.0)
            self.agenda.at(self.agenda.now + delay, lambda: self._deliver(source, target, datagram))

    def _deliver(self, source: Address, target: Address, datagram: bytes) -> None:
        self.trace.record_bytes(self.agenda.now, "deliver", datagram, source[0], target[0])
        port = self._ports.get(target)
        if port is None or not port.accept(source, datagram):
            self.dropped += 1
            return
        self.delivered += 1


class HostNetwork:
    """`transport.ports.Network` of one host."""

    def __init__(self, network: SimulatedNetwork, name: str) -> None:
        self._network = network
        self.name = name

    async def open_datagram_port(self, host: str, port: int) -> SimulatedPort:
        """A port on this host; the address asked for is this host's whatever it says, as behind 0.0.0.0."""
        await trio.lowlevel.checkpoint()
        return self._network.open(self.name, port)


class SimulatedPort:
    """`transport.ports.DatagramPort` on the virtual network."""

    def __init__(self, network: SimulatedNetwork, address: Address) -> None:
        self._network = network
        self.address = address
        self._waiting: deque[tuple[Address, bytes]] = deque()
        self._readers = trio.lowlevel.ParkingLot()
        self._closed = False

    def accept(self, source: Address, datagram: bytes) -> bool:
        """A datagram arrives; False when the port's buffer is full."""
        if self._closed or len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append((source, datagram))
        self._readers.unpark_all()
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
            await self._readers.park()
        if self._closed:
            raise trio.ClosedResourceError("this port is closed")

    async def wait_writable(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise trio.ClosedResourceError("this port is closed")

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._network.close(self)
            self._readers.unpark_all()
