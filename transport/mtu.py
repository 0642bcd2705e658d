"""How large a packet may be.

    by gateways       200 bytes less than directly, and never above 1200 where there is no direct address: each
                      packet travels within another one
    any address       1400 bytes     fits Ethernet (1500) through one or two tunnels
    this machine    16 384 bytes     the loopback's own limit is 65 536; four of these fill one segmented call
    when in doubt     1200 bytes     what every path of the internet carries (RFC 9000, section 14)

Sizes are fixed by address. What disappears by its size alone is noticed by silence:

    WIDE --NARROW_AFTER probes unanswered--> NARROW --a wide packet arrived after all, or a minute passed--> WIDE
         --VANISHED wide ones lost in a row-->

Where small packets pass there is no silence: then wide ones that were lost one after another, each overtaken by a
small one and none by a wide one, tell the same (RFC 8899, section 4.3).

It may have been the peer that was silent, and not the size that was wrong: then the wide packets are acknowledged when
it wakes. Where they are not, a minute later is tried again, then two, then four, up to RETRY_MOST_S.
"""

from __future__ import annotations

import math

BASE_PACKET_BYTES = 1200
MAX_PACKET_BYTES = 65_507  # the largest payload of UDP over IPv4
NARROW_AFTER = 3  # probe timeouts in a row; fewer is ordinary loss, more is a stall that people notice
VANISHED = 8  # at 30 % loss eight in a row are one chance in 15 000, and the mistake costs a seventh for a minute

DETOUR_BYTES = 200  # what a packet by gateways leaves free: the path of 8 servers, and the outer packet's own head

RETRY_FIRST_S = 60.0
RETRY_MOST_S = 3600.0


def packet_bytes(host: str, *, anywhere: int, loopback: int) -> int:
    """How long a packet to `host` may be: `loopback` for this machine, else `anywhere`; never out of bounds."""
    wanted = loopback if is_loopback(host) else anywhere
    return min(max(wanted, BASE_PACKET_BYTES), MAX_PACKET_BYTES)


def is_loopback(host: str) -> bool:
    """Whether an address given as digits never leaves this machine."""
    return host == "::1" or (host.startswith("127.") and host.count(".") == 3) or host.startswith("::ffff:127.")


class PacketSize:
    """How long the packets of one connection are. What returns True has changed `now_bytes`."""

    def __init__(self, wide_bytes: int) -> None:
        self.now_bytes = self._wide_bytes = wide_bytes
        self._retry_s = RETRY_FIRST_S
        self._retry_at = math.inf

    def resize(self, wide_bytes: int) -> None:
        """Packets go another way now."""
        self.now_bytes = self._wide_bytes = max(wide_bytes, BASE_PACKET_BYTES)
        self._retry_at = math.inf

    def handle_silence(self, tries: int, now: float) -> bool:
        """`tries` probes in a row were not answered."""
        return tries >= NARROW_AFTER and self._become_narrow(now)

    def handle_vanished(self, lost: int, now: float) -> bool:
        """So many wide packets were lost since one arrived, and small ones that left later did arrive."""
        return lost >= VANISHED and self._become_narrow(now)

    def _become_narrow(self, now: float) -> bool:
        if self.now_bytes <= BASE_PACKET_BYTES:
            return False
        self.now_bytes = BASE_PACKET_BYTES
        self._retry_at = now + self._retry_s
        self._retry_s = min(self._retry_s * 2, RETRY_MOST_S)
        return True

    def handle_arrived(self, size: int, now: float) -> bool:
        """A packet of this size was acknowledged."""
        if (now < self._retry_at and size <= BASE_PACKET_BYTES) or self.now_bytes == self._wide_bytes:
            return False
        self.now_bytes = self._wide_bytes
        self._retry_at = math.inf
        if size > BASE_PACKET_BYTES:
            self._retry_s = RETRY_FIRST_S
        return True
