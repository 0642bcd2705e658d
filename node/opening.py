"""A server's directory: made once, checked at every start, opened in order and closed in the other.

    DIR/  bangpath.toml    the configuration (node.config)
          keys             private keys, 0600 (identity.keys)
          chain            certificates from the root to this server, one a line, in hexadecimal
          log/             the redo log; holds the lock that keeps a second process out (store.disk)
          tables/          LMDB, folded from the log (store.tables)
          socket           HTTP for this user, while it runs (node.http)
          token            what HTTP over TCP wants to be shown, 0600
          pid              of the process that runs it
          restored         it came back from a backup, and has not been started since (store.backup_directories)

    create_root(DIR, 1)    keys -> own certificate -> chain, token, configuration
    join(DIR, TICKET)      keys -> JOIN to the inviter -> chain, token, configuration
    open_node(DIR)         checks -> lock -> store, port, machines -> a running node -> the other way round

The configuration is written last, so a directory without one was never finished: `join` may be repeated after a crash
and goes on with the keys it finds, to which its ticket is bound. Everything that starts a server's life is checked
before anything is opened, and a refusal names the file and what mends it (ATTACKS 21).

This file chooses the real ground under a node: disk, LMDB, sockets, clock, randomness, the log on stderr.
"""

from __future__ import annotations

import os
import random as random_module
import secrets
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import msgspec
import trio

from identity.errors import BangpathError, Refused
from identity.keys import Keys, read_keys, read_plain_file, read_private_file, write_keys
from identity.names import Pattern, ServerId
from identity.tickets import Ticket
from identity.trust import fingerprint, issue_root, verify_chain_untrusted
from node.announcing import own_certificate
from node.config import SCRUB, Address, Config, parse_address, read_config, write_config
from node.joining import Joined
from node.newcomer import ask_to_join
from node.node import Node
from node.switches import switched_off
from store.archive import log_disk
from store.backup_directories import RESTORED
from store.data_key import Secret, open_key
from store.tables import LmdbTables
from store.upkeep import check_key
from transport.ports import Network
from transport.sockets import UdpNetwork

CONFIG, KEYS, CHAIN, TOKEN, PID = "bangpath.toml", "keys", "chain", "token", "pid"
LOG, TABLES = "log", "tables"
MAX_CHAIN_FILE = 1 << 20
CHAIN_HEAD = "bangpath chain 1"
ANY_PORT: Address = ("127.0.0.1", 0)


class Loaded(NamedTuple):
    """A server's directory, checked."""

    directory: Path
    config: Config
    keys: Keys
    chain: tuple[bytes, ...]


# -- making


def create_root(
    directory: Path,
    server: ServerId,
    *,
    listen: Address | str = ANY_PORT,
    announce: tuple[Address, ...] = (),
    http: Address | None = None,
    local: str = "",
    name: str = "",
    key: Secret | None = None,
    random: Random | None = None,
    wall_ms: Callable[[], int] | None = None,
) -> Config:
    """Found a mesh whose root is `server`; with a `key` its store will be encrypted.

    Raises `Refused` when the directory holds a server already.
    """
    random = random or random_module.SystemRandom()
    _prepare(directory, key)
    keys = _keys(directory, random)
    now_ms = (wall_ms or wall_clock_ms)()
    certificate = issue_root(keys, server, wall_ms=now_ms)
    config = Config(
        server=server,
        roots=(fingerprint(server, keys.signing_public),),
        name=name,
        local=Pattern(local) if local else None,
        listen=_chosen(listen),
        announce=announce,
        http=http,
        scrub=SCRUB,
    )
    _finish(directory, config, (certificate.to_bytes(),))
    return config


async def join(
    directory: Path,
    ticket: str,
    *,
    listen: Address | str = ANY_PORT,
    announce: tuple[Address, ...] = (),
    http: Address | None = None,
    local: str = "",
    name: str = "",
    key: Secret | None = None,
    network: Network | None = None,
    random: Random | None = None,
    wall_ms: Callable[[], int] | None = None,
) -> Config:
    """Become the server that the ticket is for; with a `key` its store will be encrypted. May be repeated.

    Raises `Refused` with the inviter's cause, `Unreachable` when it did not answer.
    """
    random = random or random_module.SystemRandom()
    read = Ticket.parse(ticket)
    _prepare(directory, key)
    keys = _keys(directory, random)
    address = _chosen(listen)
    joined = await ask_to_join(
        read, keys, network=network or UdpNetwork(), host=address[0], random=random, now_ms=(wall_ms or wall_clock_ms)()
    )
    config = _config_of(read, joined, address, announce, http, local, name)
    _finish(directory, config, joined.chain)
    return config


def ticket_server(ticket: str) -> ServerId:
    """For whom the ticket is. Raises `Refused`."""
    return Ticket.parse(ticket).server


def _config_of(
    ticket: Ticket,
    joined: Joined,
    listen: Address,
    announce: tuple[Address, ...],
    http: Address | None,
    local: str,
    name: str,
) -> Config:
    roots = tuple(dict.fromkeys((ticket.root, *joined.roots)))
    try:
        links = verify_chain_untrusted(joined.chain, roots=(ticket.root,), wall_ms=None)
    except BangpathError as error:
        raise Refused(f"{ticket.inviter} sent a chain that proves nothing: {error.cause}") from error
    if links[-1].server != ticket.server:
        raise Refused(f"{ticket.inviter} sent a certificate for {links[-1].server}, not for {ticket.server}")
    addresses = tuple(dict.fromkeys((*joined.addresses, *ticket.addresses)))
    return Config(
        server=ticket.server,
        roots=roots,
        name=name,
        secret=joined.secret,
        local=Pattern(local) if local else None,
        listen=listen,
        announce=announce,
        http=http,
        addresses={ticket.inviter: addresses},
        scrub=SCRUB,
    )


def found_already(directory: Path, config: Config, keys: Keys, chain: tuple[bytes, ...]) -> None:
    """Make the directory of a server whose keys and certificates exist: of a mesh that was founded elsewhere.

    Raises `Refused` when it holds a server already.
    """
    _prepare(directory)
    write_keys(directory / KEYS, keys)
    _finish(directory, config, chain)


def _prepare(directory: Path, key: Secret | None = None) -> None:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Refused(f"{directory} cannot be made: {error.strerror}") from error
    if (directory / CONFIG).exists():
        raise Refused(
            f"{directory} holds a server already", next_step=f"bangpath -C {directory} run, or choose another directory"
        )
    open_key(directory, key, create=not (directory / LOG).exists())


def _keys(directory: Path, random: Random) -> Keys:
    """The keys of an unfinished directory, or new ones."""
    path = directory / KEYS
    if not path.exists():
        write_keys(path, Keys.generate(random))
    return read_keys(path)


def _chosen(listen: Address | str) -> Address:
    """The address with a port: 0 is chosen now, so that it stays the same at every start."""
    host, port = parse_address(listen) if isinstance(listen, str) else listen
    if port:
        return host, port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as trial:
        try:
            trial.bind((host, 0))
        except OSError as error:
            raise Refused(
                f"{host} is no address of this machine: {error.strerror}", next_step="choose another --listen"
            ) from error
        return host, int(trial.getsockname()[1])


def _finish(directory: Path, config: Config, chain: tuple[bytes, ...]) -> None:
    """Write what makes it a server; the configuration last."""
    lines = [CHAIN_HEAD, *(each.hex() for each in chain)]
    _write(directory / CHAIN, "\n".join(lines) + "\n", mode=0o644)
    if not (directory / TOKEN).exists():
        _write(directory / TOKEN, secrets.token_urlsafe(32) + "\n", mode=0o600)
    write_config(directory / CONFIG, config)


def _write(path: Path, text: str, *, mode: int) -> None:
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, mode)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    new.replace(path)


# -- checking


def load(directory: Path) -> Loaded:
    """The directory's content, checked. Raises `Refused` naming file and what mends it."""
    if not directory.is_dir():
        raise Refused(f"there is no directory {directory}", next_step="bangpath init ID, or bangpath join TICKET")
    if directory.stat().st_mode & 0o022:
        raise Refused(
            f"{directory} may be changed by others (mode {directory.stat().st_mode & 0o777:o})",
            next_step=f"chmod 700 {directory}",
        )
    pid = directory / PID
    if pid.exists() and not pid.is_file():
        raise Refused(
            f"{pid} is no plain file, and its place is needed for one",
            next_step=f"look at it and move it away: ls -ld {pid}",
        )
    config = read_config(directory / CONFIG)
    keys = read_keys(directory / KEYS)
    chain = read_chain(directory / CHAIN)
    try:
        verify_chain_untrusted(chain, roots=config.roots, wall_ms=None)
    except BangpathError as error:
        raise Refused(
            f"{directory / CHAIN} does not fit {directory / CONFIG}: {error.cause}",
            next_step="look at roots under [mesh]; restore the file from a backup",
        ) from error
    return Loaded(directory, config, keys, chain)


def read_chain(path: Path) -> tuple[bytes, ...]:
    """The certificates in the file. Raises `Refused` naming the line."""
    try:
        data = read_plain_file(path, max_bytes=MAX_CHAIN_FILE)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}", next_step="restore it from a backup") from error
    lines = data.decode(errors="replace").splitlines()
    if not lines or lines[0] != CHAIN_HEAD:
        raise Refused(f"{path} does not begin with {CHAIN_HEAD!r}", next_step="restore it from a backup")
    chain = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            chain.append(bytes.fromhex(line))
        except ValueError:
            raise Refused(f"{path}, line {number}: not hexadecimal", next_step="restore it from a backup") from None
    return tuple(chain)


def read_token(directory: Path) -> str:
    """The token for HTTP over TCP. Raises `Refused` when others could have read it."""
    token = read_private_file(directory / TOKEN, max_bytes=4096).strip()
    if len(token) < 16:
        raise Refused(f"{directory / TOKEN} holds no token", next_step=f"remove it and restart: rm {directory / TOKEN}")
    return token


# -- running


@asynccontextmanager
async def open_node(
    directory: Path,
    *,
    log: Callable[[dict[str, Any]], None] | None = None,
    blocked: Mapping[ServerId, str] | None = None,
    key: Secret | None = None,
) -> AsyncIterator[Node]:
    """The server of this directory, running and ready inside the block, closed within 5 s after it.

    `blocked`: links that are cut from its first packet on (`node.blocking`). `key` opens an encrypted one.

    Raises what made it impossible, as one kind of `identity.errors`.
    """
    node = _node_of(load(directory), log or log_to_stderr, blocked or {}, key)
    failed: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(node.run)
            (directory / RESTORED).unlink(missing_ok=True)  # it has written down itself that it was
            _write(directory / PID, f"{os.getpid()}\n", mode=0o644)
            try:
                yield node
            finally:
                with trio.CancelScope(shield=True):
                    await node.stop()
                with suppress(OSError):
                    (directory / PID).unlink()
    except BaseExceptionGroup as group:
        failed = _alone(group)
        if failed is group:
            raise
    if failed is not None:
        raise failed


def _node_of(
    loaded: Loaded, log: Callable[[dict[str, Any]], None], blocked: Mapping[ServerId, str], key: Secret | None
) -> Node:
    """The node of a checked directory, on the real ground. The lock is taken here; `Node.run` gives it back."""
    own_certificate(loaded.keys, loaded.chain, loaded.config)  # before anything is opened
    cipher = open_key(loaded.directory, key)
    disk = log_disk(loaded.directory, cipher=cipher)
    try:
        check_key(disk)
        return Node(
            keys=loaded.keys,
            chain=loaded.chain,
            config=msgspec.structs.replace(loaded.config, without=switched_off(os.environ), blocked=dict(blocked)),
            disk=disk,
            tables=LmdbTables(loaded.directory / TABLES),
            network=UdpNetwork(),
            random=random_module.SystemRandom(),
            wall_ms=wall_clock_ms,
            log=log,
            restored=(loaded.directory / RESTORED).exists(),
        )
    except BaseException:
        disk.close()
        raise


def _alone(group: BaseException) -> BaseException:
    """The one error inside nurseries' groups, where there is one."""
    while isinstance(group, BaseExceptionGroup) and len(group.exceptions) == 1:
        group = group.exceptions[0]
    return group


def wall_clock_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def log_to_stderr(event: dict[str, Any]) -> None:
    """One JSON line (DESIGN U5)."""
    sys.stderr.buffer.write(msgspec.json.encode(event) + b"\n")
    sys.stderr.buffer.flush()
