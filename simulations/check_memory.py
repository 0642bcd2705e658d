"""Bounded memory: what one peer can make a server keep has a bound (STYLE), and what was waited for is let go again.

    look     every table that strangers can grow, against the bound that stands beside it in the code
    finish   once everybody is well: no question open, no update waiting, no probe of others on the books

A table that is never empty again has lost something, long before it meets its bound.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from node.detours import MAX_TOKENS
from replication.chain import MAX_WAITING
from replication.intake import MAX_HELD_BYTES
from routing.forwarding import MAX_BACK
from routing.inquiring import MAX_OPEN, MAX_SEEN
from routing.probing import MAX_SEARCHES
from routing.table import MAX_TARGETS
from simulations.promises import Watching
from transport.requests import MAX_OUTSTANDING

if TYPE_CHECKING:
    from simulations.world import World

LOOK_EVERY_S = 1.0
SESSIONS = 8  # connections with one server: old ones and new ones, in both directions


class Table(NamedTuple):
    """Something that grows by what peers do. `size(parts)`: now; `bound`: never more; `rests`: in the end empty."""

    what: str
    size: Callable[[Any], int]
    bound: int
    rests: bool = False


def _fullest(tables: Any) -> int:
    return max(tables, default=0)


TABLES = (
    Table("bytes of updates that wait or are at the store", lambda p: p.flood._intake.held_bytes, MAX_HELD_BYTES, True),
    Table(
        "updates that wait for one before them, of one feed",
        lambda p: _fullest(len(each.waiting) for each in p.flood._spool.chains.values()),
        MAX_WAITING,
        True,
    ),
    Table(
        "updates of one feed at the store",
        lambda p: _fullest(len(each.in_flight) for each in p.flood._spool.chains.values()),
        MAX_WAITING,
        True,
    ),
    Table("bytes that wait for the store", lambda p: p.applier.waiting_bytes, MAX_HELD_BYTES, True),
    Table("probes of others", lambda p: len(p.detours._asked), MAX_TOKENS, True),
    Table("requests of one peer at work", lambda p: _fullest(p.serving._count.values()), MAX_OUTSTANDING, True),
    Table("probes of one peer", lambda p: _fullest(p.router._inquiring._open.values()), MAX_OPEN, True),
    Table("searches remembered", lambda p: len(p.router._inquiring._seen), MAX_SEEN),
    Table("searches under way", lambda p: len(p.router._probing._searches), MAX_SEARCHES),
    Table("ways back remembered", lambda p: len(p.router._forwarding._back), MAX_BACK),
    Table("targets with ways", lambda p: len(p.router._using.table._routes), MAX_TARGETS),
    Table(
        "answers kept for one asker",
        lambda p: _fullest(len(each) for each in p.recorded._by_asker.values()),
        MAX_OUTSTANDING,
    ),
)


class BoundedMemory(Watching):
    """Nothing grows without end."""

    name = "bounded memory"
    promise = "bounds"
    takes_time = True

    def __init__(self) -> None:
        self._at = -LOOK_EVERY_S
        self._left: dict[tuple[str, str], int] | None = None

    def look(self, world: World) -> None:
        if world.now - self._at < LOOK_EVERY_S:
            return
        self._at = world.now
        most = SESSIONS * len(world.servers)
        for server in world.servers:
            parts = parts_of(server)
            if parts is None or world.ledger.is_hostile(server.name):
                continue
            for table in TABLES:
                size = table.size(parts)
                if size > table.bound:
                    self.accuse(world, f"{server.name} holds {size} {table.what}; {table.bound} is its bound")
            sessions = len(parts.endpoint._connections)
            if sessions > most:
                self.accuse(world, f"{server.name} holds {sessions} connections with {len(world.servers) - 1} others")

    def finish(self, world: World) -> str:
        """Each table was empty at one moment since this was asked first."""
        self.look(world)
        if self._left is None:
            self._left = {
                (server.name, table.what): -1
                for server in world.servers
                for table in TABLES
                if table.rests and not world.ledger.is_hostile(server.name)
            }
        for server in world.servers:
            parts = parts_of(server)
            for table in TABLES:
                key = (server.name, table.what)
                if key not in self._left:
                    continue
                size = 0 if parts is None else table.size(parts)
                if size:
                    self._left[key] = size
                else:
                    del self._left[key]
        if not self._left:
            self._left = None
            return ""
        return "; ".join(f"{server} still holds {size} {what}" for (server, what), size in self._left.items())


def parts_of(server: Any) -> Any:
    """Everything that runs there, or None."""
    return None if server.node is None else server.node.parts
