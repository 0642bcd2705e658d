"""A test's second process: it ends with the first, however that ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PATIENCE_S = 50.0  # less than what ends a test that stands still by itself

HANGS = """
import os
from bangpath import simulate

@simulate(nodes=1)
async def test_hangs(mesh):
    with open(f"{os.getpid()}.hangs", "w"):
        pass
    os.read(os.open("never", os.O_RDWR), 1)  # outside of virtual time, for ever
"""


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_first_process_and_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(HANGS)
    os.mkfifo(tmp_path / "never")
    places = tmp_path / "places"
    places.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    environment["TMPDIR"] = str(places)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    second = None
    try:
        while len(begun := list(tmp_path.glob("*.hangs"))) < 2:  # until both processes are in the test
            assert first.poll() is None
            time.sleep(0.05)
        assert [place.name.rpartition("-")[0] for place in places.iterdir()] == ["bangpath-twin"]
        (second,) = (os.pidfd_open(int(each.stem)) for each in begun if int(each.stem) != first.pid)
        first.send_signal(how)
        first.wait()
        assert select.select([second], [], [], PATIENCE_S)[0]  # it has ended
        assert list(places.iterdir()) == []
    finally:
        first.kill()
        first.wait()
        if second is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(second, signal.SIGKILL)
            os.close(second)
