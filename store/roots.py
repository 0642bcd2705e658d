"""The root object: the one of its own objects from which whoever opens a store finds all others (DESIGN R5, the notes).

    t.set_root(note)          one at a time; another one takes its place, None: there is none
    view.root                 the object, or None
    t.delete(root)            refused: whatever is opened begins there

    t.pin(note)               not the root, but kept as well, though nothing here points to it (`store.collecting`):
    t.pin(note, stays=False)  its reference was handed out of this server's sight; or no longer

Settings of this server, which never leave it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from identity.errors import Refused
from identity.names import ObjectId

if TYPE_CHECKING:
    from store.reading import Reader
    from store.records import Stored
    from store.transaction import Transaction

ROOT = "store/root"
PIN = "store/pin/"


def root_of(reader: Reader) -> Stored | None:
    """The root object, as this reader sees it."""
    number = reader.get_setting(ROOT)
    return None if number is None else reader.get((None, ObjectId(number)))


def set_root(transaction: Transaction, number: int | None) -> None:
    transaction.put_setting(ROOT, number)


def check_not_root(transaction: Transaction, number: int) -> None:
    """Raises `Refused` for the root object."""
    if transaction.get_setting(ROOT) == number:
        raise Refused(
            f"{transaction.own_reference(number)} is the root of this store",
            next_step="make another object the root first, or none",
        )


def pin(transaction: Transaction, number: int, *, stays: bool) -> None:
    transaction.put_setting(f"{PIN}{number}", True if stays else None)


def pin_of(key: str) -> int | None:
    """The object that the setting under `key` pins; None: it is no pin."""
    return int(key.removeprefix(PIN)) if key.startswith(PIN) else None
