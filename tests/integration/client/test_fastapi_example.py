"""The example with FastAPI and SQLAlchemy, from a request to a message in the stream."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from nats.js.api import AckPolicy, ConsumerConfig

from support.kube import ROOT
from support.nats import NatsServer, connected
from support.orders_api import customer_of, started
from support.relaying import Outbox, an_outbox
from support.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
async def whole(database: str, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Outbox]:
    async with an_outbox(database, nats_server, tmp_path) as found:
        yield found


@pytest.fixture
async def service(
    whole: Outbox, nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Any]:
    """The module, started as a server would."""
    async with connected(nats_server) as client:
        settings = ConsumerConfig(durable_name="confirmations", ack_policy=AckPolicy.EXPLICIT)
        await client.jetstream().add_consumer(whole.prefix, settings)
    async with started(
        monkeypatch,
        DATABASE_URL=whole.url,
        NATS_URL=nats_server.url,
        OUTBOX_STREAM=whole.prefix,
        OUTBOX_CONSUMER="confirmations",
    ) as module:
        yield module


async def test_an_order_that_is_taken_is_announced_and_another_is_not(
    whole: Outbox, service: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    relay = await whole.relay(poll_max_seconds=1.0).start().active()
    async with customer_of(service) as client:
        taken = await client.post("/orders", json={"customer": "ada", "amount_cents": 1999})
        assert taken.status_code == 201, taken.text
        refused = await client.post("/orders", json={"customer": "bob", "amount_cents": 10**6})
        assert refused.status_code == 402
        for field, value in (("customer", ""), ("customer", "a\0"), ("amount_cents", 2**31)):
            new = {"customer": "ada", "amount_cents": 1, field: value}
            malformed = await client.post("/orders", json=new)
            assert malformed.status_code == 422, new
            assert malformed.json()["detail"][0]["loc"] == ["body", field]
    order = taken.json()
    assert {name: order[name] for name in ("customer", "amount_cents")} == {
        "customer": "ada",
        "amount_cents": 1999,
    }
    [message] = await whole.stored(1)
    assert json.loads(message.data) == order
    assert message.key == order["id"]
    assert await whole.connection.fetchval("SELECT array_agg(id) FROM orders") == [
        uuid.UUID(order["id"])
    ]
    said = ""

    def confirmed() -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return f"order {order['id']}: confirmed to ada" in said

    await eventually(confirmed, "the confirmation of the order")
    assert await asyncio.to_thread(service.link.flush)
    await whole.idle(relay)
    assert await whole.count() == 1


async def test_it_wakes_the_relay_of_its_own_manifest(service: Any) -> None:
    manifest = yaml.safe_load((ROOT / "examples/fastapi-sqlalchemy/pipeline.yaml").read_text())
    names = manifest["metadata"]
    assert {"namespace": names["namespace"], "pipeline": names["name"]} == service.PIPELINE


def test_what_it_reads_is_in_its_manifest() -> None:
    folder = ROOT / "examples/fastapi-sqlalchemy"
    spec = yaml.safe_load((folder / "pipeline.yaml").read_text())["spec"]
    [consumer] = spec["consumers"]
    assert consumer["maxDeliver"] == -1, "it is refused by our runtime otherwise (FU-Z7)"
    program = (folder / "app.py").read_text()
    assert f'"OUTBOX_CONSUMER", "orders-{consumer["name"]}"' in program
    assert f'"OUTBOX_STREAM", "{spec["stream"]["name"]}"' in program
