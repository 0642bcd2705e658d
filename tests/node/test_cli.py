"""The command says what the node says, ends with the right code, and loads next to nothing for its help."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from identity.errors import Exhausted, Refused, Stale, Unreachable
from identity.names import ServerId
from node.cli import where
from node.cli.main import COMMANDS, name_the_server, run
from node.cli.output import cell, seconds, size, table
from node.cli.shaping import definition_of

Say = Callable[..., Awaitable[Any]]  # of the fixture `say`: words to (code, out, err)


async def test_an_object_from_put_to_delete(say: Say) -> None:
    said = await say("put", "Note", "text=Hello there", "stars=5")
    assert said == (0, "created 1.2/1, sequence 1, position 1.2@1:1\n", "")
    said = await say("get", "1.2/1")
    assert said.out.splitlines() == [
        "Note 1.2/1, sequence 1",
        "  text             Hello there",
        "  stars            5",
        "owned, age 0.0 s, position 1.2@1:1, path 1.2",
    ]
    assert (await say("update", "1.2/1", "stars=4", "--expect", "1")).code == 0
    said = await say("update", "1.2/1", "stars=3", "--expect", "1")
    assert (said.code, said.err) == (1, "bangpath: 1.2/1 is at sequence 2\n")
    assert json.loads((await say("get", "/1", "--json")).out)["fields"]["stars"] == 4
    assert (await say("delete", "1.2/1")).out.startswith("deleted 1.2/1")
    said = await say("get", "1.2/1")
    assert (said.code, said.err) == (1, "bangpath: there is no object 1.2/1\n")


async def test_fields_as_json(say: Say) -> None:
    said = await say("put", "Note", '{"text": "x", "stars": 1}', "--json")
    assert json.loads(said.out) == {"reference": "1.2/1", "sequence": 1, "position": "1.2@1:1", "done": "created"}
    said = await say("put", "Note", "{oops}", "--json")
    assert said.code == 1
    assert json.loads(said.err)["error"] == "refused"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("put", "Town", "x=1"), "there is no class 'Town' here; known: Note"),
        (("put", "Note", "text"), "'text' names no field"),
        (("put", "Note", "nose=1"), "Note has no field 'nose'"),
        (("put", "Note", "stars=many"), "field stars: 'many' is no int"),
        (("get", "42"), "'42' is no reference"),
        (("get", "1.0/42"), "0 is no component of a server id"),
        (("query", "Note whre x"), "column 6 of the question"),
        (("class", "define", "X", "a"), "'a' is no field"),
        (("class", "define", "X", "a:colour"), "colour"),
        (("class", "define", "X", "a:int", "--index", "b"), "names no field"),
        (("mirror", "1.9", "--end"), "is not mirrored"),
        (("invite", "x"), "is no server id"),
    ],
)
async def test_what_is_refused_is_a_sentence_and_code_1(say: Say, words: tuple[str, ...], told: str) -> None:
    said = await say(*words)
    assert said.code == 1
    assert told in said.err
    assert said.err.startswith("bangpath: ")
    assert "Traceback" not in said.err


async def test_a_query_as_lines_and_as_a_table(say: Say, fake: Any) -> None:
    for number in range(1, 301):
        fake.objects[number] = ("Note", 1, {"text": f"é{number}", "stars": number})
    said = await say("query", "Note", "--json")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["reference"] for line in lines[:-1]] == [f"1.2/{number}" for number in range(1, 301)]
    assert lines[-1]["completeness"]["whole"] is True
    said = await say("query", "Note limit 2")
    assert said.out.splitlines() == [
        "reference  text  stars  kind",
        "1.2/1      é1        1  owned",
        "1.2/2      é2        2  owned",
    ]
    assert said.err.splitlines()[0] == "2 rows, whole: 1 owner answered"
    assert said.err.splitlines()[1] == "  1.2      owned, path 1.2, age 0.0 s, position 1.2@1:0"
    assert (await say("query", "Note limit 1")).err.splitlines()[0] == "1 row, whole: 1 owner answered"


async def test_an_answer_in_place_of_its_owner_says_so(say: Say, fake: Any) -> None:
    fake.objects[1] = ("Note", 1, {"text": "x"})
    found = await fake.get((None, 1))
    path = tuple(map(ServerId.parse, ("1.2", "1.3", "1.4")))

    async def get(_reference: Any, **said: Any) -> Any:
        fake.wanted = said
        return found._replace(kind="mirrored", age=14.02, path=path, owner_unreachable_since=12.0, by=path[1])

    fake.get = get
    said = await say("get", "1.2/1", "--max-age", "60", "--after", "1.2@3:17", "--after", "1@1:2", "--deadline", "5")
    assert said.out.splitlines()[-1] == (
        "owner 1.2 unreachable since 12.0 s; answered by mirror 1.3, age 14.0 s, position 1.2@1:0, path 1.2!1.3!1.4"
    )
    assert fake.wanted == {"consistency": "nearest", "max_age": 60, "after": "1.2@3:17,1@1:2", "deadline": 5}
    said = await say("get", "1.2/1", "--json")
    told = json.loads(said.out)
    assert (told["owner_unreachable_since"], told["by"], told["path"]) == (12.0, "1.3", ["1.2", "1.3", "1.4"])


async def test_a_copy_that_is_too_old_is_code_3(say: Say, fake: Any) -> None:
    fake.trouble = Stale("no copy of 1.2/1 is as good as was asked for", next_step="ask for less")
    for words in (("get", "1.2/1"), ("get", "1.2/1", "--json")):
        said = await say(*words)
        assert said.code == 3
        assert "as good as was asked for" in said.err


@pytest.mark.parametrize("word", ["get", "query"])
@pytest.mark.parametrize("option", ["--max-age", "--deadline"])
async def test_what_is_no_number_is_not_taken_for_nothing(say: Say, word: str, option: str) -> None:
    said = await say(word, "1.2/1" if word == "get" else "Note", option, "nan")
    assert said.code == 2
    assert "nan is no number of seconds" in said.err


async def test_the_completeness_is_a_sentence_and_a_line_for_each_owner(say: Say, fake: Any) -> None:
    fake.objects[1] = ("Note", 1, {"text": "x"})
    error = {"error": "unreachable", "cause": "1.5 is not reached"}
    fake.owners = [
        {"server": "1", "how": "owned", "position": "1@1:4", "age": 0.0, "path": ["1"], "rows": 1000},
        {"server": "1.1", "how": "owner", "position": "1.1@1:4", "age": 0.0, "path": ["1.1", "1"], "rows": 1},
        {
            "server": "1.2", "how": "mirrored", "position": "1.2@1:4", "age": 14.0, "path": ["1.2", "1.3", "1"],
            "rows": 7432, "by": "1.3", "since": 12.0,
        },
        {
            "server": "1.3", "how": "mirrored", "position": "1.3@1:2", "age": 1.0, "path": ["1.3", "1"], "rows": 3,
            "by": "1",
        },
        {"server": "1.4", "how": "cached", "position": None, "age": 100.0, "path": ["1"], "rows": 2, "by": "1"},
        {"server": "1.5", "how": "unreachable", "position": None, "age": None, "path": [], "rows": 0, "error": error},
        {"server": "1.7", "how": "unreachable", "path": [], "rows": 0, "error": error, "since": 0.5},
        {"server": "1.6", "how": "stale", "position": "1.6@1:9", "age": None, "path": ["1.6", "1"], "rows": 0},
    ]  # fmt: skip
    said = await say("query", "Note", "--after", "1.2@1:4", "--consistency", "local", "--whole")
    assert said.code == 3
    assert said.err.splitlines() == [
        "1 row, NOT whole: 2 owners answered; 1 from mirrors kept here (3 rows): 1.3; "
        "1 did not answer, mirrors did (7 432 rows): 1.2; "
        "of 1 only copies kept by chance (2 rows): 1.4; of 1 only copies older than was asked for: 1.6; "
        "2 not reached: 1.7, 1.5",
        "  1.2      mirrored by 1.3, owner unreachable since 12.0 s, 7 432 rows, path 1.2!1.3!1, age 14.0 s, "
        "position 1.2@1:4",
        "  1.7      unreachable since 0.5 s",
        "  1        owned, 1 000 rows, path 1, age 0.0 s, position 1@1:4",
        "  1.1      owner, 1 row, path 1.1!1, age 0.0 s, position 1.1@1:4",
        "  1.3      mirrored by 1, 3 rows, path 1.3!1, age 1.0 s, position 1.3@1:2",
        "  1.4      cached by 1, 2 rows, path 1, age 2 min",
        "  1.5      unreachable: 1.5 is not reached",
        "  1.6      stale, path 1.6!1, age unknown, position 1.6@1:9",
    ]
    assert fake.wanted["after"] == ["1.2@1:4"]


async def test_partial_where_whole_was_asked_is_code_3(say: Say, fake: Any) -> None:
    said = await say("query", "Note", "--whole", "--consistency", "local")
    assert said.code == 3
    assert "NOT whole" in said.err
    assert (await say("query", "Note", "--consistency", "local")).code == 0
    assert (await say("query", "Note", "--whole", "--json")).code == 0
    for number in range(1, 5001):
        fake.objects[number] = ("Note", 1, {"text": "x" * 100, "stars": number})
    fake.trouble_after = 3000
    said = await say("query", "Note", "--json")
    assert said.code == 4
    assert json.loads(said.err)["cause"] == "it fell silent half-way"
    assert all("reference" in json.loads(line) for line in said.out.splitlines())


async def test_what_it_shows(say: Say) -> None:
    assert "1.2@1:0" in (await say("status")).out
    assert json.loads((await say("status", "--json")).out)["server"] == "1.2"
    assert (await say("peers")).out.splitlines()[1].split()[:2] == ["1", "direct"]
    assert "Europe" in (await say("servers")).out
    assert "current" in (await say("feeds")).out
    for word in ("peers", "servers", "feeds", "class", "mirror"):
        for line in (await say(word, "--json")).out.splitlines():
            assert isinstance(json.loads(line), dict)


async def test_classes_and_mirrors(say: Say) -> None:
    said = await say("class", "define", "City", "name:string!", "people:int", "--unique", "name", "--index", "people")
    assert said.out.startswith("defined City, fingerprint ")
    assert "name:string! people:int" in (await say("class")).out
    assert (await say("class", "adopt", "City")).out.startswith("adopted City")
    assert (await say("mirror")).out.startswith("no mirrors")
    assert (await say("mirror", "1.3.*")).out == "mirrors 1.3.*\n"
    assert "1.3.*    mirrored" in (await say("mirror")).out
    assert (await say("mirror", "--backup", "1.3.*")).out == "keeps a backup of 1.3.*\n"
    assert "backup" in (await say("mirror")).out
    assert (await say("mirror", "1.3.*", "--end")).out == "no longer mirrors 1.3.*\n"
    assert (await say("invite", "1.2.9")).out == "ticket-for-1.2.9\n"


async def test_an_import(say: Say, fake: Any, tmp_path: Path) -> None:
    file = tmp_path / "notes.csv"
    file.write_text("text,stars\n" + "".join(f"n{number},{number}\n" for number in range(2500)))
    said = await say("import", str(file), "--class", "Note", "--key", "text")
    assert (said.code, said.out) == (0, "2500 created, 0 updated, 0 unchanged\n")
    file.write_text("text,stars\nn0,0\nn1,7\nnew,1\n")
    said = await say("import", str(file), "--class", "Note", "--key", "text", "--json")
    told = json.loads(said.out)
    assert (told["created"], told["updated"], told["unchanged"]) == (1, 1, 1)
    assert len(fake.objects) == 2501


async def test_an_import_with_bad_rows_names_them_and_imports_nothing(say: Say, fake: Any, tmp_path: Path) -> None:
    file = tmp_path / "notes.ndjson"
    file.write_text('{"text": "a"}\n{"text": 1}\n{"text": "b", "stars": "x"}\n{oops\n')
    said = await say("import", str(file), "--class", "Note")
    assert said.code == 1
    assert said.err.splitlines() == [
        "bangpath: 3 bad rows; nothing was imported",
        "  line 2, field text: 1 is no string",
        '  line 3, field stars: "x" is no int',
        "  line 4: is no JSON: JSON is malformed: object keys must be strings (byte 1)",
        "  next: mend them, or import the others with --skip-bad",
    ]
    assert fake.objects == {}
    said = await say("import", str(file), "--class", "Note", "--skip-bad")
    assert (said.code, said.out) == (3, "1 created, 0 updated, 0 unchanged\n")
    assert "skipped line 2, field text" in said.err


async def test_an_import_that_is_refused_on_its_way(say: Say, fake: Any, tmp_path: Path) -> None:
    file = tmp_path / "notes.csv"
    rows = [f"n{number}" for number in range(1500)]
    rows[1200] = "n7"
    file.write_text("text\n" + "\n".join(rows) + "\n")
    said = await say("import", str(file), "--class", "Note")
    assert said.code == 3
    assert "line 1202: 1.2/8 has this text already; 1000 rows, up to line 1001, are imported" in said.err
    assert "repeat with --key FIELD" in said.err


@pytest.mark.parametrize(
    ("content", "words", "told"),
    [
        (b"text\n\xff\n", ("--class", "Note"), "is not UTF-8"),
        (b"txt\n", ("--class", "Note"), "names 'txt', which Note has not"),
        (b"text\nx\n", ("--class", "Note", "--key", "stars"), "Note.stars is no unique field"),
        (b"text\nx\n", ("--class", "Town"), "there is no class 'Town'"),
    ],
)
async def test_files_that_cannot_be_imported(
    say: Say, tmp_path: Path, content: bytes, words: tuple[str, ...], told: str
) -> None:
    file = tmp_path / "x.csv"
    file.write_bytes(content)
    said = await say("import", str(file), *words)
    assert said.code == 1
    assert told in said.err
    said = await say("import", str(tmp_path / "nothing.csv"), "--class", "Note")
    assert said.code == 1
    assert "nothing.csv: No such file" in said.err
    assert "does not say its format" in (await say("import", "x.txt", "--class", "Note")).err


@pytest.mark.parametrize(("error", "code"), [(Unreachable("x"), 4), (Refused("x"), 1), (Exhausted("x"), 1)])
async def test_codes_are_those_of_the_kind(say: Say, fake: Any, error: Exception, code: int) -> None:
    fake.trouble = error
    assert (await say("get", "1.2/1")).code == code


def test_a_server_that_does_not_run_is_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bangpath.toml").write_text("")
    assert run(["-C", str(tmp_path), "status"]) == 4
    told = capsys.readouterr().err
    assert "does not run" in told
    assert f"next: bangpath -C {tmp_path} run" in told


@pytest.mark.parametrize("words", [["qury"], ["get"], ["status", "--colour"], ["run", "--ready-fd", "x"], ["init"]])
def test_wrong_usage_is_code_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    assert "Usage:" in capsys.readouterr().err


def test_at_names_the_server_anywhere() -> None:
    assert name_the_server(["@1.4", "get", "x"]) == ["--at", "1.4", "get", "x"]
    assert name_the_server(["get", "@1.4", "x"]) == ["--at", "1.4", "get", "x"]
    assert name_the_server(["put", "Note", "text=@1.4", "--", "@1.5"]) == ["put", "Note", "text=@1.4", "--", "@1.5"]
    assert name_the_server(["put", "Note", "@home"]) == ["put", "Note", "@home"]
    assert name_the_server(["@home", "status"]) == ["--at", "home", "status"]


def test_before_the_command_a_word_with_at_is_a_server_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(name_the_server(["@home", "status"])) == 1
    assert "'home' is no server id" in capsys.readouterr().err


def test_where_a_server_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("BANGPATH_DIR", raising=False)
    for name in ("mesh/1.4", "deep/below", "far/1.9"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("mesh/1.4", "far/1.9"):
        (tmp_path / name / "bangpath.toml").write_text("")
    monkeypatch.chdir(tmp_path / "deep" / "below")
    assert where.directory_of(None, "1.4").resolve() == tmp_path / "mesh" / "1.4"
    with pytest.raises(Refused, match=r"no server 1\.9 is known") as refusal:
        where.directory_of(None, "1.9")
    assert "@1.4" in refusal.value.next_step
    where.note("1.9", tmp_path / "far" / "1.9")
    assert where.directory_of(None, "1.9") == tmp_path / "far" / "1.9"
    assert where.known_here() == ["1.4", "1.9"]
    with pytest.raises(Refused, match="no server was named"):
        where.directory_of(None, None)
    with pytest.raises(Refused, match="is no server id"):
        where.directory_of(None, "../1.4")
    monkeypatch.chdir(tmp_path / "far" / "1.9")
    assert where.directory_of(None, None) == Path()
    assert where.directory_of("x", "1.4") == Path("x")
    monkeypatch.setenv("BANGPATH_DIR", "/elsewhere")
    assert where.directory_of(None, None) == Path("/elsewhere")


def test_every_command_is_there_and_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        assert run([name, "--help"]) == 0
        assert "Usage: bangpath" in capsys.readouterr().out
    assert run(["--version"]) == 0
    assert run([]) == 0


def test_help_is_fast_and_loads_no_floor() -> None:
    code = "import sys\nfrom node.cli.main import run\nrun(['--help'])\nprint(*sys.modules, file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split()
    assert not {"trio", "msgspec", "identity.errors", "node.client", "json", "asyncio"} & set(loaded)
    times = []
    for _ in range(9):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "node.cli.main", "--help"], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(times) < 0.1, times  # its own work, the least of several: what others do on this machine is not ours


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    command = f"{sys.executable} -m node.cli.main --help | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, env={**os.environ})
    assert done.stderr == ""


def test_tables() -> None:
    assert table(("a", "count"), [("x", 1), ("long", 22)]) == ["a     count", "x         1", "long     22"]
    assert table(("a",), [], empty="nothing") == ["nothing"]
    assert cell("x" * 100).endswith("…")
    assert [seconds(each) for each in (0.04, 89, 200, 90_000, 10**6, None)] == [
        "0.0 s",
        "89.0 s",
        "3 min",
        "25 h",
        "12 d",
        "-",
    ]
    assert [size(each) for each in (0, 999, 1000, 999_949, 999_950, 2_694_716, 10**13, None)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "999.9 kB",
        "1.0 MB",
        "2.7 MB",
        "10.0 TB",
        "-",
    ]


def test_a_definition_from_words() -> None:
    definition = definition_of("City", ("name:string!", "people:int"), unique=("name",), indexed=("people",))
    assert definition["fields"] == [
        {"name": "name", "type": "string", "required": True, "index": True, "unique": True},
        {"name": "people", "type": "int", "required": False, "index": True, "unique": False},
    ]


def test_python_runs_the_command_where_it_is_not_on_the_path() -> None:
    command = [sys.executable, "-m", "bangpath", "simulate", "--words"]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    assert "crash 1.2" in said.stdout
    assert subprocess.run([*command[:3], "nonsense"], capture_output=True, check=False).returncode == 2
