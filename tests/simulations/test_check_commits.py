"""An owner's own store is what it signed; and what an operation would write is told from what stands there."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from simulations.check_commits import NoLostCommits, is_alike
from simulations.ledger import Version
from simulations.promises import PromiseBroken
from simulations.world import World, simulate
from store.definitions import ClassDefinition, Field

NOTE = ClassDefinition(name="Note", fields=(Field(name="text"),))


def test_an_owner_that_has_another_version_than_it_signed_is_accused() -> None:
    async def story(world: World) -> None:
        a = world.servers[1]
        await a.define(NOTE)
        note = await a.create("Note", {"text": "hi"})
        checker = NoLostCommits()
        assert checker.finish(world) == ""
        versions = world.ledger.versions("1.1", note.object)
        newer = msgspec.structs.replace(versions[-1].leaf, sequence=99)
        versions.append(Version(versions[-1].number, newer))  # as if it had been signed, and never stored
        with pytest.raises(PromiseBroken, match=f"1.1/{note.object}, and signed sequence 99"):
            checker.finish(world)

    simulate(story, servers=3, seed=2)


@pytest.mark.parametrize(
    ("held", "written", "alike"),
    [("a", "a", True), ("a", "b", False), (5, "5", True), (None, "a", False), (5, 6, False), ([1], (1,), True)],
)
def test_a_value_may_have_been_written_in_its_json_form(held: Any, written: Any, alike: bool) -> None:
    assert is_alike(held, written) is alike
