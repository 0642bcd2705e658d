"""Who knocks without a word is let go; how many there are is bounded, so that the command is always heard."""

import resource
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from identity.names import ServerId
from node.client import Client, connect_blocking
from node.http import listening
from node.http.listening import most_strangers
from node.http.serve import serve_http
from node.opening import create_root

ROOT = Path(__file__).parents[2]
TOKEN = "a secret of the node"
LIMITED = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256)); "


async def ended(stream: trio.SocketStream, *, within: float) -> bool:
    """Whether the server closes this connection."""
    with trio.move_on_after(within):
        try:
            return await stream.receive_some() == b""
        except trio.BrokenResourceError:
            return True
    return False


def test_idle_strangers_leave_the_command_its_descriptors(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trial:
        address = trial.getsockname()
    create_root(tmp_path / "1", ServerId.parse("1"), http=address)
    log = tmp_path / "log"
    limited = f"{LIMITED}from node.cli.main import run; sys.exit(run(sys.argv[1:]))"
    with log.open("wb") as file:
        server = subprocess.Popen(
            (sys.executable, "-c", limited, "-C", str(tmp_path / "1"), "run"), cwd=ROOT, stdout=file, stderr=file
        )
    try:
        until = time.monotonic() + 15
        while b"is ready" not in log.read_bytes():
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        with ExitStack() as strangers:
            for _ in range(400):
                strangers.enter_context(socket.create_connection(address, timeout=5))
            time.sleep(0.5)
            for _ in range(3):
                began = time.monotonic()
                with connect_blocking(tmp_path / "1") as node:
                    assert node.status()["server"] == "1"
                assert time.monotonic() - began < 2
            assert len(list(Path(f"/proc/{server.pid}/fd").iterdir())) < 128
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(10)
    told = log.read_text()
    assert code == 0, told
    assert "Traceback" not in told
    assert told.count("more are closed at once") == 1


async def test_beyond_the_bound_one_is_closed_at_once_and_room_is_given_again(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.http.serve.most_strangers", lambda _: 2)
    async with serve_http(fake, tmp_path, address=("127.0.0.1", 0), token=TOKEN) as bound:
        assert bound is not None
        first, second = [await trio.open_tcp_stream(*bound) for _ in range(2)]
        third = await trio.open_tcp_stream(*bound)
        assert await ended(third, within=2)
        assert not await ended(first, within=0.1)
        await first.aclose()
        await trio.sleep(0.1)
        async with Client(f"http://{bound[0]}:{bound[1]}", token=TOKEN) as client:
            assert (await client.status())["server"] == "1.2"
        await second.aclose()
        await third.aclose()


async def test_who_asks_nothing_is_let_go_and_who_asked_may_rest(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "FIRST_REQUEST_S", 0.2)
    async with serve_http(fake, tmp_path, address=("127.0.0.1", 0), token=TOKEN) as bound:
        assert bound is not None
        silent, trickling, asking = [await trio.open_tcp_stream(*bound) for _ in range(3)]
        await trickling.send_all(b"GET /v1/status HTTP/1.1\r\nHost:")
        request = f"GET /v1/status HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
        await asking.send_all(request)
        assert bytes(await asking.receive_some()).startswith(b"HTTP/1.1 200")
        assert await ended(silent, within=2)
        await trickling.receive_some()
        assert await ended(trickling, within=2)
        while not await ended(asking, within=0.5):  # the rest of the answer, then nothing
            await asking.send_all(request)
            if bytes(await asking.receive_some()).startswith(b"HTTP/1.1 200"):
                break
        else:
            pytest.fail("a connection that had asked was closed")
        for stream in (silent, trickling, asking):
            await stream.aclose()


async def test_without_a_descriptor_it_waits_and_goes_on(
    fake: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept = trio.SocketListener.accept
    failures = [OSError(24, "Too many open files")] * 2

    async def accept_sometimes(self: trio.SocketListener) -> trio.SocketStream:
        if failures:
            raise failures.pop()
        return await accept(self)

    monkeypatch.setattr(trio.SocketListener, "accept", accept_sometimes)
    async with serve_http(fake, tmp_path), Client(tmp_path) as client:
        assert (await client.status())["server"] == "1.2"
    assert [record.getMessage() for record in caplog.records] == [
        "no connection can be accepted: Too many open files; see ulimit -n"
    ]


@pytest.mark.parametrize(
    ("descriptors", "most"),
    [(64, 16), (256, 64), (1024, 256), (65_536, 256), (resource.RLIM_INFINITY, 256), (1, 1)],
)
def test_a_quarter_of_the_descriptors_at_most(descriptors: int, most: int) -> None:
    assert most_strangers(descriptors) == most
