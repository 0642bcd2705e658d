"""Vocabulary of requests between servers (DESIGN X6): what the two sides say, and what their machine tells its caller.

    asker                                    answerer
    REQUEST number, body  ---------------->  Asked                       again under the same number after a reconnect
            <------------------------------  RECEIPT numbers             unless the answer was there at once
            <------------------------------  ANSWER number, index 0      kept until DONE
    TAKEN number, parts   ---------------->                              of a stream: so many parts were used up
            <------------------------------  ANSWER number, index 1, last
    DONE floor, ranges    ---------------->  forgets
    CANCEL number         ---------------->  Cancelled
            <------------------------------  REFUSE number, attempt      not carried out, or nothing is known any more

    number        | epoch of the asker 23 bits | count 40 bits |     so a number names a request in all runs of a server
    request id    asker's ServerId, ended | incarnation u64 | epoch u64 | number u64

`incarnation` in every message is the asker's: another server under a used id has requests of its own (DESIGN N5).
Numbers of one asker go to many answerers; each answerer sees some of them, and DONE tells it ranges that also hold
the numbers it never saw, so that its set of known numbers stays a few intervals. Nothing here acts: the asker's half
is `transport.questions`, the answerer's `transport.answers`, the machine of both `transport.outstanding`.
"""

from __future__ import annotations

import struct
from typing import Annotated, ClassVar

import msgspec

from identity.errors import BangpathError, LocalMistake
from identity.names import ServerId
from transport.wire import MAX_MESSAGE_BYTES, Message, Number, Priority, Text

COUNT_BITS = 40  # 10^12 requests in one run, two months at 200 000 a second
MAX_EPOCH = 2 ** (63 - COUNT_BITS) - 1

MAX_OUTSTANDING = 4096  # from one asker to one answerer
MAX_LISTED = 256  # numbers or ranges in one message; more go in several
MAX_PARTS_AHEAD = 32  # parts of a stream that the asker has not used up: about 2 MiB of 64 KiB parts
MAX_BODY_BYTES = MAX_MESSAGE_BYTES - 256  # of a question, or of one part of an answer

# Why a REFUSE came.
EXHAUSTED = 1  # no room; it was not carried out
FORGOTTEN = 2  # done, or its answer is no longer kept: whether it was carried out must be asked another way

_IDENTITY = struct.Struct(">QQQ")
_Range = tuple[Number, Number]


class Request(Message, frozen=True, gc=False):
    """A question. `attempt` counts from 1; `deadline_ms` is the time left, 0 for ever.

    Of an answer in parts that broke off: the parts below `told` have come, those below `taken` are used up.
    """

    TYPE: ClassVar[int] = 16
    PRIORITY: ClassVar[Priority] = Priority.REQUEST

    incarnation: Number
    number: Number
    attempt: Annotated[int, msgspec.Meta(ge=1, le=2**31)]
    deadline_ms: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    priority: Annotated[int, msgspec.Meta(ge=0, le=3)]
    taken: Number
    told: Number
    body: Annotated[bytes, msgspec.Meta(max_length=MAX_BODY_BYTES)]


class Receipt(Message, frozen=True, gc=False):
    """These came and are being worked on."""

    TYPE: ClassVar[int] = 17

    incarnation: Number
    numbers: Annotated[tuple[Number, ...], msgspec.Meta(max_length=MAX_LISTED)]


class Answer(Message, frozen=True, gc=False):
    """One part of an answer; of most answers the only one. `ok` is False when the body tells an error."""

    TYPE: ClassVar[int] = 18
    PRIORITY: ClassVar[Priority] = Priority.REQUEST

    incarnation: Number
    number: Number
    index: Number
    last: bool
    ok: bool
    body: Annotated[bytes, msgspec.Meta(max_length=MAX_BODY_BYTES)]


class Cancel(Message, frozen=True, gc=False):
    """Nobody waits for this answer any more. Lost, DONE will say so too."""

    TYPE: ClassVar[int] = 19

    incarnation: Number
    number: Number


class Done(Message, frozen=True, gc=False):
    """What is below `floor` or in `ranges` will never be asked again; `upcoming` is the next number to be given.

    Whoever has seen numbers of a later epoch than that of `upcoming` learns that the asker came back in time.
    """

    TYPE: ClassVar[int] = 20

    incarnation: Number
    floor: Number
    ranges: Annotated[tuple[_Range, ...], msgspec.Meta(max_length=MAX_LISTED)]
    upcoming: Number = 0


class Refuse(Message, frozen=True, gc=False):
    """Attempt `attempt` will not be answered: EXHAUSTED or FORGOTTEN."""

    TYPE: ClassVar[int] = 21

    incarnation: Number
    number: Number
    attempt: Number
    code: Number
    reason: Text


class Taken(Message, frozen=True, gc=False):
    """Of this stream so many parts were used up: those may be forgotten, and as many more may be sent."""

    TYPE: ClassVar[int] = 22

    incarnation: Number
    number: Number
    parts: Number


MESSAGES: tuple[type[Message], ...] = (Request, Receipt, Answer, Cancel, Done, Refuse, Taken)


# -- what the machine tells its caller, beside `transport.wire.SendTo`


class Answered(msgspec.Struct, frozen=True, gc=False):
    """Part `index` of the answer to our request, in order; nothing follows the last."""

    number: int
    peer: ServerId
    index: int
    last: bool
    ok: bool
    body: bytes


class Failed(msgspec.Struct, frozen=True):
    """Our request has no answer: `Unreachable` never sent, `Exhausted` not carried out, else `OutcomeUnknown`."""

    number: int
    peer: ServerId
    error: BangpathError


class Progress(msgspec.Struct, frozen=True, gc=False):
    """The peer has our request and works on it. Told once."""

    number: int
    peer: ServerId


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A peer asks. `deadline` is in our monotonic seconds, None for ever.

    `again`: it may have been asked in an earlier run of ours. What would change something must look for `request_id`
    among the leaves first (DESIGN X6, F6): this machine remembers nothing across runs.
    """

    peer: ServerId
    request_id: bytes
    body: bytes
    deadline: float | None
    priority: int
    again: bool


class Cancelled(msgspec.Struct, frozen=True, gc=False):
    """Nobody waits for this answer any more."""

    peer: ServerId
    request_id: bytes


class MaySend(msgspec.Struct, frozen=True, gc=False):
    """`may_send` said no for this stream, and would now say yes."""

    peer: ServerId
    request_id: bytes


class Met(msgspec.Struct, frozen=True, gc=False):
    """A session begins with a peer that is watched."""

    peer: ServerId


def first_number(epoch: int) -> int:
    """The first request number of a run. Raises `LocalMistake` for an epoch beyond 2^23 - 1."""
    if not 0 <= epoch <= MAX_EPOCH:
        raise LocalMistake(f"epoch {epoch} is none of 0 to {MAX_EPOCH}, which request numbers can hold")
    return epoch << COUNT_BITS


def request_id(asker: ServerId, incarnation: int, number: int) -> bytes:
    """The one name of a request in the whole mesh, at most 156 bytes; it stands in the leaf that it causes."""
    return asker.ended + _IDENTITY.pack(incarnation, number >> COUNT_BITS, number)
