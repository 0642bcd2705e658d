"""How a stranger becomes a server: one ticket, one key, one certificate (DESIGN I4).

    inviter                                              newcomer
       invite 1.7  ->  ticket (addresses, key, root, id, secret, expiry)  ->  join TICKET
                                                          makes its keys and writes them down
       <------------ handshake with the ticket's secret ------------->
       <------------ 2 JOIN  id, keys, proof of the signing key ------
       binds the ticket to that key, issues the certificate, commits both
       ------------- 3 JOINED chain, roots, secret of the mesh ------>    writes them down, starts
       or ---------- 4 REFUSED kind, cause, next step --------------->

    a ticket      OPEN --first key--> BOUND --the same key--> BOUND, the same certificate again
                  OPEN, BOUND --another key--> refused        either --expiry--> refused, with the cause

Rules. A ticket binds to the first key that uses it, durably before the answer leaves; that key may repeat after a
crash at any point and gets the very same certificate, also after the expiry (it had its right in time). An expired
ticket still opens a session, so that the refusal can name the cause; an unknown one is answered by silence, because
nobody can speak to it. The newcomer's proof is signed with its signing key over the ticket's id and both its keys, so
nobody can have a key certified that he does not hold.

Bounds: `MAX_TICKETS` open or bound; `KEPT_MS` after its expiry a ticket is forgotten.

Left to others: the ticket's text (`identity.tickets`), issuing (`identity.trust`), the durable record and the
connection (`node.node`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import msgspec

from identity.encoding import encode_value
from identity.errors import BangpathError, Exhausted, PeerMisbehaved, Refused, from_json
from identity.names import ServerId
from node.greeting import Addresses, Chain
from transport.wire import Message, Number

MAX_TICKETS = 4096  # one for each server of a large mesh; an operator's script gone wild ends here
KEPT_MS = 30 * 24 * 3600 * 1000  # so long after its expiry a ticket's refusal still names the cause
MAX_VALID_S = 366 * 24 * 3600
PROOF_DOMAIN = b"bangpath join 1\0"

Key = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, msgspec.Meta(min_length=64, max_length=64)]
ShortText = Annotated[str, msgspec.Meta(max_length=256)]


class Join(Message, frozen=True):
    """JOIN: make me `server`; these are my keys."""

    TYPE: ClassVar[int] = 2
    server: ServerId
    signing_key: Key
    exchange_key: Key
    proof: Signature


class Joined(Message, frozen=True):
    """JOINED: you are; this proves it (root first, yours last), and this is what the mesh agrees on."""

    TYPE: ClassVar[int] = 3
    chain: Chain
    roots: Annotated[tuple[ShortText, ...], msgspec.Meta(min_length=1, max_length=64)]
    secret: Key
    inviter: ServerId
    addresses: Addresses
    wall_ms: Number


class NotJoined(Message, frozen=True):
    """REFUSED: you are not, and why (`identity.errors.BangpathError.as_json`)."""

    TYPE: ClassVar[int] = 4
    error: ShortText
    cause: ShortText
    next_step: ShortText

    @classmethod
    def of(cls, error: BangpathError) -> NotJoined:
        return cls(error.kind, error.cause[:256], error.next_step[:256])

    def as_error(self) -> BangpathError:
        return from_json({"error": self.error, "cause": self.cause, "next_step": self.next_step})


class Invitation(msgspec.Struct, frozen=True):
    """A ticket as its inviter remembers it. `signing_key` is empty while it is open."""

    id: bytes
    secret: bytes
    server: ServerId
    expires_ms: int
    signing_key: bytes = b""
    certificate: bytes = b""

    @property
    def bound(self) -> bool:
        return bool(self.signing_key)


class Invitations:
    """All tickets that this server gave out. Plain values in, verdicts out; the caller commits what `bind` says."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, Invitation] = {}

    def load(self, invitations: Iterable[Invitation]) -> None:
        """What the store remembers, at opening."""
        self._by_id = {each.id: each for each in invitations}

    def check_room(self) -> None:
        """Raises `Exhausted` when no further ticket may be given out."""
        if len(self._by_id) >= MAX_TICKETS:
            raise Exhausted(
                f"{MAX_TICKETS} tickets are out already", next_step="wait until some of them are past their expiry"
            )

    def add(self, invitation: Invitation) -> None:
        self._by_id[invitation.id] = invitation

    def find_secret(self, id: bytes) -> bytes | None:
        """The pre-shared secret of a handshake that names this ticket; None is answered by silence."""
        invitation = self._by_id.get(id)
        return None if invitation is None else invitation.secret

    def judge(self, id: bytes, join: Join, *, exchange_key: bytes, wall_ms: int) -> Invitation:
        """The invitation that this JOIN may use: open, or bound to this very key (then its certificate stands).

        `exchange_key` is what the transport has proven of the newcomer. Raises `Refused` with the cause, or
        `PeerMisbehaved` when the keys do not match.
        """
        invitation = self._by_id.get(id)
        if invitation is None:
            raise Refused("this ticket is not known here", next_step="ask for a new one: bangpath invite ID")
        if join.exchange_key != exchange_key:
            raise PeerMisbehaved(f"a JOIN for {join.server} with another exchange key than this session's")
        if join.server != invitation.server:
            raise Refused(f"this ticket is for {invitation.server}, not for {join.server}")
        if invitation.bound:
            if invitation.signing_key == join.signing_key:
                return invitation
            raise Refused(
                f"this ticket for {invitation.server} was used by another key",
                next_step=f"ask for a new one: bangpath invite {invitation.server}",
            )
        if wall_ms > invitation.expires_ms:
            late_s = (wall_ms - invitation.expires_ms) // 1000
            raise Refused(
                f"this ticket for {invitation.server} expired {late_s} s ago by the inviter's clock",
                next_step=f"ask for a new one: bangpath invite {invitation.server}",
            )
        return invitation

    def bind(self, invitation: Invitation, *, signing_key: bytes, certificate: bytes = b"") -> Invitation:
        """The invitation bound to a key, in memory: from now on no other key may use it."""
        assert not invitation.bound, "an invitation binds once"
        bound = msgspec.structs.replace(invitation, signing_key=signing_key, certificate=certificate)
        self._by_id[bound.id] = bound
        return bound

    def certify(self, invitation: Invitation, certificate: bytes) -> Invitation:
        """The bound invitation with the certificate that was issued for it, which is durable now."""
        certified = msgspec.structs.replace(invitation, certificate=certificate)
        self._by_id[certified.id] = certified
        return certified

    def release(self, invitation: Invitation) -> None:
        """Binding it could not be made durable: it is open again."""
        self._by_id[invitation.id] = msgspec.structs.replace(invitation, signing_key=b"", certificate=b"")

    def forgotten(self, wall_ms: int) -> list[Invitation]:
        """Those whose expiry is so long past that they leave memory and store; they are forgotten by this call."""
        old = [each for each in self._by_id.values() if wall_ms > each.expires_ms + KEPT_MS]
        for each in old:
            del self._by_id[each.id]
        return old

    def open_count(self) -> int:
        return sum(not each.bound for each in self._by_id.values())


def proof_bytes(id: bytes, server: ServerId, signing_key: bytes, exchange_key: bytes) -> bytes:
    """What a newcomer signs with its signing key."""
    return PROOF_DOMAIN + encode_value([id, bytes(server), signing_key, exchange_key])


SESSION_MESSAGES: tuple[type[Any], ...] = (Join, Joined, NotJoined)
