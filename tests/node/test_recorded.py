"""An answer is kept until its asker says that it has it, and no longer."""

from __future__ import annotations

from typing import Any

from identity.names import ServerId
from node.recorded import Recorded, forget
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
