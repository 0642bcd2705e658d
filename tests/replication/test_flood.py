"""Stories of whole meshes: who gets what, how often, and what becomes of lies."""

from __future__ import annotations

import pytest

from replication.messages import UpdateMessage
from store.records import DATA, REGISTRY
from tests.replication.lab import Lab


def test_a_commit_reaches_a_mirror_once():
    lab = Lab(1)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, "1.1")
    lab.connect(a, b)
    lab.run(1)
    a.commit()
    lab.run(1)
    assert b.numbers(a) == [1]
    assert b.copies[a.feed(), 1] == 1
    assert b.numbers(a, REGISTRY) == a.numbers(b, REGISTRY) == [1]
    assert a.numbers(b, DATA) == []


def test_a_chain_passes_on_what_matches_and_nothing_else():
    lab = Lab(2, jitter=0.01)
    a, b, c, other = lab.servers("1.2.1", "1.3", "1.4", "1.5")
    lab.subscribe(b, "1.2.*,1.5")
    lab.subscribe(c, "1.2.*")
    lab.connect(a, b)
    lab.connect(b, c)
    lab.connect(other, b)
    lab.run(1)
    for i in range(50):
        a.commit()
        if i % 5 == 0:
            other.commit()
        lab.run(0.02)
    b.crash()
    for _ in range(50):
        a.commit()
        lab.run(0.02)
    b.restart()
    for x in (a, c, other):
        lab.connect(b, x)
    for _ in range(50):
        a.commit()
        lab.run(0.02)
    lab.run(5)
    assert b.numbers(a) == c.numbers(a) == list(range(1, 151))
    assert b.numbers(other) == list(range(1, 11))
    assert c.numbers(other) == []
    assert not [feed for feed, _ in c.copies if feed == other.feed()]
    assert all(c.applied[a.feed()] == 150 for _ in [0])
    assert c.has_all(a)


@pytest.mark.parametrize("seed", range(40))
def test_a_wish_that_overtakes_an_older_one_is_in_force(seed):
    lab = Lab(seed, jitter=0.02)
    a, b = lab.servers("1.1", "1.2")
    lab.connect(a, b)
    lab.run(0.0105)  # greeted: what was wished then is on its way
    lab.subscribe(b, "1.1")
    lab.run(1)
    a.commit()
    lab.run(60)
    assert b.numbers(a) == [1]


def ring(lab, names, subscriptions=("*",)):
    servers = lab.servers(*names)
    for each in servers:
        for pattern in subscriptions:
            lab.subscribe(each, pattern)
    for one, other in zip(servers, servers[1:] + servers[:1], strict=True):
        lab.connect(one, other)
    return servers


def full_mesh(lab, names):
    servers = lab.servers(*names)
    for at, each in enumerate(servers):
        lab.subscribe(each, "*")
        for other in servers[:at]:
            lab.connect(each, other)
    return servers


def copies_per_node(servers, owners):
    """UPDATE messages that arrived, per update and server that needed it."""
    arrived = sum(count for each in servers for count in each.copies.values())
    needed = sum(len(owner.durable[owner.feed(kind)]) for owner in owners for kind in (REGISTRY, DATA))
    return arrived / (needed * (len(servers) - 1))


def test_in_a_ring_everyone_gets_everything():
    lab = Lab(3, jitter=0.02)
    servers = ring(lab, [f"1.{n}" for n in range(1, 9)])
    lab.run(1)
    for _ in range(30):
        for each in servers:
            each.commit()
        lab.run(0.05)
    lab.run(10)
    assert all(each.has_all(owner, kind) for each in servers for owner in servers for kind in (REGISTRY, DATA))
    assert copies_per_node(servers, servers) < 1.2


def test_lazy_prunes_a_full_mesh_to_about_one_copy_per_node():
    lab = Lab(4, jitter=0.01)
    servers = full_mesh(lab, [f"1.{n}" for n in range(1, 8)])
    lab.run(2)
    for _ in range(100):
        servers[0].commit()
        lab.run(0.05)
    lab.run(5)
    owner = servers[0]
    assert all(each.has_all(owner) for each in servers)
    first = sum(each.copies[owner.feed(), 1] for each in servers)
    late = sum(each.copies[owner.feed(), n] for each in servers for n in range(50, 101))
    assert first > 2 * (len(servers) - 1)  # nobody knew the tree yet
    assert late <= 1.05 * 51 * (len(servers) - 1)
    assert owner.flood.statistics()["lazy"] + sum(e.flood.statistics()["lazy"] for e in servers) > 0


def test_a_pruned_tree_heals_when_its_branch_breaks():
    lab = Lab(5)
    a, b, c, d = full_mesh(lab, ["1.1", "1.2", "1.3", "1.4"])
    lab.run(2)
    for _ in range(20):
        a.commit()
        lab.run(0.1)
    for other in (b, c):
        lab.cut(a, other)  # what a says now reaches b and c through d only, by links that were pruned
    for _ in range(20):
        a.commit()
        lab.run(0.1)
    lab.run(1)
    assert all(each.has_all(a) for each in (b, c, d))
    lab.tamper = lambda sender, to, message: [message]
    before = sum(b.copies[a.feed(), n] for n in range(35, 41))
    assert before <= 12
    a.commit()
    lab.run(0.05)
    assert b.numbers(a)[-1] == 41  # pushed along the healed tree, not asked for


def test_partition_and_heal():
    lab = Lab(6, jitter=0.01)
    servers = full_mesh(lab, [f"1.{n}" for n in range(1, 7)])
    lab.run(1)
    left, right = servers[:3], servers[3:]
    for one in left:
        for other in right:
            lab.cut(one, other)
    for _ in range(20):
        for each in servers:
            each.commit()
        lab.run(0.1)
    assert not servers[0].has_all(servers[5])
    assert servers[0].has_all(servers[1])
    for one in left:
        for other in right:
            lab.connect(one, other)
    lab.run(10)
    assert all(each.has_all(owner) for each in servers for owner in servers)


def test_a_mirror_that_crashed_before_its_sync_had_forwarded_and_still_gets_it():
    lab = Lab(7)
    a, b, c = lab.servers("1.1", "1.2", "1.3")
    for each in (b, c):
        lab.subscribe(each, "1.1")
    lab.connect(a, b)
    lab.connect(b, c)
    lab.run(1)
    b.sync_s = 10.0  # its disk is slow: it forwards long before its own sync
    a.commit()
    lab.run(0.1)
    assert c.numbers(a) == [1]
    assert b.numbers(a) == []
    b.crash()
    b.sync_s = 0.002
    lab.run(1)
    b.restart()
    assert b.numbers(a) == []
    lab.connect(b, c)  # only c, who has it from b, is there to give it back
    lab.run(2)
    assert b.numbers(a) == [1]


def test_an_owner_sends_after_its_sync_and_a_mirror_advertises_after_its_own():
    lab = Lab(8)
    a, b, c = lab.servers("1.1", "1.2", "1.3")
    lab.subscribe(b, "1.1")
    lab.subscribe(c, "1.1")
    b.sync_s = 3.0
    lab.connect(a, b)
    lab.connect(b, c)
    lab.run(1)
    told = []
    lab.tamper = lambda sender, to, message: told.append((lab.now, sender, message)) or [message]
    a.commit()
    lab.run(2)
    for _, sender, message in told:
        if sender is b:
            name = type(message).__name__
            assert name != "Got"
            if name == "Vector":
                assert all(not (each.feed == a.feed() and each.ranges) for each in message.entries)
    lab.run(6)
    assert any(sender is b and type(message).__name__ == "Got" for _, sender, message in told)


def test_a_late_subscription_brings_what_was_before_it():
    lab = Lab(9)
    a, b = lab.servers("1.1", "1.2")
    lab.connect(a, b)
    for _ in range(10):
        a.commit()
        lab.run(0.1)
    assert b.numbers(a) == []
    lab.subscribe(b, "1.1")
    lab.run(1)
    assert b.numbers(a) == list(range(1, 11))
    from identity.names import Pattern

    b.flood.unsubscribe(DATA, Pattern("1.1"), lab.now)
    lab.pump(b)
    lab.run(1)
    a.commit()
    lab.run(10)
    assert len(b.numbers(a)) == 10  # kept, and nothing more


def test_what_waits_for_a_lost_update_is_forgotten_with_the_subscription():
    from identity.names import Pattern

    lab = Lab(9)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, "1.1")
    lab.connect(a, b)
    lab.run(1)
    lab.tamper = lambda sender, to, message: [] if isinstance(message, UpdateMessage) else [message]
    a.commit()
    lab.run(0.01)
    lab.tamper = None
    a.commit()
    a.commit()
    lab.run(0.03)
    assert b.flood.statistics()["held_bytes"] > 0
    assert b.numbers(a) == []
    b.flood.unsubscribe(DATA, Pattern("1.1"), lab.now)
    lab.pump(b)
    assert b.flood.statistics()["held_bytes"] == 0
    lab.subscribe(b, "1.1")
    lab.run(5)
    assert b.numbers(a) == [1, 2, 3]


def test_an_unknown_class_is_deferred_then_asked_for_again():
    lab = Lab(10, jitter=0.02)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, "1.1")
    lab.connect(a, b)
    lab.run(1)
    a.commit(fingerprint=b"airports")
    a.commit(fingerprint=b"airports")
    a.commit()
    lab.run(20)
    assert b.numbers(a) == []
    assert [each.state for each in b.flood.feeds(lab.now) if each.feed == a.feed()] == ["waiting"]
    asked = b.flood.statistics()["asked"]
    lab.run(60)
    assert b.flood.statistics()["asked"] == asked  # not asked for over and over
    from tests.replication.lab import ADOPTION

    a.commit(REGISTRY, fingerprint=ADOPTION, body=b"airports")
    lab.run(2)
    assert b.numbers(a) == [1, 2, 3]


def test_class_and_first_object_committed_together_are_never_stuck():
    from tests.replication.lab import ADOPTION

    for seed in range(30):
        lab = Lab(seed, jitter=0.03)
        a, b = lab.servers("1.1", "1.2")
        lab.subscribe(b, "1.1")
        lab.connect(a, b)
        lab.run(0.5)
        for number in range(5):
            name = f"class {number:02}".encode()
            a.commit(REGISTRY, fingerprint=ADOPTION, body=name)
            a.commit(fingerprint=name)
            lab.run(0.01)
        lab.run(3)
        assert b.numbers(a) == [1, 2, 3, 4, 5], seed


def test_ages_are_proven_by_the_owner_and_grow_when_it_is_gone():
    lab = Lab(11)
    a, b, c = lab.servers("1.1", "1.2", "1.3")
    for each in (b, c):
        lab.subscribe(each, "1.1")
    lab.connect(a, b)
    lab.connect(b, c)
    lab.run(1)
    a.commit()
    lab.run(20)
    assert b.flood.age(a.feed(), lab.now) < 5.5
    assert c.flood.age(a.feed(), lab.now) < 11
    assert a.flood.age(a.feed(), lab.now) == 0.0
    lab.cut(a, b)
    lab.run(60)
    assert 55 < b.flood.age(a.feed(), lab.now) < 70
    assert 55 < c.flood.age(a.feed(), lab.now) < 75
    assert b.flood.position(a.feed()) == 1
    assert b.flood.lag(a.feed()) == 0
    assert c.flood.carriers(a.id) == [b.id]
    assert b.flood.subscribers(a.id) == [c.id]
    assert [each.path for each in c.flood.feeds(lab.now) if each.feed == a.feed()] == [(a.id, b.id)]


def test_a_feed_that_came_before_the_greeting_is_said_again():
    lab = Lab(12)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, "1.1")
    lost = []

    def lose_first(sender, to, message):
        if type(message).__name__ == "Feed" and sender is b and not lost:
            lost.append(message)
            return []
        return [message]

    lab.tamper = lose_first
    lab.connect(a, b)
    a.commit()
    lab.run(6)
    assert lost
    assert b.numbers(a) == [1]


def test_a_full_queue_loses_nothing():
    lab = Lab(13)
    a, b, c = lab.servers("1.1", "1.2", "1.3")
    for each in (b, c):
        lab.subscribe(each, "*")
    lab.connect(a, b)
    lab.connect(b, c)
    lab.run(1)
    full = True
    refused = []

    def room(to, message):
        if full:
            refused.append(type(message).__name__)
        return not full

    a.capacity = b.capacity = c.capacity = room
    for _ in range(20):
        a.commit()
        c.commit()
        lab.run(0.1)
    assert b.numbers(a) == c.numbers(a) == []
    # One refusal for each neighbour, then silence: nothing is queued twice.
    assert len(refused) < 12
    lab.subscribe(b, "1.9")  # a FEED that finds no room
    lab.run(30)
    full = False
    for each in (a, b, c):
        for other in (a, b, c):
            each.flood.handle_drained(other.id, lab.now)
        lab.pump(each)
    lab.run(0.5)
    assert b.numbers(a) == c.numbers(a) == a.numbers(a) == list(range(1, 21))
    assert b.numbers(c) == list(range(1, 21))
    assert {"UpdateMessage"} <= set(refused)


def test_catching_up_keeps_to_the_window_and_asks_before_the_last_arrives():
    lab = Lab(14, jitter=0.01)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, "1.1")
    body = b"\x5a" + (200_000).to_bytes(4, "big") + bytes(200_000)
    for _ in range(60):  # 12 MB
        a.commit(body=body)
    sent = granted = applied = 0
    most = 0

    def count(sender, to, message):
        nonlocal sent, granted, most
        if type(message).__name__ == "UpdateMessage" and not message.live:
            sent += len(message.update)
            most = max(most, sent - granted)
        elif sender is b and type(message).__name__ == "SendMe":
            granted += message.budget
        return [message]

    lab.tamper = count
    lab.connect(a, b)
    lab.run(10)
    assert b.has_all(a)
    assert most <= (4 << 20) + 200_400
    assert granted > 4 << 20  # it went on without ever stopping
    assert applied == 0


def test_a_mesh_of_ninety_owners_is_compared_in_a_few_messages():
    lab = Lab(15)
    hub, other = lab.servers("1", "2")
    owners = lab.servers(*(f"1.{n // 16 + 1}.{n % 16 + 1}" for n in range(90)))
    for each in owners:
        lab.connect(each, hub)
    lab.run(2)
    for each in owners:
        lab.cut(each, hub)
    lab.connect(hub, other)
    lab.run(3)
    assert all(other.has_all(each, REGISTRY) for each in owners)
    lab.cut(hub, other)
    lab.run(1)
    lab.connect(owners[77], hub)
    owners[77].commit(REGISTRY)
    lab.run(1)
    said = []
    lab.tamper = lambda sender, to, message: said.append(message) or [message]
    lab.cut(owners[77], hub)
    lab.connect(hub, other)
    lab.run(0.1)
    assert other.has_all(owners[77], REGISTRY)
    names = [type(each).__name__ for each in said]
    assert names.count("Digest") == 8  # two steps down the name tree, question and answer, from either side
    entries = [entry for each in said if type(each).__name__ == "Vector" and each.whole for entry in each.entries]
    assert 1 <= len(entries) <= 64
    said.clear()
    lab.cut(hub, other)
    lab.connect(hub, other)
    lab.run(0.1)
    assert {type(each).__name__ for each in said} == {"Feed", "FeedOk"}  # equal: nothing more is said


def test_a_restarted_mirror_continues_without_asking_again():
    lab = Lab(16)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, "1.1")
    lab.connect(a, b)
    for _ in range(10):
        a.commit()
        lab.run(0.1)
    b.crash()
    b.restart()
    a.commit()
    before = sum(b.copies.values())
    lab.connect(a, b)
    lab.run(2)
    assert b.numbers(a) == list(range(1, 12))
    assert sum(b.copies.values()) == before + 1


def test_who_leaves_in_the_middle_is_replaced_at_once():
    lab = Lab(17)
    a, b, c, d = lab.servers("1.1", "1.2", "1.3", "1.4")
    for each in (b, c, d):
        lab.subscribe(each, "1.1")
    for other in (b, c):
        lab.connect(a, other)
    body = b"\x5a" + (300_000).to_bytes(4, "big") + bytes(300_000)
    for _ in range(20):
        a.commit(body=body)
    lab.run(5)
    lab.tamper = lambda sender, to, message: (
        [] if sender is b and to is d and isinstance(message, UpdateMessage) else [message]
    )
    lab.connect(b, d)
    lab.run(0.5)
    lab.connect(c, d)
    lab.run(0.5)
    assert d.numbers(a) == []  # b owes everything, and has ten seconds
    lab.cut(b, d)
    lab.run(2)
    assert d.has_all(a)


def test_the_registry_that_advanced_while_the_store_looked_is_not_missed():
    lab = Lab(18)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, "1.1")
    lab.connect(a, b)
    lab.run(1)
    applies = []
    b.apply = applies.append  # the store takes its time
    a.commit()
    lab.run(0.1)
    ((update,),) = [each.updates for each in applies]
    b.flood.handle_registry_advanced(lab.now)
    b.flood.handle_deferred(update, lab.now)
    b.flood.handle_deferred(update, lab.now)  # once is enough
    lab.pump(b)
    del b.apply
    lab.run(0.5)
    assert b.numbers(a) == [1]


def test_what_the_store_refuses_stops_that_feed_and_is_told():
    lab = Lab(19)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, "1.1")
    lab.connect(a, b)
    lab.run(1)
    applies = []
    b.apply = applies.append
    a.commit()
    lab.run(0.1)
    b.flood.handle_refused(applies[0].updates[0], "a body that is no value", lab.now)
    lab.pump(b)
    del b.apply
    a.commit()
    lab.run(20)
    assert b.numbers(a) == []
    assert b.events() == ["refused"]
    (status,) = [each for each in b.flood.feeds(lab.now) if each.feed == a.feed()]
    assert (status.state, status.reason, status.known) == ("quarantined", "a body that is no value", 2)


def test_a_question_that_found_no_room_is_asked_again_when_there_is():
    lab = Lab(20)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, "1.1")
    for _ in range(5):
        a.commit()
    lost = []

    def room(to, message):
        if type(message).__name__ == "SendMe" and message.kind == DATA and not lost:
            lost.append(message)
            return False
        return True

    b.capacity = room
    lab.connect(a, b)
    lab.run(1)
    assert lost
    assert b.numbers(a) == []
    b.flood.handle_drained(a.id, lab.now)
    lab.pump(b)
    lab.run(0.5)
    assert b.numbers(a) == [1, 2, 3, 4, 5]


def test_what_was_dropped_for_want_of_memory_is_asked_for_when_there_is_some(monkeypatch):
    monkeypatch.setattr("replication.intake.MAX_HELD_BYTES", 5_000)
    lab = Lab(21)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, "1.1")
    lab.connect(a, b)
    lab.run(1)
    b.sync_s = 0.1
    for _ in range(50):
        a.commit()
    lab.run(0.05)
    assert b.flood.statistics()["dropped"] > 10
    assert b.flood.statistics()["held_bytes"] <= 5_000
    b.sync_s = 0.001
    lab.run(3)  # before the regular vectors
    assert b.numbers(a) == list(range(1, 51))


def test_what_nobody_could_verify_is_asked_for_at_once_when_the_registry_advances():
    lab = Lab(22)
    a, b, c = lab.servers("1.1", "1.2", "1.3")
    for each in (b, c):
        lab.subscribe(each, "1.1")
    lab.certified.discard(a.public)
    lab.connect(a, c)
    a.commit()
    lab.run(1)
    lab.connect(c, b)
    lab.run(1)
    assert b.numbers(a) == []
    lab.certified.add(a.public)
    b.flood.handle_registry_advanced(lab.now)
    lab.pump(b)
    lab.run(0.5)
    assert b.numbers(a) == [1]


def test_a_graft_is_asked_for_at_the_head_and_repairs_for_what_is_old():
    lab = Lab(23)
    a, b, c = lab.servers("1.1", "1.2", "1.3")
    for each in (b, c):
        lab.subscribe(each, "1.1")
    lab.connect(a, b)
    for _ in range(100):
        a.commit()
    lab.run(1)
    modes = []
    lab.tamper = lambda sender, to, message: (
        (
            modes.append(message.mode.name)
            if sender is c and type(message).__name__ == "SendMe" and message.kind == DATA and message.ranges
            else None
        )
        or [message]
    )
    lab.connect(b, c)
    lab.run(1)
    assert modes == ["REPAIR"]
    modes.clear()
    b.flood._spool.sessions[c.id].lazy[a.id] = None  # c once said LAZY
    a.commit()
    lab.run(1)
    assert modes == ["GRAFT"]
    copies = c.copies[a.feed(), 102]
    a.commit()
    lab.run(0.05)
    assert c.copies[a.feed(), 102] == copies + 1  # pushed again
    assert c.has_all(a)


def test_one_update_that_found_no_room_is_advertised_when_there_is():
    lab = Lab(24)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, "1.1")
    lab.connect(a, b)
    lab.run(1)
    a.capacity = lambda to, message: False
    a.commit()
    a.capacity = None
    lab.run(0.5)
    assert b.numbers(a) == []
    a.flood.handle_drained(b.id, lab.now)
    lab.pump(a)
    lab.run(0.5)
    assert b.numbers(a) == [1]
