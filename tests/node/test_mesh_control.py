"""Servers of a mesh are killed and revived, links cut and mended: real processes, and what each says of its links."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from identity.errors import BangpathError, Refused, Unreachable
from identity.names import ServerId
from node import children
from node.mesh_control import Control
from node.opening import create_root, join

SERVERS = ("1", "1.1", "1.2")


@asynccontextmanager
async def mesh(directory: Path) -> AsyncIterator[Control]:
    """Three servers that know each other."""
    control = Control(directory, SERVERS)
    create_root(directory / "1", ServerId.parse("1"), local="*")
    try:
        await control.start("1")
        for server in SERVERS[1:]:
            ticket = (await control.client("1").invite(server))["ticket"]
            await join(directory / server, ticket, local="*")
            await control.start(server)
        for server in SERVERS:
            await until_ways(control, server, {each: True for each in SERVERS if each != server})
        yield control
    finally:
        with trio.CancelScope(shield=True):
            await control.stop_all()


async def until_ways(control: Control, server: str, wanted: dict[str, bool]) -> None:
    """Until the server has a direct session with exactly these."""
    seen: Any = None
    with trio.move_on_after(30):
        while True:
            seen = {each["server"]: each["state"] == "direct" for each in await control.client(server).peers()}
            if {each: seen.get(each, False) for each in wanted} == wanted:
                return
            await trio.sleep(0.05)
    raise AssertionError((server, wanted, seen))


async def blocked(control: Control, server: str) -> dict[str, str]:
    return {each["server"]: each["blocked"] for each in await control.client(server).peers() if each["blocked"]}


async def test_links_are_cut_at_both_ends_and_mended(tmp_path: Path) -> None:
    async with mesh(tmp_path) as control:
        await control.cut("1.1", "1.2")
        assert control.state().is_cut("1.2", "1.1")
        assert await blocked(control, "1.1") == {"1.2": "both"}
        assert await blocked(control, "1.2") == {"1.1": "both"}
        assert await blocked(control, "1") == {}
        await control.heal("1.2", "1.1")
        assert control.state().cuts == frozenset()
        await control.cut_one_way("1.1", "1.2")
        assert not control.state().is_cut("1.1", "1.2")
        assert await blocked(control, "1.1") == {"1.2": "out"}
        assert await blocked(control, "1.2") == {"1.1": "in"}
        await control.part(["1.2"])
        assert await blocked(control, "1") == {"1.2": "both"}
        assert await blocked(control, "1.1") == {"1.2": "both"}
        await control.client("1").block("1.1")  # by hand
        await control.heal()
        for server in SERVERS:
            assert await blocked(control, server) == {}


async def test_the_dead_are_cut_off_when_they_return(tmp_path: Path) -> None:
    async with mesh(tmp_path) as control:
        await control.kill("1.2")
        assert control.state().living == {"1", "1.1"}
        with pytest.raises(Unreachable):
            await control.client("1.2").status()
        await control.cut_one_way("1.2", "1.1")
        await control.cut("1.2", "1")
        await control.revive("1.2")
        assert control.state().living == set(SERVERS)
        assert await blocked(control, "1.2") == {"1": "both", "1.1": "out"}
        await until_ways(control, "1.2", {"1": False})
        await trio.sleep(1.0)  # long enough for a handshake, were the link open for a moment
        log = (tmp_path / "1.2" / children.LOG).read_text().rpartition('"event":"ready"')[2]
        assert '"event":"greeted"' not in log
        await control.heal()
        await until_ways(control, "1.2", {"1": True, "1.1": True})


async def test_a_link_that_is_cut_or_mended_while_its_server_starts(tmp_path: Path) -> None:
    async with mesh(tmp_path) as control:
        await control.kill("1.2")
        await control.cut("1", "1.2")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(control.revive, "1.2")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(control.cut, "1.2", "1.1")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(control.heal, "1.2", "1")
        assert await blocked(control, "1.2") == {"1.1": "both"}


async def test_one_that_is_run_by_hand(tmp_path: Path) -> None:
    async with mesh(tmp_path) as control:
        await control.kill("1.1")
        command = children.command(tmp_path / "1.1", "run")
        by_hand = await trio.lowlevel.open_process(command, stderr=subprocess.DEVNULL, env=children.environment())
        with trio.fail_after(30):
            while not await control.answers("1.1"):  # noqa: ASYNC110 - another process
                await trio.sleep(0.05)
        assert "1.1" in control.state().living
        assert await control.start("1.1") is None
        with pytest.raises(Refused, match="runs already"):
            await control.revive("1.1")
        await control.kill("1.1")
        assert await by_hand.wait() == -9
        assert "1.1" not in control.state().living
        await control.revive("1.1")
        assert (await control.client("1.1").status())["server"] == "1.1"


async def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    control = Control(tmp_path)
    for verb in (control.kill, control.revive, control.start):
        with pytest.raises(Refused, match=r"1\.9 is no server of this mesh"):
            await verb("1.9")
    with pytest.raises(Refused, match="does not run"):
        await control.kill("1.2")
    with pytest.raises(Refused, match="no server of this mesh"):
        await control.cut("1.1", "9")
    with pytest.raises(Refused, match="no link to itself"):
        await control.cut_one_way("1.1", "1.1")
    with pytest.raises(Refused, match="both sides"):
        await control.part(["1", "1.1"], ["1.1", "1.2"])
    with pytest.raises(Refused, match="two groups"):
        await control.part(list(control.servers))
    assert control.state() == (frozenset(), frozenset())


async def test_cuts_are_kept_while_nobody_lives(tmp_path: Path) -> None:
    control = Control(tmp_path)
    await control.cut("1.1", "1.2")
    await control.cut_one_way("1.3", "1.4")
    assert control.state().cuts == {("1.1", "1.2"), ("1.2", "1.1"), ("1.3", "1.4")}
    await control.heal("1.2")
    assert control.state().cuts == {("1.3", "1.4")}
    await control.heal()
    assert control.state().cuts == frozenset()


def test_a_stale_pid_is_nobody_s(tmp_path: Path) -> None:
    """A process id in a directory whose server does not answer may be anybody's."""
    (tmp_path / "1.2").mkdir()
    (tmp_path / "1.2" / "pid").write_text(f"{os.getpid()}\n")

    async def main() -> None:
        await Control(tmp_path).kill("1.2")

    with pytest.raises(BangpathError, match="does not run"):
        trio.run(main)
