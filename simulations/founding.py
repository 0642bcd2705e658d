"""Who a simulated world consists of: server ids, keys, certificates and the root's fingerprint, all from its seed.

    graph of places  --ids 1, 1.1, 1.2, ...-->  keys  --signed by their parent-->  chains

The ids follow the order of the graph's places. Left to others: the shapes of graphs (`topologies.py`), what runs with
these keys (`server.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import networkx

from identity.keys import Keys
from identity.names import Incarnation, ServerId
from identity.trust import Certificate, fingerprint, issue

BIRTH_MS = 1_767_225_600_000  # 2026-01-01: when every simulated world begins, by the wall
YEAR_MS = 365 * 24 * 3600 * 1000


class Member(NamedTuple):
    """One server as founded: its id, keys and the chain of certificates from the root to it, as bytes."""

    server: ServerId
    keys: Keys
    chain: tuple[bytes, ...]


class Founded(NamedTuple):
    """A mesh that exists on paper: the graph with its places renamed to server ids, the members, the root's print."""

    graph: networkx.Graph
    members: tuple[Member, ...]
    root: str


def found(graph: networkx.Graph, generator: Callable[[str], random.Random]) -> Founded:
    """Make the root `1` and its children of the places of a graph, in their order; keys from `generator(use)`."""
    whole = all(isinstance(place, int) for place in graph.nodes)
    places = sorted(graph.nodes) if whole else sorted(graph.nodes, key=str)
    ids = [ServerId.of(1)] + [ServerId.of(1, number) for number in range(1, len(places))]
    names = {place: str(server) for place, server in zip(places, ids, strict=True)}
    keys = [Keys.generate(generator(f"keys/{server}")) for server in ids]
    common: dict[str, Any] = {
        "incarnation": Incarnation(BIRTH_MS - 1000),
        "not_before_ms": BIRTH_MS - YEAR_MS,
        "not_after_ms": BIRTH_MS + 10 * YEAR_MS,
    }
    certificates: list[Certificate] = []
    for number, (server, own) in enumerate(zip(ids, keys, strict=True)):
        certificate = issue(
            keys[0], server=server, issuer=ids[0], signing_key=own.signing_public, exchange_key=own.exchange_public,
            serial=number + 1, may_delegate=number == 0, **common,
        )  # fmt: skip
        certificates.append(certificate)
    members = []
    for number, (server, own) in enumerate(zip(ids, keys, strict=True)):
        chain = (certificates[0],) if number == 0 else (certificates[0], certificates[number])
        members.append(Member(server, own, tuple(each.to_bytes() for each in chain)))
    return Founded(
        networkx.relabel_nodes(networkx.Graph(graph), names),
        tuple(members),
        fingerprint(ids[0], keys[0].signing_public),
    )
