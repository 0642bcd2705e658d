"""Who may tell one owner's rows, in which order, and from when on: what `node.fan_out` lets race.

    here      our own mirror, while it may still come to what `after` asks for
    owner     itself; PATIENCE_S later, or at once where it is known to be silent,
    mirrors   one every STEP_S, as `Asking.holders` orders them

Whoever begins with rows as good as was asked for has won; a copy that is not is noted in the owner's report and passed
over, or asked again while it is only behind. The same rules as for one object in `node.lookup`.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from typing import TYPE_CHECKING, NamedTuple

from identity.errors import BangpathError, Stale, Unreachable
from identity.names import ServerId
from node.asking import Holding, RowPart
from node.federate import Owner
from node.lookup import AGAIN_S, LOOK_S, PATIENCE_S, STEP_S
from node.racing import Attempt, until, until_good
from node.wanted import Wanted
from store.query import Question

if TYPE_CHECKING:
    from node.asking import Asking

OWNER = "owner"  # the name of its attempt; a mirror's is its id


class Telling(NamedTuple):
    """Somebody has begun. `holder` None: the owner. `parts` None: our own mirror, which has come far enough."""

    name: str
    how: str
    holder: ServerId | None
    first: RowPart | None
    parts: AsyncGenerator[RowPart, None] | None


class Tellers:
    """Those of one owner, for one question. `about` is its line in the report."""

    def __init__(self, asking: Asking, question: Question, wanted: Wanted, about: Owner, *, deadline: float) -> None:
        self._asking = asking
        self._question = question
        self._wanted = wanted
        self._about = about
        self._owner = about.server
        self._deadline = deadline
        self._begun: list[AsyncGenerator[RowPart, None]] = []

    def attempts(self, tried: Collection[str]) -> Iterator[Attempt[Telling]]:
        """Those that have not been tried yet, each taken when its time has come."""
        asking, owner, consistency = self._asking, self._owner, self._wanted.consistency
        own, nearest = owner == asking.server, consistency == "nearest"
        holding = asking.holding(owner)
        if holding.kind != "none" and (own or consistency != "owner"):
            self._note_fault(None, holding)
            if self._wanted.after_of(owner) is not None:
                yield Attempt("here", self._await_here)
        if own or consistency == "local":
            return
        if OWNER not in tried:
            silent = asking.silent_since(owner) is not None
            yield Attempt(OWNER, self._begin(None), 0.0 if silent else PATIENCE_S if nearest else math.inf)
        for holder in asking.holders(owner) if nearest else ():
            if str(holder) not in tried:
                yield Attempt(str(holder), self._begin(holder), STEP_S)

    async def close(self, *, but: Telling | None = None) -> None:
        """Nobody waits any more for whoever has begun, but for the one that won."""
        kept = None if but is None else but.parts
        begun, self._begun = self._begun, [] if kept is None else [kept]
        for parts in begun:
            if parts is not kept:
                await parts.aclose()

    def _begin(self, holder: ServerId | None) -> Callable[[], Awaitable[Telling]]:
        """Asks for rows, and is answered when the first came and are as good as was asked for."""

        async def ask() -> Telling:
            owner = self._owner
            parts = self._asking.ask_rows(
                holder or owner, self._question, owner=owner if holder else None, deadline=self._deadline
            )
            self._begun.append(parts)
            first = await anext(parts, None)
            if first is None:
                raise Unreachable(f"{holder or owner} broke off its answer")
            error = self._note_fault(holder, first)
            if error is not None:
                await parts.aclose()
                raise error
            return Telling(str(holder or OWNER), "mirrored" if holder else "owner", holder, first, parts)

        return lambda: until_good(ask, again=is_behind, every_s=AGAIN_S)

    async def _await_here(self) -> Telling:
        """Our own mirror, as soon as it has come so far."""
        after = self._wanted.after_of(self._owner)
        assert after is not None
        holding = await until(
            lambda: None if after.is_behind((now := self._asking.holding(self._owner)).position) else now,
            every_s=LOOK_S,
        )
        error = self._note_fault(None, holding)
        if error is not None:
            raise error
        return Telling("here", "mirrored", self._asking.server, None, None)

    def _note_fault(self, holder: ServerId | None, said: RowPart | Holding) -> Stale | None:
        """What is wrong with a copy, if it is not as good as was asked for; the report remembers it."""
        owner, here = self._owner, isinstance(said, Holding)
        by_owner = holder is None and (not isinstance(said, Holding) or said.kind == "owned")
        fault = self._wanted.fault(owner, position=said.position, age=said.age, by_owner=by_owner)
        if not fault:
            return None
        whose = self._asking.server if here else holder or owner
        after = self._wanted.after_of(owner)
        behind = {"behind": str(after)} if after is not None and after.is_behind(said.position) else {}
        error = Stale(
            f"what {whose} holds of {owner} {fault}",
            next_step=f"ask for less, or again when {owner} is reached: bangpath @{self._asking.server} peers",
            server=str(owner),
            **behind,
        )
        path = self._asking.path_to(owner) if isinstance(said, Holding) else said.path
        self._about.found_stale(error, position=said.position, age=said.age, path=path, by=whose)
        return error


def is_behind(error: BangpathError) -> bool:
    """Whether time may heal it: a copy that has not yet come so far as `after` asks for."""
    return "behind" in error.details
