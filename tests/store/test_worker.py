"""One thread beside the loop: it gets its turn, and the loop does not nap when it has nothing to do."""

import threading
import time

import pytest
import trio

from store import worker
from store.worker import NAP_EVERY_S, Worker


async def naps_of(monkeypatch: pytest.MonkeyPatch, *, busy: bool) -> int:
    """How often the loop naps while a job runs that ends when a task beside it has had its time."""
    naps = 0
    sleep, stop = time.sleep, threading.Event()

    def nap(seconds: float) -> None:
        nonlocal naps
        naps += 1
        sleep(seconds)

    monkeypatch.setattr(worker.time, "sleep", nap)
    thread = Worker("test")

    async def beside() -> None:
        if busy:
            end = time.thread_time() + 5 * NAP_EVERY_S
            while time.thread_time() < end:
                await trio.lowlevel.checkpoint()
        else:
            await trio.sleep(5 * NAP_EVERY_S)
        stop.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(beside)
        assert await thread.run(stop.wait)
    thread.stop()
    return naps


async def test_a_busy_loop_naps_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await naps_of(monkeypatch, busy=True) > 2


async def test_an_idle_loop_naps_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await naps_of(monkeypatch, busy=False) == 1


async def test_what_a_job_raises_is_raised_to_its_caller() -> None:
    thread = Worker("test")
    with pytest.raises(ZeroDivisionError):
        await thread.run(lambda: 1 // 0)
    thread.stop()
