"""What must hold at each step: an answer that is as it must be passes, and each way of being otherwise is told."""

import copy
from typing import Any

import pytest

from node import tour_checks as checks
from node.tour_checks import Unmet

COUNTS = {"1.1": 3, "1.2": 2}


def answer(silent: str = "", whole: bool = True) -> dict[str, Any]:
    """Five rows of two owners; of a silent one by its mirror."""
    owners: list[dict[str, Any]] = [
        {"server": server, "how": "owner", "rows": count, "path": [server, "1.4"], "age": 0.0}
        for server, count in COUNTS.items()
    ]
    for each in owners:
        if each["server"] == silent:
            each.update(how="mirrored", by="1.1", path=[silent, "1.1", "1.4"], age=3.5, since=2.5)
    rows = [{"reference": f"{server}/{number}"} for server, count in COUNTS.items() for number in range(count)]
    return {"rows": rows, "completeness": {"whole": whole, "owners": owners}}


def changed(said: dict[str, Any], **how: Any) -> dict[str, Any]:
    said = copy.deepcopy(said)
    said["completeness"]["owners"][1].update(how)
    return said


def test_everything_is_every_row_once_and_known_to_be_all() -> None:
    checks.everything(answer(), COUNTS)
    less, twice = answer(), answer()
    less["rows"].pop()
    twice["rows"][0] = twice["rows"][1]
    for said, why in (
        (less, "4"),
        (twice, "1 twice"),
        (answer(whole=False), "not whole"),
        (changed(answer(), rows=1), "told 1"),
        (changed(answer(), how="cached"), "cached"),
        (changed(answer(), server="1.3"), "0 times"),
    ):
        with pytest.raises(Unmet) as unmet:
            checks.everything(said, COUNTS)
        assert why in unmet.value.got


def test_a_silent_owner_is_told_with_its_mirror_age_and_since_when() -> None:
    said = answer(silent="1.2")
    checks.owner_silent(said, COUNTS, owner="1.2", mirror="1.1")
    for wrong in ({"how": "owner"}, {"by": "1.3"}, {"age": None}, {"since": None}, {"path": ["1.2", "1.4"]}):
        with pytest.raises(Unmet):
            checks.owner_silent(changed(said, **wrong), COUNTS, owner="1.2", mirror="1.1")
    said["completeness"]["owners"][0]["since"] = 4.0
    with pytest.raises(Unmet, match=r"only 1\.2 .* got 1\.1, 1\.2"):
        checks.owner_silent(said, COUNTS, owner="1.2", mirror="1.1")


def test_half_a_mesh_names_what_it_cannot_see() -> None:
    said = answer(whole=False)
    said["completeness"]["owners"][1].update(how="unreachable", rows=0, path=[])
    said["rows"] = said["rows"][:3]
    checks.half(said, COUNTS, seen=["1.1"])
    with pytest.raises(Unmet):
        checks.half(answer(whole=False), COUNTS, seen=["1.1"])
    for wrong in ({"how": "mirrored"}, {"how": "stale"}):
        with pytest.raises(Unmet, match=r"1\.2 unreachable"):
            checks.half(changed(said, **wrong), COUNTS, seen=["1.1"])
    said["completeness"]["whole"] = True
    with pytest.raises(Unmet, match="not whole"):
        checks.half(said, COUNTS, seen=["1.1"])


def test_one_object_by_a_mirror_by_a_gateway_and_by_its_owner() -> None:
    found = {"kind": "mirrored", "path": ["1.2", "1.1", "1.4"], "age": 3.0, "owner_unreachable_since": 2.0}
    checks.mirrored(found, owner="1.2", mirror="1.1", asker="1.4")
    checks.mirrored({**found, "path": ["1.2", "1.1", "1.5", "1.4"]}, owner="1.2", mirror="1.1", asker="1.4")
    for wrong in ({"kind": "cached"}, {"path": ["1.2", "1.4"]}, {"age": None}, {"owner_unreachable_since": None}):
        with pytest.raises(Unmet):
            checks.mirrored({**found, **wrong}, owner="1.2", mirror="1.1", asker="1.4")
    round_about = {"kind": "owner", "path": ["1.2", "1.5", "1.1"]}
    straight = {"kind": "owner", "path": ["1.2", "1.1"]}
    assert checks.by_gateway(round_about, owner="1.2", asker="1.1") == "1.2!1.5!1.1"
    checks.by_owner(straight, owner="1.2", asker="1.1")
    for wrong in (straight, {**round_about, "kind": "mirrored"}):
        with pytest.raises(Unmet):
            checks.by_gateway(wrong, owner="1.2", asker="1.1")
    with pytest.raises(Unmet, match=r"got owner along 1\.2!1\.5!1\.1"):
        checks.by_owner(round_about, owner="1.2", asker="1.1")


def test_ways_of_both_directions() -> None:
    peers = [{"server": "1.2", "state": "silent", "way": "gateway", "way_back": "direct"}]
    checks.ways(peers, at="1.1", server="1.2", out="gateway", back="direct")
    with pytest.raises(Unmet, match="got gateway and back direct"):
        checks.ways(peers, at="1.1", server="1.2", out="direct", back="direct")
    with pytest.raises(Unmet):
        checks.ways(peers, at="1.1", server="1.3", out="direct", back="direct")
    for state in ("direct", "gateway", "none"):  # none: in doubt, and a way is looked for
        with pytest.raises(Unmet):
            checks.lost([{"server": "1.2", "state": state, "way": "none"}], at="1.1", server="1.2")
    checks.lost([{"server": "1.2", "state": "silent", "way": "none"}], at="1.1", server="1.2")


def test_a_change_waits_and_is_committed_once() -> None:
    old = {"request": 4, "server": "1.2", "state": "committed"}
    new = {"request": 5, "server": "1.2", "state": "waiting"}
    assert checks.waiting([old, new], [4], server="1.2") == 5
    for entries in (
        [old],
        [old, new, {**new, "request": 6}],
        [{**new, "server": "1.3"}],
        [{**new, "state": "refused"}],
    ):
        with pytest.raises(Unmet):
            checks.waiting(entries, [4], server="1.2")
    done = {**new, "state": "committed", "outcome": {"results": [{"reference": "1.2/7", "sequence": 31}]}}
    assert checks.committed(done, "1.2/7") == 31
    for entry in (new, {**done, "state": "refused"}, {**done, "outcome": {"results": []}}):
        with pytest.raises(Unmet):
            checks.committed(entry, "1.2/7")
    found = {"fields": {"elevation": 84.0, "icao": "EGLL"}, "sequence": 31, "position": "1.2@3:18"}
    checks.has(found, {"elevation": 84.0}, sequence=31, at="1.1")
    checks.once(found, after=17, at="1.1")
    with pytest.raises(Unmet, match=r"got elevation=84\.0, sequence 31"):
        checks.has(found, {"elevation": 83.0}, sequence=31, at="1.1")
    for wrong in (lambda: checks.has(found, {}, sequence=30, at=""), lambda: checks.once(found, after=16, at="1.1")):
        with pytest.raises(Unmet):
            wrong()


def test_equal_is_the_same_rows_everywhere_and_complete_copies() -> None:
    positions = {"1.1": {"1.2 data": 5}, "1.3": {"1.2 data": 5}}
    assert checks.equal({"1.1": "abc", "1.3": "abc"}, positions, {"1.2 data": 5}) == "abc"
    with pytest.raises(Unmet, match="the same rows"):
        checks.equal({"1.1": "abc", "1.3": "abd"}, positions, {"1.2 data": 5})
    with pytest.raises(Unmet, match=r"1\.1 to hold 1\.2 data up to update 6, got up to 5"):
        checks.equal({"1.1": "abc"}, positions, {"1.2 data": 6})


def test_a_fingerprint_is_of_what_rows_are_and_not_of_who_told_them() -> None:
    one = {"reference": "1.2/7", "sequence": 3, "fields": {"a": 1, "b": 2}, "kind": "owner", "age": 0.0}
    two = {"reference": "1.2/8", "sequence": 4, "fields": {"a": 1, "b": 2}}
    same = {**one, "fields": {"b": 2, "a": 1}, "kind": "mirrored", "age": 9.0}
    assert checks.fingerprint([one, two]) == checks.fingerprint([two, same])
    for other in ({**one, "sequence": 4}, {**one, "fields": {"a": 1, "b": 3}}, two):
        assert checks.fingerprint([other, two]) != checks.fingerprint([one, two])
