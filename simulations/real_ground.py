"""What real servers stand on: network namespaces with the simulator's rules between them, or this machine's loopback.

    namespaces     each server in its own: one device, 10.78.x.y, every rule of a link     needs root, ip, /dev/net/tun
    loopback       127.0.0.1, a port each; links are cut by the servers' own word (`peers block`), and nothing else

`best_ground` takes namespaces where the machine allows them, and says why where it does not. Namespaces hold the
number of the process that made them in their names; they are removed at the end, also those of one that was killed
before it could (by the next one). Only what was made here is touched.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import shutil
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from identity.errors import Refused
from simulations.links import Link
from simulations.nat import Wall
from simulations.network import Address
from simulations.real_network import RealNetwork
from simulations.stage import Undo, Way, parted

PREFIX = "bpsim"
PORT = 7000
MTU = 1500
_TUN = Path("/dev/net/tun")
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000  # linux/if_tun.h
_numbers = itertools.count(1)  # of the grounds of this process

Tell = Callable[[str, str, str, bool], Awaitable[None]]  # server, peer, direction: whether to block


class Ground(Protocol):
    """Where servers are, and what lies between them."""

    name: str

    def listen(self, server: str) -> Address:
        """Its UDP address."""

    def inside(self, server: str) -> Sequence[str]:
        """The words before a command that make it run there."""

    def words(self, server: str) -> Sequence[str]:
        """More words for `bangpath run`."""

    async def lay(self, ways: Iterable[Way] | None, fields: Mapping[str, Any], *, kind: str, text: str) -> Undo:
        """Change these fields of the links of these directions, or of all (None). Raises `Refused`."""

    async def wall_in(self, wall: Wall, *, text: str) -> Undo:
        """Put a NAT or a firewall in front of servers. Raises `Refused`."""

    async def rebind(self, server: str) -> None: ...

    async def mend(self, ways: Iterable[Way]) -> None: ...

    async def heal(self) -> None: ...

    def close(self) -> None: ...


def missing() -> str:
    """What this machine lacks for namespaces, and what mends it; empty when nothing does."""
    if os.geteuid() != 0:
        return "network namespaces need root: run it as root, for example with `sudo -E`"
    if shutil.which("ip") is None:
        return "there is no `ip`: apt-get install -y iproute2"
    if not _TUN.exists():
        return f"there is no {_TUN}: modprobe tun"
    trial = f"{PREFIX}-{os.getpid()}-trial"
    try:
        _run("ip", "netns", "add", trial)
        try:
            os.close(_open_tun(trial, "trial0", f"bpt{os.getpid() % 100_000}"))
        finally:
            _run("ip", "netns", "del", trial)
    except (Refused, OSError) as error:
        return f"this machine allows no network namespaces with devices in them: {error}"
    return ""


class Namespaces:
    """Each server in a network namespace of its own."""

    name = "network namespaces"

    def __init__(self, servers: Sequence[str], generator: random.Random, link: Link, mark: Callable[..., None]) -> None:
        remove_abandoned()
        self._number = next(_numbers)
        self._made: list[str] = []
        self._address = {server: f"10.78.{place // 250}.{place % 250 + 1}" for place, server in enumerate(servers)}
        devices: dict[str, tuple[str, int]] = {}
        self._network: RealNetwork | None = None
        self._devices = devices
        try:
            for place, server in enumerate(servers):
                namespace = self.namespace(server)
                _run("ip", "netns", "add", namespace)
                self._made.append(namespace)
                device = _open_tun(namespace, "mesh", f"bp{os.getpid() % 100_000}x{self._number % 100}x{place}")
                devices[server] = self._address[server], device
                _run("ip", "-n", namespace, "link", "set", "lo", "up")
                _run("ip", "-n", namespace, "addr", "add", f"{self._address[server]}/16", "dev", "mesh")
                _run("ip", "-n", namespace, "link", "set", "mesh", "mtu", str(MTU), "up")
            self._network = RealNetwork(devices, generator, link, mark)
            self._network.begin()
        except BaseException:
            self.close()
            raise

    @property
    def network(self) -> RealNetwork:
        assert self._network is not None
        return self._network

    def namespace(self, server: str) -> str:
        return f"{PREFIX}-{os.getpid()}-{self._number}-{server}"

    def listen(self, server: str) -> Address:
        return self._address[server], PORT

    def inside(self, server: str) -> Sequence[str]:
        return ("ip", "netns", "exec", self.namespace(server))

    def words(self, server: str) -> Sequence[str]:
        return ()

    async def lay(self, ways: Iterable[Way] | None, fields: Mapping[str, Any], *, kind: str, text: str) -> Undo:
        with self.network.lock:
            layer = self.network.lay(ways, fields, kind=kind, text=text)

        async def undo() -> None:
            with self.network.lock:
                self.network.lift(layer)

        return undo

    async def wall_in(self, wall: Wall, *, text: str) -> Undo:
        with self.network.lock:
            self.network.build(wall, text=text)

        async def undo() -> None:
            with self.network.lock:
                self.network.tear_down(wall)

        return undo

    async def rebind(self, server: str) -> None:
        with self.network.lock:
            self.network.rebind(server)

    async def mend(self, ways: Iterable[Way]) -> None:
        with self.network.lock:
            for way in ways:
                self.network.mend(*way)

    async def heal(self) -> None:
        with self.network.lock:
            self.network.heal()

    def close(self) -> None:
        """After the servers have ended."""
        if self._network is not None:
            self._network.end()
        for _, device in self._devices.values():
            os.close(device)
        self._devices.clear()
        while self._made:
            with suppress(Refused):
                _run("ip", "netns", "del", self._made.pop())


class Loopback:
    """All on 127.0.0.1. `tell(server, peer, direction, block)` says `peers block` to a server that runs."""

    name = "loopback"

    def __init__(self, servers: Sequence[str], link: Link, mark: Callable[..., None], tell: Tell, why: str) -> None:
        self._servers = tuple(servers)
        self._why = why
        if link != Link():
            check_rules(link.differences(), "its links", why)
        self._mark = mark
        self._tell = tell
        self._ports = dict(zip(servers, _free_ports(len(servers)), strict=True))
        self._cuts: Counter[Way] = Counter()

    def listen(self, server: str) -> Address:
        return "127.0.0.1", self._ports[server]

    def inside(self, server: str) -> Sequence[str]:
        return ()

    def words(self, server: str) -> Sequence[str]:
        """A server that starts again is cut off from its first packet on."""
        blocked = []
        for peer in self._servers:
            out, back = self._cuts[server, peer] > 0, self._cuts[peer, server] > 0
            if out or back:
                blocked += ["--blocked", f"{peer}={'both' if out and back else 'out' if out else 'in'}"]
        return blocked

    async def lay(self, ways: Iterable[Way] | None, fields: Mapping[str, Any], *, kind: str, text: str) -> Undo:
        check_rules(fields, text or kind, self._why)
        chosen = tuple(dict.fromkeys(ways if ways is not None else parted([[each] for each in self._servers])))
        self._mark(kind, *dict.fromkeys(name for way in chosen for name in way), text=text)
        for way in chosen:
            await self._change(way, self._cuts[way] + 1)

        async def undo() -> None:
            for way in chosen:
                await self._change(way, max(0, self._cuts[way] - 1))

        return undo

    async def wall_in(self, wall: Wall, *, text: str) -> Undo:
        raise needs_namespaces(text, self._why)

    async def rebind(self, server: str) -> None:
        raise needs_namespaces("a NAT", self._why)

    async def mend(self, ways: Iterable[Way]) -> None:
        for way in ways:
            await self._change(way, 0)

    async def heal(self) -> None:
        await self.mend([way for way, number in self._cuts.items() if number])

    async def _change(self, way: Way, number: int) -> None:
        before, self._cuts[way] = self._cuts[way], number
        if bool(before) != bool(number):
            source, target = way
            await self._tell(source, target, "out", bool(number))
            await self._tell(target, source, "in", bool(number))

    def close(self) -> None:
        """Nothing was made."""


def check_rules(fields: Mapping[str, Any], text: str, why: str) -> None:
    """That it is nothing but a cut. Raises `Refused`: all else that a link can do needs namespaces."""
    if dict(fields) != {"cut": True}:
        raise needs_namespaces(f"{text}: links with rules", why)


def needs_namespaces(what: str, why: str) -> Refused:
    return Refused(f"{what} can be made only between network namespaces; {why}", next_step="or run it without --real")


def _free_ports(number: int) -> list[int]:
    opened = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(number)]
    try:
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in opened]
    finally:
        for each in opened:
            each.close()


# -- what of the kernel is used


def _open_tun(namespace: str, name: str, meanwhile: str) -> int:
    """A device of that name in the namespace; its other end, which is here. It goes when that is closed."""
    device = os.open(_TUN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", meanwhile.encode(), _IFF_TUN | _IFF_NO_PI))
        _run("ip", "link", "set", meanwhile, "netns", namespace)
        _run("ip", "-n", namespace, "link", "set", meanwhile, "name", name)
    except BaseException:
        os.close(device)
        raise
    return device


def _run(*command: str) -> str:
    """What the command printed. Raises `Refused` with what it complained of."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    if done.returncode:
        raise Refused(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def remove_abandoned() -> None:
    """Remove the namespaces whose process is gone; the servers in them ended with it."""
    for line in _run("ip", "netns", "list").splitlines():
        name = line.split()[0] if line.split() else ""
        parts = name.split("-")
        if len(parts) > 2 and parts[0] == PREFIX and parts[1].isdigit() and is_gone(int(parts[1])):
            with suppress(Refused):
                _run("ip", "netns", "del", name)


def is_gone(process: int) -> bool:
    """Whether it has ended; one that nobody has asked how it ended (a zombie) has."""
    try:
        told = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return told.rpartition(")")[2].split()[0] in ("Z", "X")
