"""Answers that stand beside the work they report, until their asker says that it has them (DESIGN X6, F6).

    MODIFY --> one transaction: the changes, and Answered(request id, answer)
    the same MODIFY after a restart --> the record --> the same answer, nothing done twice
    DONE floor, ranges --> records below the floor or in the ranges are forgotten, many in one transaction

A record is never forgotten by age: an asker that was away for a year may still come back for its answer. What that can
cost is bounded by `transport.answers`, which takes no more than 4 096 requests of one asker that are not done.

Sequences are known only when the transaction has its place in the log, so a record holds objects and what was done,
and a repeated answer tells the sequences that stand now: 0 for what is gone since.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sortedcontainers import SortedDict

from identity.encoding import decode_value_trusted, encode_value
from identity.names import ServerId
from node.changing import Act
from node.requests import At, ChangedAll, Outcome
from store.reading import View
from store.registry import ANSWERED

if TYPE_CHECKING:
    from transport.requests import Done

NUMBER_BYTES = 8
IDENTITY_BYTES = 24  # incarnation, epoch, number, after the asker's ended name (`transport.requests.request_id`)
FORGET_S = 5.0  # records are forgotten together: a transaction of their own, soon enough
MAX_FORGOTTEN = 8192  # in one transaction (DESIGN L6: 65 536 changes)


class Recorded:
    """Which requests have a record in the store, by asker, so that DONE finds them."""

    def __init__(self) -> None:
        self._by_asker: dict[tuple[bytes, int], Any] = {}
        self._done: list[bytes] = []

    def __len__(self) -> int:
        return sum(len(each) for each in self._by_asker.values())

    def load(self, view: View) -> None:
        """What the store holds at opening."""
        entry = view.registry.by_number(ANSWERED)
        assert entry is not None
        for stored in view.all_of(entry):
            self.add(stored.fields["request"])

    def add(self, request_id: bytes) -> None:
        asker, incarnation, number = _parts(request_id)
        self._by_asker.setdefault((asker, incarnation), SortedDict())[number] = request_id

    def handle_done(self, peer: ServerId, message: Done) -> None:
        """The asker declares these of its requests done."""
        known = self._by_asker.get((peer.ended, message.incarnation))
        if known is None:
            return
        ended: Iterable[tuple[int, int]] = ((0, message.floor - 1), *message.ranges)
        for first, last in ended:
            for number in list(known.irange(first, last)):
                self._done.append(known.pop(number))

    def take_done(self) -> list[bytes]:
        """Records that may be forgotten now."""
        taken, self._done = self._done[:MAX_FORGOTTEN], self._done[MAX_FORGOTTEN:]
        return taken


async def forget(recorded: Recorded, transact: Callable[[Callable[[Any], None]], Awaitable[None]]) -> None:
    """Take what is done out of the store; `transact` is `database.transact`."""
    while done := recorded.take_done():

        def body(transaction: Any, done: Sequence[bytes] = tuple(done)) -> None:
            for request_id in done:
                transaction.forget_answer(request_id)

        await transact(body)


def record_of(acts: Sequence[Act]) -> bytes:
    """What is recorded beside the changes."""
    return encode_value([[act.reference.object, act.done] for act in acts])


def answer_again(record: bytes, view: View, *, at: At) -> ChangedAll:
    """The answer that a record stands for."""
    outcomes = []
    for number, done in decode_value_trusted(record):
        stored = view.get((None, number))
        outcomes.append(Outcome(number, stored.sequence if stored else 0, done))
    return ChangedAll(view.servers.incarnation, at, tuple(outcomes))


def _parts(request_id: bytes) -> tuple[bytes, int, int]:
    """Asker (ended), incarnation, number of a request id of ours; the asker's epoch is in the number too."""
    identity = request_id[-IDENTITY_BYTES:]
    return (
        request_id[:-IDENTITY_BYTES],
        int.from_bytes(identity[:8], "big"),
        int.from_bytes(identity[-NUMBER_BYTES:], "big"),
    )
