"""The outbox over HTTP, and what every change says of waiting (docs/guide-outbox).

    a change with ?queue=false           504 at once where it would wait     ?expires=3600   not carried out later
                 ?deadline=10            seconds until the outbox takes it
    200 {reference, sequence, ...}       its owner has committed it
    202 {request, server, state, ahead}  it waits, durable, in this server's outbox

    GET    /v1/outbox                    every change that waits, and the outcomes that are remembered
    GET    /v1/outbox/17?wait=10         one of them and what it is to do; with `wait`, once it has its outcome
    DELETE /v1/outbox/17?forget=true     take it back; `forget`: even if its owner has not said what became of it

Left to others: what waiting means (`node.posting`), the other paths (`node.http.words`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from identity.errors import Refused
from node.outcomes import Queued

if TYPE_CHECKING:
    from node.asking import Changed
    from node.http.app import Request
    from node.node import Node

HOW = ("queue", "expires", "deadline")  # a change is to be carried out
MAX_WAIT_S = 3600.0


def how(request: Request) -> dict[str, Any]:
    """What the path's query says of waiting, as `node.altering` takes it. Raises `Refused`."""
    query = request.query
    _only(query, HOW)
    said: dict[str, Any] = {}
    if "queue" in query:
        said["queue"] = _flag(query, "queue")
    for name in ("expires", "deadline"):
        if name in query:
            said[name] = _seconds(query, name, most=MAX_WAIT_S if name == "deadline" else float("inf"))
    return said


async def answer_changed(request: Request, changed: Changed | list[Changed] | Queued) -> None:
    """200 with what was committed, or 202 with what waits."""
    if isinstance(changed, Queued):
        await request.answer(202, changed.as_json())
    elif isinstance(changed, list):
        position = next((str(each.position) for each in reversed(changed) if each.position is not None), None)
        await request.answer(200, {"results": [each.as_json() for each in changed], "position": position})
    else:
        await request.answer(200, changed.as_json())


async def outbox(node: Node, request: Request) -> None:
    _only(request.query, ())
    await request.answer(200, node.outbox())


async def entry(node: Node, request: Request, number: str) -> None:
    _only(request.query, ("wait",))
    if "wait" in request.query:
        seconds = _seconds(request.query, "wait", most=MAX_WAIT_S)
        await request.answer(200, await node.outbox_settled(_number(number), deadline=seconds))
    else:
        await request.answer(200, node.outbox_entry(_number(number)))


async def cancel(node: Node, request: Request, number: str) -> None:
    _only(request.query, ("forget",))
    forget = _flag(request.query, "forget") if "forget" in request.query else False
    await request.answer(200, await node.cancel_change(_number(number), forget=forget))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise Refused(f"{text[:40]!r} is no request of the outbox", next_step="name one by its number, such as 17")
    return int(text)


def _flag(query: Mapping[str, str], name: str) -> bool:
    if query[name] not in ("true", "false"):
        raise Refused(f"{name} is true or false, not {query[name][:40]!r}", field=name)
    return query[name] == "true"


def _seconds(query: Mapping[str, str], name: str, *, most: float) -> float:
    try:
        seconds = float(query[name])
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= most:
        raise Refused(f"{name} is a number of seconds above 0", field=name)
    return seconds


def _only(query: Mapping[str, str], names: tuple[str, ...]) -> None:
    for name in query:
        if name not in names:
            said = f"say {', '.join(names)}" if names else "this path takes nothing"
            raise Refused(f"{name[:100]!r} means nothing here", next_step=said, field=name[:100])
