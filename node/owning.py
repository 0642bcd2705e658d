"""Changes to this server's own objects: by its own people and programs, and by other servers' requests.

    transact(operations)         --> one transaction --> sequences and position, when durable
    modify_for(peer, request)    --> the same, with its answer recorded; a second time the very same is answered

The request id of another server's change stands in the leaf of every object it changed, so that a server that is
rebuilt from mirrors still knows what it has carried out (DESIGN F6).

Left to others: what an operation may do (`node.changing`), whether the peer has the right (`node.serving`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from identity.errors import NotFound
from identity.names import Position, ServerId
from node.asking import Changed, Operation
from node.changing import Act, carry_out
from node.recorded import Recorded, answer_again, record_of
from node.requests import ChangedAll, Modify, Outcome, at_of, operation_untrusted
from store.database import Database, Transaction
from store.records import DATA

if TYPE_CHECKING:
    from store.reading import Reader
    from store.values import Resolve


class Owner:
    """The own objects of one server, and who changes them."""

    def __init__(self, *, database: Database, recorded: Recorded, resolve: Resolve, note: Callable[..., None]) -> None:
        self._database = database
        self._recorded = recorded
        self._resolve = resolve
        self._note = note

    async def transact(self, operations: Sequence[Operation]) -> list[Changed]:
        """All of them or none, durable when this returns."""

        def body(transaction: Transaction) -> tuple[Transaction, list[Act]]:
            return transaction, carry_out(transaction, operations, resolve=self._resolve)

        transaction, acts = await self._database.transact(body)
        position = transaction.positions.get(DATA)
        return [Changed(each.reference, _sequence(each, transaction), position, each.done) for each in acts]

    async def modify_for(self, peer: ServerId, request_id: bytes, question: Modify) -> ChangedAll:
        """Carry out another server's MODIFY, once, however often and after whatever restart it comes."""
        operations = [operation_untrusted(act) for act in question.acts]
        if question.incarnation not in (0, self._database.incarnation):
            raise NotFound(
                f"{peer} means {self._database.server} of incarnation {question.incarnation}, and that is gone: this "
                f"is another server under its id",
                next_step=f"look what there is: bangpath @{self._database.server} class",
                gone=True,
            )

        def body(transaction: Transaction) -> tuple[Transaction, tuple[Outcome, ...] | None, ChangedAll | None]:
            record = transaction.answered(request_id)
            if record is not None:
                return transaction, None, self._again(record, transaction, operations)
            acts = carry_out(transaction, operations, resolve=self._resolve, request=request_id, by_another=True)
            outcomes = tuple(Outcome(each.reference.object, _sequence(each, transaction), each.done) for each in acts)
            carried = transaction.foretell()[DATA] if transaction.changes else None  # what others change is in the feed
            transaction.record_answer(request_id, record_of(outcomes, carried))
            return transaction, outcomes, None

        transaction, outcomes, again = await self._database.transact(body)
        if outcomes is None:
            assert again is not None
            return again
        self._recorded.add(request_id)
        self._note("modified", peer=str(peer), number=transaction.sequence)
        at = at_of(transaction.positions.get(DATA) or self._position(), 0.0)
        return ChangedAll(self._database.incarnation, at, outcomes)

    def answered(self, request_id: bytes, question: Modify | None) -> ChangedAll | None:
        """The answer to another server's MODIFY that was carried out and not declared done; None: it was not.

        `question`: the MODIFY, where it is that which came again. Raises `OutcomeUnknown`, `PeerMisbehaved`.
        """
        record = self._database.answered(request_id)
        if record is None:
            return None
        operations = None if question is None else [operation_untrusted(act) for act in question.acts]
        with self._database.view() as view:
            return self._again(record, view, operations)

    def _again(self, record: bytes, reader: Reader, operations: Sequence[Operation] | None) -> ChangedAll:
        return answer_again(record, reader, operations, stands=self._position())

    def _position(self) -> Position | None:
        position = self._database.last_position(DATA)
        return position if position.number else None


def _sequence(act: Act, transaction: Any) -> int:
    """The transaction's, but of what it left alone the one that stands."""
    return act.sequence if act.sequence is not None else int(transaction.sequence)
