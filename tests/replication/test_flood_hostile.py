"""What liars, thieves and accidents do, and what a correct server makes of it (ATTACKS 12 to 14)."""

from __future__ import annotations

import msgspec

from replication.leaves import FeedSealer
from replication.messages import SendMe, UpdateMessage, Vector
from store.records import DATA, PUT, REGISTRY, Leaf, Update, join_update, pack_leaf
from tests.replication.lab import PLAIN, Lab, forged


def pair(seed=1, pattern="1.1"):
    lab = Lab(seed)
    a, b = lab.servers("1.1", "1.2")
    lab.subscribe(b, pattern)
    lab.connect(a, b)
    lab.run(1)
    return lab, a, b


def seal(server, sealer, *, number_of_leaf=900, body=b"\x81\x09"):
    leaf = pack_leaf(Leaf(number_of_leaf, number_of_leaf, PLAIN, PUT, b"", bytes(16), body))
    made = sealer.seal(DATA, [leaf])
    return join_update(made.head, made.signature, leaf)


def send(lab, sender, to, update, *, path=None, live=True):
    message = UpdateMessage(path or (sender.id,), live=live, update=update)
    lab.at(0, lambda: (to.flood.handle_message(sender.id, message, lab.now), lab.pump(to)))
    lab.run(0.01)


def test_a_forged_path_keeps_nothing_from_anybody():
    lab = Lab(1)
    a, b, c = lab.servers("1.1", "1.2", "1.3")
    for each in (b, c):
        lab.subscribe(each, "1.1")
    lab.connect(a, b)
    lab.connect(b, c)
    lab.run(1)

    lab.cut(a, b)
    a.commit()
    lab.run(1)
    lab.connect(b, a)
    lab.tamper = lambda sender, to, message: [] if isinstance(message, SendMe) and sender is b else [message]
    lab.run(0.02)
    data = a.durable[a.feed()][0]
    send(lab, a, b, data, path=(a.id, c.id, a.id))  # a server twice: refused
    assert "misbehaved" in b.events()
    lab.tamper = None
    lab.run(30)
    assert c.has_all(a)


def test_a_victim_named_in_the_path_is_told_after_the_sync_and_asks():
    lab = Lab(2)
    a, x, b, c = lab.servers("1.1", "1.9", "1.2", "1.3")
    for each in (x, b, c):
        lab.subscribe(each, "1.1")
    lab.connect(a, x)
    lab.connect(x, b)
    lab.connect(b, c)
    lab.run(1)
    lab.cut(a, x)
    a.commit()
    send(lab, x, b, a.durable[a.feed()][0], path=(a.id, c.id, x.id))
    lab.run(0.02)
    assert b.numbers(a) == [1]
    assert c.copies[a.feed(), 1] == 0  # not pushed
    lab.run(1)
    assert c.numbers(a) == [1]  # exact vectors deliver it


def test_nothing_forged_is_taken():
    lab, a, b = pair()
    lab.cut(a, b)
    a.commit()
    lab.run(1)
    real = a.durable[a.feed()][0]
    lab.connect(a, b)
    lab.tamper = lambda sender, to, message: [] if isinstance(message, SendMe | Vector) else [message]
    lab.run(0.05)
    update = Update.from_bytes_untrusted(real)
    altered_leaf = bytearray(real)
    altered_leaf[-1] ^= 1
    altered_signature = bytearray(real)
    altered_signature[-len(update.leaves) - 40] ^= 1
    for bad in (
        forged(real, number=2).to_bytes(),
        forged(real, epoch=9).to_bytes(),
        forged(real, root=bytes(32)).to_bytes(),
        forged(real, count=2).to_bytes(),
        forged(real, incarnation=1).to_bytes(),
        bytes(altered_leaf),
        bytes(altered_signature),
        real[:-1],
        real + b"\0",
        b"",
        b"\x01" * 300,
    ):
        send(lab, a, b, bad)
        assert b.numbers(a) == []
    assert b.events().count("misbehaved") >= 9
    lab.tamper = None
    lab.run(10)
    assert b.numbers(a) == [1]


def test_an_update_of_a_server_nobody_certified_is_not_taken():
    lab = Lab(3)
    a, b = lab.servers("1.1", "1.2")
    lab.certified.discard(a.public)
    lab.subscribe(b, "*")
    (c,) = lab.servers("1.3")
    lab.subscribe(c, "*")
    lab.connect(a, c)
    lab.connect(c, b)  # c knows a from its HELLO, b has only c's word
    a.commit()
    lab.run(20)
    assert c.numbers(a) == [1]
    assert b.numbers(a) == b.numbers(a, REGISTRY) == []
    assert "unverifiable" in b.events()
    asked = b.flood.statistics()["asked"]
    lab.run(60)
    assert b.flood.statistics()["asked"] == asked


def test_two_updates_with_one_number_are_kept_as_proof_and_everyone_is_told():
    lab = Lab(4)
    a, b, c, d = lab.servers("1.1", "1.2", "1.3", "1.4")
    for each in (b, c, d):
        lab.subscribe(each, "1.1")
    lab.connect(a, b)
    lab.connect(b, c)
    lab.connect(c, d)
    lab.run(1)
    a.commit()
    lab.run(1)
    # The owner seals another update 2 in the same run: two sealers that begin at one state with one nonce.
    twin = FeedSealer(a.id, a.incarnation, lambda data: a.key.sign(data).signature, lab.random)
    twin.resume(DATA, Update.from_bytes_untrusted(a.durable[a.feed()][0]).head.to_bytes())
    twin.begin_epoch(a.epoch)
    twin._nonce = a.sealer._nonce
    other = seal(a, twin)
    a.commit()
    lab.run(1)
    assert all(each.numbers(a) == [1, 2] for each in (b, c, d))
    send(lab, a, b, other)
    lab.run(1)
    for each in (b, c, d):
        assert each.events().count("forked") == 1
        assert [s.state for s in each.flood.feeds(lab.now) if s.feed == a.feed()] == ["quarantined"]
        assert a.feed() in each.flood.proofs()
    a.commit()
    lab.run(10)
    assert all(each.numbers(a) == [1, 2] for each in (b, c, d))  # the prefix stays, nothing is added
    assert b.numbers(a, REGISTRY) == [1]


def test_an_update_that_disowns_the_one_before_is_a_fork():
    lab, a, b = pair(5)
    a.commit()
    lab.run(1)
    twin = FeedSealer(a.id, a.incarnation, lambda data: a.key.sign(data).signature, lab.random)
    twin.begin_epoch(a.epoch)
    twin._nonce = a.sealer._nonce
    seal(a, twin)
    second = seal(a, twin, number_of_leaf=901)
    send(lab, a, b, second)
    assert b.events() == ["forked"]


def test_a_restored_store_is_a_rollback_and_no_lie():
    lab, a, b = pair(6)
    for _ in range(3):
        a.commit()
    lab.run(1)
    a.crash()
    a.durable[a.feed()] = a.durable[a.feed()][:1]  # an old backup was put back
    a.restart()
    lab.connect(a, b)
    lab.run(1)
    assert "own_feed_ahead" in a.events()
    lab.run(1)
    a.commit()
    a.commit()
    a.commit()
    lab.run(20)
    assert b.numbers(a) == [1, 2, 3]
    assert "rolled_back" in b.events()
    assert "forked" not in b.events()


def test_an_epoch_or_a_sequence_that_falls_is_refused():
    for change in ("epoch", "sequence"):
        lab, a, b = pair(7)
        a.crash()
        a.epoch = 5
        a.restart()
        lab.connect(a, b)
        lab.run(1)
        a.sequence = 100
        a.commit()
        lab.run(1)
        head = Update.from_bytes_untrusted(a.durable[a.feed()][-1]).head.to_bytes()
        late = FeedSealer(a.id, a.incarnation, lambda data, key=a.key: key.sign(data).signature, lab.random)
        late.resume(DATA, head)
        late.begin_epoch(4 if change == "epoch" else 9)
        send(lab, a, b, seal(a, late, number_of_leaf=200 if change == "epoch" else 50))
        assert b.numbers(a) == [1]
        assert b.events() == ["rolled_back"]
        a.commit()
        lab.run(10)
        assert b.numbers(a) == [1, 2]  # a replayed branch does not stop the true one


def test_a_peer_that_withholds_is_left_for_another():
    lab = Lab(8)
    a, thief, honest, b = lab.servers("1.1", "1.2", "1.3", "1.4")
    for each in (thief, honest, b):
        lab.subscribe(each, "1.1")
    lab.connect(a, thief)
    lab.connect(a, honest)
    for _ in range(5):
        a.commit()
    lab.run(2)
    lab.tamper = lambda sender, to, message: [] if sender is thief and isinstance(message, UpdateMessage) else [message]
    lab.connect(b, thief)
    lab.run(1)
    lab.connect(b, honest)
    lab.run(15)
    assert b.numbers(a) == [1, 2, 3, 4, 5]
    assert "withheld" in b.events()


def test_a_peer_that_promises_what_it_has_not_is_refused_and_others_are_asked():
    lab = Lab(9)
    a, b, liar = lab.servers("1.1", "1.2", "1.3")
    lab.subscribe(b, "1.1")

    def lie(sender, to, message):
        if sender is liar and isinstance(message, Vector):
            grown = tuple(
                msgspec.structs.replace(
                    each, ranges=tuple(msgspec.structs.replace(r, last=r.last + 1000) for r in each.ranges)
                )
                for each in message.entries
            )
            return [Vector(grown, message.whole)]
        return [message]

    lab.tamper = lie
    lab.connect(liar, b)
    lab.run(60)
    assert b.flood.statistics()["asked"] < 60
    lab.connect(a, b)
    a.commit()
    lab.run(5)
    assert b.numbers(a) == [1]


def test_a_flood_of_updates_far_ahead_is_bounded():
    lab, a, b = pair(10)
    lab.cut(a, b)
    for _ in range(50):
        a.commit(body=b"\x5a" + (1000).to_bytes(4, "big") + bytes(1000), leaves=1)
    lab.run(1)
    lab.connect(a, b)
    lab.tamper = lambda sender, to, message: [] if isinstance(message, SendMe) else [message]
    lab.run(0.05)
    import replication.intake as intake

    before, intake.MAX_HELD_BYTES = intake.MAX_HELD_BYTES, 20_000
    try:
        for data in a.durable[a.feed()][1:]:
            send(lab, a, b, data)
        assert b.flood.statistics()["held_bytes"] <= 20_000
        assert b.flood.statistics()["dropped"] > 0
        lab.tamper = None
        lab.run(60)
        assert b.has_all(a)
    finally:
        intake.MAX_HELD_BYTES = before
    assert b.flood.statistics()["held_bytes"] == 0


def test_after_a_restart_a_run_that_came_back_is_still_known():
    lab, a, b = pair(11)
    a.crash()
    a.epoch = 5
    a.restart()
    lab.connect(a, b)
    lab.run(1)
    a.commit()
    lab.run(1)
    b.crash()
    b.restart()
    lab.connect(a, b)
    lab.run(1)
    late = FeedSealer(a.id, a.incarnation, lambda data: a.key.sign(data).signature, lab.random)
    late.resume(DATA, Update.from_bytes_untrusted(a.durable[a.feed()][-1]).head.to_bytes())
    late.begin_epoch(4)
    send(lab, a, b, seal(a, late))
    assert b.numbers(a) == [1]
    assert "rolled_back" in b.events()


def test_after_a_forged_repair_another_peer_is_asked_at_once():
    lab = Lab(12)
    a, forger, honest, b = lab.servers("1.1", "1.2", "1.3", "1.4")
    for each in (forger, honest, b):
        lab.subscribe(each, "1.1")
    lab.connect(a, forger)
    lab.connect(a, honest)
    lab.run(1)
    a.commit()
    lab.run(1)

    def forge(sender, to, message):
        if sender is forger and to is b and isinstance(message, UpdateMessage):
            return [UpdateMessage(message.path, message.live, forged(message.update, epoch=77).to_bytes())]
        return [message]

    lab.tamper = forge
    lab.connect(b, forger)
    lab.run(1)
    lab.connect(b, honest)
    lab.run(1)
    assert b.numbers(a) == [1]


def test_two_mirrors_of_two_stories_find_out():
    lab = Lab(13)
    a, b, c = lab.servers("1.1", "1.2", "1.3")
    for each in (b, c):
        lab.subscribe(each, "1.1")
        lab.connect(a, each)
    lab.run(1)
    a.commit()
    lab.run(1)
    lab.cut(a, c)
    lab.cut(a, b)
    twin = FeedSealer(a.id, a.incarnation, lambda data: a.key.sign(data).signature, lab.random)
    twin.resume(DATA, Update.from_bytes_untrusted(a.durable[a.feed()][0]).head.to_bytes())
    twin.begin_epoch(a.epoch)
    twin._nonce = a.sealer._nonce
    for server, story in ((b, seal(a, a.sealer)), (c, seal(a, twin, body=b"\x81\x08"))):
        lab.connect(a, server)
        lab.run(0.2)
        send(lab, a, server, story)
        lab.run(0.1)
        lab.cut(a, server)
        lab.run(1)
    assert b.numbers(a) == c.numbers(a) == [1, 2]
    assert b.durable[a.feed()] != c.durable[a.feed()]
    lab.connect(b, c)
    lab.run(7)
    assert "forked" in b.events()
    assert "forked" in c.events()
    assert b.flood.proofs()


def test_a_path_that_names_the_receiver_delays_nothing():
    lab, a, b = pair(14)
    (x,) = lab.servers("1.9")
    lab.connect(x, b)
    lab.cut(a, b)
    lab.run(1)
    a.commit()
    send(lab, x, b, a.durable[a.feed()][0], path=(a.id, b.id, x.id))
    lab.run(0.05)
    assert b.numbers(a) == [1]


def test_what_lies_above_an_update_that_does_not_continue_is_not_kept():
    """An owner that signs two branches fills nobody's memory, and its mirrors do not ask for the other branch again."""
    lab, a, b = pair(15)
    for _ in range(2):
        a.commit()
    lab.run(1)
    lab.cut(a, b)
    other = FeedSealer(a.id, a.incarnation, lambda data: a.key.sign(data).signature, lab.random)
    other.resume(DATA, Update.from_bytes_untrusted(a.durable[a.feed()][0]).head.to_bytes())
    other.begin_epoch(9)
    branch = [seal(a, other, number_of_leaf=900 + number) for number in range(6)]  # 2 to 7, of another run
    lab.connect(a, b)
    lab.tamper = lambda sender, to, message: [] if isinstance(message, SendMe | Vector) else [message]
    lab.run(0.1)
    for update in branch[2:]:  # 4 to 7 wait for 3
        send(lab, a, b, update)
    assert b.flood.statistics()["held_bytes"] > 0
    send(lab, a, b, branch[1], live=False)  # 3, which does not continue our 2
    assert "rolled_back" in b.events()
    assert b.flood.statistics()["held_bytes"] == 0
    send(lab, a, b, branch[4])
    assert b.flood.statistics()["held_bytes"] == 0
    lab.tamper = None
    asked = b.flood.statistics()["asked"]
    lab.run(60)
    assert b.flood.statistics()["held_bytes"] == 0
    assert b.flood.statistics()["asked"] - asked < 30
    for _ in range(6):
        a.commit()
    lab.run(10)
    assert b.has_all(a)  # the branch that it took goes on


def test_a_repair_that_waited_and_does_not_continue_is_granted_again():
    lab, a, b = pair(16)
    a.commit()
    lab.run(1)
    lab.cut(a, b)
    other = FeedSealer(a.id, a.incarnation, lambda data: a.key.sign(data).signature, lab.random)
    other.begin_epoch(9)
    seal(a, other, number_of_leaf=900)
    seal(a, other, number_of_leaf=901)
    wrong = seal(a, other, number_of_leaf=902)  # 3, of another run
    a.commit()
    lab.connect(a, b)
    lab.tamper = lambda sender, to, message: [] if isinstance(message, SendMe | Vector) else [message]
    lab.run(0.1)
    session = b.flood._spool.sessions[a.id]
    before = session.owed
    send(lab, a, b, wrong, live=False)  # waits for 2
    send(lab, a, b, a.durable[a.feed()][1], live=False)
    lab.run(1)
    assert b.numbers(a) == [1, 2]
    assert session.owed - before >= len(wrong) + len(a.durable[a.feed()][1])
