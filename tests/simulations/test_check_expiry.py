"""What is of use for a while only: who asks for it later, or says too soon that its time is over, is noticed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from node.asking import Operation
from node.outcomes import Queued
from replication.outbox import Outbox
from simulations.check_expiry import InTime
from simulations.plugin import simulate
from simulations.promises import PromiseBroken
from simulations.server import SimulatedServer
from simulations.world import World
from tests.simulations.machine_lab import begin
from transport.outstanding import Outstanding

CREATE = Operation(op="create", class_name="Note", fields={"text": "b"})
Break = Callable[[pytest.MonkeyPatch], None]


async def asked(mesh: World, *, expires: float | None, sent: bool = False) -> SimulatedServer:
    """Who has a change that waits for an owner which is cut off; `sent`, or never sent."""
    await begin(mesh)
    _, owner, asker = mesh.servers
    await mesh.sleep(5)
    mesh.network.part([owner.name], ["1", asker.name])
    await mesh.sleep(0.1 if sent else 60)
    queued = await asker.transact([CREATE], owner=owner.name, expires=expires)
    assert isinstance(queued, Queued)
    assert queued.state == ("sent" if sent else "waiting")
    return asker


@pytest.mark.parametrize("sent", [False, True])
@simulate(nodes=3, seeds=2)
async def test_what_expires_in_time_is_not_accused_whatever_befalls_its_server(mesh: World, sent: bool) -> None:
    mesh.watch(InTime)
    asker = await asked(mesh, expires=10.0, sent=sent)
    await mesh.sleep(6)
    await asker.pause()
    await mesh.sleep(8)
    await asker.resume()
    await mesh.sleep(2)
    await asker.crash()
    await asker.restart()
    await mesh.sleep(5)
    assert [each["state"] for each in await asker.outbox()] == ["lapsed" if sent else "expired"]
    mesh.heal()
    await mesh.sleep(60)
    assert [each["state"] for each in await asker.outbox()] == ["expired"]


def never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outbox, "_may_expire", lambda self, number: False)


def anew_in_each_life(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Outbox.load

    def later(self: Any, entries: Any, next_number: int, *, now: float, wall_ms: int) -> None:
        load(self, entries, next_number, now=now + 100, wall_ms=wall_ms)

    monkeypatch.setattr(Outbox, "load", later)


def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    admit = Outbox.admit
    monkeypatch.setattr(Outbox, "admit", lambda self, *a, **how: admit(self, *a, **{**how, "expires_ms": None}))


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue = Outbox._enqueue

    def early(self: Any, entry: Any, *, now: float, wall_ms: int) -> None:
        enqueue(self, entry, now=now - 5, wall_ms=wall_ms)

    monkeypatch.setattr(Outbox, "_enqueue", early)


def asked_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Outstanding, "replace", lambda *_: None)


@pytest.mark.parametrize(
    ("planted", "sent", "says"),
    [
        (never, False, "as waiting, whose time was over"),
        (never, True, "as sent, whose time was over"),
        (anew_in_each_life, False, "as waiting, whose time was over"),
        (forgotten, False, "as one that expires never"),
        (at_once, False, "is expired, whose time is over at"),
        (asked_as_before, True, "asked 1.1 again for request 1, which is lapsed"),
    ],
)
@simulate(nodes=3, seeds=1)
async def test_a_server_that_does_otherwise_is_accused(
    mesh: World, monkeypatch: pytest.MonkeyPatch, planted: Break, sent: bool, says: str
) -> None:
    planted(monkeypatch)
    with pytest.raises(PromiseBroken, match=says):
        await broken(mesh, sent)


async def broken(mesh: World, sent: bool) -> None:
    checker = InTime()
    checker.begin(mesh)
    asker = await asked(mesh, expires=10.0, sent=sent)
    checker.look(mesh)
    await mesh.sleep(3)
    if not sent:
        await asker.crash()
        await asker.restart()
    for _ in range(30):
        await mesh.sleep(0.5)
        checker.look(mesh)
    mesh.heal()
    for _ in range(60):
        await mesh.sleep(0.5)
        checker.look(mesh)


@simulate(nodes=3, seeds=1)
async def test_a_wall_clock_that_is_set_accuses_nobody(mesh: World) -> None:
    mesh.watch(InTime)
    asker = await asked(mesh, expires=10.0)
    asker.jump_clock(-100.0)
    await asker.crash()
    await asker.restart()
    await mesh.sleep(30)
    assert [each["state"] for each in await asker.outbox()] == ["waiting"]
