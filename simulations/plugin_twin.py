"""The same test with the same seed in a second, fresh process, under another PYTHONHASHSEED: are the traces equal?

    this process       ---- test[seed=1] ---- trace --.
                                                       }-- equal, or the first event that differs is shown
    a second one       ---- test[seed=1] ---- trace --'

What a set gave in its order, an id() or hash() that was compared, a real clock, randomness of the system, something
left behind by the test before: all of these change a trace, and with it what a seed is good for. The two run at the
same time. The second process is pytest on that one test, with the same plugins (`-p`), settings (`-o`) and import
path; what else was on the command line it is not told.

A seed that failed is run once more in such a process, alone (`why_only_here`): what passes there failed here by what
other tests and seeds of this process left behind.

The second never outlives the first: it holds one end of a pipe whose other end closes with the first process, however
that ends, and then it goes at once, hanging or not, and takes its files with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from simulations.plugin_seeds import replay

if TYPE_CHECKING:
    import pytest

    from simulations.trace import Trace

PATIENCE_S = 600.0  # for a test that took a moment here; then it hangs, which is a difference as well
FRESH_S = 60.0  # for a seed that failed here: then nothing is said of it
PLACE = "bangpath-twin-"
SHOWN = 3  # events before the one that differs


class Twin:
    """A test that runs in a second process."""

    def __init__(self, item: pytest.Item, seed: int, *, hash_seed: str = "") -> None:
        self._item = item
        self.hash_seed = hash_seed or ("2" if os.environ.get("PYTHONHASHSEED") == "1" else "1")
        self._place = tempfile.TemporaryDirectory(prefix=PLACE)
        self._file = Path(self._place.name) / "trace"
        self._output = (Path(self._place.name) / "output").open("wb+")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
        environment["PYTHONHASHSEED"] = self.hash_seed
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        theirs, self._alive = os.pipe()
        try:
            self._process = self._begin(item, seed, theirs, environment)
        finally:
            os.close(theirs)

    def _begin(self, item: pytest.Item, seed: int, pipe: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - this very interpreter, on a test that runs here as well
            [*self._command(item, seed), "--simulation-parent", str(pipe)],
            pass_fds=(pipe,),
            cwd=item.config.rootpath,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )

    def _command(self, item: pytest.Item, seed: int) -> list[str]:
        config = item.config
        words = [sys.executable, "-m", "pytest", f"{item.path}::{item.nodeid.partition('::')[2]}", "-q"]
        words += ["--rootdir", str(config.rootpath), "--import-mode", config.getoption("importmode")]
        if config.inipath is not None:
            words += ["-c", str(config.inipath)]
        for plugin in config.getoption("plugins") or []:
            words += ["-p", plugin]
        for setting in config.getoption("override_ini") or []:
            words += ["-o", setting]
        if config.pluginmanager.hasplugin("xdist"):
            words += ["-n", "0"]
        if config.pluginmanager.hasplugin("_cov"):
            words += ["--no-cov"]
        words += ["-p", "no:cacheprovider", "--simulation-seed", str(seed), "--simulation-trace", str(self._file)]
        return words

    def compare(self, ours: Trace) -> str:
        """Wait for the second process; what is wrong, with the first event that is not the same, or ""."""
        where = f"In a fresh process with PYTHONHASHSEED={self.hash_seed}"
        try:
            code = self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            return f"{where} this test did not end within {PATIENCE_S:.0f} s."
        theirs = read_trace(self._file)
        if theirs is None:
            return f"{where} this test did not even begin:\n{self._said()}"
        if theirs[0] != ours.hash:
            return (
                f"{where} the same seed took other steps.\n{first_difference(list(ours.lines()), theirs[1])}\n"
                "Look for the order of a set, for id() and hash(), a real clock, randomness that is not the mesh's, "
                f"and for what an earlier test left behind.\nreplay: {replay(self._item)}"
            )
        return f"{where} this test failed after the same steps:\n{self._said()}" if code else ""

    def passes(self) -> bool:
        """Wait for the second process, `FRESH_S` at most: whether the test passed there."""
        try:
            return self._process.wait(FRESH_S) == 0 and self._file.exists()
        except subprocess.TimeoutExpired:
            return False

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._alive)
        self._output.close()
        self._place.cleanup()

    def _said(self) -> str:
        self._output.seek(0)
        return self._output.read().decode(errors="replace")[-2000:]


def why_only_here(item: pytest.Item, seed: int, twin: Twin | None, *, alone: bool) -> str:
    """Of a seed that failed here: why, in a line, where it passes in a fresh process; else "".

    `twin`: its second process, where it has one. `alone`: no test ran here before it, so nothing can be left behind.
    """
    ours = os.environ.get("PYTHONHASHSEED", "random")
    if twin is not None:
        theirs, passes = twin.hash_seed, twin.passes()
    elif alone:
        return ""
    else:
        theirs = "1" if ours == "random" else ours
        fresh = Twin(item, seed, hash_seed=theirs)
        try:
            passes = fresh.passes()
        finally:
            fresh.end()
    if not passes:
        return ""
    if alone:
        return f"seed {seed} passes in a fresh process with PYTHONHASHSEED={theirs}: the order of a set, id(), hash()"
    why = f"seed {seed} fails only after others in one process: state that outlives a test: module globals, caches"
    return why if theirs == ours else f"{why}; or else the order of a set"


def live_with_parent(pipe: int, trace: str) -> None:
    """Of the second process: end it, and remove its files, when the first has ended and so closed its end of `pipe`."""

    def wait() -> None:
        try:
            os.read(pipe, 1)
            place = Path(trace).parent
            if place.name.startswith(PLACE):
                shutil.rmtree(place, ignore_errors=True)
        finally:
            os._exit(1)

    threading.Thread(target=wait, name="bangpath-parent", daemon=True).start()


def write_trace(path: str, trace: Trace) -> None:
    """The hash, then every event, a line each."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps({"hash": trace.hash, "count": trace.count}) + "\n")
        file.writelines(line.replace("\n", " ") + "\n" for line in trace.lines())


def read_trace(path: Path) -> tuple[str, list[str]] | None:
    if not path.exists():
        return None
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    return json.loads(head)["hash"], lines


def first_difference(ours: list[str], theirs: list[str]) -> str:
    """The first event in which two traces differ, with what came before it in both."""
    for number, (here, there) in enumerate(zip_longest(ours, theirs, fillvalue="(nothing more)")):
        if here.replace("\n", " ") != there:
            before = [f"      both   {line}" for line in ours[max(0, number - SHOWN) : number]]
            return "\n".join([f"Event {number + 1} differs:", *before, f"      here   {here}", f"      there  {there}"])
    return "Their kept events are the same; their hashes are not."
