"""The page is whole by itself: it opens anywhere, says everything, runs nothing and asks nobody."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from simulations.marks import Mark
from simulations.report import PROMISES
from simulations.timeline_layout import Picture, spans
from simulations.timeline_page import page

MARKS = (
    Mark(0.0, "start", ("1",)), Mark(0.0, "start", ("1.1",)), Mark(1.0, "commit", ("1",), "", {"number": 1}),
    Mark(2.0, "applied", ("1.1", "1"), "", {"number": 1}), Mark(3.0, "crash", ("1.1",)), Mark(5.0, "start", ("1.1",)),
    Mark(6.0, "part", ("1", "1.1"), "1 | 1.1"),
)  # fmt: skip
PICTURE = Picture("rain.txt", 7, ("1", "1.1"), 9.0, MARKS, "ab" * 32, "bangpath simulate rain.txt --seed 7", 321)


def told(picture: Picture = PICTURE, **more: object) -> str:
    rows = [
        {"promise": "P1", "checker": "no lost commits", "verdict": "held"},
        {"promise": "P3", "checker": "converged", "verdict": "BROKEN at 8.000 s"},
    ]
    return page(
        picture, promises=rows, promise_words=PROMISES, faults=spans(picture.marks, picture.seconds),
        transcript=("    1.000  1 commits 1 Note",), text="servers 2\n1 commits 1 Note\n",
    )  # fmt: skip


class Tags(HTMLParser):
    """Which tags are open where they must not be, and every attribute."""

    VOID = ("meta", "input", "br", "path", "line", "rect", "circle", "use", "tr", "td", "th")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.names.update(f"@{name}" for name, _ in attrs)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def test_it_says_what_was_promised_broken_and_done() -> None:
    text = told()
    for wanted in (
        "rain.txt, seed 7", "bangpath simulate rain.txt --seed 7", "ab" * 32, "P1 what was answered as committed",
        "BROKEN at 8.000 s", "1.1 crashed", "part 1 | 1.1", "the end", "1 commits 1 Note", "server is up",
        "Nothing that was looked at was broken.",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert text == told()


def test_its_tags_close_in_order() -> None:
    tags = Tags()
    tags.feed(told())
    assert not tags.wrong
    assert not tags.open


def test_it_needs_nothing_else_and_runs_nothing() -> None:
    text = told()
    tags = Tags()
    tags.feed(text)
    assert not tags.names & {"script", "link", "img", "iframe", "object", "embed", "@src", "@onclick", "@onload"}
    assert set(re.findall(r'href="(.)', text)) == {"#"}
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_every_part_that_is_pointed_at_is_there_once() -> None:
    text = told()
    for wanted in set(re.findall(r'(?:href="|url\()#([\w-]+)', text)):
        assert text.count(f'id="{wanted}"') == 1, wanted


def test_light_dark_and_print() -> None:
    text = told()
    assert text.count("@media screen and (prefers-color-scheme:dark)") == 2  # of the page, and of the picture
    assert "@media print" in text


def test_what_was_broken_stands_at_the_top_and_strangers_words_are_words() -> None:
    broken = PICTURE.__class__(**{**vars(PICTURE), "broken": "P3 broken: <b>1.1</b> has 0 of 1", "broken_at": 8.0})
    text = told(broken)
    assert "P3 broken: &lt;b&gt;1.1&lt;/b&gt; has 0 of 1" in text
    assert "<b>" not in text
    assert "Nothing that was looked at" not in text
    stormy = PICTURE.__class__(**{**vars(PICTURE), "marks": (*MARKS, Mark(7.0, "storm", ("1",), "<b>storm</b>"))})
    text = told(stormy)
    assert "&lt;b&gt;storm" in text
    assert "<b>" not in text
