"""Faults that a mesh must not only survive, but work under: one of them stands in the quiet while news is to spread.

    after everything has come right
        link mtu 1280                               each kind of this table as it is met in the world,
        1.1 commits 2 Note of 20kB                  news that it could keep back,
        expect converged within 180s                and all mirrors have it while it stands

Not here: bursts of loss, spikes of delay and flapping of every link. In meshes without other links neighbours give one
another up in them, and find no other way: of 14 drawn meshes of 5 servers (2026-11-21) one needed 19, 28 and 7 s until
news was everywhere, and the others 15 at most. A bound that never lies would say little of the rest.

Left to others: when such an end is drawn, and what takes a part of the mesh away (`schedule.py`).
"""

from __future__ import annotations

from random import Random

from simulations.faults import Mesh

# Measured: 1 at most with 5 servers; a mesh that does not cope never has it. Two mirrors that lost their owner take
# one another for a source until what they have is a minute old, and look farther a minute later (`replication.routed`).
WITHIN_S = 180
LINKS = {"small MTU": ("mtu 1250", "mtu 1280", "mtu 1400")}
WALLS = {
    "NAT": "a NAT",
    "symmetric NAT": "a symmetric NAT",
    "NAT rebinding": "a NAT that rebinds every 4s",
    "firewall": "a firewall",
}


def copes(random: Random, mesh: Mesh, fault: str, *, owner: str, what: str) -> list[str]:
    """The lines; none for a fault that may take a part of the mesh away. `owner` has news of class `what`."""
    if fault in LINKS:
        stands = f"link {random.choice(LINKS[fault])}"  # every link: else news comes by another
    elif fault in WALLS:
        stands = f"{random.choice(mesh.servers)} stands behind {WALLS[fault]}"
    else:
        return []
    return [
        "heal",
        stands,
        "run 9s",  # for walls to forget or change what they knew
        f"{owner} commits 2 {what} of 20kB",
        f"expect converged within {WITHIN_S}s",
    ]
