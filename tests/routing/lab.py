"""The laboratory of the routing tests is the simulator's own: router cores alone (`simulations.cores`)."""

from __future__ import annotations

from simulations.cores import Cores


class Lab(Cores):
    """Small meshes in which everybody may know everybody."""
