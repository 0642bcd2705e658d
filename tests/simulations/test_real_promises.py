"""What can be seen of promises from outside, on real processes: that they hold, that they do not, what one cannot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from identity.errors import Refused
from simulations.promises import PromiseBroken
from simulations.real import run_real
from simulations.real_promises import seen
from simulations.scenario import parse

pytestmark = pytest.mark.slow
BEGIN = "servers 2\nclass Note text:string\n1 commits 3 Note\n"


def forget(run: Any) -> None:
    """As if more had been acknowledged than the owner wrote."""
    run.memory["desk"].sequences[run.objects["1"][1]] += 1


def mistake(run: Any) -> None:
    run.texts[run.objects["1"][1]] = {"text": "something else"}


def nothing(run: Any) -> None:
    """All is as it was acknowledged."""


def run(text: str, change: Callable[[Any], None]) -> None:
    """Run it, with this done in the place of the line `run 1s`."""
    scenario = parse(BEGIN + text, name="story")

    def act(run: Any) -> Any:
        async def done() -> str:
            change(run)
            return ""

        return done()

    for step in scenario.steps:
        if step.text == "run 1s":
            object.__setattr__(step, "act", act)
    try:
        run_real(scenario, seed=1, loopback=True)
    except PromiseBroken as broken:
        shutil.rmtree(Path(broken.__notes__[0].rpartition(": ")[2]))
        raise


def test_what_holds_is_seen_to_hold() -> None:
    run("1.1 mirrors 1\nrun 1s\nexpect no lost commits\nexpect converged within 30s\n", nothing)


@pytest.mark.parametrize(
    ("change", "told"),
    [(forget, r"1 has 1/\d+ at sequence \d+, and acknowledged \d+"), (mistake, r"as .*says 2.*something else")],
)
def test_a_lost_commit_is_seen(change: Callable[[Any], None], told: str) -> None:
    with pytest.raises(PromiseBroken, match=told) as broken:
        run("run 1s\nexpect no lost commits within 0.5s\n", change)
    assert broken.value.promise == "P1"


def test_a_mirror_that_is_behind_is_seen() -> None:
    with pytest.raises(PromiseBroken, match=r"1\.1 differs from 1 in [235] objects; the first is 1/\d+: None for"):
        run("cut 1 > 1.1\n1.1 mirrors 1\n1 commits 2 Note\nexpect converged within 0.5s\n", nothing)
    with pytest.raises(PromiseBroken, match=r"1 cannot be asked: the server .* does not run"):
        run("kill 1\nexpect no lost commits\n", nothing)
    with pytest.raises(PromiseBroken, match=r"1 cannot be asked: 1 is paused"):
        run("pause 1\nexpect no lost commits\n", nothing)


@pytest.mark.parametrize("name", ["every promise", "no loops", "bounded memory"])
def test_what_is_seen_inside_a_node_only_is_refused(name: str) -> None:
    with pytest.raises(Refused, match="only in the simulator; on real processes there are `expect no lost commits`"):
        seen(name)
