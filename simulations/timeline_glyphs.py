"""The signs of a timeline, its colours and its legend.

A sign is a shape of about 12 pixels round its middle, on a little paper of its own so that it stands out from what
lies under it. Colours are those of Okabe and Ito, which people with any colour vision tell apart; each is used with a
shape or a pattern of its own, so that print in black and white reads the same. Light by default and in print; dark
where a screen asks for it.
"""

from __future__ import annotations

from typing import NamedTuple


class Glyph(NamedTuple):
    """`rank`: of several at one place the highest is shown. `family`: which colour a bar of it has."""

    rank: int
    family: str
    path: str
    look: str  # line or fill


GLYPHS = {
    "broken": Glyph(9, "bad", "M0-8 2-3 7.5-4.5 4 0 7.5 4.5 2 3 0 8-2 3-7.5 4.5-4 0-7.5-4.5-2-3z", "g-fill g-bad"),
    "crash": Glyph(8, "bad", "M-5-5 5 5M5-5-5 5", "g-line g-bad"),
    "hostile": Glyph(7, "dark", "M0-7 6 0 0 7-6 0zM-2-1h4", "g-fill g-dark"),
    "disk": Glyph(6, "odd", "M-5-5H5V5H-5z", "g-fill g-odd"),
    "clock": Glyph(5, "odd", "M0-6a6 6 0 1 0 .01 0M0-4V0L3 2", "g-line g-odd"),
    "pause": Glyph(4, "bad", "M-3-5V5M3-5V5", "g-line g-bad"),
    "stop": Glyph(4, "bad", "M-4-4H4V4H-4z", "g-line g-bad"),
    "nat": Glyph(3, "net", "M-5 5V-1L0-6 5-1V5z", "g-line g-net"),
    "cut": Glyph(3, "net", "M-6 0H-2M2 0H6M-2-5V5M2-5V5", "g-line g-net"),
    "fault": Glyph(3, "net", "M-6-5H6L0 6z", "g-fill g-net"),
    "restart": Glyph(2, "good", "M0-6 5.5 4H-5.5z", "g-fill g-good"),
    "resume": Glyph(1, "good", "M-4-5 5 0-4 5z", "g-line g-good"),
    "held": Glyph(0, "good", "M-6 0-2 4 6-5", "g-line g-good"),
}
_ALIASES = {"start": "restart", "part": "cut"}
_WORDS = (  # what the name of a fault kind must hold for a sign; the first that it holds
    ("crash", "crash"), ("paus", "pause"), ("hostile", "hostile"), ("clock", "clock"), ("cut", "cut"), ("flap", "cut"),
    ("partition", "cut"), ("nat", "nat"), ("firewall", "nat"), ("only", "nat"), ("disk", "disk"), ("write", "disk"),
    ("sync", "disk"), ("rot", "disk"), ("backup", "disk"),
)  # fmt: skip


def glyph_of(kind: str) -> str:
    """The sign of a kind of mark; of one that has none the general one."""
    kind = _ALIASES.get(kind, kind).lower()
    if kind in GLYPHS:
        return kind
    return next((sign for word, sign in _WORDS if word in kind), "fault")


def _defined() -> str:
    signs = "".join(
        f'<g id="g-{name}"><path class="g-under" d="{glyph.path}"/><path class="{glyph.look}" d="{glyph.path}"/></g>'
        for name, glyph in GLYPHS.items()
    )

    def pattern(name: str, size: int, look: str, path: str) -> str:
        box = f'width="{size}" height="{size}" patternUnits="userSpaceOnUse"'
        return f'<pattern id="{name}" {box}><path class="{look}" d="{path}"/></pattern>'

    patterns = [
        pattern("down", 6, "g-hatch g-bad", "M-1 7 7-1M-1 1 1-1M5 7 7 5"),
        pattern("paused", 5, "g-hatch g-bad", "M2 0V5"),
        pattern("side1", 8, "g-hatch g-faded", "M2 2h1.6M6 6h1.6"),
        pattern("side2", 9, "g-hatch g-faded", "M-1 10 10-1"),
        pattern("side3", 9, "g-hatch g-faded", "M0 4.5H9"),
    ]
    return f"<defs>{signs}{''.join(patterns)}</defs>"


DEFINITIONS = _defined()


def _colours(ink: str, faint: str, paper: str, zebra: str, grid: str, blue: str, dark: str) -> str:
    return (
        f".timeline .paper{{fill:{paper}}}.timeline .zebra{{fill:{zebra}}}.timeline text{{fill:{ink}}}"
        f".timeline text.faint,.timeline text.letter{{fill:{faint}}}.g-under{{fill:{paper};stroke:{paper}}}"
        f".timeline .blank{{fill:{paper}}}.timeline text.halo{{fill:{paper};stroke:{paper}}}"
        f".timeline .grid{{stroke:{grid}}}.timeline .life{{stroke:{faint}}}"
        f".timeline .commit{{fill:{blue};stroke:{paper}}}.timeline .applied{{fill:{paper};stroke:{blue}}}"
        f".timeline .spread{{stroke:{blue}}}.timeline .done{{fill:{faint}}}"
        f".g-fill.g-dark{{fill:{dark}}}.g-line.g-dark{{stroke:{dark}}}.g-hatch.g-faded{{stroke:{faint}}}"
        f".timeline .bar.dark{{fill:{dark};stroke:{dark}}}.timeline .edge.dark{{fill:{dark}}}"
    )


def _families() -> str:
    rules = []
    for name, colour in {"bad": "#d55e00", "net": "#e69f00", "odd": "#cc79a7", "good": "#009e73"}.items():
        rules.append(
            f".g-fill.g-{name},.timeline .edge.{name}{{fill:{colour}}}.g-line.g-{name},.g-hatch.g-{name}"
            f"{{stroke:{colour}}}.timeline .bar.{name}{{fill:{colour};stroke:{colour}}}"
        )
    return "".join(rules)


STYLE = (
    ".timeline text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif}"
    ".timeline text.mono{font-family:ui-monospace,'DejaVu Sans Mono',monospace}"
    ".timeline text.title,.timeline text.name,.timeline text.letter{font-weight:600}"
    ".timeline text.halo{stroke-width:3px;stroke-linejoin:round}"
    ".g-under{stroke-width:5px;stroke-linejoin:round;stroke-linecap:round}"
    ".g-line{fill:none;stroke-width:2.2px;stroke-linecap:round;stroke-linejoin:round}"
    ".g-hatch{fill:none;stroke-width:1.2px}"
    ".timeline .life{stroke-width:1.4px}.timeline .grid{stroke-width:1px}"
    ".timeline .bar{fill-opacity:.22;stroke-width:.8px}"
    ".timeline .side{fill:none}.timeline .side1,.timeline .side3{fill:#56b4e9;fill-opacity:.14}"
    ".timeline .side0,.timeline .side2{fill:#e69f00;fill-opacity:.1}"
    ".timeline .behind{fill:#e69f00;fill-opacity:.75}"
    ".timeline .spread{stroke-width:.7px;stroke-opacity:.35;fill:none}"
    ".timeline .commit{stroke-width:.6px}.timeline .applied{stroke-width:1.2px}"
    ".timeline .unknown{fill:none;stroke:#cc79a7;stroke-width:1.4px}.timeline .refused{fill:#d55e00}"
    ".timeline .flagpole{stroke:#d55e00;stroke-width:1.6px;stroke-dasharray:6 3}"
    ".timeline text.flag{fill:#b34700;font-weight:600}"
    + _families()
    + _colours("#1a1a1a", "#5f6368", "#ffffff", "#f5f6f7", "#dfe2e5", "#0072b2", "#111111")
    + "@media screen and (prefers-color-scheme:dark){"
    + _colours("#e8eaed", "#9aa0a6", "#16181b", "#1d2024", "#33373c", "#56b4e9", "#f1f3f4")
    + ".timeline text.flag{fill:#ff9a4d}}"
)

_LIFE = '<line class="life" x1="0" x2="16" y1="8" y2="8"/>'
LEGEND: dict[str, tuple[str, str]] = {
    "up": (_LIFE, "server is up"),
    "down": ('<rect fill="url(#down)" width="16" height="16"/>', "down"),
    "paused": ('<rect fill="url(#paused)" width="16" height="16"/>', "paused"),
    "crash": ("", "crash"),
    "stop": ("", "stopped"),
    "restart": ("", "up again"),
    "resume": ("", "goes on"),
    "disk": ("", "disk fault"),
    "clock": ("", "clock moved"),
    "nat": ("", "NAT or firewall"),
    "cut": ("", "link cut"),
    "hostile": ("", "turned hostile"),
    "fault": ("", "other fault"),
    "side": (
        '<rect class="side side1" width="16" height="16"/><rect fill="url(#side1)" width="16" height="16"/>',
        "A, B: sides of a partition",
    ),
    "unfinished": ('<rect class="bar net" y="2" width="16" height="12" stroke-dasharray="3 2"/>', "not ended"),
    "commit": (f'{_LIFE}<circle class="commit" cx="8" cy="8" r="3.4"/>', "update made (larger: several)"),
    "applied": (f'{_LIFE}<circle class="applied" cx="8" cy="8" r="3.4"/>', "update arrived"),
    "line": ('<line class="spread" x1="0" x2="16" y1="1" y2="15" style="stroke-opacity:1"/>', "its spread"),
    "behind": (
        '<g class="behind"><rect y="8" width="5" height="8"/><rect x="5" y="3" width="5" height="13"/>'
        '<rect x="10" y="11" width="6" height="5"/></g>',
        "updates behind",
    ),
    "operation done": ('<rect class="asked done" y="7" width="16" height="2"/>', "asked and answered"),
    "operation refused": ('<rect class="asked refused" y="6" width="16" height="4"/>', "refused, or not reached"),
    "operation unknown": ('<rect class="asked unknown" x="1" y="6" width="14" height="4"/>', "outcome unknown"),
    "broken": ("", "a promise was broken"),
}
