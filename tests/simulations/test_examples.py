"""The examples run as they stand, wherever Bangpath is installed; and they notice when what they promise is broken.

The package is built and installed into an environment of its own, the examples are copied into an empty directory, and
pytest is called there as a user calls it. The dependencies are downloaded where the network is; where it is not, they
are those of this environment, by a `.pth` file: what is tested is that the package and its plugin are complete by
themselves, which is the same either way.
"""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
NEEDED = ("bangpath.py", "simulations/plugin.py", "node/language.lark", "simulations/py.typed")


def run(*command: object, cwd: Path, check: bool = True, **environment: str) -> str:
    """What a command printed, in an environment that knows nothing of this checkout."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON", "COV"))}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**clean, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert not check or done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
    return done.stdout


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    """The examples, copied to where nothing else is."""
    place = tmp_path / "mine"
    shutil.copytree(EXAMPLES, place, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    return place


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built from what git would commit."""
    place = tmp_path_factory.mktemp("wheel")
    source = place / "source"
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.endswith(".whl"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        place,
        source,
        cwd=place,
    )
    (made,) = place.glob("*.whl")
    return made


@pytest.mark.slow
def test_a_user_s_tests_run_where_the_package_is_installed_and_nothing_else_is(
    wheel: Path, copies: Path, tmp_path: Path
) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    downloaded = run(
        python, "-m", "pip", "install", "--quiet", "--retries", "0", "--timeout", "5", wheel, "pytest>=9",
        "pytest-xdist", cwd=tmp_path, check=False,
    )  # fmt: skip
    if "ERROR" in downloaded:
        print(f"no network, so with the dependencies of this environment: {downloaded.strip().splitlines()[-1]}")
        run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path)
        _lend_dependencies(python, tmp_path)
    place = run(python, "-c", "import bangpath; print(bangpath.__file__)", cwd=copies).strip()
    assert place.startswith(str(tmp_path / "venv"))
    for name in NEEDED:
        assert (Path(place).parent / name).exists(), name
    told = run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", cwd=copies)
    assert "passed" in told
    assert "failed" not in told
    (copies / "vials.py").write_text(_forgetful((copies / "vials.py").read_text(encoding="utf-8")), encoding="utf-8")
    told = run(python, "-m", "pytest", "-q", "test_vials.py", "--simulation-twice", "0", cwd=copies, check=False)
    line = next(each for each in told.splitlines() if each.startswith("    pytest "))
    again = run(python, "-m", *line.split(), cwd=copies, check=False)
    assert "nobody is promised the same vial" in again


def _lend_dependencies(python: Path, tmp_path: Path) -> None:
    """Let the new environment import what this one has, of everything but Bangpath itself."""
    lent = tmp_path / "lent"
    lent.mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}:
        for each in Path(place).iterdir():
            if not each.name.lower().startswith(("bangpath", "__editable__", "pytest_trio", "_virtualenv", "pip")):
                target = lent / each.name
                if not target.exists():
                    target.symlink_to(each)
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    (Path(purelib) / "lent.pth").write_text(f"{lent}\n")


def _forgetful(application: str) -> str:
    """The mistake that everybody makes once: a change that does not say which version it is of."""
    told = application.replace('expect=row["sequence"], ', "")
    assert told != application
    return told


def test_the_example_s_own_promise_is_found_broken_and_the_replay_says_so(copies: Path) -> None:
    application = copies / "vials.py"
    application.write_text(_forgetful(application.read_text(encoding="utf-8")), encoding="utf-8")
    words = ("-q", "-p", "no:cacheprovider", "test_vials.py", "-k", "twice", "--simulation-twice", "0")
    told = run(sys.executable, "-m", "pytest", *words, cwd=copies, check=False)
    assert "PromiseBroken: ours broken (nobody is promised the same vial)" in told
    line = next(each.split() for each in told.splitlines() if each.startswith("    pytest "))
    again = run(sys.executable, "-m", *line, cwd=copies, check=False)
    assert "nobody is promised the same vial" in again


@pytest.mark.parametrize("example", sorted(each.name for each in EXAMPLES.glob("test_*.py")))
def test_the_examples_hold(copies: Path, example: str) -> None:
    told = run(
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--simulation-twice",
        "0",
        "--simulation-seeds",
        "3",
        example,
        cwd=copies,
    )
    assert "passed" in told
