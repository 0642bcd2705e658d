"""What is kept of a request that was carried out, beside its work: what its asker was answered (DESIGN X6, F6).

    version = 1 | rebuilt | epoch | number | [[object, sequence, done], ...]       one CBOR array, in `Answered.answer`
                            of the update that carries it, 0: none does        as in the answer, operation by operation

A server that came back from a backup takes its own updates from others (DESIGN D4), and the request ids in their
leaves tell which requests it has carried out. Their records are made again from the leaves, in the very frame of the
update: `rebuilt`, for leaves tell what became of each object, and not of each operation.

Left to others: who may ask (`node.owning`), what an answer says (`node.recorded`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from identity.encoding import decode_value_trusted, encode_value
from identity.errors import Damaged
from store.records import DELETE, Leaf

VERSION = 1


class Kept(NamedTuple):
    """An answer that is kept. `outcomes`: object, sequence, what was done to it."""

    epoch: int
    number: int
    outcomes: tuple[tuple[int, int, str], ...]
    rebuilt: bool = False

    def to_bytes(self) -> bytes:
        return encode_value([VERSION, self.rebuilt, self.epoch, self.number, [list(each) for each in self.outcomes]])

    @classmethod
    def from_bytes(cls, data: bytes) -> Kept:
        """What this server wrote. Raises `Damaged` for what another version of it did."""
        said = decode_value_trusted(data)
        if not said or said[0] != VERSION:
            raise Damaged(f"the record of a request is of version {said[0] if said else 'nothing'}, not {VERSION}")
        _, rebuilt, epoch, number, outcomes = said
        return cls(epoch, number, tuple((object, sequence, done) for object, sequence, done in outcomes), rebuilt)


def rebuilt(
    leaves: Iterable[Leaf], *, epoch: int, number: int, stands: Callable[[int], bool]
) -> Iterator[tuple[bytes, Kept]]:
    """Each request that the leaves of one own update name, and what they tell of it.

    `stands(object)`: whether there was such an object before this update. A transaction has one sequence, so leaves
    that name no request, of what a deletion took along or of what it changed after the request, belong to it too.
    """
    transactions: dict[int, list[Leaf]] = {}
    for leaf in leaves:
        transactions.setdefault(leaf.sequence, []).append(leaf)
    new: dict[int, None] = {}
    for sequence, changed in transactions.items():
        outcomes = []
        for leaf in changed:
            created = leaf.operation != DELETE and not stands(leaf.object) and leaf.object not in new
            if created:
                new[leaf.object] = None
            done = "deleted" if leaf.operation == DELETE else "created" if created else "updated"
            outcomes.append((leaf.object, sequence, done))
        for request in dict.fromkeys(leaf.request for leaf in changed if leaf.request):
            yield request, Kept(epoch, number, tuple(outcomes), rebuilt=True)
