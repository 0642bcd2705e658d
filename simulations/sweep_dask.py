"""A sweep over several machines: the same cases and the same judges, handed out by a Dask scheduler.

    bangpath simulate --seeds 1000 --dask tcp://10.0.0.1:8786

    this process --cases--> scheduler --> Dask workers on any machine --each--> its own worker processes --> verdicts

Dask workers run several tasks as threads of one process, and a simulation needs a process for itself: so each thread
has a process of its own here too (`sweep.Judges`), and a verdict does not know where it was made. Every machine needs
Bangpath in this version, with its extra `dask`; which versions there are is asked before anything runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

import msgspec

from identity.errors import Refused, Unreachable
from simulations.cases import Case, Verdict

CONNECT_S = 10.0

_judges: dict[tuple[bool, float], Any] = {}  # of this process, when it is a Dask worker: kept from case to case


def sweep_on_dask(
    cases: Iterable[Case],
    *,
    address: str,
    twice: bool,
    stop_after: int | None,
    limit_s: float,
    told: Callable[[Verdict], None],
) -> list[Verdict]:
    """As `sweep.sweep`. Raises `Refused` without Dask, `Unreachable` without its scheduler or any of its workers."""
    from simulations.sweep import gather

    client = _connect(address)
    with contextlib.closing(client):
        threads = client.nthreads()
        if not threads:
            raise Unreachable(f"the scheduler at {address} has no workers", next_step=f"dask worker {address}")
        _same_version(client)

        def submit(case: Case) -> Future[Verdict]:
            return _Judged(client.submit(judge_there, msgspec.json.encode(case), twice, limit_s, pure=False, retries=2))

        return gather(submit, cases, sum(threads.values()) * 2, stop_after, told)


def judge_there(case: bytes, twice: bool, limit_s: float) -> bytes:
    """On a Dask worker: judge a case, in a process of this thread's own."""
    from simulations.sweep import Judges

    judges = _judges.setdefault((twice, limit_s), None) or Judges(twice=twice, limit_s=limit_s)
    _judges[twice, limit_s] = judges
    verdict: bytes = msgspec.json.encode(judges.judge(msgspec.json.decode(case, type=Case)))
    return verdict


def version_there() -> str:
    """On a Dask worker: which Bangpath it has."""
    from importlib.metadata import version

    return version("bangpath")


class _Judged(Future[Verdict]):
    """Dask's future as one that `concurrent.futures.wait` takes."""

    def __init__(self, future: Any) -> None:
        super().__init__()
        self.set_running_or_notify_cancel()
        future.add_done_callback(self._take)

    def _take(self, future: Any) -> None:
        try:
            self.set_result(msgspec.json.decode(future.result(), type=Verdict))
        except BaseException as error:
            self.set_exception(error)


def _connect(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError as error:
        raise Refused("Dask is not installed here", next_step='pip install "bangpath[dask]"') from error
    try:
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Unreachable(
            f"no Dask scheduler answers at {address}: {error}", next_step="start one: dask scheduler"
        ) from error


def _same_version(client: Any) -> None:
    here = version_there()
    for worker, there in sorted(client.run(version_there).items()):
        if there != here:
            raise Refused(
                f"{worker} has Bangpath {there}, here is {here}", next_step="install the same on all machines"
            )
