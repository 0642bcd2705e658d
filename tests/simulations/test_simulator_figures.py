"""What `python -m benchmarks simulator` measures, small: it is what it says, and fails where that does not hold."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import simulator
from simulations.cases import Verdict


def test_real_nodes_come_to_know_each_other_and_what_one_wrote() -> None:
    figures = simulator.real_nodes(8)
    assert figures["nodes"] == 8
    assert figures["known_virtual_s"] < 10


def test_nodes_that_do_not_meet_are_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "_knows_itself", lambda world: False)
    with pytest.raises(AssertionError, match="not within"):
        simulator.real_nodes(5)


def test_router_cores_answer_over_every_cut_link_that_a_way_is_left_for() -> None:
    figures = simulator.router_cores(100)
    assert figures["asked"] > 20
    assert figures["answered"] == figures["asked"]


def test_seeds_that_failed_and_traces_that_differ_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def swept(cases: Any, **_: Any) -> list[Verdict]:
        return [
            Verdict(
                seed=each.seed, trace="t", cpu_s=1.0, promise="P1" * (each.seed == 2), differs="d" * (each.seed == 3)
            )
            for each in cases
        ]

    monkeypatch.setattr(simulator, "sweep", swept)
    monkeypatch.setattr(
        simulator, "run_case", lambda case: Verdict(seed=case.seed, trace="t" if case.seed > 1 else "u")
    )
    assert simulator.seeds_per_minute(1)["failed"] == [2]
    figures = simulator.equal_traces(1)
    assert figures["value"] == 80.0  # of five seeds twice, seed 3 differed elsewhere and seed 1 here
