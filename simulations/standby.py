"""A task that does one thing again and again, whenever it is called: then it need not be woken for it.

    agenda --a datagram arrives--> port --call--> Standby          the end of the instant: every task waits
                                                     '--act--> the pump takes a turn, as if its task had been woken

To wake a task each time (a step of trio's loop, a batch of one) was a tenth of what a run cost. What is done is done
under the context of the task, and what it raises is raised in the task. The task itself wakes where there is more to do
at once, for then others go first; and while its actor is paused, when it is kept back like all others. A standby acts
where no other task may run, so what it does falls between the steps of all tasks, as one of its own would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from simulations.engine import Agenda


class Standby:
    """One task that stands by. `act` is what it does; `more()` says whether it is to do it again at once."""

    def __init__(self, agenda: Agenda, act: Callable[[], None], more: Callable[[], bool]) -> None:
        self._agenda = agenda
        self._act = act
        self._more = more
        self._task: trio.lowlevel.Task | None = None  # while it stands by
        self._called = False
        self._raised: BaseException | None = None

    async def serve(self) -> None:
        """`act` whenever called, and while there is `more` to do. Ends by being cancelled, or by what `act` raises."""
        while True:
            if self._more():
                await trio.lowlevel.checkpoint()
            else:
                self._task = trio.lowlevel.current_task()
                try:
                    await trio.lowlevel.wait_task_rescheduled(self._abort)
                except trio.Cancelled:
                    if self._raised is not None:  # by who cancelled it, in the same act
                        raise self._raised from None
                    raise
            if self._raised is not None:
                raise self._raised
            self._act()

    def call(self) -> None:
        """It is to act; once, however often it is called in one instant. Nothing where it does not stand by."""
        if self._task is not None and not self._called:
            self._called = True
            self._agenda.call(self)

    def act(self) -> None:
        """For the agenda, at the end of the instant."""
        self._called = False
        task = self._task
        if task is None:  # cancelled meanwhile
            return
        if not self._agenda.keeps_back(task):
            try:
                task.context.run(self._act)
            except BaseException as error:  # its task's, whatever it is
                self._raised = error
            else:
                if not self._more():
                    return
        self.wake()

    def wake(self) -> None:
        """Its task acts, as soon as it may run. Nothing where it does not stand by."""
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
