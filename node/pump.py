"""One loop: datagrams and time go into the machines, what they want done comes out, datagrams leave in batches.

        sockets ----> endpoint ----> machines ----> carry_out(output)
           ^             |  ^           ^  |              |
           |             |  |  verbs    |  +- touched ----+
           +- transmit --+  +-----------+

    one turn     1. drain the port into the transmitter         (before any deadline is judged: DESIGN X7)
                 2. deadlines that are due, earliest first
                 3. outputs of every machine that has some, until none has
                 4. datagrams out, until nothing may leave or the port would block

Rules. A turn is synchronous: nothing awaits inside it, so between a machine's input and its outputs the world stands
still. Whoever speaks to a machine from a task calls `touch()`, and one turn follows in which all that was said in the
same tick leaves together (U7), be it the next one or one that a datagram caused. A turn does not listen to machines
above the transmitter that nobody spoke to: nearly half of all turns take and give datagrams, and no more. There is no
cancel scope per request: one timer is armed for the earliest deadline of all machines, and armed again when that comes
earlier, or later by more than it costs (`LATER_S`).

Bounds: a turn reads at most `MAX_READS` buffers and goes round its machines at most `MAX_ROUNDS` times; then other
tasks get their turn, and the next follows at once. A socket that refuses a batch keeps it until it is writable.

Left to others: what an output means (`node.dispatch`), every decision (the machines), opening the port
(`node.opening`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from identity.machine import Batch, Machine, Transmitter

if TYPE_CHECKING:
    from transport.ports import DatagramPort

BUFFER_BYTES = 64 << 10  # one GRO read
MAX_READS = 16  # buffers in one turn: 1 MiB, about 2 ms; more, and the sender waits for an ACK with nothing to do
MAX_BATCHES = 8  # sent in one turn: 512 KiB; then the ACKs that came meanwhile are read
MAX_ROUNDS = 64  # a message that causes a message and so on; more than this is a circle in our own code
MAX_DETOURS = 8  # rounds of datagrams that leave within others
# Arming costs 2 us, a turn in vain fifty times as much. In bulk the deadline moves on a little with every packet: there
# a turn in vain each time that it would have come costs less than arming again and again.
LATER_S = 0.005
IDLE_S = 60.0  # how long the timer sleeps when no machine has a deadline


class Pump:
    """Drives one transmitter and the machines above it over one port.

    `carry_out(output, now)` is called for every output of every machine, in order; what it raises ends the pump.
    """

    def __init__(
        self,
        port: DatagramPort,
        transmitter: Transmitter,
        machines: Sequence[Machine],
        carry_out: Callable[[Any, float], None],
    ) -> None:
        self.lag_s = 0.0  # how late the last deadline was judged: this node's own slowness, never a peer's
        self.turns = 0
        self._port = port
        self._transmitter = transmitter
        self._feed: Any = transmitter
        self._above: tuple[Machine, ...] = tuple(machines)
        self._machines: tuple[Machine, ...] = (transmitter, *machines)
        self._carry_out = carry_out
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._blocked: Batch | None = None
        self._writable = trio.Event()
        self._touched = trio.Event()
        self._timer = port.timer()
        self._armed = math.inf
        self._due = math.inf  # as the last turn found it, which nothing has changed since without a turn
        self._spoken = True  # a machine above the transmitter was told something, and not yet asked for its outputs
        self._due_above = math.inf  # the earliest deadline of those machines, unless one was told something
        self._more = False  # the last turn left something for another
        self._turning = False

    def touch(self) -> None:
        """Something was said to a machine: take a turn when the tasks that are ready now have run.

        Said while a turn carries out outputs, this very turn sees to it: it goes on until no machine has one.
        """
        self._spoken = True
        if not self._turning:
            self._touched.set()

    async def run(self) -> None:
        """Turn until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read)
            nursery.start_soon(self._write)
            nursery.start_soon(self._wait_for_deadlines)
            while True:
                if self._spoken or self._more:  # else a datagram or a deadline has caused a turn since
                    self.turn()
                await self._touched.wait()
                self._touched = trio.Event()

    def turn(self) -> None:
        """Everything that can be done now without waiting."""
        if self._turning:
            return
        self._turning = True
        try:
            self.turns += 1
            self._more = False
            now = trio.current_time()
            self._drain(now)
            if self._due <= now:  # what comes due by what was drained, or said since, has a turn of its own
                above = self._spoken or self._due_above <= now
                for machine in self._machines if above else self._machines[:1]:
                    due = machine.deadline()
                    if due <= now:
                        self.lag_s = now - due
                        machine.handle_deadline(now)
                        self._spoken |= machine is not self._transmitter
            self._carry_out_all(now)
            self._transmit(now)
            self._carry_out_departures(now)
            self._arm()
        finally:
            self._turning = False

    def _drain(self, now: float) -> None:
        for _ in range(MAX_READS):
            received = self._port.receive_into(self._buffer)
            if received is None:
                return
            length, segment_size, address = received
            self._feed.handle_datagrams(self._buffer[:length], segment_size, address, now)
        self._take_another()  # more is waiting; the others first

    def _carry_out_all(self, now: float) -> None:
        machines, carry_out = self._machines, self._carry_out
        if not self._spoken:
            outputs = self._transmitter.take_outputs()
            if not outputs:
                return
            self._spoken = True
            for output in outputs:
                carry_out(output, now)
        quiet, every = 0, len(machines)  # machines in a row that had none
        for _ in range(MAX_ROUNDS):
            for machine in machines:
                outputs = machine.take_outputs()
                if outputs:
                    quiet = 0
                    for output in outputs:
                        carry_out(output, now)
                    continue
                quiet += 1
                if quiet == every:
                    return
        self._take_another()

    def _carry_out_departures(self, now: float) -> None:
        """What was told while datagrams left: packets that go by gateways, which leave within others in this turn."""
        for _ in range(MAX_DETOURS):
            outputs = self._transmitter.take_outputs()
            if not outputs:
                return
            self._spoken = True
            for output in outputs:
                self._carry_out(output, now)
            self._carry_out_all(now)
            self._transmit(now)
        self._take_another()

    def _take_another(self) -> None:
        """This turn has lasted long enough; another one follows."""
        self._more = True
        self._touched.set()

    def _transmit(self, now: float) -> None:
        if self._blocked is not None:
            return
        for _ in range(MAX_BATCHES):
            batch = self._transmitter.transmit(now)
            if batch is None:
                return
            if not self._port.send_batch(batch):
                self._blocked = batch
                self._writable.set()
                return
        self._take_another()  # more is ready; what came in meanwhile first

    def _arm(self) -> None:
        """Set the timer for the earliest deadline, where what it is set for would be too late, or for nothing."""
        due = self._due = self._earliest()
        self._spoken = self._more
        if due < self._armed or due > self._armed + LATER_S:
            self._armed = due
            self._timer.deadline = due

    def _earliest(self) -> float:
        """The earliest deadline of all machines, and within a minute."""
        if self._spoken:
            self._due_above = math.inf
            for machine in self._above:
                due = machine.deadline()
                if due < self._due_above:
                    self._due_above = due
        return min(trio.current_time() + IDLE_S, self._transmitter.deadline(), self._due_above)

    async def _read(self) -> None:
        await self._port.each_readable(self.turn)

    async def _write(self) -> None:
        while True:
            await self._writable.wait()
            self._writable = trio.Event()
            while (batch := self._blocked) is not None:
                await self._port.wait_writable()
                if self._port.send_batch(batch):
                    self._blocked = None
                    self.turn()

    async def _wait_for_deadlines(self) -> None:
        self._due = self._earliest()
        self._armed = self._timer.deadline = self._due
        await self._timer.each_due(self._come_due)

    def _come_due(self) -> None:
        self.turn()
        self._armed = self._timer.deadline = self._due
