"""UDP ports on trio: the only file that opens a socket.

    send_batch    | 1400 | 1400 | ... | 800 |  --sendmsg, UDP_SEGMENT 1400-->  one system call, up to 64 datagrams
    receive_into  | 1400 | 1400 | ... | 800 |  <--recvmsg_into, UDP_GRO------  the kernel put them together again

Whether the kernel does this is probed when a port opens; where it does not (another system, an old kernel, a device
that refuses), the plain fallback sends and receives one datagram per call. `plain=True` forces it, so that both are
tested everywhere.

Raw non-blocking calls on the socket, and `trio.lowlevel.wait_readable` only when it is empty: trio's own `sendto` costs
11 us, the raw one 2 (FACTS). Errors that a socket tells of earlier datagrams are counted and else ignored. Everything
the caller must keep is in `transport.ports`.
"""

from __future__ import annotations

import errno
import math
import socket
import struct
import sys
from collections.abc import Callable

import trio

from identity.errors import Exhausted, LocalMistake, Refused
from identity.machine import Batch
from transport.ports import Address

BUFFER_BYTES = 4 << 20  # of the kernel, each way; a full window of bulk and then some
MAX_SEGMENTS = 64  # UDP_MAX_SEGMENTS of Linux before 6.9, which takes 128
MAX_BATCH_BYTES = 65_507  # what one datagram over IPv4 may hold is what one segmented call may hold

# Linux, include/uapi/linux/udp.h and socket.h; Python's socket module names none of them.
_UDP_SEGMENT, _UDP_GRO = 103, 104
_SO_SNDBUFFORCE, _SO_RCVBUFFORCE = 32, 33
_SEGMENT = struct.Struct("=H")
_SIZE = struct.Struct("=i")
_ANCILLARY_BYTES = socket.CMSG_SPACE(_SIZE.size)

_WAIT = frozenset((errno.EAGAIN, errno.EWOULDBLOCK))
# What a segmented call may meet that the same datagrams one by one may not: a device that cannot, a path too narrow.
_UNABLE = frozenset((errno.EIO, errno.EOPNOTSUPP))
_UNSEGMENTED = _UNABLE | frozenset((errno.EINVAL, errno.EMSGSIZE))
_MAX_ERRORS = 64  # told by a socket in a row before its reader looks at something else


class UdpNetwork:
    """`transport.ports.Network` of this machine."""

    def __init__(self, *, plain: bool = False) -> None:
        self._plain = plain

    async def open_datagram_port(self, host: str, port: int) -> UdpPort:
        """Open a port on `host`, an address of this machine as digits or a name that stands for one.

        Raises `Refused` when that cannot be done, naming the port and what to do.
        """
        try:
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        except OSError as error:
            raise Refused(
                f"{host} is not an address of this machine ({error.strerror or error})",
                next_step="give an address of this machine as `udp` in bangpath.toml",
            ) from error
        family, _, _, _, address = found[0]
        return UdpPort(family, (str(address[0]), int(address[1])), plain=self._plain)


class ScopeTimer:
    """`transport.ports.Timer` as trio has it: a cancel scope for each time that somebody waits."""

    def __init__(self) -> None:
        self._deadline = math.inf
        self._scope: trio.CancelScope | None = None

    @property
    def deadline(self) -> float:
        return self._deadline

    @deadline.setter
    def deadline(self, when: float) -> None:
        self._deadline = when
        if self._scope is not None:
            self._scope.deadline = when

    async def each_due(self, act: Callable[[], None]) -> None:
        while True:
            with trio.CancelScope(deadline=self._deadline) as self._scope:
                await trio.sleep_forever()
            self._scope = None
            act()


class UdpPort:
    """`transport.ports.DatagramPort` on one UDP socket."""

    def __init__(self, family: int, address: Address, *, plain: bool = False) -> None:
        self._socket = _bind(family, address)
        bound = self._socket.getsockname()
        self.address: Address = (bound[0], bound[1])
        self.segments = not plain and _probe(self._socket, _UDP_SEGMENT, 1200, off=True)
        self.coalesces = not plain and _probe(self._socket, _UDP_GRO, 1)
        self.lost_sending = 0  # datagrams that the kernel would not take, or could not send
        self._sent_of_batch = 0  # bytes of the batch that was begun and met a full socket

    def receive_into(self, buffer: memoryview) -> tuple[int, int, Address] | None:
        for _ in range(_MAX_ERRORS):
            try:
                if self.coalesces:
                    length, ancillary, _, sender = self._socket.recvmsg_into([buffer], _ANCILLARY_BYTES)
                    size = _SIZE.unpack_from(ancillary[0][2])[0] if ancillary else length
                else:
                    length, sender = self._socket.recvfrom_into(buffer)
                    size = length
            except OSError as error:
                if error.errno in _WAIT:
                    return None
                self._check_open()
                continue  # the socket tells of an earlier datagram that it met nobody: each is told once
            if length:
                return length, size, (sender[0], sender[1])
        return None

    def send_batch(self, batch: Batch) -> bool:
        size = batch.segment_size
        if self.segments and size < len(batch.buffer) <= size * MAX_SEGMENTS and not self._sent_of_batch:
            try:
                self._socket.sendmsg(
                    [batch.buffer], [(socket.IPPROTO_UDP, _UDP_SEGMENT, _SEGMENT.pack(size))], 0, batch.address
                )
            except OverflowError:
                pass  # a port number that there is not: counted below
            except OSError as error:
                if error.errno in _WAIT:
                    return False
                self._check_open()
                if error.errno not in _UNSEGMENTED:
                    self.lost_sending += -(-len(batch.buffer) // size)
                    return True
                self.segments = error.errno not in _UNABLE  # what one path cannot, others may
            else:
                return True
        return self._send_singly(batch)

    def _send_singly(self, batch: Batch) -> bool:
        buffer, size, address = batch
        while self._sent_of_batch < len(buffer):
            datagram = buffer[self._sent_of_batch : self._sent_of_batch + size]
            try:
                self._socket.sendto(datagram, address)
            except OverflowError:
                self.lost_sending += 1  # a port number that there is not
            except OSError as error:
                if error.errno in _WAIT:
                    return False
                self._check_open()
                self.lost_sending += 1  # too long for the path, no way there, no memory: lost like any other
            self._sent_of_batch += size
        self._sent_of_batch = 0
        return True

    async def wait_readable(self) -> None:
        self._check_open()
        await trio.lowlevel.wait_readable(self._socket)

    async def each_readable(self, act: Callable[[], None]) -> None:
        while True:
            await self.wait_readable()
            act()

    async def wait_writable(self) -> None:
        self._check_open()
        await trio.lowlevel.wait_writable(self._socket)

    def timer(self) -> ScopeTimer:
        return ScopeTimer()

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def _check_open(self) -> None:
        if self._socket.fileno() < 0:
            raise trio.ClosedResourceError("this port is closed")


def _bind(family: int, address: Address) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        for wanted, forced in ((socket.SO_RCVBUF, _SO_RCVBUFFORCE), (socket.SO_SNDBUF, _SO_SNDBUFFORCE)):
            if not _set(opened, socket.SOL_SOCKET, forced, BUFFER_BYTES):  # needs a privilege
                _set(opened, socket.SOL_SOCKET, wanted, BUFFER_BYTES)  # silently cut to net.core.[rw]mem_max
        opened.bind(address)
    except OSError as error:
        opened.close()
        raise _refusal(address, error) from error
    return opened


def _refusal(address: Address, error: OSError) -> Exception:
    host, port = address
    if error.errno == errno.EADDRINUSE:
        return Refused(
            f"UDP port {port} of {host} is in use by another process",
            next_step=f"stop it (`ss -lupn sport = :{port}` names it), or choose another `udp` port in bangpath.toml",
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return Refused(
            f"UDP port {port} of {host} may not be opened by this user",
            next_step="choose a `udp` port from 1024 up in bangpath.toml",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return Refused(
            f"{host} is not an address of this machine",
            next_step="choose one that `ip address` shows as `udp` in bangpath.toml, or 0.0.0.0 for all",
        )
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
        return Exhausted(f"the system has no room for UDP port {port}: {error.strerror}", next_step="raise `ulimit -n`")
    return LocalMistake(f"UDP port {port} of {host} cannot be opened: {error.strerror}")


def _probe(opened: socket.socket, option: int, value: int, *, off: bool = False) -> bool:
    """Whether the kernel knows an option of UDP; the numbers are Linux's."""
    known = sys.platform == "linux" and _set(opened, socket.IPPROTO_UDP, option, value)
    return known and (not off or _set(opened, socket.IPPROTO_UDP, option, 0))


def _set(opened: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        opened.setsockopt(level, option, value)
    except OSError:
        return False
    return True
