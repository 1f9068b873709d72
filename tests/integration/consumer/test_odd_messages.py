"""Messages of outsiders that no table and no header can hold: each is an event's own trouble."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import asyncpg
import pytest
from nats.aio.client import Client

from outbox_operator.consumer import Context, ReceivedEvent
from outbox_operator.wire.config import InboxConfig
from support.consuming import Source, calling, consuming, metric, readiness
from support.outbox import migrate_inbox

pytestmark = pytest.mark.integration


@pytest.fixture
async def inbox(database: str, tmp_path: Path) -> InboxConfig:
    """An inbox whose owner also refuses some events."""
    await migrate_inbox(database)
    owner = await asyncpg.connect(database)
    await owner.execute("ALTER TABLE outbox.consumer_inbox ADD CHECK (event_type <> 'forbidden')")
    await owner.close()
    (tmp_path / "url").write_text(database)
    return InboxConfig(url_file=str(tmp_path / "url"))


@pytest.mark.parametrize("mode", ["PerEvent", "PerShard"])
async def test_an_inbox_that_cannot_remember_an_event_is_not_away(
    client: Client, stream_prefix: str, inbox: InboxConfig, mode: Literal["PerEvent", "PerShard"]
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=2)
    if mode == "PerShard":
        await source.create_ordered()
    called: Counter[str] = Counter()

    async def handle(event: ReceivedEvent, context: Context) -> None:
        called[event.type] += 1

    odd = [
        {"Ce-Type": "a%00b"},
        {"Ce-Type": "forbidden"},
        {"Ce-Source": "%00"},
        {"Ce-Source": "x" * 9000},
        {"Outbox-Shard": "0\x01", "Ce-Source": "%00"},
        {"Outbox-Emission": "9" * 5000},
        {"Outbox-Emission": "٣"},
        {"Ce-Time": "0001-01-01T00:00:00+14:00"},
        {"Ce-Id": "%00"},
        {"Ce-Id": "x" * 9000},
    ]
    for headers in odd:
        await source.publish(**{"Outbox-Shard": "0", "Outbox-Emission": "1", **headers})
    await source.publish(type="good")
    config = replace(source.python(), inbox=replace(inbox, mode=mode))
    async with consuming(config, calling(handle)) as app:
        await source.settled(len(odd) + 1)
        assert metric(app, "outbox_consumer_circuit_openings_total") == 0
    assert called["good"] == 1
    letters = [letter.headers or {} for letter in await source.dead_letters()]
    if mode == "PerEvent":  # else only where a shard's mark is kept is anything written
        assert {"a%00b", "forbidden"} <= {letter["Ce-Type"] for letter in letters}
    assert all("cannot remember" in letter["Outbox-Dead-Letter-Error"] for letter in letters)
    handled = sum(called.values())
    assert handled + len(letters) == len(odd) + 1, "each has an end"


async def test_bytes_that_are_no_text_end_nothing(
    client: Client, stream_prefix: str, inbox: InboxConfig
) -> None:
    """In names, values and subjects; metrics and dead letters bear them too."""
    source = await Source.create(client, stream_prefix, max_deliver=1)

    async def handle(event: ReceivedEvent, context: Context) -> None:
        if event.type != "good":
            raise ValueError(event.type)

    block = b"NATS/1.0\r\nCe-Id: \xff\r\nCe-Type: b\xffd\r\nCe-Source: \xfe\r\nx\xff: \xff\r\n\r\n"
    subject = f"{stream_prefix}.evt.".encode() + b"\xff"
    frame = b"HPUB %b %d %d\r\n%b{}\r\n" % (subject, len(block), len(block) + 2, block)
    await client._send_command(frame)
    await client.flush()
    await source.publish(type="good")
    config = replace(source.python(), inbox=inbox)
    async with consuming(config, calling(handle)) as app:
        await source.settled(2)
        assert (await readiness(app))[0] == 200
        assert "b\ufffdd" in (await metrics_page(app.health.port))
    [letter] = await source.dead_letters()
    assert (letter.headers or {})["Outbox-Dead-Letter-Sequence"] == "1"


async def metrics_page(port: int) -> str:
    """What /metrics says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    return answer.decode()
