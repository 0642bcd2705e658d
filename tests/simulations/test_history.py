"""Every word that is said to a server stands in the history, with its begin, its end, and what became of it."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio

from identity.errors import NotFound, OutcomeUnknown, Refused, Unreachable
from identity.names import ServerId
from node.asking import Operation
from node.outcomes import Queued
from simulations.history import History, Outcome, Word
from simulations.world import World, simulate
from store.definitions import definition_from_toml

NOTE = definition_from_toml('name = "Note"\n[fields]\ntext = { type = "string", required = true }\n')
OWN = ServerId.parse("1.1")


class FakeNode:
    """Says what it is told to say."""

    server = OWN
    untouched = "as it is"

    def __init__(self) -> None:
        self.says: Any = "done"
        self.heard: list[Any] = []

    async def _say(self, *heard: Any, **how: Any) -> Any:
        self.heard.append((*heard, how))
        if isinstance(self.says, BaseException):
            raise self.says
        return self.says

    create = update = delete = transact = get = query = _say


def record(says: Any, ask: Any) -> Word:
    history = History(lambda: 7.5)
    node = FakeNode()
    node.says = says
    recorder = history.recording("1.1", node)

    async def main() -> None:
        await ask(recorder)

    if isinstance(says, BaseException):
        with pytest.raises(type(says)):
            trio.run(main)
    else:
        trio.run(main)
    assert history.ended == history.words
    return history.words[0]


def test_a_change_is_remembered_with_what_became_of_it() -> None:
    word = record("changed", lambda node: node.update((None, 4), {"text": "hi"}, expect=3))

    assert (word.server, word.owner, word.verb, word.outcome) == ("1.1", "1.1", "change", Outcome.DONE)
    assert word.operations == (Operation(op="update", object=4, fields={"text": "hi"}, expect=3),)
    assert word.result == "changed"
    assert word.begin < word.end
    assert str(word) == "1.1 asked at 7.500 to 7.500 s: update 1.1/4{'text': 'hi'} as of sequence 3 (done)"


@pytest.mark.parametrize(
    ("says", "outcome"),
    [
        (Refused("no"), Outcome.REFUSED),
        (NotFound("no such object"), Outcome.REFUSED),
        (Unreachable("nobody"), Outcome.REFUSED),
        (OutcomeUnknown("maybe"), Outcome.UNKNOWN),
        (RuntimeError("the power went"), Outcome.UNKNOWN),
        (Queued(1, ServerId.parse("1.2"), "waiting", 0), Outcome.UNKNOWN),
        (["changed"], Outcome.DONE),
    ],
)
def test_what_an_answer_says_of_a_change(says: Any, outcome: Outcome) -> None:
    operations = [Operation(op="create", class_name="Note")]
    word = record(says, lambda node: node.transact(operations, server=ServerId.parse("1.2")))

    assert word.outcome is outcome
    assert word.owner == "1.2"


def test_questions_are_remembered_with_how_good_the_answer_was_to_be() -> None:
    got = record("found", lambda node: node.get("1.2/9", consistency="owner"))
    asked = record("rows", lambda node: node.query("Note", max_age=5.0))

    assert (got.verb, got.owner, got.target, dict(got.options)) == ("get", "1.2", "1.2/9", {"consistency": "owner"})
    assert (asked.verb, asked.target, dict(asked.options)) == ("query", "Note", {"max_age": 5.0})


def test_a_word_under_way_is_open_and_has_no_end() -> None:
    history = History(lambda: 1.0)

    with history.word("1.1", "1.1", "change") as word:
        assert word.outcome is Outcome.OPEN
        assert word.end > 10**9
        assert history.ended == []

    assert history.ended == [word]


def test_everything_else_is_the_nodes_own() -> None:
    assert History(lambda: 0.0).recording("1.1", FakeNode()).untouched == "as it is"


@pytest.mark.parametrize("told", ["another value", "another error"])
def test_two_runs_that_told_people_otherwise_have_not_one_trace(told: str) -> None:
    """An answer is not seen in any packet where a server gives it by itself."""

    def hash_of(change: str) -> str:
        async def story(world: World) -> None:
            server = world.servers[0]
            await server.define(NOTE)
            note = await server.create("Note", {"text": "hello"})
            real = server.node.get

            async def get(reference: Any, **how: Any) -> Any:
                if change == "another error":
                    raise NotFound("it is gone")
                found = await real(reference, **how)
                return found._replace(kind=change) if change else found

            server.node.get = get
            with suppress(NotFound):
                await server.get(note)

        return simulate(story, servers=2, seed=1)[1].trace.hash

    assert hash_of("") == hash_of("")
    assert hash_of(told) != hash_of("")
