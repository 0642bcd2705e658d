"""Clinics that share rare vials: an application on Bangpath, small enough to read, with state of its own.

Each clinic runs a server, and this program beside it. A vial belongs to the clinic that bought it; any clinic may hand
any vial that it hears of to a patient, by asking the vial's owner. What a nurse was told is written into the clinic's
own book, which is no part of Bangpath: a file in earnest, a dictionary here.

    python vials.py mesh/1.4 Ada          hands out one vial to Ada at the server of that directory

What must never happen: two nurses are told that the same vial is for their patient. `test_vials.py` looks for that on
meshes that break.
"""

import bangpath


@bangpath.stored
class Vial:
    label: str
    patient: str = bangpath.field(default="", index=True)  # nobody's yet


class Clinic:
    """The application. `node` is what `bangpath.connect` gives: a connection to the server of this clinic."""

    def __init__(self, node, book):
        self.node = node
        self.book = book  # vial: patient, as a nurse was told
        self.unclear = set()  # vials of which we do not know whether they became ours; nobody was told anything

    async def buy(self, number):
        """New vials, on this clinic's own server."""
        await self.node.define(Vial)
        return [(await self.node.create(Vial, {"label": f"vial {each}"}))["reference"] for each in range(number)]

    async def hand_out(self, patient):
        """A vial for this patient, or None when none can be had now. What it returns is told to the nurse."""
        free = await self.node.query('Vial where patient = "" limit 20', deadline=5)
        for row in free["rows"]:
            vial = row["reference"]
            if vial in self.unclear:
                continue
            try:
                # The answer may be of a mirror, and old. Its owner decides: `expect` is the version that we have seen.
                await self.node.update(vial, {"patient": patient}, expect=row["sequence"], queue=False, deadline=5)
            except (bangpath.Conflict, bangpath.Unreachable):
                continue  # somebody was quicker, or its owner is away: try the next
            except bangpath.OutcomeUnknown:
                self.unclear.add(vial)  # ask before repeating; until then it is nobody's to hand out
                continue
            self.book[vial] = patient
            return vial
        return None


async def main(directory, patient):
    async with bangpath.connect(directory) as node:
        print(await Clinic(node, book={}).hand_out(patient) or "none can be had now")


if __name__ == "__main__":
    import sys

    import trio

    trio.run(main, *sys.argv[1:])
