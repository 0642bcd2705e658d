"""What an own object was at an earlier moment, where its class keeps its versions (DESIGN D3).

    get_at(view, note, 1200)                 after transaction 1200: the sequence of any object that it changed
    get_at(view, note, position)             after that own update
    for each in versions(view, note): ...    the newest first: that which stands, then those that it replaced

An answer is right or it is refused, with what can be asked instead: `get_at` is asked of a moment that is over and lies
within what is kept. Which versions are kept is `store.history`. Versions of before say what the object was, not what
was around it: what they point to may be gone, and so may their blobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from identity.errors import NotFound, Refused
from identity.names import END, Position
from store.applying import _ENDS, ENDS_KEY, STATE
from store.held_feeds import FEEDS, entry_key
from store.history import HISTORY, SEQUENCE_BYTES, Kept, version_key
from store.keys import after_prefix
from store.reading import Reader, Target, split_object_key
from store.records import DATA, OWNED, Head, Record, Stored, unpack_record
from store.registry import ClassEntry

Moment = int | Position
MOST_VERSIONS = 100  # in one answer, unless more are asked for


class Version(NamedTuple):
    """One of an object; `stored` None: it was deleted by the transaction `sequence`."""

    sequence: int
    stored: Stored | None


def get_at(reader: Reader, target: Target, at: Moment) -> Stored | None:
    """The object as it stood after a transaction or an own update; None: there is none of that name, or it was deleted.

    Raises `NotFound` when it was not there yet; `Refused` when its class keeps no versions or not from then on, when
    that version is gone, or when the moment is not over, or of another server.
    """
    found = _find(reader, target)
    if found is None:
        return None
    key, standing, entry, kept = found
    name = entry.definition.name
    earliest, latest, asked = _bounds(reader, entry, kept, at)
    if asked > latest:
        raise Refused(f"{_said(at)} is not here yet, the last is {latest}", next_step="ask for that or an earlier one")
    if asked < earliest:
        raise Refused(
            f"versions of {name} are kept from {_named(at)} {earliest} on, and {asked} is before it",
            next_step="ask for that or a later one",
            **{"class": name},
        )
    of_position = isinstance(at, Position)
    if (standing.number if of_position else standing.sequence) <= asked:
        return _shown(reader, key, standing)
    high = after_prefix(key) if of_position else version_key(key, asked + 1)
    for sequence, data in _down(reader, key, high):
        if not data:
            raise _gone(reader, key, at, entry)
        record = unpack_record(key, data)
        if (record.number if of_position else sequence) <= asked:
            return _shown(reader, key, record)
    oldest = next(reader.source.scan(HISTORY, key, after_prefix(key)), None)
    if oldest is not None and not oldest[1]:
        raise _gone(reader, key, at, entry)
    raise NotFound(
        f"{_reference(reader, key)} was not there yet after {_said(at)}",
        next_step="`history` of the object tells when it was made",
    )


def versions(reader: Reader, target: Target) -> Iterator[Version]:
    """Those that are kept and can be asked for, the newest first. Raises `Refused` when the class keeps none."""
    found = _find(reader, target)
    if found is None:
        return
    key, standing, _, kept = found
    yield Version(standing.sequence, _shown(reader, key, standing))
    if standing.sequence <= kept.since:
        return
    for sequence, data in _down(reader, key, after_prefix(key)):
        if not data:
            return
        yield Version(sequence, _shown(reader, key, unpack_record(key, data)))
        if sequence <= kept.since:
            return  # What is below may have been replaced by something that was not kept.


def _find(reader: Reader, target: Target) -> tuple[bytes, Record, ClassEntry, Kept] | None:
    """Key, record, class and what that keeps; None where `get` says that there is nothing. Raises `Refused`."""
    key = reader.object_key(target)
    record = None if key is None else reader.record(key)
    if key is None or record is None:
        return None
    entry = reader.entry_of(key, record)
    if entry.hidden:
        return None
    name = entry.definition.name
    if record.kind != OWNED:
        raise Refused(f"{_reference(reader, key)} is another server's, which keeps its versions", next_step="ask it")
    if entry.history is None or not entry.history.keep:
        raise Refused(
            f"class {name} keeps no earlier versions here",
            next_step='define it with history = 10, or "all": those that are replaced from then on are kept',
            **{"class": name},
        )
    return key, record, entry, entry.history


def _bounds(reader: Reader, entry: ClassEntry, kept: Kept, at: Moment) -> tuple[int, int, int]:
    """The first moment that can be asked for, the last, and the one that is. Raises `Refused`."""
    if isinstance(at, Position):
        ends = reader.source.get(FEEDS, entry_key(END, DATA, 0))
        if entry.feed != DATA or ends is None:
            raise Refused(
                f"objects of {entry.definition.name} are in no signed update here, so no position says when",
                next_step="ask with the sequence of a transaction",
            )
        if (at.server, at.incarnation) != reader.servers.own:
            raise Refused(f"{at} is a position of another server", next_step="ask that server")
        return max(1, kept.since_update), Head.from_bytes_untrusted(ends[8:]).number, at.number
    if type(at) is not int or at < 1:
        raise Refused(f"{at!r} is no moment", next_step="give the sequence of a transaction, or a position")
    ends = reader.source.get(STATE, ENDS_KEY)
    return kept.since, 0 if ends is None else _ENDS.unpack(ends)[0], at


def _down(reader: Reader, key: bytes, high: bytes) -> Iterator[tuple[int, bytes]]:
    """Sequence and record of the versions that were replaced, from `high` down; empty: that and all below are gone."""
    for each, data in reader.source.scan(HISTORY, key, high, reverse=True):
        yield int.from_bytes(each[-SEQUENCE_BYTES:], "big"), data


def _shown(reader: Reader, key: bytes, record: Record) -> Stored | None:
    if record.deleted:
        return None
    entry = reader.entry_of(key, record)
    return reader.stored(key, record, entry, entry.codec.load_fields(record.body))


def _reference(reader: Reader, key: bytes) -> str:
    server_key, number = split_object_key(key)
    return f"{reader.servers.at(server_key)[0]}/{number}"


def _gone(reader: Reader, key: bytes, at: Moment, entry: ClassEntry) -> Refused:
    return Refused(
        f"what {_reference(reader, key)} was after {_said(at)} is gone: {entry.definition.name} keeps the newest ones",
        next_step="ask for a later one; `history` of the object tells which there are",
        **{"class": entry.definition.name},
    )


def _named(at: Moment) -> str:
    return "update" if isinstance(at, Position) else "transaction"


def _said(at: Moment) -> str:
    return f"update {at}" if isinstance(at, Position) else f"transaction {at}"
