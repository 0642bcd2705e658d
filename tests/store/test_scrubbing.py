"""A store in use is looked at beside its work, without holding it up, and round after round."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from store.database import Settings
from store.findings import Progress, Report
from store.scrubbing import SLICE_S, Scrub, check_running

SMALL = Settings(generation_bytes=20_000, segment_bytes=30_000, step_bytes=8192)


async def grow(database: Any, shoe: Any, objects: int) -> None:
    await database.define(shoe)

    def body(transaction: Any, first: int) -> None:
        for number in range(first, first + 50):
            transaction.create("Shoe", {"name": f"shoe {number}", "size": number % 60})

    for first in range(0, objects, 50):
        await database.transact(lambda t, first=first: body(t, first))


async def test_commits_go_on_beside_a_check_and_nothing_is_found(server: Any, shoe: Any) -> None:
    server.settings = SMALL
    async with server.open() as database:
        await grow(database, shoe, 1500)
        heard: list[Progress] = []
        commits = 0

        async def commit(transaction_scope: trio.CancelScope) -> None:
            nonlocal commits
            chosen = random.Random(1)
            with transaction_scope:
                while True:
                    number = chosen.randrange(1500)
                    await database.transact(
                        lambda t, number=number: t.update(65 + number, {"size": chosen.randrange(60)})
                    )
                    commits += 1
                    await trio.lowlevel.checkpoint()

        async def tell(progress: Progress) -> None:
            heard.append(progress)

        scope = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(commit, scope)
            report = await check_running(database, tell=tell)
            scope.cancel()
        assert [str(each) for each in report.findings] == []
        assert report.counts["owned records"] >= 1500
        assert report.counts["index entries"] >= 4500
        assert {each.part for each in heard} >= {"log", "objects", "index"}
        assert commits > len(heard) / 20, "they took turns"


async def test_a_bound_on_bytes_is_kept(server: Any, shoe: Any, autojump_clock: Any) -> None:
    async with server.open() as database:
        await grow(database, shoe, 500)
        begun = trio.current_time()
        report = await check_running(database, bytes_per_s=10_000)
        took = trio.current_time() - begun
        assert took >= report.bytes / 10_000 - 1
        assert took <= report.bytes / 10_000 + 1


async def test_scrubbing_finds_and_has_it_mended_and_rests(server: Any, shoe: Any, autojump_clock: Any) -> None:
    async with server.open() as database:
        await grow(database, shoe, 50)
        told: list[Report] = []
        mended: list[Report] = []
        name = server.disk.list()[0]

        async def mend(report: Report) -> None:
            mended.append(report)
            server.disk.flip(name, 5000)

        scrub = Scrub(database, bytes_per_s=1e6, told=told.append, mend=mend, rest_s=100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scrub.run)
            await trio.sleep(50)
            server.disk.flip(name, 5000)
            begun = trio.current_time()
            await trio.sleep(300)
            nursery.cancel_scope.cancel()
        assert trio.current_time() - begun == 300
        assert [each.whole for each in told] == [True, False, True, True]
        assert mended == [told[1]]
        assert SLICE_S < 0.01


async def test_a_store_that_stopped_is_not_scrubbed(server: Any, shoe: Any, autojump_clock: Any) -> None:
    async with server.open() as database:
        await grow(database, shoe, 50)
        server.disk.fail_at(sync=1)
        with pytest.raises(Exception, match="not known"):
            await database.transact(lambda t: t.put_setting("a", 1))
        await Scrub(database, bytes_per_s=1e6, told=lambda report: None).run()
        assert database.failure is not None
