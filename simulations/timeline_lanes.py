"""The lanes of a timeline: each server's life, its troubles, its updates and how far behind it was. Pure.

    1.2   --o--(--A//////^--(((--o---      life: a line; down: hatched; paused: striped
             . .:::::::::...               behind: columns from the lane's foot

What is too close to be told apart is drawn as one, with a number; its tooltip says what it stands for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from html import escape

from simulations.marks import Mark
from simulations.report import counted
from simulations.timeline_glyphs import GLYPHS, glyph_of
from simulations.timeline_layout import (
    DOWN,
    PAUSED,
    Span,
    merged,
    operations,
    says,
    thinned,
)
from simulations.timeline_sheet import Sheet, from_to, written
from simulations.timeline_updates import lags, spreads

MOST_SPREADS = 800  # lines from an update to where it arrived: above it they would be a cloud
LETTERS = "ABCDEFGH"
SIGN_PX = 13.0  # between the middles of two signs
LEAST_TOLD = 3  # updates behind that are worth a number


def sides(lasting: Sequence[Span], ys: dict[str, float], sheet: Sheet) -> Iterable[str]:
    """In each lane, on which side of a partition its server was."""
    for span in lasting:
        for number, group in enumerate(span.groups):
            letter = LETTERS[number % len(LETTERS)]
            for name in group:
                if name not in ys:
                    continue
                y, wide = ys[name], sheet.wide(span.begin, span.end, least_px=2)
                box = f'x="{sheet.x(span.begin)}" y="{y:.1f}" width="{wide}" height="{sheet.lane:.1f}"'
                yield f'<rect class="side side{number % 4}" {box}/>'
                if number % 4:
                    yield f'<rect fill="url(#side{number % 4})" {box}/>'
                if sheet.px(span.end - span.begin) > 14 and sheet.lane >= 12:
                    yield written(sheet.x(span.begin), y + min(sheet.line + 3, 12), letter, "letter", size=9, dx=3)


def lives(lasting: Sequence[Span], ys: dict[str, float], sheet: Sheet) -> Iterable[str]:
    """A line where a server is up; hatched where it is down, dotted where it is paused."""
    for name, y in ys.items():
        at = y + sheet.line
        yield f'<line class="life" x1="0" x2="100%" y1="{at:.1f}" y2="{at:.1f}"/>'
        tall = min(16.0, sheet.lane * 0.6)
        for span in lasting:
            if span.kind in (*DOWN, *PAUSED) and span.servers[:1] == (name,):
                box = (
                    f'x="{sheet.x(span.begin)}" y="{at - tall / 2:.1f}" height="{tall:.1f}" '
                    f'width="{sheet.wide(span.begin, span.end, least_px=2)}"'
                )
                look = "down" if span.kind in DOWN else "paused"
                yield f'<g><title>{from_to(span)}</title><rect class="blank" {box}/>'
                yield f'<rect class="{look}" fill="url(#{look})" {box}/></g>'


def behind_columns(marks: Sequence[Mark], ys: dict[str, float], sheet: Sheet) -> Iterable[str]:
    """How many updates a mirror is behind, as columns from the lane's foot."""
    all_lags = lags(marks)
    most = max((behind for steps in all_lags.values() for _, behind in steps), default=0)
    if not most:
        return
    room = max(3.0, sheet.lane - sheet.line - (12 if sheet.lane >= 24 else 7))
    for name, steps in all_lags.items():
        if name not in ys:
            continue
        floor = ys[name] + sheet.lane - 1
        drawn = thinned(steps, bin_s=sheet.seconds(2))
        peak = max(drawn, key=lambda step: step[1])
        boxes = []
        for (at, behind), (until, _) in zip(drawn, [*drawn[1:], (sheet.end, 0)], strict=True):
            if behind:
                tall = max(1.0, room * behind / most)
                box = f'x="{sheet.x(at)}" width="{sheet.wide(at, until, least_px=1)}"'
                boxes.append(f'<rect {box} y="{floor - tall:.1f}" height="{tall:.1f}"/>')
        words = f"{name} was at most {counted(peak[1], 'update')} behind, at {peak[0]:.2f} s"
        yield f'<g class="behind"><title>{escape(words)}</title>{"".join(boxes)}</g>'
        if sheet.lane >= 40 and peak[1] >= LEAST_TOLD:
            right = sheet.px(peak[0]) > sheet.width - 80
            y = floor - max(1.0, room * peak[1] / most) + 8
            y = min(max(y, ys[name] + sheet.line + 16), floor - 2)
            yield written(
                sheet.x(peak[0]), y, f"{peak[1]} behind", "halo", size=9,
                anchor="end" if right else "start", dx=-3 if right else 3,
            )  # fmt: skip


def spread_lines(marks: Sequence[Mark], ys: dict[str, float], sheet: Sheet) -> tuple[list[str], int]:
    """Lines from an update to where it arrived; all of them or none."""
    found = [each for each in spreads(marks, bin_s=sheet.seconds(4)) if each.owner in ys and each.mirror in ys]
    if len(found) > MOST_SPREADS:
        return [], len(found)
    drawn = []
    for each in found:
        words = (
            f"{each.owner} to {each.mirror}: {counted(each.updates, 'update')}, {each.begin:.2f} to {each.end:.2f} s"
        )
        drawn.append(
            f'<line class="spread" x1="{sheet.x(each.begin)}" y1="{ys[each.owner] + sheet.line:.1f}" '
            f'x2="{sheet.x(each.end)}" y2="{ys[each.mirror] + sheet.line:.1f}"><title>{escape(words)}</title></line>'
        )
    return drawn, 0


def asked(marks: Sequence[Mark], ys: dict[str, float], sheet: Sheet) -> Iterable[str]:
    """What was asked for, under the life of the server that was asked."""
    pieces: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    alone: dict[tuple[str, str, float], str] = {}
    for each in operations(marks):
        if each.server in ys:
            pieces[each.server, each.outcome].append((each.begin, each.end))
            alone[each.server, each.outcome, each.begin] = each.what
    order = {"done": 0, "unknown": 1, "refused": 2}
    for (name, outcome), times in sorted(pieces.items(), key=lambda item: order.get(item[0][1], 2)):
        look = outcome if outcome in order else "refused"
        y = ys[name] + sheet.line + min(8.0, sheet.lane * 0.28)
        for begin, end, count in merged(times, gap=sheet.seconds(2)):
            x1, wide = sheet.x(begin), sheet.wide(begin, end, least_px=2)
            what = f": {alone[name, outcome, begin]}" if count == 1 else ""
            words = f"{counted(count, 'operation')} of {name} {outcome}, {begin:.2f} to {end:.2f} s{what}"
            tall = 2.0 if look == "done" else 4.0
            yield (
                f'<rect class="asked {look}" x="{x1}" y="{y - tall / 2:.1f}" width="{wide}" height="{tall:.1f}">'
                f"<title>{escape(words)}</title></rect>"
            )


def updates(marks: Sequence[Mark], ys: dict[str, float], sheet: Sheet) -> Iterable[str]:
    """Updates made and arrived, as dots and rings; those of one moment as one, larger."""
    for kind in ("applied", "commit"):
        places = defaultdict(list)
        for mark in marks:
            if mark.kind == kind and mark.servers and mark.servers[0] in ys:
                places[mark.servers[0]].append((mark.at, mark.at))
        for name, times in places.items():
            for begin, end, count in _runs(times, sheet.seconds(4)):
                size = min(2.2 + 0.6 * (count.bit_length() - 1), 5.0, sheet.lane / 3)
                done = "made" if kind == "commit" else "arrived"
                when = f"{begin:.2f} s" if begin == end else f"{begin:.2f} to {end:.2f} s"
                words = escape(f"{name}: {counted(count, 'update')} {done}, {when}")
                yield (
                    f'<circle class="{kind}" cx="{sheet.x((begin + end) / 2)}" cy="{ys[name] + sheet.line:.1f}" '
                    f'r="{size:.1f}"><title>{words}</title>'
                    "</circle>"
                )


def _runs(times: Sequence[tuple[float, float]], wide: float) -> Iterable[tuple[float, float, int]]:
    """What lies together, in pieces of at most `wide` seconds."""
    piece: list[float] = []
    for at, _ in sorted(times):
        if piece and at - piece[0] > wide:
            yield piece[0], piece[-1], len(piece)
            piece = []
        piece.append(at)
    if piece:
        yield piece[0], piece[-1], len(piece)


def signs(
    marks: Sequence[Mark], lasting: Sequence[Span], ys: dict[str, float], sheet: Sheet
) -> tuple[list[str], set[str]]:
    """A sign where something began or ended for a server. What would lie on one another is one sign, with a number."""
    places: dict[str, list[Mark]] = defaultdict(list)
    ended = {(span.servers[:1], span.end) for span in lasting if span.kind in (*DOWN, *PAUSED)}
    died = {(span.servers[:1], span.begin) for span in lasting if span.kind in (*DOWN, *PAUSED)}
    begun = [
        Mark(span.begin, span.kind, span.servers, span.text)
        for span in lasting
        if not span.groups and (span.kind in (*DOWN, *PAUSED) or (span.servers[:1], span.begin) not in died)
    ]
    for mark in marks:
        ends = mark.kind in ("restart", "start", "resume") and (mark.servers[:1], mark.at) in ended
        if ends or mark.kind == "broken":
            begun.append(mark)
    for mark in begun:
        for name in mark.servers[:1]:
            if name in ys:
                places[name].append(mark)
    drawn, kinds = [], {"down" for span in lasting if span.kind in DOWN}
    kinds |= {"paused" for span in lasting if span.kind in PAUSED} | {"side" for span in lasting if span.groups}
    for name, own in places.items():
        y = ys[name] + sheet.line
        for most, piece in _apart(own, sheet):
            sign = glyph_of(most.kind)
            kinds.add(sign)
            words = escape("\n".join(f"{each.at:.3f} s  {says(each)}" for each in piece))
            x = sheet.x(most.at)
            drawn.append(f'<use href="#g-{sign}" x="{x}" y="{y:.1f}"><title>{words}</title></use>')
            if len(piece) > 1 and sheet.lane >= 16:
                drawn.append(written(x, y - 5, str(len(piece)), "halo", size=8, dx=5))
    return drawn, kinds


def _apart(own: Sequence[Mark], sheet: Sheet) -> list[tuple[Mark, list[Mark]]]:
    """Marks far enough from one another, the weightiest first, each with those that it stands for."""
    kept: list[tuple[Mark, list[Mark]]] = []
    for mark in sorted(own, key=lambda each: (-GLYPHS[glyph_of(each.kind)].rank, each.at)):
        near = min(kept, key=lambda other: abs(other[0].at - mark.at), default=None)
        if near is None or sheet.px(abs(near[0].at - mark.at)) >= SIGN_PX:
            kept.append((mark, [mark]))
        else:
            near[1].append(mark)
    return [(mark, sorted(piece, key=lambda each: each.at)) for mark, piece in kept]
