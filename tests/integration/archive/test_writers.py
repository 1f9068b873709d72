"""Several processes write an archive, under limits, and one of them may stand still."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from outbox_operator.adapters.nats.pull_consumer import PullConsumer
from outbox_operator.wire.config import encode
from support.archiving import ArchivePlace, Stream, relayed, write_process, writing
from support.processes import freeze
from support.waiting import eventually

pytestmark = pytest.mark.integration

SLEEPY = """
CREATE FUNCTION archive.sleep() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_sleep(1); RETURN NEW; END $$;
CREATE TRIGGER sleep BEFORE INSERT ON archive.events FOR EACH ROW
WHEN (NEW.emission = 1) EXECUTE FUNCTION archive.sleep();
"""
LEAVES = """
SELECT inhrelid::regclass::text AS name FROM pg_inherits
WHERE inhparent = 'archive.events_default'::regclass
  AND inhrelid::regclass::text !~ 'default_default'
"""
SLEEPING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event = 'PgSleep'
"""


async def test_two_share_the_work_under_a_small_limit_while_partitions_are_made(
    place: ArchivePlace, stream: Stream
) -> None:
    stream.durable = "small"
    await stream.make_durable(max_ack_pending=20)
    place.change(durable="small", batch_bytes=64 * 1024)
    # Without a partition for now all rows go to the default one, which upkeep then empties.
    for leaf in await place.root.fetch(LEAVES):
        await place.root.execute(f"DROP TABLE {leaf['name']}")
    async with writing(place.config), writing(place.config):
        await stream.emit(range(1, 101))
        await stream.publish(b"x" * 300_000, relayed(101))
        moved = " ".join(await place.upkeep())
        await stream.emit(range(102, 151))
        await stream.settled()
    moved += " ".join(await place.upkeep())
    assert "events into them that had none" in moved
    rows = await place.rows("emission, payload_bytes")
    assert [row["emission"] for row in rows] == list(range(1, 151))
    assert rows[100]["payload_bytes"] == 300_000
    ledger = await place.root.fetch("SELECT low, high FROM archive.ledger")
    assert [tuple(row) for row in ledger] == [(1, 150)]


async def test_one_that_stands_still_in_the_middle_keeps_no_other_from_writing(
    place: ArchivePlace, stream: Stream, tmp_path: Path
) -> None:
    await place.root.execute(SLEEPY)
    await stream.emit([1, 2, 3])
    document = tmp_path / "config.json"
    document.write_text(encode(place.config))
    frozen = write_process(document)
    try:

        async def asleep() -> bool:
            return bool(await place.root.fetchval(SLEEPING))

        await eventually(asleep, "the batch is being stored")
        freeze(frozen.pid)
        async with writing(place.config):
            await stream.settled()
        assert [row["emission"] for row in await place.rows("emission")] == [1, 2, 3]
        os.kill(frozen.pid, signal.SIGCONT)
    finally:
        frozen.kill()
        frozen.wait(60)


async def test_with_a_filter_nothing_is_said_of_what_is_missing(
    place: ArchivePlace, stream: Stream
) -> None:
    stream.durable = "some"
    await stream.make_durable(filter_subject=f"{stream.subject}.x")
    place.change(durable="some")
    await stream.emit([1, 7])
    async with writing(place.config) as app:
        await stream.settled()
        labels = {"namespace": "shop", "consumer": "audit"}
        registry = app.metrics.registry
        assert registry.get_sample_value("outbox_archive_gaps", labels) is None
    assert len(await place.rows()) == 2
    assert await place.root.fetchval("SELECT count(*) FROM archive.ledger") == 0


async def test_without_a_right_it_says_so(place: ArchivePlace, stream: Stream) -> None:
    database = place.url.rpartition("/")[2]
    await place.root.execute(f'REVOKE TEMPORARY ON DATABASE "{database}" FROM PUBLIC')
    async with writing(place.config) as app:
        await eventually(
            lambda: "may not make temporary tables" in app.checks["database"]()[1],
            "the reason",
        )
        await place.root.execute(f'GRANT TEMPORARY ON DATABASE "{database}" TO PUBLIC')
        await stream.emit([1])
        await stream.settled()
    assert len(await place.rows()) == 1


async def test_large_messages_are_not_asked_for_by_the_thousand(
    place: ArchivePlace, stream: Stream
) -> None:
    place.change(batch_bytes=64 * 1024)
    place.change(batch_events=2)
    sizes = [10, 900_000, 50_000, 900_000, 900_000, 10, 200_000, *[10] * 20]
    for number, size in enumerate(sizes, 1):
        await stream.publish(b"x" * size, relayed(number))
    asked: list[int | None] = []
    refusals: list[str] = []
    request = PullConsumer.request

    async def noted(self: PullConsumer, count: int, *, most_bytes: int | None = None) -> None:
        asked.append(most_bytes)
        refusals.append(self.refusal)
        await request(self, count, most_bytes=most_bytes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PullConsumer, "request", noted)
        async with writing(place.config):
            await stream.settled()
    assert set(refusals) == {""}, "what the server says at the end of each is no refusal"
    assert [row["payload_bytes"] for row in await place.rows("payload_bytes")] == sizes
    assert all(most is not None and most < 1_100_000 for most in asked)
    assert len(asked) < 100, "one request after the other, not one without an end"


async def test_a_message_larger_than_a_request_may_be_comes_alone(
    place: ArchivePlace, stream: Stream
) -> None:
    stream.durable = "narrow"
    await stream.make_narrow(most_bytes=100_000)
    place.change(durable="narrow")
    sizes = [10, 300_000, 90_000, 300_000]
    for number, size in enumerate(sizes, 1):
        await stream.publish(b"x" * size, relayed(number))
    async with writing(place.config):
        await stream.settled()
    assert [row["payload_bytes"] for row in await place.rows("payload_bytes")] == sizes
