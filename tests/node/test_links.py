"""A link is cut and mended by each of the words: over HTTP, by a client, by the command; mistakes are named."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from identity.errors import Refused
from node import calls
from node.calls import Call
from node.cli.main import run
from node.cli.showing import way_there
from node.client import Client
from node.http.serve import serve_http


@pytest.fixture
async def home(fake: Any, tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Path]:
    (tmp_path / "bangpath.toml").write_text("")
    async with serve_http(fake, tmp_path):
        yield tmp_path


async def test_over_http(home: Path) -> None:
    async with Client(home) as node:
        assert await node.block("1.1") == {"server": "1.1", "blocked": "both"}
        assert await node.block("1.1", "in") == {"server": "1.1", "blocked": "in"}
        assert await node.unblock("1.1", "in") == {"server": "1.1", "blocked": "out"}
        assert await node.unblock("1.1") == {"server": "1.1", "blocked": None}
        await node.block("1.1", "out")
        assert await node.unblock("all") == [{"server": "1.1", "blocked": None}]
        assert await node.unblock("all") == []
        assert await node.call(Call("POST", "/v1/peers/1.1/block", b"{}")) == {"server": "1.1", "blocked": "both"}


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (calls.block("1.9"), r"1\.9 is not known"),
        (calls.block("1.1", "sideways"), "'sideways' is no direction"),
        (calls.unblock("1.1", "sideways"), "'sideways' is no direction"),
        (Call("POST", "/v1/peers/1.1/block", b'{"directoin": "in"}'), "a JSON object with direction"),
        (Call("POST", "/v1/peers/1.1/block", b'["in"]'), "a JSON object with direction"),
        (Call("POST", "/v1/peers/1.1/block", b'{"direction": {}}'), "is no direction"),
        (Call("DELETE", "/v1/peers/1.1/block?way=in"), "'way' means nothing here"),
        (Call("DELETE", "/v1/peers/all/block?direction=in"), "name one server"),
        (Call("GET", "/v1/peers/1.1/block"), "does not take GET"),
    ],
)
async def test_what_makes_no_sense_is_refused(home: Path, call: Call, told: str) -> None:
    async with Client(home) as node:
        with pytest.raises(Refused, match=told):
            await node.call(call)


async def test_by_the_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def say(*words: str) -> tuple[int, str]:
        code = await trio.to_thread.run_sync(run, ["-C", str(home), "peers", *words])
        told = capsys.readouterr()
        return code, told.out + told.err

    assert await say("block", "1.1") == (0, "1.1 is blocked: both directions\n")
    assert await say("block", "1.1", "--in") == (0, "1.1 is blocked: what it sends to us is dropped\n")
    code, out = await say("block", "1.1", "--out", "--json")
    assert json.loads(out) == {"server": "1.1", "blocked": "out"}
    assert await say("unblock", "1.1", "--out") == (0, "1.1 is blocked: what it sends to us is dropped\n")
    assert await say("unblock", "--all") == (0, "no link was blocked\n")
    await say("block", "1.1")
    assert await say("unblock", "--all") == (0, "1.1 is not blocked\n")
    code, out = await say("block", "1.7")
    assert (code, out) == (1, "bangpath: 1.7 is not known to 1.2\n  next: see which are: bangpath @1.2 servers\n")
    for words in (("unblock",), ("unblock", "1.1", "--all"), ("unblock", "--all", "--in"), ("block",)):
        assert (await say(*words))[0] == 2, words
    code, out = await say()
    assert code == 0
    assert "blocked" in out.splitlines()[0]


async def test_a_list_says_what_is_blocked(home: Path, fake: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fake.peers = lambda: [
        {"server": "1.1", "state": "direct", "blocked": "in"},
        {
            "server": "1.3",
            "state": "direct",
            "blocked": None,
            "way": "direct",
            "way_back": "gateway",
            "path_back": ["1.3", "1.5", "1.1"],
        },
    ]
    assert await trio.to_thread.run_sync(run, ["-C", str(home), "peers"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:5] == ["server", "state", "there", "back", "blocked"]
    assert [row.split()[:5] for row in rows] == [
        ["1.1", "direct", "?", "?", "in"],  # a server that does not tell
        ["1.3", "direct", "direct", "by", "1.5"],
    ]


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        ({"way": "direct", "path": ["1.1", "1.2"]}, "direct"),
        ({"way": "gateway", "path": ["1.1", "1.5", "1.2"], "gateway": "1.5"}, "by 1.5"),
        ({"way": "gateway", "path": ["1.1", "1.5", "1.3", "1.2"], "gateway": "1.5"}, "by 1.5!1.3"),
        ({"way": "gateway"}, "by ?"),
        ({"way": "none", "path": []}, "none"),
        ({}, "?"),
    ],
)
def test_the_way_there(peer: dict[str, Any], told: str) -> None:
    assert way_there(peer) == told
