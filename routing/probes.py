"""What servers say to each other about ways (LAYOUT: vocabulary). The pictures of the messages stand here.

    6 FORWARD    path [1.1, 1.5, 1.2], at 1, packet      a sealed packet of path[0] for path[-1]; it is at path[at] now
    7 LOST       path, failed 1, at 0                    path[failed] could not hand it on; on its way back to path[0]

   32 CARRY      path, at, packet                        a FORWARD as a word: nobody acknowledges it, or says LOST
   33 SEEK       number, path, targets, came             the first of path seeks a way, over links that may be one-way
   34 CAME       number, path                            a target's answer, sealed for it alone: by this it came

    90 PROBE     target, number, path, hops              do you reach it? Asked as a request (DESIGN X6)
    91 CONFIRM   path [1.5, 1.2], rtt                    yes: it has just answered me, this way
    92 NOWAY     reason                                  no, or not for you
    95 TRACE                                             by which way did this come?    96 TRACED  there, back

A FORWARD carries its whole path, which its source knows to be good by a CONFIRM: no server stands in it twice, so no
packet circles, and whoever is on it knows from whom it must come and to whom it goes (DESIGN G3). What goes along a
path says nothing true of its source: the packet inside is sealed between the ends and proves itself there. PROBE's
path is who asked whom so far, its origin first; with the origin's number it names one search.

CARRY, SEEK and CAME are words (`transport.words`): they need no session. SEEK goes from server to server, once each;
its path is by which it came so far. `came` tells of each target by which path a SEEK of that one came to the origin
lately (empty: none came), so that two that hear each other by no link learn of both ways. A CAME travels as the packet
of a CARRY. Why it is so: docs/decisions/0051.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from identity.names import ServerId
from transport.wire import Message, Number, Priority, Text

MAX_HOPS = 8  # servers between the two ends of a path (DESIGN G3)
MAX_PATH = MAX_HOPS + 2
MAX_PACKET_BYTES = 65_507
MAX_RTT_US = 2**32
MAX_SOUGHT = 8  # targets of one SEEK

Path = tuple[ServerId, ...]
_Path = Annotated[tuple[ServerId, ...], msgspec.Meta(min_length=1, max_length=MAX_PATH)]
_Way = Annotated[tuple[ServerId, ...], msgspec.Meta(max_length=MAX_PATH)]
_Place = Annotated[int, msgspec.Meta(ge=0, lt=MAX_PATH)]


class Forward(Message, frozen=True, gc=False):
    """FORWARD: hand this on along the path."""

    TYPE: ClassVar[int] = 6
    PRIORITY: ClassVar[Priority] = Priority.REQUEST
    path: _Path
    at: _Place
    packet: Annotated[bytes, msgspec.Meta(min_length=1, max_length=MAX_PACKET_BYTES)]


class Carry(Forward, frozen=True, gc=False):
    """CARRY: hand this on along the path, as a word."""

    TYPE: ClassVar[int] = 32


class Seek(Message, frozen=True, gc=False):
    """SEEK: hand this on to whom you can, until it is with its targets."""

    TYPE: ClassVar[int] = 33
    PRIORITY: ClassVar[Priority] = Priority.CONTROL
    number: Number
    path: Annotated[tuple[ServerId, ...], msgspec.Meta(min_length=1, max_length=MAX_PATH - 1)]
    targets: Annotated[tuple[ServerId, ...], msgspec.Meta(min_length=1, max_length=MAX_SOUGHT)]
    came: Annotated[tuple[_Way, ...], msgspec.Meta(min_length=1, max_length=MAX_SOUGHT)]


class Came(Message, frozen=True, gc=False):
    """CAME: your SEEK of this number came to me by this path."""

    TYPE: ClassVar[int] = 34
    PRIORITY: ClassVar[Priority] = Priority.CONTROL
    number: Number
    path: _Path


class Lost(Message, frozen=True, gc=False):
    """LOST: path[failed] does not reach path[failed + 1] any more."""

    TYPE: ClassVar[int] = 7
    PRIORITY: ClassVar[Priority] = Priority.CONTROL
    path: _Path
    failed: _Place
    at: _Place
    reason: Text


class Probe(Message, frozen=True, gc=False):
    """PROBE: is there a way from you to `target`, over at most `hops` more servers?"""

    TYPE: ClassVar[int] = 90
    PRIORITY: ClassVar[Priority] = Priority.CONTROL
    target: ServerId
    number: Number
    path: _Path
    hops: Annotated[int, msgspec.Meta(ge=1, le=MAX_HOPS)]


class Confirm(Message, frozen=True, gc=False):
    """CONFIRM: this way, and the target has answered by it; the first of the path is who says so."""

    TYPE: ClassVar[int] = 91
    PRIORITY: ClassVar[Priority] = Priority.CONTROL
    path: _Path
    rtt_us: Annotated[int, msgspec.Meta(ge=0, le=MAX_RTT_US)]


class NoWay(Message, frozen=True, gc=False):
    """NOWAY: none that I know or found in time."""

    TYPE: ClassVar[int] = 92
    PRIORITY: ClassVar[Priority] = Priority.CONTROL
    reason: Text


class Trace(Message, frozen=True, gc=False):
    """TRACE: by which way did this come to you?"""

    TYPE: ClassVar[int] = 95
    PRIORITY: ClassVar[Priority] = Priority.REQUEST


class Traced(Message, frozen=True, gc=False):
    """TRACED: the path by which the asker's packets came last, and that by which ours go to it."""

    TYPE: ClassVar[int] = 96
    PRIORITY: ClassVar[Priority] = Priority.REQUEST
    there: _Way
    back: _Way


MESSAGES: tuple[type[Message], ...] = (Forward, Lost)  # of sessions
WORDS: tuple[type[Message], ...] = (Carry, Seek, Came)


def check_forward_untrusted(message: Forward | Lost, own: ServerId, peer: ServerId) -> str | None:
    """What is wrong with a FORWARD or LOST that `peer` handed to `own`, or None."""
    path, at = message.path, message.at
    if len(path) < (2 if isinstance(message, Carry) else 3) or len(set(path)) != len(path):
        return "a path that passes a server twice, or no server at all"
    if at >= len(path) or path[at] != own:
        return "a packet of a path that does not pass here"
    if isinstance(message, Lost):
        if not at < message.failed < len(path) - 1 or path[at + 1] != peer:
            return "a LOST that does not come back along its path"
    elif at == 0 or path[at - 1] != peer:
        return "a packet that does not come along its path"
    return None


def check_seek_untrusted(message: Seek, own: ServerId, peer: ServerId) -> str | None:
    """What is wrong with a SEEK that `peer` handed to `own`, or None."""
    path, targets = message.path, message.targets
    if path[-1] != peer or own in path or len(set(path)) != len(path):
        return "a SEEK whose path does not end with its sender, or circles"
    if len(set(targets)) != len(targets) or len(message.came) != len(targets) or path[0] in targets:
        return "a SEEK of targets that are none"
    for target, came in zip(targets, message.came, strict=True):
        if came and not is_way(came, target, path[0]):
            return "a SEEK that tells of a path that leads elsewhere, or circles"
    return None


def is_way(path: Path, source: ServerId, target: ServerId) -> bool:
    """Whether a path leads from one to the other, and nowhere twice."""
    return len(path) > 1 and path[0] == source and path[-1] == target and len(set(path)) == len(path)
