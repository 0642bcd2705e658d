"""A server's directory from keys and certificates that exist, and a child process that is put somewhere else."""

from __future__ import annotations

import random
from pathlib import Path

import networkx
import pytest
import trio

from identity.errors import Refused
from identity.names import Pattern
from node import children
from node.client import Client
from node.config import Config
from node.opening import found_already, load
from simulations.founding import found


def test_a_mesh_that_was_founded_elsewhere_becomes_directories(tmp_path: Path) -> None:
    founded = found(networkx.complete_graph(2), random.Random)
    for member in founded.members:
        config = Config(server=member.server, roots=(founded.root,), local=Pattern("*"))
        found_already(tmp_path / str(member.server), config, member.keys, member.chain)
    loaded = load(tmp_path / "1.1")
    assert (loaded.config.server, loaded.chain) == (founded.members[1].server, founded.members[1].chain)
    with pytest.raises(Refused, match="holds a server already"):
        found_already(tmp_path / "1.1", loaded.config, loaded.keys, loaded.chain)


async def test_a_child_runs_where_it_is_put(tmp_path: Path) -> None:
    (member,) = found(networkx.empty_graph(1), random.Random).members
    root = found(networkx.empty_graph(1), random.Random).root
    home = tmp_path / "1"
    found_already(home, Config(server=member.server, roots=(root,), local=Pattern("*")), member.keys, member.chain)
    child = await children.start("1", home, inside=("env", "PLACE=elsewhere"))
    try:
        assert b"PLACE=elsewhere" in await trio.Path(f"/proc/{child.pid}/environ").read_bytes()
        async with Client(home) as client:
            assert (await client.status())["server"] == "1"
    finally:
        assert await child.stop() == "it ended"
