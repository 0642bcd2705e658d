"""What `bangpath simulate` does once it is understood: one run or a sweep, watched, judged, made small and told.

    one      run_and_keep with a watcher --> Told --> lines or JSON, picture; failed: --> made small, written down
    many     sweep --> a line a seed --> kinds of failures; the first made small, its picture drawn

Exit codes: 0 all held, 1 a promise was broken, an expectation failed or a seed was not the same twice, 2 all held and
could not be told (`output.py`), 3 nothing was seen broken and some run was not done within its real time, 130 ended by
Ctrl-C, with what is known so far told all the same. What cannot be read or asked for is raised as `Refused`.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from identity.errors import Refused
from simulations import report
from simulations.cases import Case, Verdict, every_checker, replay, run_and_keep
from simulations.failure import FEW_LINES, Found, shrink_case, write_down
from simulations.output import Output
from simulations.progress import Foot, Late, Stop, Stopped, Watcher, pace
from simulations.scenario import known_of, parse
from simulations.sweep import sweep
from simulations.timeline import draw
from simulations.timeline_page import page
from simulations.worker import REAL_LIMIT_S

HELD, BROKEN, NO_VERDICT, INTERRUPTED = 0, 1, 3, 130  # 3 is, as of a query, an answer that is not whole
MOST_SEEDS_TOLD = 12  # of one kind of failure


@dataclass(frozen=True)
class Wishes:
    """How it is to be told. `timeline`: a file to draw to, None for none; `small`: whether failures are made small;
    `limit_s`: real seconds after which a run is given up; None: one run never, those of a sweep as workers do."""

    as_json: bool = False
    timeline: Path | None = None
    small: bool = True
    limit_s: float | None = None
    directory: Path = Path()
    output: Output = field(default_factory=Output)


# -- one run


def one(case: Case, wishes: Wishes, *, foot: Foot | None = None) -> int:
    """Run it, tell it; the exit code. Raises `Refused` for a text that cannot be read, or that asks for what is not."""
    foot = foot or Foot()
    told = run(case, foot, limit_s=wishes.limit_s or math.inf)
    files = _drawn(told, wishes)
    if not wishes.as_json:
        _tell(told, files, wishes.output)
    code = INTERRUPTED if told.stopped else HELD
    code = BROKEN if told.verdict.promise else NO_VERDICT if told.verdict.given_up_s else code
    small = None
    if told.verdict.promise and wishes.small and not told.stopped and not case.real:
        small = _make_small(case, told.verdict, foot)
        if small is not None:
            files |= _small_files(small, wishes)
            if not wishes.as_json:
                _tell_small(small, files, wishes.output)
    if wishes.as_json:
        _write_json(wishes.output, {**report.as_json(told), "files": files, "small": _small_as_json(small)})
    return wishes.output.settled(code)


def run(case: Case, foot: Foot, *, limit_s: float = math.inf) -> report.Told:
    """One run, watched. Ctrl-C ends it, and so do `limit_s` real seconds; then `stopped` says so."""
    scenario = parse(case.text, name=case.name)
    checkers = () if case.real else every_checker()
    stop = Stop()
    begun = time.perf_counter()
    verdict, outcome, stopped = Verdict(seed=case.seed, name=case.name), None, False
    with stop.heard(foot):
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


def _drawn(told: report.Told, wishes: Wishes) -> dict[str, Any]:
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
        output.write(["", f"{report.no_verdict(told.verdict)}; {report.more_time(told.verdict.given_up_s)}"])
    if told.verdict.promise:
        output.write(["", *told.verdict.said.rstrip().splitlines()])
        if "timeline" not in files:
            page_name = f"{Path(told.case.name).stem}.html"
            output.write([f"  see it: {replay(told.case)} --timeline {page_name}"])


# -- many


def many(
    cases: Iterable[Case],
    total: int,
    wishes: Wishes,
    *,
    foot: Foot | None = None,
    twice: bool = False,
    processes: int | None = None,
    dask: str = "",
    stop_after: int | None = None,
) -> int:
    """Run them all, tell each in a line, then what failed; the exit code."""
    foot = foot or Foot()
    kept: dict[int, Case] = {}
    verdicts: list[Verdict] = []
    begun = time.perf_counter()

    def drawn() -> Iterable[Case]:
        for case in cases:
            kept[case.seed] = case
            yield case

    def hear(verdict: Verdict) -> None:
        verdicts.append(verdict)
        if not wishes.as_json:
            foot.clear()
            wishes.output.write([report.line_of(verdict)])
        failed = sum(each.failed for each in verdicts)
        foot.show(pace(len(verdicts), total, failed, time.perf_counter() - begun))

    stopped = False
    foot.show(pace(0, total, 0, 0.0))
    try:
        sweep(
            drawn(),
            processes=processes,
            twice=twice,
            dask=dask,
            stop_after=stop_after,
            limit_s=wishes.limit_s or REAL_LIMIT_S,
            told=hear,
        )
    except KeyboardInterrupt:
        stopped = True
    finally:
        foot.clear()
    verdicts.sort(key=lambda verdict: verdict.seed)
    elapsed_s = time.perf_counter() - begun
    failed = [verdict for verdict in verdicts if verdict.failed]
    if not wishes.as_json:
        _tell_sweep(verdicts, kept, elapsed_s, total, wishes.output, stopped=stopped)
    small: Found | None = None
    files: dict[str, Any] = {}
    first = next((verdict for verdict in failed if verdict.promise), None)
    if first is not None and not stopped:
        small, files = _first_failure(kept[first.seed], first, wishes, foot)
    if wishes.timeline is not None and not (failed or stopped):
        why = f"nothing is drawn to {wishes.timeline}: no run of these failed; leave out --seeds to draw one that held"
        if wishes.as_json:
            foot.say(why)
        else:
            wishes.output.write([why])
    if wishes.as_json:
        more = {"stopped": stopped, "real_s": round(elapsed_s, 3), "files": files, "small": _small_as_json(small)}
        _write_json(wishes.output, report.sweep_as_json(verdicts, **more))
    code = BROKEN if failed else HELD if all(verdict.passed for verdict in verdicts) else NO_VERDICT
    return wishes.output.settled(INTERRUPTED if stopped else code)


def _first_failure(case: Case, verdict: Verdict, wishes: Wishes, foot: Foot) -> tuple[Found | None, dict[str, Any]]:
    """Make it small, write it down, draw it."""
    files: dict[str, Any] = {}
    small = _make_small(case, verdict, foot) if wishes.small else None
    if small is not None:
        files |= _small_files(small, wishes)
    elif wishes.timeline is not None:
        files |= _drawn(run(case, foot), wishes)
    if not wishes.as_json and small is not None:
        _tell_small(small, files, wishes.output)
    return small, files


def _tell_sweep(
    verdicts: Sequence[Verdict], kept: dict[int, Case], elapsed_s: float, total: int, output: Output, *, stopped: bool
) -> None:
    for kind in report.kinds_of(verdicts):
        lines = [
            "", f"{kind.promise} ({kind.checker}), {_seeds(kind.seeds)}",
            f"  {kind.said}", f"  it replays: {replay(kept[kind.seeds[0]])}",
        ]  # fmt: skip
        output.write(lines)
    late = [verdict for verdict in verdicts if verdict.given_up_s]
    if late:
        told = [f"{report.no_verdict(late[0])}, {_seeds([each.seed for each in late])}"]
        output.write(["", *told, f"  {report.more_time(late[0].given_up_s)}"])
    ended = f", ended by you with {total - len(verdicts)} to go" if stopped else ""
    summary = f"{report.summary_of(verdicts)} in {elapsed_s:.1f} s{ended}"
    output.write(["", summary, f"trace   {report.trace_of(verdicts)}"])


def _seeds(seeds: Sequence[int]) -> str:
    told = ", ".join(map(str, seeds[:MOST_SEEDS_TOLD]))
    more = f" and {len(seeds) - MOST_SEEDS_TOLD} more" if len(seeds) > MOST_SEEDS_TOLD else ""
    return f"{report.counted(len(seeds), 'seed')}: {told}{more}"


# -- failures made small


def _make_small(case: Case, verdict: Verdict, foot: Foot) -> Found | None:
    """The smallest that breaks the same; what is left when Ctrl-C ended the search; None when nothing was smaller."""
    lines = [line for line in case.text.splitlines() if line.partition("#")[0].strip()]
    if len(lines) <= FEW_LINES and not case.drawn:
        return None

    def told(left: Sequence[str], tries: int) -> None:
        foot.show(f"making it small: {report.counted(len(left), 'line')} left of {len(lines)}, {tries} tried")

    foot.show(f"making it small: {report.counted(len(lines), 'line')}")
    try:
        return shrink_case(case, verdict, told=told)
    except KeyboardInterrupt:
        foot.say("not made small: ended by you")
        return None
    finally:
        foot.clear()


def _small_files(small: Found, wishes: Wishes) -> dict[str, Any]:
    files: dict[str, Any] = {}
    with suppress(OSError):  # a directory that cannot be written to: the text is told all the same
        files["scenario"] = str(write_down(small, wishes.directory))
    if wishes.timeline is not None:
        files |= _drawn(run(small.case, Foot(live=False)), wishes)
    return files


def _tell_small(small: Found, files: dict[str, Any], output: Output) -> None:
    where = f"  ({files['scenario']})" if "scenario" in files else ""
    search = "" if small.minimal else ", and it may get smaller"
    lines = ["", f"made small: {report.counted(small.lines, 'line')} after {small.tries} tries{search}{where}", ""]
    lines += [f"    {line}" for line in small.text.splitlines() if not line.startswith("#")]
    lines += ["", f"  {report.first_line(small.verdict)}", f"  it replays: {replay(small.case)}"]
    if "timeline" in files:
        lines.append(f"  its picture: {files['timeline']}")
    elif "scenario" in files:
        lines.append(f"  see it: {replay(small.case)} --timeline {Path(files['scenario']).with_suffix('.html')}")
    output.write(lines)


def _small_as_json(small: Found | None) -> dict[str, Any] | None:
    if small is None:
        return None
    return {
        "text": small.text, "lines": small.lines, "seed": small.case.seed, "tries": small.tries,
        "minimal": small.minimal, "replay": replay(small.case), "said": small.verdict.said,
    }  # fmt: skip


def _write_json(output: Output, value: dict[str, Any]) -> None:
    output.write([json.dumps(value, indent=2 if sys.stdout.isatty() else None)])


def refused_if_unreadable(text: str, name: str) -> None:
    """Raises `Refused` for a scenario that cannot be read, before anything is prepared."""
    if not text.strip():
        raise Refused(f"{name} is empty", next_step="begin with a line such as: servers 4")
    parse(text, name=name)
