"""Many cases on all cores, or on several machines; with `twice`, each a second time in a fresh process.

    cases --> [thread: its worker process] --> verdicts, in the order of the cases
                  |  twice: another process, born for this one case, under another PYTHONHASHSEED
                  '--> traces differ? both again, every event written down --> the first event that differs

Promise: the verdicts are the same on one core, on all, and on the machines of a Dask cluster: a verdict depends on its
case alone. That they are the same in a second process is what `twice` looks at; a verdict whose trace differed says so
in `differs`, with the first event. `told` hears of each verdict when it is there, in any order.

A worker runs many cases one after another and the second process only one: so what a case leaves behind in its process
is found too, when it changes the next.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from simulations.cases import Case, Verdict
from simulations.trace import first_difference_of
from simulations.worker import REAL_LIMIT_S, Worker

FIRST_HASH_SEED = 1  # of the long-lived workers; the second process of a case takes another one for each seed
MAX_HASH_SEED = 4_294_967_295

Told = Callable[[Verdict], None]


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sweep(
    cases: Iterable[Case],
    *,
    processes: int | None = None,
    twice: bool = False,
    dask: str = "",
    stop_after: int | None = None,
    limit_s: float = REAL_LIMIT_S,
    told: Told = lambda verdict: None,
) -> list[Verdict]:
    """The verdicts of all cases, in their order. `stop_after` so many failures no further case is begun; after
    `limit_s` real seconds a case is given up.

    `dask`: the address of a scheduler, whose workers must have Bangpath installed in this version.
    """
    if dask:
        from simulations.sweep_dask import sweep_on_dask

        return sweep_on_dask(cases, address=dask, twice=twice, stop_after=stop_after, limit_s=limit_s, told=told)
    judges, pool = Judges(twice=twice, limit_s=limit_s), ThreadPoolExecutor(processes or cores())
    try:
        return gather(lambda case: pool.submit(judges.judge, case), cases, (processes or cores()) * 2, stop_after, told)
    finally:  # all is done, or somebody pressed Ctrl-C: then what is under way is given up
        pool.shutdown(wait=False, cancel_futures=True)
        judges.close()
        pool.shutdown()
        judges.close()  # of those that were begun meanwhile


def gather(
    submit: Callable[[Case], Future[Verdict]],
    cases: Iterable[Case],
    most: int,
    stop_after: int | None,
    told: Told,
) -> list[Verdict]:
    """Keep `most` cases under way until all have their verdict, or enough have failed."""
    waiting = iter(enumerate(cases))
    under_way: dict[Future[Verdict], int] = {}
    found: dict[int, Verdict] = {}
    failed = 0
    while True:
        if stop_after is None or failed < stop_after:
            for number, case in islice(waiting, most - len(under_way)):
                under_way[submit(case)] = number
        if not under_way:
            return [found[number] for number in sorted(found)]
        done, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda each: under_way[each]):
            verdict = found[under_way.pop(future)] = future.result()
            failed += verdict.failed
            told(verdict)


class Judges:
    """Each thread's own worker process. `judge` may be called by any number of threads."""

    def __init__(self, *, twice: bool, limit_s: float = REAL_LIMIT_S) -> None:
        self._twice = twice
        self._limit_s = limit_s
        self._mine = threading.local()
        self._all: list[Worker] = []
        self._lock = threading.Lock()

    def __enter__(self) -> Judges:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def judge(self, case: Case) -> Verdict:
        """The verdict of one case, looked at twice where that is asked for."""
        verdict = self._worker().judge(case)
        if not self._twice or verdict.given_up_s or verdict.checker.startswith("the process"):
            return verdict
        with Worker(hash_seed=other_hash_seed(case.seed), limit_s=self._limit_s) as fresh:
            again = fresh.judge(case)
        if again.given_up_s:  # whether it is the same twice is not known; what the first time broke is
            return verdict if verdict.failed else again
        if (again.trace, again.broken) == (verdict.trace, verdict.broken):
            return verdict
        return msgspec.structs.replace(verdict, differs=self._difference(case, verdict, again))

    def close(self) -> None:
        """End all processes, whatever they run."""
        with self._lock:
            for worker in self._all:
                worker.close()
            self._all.clear()

    def _worker(self) -> Worker:
        worker: Worker | None = getattr(self._mine, "worker", None)
        if worker is None or not worker.alive:
            worker = self._mine.worker = Worker(hash_seed=FIRST_HASH_SEED, limit_s=self._limit_s)
            with self._lock:
                self._all.append(worker)
        return worker

    def _difference(self, case: Case, verdict: Verdict, again: Verdict) -> str:
        """Run it twice more, every event written down, and say which is the first that differs."""
        with tempfile.TemporaryDirectory(prefix="bangpath-traces-") as directory:
            traces = [Path(directory, name) for name in ("one", "other")]
            for trace, hash_seed in zip(traces, (FIRST_HASH_SEED, other_hash_seed(case.seed)), strict=True):
                with Worker(hash_seed=hash_seed, limit_s=self._limit_s) as worker:
                    worker.judge(msgspec.structs.replace(case, trace_to=str(trace)))
            one, other = [_lines(trace) for trace in traces]
        if first := first_difference_of(one, other):
            return first
        told = f"{verdict.events} events and {verdict.trace[:16]} against {again.events} and {again.trace[:16]}"
        return f"{told}; two more runs, both in fresh processes, were equal: look for what a case leaves behind"


def other_hash_seed(seed: int) -> int:
    """A PYTHONHASHSEED that is not the workers', another one for each seed."""
    return (seed * 7919 + 2) % (MAX_HASH_SEED - 2) + 2


def _lines(trace: Path) -> Iterator[str]:
    return iter(trace.read_text(encoding="utf-8").splitlines() if trace.exists() else [])


def drawn_cases(seeds: Iterable[int], **drawing: Any) -> Iterator[Case]:
    """A case for each seed, drawn by `schedule.draw(seed, **drawing)`; each is drawn when it is its turn."""
    from simulations.schedule import draw, said_as_options

    options = said_as_options(**drawing)
    for seed in seeds:
        yield Case(seed=seed, text=draw(seed, **drawing), name=f"seed-{seed}", drawn=options)


def text_cases(seeds: Iterable[int], text: str, *, name: str) -> Iterator[Case]:
    """The same scenario under each seed. Raises `Refused` for one that cannot be read, before anything runs."""
    from simulations.scenario import parse

    parse(text, name=name)
    for seed in seeds:
        yield Case(seed=seed, text=text, name=name)
