"""Changes that wait for an owner that is away, by seed: each carried out once and in order, each outcome told.

`BANGPATH_CHAOS=200 pytest tests/simulations/test_outbox.py` tells two hundred stories of crashes and cuts.
"""

from __future__ import annotations

import os
import random
from typing import Any

import msgspec
import networkx
import pytest
import trio

from identity.errors import BangpathError, Conflict, Exhausted, OutcomeUnknown, Refused, Unreachable
from identity.keys import Keys
from identity.names import Incarnation, ServerId
from identity.trust import Certificate, issue
from node.asking import Changed, Operation
from node.outcomes import Queued
from node.requests import Pong
from replication.entries import Limits, State
from replication.outbox import MAX_DOUBTS
from simulations.founding import BIRTH_MS, YEAR_MS
from simulations.plugin import simulate
from simulations.server import SimulatedServer
from simulations.world import World
from simulations.world import simulate as run_world
from store.definitions import ClassDefinition, Field

NOTE = ClassDefinition(name="Note", fields=(Field(name="text"), Field(name="number", type="int")))
SEEDS = range(1, 1 + int(os.environ.get("BANGPATH_CHAOS", "4")))


async def prepare(mesh: World) -> Any:
    """All have the class; the second has an object, which is given back."""
    for server in mesh.nodes:
        await server.define(NOTE)
    owner = mesh.nodes[1]
    note = await owner.create("Note", {"text": "first", "number": 0})
    await met(mesh)
    return note


async def met(mesh: World) -> None:
    count = sum(each.node is not None for each in mesh.nodes) - 1
    await mesh.eventually(
        lambda: all(len(each.up.parts.sessions.peers()) == count for each in mesh.nodes if each.node), within=60
    )


async def lose(mesh: World, owner: SimulatedServer) -> None:
    """The owner dies, and all others have noticed."""
    await owner.crash()
    others = [each for each in mesh.nodes if each.node]
    await mesh.eventually(lambda: all(owner.server in each.up.parts.sessions.silent for each in others), within=60)


async def settled(mesh: World, sender: SimulatedServer) -> list[dict[str, Any]]:
    """What the outbox says when nothing waits in it any more."""
    await mesh.eventually(lambda: sender.node and all(each["settled_ms"] for each in sender.up.outbox()), within=200)
    return list(sender.up.outbox())


def states(sender: SimulatedServer) -> list[str]:
    return [each["state"] for each in sender.up.outbox()]


@simulate(nodes=3, seeds=3)
async def test_a_change_waits_and_is_carried_out_when_its_owner_is_back(mesh: World) -> None:
    sender, owner, _ = mesh.nodes
    note = await prepare(mesh)
    assert isinstance(await sender.up.update(note, {"number": 1}), Changed)
    await lose(mesh, owner)
    queued = await sender.up.update(note, {"number": 2})
    assert queued == Queued(1, owner.server, "waiting", 0)
    assert await sender.up.create("Note", {"text": "new"}, server=owner.server) == Queued(2, owner.server, "waiting", 1)
    await owner.restart()
    one, two = await settled(mesh, sender)
    assert (one["state"], one["operation"]) == ("committed", f"update {note} (number)")
    (result,) = one["outcome"]["results"]
    assert (result["reference"], result["done"]) == (str(note), "updated")
    assert result["sequence"] > 1
    assert one["outcome"]["position"] == "1.1@2:3"
    assert two["outcome"]["results"][0]["done"] == "created"
    assert owner.read(note) == {"text": "first", "number": 2}
    assert isinstance(await sender.up.update(note, {"number": 3}), Changed)  # nothing waits: as ever


@simulate(nodes=2, seeds=2)
async def test_an_owner_that_is_there_while_others_wait_is_answered_in_turn(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    await lose(mesh, owner)
    for number in range(5):
        await sender.up.update(note, {"number": number})
    await owner.restart()
    await mesh.eventually(lambda: owner.server in sender.up.parts.sessions.peers(), within=60)
    changed = await sender.up.update(note, {"number": 9})
    assert isinstance(changed, Changed)
    with pytest.raises(Conflict) as told:
        await sender.up.update(note, {"number": 10}, expect=1)
    assert told.value.details["current"]["number"] == 9
    assert states(sender)[:5] == ["committed"] * 5
    assert owner.read(note) == {"text": "first", "number": 9}


@simulate(nodes=2, seeds=3)
async def test_every_outcome_is_told_and_none_stops_the_next(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    await lose(mesh, owner)
    await sender.up.update(note, {"number": 1}, expect=1)
    await sender.up.delete((owner.server, 999))
    await sender.up.update(note, {"nonsense": 1})
    await sender.up.update(note, {"number": 2}, expires=5)
    cancelled = await sender.up.update(note, {"number": 3})
    await sender.up.update(note, {"number": 4})
    assert (await sender.up.cancel_change(cancelled.request))["state"] == "cancelled"
    await mesh.sleep(6)
    await owner.restart()
    entries = await settled(mesh, sender)
    assert [each["state"] for each in entries] == [
        "conflict",
        "refused",
        "refused",
        "expired",
        "cancelled",
        "committed",
    ]
    conflict, missing, nonsense = (each["outcome"]["error"] for each in entries[:3])
    assert (conflict["current"]["number"], conflict["sequence"] > 1) == (0, True)
    assert missing["error"] == "not_found"
    assert nonsense["field"] == "nonsense"
    assert owner.read(note) == {"text": "first", "number": 4}


@simulate(nodes=2, seeds=3)
async def test_a_transaction_waits_as_a_whole(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    await lose(mesh, owner)
    operations = [
        Operation(op="update", object=note.object, fields={"number": 5}),
        Operation(op="create", class_name="Note", fields={"number": 6}),
    ]
    queued = await sender.up.transact(operations, server=owner.server)
    assert [each["op"] for each in sender.up.outbox_entry(queued.request)["operations"]] == ["update", "create"]
    await owner.restart()
    (entry,) = await settled(mesh, sender)
    assert [each["done"] for each in entry["outcome"]["results"]] == ["updated", "created"]
    assert sender.up.outbox_entry(queued.request)["operations"] is None


@simulate(nodes=2, seeds=4)
async def test_what_was_sent_and_not_answered_is_learnt_under_its_number(mesh: World) -> None:
    """The answer is cut off: the owner has done it, and is killed; nobody does it again."""
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    mesh.cut(owner >> sender)
    queued = await sender.up.create("Note", {"number": 1}, server=owner.server)
    assert queued.state == "sent"
    behind = await sender.up.update(note, {"number": 2})
    assert behind.ahead == 1
    await owner.crash()
    await (sender.crash() if mesh.seed % 2 else sender.stop())
    mesh.heal()
    await owner.restart()
    await sender.restart()
    entries = await settled(mesh, sender)
    assert [each["state"] for each in entries] == ["committed", "committed"]
    assert [row.fields["number"] for row in (await owner.query("Note order by number")).rows] == [1, 2]
    await mesh.eventually(lambda: len(owner.up.parts.recorded) == 0, within=30)


@simulate(nodes=2, seeds=4)
async def test_what_was_sent_is_withdrawn_and_its_owner_has_the_last_word(mesh: World) -> None:
    sender, owner = mesh.nodes
    await prepare(mesh)
    done = mesh.seed % 2 == 0
    mesh.cut((owner >> sender) if done else (sender >> owner))
    queued = await sender.up.create("Note", {"number": 1}, server=owner.server)
    assert queued.state == "sent"
    assert (await sender.up.cancel_change(queued.request))["state"] == "withdrawn"
    if mesh.seed > 2:
        await sender.crash()
        await owner.crash()
        await owner.restart()
        await sender.restart()
    assert states(sender) == ["withdrawn"]
    mesh.heal()
    await settled(mesh, sender)
    assert states(sender) == ["committed" if done else "cancelled"]
    assert len((await owner.query("Note where number = 1")).rows) == done


@simulate(nodes=2, seeds=2)
async def test_what_was_sent_expires_without_being_carried_out_later(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    mesh.cut(sender >> owner)
    queued = await sender.up.update(note, {"number": 1}, expires=30)
    assert queued.state == "sent"
    await mesh.sleep(31)
    assert states(sender) == ["lapsed"]
    mesh.heal()
    await settled(mesh, sender)
    assert states(sender) == ["expired"]
    assert owner.read(note) == {"text": "first", "number": 0}


@simulate(nodes=2, seeds=2)
async def test_who_does_not_wait_for_the_owners_word_is_told_unknown(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    mesh.cut(owner >> sender)
    queued = await sender.up.update(note, {"number": 1})
    later = await sender.up.update(note, {"number": 2})
    assert (await sender.up.cancel_change(queued.request, forget=True))["state"] == "unknown"
    mesh.heal()
    await settled(mesh, sender)
    assert states(sender) == ["unknown", "committed"]
    assert sender.up.outbox_entry(later.request)["state"] == "committed"
    with pytest.raises(Refused, match="request 9 is not in the outbox"):
        await sender.up.cancel_change(9)


@simulate(nodes=2, seeds=2)
async def test_a_change_that_must_not_wait_fails_at_once(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    await lose(mesh, owner)
    with pytest.raises(Unreachable):
        await sender.up.update(note, {"number": 1}, queue=False)
    with pytest.raises(
        Refused, match=r"no server 7\.7 is known"
    ):  # nobody knows that server: a misspelt id does not wait for ever
        await sender.up.create("Note", {}, server=ServerId.parse("7.7"), deadline=5)
    with pytest.raises(Refused, match="expires"):
        await sender.up.update(note, {"number": 1}, expires=0)
    sender.up.parts.posting._without = True
    with pytest.raises(Unreachable):
        await sender.up.update(note, {"number": 1})
    assert sender.up.outbox() == []


@simulate(nodes=2, seeds=2)
async def test_a_full_outbox_names_its_quota_and_others_are_not_affected(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    own = await sender.create("Note", {"text": "own"})
    await lose(mesh, owner)
    sender.up.parts.delivering.outbox._limits = Limits(owner_entries=2)
    for number in range(2):
        await sender.up.update(note, {"number": number})
    with pytest.raises(Exhausted, match=r"2 changes for 1\.1") as full:
        await sender.up.update(note, {"number": 3})
    assert full.value.details["quota"] == "2 changes for 1.1"
    await sender.update(own, {"text": "still"})
    await owner.restart()
    await settled(mesh, sender)
    assert isinstance(await sender.up.update(note, {"number": 3}), Changed)


@simulate(nodes=2, seeds=2)
async def test_a_sender_whose_disk_is_full_takes_nothing_and_loses_nothing(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    await lose(mesh, owner)
    await sender.up.update(note, {"number": 1})
    database = sender.up.parts.database
    transact = database.transact

    async def full(body: Any) -> Any:
        raise Exhausted("no room for the log: the disk is full", next_step="free space")

    database.transact = full
    with pytest.raises(Exhausted, match="disk is full"):
        await sender.up.update(note, {"number": 2})
    await owner.restart()
    await mesh.eventually(lambda: owner.server in sender.up.parts.sessions.peers(), within=60)
    await mesh.sleep(5)
    assert owner.read(note)["number"] == 0  # its number is not durable, so it was not asked
    database.transact = transact
    await settled(mesh, sender)
    assert states(sender) == ["committed"]
    assert owner.read(note)["number"] == 1


@simulate(nodes=2, seeds=2)
async def test_an_outcome_that_is_not_on_the_disk_yet_is_kept_by_the_owner(mesh: World) -> None:
    """The sender dies after the answer came, and before it could write it down: the owner still knows."""
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    mesh.cut(owner >> sender)
    queued = await sender.up.create("Note", {"number": 1}, server=owner.server)
    assert queued.state == "sent"
    await sender.up.update(note, {"number": 2})
    await sender.crash()
    await sender.restart()

    async def full(body: Any) -> Any:
        raise Exhausted("no room for the log: the disk is full", next_step="free space")

    sender.up.parts.database.transact = full
    mesh.heal()
    outbox = sender.up.parts.delivering.outbox
    await mesh.eventually(lambda: outbox.entry(queued.request).state is State.COMMITTED, within=60)
    await mesh.sleep(5)  # a DONE would have left long ago
    assert len(owner.up.parts.recorded) == 1
    await sender.crash()
    await sender.restart()
    await settled(mesh, sender)
    assert states(sender) == ["committed"] * 2
    assert len((await owner.query("Note where number = 1")).rows) == 1


@simulate(nodes=2, seeds=2)
async def test_an_owner_that_does_not_know_itself_is_asked_again_when_it_is_back(mesh: World) -> None:
    sender, owner = mesh.nodes
    await prepare(mesh)
    await lose(mesh, owner)
    await sender.up.create("Note", {"number": 1}, server=owner.server)
    await owner.restart()
    modify = owner.up.parts.owner.modify_for

    async def unsure(*asked: Any) -> Any:
        await modify(*asked)
        raise OutcomeUnknown("the store stopped: whether the change is durable is not known")

    owner.up.parts.owner.modify_for = unsure
    await mesh.eventually(lambda: len(owner.up.parts.recorded) == 1, within=60)
    await mesh.sleep(5)
    assert states(sender) == ["sent"]
    await owner.crash()
    await owner.restart()
    await settled(mesh, sender)
    assert states(sender) == ["committed"]
    assert len((await owner.query("Note where number = 1")).rows) == 1


@simulate(nodes=2, seeds=2)
async def test_what_an_owner_cannot_do_just_now_is_asked_again(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    await lose(mesh, owner)
    await sender.up.update(note, {"number": 1})
    await sender.up.update(note, {"number": 2})
    await owner.restart()
    database = owner.up.parts.database
    transact = database.transact

    async def full(body: Any) -> Any:
        raise Exhausted("no room for the log: the disk is full", next_step="free space")

    database.transact = full
    await mesh.eventually(lambda: owner.server in sender.up.parts.sessions.peers(), within=60)
    await mesh.sleep(10)
    assert states(sender)[1] == "waiting"
    database.transact = transact
    await settled(mesh, sender)
    assert states(sender) == ["committed"] * 2
    assert owner.read(note)["number"] == 2


@simulate(nodes=2, seeds=2)
async def test_an_owner_that_has_taken_the_right_away_refuses(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    mesh.cut(owner >> sender)
    first = await sender.up.create("Note", {"number": 1}, server=owner.server)
    assert first.state == "sent"
    await sender.up.update(note, {"number": 2})
    await owner.crash()
    mesh.heal()
    await owner.restart()
    owner.up.parts.serving._config = msgspec.structs.replace(owner.up.parts.serving._config, modify=None)
    one, two = await settled(mesh, sender)
    assert one["state"] == "committed"  # while it had the right, and its record is looked for before any refusal
    assert (two["state"], two["outcome"]["error"]["error"]) == ("refused", "forbidden")
    assert owner.read(note)["number"] == 0


@simulate(nodes=networkx.path_graph(3), seeds=2)
async def test_an_owner_that_is_no_neighbour_is_called_at_its_first_sign_of_life(mesh: World) -> None:
    sender, _, owner = mesh.nodes
    for server in mesh.nodes:
        await server.define(NOTE)
    note = await owner.create("Note", {"number": 0})
    await mesh.eventually(lambda: sender.up.parts.is_known(owner.server), within=30)
    assert isinstance(await sender.up.update(note, {"number": 1}), Changed)
    await owner.crash()
    assert isinstance(await sender.up.update(note, {"number": 2}), Queued)
    await mesh.sleep(400)  # by now it is called once a minute
    await owner.restart()
    await mesh.eventually(lambda: states(sender) == ["committed"], within=15)
    assert owner.read(note)["number"] == 2


@simulate(nodes=2, seeds=1)
async def test_an_owner_that_answers_nonsense_does_not_stop_the_queue_for_ever(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    await lose(mesh, owner)
    for number in (1, 2):
        await sender.up.update(note, {"number": number})
    await owner.restart()

    async def nonsense(*asked: Any) -> Any:
        return Pong(7)

    modify = owner.up.parts.owner.modify_for
    owner.up.parts.owner.modify_for = nonsense
    misdeeds = sender.up.parts.sessions.misdeeds
    for count in range(1, MAX_DOUBTS + 1):  # it is shunned for a while each time, and asked again in its next session
        await mesh.eventually(lambda: owner.server in misdeeds and misdeeds[owner.server].count >= count, within=60)  # noqa: B023
    owner.up.parts.owner.modify_for = modify
    await settled(mesh, sender)
    assert states(sender)[0] == "unknown"
    assert sender.up.parts.sessions.misdeeds[owner.server].count == MAX_DOUBTS


@simulate(nodes=2, seeds=2)
async def test_who_waits_for_its_turn_when_the_sender_ends_is_told_that_it_waits(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    await lose(mesh, owner)
    await sender.up.update(note, {"number": 1})
    await owner.restart()

    async def never(*asked: Any) -> Any:
        await trio.sleep_forever()

    owner.up.parts.owner.modify_for = never
    await mesh.eventually(lambda: owner.server in sender.up.parts.sessions.peers(), within=60)
    told: list[Any] = []

    async def say() -> None:
        told.append(await sender.up.update(note, {"number": 2}, deadline=1000))

    with trio.fail_after(20):  # virtual seconds
        async with trio.open_nursery() as nursery:
            nursery.start_soon(say)
            await mesh.sleep(5)
            assert told == []
            await (sender.crash() if mesh.seed % 2 else sender.stop())
    assert told == [Queued(2, owner.server, "waiting", 1)]
    await sender.restart()
    assert states(sender) == ["sent", "waiting"]


def another_incarnation(mesh: World, old: SimulatedServer) -> SimulatedServer:
    """A new server under a used id, with keys, store and incarnation of its own."""
    root, keys = Keys.generate(mesh.generator("keys/1")), Keys.generate(mesh.generator("keys/another"))
    certificate = issue(
        root, server=old.server, issuer=ServerId.of(1), signing_key=keys.signing_public,
        exchange_key=keys.exchange_public, serial=77, may_delegate=False, incarnation=Incarnation(BIRTH_MS + 5),
        not_before_ms=BIRTH_MS - YEAR_MS, not_after_ms=BIRTH_MS + 10 * YEAR_MS,
    )  # fmt: skip
    assert isinstance(certificate, Certificate)
    new = SimulatedServer(mesh, old.server, keys, (old.chain[0], certificate.to_bytes()))
    mesh.servers[mesh.servers.index(old)] = new
    return new


@simulate(nodes=2, seeds=2)
async def test_another_incarnation_under_the_owners_id_gets_nothing(mesh: World) -> None:
    sender, owner = mesh.nodes
    note = await prepare(mesh)
    mesh.cut(owner >> sender)
    sent = await sender.up.create("Note", {"number": 1}, server=owner.server)
    assert sent.state == "sent"
    waiting = await sender.up.update(note, {"number": 2})
    await owner.crash()
    mesh.heal()
    new = another_incarnation(mesh, owner)
    await new.start()
    await new.define(NOTE)
    theirs = [await new.create("Note", {"text": "another's"}) for _ in range(3)]
    one, two = await settled(mesh, sender)
    assert (one["request"], one["state"]) == (sent.request, "unknown")  # the old one may have carried it out
    assert (two["request"], two["state"]) == (waiting.request, "refused")
    assert two["outcome"]["error"]["gone"] is True
    assert all(new.read(each) == {"text": "another's", "number": None} for each in theirs)
    assert len((await new.query("Note from 1.1")).rows) == 3


class Story:
    """One client of one sender, which says one change after the other, and what it was told."""

    def __init__(self, mesh: World, changes: int) -> None:
        self.mesh = mesh
        self.random = random.Random(f"outbox/{mesh.seed}")
        self.sender, self.owner, self.other = mesh.servers
        self.changes = changes
        self.committed: list[int] = []  # answered at once
        self.queued: dict[int, int] = {}  # request: number
        self.failed: list[int] = []
        self.unsure: list[int] = []  # the sender died, or gave no answer
        self.breaking = True

    async def say(self) -> None:
        for number in range(1, self.changes + 1):
            await trio.sleep(self.random.random() * 0.6)
            while self.sender.node is None or self.sender.node._parts is None:  # noqa: ASYNC110 - a node tells nobody
                await trio.sleep(0.1)
            what = self.random.random()
            how: dict[str, Any] = {"expires": self.random.random() * 40} if what < 0.15 else {}
            fields = {"number": number, **({"nonsense": 1} if what > 0.9 else {})}
            try:
                answer = await self.sender.up.create("Note", fields, server=self.owner.server, deadline=3, **how)
            except (OutcomeUnknown, Unreachable, Exhausted):
                self.unsure.append(number)
            except Refused:
                self.failed.append(number)
            else:
                if isinstance(answer, Queued):
                    self.queued[answer.request] = number
                else:
                    self.committed.append(number)
            if self.queued and self.random.random() < 0.1:
                await self.cancel(self.random.choice(sorted(self.queued)))

    async def cancel(self, request: int) -> None:
        try:
            await self.sender.up.cancel_change(request)
        except BangpathError:
            return  # the sender is down

    async def break_things(self) -> None:
        while self.breaking:
            await trio.sleep(self.random.random() * 4)
            what = self.random.choice(("crash", "crash", "kill", "stop", "part", "cut"))
            one = self.random.choice((self.sender, self.owner, self.owner))
            if what in ("crash", "kill") and one.node is not None:
                await one.crash(keep=what == "kill")
                await trio.sleep(self.random.random() * 9)
                await one.restart()
            elif what == "stop" and one.node is not None:
                await one.stop()
                await trio.sleep(self.random.random() * 9)
                await one.restart()
            elif what == "part":
                with self.mesh.partition({self.owner}, {self.sender, self.other}):
                    await trio.sleep(self.random.random() * 12)
            elif what == "cut":
                way = self.random.choice((self.sender >> self.owner, self.owner >> self.sender))
                self.mesh.cut(way)
                await trio.sleep(self.random.random() * 12)
                self.mesh.mend(way)

    async def judge(self) -> None:
        self.mesh.heal()
        entries = {each["request"]: each for each in await settled(self.mesh, self.sender)}
        assert set(self.queued) <= set(entries), "an entry that was answered is not there"
        rows = (await self.owner.query("Note order by number", consistency="local")).rows
        numbers = [row.fields["number"] for row in rows if row.fields["number"]]
        assert len(numbers) == len(set(numbers)), "done twice"
        told = set(self.committed) | {
            number for request, number in self.queued.items() if entries[request]["state"] == "committed"
        }
        assert told <= set(numbers), "told as committed, and not there"
        assert set(numbers) - told <= set(self.unsure), "there, and told otherwise"
        order = [row.fields["number"] for row in sorted(rows, key=lambda row: row.reference.object)]
        sure = [number for number in order if number in told]
        assert sure == sorted(sure), "out of order"
        assert all(entry["state"] != State.UNKNOWN.value for entry in entries.values())
        await self.mesh.eventually(lambda: len(self.owner.up.parts.recorded) == 0, within=60)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_is_carried_out_once_and_in_order_whatever_breaks(seed: int) -> None:
    async def tell(mesh: World) -> None:
        await prepare(mesh)
        story = Story(mesh, changes=80)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(story.break_things)
            await story.say()
            story.breaking = False
        await story.judge()
        assert len(story.queued) + len(story.committed) > 50

    run_world(tell, servers=3, seed=seed, limit_s=3000)


def test_one_seed_tells_one_story_twice() -> None:
    async def tell(mesh: World) -> None:
        note = await prepare(mesh)
        sender, owner, _ = mesh.nodes
        await lose(mesh, owner)
        for number in range(5):
            await sender.up.update(note, {"number": number})
        await sender.crash()
        await owner.restart()
        await sender.restart()
        await settled(mesh, sender)

    worlds = [run_world(tell, servers=3, seed=9, limit_s=600)[1] for _ in range(2)]
    assert worlds[0].trace.hash == worlds[1].trace.hash
