"""A failure of a sweep made small, and told: the lines that are left, the promise they break, how to see it again.

    Case + Verdict --shrink, each candidate run in a worker--> Found
                                                                 # P1 broken (durable) at 12.250 s: ...
    candidate breaks   when under one of its seeds               # bangpath simulate failure-17.txt --seed 17
                       the same promise is broken                servers 2
                       by the same checker                       1.1 commits 1 Note
                                                                 crash 1.1

What is smaller takes other steps, so a candidate may need another seed to show the same failure. So it is made small
twice: with the seed as found, then, if it is still longer than a person likes to read, with some seeds more.

A failure of liveness (it is none when the lines before the last `heal` break as well) keeps its `heal` and what it
expected after it, and every fault begins before that `heal`: else the smallest failure would be a mesh that nobody
mended.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from identity.errors import LocalMistake, Refused
from simulations.cases import Case, Verdict, replay
from simulations.shrink import TRIES, Lines, anonymous, shrink
from simulations.steps import SECONDS, seconds
from simulations.sweep import FIRST_HASH_SEED
from simulations.worker import Worker

FEW_LINES = 10  # what a person reads at a glance
MORE_SEEDS = 4
PATIENCE_S = 900.0  # real seconds of all that one command makes small; a drawn minute takes one or two hundred
HEAD_BYTES = 10_000  # of a line that says what a failure broke, at most
LIMIT_S = 120.0  # real seconds of one candidate: shrinking must not make a hang of it

_RUN = re.compile(rf"run {SECONDS}")
_AT = re.compile(rf"at {SECONDS} .*")


@dataclass(frozen=True)
class Found:
    """A failure as small as it got: `case` runs it, `verdict` is what it gives.

    `stopped`: by Ctrl-C. `smaller`: than it was when the search began.
    """

    case: Case
    verdict: Verdict
    tries: int
    minimal: bool
    stopped: bool = False
    smaller: bool = True

    @property
    def text(self) -> str:
        """The scenario as a file that says what it breaks and how to run it."""
        said = self.verdict.said.strip().partition("\n")[0]
        head = [f"# {self.verdict.checker if self.verdict.promise == 'code' else said}", f"# {replay(self.case)}"]
        return "\n".join([*head, self.case.text.rstrip("\n")]) + "\n"

    @property
    def worth_telling(self) -> bool:
        """Whether it is more than what was known before: smaller, or known to get no smaller."""
        return self.smaller or self.minimal

    @property
    def lines(self) -> int:
        return len(self.case.text.splitlines())


def shrink_case(
    case: Case,
    verdict: Verdict,
    *,
    tries: int = TRIES,
    few: int = FEW_LINES,
    patience_s: float = PATIENCE_S,
    same_kind: bool = False,
    told: Callable[[Lines, int], None] = lambda lines, tries: None,
) -> Found:
    """The smallest case found that breaks what this one broke. `told` hears of each smaller one and the tries so far.

    `patience_s`: real seconds after which it ends with what it has, as it does at Ctrl-C. `same_kind`: what is smaller
    must also be told in the same first words: for sweeps that have more failures of the same promise and checker.
    Raises `LocalMistake` for a case that passed.
    """
    if not verdict.promise:
        raise LocalMistake(f"seed {case.seed} of {case.name} passed: there is nothing to make small")
    small = _Shrinking(case, verdict, patience_s, same_kind=same_kind)
    minimal, stopped = False, False
    try:
        lines = small.without_end(tuple(case.text.splitlines()))
        shrunk = shrink(lines, small.breaks, keep=small.keep, tries=tries, told=lambda each: told(each, small.tries))
        if len(shrunk.lines) > few and small.tries < tries:
            small.seeds = MORE_SEEDS
            left = tries - small.tries
            shrunk = shrink(
                shrunk.lines, small.breaks, keep=small.keep, tries=left, told=lambda each: told(each, small.tries)
            )
        minimal = shrunk.minimal and not small.impatient
    except KeyboardInterrupt:
        stopped = True
    finally:
        small.close()
    return Found(small.case, small.verdict, small.tries, minimal, stopped, small.case.text != case.text)


class _Shrinking:
    """The predicate: runs candidates in a process, and remembers the last case that broke."""

    def __init__(self, case: Case, verdict: Verdict, patience_s: float, *, same_kind: bool) -> None:
        file = Path(case.name)
        read = not case.drawn and file.suffix == ".txt"
        name = f"small-{file.stem}-{case.seed}.txt" if read else f"failure-{case.seed}.txt"
        self.case = msgspec.structs.replace(case, name=name, drawn=())
        self.verdict = verdict
        self.tries = 0
        self.seeds = 1
        self.until = time.monotonic() + patience_s
        self._same_kind = same_kind
        self._target = self._seen(verdict)
        mended = any(line.endswith("  heal") for line in verdict.transcript)
        self._kept = kept_of(case, verdict) if mended else frozenset()
        self._worker: Worker | None = None

    def keep(self, line: str) -> bool:
        """What a failure of liveness must go on saying."""
        return anonymous(line) in self._kept

    def without_end(self, lines: Lines) -> Lines:
        """The lines before the last `heal`, if they break without it: then it is safety that failed, not liveness."""
        end = max((number for number, line in enumerate(lines) if line.strip() == "heal"), default=0)
        kept, self._kept = self._kept, frozenset()
        if kept and end and self.breaks(lines[:end]):
            return lines[:end]
        self._kept = kept
        return lines

    def breaks(self, lines: Lines) -> bool:
        text = "\n".join(lines) + "\n"
        if self.impatient or not reads(text) or (self._kept and not mended_after_all(lines)):
            return False
        self.tries += 1
        seeds = dict.fromkeys([self.case.seed, *range(1, self.seeds)])
        for seed in seeds:
            case = msgspec.structs.replace(self.case, text=text, seed=seed)
            verdict = self._run(case)
            if self._seen(verdict) == self._target:
                self.case, self.verdict = case, verdict
                return True
        return False

    def _seen(self, verdict: Verdict) -> tuple[str, ...]:
        return verdict.kind if self._same_kind else verdict.broken

    @property
    def impatient(self) -> bool:
        return time.monotonic() > self.until

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()

    def _run(self, case: Case) -> Verdict:
        if self._worker is None or not self._worker.alive:
            self.close()
            self._worker = Worker(hash_seed=FIRST_HASH_SEED)
        return self._worker.judge(case, limit_s=min(LIMIT_S, max(self.until - time.monotonic(), 0.0)))


def kept_of(case: Case, verdict: Verdict) -> frozenset[str]:
    """The lines, without names, that a failure must keep which came after a `heal`."""
    failed = re.match(r"\S+:\d+: (expect .+?): ", verdict.said) if verdict.promise == "expectation" else None
    promised = ("expect every promise", f"expect {verdict.checker}")
    expected = [failed[1]] if failed else [line for line in case.text.splitlines() if line.startswith(promised)]
    return frozenset(anonymous(line) for line in ("heal", *expected))


def reads(text: str) -> bool:
    """Whether a scenario can be read."""
    from simulations.scenario import parse

    try:
        parse(text)
    except Refused:
        return False
    return True


def mended_after_all(lines: Lines) -> bool:
    """Whether every timed line begins before the last `heal`, as far as the `run` lines before it say."""
    last = max((number for number, line in enumerate(lines) if line == "heal"), default=-1)
    run = sum(seconds(found[1], found[2]) for line in lines[: max(last, 0)] if (found := _RUN.fullmatch(line)))
    timed = [seconds(found[1], found[2]) for line in lines if (found := _AT.fullmatch(line))]
    return last >= 0 and all(each <= run for each in timed)


def out_of_the_way(found: Found, directory: Path) -> Found:
    """The same under a name that no file of somebody else's has there: `failure-7-2.txt`."""
    first, number = Path(found.case.name), 1
    while _is_of_others(directory / found.case.name):
        number += 1
        name = f"{first.stem}-{number}{first.suffix}"
        said = found.verdict.said.replace(f"{found.case.name}:", f"{name}:")
        found = replace(
            found,
            case=msgspec.structs.replace(found.case, name=name),
            verdict=msgspec.structs.replace(found.verdict, name=name, said=said),
        )
    return found


def _is_of_others(path: Path) -> bool:
    """Whether something is there that is no failure which was written down before."""
    try:
        with path.open("rb") as file:
            head = file.readline(HEAD_BYTES), file.readline(HEAD_BYTES)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return not (head[0].startswith(b"# ") and head[1].startswith(b"# bangpath simulate "))


def write_down(found: Found, directory: Path) -> Path:
    """The small failure as a file, named for its case."""
    path = directory / found.case.name
    path.write_text(found.text, encoding="utf-8")
    return path
