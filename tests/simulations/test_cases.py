"""One case judged: what passes, what breaks a promise, what raises, and what each failure is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from identity.errors import Refused
from simulations import cases
from simulations.cases import Case, Verdict, first_line, first_words, replay, run_case
from simulations.linearize import linearize
from simulations.promises import PromiseBroken

TEXT = "servers 2\nclass Note text:string\n1.1 mirrors 1\n1 commits 3 Note\nexpect 1.1 has all of 1 within 10s\n"
EARLY = TEXT.replace("within 10s", "within 1ms")


class Grumble:
    """A checker that does not like a minute."""

    name, promise = "grumble", "P9"

    def begin(self, world: Any) -> None:
        pass

    def look(self, world: Any) -> None:
        if world.now > 3:
            raise PromiseBroken(self.promise, self.name, world.now, f"it has been too long since {'7b' * 5000}")

    def finish(self, world: Any) -> str:
        return ""


def test_a_case_that_passes() -> None:
    verdict = run_case(Case(seed=3, text=TEXT))
    assert verdict.passed
    assert verdict.events > 50
    assert len(verdict.trace) == 64
    assert verdict.transcript == ()
    assert verdict.trace == run_case(Case(seed=3, text=TEXT)).trace != run_case(Case(seed=4, text=TEXT)).trace


def test_an_expectation_that_fails_is_called_by_its_words() -> None:
    verdict = run_case(Case(seed=3, text=EARLY, name="early.txt"))
    assert verdict.broken == ("expectation", "expect N has all of N within N")
    assert "early.txt:5" in verdict.said
    assert len(verdict.transcript) == 3
    assert verdict.events > 20
    assert not verdict.passed


def test_a_broken_promise_is_called_by_its_checker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "every_checker", lambda: (Grumble(),))
    verdict = run_case(Case(seed=3, text=TEXT + "run 20s\n"))
    assert verdict.broken == ("P9", "grumble")
    assert 3 < verdict.at < 3.5
    assert verdict.said.endswith(f"it has been too long since {'7b' * 20}...(10000 characters)")
    assert run_case(Case(seed=3, text=TEXT + "run 20s\n", checked=False)).passed


def test_code_that_breaks_is_called_by_its_error_and_place(tmp_path: Path) -> None:
    bug = tmp_path / "bug.py"
    bug.write_text(
        "import contextlib\nfrom store.records import Stored\nfrom node.node import Node\n"
        "@contextlib.contextmanager\ndef plant():\n"
        "    before = Node.query\n"
        "    async def query(self, *args, **how): raise KeyError('lost')\n"
        "    Node.query = query\n    try: yield\n    finally: Node.query = before\n"
    )
    case = Case(seed=3, text=TEXT + "1 asks Note\n", planted=str(bug))
    verdict = run_case(case)
    assert verdict.broken == ("code", "KeyError in history.query")
    assert "KeyError: 'lost'" in verdict.said
    assert run_case(msgspec.structs.replace(case, planted="")).passed


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(Refused, match="3: 'dance' is nothing a scenario can do"):
        run_case(Case(seed=1, text="servers 2\n\ndance", name="bad.txt"))
    with pytest.raises(Refused, match=r"no Python file /nowhere\.py to plant"):
        run_case(Case(seed=1, text=TEXT, planted="/nowhere.py"))


def test_every_event_is_written_down(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    verdict = run_case(Case(seed=3, text=TEXT, trace_to=str(trace)))
    lines = trace.read_text().splitlines()
    assert len(lines) == verdict.events
    assert any(" deliver " in line for line in lines)


def test_it_travels_as_json() -> None:
    case = Case(seed=3, text=TEXT, drawn=("--nodes", "2"))
    assert msgspec.json.decode(msgspec.json.encode(case), type=Case) == case
    verdict = Verdict(seed=3, promise="P1", checker="durable", transcript=("a", "b"))
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict


def test_the_line_that_replays() -> None:
    assert replay(Case(seed=7, text="", name="first mesh.txt")) == "bangpath simulate 'first mesh.txt' --seed 7"
    drawn = Case(seed=7, text="", name="seed-7", drawn=("--nodes", "5", "--minutes", "1"))
    assert replay(drawn) == "bangpath simulate --nodes 5 --minutes 1 --seed 7"


def test_what_a_checker_could_not_judge_stands_in_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "servers 2\nclass Note text:string\n1.1 commits 1 Note\nrun 1s\n"
    assert run_case(Case(seed=1, text=text)).unjudged == ()
    monkeypatch.setattr(
        "simulations.check_linearizable.linearize", lambda *given, **more: linearize(*given, **more, budget=0)
    )
    told = run_case(Case(seed=1, text=text))
    assert told.passed
    assert told.unjudged == ("linearizable owners: not judged: 1 object, too many orders",)


TRACEBACK = (
    "Traceback (most recent call last):\n  File \"pump.py\", line 3, in run\n    x\nKeyError: 'x'\n"
    "seed 7; it replays: the same call with seed=7 takes the same steps"
)


@pytest.mark.parametrize(
    ("verdict", "line"),
    [
        (Verdict(seed=7, promise="code", checker="KeyError in pump.run", said=TRACEBACK), "KeyError: 'x'"),
        (Verdict(seed=7, promise="code", checker="the process: exit -9"), "the process: exit -9"),
        (Verdict(seed=7, promise="P1", checker="x", said="P1 broken (x): a\nb"), "P1 broken (x): a"),
    ],
)
def test_a_failure_in_a_line(verdict: Verdict, line: str) -> None:
    assert first_line(verdict) == line


@pytest.mark.parametrize(
    ("promise", "said", "words"),
    [
        ("P1", "P1 broken (no lost commits) at 3.500 s: 1.2 lost 1.2/7: it has nothing, and", "N lost N it has"),
        ("expectation", "long.txt:9: expect converged within 2s: 1.2 has 3 of 5 updates of 1", "N has N of N"),
        ("code", TRACEBACK, "KeyError: 'x'"),
    ],
)
def test_the_first_words_name_nobody(promise: str, said: str, words: str) -> None:
    assert first_words(Verdict(seed=7, promise=promise, checker="x", said=said)) == words


def test_a_line_that_fails_as_its_server_crashes_is_told_and_not_the_crash() -> None:
    text = "servers 3\nrun 2s\ncrash 1.2 at sync 1\n1.2 mirrors 1 as backup\nrun 2s\n"
    verdict = run_case(Case(seed=1, text=text, name="story"))
    assert verdict.promise == "expectation"
    assert verdict.said.startswith("story:4: 1.2 mirrors 1 as backup: the change was written")
