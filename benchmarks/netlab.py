"""A laboratory of network namespaces: what is cut here is cut by the kernel, under real servers that are told nothing.

    S ------- D        a veth pair for each link, an address for each end: 10.78.LINK.1 and 10.78.LINK.2
    |\\      /|        nobody forwards IP: a packet from S reaches D by their own link, or through a server
    | G1----  |
    G2--------'

    how          what happens on the link a-b
    silent       both ends drop what arrives; nobody is told anything
    forward      b drops what comes from a; b -> a goes on
    backward     a drops what comes from b; a -> b goes on
    down         the interface of a is set down: a is told by its kernel, b loses the carrier

Rules. Only namespaces made here are touched; their names hold the number of the process that made them, and they are
removed at the end, also of one that was killed before it could (by the next laboratory). Every process started here is
ended first. With `delay_s` the links are TUN devices (benchmarks.delay_line), because kernels may lack netem. It needs
root, `ip`, and `nft` or `iptables`: `missing()` says what is not there, in one sentence.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.delay_line import open_tun

PREFIX = "bplab"
KINDS = ("silent", "forward", "backward", "down")
DIAMOND = (("S", "D"), ("S", "G1"), ("S", "G2"), ("G1", "D"), ("G2", "D"))
STOP_S = 8.0  # a server has 5 s to end
_numbers = itertools.count(1)  # of the laboratories of this process


class Cut(NamedTuple):
    """When the kernel was told, monotonic: between these two moments the cut began to work, or ended."""

    before: float
    after: float


class Counted(NamedTuple):
    """What passed one end of a link since it was made."""

    sent_bytes: int
    sent_packets: int
    received_bytes: int
    received_packets: int

    def since(self, earlier: Counted) -> Counted:
        return Counted(*(now - then for now, then in zip(self, earlier, strict=True)))


class LabError(RuntimeError):
    """A command of the laboratory failed."""


def missing() -> str:
    """What this machine lacks for a laboratory, and what mends it; empty when nothing does."""
    if os.geteuid() != 0:
        return "network namespaces need root: run as root, for example with `sudo -E`"
    if shutil.which("ip") is None:
        return "there is no `ip`: apt-get install -y iproute2"
    if _filter() is None:
        return "there is neither `nft` nor `iptables` to cut links with: apt-get install -y nftables"
    trial = f"{PREFIX}-{os.getpid()}-trial"
    try:
        run("ip", "netns", "add", trial)
    except LabError as error:
        return f"this machine allows no network namespaces: {error}"
    try:
        for words in _prepare_filter():
            run("ip", "netns", "exec", trial, *words)
        run("ip", "link", "add", "t0", "netns", trial, "type", "veth", "peer", "name", "t1", "netns", trial)
    except LabError as error:
        return f"network namespaces are here, and not all that they need: {error}"
    finally:
        run("ip", "netns", "del", trial)
    return ""


class Lab:
    """Namespaces and links, made on entering and removed on leaving. With `delay_s`, each link takes that long."""

    def __init__(self, links: Sequence[tuple[str, str]] = DIAMOND, *, delay_s: float = 0.0) -> None:
        self._number = next(_numbers)
        self.links = tuple(links)
        self.delay_s = delay_s
        self.nodes = tuple(dict.fromkeys(end for link in self.links for end in link))
        self._processes: list[subprocess.Popen[Any]] = []
        self._made: list[str] = []
        self._deaf: set[tuple[str, str]] = set()  # (node, other): the node drops what comes from the other
        self._down: set[tuple[str, str]] = set()  # (node, other): the interface of node to the other is down

    def __enter__(self) -> Lab:
        _remove_abandoned()
        try:
            for node in self.nodes:
                run("ip", "netns", "add", self.namespace(node))
                self._made.append(node)
                run("ip", "-n", self.namespace(node), "link", "set", "lo", "up")
                for words in _prepare_filter():
                    run(*self.inside(node), *words)
            if self.delay_s:
                self._lay_slow()
            else:
                for link in self.links:
                    self._lay(*link)
            for a, b in self.links:
                self._address(a, b)
                self._address(b, a)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _lay(self, a: str, b: str) -> None:
        ends = (interface(a, b), "netns", self.namespace(a), "type", "veth")
        run("ip", "link", "add", *ends, "peer", "name", interface(b, a), "netns", self.namespace(b))

    def _lay_slow(self) -> None:
        """All links, of pairs of TUN devices and one process that carries between them."""
        opened: list[int] = []
        try:
            for one, other in [end for a, b in self.links for end in ((a, b), (b, a))]:
                name = f"bp{os.getpid() % 100_000}t{len(opened)}"
                opened.append(open_tun(name))
                run("ip", "link", "set", name, "netns", self.namespace(one))
                run("ip", "-n", self.namespace(one), "link", "set", name, "name", interface(one, other))
            command = [sys.executable, "-m", "benchmarks.delay_line", str(self.delay_s), *map(str, opened)]
            here = Path(__file__).resolve().parents[1]
            self._processes.append(subprocess.Popen(command, pass_fds=opened, start_new_session=True, cwd=here))
        finally:
            for each in opened:
                os.close(each)

    def _address(self, node: str, other: str) -> None:
        name, device = self.namespace(node), interface(node, other)
        run("ip", "-n", name, "addr", "add", f"{self.address(node, other)}/30", "dev", device)
        run("ip", "-n", name, "link", "set", device, "up")

    def close(self) -> None:
        """End every process that was started here, then remove every namespace that was made here."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + STOP_S
        for process in self._processes:
            try:
                process.wait(max(0.01, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        while self._made:
            with suppress(LabError):
                run("ip", "netns", "del", self.namespace(self._made.pop()))

    # -- places

    def namespace(self, node: str) -> str:
        return f"{PREFIX}-{os.getpid()}-{self._number}-{node}"

    def inside(self, node: str) -> tuple[str, ...]:
        """The words before a command that make it run at that node; the process keeps its number."""
        return ("ip", "netns", "exec", self.namespace(node))

    def address(self, node: str, other: str) -> str:
        """The address of `node` on its link to `other`."""
        for number, (a, b) in enumerate(self.links):
            if {a, b} == {node, other}:
                return f"10.78.{number}.{1 if node == a else 2}"
        raise LabError(f"there is no link {node}-{other}")

    def addresses(self, node: str) -> list[str]:
        """All addresses of a node, in the order of its links."""
        return [self.address(node, a if node == b else b) for a, b in self.links if node in (a, b)]

    def start(self, node: str, command: Sequence[str], **popen: Any) -> subprocess.Popen[Any]:
        """A process at that node, ended with the laboratory. `popen` goes to `subprocess.Popen`."""
        process = subprocess.Popen([*self.inside(node), *command], start_new_session=True, **popen)
        self._processes.append(process)
        return process

    # -- faults

    def cut(self, a: str, b: str, how: str) -> Cut:
        """Cut the link a-b, beside what is cut already. Raises `LabError` for a link or a kind that there is not."""
        self.address(a, b)
        if how == "down":
            self._down.add((a, b))
            return self._all_at_once([_set_link(self.namespace(a), interface(a, b), "down")])
        drops = {"silent": ((b, a), (a, b)), "forward": ((b, a),), "backward": ((a, b),)}.get(how)
        if drops is None:
            raise LabError(f"a link is cut {', '.join(KINDS)}, not {how}")
        new = [each for each in drops if each not in self._deaf]
        self._deaf.update(new)
        return self._all_at_once([(*self.inside(at), *_drop("add", interface(at, other))) for at, other in new])

    def heal(self, a: str, b: str) -> Cut:
        """Undo every cut of the link a-b."""
        ends = [each for each in ((a, b), (b, a)) if each in self._deaf]
        down = [each for each in ((a, b), (b, a)) if each in self._down]
        self._deaf.difference_update(ends)
        self._down.difference_update(down)
        words = [(*self.inside(at), *_drop("delete", interface(at, other))) for at, other in ends]
        words += [_set_link(self.namespace(at), interface(at, other), "up") for at, other in down]
        return self._all_at_once(words)

    def _all_at_once(self, commands: Sequence[Sequence[str]]) -> Cut:
        before = time.monotonic()
        started = [subprocess.Popen(each, stderr=subprocess.PIPE, text=True) for each in commands]
        told = [each.communicate()[1] for each in started]
        cut = Cut(before, time.monotonic())
        for command, process, said in zip(commands, started, told, strict=True):
            if process.returncode:
                raise LabError(f"{' '.join(command)}: {said.strip()}")
        return cut

    def counted(self, node: str, other: str) -> Counted:
        """What passed the end of the link that is at `node`. What a cut dropped there has passed it."""
        said = run("ip", "-n", self.namespace(node), "-s", "-j", "link", "show", "dev", interface(node, other))
        sent, received = (json.loads(said)[0]["stats64"][way] for way in ("tx", "rx"))
        return Counted(sent["bytes"], sent["packets"], received["bytes"], received["packets"])


def interface(node: str, other: str) -> str:
    """The name of the end at `node`."""
    return f"{node.lower()}-{other.lower()}"


def run(*command: str) -> str:
    """What the command printed. Raises `LabError` with what it complained of."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _filter() -> str | None:
    return next((each for each in ("nft", "iptables") if shutil.which(each)), None)


def _prepare_filter() -> list[tuple[str, ...]]:
    """What makes room for cuts in a new namespace: before routing, before anything else sees the packet."""
    if _filter() != "nft":
        return []
    nft = ("nft", "add")
    return [
        (*nft, "table", "inet", "lab"),
        (*nft, "set", "inet", "lab", "deaf", "{ type ifname ; }"),
        (*nft, "chain", "inet", "lab", "cuts", "{ type filter hook prerouting priority -300 ; }"),
        (*nft, "rule", "inet", "lab", "cuts", "iifname", "@deaf", "drop"),
    ]


def _drop(verb: str, device: str) -> tuple[str, ...]:
    """`add` or `delete` what drops all that comes in there."""
    if _filter() == "nft":
        return ("nft", verb, "element", "inet", "lab", "deaf", f"{{ {device} }}")
    option = {"add": "-A", "delete": "-D"}[verb]
    return ("iptables", "-t", "raw", option, "PREROUTING", "-i", device, "-j", "DROP")


def _set_link(namespace: str, device: str, state: str) -> tuple[str, ...]:
    return ("ip", "-n", namespace, "link", "set", device, state)


def _remove_abandoned() -> None:
    """Remove the namespaces of laboratories whose process is gone, with what still runs in them."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0] if line.split() else ""
        parts = name.split("-")
        if len(parts) < 3 or parts[0] != PREFIX or not parts[1].isdigit() or os.path.exists(f"/proc/{parts[1]}"):
            continue
        with suppress(LabError):
            for pid in run("ip", "netns", "pids", name).split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", name)
