"""Who may speak as which server: certificates from parent to child, and what a chain of them proves (DESIGN I2, I3).

    pinned root 1#k3v...                    1 signs itself, 1 signs 1.7, 1.7 signs 1.7.3
         |
    [ 1 <- 1 ] [ 1.7 <- 1 ] [ 1.7.3 <- 1.7 ]       a chain, root first

    certificate   CBOR [content bytes, signature 64]           signature over "bangpath certificate 1" 0 content
    content       CBOR [version = 1, server, incarnation, signing key 32, exchange key 32, issuer, serial,
                        not before ms, not after ms, may delegate, most descendants, registry bytes,
                        succeeds [incarnation, epoch, number, hash 32] | null]

A chain proves its last certificate when: the first is a pinned root's and signed by itself; each next one is signed by
the key before it, names that server as issuer, stands directly or further below it in the name tree (so that 1 can
renew 1.7.3 while 1.7 is gone), and that server may delegate, within limits that only narrow on the way down; all are
valid now by the verifier's own clock. A server that is pinned itself is believed under its pinned key only, whoever
stands above it.

Two of the failures are known by their kind, because they are no lie: `Expired` (a renewal is all that such a peer may
have, what it signed stays readable) and `NotYetValid` (one of two clocks is wrong). Both name both times (ATTACKS 24).

A root is pinned as `1#fingerprint`: the id and the first 20 bytes of SHA-256 over "bangpath root 1" 0 and its signing
key, in base 32 small letters: 160 bits, because a second key with one's fingerprint is all that an attacker needs.

Left to others: what a proven server may do (`identity.rights`, the node); where chains come from, how many descendants
a server has, revocation, and the newest time that a root has signed, below which `wall_ms` should never fall
(`node.directory`).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import Any

import msgspec

from identity.encoding import MAX_INTEGER, decode_value_untrusted, encode_value
from identity.errors import PeerMisbehaved, Refused
from identity.keys import KEY_BYTES, SIGNATURE_BYTES, Keys, verify
from identity.names import MAX_COMPONENTS, Incarnation, ServerId

VERSION = 1
DOMAIN = b"bangpath certificate 1\0"
ROOT_DOMAIN = b"bangpath root 1\0"
MAX_CERTIFICATE_BYTES = 4096
MAX_DESCENDANTS = 1 << 32
DEFAULT_REGISTRY_BYTES = 16 << 20  # an issuer's limit on what a server's registry feed may hold
# A chain comes in the greeting, in the registry update that introduces its server and in the object made of that, and
# each time two signatures and more are to be verified. Only what was proven is kept: at most 16 links of about 0.6 KB.
PROVEN_CHAINS = 1024
YEAR_MS = 365 * 24 * 3600 * 1000


class OutOfValidity(PeerMisbehaved):
    """All is right with a certificate but the time; nothing is believed of it now."""


class Expired(OutOfValidity):
    """A certificate was valid until a time that has passed by the verifier's clock."""


class NotYetValid(OutOfValidity):
    """A certificate will be valid from a time that has not come by the verifier's clock."""


class Succession(msgspec.Struct, frozen=True, array_like=True):
    """Up to where the incarnation before this one is honoured (a takeover, DESIGN I5)."""

    incarnation: int
    epoch: int
    number: int
    hash: bytes


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What an issuer says of a server. Times are wall-clock milliseconds; the limits bind what is below it, and it."""

    server: ServerId
    incarnation: Incarnation
    signing_key: bytes
    exchange_key: bytes
    issuer: ServerId
    serial: int
    not_before_ms: int
    not_after_ms: int
    may_delegate: bool = False
    most_descendants: int = 0
    registry_bytes: int = DEFAULT_REGISTRY_BYTES
    succeeds: Succession | None = None
    signature: bytes = b""

    def content(self) -> bytes:
        """What the issuer signs, without the domain."""
        past = self.succeeds
        return encode_value(
            [
                VERSION, bytes(self.server), self.incarnation, self.signing_key, self.exchange_key, bytes(self.issuer),
                self.serial, self.not_before_ms, self.not_after_ms, self.may_delegate, self.most_descendants,
                self.registry_bytes,
                None if past is None else [past.incarnation, past.epoch, past.number, past.hash],
            ]
        )  # fmt: skip

    def to_bytes(self) -> bytes:
        return encode_value([self.content(), self.signature])

    @classmethod
    def from_bytes_untrusted(cls, data: bytes) -> Certificate:
        """A certificate of the right shape; whether its signature is right is another question.

        Raises `PeerMisbehaved`.
        """
        envelope = decode_value_untrusted(data, max_bytes=MAX_CERTIFICATE_BYTES)
        if type(envelope) is not list or len(envelope) != 2 or not all(type(each) is bytes for each in envelope):
            raise PeerMisbehaved("a certificate that is not content and signature")
        content = decode_value_untrusted(envelope[0])
        # By type too: True is 1 in Python, and would give one certificate a second form of bytes.
        if type(content) is not list or len(content) != 13 or type(content[0]) is not int or content[0] != VERSION:
            raise PeerMisbehaved("a certificate of a version that is not known here")
        _, server, incarnation, signing, exchange, issuer, serial, before, after, delegate, most, registry, past = (
            content
        )
        _check_bytes(signing, KEY_BYTES)
        _check_bytes(exchange, KEY_BYTES)
        _check_bytes(envelope[1], SIGNATURE_BYTES)
        for number in (incarnation, serial, before, after, most, registry):
            _check_number(number)
        if type(server) is not bytes or type(issuer) is not bytes or type(delegate) is not bool:
            raise PeerMisbehaved("a certificate with a field of the wrong kind")
        if before >= after:
            raise PeerMisbehaved("a certificate that is valid for no time")
        return cls(
            server=ServerId.from_bytes_untrusted(server),
            incarnation=Incarnation(incarnation),
            signing_key=signing,
            exchange_key=exchange,
            issuer=ServerId.from_bytes_untrusted(issuer),
            serial=serial,
            not_before_ms=before,
            not_after_ms=after,
            may_delegate=delegate,
            most_descendants=most,
            registry_bytes=registry,
            succeeds=None if past is None else _succession_untrusted(past),
            signature=envelope[1],
        )

    @property
    def is_root(self) -> bool:
        return self.server == self.issuer


def issue(
    keys: Keys,
    *,
    server: ServerId,
    issuer: ServerId,
    incarnation: Incarnation,
    signing_key: bytes,
    exchange_key: bytes,
    serial: int,
    not_before_ms: int,
    not_after_ms: int,
    may_delegate: bool = False,
    most_descendants: int = MAX_DESCENDANTS,
    registry_bytes: int = DEFAULT_REGISTRY_BYTES,
    succeeds: Succession | None = None,
) -> Certificate:
    """A certificate for `server`, signed with the issuer's `keys`; a root issues its own.

    Raises `Refused` when the server does not stand below its issuer, or the validity is empty.
    """
    if server != issuer and not server.is_below(issuer):
        raise Refused(f"{issuer} cannot certify {server}, which is not below it", next_step=f"choose {issuer}.N")
    if not_after_ms <= not_before_ms:
        raise Refused(f"a certificate for {server} that is valid for no time")
    bare = Certificate(
        server=server,
        incarnation=incarnation,
        signing_key=signing_key,
        exchange_key=exchange_key,
        issuer=issuer,
        serial=serial,
        not_before_ms=not_before_ms,
        not_after_ms=not_after_ms,
        may_delegate=may_delegate,
        most_descendants=most_descendants if may_delegate else 0,
        registry_bytes=registry_bytes,
        succeeds=succeeds,
    )
    return msgspec.structs.replace(bare, signature=keys.sign(DOMAIN + bare.content()))


def issue_root(keys: Keys, server: ServerId, *, wall_ms: int, years: int = 20) -> Certificate:
    """The certificate by which a root names itself; its incarnation is the time of its birth (DESIGN N5)."""
    return issue(
        keys,
        server=server,
        issuer=server,
        incarnation=Incarnation(wall_ms),
        signing_key=keys.signing_public,
        exchange_key=keys.exchange_public,
        serial=1,
        not_before_ms=wall_ms - 24 * 3600 * 1000,  # a day: the clocks of those who verify it need not be exact
        not_after_ms=wall_ms + years * YEAR_MS,
        may_delegate=True,
    )


def fingerprint(server: ServerId, signing_key: bytes) -> str:
    """How a root is pinned: `1#k3vwd...`."""
    digest = sha256(ROOT_DOMAIN + signing_key).digest()[:20]
    return f"{server}#{base64.b32encode(digest).decode().lower()}"


def check_root(text: str) -> str:
    """A pinned root as a person wrote it. Raises `Refused` unless it is an id, `#`, and 32 letters of base 32."""
    server, _, letters = text.partition("#")
    if not re.fullmatch("[a-z2-7]{32}", letters) or str(ServerId.parse(server)) != server:
        raise Refused(
            f"{text!r} is no root: an id, #, and 32 of a-z and 2-7",
            next_step="copy it from what `bangpath status` says on another server of the mesh",
        )
    return text


def network_id(roots: Sequence[str]) -> bytes:
    """What tells one mesh's handshakes from another's: 32 bytes, of the first pinned root, who founded the mesh."""
    return sha256(b"bangpath network 1\0" + roots[0].encode()).digest()


def verify_chain_untrusted(chain: Sequence[bytes], *, roots: Iterable[str], wall_ms: int | None) -> list[Certificate]:
    """The certificates of a chain that leads from a pinned root to its last link, all of them.

    `roots` are pins (`1#fingerprint`). `wall_ms` is the verifier's clock; None asks what the chain proves whenever it
    is or was valid (what an expired server signed stays readable, I3). Raises `PeerMisbehaved` with the link and the
    cause; `Expired` or `NotYetValid` when all but the time is right.
    """
    if not 1 <= len(chain) <= MAX_COMPONENTS:
        raise PeerMisbehaved(f"a chain of {len(chain)} certificates")
    links = _links_untrusted(tuple(chain), tuple(roots))
    if wall_ms is not None:
        for link in links:
            check_validity(link, wall_ms)
    return list(links)


@lru_cache(maxsize=PROVEN_CHAINS)
def _links_untrusted(chain: tuple[bytes, ...], pins: tuple[str, ...]) -> tuple[Certificate, ...]:
    """All that does not change with time, once for the same bytes: what raises is not kept."""
    links = [Certificate.from_bytes_untrusted(each) for each in chain]
    _check_root_untrusted(links, pins)
    pinned_ids = {pin.partition("#")[0] for pin in pins}
    for above, link in pairwise((links[0], *links)):
        if link is not links[0]:
            _check_delegation_untrusted(above, link)
        if str(link.server) in pinned_ids and fingerprint(link.server, link.signing_key) not in pins:
            raise PeerMisbehaved(f"{above.server} certified {link.server}, which is pinned here with another key")
        if not verify(above.signing_key, DOMAIN + link.content(), link.signature):
            raise PeerMisbehaved(f"the certificate of {link.server} is not signed by {above.server}")
    return tuple(links)


def check_validity(link: Certificate, wall_ms: int) -> None:
    """Raises `Expired` or `NotYetValid` unless the certificate is valid at `wall_ms`."""
    if wall_ms > link.not_after_ms:
        raise Expired(
            f"the certificate of {link.server} expired {_days(wall_ms - link.not_after_ms)} days ago:"
            f" it was valid until {_date(link.not_after_ms)}, and here it is {_date(wall_ms)}",
            next_step=f"let {link.issuer} issue a new one; check the clock here if that cannot be",
        )
    if wall_ms < link.not_before_ms:
        raise NotYetValid(
            f"the certificate of {link.server} begins in {_days(link.not_before_ms - wall_ms)} days:"
            f" it is valid from {_date(link.not_before_ms)}, and here it is {_date(wall_ms)}",
            next_step=f"check the clock here, and that of {link.issuer}",
        )


def _check_root_untrusted(links: Sequence[Certificate], pins: Sequence[str]) -> None:
    first, last = links[0], links[-1]
    pin = fingerprint(first.server, first.signing_key)
    if pin not in pins:
        raise PeerMisbehaved(f"the chain of {last.server} begins with {pin}, which is no pinned root here")
    if not first.is_root:
        raise PeerMisbehaved(f"the chain of {last.server} begins with {first.server}, which does not sign itself")


def _check_delegation_untrusted(above: Certificate, link: Certificate) -> None:
    if link.issuer != above.server or not link.server.is_below(above.server):
        raise PeerMisbehaved(f"{above.server} stands before {link.server}, which it cannot certify")
    if not above.may_delegate or above.most_descendants < 1:
        raise PeerMisbehaved(f"{above.server} may not certify others, but did so for {link.server}")
    if link.most_descendants > above.most_descendants or link.registry_bytes > above.registry_bytes:
        raise PeerMisbehaved(f"{above.server} gave {link.server} wider limits than it has itself")


def _days(milliseconds: int) -> str:
    return f"{milliseconds / 86_400_000:.1f}"


def _date(wall_ms: int) -> str:
    """As people read it; a time beyond the year 9999, which a stranger may name, as its number."""
    try:
        return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=wall_ms):%Y-%m-%d %H:%M} UTC"
    except OverflowError:
        return f"{wall_ms} ms"


def _succession_untrusted(past: Any) -> Succession:
    if type(past) is not list or len(past) != 4:
        raise PeerMisbehaved("a certificate with a succession of the wrong shape")
    for number in past[:3]:
        _check_number(number)
    _check_bytes(past[3], 32)
    return Succession(*past)


def _check_number(number: object) -> None:
    if type(number) is not int or not 0 <= number <= MAX_INTEGER:
        raise PeerMisbehaved("a certificate with a number that is none of 0 to 2^63-1")


def _check_bytes(value: object, length: int) -> None:
    if type(value) is not bytes or len(value) != length:
        raise PeerMisbehaved(f"a certificate with a key or signature that has not {length} bytes")
