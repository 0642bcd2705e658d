"""A test of somebody's own application on a simulated mesh: copy this file, and run it with pytest.

Three clinics share patients' notes over a bad radio link. The application is the function `newest_note`; the mesh
under it is real Bangpath nodes on a virtual network, so a minute of outage takes no time, and a seed that fails
replays: `pytest examples/test_ward_round.py --simulation-seed 7`.
"""

import bangpath


@bangpath.stored
class Note:
    patient: str = bangpath.field(index=True)
    text: str
    written: int = bangpath.field(index=True)


async def newest_note(node, patient):
    """The application under test: the newest note that can be had here and now, and whether it is the whole truth."""
    answer = await node.query(f'Note where patient = "{patient}" order by -written limit 1', deadline=5)
    return (answer.rows[0].fields["text"] if answer.rows else None), answer.completeness["whole"]


@bangpath.simulate(nodes=3, seeds=5)
async def test_a_clinic_that_is_cut_off_still_knows_what_it_mirrors(mesh):
    harbour, island, ship = mesh.nodes
    note = await island.create(Note, patient="Ada", text="fever", written=1)
    await ship.mirror(island)
    await mesh.eventually(lambda: ship.read(note) is not None, within=30)

    with mesh.partition({harbour, island}, {ship}):
        await island.update(note, text="better")
        assert await newest_note(ship, "Ada") == ("fever", True)  # old, and it says how old
        assert ship.read(note).text == "fever"

    await mesh.eventually(lambda: ship.read(note).text == "better", within=60)


@bangpath.simulate(nodes=2, seeds=5)
async def test_nothing_that_was_answered_is_lost_in_a_power_cut(mesh):
    harbour, island = mesh.nodes
    notes = [await island.create(Note, patient="Ada", text=f"note {number}", written=number) for number in range(20)]
    await island.crash()
    await island.restart()
    assert [island.read(note).written for note in notes] == list(range(20))
    await mesh.eventually(lambda: harbour.up.classes(), within=30)  # it has heard of the island's notes
    assert await newest_note(harbour, "Ada") == ("note 19", True)
