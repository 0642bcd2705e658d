"""How large a packet may be.

    any address       1400 bytes     fits Ethernet (1500) through one or two tunnels
    this machine    16 384 bytes     the loopback's own limit is 65 536; four of these fill one segmented call
    when in doubt     1200 bytes     what every path of the internet carries (RFC 9000, section 14)

Sizes are fixed by address. What disappears by its size alone is noticed by silence: after `NARROW_AFTER` probes in a
row that nobody answered a connection goes on with BASE_PACKET_BYTES, and stays there.
"""

from __future__ import annotations

BASE_PACKET_BYTES = 1200
MAX_PACKET_BYTES = 65_507  # the largest payload of UDP over IPv4
NARROW_AFTER = 3  # probe timeouts in a row; fewer is ordinary loss, more is a stall that people notice


def packet_bytes(host: str, *, anywhere: int, loopback: int) -> int:
    """How long a packet to `host` may be: `loopback` for this machine, else `anywhere`; never out of bounds."""
    wanted = loopback if is_loopback(host) else anywhere
    return min(max(wanted, BASE_PACKET_BYTES), MAX_PACKET_BYTES)


def is_loopback(host: str) -> bool:
    """Whether an address given as digits never leaves this machine."""
    return host == "::1" or (host.startswith("127.") and host.count(".") == 3) or host.startswith("::ffff:127.")
