"""The timeline of a run as a picture: servers as lanes, time from left to right, readable without the program.

              0        10        20        30 virtual s
    faults    [ parted: 1 1.1 | 1.2 1.3 ]   [ 1.1 > 1.3 cut ]        what was broken, in words
    1.1       --o--o--A--o-o----------------------o--o--------      o an update is made
    1.2       --(--(--B-----------))-----X////////^-----------      ( it has arrived; X crash, //// down, ^ up again
                          .::::::.                                  .:: how many updates it is behind

Rules. Everything that is told by a colour is told by a shape, a pattern or a word too, for print and for eyes that see
fewer colours (palette of Okabe and Ito). Places on the time axis are percentages, so that a page can stretch the
picture and no letter with it. What is too close to be told apart is drawn as one, and its tooltip says how many. Pure:
a `Picture` in, text out; the same run gives the same bytes.

Left to others: what the marks mean (`timeline_layout.py`), the page around the picture (`timeline_page.py`).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from simulations.report import counted
from simulations.timeline_glyphs import DEFINITIONS, GLYPHS, LEGEND, STYLE, glyph_of
from simulations.timeline_lanes import asked, behind_columns, lives, sides, signs, spread_lines, updates
from simulations.timeline_layout import DOWN, PAUSED, Picture, Span, operations, pack, spans, text_px, ticks
from simulations.timeline_sheet import Sheet, from_to, lane_height, short, written
from simulations.timeline_updates import lags

WIDTH = 1200  # of the picture, in pixels; A4 across prints it at 150 a inch
MARGIN = 20
AXIS, ROW, FLAG = 20.0, 16.0, 18.0  # heights
LABEL = 11.0
MOST_ROWS = 40  # of faults in words


class Parts(NamedTuple):
    """A picture in two halves of one height: what stands left of the time axis, and what lies along it."""

    gutter: str
    plot: str
    gutter_px: float
    height: float
    kinds: tuple[str, ...]  # what occurs, for the legend
    notes: tuple[str, ...]  # what was left out


def draw(picture: Picture) -> str:
    """The whole picture as an SVG file."""
    parts = halves(picture, plot_px=WIDTH - 2 * MARGIN - gutter_px(picture))
    head, top = _head(picture)
    legend, legend_height = _legend(parts, top + parts.height + 14)
    foot = top + parts.height + legend_height + 32
    left = MARGIN + parts.gutter_px
    lines = [*([f"trace   {picture.trace}"] if picture.trace else []), f"replay  {picture.replay}"]
    height = foot + 18 * len(lines) + 6
    words = escape(f"{picture.title}, seed {picture.seed}")
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
            f'height="{height:.0f}" class="timeline" role="img">',
            f"<title>{words}</title><desc>{escape(summary(picture))}</desc>",
            f"<style>{STYLE}</style>{DEFINITIONS}",
            f'<rect class="paper" width="{WIDTH}" height="{height:.0f}"/>',
            head,
            f'<svg x="{MARGIN}" y="{top:.0f}" width="{parts.gutter_px:.0f}" height="{parts.height:.0f}">{parts.gutter}'
            "</svg>",
            f'<svg x="{left:.0f}" y="{top:.0f}" width="{WIDTH - MARGIN - left:.0f}" height="{parts.height:.0f}" '
            f'overflow="visible">{parts.plot}</svg>',
            legend,
            *(written(MARGIN, foot + 18 * number, line, "mono") for number, line in enumerate(lines)),
            "</svg>",
            "",
        ]
    )


def summary(picture: Picture) -> str:
    """One line of figures."""
    faults = sum(1 for span in spans(picture.marks, picture.end))
    commits = sum(mark.kind == "commit" for mark in picture.marks)
    told = [counted(len(picture.servers), "server"), f"{picture.seconds:.1f} {picture.clock} seconds"]
    told += [counted(picture.events, "event")] if picture.events else []
    told += [counted(faults, "fault"), *([] if picture.real else [counted(commits, "update")])]
    return ", ".join(told)


def gutter_px(picture: Picture) -> float:
    """Room for the longest name."""
    return max(96.0, max((text_px(name, 13) for name in picture.servers), default=0.0) + 16)


def halves(picture: Picture, *, plot_px: float) -> Parts:
    """The picture without head and foot. `plot_px`: the width for which letters are given room."""
    lasting = spans(picture.marks, picture.end)
    sheet = Sheet(picture.end, plot_px, lane_height(len(picture.servers)))
    words = [span for span in lasting if span.kind not in (*DOWN, *PAUSED)]
    bars, rows, left_out = _bars(words, sheet)
    flag = FLAG if picture.broken else 0.0
    top = AXIS + flag + rows * ROW + (8 if rows else 2)
    ys = {name: top + number * sheet.lane for number, name in enumerate(picture.servers)}
    bottom = top + len(picture.servers) * sheet.lane
    glyphs, kinds = signs(picture.marks, lasting, ys, sheet)
    lines, left_lines = spread_lines(picture.marks, ys, sheet)
    plot = [
        *_grounds(ys, sheet),
        *_axis(sheet, AXIS, bottom),
        f'<g transform="translate(0 {AXIS + flag:.0f})">{"".join(bars)}</g>',
        *sides(lasting, ys, sheet),
        *lives(lasting, ys, sheet),
        *behind_columns(picture.marks, ys, sheet),
        *lines,
        *asked(picture.marks, ys, sheet),
        *updates(picture.marks, ys, sheet),
        *glyphs,
        *_flag(picture, sheet, bottom),
    ]
    names = [
        written(0, AXIS - 6, f"{picture.clock} s", "faint", size=LABEL),
        *([written(0, AXIS + flag + 12, "faults", "faint", size=LABEL)] if rows else []),
        *(
            written(0, y + sheet.line + 4, name, "name", size=min(13.0, sheet.lane - 3))
            for name, y in ys.items()
            if sheet.lane >= 8
        ),
    ]
    notes = [f"{counted(left_out, 'fault')} more than fit are not in words"] if left_out else []
    notes += [f"{counted(left_lines, 'line')} of spread left out: look at what is behind"] if left_lines else []
    asked_for = {f"operation {each.outcome}" for each in operations(picture.marks)}
    there = kinds | asked_for | {mark.kind for mark in picture.marks if mark.kind in ("commit", "applied", "broken")}
    there |= ({"line"} if lines else set()) | ({"behind"} if lags(picture.marks) else set())
    there |= {"broken"} if picture.broken else set()
    there |= {"unfinished"} if any(span.open for span in words) else set()
    return Parts("".join(names), "".join(plot), gutter_px(picture), bottom + AXIS, tuple(sorted(there)), tuple(notes))


# -- along the time axis


def _grounds(ys: dict[str, float], sheet: Sheet) -> Iterable[str]:
    for number, y in enumerate(ys.values()):
        if number % 2 == 0:
            yield f'<rect class="zebra" x="0" y="{y:.1f}" width="100%" height="{sheet.lane:.1f}"/>'


def _axis(sheet: Sheet, top: float, bottom: float) -> Iterable[str]:
    marks = ticks(sheet.end)
    for at in marks:
        last = at == marks[-1] and sheet.px(at) > sheet.width - 20
        anchor = "end" if last else "start" if at == 0 else "middle"
        yield f'<line class="grid" x1="{sheet.x(at)}" x2="{sheet.x(at)}" y1="{top:.0f}" y2="{bottom:.0f}"/>'
        for y in (top - 6, bottom + 14):
            yield written(sheet.x(at), y, f"{at:g}", "faint", size=LABEL, anchor=anchor)


def _bars(words: Sequence[Span], sheet: Sheet) -> tuple[list[str], int, int]:
    """What lasted, in words; how many rows that takes; how many did not fit. What repeats soon shares its words."""
    groups: list[list[Span]] = []
    newest: dict[tuple[str, str], list[Span]] = {}
    for span in words:
        group = newest.get((span.kind, span.text))
        if group is None or sheet.px(span.begin - group[-1].end) > 120:
            group = newest[span.kind, span.text] = []
            groups.append(group)
        group.append(span)
    placed = []
    for group in groups:
        label = short(group[0].text) + (f" ({len(group)} times)" if len(group) > 1 else "")
        wanted = text_px(label, LABEL) + 12
        begin = sheet.px(group[0].begin)
        at = begin if len(group) == 1 else sheet.px(group[-1].end)  # what repeats is striped: its words stand beside
        if at > sheet.width - wanted:
            at = max(0.0, min(begin, sheet.width) - (wanted if len(group) > 1 else wanted - (sheet.width - begin)))
        placed.append((min(at, begin), max(sheet.px(group[-1].end), at + wanted), at, label, group))
    placed.sort(key=lambda each: each[:3])
    rows = pack([(begin, end) for begin, end, *_ in placed])
    drawn = []
    for row, (_, _, at, label, group) in zip(rows, placed, strict=True):
        if row >= MOST_ROWS:
            continue
        y = row * ROW
        for span in group:
            family = GLYPHS[glyph_of(span.kind)].family
            box = f'x="{sheet.x(span.begin)}" y="{y + 1:.0f}" height="{ROW - 3:.0f}"'
            wide = sheet.wide(span.begin, span.end, least_px=4)
            open_end = ' stroke-dasharray="3 2"' if span.open else ""
            drawn.append(
                f'<g><title>{from_to(span)}</title><rect class="bar {family}" {box} width="{wide}"{open_end}/>'
                f'<rect class="edge {family}" {box} width="3"/></g>'
            )
        x = f"{100 * at / sheet.width:.3f}%"
        drawn.append(written(x, y + 11, label, "word", size=LABEL, dx=7))
    return drawn, min(max(rows, default=-1) + 1, MOST_ROWS), sum(row >= MOST_ROWS for row in rows)


def _flag(picture: Picture, sheet: Sheet, bottom: float) -> Iterable[str]:
    """Where a promise did not hold."""
    if not picture.broken:
        return
    at = picture.end if picture.broken_at is None else picture.broken_at
    words = short(f"{at:.3f} s  {re.split(r' at [0-9.]+ s: ', picture.broken)[0]}", 48)
    right = sheet.px(at) > sheet.width - text_px(words, LABEL) - 12
    yield f'<line class="flagpole" x1="{sheet.x(at)}" x2="{sheet.x(at)}" y1="{AXIS + 2:.0f}" y2="{bottom:.0f}"/>'
    yield f'<use href="#g-broken" x="{sheet.x(at)}" y="{AXIS + 8:.0f}"><title>{escape(picture.broken)}</title></use>'
    anchored = "end" if right else "start"
    if right and sheet.px(at) < text_px(words, LABEL) + 12:  # fits on neither side: from the left edge
        at, anchored = 0.0, "start"
    yield written(
        sheet.x(at), AXIS + 12, words, "flag", size=LABEL, anchor=anchored, dx=-10 if anchored == "end" else 10
    )


# -- round it


def _head(picture: Picture) -> tuple[str, float]:
    verdict = "broken: see the dashed line" if picture.broken else "nothing that was looked at was broken"
    sign = "broken" if picture.broken else "held"
    drawn = [
        written(MARGIN, 34, short(f"{picture.title}, seed {picture.seed}", 60), "title", size=20),
        written(MARGIN, 54, summary(picture), "faint", size=13),
        f'<use href="#g-{sign}" x="{WIDTH - MARGIN - 8}" y="29"/>',
        written(WIDTH - MARGIN - 22, 34, verdict, "flag" if picture.broken else "word", size=13, anchor="end"),
    ]
    lines = textwrap.wrap(picture.broken, 140, max_lines=4, placeholder=" …")
    drawn += [written(MARGIN, 76 + 18 * number, line, "flag", size=13) for number, line in enumerate(lines)]
    return "".join(drawn), 68.0 + 18 * len(lines) + (6 if lines else 0)


def legend_entries(kinds: Iterable[str]) -> list[tuple[str, str]]:
    """What a sign looks like (16 x 16, at 0 0) and what it means, for what occurs."""
    there = set(kinds)
    found = []
    for kind, (look, words) in LEGEND.items():
        if kind in there or kind == "up":
            found.append((look or f'<use href="#g-{kind}" x="8" y="8"/>', words))
    return found


def _legend(parts: Parts, top: float) -> tuple[str, float]:
    drawn, x, y = [], float(MARGIN), top
    for look, words in legend_entries(parts.kinds):
        wide = 22 + text_px(words, LABEL) + 12
        if x + wide > WIDTH - MARGIN:
            x, y = float(MARGIN), y + 20
        drawn.append(f'<svg x="{x:.0f}" y="{y:.0f}" width="16" height="16" overflow="visible">{look}</svg>')
        drawn.append(written(x + 22, y + 12, words, "word", size=LABEL))
        x += wide
    for note in parts.notes:
        y += 20
        drawn.append(written(MARGIN, y + 12, note, "faint", size=LABEL))
    return "".join(drawn), y - top + 20
