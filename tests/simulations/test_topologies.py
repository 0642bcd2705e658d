"""Shapes of meshes: what they look like, that they are the same everywhere, and what cannot be."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import networkx
import pytest

from identity.errors import Refused
from simulations.founding import found
from simulations.topologies import MOST_SERVERS, NO_OTHERS, SHAPES, as_ids, read_topology, shape, without_files


def degrees(text: str) -> list[int]:
    return sorted(degree for _, degree in read_topology(text).graph.degree)


def test_a_line_of_text_becomes_a_mesh_whose_root_is_first() -> None:
    topology = read_topology("4 line")
    assert topology.names == ("1", "1.1", "1.2", "1.3")
    assert sorted(topology.graph.edges) == [("1", "1.1"), ("1.1", "1.2"), ("1.2", "1.3")]


def test_a_graph_knows_whether_it_is_all_the_links_there_are() -> None:
    for text in ("4 line", "9 random draw 3", "5", "linked 1-1.1"):
        assert NO_OTHERS not in read_topology(text).graph.graph
        alone = read_topology(f"{text}, no other links")
        assert alone.graph.graph[NO_OTHERS]
        assert sorted(alone.graph.edges) == sorted(read_topology(text).graph.edges)
        assert found(alone.graph, random.Random).graph.graph[NO_OTHERS]
    with pytest.raises(Refused, match="'line, no others' is no shape"):
        read_topology("4 line, no others")


def test_every_shape_is_in_one_piece_and_has_as_many_servers_as_were_asked_for() -> None:
    for kind, each in SHAPES.items():
        number = int(each.says.split()[0])
        topology = read_topology(each.says)
        assert len(topology.names) == len(set(topology.names)) == number
        assert set(topology.names) == set(topology.graph.nodes)
        assert networkx.is_connected(topology.graph)
        assert read_topology(f"{number} {kind}").graph.number_of_nodes() == number


def test_a_draw_that_falls_to_pieces_is_drawn_again() -> None:
    for draw in range(1, 30):  # two cycles are likely
        assert networkx.is_connected(shape("random of degree 2", 20, draw=draw).graph)


def test_each_shape_is_what_its_name_says() -> None:
    assert degrees("5") == degrees("5 full") == [4] * 5
    assert degrees("5 line") == [1, 1, 2, 2, 2]
    assert degrees("5 ring") == [2] * 5
    star = read_topology("5 star").graph
    assert star.degree["1"] == 4
    assert degrees("5 star") == [1, 1, 1, 1, 4]
    grid = read_topology("12 grid 4x3").graph
    assert sorted(grid["1.5"]) == ["1.1", "1.4", "1.6", "1.9"]  # above, left, right, below in rows of four
    assert degrees("12 grid") == degrees("12 grid 4x3")
    assert degrees("20 random of degree 4") == [4] * 20
    small = read_topology("50 small world")
    assert small.graph.number_of_edges() == 100
    ring = networkx.watts_strogatz_graph(50, 4, 0)
    assert networkx.average_shortest_path_length(small.graph) < networkx.average_shortest_path_length(ring) * 0.8
    assert degrees("50 scale free")[-1] > 4 * degrees("50 scale free")[25]  # few have many


def test_a_tree_delegates_ids_from_parent_to_child() -> None:
    topology = read_topology("8 tree of 2")
    assert topology.names == ("1", "1.1", "1.1.1", "1.1.1.1", "1.1.2", "1.2", "1.2.1", "1.2.2")
    assert all(child.rpartition(".")[0] == parent for parent, child in map(sorted, topology.graph.edges))


def test_one_line_is_one_graph_and_a_draw_asks_for_another() -> None:
    for kind in ("random of degree 4", "small world", "scale free"):
        first, again, other = (shape(kind, 20, draw=draw).graph.edges for draw in (1, 1, 2))
        assert sorted(first) == sorted(again) != sorted(other)
    assert sorted(read_topology("20 random draw 2").graph.edges) == sorted(shape("random", 20, draw=2).graph.edges)


def test_a_graph_is_the_same_in_every_process() -> None:
    program = (
        "from simulations.topologies import read_topology\n"
        "for text in ('20 random of degree 4', '30 small world', '30 scale free', '13 tree of 3'):\n"
        "    topology = read_topology(text)\n"
        "    print(topology.names, list(topology.graph.nodes), sorted(topology.graph.edges))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True,
            check=True, cwd=Path(__file__).parents[2],
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(outputs) == 1


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "write for example: servers 5 full"),
        ("five", "'servers five' is no mesh"),
        ("0", "0 servers are no mesh"),
        (f"{MOST_SERVERS + 1}", "ask for 1 to 1000"),
        ("5 rnig", "'rnig' is no shape of a mesh; write for example: servers 5 ring"),
        ("5 donut", "there are full, line, ring, star, grid"),
        ("9 grdi", "write for example: servers 9 grid"),
        ("2 ring", "a ring of 2 cannot be: a ring has 3 or more; write for example: servers 2 line"),
        ("2 star", "a star has a middle and 2 or more"),
        ("7 grid", "7x1 is a line; write for example: servers 8 grid"),
        ("12 grid 5x3", "it has 15; write for example: servers 15 grid 5x3"),
        ("4 random of degree 4", "there are only 3 others"),
        ("5 random of degree 3", "5 x 3 ends do not pair up; write for example: servers 5 random of degree 4"),
        ("6 random of degree 1", "it would fall into pairs"),
        ("6 random of degree 0", "it would fall into pairs"),
        ("10 small world of degree 3", "the degree is even and below the number"),
        ("6 small world of degree 8", "write for example: servers 6 small world of degree 4"),
        ("3 small world", "servers 3 full"),
        ("3 scale free", "it grows from 3"),
        ("20 tree of 1", "an id has at most 16 parts; write for example: servers 20 tree of 2"),
        ("5 tree of 0", "nobody has children"),
        ("linked", "a mesh without links"),
        ("linked 1-1.1 1.1", "'1.1' is no link; write two servers as in 1-1.1"),
        ("linked 1-1", "'1-1' is no link"),
        ("linked 1-1.1 1.2-1.3", "in 2 pieces: no way leads from 1 to 1.2"),
        ("linked 1-2", "1 and 2 have no root in common"),
        ("linked 1-1.0", "0 is no component of a server id"),
        ("from nowhere.txt", "nowhere.txt cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_says_why_and_what_can(text: str, cause: str) -> None:
    with pytest.raises(Refused) as caught:
        read_topology(text)
    assert cause in str(caught.value)


def test_what_is_proposed_instead_can_be_built() -> None:
    for text in (
        "2 ring", "7 grid", "5 grid", "12 grid 5x3", "4 random of degree 4", "5 random of degree 3", "2 star",
        "6 small world of degree 8", "10 small world of degree 3", "20 tree of 1", "3 scale free",
    ):  # fmt: skip
        with pytest.raises(Refused) as caught:
            read_topology(text)
        proposed = caught.value.next_step.removeprefix("write for example: servers ")
        assert read_topology(proposed).graph.number_of_nodes() > 1


def test_ids_and_links_can_be_said_one_by_one() -> None:
    topology = read_topology("linked 1-1.1 1.1-1.1.1 1-1.1.1")
    assert topology.names == ("1", "1.1", "1.1.1")
    assert topology.graph.number_of_edges() == 3


def test_a_file_has_a_link_a_line(tmp_path: Path) -> None:
    (tmp_path / "harbours.txt").write_text("# who reaches whom\nharbour island\nisland - ship   # by radio\n\n")
    topology = read_topology("from harbours.txt", folder=tmp_path)
    assert topology.names == ("1", "1.1", "1.2")
    assert sorted(topology.graph.edges) == [("1", "1.1"), ("1.1", "1.2")]
    (tmp_path / "ids.txt").write_text("1.7 1\n1.7 1.7.3\n")
    assert read_topology("from 'ids.txt'", folder=tmp_path).names == ("1", "1.7", "1.7.3")
    (tmp_path / "numbers.txt").write_text("0 1\n1 2\n")
    assert read_topology("from numbers.txt", folder=tmp_path).names == ("1", "1.1", "1.2")


def test_a_scenario_takes_the_links_of_a_file_beside_it_into_itself(tmp_path: Path) -> None:
    (tmp_path / "mesh.txt").write_text("harbour island\nship island\n")
    story = tmp_path / "story.txt"
    text = without_files("# a story\nservers from mesh.txt # ours\nrun 1s\n", story)
    assert text.splitlines()[1] == "servers linked 1-1.1 1.1-1.2  # from mesh.txt"
    assert text.count("\n") == 3
    alone = without_files("servers from mesh.txt, no other links", story)
    assert alone == "servers linked 1-1.1 1.1-1.2, no other links  # from mesh.txt, no other links"
    assert read_topology("linked 1-1.1 1.1-1.2").names == read_topology("from mesh.txt", folder=tmp_path).names
    with pytest.raises(Refused) as caught:
        without_files("\nservers from mush.txt\n", story)
    assert str(caught.value).startswith(f"{story}:2: {tmp_path / 'mush.txt'} cannot be read")
    assert without_files("servers 4\nrun 1s", story) == "servers 4\nrun 1s"


def test_a_file_may_be_graphml(tmp_path: Path) -> None:
    networkx.write_graphml(networkx.cycle_graph(5), tmp_path / "ring.graphml")
    assert degrees_of(tmp_path, "ring.graphml") == [2] * 5
    (tmp_path / "torn.graphml").write_text("<graphml><graph>")
    with pytest.raises(Refused, match=r"torn\.graphml is no GraphML"):
        read_topology("from torn.graphml", folder=tmp_path)


def degrees_of(folder: Path, name: str) -> list[int]:
    return sorted(degree for _, degree in read_topology(f"from {name}", folder=folder).graph.degree)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"a b\na\n", "mesh.txt:2: 'a' is no link; write two servers as in: 1 1.1"),
        (b"a a\n", "mesh.txt:1: 'a a' is no link"),
        (b"a b c\n", "mesh.txt:1: 'a b c' is no link"),
        (b"# nothing\n", "0 servers are no mesh"),
        (b"a b\nc d\n", "in 2 pieces: no way leads from a to c"),
        (b"\xff\xfe", "is not UTF-8 text at byte 0"),
        (b"1.2 1.3\n", "1.2 and 1.3 have no root in common"),
    ],
)
def test_a_file_that_is_no_mesh_is_told_with_its_line(tmp_path: Path, content: bytes, cause: str) -> None:
    (tmp_path / "mesh.txt").write_bytes(content)
    with pytest.raises(Refused) as caught:
        read_topology("from mesh.txt", folder=tmp_path)
    assert cause in str(caught.value)


def test_a_file_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "mesh.txt").write_bytes(b"a b\n" * 300_000)
    with pytest.raises(Refused, match="too long for a mesh"):
        read_topology("from mesh.txt", folder=tmp_path)


def test_places_are_ids_only_when_they_are_of_one_tree() -> None:
    assert list(map(str, as_ids(["1.2", "1", "1.10"]) or [])) == ["1", "1.2", "1.10"]
    assert as_ids(["1", "2"]) is None
    assert as_ids(["a", "1"]) is None
    assert as_ids([0, 1, 2]) is None
    assert as_ids(["1.1", "1.2"]) is None  # nobody who could have delegated both
    assert as_ids([]) is None
