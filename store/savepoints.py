"""A part of a transaction that is taken back while the rest of it stands (DESIGN T3).

    with database.transaction() or transact(body):
        t.create(...)                             stands
        try:
            with t.savepoint():
                t.update(...)                     taken back: an error left the block
                t.create(...)
        except Refused: ...
        with t.savepoint() as point:
            if t.delete(...): point.roll_back()   taken back without an error

Changes are noted only while a savepoint stands, one step each, so a savepoint costs nothing before it and nothing for
what was changed before it; what all steps keep is bounded by 16 MiB, as what a transaction changes is (L6). What was
read stays read: a transaction that may await is checked for that too. Numbers of objects that were made and taken
back are not used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from identity.errors import LocalMistake, Refused
from store.records import MAX_BODY_BYTES

if TYPE_CHECKING:
    from types import TracebackType

    from store.changes import Change, Overlay

STEP_BYTES = 512  # what a step weighs beside the change that it keeps, about
_ABSENT = b""  # no object has this key, so no entry points to it


class Step(NamedTuple):
    """What one change has replaced: the object's change before it, the weight of all, entries (`_ABSENT`: none)."""

    object_key: bytes
    before: Change | None
    weight: int
    entries: dict[bytes, bytes | None]

    @property
    def bytes_kept(self) -> int:
        return STEP_BYTES + (0 if self.before is None else len(self.before.wire) + len(self.before.stored))


class Journal:
    """The changes of one transaction, its entries in `overlay`, and the steps back while a savepoint stands."""

    def __init__(self, changes: dict[bytes, Change], overlay: Overlay) -> None:
        self._changes = changes
        self._overlay = overlay
        self._steps: list[Step] = []
        self._standing: list[Savepoint] = []
        self._kept = 0  # bytes of all steps, about

    def note(self, change: Change) -> None:
        """Before `change` is taken. Raises `Refused` when the steps would keep too much."""
        if not self._standing:
            return
        entries, keys = self._overlay.index, (*change.before_keys, *change.after_keys)
        step = Step(
            change.object_key,
            self._changes.get(change.object_key),
            self._overlay.weight,
            {key: entries.get(key, _ABSENT) for key in keys},
        )
        if self._kept + step.bytes_kept > MAX_BODY_BYTES:
            raise Refused(
                f"{len(self._steps)} changes that a savepoint could take back keep {self._kept} bytes, "
                f"{MAX_BODY_BYTES} allowed",
                next_step="end savepoints sooner, or make it in several transactions",
            )
        self._kept += step.bytes_kept
        self._steps.append(step)

    def begin(self, savepoint: Savepoint) -> int:
        """How many steps there are before it."""
        self._standing.append(savepoint)
        return len(self._steps)

    def end(self, savepoint: Savepoint) -> None:
        """It, and all within it, stand no more; the changes stay. Raises `LocalMistake` when it ended already."""
        self.check(savepoint)
        del self._standing[self._standing.index(savepoint) :]
        if not self._standing:
            self._steps.clear()
            self._kept = 0

    def roll_back(self, savepoint: Savepoint, steps: int) -> None:
        """Take the changes back until so many steps are left. Raises `LocalMistake` when it stands no more."""
        self.check(savepoint)
        while len(self._steps) > steps:
            step = self._steps.pop()
            self._kept -= step.bytes_kept
            if step.before is None:
                del self._changes[step.object_key]
            else:
                self._changes[step.object_key] = step.before
            for key, value in step.entries.items():
                if value == _ABSENT:
                    self._overlay.index.pop(key, None)
                else:
                    self._overlay.index[key] = value
            self._overlay.weight = step.weight

    def check(self, savepoint: Savepoint) -> None:
        """Raises `LocalMistake` when it stands no more."""
        if savepoint not in self._standing:
            raise LocalMistake("a savepoint is used after its end", next_step="roll back inside its with-block")


class Savepoint:
    """A moment of a transaction; made by `Transaction.savepoint`, for a with-block."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._steps = 0

    def roll_back(self) -> None:
        """Take back all changes since. It goes on standing, and may be rolled back to again.

        Raises `LocalMistake` after its block.
        """
        self._journal.roll_back(self, self._steps)

    def __enter__(self) -> Savepoint:
        self._steps = self._journal.begin(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.roll_back()
        self._journal.end(self)
