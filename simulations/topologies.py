"""Shapes of meshes: who is whose neighbour, from a line of text to a graph whose places are server ids.

    servers 5                        full: every two are neighbours
    servers 5 line | ring | star
    servers 12 grid 4x3              or: grid, as near to a square as it gets
    servers 20 random of degree 4    every server has four neighbours
    servers 50 small world           a ring with short ways across it (Watts and Strogatz); or: small world of degree 6
    servers 50 scale free            few with many neighbours, many with few (Barabasi and Albert)
    servers 13 tree of 3             authorities: 1 delegates 1.1 1.2 1.3, which delegate 1.1.1 ...
    servers linked 1-1.1 1.1-1.1.1   these ids, these links
    servers from FILE                a link a line, or GraphML; ids as in the file, or numbered as they appear
    servers 5 line, no other links   any of these: who is nobody's neighbour is reached over others only

A shape says whose addresses a server has at the start. It learns the others', and its packets go straight there, as in
the internet; only with `no other links` is the graph all the wires there are, whatever is mended or healed.

But for a tree, and where ids are said, servers are the root 1 and its children 1.1, 1.2, ... in the order of the
graph. What chance decides is decided by the words alone, so that a scenario has one graph with every seed; `draw 2`
behind them asks for another one. What cannot be built is refused with the nearest that can.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import networkx

from identity.errors import Refused
from identity.names import MAX_COMPONENTS, ServerId

MOST_SERVERS = 1000
MAX_FILE_BYTES = 1 << 20  # 1 000 servers with 100 neighbours each; more is no mesh that can be simulated here
_DRAWS = 100  # tries for a random graph in one piece, before we say that there is none
NO_OTHERS = "no other links"  # the words, and the graph's attribute
_REWIRED = 0.3  # of a small world's links: short ways across, and most of the ring still there

_ID = r"\d+(?:\.\d+)*"


class Topology(NamedTuple):
    """A graph whose places are the names of the servers, and those names in their order, the root first."""

    graph: networkx.Graph
    names: tuple[str, ...]


class Shape(NamedTuple):
    """One kind: how it is said (with how many servers an example has), what may follow its name, and how it is made."""

    says: str
    more: str
    make: Callable[..., networkx.Graph]


def read_topology(text: str, *, folder: Path | None = None) -> Topology:
    """Of the words behind `servers`. Raises `Refused`, saying what would be right.

    `folder`: in which `from FILE` is looked for; the current one when it is not said.
    """
    words = " ".join(text.split())
    if words.endswith(f", {NO_OTHERS}"):
        alone = read_topology(words.removesuffix(f", {NO_OTHERS}"), folder=folder)
        alone.graph.graph[NO_OTHERS] = True
        return alone
    if words.startswith("from "):
        return _read_file((folder or Path()) / words[5:].strip("'\""))
    if words == "linked" or words.startswith("linked "):
        return _read_linked(words[7:])
    match = re.fullmatch(r"(\d+)(?: (.+?))??(?: draw (\d+))?", words)
    if match is None:
        raise Refused(f"{('servers ' + words).strip()!r} is no mesh", next_step=f"write for example: {_examples()}")
    number = int(match[1])
    if not 1 <= number <= MOST_SERVERS:
        raise Refused(f"{number} servers are no mesh", next_step=f"ask for 1 to {MOST_SERVERS}")
    return shape(match[2] or "full", number, draw=int(match[3] or 1))


def without_files(text: str, path: Path) -> str:
    """A scenario's text that needs no other file: `servers from FILE`, beside `path`, becomes `servers linked ...`.

    So a sweep's workers, a shrunk failure and somebody else's machine have the whole of it. Raises `Refused`.
    """
    lines = text.split("\n")
    for number, line in enumerate(lines):
        match = re.match(r"\s*servers\s+(from\s+.*?)\s*(#.*)?$", line)
        if match is not None:
            try:
                topology = read_topology(match[1], folder=path.parent)
            except Refused as refused:
                raise Refused(f"{path}:{number + 1}: {refused.cause}", next_step=refused.next_step) from None
            links = sorted(topology.graph.edges, key=lambda link: tuple(map(topology.names.index, link)))
            others = f", {NO_OTHERS}" if topology.graph.graph.get(NO_OTHERS) else ""
            lines[number] = f"servers linked {' '.join(map('-'.join, links))}{others}  # {match[1]}"
    return "\n".join(lines)


def shape(kind: str, number: int, *, draw: int = 1) -> Topology:
    """`shape("ring", 5)`, `shape("random of degree 4", 20)`. Raises `Refused`."""
    for name, each in SHAPES.items():
        match = re.fullmatch(rf"{name}{each.more}", kind)
        if match is not None:
            given = [int(group) for group in match.groups() if group is not None]
            graph = each.make(number, *given, **({"draw": draw} if each.make in _BY_CHANCE else {}))
            return _named(graph)
    near = next((name for name in SHAPES if kind.split()[0] in name.split()), None)
    near = near or next(iter(difflib.get_close_matches(kind, SHAPES, n=1, cutoff=0.5)), None)
    guess = f"there are {', '.join(SHAPES)}"
    if near:
        said = SHAPES[near].says.split()[1:]
        meant = f"{near} {kind.partition(' ')[2]}".strip()  # a typo in its name, and the rest is right
        if not re.fullmatch(rf"{near}{SHAPES[near].more}", meant):
            meant = " ".join(said[:-1] if near == "grid" else said)
        elif sides := re.fullmatch(r"grid (\d+)x(\d+)", meant):
            number = int(sides[1]) * int(sides[2])
        guess = f"write for example: servers {number} {meant}"
    raise Refused(f"{kind!r} is no shape of a mesh", next_step=guess)


def as_ids(places: Iterable[object]) -> list[ServerId] | None:
    """The places of a graph as server ids, in order, the root first; None where they are not ids of one tree."""
    texts = [str(place) for place in places]
    if not texts or not all(re.fullmatch(_ID, text) for text in texts):
        return None
    try:
        ids = sorted((ServerId.parse(text) for text in texts), key=lambda server: server.components)
    except Refused:
        return None
    return ids if all(server.is_below(ids[0]) for server in ids[1:]) else None


# -- shapes


def inviter_of(name: str, graph: networkx.Graph) -> str:
    """Who stands nearest above this server id in the mesh, and so may certify it; "" for the root."""
    return next((str(each) for each in ServerId.parse(name).ancestors() if graph.has_node(str(each))), "")


def not_late(name: str, graph: networkx.Graph) -> tuple[str, str] | None:
    """Why this server cannot join a mesh that is there without it, and what would be right; None where it can."""
    inviter = inviter_of(name, graph)
    below = [str(each) for each in graph if inviter_of(str(each), graph) == name]
    if not inviter:
        return f"{name} is the root, and nobody can invite it", "let another join, such as 1.1"
    if below:
        return f"{below[0]} is certified by {name}, and is there before it", f"let {below[0]} join, or another"
    if graph.graph.get(NO_OTHERS) and not graph.has_edge(name, inviter):
        near = ", ".join(sorted(each for each in graph[inviter] if inviter_of(each, graph) == inviter))
        cause = f"{inviter} must let it in, which is no neighbour of it, and the mesh has {NO_OTHERS}"
        return cause, f"let one join that is: {near or 'there is none'}"
    if not networkx.is_connected(graph.subgraph(set(graph) - {name})):
        cause = f"until then the others are in pieces that have not heard of one another: {name} stands between"
        return cause, "let one join that stands at the edge, or let the mesh be a ring"
    return None


def _full(number: int) -> networkx.Graph:
    return networkx.complete_graph(number)


def _line(number: int) -> networkx.Graph:
    return networkx.path_graph(number)


def _ring(number: int) -> networkx.Graph:
    if number < 3:
        raise _impossible(f"a ring of {number}", "a ring has 3 or more", f"servers {max(number, 1)} line")
    return networkx.cycle_graph(number)


def _star(number: int) -> networkx.Graph:
    if number < 3:
        raise _impossible(f"a star of {number}", "a star has a middle and 2 or more", f"servers {max(number, 1)} line")
    return networkx.star_graph(number - 1)


def _grid(number: int, columns: int = 0, rows: int = 0) -> networkx.Graph:
    if not columns:
        rows = next(each for each in range(math.isqrt(number), 0, -1) if number % each == 0)
        columns = number // rows
    if rows * columns != number:
        raise _impossible(
            f"a grid of {columns}x{rows} with {number} servers", f"it has {columns * rows}",
            f"servers {columns * rows} grid {columns}x{rows}",
        )  # fmt: skip
    if min(rows, columns) < 2:
        better = next(each for each in range(max(number, 4), max(number, 4) + 3) if _rows(each) > 1)
        raise _impossible(f"a grid of {number}", f"{columns}x{rows} is a line", f"servers {better} grid")
    grid = networkx.grid_2d_graph(rows, columns)
    return networkx.relabel_nodes(grid, {(row, column): row * columns + column for row, column in grid.nodes})


def _rows(number: int) -> int:
    return next(each for each in range(math.isqrt(number), 0, -1) if number % each == 0)


def _random(number: int, degree: int = 4, *, draw: int) -> networkx.Graph:
    what = f"a random mesh of {number} with {degree} neighbours each"
    if not degree < number:
        raise _impossible(
            what, f"there are only {number - 1} others", f"servers {degree + 1} random of degree {degree}"
        )
    if number * degree % 2:
        raise _impossible(
            what, f"{number} x {degree} ends do not pair up", f"servers {number} random of degree {degree + 1}"
            if degree + 1 < number else f"servers {number} full",
        )  # fmt: skip
    if degree < 2 < number:
        raise _impossible(what, "it would fall into pairs", f"servers {number} random of degree 2")
    return _in_one_piece(lambda seed: networkx.random_regular_graph(degree, number, seed=seed), what, draw)


def _small_world(number: int, degree: int = 0, *, draw: int) -> networkx.Graph:
    wished = degree or (4 if number > 4 else 2)
    what = f"a small world of {number} with degree {wished}"
    if number < 4:
        raise _impossible(what, "it begins as a ring with room for ways across", f"servers {number} full")
    if wished % 2 or not 2 <= wished < number:
        right = max(2, min(wished - wished % 2, (number - 1) // 2 * 2))
        raise _impossible(
            what, "the degree is even and below the number", f"servers {number} small world of degree {right}"
        )
    make = networkx.watts_strogatz_graph
    return _in_one_piece(lambda seed: make(number, wished, _REWIRED, seed=seed), what, draw)


def _scale_free(number: int, *, draw: int) -> networkx.Graph:
    if number < 4:
        raise _impossible(f"a scale free mesh of {number}", "it grows from 3", f"servers {number} full")
    return networkx.barabasi_albert_graph(number, 2, seed=draw)


def _tree(number: int, children: int = 3) -> networkx.Graph:
    if children < 1:
        raise _impossible("a tree in which nobody has children", "it ends at 1", f"servers {number} tree of 2")
    graph = networkx.Graph()
    graph.add_node("1")
    parents = ["1"]
    while graph.number_of_nodes() < number:
        if parents[0].count(".") + 2 > MAX_COMPONENTS:
            raise _impossible(
                f"a tree of {children} with {number} servers", f"an id has at most {MAX_COMPONENTS} parts",
                f"servers {number} tree of {children + 1}",
            )  # fmt: skip
        parent = parents.pop(0)
        for child in range(1, min(children, number - graph.number_of_nodes()) + 1):
            graph.add_edge(parent, f"{parent}.{child}")
            parents.append(f"{parent}.{child}")
    return graph


def _in_one_piece(make: Callable[[int], networkx.Graph], what: str, draw: int) -> networkx.Graph:
    for attempt in range(_DRAWS):
        graph = make(draw * _DRAWS + attempt)
        if networkx.is_connected(graph):
            return graph
    raise _impossible(what, f"{_DRAWS} draws fell to pieces", "a larger degree")


def _impossible(what: str, why: str, right: str) -> Refused:
    return Refused(f"{what} cannot be: {why}", next_step=f"write for example: {right}")


SHAPES = {
    "full": Shape("5 full", "", _full),
    "line": Shape("5 line", "", _line),
    "ring": Shape("5 ring", "", _ring),
    "star": Shape("5 star", "", _star),
    "grid": Shape("12 grid 4x3", r"(?: (\d+)x(\d+))?", _grid),
    "random": Shape("20 random of degree 4", r"(?: of degree (\d+))?", _random),
    "small world": Shape("50 small world", r"(?: of degree (\d+))?", _small_world),
    "scale free": Shape("50 scale free", "", _scale_free),
    "tree": Shape("13 tree of 3", r"(?: of (\d+))?", _tree),
}
_BY_CHANCE = (_random, _small_world, _scale_free)


def _examples() -> str:
    return ", ".join(f"servers {each.says}" for each in SHAPES.values())


# -- names, and graphs that people wrote


def _named(graph: networkx.Graph) -> Topology:
    """With server ids for places: those that stand there, or the root and its children in the order of the graph."""
    ids = as_ids(graph.nodes)
    if ids is not None and all(isinstance(place, str) for place in graph.nodes):
        return Topology(graph, tuple(map(str, ids)))
    whole = all(isinstance(place, int) for place in graph.nodes)
    places = sorted(graph.nodes) if whole else list(graph.nodes)
    names = ["1", *(f"1.{child}" for child in range(1, len(places)))]
    return Topology(networkx.relabel_nodes(graph, dict(zip(places, names, strict=True))), tuple(names))


def _read_linked(text: str) -> Topology:
    graph = networkx.Graph()
    for word in text.split():
        match = re.fullmatch(rf"({_ID})-({_ID})", word)
        if match is None or match[1] == match[2]:
            raise Refused(f"{word!r} is no link", next_step="write two servers as in 1-1.1")
        if graph.has_edge(match[1], match[2]):
            raise Refused(f"{word!r} is a link that is there already", next_step="say each link once, either way round")
        graph.add_edge(match[1], match[2])
    if not graph:
        raise Refused("a mesh without links", next_step="write for example: servers linked 1-1.1 1.1-1.2")
    return _checked(graph, "servers linked", ids=True)


def text_of(path: Path, what: str, *, most: int, encoding: str = "utf-8") -> str:
    """The text of a file that may be anybody's: a device, say, that never ends. Raises `Refused` for more bytes."""
    with path.open("rb") as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise Refused(f"{path} is too long for {what}", next_step=f"at most {most} bytes are read")
    return found.decode(encoding)


def _read_file(path: Path) -> Topology:
    try:
        text = text_of(path, "a mesh", most=MAX_FILE_BYTES)
    except OSError as error:
        raise Refused(
            f"{path} cannot be read: {error.strerror}", next_step="write a file with a link a line"
        ) from error
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not UTF-8 text at byte {error.start}") from error
    if path.suffix == ".graphml":
        return _checked(_read_graphml(path, text), str(path))
    graph = networkx.Graph()
    for number, raw in enumerate(text.splitlines(), start=1):
        words = raw.partition("#")[0].split()
        if not words:
            continue
        match words:
            case [one, other] | [one, "-", other] if one != other and "-" not in (one, other):
                graph.add_edge(one, other)
            case _:
                raise Refused(
                    f"{path}:{number}: {raw.strip()!r} is no link", next_step="write two servers as in: 1 1.1"
                )
    return _checked(graph, str(path))


def _read_graphml(path: Path, text: str) -> networkx.Graph:
    try:
        graph = networkx.Graph(networkx.parse_graphml(text))
    except Exception as error:  # whatever an XML file of a stranger may provoke in its parser
        raise Refused(f"{path} is no GraphML: {error}", next_step="export it anew, or write a link a line") from error
    graph.remove_edges_from(list(networkx.selfloop_edges(graph)))
    return networkx.relabel_nodes(graph, {place: str(place) for place in graph.nodes})


def _checked(graph: networkx.Graph, where: str, *, ids: bool = False) -> Topology:
    """Names with dots in them are ids (`ids`: they are anyhow); others, plain numbers too, are numbered anew."""
    number = graph.number_of_nodes()
    if not 1 <= number <= MOST_SERVERS:
        raise Refused(f"{where}: {number} servers are no mesh", next_step=f"name 2 to {MOST_SERVERS} by their links")
    pieces = list(networkx.connected_components(graph))
    if len(pieces) > 1:
        one, other = (next(place for place in graph.nodes if place in piece) for piece in pieces[:2])
        raise Refused(
            f"{where}: it is in {len(pieces)} pieces: no way leads from {one} to {other}",
            next_step=f"link them, for example {one} with {other}, and `part` them when they shall lose each other",
        )
    if (ids or any("." in place for place in graph.nodes)) and all(re.fullmatch(_ID, place) for place in graph.nodes):
        servers = [ServerId.parse(place) for place in graph.nodes]
        if as_ids(graph.nodes) is None:
            least = min(servers, key=lambda server: (len(server.components), server.components))
            stranger = next(server for server in servers if server != least and not server.is_below(least))
            raise Refused(
                f"{where}: {least} and {stranger} have no root in common: nobody could have delegated both",
                next_step="begin every id with the same root, as in 1, 1.1, 1.2",
            )
    return _named(graph)
