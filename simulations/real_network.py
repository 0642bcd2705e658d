"""The simulator's network under real packets: what passes a TUN device is judged by the rules of its link.

    server in its namespace --UDP--> TUN --> [rules of 1.1 > 1.2, as in the simulator] --later--> TUN of 1.2 --> server

Every server has a namespace of its own with one device in it, and this process holds the other end of all of them. So
a delay, a loss, a burst, a cut, an MTU or turned bits are the very rules of `rules.py`, in real time; the kernel needs
no netem. Datagrams (UDP over IPv4) are carried; everything else is dropped. A thread carries them, so that nobody who
awaits something in this process holds up the wires; who changes a rule takes `lock`.

Left to others: namespaces and devices (`real_ground.py`), what can be said of a link (`links.py`).
"""

from __future__ import annotations

import heapq
import os
import random
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from simulations.links import Link
from simulations.nat import UDP
from simulations.network import Address, SimulatedNetwork

_IP, _UDP = struct.Struct("!BBHHHBBH4s4s"), struct.Struct("!HHHH")
_UDP_NUMBER = 17
_DONT_FRAGMENT = 0x4000
MAX_PACKET = 65_536
BATCH = 64  # packets of one server before the others get their turn
MAX_WAITING = 100_000  # packets under way; more are dropped, as by any router, and so a flood ends


class Datagram(NamedTuple):
    """What a packet says, as far as we carry it."""

    source: Address
    target: Address
    data: bytes


def read_packet(packet: bytes) -> Datagram | None:
    """A whole UDP datagram in IPv4; None of anything else."""
    if len(packet) < _IP.size or packet[0] >> 4 != 4:
        return None
    begin = (packet[0] & 15) * 4
    _, _, length, _, fragment, _, protocol, _, source, target = _IP.unpack_from(packet)
    if protocol != _UDP_NUMBER or fragment & 0x3FFF or not begin + _UDP.size <= length <= len(packet):
        return None
    source_port, target_port, size, _ = _UDP.unpack_from(packet, begin)
    if not _UDP.size <= size <= length - begin:
        return None
    data = packet[begin + _UDP.size : begin + size]
    return Datagram((socket.inet_ntoa(source), source_port), (socket.inet_ntoa(target), target_port), data)


def write_packet(datagram: Datagram) -> bytes:
    """The packet; without a sum of UDP's, which IPv4 allows: bits that a rule has turned are to arrive."""
    size = _UDP.size + len(datagram.data)
    ends = [socket.inet_aton(address[0]) for address in (datagram.source, datagram.target)]
    head = _IP.pack(0x45, 0, _IP.size + size, 0, _DONT_FRAGMENT, 64, _UDP_NUMBER, 0, *ends)
    total = sum(struct.unpack("!10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:]
    return head + _UDP.pack(datagram.source[1], datagram.target[1], size, 0) + datagram.data


class RealAgenda:
    """`engine.Agenda` as a network needs it, by a real clock."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._order = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []

    @property
    def now(self) -> float:
        return time.monotonic() - self._begun

    def at(self, when: float, act: Callable[[], None]) -> None:
        self._order += 1
        if len(self._heap) < MAX_WAITING:
            heapq.heappush(self._heap, (when, self._order, act))

    def act(self) -> float:
        """Let everything due happen; seconds until there is more."""
        now = self.now
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
        return max(0.0, self._heap[0][0] - self.now) if self._heap else 3600.0


class NoTrace:
    """Real packets replay from no seed: nothing of them is hashed."""

    hash = ""
    count = 0

    def record(self, *_: object) -> None: ...
    def record_bytes(self, *_: object) -> None: ...


class RealNetwork(SimulatedNetwork):
    """Carries between devices. `devices`: by host, its IPv4 address and the open end of its device."""

    def __init__(
        self, devices: Mapping[str, tuple[str, int]], generator: random.Random, link: Link, mark: Callable[..., None]
    ) -> None:
        self._agenda = RealAgenda()
        trace: Any = NoTrace()
        agenda: Any = self._agenda
        super().__init__(agenda, generator, trace, default=link, mark=mark)
        self.lock = threading.Lock()
        self._devices = {host: device for host, (_, device) in devices.items()}
        self._address = {host: address for host, (address, _) in devices.items()}
        self._host = {address: host for host, address in self._address.items()}
        self._wake, self._waker = os.pipe()
        self._thread = threading.Thread(target=self._carry, name="bangpath-network", daemon=True)
        self._ended = False

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        """Carry nothing more; the devices are the caller's to close, after this."""
        self._ended = True
        os.write(self._waker, b".")
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._wake)
        os.close(self._waker)

    def _carry(self) -> None:
        poll = select.epoll()
        for device in (*self._devices.values(), self._wake):
            poll.register(device, select.EPOLLIN)
        while not self._ended:
            with self.lock:
                wait_s = self._agenda.act()
            for device, _ in poll.poll(wait_s):
                if device != self._wake:
                    packets = _read_all(device)
                    with self.lock:
                        for packet in packets:
                            self.handle_packet(packet)
        poll.close()

    def handle_packet(self, packet: bytes) -> None:
        """One that a server sent. What is for nobody here vanishes."""
        datagram = read_packet(packet)
        if datagram is None or datagram.source[0] not in self._host or datagram.target[0] not in self._host:
            return
        source = self._host[datagram.source[0]], datagram.source[1]
        self.send(source, (self._host[datagram.target[0]], datagram.target[1]), datagram.data)

    def _deliver(self, source: Address, target: Address, datagram: bytes) -> None:
        inside = self.enter(source, target, UDP)
        if inside is None:
            self.dropped += 1
            return
        target = inside
        packet = write_packet(
            Datagram((self._address[source[0]], source[1]), (self._address[target[0]], target[1]), datagram)
        )
        try:
            os.write(self._devices[target[0]], packet)
        except OSError:  # its buffer is full, or it is being taken away: lost, as on any wire
            self.dropped += 1
        else:
            self.delivered += 1


def _read_all(device: int) -> list[bytes]:
    packets: list[bytes] = []
    with suppress(OSError):  # empty
        while len(packets) < BATCH:
            packets.append(os.read(device, MAX_PACKET))
    return packets
