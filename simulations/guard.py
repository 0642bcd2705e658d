"""What would make two runs of one seed differ is refused where it is called: with file, line and what to use instead.

    a simulated task --> time.time()        --> LocalMistake: app.py:12 calls time.time in a simulation; use ...
                     --> threading, socket
                     --> random, os.urandom
                     --> trio.to_thread, subprocess

Two ways of noticing, both idle outside a run: functions that are replaced while it lasts (stand_ins.py), and Python's
own audit of sockets and processes, which also sees what C code does.

Who is refused: the first caller beyond the standard library and trio, for what `queue.get(timeout=1)` asks was asked by
whoever called it. Who is let through: the tools around a simulation, by name (`LET_THROUGH`, `let_through`), code that
is just being imported, and what runs inside `with outside():`. Other threads of the process are none of our business.
A program that swallows the error fails all the same, at the end of its run.

What stands still without a call that can be seen (a lock of threads, a loop that awaits nothing, or nothing that takes
time) is left to watchdog.py. What cannot be seen: a SimpleQueue's timeout, signals and process ids, a function that was
kept in a default argument or an object before the run, the randomness of C libraries but libsodium's, the order of a
set, and `hash` of a text (a run under another PYTHONHASHSEED shows those).
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from identity.errors import LocalMistake
from simulations.stand_ins import StandIns

CLOCK = "use trio.current_time(), which is virtual here, or the wall clock that is handed in (wall_ms)"
SLEEP = "use `await trio.sleep(seconds)`"
DICE = "use a random.Random that is handed in and seeded, such as world.generator('my use')"
THREAD = "use a task in a nursery: threads have an order of their own"
WAIT = "use trio.Event or trio.open_memory_channel, and trio.move_on_after(seconds): threads wait by the real clock"
NETWORK = "use the network that is handed in, such as world.network.host(name)"
ASYNCIO = "use trio: asyncio cannot run in a simulation"
PROCESS = "use a task, or do it before or after the run"

# Packages that watch a run and decide nothing in it, so that their calls are theirs. A name covers what is below it.
LET_THROUGH: set[str] = {
    "IPython", "_hypothesis_pytestplugin", "_pydevd_bundle", "_pytest", "bdb", "coverage", "debugpy", "execnet",
    "hypothesis", "logging", "pdb", "pluggy", "pydevd", "pytest", "pytest_timeout", "pytest_trio", "tempfile", "xdist",
}  # fmt: skip

# Of calls that come through these, what is really meant: who asks for a pool wants threads, and no clock.
_MEANT = {
    "asyncio": ASYNCIO, "concurrent.futures.thread.": THREAD, "concurrent.futures.process.": PROCESS,
    "multiprocessing.": PROCESS,
}  # fmt: skip
_WAITING = ("queue.", "threading.", "concurrent.futures.")  # they look at a clock only to wait

_FOLLOWED = sys.stdlib_module_names | {"trio", "outcome"}  # whoever called these is the one who is asked

_FUNCTIONS: dict[str, tuple[str, ...]] = {
    CLOCK: (
        "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter",
        "time.perf_counter_ns", "time.process_time", "time.process_time_ns", "time.thread_time",
        "time.thread_time_ns", "time.clock_gettime", "time.clock_gettime_ns", "os.times",
    ),
    SLEEP: ("time.sleep", "select.select"),
    DICE: (
        "os.urandom", "os.getrandom", "uuid.uuid1", "uuid.uuid4", "random.random", "random.getrandbits",
        "random.randbytes", "random.seed", "secrets.token_bytes", "secrets.token_hex", "secrets.token_urlsafe",
        "secrets.randbelow", "secrets.randbits", "secrets.choice", "nacl.bindings.randombytes", "nacl.utils.random",
        "nacl.bindings.crypto_box_keypair", "nacl.bindings.crypto_box_seal", "nacl.bindings.crypto_sign_keypair",
        "nacl.bindings.crypto_kx_keypair", "numpy.random.default_rng", "numpy.random.rand", "numpy.random.random",
    ),
    THREAD: ("trio.to_thread.run_sync", "_thread.start_new_thread", "_thread.start_joinable_thread"),
    WAIT: ("threading.Lock.acquire", "threading.RLock.acquire"),
    PROCESS: ("_posixsubprocess.fork_exec",),
}  # fmt: skip
# These look at the clock only when they are not told a time: the number of arguments they can be given before it.
_WITHOUT_TIME = {"time.gmtime": 0, "time.localtime": 0, "time.ctime": 0, "time.asctime": 0, "time.strftime": 1}
_EVENTS = {
    "socket.__new__": ("socket.socket", NETWORK),
    "socket.getaddrinfo": ("socket.getaddrinfo", NETWORK),
    "socket.gethostbyname": ("socket.gethostbyname", NETWORK),
    "subprocess.Popen": ("subprocess.Popen", PROCESS),
    "os.system": ("os.system", PROCESS),
    "os.fork": ("os.fork", PROCESS),
    "os.forkpty": ("os.forkpty", PROCESS),
    "os.exec": ("os.execv", PROCESS),
    "os.posix_spawn": ("os.posix_spawn", PROCESS),
}

_DICE_FILES = ("/dev/urandom", "/dev/random", b"/dev/urandom", b"/dev/random")

_watched_thread = 0  # the one whose simulated tasks run now; 0 when none do


class Watch:
    """One run: what it called that it may not."""

    def __init__(self) -> None:
        self.refused: list[LocalMistake] = []

    def begin(self) -> None:
        """From here on it is simulated tasks that run in this thread."""
        global _watched_thread, _watch
        _watched_thread, _watch = threading.get_ident(), self

    def end(self) -> None:
        global _watched_thread
        _watched_thread = 0


_watch = Watch()


@contextlib.contextmanager
def watching() -> Iterator[Watch]:
    """Make ready to refuse; the block calls `begin` and `end`. What was refused inside is what the block raises."""
    global _watch
    stand_ins = _stand_ins()
    stand_ins.put_in()
    watch = Watch()
    try:
        yield watch
    except BaseException as error:
        if watch.refused and error is not watch.refused[0]:
            raise watch.refused[0] from error
        raise
    finally:
        watch.end()
        _watch = Watch()  # else the error of the last run, and all its frames hold, would live on
        stand_ins.take_out()
    if watch.refused:
        raise watch.refused[0]


def let_through(*packages: str) -> None:
    """From now on what these packages call is theirs: they need a real clock or thread and decide nothing by it."""
    LET_THROUGH.update(packages)


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """What this block does (without await) is no part of the simulation: a progress display, a measurement."""
    global _watched_thread
    before, _watched_thread = _watched_thread, 0
    try:
        yield
    finally:
        _watched_thread = before


def is_let_through(module: str) -> bool:
    """Whether a module, or a package around it, is named in `LET_THROUGH`."""
    while module not in LET_THROUGH:
        module, dot, _ = module.rpartition(".")
        if not dot:
            return False
    return True


@functools.cache
def _stand_ins() -> StandIns:
    sys.addaudithook(_hear)  # for good, since Python has no way back: outside a run it costs one comparison
    advice = {path: instead for instead, paths in _FUNCTIONS.items() for path in paths}

    def tell(call: str) -> None:
        _judge(call, advice.get(call) or (DICE if call.startswith("random.") else CLOCK))

    return StandIns(tell, advice, _WITHOUT_TIME, skip=is_let_through)


def _hear(event: str, given: tuple[Any, ...]) -> None:
    if not _watched_thread:
        return
    if event in _EVENTS:
        _judge(*_EVENTS[event])
    elif event == "open" and given[0] in _DICE_FILES:
        _judge(f"open({given[0]!r})", DICE)


def _judge(call: str, instead: str) -> None:
    """Raise when it is a simulated program that makes this call."""
    if not _watched_thread or _watched_thread != threading.get_ident():
        return
    caller, through = _who_calls(sys._getframe(1))
    if caller is None:
        return
    if instead == CLOCK and through.startswith(_WAITING):
        instead = WAIT
    instead = next((meant for begins, meant in _MEANT.items() if through.startswith(begins)), instead)
    pool = through.startswith("concurrent.futures.") and instead in (THREAD, PROCESS)
    made = call if through in ("", call) else through if pool else f"{through} and so {call}"
    file = caller.f_code.co_filename
    broken = LocalMistake(
        f"{os.path.relpath(file)}:{caller.f_lineno} calls {made} in a simulation, which makes runs of one seed differ",
        next_step=instead,
        file=file,
        line=caller.f_lineno,
        call=call,
    )
    _watch.refused.append(broken)
    raise broken


def _who_calls(frame: FrameType | None) -> tuple[FrameType | None, str]:
    """Who must answer for it, None when nobody; and what of the standard library or trio it called, if it did."""
    through = ""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if not module.startswith(("simulations.guard", "simulations.stand_ins")):
            if frame.f_code.co_name == "<module>" or is_let_through(module):
                return None, through
            if module.partition(".")[0] not in _FOLLOWED:
                return frame, through
            through = f"{module}.{frame.f_code.co_qualname}"
        frame = frame.f_back
    return None, through  # trio's own loop
