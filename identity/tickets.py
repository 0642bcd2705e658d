"""A ticket: one line of text by which a newcomer finds its inviter and is let in once (DESIGN I4).

    bangpath-ticket1-<base 32 of CBOR, small letters, without =>-<check>

    CBOR [version = 1, server, inviter, inviter's exchange key 32, root "1#...", id 16, secret 32, expires ms,
          [[host, port], ...]]
    check   first 5 bytes of SHA-256 over the CBOR, in base 32: tells a ticket that was cut or mistyped from a wrong one

Whoever holds the ticket may use it, once: it is handed over as a password is. The root in it is what the newcomer
pins, so it believes the mesh no more than it believes who gave it the ticket.

Left to others: what joining does with it (`node.joining`).
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256

import msgspec

from identity.encoding import MAX_INTEGER, decode_value_untrusted, encode_value
from identity.errors import PeerMisbehaved, Refused
from identity.names import ServerId
from identity.trust import check_root

PREFIX = "bangpath-ticket1"
VERSION = 1
ID_BYTES = 16
SECRET_BYTES = 32
MAX_TEXT = 8192
MAX_ADDRESSES = 16


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a ticket. Expiry is the inviter's wall clock, in milliseconds."""

    server: ServerId
    inviter: ServerId
    inviter_key: bytes
    root: str
    id: bytes
    secret: bytes
    expires_ms: int
    addresses: tuple[tuple[str, int], ...]

    def to_text(self) -> str:
        """The line that a person passes on."""
        content = encode_value(
            [
                VERSION, bytes(self.server), bytes(self.inviter), self.inviter_key, self.root, self.id, self.secret,
                self.expires_ms, [list(each) for each in self.addresses],
            ]
        )  # fmt: skip
        return f"{PREFIX}-{_letters(content)}-{_letters(sha256(content).digest()[:5])}"

    @classmethod
    def parse(cls, text: str) -> Ticket:
        """From the line. Raises `Refused` saying whether it was cut, mistyped, or is no ticket."""
        parts = "".join(text[: MAX_TEXT + 1].split()).lower().rsplit("-", 2)
        if len(parts) != 3 or parts[0] != PREFIX or len(text) > MAX_TEXT:
            raise Refused("this is no ticket", next_step=f"copy the whole line; it begins with {PREFIX}-")
        try:
            content, check = _bytes(parts[1]), _bytes(parts[2])
        except (binascii.Error, ValueError):
            raise _mistyped() from None
        if sha256(content).digest()[:5] != check or _letters(content) != parts[1]:
            raise _mistyped()
        try:
            return cls._read_untrusted(content)
        except (PeerMisbehaved, Refused) as error:
            raise Refused(
                f"this ticket is malformed: {error.cause}", next_step="ask for a new one: bangpath invite ID"
            ) from error

    @classmethod
    def _read_untrusted(cls, content: bytes) -> Ticket:
        value = decode_value_untrusted(content, max_bytes=MAX_TEXT)
        if type(value) is not list or len(value) != 9 or type(value[0]) is not int or value[0] != VERSION:
            raise PeerMisbehaved("a version that is not known here")
        _, server, inviter, key, root, id_, secret, expires, addresses = value
        for each, length in ((key, 32), (id_, ID_BYTES), (secret, SECRET_BYTES)):
            if type(each) is not bytes or len(each) != length:
                raise PeerMisbehaved(f"a field that has not {length} bytes")
        if type(server) is not bytes or type(inviter) is not bytes or type(root) is not str or type(expires) is not int:
            raise PeerMisbehaved("a field of the wrong kind")
        if not 0 <= expires <= MAX_INTEGER:
            raise PeerMisbehaved("an expiry that is no time")
        if type(addresses) is not list or not 1 <= len(addresses) <= MAX_ADDRESSES:
            raise PeerMisbehaved("no addresses, or too many")
        return cls(
            server=ServerId.from_bytes_untrusted(server),
            inviter=ServerId.from_bytes_untrusted(inviter),
            inviter_key=key,
            root=check_root(root),
            id=id_,
            secret=secret,
            expires_ms=expires,
            addresses=tuple(_address_untrusted(each) for each in addresses),
        )


def _address_untrusted(address: object) -> tuple[str, int]:
    match address:
        case [str() as host, int() as port] if type(port) is int:
            if 1 <= port <= 65_535 and 1 <= len(host) <= 255 and host.isprintable() and " " not in host:
                return host, port
    raise PeerMisbehaved("an address that is not host and port")


def _letters(data: bytes) -> str:
    return base64.b32encode(data).decode().lower().rstrip("=")


def _bytes(letters: str) -> bytes:
    return base64.b32decode(letters.upper() + "=" * (-len(letters) % 8))


def _mistyped() -> Refused:
    return Refused("this ticket was cut or mistyped", next_step="copy the whole line again")
