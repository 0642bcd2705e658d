"""The one task that owns the log: order, bounds, what is told and when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from identity.errors import BangpathError, LocalMistake, OutcomeUnknown
from store import writing
from store.database import Committed, Settings
from store.definitions import ClassDefinition, definition_from_toml
from store.query import Question
from store.records import DATA


async def test_answers_come_in_the_order_of_the_log(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        order: list[int] = []
        numbers: list[int] = []

        async def commit(number: int) -> None:
            def body(t: Any) -> int:
                numbers.append(number)
                t.create("Shoe", {"name": f"n{number}"})
                return number

            order.append(await database.transact(body))

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(commit, number)
        assert sorted(order) == list(range(50))
        assert sorted(numbers) == list(range(50))


async def test_what_is_committed_is_told_after_its_sync_in_order(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        told: list[Committed] = []

        def tell(committed: Committed) -> None:
            assert server.disk.unsynced == 0
            for seal in committed.seals:
                assert database.read_update(server.server, 5, seal.kind, seal.number) is not None
            told.append(committed)

        database.on_committed = tell
        await database.define(shoe)
        for number in range(3):
            await database.transact(lambda t, n=number: t.create("Shoe", {"name": f"n{n}"}))
        await database.transact(lambda t: t.put_setting("x", 1))  # private: no update, nothing to tell
        assert [seal.number for each in told for seal in each.seals if seal.kind == DATA] == [1, 2, 3]


async def test_reads_and_refusals_sync_nothing(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        syncs = database.syncs
        assert await database.transact(lambda t: len(list(t.select(Question("Shoe"))))) == 0
        with pytest.raises(BangpathError):
            await database.transact(lambda t: t.create("Shoe", {}))
        assert database.syncs == syncs


async def test_more_callers_than_the_queue_holds_wait_for_room(
    server: Any, shoe: ClassDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "MAX_QUEUE", 4)
    async with server.open() as database:
        await database.define(shoe)
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(database.transact, lambda t, n=number: t.create("Shoe", {"name": f"n{n}"}))
        assert database.counts()["owned"] == 40


async def test_commits_wait_while_both_generations_are_full(make_server: Callable[..., Any]) -> None:
    text = definition_from_toml('name = "Text"\n[fields]\ntext = "bytes"\n')
    server = make_server(settings=Settings(generation_bytes=20_000))
    room = trio.Event()
    fold = server.tables.fold

    async def slow_fold(changes: Any, meta: bytes) -> None:
        await room.wait()
        await fold(changes, meta)

    async with server.open() as database:
        await database.define(text)
        server.tables.fold = slow_fold
        done = 0

        async def write() -> None:
            nonlocal done
            for _ in range(60):
                await database.transact(lambda t: t.create("Text", {"text": bytes(500)}))
                done += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await trio.sleep(0.1)
            assert 10 < done < 60
            stood = done
            await trio.sleep(0.05)
            assert done == stood
            room.set()
        assert done == 60


async def test_a_store_that_was_left_takes_nothing(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
    with pytest.raises(LocalMistake, match="closed"):
        await database.transact(lambda t: t.create("Shoe", {"name": "x"}))


async def test_a_sealer_that_counts_otherwise_stops_the_store(server: Any, shoe: ClassDefinition) -> None:
    from tests.store.conftest import FakeSealer

    async with server.open() as database:
        await database.define(shoe)
        sealer = FakeSealer(server.server, 5)
        sealer.last = {0: (7, bytes(32)), 1: (7, bytes(32))}
        database._writer.sealer = sealer
        with pytest.raises(BangpathError, match="sealer"):
            await database.transact(lambda t: t.create("Shoe", {"name": "x"}))
        assert database.failure is not None
    async with server.open() as database:
        assert database.counts()["owned"] == 0


async def test_a_mistake_of_ours_while_something_is_carried_out_leaves_nobody_waiting(
    server: Any, shoe: ClassDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bool:
        raise NameError("a name that is not defined")

    told: list[str] = []
    monkeypatch.setattr(writing, "_never_abort", lambda _: trio.lowlevel.Abort.SUCCEEDED)  # so that this test can fail
    with trio.fail_after(5), pytest.raises(BaseExceptionGroup) as raised:  # noqa: PT012 - what is raised ends the store
        async with server.open() as database:
            await database.define(shoe)
            monkeypatch.setattr(writing.Writer, "_carry_out", broken)
            try:
                await database.transact(lambda t: t.create("Shoe", {"name": "a"}))
            except BangpathError as error:
                told.append(error.cause)
    assert raised.group_contains(NameError)
    assert "not defined" in told[0]


@pytest.mark.parametrize("broken", ["publish", "tell_positions", "on_committed"])
async def test_whoever_waits_is_told_of_the_sync_whatever_fails_after_it(
    server: Any, shoe: ClassDefinition, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """The changes are durable, so their callers are told so; the store stops, and says why."""

    def fail(*_: object) -> None:
        raise RuntimeError("after the sync")

    monkeypatch.setattr(writing, "_never_abort", lambda _: trio.lowlevel.Abort.SUCCEEDED)  # so that this test can fail
    told: list[str] = []
    async with server.open() as database:
        await database.define(shoe)

        async def commit(name: str) -> None:
            await database.transact(lambda t: t.create("Shoe", {"name": name}))
            told.append(name)

        database.inside._pace.drain_s = 10.0  # both share a group, however slow this machine is
        if broken == "publish":
            monkeypatch.setattr(database._writer.generations, "publish", fail, raising=True)
        elif broken == "tell_positions":
            monkeypatch.setattr(writing.Group, "tell_positions", fail)
        else:
            database.on_committed = fail
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(commit, "a")
                nursery.start_soon(commit, "b")
        assert sorted(told) == ["a", "b"]
        assert database.failure is not None
        assert "after the sync" in database.failure.cause
        with pytest.raises(BangpathError, match="after the sync"):
            await database.transact(lambda t: t.create("Shoe", {"name": "c"}))
    monkeypatch.undo()
    server.crash()
    async with server.open() as database:
        assert database.counts()["owned"] == 2


async def test_whoever_waits_is_told_when_the_sealer_fails_before_the_sync(
    server: Any, shoe: ClassDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was synced yet: whether it is there, nobody knows before the next start."""

    def fail(*_: object) -> None:
        raise RuntimeError("no key to sign with")

    monkeypatch.setattr(writing, "_never_abort", lambda _: trio.lowlevel.Abort.SUCCEEDED)  # so that this test can fail
    async with server.open() as database:
        await database.define(shoe)
        monkeypatch.setattr(database._writer.sealer, "seal", fail)
        with trio.fail_after(5), pytest.raises(OutcomeUnknown, match="no key to sign with"):
            await database.transact(lambda t: t.create("Shoe", {"name": "a"}))
        assert database.failure is not None


async def test_on_a_slow_disk_a_drain_takes_longer_and_lets_others_run(
    server: Any, shoe: ClassDefinition, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    monkeypatch.setattr(trio, "current_time", lambda: clock)
    others = 0

    async def runs() -> None:
        nonlocal others
        while True:
            others += 1
            await trio.lowlevel.checkpoint()

    async with server.open() as database:
        await database.define(shoe)
        turns: list[int] = []

        def body(t: Any) -> None:
            nonlocal clock
            clock += 0.001
            turns.append(others)
            t.create("Shoe", {"name": f"{clock:.3f}"})

        async def commit_all() -> int:
            before = database.syncs
            async with trio.open_nursery() as nursery:
                for _ in range(64):
                    nursery.start_soon(database.transact, body)
            return database.syncs - before

        assert await commit_all() > 16  # no sync has taken any time: 2 ms, and that is two of them
        sync = server.disk.before_sync

        def slow_sync(*arguments: Any) -> None:
            nonlocal clock
            clock += 0.02
            sync(*arguments)

        server.disk.before_sync = slow_sync
        await commit_all()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runs)
            turns.clear()
            assert await commit_all() <= 2
            assert len(set(turns)) > 16
            nursery.cancel_scope.cancel()


async def test_one_caller_alone_waits_for_no_turn_and_several_share_a_sync(server: Any, shoe: ClassDefinition) -> None:
    async with server.open() as database:
        await database.define(shoe)
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            await database.transact(lambda t: t.create("Shoe", {"name": "first"}))
            before = turns
            for number in range(10):
                await database.transact(lambda t, n=number: t.create("Shoe", {"name": f"alone {n}"}))
            assert turns - before <= 2 * 10 + 1  # the task that owns the log, the caller; a third would see nobody
            database.inside._pace.drain_s = 10.0  # until the next sync, however slow this machine is
            syncs = database.syncs
            async with trio.open_nursery() as callers:
                for number in range(8):
                    callers.start_soon(database.transact, lambda t, n=number: t.create("Shoe", {"name": f"shared {n}"}))
            assert database.syncs - syncs == 1
            nursery.cancel_scope.cancel()


async def test_a_plain_write_that_nobody_waits_for_wakes_the_task_that_owns_the_log(server: Any) -> None:
    class Note:
        task = None

        def __init__(self) -> None:
            self.done = trio.Event()

        def carry_out(self, writer: Any) -> bool:
            self.done.set()
            return False

    async with server.open() as database:
        await trio.testing.wait_all_tasks_blocked()
        note = Note()
        assert database.inside.note(note)
        with trio.fail_after(5):
            await note.done.wait()
