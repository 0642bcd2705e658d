"""Tricks with names: to be taken for another server, by certificates of one's own making (DESIGN I2, X1; ATTACKS 18).

impersonates    calls again, and greets as another server; tells registry entries of another's new incarnation

The key is always the liar's, for it has no other; so is the signature. The chain is one of three that prove nothing:

    1 <- 1    1.2 <- 1, signed by 1.3          what its true issuer never signed
    1 <- 1    1.3 <- 1    1.2 <- 1.3           what nobody let 1.3 certify
    1 <- 1, of 1.3's own key    1.2 <- 1       what no pinned root stands above

Who is greeted so must turn the connection away, and who is told so must drop it; whoever believed it would call and
ask 1.3 in 1.2's place from then on.
"""

from __future__ import annotations

import msgspec

from identity.names import Incarnation, ServerId
from identity.trust import DOMAIN, Certificate
from node.directory import Entry
from node.greeting import Hello
from replication.leaves import FIRST_PREVIOUS, UPDATE_DOMAIN, leaf_hash, leaf_prefix, merkle_root
from replication.messages import UpdateMessage
from simulations.trick import Trick
from store.records import PUT, REGISTRY, Head, Leaf, join_update, pack_leaf
from store.registry import BUILT_IN, SERVER


class Impersonates(Trick):
    """Shows forged certificates."""

    name = "impersonates"
    says = "greets as another server, and tells registry entries of others, under chains that it issued itself"
    every_s = 0.5

    def greet(self, hello: Hello) -> Hello:
        victim = self._victim()
        if victim is None or self._with.random.random() < 0.5:  # else it is let in nowhere, and does no harm
            return hello
        self._with.count("greetings in another's name")
        return msgspec.structs.replace(hello, chain=self._chain(victim, self._incarnation(victim)))

    def act(self, now: float) -> None:
        peers = self._with.peers()
        if not peers:
            return
        peer = self._with.random.choice(peers)
        victim = self._victim(peer)
        if self._with.random.random() < 0.5:
            self._with.call_again(peer)  # who does not believe the HELLO turns it away, and the node calls as itself
        elif victim is not None and self._with.tell(peer, self._entry(victim)):
            self._with.count("registry entries in another's name")

    def _victim(self, peer: ServerId | None = None) -> Entry | None:
        """Whose name is taken: not this peer's, who knows better whatever is shown to it, nor that of a server below,
        whose certificates are the liar's to issue (DESIGN I5)."""
        own = self._with.server.components
        others: list[Entry] = [
            each
            for each in self._with.parts.directory.entries()
            if each.server != peer and each.server.components[: len(own)] != own
        ]
        return self._with.random.choice(others) if others else None

    def _incarnation(self, victim: Entry) -> Incarnation:
        """A new one mostly: of the one that is known, the key is known as well."""
        return Incarnation(victim.incarnation + self._with.random.choice((0, 1, 1, 1)))

    def _entry(self, victim: Entry) -> UpdateMessage:
        """The first registry update of a server that begins anew, with the chain that introduces it."""
        incarnation = self._incarnation(victim)
        definition = BUILT_IN[SERVER]
        here = [str(self._with.server), self._with.parts.port.address[1]]
        body = definition.to_body(
            {
                "server": bytes(victim.server), "incarnation": incarnation, "name": victim.name, "addresses": [here],
                "chain": list(self._chain(victim, incarnation)), "mirrors": None, "wall_ms": incarnation,
            }
        )  # fmt: skip
        leaf = pack_leaf(Leaf(1, 1, definition.fingerprint, PUT, b"", bytes(16), body))
        root = merkle_root([leaf_hash(leaf_prefix(victim.server, incarnation), leaf)])
        nonce = self._with.random.randbytes(16)
        head = Head(victim.server, incarnation, REGISTRY, 1, nonce, 1, FIRST_PREVIOUS, root, 1).to_bytes()
        live = self._with.random.random() < 0.5
        path = (victim.server, self._with.server) if live else (self._with.server,)
        return UpdateMessage(path, live, join_update(head, self._with.sign(UPDATE_DOMAIN + head), leaf))

    # -- certificates

    def _chain(self, victim: Entry, incarnation: Incarnation) -> tuple[bytes, ...]:
        own = self._with.parts.directory.entry(self._with.server)
        issuer = victim.certificate.issuer
        above: tuple[bytes, ...] = victim.chain[:-1]
        way = self._with.random.choice((0, 0, 0, 1, 2))
        if way == 1:
            above, issuer = own.chain, own.server
        elif way == 2 and above:
            root = Certificate.from_bytes_untrusted(victim.chain[0])
            above, issuer = (self._forged(root, root.incarnation, root.server),), root.server
        return (*above, self._forged(victim.certificate, incarnation, issuer))

    def _forged(self, certificate: Certificate, incarnation: Incarnation, issuer: ServerId) -> bytes:
        """All as in the true one but for the keys, which are the liar's, and who is said to have signed it."""
        own = self._with.parts.directory.entry(self._with.server).certificate
        forged = msgspec.structs.replace(
            certificate, incarnation=incarnation, issuer=issuer, serial=certificate.serial + 1,
            signing_key=own.signing_key, exchange_key=own.exchange_key,
        )  # fmt: skip
        return msgspec.structs.replace(forged, signature=self._with.sign(DOMAIN + forged.content())).to_bytes()


NAME_TRICKS: tuple[type[Trick], ...] = (Impersonates,)
