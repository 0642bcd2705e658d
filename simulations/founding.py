"""Who a simulated world consists of: server ids, keys, certificates and the root's fingerprint, all from its seed.

    graph of places  --ids 1, 1.1, 1.1.2, ...-->  keys  --signed by who stands above-->  chains, root first

A place that is a server id is that server; other places are numbered: the root and its children, in their order. What
the graph says of itself (`topologies.NO_OTHERS`) stays.
Left to others: the shapes of graphs (`topologies.py`), what runs with these keys (`server.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import networkx

from identity.errors import Refused
from identity.keys import Keys
from identity.names import Incarnation, ServerId
from identity.trust import Certificate, fingerprint, issue
from simulations.topologies import as_ids

BIRTH_MS = 1_767_225_600_000  # 2026-01-01: when every simulated world begins, by the wall
INCARNATION = Incarnation(BIRTH_MS - 1000)  # of every server, as long as nobody makes it anew
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


def as_graph(asked: Any) -> networkx.Graph:
    """The graph of a number of servers, every two of them neighbours; or the graph itself. Raises `Refused`."""
    if isinstance(asked, bool) or not isinstance(asked, (int, networkx.Graph)):
        raise Refused(f"{asked!r} is no mesh", next_step="write how many servers, as in 3, or a networkx graph")
    graph = networkx.complete_graph(max(asked, 0)) if isinstance(asked, int) else asked
    if graph.number_of_nodes() < 1:
        raise Refused(f"a world without servers ({asked})", next_step="ask for at least one")
    if graph.is_directed():
        raise Refused("links go both ways", next_step="give graph.to_undirected(), and cut one way in the test")
    selfish = next(networkx.selfloop_edges(graph), None)
    if selfish is not None:
        raise Refused(f"{selfish[0]!r} is linked with itself", next_step="link it with another, or leave that out")
    pieces = list(networkx.connected_components(graph))
    if len(pieces) > 1:
        one, other = (next(place for place in graph if place in piece) for piece in pieces[:2])
        raise Refused(
            f"the mesh is in {len(pieces)} pieces: no way leads from {one!r} to {other!r}",
            next_step="link them, and part them in the test when they shall lose each other",
        )
    return graph


def found(graph: networkx.Graph, generator: Callable[[str], random.Random]) -> Founded:
    """Keys from `generator(use)`, and certificates: each server's from the nearest one above it in the name tree.

    Where the places of the graph are server ids of one tree, they are the servers; else the root `1` and its children
    are taken for the places in their order.
    """
    ids = as_ids(graph.nodes)
    if ids is None:
        whole = all(isinstance(place, int) for place in graph.nodes)
        places = sorted(graph.nodes) if whole else sorted(graph.nodes, key=str)
        ids = [ServerId.of(1)] + [ServerId.of(1, number) for number in range(1, len(places))]
        names = {place: str(server) for place, server in zip(places, ids, strict=True)}
    else:
        names = {place: str(place) for place in graph.nodes}
    keys = {server: Keys.generate(generator(f"keys/{server}")) for server in ids}
    issuers = {server: next((each for each in server.ancestors() if each in keys), server) for server in ids}
    delegating = set(issuers.values())
    common: dict[str, Any] = {
        "incarnation": INCARNATION,
        "not_before_ms": BIRTH_MS - YEAR_MS,
        "not_after_ms": BIRTH_MS + 10 * YEAR_MS,
    }
    chains: dict[ServerId, tuple[Certificate, ...]] = {}
    for number, server in enumerate(ids):  # by components: who issues stands before those it issues for
        own, issuer = keys[server], issuers[server]
        certificate = issue(
            keys[issuer], server=server, issuer=issuer, signing_key=own.signing_public,
            exchange_key=own.exchange_public, serial=number + 1, may_delegate=server in delegating, **common,
        )  # fmt: skip
        chains[server] = (*chains.get(issuer, ()), certificate)
    return Founded(
        networkx.relabel_nodes(networkx.Graph(graph), names),
        tuple(Member(each, keys[each], tuple(link.to_bytes() for link in chains[each])) for each in ids),
        fingerprint(ids[0], keys[ids[0]].signing_public),
    )
