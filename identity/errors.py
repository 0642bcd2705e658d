"""The kinds of failure, each saying who must act (DESIGN U4).

    LocalMistake     fix our code or the call that was made
    Refused          the caller asks for what it may not, or for what makes no sense
    Conflict         read again, then try again
    PeerMisbehaved   drop what came, remember who sent it
    Unreachable      queue it, or try another way
    OutcomeUnknown   ask before repeating
    Damaged          stop, keep the evidence, repair
    Exhausted        make room, or wait

Nothing else is raised on purpose anywhere in Bangpath. A message names the cause, the object, server and number
involved, and `next_step` is the command or the act that comes next.
"""

from __future__ import annotations

from typing import Any, ClassVar


class BangpathError(Exception):
    """What went wrong, and what to do about it.

    `cause` is one sentence without a full stop; `next_step` is a command to run or an act, or empty where there is
    none; `details` holds what a program wants to read (JSON values only), such as `field` or `current`.
    """

    kind: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, cause: str, /, *, next_step: str = "", **details: Any) -> None:
        super().__init__(cause)
        self.cause = cause
        self.next_step = next_step
        self.details = details

    def __str__(self) -> str:
        return f"{self.cause}; {self.next_step}" if self.next_step else self.cause

    def as_json(self) -> dict[str, Any]:
        """The error as HTTP and `--json` show it: `{"error": kind, "cause": ..., "next_step": ..., ...details}`."""
        return {"error": self.kind, "cause": self.cause, "next_step": self.next_step, **self.details}


class LocalMistake(BangpathError):
    """A call that our own code should not have made."""

    kind = "local_mistake"
    http_status = 500
    exit_code = 2


class Refused(BangpathError):
    """The caller asks for what it may not, or for what makes no sense."""

    kind = "refused"
    http_status = 422
    exit_code = 1


class Forbidden(Refused):
    """The caller has not the right."""

    kind = "forbidden"
    http_status = 403


class NotFound(Refused):
    """There is no such object, on its owner's word; nobody else may say so (DESIGN P5)."""

    kind = "not_found"
    http_status = 404

    @classmethod
    def by_owner(cls, owner: object, reference: object) -> NotFound:
        """On the word of `owner`, who is named so that the reader knows whose it is."""
        return cls(
            f"there is no object {reference}, says its owner {owner}",
            next_step=f"look what there is: bangpath @{owner} class, then bangpath @{owner} query 'CLASS from {owner}'",
            reference=str(reference),
            owner=str(owner),
        )


class Conflict(BangpathError):
    """What was read has changed since; `details["current"]` is the version that stands, where it is known."""

    kind = "conflict"
    http_status = 409
    exit_code = 1


class PeerMisbehaved(BangpathError):
    """A stranger or a peer sent what no correct server sends."""

    kind = "peer_misbehaved"
    http_status = 502
    exit_code = 1


class Unreachable(BangpathError):
    """Nobody who could answer was reached. It says nothing about whether the thing exists."""

    kind = "unreachable"
    http_status = 504
    exit_code = 4


class Stale(Unreachable):
    """Who was reached holds a copy, but an older one than was asked for; `details` say which."""

    kind = "stale"
    exit_code = 3


class OutcomeUnknown(BangpathError):
    """The request was sent and may have been carried out; ask before repeating it."""

    kind = "outcome_unknown"
    http_status = 504
    exit_code = 4


class Damaged(BangpathError):
    """Stored bytes are not what was written. The evidence is kept."""

    kind = "damaged"
    http_status = 500
    exit_code = 1


class Exhausted(BangpathError):
    """A bound was reached: disk, queue, quota, or time."""

    kind = "exhausted"
    http_status = 503
    exit_code = 1


KINDS: dict[str, type[BangpathError]] = {
    each.kind: each
    for each in (
        LocalMistake, Refused, Forbidden, NotFound, Conflict, PeerMisbehaved, Unreachable, Stale, OutcomeUnknown,
        Damaged, Exhausted,
    )
}  # fmt: skip


def from_json(fields: dict[str, Any]) -> BangpathError:
    """The error that `as_json` told, raised again on the other side of HTTP or of a request.

    An unknown kind becomes `Refused` with the cause that was told: an older client must not crash on a newer node.
    What a stranger told is bounded by the message that it came in; this raises nothing whatever stands in it.
    """
    details = {str(key): value for key, value in fields.items() if key not in ("error", "cause", "next_step")}
    kind = KINDS.get(str(fields.get("error")), Refused)
    return kind(str(fields.get("cause") or "no cause was told"), next_step=str(fields.get("next_step", "")), **details)
