"""Hypothesis draws schedules: the same lines as `schedule.py` draws from seeds, and hypothesis makes small what fails.

    @given(schedules(servers=3, faults=["crash", "one-way cut"]))
    def test_my_application(text):
        outcome = run_scenario(parse(text), seed=1, checkers=every_checker())
        assert outcome.broken is None

A schedule is a list of timed lines between a fixed head and end, so hypothesis removes lines, moves them to second 0
and takes lesser servers by itself: simplest is what comes first of each list. It needs the extra `test`; nothing of
the simulator imports this file.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from hypothesis import strategies as st

from simulations.faults import Kind, Mesh, kinds
from simulations.schedule import DURATIONS_S, WITHIN_S
from simulations.verbs_network import read_servers

MOST_STEPS = 40


@st.composite
def schedules(
    draw: st.DrawFn,
    *,
    servers: int = 3,
    shape: str = "full",
    faults: Iterable[str] | None = None,
    seconds: float = 30.0,
    most_steps: int = MOST_STEPS,
    within_s: float = WITHIN_S,
) -> str:
    """The text of a scenario: every server but the last owns objects, the last two mirror the first two.

    `faults`: names of kinds, None for all. Raises `Refused` for what there is not.
    """
    head = f"servers {servers} {shape}"
    graph, names = read_servers(head, "the mesh")
    mesh = Mesh(tuple(names), tuple(sorted((min(pair), max(pair)) for pair in graph.edges)))
    lines = draw(st.lists(st.one_of(work(mesh), *_breaking(mesh, kinds(faults))), max_size=most_steps))
    moments = draw(st.lists(st.integers(0, int(seconds * 0.9) * 2), min_size=len(lines), max_size=len(lines)))
    mirrors = [f"{name} mirrors {owner}" for owner in mesh.servers[:2] for name in mesh.servers[-2:] if name != owner]
    first = [f"{owner} commits 2 Note" for owner in mesh.servers[:-1] or mesh.servers]
    timed = [f"at {1 + moment / 2:g}s {line}" for moment, line in sorted(zip(moments, lines, strict=True))]
    end = [f"run {1 + seconds:g}s", "heal", f"expect every promise within {within_s:g}s"]
    return "\n".join([head, "class Note text:string", *mirrors, *first, *timed, *end]) + "\n"


def work(mesh: Mesh) -> st.SearchStrategy[str]:
    """One line of work on this mesh, the plainest first."""
    servers, few = st.sampled_from(mesh.servers), st.integers(1, 5)
    owners = st.sampled_from(mesh.servers[:-1] or mesh.servers)
    together = st.sampled_from(("", " together"))
    return st.one_of(
        st.builds("{} commits {} Note{}".format, owners, few, together),
        st.builds("{} changes {} Note{}".format, owners, few, together),
        st.builds("{} changes {} Note of {}".format, servers, few, owners),
        st.builds("{} commits {} Note at {}".format, servers, few, owners),
        st.builds("{} gets {} Note of {}{}".format, servers, few, owners, st.sampled_from(("", " by their owner"))),
        st.builds("{} asks Note{}".format, servers, st.sampled_from(("", " of their owners"))),
        st.builds("{} deletes 1 Note of {}".format, servers, owners),
    )


def _breaking(mesh: Mesh, chosen: tuple[Kind, ...]) -> list[st.SearchStrategy[str]]:
    """Faults of these kinds; hypothesis chooses the kind and how long, and a number from which the rest is drawn."""
    return [
        st.builds(_fault, st.just(kind), st.just(mesh), st.integers(0, 999), st.sampled_from(DURATIONS_S))
        for kind in chosen
        if kind.draw(Random(0), mesh) is not None
    ]


def _fault(kind: Kind, mesh: Mesh, number: int, duration_s: float) -> str:
    line = kind.draw(Random(number), mesh) or ""
    return f"{line} for {duration_s:g}s" if kind.lasting else line
