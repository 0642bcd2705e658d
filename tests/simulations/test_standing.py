"""What stands cut while it is asked who is reached: one link, or many of which each carries one way only."""

from __future__ import annotations

from simulations.real import adapted
from simulations.schedule import draw


def standing(seed: int) -> list[str]:
    """The cuts before `heal`."""
    lines = draw(seed, faults=["one-way cut", "crash"]).splitlines()
    end = lines.index("heal") - 1
    assert not lines[end].startswith("cut ")
    begin = end
    while lines[begin - 1].startswith("cut "):
        begin -= 1
    return lines[begin:end]


def test_some_schedules_leave_links_that_carry_one_way_only_and_ask_who_is_reached() -> None:
    drawn = [cuts for cuts in map(standing, range(1, 61)) if cuts]
    many = [cuts for cuts in drawn if len(cuts) > 2]
    assert 5 <= len(many) <= len(drawn) - 5
    for cuts in many:
        links = [frozenset(cut.split()[1::2]) for cut in cuts]
        assert all(" > " in cut for cut in cuts)
        assert len(set(links)) == len(links)  # never both ways
    assert any(" <> " in cuts[0] for cuts in drawn if len(cuts) == 1)


def test_real_processes_have_no_such_cuts() -> None:
    texts = [draw(seed, faults=["one-way cut", "crash"]) for seed in range(1, 21)]
    assert any("expect everybody reached" in text for text in texts)
    assert not any("expect everybody reached" in adapted(text) for text in texts)
    assert not any(line.startswith("cut ") for text in texts for line in adapted(text).splitlines())
