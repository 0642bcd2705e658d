"""Several who may answer, asked one after another without waiting long for the dead: the first good answer wins.

    front   owner ---- patience ----> mirror -- step --> mirror -- step --> mirror
            each begins when the gap of the one before is over, or when one has failed
    rear    copies kept by chance
            when the leader has failed, and all others of the front have too or spare_s is over

A `trio` shell and nothing else: who stands in the line, and what is good enough, is decided in `node.lookup` and
`node.federate`. An attempt fails by raising a `BangpathError`; an error that `is_final` ends the race at once. Whoever
has not answered when the race is over is cancelled, which tells it so.

Bound: as many requests at once as there are attempts, which the caller keeps to some ten.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import trio

from identity.errors import BangpathError

Answer = TypeVar("Answer")


class Attempt(NamedTuple, Generic[Answer]):
    """One who may answer. `gap_s`: how long it is the last that was asked. `leads`: the rear waits for its failure."""

    name: str
    ask: Callable[[], Awaitable[Answer]]
    gap_s: float = 0.0
    leads: bool = False


class Raced(NamedTuple, Generic[Answer]):
    """The first good answer, or None, and what became of those who failed before."""

    answer: Answer | None
    errors: dict[str, BangpathError]


async def race(
    front: Iterable[Attempt[Answer]],
    rear: Sequence[Attempt[Answer]] = (),
    *,
    deadline: float,
    spare_s: float = 0.0,
    is_final: Callable[[str, BangpathError], bool] = lambda name, error: False,
) -> Raced[Answer]:
    """Ask them as the picture shows, until `deadline`. Raises an error that is final, and our own mistakes.

    Of `front` the next one is taken when its time has come: whoever is not needed is never looked for.
    """
    return await _Race(front, rear, deadline, spare_s, is_final).run()


class _Race(Generic[Answer]):
    """One race."""

    def __init__(
        self,
        front: Iterable[Attempt[Answer]],
        rear: Sequence[Attempt[Answer]],
        deadline: float,
        spare_s: float,
        is_final: Callable[[str, BangpathError], bool],
    ) -> None:
        self._front = front
        self._rear = rear
        self._deadline = deadline
        self._spare_s = spare_s
        self._is_final = is_final
        self._left = 1  # of the front, not yet failed; and one while more may come
        self._freed = 0  # failures that have not yet let the next one begin
        self._failed = trio.Event()
        self._lead_failed = trio.Event()
        self._all_failed = trio.Event()
        self._errors: dict[str, BangpathError] = {}
        self._raised: Exception | None = None
        self._answer: Answer | None = None
        self._scope = trio.CancelScope(deadline=deadline)

    async def run(self) -> Raced[Answer]:
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._start_front, nursery)
                if self._rear:
                    nursery.start_soon(self._start_rear, nursery)
        if self._raised is not None:  # told outside the nursery, which would wrap it
            raise self._raised
        return Raced(self._answer, self._errors)

    async def _start_front(self, nursery: trio.Nursery) -> None:
        for attempt in self._front:
            self._left += 1
            nursery.start_soon(self._try, attempt)
            with trio.move_on_after(attempt.gap_s):
                while not self._freed:
                    await self._failed.wait()
                self._freed -= 1
        self._leave()

    async def _start_rear(self, nursery: trio.Nursery) -> None:
        await self._lead_failed.wait()
        with trio.move_on_after(self._spare_s):
            await self._all_failed.wait()
        for attempt in self._rear:
            nursery.start_soon(self._try, attempt)

    async def _try(self, attempt: Attempt[Answer]) -> None:
        try:
            answer = await attempt.ask()
        except BangpathError as error:
            self._errors[attempt.name] = error
            if self._is_final(attempt.name, error):
                self._end(error)
            else:
                self._note_failure(attempt)
        except Exception as error:  # our own mistake
            self._end(error)
        else:
            if self._answer is None and self._raised is None:
                self._answer = answer
                self._scope.cancel()

    def _end(self, error: Exception) -> None:
        if self._answer is None and self._raised is None:
            self._raised = error
            self._scope.cancel()

    def _note_failure(self, attempt: Attempt[Answer]) -> None:
        if attempt in self._rear:
            return
        self._freed += 1
        self._failed.set()
        self._failed = trio.Event()
        if attempt.leads:
            self._lead_failed.set()
        self._leave()

    def _leave(self) -> None:
        self._left -= 1
        if not self._left:
            self._all_failed.set()


async def until_good(
    ask: Callable[[], Awaitable[Answer]], *, again: Callable[[BangpathError], bool], every_s: float
) -> Answer:
    """Ask until it answers, as long as its failures are such that time heals them."""
    while True:
        try:
            return await ask()
        except BangpathError as error:
            if not again(error):
                raise
        await trio.sleep(every_s)


async def until(happens: Callable[[], Answer | None], *, every_s: float) -> Answer:
    """Look until there is something."""
    while True:
        found = happens()
        if found is not None:
            return found
        await trio.sleep(every_s)
