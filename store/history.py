"""Earlier versions of own objects, as many as their class says (DESIGN D3): which are kept, which go.

    objects   object key               the version that stands
    history   object key | sequence    a version that was replaced: the very record, and the sequence is its own
                                       empty: this one is gone, and with it all before it

A version is put there by the change that replaces it, so an object that is never changed costs nothing here, and a
class that keeps none costs one look at its entry. It is a consequence of the log, as index entries are: live commits
and replay make the same, and nothing else is logged.

What a class keeps is this server's own affair, as its indexes are: a setting, `store/history/N`, N the class's number.

    [keep, since, since update]      keep: 1 to 100 versions beside the one that stands, -1 all, 0 none any more

Invariant: whatever stood at or after `since` is there, or something empty stands at its sequence or a later one, and
no version below that. Left to others: how it is asked (`store.past`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from identity.errors import Damaged, Refused
from store.keys import after_prefix
from store.records import DATA, unpack_record

if TYPE_CHECKING:
    from store.applying import Applier
    from store.definitions import ClassDefinition
    from store.reading import Source
    from store.registry import ClassEntry
    from store.transaction import Transaction

HISTORY = "history"
HISTORY_PREFIX = "store/history/"
ALL, NONE = -1, 0
MAX_KEPT = 100  # each change looks at all that are kept of its object, unless all are
SEQUENCE_BYTES = 8


class Kept(NamedTuple):
    """How many a class keeps, of what stood after transaction `since`, or after the own update `since_update`."""

    keep: int
    since: int
    since_update: int


def version_key(object_key: bytes, sequence: int) -> bytes:
    """Where a version of an object stands once it was replaced."""
    return object_key + sequence.to_bytes(SEQUENCE_BYTES, "big")


def read_history_option(class_name: str, said: Any) -> int:
    """What `history = ` says in a definition. Raises `Refused`."""
    if said == "all" or (type(said) is int and said == ALL):
        return ALL
    if type(said) is not int or not NONE <= said <= MAX_KEPT:
        raise Refused(
            f"class {class_name}: history {said!r} is no number of versions",
            next_step=f'write history = 10, at most {MAX_KEPT}, or history = "all"',
            **{"class": class_name},
        )
    return said


def put_history(applier: Applier, transaction: Transaction, number: int, definition: ClassDefinition) -> None:
    """What the class with this number keeps from now on, as its new definition says; nothing when that is so already.

    Majors that are being upgraded to one that keeps versions keep them too; it goes on where the last of them began.
    """
    registry = applier.registry
    before = registry.history(number)
    if definition.history == (NONE if before is None else before.keep):
        return
    now = Kept(definition.history, applier.number, applier.next_update(DATA))
    begun = [_kept_on(before, now)]
    if not _keeps(before) and definition.history:
        for each in registry.adopted_before(definition):
            begun.append(_kept_on(each.history, now))
            transaction.put_setting(f"{HISTORY_PREFIX}{each.number}", list(begun[-1]))
        begun = begun[1:] or begun
    since, update = max(each.since for each in begun), max(each.since_update for each in begun)
    transaction.put_setting(f"{HISTORY_PREFIX}{number}", [definition.history, since, update])


def _keeps(kept: Kept | None) -> bool:
    return kept is not None and kept.keep != NONE


def _kept_on(before: Kept | None, now: Kept) -> Kept:
    """As many as `now`, from where it was begun without a break."""
    return before._replace(keep=now.keep) if before is not None and before.keep else now


def keep_version(
    source: Source, pending: dict[bytes, bytes | None], object_key: bytes, standing: bytes | None, kept: Kept
) -> None:
    """`standing` is replaced: it goes where versions are kept, and what is too much then goes from there.

    `pending` are the changes of that table which `source` does not have yet.
    """
    if standing is None:
        return
    pending[version_key(object_key, unpack_record(object_key, standing).sequence)] = standing
    if kept.keep == ALL:
        return
    low, high = object_key, after_prefix(object_key)
    there: dict[bytes, bytes | None] = dict(source.scan(HISTORY, low, high))
    there.update((key, value) for key, value in pending.items() if low <= key < high)
    versions = sorted(key for key, value in there.items() if value)
    going = versions[: max(0, len(versions) - kept.keep)]
    if going:
        marks = [key for key, value in there.items() if value == b""]
        pending.update(dict.fromkeys([*marks, *going]))
        pending[max([*marks, going[-1]])] = b""


def judge_version(entry_of: Callable[[int], ClassEntry | None], key: bytes, data: bytes) -> str:
    """What is wrong with an entry of the table; "" for nothing. `entry_of` gives a class by its number.

    Raises anything for what makes no sense.
    """
    object_key, sequence = key[:-SEQUENCE_BYTES], int.from_bytes(key[-SEQUENCE_BYTES:], "big")
    if not data:
        return ""
    record = unpack_record(object_key, data)
    if record.sequence != sequence:
        return f"it is of sequence {record.sequence}, and stands at {sequence}"
    entry = entry_of(record.class_number)
    if entry is None:
        return f"it is of class {record.class_number}, which is not known"
    if not record.deleted:
        entry.codec.load_values(record.body)
    return ""


def is_missing(source: Source, object_key: bytes, sequence: int, kept: Kept | None) -> bool:
    """Whether a version that was replaced should be kept, and is not."""
    if kept is None or not kept.keep or sequence < kept.since:
        return False
    key = version_key(object_key, sequence)
    return source.get(HISTORY, key) is None and all(
        value for _, value in source.scan(HISTORY, key, after_prefix(object_key))
    )


def versions_again(
    source: Source,
    wanted: Mapping[bytes, bytes | None],
    sequences: Mapping[bytes, Sequence[int]],
    kept_by: Callable[[bytes], Kept | None],
) -> dict[bytes, bytes | None]:
    """What entries that are lost or damaged were, from what the log has at their sequences.

    `sequences`: all that the log has of each object, ascending. Where one may have been what marks those that are gone,
    it is so marked: an answer is refused rather than wrong.
    """
    again: dict[bytes, bytes | None] = {}
    for key in sorted(wanted):
        object_key, sequence = key[:-SEQUENCE_BYTES], int.from_bytes(key[-SEQUENCE_BYTES:], "big")
        kept, known = kept_by(object_key), sequences.get(object_key, ())
        again[key] = None
        if kept is None or wanted[key] is None or sequence == known[-1]:
            continue
        if any(_entry(source, version_key(object_key, each)) == b"" for each in known if each > sequence):
            continue
        older = [one for one, next_one in pairwise(known) if one < sequence and next_one > kept.since]
        below = version_key(object_key, older[-1]) if older else b""
        stands = not below or (again[below] if below in again else _entry(source, below))
        again[key] = wanted[key] if stands else b""
    return again


def _entry(source: Source, key: bytes) -> bytes | None:
    try:
        return source.get(HISTORY, key)
    except Damaged:
        return None
