"""`bangpath simulate`: what is understood, what is refused, what comes out and with which code."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from node.cli.main import COMMANDS
from simulations import play_many
from simulations.cases import Case, Verdict
from simulations.command import simulate_command
from simulations.faults import kinds
from simulations.verbs import VERBS

ROOT = Path(__file__).parents[2]
GOOD = """servers 3
class Note text:string
1.2 mirrors 1.1
1.1 commits 3 Note
at 1s part 1 1.1 | 1.2 for 2s
at 1.5s 1.1 commits 2 Note
run 4s
expect every promise within 60s
"""
BROKEN = """servers 3
link delay 20ms
class Note text:string
class Paper text:string
1 mirrors 1.1
1.1 commits 1 Paper
1.1 commits 1 Note
1.2 commits 1 Note
run 1s
1.1 commits 1 Note
run 1s
expect 1.2 has all of 1.1 within 2s
"""


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of its own, with a scenario that holds and one that does not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.txt").write_text(GOOD)
    (tmp_path / "broken.txt").write_text(BROKEN)
    return tmp_path


def said(*words: str) -> Result:
    return CliRunner().invoke(simulate_command, list(words), standalone_mode=False)


def code_of(result: Result) -> int:
    """What the shell sees: click's own refusals are 2."""
    if isinstance(result.exception, Exception) and hasattr(result.exception, "exit_code"):
        return int(result.exception.exit_code)
    assert result.exception is None, result.exception
    return int(result.return_value or 0)


def report_of(*words: str) -> dict[str, Any]:
    result = said(*words, "--json")
    assert len(result.stdout.splitlines()) == 1
    found: dict[str, Any] = json.loads(result.stdout)
    return found


# -- what comes out


def test_a_scenario_is_run_judged_and_told(at: Path) -> None:
    result = said("good.txt", "--seed", "7")
    assert code_of(result) == 0
    for wanted in (
        "1.1 commits 3 Note  -> 3 objects of 1.1", "good.txt, seed 7: 3 servers", "no lost commits", "1 of 1 met",
        "replay  bangpath simulate good.txt --seed 7",
    ):  # fmt: skip
        assert wanted in result.stdout
    assert re.search(r"^trace   [0-9a-f]{64}$", result.stdout, re.MULTILINE)
    assert result.stderr == ""


def test_the_same_seed_is_the_same_trace_and_another_is_another(at: Path) -> None:
    first, again, other = (report_of("good.txt", "--seed", seed)["trace"] for seed in ("7", "7", "8"))
    assert first == again != other


def test_json_is_one_object_with_the_hash_as_trace(at: Path) -> None:
    report = report_of("good.txt", "--seed", "7")
    assert (report["seed"], report["scenario"], report["passed"]) == (7, "good.txt", True)
    assert re.fullmatch(r"[0-9a-f]{64}", report["trace"])
    assert {"events", "seconds", "transcript", "promises", "replay", "faults", "text"} <= set(report)
    assert [fault["text"] for fault in report["faults"]] == ["part 1 1.1 | 1.2"]


def test_without_a_scenario_one_is_drawn_and_what_replays_it_draws_the_same() -> None:
    words = ("--nodes", "3", "--topology", "ring", "--faults", "Crash,one-way cut", "--minutes", "0.2", "--seed", "5")
    report = report_of(*words)
    assert report["text"].startswith("# drawn from seed 5: 3 servers, 0.2 min")
    assert "servers 3 ring" in report["text"]
    assert {fault["kind"] for fault in report["faults"]} <= {"crash", "one-way cut"}
    replay = report["replay"].split()
    assert replay[:2] == ["bangpath", "simulate"]
    assert "one-way cut" in report["replay"]
    again = report_of("--nodes", "3", "--topology", "ring", "--faults", "crash,one-way cut", "--minutes", "0.2",
                      "--seed", "5")  # fmt: skip
    assert again["trace"] == report["trace"]


def test_print_shows_the_scenario_and_runs_nothing(at: Path) -> None:
    result = said("--nodes", "4", "--faults", "none", "--seed", "3", "--print")
    assert code_of(result) == 0
    assert result.stdout.startswith("# drawn from seed 3: 4 servers, 1 min, faults: none\n")
    (at / "drawn.txt").write_text(result.stdout)
    assert said("drawn.txt", "--print").stdout == result.stdout


def test_many_seeds_are_a_line_each_and_a_count(at: Path) -> None:
    result = said("good.txt", "--seeds", "4-6")
    assert code_of(result) == 0
    assert sorted(re.findall(r"^seed (\d+): \d+ events", result.stdout, re.MULTILINE)) == ["4", "5", "6"]
    assert "3 passed, 0 failed" in result.stdout
    report = report_of("good.txt", "--seed", "4", "--seeds", "3")
    assert [run["seed"] for run in report["runs"]] == [4, 5, 6]
    assert report["runs"][0]["trace"] == report_of("good.txt", "--seed", "4")["trace"]


def test_each_seed_twice_is_a_sweep_of_fresh_processes(at: Path) -> None:
    report = report_of("good.txt", "--seed", "7", "--twice")
    assert (report["seeds"], report["failed"]) == (1, 0)


@pytest.mark.parametrize(("name", "begins"), [("run.svg", "<svg"), ("run.html", "<!doctype html>")])
def test_a_timeline_is_drawn(at: Path, name: str, begins: str) -> None:
    result = said("good.txt", "--seed", "7", "--timeline", name)
    assert code_of(result) == 0
    text = (at / name).read_text()
    assert text.startswith(begins)
    assert "part 1 1.1 | 1.2" in text
    assert "bangpath simulate good.txt --seed 7" in text
    assert f"picture {name}" in result.stdout


# -- what failed


def test_a_failure_is_told_made_small_written_down_and_drawn(at: Path) -> None:
    result = said("broken.txt", "--seed", "7", "--timeline", "why.html")
    assert code_of(result) == 1
    assert "broken.txt:12: expect 1.2 has all of 1.1 within 2s: 1.2 differs from 1.1" in result.stdout
    assert "replay  bangpath simulate broken.txt --seed 7" in result.stdout
    written = re.search(r"made small: (\d+) lines? after \d+ tries.*\((\S+)\)", result.stdout)
    assert written is not None, result.stdout
    assert int(written[1]) <= 6
    small = (at / written[2]).read_text()
    assert "1.1 commits 1 " in small
    assert len([line for line in small.splitlines() if not line.startswith("#")]) == int(written[1])
    replay = re.search(rf"it replays: bangpath simulate ({re.escape(written[2])} --seed \d+)", result.stdout)
    assert replay is not None
    assert code_of(said(*replay[1].split())) == 1
    page = (at / "why.html").read_text()
    assert "1.2 differs from 1.1" in page
    assert written[2] in page


def test_the_failure_of_a_sweep_is_made_small_once(at: Path) -> None:
    report = report_of("broken.txt", "--seeds", "2")
    assert (report["passed"], report["failed"]) == (0, 2)
    (kind,) = report["kinds"]
    assert kind["seeds"] == [1, 2]
    assert kind["small"]["lines"] <= 6
    assert kind["small"]["files"] == report["files"] == {"scenario": "small-broken-1.txt"}
    assert Path("small-broken-1.txt").exists()


TWO_KINDS = """
import contextlib
from unittest import mock
from simulations.server import SimulatedServer

@contextlib.contextmanager
def plant():
    before = SimulatedServer.restart
    async def restart(self):
        await before(self)
        raise ValueError(f"{'left' if self.world.seed % 2 else 'right'} is wrong on {self.name}")
    with mock.patch.object(SimulatedServer, "restart", restart):
        yield
"""


def test_a_failure_of_each_kind_is_made_small(at: Path) -> None:
    (at / "bug.py").write_text(TWO_KINDS)
    (at / "down.txt").write_text("servers 2\n" + "run 1s\n" * 9 + "crash 1.1\nrestart 1.1\n")
    result = said("down.txt", "--seeds", "3", "--plant", "bug.py", "--processes", "1")
    assert code_of(result) == 1
    assert "2 kinds of failures in 3 seeds" in result.stdout
    assert "making 2 of 2 small, within 15 real minutes; --shrink 0 leaves it" in result.stdout
    assert len(re.findall(r"^made small: .*\(small-down-[12]\.txt\)$", result.stdout, re.MULTILINE)) == 2
    for seed, word in ((1, "left"), (2, "right")):
        assert f"ValueError: {word} is wrong" in result.stdout
        again = said(f"small-down-{seed}.txt", "--seed", str(seed), "--plant", "bug.py", "--shrink", "0")
        assert f"ValueError: {word} is wrong" in again.stdout
    report = report_of("down.txt", "--seeds", "3", "--plant", "bug.py", "--shrink", "1", "--processes", "1")
    assert [(kind["seeds"], bool(kind["small"])) for kind in report["kinds"]] == [([1, 3], True), ([2], False)]


def test_a_bug_can_be_planted_and_what_replays_its_failure_plants_it_again(at: Path) -> None:
    (at / "bug.py").write_text(
        "import contextlib\nfrom unittest import mock\nfrom simulations.server import SimulatedServer\n\n"
        "@contextlib.contextmanager\ndef plant():\n"
        "    with mock.patch.object(SimulatedServer, 'read', lambda self, reference: None):\n        yield\n"
    )
    (at / "mirror.txt").write_text(BROKEN.replace("1.2 has all", "1 has all"))
    assert code_of(said("mirror.txt", "--seed", "3")) == 0
    report = report_of("mirror.txt", "--seed", "3", "--plant", "bug.py")
    assert report["broken"]["promise"] == "expectation"
    assert report["replay"] == "bangpath simulate mirror.txt --seed 3 --plant bug.py"
    assert report["small"]["replay"].endswith("--plant bug.py")
    assert code_of(said(*report["small"]["replay"].split()[2:], "--shrink", "0")) == 1


def test_a_sweep_that_held_says_that_nothing_was_drawn(at: Path) -> None:
    result = said("good.txt", "--seeds", "1", "--timeline", "run.html")
    assert code_of(result) == 0
    assert "nothing is drawn to run.html" in result.stdout
    assert not (at / "run.html").exists()
    result = said("good.txt", "--seeds", "1", "--timeline", "run.html", "--json")
    assert json.loads(result.stdout)["files"] == {}
    assert "nothing is drawn to run.html" in result.stderr


def test_a_file_may_begin_with_the_mark_of_its_encoding(at: Path) -> None:
    (at / "marked.txt").write_text(GOOD, encoding="utf-8-sig")
    assert said("marked.txt", "--print").stdout == GOOD


def test_a_failure_is_left_as_it_is_on_request(at: Path) -> None:
    result = said("broken.txt", "--shrink", "0")
    assert code_of(result) == 1
    assert "made small" not in result.stdout
    assert "see it: bangpath simulate broken.txt --seed 1 --timeline broken.html" in result.stdout
    assert sorted(path.name for path in at.iterdir()) == ["broken.txt", "good.txt"]


def test_a_line_that_its_server_refuses_is_told_as_that_with_file_and_line(at: Path) -> None:
    (at / "none.txt").write_text(
        "servers 2\nclass Note text:string\n1.1 commits 1 Note\n1.1 deletes 1 Note\n1.1 changes 1 Note\n"
    )
    result = said("none.txt")
    assert code_of(result) == 1
    assert "none.txt:5: 1.1 changes 1 Note: 1.1 has no Note yet; begin with: 1.1 commits 5 Note" in result.stdout
    assert "no promise was seen broken: the line itself was refused" in result.stdout
    assert "Traceback" not in result.output


def test_a_run_that_is_not_done_within_its_limit_has_no_verdict(at: Path) -> None:
    (at / "long.txt").write_text("servers 3\nclass Note text:string\n1.1 commits 1 Note\nrun 86400s\n")
    why = "no verdict: not done within 0.5 real s"
    todo = "ask for fewer servers or minutes, or give it more time: --limit 1"
    result = said("long.txt", "--limit", "0.5")
    assert code_of(result) == 3
    assert f"{why}; {todo}" in result.stdout
    assert "held until " in result.stdout
    report = report_of("long.txt", "--limit", "0.5")
    assert (report["passed"], report["no_verdict"], report["broken"]) == (False, why, None)


def test_a_run_that_will_take_long_says_so_before_it_begins(at: Path) -> None:
    (at / "long.txt").write_text("servers 2\nrun 86400s\n")  # few servers: those of a large mesh take long to begin
    result = said("long.txt", "--limit", "0.01")
    assert "bangpath: 2 servers for 1440 virtual min: about 14 min of a core" in result.stderr
    assert "it is given up after 0.01 real s" in result.stderr
    assert code_of(result) == 3
    assert said("good.txt", "--limit", "300").stderr == ""


def test_runs_of_a_sweep_without_a_verdict_are_counted_apart(at: Path) -> None:
    (at / "long.txt").write_text("servers 3\nclass Note text:string\n1.1 commits 1 Note\nrun 86400s\n")
    result = said("long.txt", "--seeds", "2", "--limit", "2")
    assert code_of(result) == 3
    assert "seed 1: no verdict: not done within 2 real s\n" in result.stdout
    assert "no verdict: not done within 2 real s, 2 seeds: 1, 2\n  ask for fewer servers" in result.stdout
    assert "0 passed, 0 failed, 2 without a verdict" in result.stdout
    report = report_of("long.txt", "--seeds", "1", "--limit", "2")
    assert (report["passed"], report["failed"], report["without_verdict"], report["kinds"]) == (0, 0, 1, [])
    assert report["runs"][0]["no_verdict"] == "no verdict: not done within 2 real s"


def test_what_was_broken_outweighs_what_has_no_verdict(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = [Verdict(seed=1, given_up_s=9), Verdict(seed=2, promise="expectation", checker="x", said="x")]

    def sweep(cases: Iterable[Case], *, told: Callable[[Verdict], None], **_: Any) -> None:
        for each, _case in zip(verdicts, cases, strict=True):
            told(each)

    monkeypatch.setattr(play_many, "sweep", sweep)
    assert code_of(said("good.txt", "--seeds", "2", "--shrink", "0")) == 1


def test_ctrl_c_ends_a_sweep_with_what_is_known_and_leaves_nobody_behind(at: Path) -> None:
    sweep = [sys.executable, "-m", "simulations", "good.txt", "--seeds", "100000", "--processes", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        sweep, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # where the tests run in a shell's background
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline().startswith("seed ")
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        told, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert re.search(r"^\d+ passed, 0 failed in .* s, ended by you with \d+ to go$", told, re.MULTILINE), told
    assert errors == ""
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


# -- what is refused

REFUSED = [
    ("typo.txt", "typo.txt:2: '1.1 comits 5 Note' is nothing a scenario can do", "1.1 commits 50 Note"),
    ("dead.txt", "dead.txt:3: 'crash 1.1': 1.1 is down since line 2", "restart 1.1"),
    ("nowhere.txt", "there is no file nowhere.txt", "broken.txt, dead.txt, good.txt"),
    (".", ". is a directory", "name a scenario's file"),
    ("-", "a scenario has a file", "write it to one"),
    ("binary.txt", "binary.txt cannot be read: it is no text in UTF-8", "name a text file"),
    ("empty.txt", "empty.txt:1: it is empty", "servers 4"),
    ("--topology spiral", "'spiral' is no shape of a mesh", "ring"),
    ("--topology 'grid 3x3' --nodes 3", "a grid of 3x3 with 3 servers cannot be", '--nodes 9 --topology "grid 3x3"'),
    ("--topology 'grdi 3x3' --nodes 3", "'grdi 3x3' is no shape of a mesh", '--nodes 9 --topology "grid 3x3"'),
    ("--topology rign", "'rign' is no shape of a mesh", "write for example: --nodes 5 --topology ring"),
    ("--faults flod", "there is no fault 'flod'", "did you mean"),
    ("--faults ''", "--faults names no kind", "--faults none"),
    ("--faults ,", "--faults names no kind", "--faults none"),
    ("--faults none,crash", "--faults none names no kind beside others", "leave out none"),
    ("--faults crash,all", "--faults all names no kind beside others", "leave out all"),
    ("good.txt --timeline run.png", "run.png is neither a page nor a picture", "run.html or run.svg"),
    ("good.txt --plant gone.py", "there is no file gone.py to plant", "plant()"),
    ("good.txt --timeline gone/run.svg", "there is no directory gone", "a directory that is there"),
]


@pytest.mark.parametrize(("words", "cause", "right"), REFUSED)
def test_what_makes_no_sense_is_refused_with_what_would_be_right(at: Path, words: str, cause: str, right: str) -> None:
    (at / "typo.txt").write_text("servers 3\n1.1 comits 5 Note\n")
    (at / "dead.txt").write_text("servers 2\ncrash 1.1\ncrash 1.1\n")
    if words.startswith("binary"):
        (at / "binary.txt").write_bytes(b"\xff\xfe\x00servers")
    if words.startswith("empty"):
        (at / "empty.txt").write_text(" \n")
    result = said(*shlex.split(words))
    assert code_of(result) == 2
    assert f"bangpath: {cause}" in result.stderr or f"bangpath: --topology: {cause}" in result.stderr
    assert right in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ("good.txt --nodes 3", "--nodes: only for a scenario that is drawn; good.txt says such things itself"),
        ("--nodes 0", "0 is not in the range"),
        ("--nodes many", "'many' is not a valid integer"),
        ("--minutes 0", "0 is no number of virtual minutes above 0"),
        ("--minutes nan", "nan is no number of virtual minutes"),
        ("--minutes long", "long is no number of virtual minutes"),
        ("--limit 0", "0 is no number of real seconds above 0, at most 86400 (a day)"),
        ("--seed -1", "-1 is not in the range"),
        ("--seeds 9-3", "9-3 has no seed in it"),
        ("--seeds 0", "0 has no seed in it"),
        ("--seeds some", "'some' is no number of seeds and no range"),
        ("--seeds 99999999", "is more than 1 000 000 seeds at a time"),
        ("--seed 3 --seeds 4-9", "say two beginnings"),
        ("--dask tcp://h:1", "--dask is for many seeds: add --seeds 100"),
        ("--stop-after 1", "--stop-after is for many seeds"),
        ("--words --json", "--words runs nothing: leave out --json"),
        ("--print --json", "--print runs nothing: leave out --json"),
        ("good.txt --print --seeds 3", "--print runs nothing: leave out --seeds"),
        ("--print --timeline a.svg", "--print runs nothing: leave out --timeline"),
        ("--dask tcp://h:1 --seeds 3 --processes 2", "leave out --processes"),
        ("--frobnicate", "No such option"),
    ],
)
def test_options_are_looked_at_before_anything_runs(at: Path, words: str, cause: str) -> None:
    result = said(*words.split())
    assert code_of(result) == 2
    assert cause in str(getattr(result.exception, "message", result.exception))


def test_an_error_is_json_where_json_was_asked_for(at: Path) -> None:
    result = said("--faults", "flod", "--json")
    assert code_of(result) == 2
    assert json.loads(result.stderr)["error"] == "refused"
    assert result.stdout == ""


# -- in the house


def test_it_is_a_command_of_bangpath_and_a_module() -> None:
    assert COMMANDS["simulate"][0] == "simulations.command"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    outputs = []
    for words in (["-m", "node.cli.main", "simulate", "--help"], ["-m", "simulations", "--help"]):
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, check=True)
        outputs.append(done.stdout.partition("\n")[2])
    assert outputs[0] == outputs[1]
    assert "--timeline FILE" in outputs[0]


def test_help_loads_nothing_that_takes_its_time() -> None:
    look = "import sys, simulations.command; print(*sorted(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, env=environment, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"trio", "networkx", "msgspec", "hypothesis", "node", "store", "simulations.world", "asyncio"}


def test_words_lists_every_verb_and_every_kind_of_fault() -> None:
    told = said("--words").stdout
    for verb in VERBS:
        assert verb.says in told
    for kind in kinds():
        assert re.search(rf"^  {re.escape(kind.name)} ", told, re.MULTILINE)
    assert "expect converged within 60s" in told
    assert "  1.1 moves 1 Note to 1.2  # refused: Bangpath has no moves yet" in told.splitlines()
    said_once = [line for line in told.splitlines() if line]
    assert len(set(said_once)) == len(said_once)
