"""Real nodes in one process, over real sockets, disks and LMDB: they join, replicate, answer, die, come back."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from identity.errors import BangpathError, Conflict, Forbidden, NotFound, OutcomeUnknown, Refused, Unreachable
from identity.names import Pattern, Reference, ServerId
from node import opening
from node.asking import Operation
from node.config import Config, read_config, write_config
from node.node import Node
from node.requests import Modify, act_of
from store.query import Question
from store.registry import ClassDefinition, Field
from transport.requests import request_id

NOTE = ClassDefinition(
    name="Note",
    fields=(
        Field(name="text", required=True),
        Field(name="number", type="int", index=True),
        Field(name="key", unique=True),
    ),
)
SECRET = ClassDefinition(name="Secret", fields=(Field(name="text"),), privacy="private")


class Mesh:
    """Servers in directories below `path`, opened and closed one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log: list[dict[str, Any]] = []

    def found(self, server: str = "1") -> None:
        opening.create_root(self.path / server, ServerId.parse(server), local="*")

    async def join(self, inviter: Node, server: str) -> None:
        ticket = (await inviter.invite(server))["ticket"]
        await opening.join(self.path / server, ticket, local="*")

    def configure(self, server: str, /, **changes: Any) -> None:
        path = self.path / server / "bangpath.toml"
        write_config(path, msgspec.structs.replace(read_config(path), **changes))

    def config(self, server: str) -> Config:
        return read_config(self.path / server / "bangpath.toml")

    @asynccontextmanager
    async def open(self, server: str) -> AsyncIterator[Node]:
        async with opening.open_node(self.path / server, log=self.log.append) as node:
            yield node

    def events(self, event: str) -> list[dict[str, Any]]:
        return [each for each in self.log if each["event"] == event]


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    made = Mesh(tmp_path)
    yield made
    assert made.events("mistake") == []


async def eventually(happens: Callable[[], Any], *, within: float = 10.0) -> None:
    with trio.fail_after(within):
        while not happens():  # noqa: ASYNC110  # what is waited for tells nobody
            await trio.sleep(0.005)


def lag(node: Node, server: str) -> int | None:
    """How many updates of the server's data feed are missing here; None: nothing of it is known."""
    for feed in node.feeds():
        if feed["server"] == server and feed["kind"] == "data":
            return int(feed["lag"])
    return None


def last(node: Node, server: str) -> int:
    return max(
        (feed["last"] for feed in node.feeds() if feed["server"] == server and feed["kind"] == "data"), default=0
    )


def whole(node: Node, owner: Node) -> bool:
    """Whether the node mirrors everything that the owner has, and knows it."""
    return last(node, str(owner.server)) == last(owner, str(owner.server)) and (
        node.parts.standpoint.holding(owner.server).whole
    )


@asynccontextmanager
async def three(mesh: Mesh) -> AsyncIterator[tuple[Node, Node, Node]]:
    """1, 1.1 and 1.2, with the class Note adopted by all."""
    mesh.found("1")
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(mesh.open("1"))]
        await nodes[0].define(NOTE)
        for server in ("1.1", "1.2"):
            await mesh.join(nodes[0], server)
            nodes.append(await stack.enter_async_context(mesh.open(server)))
        for node in nodes[1:]:
            await eventually(lambda node=node: any(each["name"] == "Note" for each in node.classes()))
            await node.adopt("Note")
        await eventually(
            lambda: all(
                len(each.classes()[0]["owners"]) == 3 and len(each.parts.sessions.peers()) == 2 for each in nodes
            )
        )
        yield nodes[0], nodes[1], nodes[2]


async def test_a_mirror_has_what_its_owner_wrote_and_others_ask(mesh: Mesh) -> None:
    async with three(mesh) as (root, a, b):
        await b.mirror("1.1")
        made = await a.create("Note", {"text": "hello", "number": 1})
        await eventually(lambda: last(b, "1.1") == 1)
        here = await b.get(made.reference)
        assert (here.kind, here.fields["text"], here.path) == ("mirrored", "hello", (a.server, b.server))
        asked = await root.get(made.reference)
        assert (asked.kind, asked.fields["text"], asked.age) == ("owner", "hello", 0.0)
        assert asked.position == made.position
        await eventually(lambda: root.view().get(made.reference) is not None)
        again = await root.get(made.reference, consistency="local")
        assert (again.kind, again.fields["number"]) == ("cached", 1)
        with pytest.raises(NotFound, match=r"1\.1/999"):
            await root.get("1.1/999")
        with pytest.raises(Unreachable, match="holds no copy"):
            await root.get("1.1/999", consistency="local")


async def test_a_query_is_answered_by_all_owners_in_one_order(mesh: Mesh) -> None:
    async with three(mesh) as nodes:
        for place, node in enumerate(nodes):
            await node.transact(
                [
                    Operation(
                        op="create", class_name="Note", fields={"text": f"{node.server}", "number": 3 * n + place}
                    )
                    for n in range(200)
                ]
            )
        await nodes[2].mirror("1.1")
        await eventually(lambda: whole(nodes[2], nodes[1]))
        for node in nodes:
            answer = await node.query("Note where number >= 100 order by -number limit 300")
            assert [row.fields["number"] for row in answer.rows] == list(range(599, 299, -1))
            assert answer.completeness["whole"] is True, answer.completeness
            assert [each["server"] for each in answer.completeness["owners"]] == ["1", "1.1", "1.2"]
        how = {each["server"]: each["how"] for each in answer.completeness["owners"]}
        assert how == {"1": "owner", "1.1": "mirrored", "1.2": "owned"}
        one = await nodes[0].query("Note from 1.2 order by number")
        assert len(one.rows) == 200


async def test_what_others_own_is_changed_by_its_owner(mesh: Mesh) -> None:
    async with three(mesh) as (root, a, b):
        made = await b.create("Note", {"text": "first", "key": "k"}, server=a.server)
        assert made.reference.server == a.server
        changed = await root.update(made.reference, {"text": "second"}, expect=made.sequence)
        assert (await a.get(made.reference)).fields == {"text": "second", "number": None, "key": "k"}
        with pytest.raises(Conflict) as conflict:
            await b.update(made.reference, {"text": "third"}, expect=made.sequence)
        assert conflict.value.details["sequence"] == changed.sequence
        with pytest.raises(Refused, match="number"):
            await b.update(made.reference, {"number": "many"})
        put = Operation(op="put", class_name="Note", key="key", fields={"text": "second", "key": "k"})
        assert [each.done for each in await root.transact([put], server=a.server)] == ["unchanged"]
        gone = await root.delete(made.reference)
        assert gone.done == "deleted"
        with pytest.raises(NotFound):
            await b.get(made.reference)
        await eventually(lambda: len(a.parts.recorded) == 0, within=15)  # every answer was declared done


async def test_rights_and_privacy_are_the_owners(mesh: Mesh) -> None:
    mesh.found("1")
    async with mesh.open("1") as root:
        await root.define(NOTE)
        await root.define(SECRET)
        await mesh.join(root, "1.1")
        note = await root.create("Note", {"text": "for all"})
        secret = await root.create("Secret", {"text": "for me"})
    mesh.configure("1", modify=None)
    async with mesh.open("1") as root, mesh.open("1.1") as other:
        await eventually(lambda: other.parts.sessions.peers())
        assert (await other.get(note.reference)).fields["text"] == "for all"
        with pytest.raises(Forbidden, match="may not change"):
            await other.update(note.reference, {"text": "mine"})
        with pytest.raises(Forbidden, match="private"):
            await other.get(secret.reference)
        await other.mirror("1")
        await eventually(lambda: last(other, "1") == 1)
        assert {feed["known"] for feed in other.feeds() if feed["kind"] == "data"} == {1}
        own = next(each for each in root.servers() if each["server"] == "1")
        assert own["classes"] == ["Note"] or own["classes"] == ["Note", "Secret"]


async def test_a_crash_and_a_restart_lose_nothing_and_catch_up(mesh: Mesh) -> None:
    async with three(mesh) as (_, a, b):
        await b.mirror("1.1")
        first = await a.create("Note", {"text": "before", "number": 0})
        await eventually(lambda: last(b, "1.1") == 1)
    async with mesh.open("1"), mesh.open("1.1") as a:
        for number in range(1, 50):
            await a.create("Note", {"text": "while away", "number": number})
        async with mesh.open("1.2") as b:
            await eventually(lambda: last(b, "1.1") == 50)
            answer = await b.query("Note from 1.1 order by number")
            assert [row.fields["number"] for row in answer.rows] == list(range(50))
            assert [row.kind for row in answer.rows] == ["mirrored"] * 50
            assert (await b.get(first.reference)).fields["text"] == "before"


async def test_an_owner_that_is_gone_is_answered_for_by_its_mirror(mesh: Mesh) -> None:
    async with three(mesh) as (root, a, b):
        await b.mirror("1.1")
        made = await a.create("Note", {"text": "hello"})
        await eventually(lambda: whole(b, a))
        await root.get(made.reference)
        await a.stop()
        await eventually(lambda: not any(each.parts.sessions.connection(a.server) for each in (root, b)))
        began = trio.current_time()
        found = await root.get(made.reference)
        assert found.kind in ("mirrored", "cached")
        with pytest.raises(Unreachable, match="since") as silence:
            await root.update(made.reference, {"text": "too late"}, queue=False)
        assert trio.current_time() - began < 1.0
        assert silence.value.details["server"] == "1.1"
        assert (await b.get(made.reference)).kind == "mirrored"
        assert (await root.query("Note from 1.1")).completeness["whole"] is True  # its mirror answered
        answer = await b.query("Note from 1.1")
        assert answer.completeness["whole"] is True, answer.completeness


async def test_a_modify_is_done_once_even_across_a_restart_of_the_owner(mesh: Mesh) -> None:
    async with three(mesh) as (_, a, b):
        made = await a.create("Note", {"text": "0", "number": 0})
        question = Modify((act_of(Operation(op="update", object=made.reference.object, fields={"number": 1})),))
        name = request_id(b.server, b.incarnation, 12345)
        once = await a.parts.owner.modify_for(b.server, name, question)
        await a.update(made.reference, {"number": 7})
    async with mesh.open("1.1") as a:
        again = await a.parts.owner.modify_for(ServerId.parse("1.2"), name, question)
        assert [each.object for each in again.outcomes] == [each.object for each in once.outcomes]
        assert (await a.get(made.reference)).fields["number"] == 7
        assert len(a.parts.recorded) == 1


async def test_a_ticket_lets_one_key_in(mesh: Mesh) -> None:
    mesh.found("1")
    async with mesh.open("1") as root:
        ticket = (await root.invite("1.1"))["ticket"]
        await opening.join(mesh.path / "1.1", ticket, local="*")
        (mesh.path / "1.1" / "bangpath.toml").unlink()  # as if it had crashed before the last step
        await opening.join(mesh.path / "1.1", ticket, local="*")
        with pytest.raises(Refused, match="used by another key"):
            await opening.join(mesh.path / "other", ticket, local="*")
        with pytest.raises(Refused, match="below itself"):
            await root.invite("2.1")
        with pytest.raises(Refused, match="holds a server already"):
            await opening.join(mesh.path / "1.1", ticket, local="*")
        short = (await root.invite("1.3", valid_s=1))["ticket"]
        await trio.sleep(1.1)
        with pytest.raises(Refused, match="expired"):
            await opening.join(mesh.path / "1.3", short, local="*")
    async with mesh.open("1") as root, mesh.open("1.1") as child:
        await mesh.join(child, "1.1.5")
        async with mesh.open("1.1.5") as grandchild:
            await eventually(lambda: len(grandchild.servers()) == 3 and len(root.servers()) == 3)
            assert grandchild.status()["peers"] >= 1


async def test_a_directory_in_use_and_loose_permissions_are_refused_by_name(mesh: Mesh) -> None:
    mesh.found("1")
    async with mesh.open("1"):
        with pytest.raises(Refused, match=str(os.getpid())):
            async with mesh.open("1"):
                pass
    (mesh.path / "1" / "keys").chmod(0o644)
    with pytest.raises(Refused, match="chmod 600"):
        opening.load(mesh.path / "1")
    (mesh.path / "1" / "keys").chmod(0o600)
    other = mesh.config("1")
    mesh.configure("1", server=ServerId.parse("2"))
    with pytest.raises(Refused, match="certificate is for 1"):
        async with mesh.open("1"):
            pass
    write_config(mesh.path / "1" / "bangpath.toml", other)
    async with mesh.open("1") as root:
        port = root.parts.port.address[1]
        opening.create_root(mesh.path / "3", ServerId.parse("3"), listen=("127.0.0.1", port))
        with pytest.raises(Refused, match=str(port)):
            async with mesh.open("3"):
                pass


async def test_nonsense_on_the_wire_costs_only_its_sender(mesh: Mesh) -> None:
    async with three(mesh) as (root, a, b):
        connection = b.parts.sessions.connection(a.server)
        assert connection is not None
        b.parts.endpoint.send(connection, b"\xff nonsense", 1, trio.current_time())
        b.parts.touch()
        await eventually(lambda: any(each["misbehaved"] for each in a.peers()))
        peer = next(each for each in a.peers() if each["server"] == "1.2")
        assert "CBOR" in peer["misbehaviour"]
        assert (await root.ping("1.1"))["server"] == "1.1"
        for one, other in ((a, b), (b, a)):  # it is shunned for a while, then met again
            await eventually(lambda one=one, other=other: one.parts.sessions.connection(other.server), within=15)
        assert (await b.ping("1.1"))["seconds"] < 1


async def test_a_port_that_is_shot_at_still_serves(mesh: Mesh) -> None:
    async with three(mesh) as (root, a, _):
        made = await a.create("Note", {"text": "hello"})
        noise = random.Random(1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gun:
            for length in (0, 1, 4, 13, 29, 100, 1200, 1472, 9000) * 100:
                kind = bytes([noise.choice((1, 2, 3, 4, 5, 16, 77))])
                gun.sendto((kind + noise.randbytes(length))[:length], a.parts.port.address)
        assert (await root.get(made.reference, consistency="owner")).fields["text"] == "hello"
        assert not any(peer["misbehaved"] for peer in a.peers())


async def test_a_directory_that_others_may_change_is_refused(mesh: Mesh) -> None:
    mesh.found("1")
    assert (mesh.path / "1" / "bangpath.toml").stat().st_mode & 0o777 == 0o600
    (mesh.path / "1").chmod(0o777)
    with pytest.raises(Refused, match="chmod 700"):
        opening.load(mesh.path / "1")
    (mesh.path / "1").chmod(0o700)
    (mesh.path / "1" / "chain").write_text("bangpath chain 1\nzz\n")
    with pytest.raises(Refused, match="line 2"):
        opening.load(mesh.path / "1")
    (mesh.path / "1" / "token").chmod(0o644)
    with pytest.raises(Refused, match="chmod 600"):
        opening.read_token(mesh.path / "1")


async def test_an_asker_that_does_not_take_its_rows_holds_up_nobody_but_itself(mesh: Mesh) -> None:
    async with three(mesh) as (root, a, b):
        text = "x" * 20_000
        for _ in range(5):
            await a.transact([Operation(op="create", class_name="Note", fields={"text": text}) for _ in range(100)])
        taken = 0
        async with aclosing(
            root.parts.standpoint.ask_rows(a.server, Question("Note"), deadline=trio.current_time() + 20)
        ) as parts:
            async for part in parts:
                taken += len(part.rows)
                break
            await trio.sleep(0.3)  # 10 MB wait at the owner; 32 parts of 80 KB may be under way
            assert a.parts.serving.working == 1
            assert root.parts.endpoint.statistics(root.parts.sessions.connection(a.server)).received_bytes < 5 << 20
            assert (await b.ping(a.server))["seconds"] < 1
            assert len((await root.query("Note from 1.1")).rows) == 500
            async for part in parts:
                taken += len(part.rows)
        assert taken == 500
        await eventually(lambda: a.parts.serving.working == 0)
        async with aclosing(
            root.parts.standpoint.ask_rows(a.server, Question("Note"), deadline=trio.current_time() + 20)
        ) as parts:
            async for _ in parts:
                break
        await eventually(lambda: a.parts.serving.working == 0)  # who leaves cancels


async def test_a_clean_end_is_quick_and_words_are_refused_after_it(mesh: Mesh) -> None:
    mesh.found("1")
    async with mesh.open("1") as root:
        began = trio.current_time()
        await root.stop()
        assert trio.current_time() - began < 5
        with pytest.raises(Exception, match="not running"):
            await root.create("Note", {})


async def test_who_waits_for_an_answer_is_told_when_the_node_ends(mesh: Mesh) -> None:
    async with three(mesh) as (root, a, b):
        errors: list[BangpathError] = []

        async def ask() -> None:
            try:
                await b.create("Note", {"text": "x"}, server=a.server, queue=False)
            except BangpathError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for node in (root, b):  # nothing of them leaves any more
                node.parts.port.send_batch = lambda batch: True  # type: ignore[method-assign]
            nursery.start_soon(ask)
            await trio.sleep(0.1)
            await b.stop()
        assert [type(each) for each in errors] == [OutcomeUnknown]


async def test_words_that_make_no_sense_are_refused(mesh: Mesh) -> None:
    mesh.found("1")
    async with mesh.open("1") as root:
        await root.define(NOTE)
        words: list[Callable[[], Awaitable[Any]]] = [
            lambda: root.get("1/x"),
            lambda: root.query("Note where"),
            lambda: root.query("Nothing"),
            lambda: root.create("Note", {"text": 1}),
            lambda: root.create("Note", {}),
            lambda: root.mirror("1"),
            lambda: root.mirror("x"),
            lambda: root.unmirror("1.2"),
            lambda: root.transact([]),
            lambda: root.update("1/1", {"text": "x"}),
            lambda: root.get(Reference(root.server, 1, 1), consistency="sometimes"),  # type: ignore[arg-type]
        ]
        for word in words:
            with pytest.raises(Refused) as caught:
                await word()
            assert caught.value.cause
        with pytest.raises(Refused, match=r"no server 1\.9 is known here"):
            await root.create("Note", {"text": "x"}, server=ServerId.parse("1.9"), deadline=0.5)
        assert Pattern("*").matches(root.server)
