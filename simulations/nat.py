"""Walls in front of hosts: NATs that translate and forget, and firewalls that let in only what was asked for.

    1.3:7000 --to 1.1--> [NAT: 1.3:50001] --------> 1.1       a mapping; every packet out keeps it alive
    1.3:7000 <---------- [50001 known?    ] <------- 1.1      who was not called, or too long ago, is not let in

A *cone* NAT has one mapping for a port of its host, and lets in whoever was called from there (by `anybody`: whoever
finds it; RFC 4787's endpoint-independent mapping). A *symmetric* one has a mapping for each address called. It forgets
a mapping that no packet has left by for `forgets_s`, and when it *rebinds* (a reboot, a change of provider) it forgets
all: the next packet out comes from a new address, and what is sent to the old one is gone. The public side of a NAT
goes by the name of its host, with ports of its own, so that the links' rules mean the same hosts whether there is a
NAT or not. A *firewall* is the same without translation. Two hosts behind one wall see each other as they are.

Rebinding is supported by the transport: sessions follow a peer that moves (`transport.paths`). A wall that lets only
TCP through is declared, and refused until the transport can speak over streams (DESIGN section 5): behind it nobody
could be reached, so a scenario with it would show nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection
from typing import Literal

from identity.errors import Refused
from transport.ports import Address, Network

Mapping = Literal["cone", "symmetric", "none"]

FORGETS_S = 60.0  # RFC 4787 asks for two minutes or more, home routers forget UDP after 30 to 180 s
FIRST_PUBLIC_PORT = 50_000
UDP, TCP = "udp", "tcp"


class Wall:
    """What stands between some hosts and everybody else. Pure: told the time, gives addresses."""

    def __init__(
        self, hosts: Collection[str], *, mapping: Mapping = "cone", forgets_s: float = FORGETS_S,
        rebinds_s: float = math.inf, anybody: bool = False, passes: Collection[str] = (UDP, TCP),
    ) -> None:  # fmt: skip
        """`mapping` "none" is a firewall. `anybody` may come in: by a mapping that stands, where there are any."""
        if not hosts:
            raise Refused("a wall in front of nobody", next_step="name the servers that stand behind it")
        if not (forgets_s > 0 and rebinds_s > 0):
            raise Refused("a NAT that forgets or rebinds after 0s lets nothing in", next_step="say a time above 0")
        if mapping == "none" and rebinds_s != math.inf:
            raise Refused("a firewall has no addresses to bind anew", next_step="put a NAT there")
        self.hosts = frozenset(hosts)
        self.mapping = mapping
        self.passes = frozenset(passes)
        self.forgets_s = forgets_s
        self.rebinds_s = rebinds_s
        self._rebound_at = math.inf  # not before the first packet left
        self._anybody = anybody
        self._ports = itertools.count(FIRST_PUBLIC_PORT)
        # (inside, called or None) -> its public address and when a packet last left by it
        self._public: dict[tuple[Address, Address | None], tuple[Address, float]] = {}
        # public address -> the key above, and whom it called when
        self._inside: dict[Address, tuple[Address, Address | None]] = {}
        self._called: dict[tuple[Address, Address], float] = {}

    @property
    def is_open(self) -> bool:
        """Whether anybody may come in with a datagram at the address that everybody knows."""
        return self.mapping == "none" and self._anybody and UDP in self.passes

    def outward(self, source: Address, target: Address, now: float) -> Address:
        """The address from which `target` sees what `source` sends; a mapping is made, or kept alive."""
        public = source
        if self._rebound_at == math.inf:
            self._rebound_at = now
        if now - self._rebound_at > self.rebinds_s:
            self._rebound_at = now
            self.rebind()
        if self.mapping != "none":
            key = source, (target if self.mapping == "symmetric" else None)
            public, left_at = self._public.get(key, (source, -math.inf))
            if now - left_at > self.forgets_s:
                self._inside.pop(public, None)
                public = source[0], next(self._ports)
                self._inside[public] = key
            self._public[key] = public, now
        self._called[public, target] = now
        return public

    def inward(self, source: Address, target: Address, now: float) -> Address | None:
        """Which address behind the wall `source` reaches as `target`; None when it is not let in."""
        called_at = self._called.get((target, source), -math.inf)
        if self.mapping == "none":
            return target if self._anybody or now - called_at <= self.forgets_s else None
        key = self._inside.get(target)
        if key is None or now - self._public[key][1] > self.forgets_s:
            return None
        return key[0] if self._anybody or now - called_at <= self.forgets_s else None

    def rebind(self) -> None:
        """Every mapping is forgotten; whoever sends next is seen from a new address."""
        if self.mapping == "none":
            raise Refused("a firewall has no addresses to bind anew", next_step="put a NAT there, or cut the links")
        self._public.clear()
        self._inside.clear()
        self._called.clear()


def transport_has_streams() -> bool:
    """Whether nodes can speak over TCP: then their network's seam opens streams."""
    return any(name.startswith("open_stream") for name in dir(Network))


def check_passes(passes: Collection[str]) -> None:
    """Raises `Refused` for a wall behind which nodes could not speak yet, with the reason."""
    if UDP not in passes and not transport_has_streams():
        raise Refused(
            "a firewall that lets only TCP through would cut its servers off: the transport speaks over UDP alone, "
            "its messages over TCP (DESIGN section 5) are not built yet",
            next_step="use a firewall that lets only UDP through, or `isolate`",
        )
