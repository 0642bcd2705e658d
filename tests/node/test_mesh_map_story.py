"""Events of several servers become sentences: once, with all names, and nothing that a later one makes plain."""

from __future__ import annotations

from typing import Any

import pytest

from node.mesh_map_story import DOUBT_S, GATHER_S, LOST_S, MAX_GATHERED, NEWS, Story, names

WHOLE: dict[str, Any] = {
    "peer": "1.2", "gateway": "1.5", "hops": 2, "rtt_ms": 38.2, "cause": "no answer", "request": 7,
    "outcome": "applied", "direction": "both", "path": "1.3!1.5!1.2", "silent_ms": 300,
}  # fmt: skip


def told(*events: tuple[str, str, dict[str, Any]], gap: float = 0.01) -> list[str]:
    """The sentences of (server, event, details), which came shortly one after another."""
    story = Story()
    now = 0.0
    sentences: list[str] = []
    for at, (server, event, details) in enumerate(events):
        sentences += [each.text for each in story.take(now)]
        story.handle({"server": server, "event": event, "time_ms": at, **details}, now)
        now += gap
    return sentences + [each.text for each in story.take(now + 10)]


def way(peer: str, gateway: str = "1.5", **more: Any) -> dict[str, Any]:
    return {"peer": peer, "gateway": gateway, "hops": 2, "rtt_ms": 38.2, **more}


def test_a_way_by_a_gateway_is_one_sentence() -> None:
    assert told(("1.3", "doubted", {"peer": "1.2"}), ("1.3", "way found", way("1.2"))) == [
        "1.3 lost 1.2; 1.5 confirms a way, 2 hops, 38 ms"
    ]
    assert told(
        ("1.3", "doubted", {"peer": "1.2"}),
        ("1.4", "doubted", {"peer": "1.2"}),
        ("1.3", "way found", way("1.2")),
        ("1.4", "way found", way("1.2")),
        ("1.1", "way found", way("1.2", "1.4")),
    ) == [
        "1.3 and 1.4 lost 1.2; 1.5 confirms a way, 2 hops, 38 ms",
        "1.1 lost 1.2; 1.4 confirms a way, 2 hops, 38 ms",
    ]


def test_the_death_of_a_server_is_one_sentence() -> None:
    dead = [(server, "unreachable", {"peer": "1.2", "cause": "no answer"}) for server in ("1.10", "1", "1.3")]
    doubts = [(server, "doubted", {"peer": "1.2"}) for server in ("1", "1.3")]
    assert told(*doubts, *dead) == ["1, 1.3 and 1.10 lost 1.2: no answer"]


def test_a_parted_mesh_is_two_sentences() -> None:
    left, right = ("1", "1.1"), ("1.3", "1.4")
    events = [(a, "unreachable", {"peer": b, "cause": "silence"}) for a in left for b in right]
    events += [(b, "unreachable", {"peer": a, "cause": "silence"}) for a in left for b in right]
    assert told(*events, gap=0.1) == ["1 and 1.1 lost 1.3 and 1.4: silence", "1.3 and 1.4 lost 1 and 1.1: silence"]


def test_sessions_are_told_once_by_the_one_that_met_most() -> None:
    events = [(a, "greeted", {"peer": "1.2"}) for a in ("1", "1.1", "1.3")]
    events += [("1.2", "greeted", {"peer": a}) for a in ("1", "1.1", "1.3")]
    assert told(*events, ("1.4", "greeted", {"peer": "1.5"})) == ["1.2 meets 1, 1.1 and 1.3", "1.5 meets 1.4"]


def test_two_that_are_direct_again() -> None:
    one, other = ("1.1", "direct again", {"peer": "1.2"}), ("1.2", "direct again", {"peer": "1.1"})
    assert told(one, other) == ["1.1 and 1.2 reach each other directly again"]
    assert told(one) == ["1.1 reaches 1.2 directly again"]
    third = ("1.1", "direct again", {"peer": "1.3"})
    assert told(one, third) == ["1.1 reaches 1.2 and 1.3 directly again"]


def test_of_several_changes_of_a_way_the_last_is_told() -> None:
    assert told(
        ("1.4", "way changed", way("1.3", "1.1")), ("1.4", "way lost", way("1.3", "1.1")),
        ("1.4", "way changed", way("1.3", "1.2", cause="1.1 died")),
    ) == ["1.4 reaches 1.3 by 1.2 now, 2 hops, 38 ms: 1.1 died"]  # fmt: skip


def test_a_way_that_is_found_after_there_was_none_is_no_loss() -> None:
    lost = ("1.4", "unreachable", {"peer": "1", "cause": "silence"})
    queued = ("1.4", "outbox queued", {"peer": "1", "request": 1})
    assert told(lost, queued, ("1.4", "way found", way("1", "1.3")), gap=5.0) == [
        "1.4 lost 1: silence",
        "1.4 keeps a change for 1 until it is reached",
        "1.4 reaches 1 by 1.3 now, 2 hops, 38 ms",
    ]
    assert told(lost, ("1.4", "greeted", {"peer": "1"}), ("1.4", "way found", way("1", "1.3")), gap=5.0)[2:] == [
        "1.4 lost 1; 1.3 confirms a way, 2 hops, 38 ms"
    ]


def test_a_doubt_that_came_to_nothing() -> None:
    story = Story()
    story.handle({"server": "1.4", "event": "doubted", "peer": "1.3", "time_ms": 1}, 0.0)
    assert story.deadline() == DOUBT_S
    assert story.take(DOUBT_S - 0.1) == []
    assert [each.text for each in story.take(DOUBT_S)] == ["1.4 heard nothing of 1.3 for a moment"]
    assert story.deadline() is None


def test_the_outbox_counts() -> None:
    queued = [("1.1", "outbox queued", {"peer": "1.2", "request": n}) for n in range(3)]
    settled = [("1.1", "outbox settled", {"peer": "1.2", "request": n, "outcome": "applied"}) for n in range(3)]
    assert told(*queued) == ["1.1 keeps 3 changes for 1.2 until it is reached"]
    assert told(*queued[:1]) == ["1.1 keeps a change for 1.2 until it is reached"]
    assert told(*settled) == ["1.2 was given 3 changes that 1.1 had kept: applied"]


@pytest.mark.parametrize("kind", NEWS)
def test_every_event_has_a_sentence_and_none_is_told_without_what_it_needs(kind: str) -> None:
    assert len(told(("1.3", kind, WHOLE))) == 1
    for name in NEWS[kind].needs:
        assert told(("1.3", kind, {key: value for key, value in WHOLE.items() if key != name})) == []


def test_what_is_no_news_is_passed_over() -> None:
    assert told(("1.3", "parted", WHOLE), ("1.3", "modified", WHOLE), ("1.3", "unheard of", {})) == []
    story = Story()
    for event in ({}, {"event": 3}, {"event": "ready"}, {"event": "greeted", "peer": ["x"], "time_ms": "late"}):
        story.handle(event, 0.0)
    story.take(100.0)


def test_it_waits_no_longer_than_it_says_and_keeps_no_more_than_it_may() -> None:
    story = Story()
    story.handle({"server": "1.3", "event": "ready", "time_ms": 5}, 1.0)
    assert story.take(1.0 + GATHER_S - 0.01) == []
    assert [each.text for each in story.take(1.0 + GATHER_S)] == ["1.3 serves"]
    for number in range(MAX_GATHERED + 1):
        story.handle({"server": "1.3", "event": "misbehaved", "peer": f"1.{number + 10}"}, 2.0)
    assert len(story.take(2.0)) == MAX_GATHERED + 1
    assert LOST_S < DOUBT_S  # else a doubt is told before what came of it


def test_names() -> None:
    assert names(["1"]) == "1"
    assert names(["1.2", "1"]) == "1 and 1.2"
    assert names(["1.10", "1.2", "1"]) == "1, 1.2 and 1.10"
