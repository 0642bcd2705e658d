"""The map that `bangpath mesh` shows to a person who looks: servers, links, what happened, and the keys, in one screen.

     Six servers, 28 298 airports: what happens when something breaks?                 13:04:12

       server         state      owns   lag   to 1  1.1   1.2   1.3   1.4   1.5
     0 1    authority runs          0     0    .    ━━━━  ━━━━  ━━━━  ━━━━  ━━━━
     1 1.1  America   runs     18 898     0   ━━━━   .    ×1.5  ━━━━  ━━━━  ━━━━
     2 1.2  Europe    runs      3 066     0   ━━━━  ×1.5   .    ━━━━  ━━━━  ━━━━
       ━━━━ directly   1.5 by the gateway 1.5   none   × cut

     13:04:02 You cut the link of 1.1 and 1.2, both ways.
     13:04:02 1.1 lost 1.2; 1.5 confirms a way, 2 hops, 38 ms
     k kill  r revive  c cut ...

A row shows how its server's packets go to each other one; both directions of a link stand at two places, for they may
differ. `draw` is a pure function from a `Scene` and the size of the window to lines of spans; the same scene gives the
same lines, none is longer than the window or more than it has. What does not fit is left out, columns from the left
of this list: position, mirrored, mirrors, name, owns, lag.

Left to others: what a server says of itself (`node.reporting`), colours and the terminal (`node.mesh_map_terminal`).
"""

# ruff: noqa: RUF001, RUF002 - the multiplication sign is meant

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from node.airports import NEXT, PLACES
from node.cli.output import counted
from node.mesh_map_story import Told

PLAIN, DIM, BOLD, GOOD, WARN, BAD = "", "dim", "bold", "good", "warn", "bad"
MIN_WIDTH, MIN_HEIGHT = 52, 10
CELL = 6

Span = tuple[str, str]  # text, style
Line = list[Span]


class Glyphs(NamedTuple):
    """What a link is drawn with."""

    direct: str = "━━━━"
    cut: str = "×"
    own: str = "·"
    rule: str = "─"


ASCII = Glyphs("====", "x", ".", "-")


class Way(NamedTuple):
    """How packets go from one server to another. `kind`: direct, gateway, none, unknown, dead."""

    kind: str
    gateway: str = ""
    cut: bool = False


class Scene(msgspec.Struct):
    """All that is drawn."""

    states: Mapping[str, Mapping[str, Any]]  # by server: status, peers, trouble, acting, pid
    ways: Mapping[tuple[str, str], Way]
    story: Sequence[Told]
    asking: str = ""
    hints: Sequence[str] = ()  # what the keys do; the first that fits
    clock: str = ""
    glyphs: Glyphs = Glyphs()
    local_time: Any = None  # milliseconds since 1970 to "13:04:02"; times are left out without it


# -- what the servers say, as ways


def ways_of(states: Mapping[str, Mapping[str, Any]], cuts: frozenset[tuple[str, str]]) -> dict[tuple[str, str], Way]:
    """How each server's packets go to each other one, by the word of the one, or of the other about its own hearing."""
    told = {
        server: {str(each["server"]): each for each in state.get("peers") or ()} for server, state in states.items()
    }
    ways = {}
    for source in states:
        for target in states:
            if source == target:
                continue
            cut = (
                (source, target) in cuts
                or _blocks(told[source].get(target), "out")
                or _blocks(told[target].get(source), "in")
            )
            ways[source, target] = _way(states, told, source, target, cut)
    return ways


def _blocks(entry: Mapping[str, Any] | None, direction: str) -> bool:
    return entry is not None and entry.get("blocked") in (direction, "both")


def _way(states: Mapping[str, Any], told: Mapping[str, Any], source: str, target: str, cut: bool) -> Way:
    if is_dead(states[source]) or is_dead(states[target]):
        return Way("dead", cut=cut)
    entry = told[source].get(target)
    if entry is None:
        return Way("unknown", cut=cut)
    kind = entry.get("way")
    if kind is None:  # a server that tells of sessions only
        kind = "direct" if entry.get("state") == "direct" else "none"
    gateway = str(entry.get("gateway") or "") if kind == "gateway" else ""
    return Way(kind if kind in ("direct", "gateway", "none") else "unknown", gateway, cut)


def is_dead(state: Mapping[str, Any]) -> bool:
    return "status" not in state


def summary(scene: Scene) -> str:
    """The mesh in one sentence."""
    living = sum(not is_dead(state) for state in scene.states.values())
    kinds = [way.kind for way in scene.ways.values() if way.kind != "dead"]
    by_gateway, none = kinds.count("gateway"), kinds.count("none")
    parts = [f"{living} of {len(scene.states)} servers run"]
    if kinds and kinds.count("direct") == len(kinds):
        parts.append("every link is direct")
    if by_gateway:
        parts.append(f"{by_gateway} {'way goes' if by_gateway == 1 else 'ways go'} by a gateway")
    if none:
        parts.append(f"{none} {'way is' if none == 1 else 'ways are'} missing")
    return ", ".join(parts)


# -- drawing


def draw(scene: Scene, width: int, height: int) -> list[Line]:
    """At most `height` lines of at most `width` characters, the last one for the keys."""
    if width < MIN_WIDTH or height < MIN_HEIGHT:
        told = f"This window is {width}x{height}; the map wants {MIN_WIDTH}x{MIN_HEIGHT}. q quits."
        return [[(told[:width], WARN)]][:height]
    head = _table(scene, width)
    if height >= len(head) + 6:
        head = [_title(scene, width), [], *head, _legend(scene)]
    else:
        head = [_title(scene, width), *head]
    room = height - len(head) - 2
    if room >= 1:
        head.append([(scene.glyphs.rule * width, DIM)])
    lines = head + _story(scene, width, max(0, room))
    lines += [[] for _ in range(height - 1 - len(lines))]
    return [_clipped(line, width) for line in [*lines[: height - 1], _bottom(scene, width)]]


def plain(lines: Sequence[Line]) -> list[str]:
    """The same without styles."""
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def _title(scene: Scene, width: int) -> Line:
    left = summary(scene)
    gap = width - len(left) - len(scene.clock) - 2
    return [(f" {left}", BOLD), (" " * max(1, gap), PLAIN), (f"{scene.clock} ", DIM)]


class _Column(NamedTuple):
    head: str
    width: int
    right: bool
    rank: int  # the highest goes first when there is no room


COLUMNS = (
    _Column("name", 10, False, 3),
    _Column("state", 9, False, 0),
    _Column("owns", 7, True, 2),
    _Column("mirrors", 8, True, 4),
    _Column("mirrored", 9, True, 5),
    _Column("position", 11, True, 6),
    _Column("lag", 6, True, 1),
)


def _table(scene: Scene, width: int) -> list[Line]:
    servers = list(scene.states)
    identity = max(len("server"), *(len(each) for each in servers)) + 1
    room = width - (3 + identity) - 2 - CELL * len(servers)
    shown = list(COLUMNS)
    while sum(each.width for each in shown) > room and any(each.rank for each in shown):
        shown.remove(max(shown, key=lambda each: each.rank))
    head: Line = [(f"   {'server':<{identity}}", DIM)]
    head += [(_placed(each.head, each), DIM) for each in shown]
    head.append(("  ", PLAIN))
    head += [(_in_cell(f"to {each}" if at == 0 else each), DIM) for at, each in enumerate(servers)]
    lines = [head]
    for at, server in enumerate(servers):
        state = scene.states[server]
        dead = is_dead(state)
        line: Line = [(f" {at} ", WARN if scene.asking else BOLD), (f"{server:<{identity}}", DIM if dead else BOLD)]
        values = _values(server, state)
        for column in shown:
            text, style = values[column.head]
            line.append((_placed(text, column), style))
        line.append(("  ", PLAIN))
        line += [_cell(scene, server, each) for each in servers]
        lines.append(line)
    return lines


def _values(server: str, state: Mapping[str, Any]) -> dict[str, Span]:
    place = state.get("place") or next((each for each in PLACES if each.server == server), None)
    name = place.name if place is not None else ""
    if is_dead(state):
        empty = dict.fromkeys((column.head for column in COLUMNS), ("", PLAIN))
        trouble = str(state.get("acting") or state.get("trouble") or "?")
        return {**empty, "name": (name, DIM), "state": (trouble, WARN if state.get("acting") else BAD)}
    status = state["status"]
    objects = status.get("objects") or {}
    position = str(status.get("position") or "")
    lag = state.get("lag")
    return {
        "name": (name, PLAIN),
        "state": (str(state.get("acting") or ("runs" if state.get("pid") else "by hand")), GOOD),
        "owns": (counted(objects.get("owned", 0)), PLAIN),
        "mirrors": (NEXT.get(server, ""), PLAIN),
        "mirrored": (counted(objects.get("mirrored", 0)), PLAIN),
        "position": (position.rpartition(":")[2], PLAIN),
        "lag": ("?" if lag is None else counted(lag), WARN if lag else PLAIN),
    }


def _cell(scene: Scene, source: str, target: str) -> Span:
    if source == target:
        return _in_cell(f"  {scene.glyphs.own}"), DIM
    way = scene.ways.get((source, target), Way("unknown"))
    mark = scene.glyphs.cut if way.cut else ""
    if way.kind == "direct" and not mark:
        return _in_cell(scene.glyphs.direct), GOOD
    text, style = {
        "direct": (scene.glyphs.direct[1:], GOOD),
        "gateway": (way.gateway or "?", WARN),
        "none": ("none", BAD),
        "dead": ("", BAD),
    }.get(way.kind, ("?", DIM))
    return _in_cell(mark + text), style


def _legend(scene: Scene) -> Line:
    glyphs = scene.glyphs
    return [
        (f"   {glyphs.direct}", GOOD), (" directly   ", DIM), ("1.5", WARN), (" by the gateway 1.5   ", DIM),
        ("none", BAD), (" no way   ", DIM), (glyphs.cut, BAD), (" cut", DIM),
    ]  # fmt: skip


def _story(scene: Scene, width: int, room: int) -> list[Line]:
    """The newest sentences that fit, the newest last."""
    lines: list[Line] = []
    for told in reversed(scene.story):
        if len(lines) >= room:
            break
        clock = f" {scene.local_time(told.time_ms)} " if scene.local_time is not None else " "
        wrapped = _wrapped(told.text, max(20, width - len(clock) - 1))
        block: list[Line] = [
            [(clock if at == 0 else " " * len(clock), DIM), (text, told.style)] for at, text in enumerate(wrapped)
        ]
        lines = block + lines
    return lines[max(0, len(lines) - room) :]


def _bottom(scene: Scene, width: int) -> Line:
    if scene.asking:
        return [(f" {scene.asking}", WARN), ("   Esc: nothing", DIM)]
    fitting = [each for each in scene.hints if len(each) < width] or list(scene.hints[-1:])
    return [(f" {each}", BOLD) for each in fitting[:1]]


def _wrapped(text: str, width: int) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        while len(word) > width:
            if line:
                lines.append(line)
            line = ""
            lines.append(word[:width])
            word = word[width:]
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return [*lines, line] if line or not lines else lines


def _placed(text: str, column: _Column) -> str:
    width = column.width - 1
    text = text[:width]
    return f" {text:>{width}}" if column.right else f"{text:<{width}} "


def _in_cell(text: str) -> str:
    return f"{text[: CELL - 1]:<{CELL}}"


def _clipped(line: Line, width: int) -> Line:
    clipped: Line = []
    for text, style in line:
        if width <= 0:
            break
        shown = "".join(each if each.isprintable() else "?" for each in text[:width])  # causes are strangers' words
        clipped.append((shown, style))
        width -= len(text)
    return clipped
