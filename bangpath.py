"""What people import: one name for each thing, and nothing is loaded before it is touched (DESIGN U1).

    import bangpath

    @bangpath.stored                                          a class of objects, declared in Python
    class Note:
        text: str
        stars: int = bangpath.field(default=0, index=True)

    with bangpath.connect_blocking("mesh/1.4") as node:       a running node, without async
        node.define(Note)
        made = node.create(Note, {"text": "hello"})
        print(node.get(made["reference"])["fields"]["text"])

    async with bangpath.connect("mesh/1.4") as node: ...      the same words from trio
    bangpath.find("Note").where(bangpath.F.stars > 3)         a question; str() of it is its text
    async with bangpath.open_node("mesh/1.4") as node: ...    a node inside this process
    with bangpath.open_store_blocking("notes") as store:      the store alone: no server, no port
    bangpath.check_directory(Path("notes"))                   is it as it was written; back_up_directory, ...
    @bangpath.simulate(nodes=5, seeds=200)                    a test over whole networks

Errors are of few kinds and say who must act: see `identity.errors`. Everything else is the house behind this door;
its map is docs/ARCHITECTURE.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from identity.errors import (
        BangpathError,
        Conflict,
        Damaged,
        Exhausted,
        Forbidden,
        LocalMistake,
        NotFound,
        OutcomeUnknown,
        PeerMisbehaved,
        Refused,
        Stale,
        Unreachable,
    )
    from identity.names import ObjectId, Pattern, Reference, ServerId
    from node.client import connect, connect_blocking
    from node.embedded import open_store
    from node.embedded_blocking import open_store_blocking
    from node.language import F, find
    from node.node import Node
    from node.opening import open_node
    from node.outcomes import Queued
    from simulations.plugin import simulate
    from store.backup_directories import back_up_directory, restore_directory, verify_directory
    from store.blob_files import Blob
    from store.python_classes import field, stored, upgrade
    from store.repair import repair_directory
    from store.upkeep import check_directory

__all__ = [
    "BangpathError",
    "Blob",
    "Conflict",
    "Damaged",
    "Exhausted",
    "F",
    "Forbidden",
    "LocalMistake",
    "Node",
    "NotFound",
    "ObjectId",
    "OutcomeUnknown",
    "Pattern",
    "PeerMisbehaved",
    "Queued",
    "Reference",
    "Refused",
    "ServerId",
    "Stale",
    "Unreachable",
    "back_up_directory",
    "check_directory",
    "connect",
    "connect_blocking",
    "field",
    "find",
    "open_node",
    "open_store",
    "open_store_blocking",
    "repair_directory",
    "restore_directory",
    "simulate",
    "stored",
    "upgrade",
    "verify_directory",
]

_HOMES = {
    "node.client": {"connect": "connect", "connect_blocking": "connect_blocking"},
    "node.embedded": {"open_store": "open_store"},
    "node.embedded_blocking": {"open_store_blocking": "open_store_blocking"},
    "node.language": {"F": "F", "find": "find"},
    "node.node": {"Node": "Node"},
    "node.outcomes": {"Queued": "Queued"},
    "node.opening": {"open_node": "open_node"},
    "simulations.plugin": {"simulate": "simulate"},
    "store.python_classes": {name: name for name in ("field", "stored", "upgrade")},
    "store.backup_directories": {name: name for name in ("back_up_directory", "restore_directory", "verify_directory")},
    "store.blob_files": {"Blob": "Blob"},
    "store.repair": {"repair_directory": "repair_directory"},
    "store.upkeep": {"check_directory": "check_directory"},
    "identity.names": {name: name for name in ("ObjectId", "Pattern", "Reference", "ServerId")},
}
_HOME = {name: (home, inside) for home, names in _HOMES.items() for name, inside in names.items()}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"bangpath has no {name!r}")
    from importlib import import_module

    home, inside = _HOME.get(name, ("identity.errors", name))
    value = getattr(import_module(home), inside)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


if __name__ == "__main__":  # python -m bangpath: the command, where its script is not on the path
    from node.cli.main import main

    main()
