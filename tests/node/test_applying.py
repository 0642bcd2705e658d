"""Updates reach the store in order, many in one call, and every outcome is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import trio
import trio.testing

from identity.errors import Exhausted
from identity.names import ServerId
from node.applying import FULL_S, MAX_CALL_UPDATES, Applier
from replication.messages import Apply
from store.foreign import Applied, Deferred, Outcome, Rejected
from store.records import DATA, REGISTRY, Head, Update

OWNER = ServerId.parse("1.2")


def update(number: int, *, kind: int = DATA) -> Update:
    head = Head(OWNER, 1, kind, 1, bytes(16), number, bytes(32), bytes(32), 1)
    return Update(head, bytes(64), b"leaves")


class World:
    """A store that can be slow, full, or of another opinion."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.told: list[tuple[Any, ...]] = []
        self.full = 0
        self.room = 10_000  # updates in one call
        self.deferred: set[int] = set()
        self.rejected: set[int] = set()
        self.applier = Applier(
            self,
            apply=self.apply,
            learn=lambda update: self.told.append(("learn", update.head.number)),
            touch=lambda: None,
            note=lambda event, **details: self.told.append((event,)),
        )

    async def apply(self, updates: Sequence[Update]) -> list[Outcome]:
        await trio.sleep(0.01)
        if self.full:
            self.full -= 1
            raise Exhausted("the disk is full")
        taken = updates[: self.room]
        self.calls.append([each.head.number for each in taken])
        return [self._outcome(each) for each in taken]

    def _outcome(self, update: Update) -> Outcome:
        if update.head.number in self.deferred:
            return Deferred(update, "its class is not known")
        if update.head.number in self.rejected:
            return Rejected(update, "never")
        return Applied(update)

    def handle_applied(self, updates: Sequence[Update], now: float) -> None:
        self.told.append(("applied", [each.head.number for each in updates]))

    def handle_deferred(self, update: Update, now: float) -> None:
        self.told.append(("deferred", update.head.number))

    def handle_refused(self, update: Update, reason: str, now: float) -> None:
        self.told.append(("refused", update.head.number, reason))

    def handle_registry_advanced(self, now: float) -> None:
        self.told.append(("advanced",))

    async def run(self, *updates: Update, seconds: float = 1.0) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.applier.run)
            for each in updates:
                self.applier.put(Apply((each,), OWNER))
            await trio.sleep(seconds)
            nursery.cancel_scope.cancel()


async def test_what_has_gathered_goes_in_one_call(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    await world.run(*(update(number) for number in range(1, 6)))
    assert world.calls == [[1, 2, 3, 4, 5]]
    assert world.told[0] == ("applied", [1, 2, 3, 4, 5])
    assert ("advanced",) not in world.told
    assert world.applier.waiting_bytes == 0


async def test_outcomes_are_told_in_order_and_by_kind(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    world.deferred, world.rejected = {2}, {4}
    await world.run(*(update(number, kind=REGISTRY) for number in range(1, 6)))
    assert world.told == [
        ("applied", [1]), ("deferred", 2), ("applied", [3]), ("refused", 4, "never"), ("applied", [5]),
        ("learn", 1), ("learn", 3), ("learn", 5), ("advanced",),
    ]  # fmt: skip


async def test_one_call_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    await world.run(*(update(number) for number in range(1, MAX_CALL_UPDATES + 11)))
    assert [len(call) for call in world.calls] == [MAX_CALL_UPDATES, 10]


async def test_a_full_disk_is_waited_out(autojump_clock: trio.testing.MockClock) -> None:
    world = World()
    world.full = 3
    await world.run(update(1), update(2), seconds=4 * FULL_S)
    assert world.told[:3] == [("no room",)] * 3
    assert world.calls == [[1, 2]]


async def test_what_found_room_is_told_at_once_and_the_rest_is_handed_in_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    world = World()
    world.room = 2
    await world.run(*map(update, range(1, 6)))
    assert world.calls == [[1, 2], [3, 4], [5]]
    assert [each[1] for each in world.told if each[0] == "applied"] == [[1, 2], [3, 4], [5]]
