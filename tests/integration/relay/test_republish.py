"""A stream that republishes what it stores: the copies reach whoever takes them, all of them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from support.nats import NatsServer, connected
from support.relaying import Outbox, an_outbox, check_delivery
from support.waiting import eventually

pytestmark = pytest.mark.integration


@contextlib.asynccontextmanager
async def copying(
    outbox: Outbox, source: str = "{prefix}.>", **config: Any
) -> AsyncIterator[Client]:
    """The outbox's stream republishes, and a second stream takes the copies."""
    prefix = outbox.prefix
    async with connected(outbox.nats) as client:
        js = client.jetstream()
        await js.add_stream(name=f"{prefix}-copy", subjects=[f"copy.{prefix}.>"])
        source = source.format(prefix=prefix)
        await outbox.update_stream(
            republish={"src": source, "dest": f"copy.{source}", **config},
        )
        try:
            yield client
        finally:
            await js.delete_stream(f"{prefix}-copy")


async def copies(client: Client, prefix: str) -> int:
    """Number of messages in the second stream."""
    info = await client.jetstream().stream_info(f"{prefix}-copy")
    return info.state.messages


async def copied(client: Client, prefix: str, count: int) -> None:
    """Wait until the second stream has so many: the server makes copies beside its answers."""

    async def there() -> bool:
        return await copies(client, prefix) >= count

    await eventually(there, f"{count} copies")
    assert await copies(client, prefix) == count


@pytest.mark.parametrize("publishing", ["fast", "window"])
@pytest.mark.parametrize("headers_only", [False, True])
async def test_each_event_is_copied(
    database: str, nats_server: NatsServer, tmp_path: Path, publishing: str, headers_only: bool
) -> None:
    allowed: dict[str, Any] = {"allow_batched": publishing == "fast"}
    async with an_outbox(database, nats_server, tmp_path, **allowed) as outbox:
        async with copying(outbox, headers_only=headers_only) as client:
            relay = await outbox.relay().start().active()
            for number in range(10):  # a run each
                await outbox.add("k", value=number)
                await outbox.stored(number + 1)
            await outbox.idle(relay)
            check_delivery(await outbox.stored(10), await outbox.event_ids())
            await copied(client, outbox.prefix, 10)
        remark = (await outbox.saved(10))["remark"]
        assert "republishes what it stores" in remark


async def test_servers_without_batches_copy_a_part_of_the_subjects_as_well(
    database: str, tmp_path: Path
) -> None:
    with NatsServer(version="2.12.8") as server:
        async with (
            an_outbox(database, server, tmp_path) as outbox,
            copying(outbox, "{prefix}.paid") as client,
        ):
            relay = await outbox.relay().start().active()
            for number in range(20):
                await outbox.add("k", value=number, event_type="created")
                await outbox.add("k", value=number, event_type="paid")
            await outbox.idle(relay)
            check_delivery(await outbox.stored(40), await outbox.event_ids())
            await copied(client, outbox.prefix, 20)


async def test_a_running_relay_notices_that_republishing_began(outbox: Outbox) -> None:
    relay = await outbox.relay().start().active()
    await outbox.add("k", value=0)
    await outbox.idle(relay)
    async with copying(outbox) as client:

        async def begun() -> bool:
            before = await copies(client, outbox.prefix)
            await outbox.add("k", value=1)
            await outbox.idle(relay)
            return await copies(client, outbox.prefix) > before

        await eventually(begun, "the first copy", relay=relay)
        assert "copies of what was published" in relay.log
        before = await copies(client, outbox.prefix)
        for number in range(5):
            await outbox.add("k", value=number)
            await outbox.idle(relay)
        await copied(client, outbox.prefix, before + 5)


@pytest.mark.parametrize(
    "setting",
    [
        {"allow_msg_counter": True, "allow_batched": False},
        {"subject_transform": {"src": "{prefix}.>", "dest": "stored.{prefix}.>"}},
    ],
    ids=lambda setting: next(iter(setting)),
)
async def test_a_stream_that_does_not_store_events_as_they_are_is_named(
    outbox: Outbox, setting: dict[str, Any]
) -> None:
    await outbox.delete_stream()
    await outbox.create_stream(**json.loads(json.dumps(setting).replace("{prefix}", outbox.prefix)))
    relay = outbox.relay().start()
    await outbox.add("k")
    name = next(iter(setting))
    await eventually(
        lambda: f"has {name} set" in relay.failing().get("stream", ""), "the setting", relay=relay
    )
