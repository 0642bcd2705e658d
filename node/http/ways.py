"""Ways to other servers, over HTTP (`node.tracing`).

GET  /v1/routes                                       [{server, way, way_back, path, path_back, standby, ...}]
POST /v1/trace   {"server": "1.2", "deadline": 5}     {server, there, back, rtt_ms, hops: [{server, rtt_ms}]}
POST /v1/ping    {"server": "1.2"}                    {server, seconds, clock_offset_ms, path}
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from identity.errors import Refused
from node.http.words import MAX_DEADLINE_S

if TYPE_CHECKING:
    from node.http.app import Request
    from node.node import Node

DEADLINE_S = 10.0


async def routes(node: Node, request: Request) -> None:
    for name in request.query:
        if name != "server":
            raise Refused(f"{name[:100]!r} means nothing here", next_step="say server, or nothing", field=name[:100])
    await request.answer(200, node.routes(request.query.get("server")))


async def trace(node: Node, request: Request) -> None:
    server, deadline = _whom(await request.json())
    await request.answer(200, await node.trace(server, deadline=deadline))


async def ping(node: Node, request: Request) -> None:
    server, deadline = _whom(await request.json())
    await request.answer(200, await node.ping(server, deadline=deadline))


def _whom(said: Any) -> tuple[str, float]:
    if not isinstance(said, dict) or not isinstance(said.get("server"), str):
        raise Refused("a JSON object with server was expected", next_step='send {"server": "1.2"}', field="server")
    for name in said:
        if name not in ("server", "deadline"):
            raise Refused(f"{name[:100]!r} means nothing here", next_step="say server, deadline", field=name[:100])
    deadline = said.get("deadline", DEADLINE_S)
    if isinstance(deadline, bool) or not isinstance(deadline, (int, float)) or not 0 < deadline <= MAX_DEADLINE_S:
        raise Refused(f"a deadline is a number of seconds above 0, at most {MAX_DEADLINE_S:.0f}", field="deadline")
    return said["server"], float(deadline)
