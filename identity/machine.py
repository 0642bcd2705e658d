"""The verbs that every machine speaks, as one Protocol (LAYOUT "One shape for every machine").

A machine is a plain class without `await`. It is told what happened and what time it is, and it says what it would
like done:

    machine.handle_<what>(..., now)    something happened: datagrams, a message, a commit that became durable
    machine.<verb>(...)                someone wants something: send, commit, route, look_up
    machine.deadline()                 when to be woken, in seconds of the monotonic clock; math.inf: never
    machine.handle_deadline(now)       that time has come
    machine.take_outputs()             immutable values for the caller to carry out: Send, Apply, Answer, Deliver

    machine.transmit(now)              only machines that send datagrams: fill one preallocated buffer that one
                                       system call sends; None when there is nothing to send now

The caller's loop is always the same, and `node.pump` is its one real instance:

    machine.handle_datagrams(buffer, segment_size, address, now)
    for output in machine.take_outputs(): carry_out(output)
    while (batch := machine.transmit(now)) is not None: port.send_batch(batch)
    sleep_until(machine.deadline())

`now` never comes from a clock inside a machine, and randomness is a generator handed to its constructor, so that a
test drives any machine without trio, sockets or sleeping, and the simulator replays it from a seed (DESIGN P6, U6).
Times are seconds as float; monotonic ones are called `now`, wall-clock ones `wall_ms` (integer milliseconds since
1970, UTC).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable


@runtime_checkable
class Machine(Protocol):
    """Anything the pump can drive."""

    def deadline(self) -> float:
        """When `handle_deadline` wants to be called next, in monotonic seconds; `math.inf` for never."""

    def handle_deadline(self, now: float) -> None:
        """Carry out what was due at or before `now`. Calling it early is harmless."""

    def take_outputs(self) -> Sequence[Any]:
        """Everything the machine wants done since the last call, in order; the machine forgets it."""


class Batch(NamedTuple):
    """Datagrams for one address, one after another in one buffer, to be sent by one system call.

    All are `segment_size` bytes long but the last, which may be shorter (what UDP_SEGMENT asks for). The buffer
    belongs to the machine and is valid until its next `transmit`.
    """

    buffer: memoryview
    segment_size: int
    address: Any


@runtime_checkable
class Transmitter(Machine, Protocol):
    """A machine that sends datagrams by itself."""

    def transmit(self, now: float) -> Batch | None:
        """The next batch to send, or None when nothing may be sent before `deadline()` or the next input."""
