"""Links cut and mended at this server's port, over HTTP (`node.links`).

    POST   /v1/peers/1.2/block  {"direction": "both" | "in" | "out"}     {"server": "1.2", "blocked": "both"}
    DELETE /v1/peers/1.2/block?direction=in                             {"server": "1.2", "blocked": "out"}
    DELETE /v1/peers/all/block                                          [{"server": "1.2", "blocked": null}, ...]

The direction may be left out: both. What is blocked stands in GET /v1/peers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from identity.errors import Refused
from node.blocking import check_direction

if TYPE_CHECKING:
    from node.http.app import Request
    from node.node import Node

ALL = "all"


async def block(node: Node, request: Request, server: str) -> None:
    said = await request.json(empty={})
    if not isinstance(said, dict) or set(said) - {"direction"}:
        raise Refused("a JSON object with direction was expected", next_step='send {"direction": "both"}')
    await request.answer(200, node.block(server, check_direction(said.get("direction", "both"))))


async def unblock(node: Node, request: Request, server: str) -> None:
    for name in request.query:
        if name != "direction":
            raise Refused(f"{name[:100]!r} means nothing here", next_step="say direction", field=name[:100])
    if server == ALL:
        if request.query:
            raise Refused("every link is opened in both directions", next_step="name one server for one direction")
        await request.answer(200, node.unblock_all())
        return
    await request.answer(200, node.unblock(server, check_direction(request.query.get("direction", "both"))))
