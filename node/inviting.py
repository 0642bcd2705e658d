"""The inviter's side of joining: tickets given out, newcomers certified, both durable before anything leaves.

    invite(1.7)   --> ticket in the store --> the text that a person passes on
    JOIN          --> judged (node.joining) --> certificate --> bound ticket in the store --> JOINED

A certificate's incarnation is higher than any that is known of its id (DESIGN N5), so what an earlier holder of the
id owned is never mistaken for the newcomer's. Its serial is counted in the store, and is never used twice. It is
valid as long as the issuer's own certificate, at most `VALID_MS`, and delegates no more than the issuer may.

Left to others: the text (`identity.tickets`), the signature (`identity.trust`), the connection (`node.sessions`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from identity.errors import PeerMisbehaved, Refused
from identity.keys import Keys, verify
from identity.names import Incarnation, ServerId
from identity.tickets import ID_BYTES, SECRET_BYTES, Ticket
from identity.trust import YEAR_MS, Certificate, issue
from node.config import Config
from node.directory import Directory
from node.joining import MAX_VALID_S, Invitation, Invitations, Join, Joined, proof_bytes
from store.database import Database
from store.reading import View

VALID_MS = 2 * YEAR_MS
EARLY_MS = 24 * 3600 * 1000  # a certificate begins a day ago: clocks of those who verify it need not be exact
SERIAL_SETTING = "serial"
TICKET_SETTING = "ticket "


class Inviting:
    """What this server does to let others in. Raises only the kinds of `identity.errors`."""

    def __init__(
        self,
        *,
        keys: Keys,
        chain: Sequence[bytes],
        config: Config,
        database: Database,
        directory: Directory,
        addresses: Callable[[], Sequence[tuple[str, int]]],
        random: Random,
        wall_ms: Callable[[], int],
    ) -> None:
        self.invitations = Invitations()
        self._keys = keys
        self._chain = tuple(chain)
        self._own = Certificate.from_bytes_untrusted(self._chain[-1])
        self._config = config
        self._database = database
        self._directory = directory
        self._addresses = addresses
        self._random = random
        self._wall_ms = wall_ms

    def load(self, view: View) -> None:
        """The tickets that are out, at opening."""
        self.invitations.load(
            _invitation(bytes.fromhex(key.removeprefix(TICKET_SETTING)), value)
            for key, value in view.settings().items()
            if key.startswith(TICKET_SETTING)
        )

    async def invite(self, server: ServerId, *, valid_s: int) -> Ticket:
        """A ticket for a server below this one. Raises `Refused`, `Exhausted`."""
        own = self._own.server
        if not server.is_below(own):
            raise Refused(f"{own} invites servers below itself, and {server} is not", next_step=f"choose {own}.N")
        if not self._own.may_delegate:
            raise Refused(f"{own} may not certify others", next_step=f"ask {self._own.issuer} to invite {server}")
        if not 0 < valid_s <= MAX_VALID_S:
            raise Refused(f"a ticket is valid for 1 to {MAX_VALID_S} s, not {valid_s}", field="valid_s")
        addresses = tuple(self._addresses())
        if not addresses:
            raise Refused(
                f"{own} listens everywhere and announces no address, so nobody could find it",
                next_step="set announce under [listen] in bangpath.toml",
            )
        old = self.invitations.forgotten(self._wall_ms())
        self.invitations.check_room()
        invitation = Invitation(
            id=self._random.randbytes(ID_BYTES),
            secret=self._random.randbytes(SECRET_BYTES),
            server=server,
            expires_ms=self._wall_ms() + valid_s * 1000,
        )

        def body(transaction: Any) -> None:
            for each in old:
                transaction.put_setting(_key(each), None)
            transaction.put_setting(_key(invitation), _value(invitation))

        await self._database.transact(body)
        self.invitations.add(invitation)
        return Ticket(
            server=server,
            inviter=own,
            inviter_key=self._keys.exchange_public,
            root=self._config.roots[0],
            id=invitation.id,
            secret=invitation.secret,
            expires_ms=invitation.expires_ms,
            addresses=addresses,
        )

    async def admit(self, ticket_id: bytes, join: Join, *, exchange_key: bytes) -> Joined:
        """Make the newcomer a server, or say again that it is one.

        Raises `Refused` with the cause, `PeerMisbehaved` when its proof is none.
        """
        wall_ms = self._wall_ms()
        invitation = self.invitations.judge(ticket_id, join, exchange_key=exchange_key, wall_ms=wall_ms)
        proof = proof_bytes(ticket_id, join.server, join.signing_key, join.exchange_key)
        if not verify(join.signing_key, proof, join.proof):
            raise PeerMisbehaved(f"a JOIN for {join.server} without proof of its signing key")
        if not invitation.bound:
            entry = self._directory.entry(join.server)
            incarnation = max(wall_ms, entry.incarnation + 1 if entry is not None else 0)
            # Bound in memory before anything is awaited: of two newcomers at one time only the first gets it.
            invitation = self.invitations.bind(invitation, signing_key=join.signing_key, certificate=b"")
            certificate = await self._certify(invitation, join, Incarnation(incarnation), wall_ms)
            invitation = self.invitations.certify(invitation, certificate)
        elif not invitation.certificate:
            raise Refused(f"{join.server} is being certified in another session", next_step="try again in a second")
        return Joined(
            chain=(*self._chain, invitation.certificate),
            roots=self._config.roots,
            secret=self._config.secret,
            inviter=self._own.server,
            addresses=tuple(self._addresses()),
            wall_ms=wall_ms,
        )

    async def _certify(self, invitation: Invitation, join: Join, incarnation: Incarnation, wall_ms: int) -> bytes:
        def body(transaction: Any) -> bytes:
            serial = int(transaction.get_setting(SERIAL_SETTING) or 1) + 1
            certificate = issue(
                self._keys,
                server=join.server,
                issuer=self._own.server,
                incarnation=incarnation,
                signing_key=join.signing_key,
                exchange_key=join.exchange_key,
                serial=serial,
                not_before_ms=wall_ms - EARLY_MS,
                not_after_ms=min(self._own.not_after_ms, wall_ms + VALID_MS),
                may_delegate=self._own.most_descendants > 1,
                most_descendants=max(0, self._own.most_descendants - 1),
                registry_bytes=self._own.registry_bytes,
            ).to_bytes()
            transaction.put_setting(SERIAL_SETTING, serial)
            transaction.put_setting(_key(invitation), [*_value(invitation)[:4], certificate])
            return certificate

        try:
            return await self._database.transact(body)
        except BaseException:
            self.invitations.release(invitation)
            raise


def _key(invitation: Invitation) -> str:
    return TICKET_SETTING + invitation.id.hex()


def _value(invitation: Invitation) -> list[Any]:
    return [
        invitation.secret,
        bytes(invitation.server),
        invitation.expires_ms,
        invitation.signing_key,
        invitation.certificate,
    ]


def _invitation(id: bytes, value: Sequence[Any]) -> Invitation:
    secret, server, expires_ms, signing_key, certificate = value
    return Invitation(id, secret, ServerId(server), expires_ms, signing_key, certificate)
