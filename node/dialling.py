"""Which addresses this server dials at all (DESIGN G6, ATTACKS 19): the one place where that is decided.

    address                                     said by config     said by the server itself
    global                                      yes                yes
    loopback, private, link-local, shared       yes                only inside the `local` pattern
    multicast, unspecified, broadcast, port 0   no                 no

Why: a signed address record is believed to be its server's wish, not to be harmless. Without this table any member
of the mesh could make all others knock at a printer in somebody's office.

A host that is no IP address is a name of the simulator's, or one that would have to be looked up: inside `local` only.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache

from identity.names import Pattern, ServerId

Address = tuple[str, int]


class Reach(Enum):
    """What kind of host an address names."""

    GLOBAL = "one of the internet's"
    NEAR = "of this machine, this network, or a name"
    NOBODY = "no single host"


@lru_cache(maxsize=4096)  # routing asks it of the same few addresses in every round; a name is dear to refuse
def _reach_of(host: str) -> Reach:
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return Reach.NEAR
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped  # ::ffff:127.0.0.1 is loopback by another name
    if parsed.is_multicast or parsed.is_unspecified or str(parsed) == "255.255.255.255":
        return Reach.NOBODY
    return Reach.GLOBAL if parsed.is_global else Reach.NEAR


def may_dial(
    server: ServerId,
    address: Address,
    *,
    local: Pattern | None,
    configured: Mapping[ServerId, tuple[Address, ...]],
) -> bool:
    """Whether `server` may be dialled at `address`, by the table above."""
    host, port = address
    said_by_config = address in configured.get(server, ())
    inside = said_by_config or (local is not None and local.matches(server))
    if not 0 < port < 65536:
        return False
    reach = _reach_of(host)
    return reach is Reach.GLOBAL or (inside and reach is not Reach.NOBODY)


def dial_rule(
    local: Pattern | None, configured: Mapping[ServerId, tuple[Address, ...]]
) -> Callable[[ServerId, Address], bool]:
    """The same as a function of server and address, for `routing.router`."""
    return lambda server, address: may_dial(server, address, local=local, configured=configured)
