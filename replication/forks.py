"""Two different updates with one number in one run of an owner: proof of lying, kept, told to everyone (DESIGN I7).

    proof     head A, signature      both signed by the owner's key, same (epoch, nonce), and
              head B, signature      either one number and different bytes, or B follows A and names another hash

The feed stands still at what was taken of it (the prefix before the lie was never in doubt, and what is held stays
readable, marked). Everybody greeted is told once, whoever is greeted later too; who is told verifies by itself, so a
false alarm reaches nobody. The caller keeps the proof of each report `forked` and loads it at the next start: a server
that forgot would take the liar's other branch.
Two heads of *different* runs are no lie but a store that came back in time (DESIGN D4): reported, and not passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from identity.names import ServerId
from replication.chain import Arrival, Chain, Standing, are_conflicting
from replication.feeds import Session
from replication.leaves import verify_signature
from replication.messages import FeedId, Fork
from replication.spool import Spool
from store.records import Head, Update

SigningKeyOf = Callable[[ServerId, int], bytes | None]
MAX_PROOFS = 1024  # 700 bytes each; a mesh with so many liars has other sorrows


class Forks:
    """Keeps the proofs, and stops the feeds they are about."""

    def __init__(self, spool: Spool, signing_key_of: SigningKeyOf, drop: Callable[[list[Arrival]], None]) -> None:
        self._spool = spool
        self._signing_key_of = signing_key_of
        self._drop = drop
        self.proofs: dict[FeedId, Fork] = {}

    def load(self, proofs: Iterable[Fork]) -> None:
        """What was proven in an earlier run."""
        for proof in proofs:
            head = Head.from_bytes_untrusted(proof.second_head)
            self._quarantine(FeedId(head.server, head.incarnation, head.kind), proof, head, None, loaded=True)

    def tell(self, session: Session) -> None:
        """All of them to a peer that was greeted just now."""
        for proof in self.proofs.values():
            self._spool.send(session, proof)

    def convict(self, chain: Chain, held: Update, offered: Update) -> None:
        """Both are verified; one is held here, the other came just now, of somebody who knows only that one."""
        proof = Fork(held.head.to_bytes(), held.signature, offered.head.to_bytes(), offered.signature)
        self._quarantine(chain.feed, proof, offered.head, None)

    def handle_fork_untrusted(self, session: Session, message: Fork) -> None:
        """A proof that a peer passes on. Raises `PeerMisbehaved` for heads that are none; a proof that proves
        nothing, or of an owner that is not known, is dropped."""
        first = Head.from_bytes_untrusted(message.first_head)
        second = Head.from_bytes_untrusted(message.second_head)
        feed = FeedId(first.server, first.incarnation, first.kind)
        key = self._signing_key_of(first.server, first.incarnation)
        if feed in self.proofs or key is None or not are_conflicting(first, second):
            return
        if verify_signature(message.first_head, message.first_signature, key) and verify_signature(
            message.second_head, message.second_signature, key
        ):
            self._quarantine(feed, message, second, session)

    def _quarantine(
        self, feed: FeedId, proof: Fork, head: Head, teller: Session | None, *, loaded: bool = False
    ) -> None:
        if feed in self.proofs or len(self.proofs) >= MAX_PROOFS:
            return
        self.proofs[feed] = proof
        spool = self._spool
        chain = spool.chains.get(feed)
        if chain is None:
            chain = spool.chains[feed] = Chain(feed)
        reason = f"{feed.server} signed two different updates {head.number} in epoch {head.epoch}"
        self._drop(chain.stand(Standing.QUARANTINED, reason))
        if loaded:
            return
        spool.report(
            "forked", feed, number=head.number, epoch=head.epoch, cause=reason,
            first_head=proof.first_head.hex(), first_signature=proof.first_signature.hex(),
            second_head=proof.second_head.hex(), second_signature=proof.second_signature.hex(),
        )  # fmt: skip
        for session in spool.sessions.values():
            if session is not teller:
                spool.send(session, proof)
