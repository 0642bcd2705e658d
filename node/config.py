"""The configuration file `bangpath.toml`, checked in this one place before anything is opened.

    [server]  id = "1.2"                     who this server is; its certificate must say the same
              name = "Europe"                for people only
    [mesh]    roots = ["1#r5k2..."]          pinned roots; the first is the mesh's founder, and the mesh's network id
              secret = ""                    hexadecimal, 32 bytes; "" is an open mesh
              local = "*"                    whose loopback and private addresses may be dialled; "" is nobody's
    [listen]  udp = "127.0.0.1:7002"         port 0 takes any free one at each start
              announce = ["203.0.113.9:7002"]   what others shall dial; [] is the address that was bound
              http = "127.0.0.1:8002"        loopback only, with the token; "" is the Unix socket alone
    [peers]   connect = "*"                  with whom sessions are kept; sessions with others are opened when needed
              [peers.addresses]  "1" = ["127.0.0.1:7001"]
    [mirror]  patterns = ["1.3"]             mirrored from the start, besides what `bangpath mirror` adds
    [rights]  modify = "*"                   whose servers may change our objects by request
              query = "*"                    whose servers may ask us for our distributed objects; mirrors pass them on
              forward = "*"                  for whose servers we are a gateway; "" is nobody
    [store]   scrub = 1048576                bytes a second at which the whole store is looked at, ever again; 0: not

Every key but `server.id` and `mesh.roots` may be left out. A key that is not in this table is an error, for a
misspelt one would otherwise be silently without effect. An error names the file, the line, the key and what would be
right, and all of it is checked before the first port or file is opened.

Left to others: which files stand beside it and their permissions (`node.opening`); what the roots prove
(`identity.trust`).
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import tomli_w

from identity.errors import Refused
from identity.keys import read_plain_file
from identity.names import Pattern, ServerId
from identity.trust import check_root

Address = tuple[str, int]

OPEN_MESH = bytes(32)
MAX_FILE_BYTES = 1 << 20  # a list of addresses for every server of a large mesh; more is no configuration
EVERYBODY = Pattern("*")
MAX_RATE = 1 << 40
SCRUB = 1 << 20  # a gigabyte in a quarter of an hour


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What the file says, checked. `local` None: nobody's private address is dialled. Times and sizes: none here."""

    server: ServerId
    roots: tuple[str, ...]
    name: str = ""
    secret: bytes = OPEN_MESH
    local: Pattern | None = None
    listen: Address = ("127.0.0.1", 0)
    announce: tuple[Address, ...] = ()
    http: Address | None = None
    connect: Pattern = EVERYBODY
    addresses: dict[ServerId, tuple[Address, ...]] = msgspec.field(default_factory=dict)
    mirrors: tuple[Pattern, ...] = ()
    modify: Pattern | None = EVERYBODY
    query: Pattern | None = EVERYBODY
    forward: Pattern | None = EVERYBODY
    scrub: int = 0
    # Told at the start, in no file: links that are cut at our port (`node.blocking`), what tests switch off.
    blocked: dict[ServerId, str] = msgspec.field(default_factory=dict)
    without: frozenset[str] = frozenset()  # what tests switch off (`node.switches`); stands in no file


def read_config(path: Path) -> Config:
    """The checked content of the file. Raises `Refused` with file, line, key and what would be right."""
    try:
        data = read_plain_file(path, max_bytes=MAX_FILE_BYTES)
    except OSError as error:
        raise Refused(
            f"{path} cannot be read: {error.strerror}",
            next_step="`bangpath init ID` or `bangpath join TICKET` makes one",
        ) from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not UTF-8 text at byte {error.start}") from error
    return parse_config(text, str(path))


def parse_config(text: str, name: str = "bangpath.toml") -> Config:
    """The configuration in `text`; `name` stands in the errors. Raises `Refused`."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Refused(f"{name} is not TOML: {error}", next_step="mend that line") from error
    values: dict[str, Any] = {}
    for section, content in tables.items():
        keys = _SECTIONS.get(section)
        if keys is None:
            raise _wrong(name, text, section, "", f"is no section; there are {_listed(_SECTIONS)}")
        if not isinstance(content, dict):
            raise _wrong(name, text, "", section, f"is a section: write [{section}]")
        for key, value in content.items():
            field = keys.get(key)
            if field is None:
                raise _wrong(name, text, section, key, f"is no key of [{section}], which has {_listed(keys)}")
            attribute, read = field
            try:
                values[attribute] = read(value)
            except Refused as error:
                raise _wrong(name, text, section, key, error.cause) from error
    for section, key in (("server", "id"), ("mesh", "roots")):
        if _SECTIONS[section][key][0] not in values:
            raise Refused(f"{name}: [{section}] {key} is missing", next_step="it stands in no other file; add it")
    return Config(**values)


def render_config(config: Config) -> str:
    """The file's text for `config`; `parse_config` of it gives the same."""
    return tomli_w.dumps(
        {
            "server": {"id": str(config.server), "name": config.name},
            "mesh": {
                "roots": list(config.roots),
                "secret": "" if config.secret == OPEN_MESH else config.secret.hex(),
                "local": _pattern_text(config.local),
            },
            "listen": {
                "udp": address_text(config.listen),
                "announce": [address_text(each) for each in config.announce],
                "http": "" if config.http is None else address_text(config.http),
            },
            "peers": {
                "connect": config.connect.text,
                "addresses": {
                    str(server): [address_text(each) for each in config.addresses[server]]
                    for server in sorted(config.addresses)
                },
            },
            "mirror": {"patterns": [each.text for each in config.mirrors]},
            "rights": {
                "modify": _pattern_text(config.modify),
                "query": _pattern_text(config.query),
                "forward": _pattern_text(config.forward),
            },
            "store": {"scrub": config.scrub},
        }
    )


def write_config(path: Path, config: Config) -> None:
    """Write the file whole or not at all: a crash leaves the old one. It may hold the mesh's secret, so mode 0600."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(descriptor, 0o600)
        file.write(render_config(config))
        file.flush()
        os.fsync(descriptor)
    new.replace(path)


def address_text(address: Address) -> str:
    """`127.0.0.1:7002`, `[::1]:7002`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: object) -> Address:
    """A numeric address and port. Names are not looked up: what a name server says is signed by nobody.

    Raises `Refused`.
    """
    if not isinstance(text, str):
        raise Refused('must be an address as in "127.0.0.1:7001"')
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        raise Refused(f'{text!r} is no address; write it as in "127.0.0.1:7001" or "[::1]:7001"') from None
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise Refused(f"{text!r} has no port of 0 to 65535")
    return str(parsed), int(port)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > 256:
        raise Refused("must be a text of at most 256 characters")
    return value


def _server(value: object) -> ServerId:
    return ServerId.parse(_text(value))


def _roots(value: object) -> tuple[str, ...]:
    roots = tuple(_text(each) for each in _list(value))
    if not roots:
        raise Refused("must name at least one root; `bangpath status` on another server of the mesh shows it")
    for root in roots:
        check_root(root)
    return roots


def _secret(value: object) -> bytes:
    text = _text(value)
    try:
        secret = bytes.fromhex(text)
    except ValueError:
        raise Refused("must be 64 hexadecimal digits, or empty for an open mesh") from None
    if len(secret) not in (0, 32):
        raise Refused(f"has {len(secret)} bytes; 32 are needed, or none for an open mesh")
    return secret or OPEN_MESH


def _rate(value: object) -> int:
    if type(value) is not int or not 0 <= value <= MAX_RATE:
        raise Refused(f"must be a whole number of bytes a second, 0 to {MAX_RATE}")
    return value


def _pattern(value: object) -> Pattern:
    return Pattern(_text(value))


def _pattern_or_nobody(value: object) -> Pattern | None:
    return Pattern(value) if _text(value) and isinstance(value, str) else None


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise Refused("must be a list, as in [ ]")
    return value


def _addresses(value: object) -> tuple[Address, ...]:
    return tuple(_dialled(each) for each in _list(value))


def _dialled(value: object) -> Address:
    address = parse_address(value)
    if address[1] == 0:
        raise Refused(f"{value!r} has port 0, which nobody can dial")
    return address


def _address_table(value: object) -> dict[ServerId, tuple[Address, ...]]:
    if not isinstance(value, dict):
        raise Refused('must be a table, as in "1" = ["127.0.0.1:7001"]')
    return {ServerId.parse(server): _addresses(each) for server, each in value.items()}


def _http(value: object) -> Address | None:
    if value == "":
        return None
    address = parse_address(value)
    if not ipaddress.ip_address(address[0]).is_loopback:
        raise Refused(f"{value!r} is not loopback; put a proxy with TLS in front to be reached from elsewhere")
    return address


# Section, key, attribute of `Config`, and who reads it.
_SECTIONS: dict[str, dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "server": {"id": ("server", _server), "name": ("name", _text)},
    "mesh": {"roots": ("roots", _roots), "secret": ("secret", _secret), "local": ("local", _pattern_or_nobody)},
    "listen": {"udp": ("listen", parse_address), "announce": ("announce", _addresses), "http": ("http", _http)},
    "peers": {"connect": ("connect", _pattern), "addresses": ("addresses", _address_table)},
    "mirror": {"patterns": ("mirrors", lambda value: tuple(_pattern(each) for each in _list(value)))},
    "rights": {
        "modify": ("modify", _pattern_or_nobody),
        "query": ("query", _pattern_or_nobody),
        "forward": ("forward", _pattern_or_nobody),
    },
    "store": {"scrub": ("scrub", _rate)},
}


def _pattern_text(pattern: Pattern | None) -> str:
    return "" if pattern is None else pattern.text


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(names)


def _wrong(name: str, text: str, section: str, key: str, why: str) -> Refused:
    line = _line_of(text, section, key)
    label = f"[{section}] {key}".strip() if section else key
    return Refused(f"{name}, line {line}: {label} {why}", next_step="mend that line", line=line, key=label)


def _line_of(text: str, section: str, key: str) -> int:
    """Where the key stands, counted from 1; the section's line, or 1, where it is written in another way."""
    inside = not section
    found = 1
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if section and stripped.replace(" ", "").startswith((f"[{section}]", f"[{section}.{key}]")):
            inside, found = True, number
            if not key or stripped.replace(" ", "").startswith(f"[{section}.{key}]"):
                return number
        elif stripped.startswith("["):
            inside = False
        elif inside and key and stripped.split("=", 1)[0].strip().strip("\"'") == key:
            return number
    return found
