"""Real servers in network namespaces, and links that the kernel cuts: nothing is lost where a way is left.

        S ------ D        requests at 200/s from S to D while S-D is cut; G1 and G2 can carry them
        +-- G1 --+
        +-- G2 --+

What is judged is loss, the order of the ways, and what is said where none is left; never how long it took, because
this machine does other things too. The figures are made by `python -m benchmarks routing`. Skipped, with the reason,
where namespaces are not possible.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import netlab
from benchmarks.cuts import diamond, series
from benchmarks.diamond import SERVERS, Diamond
from benchmarks.moments import MOMENTS, Moment
from benchmarks.netlab import KINDS, Lab

LACKING = netlab.missing()
pytestmark = pytest.mark.skipif(bool(LACKING), reason=f"no laboratory here: {LACKING}")
G1, G2 = SERVERS["G1"], SERVERS["G2"]
# The ways from S to D and back while the link stays cut: what still arrives directly goes by no gateway.
USED = {
    "silent": ("gateway", "gateway"),
    "forward": ("gateway", "direct"),
    "backward": ("direct", "gateway"),
    "down": ("gateway", "gateway"),
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Diamond]:
    with diamond() as made:
        yield made


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_loses_nothing_and_the_direct_way_comes_back(servers: Diamond, kind: str) -> None:
    one = series(servers, kind, 1)[0]

    assert [each.error for each in one.lost] == []
    assert one.back_s is not None
    assert one.held == USED[kind]
    assert {way[3] for way in one.ways if way[3]} <= {G1, G2}


@pytest.mark.parametrize("name", ["gateway_dies", "gateway_hangs", "gateway_goes_blind"])
def test_when_the_gateway_in_use_fails_the_other_carries_on(servers: Diamond, name: str) -> None:
    moment = MOMENTS[name](servers)  # which ends when both ways are direct again, or fails

    assert [each.error for each in moment.lost] == []
    assert set(moment.gateways) == {"G1", "G2"}


def test_a_link_that_flaps_loses_nothing(servers: Diamond) -> None:
    moment = MOMENTS["link_flaps"](servers)

    assert [each.error for each in moment.lost] == []


@pytest.mark.parametrize("name", ["starts_cut_off", "cut_while_calling", "no_way_left"])
def test_while_no_way_is_known_that_is_said_and_it_ends(servers: Diamond, name: str) -> None:
    moment = MOMENTS[name](servers)

    assert {each.error.split(":")[0] for each in moment.lost} <= {"Unreachable"}  # and nobody waited in vain
    if name == "no_way_left":
        assert moment.lost
    assert _answered_after_the_last_refusal(moment)


def _answered_after_the_last_refusal(moment: Moment) -> bool:
    refused = max((each.sent for each in moment.lost), default=0.0)
    return any(each.delay is not None and each.sent > refused for each in moment.requests)


def test_a_laboratory_leaves_nothing_behind_and_touches_nothing_else() -> None:
    def others() -> list[str]:
        """Namespaces that no test makes: those of tests come and go beside this one."""
        names = [line.split()[0] for line in netlab.run("ip", "netns", "list").splitlines()]
        return [name for name in names if not name.startswith((netlab.PREFIX, "bpsim-"))]

    before = others()
    with Lab() as lab:
        inside = netlab.run("ip", "netns", "list")
        process = lab.start("S", ["sleep", "1000"])

    assert all(lab.namespace(node) in inside for node in "SD")
    assert process.poll() is not None
    after = netlab.run("ip", "netns", "list")
    assert not any(lab.namespace(node) in after for node in "SD")
    assert others() == before


def test_what_a_killed_laboratory_left_is_removed_by_the_next() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = f"{netlab.PREFIX}-{ended.pid}-S"
    netlab.run("ip", "netns", "add", left)
    with Lab((("A", "B"),)):
        listed = netlab.run("ip", "netns", "list")

    assert left not in listed


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ip = netlab.shutil.which("ip")
    assert ip is not None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no `ip`" in netlab.missing()
    (tmp_path / "ip").symlink_to(ip)
    assert "neither `nft` nor `iptables`" in netlab.missing()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "need root" in netlab.missing()
