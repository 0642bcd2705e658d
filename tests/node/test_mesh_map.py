"""A scene is always drawn the same, never larger than the window, and says of each direction what is known of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from node.airports import PLACES
from node.mesh_map import ASCII, DIM, MIN_HEIGHT, MIN_WIDTH, Glyphs, Scene, Way, draw, plain, summary, ways_of
from node.mesh_map_keys import HINTS
from node.mesh_map_story import BAD, GOOD, WARN, Told

SERVERS = [each.server for each in PLACES]


def states() -> dict[str, dict[str, Any]]:
    """Six servers, each directly connected with each other."""
    return {
        place.server: {
            "place": place,
            "pid": 4711,
            "lag": 0,
            "status": {"objects": {"owned": 18_898, "mirrored": 3_066}, "position": f"{place.server}@1:18900"},
            "peers": [
                {"server": other, "state": "direct", "way": "direct", "blocked": None}
                for other in SERVERS
                if other != place.server
            ],
        }
        for place in PLACES
    }


def tell(said: dict[str, dict[str, Any]], source: str, target: str, **more: Any) -> None:
    """What one server says of another."""
    next(each for each in said[source]["peers"] if each["server"] == target).update(more)


def broken() -> dict[str, dict[str, Any]]:
    said = states()
    tell(said, "1.1", "1.2", way="gateway", gateway="1.5", blocked="both")
    tell(said, "1.2", "1.1", way="gateway", gateway="1.5", blocked="both")
    tell(said, "1.3", "1.5", way="none")
    said["1.4"] = {"place": said["1.4"]["place"], "trouble": "killed"}
    said["1.5"]["lag"] = 7
    said["1"]["pid"] = None
    return said


def scene(said: dict[str, dict[str, Any]], *, cuts: frozenset[tuple[str, str]] = frozenset(), **more: Any) -> Scene:
    whole = {"hints": HINTS, "clock": "13:00:05", "local_time": lambda ms: f"13:00:0{ms}", "story": STORY, **more}
    return Scene(states=said, ways=ways_of(said, cuts), **whole)


STORY = [
    Told(1, "You cut the link of 1.1 and 1.2, both ways."),
    Told(2, "1.1 lost 1.2; 1.5 confirms a way, 2 hops, 38 ms", WARN),
    Told(4, "1, 1.1, 1.2, 1.3 and 1.5 lost 1.4: no answer, and 4 servers asked know no way to it", BAD),
]


def test_the_map_at_eighty_by_twentyfour() -> None:
    lines = draw(scene(broken(), cuts=frozenset({("1.3", "1.5")})), 80, 24)
    assert plain(lines) == GOLDEN.splitlines()[1:]
    assert [style for _, style in lines[4][-6:]] == [GOOD, DIM, WARN, GOOD, BAD, GOOD]
    assert [style for _, style in lines[6][-6:]] == [GOOD, GOOD, GOOD, DIM, BAD, BAD]


GOLDEN = """
 5 of 6 servers run, 2 ways go by a gateway, 1 way is missing          13:00:05

   server name      state       owns   lag  to 1  1.1   1.2   1.3   1.4   1.5
 0 1      authority by hand   18 898     0    ·   ━━━━  ━━━━  ━━━━        ━━━━
 1 1.1    America   runs      18 898     0  ━━━━    ·   ×1.5  ━━━━        ━━━━
 2 1.2    Europe    runs      18 898     0  ━━━━  ×1.5    ·   ━━━━        ━━━━
 3 1.3    Asia      runs      18 898     0  ━━━━  ━━━━  ━━━━    ·         ×none
 4 1.4    Africa    killed                                            ·
 5 1.5    Oceania   runs      18 898     7  ━━━━  ━━━━  ━━━━  ━━━━          ·
   ━━━━ directly   1.5 by the gateway 1.5   none no way   × cut
────────────────────────────────────────────────────────────────────────────────
 13:00:01 You cut the link of 1.1 and 1.2, both ways.
 13:00:02 1.1 lost 1.2; 1.5 confirms a way, 2 hops, 38 ms
 13:00:04 1, 1.1, 1.2, 1.3 and 1.5 lost 1.4: no answer, and 4 servers asked
          know no way to it








 k kill  r revive  c cut  o cut one way  p part in two  h heal  ? help  q quit
"""  # noqa: RUF001 - the multiplication sign is meant


def test_a_small_window_and_a_large_one() -> None:
    small = plain(draw(scene(broken(), asking="kill which server?"), 56, 12))
    assert small[1].split() == ["server", "state", "to", "1", "1.1", "1.2", "1.3", "1.4", "1.5"]
    assert small[-1] == " kill which server?   Esc: nothing"
    assert small[-2].strip() == "and 4 servers asked know no way to it"
    large = plain(draw(scene(broken()), 120, 40))
    head = "server name state owns mirrors mirrored position lag to 1 1.1 1.2 1.3 1.4 1.5"
    assert large[2].split() == head.split()
    assert large[4].split()[:9] == ["1", "1.1", "America", "runs", "18", "898", "1.2", "3", "066"]
    assert plain(draw(scene(states()), 40, 24)) == ["This window is 40x24; the map wants 52x1"]


def test_without_lines_to_draw_with_it_is_ascii() -> None:
    lines = plain(draw(scene(broken(), glyphs=ASCII), 80, 24))
    assert all(line.isascii() for line in lines)
    assert lines[4].split()[7:10] == ["====", ".", "x1.5"]


def test_the_two_directions_of_a_link_stand_by_themselves() -> None:
    said = states()
    tell(said, "1.1", "1.2", way="gateway", gateway="1.5", blocked="out")
    ways = ways_of(said, frozenset())
    assert ways["1.1", "1.2"] == Way("gateway", "1.5", cut=True)
    assert ways["1.2", "1.1"] == Way("direct")
    tell(said, "1.3", "1.4", blocked="in")
    assert ways_of(said, frozenset())["1.4", "1.3"].cut
    assert not ways_of(said, frozenset())["1.3", "1.4"].cut


def test_what_is_not_told_is_unknown() -> None:
    said = states()
    tell(said, "1.1", "1.2", way=None)
    tell(said, "1.1", "1.3", way=None, state="silent")
    tell(said, "1.1", "1.4", way="by pigeon")
    said["1.2"]["peers"] = []
    del said["1.3"]["peers"]
    ways = ways_of(said, frozenset())
    assert [ways["1.1", each].kind for each in ("1.2", "1.3", "1.4")] == ["direct", "none", "unknown"]
    assert ways["1.2", "1.1"].kind == ways["1.3", "1.1"].kind == "unknown"
    del said["1.5"]["status"]
    assert {ways_of(said, frozenset())[way].kind for way in (("1", "1.5"), ("1.5", "1"))} == {"dead"}


def test_the_mesh_in_one_sentence() -> None:
    assert summary(scene(states())) == "6 of 6 servers run, every link is direct"
    assert summary(scene(broken())) == "5 of 6 servers run, 2 ways go by a gateway, 1 way is missing"
    assert summary(scene({each: {"trouble": "dead"} for each in SERVERS})) == "0 of 6 servers run"


@given(
    width=st.integers(1, 200),
    height=st.integers(1, 60),
    texts=st.lists(st.text(max_size=300), max_size=40),
    dead=st.sets(st.sampled_from(SERVERS)),
    asking=st.text(max_size=200),
)
def test_nothing_is_larger_than_the_window(
    width: int, height: int, texts: list[str], dead: set[str], asking: str
) -> None:
    said = states()
    for server in dead:
        said[server] = {"place": said[server]["place"], "trouble": "dead"}
    story = [Told(at, text) for at, text in enumerate(texts)]
    lines = plain(draw(scene(said, story=story, asking=asking), width, height))
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    if width >= MIN_WIDTH and height >= MIN_HEIGHT:
        assert len(lines) == height
        assert all(line.isprintable() for line in lines)
        for server in SERVERS:
            assert any(line[3:].startswith(f"{server} ") for line in lines)


def test_glyphs_are_as_wide_as_their_cells() -> None:
    assert len(Glyphs().direct) == len(ASCII.direct) == 4
    assert len(Glyphs().cut) == len(ASCII.cut) == 1
