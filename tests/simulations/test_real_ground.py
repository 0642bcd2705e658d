"""Where real servers stand: loopback with cuts by their own word, and namespaces that leave nothing behind."""

from __future__ import annotations

import os
import random
import subprocess

import pytest

from identity.errors import Refused
from simulations import real_ground
from simulations.links import Link
from simulations.real_ground import Loopback, Namespaces
from simulations.stage import parted

NAMES = ("1", "1.1", "1.2")
needs_namespaces = pytest.mark.skipif(bool(real_ground.missing()), reason=real_ground.missing() or "they are here")


class Told:
    """What the servers were told."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str, str, bool]] = []

    async def __call__(self, server: str, peer: str, direction: str, block: bool) -> None:
        self.said.append((server, peer, direction, block))

    def take(self) -> list[tuple[str, str, str, bool]]:
        said, self.said = self.said, []
        return said


def loopback(told: Told) -> Loopback:
    return Loopback(NAMES, Link(), lambda *_, **__: None, told, "there is no `ip`")


async def test_a_cut_is_told_to_both_ends_and_those_that_overlap_end_each_by_itself() -> None:
    told = Told()
    ground = loopback(told)
    first = await ground.lay([("1", "1.1")], {"cut": True}, kind="cut", text="")
    assert told.take() == [("1", "1.1", "out", True), ("1.1", "1", "in", True)]
    second = await ground.lay(parted([["1"], ["1.1", "1.2"]]), {"cut": True}, kind="part", text="")
    assert len(told.take()) == 6  # the first is cut already
    assert ground.words("1") == ["--blocked", "1.1=both", "--blocked", "1.2=both"]
    await second()
    assert len(told.take()) == 6
    assert ground.words("1") == ["--blocked", "1.1=out"]
    assert ground.words("1.1") == ["--blocked", "1=in"]
    await first()
    assert told.take() == [("1", "1.1", "out", False), ("1.1", "1", "in", False)]
    assert ground.words("1") == []


async def test_what_was_mended_stays_mended_when_its_cut_ends() -> None:
    told = Told()
    ground = loopback(told)
    undo = await ground.lay([("1", "1.1")], {"cut": True}, kind="cut", text="")
    await ground.mend([("1", "1.1")])
    told.take()
    await undo()
    assert told.take() == []
    await ground.lay(None, {"cut": True}, kind="cut", text="")
    assert len(told.take()) == 12
    await ground.heal()
    assert len(told.take()) == 12
    assert ground.words("1.2") == []


async def test_loopback_knows_cuts_and_refuses_all_else_with_the_reason() -> None:
    with pytest.raises(
        Refused, match=r"links with rules can be made only between network namespaces; there is no `ip`"
    ):
        await loopback(Told()).lay([("1", "1.1")], {"loss": 0.3}, kind="link", text="loss 30%")
    with pytest.raises(Refused, match="its links: links with rules"):
        Loopback(NAMES, Link(loss=0.1), lambda *_, **__: None, Told(), "there is no `ip`")


def test_each_server_of_loopback_has_a_port_of_its_own() -> None:
    ground = loopback(Told())
    assert len({ground.listen(name) for name in NAMES}) == 3


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "sudo" in real_ground.missing()
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert "apt-get install" in real_ground.missing()


def test_a_process_that_ended_is_gone_also_before_its_parent_has_asked() -> None:
    process = subprocess.Popen(["sleep", "1000"])
    assert not real_ground.is_gone(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert real_ground.is_gone(process.pid)
    process.wait()
    assert real_ground.is_gone(process.pid)


def namespaces(process: int | None = None) -> set[str]:
    """Those of this process: other tests may run beside this one."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    mine = f"{real_ground.PREFIX}-{process or os.getpid()}-"
    return {line.split()[0] for line in listed.splitlines() if line.startswith(mine)}


@needs_namespaces
def test_namespaces_have_one_device_each_and_go_in_the_end() -> None:
    before = namespaces()
    ground = Namespaces(NAMES, random.Random(1), Link(delay=0.0, jitter=0.0), lambda *_, **__: None)
    try:
        assert namespaces() - before == {ground.namespace(name) for name in NAMES}
        assert ground.listen("1.1") == ("10.78.0.2", 7000)
        shown = subprocess.run(
            [*ground.inside("1.1"), "ip", "-o", "-4", "addr"], capture_output=True, text=True, check=True
        ).stdout
        assert "10.78.0.2/16" in shown
        assert "127.0.0.1" in shown
    finally:
        ground.close()
    assert namespaces() == before


@needs_namespaces
def test_namespaces_of_a_process_that_is_gone_are_removed_by_the_next_one() -> None:
    nobody = 2**22 + 1  # above every process's number
    gone = f"{real_ground.PREFIX}-{nobody}-1-1.1"
    subprocess.run(["ip", "netns", "add", gone], check=True)
    assert namespaces(nobody) == {gone}
    Namespaces(("1",), random.Random(1), Link(), lambda *_, **__: None).close()
    assert namespaces(nobody) == set()
