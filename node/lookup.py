"""One question about one object: an answer that says what it is, or an honest failure, never a guess (DESIGN P5).

    who is asked first       consistency:  local             nearest                  owner

    the object is ours                     here              here                     here
    we mirror its owner's whole feed       here              here                     the owner
    we hold a cached copy                  here              the owner, then here     the owner
    we hold nothing                        nobody            the owner                the owner

    nearest, step by step    owner -- PATIENCE_S --> mirror -- STEP_S --> mirror ... at most MAX_HOLDERS of them
    owner known to be silent owner, mirror -- STEP_S --> mirror ...                  nobody waits for what is known
    owner failed, and they   our cached copy, else copies that CACHES neighbours keep by chance
    `after`, behind here     our own mirror is looked at all the while, and answers when it has come so far

Rules. Only the owner says *no such object* (`NotFound`): a mirror that has none says `Unreachable` with its position,
because the object may have been born since. An answer carries its kind, position, age and path, and since when the
owner is not reached where that is why another one answered. A copy that is not as good as was asked for (`node.wanted`)
is no answer; where there is nothing better the failure is `Stale` and names each with its age. Time belongs to the
caller: a deadline is passed on to those who wait.

Pure: decisions are functions over what is held; waiting is done by `node.racing` and `node.asking.Asking`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from identity.errors import BangpathError, Exhausted, NotFound, OutcomeUnknown, Stale, Unreachable
from identity.names import ObjectId, ServerId
from node.asking import Found
from node.racing import Attempt, race, until, until_good
from node.wanted import NEAREST, Wanted

if TYPE_CHECKING:
    from node.asking import Asking

PATIENCE_S = 0.7  # with an owner that is not known to be silent, before others are asked; a satellite answers within it
STEP_S = 0.2  # between two mirrors: both may be dead, and asking one more costs a packet
SPARE_S = 2.0  # for mirrors to answer once the owner has failed, before a copy kept by chance is taken
CACHES = 3  # neighbours asked for a copy kept by chance
AGAIN_S = 0.1  # between two looks at a mirror that is behind what was asked for
LOOK_S = 0.02  # the same at our own, which costs nothing
SILENT = (Unreachable, OutcomeUnknown, Exhausted)  # of an owner: others may be asked in its place
First = Literal["here", "owner", "nobody"]


def first_source(*, own: bool, held: str, consistency: str) -> First:
    """Who answers first: the table in this file's head. `held` is "owned", "mirrored", "cached" or "nothing"."""
    if own:
        return "here"
    if consistency == "owner":
        return "owner"
    if held == "mirrored":
        return "here"
    if consistency == "local":
        return "here" if held == "cached" else "nobody"
    return "owner"


async def look_up(
    asking: Asking, server: ServerId, object: ObjectId, *, wanted: Wanted = NEAREST, deadline: float
) -> Found:
    """The object, from the best source that is good enough.

    `deadline` is absolute, in the caller's monotonic seconds. Raises `NotFound` on the owner's word alone, `Stale`
    when all that was reached is older than `wanted`, `Unreachable` when nobody who may answer was reached.
    """
    return await _Question(asking, server, object, wanted, deadline).answer()


class _Question:
    """One object that somebody wants."""

    def __init__(self, asking: Asking, server: ServerId, object: ObjectId, wanted: Wanted, deadline: float) -> None:
        self._asking = asking
        self._server = server
        self._object = object
        self._wanted = wanted
        self._deadline = deadline
        self._asked_at: float | None = None  # the owner
        self._copies: dict[tuple[ServerId, str], dict[str, Any]] = {}  # reached and not good enough
        self._silence: BangpathError | None = None

    async def answer(self) -> Found:
        asking, server, wanted = self._asking, self._server, self._wanted
        here = held_here(asking, server, self._object)
        own = server == asking.server
        held = here.kind if here else "nothing"
        if held == "mirrored" and not asking.holding(server).whole:
            held = "cached"  # of a feed that is not known to be whole: its owner is asked first
        first = first_source(own=own, held=held, consistency=wanted.consistency)
        if first == "here" and self._is_good(here):
            if here is None:
                raise NotFound.by_owner(server, f"{server}/{self._object}")
            return self._told(here)
        if first == "nobody" and not self._may_come():
            raise self._unknown_here()
        raced = await race(
            self._front(ask_others=not own and wanted.consistency != "local"),
            self._rear(here) if wanted.consistency == "nearest" and not own else (),
            deadline=self._deadline,
            spare_s=SPARE_S,
            is_final=lambda name, error: name in ("here", "owner") and not isinstance(error, SILENT),
        )
        self._silence = raced.errors.get("owner")
        if raced.answer is not None:
            return self._told(raced.answer)
        if here is not None and wanted.consistency == "nearest" and self._is_good(here):
            return self._told(here)
        raise self._failure()

    # -- who is asked

    def _front(self, *, ask_others: bool) -> Iterator[Attempt[Found]]:
        """The owner, then who mirrors it; before them our own mirror, where it may come to what was asked for."""
        asking, server = self._asking, self._server
        if self._may_come():
            yield Attempt("here", self._here)
        if not ask_others:
            return
        nearest = self._wanted.consistency == "nearest"
        silent = asking.silent_since(server) is not None
        self._asked_at = asking.now()
        yield Attempt("owner", self._asked(), 0.0 if silent else PATIENCE_S if nearest else math.inf, leads=True)
        for holder in asking.holders(server) if nearest else ():
            yield Attempt(str(holder), self._asked(holder), STEP_S)

    def _rear(self, here: Found | None) -> list[Attempt[Found]]:
        """Copies kept by chance: ours, else those of some neighbours."""
        if self._wanted.after_of(self._server) is not None:
            return []  # they have no position
        if here is not None and self._is_good(here):
            kept = here
            return [Attempt("kept", partial(_given, kept))]
        others = [each for each in self._asking.neighbours() if each != self._server]
        return [Attempt(f"kept by {each}", self._asked(each, cached=True)) for each in others[:CACHES]]

    def _may_come(self) -> bool:
        """Whether what is held here may come to contain what was asked for, while one waits."""
        after = self._wanted.after_of(self._server)
        if after is None or (self._wanted.consistency == "owner" and self._server != self._asking.server):
            return False
        holding = self._asking.holding(self._server)
        return holding.kind != "none" and after.is_behind(holding.position)

    async def _here(self) -> Found:
        after = self._wanted.after_of(self._server)
        assert after is not None
        # Only the position is looked at again and again: an object that is not there is the owner's to deny.
        await until(
            lambda: True if not after.is_behind(self._asking.holding(self._server).position) else None, every_s=LOOK_S
        )
        found = held_here(self._asking, self._server, self._object)
        if found is None and self._server == self._asking.server:
            raise NotFound.by_owner(self._server, f"{self._server}/{self._object}")
        if found is None:
            raise self._unknown_here()
        return self._checked(found)

    def _asked(self, holder: ServerId | None = None, *, cached: bool = False) -> Callable[[], Awaitable[Found]]:
        async def ask() -> Found:
            found = await self._asking.ask_object(
                self._server, self._object, holder=holder, cached=cached, deadline=self._deadline
            )
            return self._checked(found)

        return lambda: until_good(ask, again=lambda error: "behind" in error.details, every_s=AGAIN_S)

    # -- what is good enough

    def _is_good(self, found: Found | None) -> bool:
        """Whether a copy is as good as was asked for; what is wrong with it is remembered. None, of the own: it is."""
        if found is None:
            after = self._wanted.after_of(self._server)
            return after is None or not after.is_behind(self._asking.holding(self._server).position)
        try:
            self._checked(found)
        except Stale:
            return False
        return True

    def _checked(self, found: Found) -> Found:
        """The copy itself. Raises `Stale` for one that is not as good as was asked for."""
        by_owner = found.kind in ("owned", "owner")
        fault = self._wanted.fault(self._server, position=found.position, age=found.age, by_owner=by_owner)
        whose = found.by or self._server
        if not fault:
            self._copies.pop((whose, found.kind), None)
            return found
        self._copies[whose, found.kind] = {
            "server": str(whose),
            "kind": found.kind,
            "position": None if found.position is None else str(found.position),
            "age": None if found.age is None else round(found.age, 3),
            "path": [str(each) for each in found.path],
            "why": fault,
        }
        after = self._wanted.after_of(self._server)
        behind = {"behind": str(after)} if after is not None and after.is_behind(found.position) else {}
        raise Stale(f"what {whose} holds of {self._server}/{self._object} {fault}", **behind)

    # -- what is said

    def _since(self) -> float | None:
        return unreachable_for(self._asking, self._server, asked_at=self._asked_at)

    def _told(self, found: Found) -> Found:
        if found.kind in ("owned", "owner"):
            return found
        return found._replace(owner_unreachable_since=self._since())

    def _unknown_here(self) -> Unreachable:
        asking, server = self._asking, self._server
        return Unreachable(
            f"{asking.server} holds no copy of {server}/{self._object}, and only {server} may say that there is none",
            next_step=self._backup_step()
            or f"ask again without --consistency local, or mirror it: bangpath @{asking.server} mirror {server}",
            reference=f"{server}/{self._object}",
            **self._known(),
        )

    def _failure(self) -> Unreachable:
        """What is told in the end: what there is and why it will not do, or that nobody holds anything."""
        asking, server = self._asking, self._server
        text = f"{server}/{self._object}"
        silence = self._silence or Unreachable(f"no answer of {server} within the deadline")
        known = {"reference": text, **self._known()}
        since = self._since()
        if since is not None:
            known["owner_unreachable_since"] = since
        copies = list(self._copies.values())
        if copies:
            told = "; ".join(f"the copy of {each['server']} {each['why']}" for each in copies)
            why = "" if self._wanted.consistency == "local" or server == asking.server else f"; {silence.cause}"
            return Stale(
                f"no copy of {text} is as good as was asked for: {told}{why}",
                next_step=f"ask for less, or again when {server} is reached: bangpath @{asking.server} peers",
                copies=copies,
                **known,
            )
        if self._wanted.consistency == "local":
            return self._unknown_here()
        nobody = "" if self._wanted.consistency == "owner" else ", and nobody who was reached holds a copy"
        return Unreachable(
            f"{server}, the owner of {text}, was not reached{nobody}: {silence.cause}",
            next_step=self._backup_step() or silence.next_step or f"bangpath @{asking.server} peers",
            **known,
        )

    def _backup_step(self) -> str:
        """What can be done where a backup is kept here, of which nothing is shown."""
        backup = self._asking.holding(self._server).backup
        if backup is None:
            return ""
        here = f"bangpath @{self._asking.server} mirror {self._server}"
        return f"a backup up to {backup} is kept here, which is not shown; with its owner's consent: {here}"

    def _known(self) -> dict[str, Any]:
        """What is known here about the owner's feed: a program may want to wait for more."""
        holding = self._asking.holding(self._server)
        if holding.position is None:
            return {}
        return {
            "position": str(holding.position),
            "age": None if holding.age is None else round(holding.age, 3),
        }


async def _given(found: Found) -> Found:
    return found


def unreachable_for(asking: Asking, server: ServerId, *, asked_at: float | None) -> float | None:
    """For how many seconds an owner that has not answered is not reached; None: it is, or nobody tried.

    As the router knows; else since it was last heard, or asked, for it may be gone and nobody may have noticed yet. One
    that was heard after it was asked is only slow.
    """
    since = asking.silent_since(server)
    if since is None and asked_at is not None:
        heard_at = asking.heard_at(server)
        since = asked_at if heard_at is None else heard_at if heard_at <= asked_at else None
    return None if since is None else round(max(0.0, asking.now() - since), 3)


def held_here(asking: Asking, server: ServerId, object: ObjectId) -> Found | None:
    """What this server holds of the object, as it may be answered: owned, mirrored or cached; None for nothing."""
    with asking.view() as view:
        stored = view.get((server, object))
    if stored is None or (server != asking.server and not asking.shows(stored)):
        return None
    if server == asking.server:
        kind, position = "owned", asking.holding(server).position
        age: float | None = 0.0
    else:
        holding = asking.holding(server)
        if stored.kind == "mirrored" and holding.kind == "mirrored":
            kind, position, age = "mirrored", holding.position, holding.age
        else:
            kind, position, age = "cached", None, asking.age_of(stored)
    path = asking.path_to(server) if kind == "mirrored" else (asking.server,)
    by = None if kind == "owned" else asking.server
    return Found(
        stored.reference, stored.class_name, stored.sequence, stored.fields, kind, position, age, path, None, by,
        stored.fingerprint,
    )  # fmt: skip
