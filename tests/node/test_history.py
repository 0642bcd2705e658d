"""What an own object was, over HTTP and the client, of a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from identity.errors import NotFound, Refused
from identity.names import ServerId
from node import opening
from node.client import Client
from node.http.serve import serve_http

PRICE = {"name": "Price", "history": "all", "fields": {"euros": {"type": "decimal"}}}


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    opening.create_root(tmp_path / "1", ServerId.parse("1"), local="*")
    async with opening.open_node(tmp_path / "1") as node, serve_http(node, tmp_path), Client(tmp_path) as made:
        assert (await made.define(PRICE))["history"] == "all"
        yield made


async def test_a_price_and_what_it_was(client: Client) -> None:
    made = await client.create("Price", {"euros": "2.50"})
    price, first = made["reference"], made["sequence"]
    await client.update(price, {"euros": "3.00"})
    await client.delete(price)
    told = await client.history(price)
    assert told["reference"] == price
    assert [each["fields"] for each in told["versions"]] == [None, {"euros": "3.00"}, {"euros": "2.50"}]
    assert (await client.history(price, at=first))["versions"] == told["versions"][2:]
    assert (await client.history(price, at=told["versions"][0]["sequence"]))["versions"] == []
    assert len((await client.history(price, limit=2))["versions"]) == 2
    await client.define(next(each for each in await client.classes() if each["name"] == "Price"))  # as it is shown
    assert len((await client.history(price))["versions"]) == 3


async def test_what_cannot_be_told_is_refused(client: Client) -> None:
    price = (await client.create("Price", {"euros": "1"}))["reference"]
    with pytest.raises(NotFound, match="not there yet"):
        await client.history(price, at=2)
    with pytest.raises(Refused, match="not here yet"):
        await client.history(price, at=10**12)
    with pytest.raises(Refused, match="which keeps its versions"):
        await client.history("1.7/64")
    with pytest.raises(Refused, match=r"at of .-1"):
        await client.history(price, at=-1)
    with pytest.raises(Refused, match=r"limit of .-1"):
        await client.history(price, limit=-1)
    await client.define({**PRICE, "history": 0})
    with pytest.raises(Refused, match="keeps no earlier versions") as refused:
        await client.history(price)
    assert "history = 10" in refused.value.next_step
