"""One case: a scenario's text and a seed, run with every checker; what comes back is a verdict, in plain values.

    Case(text, seed) --run_case--> Verdict(trace, events, ..., broken="P1 durable")      both travel between processes

A verdict names what was broken so that two can be compared: the promise and its checker; for an expectation that
failed, its words; for code that broke, the kind of error and the function in which it arose. Whatever is raised in a
case is caught here: a sweep goes on. What a person needs to see the failure again is in `replay`.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shlex
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from identity.errors import BangpathError, LocalMistake, Refused

if TYPE_CHECKING:
    from simulations.promises import Checker
    from simulations.scenario import Outcome
    from simulations.steps import Scenario

MAX_TOLD = 4000  # characters of a failure's text
FIRST_WORDS = 5  # who, did what, to what; behind them stand values
_REFUSED_LINE = (
    "  no promise was seen broken: the line itself was refused. Mend it, or begin it with a time (at 3s ...), where it "
    "may be refused"
)


class Case(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to run. `drawn`: the options of `bangpath simulate` that draw this text, for the line that replays it.

    `planted`: a Python file whose `plant()` is entered round the run: a bug put in on purpose, for the tests of sweeps.
    `trace_to`: a file that gets every event of the trace, one a line. `checked`: with the checkers of all promises.
    `real`: on real processes, where there are neither (`simulations.real`).
    """

    seed: int
    text: str
    name: str = "scenario"
    drawn: tuple[str, ...] = ()
    planted: str = ""
    trace_to: str = ""
    checked: bool = True
    real: bool = False


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a case. `promise` "" is a case that passed; else "P1" and such, "expectation" or "code".

    `checker`: which checker, which expectation, or which error where. `cpu_s`: of the process that ran it.
    `given_up_s`: it was ended after so many real seconds: nothing was broken until then, and more is not known.
    """

    seed: int
    name: str = "scenario"
    trace: str = ""
    events: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    promise: str = ""
    checker: str = ""
    at: float = 0.0
    said: str = ""
    transcript: tuple[str, ...] = ()  # of a case that failed
    differs: str = ""  # the first event that a second run of it had otherwise
    unjudged: tuple[str, ...] = ()  # what checkers could not judge
    given_up_s: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.failed and not self.given_up_s

    @property
    def failed(self) -> bool:
        """Something was broken, or was not the same twice. Without a verdict it has neither passed nor failed."""
        return bool(self.promise or self.differs)

    @property
    def broken(self) -> tuple[str, str]:
        """What two failures must have in common to be the same one."""
        return self.promise, self.checker

    @property
    def kind(self) -> tuple[str, str, str]:
        """What failures of one kind have in common: what was broken, and the first words about it, without names."""
        if self.promise:
            return *self.broken, first_words(self)
        return ("P6", "not the same twice", "") if self.differs else ("", "", "")


def run_case(case: Case) -> Verdict:
    """Run it here and judge it. Raises only `Refused`, for a text that cannot be read or a bug that is not there."""
    return run_and_keep(case)[0]


def run_and_keep(case: Case, *, watching: Sequence[Checker] = ()) -> tuple[Verdict, Outcome | None]:
    """The same, and what was seen of the run. `watching`: who looks on beside the checkers, such as a display.

    What is raised beyond `Exception` (a Ctrl-C) goes through; `scenario.known_of` tells what was known until then.
    """
    from simulations.scenario import parse

    scenario = parse(case.text, name=case.name)
    if case.real:
        from simulations.real import check

        check(scenario)
    begun = time.process_time()
    with planted(case.planted):
        told, outcome = _judged(scenario, case, watching)
    if outcome is not None:
        told |= {"transcript": outcome.transcript} if told else {}
        told |= {"unjudged": tuple(f"{name}: {said}" for name, said in outcome.unjudged)}
        told |= {"trace": outcome.trace, "events": outcome.events, "seconds": round(outcome.seconds, 3)}
        if case.trace_to:
            Path(case.trace_to).write_text("\n".join(outcome.lines) + "\n", encoding="utf-8")
    verdict = Verdict(seed=case.seed, name=case.name, cpu_s=round(time.process_time() - begun, 3), **told)
    return verdict, outcome


def _judged(scenario: Scenario, case: Case, watching: Sequence[Checker]) -> tuple[dict[str, Any], Outcome | None]:
    """What was broken, as fields of a verdict, and what is known of the run, where it began at all."""
    from simulations.promises import PromiseBroken
    from simulations.scenario import known_of, run_scenario

    checkers = (*(every_checker() if case.checked and not case.real else ()), *watching)
    try:
        if case.real:
            from simulations.real import run_real

            outcome: Outcome = run_real(scenario, seed=case.seed, checkers=watching)
        else:
            outcome = run_scenario(scenario, seed=case.seed, checkers=checkers, keep=None if case.trace_to else 0)
    except PromiseBroken as error:
        told = {"promise": error.promise, "checker": error.checker, "at": error.at}
        return {**told, "said": "\n".join((str(error), *getattr(error, "__notes__", ())))}, known_of(error)
    except AssertionError as error:
        said = "\n".join((str(error), *(getattr(error, "__notes__", ()) if case.real else ())))
        return {"promise": "expectation", "checker": _expectation(said), "said": said}, known_of(error)
    except Exception as error:  # whatever the code under test raises is a finding
        if isinstance(error, BangpathError) and "step" in error.details:  # a line that nobody expected to fail
            step = str(error.details["step"])
            checker = f"{_expectation(step)}: {type(error).__name__}"
            said = f"{step}: {error} (seed {case.seed})"
            if type(error) in (Refused, LocalMistake):  # what is asked makes no sense as things stand
                said = f"{said}\n{_REFUSED_LINE}"
            return {"promise": "expectation", "checker": checker, "said": said}, known_of(error)
        return {"promise": "code", "checker": _arose(error), "said": _traceback(error)}, known_of(error)
    if (broken := outcome.broken) is None:
        return {}, outcome
    said = _LONG.sub(r"\1...", str(broken))[:MAX_TOLD]
    return {"promise": broken.promise, "checker": broken.checker, "at": broken.at, "said": said}, outcome


def every_checker() -> tuple[Any, ...]:
    """New checkers of all promises, for one run."""
    try:
        from simulations import checkers
    except ImportError:
        return ()
    return tuple(checkers.every_checker())


def replay(case: Case) -> str:
    """The one line that runs this case again: by its options when it was drawn, else by its file."""
    options = case.drawn or (case.name,)
    bug = ("--plant", case.planted) if case.planted else ()
    ground = ("--real",) if case.real else ()
    return shlex.join(["bangpath", "simulate", *options, "--seed", str(case.seed), *bug, *ground])


@contextlib.contextmanager
def planted(path: str) -> Iterator[None]:
    """While it lasts, the code has the bug that the file's `plant()` puts in. Without a path: nothing."""
    if not path:
        yield
        return
    spec = importlib.util.spec_from_file_location(f"planted_{Path(path).stem}", path)
    if spec is None or spec.loader is None or not Path(path).exists():
        raise Refused(f"no Python file {path} to plant", next_step="name one that has a context manager plant()")
    module = importlib.util.module_from_spec(spec)
    with contextlib.ExitStack() as stack:
        try:
            spec.loader.exec_module(module)
            stack.enter_context(_plant_of(module, path))
        except Refused:
            raise
        except Exception as error:
            raise Refused(
                f"{path}{_line_in(path, error)} cannot be planted: {type(error).__name__}: {error}",
                next_step="plant() is a context manager, without arguments, that puts a bug in and takes it out again",
            ) from error
        yield


def _plant_of(module: Any, path: str) -> contextlib.AbstractContextManager[Any]:
    if not hasattr(module, "plant"):
        raise Refused(f"{path} has no plant()", next_step="write a context manager of that name in it")
    planting: contextlib.AbstractContextManager[Any] = module.plant()
    return planting


def _line_in(path: str, error: BaseException) -> str:
    """`:3`, of the last line of this file that an error came through; "" where it came through none."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f":{frame.lineno}" for frame in frames if Path(frame.filename).absolute() == Path(path).absolute()]
    return lines[-1] if lines else ""


# -- what a failure is called

_LONG = re.compile(r"([0-9a-f]{16})[0-9a-f]{48,}")  # what large objects are made of: nobody reads it
_FLOORS = ("identity", "transport", "store", "routing", "replication", "node", "simulations")


def _expectation(said: str) -> str:
    """`first.txt:9: expect 1.2 has all of 1.1: ...` is `expect N has all of N`: servers are renamed in shrinking."""
    step = re.sub(r"^\S+:\d+: ", "", said).partition(": ")[0]
    return re.sub(r"\d[\w.]*", "N", step)[:100]


def first_line(verdict: Verdict) -> str:
    """What was broken, in a line: of a traceback the error, which stands below the last frame."""
    lines = [line for line in verdict.said.strip().splitlines() if line.strip()]
    if not lines:
        return verdict.checker or verdict.promise
    frames = [number for number, line in enumerate(lines) if line.startswith(" ")]
    below = frames[-1] + 1 if verdict.promise == "code" and frames else 0
    return lines[min(below, len(lines) - 1)].strip()


def first_words(verdict: Verdict) -> str:
    """`P1 broken (no lost commits) at 3.500 s: 1.2 lost 1.2/7: it has nothing` begins with `N lost N: it has`."""
    said = re.sub(r"^\S+:\d+: |^\w+ broken \(.*?\) at [\d.]+ s: ", "", first_line(verdict))
    if verdict.promise == "expectation":  # the line of the scenario, which is the checker's name, comes first
        said = said.partition(": ")[2]
    return " ".join(re.sub(r"\d[\w.:/-]*", "N", said).split()[:FIRST_WORDS])


def _arose(error: BaseException) -> str:
    """`KeyError in pump.carry_out`: the kind of error, and the innermost function of ours that it came through."""
    error = _alone(error)
    ours = [
        f"{Path(frame.filename).stem}.{frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).parent.name in _FLOORS or Path(frame.filename).parent.parent.name in _FLOORS
    ]
    return f"{type(error).__name__} in {ours[-1] if ours else 'the run'}"


def _traceback(error: BaseException) -> str:
    return "".join(traceback.format_exception(_alone(error)))[-MAX_TOLD:]


def _alone(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
