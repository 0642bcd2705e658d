"""Histories of a small mesh with everything that can break, by seed; nothing may be missing when all is quiet again.

updates   one after another, by eight owners in turn
cuts      six links, one way or both, for 4-10 s         partition   two halves, for 8 s
churn     a third of the servers, deaf or crashed        loss        of 0-2 % of all messages
a lie     a ninth owner tells two stories to two neighbours

python -m benchmarks.schedules [--first 0] [--count 1000]      prints those in which something is missing
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from random import Random

from benchmarks.flooding import Member, Mesh
from replication.leaves import FeedSealer
from replication.messages import UpdateMessage
from store.records import DATA, PUT, Leaf, Update, join_update, pack_leaf


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.schedules")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    chosen = parser.parse_args()
    total = 0
    for seed in range(chosen.first, chosen.first + chosen.count):
        missing = schedule(seed)
        total += missing
        if missing:
            print(f"seed {seed}: {missing} deliveries never came")
    print(f"{chosen.count} schedules, {total} deliveries missing")
    return 1 if total else 0


def schedule(seed: int) -> int:
    """One history of a small mesh with everything that can break; how many deliveries never came.

    An owner beside the eight forks its feed in the middle: what it signed before is not counted, everything else is.
    Raises AssertionError where both stories of the liar are believed, or somebody has not heard that it lied (who was
    deaf at that moment excepted: no transport repeats anything here).
    """
    mesh = Mesh(12, seed=seed, degree=4, beside=1)
    random = mesh.random
    (liar,) = mesh.beside
    mesh.warm(updates=8)
    liar.commit()
    pairs = [(one, other) for one in mesh.members for other in mesh.neighbours[one.id] if one.id < other.id]
    for one, other in random.sample([pair for pair in pairs if liar not in pair], 6):
        begins = random.random() * 1.5
        mesh.at(begins, _cutting(mesh, one, other, both=random.random() < 0.5))
        mesh.at(begins + 4 + 6 * random.random(), _mending(mesh, one, other))
    half = set(random.sample([each.id for each in mesh.members], 6))
    for one, other in pairs:
        if (one.id in half) != (other.id in half):
            mesh.at(1.0, _cutting(mesh, one, other, both=True))
            mesh.at(9.0 + random.random(), _mending(mesh, one, other))
    mesh.at(0.7, lambda: fork(mesh, liar))
    crash = seed % 2 == 0
    figures = mesh.run(updates=24, churn=0.3, loss=0.02 * random.random(), crash=crash)
    others = [each for each in mesh.members if each is not liar] if crash else []
    if any(liar.feed in each.flood.proofs() for each in others):
        for member in others:
            if liar.feed not in member.flood.proofs():
                raise AssertionError(f"seed {seed}: {member.id} has not heard that {liar.id} lied")
    elif len({each.durable[liar.feed][-1] for each in others}) > 1:  # else one of the two died with who had heard it
        raise AssertionError(f"seed {seed}: both stories of {liar.id} are believed")
    return figures.missing


def fork(mesh: Mesh, liar: Member) -> None:
    """Two different updates of one number, signed in one run, each told to one neighbour."""
    number = len(liar.durable[liar.feed]) + 1
    last = Update.from_bytes_untrusted(liar.durable[liar.feed][-1]).head
    for version, other in enumerate(mesh.neighbours[liar.id][:2]):
        sealer = FeedSealer(liar.id, 1000, lambda data: liar.key.sign(data).signature, Random(number))
        sealer.resume(DATA, last.to_bytes())
        sealer.begin_epoch(1)
        sealer._nonce = last.nonce  # of the run that it lies about
        packed = pack_leaf(Leaf(number, number, b"readings", PUT, b"", bytes(16), b"\x81" + bytes([version])))
        seal = sealer.seal(DATA, [packed])
        update = join_update(seal.head, seal.signature, packed)
        mesh.say(liar, other, UpdateMessage((liar.id,), live=True, update=update))


def _cutting(mesh: Mesh, one: Member, other: Member, *, both: bool) -> Callable[[], None]:
    return lambda: mesh.cut(one, other, both=both)


def _mending(mesh: Mesh, one: Member, other: Member) -> Callable[[], None]:
    return lambda: mesh.mend(one, other)


if __name__ == "__main__":
    sys.exit(main())
