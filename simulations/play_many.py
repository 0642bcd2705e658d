"""What `bangpath simulate --seeds` does: many runs, a line each; then what failed, by kinds, each kind made small.

    sweep --> a line a seed --> kinds of failures: same promise, same checker, same first words about it
                                  the most frequent ones, --shrink of them, made small, each in its own file

Making small may take `failure.PATIENCE_S` in all, which is said before it begins; each kind has an equal part of what
is left of that. The picture that somebody wished is of the first.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from simulations import report
from simulations.cases import Case, Verdict, replay
from simulations.failure import PATIENCE_S
from simulations.output import Output
from simulations.play import (
    BROKEN,
    HELD,
    INTERRUPTED,
    NO_VERDICT,
    Wishes,
    drawn,
    make_small,
    run,
    small_as_json,
    small_files,
    tell_small,
    write_json,
)
from simulations.progress import Foot, pace
from simulations.sweep import sweep
from simulations.worker import REAL_LIMIT_S

MOST_SEEDS_TOLD = 12  # of one kind of failure


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

    def remembered() -> Iterator[Case]:
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
    limit_s = wishes.limit_s or REAL_LIMIT_S
    try:
        with foot.ticking():
            sweep(
                remembered(),
                processes=processes,
                twice=twice,
                dask=dask,
                stop_after=stop_after,
                limit_s=limit_s,
                told=hear,
            )
    except KeyboardInterrupt:
        stopped = True
    finally:
        foot.clear()
    verdicts.sort(key=lambda verdict: verdict.seed)
    elapsed_s = time.perf_counter() - begun
    failed = any(verdict.failed for verdict in verdicts)
    if not wishes.as_json:
        _tell(verdicts, kept, elapsed_s, total, wishes.output, stopped=stopped)
    small, files = ({}, {}) if stopped else _made_small(verdicts, kept, wishes, foot)
    if wishes.timeline is not None and not (failed or stopped):
        why = f"nothing is drawn to {wishes.timeline}: no run of these failed; leave out --seeds to draw one that held"
        if wishes.as_json:
            foot.say(why)
        else:
            wishes.output.write([why])
    if wishes.as_json:
        more = {"stopped": stopped, "real_s": round(elapsed_s, 3), "files": files}
        write_json(wishes.output, report.sweep_as_json(verdicts, small, **more))
    code = BROKEN if failed else HELD if all(verdict.passed for verdict in verdicts) else NO_VERDICT
    return wishes.output.settled(INTERRUPTED if stopped else code)


# -- what failed


def _made_small(
    verdicts: Sequence[Verdict], kept: Mapping[int, Case], wishes: Wishes, foot: Foot
) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    """The first failure of each of the most frequent kinds made small, written down and told; the first one drawn.

    Gives what JSON says of each, by its seed, and the files of the first.
    """
    first = {verdict.seed: verdict for verdict in verdicts if verdict.promise}
    kinds = [kind for kind in report.kinds_of(verdicts) if kind.seeds[0] in first]
    some = kinds[: wishes.small]
    if some and not wishes.as_json:
        which = "it" if len(kinds) == 1 else f"{len(some)} of {len(kinds)}"
        wishes.output.write(
            ["", f"making {which} small, within {PATIENCE_S / 60:g} real minutes; --shrink 0 leaves it"]
        )
    until = time.monotonic() + PATIENCE_S
    small: dict[int, dict[str, Any]] = {}
    files: dict[str, Any] = {}
    for left, kind in zip(range(len(some), 0, -1), some, strict=True):
        seed, patience_s = kind.seeds[0], max(until - time.monotonic(), 0.0) / left
        found = make_small(
            kept[seed], first[seed], foot, directory=wishes.directory, patience_s=patience_s, same_kind=not kind.alone
        )
        if found is not None and found.worth_telling:
            made = small_files(found, replace(wishes, timeline=None) if files else wishes)
            files = files or made
            small[seed] = {**small_as_json(found), "files": made}
            if not wishes.as_json:
                tell_small(found, made, wishes.output)
        if found is not None and found.stopped:
            break
    if kinds and wishes.timeline is not None and "timeline" not in files:
        files |= drawn(run(kept[kinds[0].seeds[0]], foot), wishes)
    return small, files


def _tell(
    verdicts: Sequence[Verdict],
    kept: Mapping[int, Case],
    elapsed_s: float,
    total: int,
    output: Output,
    *,
    stopped: bool,
) -> None:
    """For people: the kinds of failures, what has no verdict, and how many there are of everything."""
    kinds = report.kinds_of(verdicts)
    if kinds:
        output.write(["", report.heading_of(kinds)])
    for kind in kinds:
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
