"""Input/output errors and no room, at each step of a store's life: what was answered is there, and readers go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from identity.errors import BangpathError, Damaged, Exhausted
from store.checking_stopped import check_stopped
from store.database import Database, Settings
from store.query import Question

SMALL = Settings(generation_bytes=6000, segment_bytes=9000, step_bytes=2048)


async def names(database: Database) -> list[str]:
    with database.view() as view:
        return sorted(each.fields["name"] for each in view.select(Question("Shoe")))


async def commit(database: Database, first: int, count: int, answered: list[str]) -> None:
    for number in range(first, first + count):
        name = f"{number:04d}"
        await database.transact(lambda t, name=name: t.create("Shoe", {"name": name, "note": "x" * 100}))
        answered.append(name)


def is_whole(server: Any) -> bool:
    work = check_stopped(server.disk, server.tables, server=server.server, incarnation=5)
    while True:
        try:
            next(work)
        except StopIteration as finished:
            return bool(finished.value.whole)


@pytest.mark.parametrize("kind", ["write", "sync"])
async def test_an_error_at_every_step(make_server: Callable[..., Any], shoe: Any, kind: str) -> None:
    """A sync that failed is never tried again, and what it was for may be on the medium or not (L7)."""
    stopped = 0
    for step in range(1, 60):
        server = make_server(settings=SMALL, seed=step)
        answered: list[str] = []
        server.disk.fail_at(**{kind: step})
        with_error: BaseException | None = None
        try:
            async with server.open() as database:
                await database.define(shoe)
                try:
                    await commit(database, 0, 25, answered)
                finally:
                    if database.failure is not None:
                        assert isinstance(database.failure, Damaged)
                        assert database.failure.next_step, "it says what to do"
                        assert await names(database) == answered, "readers go on"
        except BangpathError as error:
            with_error = error
            stopped += 1
        server.disk.crash()
        async with server.open() as database:
            if answered or with_error is None:
                found = await names(database)
                assert set(answered) <= set(found)
                assert len(found) <= len(answered) + 1
                await commit(database, 100, 3, answered)
        assert is_whole(server)
    assert stopped > 20


async def test_no_room_at_any_size(make_server: Callable[..., Any], shoe: Any) -> None:
    """Refused while there is none, and taken again, in the same run, when there is; readers go on (DESIGN D2)."""
    refused = 0
    for room in range(0, 24_000, 700):
        server = make_server(settings=SMALL, seed=room)
        answered: list[str] = []
        async with server.open() as database:
            await database.define(shoe)
            server.disk.room = room
            told: Exhausted | None = None
            try:
                await commit(database, 0, 60, answered)
            except Exhausted as error:
                told = error
            if told is not None:
                refused += 1
                assert "room" in told.cause or "full" in told.cause
                assert told.next_step
                assert database.failure is None
            assert await names(database) == answered
            server.disk.full = False
            await commit(database, 100, 5, answered)
            assert await names(database) == answered
        assert is_whole(server)
    assert refused > 20


async def test_a_start_without_any_room(make_server: Callable[..., Any], shoe: Any) -> None:
    server = make_server(settings=SMALL)
    answered: list[str] = []
    async with server.open() as database:
        await database.define(shoe)
        await commit(database, 0, 10, answered)
        database.inside.abandon()
    server.disk.crash()
    server.disk.full = True
    for _ in range(20):
        async with server.open() as database:
            assert await names(database) == answered
            with pytest.raises(Exhausted):
                await commit(database, 500, 60, [])
            answered = await names(database)
            database.inside.abandon()
        server.disk.crash()
        server.disk.full = True
    server.disk.full = False
    async with server.open() as database:
        await commit(database, 900, 5, answered)
    assert is_whole(server)


async def test_commits_that_wait_for_a_fold_that_fails_are_answered(server: Any, shoe: Any) -> None:
    """Whoever waits for room in the generations hears of it, and the store can be closed."""
    server.settings = SMALL

    async def failing(changes: Any, meta: bytes) -> None:
        while not generations.must_wait:
            await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        raise Damaged("the tables' disk failed", next_step="start again")

    answered: list[str] = []
    server.tables.fold = failing
    with trio.fail_after(5):
        async with server.open() as database:
            generations = database.inside.generations
            await database.define(shoe)
            with pytest.raises(Damaged, match="the tables' disk failed"):
                await commit(database, 0, 100, answered)
    del server.tables.fold
    server.disk.crash()
    async with server.open() as database:
        assert await names(database) == answered
