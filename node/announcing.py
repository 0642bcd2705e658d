"""What this server tells the mesh of itself in its registry feed: its `Server` object, and the classes it adopted.

    at each start   chain, name, addresses as they are now --> the one own Server object, if that says otherwise
    mirror, unmirror   its mirrors: whom others may ask in an owner's place
    certificate     the last link of our own chain, which must be ours
    define, adopt   the class --> an own Class object (the store makes it) --> directory, replication

The registry feed is carried by every server of the mesh (DESIGN F1), so it is written seldom and only when something
changed: a restart at the same address writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import trio

from identity.errors import BangpathError, Refused
from identity.keys import Keys
from identity.trust import Certificate, check_validity
from node.config import Config
from node.directory import MAX_MIRRORS, MAX_MIRRORS_TEXT
from store.definitions import ClassDefinition
from store.reading import View
from store.upgrading import Upgrades

if TYPE_CHECKING:
    from node.parts import Parts

CLASS_NAME = "Server"
EXPIRES_SOON_MS = 30 * 24 * 3600 * 1000  # time enough to ask for another


async def announce(parts: Parts, certificate: Certificate, chain: Sequence[bytes], *, wall_ms: int) -> None:
    """Make our Server object say what is so."""
    wanted: dict[str, Any] = {
        "server": bytes(certificate.server),
        "incarnation": int(certificate.incarnation),
        "name": parts.config.name,
        "chain": list(chain),
        "addresses": [list(each) for each in parts.addresses()],
        "mirrors": announced_mirrors(parts) or None,
    }
    with parts.database.view() as view:
        standing = _own_object(view, certificate)
    if standing is None or any(standing.fields.get(name) != value for name, value in wanted.items()):
        wanted["wall_ms"] = wall_ms

        def body(transaction: Any) -> Any:
            if standing is None:
                return transaction.create(CLASS_NAME, wanted)
            transaction.update(standing.reference.object, wanted)
            return standing.reference

        reference = await parts.database.transact(body)
        _learn(parts, reference)
    else:
        parts.directory.learn_object(standing.reference.server, standing.reference.object, standing)


def announced_mirrors(parts: Parts) -> list[str]:
    """The patterns that others may ask us for in their owner's place: the first that fit into the bounds.

    A feed that everybody carries must stay small; who mirrors more than that is asked for less.
    """
    if "mirrors" in parts.config.without:
        return []
    texts = [pattern.text for pattern, _ in parts.mirroring.patterns()][:MAX_MIRRORS]
    while sum(map(len, texts)) > MAX_MIRRORS_TEXT:
        texts.pop()
    return texts


async def define(parts: Parts, definition: ClassDefinition, upgrades: Upgrades | None = None) -> dict[str, Any]:
    """Define or adopt a class. Gives it as `classes` shows it. Raises `Refused` naming the field.

    `upgrades`: of each older major with own objects a function of their fields; raises `Refused`, naming an object.
    """
    await parts.database.define(definition, upgrades, lambda reference: _learn(parts, reference))
    defined = parts.database.registry.definition(definition.name)
    owners = parts.directory.adopters().get(defined.fingerprint, ())
    return {**defined.as_json(), "owners": [str(each) for each in owners], "adopted": True}


def _own_object(view: View, certificate: Certificate) -> Any:
    for stored in view.registry_objects(CLASS_NAME):
        if stored.reference.server == certificate.server and stored.reference.incarnation == certificate.incarnation:
            return stored
    return None


def _learn(parts: Parts, reference: Any) -> None:
    """Take an own registry object into the directory; what waited for its class is asked for again."""
    with parts.database.view() as view:
        parts.directory.learn_object(reference.server, reference.object, view.get(reference))
    now = trio.current_time()
    parts.tell_router(now)
    parts.flood.handle_registry_advanced(now)
    parts.touch()


def own_certificate(keys: Keys, chain: Sequence[bytes], config: Config) -> Certificate:
    """The last link of our own chain. Raises `Refused` when it is for another server or for other keys."""
    if not chain:
        raise Refused(f"{config.server} has no certificate", next_step="bangpath join TICKET")
    try:
        certificate = Certificate.from_bytes_untrusted(chain[-1])
    except BangpathError as error:
        raise Refused(f"the chain of {config.server} is damaged: {error.cause}") from error
    if certificate.server != config.server:
        raise Refused(
            f"the certificate is for {certificate.server}, and the configuration says {config.server}",
            next_step=f'write id = "{certificate.server}" under [server] in bangpath.toml',
        )
    if certificate.signing_key != keys.signing_public or certificate.exchange_key != keys.exchange_public:
        raise Refused(
            f"the certificate of {config.server} is for other keys than those in its directory",
            next_step="restore `keys` and `chain` from one and the same backup",
        )
    return certificate


def note_validity(certificate: Certificate, *, wall_ms: int, note: Callable[..., None]) -> None:
    """Say in the log that our certificate has expired, or will soon: peers will turn us away (DESIGN I3)."""
    try:
        check_validity(certificate, wall_ms)
    except BangpathError as error:
        note("certificate", cause=error.cause, next_step=error.next_step)
        return
    if certificate.not_after_ms - wall_ms < EXPIRES_SOON_MS:
        days = (certificate.not_after_ms - wall_ms) // 86_400_000
        note("certificate", cause=f"the certificate of {certificate.server} expires in {days} days")
