"""Changes for other servers in words, and what an owner's answer means for one that waits in the outbox.

    CHANGED                       COMMITTED   {"results": [{reference, sequence, done}], "position"}
    FAILED conflict               CONFLICT    {"error": {..., "current": {...}, "sequence"}}
    FAILED exhausted              PUT_BACK    it was not carried out, and may be later
    FAILED withdrawn              NOT_DONE    it was not carried out, and never will be
    FAILED damaged, unknown ...   no outcome: its owner does not know, and is asked again
    FAILED gone                   REFUSED, but of what was sent before this session LOST: another one may have done it
    FAILED anything else          REFUSED
    no answer is kept             LOST        (a server that takes no more questions just now is asked again before)

Only a server that reads its records before it refuses may be believed so (`node.serving`). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from identity.errors import (
    BangpathError,
    Conflict,
    Damaged,
    Exhausted,
    LocalMistake,
    OutcomeUnknown,
    PeerMisbehaved,
    from_json,
)
from identity.names import ServerId
from node.asking import Changed, Operation
from node.requests import ANSWERS, ChangedAll, Modify, operation_untrusted, reference_of
from node.requests import Failed as FailedMessage
from replication.entries import Entry, Happened, State
from transport.requests import Answered, Failed
from transport.wire import decode_untrusted

MAX_TEXT = 200  # characters of a change in words
MAX_RESULTS = 100  # of a transaction's results that are kept with its outcome; the rest are counted


class Queued(msgspec.Struct, frozen=True):
    """A change that waits in this server's outbox, under this request; `ahead` of it are so many of the same owner."""

    request: int
    server: ServerId
    state: str
    ahead: int

    def as_json(self) -> dict[str, Any]:
        return {"request": self.request, "server": str(self.server), "state": self.state, "ahead": self.ahead}


class Read(NamedTuple):
    """An answer, read. `happened` None: its owner does not know."""

    happened: Happened | None
    outcome: dict[str, Any]
    answer: ChangedAll | None = None
    error: BangpathError | None = None


def describe(operations: Sequence[Operation], owner: ServerId) -> str:
    """What a change does, as a person reads it."""
    said = []
    for each in operations[:MAX_RESULTS]:
        if each.op in ("create", "put"):
            said.append(f"{each.op} {each.class_name}")
        else:
            fields = f" ({', '.join(each.fields)})" if each.fields else ""
            said.append(f"{each.op} {owner}/{each.object}{fields}")
    text = ", ".join(said)
    if len(operations) > 1:
        text = f"{len(operations)} operations: {text}"
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"


def read_answered_untrusted(output: Answered | Failed, entry: Entry) -> Read:
    """What became of the change, by the end of its request. Raises `PeerMisbehaved`."""
    if isinstance(output, Failed):
        return Read(Happened.LOST, _told(output.error), error=output.error)
    answer = decode_untrusted(output.body, ANSWERS)
    if isinstance(answer, FailedMessage):
        error = answer.as_error()
        return Read(_meaning(error, entry), _told(error), error=error)
    if not isinstance(answer, ChangedAll):
        raise PeerMisbehaved(f"answered {type(answer).__name__} to a change")
    changed = changed_of(entry.owner, answer)
    position = next((str(each.position) for each in reversed(changed) if each.position is not None), None)
    results = [{"reference": str(each.reference), "sequence": each.sequence, "done": each.done} for each in changed]
    outcome: dict[str, Any] = {"results": results[:MAX_RESULTS], "position": position}
    if len(results) > MAX_RESULTS:
        outcome["further_results"] = len(results) - MAX_RESULTS
    return Read(Happened.COMMITTED, outcome, answer=answer)


def changed_of(owner: ServerId, answer: ChangedAll) -> list[Changed]:
    """What an owner's answer says, operation by operation."""
    position = answer.at.position(owner, answer.incarnation)
    return [
        Changed(reference_of(owner, answer.incarnation, each.object), each.sequence, position, each.done)
        for each in answer.outcomes
    ]


def error_of(entry: Entry) -> BangpathError:
    """The error that stands for the outcome of a change that was not committed."""
    said = (entry.outcome or {}).get("error")
    if isinstance(said, dict):
        return from_json(said)
    return OutcomeUnknown(
        f"change {entry.number} for {entry.owner} is {entry.state.value}", next_step="bangpath outbox show it"
    )


def entry_json(entry: Entry, *, ahead: int) -> dict[str, Any]:
    """An entry as lists show it."""
    return {
        "request": entry.number,
        "server": str(entry.owner),
        "operation": entry.text,
        "bytes": entry.size,
        "since_ms": entry.since_ms,
        "expires_ms": entry.expires_ms,
        "state": entry.state.value,
        "ahead": ahead if entry.open else None,
        "settled_ms": entry.settled_ms,
        "outcome": None if entry.open else entry.outcome or {},
    }


def operations_json(question: Modify, owner: ServerId) -> list[dict[str, Any]]:
    """What a change that waits is going to do, in full."""
    said = []
    for act in question.acts:
        each = operation_untrusted(act)
        told: dict[str, Any] = {"op": each.op}
        if each.class_name:
            told["class"] = each.class_name
        if each.object:
            told["reference"] = f"{owner}/{each.object}"
        if each.key:
            told["key"] = each.key
        if each.expect is not None:
            told["expect"] = each.expect
        said.append({**told, "fields": each.fields} if each.fields else told)
    return said


def _meaning(error: BangpathError, entry: Entry) -> Happened | None:
    if isinstance(error, Conflict):
        return Happened.CONFLICT
    if isinstance(error, Exhausted):
        return Happened.PUT_BACK
    if isinstance(error, (OutcomeUnknown, Damaged, LocalMistake)):
        return None
    if error.details.get("withdrawn") and entry.state is not State.SENT:
        return Happened.NOT_DONE
    if error.details.get("gone") and entry.again:
        return Happened.LOST
    return Happened.REFUSED


def _told(error: BangpathError) -> dict[str, Any]:
    return {"error": error.as_json()}
