"""Who a simulated world consists of: certificates that prove what the name tree says, all from a seed."""

from __future__ import annotations

import random

import networkx
import pytest

from identity.errors import PeerMisbehaved, Refused
from identity.names import ServerId
from identity.trust import Certificate, verify_chain_untrusted
from simulations.founding import BIRTH_MS, Founded, as_graph, found
from simulations.plugin import simulate
from simulations.topologies import read_topology
from simulations.world import World
from store.definitions import definition_from_toml

NOTE = definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string" }\n')


def founded(graph: networkx.Graph, seed: int = 1) -> Founded:
    return found(graph, lambda what: random.Random(f"{seed}/{what}"))


def issuers(mesh: Founded, server: str) -> list[str]:
    chain = next(member.chain for member in mesh.members if str(member.server) == server)
    return [str(Certificate.from_bytes_untrusted(each).issuer) for each in chain]


def test_places_become_the_root_and_its_children() -> None:
    mesh = founded(networkx.path_graph(3))
    assert [str(member.server) for member in mesh.members] == ["1", "1.1", "1.2"]
    assert sorted(mesh.graph.edges) == [("1", "1.1"), ("1.1", "1.2")]
    assert issuers(mesh, "1.2") == ["1", "1"]
    lettered = founded(networkx.Graph([("b", "a"), ("a", "c")]))
    assert sorted(lettered.graph["1"]) == ["1.1", "1.2"]  # by name: a is the root


def test_in_a_tree_each_is_certified_by_its_parent_and_every_chain_proves_its_end() -> None:
    mesh = founded(read_topology("8 tree of 2").graph)
    assert issuers(mesh, "1.1.1.1") == ["1", "1", "1.1", "1.1.1"]
    for member in mesh.members:
        proven = verify_chain_untrusted(member.chain, roots=(mesh.root,), wall_ms=BIRTH_MS)[-1]
        assert proven.server == member.server
        assert proven.signing_key == member.keys.signing_public


def test_a_server_whose_parent_is_not_there_is_certified_by_the_nearest_above() -> None:
    mesh = founded(networkx.Graph([("1", "1.7.3"), ("1.7.3", "1.7.3.1")]))
    assert issuers(mesh, "1.7.3.1") == ["1", "1", "1.7.3"]


def test_who_delegates_nobody_may_not_delegate() -> None:
    mesh = founded(read_topology("8 tree of 2").graph)
    last = {str(m.server): Certificate.from_bytes_untrusted(m.chain[-1]) for m in mesh.members}
    assert {name for name, certificate in last.items() if certificate.may_delegate} == {"1", "1.1", "1.1.1", "1.2"}


def test_keys_come_from_the_seed_alone() -> None:
    graph = read_topology("5 tree of 2").graph
    assert [member.chain for member in founded(graph).members] == [member.chain for member in founded(graph).members]
    assert founded(graph).root != founded(graph, seed=2).root
    chain, other_root = founded(graph).members[1].chain, founded(graph, seed=2).root
    with pytest.raises(PeerMisbehaved):
        verify_chain_untrusted(chain, roots=(other_root,), wall_ms=BIRTH_MS)


@simulate(nodes=read_topology("8 tree of 2").graph, seeds=2)
async def test_a_tree_of_authorities_believes_its_leaves_while_the_parents_are_gone(mesh: World) -> None:
    leaf, far, parent = mesh.server("1.1.1.1"), mesh.server("1.2.2"), mesh.server("1.1.1")
    for server in mesh.nodes:
        await server.define(NOTE)
    note = await leaf.create("Note", text="from the leaf")
    await far.mirror(leaf)
    await mesh.eventually(lambda: far.read(note) is not None, within=60)
    assert leaf.server.is_below(ServerId.parse("1"))
    await parent.crash()  # the only way between them
    await mesh.sleep(20)
    await leaf.update(note, text="later")
    assert far.read(note).text == "from the leaf"
    await parent.restart()
    await mesh.eventually(lambda: far.read(note).text == "later", within=60)


def test_what_is_asked_for_is_a_graph_or_a_number() -> None:
    assert as_graph(4).number_of_edges() == 6
    line = networkx.path_graph(3)
    assert as_graph(line) is line


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (0, "without servers"),
        (networkx.Graph(), "without servers"),
        (True, "True is no mesh"),
        ("3", "'3' is no mesh; write how many"),
        (networkx.Graph([(0, 1), (2, 3)]), "in 2 pieces: no way leads from 0 to 2"),
        (networkx.Graph([(0, 1), (1, 1)]), "1 is linked with itself"),
        (networkx.DiGraph([(0, 1)]), "links go both ways"),
    ],
)
def test_a_graph_that_is_no_mesh_is_told(asked: object, told: str) -> None:
    with pytest.raises(Refused, match=told):
        as_graph(asked)
