"""The words over real sockets: what is said comes back, and nobody's slowness or nonsense is another's trouble."""

import json
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
import trio

from identity.errors import (
    Conflict,
    Exhausted,
    Forbidden,
    LocalMistake,
    NotFound,
    OutcomeUnknown,
    Refused,
    Unreachable,
)
from node.client import Blocking, Client
from node.http import app as app_module
from node.http.serve import run_server, serve_http, tcp_socket

TOKEN = "secret"


@pytest.fixture
async def served(fake: Any, tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Path]:
    (tmp_path / "bangpath.toml").write_text("")
    async with serve_http(fake, tmp_path):
        yield tmp_path


@pytest.fixture
async def client(served: Path) -> AsyncIterator[Client]:
    async with Client(served) as made:
        yield made


async def raw(directory: Path, data: bytes, *, eof: bool = False) -> bytes:
    """What the server answers to these very bytes."""
    stream = await trio.open_unix_socket(directory / "socket")
    async with stream:
        await stream.send_all(data)
        if eof:
            await stream.send_eof()
        answer = b""
        with suppress(trio.BrokenResourceError):
            while piece := await stream.receive_some():
                answer += bytes(piece)
        return answer


async def test_an_object_is_made_read_changed_and_deleted(client: Client) -> None:
    made = await client.create("Note", {"text": "hello", "stars": 3})
    assert made["reference"] == "1.2/1"
    found = await client.get("1.2/1")
    assert found == {
        "reference": "1.2/1", "class": "Note", "sequence": 1, "fields": {"text": "hello", "stars": 3},
        "kind": "owned", "position": "1.2@1:1", "age": 0.0, "path": ["1.2"],
    }  # fmt: skip
    assert (await client.get("/1"))["reference"] == "1.2/1"
    await client.update("1.2/1", {"stars": 4}, expect=1)
    with pytest.raises(Conflict) as conflict:
        await client.update("1.2/1", {"stars": 5}, expect=1)
    assert conflict.value.details["sequence"] == 2
    assert conflict.value.details["current"]["fields"]["stars"] == 4
    await client.replace("1.2/1", {"text": "bye"})
    assert (await client.get("1.2/1"))["fields"] == {"text": "bye", "stars": None}
    await client.delete("1.2/1")
    with pytest.raises(NotFound):
        await client.get("1.2/1")


async def test_a_transaction_is_all_or_nothing(client: Client, fake: Any) -> None:
    said = await client.transact(
        [
            {"op": "create", "class": "Note", "fields": {"text": "a"}},
            {"op": "put", "class": "Note", "key": "text", "fields": {"text": "a"}},
        ]
    )
    assert [each["done"] for each in said["results"]] == ["created", "unchanged"]
    assert said["position"] == "1.2@1:1"
    with pytest.raises(Conflict) as conflict:
        await client.transact([{"op": "create", "class": "Note", "fields": {"text": each}} for each in "ba"])
    assert conflict.value.details["operation"] == 1
    assert len(fake.objects) == 1


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        ([], "a list of operations"),
        ({}, "a list of operations"),
        ([{"op": "burn"}], "operation 0: 'burn' is no operation"),
        ([{"op": "create", "class": "Note", "fields": {"text": "x"}}, 5], "operation 1: a JSON object"),
        ([{"op": "delete", "reference": "1.2/1"}, {"op": "delete", "reference": "1.3/1"}], "about one of 1.3"),
        ([{"op": "delete", "reference": "x"}], "operation 0: 'x' is no reference"),
        ([{"op": "delete", "reference": "1.2/1", "expect": "1"}], "expect is a sequence"),
    ],
)
async def test_transactions_that_are_none(client: Client, operations: Any, words: str) -> None:
    with pytest.raises(Refused, match=words):
        await client.transact(operations)


async def test_rows_stream_and_end_with_their_worth(client: Client, fake: Any) -> None:
    for number in range(1, 2501):
        fake.objects[number] = ("Note", 1, {"text": "é" * 100, "stars": number})
    answer = await client.query("Note")
    assert [row["fields"]["stars"] for row in answer["rows"]] == list(range(1, 2501))
    assert answer["completeness"]["whole"] is True
    assert (await client.query("Note limit 0"))["rows"] == []


async def test_a_query_as_one_json_value(served: Path, fake: Any) -> None:
    for number in range(1, 2501):
        fake.objects[number] = ("Note", 1, {"text": "x" * 100, "stars": number})
    body = b'{"query": "Note"}'
    answer = await raw(
        served, b"POST /v1/query HTTP/1.0\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    said = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert len(said["rows"]) == 2500
    assert said["completeness"]["whole"] is True
    body = b'{"query": "Note limit 0"}'
    answer = await raw(
        served, b"POST /v1/query HTTP/1.0\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["rows"] == []


async def test_a_query_that_fails_half_way_says_so_at_its_end(client: Client, fake: Any, served: Path) -> None:
    for number in range(1, 5001):
        fake.objects[number] = ("Note", 1, {"text": "x" * 200, "stars": number})
    fake.trouble_after = 3000
    rows = 0
    with pytest.raises(Unreachable, match="half-way"):  # noqa: PT012 - the rows before it are counted
        async with aclosing(client.rows("Note")) as answer:
            async for _ in answer:
                rows += 1
    assert rows > 1000
    body = b'{"query": "Note"}'
    answer_bytes = await raw(
        served, b"POST /v1/query HTTP/1.0\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    said = json.loads(answer_bytes.partition(b"\r\n\r\n")[2])
    assert "completeness" not in said
    assert said["error"]["error"] == "unreachable"


async def test_a_client_that_hangs_up_stops_its_query(client: Client, fake: Any) -> None:
    for number in range(1, 1001):
        fake.objects[number] = ("Note", 1, {"text": "x" * 2000, "stars": number})
    fake.waits = trio.sleep_forever  # after the first rows it waits for the rest of the mesh
    with trio.move_on_after(0.2):
        await client.query("Note")
    client.close()
    with trio.fail_after(5):
        await fake.cancelled.wait()


async def test_the_smaller_words(client: Client) -> None:
    assert (await client.status())["server"] == "1.2"
    assert (await client.peers())[0]["state"] == "direct"
    assert (await client.servers())[0]["name"] == "Europe"
    assert (await client.feeds())[0]["kind"] == "data"
    await client.mirror("1.3.*")
    assert (await client.mirrors())[0]["pattern"] == "1.3.*"
    await client.mirror("1.3.*", "backup")
    assert [each["kind"] for each in await client.mirrors()] == ["backup"]
    await client.unmirror("1.3.*")
    assert await client.mirrors() == []
    assert (await client.invite("1.2.7"))["ticket"] == "ticket-for-1.2.7"
    defined = await client.define({"name": "City", "fields": [{"name": "name", "type": "string", "unique": True}]})
    assert defined["name"] == "City"
    assert [each["name"] for each in await client.classes()] == ["Note", "City"]
    assert (await client.adopt("City"))["name"] == "City"


@pytest.mark.parametrize(
    ("request_line", "body", "status", "words"),
    [
        (b"GET /v2/x", b"", 404, "there is no path /v2/x"),
        (b"GET /v1/objects/1/2/3", b"", 404, "there is no path"),
        (b"POST /v1/status", b"", 405, "does not take POST"),
        (b"GET /v1/objects/1.0/2", b"", 422, "no component of a server id"),
        (b"GET /v1/objects/1.2/x", b"", 422, "is no reference"),
        (b"GET /v1/objects/1.2/1?consistency=strong", b"", 422, "is no consistency"),
        (b"GET /v1/objects/1.2/1?deadline=0", b"", 422, "a deadline is a number"),
        (b"GET /v1/objects/1.2/1?max_age=old", b"", 422, "max_age is a number of seconds"),
        (b"GET /v1/objects/1.2/1?max_age=-1", b"", 422, "max_age is a number of seconds"),
        (b"GET /v1/objects/1.2/1?after=1.2", b"", 422, "'1.2' is no position"),
        (b"POST /v1/query", b'{"query": "Note", "after": ["1.2@1:1", "x"]}', 422, "'x' is no position"),
        (b"POST /v1/query", b'{"query": "Note", "after": 17}', 422, "after is a position"),
        (b"POST /v1/query", b'{"query": "Note", "maxage": 1}', 422, "'maxage' means nothing here"),
        (b"GET /v1/objects/1.2/1?consistancy=local", b"", 422, "'consistancy' means nothing here"),
        (b"GET /v1/objects/1.2/7", b"", 404, "there is no object 1.2/7"),
        (b"GET /v1/objects/1.3/7", b"", 504, "1.3 is silent"),
        (b"POST /v1/objects", b"{", 400, "the body is no JSON"),
        (b"POST /v1/objects", b"[" * 100_000, 400, "the body is no JSON"),
        (b"POST /v1/objects", b"\xff", 400, "the body is no JSON"),
        (b"POST /v1/objects", b"[]", 422, "a JSON object with class, fields, server"),
        (b"POST /v1/objects", b"{}", 422, "class is missing"),
        (b"POST /v1/objects", b'{"class": "City"}', 422, "there is no class 'City'"),
        (b"POST /v1/objects", b'{"class": "Note", "fields": {"stars": "x"}}', 422, "stars"),
        (b"POST /v1/objects", b'{"class": "Note", "fields": {"nose": 1}}', 422, "nose"),
        (b"POST /v1/query", b'{"query": "Note whre x"}', 422, "column 6"),
        (b"POST /v1/query", b'{"query": "City"}', 422, "no class 'City'"),
        (b"POST /v1/query", b'{"query": 5}', 422, "query is missing or no text"),
        (b"POST /v1/classes", b'{"name": "X", "fields": {"a": "colour"}}', 422, "colour"),
        (b"POST /v1/classes", b'{"name": "X", "fields": [5]}', 422, "a field is a JSON object"),
        (b"POST /v1/mirrors", b'{"pattern": 5}', 422, "pattern is missing"),
        (b"DELETE /v1/mirrors?pattern=1.9", b"", 422, "is not mirrored"),
        (b"POST /v1/tickets", b'{"server": "1.2.3", "valid_s": -1}', 422, "valid_s"),
    ],
)  # fmt: skip
async def test_nonsense_is_named(served: Path, request_line: bytes, body: bytes, status: int, words: str) -> None:
    head = b"%b HTTP/1.0\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (request_line, len(body))
    answer = await raw(served, head + body)
    assert answer.split()[1] == str(status).encode(), answer[:300]
    said = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert words in said["cause"]
    assert {"error", "cause", "next_step"} <= set(said)


@pytest.mark.parametrize("data", [b"\0" * 100, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"x" * 100_000])
async def test_what_is_no_http_is_hung_up_on_and_others_are_served(client: Client, served: Path, data: bytes) -> None:
    with trio.fail_after(5):
        answer = await raw(served, data, eof=True)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert (await client.status())["server"] == "1.2"


async def test_a_trickling_body_is_given_up(client: Client, served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "BODY_DEADLINE_S", 0.2)
    with trio.fail_after(5):
        answer = await raw(served, b"POST /v1/objects HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"did not arrive within" in answer
    assert (await client.status())["server"] == "1.2"


async def test_a_large_body_is_refused_before_it_is_taken(served: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "MAX_BODY", 1000)
    with trio.fail_after(5):
        answer = await raw(served, b"POST /v1/objects HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413")
        chunk = b"800\r\n" + b"x" * 0x800 + b"\r\n"
        head = b"POST /v1/objects HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        answer = await raw(served, head + chunk * 4)
        assert b"413" in answer


async def test_our_own_fault_is_said_without_a_traceback(client: Client, fake: Any) -> None:
    fake.trouble = ValueError("a bug")
    with pytest.raises(LocalMistake, match="its log says how"):
        await client.get("1.2/1")
    fake.trouble = None
    assert (await client.status())["server"] == "1.2"


async def test_errors_keep_their_kind(client: Client, fake: Any) -> None:
    for error in (
        Unreachable("a", next_step="b", known=1),
        OutcomeUnknown("a"),
        Exhausted("full", quota="bytes"),
        Forbidden("no"),
    ):
        fake.trouble = error
        with pytest.raises(type(error)) as raised:
            await client.get("1.2/1")
        assert raised.value.as_json() == error.as_json()


async def test_how_good_an_answer_must_be_reaches_the_node(client: Client, fake: Any) -> None:
    await client.create("Note", {"text": "x"})
    said = {"consistency": "local", "max_age": 0, "after": ["1.2@1:1", "1.3@2:9"], "deadline": 5}
    await client.get("1.2/1", **said)
    assert fake.wanted == {**said, "after": "1.2@1:1,1.3@2:9"}
    await client.query("Note", **said)
    assert fake.wanted == said
    await client.get("1.2/1", after=[], max_age=None)
    assert fake.wanted == {"consistency": "nearest", "max_age": None, "after": None, "deadline": None}
    with pytest.raises(Refused, match="'consistancy' means nothing here"):
        await client.get("1.2/1", consistancy="local")  # type: ignore[call-arg]


async def test_too_many_at_once_are_told_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_module, "MAX_ACTIVE", 0)
    with pytest.raises(Exhausted):
        await client.status()


async def test_the_socket_is_ours_alone_and_goes_with_us(fake: Any, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(tmp_path / "socket"))
    async with serve_http(fake, tmp_path):
        assert stat.S_IMODE((tmp_path / "socket").stat().st_mode) == 0o600
    assert not (tmp_path / "socket").exists()
    with pytest.raises(Unreachable, match="no server's directory"):
        await Client(tmp_path).status()
    (tmp_path / "bangpath.toml").write_text("")
    with pytest.raises(Unreachable, match="does not run") as silence:
        await Client(tmp_path).status()
    assert silence.value.next_step.endswith("run")
    assert silence.value.exit_code == 4


async def test_a_deep_directory_is_reached_by_a_short_path(fake: Any, tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 40)
    deep.mkdir()
    async with serve_http(fake, deep), Client(deep) as client:
        assert (await client.status())["server"] == "1.2"


async def test_tcp_wants_the_token(fake: Any, tmp_path: Path) -> None:
    async with serve_http(fake, tmp_path, address=("127.0.0.1", 0), token=TOKEN) as bound:
        assert bound is not None
        url = f"http://{bound[0]}:{bound[1]}"
        async with Client(url, token=TOKEN) as client:
            assert (await client.status())["server"] == "1.2"
        for token in (None, "secre", "secret2"):
            async with Client(url, token=token) as client:
                with pytest.raises(Forbidden, match="wants the node's token"):
                    await client.status()


async def test_a_port_in_use_is_named(fake: Any, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Refused, match="is in use"):
            tcp_socket(taken.getsockname())


async def test_the_blocking_twin_says_the_same(fake: Any, served: Path) -> None:
    def talk() -> None:
        with Blocking(served) as client:
            made = client.create("Note", {"text": "x"})
            assert client.get(made["reference"])["fields"] == {"text": "x"}
            assert client.query("Note")["completeness"]["whole"] is True
            assert [row["reference"] for row in client.rows("Note")] == ["1.2/1"]
            for row in client.rows("Note"):
                assert row["class"] == "Note"
                break
            with pytest.raises(Refused, match="column"):
                client.query("Note whre")
            assert client.status()["server"] == "1.2"

    await trio.to_thread.run_sync(talk)


async def test_an_idle_connection_that_ended_is_opened_again(fake: Any, tmp_path: Path) -> None:
    async with Client(tmp_path) as client:
        async with serve_http(fake, tmp_path):
            await client.status()
        async with serve_http(fake, tmp_path):
            await client.create("Note", {"text": "x"})


async def test_a_change_whose_answer_was_lost_is_not_repeated(fake: Any, tmp_path: Path) -> None:
    listening = trio.socket.socket(trio.socket.AF_UNIX)
    await listening.bind(str(tmp_path / "socket"))
    listening.listen()

    async def hang_up() -> None:
        for _ in range(2):
            connection, _ = await listening.accept()
            await connection.recv(1000)
            connection.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hang_up)
        async with Client(tmp_path) as client:
            with pytest.raises(OutcomeUnknown, match="read the object again"):
                await client.create("Note", {"text": "x"})
            with pytest.raises(Unreachable):
                await client.get("1.2/1")
    listening.close()


def test_a_server_takes_as_many_descriptors_as_it_may_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The soft bound that a shell hands on is for old programs; the hard one is the administrator's."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr("node.http.serve.resource.getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr("node.http.serve.resource.setrlimit", lambda _, bounds: asked.append(bounds))
    with pytest.raises((Refused, ExceptionGroup)):
        run_server(tmp_path / "nothing", tell=print)
    assert asked == [(4096, 4096)]
