"""A server enters the directory by a chain to a pinned root, and by nothing else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from identity.errors import PeerMisbehaved
from identity.keys import Keys
from identity.names import Incarnation, ObjectId, Pattern, Reference, ServerId
from identity.trust import YEAR_MS, Certificate, fingerprint, issue, issue_root
from node.directory import MAX_MIRRORS, Directory, Entry, distance
from store.records import PUT, REGISTRY, Head, Leaf, Stored, pack_leaf
from store.registry import BUILT_IN, SERVER, ClassDefinition, Field, class_fields

NOW = 1_800_000_000_000
ONE, TWO, THREE = (ServerId.parse(text) for text in ("1", "1.2", "1.3"))
KEYS = {server: Keys.generate(random.Random(str(server))) for server in (ONE, TWO, THREE)}
ROOT = issue_root(KEYS[ONE], ONE, wall_ms=NOW)


def certificate(
    server: ServerId, *, keys: Keys | None = None, incarnation: int = NOW, serial: int = 2, after: int = YEAR_MS
) -> Certificate:
    own = keys or KEYS[server]
    return issue(
        KEYS[ONE], server=server, issuer=ONE, incarnation=Incarnation(incarnation), signing_key=own.signing_public,
        exchange_key=own.exchange_public, serial=serial, not_before_ms=NOW - 1, not_after_ms=NOW + after,
    )  # fmt: skip


def chain(last: Certificate) -> tuple[bytes, ...]:
    return (ROOT.to_bytes(), last.to_bytes())


def directory() -> Directory:
    known = Directory(TWO, roots=(fingerprint(ONE, KEYS[ONE].signing_public),), wall_ms=lambda: NOW + 10)
    known.learn_chain(chain(certificate(TWO)))
    return known


def server_object(server: ServerId, links: Sequence[bytes], **fields: Any) -> Stored:
    values = {"server": bytes(server), "incarnation": NOW, "chain": list(links), "name": None, "addresses": None}
    return Stored(Reference(server, Incarnation(NOW), ObjectId(1)), "Server", 1, {**values, **fields}, "mirrored")


def class_object(server: ServerId, name: str) -> Stored:
    definition = ClassDefinition(name=name, fields=(Field(name="text"),))
    return Stored(Reference(server, Incarnation(NOW), ObjectId(5)), "Class", 1, class_fields(definition), "mirrored")


def test_our_own_chain_makes_all_ancestors_known() -> None:
    known = directory()
    assert [entry.server for entry in known.entries()] == [ONE, TWO]
    assert known.signing_key_of(ONE, NOW) == KEYS[ONE].signing_public
    assert [entry.server for entry in known.take_changed()] == [ONE, TWO]
    assert known.take_changed() == []


def test_a_registry_object_tells_name_addresses_and_classes() -> None:
    known = directory()
    known.learn_object(
        THREE, 1, server_object(THREE, chain(certificate(THREE)), name="Asia", addresses=[["10.0.0.3", 7], ["x"], 3])
    )
    known.learn_object(THREE, 5, class_object(THREE, "Note"))
    entry = known.entry(THREE)
    assert entry is not None
    assert (entry.name, entry.addresses) == ("Asia", (("10.0.0.3", 7),))
    assert known.owners("Note", None) == [THREE]
    assert known.major(THREE, "Note") == 1
    assert known.major(THREE, "Shoe") is known.major(ServerId.parse("1.9"), "Note") is None
    assert known.owners("Note", Pattern("1.2")) == []
    known.learn_object(THREE, 5, None)
    assert known.owners("Note", None) == []


def test_nobody_speaks_for_another_server() -> None:
    known = directory()
    known.learn_object(TWO, 1, server_object(THREE, chain(certificate(THREE)), addresses=[["10.6.6.6", 6]]))
    assert known.entry(THREE) is None
    known.learn_object(THREE, 1, server_object(THREE, [b"nonsense"]))
    assert known.entry(THREE) is None


def update_with(stored: Stored, server: ServerId) -> tuple[Head, bytes]:
    definition = BUILT_IN[SERVER]
    leaf = pack_leaf(Leaf(1, 1, definition.fingerprint, PUT, b"", bytes(16), definition.to_body(stored.fields)))
    return Head(server, NOW, REGISTRY, 1, bytes(16), 1, bytes(32), bytes(32), 1), leaf


def test_a_stranger_may_introduce_himself_by_his_registry_feed_and_nobody_else() -> None:
    known = directory()
    told = server_object(THREE, chain(certificate(THREE)))
    assert known.introduce_untrusted(*update_with(told, THREE)) == KEYS[THREE].signing_public
    assert known.entry(THREE) is None  # not before the update is applied
    with pytest.raises(PeerMisbehaved, match=r"introduces 1\.3"):
        known.introduce_untrusted(*update_with(told, ServerId.parse("1.4")))
    forged = issue_root(KEYS[THREE], THREE, wall_ms=NOW)
    with pytest.raises(PeerMisbehaved, match="no pinned root"):
        known.introduce_untrusted(*update_with(server_object(THREE, [forged.to_bytes()]), THREE))


def test_a_higher_incarnation_replaces_and_the_old_one_is_refused() -> None:
    known = directory()
    newer = Keys.generate(random.Random(9))
    known.prove_untrusted(chain(certificate(THREE)))
    known.learn_object(THREE, 5, class_object(THREE, "Note"))
    known.prove_untrusted(chain(certificate(THREE, keys=newer, incarnation=NOW + 5)))
    assert known.owners("Note", None) == []
    assert known.signing_key_of(THREE, NOW) == KEYS[THREE].signing_public  # what it signed stays readable
    with pytest.raises(PeerMisbehaved, match="was replaced"):
        known.prove_untrusted(chain(certificate(THREE)))


def test_two_keys_for_one_name_are_named_as_that() -> None:
    known = directory()
    known.prove_untrusted(chain(certificate(THREE)))
    with pytest.raises(PeerMisbehaved, match=r"two keys are certified for 1\.3"):
        known.prove_untrusted(chain(certificate(THREE, keys=Keys.generate(random.Random(9)))))


def test_an_expired_peer_may_not_greet_but_what_it_signed_is_read() -> None:
    known = directory()
    old = chain(certificate(THREE, after=1))
    with pytest.raises(PeerMisbehaved, match="expired"):
        known.prove_untrusted(old)
    known.learn_object(THREE, 1, server_object(THREE, old))
    assert known.entry(THREE) is not None


def test_addresses_that_change_are_told_once() -> None:
    known = directory()
    known.take_changed()
    known.learn_addresses(ONE, [("10.0.0.1", 7)])
    known.learn_addresses(ONE, [("10.0.0.1", 7)])
    assert [entry.addresses for entry in known.take_changed()] == [(("10.0.0.1", 7),)]
    known.learn_addresses(ONE, [("10.0.0.1", 7)])
    assert known.take_changed() == []


def test_whoever_announces_it_mirrors_an_owner_the_nearest_first() -> None:
    known = Directory(TWO, roots=(fingerprint(ONE, KEYS[ONE].signing_public),), wall_ms=lambda: NOW + 10)
    known.learn_chain(chain(certificate(TWO)))
    far, near, other = (ServerId.parse(text) for text in ("1.3.9", "1.2.7", "1.4"))
    for server in (far, near, other, TWO):
        known._entries[server] = Entry(server, certificate(TWO), ())
    known._entries[far].mirrors = (Pattern("1.5"), Pattern("1.3"))
    known._entries[near].mirrors = (Pattern("1.*,-1.6"),)
    known._entries[other].mirrors = (Pattern("1.6"),)
    known._entries[TWO].mirrors = (Pattern("*"),)  # this server itself: it would not have to ask
    assert known.mirrors_of(THREE) == [near, far]
    assert known.mirrors_of(ServerId.parse("1.6")) == [other]
    assert known.mirrors_of(near) == []  # an owner is no mirror of itself


@pytest.mark.parametrize(
    ("one", "other", "steps"), [("1", "1", 0), ("1", "1.2", 1), ("1.2", "1.3", 2), ("1.2.7", "1.3", 3), ("1", "2", 2)]
)
def test_how_far_two_servers_are_apart_in_the_name_tree(one: str, other: str, steps: int) -> None:
    assert distance(ServerId.parse(one), ServerId.parse(other)) == steps
    assert distance(ServerId.parse(other), ServerId.parse(one)) == steps


@pytest.mark.parametrize(
    ("said", "believed"),
    [
        (None, ()),
        ("1.2", ()),
        (["1.2", 7, "no pattern", "1.02", None, "1.3.*"], ("1.2", "1.3.*")),
        (["1"] * 100, ("1",) * MAX_MIRRORS),
        (["1.2", ",".join(["1.7"] * 2000), "1.3"], ("1.2",)),
    ],
)
def test_what_makes_no_sense_among_announced_mirrors_is_left_out(said: object, believed: tuple[str, ...]) -> None:
    known = directory()
    known.learn_object(THREE, 1, server_object(THREE, chain(certificate(THREE)), mirrors=said))
    entry = known.entry(THREE)
    assert entry is not None
    assert tuple(each.text for each in entry.mirrors) == believed


def test_another_incarnation_mirrors_nothing_until_it_says_so() -> None:
    known = directory()
    known.learn_object(THREE, 1, server_object(THREE, chain(certificate(THREE)), mirrors=["1.2.*"]))
    owner = ServerId.parse("1.2.5")
    assert known.mirrors_of(owner) == [THREE]
    known.learn_object(THREE, 1, server_object(THREE, chain(certificate(THREE)), mirrors=None))
    assert known.mirrors_of(owner) == []
    known.learn_object(THREE, 1, server_object(THREE, chain(certificate(THREE)), mirrors=["1.2.*"]))
    known.prove_untrusted(chain(certificate(THREE, keys=Keys.generate(random.Random("new")), incarnation=NOW + 1)))
    assert known.mirrors_of(owner) == []


def test_the_class_of_server_objects_grew_and_is_the_same() -> None:
    grown = BUILT_IN[SERVER]
    before = msgspec.structs.replace(grown, minor=0, fields=grown.fields[:-1])
    assert grown.fields[-1].name == "mirrors"
    assert before.fingerprint == grown.fingerprint
    assert grown.from_body_untrusted(before.to_body({"server": b"1", "incarnation": 1, "chain": []}))["mirrors"] is None
