"""One question about one object: an answer that says what it is, or an honest failure, never a guess (DESIGN P5).

    who is asked first       consistency:  local             nearest                  owner

    the object is ours                     here              here                     here
    we mirror its owner's whole feed       here              here                     the owner
    we hold a cached copy                  here              the owner, then here     the owner
    we hold nothing                        nobody            the owner                the owner

    the owner is silent      for PATIENCE_S, where there are mirrors among our neighbours: these are asked, and then
                             the owner until the deadline; then our cached copy is shown as what it is (nearest only);
                             else Unreachable, with what is known

Rules. Only the owner says *no such object* (`NotFound`): a mirror that has none says `Unreachable` with its position,
because the object may have been born since. An answer carries its kind, position, age and path. Time belongs to the
caller: a deadline is passed on to those who wait.

Pure: decisions are functions over what is held; `look_up` awaits only what `node.asking.Asking` gives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from identity.errors import BangpathError, NotFound, OutcomeUnknown, Refused, Unreachable
from identity.names import ObjectId, Reference, ServerId
from node.asking import Found

if TYPE_CHECKING:
    from node.asking import Asking

PATIENCE_S = 1.0  # with an owner whose mirrors are known, before those are asked; a satellite answers within it
CONSISTENCIES = ("local", "nearest", "owner")
First = Literal["here", "owner", "nobody"]


def check_consistency(text: str) -> str:
    """The word itself. Raises `Refused` for any other."""
    if text not in CONSISTENCIES:
        raise Refused(f"{text!r} is no consistency", next_step="say local, nearest or owner", field="consistency")
    return text


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
    asking: Asking, server: ServerId, object: ObjectId, *, consistency: str = "nearest", deadline: float
) -> Found:
    """The object, from the best source that `consistency` allows.

    `deadline` is absolute, in the caller's monotonic seconds. Raises `NotFound` on the owner's word alone,
    `Unreachable` when nobody who may answer was reached, `Refused` for a word that is no consistency.
    """
    check_consistency(consistency)
    here = held_here(asking, server, object)
    own = server == asking.server
    held = here.kind if here else "nothing"
    if held == "mirrored" and not asking.holding(server).whole:
        held = "cached"  # of a feed that is not known to be whole: its owner is asked first
    first = first_source(own=own, held=held, consistency=consistency)
    if first == "here":
        if here is None:
            raise NotFound.by_owner(server, f"{server}/{object}")
        return here
    if first == "nobody":
        raise _unknown_here(asking, server, object)
    holders = asking.carriers(server) if consistency == "nearest" else []
    patience = min(deadline, asking.now() + PATIENCE_S) if holders else deadline
    try:
        return await asking.ask_object(server, object, deadline=patience)
    except (Unreachable, OutcomeUnknown) as first_silence:
        silence: BangpathError = first_silence
        if consistency == "owner":
            raise
        for holder in holders:
            try:
                return await asking.ask_object(server, object, holder=holder, deadline=deadline)
            except BangpathError:  # the next may hold it; what the owner's silence means is told in the end
                continue
        if holders:  # slow, not silent: now it has all the time there is
            try:
                return await asking.ask_object(server, object, deadline=deadline)
            except (Unreachable, OutcomeUnknown) as again:
                silence = again
        if here is not None:
            return here
        raise _silent(asking, server, object, silence) from silence


def held_here(asking: Asking, server: ServerId, object: ObjectId) -> Found | None:
    """What this server holds of the object, as it may be answered: owned, mirrored or cached; None for nothing."""
    with asking.view() as view:
        stored = view.get((server, object))
    if stored is None:
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
    return Found(stored.reference, stored.class_name, stored.sequence, stored.fields, kind, position, age, path)


def _unknown_here(asking: Asking, server: ServerId, object: ObjectId) -> Unreachable:
    return Unreachable(
        f"{asking.server} holds no copy of {server}/{object}, and only {server} may say that there is none",
        next_step=f"ask again without --consistency local, or mirror it: bangpath @{asking.server} mirror {server}",
        reference=f"{server}/{object}",
        **_known(asking, server),
    )


def _silent(asking: Asking, server: ServerId, object: ObjectId, silence: BangpathError) -> Unreachable:
    return Unreachable(
        f"{server}, the owner of {server}/{object}, was not reached, and nobody here holds a copy: {silence.cause}",
        next_step=silence.next_step or f"bangpath @{asking.server} peers",
        reference=f"{server}/{object}",
        **_known(asking, server),
    )


def _known(asking: Asking, server: ServerId) -> dict[str, object]:
    """What is known here about the owner's feed: a program may want to wait for more."""
    holding = asking.holding(server)
    if holding.position is None:
        return {}
    return {"position": str(holding.position), "age": None if holding.age is None else round(holding.age, 3)}


def reference_text(reference: Reference | tuple[ServerId, ObjectId]) -> str:
    """`1.7.3/42`, of either form in which a reference is passed inside the node."""
    if isinstance(reference, Reference):
        return str(reference)
    return f"{reference[0]}/{reference[1]}"
