"""One peer: packets and time in, packets and events out. What is sent arrives once, or the connection ends and says so.

    packets --> opener --> frames --> Incoming  --> MessageReceived
                   |         ACK, NAK --> Flights --> RoundTrip, Congestion
                   +--> Receipts (the next ACK)        |
    send() --> Outgoing ----------------------------> Filler --> sealer --> packets

While it is UNHEARD (`transport.states`), the third packet of the handshake goes again with every probe.

The parts: `transport.fragments` (messages and pieces), `transport.flights` (what is on the way), `transport.receipts`
(what came), `transport.loss` and `transport.congestion` (arithmetic), `transport.filling` (packets out), `transport.
paths` (a peer whose address changes). This file connects them and owns the states and the timers.

Rules:

- Silence is told apart from slowness: a peer is gone after PROBES probes and `silence_s` without a word from it, and
  our own lag is taken off (DESIGN X7).
- A peer that breaks the protocol gets CLOSE with the reason, and the connection is over.
- Nothing is sent to an address that has not proven itself but the proof that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from identity.errors import PeerMisbehaved
from transport.congestion import Congestion
from transport.events import Closed, Connected, Drained, Event, MessageReceived
from transport.figures import Statistics, figures_of
from transport.filling import Filler
from transport.flights import Flights
from transport.fragments import Incoming, Outgoing
from transport.loss import probe_timeout
from transport.mtu import is_loopback
from transport.packet import (
    CLOSE_DONE,
    CLOSE_EXHAUSTED,
    CLOSE_MISBEHAVED,
    CLOSE_RENEW,
    Ack,
    Close,
    Frame,
    Hint,
    Nak,
    PathChallenge,
    PathResponse,
    Piece,
    Window,
    read_frames_untrusted,
)
from transport.parameters import Parameters
from transport.paths import Paths
from transport.ports import Address
from transport.receipts import Receipts
from transport.sealing import RENEW_AFTER_S, SessionKeys
from transport.settings import Settings
from transport.states import NEXT, Happening, State
from transport.ways import Ways, first_size

if TYPE_CHECKING:
    import random

PROBES = 4  # unanswered, before silence counts: fewer are ordinary loss
PROBE_PACKETS = 2  # at each probe timeout, RFC 9002 section 6.2.4: one of them may be lost too
LAG_S = 0.5  # a timer that comes later than this shows that we slept, not the peer
LOOK_AROUND_S = 30.0  # how often the slow limits are looked at: unfinished messages, the age of the keys


class Connection:
    """A session with one peer, from the moment it has keys."""

    def __init__(
        self, *, number: int, keys: SessionKeys, parameters: Parameters, address: Address, settings: Settings,
        third: bytes, round_trip_s: float | None, outgoing: Outgoing, tell: Callable[[Event], None],
        random: random.Random, now: float,
    ) -> None:  # fmt: skip
        """`third` is the handshake's third packet when we called, else empty; `outgoing` may hold messages already;
        `tell` takes events."""
        self.number = number
        self.keys = keys
        self.since = now
        self.state = State.UNHEARD if third else State.OPEN
        self.alive = True  # not ended by either side: UNHEARD or OPEN
        self.third = third
        self.third_due = bool(third)
        self.outgoing = outgoing
        self.untaken_bytes = self.untaken_messages = 0  # told, and not yet taken by whoever reads the events
        self.sent_bytes = self.received_bytes = self.received_packets = 0
        self.heard_first_at: float | None = None
        self.heard_at: float | None = None
        self.exhausted = False
        self.ready = False  # on the endpoint's list of those that may have something to send
        self._settings = settings
        self._tell = tell
        self._opener = keys.opener()
        sealer = self._sealer = keys.sealer()
        outgoing.widen(max_bytes=parameters.window_bytes, max_messages=parameters.window_messages)
        self._incoming = Incoming(window_bytes=settings.window_bytes, window_messages=settings.window_messages)
        size = first_size(address, settings)
        self._congestion = Congestion(size, now, local=is_loopback(address[0]))
        self._flights = Flights(outgoing, self._congestion, now)
        if round_trip_s is not None:
            self._flights.round_trip.update(round_trip_s)
            self._congestion.handle_round_trip(round_trip_s, now)
        self._receipts = Receipts(self._opener.received, self._flights.round_trip)
        self._filler = Filler(
            sealer=sealer, flights=self._flights, congestion=self._congestion, outgoing=outgoing,
            incoming=self._incoming, receipts=self._receipts, packet_bytes=size, random=random,
        )  # fmt: skip
        self._paths = Paths(address, random)
        self.ways = Ways(
            number=number, address=address, settings=settings, tell=tell, sealer=sealer, opener=self._opener,
            flights=self._flights, receipts=self._receipts, congestion=self._congestion, filler=self._filler, now=now,
        )  # fmt: skip
        self._tries = 0  # probe timeouts since the last ACK that was news
        self._probe_from = now
        self._waiting_since: float | None = None  # the first packet that asked for an ACK since we heard the peer
        self._quiet_since = now  # for keep-alive: heard nothing, or asked last
        self._look_around_at = now + LOOK_AROUND_S
        self._due = math.inf  # the deadline that was last told
        self._filler.ping_due = True  # the first packet of the session tells the other side that it stands
        if not third:
            self._tell_connected()

    # -- packets in

    @property
    def address(self) -> Address:
        """Where the peer is, as far as it has proven."""
        return self._paths.address

    @property
    def established(self) -> bool:
        """Alive, and `Connected` was told."""
        return self.state is State.OPEN

    def handle_packets_untrusted(self, buffer: memoryview, size: int, address: Address, now: float) -> None:
        """Packets of `size` bytes (the last may be shorter), one after another, for this session. Never raises."""
        if not self.alive:
            return
        opened = self._opener.open_all_untrusted(buffer, size)
        if not opened:
            self.ways.hear_twin_untrusted(buffer[:size], address, now)
            return
        if self.state is State.UNHEARD:
            self._become_open()
        asking = 0
        go_on, receive = self._incoming.continue_untrusted, self._incoming.handle_piece_untrusted
        try:
            for _, plaintext in opened:
                if go_on(plaintext, now):
                    asking += 1
                    continue
                asks = False
                for frame in read_frames_untrusted(plaintext):
                    if type(frame) is Piece:
                        asks = True
                        message = receive(frame, now)
                        if message is not None:
                            self.untaken_bytes += len(message)
                            self.untaken_messages += 1
                            self._tell(MessageReceived(self.number, message, frame.priority))
                    elif type(frame) is Close:
                        self._handle_close(frame)
                        return
                    else:
                        asks |= self._handle_frame_untrusted(frame, address, now)
                asking += asks
        except PeerMisbehaved as error:
            self.end(CLOSE_MISBEHAVED, f"the peer broke the protocol: {error.cause}", told=True)
        self.received_packets += len(opened)
        self._hear(len(buffer), asking, opened[-1][0], address, now)

    def _become_open(self) -> None:
        self._step(Happening.HEARD)
        self.third_due = False
        self.third = b""
        self._tell_connected()

    def _tell_connected(self) -> None:
        keys = self.keys
        self._tell(Connected(self.number, keys.peer_key, self._paths.address, keys.psk_id, keys.initiator))

    def _hear(self, length: int, asking: int, highest: int, address: Address, now: float) -> None:
        self.received_bytes += length
        self.heard_at = now
        if self.heard_first_at is None:
            self.heard_first_at = now
        self._waiting_since = None
        self._quiet_since = now
        self._receipts.note(asking, now)
        if self.ways.handle_came(address, highest, now):
            if address != self._paths.address:
                self._paths.handle_other_address(address, highest, now)
            elif self._paths.newest < highest:
                self._paths.newest = highest
        if self.outgoing.drained:
            self.outgoing.drained = False
            self._tell(Drained(self.number))

    def _handle_frame_untrusted(self, frame: Frame, address: Address, now: float) -> bool:
        """What is no PIECE. Whether it asks for an ACK. Raises `PeerMisbehaved`."""
        match frame:
            case Ack():
                if self._flights.handle_ack_untrusted(frame.ranges, frame.delay_us / 1e6, now):
                    self._tries = 0
                    self._probe_from = now
                    self.ways.handle_news(frame.highest, now)
                self.ways.handle_arrived(self._flights.largest_arrived, now)
                self.ways.handle_told(frame.direct_age_us, frame.direct_number, now)
                return False
            case Nak():
                self._flights.handle_nak_untrusted(frame.ranges, now)
                return False
            case Window():
                self.outgoing.widen(max_bytes=frame.max_bytes, max_messages=frame.max_messages)
            case PathChallenge():
                self._paths.handle_challenge(frame.data, address)
            case PathResponse():
                if self._paths.handle_response(frame.data, address):
                    self.ways.handle_moved(address)
            case Hint():
                self.ways.handle_told(frame.direct_age_us, frame.direct_number, now)
        return True

    def _handle_close(self, frame: Close) -> None:
        self._tell(Closed(self.number, frame.reason or "the peer closed the connection", self.keys.peer_key, True))
        self._step(Happening.TOLD)

    # -- ways

    def take_route(self, detour: Address, round_trip_s: float, now: float) -> None:
        """Everything goes by gateways from now on (`transport.ways`)."""
        self.ways.take_route(detour, round_trip_s, now)
        self._start_anew(now)

    def take_direct(self, now: float) -> None:
        """Everything goes directly from now on."""
        if self.ways.take_direct(self._paths, now):
            self._start_anew(now)

    def _start_anew(self, now: float) -> None:
        self._tries = 0
        self._probe_from = now

    # -- what is wanted

    def send(self, message: bytes, priority: int) -> None:
        """Queue a message. Raises `Exhausted` when there is no room, `LocalMistake` when it is too long."""
        self.outgoing.push(message, priority)

    def take(self) -> None:
        """Whoever reads the events has taken them: the peer's window moves on."""
        self._incoming.take(size=self.untaken_bytes, messages=self.untaken_messages)
        self.untaken_bytes = self.untaken_messages = 0
        if self._incoming.grant():
            self._filler.window_due = True

    def end(self, code: int, reason: str, *, told: bool) -> None:
        """End the connection and tell the peer why; with `told`, our own side is told too."""
        if not self.alive:
            return
        established = self.established
        self._filler.close_due = code, reason
        self._step(Happening.END)
        if told:
            self._tell(Closed(self.number, reason, self.keys.peer_key, established))

    # -- packets out

    def fill(self, out: memoryview, now: float) -> tuple[int, int, Address] | None:
        """The next packets: (where they end in `out`, bytes of each but the last, address), or None.

        `exhausted` tells then whether the next call would give None.
        """
        self.exhausted = False
        if self.state is State.OVER:
            return None
        if self.state is State.CLOSING:
            length = self._filler.fill_close(out, now)
            self._step(Happening.SENT)
            return length, length, self._paths.address
        if (elsewhere := self._paths.due()) is not None:
            frame, address = elsewhere
            length = self._filler.fill_path(out, frame, now)
            self.sent_bytes += length
            return length, length, address
        if self._flights.window_lost:
            self._flights.window_lost = False
            self._filler.window_due = True
        before = self._flights.last_sent_at
        length = self._filler.fill(out, now)
        self.exhausted = self._filler.exhausted
        if not length:
            return None
        self.sent_bytes += length
        if self._flights.last_sent_at != before:
            self._probe_from = now
            if self._waiting_since is None:
                self._waiting_since = now
        return length, self._filler.packet_bytes, self._paths.address

    # -- time

    def deadline(self) -> float:
        if not self.alive:
            self._due = math.inf
            return self._due
        flights, receipts = self._flights, self._receipts
        due = min(
            receipts.ack_at,
            receipts.nak_at,
            self._filler.pace_at,
            self._quiet_since + self.ways.keep_alive_s(self._quiet_since),
            self._look_around_at,
        )
        if flights.floor != flights.next_number:  # something is on the way
            established = self.state is State.OPEN
            due = min(due, flights.loss_at, self._probe_at(), self.ways.doubt_at() if established else math.inf)
        self._due = due
        return due

    def handle_deadline(self, now: float) -> None:
        if not self.alive:
            return
        lag = now - self._due
        if lag > LAG_S and self._waiting_since is not None:
            self._waiting_since = min(self._waiting_since + lag, now)
        flights = self._flights
        if not flights.idle:
            if flights.loss_at <= now:
                flights.detect(now)
            if self.established:
                self.ways.judge(lag, now)
            if self._probe_at() <= now:
                self._probe(now)
        if now >= self._quiet_since + self.ways.keep_alive_s(self._quiet_since):
            self._quiet_since = now
            self._filler.ping_due = True
        if now >= self._look_around_at:
            self._look_around(now)

    def _probe_at(self) -> float:
        trip = self._flights.round_trip
        return self._probe_from + probe_timeout(trip.smoothed, trip.variance, self._tries)

    def _probe(self, now: float) -> None:
        """Nothing came for a probe timeout: send the oldest again, or give the peer up."""
        since = self._waiting_since
        if self._tries >= PROBES and since is not None and now - since >= self._settings.silence_s:
            host, port = self._paths.address
            reason = f"nothing heard from {host}:{port} for {now - since:.1f} s"
            if self.state is State.UNHEARD:
                reason = f"{host}:{port} answered our call and then nothing more: it may not accept the secret we used"
            self.end(CLOSE_DONE, reason, told=True)
            return
        self._tries += 1
        self._probe_from = now
        self._filler.probes = PROBE_PACKETS
        for message, offset, end in self._flights.oldest(PROBE_PACKETS):
            self.outgoing.repeat(message, offset, end)
        self.third_due = self.state is State.UNHEARD
        if self._tries > 1:
            self._congestion.handle_silence()
        self.ways.handle_silence(self._tries, now)

    def _look_around(self, now: float) -> None:
        self._look_around_at = now + LOOK_AROUND_S
        unfinished = self._incoming.oldest_change()
        if unfinished is not None and now - unfinished > self._settings.unfinished_s:
            self.end(CLOSE_EXHAUSTED, f"a message left unfinished for {now - unfinished:.0f} s", told=True)
        elif self.keys.initiator and now - self.since > RENEW_AFTER_S:
            self.end(CLOSE_RENEW, "the session's keys are a day old; shake hands again", told=True)

    # -- what others want to know

    @property
    def place(self) -> Address:
        return self.ways.direct or self._paths.address

    def statistics(self) -> Statistics:
        more: Any = figures_of(self._flights, self._congestion, self.outgoing, self._receipts, self.ways.directness)
        return Statistics(
            address=self.place,
            peer_key=self.keys.peer_key,
            established=self.established,
            since=self.since,
            sent_bytes=self.sent_bytes,
            received_bytes=self.received_bytes,
            sent_packets=self._sealer.next_number,
            received_packets=self.received_packets,
            heard_at=self.heard_at,
            **more,
        )

    def _step(self, happening: Happening) -> None:
        self.state = NEXT[self.state, happening]
        self.alive = self.state is State.OPEN or self.state is State.UNHEARD
