"""The outbox as people and programs meet it: over HTTP, from the client, by the command."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from identity.errors import Conflict, NotFound, Unreachable
from identity.names import ServerId
from node.altering import Altering
from node.asking import Changed, Operation
from node.cli.main import run
from node.client import Client
from node.http.serve import serve_http
from node.outcomes import Queued, describe, entry_json
from replication.entries import Happened
from replication.outbox import Outbox
from tests.node.conftest import FakeNode

AWAY = ServerId.parse("1.3")


class Sender(FakeNode):
    """A node whose every other server is away; its outbox is the real machine."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = Outbox()
        self.how: dict[str, Any] = {}
        self.knows_class = False

    async def get(self, reference: Any, **said: Any) -> Any:
        if reference[0] == AWAY and self.knows_class:
            return (await super().get((None, 1)))._replace(class_name="Note")
        return await super().get(reference, **said)

    async def create(self, class_name: str, fields: Any, *, server: ServerId | None = None, **how: Any) -> Any:
        operation = Operation(op="create", class_name=class_name, fields=fields)
        return self._first(await self.transact([operation], server=server, **how))

    async def update(self, reference: Any, fields: Any, *, expect: int | None = None, **how: Any) -> Any:
        operation = Operation(op="update", object=reference[1], fields=fields, expect=expect)
        return self._first(await self.transact([operation], server=reference[0], **how))

    async def delete(self, reference: Any, *, expect: int | None = None, **how: Any) -> Any:
        operation = Operation(op="delete", object=reference[1], expect=expect)
        return self._first(await self.transact([operation], server=reference[0], **how))

    async def transact(self, operations: Sequence[Operation], *, server: ServerId | None = None, **how: Any) -> Any:
        self.how = how
        if server != AWAY:
            return await super().transact(operations, server=server)
        if not how.get("queue", True):
            raise Unreachable(f"{server} is silent", server=str(server))
        self.operations = list(operations)
        entry = self.machine.admit(
            AWAY, incarnation=1, text=describe(operations, AWAY), size=10, met=False, wall_ms=1_800_000_000_000
        )
        self.machine.handle_written(entry, now=0.0, wall_ms=1_800_000_000_000)
        return Queued(entry.number, AWAY, entry.state.value, self.machine.ahead(entry))

    def _first(self, changed: Any) -> Changed | Queued:
        return changed if isinstance(changed, Queued) else changed[0]

    def end(self, number: int, happened: Happened, outcome: dict[str, Any]) -> None:
        """The owner is there and answers the first."""
        self.machine.handle_met(AWAY, now=0.0)
        self.machine.handle_outcome(number, happened, outcome, now=0.0, wall_ms=1_800_000_005_000)

    def outbox(self) -> list[dict[str, Any]]:
        return [entry_json(each, ahead=self.machine.ahead(each)) for each in self.machine]

    def outbox_entry(self, request: int) -> dict[str, Any]:
        entry = self.machine.entry(request)
        operations = [{"op": "create", "class": "Note", "expect": 3, "fields": {"stars": 5}}] if entry.open else None
        return {**entry_json(entry, ahead=self.machine.ahead(entry)), "operations": operations}

    async def outbox_settled(self, request: int, *, deadline: float | None = None) -> dict[str, Any]:
        self.how = {"wait": deadline}
        return self.outbox_entry(request)

    async def cancel_change(self, request: int, *, forget: bool = False) -> dict[str, Any]:
        (self.machine.forget if forget else self.machine.cancel)(request, now=0.0, wall_ms=0)
        return self.outbox_entry(request)


class Said(NamedTuple):
    code: int
    out: str
    err: str


Say = Callable[..., Awaitable[Said]]


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
async def home(sender: Sender, tmp_path: Path, nursery: trio.Nursery) -> AsyncIterator[Path]:
    (tmp_path / "bangpath.toml").write_text("")
    async with serve_http(sender, tmp_path):  # type: ignore[arg-type]  # it says what a node says
        yield tmp_path


@pytest.fixture
async def client(home: Path) -> AsyncIterator[Client]:
    async with Client(home) as made:
        yield made


@pytest.fixture
def say(home: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    async def said(*words: str) -> Said:
        code = await trio.to_thread.run_sync(run, ["-C", str(home), *words])
        told = capsys.readouterr()
        return Said(code, told.out, told.err)

    return said


def test_the_fake_has_the_words_of_the_node() -> None:
    words = {name for name in vars(Altering) if not name.startswith("_")} - {"parts"}
    assert words <= set(dir(Sender))


async def test_a_change_that_waits_is_answered_with_its_request(client: Client, sender: Sender) -> None:
    assert await client.create("Note", {"text": "x"}, server="1.3") == {
        "request": 1, "server": "1.3", "state": "waiting", "ahead": 0,
    }  # fmt: skip
    assert (await client.delete("1.3/7", expires=60, deadline=2.5))["ahead"] == 1
    assert sender.how == {"expires": 60.0, "deadline": 2.5}
    operations = [{"op": "put", "class": "Note", "key": "text", "fields": {"text": "x"}, "server": "1.3"}]
    assert (await client.transact(operations))["request"] == 3
    with pytest.raises(Unreachable):
        await client.delete("1.3/7", queue=False)
    assert "reference" in await client.create("Note", {"text": "own"})  # own changes never wait


async def test_fields_of_an_unknown_class_go_as_they_are_to_their_owner(client: Client, sender: Sender) -> None:
    await client.update("1.3/7", {"stars": 5, "seen": "2026-11-21T00:00:00Z"}, expect=3)
    assert sender.operations == [
        Operation(op="update", object=7, fields={"stars": 5, "seen": "2026-11-21T00:00:00Z"}, expect=3)
    ]
    with pytest.raises(Unreachable):  # which fields there are to be emptied its class would say
        await client.replace("1.3/7", {"stars": 5})
    assert (await client.transact([{"op": "update", "reference": "1.3/7", "fields": {"stars": 6}}]))["request"] == 2


async def test_the_outbox_over_http(client: Client, sender: Sender) -> None:
    for number in range(3):
        await client.create("Note", {"stars": number}, server="1.3")
    sender.end(1, Happened.CONFLICT, {"error": Conflict("changed", current={"stars": 9}, sequence=4).as_json()})
    listed = await client.outbox()
    assert [(each["request"], each["state"]) for each in listed] == [(1, "conflict"), (2, "sent"), (3, "waiting")]
    assert listed[0]["outcome"]["error"]["current"] == {"stars": 9}
    assert (await client.outbox_entry(2, wait=1.5))["operations"][0]["op"] == "create"
    assert sender.how == {"wait": 1.5}
    assert (await client.cancel_change(3))["state"] == "cancelled"
    assert (await client.cancel_change(2))["state"] == "withdrawn"
    assert (await client.cancel_change(2, forget=True))["state"] == "unknown"


@pytest.mark.parametrize(
    ("request_line", "status", "told"),
    [
        ("GET /v1/outbox/9", 404, "request 9 is not in the outbox"),
        ("DELETE /v1/outbox/9", 404, "request 9 is not in the outbox"),
        ("GET /v1/outbox/nine", 422, "is no request of the outbox"),
        ("GET /v1/outbox/99999999999999999999", 422, "is no request of the outbox"),
        ("GET /v1/outbox/1?wait=never", 422, "wait is a number of seconds"),
        ("GET /v1/outbox/1?wait=nan", 422, "wait is a number of seconds"),
        ("GET /v1/outbox?all=1", 422, "'all' means nothing here"),
        ("DELETE /v1/outbox/1?forget=yes", 422, "forget is true or false"),
        ("DELETE /v1/objects/1.3/7?queue=0", 422, "queue is true or false"),
        ("DELETE /v1/objects/1.3/7?expires=-1", 422, "expires is a number of seconds"),
        ("DELETE /v1/objects/1.3/7?deadline=99999", 422, "deadline is a number of seconds"),
        ("DELETE /v1/objects/1.3/7?que=true", 422, "'que' means nothing here"),
        ("POST /v1/outbox", 405, "does not take POST"),
    ],
)
async def test_nonsense_is_refused_by_name(home: Path, request_line: str, status: int, told: str) -> None:
    stream = await trio.open_unix_socket(home / "socket")
    async with stream:
        head = f"{request_line} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        await stream.send_all(head.encode())
        answer = b""
        while piece := await stream.receive_some():
            answer += bytes(piece)
    assert int(answer.split()[1]) == status
    assert told in answer.decode()


async def test_the_command_says_that_a_change_waits(say: Say, sender: Sender) -> None:
    said = await say("put", "Note", "text=x", "--server", "1.3")
    assert said == Said(0, "waits in the outbox as request 1: 1.3 is not reached\n", "")
    said = await say("delete", "1.3/7", "--expires", "60")
    assert said.out == "waits in the outbox as request 2, behind 1 others: 1.3 is not reached\n"
    assert sender.how == {"expires": 60.0}
    said = await say("delete", "1.3/7", "--json")
    assert json.loads(said.out) == {"request": 3, "server": "1.3", "state": "waiting", "ahead": 2}
    said = await say("delete", "1.3/7", "--now")
    assert (said.code, said.out) == (4, "")
    said = await say("update", "1.3/7", "stars=4")
    assert said.code == 4
    assert "--class Note" in said.err
    assert (await say("update", "1.3/7", "stars=4", "--class", "Note")).code == 0
    assert sender.operations[0].fields == {"stars": 4}
    assert (await say("update", "1.3/7", '{"stars": 5}')).code == 0


async def test_the_command_lists_shows_waits_and_cancels(say: Say, sender: Sender) -> None:
    assert (await say("outbox")).out == "nothing waits in the outbox\n"
    for _ in range(4):
        await say("put", "Note", "text=x", "--server", "1.3")
    sender.end(
        1,
        Happened.COMMITTED,
        {"results": [{"reference": "1.3/9", "sequence": 4, "done": "created"}], "position": "1.3@1:2"},
    )
    sender.end(2, Happened.REFUSED, {"error": NotFound("there is no object 1.3/7").as_json()})
    assert (await say("outbox")).out.splitlines() == [
        "request  server  operation    since                state      outcome",
        "      1     1.3  create Note  2027-01-15 08:00:00  committed  created 1.3/9, sequence 4",
        "      2     1.3  create Note  2027-01-15 08:00:00  refused    there is no object 1.3/7",
        "      3     1.3  create Note  2027-01-15 08:00:00  sent       -",
        "      4     1.3  create Note  2027-01-15 08:00:00  waiting    -",
    ]
    waiting = await say("outbox", "--waiting", "--json")
    assert [json.loads(line)["request"] for line in waiting.out.splitlines()] == [3, 4]
    assert (await say("outbox", "show", "4")).out.splitlines() == [
        "request 4 for 1.3, waiting: create Note",
        "  since 2027-01-15 08:00:00, 1 ahead of it",
        "  create Note stars=5 --expect 3",
    ]
    assert (await say("outbox", "show", "1")).out.splitlines()[2:] == [
        "  settled 2027-01-15 08:00:05: created 1.3/9, sequence 4"
    ]
    assert [(await say("outbox", "wait", str(number))).code for number in (1, 2, 4)] == [0, 1, 4]
    assert sender.how == {"wait": 30.0}
    assert (await say("outbox", "cancel", "4")) == Said(0, "cancelled request 4: create Note\n", "")
    assert (await say("outbox", "cancel", "1")) == Said(1, "request 1 is committed already\n", "")
    assert "is withdrawn" in (await say("outbox", "cancel", "3")).out
    assert (await say("outbox", "cancel", "3", "--forget")).out.endswith("carried it out is unknown\n")
    said = await say("outbox", "show", "9")
    assert (said.code, "is not in the outbox" in said.err) == (1, True)
