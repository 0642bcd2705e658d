"""Temporary objects: of a class, in memory, under a handle that is used again; they end with their session (DESIGN N7).

    with database.session() as session:
        basket = session.create("Basket", {"customer": reference})        a handle: 31 bits, never on disk, never sent
        session.update(basket, {"items": 3})
        kept = await database.transact(lambda t: session.keep(t, basket))    becomes a permanent object, with an id

Their fields are checked as those of any object of the class: types, limits, defaults, required ones. What is not
looked at is what only stands among permanent objects: unique values, and whether the targets of references exist;
`keep` looks at both. Nothing permanent can point to one, for a handle is no reference.

The least free handle is given, from 1; a session holds at most 65 536 objects and 16 MiB of bodies, as a transaction
does, and refuses more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple

from identity.errors import LocalMistake, NotFound, Refused
from identity.names import Reference
from store.records import MAX_BODY_BYTES, MAX_CHANGES
from store.registry import ClassEntry, Registry

if TYPE_CHECKING:
    from store.applying import Applier
    from store.transaction import Transaction

MAX_HANDLE = 2**31 - 1


class _Held(NamedTuple):
    entry: ClassEntry
    wire: bytes


class Session:
    """The temporary objects of one user of a store. `registry` gives the classes as they are now.

    What they point to in the store of `applier` is not collected (`store.collecting`).
    """

    def __init__(self, registry: Callable[[], Registry], applier: Applier | None = None) -> None:
        self._registry = registry
        self._held: dict[int, _Held] = {}
        self._free: list[int] = []
        self._next = 1
        self._bytes = 0
        self._ended = False
        self._applier = applier
        if applier is not None:
            applier.sessions.add(self)

    def create(self, class_name: str, fields: Mapping[str, Any]) -> int:
        """A temporary object; its handle. Raises `Refused` naming the field, or when the session holds too much."""
        entry = self._registry().visible(class_name)
        codec = entry.codec
        held = _Held(entry, codec.encode(codec.check(codec.with_defaults(fields))))
        self._check(len(held.wire), more=1)
        handle = heappop(self._free) if self._free else self._next
        self._next += handle == self._next
        self._put(handle, held)
        return handle

    def get(self, handle: int) -> dict[str, Any]:
        """Its fields. Raises `NotFound`."""
        held = self._find(handle)
        return dict(zip(held.entry.codec.names, held.entry.codec.load(held.wire), strict=False))

    def class_of(self, handle: int) -> str:
        """The name of its class. Raises `NotFound`."""
        return self._find(handle).entry.definition.name

    def update(self, handle: int, fields: Mapping[str, Any]) -> None:
        """Change the fields given. Raises `NotFound`, `Refused`."""
        before = self._find(handle)
        codec = before.entry.codec
        held = _Held(before.entry, codec.encode(codec.check({**self.get(handle), **fields})))
        self._check(len(held.wire) - len(before.wire), more=0)
        self._put(handle, held)

    def delete(self, handle: int) -> None:
        """End one; its handle may be given again. Raises `NotFound`."""
        self._bytes -= len(self._find(handle).wire)
        del self._held[handle]
        heappush(self._free, handle)

    def keep(self, transaction: Transaction, handle: int) -> Reference:
        """Make it a permanent object in a transaction; here it stays as it is. Raises as `Transaction.create`."""
        return transaction.create(self.class_of(handle), self.get(handle))

    def values(self, handle: int) -> list[Any]:
        """As `get`, in the order of its class. Raises `NotFound`."""
        held = self._find(handle)
        return held.entry.codec.load(held.wire)

    def handles(self) -> Iterator[int]:
        """Of all that there are now, ascending."""
        return iter(sorted(self._held))

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.clear()
        self._ended = True

    def _put(self, handle: int, held: _Held) -> None:
        before = self._held.get(handle)
        self._bytes += len(held.wire) - (0 if before is None else len(before.wire))
        self._held[handle] = held
        if self._applier is not None and self._applier.collection is not None and held.entry.codec.pointers:
            self._applier.collection.note_values(held.entry.codec.load(held.wire))

    def _find(self, handle: int) -> _Held:
        self._check(0, more=0)
        held = self._held.get(handle)
        if held is None:
            raise NotFound(f"this session has no object {handle}", next_step="look which there are: session.handles()")
        return held

    def _check(self, gained: int, *, more: int) -> None:
        if self._ended:
            raise LocalMistake("a session is used after its end", next_step="begin another one")
        if len(self._held) + more > MAX_CHANGES or self._bytes + gained > MAX_BODY_BYTES:
            raise Refused(
                f"a session of {len(self._held)} objects and {self._bytes} bytes; "
                f"{MAX_CHANGES} and {MAX_BODY_BYTES} allowed",
                next_step="delete some, or keep them as permanent objects",
            )
