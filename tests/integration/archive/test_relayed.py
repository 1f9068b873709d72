"""What a real relay says of its numbers tells an archive meant jumps from losses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.wire.config import NatsConfig
from support.archiving import ArchivePlace, Stream, writing
from support.nats import NatsServer, connected
from support.relaying import an_outbox
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

POINT = (
    "snapshot_from, snapshot_to, last_position, emission, emission_gaps, stream_sequence, "
    "stream_created, checkpoints"
)


async def test_jumps_of_a_relay_are_no_gaps_and_a_lost_message_is_one(
    place: ArchivePlace, database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    """A relay dies before it saves, beside a stream that forgets: it numbers events anew."""
    config: dict[str, Any] = {"retention": "workqueue", "duplicate_window": 100_000_000}
    async with (
        an_outbox(database, nats_server, tmp_path, **config) as outbox,
        connected(nats_server) as client,
    ):
        stream = Stream(client, outbox.prefix)
        stream.name = outbox.prefix
        await stream.make_durable()
        place.change(nats=NatsConfig(url=nats_server.url), stream=stream.name)
        await place.migrate()

        async def archived(count: int) -> None:
            async def there() -> bool:
                return len(await place.rows("id")) >= count

            await eventually(there, f"{count} rows", relay=relay)
            await stream.settled()

        relay = await outbox.relay().start().active()
        async with writing(place.config):
            await outbox.add("k", value=0)
            await outbox.saved(1)
            await place.root.execute("CREATE TABLE before AS SELECT * FROM outbox.cursors")
            for value in range(1, 8):
                await outbox.add("k", value=value)
            await archived(8)
            await outbox.killed(relay)
            await place.root.execute(
                f"UPDATE outbox.cursors SET ({POINT}) = (SELECT {POINT} FROM before)"
            )
            await relay.start().active()
            await outbox.add("k", value=8)
            await archived(9)
        rows = await place.rows("id::text, emission, sequence")
        assert [row["id"] for row in rows] == await outbox.event_ids(), "each once, in order"
        last = rows[-1]["emission"]
        assert last > len(rows), "its numbers jump"
        assert await place.root.fetch("SELECT * FROM archive.gaps") == []

        for value in range(3):
            await outbox.add("k", value=value)
        await outbox.published(3)
        lost = rows[-1]["sequence"] + 2
        answer = await client.request(
            f"$JS.API.STREAM.MSG.DELETE.{stream.name}",
            json.dumps({"seq": lost}).encode(),
            timeout=SECONDS,
        )
        assert json.loads(answer.data).get("success"), answer.data
        async with writing(place.config):
            await archived(11)
        [gap] = await place.root.fetch("SELECT * FROM archive.gaps")
        assert (gap["first"], gap["last"]) == (last + 2, last + 2)
        assert (gap["after_sequence"], gap["before_sequence"]) == (lost - 1, lost + 1)
