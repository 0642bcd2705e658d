"""What is wrong with the path that an answer tells; and real answers tell right ones."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from identity.names import ServerId
from node.asking import Found
from node.standpoint import Standpoint
from simulations.check_paths import HonestPaths, wrong_with
from simulations.promises import PromiseBroken
from simulations.world import World, simulate
from store.definitions import ClassDefinition, Field

SERVERS = ["1", "1.1", "1.3", "1.4"]


def found(path: str, *, kind: str = "mirrored", by: str = "") -> Found:
    class Reference:
        server = "1.1"

    names = tuple(ServerId.parse(each) for each in path.split("!") if each)
    return Found(
        Reference(), "Note", 1, {}, kind, None, None, names, by=ServerId.parse(by) if by else None,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (found("1.1!1!1.4!1.3", by="1.4"), ""),
        (found("1.1!1.3"), ""),
        (found("1.1!1!1.3", by="1.4"), "1.4 answered"),
        (found("1.1!1.1!1.3"), "to itself"),
        (found("1.1!1.3!1.4!1.3", by="1.4"), ""),
        (found("1.1!7.7!1.3"), "no server 7.7"),
        (found("1!1.3"), "begins with 1.1"),
        (found(""), "begins with 1.1"),
        (found("1.1!1.4"), "ends with 1.3"),
        (found("1.1!1.3", kind="owned"), "no path"),
        (found("1.3", kind="cached"), ""),
        (found("1.4!1.3", kind="cached", by="1.4"), ""),
        (found("1.3", kind="cached", by="1.4"), "1.4 answered"),
        (found("", kind="cached"), "begins with"),
    ],
)
def test_what_is_wrong_with_a_path(answer: Found, wrong: str) -> None:
    said = wrong_with(answer, "1.3", SERVERS)
    assert wrong in said
    assert bool(said) == bool(wrong)


async def asked_all_ways(world: World) -> None:
    owner, mirror, other = world.servers
    await owner.define(ClassDefinition(name="Note", fields=(Field(name="text"),)))
    await mirror.mirror(owner)
    await owner.create("Note", {"text": "a"})
    await world.sleep(2)
    await owner.query("Note")
    await mirror.query("Note")
    await other.query("Note")
    world.cut(other >> owner)
    world.cut(owner >> other)
    await other.query("Note")
    for checker in world.checkers:
        checker.look(world)


def test_right_answers_are_not_accused_and_a_path_that_nobody_went_is() -> None:
    async def story(world: World) -> None:
        world.check(HonestPaths())
        await asked_all_ways(world)
        assert sum(word.verb == "query" for word in world.history.ended) == 4

    simulate(story, servers=3, seed=2)

    worth: Any = Standpoint._worth
    with (
        mock.patch.object(Standpoint, "_worth", lambda *said: worth(*said)._replace(path=(said[2], said[2]))),
        pytest.raises(PromiseBroken, match="honest paths"),
    ):
        simulate(story, servers=3, seed=2)
