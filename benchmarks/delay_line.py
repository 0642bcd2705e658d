"""Links that take time, where the kernel has no netem: one process carries packets from TUN to TUN, later.

    device a --read--> | waits DELAY | --write--> device b         and the same from b to a, for each pair

    python -m benchmarks.delay_line DELAY_S FD FD [FD FD ...]      open TUN devices, in pairs; until it is ended

A delay is constant, so order is kept. Nothing is lost here: a queue longer than MAX_WAITING drops, as a router would.
`open_tun` makes a device; `benchmarks.netlab` moves it into its namespace.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import sys
import time
from collections import deque
from contextlib import suppress

MAX_WAITING = 20_000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h


def open_tun(name: str) -> int:
    """A new TUN device of that name; its descriptor. It goes when the descriptor is closed."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return descriptor


def carry(delay_s: float, descriptors: list[int]) -> None:
    """Carry for ever."""
    other = dict(zip(descriptors, _swapped(descriptors), strict=True))
    waiting: dict[int, deque[tuple[float, bytes]]] = {each: deque() for each in descriptors}  # by where they go
    poll = select.epoll()
    for each in descriptors:
        poll.register(each, select.EPOLLIN)
    while True:
        now = time.monotonic()
        soonest = now + 1.0
        for target, queue in waiting.items():
            while queue and queue[0][0] <= now:
                _write(target, queue.popleft()[1])
            if queue:
                soonest = min(soonest, queue[0][0])
        for source, _ in poll.poll(max(0.0, soonest - time.monotonic())):
            queue = waiting[other[source]]
            for packet in _read_all(source):
                if len(queue) < MAX_WAITING:
                    queue.append((time.monotonic() + delay_s, packet))


def _read_all(source: int) -> list[bytes]:
    packets = []
    with suppress(OSError):  # empty, or the device is set down
        while len(packets) < 64:
            packets.append(os.read(source, 65_536))
    return packets


def _write(target: int, packet: bytes) -> None:
    with suppress(OSError):  # set down: the packet is lost, as on any wire
        os.write(target, packet)


def _swapped(descriptors: list[int]) -> list[int]:
    return [descriptors[at ^ 1] for at in range(len(descriptors))]


if __name__ == "__main__":
    carry(float(sys.argv[1]), [int(each) for each in sys.argv[2:]])
