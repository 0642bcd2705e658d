"""The tasks that drive the building and dropping of indexes, a class each, and whoever waits for their end.

    define --Busy--> finish(number)         waits; raises what made it impossible
    opening -------> resume()               what a crash or a close has interrupted goes on

Such a task lives only while there is something to do. It sends one step after the other to the task that owns the log,
and each is answered after its sync, so it never has more than one in the queue.
"""

from __future__ import annotations

import trio

from identity.errors import BangpathError, Refused
from store.building import UNFINISHED
from store.work import BuildStep
from store.writing import Writer


class Builder:
    """Owner of these tasks, which run in the store's nursery."""

    def __init__(self, writer: Writer, nursery: trio.Nursery) -> None:
        self._writer = writer
        self._nursery = nursery
        self._ended: dict[int, trio.Event] = {}
        self._trouble: BangpathError | None = None

    def resume(self) -> None:
        """At opening."""
        for number in self._writer.applier.registry.builds():
            self._start(number)

    async def finish(self, number: int, *, begun: bool) -> None:
        """Wait until nothing is being made or dropped of a class.

        Raises why the store stopped meanwhile, or, to the one who had it `begun`, `Refused` when it could not be made.
        """
        self._start(number)
        ended = self._ended.get(number)
        if ended is not None:
            await ended.wait()
        building = self._writer.applier.registry.building(number)
        if building is not None and building.unfinished and self._trouble is not None:
            raise self._trouble
        if begun and building is not None and building.reason:
            raise Refused(building.reason, next_step="change one of them first, then define the class again")

    def _start(self, number: int) -> None:
        building = self._writer.applier.registry.building(number)
        if number not in self._ended and building is not None and building.unfinished:
            self._ended[number] = trio.Event()
            self._nursery.start_soon(self._run, number)

    async def _run(self, number: int) -> None:
        try:
            while await self._writer.do(BuildStep(number)) in UNFINISHED:
                pass
        except BangpathError as error:  # the store stopped or was closed: it goes on at the next start
            self._trouble = error
        finally:
            self._ended.pop(number).set()
