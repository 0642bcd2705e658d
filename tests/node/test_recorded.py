"""An answer is kept until its asker says that it has it, and no longer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from identity.errors import OutcomeUnknown
from identity.names import Incarnation, Position, ServerId
from node.asking import Operation
from node.recorded import Recorded, answer_again, forget, record_of
from node.requests import At, Outcome
from store.answered import Kept
from transport.requests import Done, request_id

ASKER, OTHER = ServerId.parse("1.2"), ServerId.parse("1.2.3")


def test_done_forgets_what_it_names_of_that_asker_alone() -> None:
    recorded = Recorded()
    for number in (5, 6, 9, 12, 20):
        recorded.add(request_id(ASKER, 7, number))
    recorded.add(request_id(OTHER, 7, 5))
    recorded.add(request_id(ASKER, 8, 5))
    recorded.handle_done(ASKER, Done(7, 6, ((9, 12),)))
    assert recorded.take_done() == [request_id(ASKER, 7, number) for number in (5, 9, 12)]
    assert len(recorded) == 4
    assert recorded.take_done() == []
    recorded.handle_done(ServerId.parse("3"), Done(7, 100, ()))
    assert len(recorded) == 4


async def test_many_are_forgotten_in_few_transactions(monkeypatch: Any) -> None:
    monkeypatch.setattr("node.recorded.MAX_FORGOTTEN", 10)
    recorded = Recorded()
    for number in range(25):
        recorded.add(request_id(ASKER, 7, number))
    recorded.handle_done(ASKER, Done(7, 25, ()))
    transactions: list[list[bytes]] = []

    class FakeTransaction:
        def forget_answer(self, request: bytes) -> None:
            transactions[-1].append(request)

    async def transact(body: Any) -> None:
        transactions.append([])
        body(FakeTransaction())

    await forget(recorded, transact)
    assert [len(each) for each in transactions] == [10, 10, 5]
    assert len(recorded) == 0


READER: Any = SimpleNamespace(servers=SimpleNamespace(incarnation=7))
STANDS = Position(ServerId.parse("1"), Incarnation(7), 5, 99)
UPDATE, DELETE = Operation(op="update", object=64, fields={"a": 1}), Operation(op="delete", object=65)
CREATE, PUT = (
    Operation(op="create", class_name="Note"),
    Operation(op="put", class_name="Note", key="a", fields={"a": 1}),
)


def test_what_was_answered_is_answered_again_whatever_stands_by_then() -> None:
    outcomes = (Outcome(64, 9, "updated"), Outcome(65, 9, "deleted"), Outcome(66, 4, "unchanged"))
    carried = Position(ServerId.parse("1"), Incarnation(7), 3, 17)
    again = answer_again(record_of(outcomes, carried), READER, None, stands=STANDS)
    assert (again.incarnation, again.at, again.outcomes) == (7, At(3, 17, 0), outcomes)
    nothing = answer_again(record_of(outcomes[2:], None), READER, None, stands=STANDS)
    assert (nothing.at, nothing.outcomes) == (At(5, 99, 0), outcomes[2:])


def test_a_record_that_was_made_again_is_sorted_out_by_the_operations() -> None:
    kept = Kept(
        3, 17, ((64, 9, "updated"), (65, 9, "deleted"), (66, 9, "updated"), (70, 9, "created"), (71, 9, "created"))
    )
    record = kept._replace(rebuilt=True).to_bytes()  # 66 was changed by what was deleted
    again = answer_again(record, READER, [CREATE, DELETE, UPDATE, CREATE], stands=STANDS)
    assert [(each.object, each.done) for each in again.outcomes] == [
        (70, "created"), (65, "deleted"), (64, "updated"), (71, "created")
    ]  # fmt: skip
    assert {each.sequence for each in again.outcomes} == {9}
    assert len(answer_again(record, READER, None, stands=STANDS).outcomes) == 5
    alone = Kept(3, 17, ((66, 9, "updated"),), rebuilt=True).to_bytes()
    assert answer_again(alone, READER, [PUT], stands=STANDS).outcomes == (Outcome(66, 9, "updated"),)
    for untold in ([CREATE, PUT], [CREATE]):
        with pytest.raises(OutcomeUnknown, match="came back from a backup"):
            answer_again(record, READER, untold, stands=STANDS)
