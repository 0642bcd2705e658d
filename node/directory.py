"""Who is in the mesh: each server's keys, addresses and classes, as certificates and registry feeds prove them.

    HELLO of a peer ------------+                          +--> keys: who signs a feed, whom a handshake must meet
    own chain (all ancestors) --+--> Entry per server ------+--> addresses: where to dial
    registry feeds, applied ----+                          +--> classes: whose objects a query must ask for
                                                           +--> mirrors: whom to ask when an owner is silent

Rules. A server enters by a chain that leads to a pinned root, however that chain came, and by nothing else. A higher
incarnation replaces the entry of a lower one; the signing keys of lower ones stay, for what they signed stays readable
(DESIGN I3, N5). Addresses are believed of a server about itself only: in its HELLO, or in the `Server` object of its
own registry feed. A registry update of a server that is not known yet may carry its chain: `introduce_untrusted`.
Certificates are judged by the clock when a peer greets; what an expired one signed long ago is still believed.

Nothing here is durable: at opening it is filled from the store's registry objects. Left to others: what chains prove
(`identity.trust`), whether an address may be dialled (`node.dialling`), the feeds (`replication`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from identity.errors import PeerMisbehaved
from identity.names import Pattern, ServerId
from identity.trust import Certificate, verify_chain_untrusted
from node.greeting import MAX_ADDRESSES, Proven
from store.records import Head, Stored, read_leaves_untrusted
from store.registry import definition_of_class_untrusted, read_registry_leaf_untrusted

Address = tuple[str, int]

MAX_MIRRORS = 64  # patterns that one server announces
MAX_MIRRORS_TEXT = 4096  # characters of all of them: every server of the mesh carries them

MAX_SERVERS = 1 << 16  # entries; a mesh beyond that wants zones (DESIGN F3), not a longer list


class Adopted(NamedTuple):
    """A class that a server says it has."""

    name: str
    fingerprint: bytes
    major: int


class Entry(msgspec.Struct):
    """What is known of one server."""

    server: ServerId
    certificate: Certificate
    chain: tuple[bytes, ...]
    name: str = ""
    addresses: tuple[Address, ...] = ()
    classes: dict[int, Adopted] = msgspec.field(default_factory=dict)  # by the object that says so
    mirrors: tuple[Pattern, ...] = ()  # whose data feeds it keeps, as it says

    @property
    def incarnation(self) -> int:
        return self.certificate.incarnation

    def majors(self, name: str) -> list[int]:
        """Of the classes of that name that it has adopted."""
        return [each.major for each in self.classes.values() if each.name == name]


class Directory:
    """Every server that was ever proven to be one. `wall_ms()` is this server's clock."""

    def __init__(self, own: ServerId, *, roots: Iterable[str], wall_ms: Callable[[], int]) -> None:
        self._own = own
        self._roots = tuple(roots)
        self._wall_ms = wall_ms
        self._entries: dict[ServerId, Entry] = {}
        self._keys: dict[tuple[ServerId, int], bytes] = {}
        self._changed: dict[ServerId, None] = {}

    # -- learning

    def prove_untrusted(self, chain: Sequence[bytes]) -> Proven:
        """Who a peer is that greets with this chain; its entry is made. Raises `PeerMisbehaved` with the cause.

        Refused besides what proves nothing: an incarnation that another one has replaced (ATTACKS 18).
        """
        links = verify_chain_untrusted(chain, roots=self._roots, wall_ms=self._wall_ms())
        certificate = links[-1]
        known = self._entries.get(certificate.server)
        if known is not None and known.incarnation > certificate.incarnation:
            raise PeerMisbehaved(
                f"{certificate.server} of incarnation {certificate.incarnation} was replaced by "
                f"{known.incarnation}, which is known here"
            )
        key = self._keys.get((certificate.server, certificate.incarnation), certificate.signing_key)
        if key != certificate.signing_key:
            raise PeerMisbehaved(
                f"two keys are certified for {certificate.server}, incarnation {certificate.incarnation}: "
                f"{key.hex()[:16]} and {certificate.signing_key.hex()[:16]}"
            )
        self._learn(links, chain)
        return Proven(certificate.server, certificate.incarnation, certificate.signing_key, certificate.exchange_key)

    def learn_chain(self, chain: Sequence[bytes]) -> None:
        """Our own chain, or one that the store holds: all of its servers become known. Raises `PeerMisbehaved`."""
        self._learn(verify_chain_untrusted(chain, roots=self._roots, wall_ms=None), chain)

    def learn_addresses(self, server: ServerId, addresses: Sequence[Address]) -> None:
        """Where the server says of itself that it can be reached."""
        entry = self._entries.get(server)
        if entry is not None and addresses and entry.addresses != tuple(addresses):
            entry.addresses = tuple(addresses[:MAX_ADDRESSES])
            self._changed[server] = None

    def learn_object(self, owner: ServerId, number: int, stored: Stored | None) -> None:
        """An object of the owner's registry feed as it is now; None: it is gone.

        What makes no sense in it is left out: its owner signed it, and only its owner suffers.
        """
        entry = self._entries.get(owner)
        if stored is not None and stored.class_name == "Server":
            self._learn_server(owner, stored.fields)
        elif stored is not None and stored.class_name == "Class" and entry is not None:
            try:
                definition = definition_of_class_untrusted(stored.fields)
            except PeerMisbehaved:
                return
            entry.classes[number] = Adopted(definition.name, definition.fingerprint, definition.major)
        elif stored is None and entry is not None:
            entry.classes.pop(number, None)

    def introduce_untrusted(self, head: Head, leaves: bytes) -> bytes | None:
        """The signing key of a feed whose owner is not known yet, if this very update carries his chain.

        None when it does not. Raises `PeerMisbehaved` for a chain that proves somebody else, or nothing.
        """
        for leaf in read_leaves_untrusted(leaves, head.count):
            told = read_registry_leaf_untrusted(leaf)
            if told is None or told[0] != "Server":
                continue
            chain = _chain_untrusted(told[1])
            certificate = verify_chain_untrusted(chain, roots=self._roots, wall_ms=None)[-1]
            if (certificate.server, certificate.incarnation) != (head.server, head.incarnation):
                raise PeerMisbehaved(f"the registry of {head.server} introduces {certificate.server}")
            return certificate.signing_key
        return None

    def take_changed(self) -> list[Entry]:
        """Entries that are new, or whose keys or addresses changed, since the last call: what routing should know."""
        changed = [self._entries[server] for server in self._changed]
        self._changed.clear()
        return changed

    # -- questions

    def signing_key_of(self, server: ServerId, incarnation: int) -> bytes | None:
        return self._keys.get((server, incarnation))

    def entry(self, server: ServerId) -> Entry | None:
        return self._entries.get(server)

    def entries(self) -> list[Entry]:
        """All, in the order of their names."""
        return [self._entries[server] for server in sorted(self._entries)]

    def owners(self, class_name: str, servers: Pattern | None) -> list[ServerId]:
        """Who has adopted a class of that name, whatever its major, in the order of their names."""
        return [
            entry.server
            for entry in self.entries()
            if (servers is None or servers.matches(entry.server)) and entry.majors(class_name)
        ]

    def major(self, server: ServerId, class_name: str) -> int | None:
        """The newest major of a class that a server has adopted; None: it has none."""
        entry = self._entries.get(server)
        return None if entry is None else max(entry.majors(class_name), default=None)

    def mirrors_of(self, owner: ServerId) -> list[ServerId]:
        """Who announces to mirror this owner, the nearest to this server in the name tree first.

        Near in the tree is mostly near on the ground, and on our side where the mesh has come apart.
        """
        found = [each.server for each in self._entries.values() if any(owner in one for one in each.mirrors)]
        return sorted(
            (each for each in found if each not in (owner, self._own)),
            key=lambda each: (distance(self._own, each), each),
        )

    def adopters(self) -> Mapping[bytes, list[ServerId]]:
        """Every class that anybody adopted, by fingerprint, with those who did."""
        found: dict[bytes, list[ServerId]] = {}
        for entry in self.entries():
            for each in entry.classes.values():
                found.setdefault(each.fingerprint, []).append(entry.server)
        return found

    def __len__(self) -> int:
        return len(self._entries)

    # -- helpers

    def _learn_server(self, owner: ServerId, fields: Mapping[str, Any]) -> None:
        try:
            chain = _chain_untrusted(fields)
            links = verify_chain_untrusted(chain, roots=self._roots, wall_ms=None)
        except PeerMisbehaved:
            return
        if links[-1].server != owner:
            return
        self._learn(links, chain)
        entry = self._entries[owner]
        if links[-1].incarnation != entry.incarnation:
            return
        name = fields.get("name")
        entry.name = name[:256] if isinstance(name, str) else ""
        entry.mirrors = _mirrors_untrusted(fields.get("mirrors"))
        self.learn_addresses(owner, _addresses_untrusted(fields.get("addresses")))

    def _learn(self, links: Sequence[Certificate], chain: Sequence[bytes]) -> None:
        for place, certificate in enumerate(links):
            server = certificate.server
            known = self._entries.get(server)
            if known is None and len(self._entries) >= MAX_SERVERS and server != self._own:
                raise PeerMisbehaved(f"{MAX_SERVERS} servers are known, so {server} is not taken in")
            self._keys.setdefault((server, certificate.incarnation), certificate.signing_key)
            if known is None:
                self._entries[server] = Entry(server, certificate, tuple(chain[: place + 1]))
                self._changed[server] = None
            elif _is_newer(certificate, known.certificate):
                if known.incarnation != certificate.incarnation:
                    known.classes, known.addresses, known.mirrors = {}, (), ()
                if known.certificate.exchange_key != certificate.exchange_key:
                    self._changed[server] = None
                known.certificate, known.chain = certificate, tuple(chain[: place + 1])


def distance(one: ServerId, other: ServerId) -> int:
    """Steps in the name tree: 1.2 and 1.3 are two apart, by way of 1."""
    a, b = one.components, other.components
    shared = 0
    for left, right in zip(a, b, strict=False):
        if left != right:
            break
        shared += 1
    return len(a) + len(b) - 2 * shared


def _is_newer(one: Certificate, other: Certificate) -> bool:
    return (one.incarnation, one.serial) > (other.incarnation, other.serial)


def _chain_untrusted(fields: Mapping[str, Any]) -> tuple[bytes, ...]:
    chain = fields.get("chain")
    if not isinstance(chain, list) or not all(isinstance(each, bytes) for each in chain):
        raise PeerMisbehaved("a Server object without a chain")
    return tuple(chain)


def _addresses_untrusted(said: object) -> tuple[Address, ...]:
    """Those that make sense of what a Server object says."""
    if not isinstance(said, list):
        return ()
    return tuple(
        (each[0], each[1])
        for each in said[:MAX_ADDRESSES]
        if isinstance(each, list)
        and len(each) == 2
        and isinstance(each[0], str)
        and 0 < len(each[0]) <= 255
        and type(each[1]) is int
        and 0 < each[1] < 65536
    )


def _mirrors_untrusted(said: object) -> tuple[Pattern, ...]:
    """Those that make sense of what a Server object says."""
    if not isinstance(said, list):
        return ()
    found, length = [], 0
    for each in said[:MAX_MIRRORS]:
        length += len(each) if isinstance(each, str) else 0
        if length > MAX_MIRRORS_TEXT:
            break
        try:
            found.append(Pattern.from_text_untrusted(each))
        except PeerMisbehaved:
            continue
    return tuple(found)
