"""How servers can be reached: keys and addresses, from tickets, configuration, greetings and registry feeds.

    1.3   key   addresses, the one that worked last first, then as they were told, newest first
                10.0.0.3:7000   worked
                10.0.0.9:7000   failed 2 times

Only what is told here is ever dialled, and of it only what the node's policy allows (DESIGN G6, ATTACKS 19): loopback
and private addresses inside the configured `local` pattern, never multicast, never a victim: one server has at most
`MAX_ADDRESSES`, they are tried one after another, and each round that fails doubles the pause.

Routes over gateways will stand here too; until then who is not reached directly is reached nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from identity.names import ServerId
from routing.neighbours import Address

MAX_SERVERS = 65_536  # as many as there may be registry feeds (`replication.spool`)
MAX_ADDRESSES = 8  # of one server: two networks, two families, one move

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 20.0
EVEN_SOONER_S = 1.0  # nobody is dialled more often than this, whoever asks

MayDial = Callable[[ServerId, Address], bool]


class Known:
    """One server's key and addresses."""

    __slots__ = ("_addresses", "_worked", "peer_key", "server")

    def __init__(self, server: ServerId, peer_key: bytes) -> None:
        self.server = server
        self.peer_key = peer_key
        self._addresses: list[Address] = []
        self._worked: Address | None = None

    def tell(self, addresses: Sequence[Address]) -> None:
        """These are its addresses now; older ones are kept behind them while there is room."""
        fresh = list(dict.fromkeys(addresses))
        self._addresses = [*fresh, *(each for each in self._addresses if each not in fresh)][:MAX_ADDRESSES]

    def worked(self, address: Address) -> None:
        """It answered there: tried first from now on, if it is one of those it told."""
        if address in self._addresses:
            self._worked = address

    def failed(self, address: Address) -> None:
        if address == self._worked:
            self._worked = None

    def in_order(self, may_dial: MayDial) -> list[Address]:
        """The addresses of one round, in the order in which they are tried."""
        first = [self._worked] if self._worked in self._addresses and self._worked is not None else []
        order = [*first, *(each for each in self._addresses if each != self._worked)]
        return [each for each in order if may_dial(self.server, each)]


def pause_after(rounds: int, random: Random) -> float:
    """Seconds until the next round after `rounds` that failed in a row: doubled each time, up to 20 s, and
    spread by half so that a mesh that lost its power does not dial in step."""
    longest: float = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(rounds - 1, 16))
    return longest * (0.5 + random.random() / 2)
