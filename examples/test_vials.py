"""How an application on Bangpath is tested: copy this file, put your own application and its promise in.

    pytest test_vials.py                                     every seed is a test; those that failed run first
    pytest test_vials.py --simulation-seeds 500 -n 2         a longer look, on two cores
    pytest test_vials.py --simulation-seed 7                 one seed, to the bit as before

The servers are Bangpath's own, on a virtual network with virtual time: an hour of outage takes no time. The
application is `vials.py` as it runs in earnest; only its connection is another one. Its promise is a checker.
"""

from contextlib import suppress

import pytest
from vials import Clinic

import bangpath
from simulations.checkers import converged, no_lost_commits
from simulations.promises import Watching


class NobodyIsPromisedTheSameVial(Watching):
    """The application's own promise, looked at while everything else goes on."""

    name = "nobody is promised the same vial"
    promise = "ours"

    def __init__(self, clinics):
        self.clinics = clinics

    def look(self, world):
        told = {}
        for name, clinic in self.clinics.items():
            for vial, patient in clinic.book.items():
                if vial in told:
                    self.accuse(world, f"{vial} is for {told[vial]} and, says {name}, for {patient}")
                told[vial] = patient


@pytest.fixture
async def clinics(mesh):
    """A clinic beside each server; the first two have bought vials, and everybody mirrors them."""
    clinics = {server.name: Clinic(server.connect(), book={}) for server in mesh.nodes}
    for owner in mesh.nodes[:2]:
        await clinics[owner.name].buy(6)
    for server in mesh.nodes:
        for owner in mesh.nodes[:2]:
            if server is not owner:
                await server.mirror(owner)
    await mesh.expect(converged, within=60)
    mesh.watch(NobodyIsPromisedTheSameVial(clinics))
    return clinics


async def nurse(mesh, clinic, server):
    """Comes with a patient every few seconds, whatever works and whatever does not."""
    for number in range(8):
        await mesh.sleep(3 * mesh.random.random())
        with suppress(bangpath.BangpathError):  # her own server is down: she comes again
            await clinic.hand_out(f"patient {number} of {server.name}")


@bangpath.simulate(nodes=4, seeds=10)
async def test_no_vial_is_promised_twice_whatever_breaks(mesh, clinics):
    a, b, c, d = mesh.nodes
    for server in mesh.nodes:
        mesh.nursery.start_soon(nurse, mesh, clinics[server.name], server)
    with mesh.partition({a, b}, {c, d}):
        await mesh.sleep(5)
        b.crash(torn_write=True)
        await mesh.sleep(2)
    mesh.cut(a >> c)  # one way only
    await b.restart()
    await mesh.sleep(10)
    mesh.heal()
    await mesh.sleep(60)
    await mesh.expect(no_lost_commits, converged, within=60)  # Bangpath's own promises
    for clinic in clinics.values():
        for vial, patient in clinic.book.items():  # what a nurse was told is true at the vial's owner
            assert (await clinic.node.get(vial, consistency="owner"))["fields"]["patient"] == patient


@bangpath.simulate(nodes=3, seeds=5)
async def test_who_is_cut_off_hands_out_its_own_vials_and_no_others(mesh, clinics):
    a, b, c = mesh.nodes
    with mesh.partition({a}, {b, c}):
        for number in range(8):
            await clinics[a.name].hand_out(f"patient {number}")
        assert sorted(each.rpartition("/")[0] for each in clinics[a.name].book) == [a.name] * 6
        for number in range(8):
            await clinics[c.name].hand_out(f"patient {number}")
        assert sorted(each.rpartition("/")[0] for each in clinics[c.name].book) == [b.name] * 6
