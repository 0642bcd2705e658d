"""A message cut into pieces and put together again, each message by itself (DESIGN X3).

    control   [....]                        sent first
    request   [...] [..]
    update    [=====>.....]   [.......]     > how far it was sent; one of each priority is under way at a time,
    bulk      [==>..................]         what waits behind it waits for its last byte to leave, not to arrive

    piece     message 17, offset 2702, of 9000      what was lost is sent again, perhaps cut differently

    window    begun bytes <= max_bytes              both count whole messages when their first piece leaves;
              begun messages <= max_messages        each message that was taken moves both up by what it took

Rules:

- A message is begun only when all of it fits the peer's window: so each that was begun can be finished, and the window
  can never be full of halves. RESERVED_BYTES of it are for control and requests alone.
- What arrives is bounded by the window we granted: a message that exceeds it, or says another length or priority than
  before, ends the connection. Bytes that come twice are dropped; where pieces overlap, the first to come stands.
- Tiny pieces cost more than they carry: each is charged PIECE_COST_BYTES, and those in a row are joined.
- A message is given once: numbers taken are remembered as ranges, which the message window keeps few.

Packets, acknowledgement and time are others' business (`transport.flights`, `transport.connection`).
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import chain

from identity.errors import Exhausted, LocalMistake, PeerMisbehaved
from transport.packet import PIECE, PIECE_HEAD, PIECE_HEAD_BYTES, Piece
from transport.ranges import Ranges
from transport.settings import LEAST_WINDOW_BYTES, RESERVED_BYTES
from transport.wire import MAX_MESSAGE_BYTES, Priority

PRIORITIES = len(Priority)
RESERVED_MESSAGES = 256  # of the message window, for control and requests alone
URGENT = Priority.REQUEST  # and above: may use what is reserved
PIECE_COST_BYTES = 100  # a bytes object and its place in a list or heap
TINY_BYTES = 256
_JOIN = 64


class Sending:
    """A message of ours on its way."""

    __slots__ = ("_arrived", "data", "done", "next", "number", "priority", "total")

    def __init__(self, data: bytes, priority: int) -> None:
        self.data = memoryview(data)
        self.total = len(data)
        self.priority = priority
        self.number = -1  # given when it is begun, so that numbers have no holes
        self.next = 0  # the first byte that was never sent
        self.done = False  # all of it arrived
        self._arrived: Ranges | None = None

    def arrive(self, offset: int, end: int) -> bool:
        """Bytes offset..end are with the peer. Whether that was the last of it."""
        if self.done:
            return False
        if end - offset < self.total:
            if self._arrived is None:
                self._arrived = Ranges()
            self._arrived.add(offset, end - 1)
            if not self._arrived.covers(0, self.total - 1):
                return False
        self.done = True
        self._arrived = None
        self.data = memoryview(b"")
        return True

    def missing(self, offset: int, end: int) -> list[tuple[int, int]]:
        """Which bytes of offset..end the peer is not known to have, as (offset, end)."""
        if self.done:
            return []
        if self._arrived is None or offset == end:
            return [(offset, end)]
        return [(first, last + 1) for first, last in self._arrived.missing(offset, end - 1)]


class Outgoing:
    """What is to be sent to one peer, most urgent first; what was lost before what is new."""

    def __init__(self, *, queue_bytes: int) -> None:
        self.queued_bytes = 0  # accepted and not yet known to have arrived
        self.repeated_bytes = 0
        self.drained = False  # set when a queue that was full has room again; whoever tells it clears it
        self.max_bytes = 0  # the peer's window
        self.max_messages = 0
        self.begun_bytes = 0
        self.begun_messages = 0
        self.todo = 0  # messages and repetitions that have not left wholly; 0: `peek` gives None
        self._most = queue_bytes
        self._full = False
        self._waiting: tuple[deque[Sending], ...] = tuple(deque() for _ in range(PRIORITIES))
        self._under_way: list[Sending | None] = [None] * PRIORITIES
        self._repeats: tuple[deque[tuple[Sending, int, int]], ...] = tuple(deque() for _ in range(PRIORITIES))
        self._begun: dict[int, Sending] = {}  # by number, until they have arrived

    def push(self, data: bytes, priority: int) -> None:
        """Accept a message. Raises `Exhausted` when the queue is full, `LocalMistake` for one too long."""
        if len(data) > MAX_MESSAGE_BYTES:
            raise LocalMistake(f"a message of {len(data)} bytes; {MAX_MESSAGE_BYTES} is the most")
        if not 0 <= priority < PRIORITIES:
            raise LocalMistake(f"no priority {priority}")
        if self.queued_bytes + len(data) > self._most:
            self._full = True
            raise Exhausted(
                f"{self.queued_bytes} bytes wait for this peer already", next_step="wait until the queue has drained"
            )
        self.queued_bytes += len(data)
        self.todo += 1
        self._waiting[priority].append(Sending(data, priority))

    def widen(self, *, max_bytes: int, max_messages: int) -> None:
        """The peer grants more; less than before is an old grant that was overtaken."""
        self.max_bytes = max(self.max_bytes, max_bytes)
        self.max_messages = max(self.max_messages, max_messages)

    def again(self) -> Outgoing:
        """A queue for another session, of all that is not known to have arrived in this one."""
        other = Outgoing(queue_bytes=self._most)
        for message in (*self._begun.values(), *chain.from_iterable(self._waiting)):
            other.push(bytes(message.data), message.priority)
        return other

    # -- what goes next

    def peek(self) -> tuple[Sending, int, int, bool] | None:
        """The bytes that go next: (message, offset, end, whether they go again), none of them taken yet."""
        if not self.todo:
            return None
        for priority in range(PRIORITIES):
            repeats = self._repeats[priority]
            while repeats:
                message, offset, end = repeats[0]
                missing = message.missing(offset, end)
                if missing == [(offset, end)]:
                    return message, offset, end, True
                repeats.popleft()  # some of it arrived meanwhile
                repeats.extendleft((message, *each) for each in reversed(missing))
                self.todo += len(missing) - 1
            under_way = self._under_way[priority]
            if under_way is None and self._waiting[priority]:
                under_way = self._begin(priority)
            if under_way is not None:
                return under_way, under_way.next, under_way.total, False
        return None

    def take(self, message: Sending, end: int, *, again: bool) -> None:
        """What `peek` gave goes into a packet, up to byte `end` of the message."""
        if again:
            repeats = self._repeats[message.priority]
            _, offset, last = repeats.popleft()
            self.repeated_bytes += end - offset
            if end < last:
                repeats.appendleft((message, end, last))
            else:
                self.todo -= 1
            return
        message.next = end
        if end == message.total:
            self.todo -= 1
            self._under_way[message.priority] = None

    def run_length(self, stride: int) -> int:
        """How many whole pieces of `stride` bytes of one message go next, one after another, all of them new."""
        for priority in range(PRIORITIES):
            if self._repeats[priority]:
                return 0
            under_way = self._under_way[priority]
            if under_way is None and self._waiting[priority]:
                under_way = self._begin(priority)
            if under_way is not None:
                return (under_way.total - under_way.next) // stride
        return 0

    def _begin(self, priority: int) -> Sending | None:
        """The next message of a priority, if the peer's window has room for the whole of it."""
        message = self._waiting[priority][0]
        urgent = priority <= URGENT
        if self.begun_bytes + message.total > self.max_bytes - (0 if urgent else RESERVED_BYTES):
            return None
        if self.begun_messages >= self.max_messages - (0 if urgent else RESERVED_MESSAGES):
            return None
        del self._waiting[priority][0]
        message.number = self.begun_messages
        self.begun_messages += 1
        self.begun_bytes += message.total
        self._under_way[priority] = message
        self._begun[message.number] = message
        return message

    # -- what became of it

    def arrived(self, message: Sending, offset: int, end: int) -> None:
        """The peer has these bytes."""
        if message.arrive(offset, end):
            self.queued_bytes -= message.total
            del self._begun[message.number]
            if self._full and self.queued_bytes * 2 <= self._most:
                self._full = False
                self.drained = True

    def repeat(self, message: Sending, offset: int, end: int) -> None:
        """These bytes were lost, or are sent once more to see whether the peer is there."""
        if not message.done:
            self.todo += 1
            self._repeats[message.priority].append((message, offset, end))


class _Partial:
    """A message of the peer's, not yet whole."""

    __slots__ = ("ahead", "changed_at", "cost", "data", "have", "heap", "priority", "tiny", "total")

    def __init__(self, total: int, priority: int) -> None:
        self.total = total
        self.priority = priority
        self.have = 0  # bytes from the beginning without a hole
        self.data: list[bytes] = []  # those bytes
        self.ahead: dict[int, bytes] = {}  # pieces beyond the first hole, by offset
        self.heap: list[int] = []  # their offsets
        self.tiny = 0
        self.cost = 0
        self.changed_at = 0.0


class Incoming:
    """What arrives from one peer, until it is whole."""

    def __init__(self, *, window_bytes: int, window_messages: int) -> None:
        self.max_bytes = window_bytes  # what we granted
        self.max_messages = window_messages
        self.begun_bytes = 0
        self.taken_bytes = 0  # messages given, and taken by whoever reads them
        self.taken_messages = 0
        self._window_bytes = window_bytes
        self._window_messages = window_messages
        # Less than what a sender needs beyond the longest message, or it would wait for ever (`Outgoing._begin`).
        self._step_bytes = min(window_bytes // 8, (window_bytes - LEAST_WINDOW_BYTES) // 2)
        self._step_messages = window_messages // 8
        self._most_cost = window_bytes + window_bytes // 2
        self._cost = 0
        self._partial: dict[int, _Partial] = {}
        self._whole = Ranges()  # numbers of messages given
        self._run: _Partial | None = None  # the message begun last, which bulk goes on with
        self._run_number = -1

    def handle_piece_untrusted(self, piece: Piece, now: float) -> bytes | None:
        """The whole message, when this piece was its last. Raises `PeerMisbehaved`."""
        number = piece.message
        partial = self._partial.get(number)
        if partial is None:
            if number in self._whole:
                return None
            self._check_window_untrusted(piece)
            self.begun_bytes += piece.total
            if len(piece.data) == piece.total:
                self._whole.add(number)
                return piece.data
            partial = self._partial[number] = _Partial(piece.total, piece.priority)
            self._run, self._run_number = partial, number
        elif piece.total != partial.total or piece.priority != partial.priority:
            raise PeerMisbehaved(f"message {number} changes its length or priority on the way")
        if piece.offset == partial.have:
            self._append(partial, piece.data)
            if partial.heap:
                self._close_hole(partial)
        elif piece.offset > partial.have:
            self._keep_ahead_untrusted(partial, piece)
        elif piece.offset + len(piece.data) > partial.have:  # cut differently the second time
            self._append(partial, piece.data[partial.have - piece.offset :])
            self._close_hole(partial)
        partial.changed_at = now
        if partial.have < partial.total:
            return None
        del self._partial[number]
        if self._run is partial:
            self._run = None
        self._cost -= partial.cost
        self._whole.add(number)
        return b"".join(partial.data)

    def continue_untrusted(self, plaintext: bytes, now: float) -> bool:
        """Take a packet that is nothing but the next piece of the message that is coming in; False: read its frames.

        The way of bulk: half the time of reading a frame and `handle_piece_untrusted`. It never ends a message.
        """
        run = self._run
        length = len(plaintext) - PIECE_HEAD_BYTES
        if run is None or length < TINY_BYTES or plaintext[0] != PIECE:
            return False
        _, priority, number, offset, total, told = PIECE_HEAD.unpack_from(plaintext)
        have = offset + length
        if (
            number != self._run_number or offset != run.have or told != length or total != run.total
            or have >= total or priority != run.priority or run.heap
        ):  # fmt: skip
            return False
        run.data.append(plaintext[PIECE_HEAD_BYTES:])
        run.have = have
        run.cost += length + PIECE_COST_BYTES
        run.changed_at = now
        self._cost += length + PIECE_COST_BYTES
        return True

    def take(self, *, size: int, messages: int) -> None:
        """So many messages, of `size` bytes together, were taken by whoever reads them."""
        self.taken_bytes += size
        self.taken_messages += messages

    def grant(self) -> bool:
        """Move the window on by what was taken, if that is worth telling: an eighth of it."""
        max_bytes = self.taken_bytes + self._window_bytes
        max_messages = self.taken_messages + self._window_messages
        if max_bytes - self.max_bytes <= self._step_bytes and max_messages - self.max_messages <= self._step_messages:
            return False
        self.max_bytes = max_bytes
        self.max_messages = max_messages
        return True

    def oldest_change(self) -> float | None:
        """When the unfinished message that rests longest got its last byte; None when there is none."""
        return min((each.changed_at for each in self._partial.values()), default=None)

    @property
    def unfinished(self) -> int:
        return len(self._partial)

    @property
    def held_bytes(self) -> int:
        """What the pieces of unfinished messages cost."""
        return self._cost

    def _check_window_untrusted(self, piece: Piece) -> None:
        if piece.message >= self.max_messages:
            raise PeerMisbehaved(f"message {piece.message} of {self.max_messages} that were granted")
        if self.begun_bytes + piece.total > self.max_bytes:
            raise PeerMisbehaved(f"message {piece.message} of {piece.total} bytes is more than was granted")

    def _append(self, partial: _Partial, data: bytes) -> None:
        partial.data.append(data)
        partial.have += len(data)
        cost = len(data) + PIECE_COST_BYTES
        if len(data) < TINY_BYTES:
            partial.tiny += 1
            if partial.tiny == _JOIN:
                partial.tiny = 0
                recent = partial.data[-_JOIN:]
                partial.data[-_JOIN:] = [b"".join(recent)]
                cost -= PIECE_COST_BYTES * (len(recent) - 1)
        partial.cost += cost
        self._cost += cost

    def _keep_ahead_untrusted(self, partial: _Partial, piece: Piece) -> None:
        known = partial.ahead.get(piece.offset)
        if known is not None:
            short = min(len(known), len(piece.data))
            if known[:short] != piece.data[:short]:
                raise PeerMisbehaved(f"message {piece.message} has two different pieces at {piece.offset}")
            if len(piece.data) <= len(known):
                return
        else:
            heappush(partial.heap, piece.offset)
        partial.ahead[piece.offset] = piece.data
        cost = len(piece.data) + PIECE_COST_BYTES
        partial.cost += cost
        self._cost += cost
        if self._cost > self._most_cost:
            raise PeerMisbehaved("more pieces, or smaller ones, than an honest sender makes of its messages")

    def _close_hole(self, partial: _Partial) -> None:
        """Pieces that were ahead, and are no longer."""
        while partial.heap and partial.heap[0] <= partial.have:
            offset = heappop(partial.heap)
            data = partial.ahead.pop(offset)
            partial.cost -= len(data) + PIECE_COST_BYTES
            self._cost -= len(data) + PIECE_COST_BYTES
            if offset + len(data) > partial.have:
                self._append(partial, data[partial.have - offset :])
