"""The inbox of the consumer runtime: effects once, with a real database and real redeliveries."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import asyncpg
import pytest
from nats.aio.client import Client

from outbox_operator.adapters.postgres.inbox import InboxStore, Record
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.consumer.handlers.registry import Handlers
from outbox_operator.consumer.handlers.types import (
    Ack,
    Context,
    DeadLetter,
    ReceivedEvent,
    RetryAfter,
)
from outbox_operator.wire.config import ConsumerConfig, InboxConfig
from support.consuming import Endpoint, Source, calling, consuming, metric, readiness
from support.nats import make_stream
from support.outbox import migrate_inbox
from support.ports import free_port
from support.postgres import PostgresServer, running_server
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

Mode = Literal["PerEvent", "PerShard"]


@dataclass(frozen=True)
class Billing:
    """The handler's database, with a table that shows every effect."""

    url: str
    url_file: Path
    owner: asyncpg.Connection[asyncpg.Record]

    async def effects(self) -> list[str]:
        """Event types in the order of their committed effects."""
        rows = await self.owner.fetch("SELECT event_type FROM effects ORDER BY number")
        return [row["event_type"] for row in rows]

    def config(self, config: ConsumerConfig, mode: Mode = "PerEvent") -> ConsumerConfig:
        """With an inbox in this database."""
        return replace(config, inbox=InboxConfig(url_file=str(self.url_file), mode=mode))

    async def position(self) -> int:
        """How far the one shard is handled."""
        reached: int = await self.owner.fetchval("SELECT emission FROM outbox.consumer_positions")
        return reached


async def prepare(url: str, folder: Path, role_url: str | None = None, role: str = "") -> Billing:
    """Create what a handler needs in an empty database."""
    await migrate_inbox(url, consumer_role=role or None)
    owner = await asyncpg.connect(url)
    await owner.execute("CREATE TABLE effects (number bigserial, event_type text)")
    if role:
        await owner.execute(f"GRANT ALL ON effects, effects_number_seq TO {role}")
    url_file = folder / "url"
    url_file.write_text((role_url or url) + "\n")
    return Billing(url, url_file, owner)


@pytest.fixture
async def billing(
    postgres_server: PostgresServer, database: str, tmp_path: Path
) -> AsyncIterator[Billing]:
    """The handler logs in with the rights that the operator grants, and its own."""
    role, password = postgres_server.create_role("billing")
    url = postgres_server.url(database.rpartition("/")[2], role, password)
    billing = await prepare(database, tmp_path, url, role)
    yield billing
    await billing.owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    await billing.owner.close()


async def write_effect(event: ReceivedEvent, context: Context) -> None:
    """A handler that writes in the transaction of the inbox."""
    await context.connection.execute("INSERT INTO effects (event_type) VALUES ($1)", event.type)


async def test_effect_and_record_commit_together(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    source = await Source.create(client, stream_prefix)
    event_id = await source.publish({"total": 3})
    async with consuming(billing.config(source.python()), calling(write_effect)) as app:
        await source.settled(1)
        assert (await readiness(app))[0] == 200
    assert await billing.effects() == ["order.created"]
    [row] = await billing.owner.fetch("SELECT * FROM outbox.consumer_inbox")
    assert str(row["event_id"]) == event_id
    assert row["consumer_name"] == "shop/billing"
    assert row["source_topic"] == f"{stream_prefix}.evt.order.created"
    assert row["payload"] == b'{"total": 3}'
    assert row["processing_duration_ms"] >= 0
    assert (
        app.metrics.registry.get_sample_value(
            "consumer_inbox_processed_total",
            {"consumer_name": "billing", "event_type": "order.created"},
        )
        == 1
    )


async def test_a_duplicate_is_acknowledged_without_the_handler(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    source = await Source.create(client, stream_prefix)
    event_id = await source.publish()
    await source.publish(id=event_id)
    async with consuming(billing.config(source.python()), calling(write_effect)) as app:
        await source.settled(2)
    assert await billing.effects() == ["order.created"]
    assert metric(app, "outbox_consumer_duplicates_total") == 1


async def test_nothing_stays_of_a_handling_that_did_not_succeed(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=2)

    async def handle(event: ReceivedEvent, context: Context) -> RetryAfter | DeadLetter | Ack:
        await write_effect(event, context)
        match event.type:
            case "raises":
                raise ValueError("no")
            case "retries":
                return RetryAfter()
            case "refuses":
                return DeadLetter("no")
            case "swallows":
                try:
                    await context.connection.execute("SELECT 1/0")
                except asyncpg.DivisionByZeroError:
                    return Ack()  # the transaction is broken all the same
        return Ack()

    for kind in ("raises", "retries", "refuses", "swallows", "succeeds"):
        await source.publish(type=kind)
    async with consuming(billing.config(source.python()), calling(handle)):
        await source.settled(5)
    assert await billing.effects() == ["succeeds"]
    assert await billing.owner.fetchval("SELECT count(*) FROM outbox.consumer_inbox") == 1
    letters = {
        (letter.headers or {})["Ce-Type"]: (letter.headers or {})["Outbox-Dead-Letter-Error"]
        for letter in await source.dead_letters()
    }
    assert set(letters) == {"raises", "retries", "refuses", "swallows"}
    assert "refused to commit what the handler wrote" in letters["swallows"]


async def test_handlers_may_use_savepoints(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    source = await Source.create(client, stream_prefix)

    async def handle(event: ReceivedEvent, context: Context) -> None:
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with context.connection.transaction():
                await context.connection.execute("SELECT 1/0")
        await write_effect(event, context)

    await source.publish()
    async with consuming(billing.config(source.python()), calling(handle)):
        await source.settled(1)
    assert await billing.effects() == ["order.created"]


async def test_takes_effect_once_though_answers_are_lost_and_redelivered(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    """Two pods, a short ackWait without beats in time: the same event is in hand twice."""
    source = await Source.create(client, stream_prefix, concurrency=8)
    config = billing.config(source.python())
    other = replace(config, health_port=0)

    async def slow(event: ReceivedEvent, context: Context) -> None:
        await write_effect(event, context)
        await asyncio.sleep(1.0)

    sent = [f"kind-{number}" for number in range(10)]
    async with (
        consuming(config, calling(slow)) as one,
        consuming(other, calling(slow)) as two,
    ):
        apps = (one, two)

        async def both_ask() -> bool:
            found = await client.jetstream().consumer_info(stream_prefix, "billing")
            return (found.num_waiting or 0) >= len(apps)

        await eventually(both_ask, "both have read what the durable consumer is like")
        # Shorter than the pods found it when they began, so that their beats come too late.
        await source.create_durable(ack_wait=400_000_000)
        for kind in sent:
            await source.publish(type=kind)
        await source.settled(10)
    assert sum(metric(app, "outbox_consumer_redeliveries_total") for app in apps) > 0
    assert sorted(await billing.effects()) == sent


async def test_http_handlers_are_spared_duplicates_too(
    client: Client, stream_prefix: str, billing: Billing, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix)
    event_id = await source.publish()
    await source.publish(id=event_id)
    async with consuming(billing.config(source.http(endpoint))):
        await source.settled(2)
    assert endpoint.ids() == [event_id]


async def test_with_the_database_away_nothing_is_acknowledged_and_all_goes_on_later(
    client: Client, stream_prefix: str, tmp_path: Path
) -> None:
    with running_server() as server:
        billing = await prepare(server.url(), tmp_path)
        source = await Source.create(client, stream_prefix, max_deliver=1)
        config = billing.config(source.python())
        async with consuming(config, calling(write_effect)) as app:
            await source.publish(type="before")
            await source.settled(1)
            await billing.owner.close()
            server.kill()
            await source.publish(type="during")
            await eventually(
                lambda: metric(
                    app, "outbox_consumer_unavailable_total", reason="PostgresUnreachable"
                ),
                "the event waits",
            )
            assert (await source.info()).ack_floor.stream_seq == 1
            server.start()
            await source.settled(2)
        assert await source.dead_letters() == []
        billing = replace(billing, owner=await asyncpg.connect(server.url()))
        assert await billing.effects() == ["before", "during"]
        await billing.owner.close()


async def test_a_database_that_dies_during_handling_costs_nothing(
    client: Client, stream_prefix: str, tmp_path: Path
) -> None:
    with running_server() as server:
        billing = await prepare(server.url(), tmp_path)
        await billing.owner.close()
        source = await Source.create(client, stream_prefix, max_deliver=1)
        arrived, go_on = asyncio.Event(), asyncio.Event()

        async def handle(event: ReceivedEvent, context: Context) -> None:
            await write_effect(event, context)
            arrived.set()
            await go_on.wait()
            await write_effect(event, context)

        await source.publish()
        async with consuming(billing.config(source.python()), calling(handle)):
            await asyncio.wait_for(arrived.wait(), SECONDS)
            server.kill()
            server.start()
            go_on.set()
            await source.settled(1)
        assert await source.dead_letters() == []
        owner = await asyncpg.connect(server.url())
        assert await owner.fetchval("SELECT count(*) FROM effects") == 2
        await owner.close()


async def test_without_its_table_the_consumer_is_not_ready_and_says_so(
    client: Client, stream_prefix: str, database: str, tmp_path: Path
) -> None:
    source = await Source.create(client, stream_prefix)
    url_file = tmp_path / "url"
    url_file.write_text(database)
    config = replace(source.python(), inbox=InboxConfig(url_file=str(url_file)))
    await source.publish()
    seen: list[str] = []

    async def note(event: ReceivedEvent, context: Context) -> None:
        seen.append(event.id)

    async with consuming(config, calling(note)) as app:

        async def reported() -> bool:
            status, checks = await readiness(app)
            return status == 503 and "consumer_inbox" in checks["inbox"]["reason"]

        await eventually(reported, "reason on /readyz")
        assert seen == []
        await migrate_inbox(database)
        await source.settled(1)


async def test_consumers_of_one_name_in_two_namespaces_share_a_database(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    source = await Source.create(client, stream_prefix)
    await source.publish()
    for namespace in ("shop", "test"):
        await client.jetstream().delete_consumer(stream_prefix, "billing")
        await source.create_durable()
        config = replace(billing.config(source.python()), namespace=namespace)
        async with consuming(config, calling(write_effect)):
            await source.settled(1)
    assert await billing.effects() == ["order.created"] * 2


async def test_a_batch_is_one_transaction_and_duplicates_are_not_in_it(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=1)
    app = Handlers()
    batches: list[list[str]] = []

    @app.batch("kind.>", size=50)
    async def handle(events: list[ReceivedEvent], context: Context) -> list[DeadLetter | None]:
        batches.append([event.type for event in events])
        for event in events:
            await write_effect(event, context)
        return [DeadLetter("no") if event.data == b'"bad"' else None for event in events]

    ids = [await source.publish(f"n{number}", type="kind.good") for number in range(20)]
    await source.publish("twice", type="kind.good", id=ids[0])
    await source.publish("bad", type="kind.good")
    async with consuming(billing.config(source.python()), calling(app)):
        await source.settled(22)
    assert await billing.effects() == ["kind.good"] * 20
    # How many come together is up to the servers.
    assert 1 < max(len(batch) for batch in batches) <= 21
    [letter] = await source.dead_letters()
    assert letter.data == b'"bad"'


async def publish_emissions(source: Source, numbers: range, **more: str) -> None:
    """Events as a relay writes them, with the numbers of one shard."""
    for number in numbers:
        headers = {"Outbox-Shard": "0", "Outbox-Emission": str(number), **more}
        await source.publish(type=f"kind-{number}", **headers)


async def by_shard(client: Client, prefix: str, **settings: int) -> Source:
    source = await Source.create(client, prefix, **settings)
    await source.create_ordered()
    return source


async def test_a_shard_is_remembered_in_one_row_and_handled_in_order(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    source = await by_shard(client, stream_prefix)
    await publish_emissions(source, range(1, 101))
    async with consuming(billing.config(source.python(), "PerShard"), calling(write_effect)) as app:
        await source.settled(100)
        # The same events again, as if the answers had been lost.
        await client.jetstream().delete_consumer(stream_prefix, "billing")
        await source.create_durable()
        await source.settled(100)
    assert await billing.effects() == [f"kind-{number}" for number in range(1, 101)]
    assert await billing.position() == 100
    assert await billing.owner.fetchval("SELECT count(*) FROM outbox.consumer_inbox") == 0
    assert metric(app, "outbox_consumer_duplicates_total") == 100


async def test_a_failing_event_of_a_shard_holds_up_only_what_follows(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    source = await by_shard(client, stream_prefix, max_deliver=3)
    tries: dict[str, int] = {}

    async def handle(event: ReceivedEvent, context: Context) -> None:
        await write_effect(event, context)
        tries[event.type] = tries.get(event.type, 0) + 1
        if event.type == "kind-5" and context.deliveries < 3:
            raise ValueError("not yet")
        if event.type == "kind-7":
            raise DeadLetter("never")

    await publish_emissions(source, range(1, 11))
    async with consuming(billing.config(source.python(), "PerShard"), calling(handle)):
        await source.settled(10)
    assert await billing.effects() == [f"kind-{n}" for n in range(1, 11) if n != 7]
    assert [(one.headers or {})["Ce-Type"] for one in await source.dead_letters()] == ["kind-7"]
    assert await billing.position() == 10


async def test_an_outbox_made_anew_is_not_mistaken_for_duplicates(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    source = await by_shard(client, stream_prefix)
    async with consuming(billing.config(source.python(), "PerShard"), calling(write_effect)):
        await publish_emissions(source, range(1, 11))
        await source.settled(10)
        await publish_emissions(source, range(1, 4))
        await source.settled(13)
        await source.publish(type="from-somebody-else")
        await source.settled(14)
    assert await billing.effects() == [
        *(f"kind-{n}" for n in range(1, 11)), "kind-1", "kind-2", "kind-3", "from-somebody-else",
    ]  # fmt: skip


async def test_what_lies_behind_the_mark_of_a_transaction_under_way_is_no_duplicate(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    """All of it is in the stream before the consumer begins, so that it comes in one go."""
    source = await by_shard(client, stream_prefix)
    await publish_emissions(source, range(1, 101))
    await publish_emissions(source, range(1, 51))
    async with consuming(billing.config(source.python(), "PerShard"), calling(write_effect)) as app:
        await source.settled(150)
    assert len(await billing.effects()) == 150
    assert metric(app, "outbox_consumer_duplicates_total") == 0


@pytest.mark.parametrize("forged", [str(2**63 - 1), str(2**63), "9" * 5000, "-1", "0", "no", "٣"])
async def test_a_forged_number_costs_nobody_anything(
    forged: str, client: Client, stream_prefix: str, billing: Billing
) -> None:
    source = await by_shard(client, stream_prefix)
    await publish_emissions(source, range(1, 31))
    await source.publish(type="forged", **{"Outbox-Shard": "0", "Outbox-Emission": forged})
    await source.publish(type="unplaced", **{"Outbox-Emission": "7"})
    await publish_emissions(source, range(31, 61))
    async with consuming(billing.config(source.python(), "PerShard"), calling(write_effect)):
        await source.settled(62)
        await publish_emissions(source, range(61, 71))
        await source.settled(72)
    effects = await billing.effects()
    assert sorted(effects) == sorted([*(f"kind-{n}" for n in range(1, 71)), "forged", "unplaced"])


async def test_a_stream_made_anew_is_handled_from_its_first_message(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    source = await by_shard(client, stream_prefix)
    config = billing.config(source.python(), "PerShard")
    await publish_emissions(source, range(1, 21))
    async with consuming(config, calling(write_effect)):
        await source.settled(20)
    js = client.jetstream()
    await js.delete_stream(stream_prefix)
    await make_stream(client, name=stream_prefix, subjects=[f"{stream_prefix}.evt.>"])
    await source.create_durable(
        priority_policy="pinned_client", priority_groups=["outbox"], priority_timeout=1_000_000_000
    )
    await publish_emissions(source, range(11, 31))  # the relay goes on, from what is kept
    async with consuming(config, calling(write_effect)):
        await source.settled(20)
    assert sorted(await billing.effects()) == sorted(
        f"kind-{n}" for n in [*range(1, 21), *range(11, 31)]
    )


async def test_what_a_consumer_was_not_given_before_is_no_duplicate(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    """Made with deliverPolicy New and a filter, then again to have it all."""
    source = await by_shard(client, stream_prefix)
    js = client.jetstream()
    config = billing.config(source.python(), "PerShard")
    ordered = {
        "priority_policy": "pinned_client",
        "priority_groups": ["outbox"],
        "priority_timeout": 1_000_000_000,
    }
    await publish_emissions(source, range(1, 6))
    await js.delete_consumer(stream_prefix, "billing")
    await source.create_durable(
        **ordered, deliver_policy="new", filter_subject=f"{stream_prefix}.evt.kind-7"
    )
    await publish_emissions(source, range(6, 9))
    async with consuming(config, calling(write_effect)):
        await source.settled(7)
    assert await billing.effects() == ["kind-7"]
    await js.delete_consumer(stream_prefix, "billing")
    await source.create_durable(**ordered)
    async with consuming(config, calling(write_effect)) as app:
        await source.settled(8)
        assert metric(app, "outbox_consumer_duplicates_total") == 1
    assert sorted(await billing.effects()) == [f"kind-{n}" for n in range(1, 9)]


async def test_several_readers_of_a_shard_lose_nothing(
    client: Client, stream_prefix: str, billing: Billing
) -> None:
    """A durable consumer made by hand, that nobody told of one reader."""
    source = await Source.create(client, stream_prefix, max_deliver=3)
    config = billing.config(source.python(), "PerShard")
    failed: set[str] = set()

    async def handle(event: ReceivedEvent, context: Context) -> None:
        await write_effect(event, context)
        if event.type.endswith("0") and event.type not in failed:
            failed.add(event.type)
            raise ValueError("not yet")

    await publish_emissions(source, range(1, 101))
    other = replace(config, health_port=free_port())
    async with consuming(config, calling(handle)), consuming(other, calling(handle)):
        await source.settled(100)
    assert sorted(await billing.effects()) == sorted(f"kind-{n}" for n in range(1, 101))


async def test_a_session_is_handed_on_as_it_was_made(billing: Billing) -> None:
    """What a handler sets is gone, and our own timeouts are not."""
    store = InboxStore(
        parse_url(billing.url), consumer_name="shop/billing", schema="outbox",
        mode="PerEvent", size=1,
    )  # fmt: skip
    seen: list[dict[str, str]] = []

    async def look(connection: Any, new: object) -> bool:
        names = ("statement_timeout", "tcp_user_timeout", "work_mem")
        seen.append({name: await connection.fetchval(f"SHOW {name}") for name in names})
        await connection.execute("SET work_mem = '1MB'; SET statement_timeout = 0")
        return True

    for _ in range(2):
        record = Record(
            event_id=uuid.uuid4(), source_topic="s", event_type="t", payload=b"", source="/s",
            shard=None, emission=None, stored=dt.datetime.now(dt.UTC),
        )  # fmt: skip
        assert await store.process([record], look)
    await store.close()
    assert seen[0] == seen[1]
    assert seen[0]["statement_timeout"] == "5min"


async def test_a_known_event_is_found_within_milliseconds(
    billing: Billing, postgres_server: PostgresServer
) -> None:
    store = InboxStore(
        parse_url(billing.url), consumer_name="shop/billing", schema="outbox",
        mode="PerEvent", size=1,
    )  # fmt: skip
    await billing.owner.execute(
        "INSERT INTO outbox.consumer_inbox (consumer_name, event_id, source_topic, event_type) "
        "SELECT 'shop/billing', gen_random_uuid(), 's', 't' FROM generate_series(1, 20000)"
    )
    ids = await billing.owner.fetch("SELECT event_id FROM outbox.consumer_inbox LIMIT 200")

    async def never(connection: object, new: object) -> bool:
        raise AssertionError("it is known")

    seconds: list[float] = []
    for row in ids:
        record = Record(
            event_id=row["event_id"], source_topic="s", event_type="t", payload=b"", source="/s",
            shard=None, emission=None, stored=dt.datetime.now(dt.UTC),
        )  # fmt: skip
        started = time.perf_counter()
        assert await store.process([record], never)
        seconds.append(time.perf_counter() - started)
    await store.close()
    # The check is one of three statements of this and walks an index. A bound of
    # reason, far off on any machine that had a moment for one of them; what it takes is measured
    # by the benchmarks.
    assert min(seconds) < 0.010
