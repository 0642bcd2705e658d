"""Every command that README and the guides show is run, in their order, as a reader would type it."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONSOLE = re.compile(r"```(console|python)\n(.*?)```", re.DOTALL)

# A server that is started in the background is awaited, as a reader does by looking.
AWAIT = """
await() { for _ in $(seq 200); do bangpath "$1" status >/dev/null 2>&1 && return; sleep 0.05; done; exit 97; }
"""


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    yield from CONSOLE.findall(path.read_text(encoding="utf-8"))


def script(path: Path, *, without: tuple[str, ...] = ()) -> str:
    """The commands of a page as one shell script that stops at the first that fails."""
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT", AWAIT]
    for kind, text in blocks(path):
        if kind == "python":
            lines.append(f"{sys.executable} - <<'PYTHON'\n{text}PYTHON")
            continue
        for line in text.splitlines():
            assert line.startswith("$ "), f"{path.name}: {line!r} is no command"
            command = line[2:]
            if command in without:
                continue
            lines.append(f"echo {shlex.quote(command)}")
            lines.append(command)
            started = re.match(r"bangpath (@\S+) run &$", command)
            if started:
                lines.append(f"await {started.group(1)}")
    return "\n".join(lines) + "\n"


def run(text: str, folder: Path, *, seconds: float = 120) -> str:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    done = subprocess.run(
        ["bash", "-c", text],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Traceback" not in done.stdout
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if not (Path(sys.executable).parent / "bangpath").exists():
        pytest.skip("the command is not installed beside this interpreter")
    return tmp_path


def test_the_guides(folder: Path) -> None:
    pages = [
        "guide-own-mesh.md",
        "guide-objects.md",
        "guide-python-http.md",
        "guide-answers.md",
        "guide-outbox.md",
        "guide-links.md",
        "guide-damage.md",
    ]
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    text = "\n".join(script(ROOT / "docs" / page) for page in pages)
    out = run(text, folder)
    assert "Kingfisher" in out
    assert "2 created, 0 updated, 0 unchanged" in out
    assert "by curl" in out
    assert "answered by mirror 1, age" in out
    assert "1 did not answer, mirrors did (" in out
    assert "at most 0.01 s was asked for" in out
    assert "waits in the outbox as request 2, behind 1 others: 1.7 is not reached" in out
    assert "cancelled request 4" in out
    assert re.search(r"request 3 for 1\.7, conflict", out)
    assert re.search(r"settled .*: created 1\.7/", out)
    assert '"state":"cancelled"' in out
    assert "1.7 is blocked: what we send to it is dropped" in out
    assert "mended from itself: one bit had flipped; what stood there is in quarantine-00000001" in out


def test_the_store_alone(folder: Path) -> None:
    out = run(script(ROOT / "docs" / "guide-embedded.md"), folder)

    assert re.search(r"1/\d+ Sonnblick 3106\.0\n1/\d+ Zugspitze 2962\.0\nfield name: 'Zugspitze' is taken", out)
    assert "so both were taken back\n{'name': 'Zugspitze', 'height': 2962.0, 'readings': 2}" in out
    assert re.search(
        r"it was 2\.5\n\d+ deleted\n\d+ {'euros': 3\.0}\n\d+ {'euros': 2\.5}\n1/\d+ was not there yet", out
    )
    assert "0 pages went\n{'Page': 2} would go\n2 pages went" in out
    assert "1400000 pixels" in out
    assert re.search(r"Sonnblick \d+\nZugspitze \d+\n", out)


def test_the_readme(folder: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("mesh", "test"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    shown = ("make mesh ARGS=--tour", "make mesh", "make test", 'export PATH="$PWD/.venv/bin:$PATH"')
    mesh = """
bangpath mesh > mesh.log 2>&1 &
mesh=$!
for _ in $(seq 600); do
  grep -q "what to try next" mesh.log && break
  kill -0 $mesh || { cat mesh.log; exit 98; }
  sleep 0.1
done
"""
    lines = script(ROOT / "README.md", without=shown).replace(AWAIT, AWAIT + mesh)
    out = run(lines + "kill -INT $mesh; wait $mesh; cat mesh.log\n", folder, seconds=180)
    assert "everything stands" in out
    assert "start it again, in any terminal" in out
    assert "all stopped" in out


def test_every_link_leads_somewhere() -> None:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in link:
                assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_every_page_that_a_source_file_names_is_there() -> None:
    """`docs/decisions/0020` stands for the page whose name begins so."""
    floors = ("identity", "transport", "store", "routing", "replication", "node", "simulations")
    files = [ROOT / "bangpath.py", *(path for floor in floors for path in (ROOT / floor).rglob("*.py"))]
    named = {
        (file.relative_to(ROOT), page)
        for file in files
        for page in re.findall(r"\bdocs/[\w/.-]*\w", file.read_text(encoding="utf-8"))
    }
    assert named
    assert [(str(file), page) for file, page in sorted(named) if not list(ROOT.glob(f"{page}*"))] == []
