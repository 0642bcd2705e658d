"""One dedicated thread beside the loop, for a slow sync and for the fold (DESIGN L7, T4).

    loop    run(job) ...... 2 ms . nap . 2 ms . nap . 2 ms ...... result
    thread       job ===========================================

Threads starve beside a busy loop: a fold did 1 400 to 2 700 rows/s instead of 180 000. So while a job runs, whoever
waits for it puts the whole loop to sleep for 0.2 ms after each 2 ms, which gave 89 000 to 135 000 rows/s for 4 to 12 %
of bulk (FACTS). A loop that was idle most of those 2 ms has given the thread its turn, and does not nap: everybody
would wait for the nap, where all of them wait for a sync. A hop costs 115-154 us, so short work stays in the loop.
The simulator uses no thread at all.

LMDB wants a write transaction ended by the thread that began it; a `Worker` is always the same one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import outcome
import trio

Result = TypeVar("Result")

NAP_S = 0.0002
NAP_EVERY_S = 0.002


class Worker:
    """One dedicated thread, and one caller at a time that waits for it.

    The thread is a daemon: a process that must end does not wait for a disk that hangs.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Callable[[outcome.Outcome[Any]], None]] | None]
        self._jobs = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run_blocking(self, job: Callable[[], Result]) -> Result:
        """Run `job` in the thread and block until it is done: for opening and closing, outside any loop."""
        done: queue.SimpleQueue[outcome.Outcome[Result]] = queue.SimpleQueue()
        self._submit(job, done.put)
        return done.get().unwrap()

    async def run(self, job: Callable[[], Result]) -> Result:
        """Run `job` in the thread; what it returns or raises is returned or raised here. Not cancellable."""
        token = trio.lowlevel.current_trio_token()
        finished = trio.Event()
        results: list[outcome.Outcome[Result]] = []

        def deliver(result: outcome.Outcome[Result]) -> None:
            results.append(result)
            try:
                token.run_sync_soon(finished.set)
            except trio.RunFinishedError:  # the loop is gone; nobody waits any more
                return

        self._submit(job, deliver)
        busy = True  # with what made it hand this over: the thread gets its turn now
        with trio.CancelScope(shield=True):
            while not results:
                if busy:
                    time.sleep(NAP_S)  # noqa: ASYNC251 - gives the interpreter to the thread; see the head
                worked_s = time.thread_time()
                with trio.move_on_after(NAP_EVERY_S):
                    await finished.wait()
                busy = time.thread_time() - worked_s > NAP_EVERY_S / 2
        return results[0].unwrap()

    def stop(self) -> None:
        """End the thread after what it is doing."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None

    def _submit(self, job: Callable[[], Any], deliver: Callable[[outcome.Outcome[Any]], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        self._jobs.put((job, deliver))

    def _serve(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, deliver = item
            deliver(outcome.capture(job))
