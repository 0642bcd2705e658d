"""Two endpoints on virtual time over a link that loses, reorders, doubles and alters, from one seed."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from transport import noise
from transport.endpoint import Endpoint
from transport.events import Closed, Connected, Event, MessageReceived
from transport.settings import Settings

A, B = ("10.0.0.1", 1), ("10.0.0.2", 2)
ZERO = bytes(16)


@dataclass
class Link:
    """One way. Times in seconds, chances 0 to 1, rate in bytes/s."""

    delay: float = 0.01
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate: float = math.inf
    queue_bytes: float = math.inf
    drop: Callable[[bytes], bool] | None = None
    free_at: float = 0.0
    count: int = 0


@dataclass
class Side:
    endpoint: Endpoint
    private: bytes
    key: bytes  # public
    address: tuple[str, int]
    events: list[Event] = field(default_factory=list)

    def messages(self) -> list[bytes]:
        return [each.message for each in self.events if isinstance(each, MessageReceived)]

    def connected(self) -> list[Connected]:
        return [each for each in self.events if isinstance(each, Connected)]

    def closed(self) -> list[Closed]:
        return [each for each in self.events if isinstance(each, Closed)]


class Pair:
    """`a` and `b`, and everything that is on the way between them."""

    def __init__(
        self, seed: int = 1, *, settings: Settings | None = None, swap_keys: bool = False, psk: bytes = bytes(32)
    ) -> None:
        self.now = 100.0
        self.random = random.Random(seed)
        keys = sorted([self.random.randbytes(32), self.random.randbytes(32)], key=noise.public_key, reverse=swap_keys)
        self.settings = settings
        self.psks = {ZERO: psk}
        self.a = self._side(keys[0], A, settings)
        self.b = self._side(keys[1], B, settings)
        self.links = {A: Link(), B: Link()}  # by sender
        self.sent: list[tuple[tuple[str, int], bytes]] = []  # (sender, datagram), when `record` is set
        self.record = False
        self.sides = {A: self.a, B: self.b}
        self._agenda: list[tuple[float, int, tuple[str, int], tuple[str, int], bytes]] = []
        self._serial = 0

    def _side(self, private: bytes, address: tuple[str, int], settings: Settings | None) -> Side:
        endpoint = Endpoint(private, b"test mesh", self.psks.get, self.random, settings, self.now)
        return Side(endpoint, private, noise.public_key(private), address)

    def forge(self, side: Side, plaintext: bytes) -> bytes:
        """A packet with these frames, sealed with a side's own keys: what a peer could send that is no honest one."""
        connection = next(iter(side.endpoint._connections.values()))
        out = bytearray(len(plaintext) + 29)
        connection._sealer.seal_into(memoryview(out), 0, plaintext)
        connection._flights.pass_over(connection._sealer.next_number - 1)
        return bytes(out)

    def inject(self, receiver: Side, datagram: bytes, sender: tuple[str, int] | None = None) -> None:
        """Give a datagram to one side, as from the other or from anywhere."""
        sender = sender or (A if receiver.address == B else B)
        receiver.endpoint.handle_datagrams(memoryview(datagram), len(datagram), sender, self.now)

    def restart(self, side: Side) -> None:
        """The process dies and starts again: same key and address, no memory."""
        private = side.private
        side.endpoint = Endpoint(private, b"test mesh", self.psks.get, self.random, self.settings, self.now)
        side.events.clear()

    def set_links(self, **values: object) -> None:
        for link in self.links.values():
            for name, value in values.items():
                setattr(link, name, value)

    def call(self) -> int:
        return self.a.endpoint.connect(B, self.b.key, self.now)

    def connect(self) -> tuple[int, int]:
        """The connection's number on either side."""
        number = self.call()
        self.run(until=lambda: bool(self.a.connected() and self.b.connected()))
        return number, self.b.connected()[-1].connection

    def deliver(self, sender: tuple[str, int], receiver: tuple[str, int], datagram: bytes, at: float) -> None:
        self._serial += 1
        heapq.heappush(self._agenda, (at, self._serial, sender, receiver, datagram))

    def run(self, seconds: float = 60.0, *, until: Callable[[], bool] | None = None) -> bool:
        """Let time pass: to `until`, or for `seconds`. Whether `until` came true."""
        end = self.now + seconds
        while True:
            self._flush()
            if until is not None and until():
                return True
            due = min([side.endpoint.deadline() for side in self.sides.values()])
            if self._agenda:
                due = min(due, self._agenda[0][0])
            if due > end:
                self.now = end
                return until is not None and until()
            self.now = max(due, self.now)
            while self._agenda and self._agenda[0][0] <= self.now:
                _, _, sender, receiver, datagram = heapq.heappop(self._agenda)
                side = self.sides.get(receiver)
                if side is not None:
                    side.endpoint.handle_datagrams(memoryview(datagram), len(datagram), sender, self.now)
            for side in self.sides.values():
                if side.endpoint.deadline() <= self.now:
                    side.endpoint.handle_deadline(self.now)

    def _flush(self) -> None:
        for address, side in self.sides.items():
            side.events += side.endpoint.take_outputs()
            while (batch := side.endpoint.transmit(self.now)) is not None:
                data = bytes(batch.buffer)
                assert len(data) <= 65_507
                for at in range(0, len(data), batch.segment_size):
                    self._send(address, batch.address, data[at : at + batch.segment_size])

    def _send(self, sender: tuple[str, int], receiver: tuple[str, int], datagram: bytes) -> None:
        link = self.links[sender]
        link.count += 1
        if self.record:
            self.sent.append((sender, datagram))
        if self.random.random() < link.loss or (link.drop is not None and link.drop(datagram)):
            return
        link.free_at = max(link.free_at, self.now)
        if (link.free_at - self.now) * link.rate > link.queue_bytes:
            return
        link.free_at += len(datagram) / link.rate
        for _ in range(2 if self.random.random() < link.duplicate else 1):
            altered = datagram
            if self.random.random() < link.corrupt:
                place = self.random.randrange(len(datagram))
                altered = (
                    datagram[:place] + bytes([datagram[place] ^ 1 << self.random.randrange(8)]) + datagram[place + 1 :]
                )
            self.deliver(sender, receiver, altered, link.free_at + link.delay + link.jitter * self.random.random())


@pytest.fixture(scope="session")
def make_pair() -> type[Pair]:
    return Pair
