"""Own objects become those of the next major of their class, while everything goes on (DESIGN R2).

    define(Port 2, {1: function}) ---> both are adopted, the older one is *upgrading*      questions answer from both
                                            |
                     its objects, 256 in a transaction: function(old fields) -> new fields, checked as any others;
                     the id stays, and so does what points to it
                                            |
                     none is left ---> the older one is dropped

Nothing says how far it is, for what is still of the older major is what is left: whatever interrupts it, the next
`define` with the function goes on. Until then objects of both majors are read and deleted, and new ones are made. An
object of the older major is never changed in its form: who changes it has it upgraded first, by the same function, or
is refused where nobody has given one yet.

An object with which the function fails, or whose new fields are refused, stays as it is, and the others go on; in the
end `define` names it. A value that is unique in both majors may stand in one object of either.

Functions run in the task that owns the log: they see the fields of one object, and nothing else happens meanwhile. Left
to others: whoever waits for the end (`store.upgrader`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from identity.encoding import decode_integer_untrusted
from identity.errors import BangpathError, Exhausted, Refused
from identity.names import END
from store.building import DROPPED, UPGRADING, Building
from store.building_steps import put_building
from store.fieldtypes import shown

if TYPE_CHECKING:
    from store.registry import ClassEntry
    from store.transaction import Transaction
    from store.writing import Writer

Upgrade = Callable[[dict[str, Any]], Mapping[str, Any]]
Upgrades = Mapping[int, Upgrade]

UPGRADED_AT_ONCE = 256  # objects: some milliseconds in which nobody else is served
LOOKED_AT = 4096  # entries in one step: most may be others' objects
STEP_BYTES = 1 << 20  # of bodies: a transaction holds 16 MiB

_INDEX_TABLE = "index"


class Functions:
    """Those that were given since this start, by the number of the older class."""

    def __init__(self) -> None:
        self._by_number: dict[int, tuple[int, Upgrade]] = {}
        self.kept_old = 0  # how many changes have left an object in its older form, perhaps at another place

    def give(self, old: ClassEntry, major: int, function: Upgrade) -> None:
        """From now on it makes objects of a class those of `major`."""
        self._by_number[old.number] = (major, function)

    def given(self, old: ClassEntry, major: int) -> Upgrade | None:
        """What makes objects of a class those of `major`."""
        to, function = self._by_number.get(old.number, (None, None))
        return function if to == major else None

    def fields_of(self, transaction: Transaction, old: ClassEntry, number: int, body: bytes) -> dict[str, Any]:
        """The fields that an object of the older class gets. Raises `Refused`, naming it."""
        reference = transaction.own_reference(number)
        newest = transaction.registry.entry(old.definition.name).definition
        function = self.given(old, newest.major)
        if function is None:
            raise Refused(
                f"{reference} is of major {old.definition.major} of class {newest.name}, which is at {newest.major} "
                "here, and nothing says yet what it is there",
                next_step="define the class with its upgrade function first",
                reference=str(reference),
            )
        try:
            made = function(old.codec.load_fields(body))
        except Exception as error:  # of the one who wrote it
            raise _not_upgraded(reference, old, f"raised {type(error).__name__}: {error}") from error
        if not isinstance(made, Mapping):
            raise _not_upgraded(reference, old, f"gave {shown(made)}, which is no map of fields")
        return dict(made)


NONE_GIVEN = Functions()


class Step(NamedTuple):
    """What one step has done. `cursor` None: it has come to the end. `failed`: objects, and why."""

    cursor: bytes | None
    failed: list[tuple[str, str]]
    dropped: bool


def checked_functions(upgrades: Upgrades | None) -> dict[int, Upgrade]:
    """Raises `Refused` for what is no map from majors to functions."""
    said = {} if upgrades is None else upgrades
    if not isinstance(said, Mapping):
        raise Refused(f"{said!r} is no map of upgrade functions", next_step="write upgrades={1: function}")
    for major, function in said.items():
        if type(major) is not int or not callable(function):
            raise Refused(f"{major!r}: {function!r} is no upgrade function", next_step="write upgrades={1: function}")
    return dict(said)


def put_upgrades(writer: Writer, transaction: Transaction, number: int, cursor: bytes, *, clean: bool) -> Step:
    """Write one step of a class, from behind the entry `cursor` on. `clean`: nothing has failed or moved so far.

    Raises `Exhausted` while this server first learns what it had signed before a restore.
    """
    registry = transaction.registry
    entry, building = registry.by_number(number), registry.building(number)
    if entry is None or building is None or building.state != UPGRADING:
        return Step(None, [], dropped=True)
    if writer.applier.adopting:
        raise Exhausted("a restored server first learns what it had signed", next_step="define the class again later")
    low, high = entry.extent.whole_range()
    started, failed = bool(cursor), list[tuple[str, str]]()
    ended, done = False, 0
    for key, object_key in islice(
        writer.applier.appended.scan(_INDEX_TABLE, cursor + b"\0" if cursor else low, high), LOOKED_AT
    ):
        record = transaction.record(object_key) if object_key.startswith(END) else None
        if record is not None:
            if done + len(failed) == UPGRADED_AT_ONCE or (done and transaction.weight + len(record.body) > STEP_BYTES):
                break
            object_number = decode_integer_untrusted(object_key, len(END))[0]
            try:
                with transaction.savepoint():
                    transaction.upgrade(object_number)
                done += 1
            except Exception as error:
                if isinstance(error, BangpathError) and not isinstance(error, Refused):
                    raise
                cause = error.cause if isinstance(error, Refused) else f"{type(error).__name__}: {error}"
                failed.append((str(transaction.own_reference(object_number)), cause))
        cursor = key
    else:
        ended = next(writer.applier.appended.scan(_INDEX_TABLE, cursor + b"\0" if cursor else low, high), None) is None
    reason = building.reason if started else ""  # of what failed before, and is tried again now
    if failed and not reason:
        reason = failed[0][1]
    after = msgspec.structs.replace(building, done=building.done + done, reason=reason)
    dropped = ended and clean and not failed
    if dropped:
        after = Building(DROPPED, entry.definition)
    if after != building:
        put_building(transaction, number, after)
    return Step(None if ended else cursor, failed, dropped)


def _not_upgraded(reference: object, old: ClassEntry, cause: str) -> Refused:
    name, major = old.definition.name, old.definition.major
    return Refused(
        f"the upgrade function of class {name}, given {reference} of major {major}, {cause}",
        next_step="mend the upgrade function, then define the class again",
        reference=str(reference),
    )
