"""What was appended since the last sync, what sealing it gives, and what was made durable lately.

    Group          leaves and frames by feed, who waits for the sync, updates of others
      seal         each feed's leaves  ->  one own update: its number, chained and signed by the `Sealer` (DESIGN L3)
    Salts          random bytes, one to a leaf
    RecentUpdates  bytes of updates just made durable: they are sent at once, to several peers, without reading back

A group that is not synced is forgotten whole; its numbers are given again to the next group, for nothing of it ever
left this server.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from identity.errors import BangpathError, LocalMistake
from identity.names import Incarnation, Position, ServerId
from store.applying import Applier
from store.records import DATA, MAX_BODY_BYTES, REGISTRY, Seal, Sealer, Update, join_update
from store.segments import Location
from store.transaction import Transaction

if TYPE_CHECKING:
    import trio

SALT_BYTES = 16
SALTS = 256  # drawn from the generator at a time
RECENT_BYTES = 8 << 20  # about one full group (L5); a slower peer is served from the log


class Committed(NamedTuple):
    """What one sync made durable: own updates (their seals) and updates of others, in order."""

    seals: tuple[Seal, ...]
    applied: tuple[Update, ...]


class Salts:
    """One salt after another, from a generator that is asked for many at a time."""

    def __init__(self, random: Any) -> None:
        self._random = random
        self._drawn = b""
        self._at = 0

    def draw(self) -> bytes:
        """The next `SALT_BYTES`."""
        at = self._at
        if at == len(self._drawn):
            self._drawn = self._random.randbytes(SALT_BYTES * SALTS)
            at = 0
        self._at = at + SALT_BYTES
        return self._drawn[at : at + SALT_BYTES]


class RecentUpdates:
    """The bytes of the last updates made durable, oldest forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[bytes, int, int, int], bytes] = OrderedDict()
        self._bytes = 0

    def add(self, server: ServerId, incarnation: int, kind: int, number: int, data: bytes) -> None:
        self._kept[server, incarnation, kind, number] = data
        self._bytes += len(data)
        while self._bytes > RECENT_BYTES and len(self._kept) > 1:
            _, old = self._kept.popitem(last=False)
            self._bytes -= len(old)

    def add_applied(self, updates: Sequence[Update]) -> None:
        for update in updates:
            head = update.head
            self.add(head.server, head.incarnation, head.kind, head.number, update.to_bytes())

    def get(self, server: ServerId, incarnation: int, kind: int, number: int) -> bytes | None:
        return self._kept.get((server, incarnation, kind, number))


def again(error: BangpathError) -> BangpathError:
    """A new exception of the same kind: one that is raised twice would collect tracebacks."""
    return type(error)(error.cause, next_step=error.next_step, **error.details)


class GroupFull(Exception):
    """This transaction would make the group's update larger than a message; it is the first of the next group."""


class Group:
    """What was appended since the last sync."""

    def __init__(self) -> None:
        self.leaves: tuple[list[bytes], list[bytes]] = ([], [])
        self._leaf_bytes = [0, 0]  # by kind
        self.locations: tuple[list[Location], list[Location]] = ([], [])
        self.waiting: list[tuple[trio.lowlevel.Task, Any]] = []
        self.applied: list[Update] = []
        self._carried: tuple[list[Transaction], list[Transaction]] = ([], [])

    def check_room(self, leaves: tuple[list[bytes], list[bytes]]) -> tuple[int, int]:
        """The bytes of these leaves by kind.

        Raises `GroupFull` when an update with them too would not fit into one message of the wire.

        Compression hides it from the drain's bound, which counts what is written. Alone, every transaction fits.
        """
        registry, data = leaves
        sizes = sum(map(len, registry)), sum(map(len, data))
        if sum(self._leaf_bytes) + sizes[REGISTRY] + sizes[DATA] > MAX_BODY_BYTES:
            for held, more in zip(self._leaf_bytes, sizes, strict=True):
                if held and more and held + more > MAX_BODY_BYTES:
                    raise GroupFull
        return sizes

    def add(
        self,
        transaction: Transaction,
        leaves: tuple[list[bytes], list[bytes]],
        sizes: tuple[int, int],
        location: Location,
    ) -> None:
        """An own transaction that was appended at `location`, with what `check_room` gave for its leaves."""
        for kind, mine in enumerate(leaves):
            if mine:
                self._leaf_bytes[kind] += sizes[kind]
                self.leaves[kind].extend(mine)
                self.locations[kind].append(location)
                self._carried[kind].append(transaction)

    def seal(
        self, sealer: Sealer, applier: Applier, recent: RecentUpdates
    ) -> tuple[list[Seal], dict[bytes, bytes | None]]:
        """The own updates of this group, and their entries of the table of feeds.

        Raises `LocalMistake` when the sealer counts otherwise than the log.
        """
        seals = []
        feeds: dict[bytes, bytes | None] = {}
        servers = applier.servers
        for kind in (REGISTRY, DATA):
            leaves = self.leaves[kind]
            if not leaves:
                continue
            expected = applier.next_update(kind)
            seal = sealer.seal(kind, leaves)
            if seal.number != expected:
                raise LocalMistake(f"the sealer gave update {seal.number} of feed {kind}, {expected} comes next")
            feeds.update(applier.sealed(seal, self.locations[kind], applier.epoch))
            seals.append(seal)
            data = join_update(seal.head, seal.signature, b"".join(leaves))
            recent.add(servers.server, servers.incarnation, kind, seal.number, data)
        return seals, feeds

    def tell_positions(self, applier: Applier, seals: Sequence[Seal]) -> None:
        """Each transaction learns which own updates carry it."""
        servers = applier.servers
        for seal in seals:
            position = Position(servers.server, Incarnation(servers.incarnation), applier.epoch, seal.number)
            for transaction in self._carried[seal.kind]:
                transaction.positions[seal.kind] = position
