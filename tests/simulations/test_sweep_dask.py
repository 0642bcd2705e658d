"""A sweep on a Dask cluster gives the verdicts that it gives here. The cluster is two processes of this machine."""

from __future__ import annotations

import sys

import msgspec
import pytest

from identity.errors import Refused, Unreachable
from simulations.cases import Verdict
from simulations.sweep import sweep, text_cases
from simulations.sweep_dask import judge_there

TEXT = "servers 2\nclass Note text:string\n1.1 mirrors 1\n1 commits 3 Note\nexpect 1.1 has all of 1 within 10s\n"
EARLY = TEXT.replace("within 10s", "within 1ms")


def plain(verdicts: list[Verdict]) -> list[tuple[object, ...]]:
    return [(each.seed, each.trace, each.events, each.broken, each.differs) for each in verdicts]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_verdicts_are_those_of_this_machine() -> None:
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        told: list[Verdict] = []
        there = sweep(
            text_cases(range(1, 7), TEXT, name="two"), dask=cluster.scheduler_address, twice=True, told=told.append
        )
        assert plain(there) == plain(sweep(text_cases(range(1, 7), TEXT, name="two")))
        assert sorted(each.seed for each in told) == [1, 2, 3, 4, 5, 6]
        few = sweep(text_cases(range(1, 90), EARLY, name="early"), dask=cluster.scheduler_address, stop_after=1)
        assert 1 <= len(few) <= 9
        assert few[0].promise == "expectation"


@pytest.mark.filterwarnings("default")
def test_a_scheduler_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    monkeypatch.setattr("simulations.sweep_dask.CONNECT_S", 1.0)
    with pytest.raises(Unreachable, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        sweep([], dask="tcp://127.0.0.1:1")


def test_without_dask_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(Refused, match="Dask is not installed here") as refused:
        sweep([], dask="tcp://127.0.0.1:1")
    assert 'pip install "bangpath[dask]"' in refused.value.next_step


def test_what_a_dask_worker_does_is_judging() -> None:
    (case,) = text_cases([3], TEXT, name="two")
    there = msgspec.json.decode(judge_there(msgspec.json.encode(case), False, 60.0), type=Verdict)
    assert plain([there]) == plain(sweep([case], processes=1))
