"""The ends of byte streams: machines that number what they send, send it again, and put in order what comes.

    open_stream      SYN -->            until it is answered, RST says that nobody listens, or CONNECT_S has passed
                 <-- SYN, ACK
    send         DATA 0 1 2 -->         each segment acknowledged by its number; sent again after a pause that doubles
                 <-- ACK 0 1 2          or FULL: nobody reads there; OPEN when there is room again
    close           FIN 3 -->           behind the last byte; RST when something came that nobody will read

Segments take the same links as datagrams: each may be lost, late, twice, or arrive with turned bits, which its sum
tells. Who hears nothing for GIVE_UP_S breaks. Simpler than TCP: a window that stays, no congestion control, no
half-open numbers. What programs hold is `streams.py`'s.
"""

from __future__ import annotations

import errno
import itertools
import math
import struct
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from identity.errors import Refused
from simulations.nat import TCP

if TYPE_CHECKING:
    from simulations.network import SimulatedNetwork

Address = tuple[str, int]

SEGMENT_BYTES = 1191  # with its head 1200: passes the smallest MTU that a link may have
WINDOW_BYTES = 65_536  # on the way, and again in the receiver's buffer: TCP's without scaling
RESEND_FIRST_S = 1.0  # before any round trip was measured (RFC 6298)
RESEND_LEAST_S = 0.2
RESEND_MOST_S = 30.0
GIVE_UP_S = 924.0  # Linux's: fifteen times sent again, each after twice as long
CONNECT_S = 127.0  # Linux's: six times SYN
BACKLOG = 128  # streams that wait to be accepted; the next SYN is dropped
_FIRST_PORT = 60_000

_HEAD = struct.Struct(">cQ")
SYN, SYN_ACK, DATA, FIN, ACK, FULL, OPEN, RST = b"S", b"T", b"D", b"F", b"A", b"Z", b"W", b"R"

Ends = tuple[Address, Address]  # here, and there as it is seen from here


class Streams:
    """All listeners and ends of one network: whose segment is this?"""

    def __init__(self, network: SimulatedNetwork) -> None:
        self._network = network
        self._listeners: dict[Address, Listening] = {}
        self._ends: dict[Ends, End] = {}
        self._ports = itertools.count(_FIRST_PORT)

    @property
    def now(self) -> float:
        return self._network.agenda.now

    def at(self, when: float, act: Callable[[], None]) -> None:
        self._network.agenda.at(when, act)

    def listen(self, host: str, port: int) -> Listening:
        address = host, port or next(self._ports)
        if address in self._listeners:
            raise Refused(
                f"port {port} of {host} is in use", next_step="choose another port, or close its other listener"
            )
        listener = self._listeners[address] = Listening(self, address)
        return listener

    def forget_listener(self, address: Address) -> None:
        self._listeners.pop(address, None)

    def begin(self, host: str, target: Address) -> End:
        """A new end that calls `target`."""
        end = End(self, (host, next(self._ports)), target)
        self._ends[end.local, end.remote] = end
        end.call()
        return end

    def forget(self, end: End) -> None:
        self._ends.pop((end.local, end.remote), None)

    def unplug(self, host: str) -> None:
        """The power of this host fails: its ends and listeners are gone, and nobody is told."""
        for end in [each for each in self._ends.values() if each.local[0] == host]:
            end.vanish()
        for address in [each for each in self._listeners if each[0] == host]:
            self._listeners.pop(address).close()

    def send(self, local: Address, remote: Address, segment: bytes) -> None:
        self._network.send(local, remote, segment, TCP)

    def handle_segment(self, source: Address, target: Address, segment: bytes) -> None:
        """A segment whose sum was right arrived at `target`."""
        kind, number = _HEAD.unpack_from(segment)
        end = self._ends.get((target, source))
        if end is None and kind == SYN:
            listener = self._listeners.get(target)
            if listener is not None:
                if len(listener.offered) < BACKLOG:
                    end = self._ends[target, source] = End(self, target, source)
                    end.become_open()
                    listener.offer(end)
                    end.answer(SYN_ACK)
                return
        if end is None:
            if kind != RST:
                self.send(target, source, _HEAD.pack(RST, 0))
            return
        end.handle_segment(kind, number, segment[_HEAD.size :])


class Listening:
    """Streams that came to one port and wait to be accepted."""

    def __init__(self, streams: Streams, address: Address) -> None:
        self.address = address
        self.offered: deque[End] = deque()
        self.closed = False
        self.changed = trio.lowlevel.ParkingLot()
        self._streams = streams

    def offer(self, end: End) -> None:
        self.offered.append(end)
        self.changed.unpark_all()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._streams.forget_listener(self.address)
            while self.offered:
                self.offered.popleft().close()
            self.changed.unpark_all()


class End:
    """One end of a stream: numbers what it sends, sends again what is not acknowledged, puts in order what comes.

    A machine: no await in it; who waits is woken through `changed`.
    """

    def __init__(self, streams: Streams, local: Address, remote: Address) -> None:
        self.local = local
        self.remote = remote
        self.opened = False
        self.error: OSError | None = None  # why it broke
        self.closed = False  # by our side: nobody reads any more
        self.ended = False  # our FIN was sent
        self.over = False  # the peer's FIN came, and all before it
        self.received = bytearray()
        self.changed = trio.lowlevel.ParkingLot()
        self._streams = streams
        self._next = 0
        self._waiting: dict[int, tuple[bytes, float]] = {}  # sent, not acknowledged: by number, since when
        self._waiting_bytes = 0
        self._expected = 0
        self._early: dict[int, tuple[bytes, bytes]] = {}
        self._full = False  # our buffer, so that we owe an OPEN
        self._stalled = False  # the peer's: one segment at a time asks whether there is room again
        self._answered_at = -math.inf
        self._round_trip_s = 0.0
        self._called_at = 0.0

    # -- begin and end

    def call(self, tries: int = 0) -> None:
        """Say SYN until it is answered."""
        if self.opened or self.error is not None or self.closed:
            return
        if tries == 0:
            self._called_at = self._streams.now
        elif self._streams.now - self._called_at >= CONNECT_S:
            self.break_off(errno.ETIMEDOUT, "nobody answered")
            return
        self.answer(SYN)
        self._streams.at(self._streams.now + RESEND_FIRST_S * 2**tries, lambda: self.call(tries + 1))

    def become_open(self) -> None:
        self.opened = True
        self.changed.unpark_all()

    def break_off(self, number: int, why: str) -> None:
        """It is over, and whoever uses it is told why."""
        if self.error is None:
            self.error = OSError(number, f"{why} ({self.local[0]} to {self.remote[0]})")
        self._waiting.clear()
        self._streams.forget(self)
        self.changed.unpark_all()

    def vanish(self) -> None:
        """As at a power failure: no word to the peer."""
        self.closed = True
        self.break_off(errno.ECONNRESET, "the host lost its power")

    def close(self) -> None:
        """Our side wants no more: a FIN behind what was sent; RST when what came was not read."""
        if self.closed:
            return
        self.closed = True
        if self.error is None:
            if self.received or not self.opened:
                self.answer(RST)
                self.break_off(errno.ECONNRESET, "closed here")
            else:
                self.end()
        self._forget_if_done()
        self.changed.unpark_all()

    def end(self) -> None:
        """No more bytes come from our side."""
        if not self.ended and self.error is None:
            self.ended = True
            self._send(FIN, b"")

    # -- sending

    @property
    def room(self) -> int:
        """Bytes that may be sent now."""
        return max(0, WINDOW_BYTES - self._waiting_bytes)

    def send(self, data: bytes) -> None:
        for start in range(0, len(data), SEGMENT_BYTES):
            self._send(DATA, data[start : start + SEGMENT_BYTES])

    def answer(self, kind: bytes, number: int = 0) -> None:
        self._streams.send(self.local, self.remote, _HEAD.pack(kind, number))

    def _send(self, kind: bytes, data: bytes) -> None:
        number = self._next
        self._next += 1
        segment = _HEAD.pack(kind, number) + data
        self._waiting[number] = segment, self._streams.now
        self._waiting_bytes += len(data)
        self._send_until_heard(number, 0)

    def _send_until_heard(self, number: int, tries: int) -> None:
        if number not in self._waiting:
            return
        segment, since = self._waiting[number]
        now = self._streams.now
        if now - max(since, self._answered_at) >= GIVE_UP_S:
            self.break_off(errno.ETIMEDOUT, "the peer was not heard")
            return
        if not self._stalled or number == next(iter(self._waiting)):
            self._streams.send(self.local, self.remote, segment)
        pause = max(RESEND_LEAST_S, 2 * self._round_trip_s) if self._round_trip_s else RESEND_FIRST_S
        pause = RESEND_MOST_S if self._stalled else min(pause * 2**tries, RESEND_MOST_S)
        self._streams.at(now + pause, lambda: self._send_until_heard(number, tries + 1))

    # -- receiving

    def handle_segment(self, kind: bytes, number: int, data: bytes) -> None:
        if kind not in (SYN, RST) and not self.opened:
            self.become_open()  # by SYN_ACK, or by what was sent behind one that was lost
        if kind == SYN:
            self.answer(SYN_ACK)  # ours was lost
        elif kind == SYN_ACK:
            return
        elif kind == RST:
            reset = self.opened
            self.break_off(errno.ECONNRESET if reset else errno.ECONNREFUSED, "reset" if reset else "nobody listens")
        elif kind == ACK:
            self._handle_ack(number)
        elif kind == FULL:
            self._stalled = True
            self._answered_at = self._streams.now
        elif kind == OPEN:
            self._stalled = False
            for segment, _ in self._waiting.values():
                self._streams.send(self.local, self.remote, segment)
        elif self.closed and kind == DATA:
            self.answer(RST)
            self.break_off(errno.ECONNRESET, "closed here")
        else:
            self._handle_bytes(kind, number, data)

    def _handle_ack(self, number: int) -> None:
        segment, since = self._waiting.pop(number, (b"", math.nan))
        if segment:
            self._waiting_bytes -= len(segment) - _HEAD.size
            self._answered_at = self._streams.now
            self._stalled = False
            self._round_trip_s = self._streams.now - since
            self._forget_if_done()
            self.changed.unpark_all()

    def _handle_bytes(self, kind: bytes, number: int, data: bytes) -> None:
        held = len(self.received) + len(data)
        if number != self._expected:  # the next one may always push itself before those that came early
            held += sum(len(early) for _, early in self._early.values())
        if held > WINDOW_BYTES and number >= self._expected and number not in self._early:
            if number == self._expected:
                self._full = True
                self.answer(FULL, number)
            return  # it comes again
        self.answer(ACK, number)
        if number >= self._expected:
            self._early[number] = kind, data
        while self._expected in self._early:
            kind, data = self._early.pop(self._expected)
            self._expected += 1
            self.received += data
            self.over = self.over or kind == FIN
        self._forget_if_done()
        self.changed.unpark_all()

    def take(self, most: int) -> bytes:
        """The next bytes for whoever reads."""
        data = bytes(self.received[:most])
        del self.received[:most]
        if self._full and len(self.received) <= WINDOW_BYTES // 2:
            self._full = False
            self.answer(OPEN)
        return data

    def _forget_if_done(self) -> None:
        if self.closed and self.over and not self._waiting:
            self._streams.forget(self)
