"""A process that runs cases, seen from both sides: `python -m simulations.worker` and who started it.

    Worker.judge(case)  --one line of JSON-->  python -m simulations.worker  --one line of JSON-->  Verdict
                                               PYTHONHASHSEED=n, its own address layout

A worker runs one case after another. One that dies gives a verdict all the same: "code", with what it wrote to standard
error last. One that does not answer within the real time allowed is killed, and there is no verdict (`given_up_s`):
large meshes and slow machines take long, and code that never lets time go on is told before that, by the run itself
(`watchdog.py`). What a case prints cannot spoil the lines: standard output is the worker's alone, and the case's goes
to standard error. A case that cannot be read is told as "refused": whoever makes cases reads them first.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
from types import TracebackType
from typing import Any

import msgspec

from identity.errors import Refused
from simulations.cases import Case, Verdict, run_case

REAL_LIMIT_S = 600.0  # a case of 5 servers and a minute takes a few; what takes longer is seldom meant (`estimate.py`)
_TOLD_BYTES = 4000

_READ_VERDICT = msgspec.json.Decoder(Verdict)
_READ_CASE = msgspec.json.Decoder(Case)


class Worker:
    """One process that runs cases. Not for several threads at a time."""

    def __init__(self, *, hash_seed: int, limit_s: float = REAL_LIMIT_S) -> None:
        self._limit_s = limit_s
        self._errors: Any = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the process; closed by `close`
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "simulations.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": path},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def judge(self, case: Case, *, limit_s: float | None = None) -> Verdict:
        """What became of the case; also where it took the process with it, or took too long.

        `limit_s`: real seconds for this one; None: as for all.
        """
        limit_s = self._limit_s if limit_s is None else limit_s
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(limit_s, give_up)
        timer.start()
        try:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(msgspec.json.encode(case) + b"\n")
                self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if line:
            return _READ_VERDICT.decode(line)
        self._process.wait()
        if late.is_set():
            return Verdict(seed=case.seed, name=case.name, given_up_s=limit_s)
        what = f"the process: exit {self._process.returncode}"
        return Verdict(seed=case.seed, name=case.name, promise="code", checker=what, said=self._last_words())

    def close(self) -> None:
        """End the process; what it runs is lost."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]  # all three were asked for

    def _last_words(self) -> str:
        end = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(end - _TOLD_BYTES, 0))
        return str(self._errors.read().decode(errors="replace"))


def main() -> None:
    """Read cases from standard input, a line each, until it ends; answer each with a line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us, who ends us
    gc.disable()  # each run begins by collecting (garbage.py); at its end, all of it is still in use
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        case = _READ_CASE.decode(line)
        try:
            verdict = run_case(case)
        except Refused as refused:
            verdict = Verdict(seed=case.seed, name=case.name, promise="code", checker="refused", said=str(refused))
        answers.write(msgspec.json.encode(verdict) + b"\n")
        answers.flush()


if __name__ == "__main__":
    main()
