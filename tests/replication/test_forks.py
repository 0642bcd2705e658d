"""A lie is found out wherever both stories meet, is told to everyone, and is not forgotten by a restart."""

from __future__ import annotations

import pytest

from replication.messages import Fork, UpdateMessage
from store.records import DATA, PUT, Leaf, Update, join_update, pack_leaf
from tests.replication.lab import PLAIN, Lab, Server


def lie(owner: Server, body: bytes) -> bytes:
    """Another update of the last number that the owner signed, in the same run."""
    owner.sealer.resume(DATA, Update.from_bytes_untrusted(owner.durable[owner.feed()][-2]).head.to_bytes())
    leaf = pack_leaf(Leaf(owner.sequence, owner.sequence, PLAIN, PUT, b"", bytes(16), body))
    seal = owner.sealer.seal(DATA, [leaf])
    return join_update(seal.head, seal.signature, leaf)


def line() -> tuple[Lab, Server, Server, Server]:
    lab = Lab(1)
    owner, middle, last = lab.servers("1.1", "1.2", "1.3")
    for each in (middle, last):
        lab.subscribe(each, "1.1")
    lab.connect(owner, middle)
    lab.connect(middle, last)
    lab.run(1)
    for _ in range(2):
        owner.commit()
    lab.run(1)
    return lab, owner, middle, last


def tell(lab: Lab, owner: Server, to: Server, update: bytes) -> None:
    to.flood.handle_message(owner.id, UpdateMessage((owner.id,), live=True, update=update), lab.now)
    lab.pump(to)


def state(server: Server, owner: Server, now: float) -> str:
    return next(each.state for each in server.flood.feeds(now) if each.feed == owner.feed())


def test_who_heard_only_the_other_story_is_told_the_proof_also_by_whom_it_told_it() -> None:
    lab, owner, middle, last = line()
    told: list[Fork] = []
    lab.tamper = lambda sender, to, message: (told.append(message) if isinstance(message, Fork) else None) or [message]
    tell(lab, owner, middle, lie(owner, b"\x81\x07"))
    lab.run(1)
    assert [state(each, owner, lab.now) for each in (middle, last)] == ["quarantined", "quarantined"]
    assert len(told) == 2  # to the liar, too: people there should know


def test_a_proof_survives_a_restart_and_is_told_to_whoever_is_greeted_later() -> None:
    lab, owner, middle, last = line()
    lab.cut(middle, last)
    lab.run(1)
    tell(lab, owner, middle, lie(owner, b"\x81\x07"))
    proofs = list(middle.flood.proofs().values())
    assert len(proofs) == 1
    middle.crash()
    middle.restart()
    assert middle.flood.proofs() == {}
    middle.flood.load_proofs(proofs)
    assert state(middle, owner, lab.now) == "quarantined"
    assert not [each for each in middle.flood.take_outputs() if getattr(each, "event", "") == "forked"]  # no news
    lab.connect(middle, last)
    lab.run(1)
    assert state(last, owner, lab.now) == "quarantined"


def two_stories() -> tuple[Lab, Server, Server, Server]:
    """Two who never met hold different updates 2; the owner says nothing more."""
    lab = Lab(1)
    owner, one, other = lab.servers("1.1", "1.2", "1.3")
    for each in (one, other):
        lab.subscribe(each, "1.1")
    owner.commit()
    owner.commit()
    honest, lied = owner.durable[owner.feed()][-1], lie(owner, b"\x81\x07")
    for to, story in ((one, honest), (other, lied)):
        lab.tamper = lambda sender, to, message, story=story: (
            [message]
            if not isinstance(message, UpdateMessage) or Update.from_bytes_untrusted(message.update).head.number != 2
            else [UpdateMessage(message.path, message.live, story)]
        )
        lab.connect(owner, to)
        lab.run(2)
        lab.cut(owner, to)
        lab.run(1)
    lab.tamper = None
    assert one.numbers(owner) == other.numbers(owner) == [1, 2]
    assert one.durable[owner.feed()] != other.durable[owner.feed()]
    return lab, owner, one, other


def are_proven(lab: Lab, owner: Server, *servers: Server) -> bool:
    return all(owner.feed() in each.flood.proofs() for each in servers)


@pytest.mark.parametrize("restarted", [0, 1, 2])
def test_two_stories_are_found_out_when_both_are_only_in_the_logs(restarted: int) -> None:
    lab, owner, *both = two_stories()
    for each in both[:restarted]:
        each.crash()
        each.restart()
    lab.connect(*both)
    lab.run(10)
    assert are_proven(lab, owner, *both)


def test_a_story_below_what_the_owner_made_in_a_later_run_is_found_out() -> None:
    """The newer update proves nothing, being of another run: what it was built upon does."""
    lab, owner, one, other = two_stories()
    owner.crash()
    owner.restart()
    lab.connect(owner, one)
    lab.run(1)
    owner.commit()
    lab.run(1)
    lab.cut(owner, one)
    one.crash()
    one.restart()
    assert one.numbers(owner) == [1, 2, 3]
    lab.connect(one, other)
    lab.run(20)
    assert are_proven(lab, owner, one, other)


def test_a_question_that_was_lost_with_its_session_is_asked_in_the_next() -> None:
    lab, owner, one, other = two_stories()
    lab.tamper = lambda sender, to, message: [] if isinstance(message, UpdateMessage | Fork) else [message]
    lab.connect(one, other)
    lab.run(10)
    lab.cut(one, other)
    lab.run(1)
    lab.tamper = None
    assert not are_proven(lab, owner, one)
    lab.connect(one, other)
    lab.run(10)
    assert are_proven(lab, owner, one, other)
