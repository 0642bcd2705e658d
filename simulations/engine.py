"""trio on virtual time: the simulator stands where trio's I/O manager stands, and one seed decides every order.

    trio's run loop            here
    epoll_wait(timeout)        pop the next thing from the agenda, move the clock there, let it happen
    time                       the agenda's; it moves only when every task waits
    the loop of a node's pump  called by what happens, where every task waits (standby.py): no step of trio
    which task runs first      a generator seeded for this run
    deadlines that tie         the order in which they were set, shuffled by that generator
    which task may run at all  all but those of a paused actor: they are kept back, in order, until it is resumed

What is promised: `run(main, seed=7)` makes the same steps in the same order in every process, whatever
PYTHONHASHSEED and address layout (DESIGN P6, V1). What uses a thread, a real clock, a real socket or the system's
randomness is refused with file and line (guard.py). An hour takes as long as its events do.

This is the one file that touches private names of trio, which is why trio is pinned to a minor version; the contract
test tests/simulations/test_engine.py says plainly when a new trio has moved them. The private names are
`trio._core._run`: `_ALLOW_DETERMINISTIC_SCHEDULING`, `_r` (its `shuffle` gets each batch), `TheIOManager`,
`Deadlines.add`, `GLOBAL_RUN_CONTEXT.runner`, `Runner.deadlines` (its `next_deadline` is the earliest), `Runner.runq`
(its `append` gets each task that may run), `Runner.entry_queue` (its `queue` and `idempotent_queue` say whether a
signal or a finalizer waits).
"""

from __future__ import annotations

import contextlib
import contextvars
import heapq
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import trio
from trio._core import _run  # private: see this file's promise

from identity.errors import LocalMistake
from simulations import guard
from simulations.garbage import collected_by_steps
from simulations.watchdog import Watchdog

if TYPE_CHECKING:
    from simulations.standby import Standby

Result = TypeVar("Result")

_IDLE_LIMIT = 3  # times that nothing was due before we call it a deadlock; trio's own start and end need one or two
_QUIET_STEPS = 32  # of the agenda that wake no task, before trio looks whether a signal came
_DEAF_LIMIT = 100  # and times after which whoever is still there will not go by itself


# The server whose task is running: set where a server's life begins, inherited by all of its tasks, "" outside.
actor: contextvars.ContextVar[str] = contextvars.ContextVar("actor", default="")


class Agenda(trio.abc.Clock):
    """The heap of what will happen when, and the clock that follows it. Seconds of virtual time, from 0."""

    def __init__(self, tie_break: random.Random) -> None:
        self.now = 0.0
        self.next_deadline = math.inf
        self._heap: list[tuple[float, float, int, Callable[[], None], bool]] = []
        self._order = 0
        self._tie_break = tie_break
        self._scheduler = _Scheduler(0)
        self._held: dict[str, list[trio.lowlevel.Task]] = {}
        self._happening = False  # events of one instant
        self._called: list[Standby] = []  # by them
        self.events = 0

    def at(self, when: float, act: Callable[[], None], *, counts: bool = True) -> None:
        """Let `act` happen at virtual second `when`. What falls on one instant happens in a seeded order.

        `counts`: it is an event of the run, and not only a timer.
        """
        self._order += 1
        when = when if when > self.now else self.now
        heapq.heappush(self._heap, (when, self._tie_break.random(), self._order, act, counts))

    def call(self, standby: Standby) -> None:
        """Let it act when the events of this instant have happened."""
        if self._happening:
            self._called.append(standby)
        else:  # by a task, or by another one that acts
            self.at(self.now, standby.act, counts=False)

    def step(self) -> bool:
        """Move to the next instant and let everything due there happen; False when nothing is due ever."""
        due = self._heap[0][0] if self._heap else math.inf
        if due == math.inf and self.next_deadline == math.inf:
            return False
        if due > self.next_deadline:
            self.now = max(self.now, self.next_deadline)
            return True
        self.now = due
        self._happening = True
        while self._heap and self._heap[0][0] <= due:
            _, _, _, act, counts = heapq.heappop(self._heap)
            self.events += counts
            act()
        self._happening = False
        if self._called:
            called, self._called = self._called, []
            for standby in called:
                standby.act()
            self.next_deadline = _run.GLOBAL_RUN_CONTEXT.runner.deadlines.next_deadline()  # they may have changed it
        return True

    def run_until(self, end: float) -> None:
        """Alone, without trio: let everything happen that is due until then (cores.py)."""
        while self._heap and self._heap[0][0] <= end:
            self.step()
        self.now = max(self.now, end)

    # -- who may run

    @property
    def paused(self) -> tuple[str, ...]:
        """The actors whose tasks do not run, in the order in which they were paused."""
        return tuple(self._held)

    def keeps_back(self, task: trio.lowlevel.Task) -> bool:
        """Whether its actor is paused."""
        return bool(self._held) and _owner(task) in self._held

    def pause(self, name: str) -> None:
        """From now on no task of actor `name` runs, as if its process had been stopped; what wakes one is kept.

        Its timeouts expire meanwhile, and what is sent to it waits, all seen when it is resumed. A task that pauses
        its own actor goes on to its next await. Whoever ends a paused actor resumes it first: a task that may not run
        cannot end. Pausing twice is pausing once.
        """
        if not name:
            raise LocalMistake("what belongs to no actor cannot be paused")
        if name in self._held:
            return
        held = self._held[name] = []
        runner = _run.GLOBAL_RUN_CONTEXT.runner
        batch = self._scheduler.batch  # trio takes from its end
        held += [task for task in reversed(batch) if _owner(task) == name]
        held += [task for task in runner.runq if _owner(task) == name]
        batch[:] = [task for task in batch if _owner(task) != name]
        waiting = [task for task in runner.runq if _owner(task) != name]
        runner.runq = _HoldingQueue(self._held, waiting)

    def resume(self, name: str) -> None:
        """Let the tasks of `name` run again, what was kept back in its order; no error when it was not paused."""
        kept = self._held.pop(name, [])
        runner = _run.GLOBAL_RUN_CONTEXT.runner
        waiting = [*runner.runq, *kept]
        runner.runq = _HoldingQueue(self._held, waiting) if self._held else deque(waiting)

    def resume_all(self) -> None:
        """At the end of a world: what is held could not end."""
        for name in self.paused:
            self.resume(name)

    # -- trio.abc.Clock

    def start_clock(self) -> None:
        """Nothing: virtual time needs no start."""

    def current_time(self) -> float:
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        self.next_deadline = deadline  # trio asks just before it waits: the earliest of its deadlines
        return deadline - self.now


def _owner(task: trio.lowlevel.Task) -> str:
    return task.context.get(actor, "")


class _HoldingQueue(deque[trio.lowlevel.Task]):
    """trio's run queue while somebody is paused; while nobody is, trio has its own again and pays nothing."""

    def __init__(self, held: dict[str, list[trio.lowlevel.Task]], waiting: list[trio.lowlevel.Task]) -> None:
        super().__init__(waiting)
        self._held = held

    def append(self, task: trio.lowlevel.Task) -> None:
        kept = self._held.get(_owner(task))
        if kept is None:
            super().append(task)
        else:
            kept.append(task)


class _Scheduler(random.Random):
    """In the place of trio's generator: it decides the order of each batch, and knows the batch that is running."""

    batch: list[trio.lowlevel.Task]

    def __init__(self, seed: object) -> None:
        super().__init__(str(seed))
        self.batch = []

    def shuffle(self, batch: Any) -> None:
        """As `random.Random.shuffle`, three times as fast; what it is short of evenness is 1 in 2^53."""
        self.batch = batch
        draw = self.random
        for here in range(len(batch) - 1, 0, -1):
            there = int(draw() * (here + 1))
            batch[here], batch[there] = batch[there], batch[here]


def run(main: Callable[[Agenda], Awaitable[Result]], *, seed: int) -> Result:
    """Run `main(agenda)` on virtual time. Raises `LocalMistake` when every task waits for what can never come.

    `seed` decides the order of tasks, of deadlines that tie and of events of one instant; what else is random in a
    simulation takes its own generator. What would make runs differ is a `LocalMistake` too, and named. Not re-entrant:
    one simulation a thread at a time.
    """
    agenda = Agenda(random.Random(f"{seed}/agenda"))
    agenda._scheduler.seed(f"{seed}/scheduler")
    deadlock: list[str] = []
    scope = trio.CancelScope()

    async def watched(watch: guard.Watch) -> Result | None:
        with scope:
            watch.begin()
            try:
                return await main(agenda)
            finally:
                watch.end()
        return None

    idle = 0
    watchdog = Watchdog()
    nothing: list[Any] = []  # what trio's own manager gives when nothing came

    class SimulatedIO(_run.TheIOManager):  # type: ignore[name-defined,misc,unused-ignore]  # private: see the head
        def get_events(self, timeout: float) -> Any:
            nonlocal idle
            garbage.step()
            runner = _run.GLOBAL_RUN_CONTEXT.runner
            told = runner.entry_queue
            if told.queue or told.idempotent_queue:  # a Ctrl-C or a finalizer, by a real socket
                return super().get_events(0)
            if timeout <= 0:  # no look at the system: it would cost as much as the rest of this step
                spun = watchdog.spun(runner.runq, agenda.now)
                if spun and deadlock:
                    raise LocalMistake(f"{spun}, and does not end when it is cancelled")
                if spun:
                    deadlock.append(spun)
                    scope.cancel()
                return nothing
            watchdog.moved()
            if agenda.step():
                idle = 0
                for _ in range(_QUIET_STEPS):  # a loss, a turn of a pump: trio need not hear of it
                    if runner.runq or agenda.now >= agenda.next_deadline or not agenda.step():
                        break
                    garbage.step()
                return nothing
            idle += 1
            if idle > _IDLE_LIMIT and not deadlock:
                paused = f" (paused: {', '.join(agenda.paused)})" if agenda.paused else ""
                deadlock.append(f"at virtual second {agenda.now:.3f} every task waits and nothing is due{paused}")
                agenda.resume_all()
                scope.cancel()
            if idle > _DEAF_LIMIT:
                raise LocalMistake(f"{deadlock[0]}, and a task that ignores cancellation waits for ever")
            return super().get_events(0.001)

    with (
        _deterministic(seed, agenda._scheduler),
        _replaced(_run, "TheIOManager", SimulatedIO),
        guard.watching() as watch,
        collected_by_steps() as garbage,
        watchdog.awake(),
    ):
        result = trio.run(watched, watch, clock=agenda)
    if deadlock:
        raise LocalMistake(
            deadlock[0],
            next_step="look for a task that waits for a thread, a real socket or a lost event, or asks again and again",
        )
    return result  # type: ignore[return-value]  # None only when cancelled by the deadlock above


@contextlib.contextmanager
def _deterministic(seed: int, scheduler: _Scheduler) -> Iterator[None]:
    order = random.Random(f"{seed}/deadlines")

    def add(self: Any, deadline: float, cancel_scope: Any) -> None:
        # trio breaks ties by id(scope), an address (FACTS: one workload gave two traces); a seeded number replays.
        heapq.heappush(self._heap, (deadline, order.getrandbits(62), cancel_scope))
        self._active += 1

    with (
        _replaced(_run, "_r", scheduler),
        _replaced(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        _replaced(_run.Deadlines, "add", add),
    ):
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
