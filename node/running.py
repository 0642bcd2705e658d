"""What every group of the node's words stands on: who this server is, what runs, and how a word is counted.

    Answering, Altering, Saying, Links, Tracing  -->  Running  <--is--  node.node.Node

The groups are parts of one class for its callers, and files of their own for its readers. What is abstract here is
written once, in `node.node`, which no group imports.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

from identity.names import ObjectId, Reference, ServerId

if TYPE_CHECKING:
    from node.parts import Parts

AnyReference = Reference | tuple[ServerId | None, ObjectId] | str
AfterText = str | Iterable[str] | None


class Running(ABC):
    """A server, as its words see it."""

    server: ServerId
    wall_ms: Callable[[], int]

    @property
    @abstractmethod
    def parts(self) -> Parts:
        """Everything that runs. Raises `Exhausted` when nothing does."""

    @abstractmethod
    def note(self, event: str, **details: Any) -> None:
        """One line of the log."""

    @abstractmethod
    def _word(self, deadline: float | None) -> AbstractAsyncContextManager[tuple[Parts, float]]:
        """Around a word: it is counted, and its deadline made absolute. Raises `Exhausted` when nothing runs."""

    @abstractmethod
    def _target(self, reference: AnyReference) -> tuple[ServerId, ObjectId]:
        """The owner and number that a reference means."""
