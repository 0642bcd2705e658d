"""Sockets, hypercorn and the life of one server process: from `bangpath run` to its clean end (DESIGN U5).

    start    open the directory -> the node -> DIR/socket (0600), TCP on loopback if configured -> ready
    stop     SIGTERM or Ctrl-C, or the supervisor has gone: refuse, drain, CLOSE, unlock within 5 s
             a second signal: at once; a first one before it is ready: the start is given up

Promised: the Unix socket is ours alone (0600, made before it listens; a stale one is replaced, which is safe because
the directory's lock is held by then; anything else in its place is left alone, and refused); over TCP nothing is
answered without the token; a port in use is an error that names it. A path longer than a Unix socket's address allows
is bound by a short one (`node.client.short_path`).
"""

from __future__ import annotations

import errno
import gc
import logging
import os
import resource
import signal
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio
from hypercorn.config import Config as HypercornConfig

from identity.errors import Refused
from identity.names import ServerId
from node.client import short_path
from node.http.app import App
from node.http.listening import Door, most_strangers
from store.data_key import Secret

BACKLOG = 128
MAX_DESCRIPTORS = 65_536  # a connection of HTTP costs one and about 16 KiB
KEEP_ALIVE_S = 75.0  # longer than any proxy's idle time in front of us
GRACE_S = 2.0  # for requests under way when the server ends; the whole has 5 s (DESIGN U5)


@asynccontextmanager
async def serve_http(
    node: Any, directory: Path, *, address: tuple[str, int] | None = None, token: str | None = None
) -> AsyncIterator[tuple[str, int] | None]:
    """Serve a running node until the block is left; gives the TCP address, or None.

    `address` needs a `token`. Raises `Refused` when an address is in use.
    """
    config = hypercorn_config()
    doors = [Door(App(node), config, unix_socket(directory / "socket"))]
    bound: tuple[str, int] | None = None
    if address is not None:
        if not token:
            raise Refused("HTTP over TCP needs the node's token", next_step="bangpath keeps it in the file `token`")
        listening = tcp_socket(address)
        bound = listening.getsockname()[:2]
        most = most_strangers(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        doors.append(Door(App(node, token=token), config, listening, most=most))
    ended = trio.Event()
    async with trio.open_nursery() as nursery:
        for door in doors:
            nursery.start_soon(door.serve, ended)
        try:
            yield bound
        finally:
            ended.set()
            nursery.cancel_scope.deadline = trio.current_time() + GRACE_S + 0.5
            with suppress(OSError), short_path(str(directory / "socket")) as path:
                os.unlink(path)


def hypercorn_config() -> HypercornConfig:
    """hypercorn's own log stays silent, ours tells what matters."""
    config = HypercornConfig()
    config.accesslog = None
    config.errorlog = logging.getLogger("bangpath.http")
    config.loglevel = "WARNING"
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = 10_000_000  # closing after the default 1 000 would surprise a client mid-work
    config.graceful_timeout = GRACE_S
    config.include_server_header = False
    return config


def unix_socket(path: Path) -> socket.socket:
    """A listening Unix socket that only its owner may open. The caller holds the directory's lock."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_path(str(path)) as short:
            with suppress(FileNotFoundError):
                if not stat.S_ISSOCK(os.lstat(short).st_mode):
                    made.close()
                    raise Refused(
                        f"{path} is no socket, and its place is needed for one",
                        next_step=f"look at it and move it away: ls -ld {path}",
                    )
                os.unlink(short)
            before = os.umask(0o177)
            try:
                made.bind(short)
            finally:
                os.umask(before)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise Refused(f"{path} cannot be bound: {error.strerror}", next_step="see who owns the directory") from error
    return made


def tcp_socket(address: tuple[str, int]) -> socket.socket:
    """A listening TCP socket. Raises `Refused` naming the address that is in use."""
    host, port = address
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind(address)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be bound: {error.strerror}"
        raise Refused(f"TCP {host}:{port} {why}", next_step="change http under [listen] in bangpath.toml") from error
    return made


def run_server(
    directory: Path,
    *,
    ready_fd: int | None = None,
    life_fd: int | None = None,
    blocked: Mapping[ServerId, str] | None = None,
    key: Secret | None = None,
    tell: Callable[[str], None],
) -> str | None:
    """Run the server of a directory until it is told to stop; its id, or None if that was before it was ready.

    `blocked`: links that are cut from its first packet on. `key` opens its store, if that is encrypted.
    Raises what made it impossible to start.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Idle strangers on the TCP port must not use up what the Unix socket needs; the soft default of 1024 is select's.
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    return trio.run(
        partial(_run, directory, ready_fd=ready_fd, life_fd=life_fd, blocked=blocked or {}, key=key, tell=tell)
    )


async def _run(
    directory: Path,
    *,
    ready_fd: int | None,
    life_fd: int | None,
    blocked: Mapping[ServerId, str],
    key: Secret | None,
    tell: Callable[[str], None],
) -> str | None:
    from node.opening import open_node, read_token

    ended, ready = trio.Event(), trio.Event()
    server: str | None = None
    async with trio.open_nursery() as watchers:
        await watchers.start(_watch_signals, ended)
        if life_fd is not None:
            watchers.start_soon(_watch_supervisor, life_fd, ended)
        with trio.CancelScope() as starting:
            watchers.start_soon(_give_up_the_start, starting, ended, ready)
            await trio.lowlevel.checkpoint()  # so that the watchers watch before anything is opened
            async with open_node(directory, blocked=blocked, key=key) as node:
                address = node.config.http
                token = read_token(directory) if address is not None else None
                async with serve_http(node, directory, address=address, token=token) as bound:
                    host, port = node.config.listen
                    http = f", HTTP {bound[0]}:{bound[1]}" if bound else ""
                    ready.set()  # from here on the end is an orderly one
                    server = str(node.server)
                    if ready_fd is not None:
                        os.write(ready_fd, b"1")
                        os.close(ready_fd)
                    else:
                        tell(f"server {server} is ready: UDP {host}:{port}{http}, Ctrl-C stops it")
                    _forget_the_beginning()
                    await ended.wait()
        if starting.cancelled_caught:
            tell(f"the server in {directory} was told to stop before it was ready")
        watchers.cancel_scope.cancel()
    return server


def _forget_the_beginning() -> None:
    """Modules and what was loaded at start live as long as the process: the garbage collector need not look again.

    A whole collection paused everybody for 15 to 70 ms, and looked at 46 000 objects that never go.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def _give_up_the_start(starting: trio.CancelScope, ended: trio.Event, ready: trio.Event) -> None:
    """Told to stop while it opens, a server stops opening, which is a crash that loses nothing answered."""
    await ended.wait()
    if not ready.is_set():
        starting.cancel()


async def _watch_signals(ended: trio.Event, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """The first signal asks, the second one ends the process where it stands (what was answered is durable)."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            if ended.is_set():
                os._exit(128 + number)
            ended.set()


async def _watch_supervisor(life_fd: int, ended: trio.Event) -> None:
    """The supervisor holds the other end of this pipe and never writes: its end is our end."""
    async with trio.lowlevel.FdStream(life_fd) as life:
        with suppress(trio.BrokenResourceError):
            await life.receive_some(1)
    ended.set()
