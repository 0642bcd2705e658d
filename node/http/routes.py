"""Path and method to word: the table of the interface (DESIGN U3).

A path that is none is 404 and says which there are; a method that a path does not take is 405 with those it takes.
Both are errors of the request, never a statement about an object: whether one exists only its owner says.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from identity.errors import Refused
from node.http import indexing, links, outbox, tending, ways, words

Word = Callable[..., Awaitable[None]]

# Path: {method: word}. `*` stands for one part of the path, handed to the word as text.
ROUTES: dict[str, dict[str, Word]] = {
    "/v1/objects": {"POST": words.create},
    "/v1/objects/*/*": {"GET": words.get, "PUT": words.replace, "PATCH": words.update, "DELETE": words.delete},
    "/v1/transactions": {"POST": words.transact},
    "/v1/query": {"POST": words.query},
    "/v1/explain": {"POST": indexing.explain},
    "/v1/complete": {"GET": indexing.complete},
    "/v1/history/*/*": {"GET": indexing.history},
    "/v1/classes": {"GET": words.classes, "POST": words.define, "DELETE": words.drop},
    "/v1/mirrors": {"GET": words.mirrors, "POST": words.mirror, "DELETE": words.unmirror},
    "/v1/outbox": {"GET": outbox.outbox},
    "/v1/outbox/*": {"GET": outbox.entry, "DELETE": outbox.cancel},
    "/v1/tickets": {"POST": words.invite},
    "/v1/status": {"GET": words.status},
    "/v1/peers": {"GET": words.peers},
    "/v1/peers/*/block": {"POST": links.block, "DELETE": links.unblock},
    "/v1/routes": {"GET": ways.routes},
    "/v1/trace": {"POST": ways.trace},
    "/v1/ping": {"POST": ways.ping},
    "/v1/servers": {"GET": words.servers},
    "/v1/check": {"POST": tending.check},
    "/v1/log": {"GET": tending.log},
    "/v1/feeds": {"GET": words.feeds},
}

# The paths with a `*` in them, split, by the number of their parts.
_WITH_PARAMETERS: dict[int, list[tuple[list[str], dict[str, Word]]]] = {}
for _path, _methods in ROUTES.items():
    if "*" in _path:
        _WITH_PARAMETERS.setdefault(_path.count("/") + 1, []).append((_path.split("/"), _methods))


class NoSuchPath(Refused):
    http_status: ClassVar[int] = 404


class NoSuchMethod(Refused):
    http_status: ClassVar[int] = 405


def find_route(method: str, path: str) -> tuple[Word, tuple[Any, ...]]:
    """The word that a request says, and the parameters in its path. Raises `NoSuchPath`, `NoSuchMethod`."""
    parameters: tuple[str, ...] = ()
    methods = ROUTES.get(path)
    if methods is None:
        parts = path.split("/")
        for pattern, found in _WITH_PARAMETERS.get(len(parts), ()):
            if all(wanted in ("*", part) for wanted, part in zip(pattern, parts, strict=True)):
                methods = found
                parameters = tuple(part for wanted, part in zip(pattern, parts, strict=True) if wanted == "*")
                break
    if methods is None:
        raise NoSuchPath(f"there is no path {path[:100]}", next_step=f"the paths are {', '.join(ROUTES)}")
    word = methods.get(method)
    if word is None:
        raise NoSuchMethod(f"{path[:100]} does not take {method}", next_step=f"it takes {', '.join(methods)}")
    return word, parameters
