"""What marks become: spans, operations, and places on paper."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from simulations.marks import Mark
from simulations.timeline_layout import (
    Operation,
    Span,
    lanes,
    merged,
    operations,
    pack,
    says,
    spans,
    thinned,
    ticks,
)


def mark(at: float, kind: str, *servers: str, text: str = "", **details: Any) -> Mark:
    return Mark(at, kind, servers, text, details)


def told(marks: list[Mark], end_s: float = 60.0) -> list[tuple[float, float, str, str, bool]]:
    return [(span.begin, span.end, span.kind, span.text, span.open) for span in spans(marks, end_s)]


def test_what_lasts_ends_with_its_opposite_or_with_the_run() -> None:
    marks = [
        mark(3, "crash", "1.2"), mark(4, "cut", "1.1", "1.2"), mark(5, "pause", "1.3"), mark(7, "start", "1.2", life=2),
        mark(8, "mend", "1.1", "1.2"), mark(9, "resume", "1.3"), mark(10, "stop", "1.2"),
    ]  # fmt: skip
    assert told(marks) == [
        (3, 7, "crash", "1.2 crashed", False),
        (4, 8, "cut", "1.1 > 1.2 cut", False),
        (5, 9, "pause", "1.3 paused", False),
        (10, 60, "stop", "1.2 stopped", True),
    ]


def test_a_heal_ends_what_the_network_has_and_lets_the_dead_lie() -> None:
    marks = [
        mark(1, "cut", "1.1", "1.2"),
        mark(2, "crash", "1.3"),
        mark(3, "part", text="1 1.1 | 1.2"),
        mark(6, "heal"),
    ]
    assert told(marks) == [
        (1, 6, "cut", "1.1 > 1.2 cut", False),
        (2, 60, "crash", "1.3 crashed", True),
        (3, 6, "part", "part 1 1.1 | 1.2", False),
    ]


def test_another_pair_s_end_or_another_server_s_start_ends_nothing() -> None:
    marks = [
        mark(1, "cut", "1.1", "1.2"),
        mark(1, "crash", "1.3"),
        mark(2, "mend", "1.2", "1.1"),
        mark(2, "start", "1"),
    ]
    assert [open_ for *_, open_ in told(marks)] == [True, True]


def test_the_network_s_own_number_says_which_of_two_equal_faults_ended() -> None:
    marks = [
        mark(1, "link", "1.1", "1.2", text="delay 300ms", fault=1),
        mark(2, "link", "1.1", "1.2", text="loss 5%", fault=2),
        mark(5, "mend", "1.1", "1.2", text="delay 300ms", fault=1),
    ]  # fmt: skip
    assert told(marks) == [
        (1, 5, "link", "1.1 1.2 delay 300ms", False),
        (2, 60, "link", "1.1 1.2 loss 5%", True),
    ]


def test_until_and_ended_are_ends_too() -> None:
    marks = [
        mark(1, "disk", "1.1", text="disk full", until=4.0), mark(2, "clock", "1.2", text="clock 3 s ahead"),
        mark(3, "clock", "1.2", text="clock 3 s ahead", ended=True),
        mark(5, "disk", "1.1", text="disk slow", until=99.0),
        mark(6, "clock", "1.3", text="clock jumps"),
    ]  # fmt: skip
    assert [(begin, end, still) for begin, end, _, _, still in told(marks)] == [
        (1, 4, False), (2, 3, False), (5, 60, True), (6, 6, False),
    ]  # fmt: skip


def test_a_line_of_the_scenario_speaks_for_what_the_network_marks_of_it() -> None:
    everybody = ("1", "1.1", "1.2")
    marks = [
        mark(4, "cut", "1", "1.2", fault=1), mark(4, "cut", "1.1", "1.2", fault=2),
        mark(4, "fault", *everybody, text="part 1 1.1 | 1.2", fault="partition", since=4.0, lasting=True),
        mark(4, "cut", "1.3", "1.4", fault=3),
        mark(9, "fault", *everybody, text="part 1 1.1 | 1.2", fault="partition", ended=True),
    ]  # fmt: skip
    found = spans(marks, 20.0)
    assert [(span.kind, span.end) for span in found] == [("cut", 20.0), ("partition", 9)]
    assert found[1].groups == (("1", "1.1"), ("1.2",))


def test_a_crash_that_a_scenario_says_is_shown_once_as_the_server_s_own() -> None:
    marks = [
        mark(3, "crash", "1.2"), mark(3, "fault", "1.2", text="crash 1.2", fault="crash", since=3.0, lasting=True),
        mark(7, "start", "1.2"), mark(7, "fault", "1.2", text="crash 1.2", fault="crash", ended=True),
    ]  # fmt: skip
    assert told(marks) == [(3, 7, "crash", "1.2 crashed", False)]


def test_a_fault_that_only_the_scenario_tells_is_shown_from_its_begin() -> None:
    marks = [mark(3, "fault", "1.2", text="1.2 runs on an old backup", fault="old backup", since=2.5, lasting=False)]
    assert told(marks) == [(2.5, 3, "old backup", "1.2 runs on an old backup", False)]


def test_words_name_each_server_once() -> None:
    assert says(mark(1, "hostile", "1.3", text="turns hostile: forges")) == "1.3 turns hostile: forges"
    assert says(mark(1, "link", "1.1", "1.2", text="link 1.1 > 1.2 delay 1s")) == "link 1.1 > 1.2 delay 1s"
    assert says(mark(1, "crash", "1.2")) == "1.2 crashed"


def test_operations_have_a_begin_an_end_and_an_outcome() -> None:
    marks = [
        mark(4, "operation", "1.2", what="get", begin=1.0, end=4.0, outcome="refused"),
        mark(5, "operation", "1.1"),
    ]
    assert operations(marks) == [
        Operation("1.2", 1.0, 4.0, "get", "refused"),
        Operation("1.1", 5, 5, "operation", "done"),
    ]


def test_lanes_are_in_the_order_of_numbers() -> None:
    assert lanes([mark(1, "start", "1.10"), mark(1, "start", "1.2")], ["1"]) == ("1", "1.2", "1.10")


def test_ticks_are_round_and_few() -> None:
    assert ticks(35.5) == [0, 5, 10, 15, 20, 25, 30, 35]
    assert ticks(0.9) == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert ticks(3600.0) == [0, 500, 1000, 1500, 2000, 2500, 3000, 3500]
    for end in (0.001, 0.37, 7.0, 61.0, 100.0, 86_400.0):
        assert 3 <= len(ticks(end)) <= 12


@given(st.lists(st.tuples(st.floats(0, 1000), st.floats(0, 200)), max_size=60))
def test_nothing_that_is_packed_lies_on_another(pieces: list[tuple[float, float]]) -> None:
    extents = sorted((begin, begin + wide) for begin, wide in pieces)
    rows = pack(extents, gap=4)
    for one, (begin, end) in enumerate(extents):
        for other in range(one):
            if rows[one] == rows[other]:
                assert extents[other][1] + 4 <= begin or end + 4 <= extents[other][0]


def test_what_is_close_is_drawn_as_one_and_counted() -> None:
    assert merged([(0, 1), (1.1, 2), (9, 9)], gap=0.2) == [(0, 2, 2), (9, 9, 1)]


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50)), min_size=1, max_size=80))
def test_thinning_keeps_the_peak_and_the_end(drawn: list[tuple[float, int]]) -> None:
    steps = sorted(drawn, key=lambda step: step[0])
    kept = thinned(steps, bin_s=7.0)
    assert max(behind for _, behind in kept) == max(behind for _, behind in steps)
    assert kept[-1][1] == steps[-1][1]
    assert len(kept) <= 2 * (100 // 7 + 1)


def test_a_span_is_what_it_says() -> None:
    assert spans([], 5.0) == []
    assert Span(1, 2, "cut", ("1", "1.1"), "", False).groups == ()


def test_sides_that_chance_drew_are_those_that_the_network_cut() -> None:
    marks = [
        mark(4, "part", "1", "1.1", "1.2", text="1 1.2 | 1.1", fault=1),
        mark(4, "fault", text="part into halves", fault="halves", since=4.0, lasting=True),
        mark(9, "mend", "1", "1.1", "1.2", fault=1),
        mark(9, "fault", text="part into halves", fault="halves", ended=True),
        mark(9, "disk", "1.2", text="fast"),
    ]  # fmt: skip
    found = spans(marks, 20.0)
    assert [(span.kind, span.groups) for span in found] == [("halves", (("1", "1.2"), ("1.1",)))]


def test_a_killed_server_is_told_once_and_a_torn_write_with_its_crash() -> None:
    marks = [
        mark(3, "crash", "1.2", keep=True),
        mark(3, "fault", "1.2", text="kill 1.2", fault="kill", since=3.0, lasting=True),
        mark(5, "crash", "1.1", keep=False),
        mark(5, "fault", "1.1", text="crash 1.1 with a torn write", fault="torn write", since=5.0, lasting=True),
    ]  # fmt: skip
    assert [text for _, _, _, text, _ in told(marks)] == ["1.2 killed", "1.1 crashed", "crash 1.1 with a torn write"]


def test_a_heal_of_some_servers_ends_what_concerns_them_alone() -> None:
    marks = [mark(1, "cut", "1.1", "1.2"), mark(2, "cut", "1.2", "1.3"), mark(6, "heal", "1.1", "1.2")]
    assert [(begin, end) for begin, end, *_ in told(marks)] == [(1, 6), (2, 60)]
