"""A simulated program that would make runs differ is told which call did, with file, line and what to use instead."""

from __future__ import annotations

import asyncio
import datetime
import gc
import importlib
import os
import queue
import random
import secrets
import select
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from random import choice, shuffle
from time import monotonic as what_time_it_is
from typing import Any

import nacl.public
import nacl.utils
import pytest
import trio

from identity.errors import LocalMistake
from simulations import engine, guard

HERE = Path(__file__).name


def run(act: Callable[[], Any]) -> Any:
    async def main(_: engine.Agenda) -> Any:
        await trio.sleep(1)
        return act()

    return engine.run(main, seed=1)


def full() -> queue.Queue[int]:
    found: queue.Queue[int] = queue.Queue(1)
    found.put(0)
    return found


def held() -> Any:
    lock = threading.Lock()
    lock.acquire()
    return lock


def test_the_message_names_the_call_the_line_and_what_to_use_instead() -> None:
    def act() -> float:
        return time.time()

    with pytest.raises(LocalMistake) as caught:
        run(act)
    line = act.__code__.co_firstlineno + 1
    assert str(caught.value).endswith(
        f"{HERE}:{line} calls time.time in a simulation, which makes runs of one seed differ; use trio.current_time(), "
        "which is virtual here, or the wall clock that is handed in (wall_ms)"
    )
    assert caught.value.details == {"file": act.__code__.co_filename, "line": line, "call": "time.time"}


BREAKING: dict[str, tuple[Callable[[], Any], str, str]] = {
    "time_ns": (lambda: time.time_ns(), "time.time_ns", guard.CLOCK),
    "perf_counter": (lambda: time.perf_counter(), "time.perf_counter", guard.CLOCK),
    "by name": (lambda: what_time_it_is(), "time.monotonic", guard.CLOCK),
    "now": (lambda: datetime.datetime.now(tz=datetime.UTC), "datetime.datetime.now", guard.CLOCK),
    "utcnow": (lambda: datetime.datetime.utcnow(), "datetime.datetime.utcnow", guard.CLOCK),
    "today": (lambda: datetime.date.today(), "datetime.date.today", guard.CLOCK),
    "localtime": (lambda: time.localtime(), "time.localtime", guard.CLOCK),
    "strftime": (lambda: time.strftime("%Y"), "time.strftime", guard.CLOCK),
    "sleep": (lambda: time.sleep(0), "time.sleep", guard.SLEEP),
    "urandom": (lambda: os.urandom(4), "os.urandom", guard.DICE),
    "uuid4": (lambda: uuid.uuid4(), "uuid.uuid4", guard.DICE),
    "secrets": (lambda: secrets.token_hex(4), "secrets.token_hex", guard.DICE),
    "random": (lambda: random.random(), "random.random", guard.DICE),
    "shuffle by name": (lambda: shuffle([1, 2, 3]), "random.Random.shuffle and so random.getrandbits", guard.DICE),
    "choice by name": (lambda: choice([1, 2, 3]), "random.Random.choice and so random.getrandbits", guard.DICE),
    "no seed": (lambda: random.Random(), "random.Random.__init__ and so random.Random without a seed", guard.DICE),
    "system": (lambda: random.SystemRandom().random(), "random.SystemRandom.random and so os.urandom", guard.DICE),
    "libsodium": (lambda: nacl.utils.random(4), "nacl.utils.random", guard.DICE),
    "thread": (
        lambda: threading.Thread(target=print).start(), "threading.Thread.start and so _thread.start", guard.THREAD,
    ),
    "socket": (lambda: socket.socket(), "socket.socket", guard.NETWORK),
    "lookup": (lambda: socket.getaddrinfo("localhost", 80), "socket.getaddrinfo", guard.NETWORK),
    "process": (lambda: subprocess.run(["true"], check=True), "subprocess", guard.PROCESS),
    "fork": (lambda: os.fork(), "os.fork", guard.PROCESS),
    "wait": (lambda: queue.Queue().get(timeout=1), "queue.Queue.get and so time.monotonic", guard.WAIT),
    "put": (lambda: full().put(1, timeout=1), "queue.Queue.put and so time.monotonic", guard.WAIT),
    "pool": (
        lambda: ThreadPoolExecutor().submit(print), "concurrent.futures.thread.ThreadPoolExecutor.submit in a",
        guard.THREAD,
    ),
    "pool of processes": (
        lambda: ProcessPoolExecutor().submit(print), "concurrent.futures.process.ProcessPoolExecutor", guard.PROCESS,
    ),
    "lock": (lambda: held().acquire(timeout=3), "threading.Lock.acquire in a", guard.WAIT),
    "lock at once": (lambda: threading.Lock().acquire(True, 3), "threading.Lock.acquire in a", guard.WAIT),
    "lock again": (lambda: threading.RLock().acquire(timeout=3), "threading.RLock.acquire in a", guard.WAIT),
    "event": (
        lambda: threading.Event().wait(3), "threading.Event.wait and so threading.Lock.acquire", guard.WAIT,
    ),
    "semaphore": (
        lambda: threading.Semaphore(0).acquire(timeout=1), "threading.Semaphore.acquire and so time.mono", guard.WAIT,
    ),
    "asyncio": (lambda: asyncio.new_event_loop(), "asyncio", guard.ASYNCIO),
}  # fmt: skip


@pytest.mark.parametrize("which", BREAKING)
@pytest.mark.filterwarnings("ignore")
def test_a_call_that_makes_runs_differ_is_refused(which: str) -> None:
    act, call, instead = BREAKING[which]
    with pytest.raises(LocalMistake, match="in a simulation") as caught:
        run(act)
    assert f"{HERE}:" in caught.value.cause
    assert f" calls {call}" in caught.value.cause
    assert caught.value.next_step == instead
    del caught
    gc.collect()  # a loop of asyncio that was half made says so when it goes: here, not in the midst of another test


def test_a_lock_that_is_free_or_is_waited_for_without_a_clock_may_be_taken() -> None:
    def take() -> None:
        lock, again = threading.Lock(), threading.RLock()
        assert lock.acquire()
        assert not lock.acquire(blocking=False)
        assert not lock.acquire(False)
        lock.release()
        with lock, again:
            assert again.acquire(blocking=False)
            again.release()

    run(take)
    assert not hasattr(type(threading.Lock()).acquire, "__code__")  # as it was
    lock = held()
    assert not lock.acquire(timeout=0.001)


async def test_a_thread_of_trio_is_refused_where_it_is_asked_for() -> None:
    async def in_a_thread(_: engine.Agenda) -> None:
        await trio.to_thread.run_sync(print)

    async def in_a_file(_: engine.Agenda) -> None:
        await trio.Path(__file__).read_text()

    def both() -> None:
        for story, call in ((in_a_thread, "trio.to_thread.run_sync"), (in_a_file, "trio._path.")):
            with pytest.raises(LocalMistake, match=f"{HERE}:.* calls {call}") as caught:
                engine.run(story, seed=1)
            assert caught.value.next_step == guard.THREAD

    await trio.to_thread.run_sync(both)


def test_what_is_told_the_time_or_given_a_seed_may_go_on() -> None:
    def act() -> list[Any]:
        made = random.Random(7)
        told = [time.gmtime(0).tm_year, time.strftime("%Y", time.gmtime(0)), made.random(), made.choice("abc")]
        return [*told, datetime.datetime.fromtimestamp(0, tz=datetime.UTC).year, uuid.UUID(int=made.getrandbits(128))]

    assert run(act) == run(act)


def test_who_swallows_the_error_fails_all_the_same() -> None:
    def act() -> str:
        try:
            return str(time.time())
        except Exception:
            return "never mind"

    with pytest.raises(LocalMistake, match=r"calls time\.time"):
        run(act)


def test_it_is_named_also_when_everybody_waits_for_what_it_would_have_done() -> None:
    async def main(_: engine.Agenda) -> None:
        done = trio.Event()
        try:
            threading.Thread(target=done.set).start()
        except LocalMistake:
            await done.wait()

    with pytest.raises(LocalMistake, match=r"calls threading\.Thread\.start"):
        engine.run(main, seed=1)


def test_the_tools_around_a_simulation_are_let_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "a_library_with_a_clock.py"
    library.write_text("import time\nfrom time import perf_counter\n\ndef told():\n    return perf_counter()\n")
    monkeypatch.syspath_prepend(tmp_path)
    library_with_a_clock = importlib.import_module("a_library_with_a_clock")
    with pytest.raises(LocalMistake, match=r"a_library_with_a_clock\.py:5 calls time\.perf_counter"):
        run(library_with_a_clock.told)
    monkeypatch.setattr(guard, "LET_THROUGH", {*guard.LET_THROUGH})
    guard.let_through("a_library_with_a_clock")
    assert run(library_with_a_clock.told) > 0


def test_a_display_may_look_at_the_clock_outside() -> None:
    def act() -> float:
        with guard.outside():
            return time.monotonic()

    assert run(act) > 0


def test_what_is_imported_in_a_run_is_no_program_yet_and_is_put_right_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "loaded_in_a_run.py").write_text("from time import time\nfrom os import urandom\nborn = time()\n")
    monkeypatch.syspath_prepend(tmp_path)
    loaded = run(lambda: importlib.import_module("loaded_in_a_run"))
    assert loaded.born > 0
    assert loaded.time is time.time
    assert loaded.urandom is os.urandom
    with pytest.raises(LocalMistake, match=r"calls time\.time"):
        run(lambda: loaded.time())


def test_everything_is_as_it_was_outside() -> None:
    def places() -> list[Any]:
        taken = [time.time, time.sleep, os.urandom, uuid.uuid4, what_time_it_is, random.Random.seed, nacl.utils.random]
        hidden: Any = vars(random)["_inst"]
        return [
            *taken,
            queue.time,
            trio.to_thread.run_sync,
            *sorted(hidden.__dict__),
            datetime.datetime.__dict__["now"],
        ]

    before = places()
    inside = run(places)
    assert places() == before
    assert all(one is not other for one, other in zip(inside[:9], before, strict=False))
    assert datetime.datetime.now(tz=datetime.UTC) > datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert isinstance(random.random(), float)
    assert nacl.public.PrivateKey.generate()


def test_another_thread_goes_its_own_way() -> None:
    asked = threading.Event()
    times: list[float] = []

    def other() -> None:
        asked.wait()
        times.append(time.time())

    thread = threading.Thread(target=other)
    thread.start()

    def act() -> None:
        asked.set()
        thread.join()

    run(act)
    assert times


def test_a_class_of_dates_is_the_same_class_inside() -> None:
    """A stand-in for the class would not be: what is compared by type, or kept by type, would be lost."""
    before = datetime.datetime
    assert run(lambda: datetime.datetime is before and type(datetime.datetime(2026, 1, 1)) is before)


def test_a_script_that_runs_a_simulation_itself_is_asked_too() -> None:
    script = (
        "import time, trio\nfrom simulations import engine\n"
        "async def main(agenda):\n    time.sleep(0)\n"
        "try:\n    engine.run(main, seed=1)\nexcept Exception as error:\n    print(error)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "<string>:4 calls time.sleep in a simulation" in done


def test_the_system_s_dice_are_files_too() -> None:
    def throw() -> None:
        with open("/dev/urandom", "rb"):
            pass

    with pytest.raises(LocalMistake, match="open\\('/dev/urandom'\\) in a simulation"):
        run(throw)


def test_a_look_at_nothing_for_a_while_is_a_sleep() -> None:
    with pytest.raises(LocalMistake, match=r"select\.select in a simulation"):
        run(lambda: select.select([], [], [], 0))
