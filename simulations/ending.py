"""How a node's life ends, for those who wait for it: small parts of `simulations.machine`.

Ending      done at once; awaiting it waits until the last task has ended, and nobody need await it
Started     something happens in the moment in which a task says that it has started
leaves      the errors inside nurseries' groups; `alone` is the one, where it is one
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

import trio


class Ending(Coroutine[Any, Any, None]):
    """What was done at once, and can be awaited until nothing of it runs any more; it need not be."""

    def __init__(self, gone: trio.Event) -> None:
        self._gone = gone
        self._waiting: Coroutine[Any, Any, None] | None = None

    def send(self, value: Any) -> Any:
        if self._waiting is None:
            self._waiting = self._gone.wait()
        return self._waiting.send(value)

    def throw(self, *error: Any) -> Any:
        if self._waiting is None:
            self._waiting = self._gone.wait()
        return self._waiting.throw(*error)

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.close()

    def __await__(self) -> Generator[Any, Any, None]:
        return self._gone.wait().__await__()


class Started:
    """`trio.TaskStatus`, with something done just before the starter hears of it."""

    def __init__(self, status: trio.TaskStatus[None], then: Callable[[], None]) -> None:
        self._status = status
        self._then = then
        self.done = False

    def started(self, value: None = None) -> None:
        self.done = True
        self._then()
        self._status.started(value)


def leaves(error: BaseException) -> list[BaseException]:
    """The errors inside nurseries' groups."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error]


def alone(error: BaseException) -> BaseException:
    """The one error inside nurseries' groups, where it is one: what a person wants to read."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
