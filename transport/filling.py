"""What leaves next, in packets of one size, many to one system call (DESIGN X5).

    | mixed: ACK WINDOW [r][r][up.. | bulk ......... | bulk ......... | bulk ......... | mixed: ..k end]
    |<-------- packet_bytes ------->|                                                  |<-- may be shorter -->|

A run of whole pieces of one message goes out in a tight loop and becomes one `Flight`. Everything else shares mixed
packets: control frames first, then what was lost, then new pieces, most urgent first; a packet with something behind
it is filled up with padding, so that all of a batch have one size.

What holds back: the congestion window and the pace hold data, never an ACK; a probe goes in spite of both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from transport.congestion import Congestion
from transport.flights import Flight, Flights, Part
from transport.fragments import Incoming, Outgoing
from transport.packet import (
    CLOSE_DONE,
    OVERHEAD_BYTES,
    PIECE,
    PIECE_HEAD,
    PIECE_HEAD_BYTES,
    PathChallenge,
    PathResponse,
    write_close,
    write_padding,
    write_path_challenge,
    write_path_response,
    write_piece,
    write_ping,
    write_window,
)
from transport.receipts import Receipts
from transport.sealing import Sealer

if TYPE_CHECKING:
    import random

MAX_SEGMENTS = 64  # of one batch: what UDP_SEGMENT takes
MAX_PARTS = 512  # pieces in one packet, so that a peer's limit of frames is never met
LEAST_PIECE_BYTES = 64  # a longer piece is not cut for less room than this
SKIP_EVERY = 1 << 13  # packets, on average: who acknowledges what was never sent does not read what he acknowledges


class Filler:
    """Builds the batches of one connection."""

    def __init__(
        self, *, sealer: Sealer, flights: Flights, congestion: Congestion, outgoing: Outgoing, incoming: Incoming,
        receipts: Receipts, packet_bytes: int, random: random.Random,
    ) -> None:  # fmt: skip
        self.packet_bytes = packet_bytes
        self.exhausted = (
            False  # the last `fill` ended because nothing more may leave, not for lack of room in its buffer
        )
        self.probes = 0  # packets that go in spite of window and pace
        self.ping_due = False
        self.window_due = False
        self.close_due = (CLOSE_DONE, "")
        self.pace_at = math.inf  # when the pace lets go on what is ready and has room in the window
        self._sealer = sealer
        self._flights = flights
        self._congestion = congestion
        self._outgoing = outgoing
        self._incoming = incoming
        self._receipts = receipts
        self._random = random
        self._skip_at = random.randrange(1, SKIP_EVERY * 2)
        self._scratch = memoryview(bytearray(packet_bytes))

    def resize(self, packet_bytes: int) -> None:
        """Packets have another size from now on."""
        self.packet_bytes = packet_bytes
        self._scratch = memoryview(bytearray(packet_bytes))

    def fill(self, out: memoryview, now: float) -> int:
        """Write packets into `out`, all but the last `packet_bytes` long; where they end, 0 when there is nothing."""
        self.pace_at = math.inf
        if not self._outgoing.todo and not self._control_due(now):  # mostly: only an ACK came
            self.exhausted = True
            self._note_what_holds(now)
            return 0
        size = self.packet_bytes
        most = min(MAX_SEGMENTS, len(out) // size)
        stride = size - OVERHEAD_BYTES - PIECE_HEAD_BYTES
        at = packets = 0
        while packets < most:
            control = self._control_due(now)
            if not control and not self._outgoing.todo:
                break
            room = self._congestion.room(self._flights.in_flight, now)
            if not control:
                if room <= 0:
                    break
                if self._sealer.next_number >= self._skip_at:
                    self._skip()
                run = min(self._outgoing.run_length(stride), most - packets, max(1, room // size))
                if run:
                    at = self._fill_bulk(out, at, run, stride, now)
                    packets += run
                    continue
            start = at
            at = self._fill_mixed(out, at, room, now, control=control)
            packets += 1
            if at - start < size:
                break
        self.exhausted = packets < most and not self._control_due(now)
        self._note_what_holds(now)
        return at

    def fill_close(self, out: memoryview, now: float) -> int:
        """The last packet: what came, and why this is the end."""
        plaintext = self._scratch[: self.packet_bytes - OVERHEAD_BYTES]
        end = self._receipts.write(plaintext, 0, now) if self._receipts.waiting else 0
        code, reason = self.close_due
        end = write_close(plaintext, end, code=code, reason=reason)
        return self._sealer.seal_into(out, 0, plaintext[:end])

    def fill_path(self, out: memoryview, frame: PathChallenge | PathResponse, now: float) -> int:
        """A packet by itself, since it goes to an address of its own."""
        plaintext = self._scratch[: self.packet_bytes - OVERHEAD_BYTES]
        write = write_path_challenge if type(frame) is PathChallenge else write_path_response
        number = self._sealer.next_number
        end = self._sealer.seal_into(out, 0, plaintext[: write(plaintext, 0, frame.data)])
        self._flights.depart(Flight(number, 1, end, now, 0, 0.0, 0.0, False))
        return end

    def _control_due(self, now: float) -> bool:
        receipts = self._receipts
        return self.window_due or self.ping_due or self.probes > 0 or receipts.ack_at <= now or receipts.nak_at <= now

    def _fill_bulk(self, out: memoryview, at: int, run: int, stride: int, now: float) -> int:
        """`run` whole pieces of the message that goes next."""
        following = self._outgoing.peek()
        assert following is not None, "run_length saw a message"
        message, start, _, _ = following
        scratch, data = self._scratch, message.data
        plaintext = scratch[: PIECE_HEAD_BYTES + stride]
        body = scratch[PIECE_HEAD_BYTES : PIECE_HEAD_BYTES + stride]
        pack_into: Callable[..., None] = PIECE_HEAD.pack_into
        seal_into = self._sealer.seal_into
        number, priority, total = message.number, message.priority, message.total
        first = self._sealer.next_number
        offset = start
        for _ in range(run):
            pack_into(scratch, 0, PIECE, priority, number, offset, total, stride)
            body[:] = data[offset : offset + stride]
            at = seal_into(out, at, plaintext)
            offset += stride
        self._outgoing.take(message, offset, again=False)
        size = self.packet_bytes
        self._flights.depart(Flight(first, run, size, now, 0, 0.0, 0.0, False, message, start, stride, offset))
        self._congestion.handle_sent(run * size, now)
        return at

    def _fill_mixed(self, out: memoryview, at: int, room: int, now: float, *, control: bool) -> int:
        """One packet of whatever is due; where it ends, `at` when nothing is."""
        data = (room > 0 or self.probes > 0) and self._outgoing.peek() is not None
        if not data and not control:
            return at  # what waits is held back by the peer's window
        plaintext = self._scratch[: self.packet_bytes - OVERHEAD_BYTES]
        end = 0
        if self._receipts.waiting or self._receipts.due(now):
            end = self._receipts.write(plaintext, end, now)
        told = end
        window = self.window_due
        if window:
            self.window_due = False
            end = write_window(
                plaintext, end, max_bytes=self._incoming.max_bytes, max_messages=self._incoming.max_messages
            )
        parts: list[Part] = []
        if data:
            end = self._write_pieces(plaintext, end, parts)
        if self.probes or self.ping_due:
            if end == told:
                end = write_ping(plaintext, end)
            self.probes = max(self.probes - 1, 0)
            self.ping_due = False
        if parts and end < len(plaintext) and room > self.packet_bytes and self._outgoing.peek() is not None:
            end = write_padding(plaintext, end, len(plaintext))
        number = self._sealer.next_number
        start, at = at, self._sealer.seal_into(out, at, plaintext[:end])
        if end == told:
            self._flights.pass_over(number)  # nothing but an ACK: nobody acknowledges those
        else:
            size = at - start
            self._flights.depart(Flight(number, 1, size, now, 0, 0.0, 0.0, False, None, 0, 0, 0, tuple(parts), window))
            self._congestion.handle_sent(size, now)
        return at

    def _write_pieces(self, plaintext: memoryview, end: int, parts: list[Part]) -> int:
        """As many pieces as there is room for; what they carry is added to `parts`."""
        outgoing = self._outgoing
        while len(parts) < MAX_PARTS and (following := outgoing.peek()) is not None:
            message, offset, last, again = following
            length = min(last - offset, len(plaintext) - end - PIECE_HEAD_BYTES)
            if length < min(last - offset, LEAST_PIECE_BYTES):
                break
            end = write_piece(
                plaintext, end, priority=message.priority, message=message.number, offset=offset, total=message.total,
                data=message.data[offset : offset + length],
            )  # fmt: skip
            outgoing.take(message, offset + length, again=again)
            parts.append((message, offset, offset + length))
        return end

    def _skip(self) -> None:
        """Leave a number out, so that whoever acknowledges what he never read is found out."""
        number = self._sealer.next_number
        self._sealer.skip(1)
        self._flights.pass_over(number, skipped=True)
        self._skip_at = number + 1 + self._random.randrange(1, SKIP_EVERY * 2)

    def _note_what_holds(self, now: float) -> None:
        """Why nothing more leaves: no data, the window, or the pace."""
        flights, congestion = self._flights, self._congestion
        if not self._outgoing.todo or self._outgoing.peek() is None:
            if flights.in_flight < congestion.window:
                flights.note_limited()
        elif flights.in_flight < congestion.window:
            self.pace_at = congestion.next_at(now)
