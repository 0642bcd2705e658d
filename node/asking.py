"""What a question sees of the node that asks it, and what comes back: so that lookup and federate never import node.

    lookup, federate   --ask through-->   Asking   <--is--   node.node.Node

    Found       an object that says what it is (DESIGN P5): kind, position, age, path
    Changed     what became of a change
    Holding     how this server holds an owner's data feed
    RowPart     some rows of one server's answer; the last one says how far that answer reaches
    Operation   one act of a transaction on objects of one owner

Rule: none of these knows a socket or a clock; deadlines are absolute seconds of `Asking.now()`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import msgspec

from identity.names import ObjectId, Pattern, Position, Reference, ServerId

if TYPE_CHECKING:
    from store.query import Question
    from store.reading import View
    from store.records import Stored

MAX_HOLDERS = 8  # asked in an owner's place: further ones would hardly be luckier

Kind = Literal["owned", "mirrored", "cached", "owner"]
Done = Literal["created", "updated", "unchanged", "deleted"]


class Found(NamedTuple):
    """An object, and what this answer is worth.

    `kind`: "owned" here, from the "owner" just now, "mirrored" here or by another server, or "cached": kept by chance.
    `position` is the owner's, up to which the answer is known to be true; `age` is seconds since that was proven
    current; `path` is who handed it on, the owner first and this server last; of a cached copy, of which nobody knows
    how it came, who kept it first. `owner_unreachable_since`: for how many seconds the owner has not been reached,
    where that is why another one answered; None: it is reached, or not asked. `by`: who answered, where that is not the
    owner. `fingerprint`: which of the classes of that name it is.
    """

    reference: Reference
    class_name: str
    sequence: int
    fields: Mapping[str, Any]
    kind: str
    position: Position | None
    age: float | None
    path: tuple[ServerId, ...]
    owner_unreachable_since: float | None = None
    by: ServerId | None = None
    fingerprint: bytes = b""


class Changed(NamedTuple):
    """What became of one operation; `position` is its owner's, None when nothing was changed or it is in no feed."""

    reference: Reference
    sequence: int
    position: Position | None
    done: str

    def as_json(self) -> dict[str, Any]:
        return {
            "reference": str(self.reference),
            "sequence": self.sequence,
            "position": None if self.position is None else str(self.position),
            "done": self.done,
        }


class Holding(NamedTuple):
    """How this server holds an owner's data feed: `whole` up to `position`, proven current `age` seconds ago.

    `backup`: how far it is kept for its owner, which is not shown (DESIGN R6).
    """

    kind: Literal["owned", "mirrored", "none"]
    position: Position | None
    age: float | None
    whole: bool
    backup: Position | None = None


class RowPart(NamedTuple):
    """Rows of one answer, in the order that was asked for. `last`: nothing follows.

    `position` and `age` are those of the owner's feed at whoever answered, `path` and `by` as in `Found`;
    `rows` may be empty.
    """

    rows: list[Found]
    last: bool
    position: Position | None
    age: float | None
    path: tuple[ServerId, ...]
    by: ServerId | None = None


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One act on an object of one owner. Values of `fields` are those of `store.values`.

    "create" needs `class_name` and `fields`; "update" and "delete" need `object` and may `expect` a sequence; "put"
    needs `class_name`, `key` (a unique field) and `fields`: it creates unless an owned object has that key already,
    which is then updated, or left alone when nothing would change.
    """

    op: Literal["create", "update", "delete", "put"]
    class_name: str = ""
    object: int = 0
    key: str = ""
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    expect: int | None = None


class Asking(Protocol):
    """The node, as a question sees it. All of it raises only the kinds of `identity.errors`."""

    server: ServerId
    incarnation: int

    def now(self) -> float:
        """Monotonic seconds."""

    def view(self) -> AbstractContextManager[View]:
        """One consistent state of everything held here."""

    def holding(self, server: ServerId) -> Holding:
        """How the data feed of `server` is held here."""

    def age_of(self, stored: Stored) -> float:
        """Seconds since a cached copy was fetched from its owner."""

    def path_to(self, server: ServerId) -> tuple[ServerId, ...]:
        """By whom the updates of `server` come here: the owner first, this server last."""

    def silent_since(self, server: ServerId) -> float | None:
        """Since when nothing reaches `server`, by `now()`; None when it is reached, or was not yet tried."""

    def heard_at(self, server: ServerId) -> float | None:
        """When the last packet of `server` came, by `now()`; None: there is no session with it, or none came yet."""

    def shows(self, stored: Stored) -> bool:
        """Whether a copy of another owner's object may be answered with; not with the mirrors switched off."""

    def owners(self, class_name: str, servers: Pattern | None) -> list[ServerId]:
        """Who has adopted a class of that name, by the directory known here; this server included. Sorted."""

    def major(self, server: ServerId, class_name: str) -> int | None:
        """The newest major of such a class that a server has adopted, as far as is known here."""

    def knows(self, server: ServerId) -> bool:
        """Whether the directory known here has this server."""

    def holders(self, owner: ServerId) -> list[ServerId]:
        """Who may answer in the owner's place, best first, at most `MAX_HOLDERS`; neighbours of ours or not."""

    def neighbours(self) -> list[ServerId]:
        """Who is reached now, nearest in the name tree first."""

    def registry_report(self) -> list[dict[str, Any]]:
        """What the directory is worth: `{server, position, age}` of each registry feed known here."""

    async def ask_object(
        self,
        server: ServerId,
        object: ObjectId,
        *,
        holder: ServerId | None = None,
        cached: bool = False,
        deadline: float,
    ) -> Found:
        """The object from its owner, or as `holder` mirrors it. `NotFound` only on the owner's word.

        `cached`: a copy that the holder keeps by chance will do.
        """

    def ask_rows(
        self, server: ServerId, question: Question, *, owner: ServerId | None = None, deadline: float
    ) -> AsyncGenerator[RowPart, None]:
        """The rows of `server` itself, or those of `owner` that it mirrors, in the order asked for."""
