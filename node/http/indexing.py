"""What the indexes of one server tell, over HTTP (`node.answering`).

POST /v1/explain    {"query": "City where ..."}         {class, index, access, bounds, order, estimated, entries, ...}
GET  /v1/complete?class=City&field=name&prefix=Ber&limit=20          {"class", "field", "values": ["Berlin", "Bern"]}
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from identity.errors import Refused
from node.http.words import only_map, only_names, text_of

if TYPE_CHECKING:
    from node.http.app import Request
    from node.node import Node


async def explain(node: Node, request: Request) -> None:
    said = only_map(await request.json(), ("query",))
    await request.answer(200, await node.explain(text_of(said, "query")))


async def complete(node: Node, request: Request) -> None:
    said = request.query
    only_names(said, ("class", "field", "prefix", "limit"))
    limit = said.get("limit", "20")
    if not (limit.isascii() and limit.isdigit()) or len(limit) > 9:
        raise Refused(f"a limit of {limit[:40]!r}", next_step="say how many values at most", field="limit")
    values = await node.complete(
        text_of(said, "class"), text_of(said, "field"), said.get("prefix", ""), limit=int(limit)
    )
    await request.answer(200, values)
