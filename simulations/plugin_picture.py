"""A picture of a simulated test's world: the page of `timeline_page.py`, for `--simulation-timeline DIRECTORY`.

    every seed that fails; and with --simulation-seed, for then somebody looks at this one, also when it passes

The page needs no network and no program but a browser. What the test asked of servers stands on it beside what broke
and how updates spread.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from simulations.plugin_seeds import replay
from simulations.report import asked_of
from simulations.timeline_layout import Picture
from simulations.timeline_page import page

if TYPE_CHECKING:
    import pytest

    from simulations.world import World


def draw(directory: str, item: pytest.Item, world: World, error: BaseException | None) -> Path:
    """Write the page; where it is. `error`: what the test failed with."""
    picture = Picture(
        title=item.name.partition("[")[0],
        seed=world.seed,
        servers=tuple(server.name for server in world.servers),
        seconds=world.now,
        marks=(*world.marks, *asked_of(world.history.words)),
        trace=world.trace.hash,
        replay=replay(item),
        events=world.trace.count,
        broken=(str(error).splitlines() or [type(error).__name__])[0] if error is not None else "",
        broken_at=world.now if error is not None else None,
    )
    path = Path(directory) / (re.sub(r"[^\w.=-]+", "-", item.name).strip("-") + ".html")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(picture), encoding="utf-8")
    return path
