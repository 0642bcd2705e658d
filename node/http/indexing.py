"""What the indexes and the kept versions of one server tell, over HTTP (`node.answering`).

POST /v1/explain    {"query": "City where ..."}         {class, index, access, bounds, order, estimated, entries, ...}
GET  /v1/complete?class=City&field=name&prefix=Ber&limit=20          {"class", "field", "values": ["Berlin", "Bern"]}
GET  /v1/history/1.2/42?at=17&limit=20                  {"reference", "versions": [{"sequence", "major", "fields"}]}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from identity.errors import Refused
from node.http.words import only_map, only_names, reference_in_path, text_of
from store.past import MOST_VERSIONS

if TYPE_CHECKING:
    from node.http.app import Request
    from node.node import Node


async def explain(node: Node, request: Request) -> None:
    said = only_map(await request.json(), ("query",))
    await request.answer(200, await node.explain(text_of(said, "query")))


async def complete(node: Node, request: Request) -> None:
    said = request.query
    only_names(said, ("class", "field", "prefix", "limit"))
    limit = _number(said, "limit", "20")
    values = await node.complete(text_of(said, "class"), text_of(said, "field"), said.get("prefix", ""), limit=limit)
    await request.answer(200, values)


async def history(node: Node, request: Request, server: str, number: str) -> None:
    said = request.query
    only_names(said, ("at", "limit"))
    at = _number(said, "at", "") if "at" in said else None
    limit = min(_number(said, "limit", str(MOST_VERSIONS)), MOST_VERSIONS)
    await request.answer(200, await node.history(reference_in_path(server, number), at=at, limit=limit))


def _number(said: Mapping[str, str], name: str, default: str) -> int:
    """What the query says, at most 18 digits. Raises `Refused`, naming it."""
    text = said.get(name, default)
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        what = "how many at most" if name == "limit" else "the number of a transaction"
        raise Refused(f"{name} of {text[:40]!r}", next_step=f"say {what}", field=name)
    return int(text)
