"""What people asked of servers, and what they were told: each word with its begin, its end and its outcome.

    server.up.update(...)  --> Recorder --> node.update(...)        the very node; everything else passes through
                                  |
                             History.words     begin 12, 1.3 asks 1.1: update 1.1/4 (text)  ... end 15: done, sequence 9

What an outcome says of a change:

    DONE      carried out, and durable: its owner says so
    REFUSED   its owner, or the server that was asked, says that nothing was changed
    UNKNOWN   nobody knows: it failed on the way, its server crashed, or it waits in an outbox
    OPEN      still under way

Begins and ends are counted (`begin`, `end`) beside their virtual seconds: of two events one comes first even where
virtual time stands still. Everything that a checker says of answers, it says of these words.
What a server is told to mirror, and which changes to take back, is in `decisions`: no question, and no change.
Left to others: what the answers must be (the check_*.py files).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from identity.errors import Conflict, LocalMistake, NotFound, Refused, Unreachable
from identity.names import Reference, ServerId, parse_reference
from node.asking import Operation
from node.outcomes import Queued

# What the owner, or the server asked, says when nothing was changed. Stale, a kind of Unreachable, is of reads.
NOTHING_DONE = (Refused, Conflict, NotFound, LocalMistake, Unreachable)


class Outcome(Enum):
    """What became of a word."""

    OPEN = "open"
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(slots=True, eq=False)
class Word:
    """One thing that was asked of `server` about the objects of `owner` ("": of several owners).

    `verb`: change, get or query; of a decision mirror, unmirror, cancel or forget. `operations`: of a change.
    `target`: the reference of a get, the text of a query; of a decision the pattern, or the number of a request in the
    outbox. `options`: how good an answer must be, and how long a change may take. `result`: what came back; `error`:
    what was raised instead.
    """

    number: int
    server: str
    owner: str
    verb: str
    operations: tuple[Operation, ...]
    target: Any
    options: Mapping[str, Any]
    begin: int
    begin_s: float
    end: float = math.inf
    end_s: float = math.inf
    outcome: Outcome = Outcome.OPEN
    result: Any = None
    error: BaseException | None = None

    def told(self) -> str:
        """All that came back, or what was raised instead: the same text in every process."""
        return repr(self.result) if self.error is None else f"{type(self.error).__name__}: {self.error}"

    def __str__(self) -> str:
        if self.verb == "change":
            what = ", ".join(said(self.owner, each) for each in self.operations)
        else:
            what = f"{self.verb} {self.target}"
        ended = "" if self.end_s == math.inf else f" to {self.end_s:.3f}"
        told = f"{self.outcome.value}: {self.error}" if self.error is not None else self.outcome.value
        asked = f" of {self.owner}" if self.owner and self.owner != self.server else ""
        return f"{self.server} asked{asked} at {self.begin_s:.3f}{ended} s: {what} ({told})"


def said(owner: str, operation: Operation) -> str:
    """An operation as a person reads it."""
    what = operation.class_name if operation.op in ("create", "put") else f"{owner}/{operation.object}"
    based = "" if operation.expect is None else f" as of sequence {operation.expect}"
    return f"{operation.op} {what}{operation.fields or ''}{based}"


@dataclass
class History:
    """All words of one world, in the order of their begins; `ended` in that of their ends; `decisions` apart."""

    clock: Callable[[], float]
    ending: Callable[[Word], None] = lambda word: None  # hears of each word as it ends
    words: list[Word] = field(default_factory=list)
    ended: list[Word] = field(default_factory=list)
    decisions: list[Word] = field(default_factory=list)
    _tick: int = 0

    def recording(self, server: str, node: Any) -> Recorder:
        """`node`, its words recorded."""
        return Recorder(self, server, node)

    def tick(self) -> int:
        """The next moment."""
        self._tick += 1
        return self._tick

    @contextmanager
    def word(
        self,
        server: str,
        owner: str,
        verb: str,
        *,
        operations: Sequence[Operation] = (),
        target: Any = None,
        options: Mapping[str, Any] | None = None,
        decision: bool = False,
    ) -> Iterator[Word]:
        """Around a word: set `result` inside. What is raised there is its outcome, and goes on."""
        word = Word(
            number=len(self.words), server=server, owner=owner, verb=verb, operations=tuple(operations),
            target=target, options=dict(options or {}), begin=self.tick(), begin_s=self.clock(),
        )  # fmt: skip
        (self.decisions if decision else self.words).append(word)
        try:
            yield word
            word.outcome = Outcome.UNKNOWN if isinstance(word.result, Queued) else Outcome.DONE
        except BaseException as error:
            word.error = error
            word.outcome = Outcome.REFUSED if isinstance(error, NOTHING_DONE) else Outcome.UNKNOWN
            raise
        finally:
            word.end = self.tick()
            word.end_s = self.clock()
            if not decision:
                self.ended.append(word)
            self.ending(word)


class Recorder:
    """A node whose asking and changing words are recorded; every other attribute is the node's."""

    def __init__(self, history: History, server: str, node: Any) -> None:
        self._history = history
        self._server = server
        self._node = node

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    async def create(
        self, class_name: str, fields: Mapping[str, Any], *, server: ServerId | None = None, **how: Any
    ) -> Any:
        operation = Operation(op="create", class_name=class_name, fields=dict(fields))
        with self._change(server, [operation], how) as word:
            word.result = await self._node.create(class_name, fields, server=server, **how)
        return word.result

    async def update(self, reference: Any, fields: Mapping[str, Any], **how: Any) -> Any:
        owner, number = self._target(reference)
        operation = Operation(op="update", object=number, fields=dict(fields), expect=how.get("expect"))
        with self._change(owner, [operation], how) as word:
            word.result = await self._node.update(reference, fields, **how)
        return word.result

    async def delete(self, reference: Any, **how: Any) -> Any:
        owner, number = self._target(reference)
        operation = Operation(op="delete", object=number, expect=how.get("expect"))
        with self._change(owner, [operation], how) as word:
            word.result = await self._node.delete(reference, **how)
        return word.result

    async def transact(self, operations: Sequence[Operation], *, server: ServerId | None = None, **how: Any) -> Any:
        with self._change(server, operations, how) as word:
            word.result = await self._node.transact(operations, server=server, **how)
        return word.result

    async def get(self, reference: Any, **how: Any) -> Any:
        owner, number = self._target(reference)
        with self._history.word(self._server, str(owner), "get", target=f"{owner}/{number}", options=how) as word:
            word.result = await self._node.get(reference, **how)
        return word.result

    async def query(self, question: Any, **how: Any) -> Any:
        with self._history.word(self._server, "", "query", target=question, options=how) as word:
            word.result = await self._node.query(question, **how)
        return word.result

    # -- decisions

    async def mirror(self, pattern: str, *how: Any, **more: Any) -> Any:
        with self._decision("mirror", pattern) as word:
            word.result = await self._node.mirror(pattern, *how, **more)
        return word.result

    async def unmirror(self, pattern: str) -> Any:
        with self._decision("unmirror", pattern) as word:
            word.result = await self._node.unmirror(pattern)
        return word.result

    async def cancel_change(self, request: int, *, forget: bool = False, **how: Any) -> Any:
        with self._decision("forget" if forget else "cancel", request) as word:
            word.result = await self._node.cancel_change(request, forget=forget, **how)
        return word.result

    def _decision(self, verb: str, target: Any) -> Any:
        return self._history.word(self._server, "", verb, target=target, decision=True)

    def _change(self, owner: ServerId | None, operations: Sequence[Operation], how: Mapping[str, Any]) -> Any:
        whose = self._server if owner is None else str(owner)
        return self._history.word(self._server, whose, "change", operations=operations, options=how)

    def _target(self, reference: Any) -> tuple[ServerId, int]:
        if isinstance(reference, str):
            reference = parse_reference(reference)
        if isinstance(reference, Reference):
            return reference.server, reference.object
        server, number = reference
        return (self._node.server if server is None else server), number
