"""Answers that stand beside the work they report, until their asker says that it has them (DESIGN X6, F6).

    MODIFY --> one transaction: the changes, and Answered(request id, answer)
    the same MODIFY after a restart --> the record --> the same answer, nothing done twice
    DONE floor, ranges --> records below the floor or in the ranges are forgotten, many in one transaction

A record is never forgotten by age: an asker that was away for a year may still come back for its answer. What that can
cost is bounded by `transport.answers`, which takes no more than 4 096 requests of one asker that are not done.

A repeated answer is the one that was given: sequences and position are known in the body of the transaction already,
and stand in the record (`store.answered`, which has its picture). Where nothing was changed there is no position of it,
and the one that stands is told. A record that was made again after a restore (DESIGN D4) tells what became of each
object, and the operations that are asked again tell which of them is whose.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sortedcontainers import SortedDict

from identity.errors import OutcomeUnknown
from identity.names import Position, ServerId
from node.asking import Operation
from node.requests import At, ChangedAll, Outcome, at_of
from store.answered import Kept
from store.reading import Reader, View
from store.registry import ANSWERED

if TYPE_CHECKING:
    from transport.requests import Done

NUMBER_BYTES = 8
IDENTITY_BYTES = 24  # incarnation, epoch, number, after the asker's ended name (`transport.requests.request_id`)
FORGET_S = 5.0  # records are forgotten together: a transaction of their own, soon enough
MAX_FORGOTTEN = 8192  # in one transaction (DESIGN L6: 65 536 changes)
_UNTOLD = "it was carried out before its owner came back from a backup, and what is left of it does not tell how"


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


def record_of(outcomes: Sequence[Outcome], position: Position | None) -> bytes:
    """What is recorded beside the changes: the answer. `position`: of the update that carries them; None: none does."""
    epoch, number = (position.epoch, position.number) if position is not None else (0, 0)
    return Kept(epoch, number, tuple((each.object, each.sequence, each.done) for each in outcomes)).to_bytes()


def answer_again(
    record: bytes, reader: Reader, operations: Sequence[Operation] | None, *, stands: Position | None
) -> ChangedAll:
    """The answer that a record stands for; `stands`: the position to tell where the record has none.

    `operations`: what is asked again, which a record that was made again needs; None: only what became of it is asked.
    Raises `OutcomeUnknown` where such a record does not tell what became of each of them.
    """
    kept = Kept.from_bytes(record)
    outcomes = tuple(Outcome(*each) for each in kept.outcomes)
    if kept.rebuilt and operations is not None:
        outcomes = _sort_out(outcomes, operations)
    at = At(kept.epoch, kept.number, 0) if kept.number else at_of(stands, 0.0)
    return ChangedAll(reader.servers.incarnation, at, outcomes)


def _sort_out(outcomes: Sequence[Outcome], operations: Sequence[Operation]) -> tuple[Outcome, ...]:
    """What became of each operation of a transaction, by what became of each object."""
    sequence = outcomes[0].sequence  # of the one transaction
    found: dict[int, Outcome] = {}
    for place, operation in enumerate(operations):
        if operation.op == "update":
            found[place] = Outcome(operation.object, sequence, "updated")
        elif operation.op == "delete":
            found[place] = Outcome(operation.object, sequence, "deleted")
        elif operation.op == "put":
            if len(operations) > 1:  # it may have been any of those, or have changed nothing
                raise OutcomeUnknown(_UNTOLD, next_step="look what stands there before asking again")
            found[place] = outcomes[0]
    named = {each.object for each in found.values()}
    created = [each for each in outcomes if each.done == "created" and each.object not in named]
    creations = [place for place, operation in enumerate(operations) if operation.op == "create"]
    if len(created) != len(creations):
        raise OutcomeUnknown(_UNTOLD, next_step="look what stands there before asking again")
    found.update(zip(creations, created, strict=True))  # ids ascend in the order of the operations
    return tuple(found[place] for place in range(len(operations)))


def _parts(request_id: bytes) -> tuple[bytes, int, int]:
    """Asker (ended), incarnation, number of a request id of ours; the asker's epoch is in the number too."""
    identity = request_id[-IDENTITY_BYTES:]
    return (
        request_id[:-IDENTITY_BYTES],
        int.from_bytes(identity[:8], "big"),
        int.from_bytes(identity[-NUMBER_BYTES:], "big"),
    )
