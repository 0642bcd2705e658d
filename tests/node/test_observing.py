"""Who looks on sees each output and each group before anybody acts on it; where nobody does, nothing is in between."""

from __future__ import annotations

from typing import Any

from identity.names import ServerId
from node.observing import Durable, watched, watched_commits
from store.grouping import Committed
from store.records import DATA, Head, Seal, Update

OWN = ServerId.parse("1.1")


def update(number: int, server: ServerId = OWN) -> Update:
    return Update(Head(server, 1, DATA, 1, bytes(16), number, bytes(32), bytes(32), 1), bytes(64), b"leaves")


class FakeDatabase:
    server = OWN
    incarnation = 1

    def read_update(self, server: ServerId, incarnation: int, kind: int, number: int) -> bytes | None:
        return update(number).to_bytes() if (server, incarnation, kind) == (OWN, 1, DATA) and number < 9 else None


def test_an_output_is_seen_before_it_is_carried_out() -> None:
    order: list[Any] = []
    carry_out = watched(
        lambda output, now: order.append(("done", output, now)), lambda output, now: order.append(("seen", output, now))
    )

    carry_out("send", 1.5)

    assert order == [("seen", "send", 1.5), ("done", "send", 1.5)]


def test_a_group_is_seen_with_the_very_updates_before_anybody_is_told() -> None:
    order: list[Any] = []
    hear = watched_commits(
        lambda committed: order.append(committed),
        lambda output, now: order.append((output, now)),
        database=FakeDatabase(),  # type: ignore[arg-type]  # the three things that are asked of it
        clock=lambda: 2.5,
    )
    foreign = update(4, ServerId.parse("1.2"))
    committed = Committed((Seal(DATA, 7, b"head", bytes(64)),), (foreign,))

    hear(committed)

    assert order == [(Durable((update(7),), (foreign,)), 2.5), committed]


def test_an_update_that_the_store_has_not_is_not_told() -> None:
    seen: list[Durable] = []
    hear = watched_commits(
        lambda committed: None,
        lambda output, now: seen.append(output),
        database=FakeDatabase(),  # type: ignore[arg-type]  # as above
        clock=lambda: 2.5,
    )

    hear(Committed((Seal(DATA, 9, b"head", bytes(64)),), ()))

    assert seen == [Durable((), ())]


def test_where_nobody_looks_on_nothing_is_in_between() -> None:
    def carry_out(output: Any, now: float) -> None: ...
    def hear(committed: Committed) -> None: ...

    assert watched(carry_out, None) is carry_out
    assert watched_commits(hear, None, database=FakeDatabase(), clock=lambda: 0.0) is hear  # type: ignore[arg-type]
