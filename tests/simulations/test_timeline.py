"""The picture of a run: well-formed, equal every time, without texts on one another, and it says what happened."""

from __future__ import annotations

import itertools
import re
import xml.etree.ElementTree as ElementTree
from random import Random

import pytest

from simulations.marks import Mark
from simulations.timeline import WIDTH, draw, halves, legend_entries, summary
from simulations.timeline_glyphs import GLYPHS, LEGEND, glyph_of
from simulations.timeline_layout import Picture, text_px
from simulations.verbs import VERBS

SVG = "{http://www.w3.org/2000/svg}"


def bad_weather(number: int, count: int, *, seed: int = 7, broken: bool = False) -> Picture:
    """A run that never was: `number` servers, about `count` marks of all kinds."""
    random = Random(seed)
    names = ["1", *[f"1.{child}" for child in range(1, number)]]
    sides = [names[: number // 2], names[number // 2 :]]
    marks = [
        Mark(0.0, "start", (name,)) for name in names
    ]  # fmt: skip
    later = [Mark(20.0, "part", tuple(names), " | ".join(map(" ".join, sides))), Mark(32.0, "heal", ())]
    made = dict.fromkeys(names, 0)
    for at in sorted(random.uniform(1, 70) for _ in range(count // 3)):
        owner, mirror = random.sample(names, 2)
        made[owner] += 1
        later.append(Mark(at, "commit", (owner,), "", {"number": made[owner]}))
        later.append(Mark(at + random.expovariate(1), "applied", (mirror, owner), "", {"number": made[owner]}))
    for _ in range(max(count // 30, 8)):
        at, (one, other) = random.uniform(2, 70), random.sample(names, 2)
        kind = random.choice(("crash", "cut", "pause", "disk", "hostile", "operation", "weather"))
        if kind == "operation":
            told = {"begin": at, "end": at + 1, "outcome": random.choice(("done", "refused", "unknown"))}
            later.append(Mark(at, kind, (one,), "", told))
        elif ends := {"crash": "start", "cut": "mend", "pause": "resume"}.get(kind):
            servers = (one, other) if kind == "cut" else (one,)
            later += [Mark(at, kind, servers), Mark(at + random.uniform(0.1, 8), ends, servers)]
        else:
            later.append(Mark(at, kind, (one,), f'<{kind}> & "more" of it', {"until": at + 5}))
    marks += sorted(later, key=lambda each: each.at)
    said = "P1 broken (durable): 1.1 answered update 17 as committed; after its restart it is gone" if broken else ""
    return Picture("bad-weather.txt", seed, tuple(names), 90.0, tuple(marks), "ab" * 32, "bangpath simulate x --seed 7",
                   12_345, said, 61.5 if broken else None)  # fmt: skip


SIZES = [(1, 3), (2, 30), (5, 150), (5, 3000), (50, 3000), (300, 600)]


@pytest.mark.parametrize(("number", "count"), SIZES[1:])
@pytest.mark.parametrize("broken", [False, True])
def test_it_is_well_formed_and_equal_every_time(number: int, count: int, *, broken: bool) -> None:
    picture = bad_weather(number, count, broken=broken)
    drawn = draw(picture)
    ElementTree.fromstring(drawn)
    assert drawn == draw(bad_weather(number, count, broken=broken))
    texts = "\n".join(re.findall(r">([^<>]*)</text>", drawn))
    for wanted in ("bad-weather.txt, seed 7", "trace   " + "ab" * 32, "bangpath simulate x --seed 7", "server is up"):
        assert wanted in texts
    assert ("P1 broken" in texts) == broken
    assert len(drawn) < 1_000_000


def test_a_run_in_which_nothing_happened_can_be_drawn() -> None:
    drawn = draw(Picture("empty", 1, ("1",), 0.0, (), "00" * 32, "bangpath simulate empty --seed 1"))
    ElementTree.fromstring(drawn)
    assert summary(Picture("empty", 1, ("1",), 0.0, (), "", "")) == "1 server, 0.0 virtual seconds, 0 faults, 0 updates"


@pytest.mark.parametrize(("number", "count"), SIZES[1:])
def test_no_words_of_faults_lie_on_one_another_or_leave_the_paper(number: int, count: int) -> None:
    plot_px = 1000.0
    parts = halves(bad_weather(number, count), plot_px=plot_px)
    root = ElementTree.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{parts.plot}</svg>')
    rows: dict[str, list[tuple[float, float]]] = {}
    for text in root.iter(f"{SVG}text"):
        if text.get("class") == "word":
            begin = float(text.get("x", "").rstrip("%")) / 100 * plot_px + float(text.get("dx", "0"))
            rows.setdefault(text.get("y", ""), []).append((begin, begin + text_px(text.text or "", 11)))
    assert rows
    for places in rows.values():
        places.sort()
        assert places[0][0] >= 0
        assert places[-1][1] <= plot_px + 1
        for (_, end), (begin, _) in itertools.pairwise(places):
            assert end <= begin


@pytest.mark.parametrize(("number", "count"), SIZES[1:5])
def test_no_sign_lies_on_another_in_its_lane(number: int, count: int) -> None:
    parts = halves(bad_weather(number, count), plot_px=1000.0)
    root = ElementTree.fromstring(f'<svg xmlns="http://www.w3.org/2000/svg">{parts.plot}</svg>')
    signs: dict[str, list[float]] = {}
    for use in root.iter(f"{SVG}use"):
        signs.setdefault(use.get("y", ""), []).append(float(use.get("x", "").rstrip("%")) * 10)
    assert signs
    for places in signs.values():
        places.sort()
        assert all(later - earlier > 12.9 for earlier, later in itertools.pairwise(places))


def test_strangers_words_are_words_and_no_markup() -> None:
    marks = (Mark(1.0, "weather", ("1",), '<script>alert("&")</script>'),)
    drawn = draw(Picture("<b>", 1, ("1",), 3.0, marks, "", "a && b", 0, "<i>", 2.0))
    ElementTree.fromstring(drawn)
    assert "<script" not in drawn
    assert "<b>" not in drawn


def test_every_sign_that_is_drawn_stands_in_the_legend() -> None:
    parts = halves(bad_weather(5, 3000, broken=True), plot_px=1000.0)
    drawn = set(re.findall(r'href="#g-(\w+)"', parts.plot))
    told = set(re.findall(r'href="#g-(\w+)"', "".join(look for look, _ in legend_entries(parts.kinds))))
    assert drawn - told <= {"pause"}  # whose stripes stand there
    assert {"crash", "cut", "disk", "hostile", "broken"} <= told
    assert set(GLYPHS) - set(LEGEND) <= {"pause", "held"}


def test_every_kind_of_fault_has_a_sign() -> None:
    for verb in VERBS:
        if verb.fault:
            assert glyph_of(verb.fault) in GLYPHS
    assert glyph_of("one-way cut") == "cut"
    assert glyph_of("full disk") == "disk"
    assert glyph_of("something new") == "fault"


def test_what_is_left_out_is_told() -> None:
    parts = halves(bad_weather(5, 9000), plot_px=1000.0)
    assert any("spread left out" in note for note in parts.notes)
    crowded = tuple(Mark(1.0, "weather", ("1",), f"storm {number}", {"until": 80.0}) for number in range(60))
    parts = halves(Picture("x", 1, ("1",), 90.0, crowded, "", ""), plot_px=1000.0)
    assert any("20 faults more" in note for note in parts.notes)
    assert len(re.findall(r'class="word"', parts.plot)) == 40


def test_a_figure_stands_on_the_text_that_is_its_halo() -> None:
    drawn = draw(bad_weather(5, 3000))
    assert "paint-order" not in drawn  # which other programs than browsers do not know
    texts = re.findall(r'<text class="(\w+)"(?: aria-hidden="true")?( [^>]*>[^<]*)<', drawn)
    haloed = [place for place, (look, _) in enumerate(texts) if look == "halo"]
    assert len(haloed) > 5
    for place in haloed:
        assert texts[place + 1] == ("figure", texts[place][1])


def test_it_stays_on_its_paper() -> None:
    drawn = draw(bad_weather(5, 150, broken=True))
    for text in re.findall(
        r'<text class="(?:mono|title|faint|flag)" x="(\d+)"[^>]*font-size="(\d+)"[^>]*>([^<]*)<', drawn
    ):
        x, size, words = float(text[0]), float(text[1]), text[2]
        assert x + text_px(words, size) * 0.9 <= WIDTH or "text-anchor" in drawn


def test_of_real_processes_it_says_real_seconds_and_claims_no_trace() -> None:
    drawn = draw(
        Picture("x", 1, ("1",), 3.0, (Mark(1.0, "crash", ("1",)),), "", "bangpath simulate x --real", real=True)
    )
    texts = re.findall(r">([^<>]*)</text>", drawn)
    assert "real s" in texts
    assert "1 server, 3.0 real seconds, 1 fault" in texts
    assert not any(text.startswith("trace") for text in texts)
