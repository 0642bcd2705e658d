"""Looking after the store of a running server, over HTTP (`node.tending`).

    POST /v1/check     NDJSON: {"progress": {"part": "log", "done": 4096, "total": 81920}} as it goes,
                       then {"report": {"whole": true, "counts": {...}, "found": 0, "findings": []}}

    GET  /v1/log       {"position": 81920, "epoch": 3, "hash": "..."}: so far the log is durable

A client that hangs up ends a check.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from identity.errors import BangpathError, Refused
from store.findings import Progress

if TYPE_CHECKING:
    from node.http.app import Request
    from node.node import Node

EVERY_S = 0.25  # between two lines of progress


async def log(node: Node, request: Request) -> None:
    await request.answer(200, node.log_end())


async def check(node: Node, request: Request) -> None:
    said = await request.json(empty={})
    if not isinstance(said, dict) or set(said) - {"repair"} or not isinstance(said.get("repair", False), bool):
        raise Refused("a JSON object with repair was expected", next_step='send {"repair": true}', field="repair")
    await _told(request, partial(node.check, repair=said.get("repair", False)))


async def _told(request: Request, word: Any) -> None:
    """Lines of progress while `word` works, and its report at the end."""
    last: dict[str, Any] = {}
    said_at = trio.current_time()

    async def tell(progress: Progress) -> None:
        nonlocal said_at
        if trio.current_time() - said_at >= EVERY_S:
            said_at = trio.current_time()
            await request.piece(_line({"progress": progress._asdict()}))

    await request.start(200, [(b"content-type", b"application/x-ndjson")])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_gone, request, nursery.cancel_scope)
        try:
            last = {"report": await word(tell)}
        except BangpathError as error:
            last = error.as_json()
        nursery.cancel_scope.cancel()
    if last:
        await request.piece(_line(last), more=False)


async def _cancel_when_gone(request: Request, scope: trio.CancelScope) -> None:
    await request.gone()
    scope.cancel()


def _line(said: dict[str, Any]) -> bytes:
    return msgspec.json.encode(said) + b"\n"
