"""A process that runs cases: what it answers, and what is answered in its place when it dies or hangs."""

from __future__ import annotations

from pathlib import Path

from simulations.cases import Case, Verdict, run_case
from simulations.worker import Worker

TEXT = "servers 2\nclass Note text:string\n1 commits 3 Note\n"


def plants(tmp_path: Path, does: str) -> str:
    """A file whose bug is done as soon as it is planted."""
    path = tmp_path / "bug.py"
    path.write_text(f"import contextlib, os, sys\n@contextlib.contextmanager\ndef plant():\n    {does}\n    yield\n")
    return str(path)


def test_a_worker_gives_the_verdict_that_is_given_here() -> None:
    with Worker(hash_seed=5) as worker:
        for seed in (1, 2):
            there, here = worker.judge(Case(seed=seed, text=TEXT)), run_case(Case(seed=seed, text=TEXT))
            assert there.passed
            assert (there.trace, there.events) == (here.trace, here.events)
        assert worker.alive
    assert not worker.alive


def test_what_a_case_prints_does_no_harm(tmp_path: Path) -> None:
    with Worker(hash_seed=5) as worker:
        assert worker.judge(Case(seed=1, text=TEXT, planted=plants(tmp_path, "print('hello')"))).passed
        assert worker.judge(Case(seed=2, text=TEXT)).passed


def test_a_process_that_dies_gives_a_verdict(tmp_path: Path) -> None:
    with Worker(hash_seed=5) as worker:
        bug = plants(tmp_path, "print('so long', file=sys.stderr, flush=True); os._exit(7)")
        verdict = worker.judge(Case(seed=1, text=TEXT, planted=bug))
        assert verdict.broken == ("code", "the process: exit 7")
        assert "so long" in verdict.said
        assert not worker.alive


def test_what_takes_too_long_is_ended_and_has_no_verdict(tmp_path: Path) -> None:
    bug = plants(tmp_path, "[None for _ in iter(int, 1)]")
    for own_s in (None, 2.0):  # of this case alone
        with Worker(hash_seed=5, limit_s=3.0 if own_s is None else 60.0) as worker:
            verdict = worker.judge(Case(seed=1, text=TEXT, planted=bug), limit_s=own_s)
            assert verdict == Verdict(seed=1, given_up_s=own_s or 3.0)
            assert not verdict.passed
            assert not verdict.failed
            assert not worker.alive


def test_what_cannot_be_read_is_told_and_the_process_goes_on() -> None:
    with Worker(hash_seed=5) as worker:
        verdict = worker.judge(Case(seed=1, text="dance"))
        assert verdict.broken == ("code", "refused")
        assert "'dance'" in verdict.said
        assert worker.judge(Case(seed=1, text=TEXT)).passed


def test_ctrl_c_is_for_whoever_started_it(tmp_path: Path) -> None:
    pressed = plants(tmp_path, "import signal; os.kill(os.getpid(), signal.SIGINT)")
    with Worker(hash_seed=5) as worker:
        verdict = worker.judge(Case(seed=1, text=TEXT, planted=pressed))
        assert verdict.passed, verdict.said
