"""`bangpath check` of a directory and of a running server: the same report, exit codes, errors that help."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from identity.errors import Refused
from identity.names import ServerId
from node.cli.main import run
from node.client import connect, connect_blocking
from node.config import SCRUB, parse_config, read_config, write_config
from node.http.serve import serve_http
from node.opening import create_root, open_node
from store.definitions import ClassDefinition, Field
from store.frame_parts import OWN
from store.frames import FRAME_HEADER_BYTES, FRAME_START, SEGMENT_HEADER_BYTES, FrameCodec
from store.records import DATA
from store.upkeep import check_directory

NOTE = ClassDefinition(name="Note", fields=(Field(name="text", index=True),))


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    home = tmp_path / "1"
    create_root(home, ServerId.parse("1"))
    set_scrub(home, 0)  # which would find things before the test does
    async with open_node(home, log=lambda event: None) as node:
        await node.define(NOTE)
        for number in range(20):
            await node.create("Note", {"text": f"note {number}"})
    return home


def set_scrub(directory: Path, rate: int) -> None:
    path = directory / "bangpath.toml"
    write_config(path, msgspec.structs.replace(read_config(path), scrub=rate))


def log_of(directory: Path) -> Path:
    return sorted((directory / "log").glob("log-*"))[0]


def flip(path: Path, *bits: int) -> None:
    """Bits of the frame that made a note in the middle of the log, counted from its first stored byte."""
    data = bytearray(path.read_bytes())
    codec = FrameCodec()
    position = SEGMENT_HEADER_BYTES
    frames = []
    while data[position : position + 3] == FRAME_START:
        header = codec.read_header(data, position)
        body = codec.read_body(header, bytes(data[position : position + header.size]))
        if body.kind == OWN and body.sections[DATA]:
            frames.append(position + FRAME_HEADER_BYTES)
        position += header.size
    for bit in bits or (77,):
        data[frames[len(frames) // 2] + bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


async def test_a_stopped_server(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(directory)]) == 0
    told = capsys.readouterr()
    assert told.out.endswith("everything is as it was written\n")
    assert "owned records" in told.out
    assert told.err == ""
    flip(log_of(directory))
    assert run(["-C", str(directory), "check"]) == 1
    told = capsys.readouterr()
    assert "frame log-00000001-0000000000000000 at offset" in told.err
    assert "next: `bangpath check --repair`" in told.err
    assert re.search(r"update \d+ of 1, feed \d: log-00000001-0000000000000000 at offset", told.err), "what it was"
    assert told.out.endswith("2 found\n")
    assert run(["check", str(directory), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert not said["whole"]
    assert said["findings"][0]["segment"] == 1


async def test_a_running_server_looks_at_itself(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noted: list[dict[str, Any]] = []
    async with open_node(directory, log=noted.append) as node, serve_http(node, directory):
        assert await trio.to_thread.run_sync(run, ["check", str(directory), "--json"]) == 0
        whole = json.loads(capsys.readouterr().out)
        assert whole["counts"]["owned records"] > 20
        flip(log_of(directory))
        assert await trio.to_thread.run_sync(run, ["-C", str(directory), "check"]) == 1
        assert "frame log-00000001" in capsys.readouterr().err
        events = [each["event"] for each in noted if each["event"] in ("checked", "damaged")]
        assert events == ["checked", "damaged", "damaged", "checked"]
        assert (await node.create("Note", {"text": "it serves"})) is not None
        async with connect(directory) as client:
            assert [each["what"] for each in (await client.check())["findings"]] == ["frame", "update"]
        with connect_blocking(directory) as blocking:
            report = await trio.to_thread.run_sync(lambda: blocking.check(repair=True))
        assert report["whole"]
        assert [each["mended_from"] for each in report["mended"]] == ["itself: one bit had flipped", "the log"]


async def test_the_scrub_finds_it_by_itself(directory: Path) -> None:
    set_scrub(directory, SCRUB)
    flip(log_of(directory))
    noted: list[dict[str, Any]] = []
    scrubbed = trio.Event()

    def log(event: dict[str, Any]) -> None:
        noted.append(event)
        if event["event"] == "scrubbed":
            scrubbed.set()

    async with open_node(directory, log=log):
        with trio.fail_after(30):
            await scrubbed.wait()
        await trio.testing.wait_all_tasks_blocked(0.3)
    damaged = [each for each in noted if each["event"] == "damaged"]
    assert [each["what"] for each in damaged] == ["frame", "update"]
    assert all(each["repair"] for each in damaged)
    mended = [(each["what"], each["mended_from"]) for each in noted if each["event"] == "mended"]
    assert mended == [("frame", "itself: one bit had flipped"), ("update", "the log")]
    assert check_directory(directory).whole


async def test_errors_that_help(tmp_path: Path, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(tmp_path / "none")]) == 1
    assert "there is no store in" in capsys.readouterr().err
    async with open_node(directory, log=lambda event: None):  # without HTTP: nobody to ask
        assert await trio.to_thread.run_sync(run, ["check", str(directory)]) == 1
    assert "is in use by process" in capsys.readouterr().err


def test_the_setting() -> None:
    for wrong in ("-1", "true", '"1"', str(1 << 41)):
        with pytest.raises(Refused, match=r"\[store\] scrub must be a whole number of bytes a second"):
            parse_config(f"[store]\nscrub = {wrong}\n")


async def test_repair_says_what_it_did(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with open_node(directory, log=lambda event: None) as node:
        assert await trio.to_thread.run_sync(run, ["check", str(directory), "--repair"]) == 1
        assert "is in use by process" in capsys.readouterr().err
        async with serve_http(node, directory):
            flip(log_of(directory))
            assert await trio.to_thread.run_sync(run, ["check", str(directory), "--repair"]) == 0
            assert "mended from itself: one bit had flipped" in capsys.readouterr().out
    (directory / "log" / "quarantine-00000001").unlink()
    (directory / "log" / "quarantine-00000002").unlink()
    flip(log_of(directory))
    (directory / "tables" / "data.mdb").write_bytes(b"")
    assert await trio.to_thread.run_sync(run, ["check", str(directory), "--repair"]) == 0
    told = capsys.readouterr().out
    assert "mended from itself: one bit had flipped; what stood there is in quarantine-00000001" in told
    assert f"the old ones are in {directory / 'tables.damaged-1'}" in told
    flip(log_of(directory), 77, 190)
    assert await trio.to_thread.run_sync(run, ["check", str(directory), "--repair", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert [(each["mended_from"], each["evidence"]) for each in said["mended"]] == [("", "quarantine-00000002")]
    assert run(["check", str(directory), "--from", "x"]) == 2
    assert "--from belongs to --repair" in capsys.readouterr().err
    async with open_node(directory, log=lambda event: None) as node:
        assert (await node.create("Note", {"text": "it serves"})) is not None
