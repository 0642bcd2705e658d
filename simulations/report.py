"""What a run or a sweep is told as: lines and a table for people, one JSON object for programs. Pure.

    Told(case, verdict, outcome, scenario) --> table of promises, transcript, faults, trace, replay    one run
    summary_of(verdicts)                   --> passed, failed, which promise how often                  a sweep

Rules. A promise is said to hold only as far as somebody looked: what must never be is looked at all the time, what
must come right only where the scenario expects it, and a run that was ended early says so. JSON has everything,
people get what they can read. `trace` is the hash over all events of the run; of a sweep, over its runs' hashes. A run
that was given up for want of time has no verdict: it is counted neither among what passed nor among what failed.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulations.cases import Case, Verdict, first_line, replay
from simulations.marks import Mark
from simulations.promises import Checker, Watching
from simulations.timeline_layout import OWN, Picture, Span, lanes, spans

if TYPE_CHECKING:
    from simulations.history import Word
    from simulations.scenario import Outcome
    from simulations.steps import Scenario

PROMISES = {  # DESIGN section 1, in a line each
    "P1": "what was answered as committed is there after any crash, all else wholly or not at all",
    "P2": "nothing is believed that its owner did not sign",
    "P3": "every mirror gets every update, once and in its owner's order",
    "P4": "a server that any chain of willing servers can reach is reached",
    "P5": "an answer says what it is; only an owner says that there is no such object",
    "P6": "the same seed takes the same steps in every process",
    "bounds": "what others can make grow has a bound",
}
HEAD_LINES, TAIL_LINES = 24, 24  # of a transcript, for people
SHORT_TRACE = 16
MOST_ASKED = 160  # letters of what somebody asked


@dataclass(frozen=True)
class Told:
    """One run. `outcome`: None when nothing ran; `stopped`: it was ended by a person before its end."""

    case: Case
    verdict: Verdict
    outcome: Outcome | None
    scenario: Scenario
    checkers: tuple[Checker, ...] = ()
    stopped: bool = False
    real_s: float = 0.0
    asked: tuple[Mark, ...] = ()  # marks of the kind `operation`: `asked_of` makes them

    @property
    def servers(self) -> tuple[str, ...]:
        return lanes(self.outcome.marks if self.outcome else ())

    def faults(self) -> list[Span]:
        """What was broken, from when to when."""
        return spans(self.outcome.marks, self.outcome.seconds) if self.outcome else []

    def picture(self) -> Picture:
        """The run as its timeline shows it."""
        outcome = self.outcome
        broken_at = self.verdict.at or (outcome.seconds if outcome else 0.0)
        return Picture(
            title="a drawn scenario" if self.case.drawn else self.case.name,
            seed=self.case.seed,
            servers=self.servers,
            seconds=outcome.seconds if outcome else 0.0,
            marks=(*(outcome.marks if outcome else ()), *self.asked),
            trace=self.verdict.trace,
            replay=replay(self.case),
            events=self.verdict.events,
            broken=first_line(self.verdict) if self.verdict.promise else "",
            broken_at=broken_at if self.verdict.promise else None,
            real=self.case.real,
        )


def asked_of(words: Iterable[Word]) -> tuple[Mark, ...]:
    """What people asked, as marks for the timeline: done, refused, or of unknown outcome."""
    found = []
    for word in words:
        outcome = word.outcome.value if word.outcome.value in ("done", "refused") else "unknown"
        end = word.end_s if math.isfinite(word.end_s) else word.begin_s
        what = str(word).partition(" s: ")[2][:MOST_ASKED]
        details = {"begin": word.begin_s, "end": end, "outcome": outcome, "what": what}
        found.append(Mark(word.begin_s, "operation", (word.server,), "", details))
    return tuple(found)


# -- one run


def promises(told: Told) -> list[dict[str, str]]:
    """A row for each checker, and one for the scenario's own expectations: promise, looked at by, verdict."""
    done = [line[11:].partition("  -> ")[0].strip() for line in (told.outcome.transcript if told.outcome else ())]
    done = [line.partition(" ")[2].partition(" ")[2] if line.startswith("at ") else line for line in done]
    rows = []
    unjudged = dict(told.outcome.unjudged if told.outcome else ())
    for checker in told.checkers:
        looks = type(checker).look is not Watching.look
        ends = type(checker).finish is not Watching.finish
        expected = any(line.startswith(("expect every promise", f"expect {checker.name}")) for line in done)
        said = _verdict_of(told, checker, looks=looks, came_right=ends and expected)
        said += f" ({unjudged[checker.name]})" if checker.name in unjudged else ""
        rows.append({"promise": checker.promise, "checker": checker.name, "verdict": said})
    rows.sort(key=lambda row: row["promise"])
    wanted = [step for step in told.scenario.steps if step.does.startswith("expect ")]
    met = sum(line.startswith("expect ") for line in done)
    if wanted:
        failed = told.verdict.promise == "expectation"
        said = f"{met} of {len(wanted)} met" + (", then one FAILED" if failed else "")
        rows.append({"promise": "", "checker": "the scenario's expectations", "verdict": said})
    if told.verdict.promise == "code":
        rows.append({"promise": "", "checker": "the code", "verdict": f"BROKE: {told.verdict.checker}"})
    return rows


def _verdict_of(told: Told, checker: Checker, *, looks: bool, came_right: bool) -> str:
    verdict, outcome = told.verdict, told.outcome
    if (verdict.promise, verdict.checker) == (checker.promise, checker.name):
        return f"BROKEN at {verdict.at:.3f} s"
    until = f" until {outcome.seconds:.3f} s" if outcome and (told.stopped or verdict.promise) else ""
    if came_right:
        judged = dict(outcome.judged).get(checker.name, "") if outcome else ""
        if judged.startswith("no "):
            return f"{judged}{until}"
        much = f" ({judged})" if judged else ""
        return (f"held{until}, and came right" if looks else f"came right{until}") + much
    if not looks:
        return f"not looked at: expect {checker.name} within 60s" if not until else "not looked at"
    return f"held{until}"


def transcript(told: Told, *, head: int = HEAD_LINES, tail: int = TAIL_LINES) -> list[str]:
    """What happened, line by line; of a long one the beginning and the end."""
    lines = list(told.outcome.transcript) if told.outcome else []
    if len(lines) <= head + tail + 1:
        return lines
    left_out = len(lines) - head - tail
    return [*lines[:head], f"           ... {left_out} lines more (all of them: --json) ...", *lines[-tail:]]


def title(told: Told) -> str:
    """The run in a line."""
    outcome = told.outcome
    if outcome is None:
        return f"{told.case.name}, seed {told.case.seed}"
    faults = told.faults()
    speed = f" in {told.real_s:.1f} s" if told.real_s else ""
    ended = f", {no_verdict(told.verdict) or 'ended by you'}" if told.stopped else ""
    figures = [
        counted(len(told.servers), "server"),
        *([f"{outcome.seconds:.1f} real s, real processes"] if told.case.real else []),
        *([] if told.case.real else [f"{outcome.seconds:.1f} virtual s{speed}", counted(outcome.events, "event")]),
        counted(len(faults), "fault"),
        *([] if told.case.real else [counted(sum(mark.kind == "commit" for mark in outcome.marks), "update")]),
        *([f"{len(told.asked)} times asked"] if told.asked else []),
        *([f"planted: {told.case.planted}"] if told.case.planted else []),
    ]
    return f"{told.case.name}, seed {told.case.seed}: {', '.join(figures)}{ended}"


def as_json(told: Told) -> dict[str, Any]:
    """The report of one run."""
    outcome, verdict = told.outcome, told.verdict
    report: dict[str, Any] = {
        "scenario": told.case.name,
        "seed": told.case.seed,
        "passed": verdict.passed and not told.stopped,
        "stopped": told.stopped,
        "no_verdict": no_verdict(verdict) or None,
        "stood_at": list(outcome.stands) if outcome else [],
        "trace": verdict.trace,
        "events": verdict.events,
        "seconds": outcome.seconds if outcome else 0.0,
        "real_s": round(told.real_s, 3),
        "replay": replay(told.case),
        "planted": told.case.planted or None,
        "real": told.case.real,
        "servers": list(told.servers),
        "promises": promises(told),
        "broken": _broken(verdict) if verdict.promise else None,
        "differs": verdict.differs or None,
        "faults": [_fault(span) for span in told.faults()],
        "asked": dict(sorted(Counter(mark.details["outcome"] for mark in told.asked).items())),
        "updates": sum(mark.kind == "commit" for mark in (outcome.marks if outcome else ())),
        "transcript": list(outcome.transcript) if outcome else [],
        "text": told.case.text,
    }
    return report


def _broken(verdict: Verdict) -> dict[str, Any]:
    return {"promise": verdict.promise, "checker": verdict.checker, "at": verdict.at, "said": verdict.said}


def _fault(span: Span) -> dict[str, Any]:
    end = None if span.open else span.end
    return {"kind": span.kind, "servers": list(span.servers), "text": span.text, "begin": span.begin, "end": end}


# -- a sweep


@dataclass(frozen=True)
class Kind:
    """One kind of failure of a sweep: what was broken, and which seeds broke it. `said`: of the first of them."""

    promise: str
    checker: str
    seeds: tuple[int, ...]
    said: str
    alone: bool  # no other kind of the same sweep broke the same promise by the same checker


def kinds_of(verdicts: Iterable[Verdict]) -> list[Kind]:
    """The kinds of failures, the most frequent first."""
    seeds: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        if verdict.failed:
            seeds.setdefault(verdict.kind, []).append(verdict)
    broken = Counter((promise, checker) for promise, checker, _ in seeds)
    found = [
        Kind(promise, checker, tuple(each.seed for each in all_of), _said(all_of[0]), broken[promise, checker] == 1)
        for (promise, checker, _), all_of in seeds.items()
    ]
    return sorted(found, key=lambda kind: (-len(kind.seeds), kind.seeds))


def _said(verdict: Verdict) -> str:
    return first_line(verdict) if verdict.promise else f"not the same twice: {verdict.differs}"


def heading_of(kinds: Sequence[Kind]) -> str:
    """`3 kinds of failures in 17 seeds`."""
    failed = counted(sum(len(kind.seeds) for kind in kinds), "seed")
    return f"{len(kinds)} kind{'' if len(kinds) == 1 else 's'} of failures in {failed}"


def line_of(verdict: Verdict) -> str:
    """One seed of a sweep in a line."""
    if verdict.given_up_s:
        return f"seed {verdict.seed}: {no_verdict(verdict)}"
    what = f"seed {verdict.seed}: {verdict.events} events in {verdict.seconds:.1f} virtual s"
    if verdict.passed:
        return ", ".join((what, *verdict.unjudged, f"trace {verdict.trace[:SHORT_TRACE]}"))
    broken = f"{verdict.promise} ({verdict.checker})" if verdict.promise else "NOT THE SAME TWICE"
    return f"{what}, FAILED: {broken}: {verdict.differs or first_line(verdict)}"


def summary_of(verdicts: Sequence[Verdict]) -> str:
    """`98 passed, 2 failed`, and, where there are any, `, 1 without a verdict`."""
    passed, failed = sum(verdict.passed for verdict in verdicts), sum(verdict.failed for verdict in verdicts)
    neither = len(verdicts) - passed - failed
    return f"{passed} passed, {failed} failed" + (f", {neither} without a verdict" if neither else "")


def no_verdict(verdict: Verdict) -> str:
    """Why there is none; "" where there is one."""
    return f"no verdict: not done within {verdict.given_up_s:g} real s" if verdict.given_up_s else ""


def stands(told: Told) -> list[str]:
    """Of a run that was ended: the first lines that had begun and not ended, and who was paused."""
    if told.outcome is None:
        return []
    said = [f"it stood at {each}" for each in told.outcome.stands[:3]]
    return [f"  {each}" for each in (*said, told.outcome.paused) if each]


def more_time(limit_s: float) -> str:
    """What to do about it."""
    return f"ask for fewer servers or minutes, or give it more time: --limit {2 * limit_s:g}"


def trace_of(verdicts: Iterable[Verdict]) -> str:
    """One hash over the traces of a sweep, in the order of its seeds."""
    whole = hashlib.blake2b(digest_size=32)
    for verdict in verdicts:
        whole.update(f"{verdict.seed} {verdict.trace}\n".encode())
    return whole.hexdigest()


def sweep_as_json(verdicts: Sequence[Verdict], small: Mapping[int, Any], **more: Any) -> dict[str, Any]:
    """The report of a sweep. `small`: what failures became, by their seeds."""
    return {
        "seeds": len(verdicts),
        "passed": sum(verdict.passed for verdict in verdicts),
        "failed": sum(verdict.failed for verdict in verdicts),
        "without_verdict": sum(verdict.given_up_s > 0 for verdict in verdicts),
        "trace": trace_of(verdicts),
        **more,
        "kinds": [
            {
                "promise": kind.promise,
                "checker": kind.checker,
                "seeds": list(kind.seeds),
                "said": kind.said,
                "small": small.get(kind.seeds[0]),
            }
            for kind in kinds_of(verdicts)
        ],
        "runs": [_run(verdict) for verdict in verdicts],
    }


def _run(verdict: Verdict) -> dict[str, Any]:
    told: dict[str, Any] = {
        "seed": verdict.seed, "passed": verdict.passed, "trace": verdict.trace, "events": verdict.events,
        "seconds": verdict.seconds, "cpu_s": verdict.cpu_s,
    }  # fmt: skip
    if verdict.promise:
        told["broken"] = _broken(verdict)
    if verdict.differs:
        told["differs"] = verdict.differs
    if verdict.given_up_s:
        told["no_verdict"] = no_verdict(verdict)
    if verdict.unjudged:
        told["unjudged"] = list(verdict.unjudged)
    return told


# -- words


def counted(number: int, what: str) -> str:
    """`1 fault`, `41 235 events`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}".replace(",", " ")


def under_way(marks: Sequence[Any], down: Iterable[str]) -> list[str]:
    """Which faults last at this moment, for a display: the scenario's own words, and who is down."""
    lasting: Counter[str] = Counter()
    for mark in marks:
        if mark.kind == "fault" and mark.details.get("fault") not in OWN:
            if mark.details.get("ended"):
                lasting[mark.text] -= 1
            elif mark.details.get("lasting"):
                lasting[mark.text] += 1
    dead = list(down)
    told = [text for text, number in lasting.items() if number > 0]
    return [*told, *([f"down: {' '.join(dead)}"] if dead else [])]


def planned_s(scenario: Scenario) -> float:
    """About how many virtual seconds a scenario takes, by what it says itself; 0 when it does not."""
    runs = 0.0
    latest = 0.0
    for step in scenario.steps:
        if step.does.startswith("run "):
            number = step.does.split()[1]
            unit = number.lstrip("0123456789.")
            runs += float(number.removesuffix(unit)) * {"ms": 0.001, "s": 1.0, "m": 60.0}[unit]
        if step.at_s is not None:
            latest = max(latest, step.at_s + (step.for_s or 0.0))
    return max(runs, latest)


def part_of(done: float, whole: float) -> float:
    """A share of 0 to 1; of nothing planned 0."""
    return min(done / whole, 1.0) if whole > 0 and math.isfinite(done) else 0.0


def columns(rows: Sequence[Mapping[str, str]], heads: Sequence[str]) -> list[str]:
    """A table as lines: the columns of these names."""
    table = [list(heads), *([row.get(head, "") for head in heads] for row in rows)]
    widths = [max(len(row[at]) for row in table) for at in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
