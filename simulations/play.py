"""What `bangpath simulate` does once it is understood: a run watched, judged, told, and made small where it failed.

    one      run_and_keep with a watcher --> Told --> lines or JSON, picture; failed: --> made small, written down

A sweep does the same with many (`play_many.py`), and uses what stands here for what failed.

Exit codes: 0 all held, 1 a promise was broken, an expectation failed or a seed was not the same twice, 2 all held and
could not be told (`output.py`), 3 nothing was seen broken and some run was not done within its real time, 130 ended by
Ctrl-C, with what is known so far told all the same. What cannot be read or asked for is raised as `Refused`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from simulations import report
from simulations.cases import Case, Verdict, every_checker, first_line, replay, run_and_keep
from simulations.failure import FEW_LINES, PATIENCE_S, Found, out_of_the_way, shrink_case, write_down
from simulations.output import Output
from simulations.progress import Foot, Late, Stop, Stopped, Watcher
from simulations.scenario import known_of, parse
from simulations.timeline import draw
from simulations.timeline_page import page

HELD, BROKEN, NO_VERDICT, INTERRUPTED = 0, 1, 3, 130  # 3 is, as of a query, an answer that is not whole


@dataclass(frozen=True)
class Wishes:
    """How it is to be told. `timeline`: a file to draw to, None for none; `small`: how many failures are made small;
    `limit_s`: real seconds after which a run is given up; None: one run never, those of a sweep as workers do."""

    as_json: bool = False
    timeline: Path | None = None
    small: int = 1
    limit_s: float | None = None
    directory: Path = Path()
    output: Output = field(default_factory=Output)


# -- one run


def one(case: Case, wishes: Wishes, *, foot: Foot | None = None) -> int:
    """Run it, tell it; the exit code. Raises `Refused` for a text that cannot be read, or that asks for what is not."""
    foot = foot or Foot()
    told = run(case, foot, limit_s=wishes.limit_s or math.inf)
    files = drawn(told, wishes)
    if not wishes.as_json:
        _tell(told, files, wishes.output)
    code = INTERRUPTED if told.stopped else HELD
    code = BROKEN if told.verdict.promise else NO_VERDICT if told.verdict.given_up_s else code
    small = None
    if told.verdict.promise and wishes.small and not told.stopped and not case.real:
        if not is_small(case):
            foot.say(
                f"making it small, within {PATIENCE_S / 60:g} real minutes; Ctrl-C ends it with the smallest so far, "
                "--shrink 0 leaves it"
            )
        small = make_small(case, told.verdict, foot, directory=wishes.directory)
        if small is not None and not small.worth_telling:
            small = None
        if small is not None:
            files |= small_files(small, wishes)
            if not wishes.as_json:
                tell_small(small, files, wishes.output)
    if wishes.as_json:
        write_json(wishes.output, {**report.as_json(told), "files": files, "small": small and small_as_json(small)})
    return wishes.output.settled(code)


def run(case: Case, foot: Foot, *, limit_s: float = math.inf) -> report.Told:
    """One run, watched. Ctrl-C ends it, and so do `limit_s` real seconds; then `stopped` says so."""
    scenario = parse(case.text, name=case.name)
    checkers = () if case.real else every_checker()
    stop = Stop()
    begun = time.perf_counter()
    verdict, outcome, stopped = Verdict(seed=case.seed, name=case.name), None, False
    foot.show(f"{report.counted(len(scenario.graph), 'server')} begin")
    with stop.heard(foot), foot.ticking():
        watcher = Watcher(foot, stop, planned_s=report.planned_s(scenario), real=case.real, limit_s=limit_s)
        try:
            verdict, outcome = run_and_keep(case, watching=(watcher,))
        except Stopped as error:
            stopped, outcome = True, known_of(error)
            verdict = replace(verdict, given_up_s=limit_s if isinstance(error, Late) else 0.0)
            if outcome is not None:
                verdict = replace(verdict, trace=outcome.trace, events=outcome.events, seconds=outcome.seconds)
        finally:
            foot.clear()
    elapsed_s = time.perf_counter() - begun
    asked = report.asked_of(watcher.world.history.words if watcher.world and not case.real else ())
    return report.Told(case, verdict, outcome, scenario, checkers, stopped, elapsed_s, asked)


def picture(told: report.Told, path: Path) -> Path:
    """Draw the run: an SVG file, or a whole page where the name ends in html."""
    if path.suffix == ".svg":
        text = draw(told.picture())
    else:
        text = page(
            told.picture(), promises=report.promises(told), promise_words=report.PROMISES, faults=told.faults(),
            transcript=told.outcome.transcript if told.outcome else (), text=told.case.text,
            more=f"Ended by {_ended_by(told)}: it shows the run until then." if told.stopped else "",
        )  # fmt: skip
    path.write_text(text, encoding="utf-8")
    return path


def _ended_by(told: report.Told) -> str:
    return f"--limit {told.verdict.given_up_s:g}" if told.verdict.given_up_s else "Ctrl-C"


def drawn(told: report.Told, wishes: Wishes) -> dict[str, Any]:
    """Its picture, where one is wished and can be written."""
    if wishes.timeline is not None:
        try:
            return {"timeline": str(picture(told, wishes.timeline))}
        except OSError as error:
            wishes.output.missed(wishes.timeline, error)
    return {}


def _tell(told: report.Told, files: dict[str, Any], output: Output) -> None:
    lines = [line.removeprefix("# ") for line in told.case.text.splitlines()[:1] if line.startswith("# drawn")]
    lines += [*report.transcript(told), "", report.title(told), ""]
    lines += report.columns(report.promises(told), ("promise", "checker", "verdict"))
    lines += ["", *([] if told.case.real else [f"trace   {told.verdict.trace}"]), f"replay  {replay(told.case)}"]
    if "timeline" in files:
        lines.append(f"picture {files['timeline']}")
    output.write(lines)
    if told.verdict.given_up_s:
        advice = report.more_time(told.verdict.given_up_s)
        output.write(["", f"{report.no_verdict(told.verdict)}; {advice}", *report.stands(told)])
    if told.verdict.promise:
        output.write(["", *told.verdict.said.rstrip().splitlines()])
        if "timeline" not in files:
            page_name = f"{Path(told.case.name).stem}.html"
            output.write([f"  see it: {replay(told.case)} --timeline {page_name}"])


# -- failures made small


def is_small(case: Case) -> bool:
    """Whether it is left as it is: somebody wrote it, and it is read at a glance."""
    return len(_lines_of(case)) <= FEW_LINES and not case.drawn


def _lines_of(case: Case) -> list[str]:
    return [line for line in case.text.splitlines() if line.partition("#")[0].strip()]


def make_small(
    case: Case,
    verdict: Verdict,
    foot: Foot,
    *,
    directory: Path,
    patience_s: float = PATIENCE_S,
    same_kind: bool = False,
) -> Found | None:
    """The smallest that breaks the same, as far as `shrink_case` gets; None where it is small as it is.

    Its name is one that is free in `directory`, or of a failure that was written down there before.
    """
    if is_small(case):
        return None
    lines = _lines_of(case)

    def told(left: Sequence[str], tries: int) -> None:
        foot.show(f"making it small: {report.counted(len(left), 'line')} left of {len(lines)}, {tries} tried")

    foot.show(f"making it small: {report.counted(len(lines), 'line')}")
    try:
        with foot.ticking():
            found = shrink_case(case, verdict, patience_s=patience_s, same_kind=same_kind, told=told)
    finally:
        foot.clear()
    if found.stopped:
        foot.say("making it small was ended by you")
    if not found.worth_telling:
        tries = f"{found.tries} tries" if found.tries != 1 else "1 try"
        foot.say(f"nothing smaller was found in {tries}")
    return out_of_the_way(found, directory)


def small_files(small: Found, wishes: Wishes) -> dict[str, Any]:
    """Write it down and draw it, where a picture is wished."""
    files: dict[str, Any] = {}
    with suppress(OSError):  # a directory that cannot be written to: the text is told all the same
        files["scenario"] = str(write_down(small, wishes.directory))
    if wishes.timeline is not None:
        files |= drawn(run(small.case, Foot(live=False)), wishes)
    return files


def tell_small(small: Found, files: dict[str, Any], output: Output) -> None:
    """For people."""
    where = f"  ({files['scenario']})" if "scenario" in files else ""
    search = "" if small.minimal else ", and it may get smaller"
    lines = ["", f"made small: {report.counted(small.lines, 'line')} after {small.tries} tries{search}{where}", ""]
    lines += [f"    {line}" for line in small.text.splitlines() if not line.startswith("#")]
    lines += ["", f"  {first_line(small.verdict)}", f"  it replays: {replay(small.case)}"]
    if "timeline" in files:
        lines.append(f"  its picture: {files['timeline']}")
    elif "scenario" in files:
        lines.append(f"  see it: {replay(small.case)} --timeline {Path(files['scenario']).with_suffix('.html')}")
    output.write(lines)


def small_as_json(small: Found) -> dict[str, Any]:
    """For programs."""
    return {
        "text": small.text, "lines": small.lines, "seed": small.case.seed, "tries": small.tries,
        "minimal": small.minimal, "replay": replay(small.case), "said": small.verdict.said,
    }  # fmt: skip


def write_json(output: Output, value: dict[str, Any]) -> None:
    """One object; in lines where a person looks on."""
    output.write([json.dumps(value, indent=2 if sys.stdout.isatty() else None)])
