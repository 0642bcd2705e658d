"""A run as one HTML page that needs nothing else: the picture, what was promised, what was broken, what happened.

    title, verdict, replay command
    [1x 2x 4x 8x]  servers | picture, which can be stretched and scrolled
    promises       what was looked at, by whom, and what it found
    faults         in words, from when to when
    what happened  the transcript
    the scenario   to be copied into a file and run again

Rules. No script, no font, no image, no address: it can be mailed, kept and opened in ten years. Light or dark as the
reader's screen is; in print light, across. What strangers wrote (a scenario's text) is shown as text. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from simulations.timeline import halves, legend_entries, summary
from simulations.timeline_glyphs import DEFINITIONS, STYLE
from simulations.timeline_layout import Picture, Span

PLOT_PX = 920.0  # for which letters are given room: A4 across
ZOOMS = (1, 2, 4, 8)

_STYLE = """
:root{color-scheme:light dark;--ink:#1a1a1a;--faint:#5f6368;--paper:#fff;--card:#f5f6f7;--rule:#dfe2e5;--bad:#b34700;
--good:#00704f}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e8eaed;--faint:#9aa0a6;--paper:#16181b;--card:#1d2024;
--rule:#33373c;--bad:#ff9a4d;--good:#3fc79a}}
*{box-sizing:border-box}
body{margin:0 auto;padding:24px;max-width:1800px;background:var(--paper);color:var(--ink);
font:15px/1.45 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
h1{font-size:24px;margin:0 0 2px}h2{font-size:17px;margin:28px 0 8px}
.faint{color:var(--faint)}.bad{color:var(--bad);font-weight:600}.good{color:var(--good);font-weight:600}
pre,code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:13px}
pre{background:var(--card);padding:10px 12px;margin:6px 0;overflow-x:auto;border-radius:4px}
pre.wrap{white-space:pre-wrap;overflow-wrap:anywhere}
table{border-collapse:collapse}td,th{text-align:left;padding:3px 18px 3px 0;border-bottom:1px solid var(--rule);
vertical-align:top}th{color:var(--faint);font-weight:600}td.number{text-align:right;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:8px 0;font-size:13px}
.legend span{display:inline-flex;align-items:center;gap:6px}
.zoom{font-size:13px;color:var(--faint)}.zoom+input{margin-left:10px}label.times{font-size:13px;padding-right:8px}
.lanes{display:flex;border-top:1px solid var(--rule);border-bottom:1px solid var(--rule)}
.names{flex:none}.scroll{flex:1;overflow-x:auto;padding-right:10px}.scroll svg{display:block;min-width:920px;width:100%}
svg.signs{position:absolute;width:0;height:0}
ZOOMRULES
@page{size:A4 landscape;margin:12mm}
@media print{body{padding:0}.scroll{overflow:visible}.scroll svg{width:100%!important;min-width:0}
.zoom,input[type=radio],label.times{display:none}h2{break-after:avoid}tr{break-inside:avoid}}
"""


def page(
    picture: Picture,
    *,
    promises: Sequence[Mapping[str, str]] = (),
    promise_words: Mapping[str, str] | None = None,
    faults: Sequence[Span] = (),
    transcript: Sequence[str] = (),
    text: str = "",
    more: str = "",
) -> str:
    """The page. `promises`: rows of promise, checker, verdict; `text`: the scenario; `more`: what else to say of it."""
    heading = escape(f"{picture.title}, seed {picture.seed}")
    if picture.broken:
        verdict = f'<p class="bad">{escape(picture.broken)}</p>'
    else:
        verdict = '<p class="good">Nothing that was looked at was broken.</p>'
    blocks = [
        f"<h1>{heading}</h1>",
        f'<div class="faint">{escape(summary(picture))}</div>',
        verdict,
        *([f"<p>{escape(more)}</p>"] if more else []),
        "<div>See it again:</div>" + _pre(picture.replay),
        *_lanes(picture),
        *_promises(promises, promise_words or {}),
        *_faults(faults),
        *_block("What happened", "\n".join(transcript)),
        *_block("The scenario", text),
        *_trace(picture.trace),
    ]
    zoom = "".join(f"#zoom{times}:checked~.lanes .scroll svg{{width:{100 * times}%}}" for times in ZOOMS)
    return "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{heading}</title>',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<style>{_STYLE.replace('ZOOMRULES', zoom)}{STYLE}</style></head><body>",
            f'<svg class="signs timeline" aria-hidden="true">{DEFINITIONS}</svg>',
            *blocks,
            "</body></html>",
            "",
        ]
    )


def _lanes(picture: Picture) -> Iterable[str]:
    parts = halves(picture, plot_px=PLOT_PX)
    yield "<h2>Timeline</h2>"
    yield '<div class="legend">'
    for look, words in legend_entries(parts.kinds):
        sign = f'<svg class="timeline" width="16" height="16" overflow="visible" aria-hidden="true">{look}</svg>'
        yield f"<span>{sign}{escape(words)}</span>"
    yield "</div>"
    for note in parts.notes:
        yield f'<p class="faint">{escape(note)}</p>'
    yield '<span class="zoom">stretch</span>'
    for times in ZOOMS:
        checked = " checked" if times == 1 else ""
        yield f'<input type="radio" name="zoom" id="zoom{times}"{checked}><label class="times" for="zoom{times}">'
        yield f"{times}x</label>"
    height = f"{parts.height:.0f}"
    words = escape(f"Servers as lanes, {picture.clock} seconds from left to right: {summary(picture)}")
    yield (
        f'<div class="lanes"><svg class="timeline names" width="{parts.gutter_px:.0f}" height="{height}" '
        f'aria-hidden="true">{parts.gutter}</svg><div class="scroll"><svg class="timeline" height="{height}" '
        f'overflow="visible" role="img"><title>{words}</title>{parts.plot}</svg></div></div>'
    )


def _promises(rows: Sequence[Mapping[str, str]], words: Mapping[str, str]) -> Iterable[str]:
    if not rows:
        return
    yield '<h2>Promises</h2><div class="wide"><table><tr><th>promise<th>looked at by<th>found</tr>'
    for row in rows:
        said = row["verdict"]
        look = "bad" if any(word in said for word in ("BROKE", "FAILED")) else ""
        promise = f"{row['promise']} {words.get(row['promise'], '')}".strip()
        yield f'<tr><td>{escape(promise)}<td>{escape(row["checker"])}<td class="{look}">{escape(said)}</tr>'
    yield "</table></div>"


def _faults(faults: Sequence[Span]) -> Iterable[str]:
    if not faults:
        return
    yield '<h2>What was broken</h2><div class="wide"><table><tr><th>from (s)<th>to (s)<th>what<th>kind</tr>'
    for span in faults:
        until = "the end" if span.open else f"{span.end:.3f}" if span.end > span.begin else ""
        yield (
            f'<tr><td class="number">{span.begin:.3f}<td class="number">{until}<td>{escape(span.text)}'
            f"<td>{escape(span.kind)}</tr>"
        )
    yield "</table></div>"


def _block(heading: str, text: str) -> Iterable[str]:
    if text.strip():
        yield f"<h2>{escape(heading)}</h2><pre>{escape(text)}</pre>"


def _trace(trace: str) -> Iterable[str]:
    if trace:
        yield (
            '<h2>The trace</h2><p class="faint">One hash over every delivery, disk write, fault and decision. '
            "The same scenario and seed give the same one, in every process and on every machine.</p>"
        )
        yield _pre(trace)


def _pre(text: str) -> str:
    return f'<pre class="wrap">{escape(text)}</pre>'
