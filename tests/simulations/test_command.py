"""`bangpath simulate`: what is understood, what is refused, what comes out and with which code."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from node.cli.main import COMMANDS
from simulations import failure
from simulations.cases import Case, Verdict
from simulations.command import LEAST_MINUTES
from simulations.faults import kinds
from simulations.verbs import VERBS
from simulations.worker import Worker
from tests.simulations.command_lab import BROKEN, GOOD, code_of, report_of, said

ROOT = Path(__file__).parents[2]


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


def test_a_file_may_begin_with_the_mark_of_its_encoding(at: Path) -> None:
    (at / "marked.txt").write_text(GOOD, encoding="utf-8-sig")
    assert said("marked.txt", "--print").stdout == GOOD


def test_a_failure_is_left_as_it_is_on_request(at: Path) -> None:
    result = said("broken.txt", "--shrink", "0")
    assert code_of(result) == 1
    assert "made small" not in result.stdout
    assert "see it: bangpath simulate broken.txt --seed 1 --timeline broken.html" in result.stdout
    assert sorted(path.name for path in at.iterdir()) == ["broken.txt", "good.txt"]


class Interrupted(Worker):
    """Somebody presses Ctrl-C at the first candidate after so many that broke."""

    left = 0

    def judge(self, case: Case, *, limit_s: float | None = None) -> Verdict:
        if Interrupted.left == 0:
            raise KeyboardInterrupt
        verdict = super().judge(case, limit_s=limit_s)
        Interrupted.left -= bool(verdict.promise)
        return verdict


def test_that_a_failure_is_being_made_small_is_said_and_ctrl_c_leaves_the_smallest_so_far(
    at: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure, "Worker", Interrupted)
    Interrupted.left = 1
    result = said("broken.txt")
    assert code_of(result) == 1
    assert "making it small, within 15 real minutes; Ctrl-C ends it with the smallest so far" in result.stderr
    assert "making it small was ended by you" in result.stderr
    small = [line for line in (at / "small-broken-1.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(small) < len(BROKEN.splitlines())
    assert "made small: " in result.stdout
    assert "it may get smaller" in result.stdout


def test_what_ctrl_c_leaves_as_it_was_is_not_written_down(at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failure, "Worker", Interrupted)
    Interrupted.left = 0
    for words in (("broken.txt",), ("broken.txt", "--seeds", "1")):
        result = said(*words)
        assert code_of(result) == 1
        assert "nothing smaller was found in 1 try" in result.stderr
        assert "made small" not in result.stdout
        assert not (at / "small-broken-1.txt").exists()
    assert report_of("broken.txt")["small"] is None


def test_a_file_that_was_there_stays_and_the_failure_gets_another_name(at: Path) -> None:
    (at / "small-broken-1.txt").write_text("precious\n")
    result = said("broken.txt")
    assert "(small-broken-1-2.txt)" in result.stdout
    assert "it replays: bangpath simulate small-broken-1-2.txt --seed" in result.stdout
    assert (at / "small-broken-1.txt").read_text() == "precious\n"
    assert (at / "small-broken-1-2.txt").exists()


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
    assert report["stood_at"] == ["long.txt:4: run 86400s"]


def test_a_run_that_is_given_up_says_where_it_stood_and_who_was_paused(at: Path) -> None:
    (at / "wait.txt").write_text(
        "servers 2\nclass Note text:string\nat 1s pause 1.1\nat 2s 1.1 commits 1 Note\nat 1400m heal\n"
    )
    result = said("wait.txt", "--limit", "1")  # and the last line keeps patience from ending it before
    assert code_of(result) == 3
    assert "  it stood at wait.txt:4: at 2s 1.1 commits 1 Note\n" in result.stdout
    assert "  1.1 is paused; write before it: resume 1.1\n" in result.stdout


def test_a_run_that_will_take_long_says_so_before_it_begins(at: Path) -> None:
    (at / "long.txt").write_text("servers 2\nrun 86400s\n")  # few servers: those of a large mesh take long to begin
    result = said("long.txt", "--limit", "0.01")
    assert "bangpath: 2 servers for 1440 virtual min: about 14 min of a core" in result.stderr
    assert "it is given up after 0.01 real s" in result.stderr
    assert code_of(result) == 3
    assert said("good.txt", "--limit", "300").stderr == ""


# -- what is refused

REFUSED = [
    ("typo.txt", "typo.txt:2: '1.1 comits 5 Note' is nothing a scenario can do", "1.1 commits 5 Note"),
    ("dead.txt", "dead.txt:3: 'crash 1.1': 1.1 is down since line 2", "restart 1.1"),
    ("nowhere.txt", "there is no file nowhere.txt", "broken.txt, dead.txt, good.txt"),
    (".", ". is a directory", "name a scenario's file"),
    ("\x1b[31mred.txt", "the name '\\x1b[31mred.txt' has characters that do not print", "rename that file"),
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
    ("good.txt --timeline .html", ".html is neither a page nor a picture", "run.html or run.svg"),
    ("/dev/zero", "/dev/zero is too long for a scenario", "at most 16777216 bytes"),
    ("hours.txt", "hours.txt:2: 'run 1h' is nothing a scenario can do", "write for example: run 60m"),
    ("lasting.txt", "lasting.txt:2: 'isolate 1.1 for 0.5h' is nothing", "write for example: isolate 1.1 for 30m"),
    ("zeros.txt", "zeros.txt:1: /dev/zero is too long for a mesh", "bytes are read"),
    ("good.txt --plant gone.py", "there is no file gone.py to plant", "plant()"),
    ("good.txt --plant plat.py", "plat.py has no plant()", "context manager of that name"),
    ("good.txt --plant raises.py", "raises.py:3 cannot be planted: ValueError: not today", "puts a bug in"),
    ("good.txt --seeds 2 --plant imports.py", "imports.py:1 cannot be planted: ModuleNotFoundError", "puts a bug in"),
    ("good.txt --plant bare.py", "bare.py cannot be planted: TypeError", "plant() is a context manager"),
    ("good.txt --plant torn.py", "torn.py cannot be planted: SyntaxError", "puts a bug in"),
    ("good.txt --timeline gone/run.svg", "there is no directory gone", "a directory that is there"),
]

NO_BUGS = {
    "plat.py": "def plat(): pass\n",
    "raises.py": "import contextlib\n@contextlib.contextmanager\ndef plant(): raise ValueError('not today'); yield\n",
    "imports.py": "import nosuch\n",
    "bare.py": "def plant(): pass\n",
    "torn.py": "def plant(:\n",
}


@pytest.mark.parametrize(("words", "cause", "right"), REFUSED)
def test_what_makes_no_sense_is_refused_with_what_would_be_right(at: Path, words: str, cause: str, right: str) -> None:
    (at / "typo.txt").write_text("servers 3\n1.1 comits 5 Note\n")
    (at / "dead.txt").write_text("servers 2\ncrash 1.1\ncrash 1.1\n")
    (at / "hours.txt").write_text("servers 3\nrun 1h\n")
    (at / "lasting.txt").write_text("servers 3\nat 1s isolate 1.1 for 0.5h\n")
    (at / "zeros.txt").write_text("servers from /dev/zero\n")
    if words.startswith("binary"):
        (at / "binary.txt").write_bytes(b"\xff\xfe\x00servers")
    if words.startswith("empty"):
        (at / "empty.txt").write_text(" \n")
    if "--plant" in words:
        for name, text in NO_BUGS.items():
            (at / name).write_text(text)
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
        ("--minutes 1e-9", "1e-9 is too few virtual minutes: write at least 0.001"),
        ("--minutes nan", "nan is no number of virtual minutes"),
        ("--minutes long", "long is no number of virtual minutes"),
        ("--limit 0", "0 is no number of real seconds above 0, at most 86400 (a day)"),
        ("--seed -1", "-1 is not in the range"),
        ("--seeds 9-3", "9-3 has no seed in it"),
        ("--seeds 0", "0 has no seed in it"),
        ("--seeds some", "'some' is no number of seeds and no range"),
        ("--seeds ５", "'５' is no number of seeds and no range"),  # noqa: RUF001  # a digit of another script
        ("--minutes ５", "５ is no number of virtual minutes"),  # noqa: RUF001
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


def test_kinds_of_faults_that_so_few_servers_cannot_have_are_refused() -> None:
    result = said("--nodes", "3", "--faults", "majority ring", "--minutes", "0.1")
    assert code_of(result) == 2
    assert "3 servers are too few for the fault" in result.stderr
    assert "--nodes 4" in result.stderr


def test_as_few_minutes_as_may_be_asked_for_can_be_drawn() -> None:
    for seed in ("1", "2", "3"):
        assert code_of(said("--minutes", str(LEAST_MINUTES), "--seed", seed, "--print")) == 0
