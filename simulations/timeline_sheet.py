"""The paper of a timeline: where a moment and a lane are on it, and how a text is written there. Pure.

Moments are percentages of the time axis, so that a page can stretch it and no letter with it; lanes are pixels.
`width` is only how wide the axis is taken to be where room is given to letters and what is too close is drawn as one.
"""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from simulations.timeline_layout import Span

MOST_LABEL = 64  # letters


class Sheet(NamedTuple):
    """Where things go: seconds to percent, lanes to pixels."""

    end: float
    width: float
    lane: float

    @property
    def line(self) -> float:
        """Where in its lane a server's life is drawn."""
        return self.lane * (0.36 if self.lane >= 24 else 0.45)

    def x(self, at: float) -> str:
        return f"{100 * min(max(at, 0.0), self.end) / self.end:.3f}%"

    def wide(self, begin: float, end: float, *, least_px: float = 0.0) -> str:
        share = max((min(end, self.end) - begin) / self.end, least_px / self.width)
        return f"{100 * share:.3f}%"

    def px(self, at: float) -> float:
        return at / self.end * self.width

    def seconds(self, px: float) -> float:
        return px / self.width * self.end


def lane_height(number: int) -> float:
    return min(66.0, max(16.0, 760 / max(number, 1))) if number <= 250 else 9.0


def written(
    x: float | str, y: float, text: str, look: str, *, size: float = 12, anchor: str = "start", dx: float = 0
) -> str:
    """A text. `halo`: on paper of its own, a second text beneath; not every program knows CSS's `paint-order`."""
    placed = x if isinstance(x, str) else f"{x:.0f}"
    anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
    shifted = f' dx="{dx:g}"' if dx else ""
    rest = f' x="{placed}" y="{y:.1f}" font-size="{size:g}"{anchored}{shifted}>{escape(text)}</text>'
    beneath = f'<text class="halo" aria-hidden="true"{rest}' if look == "halo" else ""
    return f'{beneath}<text class="{"figure" if beneath else look}"{rest}'


def from_to(span: Span) -> str:
    until = "the end" if span.open else f"{span.end:.3f} s"
    when = f"{span.begin:.3f} s to {until}" if span.open or span.end > span.begin else f"{span.begin:.3f} s"
    return escape(f"{span.text}, {when}")


def short(text: str, most: int = MOST_LABEL) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
