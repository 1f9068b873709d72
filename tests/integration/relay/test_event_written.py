"""`outbox write-event`, as it runs in a pod: one event read, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.cli import event_document
from outbox_operator.wire.event import Event
from support.outbox import migrate
from support.postgres import PostgresServer
from support.redis import RedisServer
from support.redis_outbox import redis_outbox
from support.relaying import Outbox, RelayProcess

pytestmark = pytest.mark.integration

CARD = "4111-of-nobody"
KILL = """INSERT INTO outbox.dead_letters
  (position, event_id, event_type, partition_key, payload, headers, created_at, reason, error)
VALUES (nextval('outbox.events_position_seq'), gen_random_uuid(), 'placed', 'dead', '1', '{}',
  now(), 'MessageTooLarge', 'too large')"""


async def written(
    relay: RelayProcess, event: Event, *arguments: str
) -> tuple[Sequence[dict[str, Any]], str]:
    """What the command prints with a relay's configuration, and what it says is wrong."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "outbox_operator.cli.main", "write-event", *arguments],
        env={**os.environ, "OUTBOX_CONFIG": str(relay.config)},
        input=event_document.encode(event),
        capture_output=True,
        check=False,
        timeout=60,
    )
    said = done.stderr.decode()
    assert CARD.encode() not in done.stdout + done.stderr
    assert (done.returncode == 0) is (said == ""), said
    return [json.loads(line) for line in done.stdout.splitlines()], said


async def test_what_becomes_of_an_event(outbox: Outbox) -> None:
    await outbox.connection.execute(KILL)
    relay = outbox.relay()
    late = Event(type="placed", payload=None)
    assert await written(relay, late, "--wait", "0.5") == ([{"written": str(late.id)}, {}], "")
    await relay.start().ready()
    fine = Event(type="placed", payload={"card": CARD}, key="a", headers={"tenant": "b"})
    dead = Event(type="placed", payload=[CARD], key="dead", routing_key="eu.placed")
    (facts, _), (of_dead, _) = await asyncio.gather(
        written(relay, fine, "--wait", "30"), written(relay, dead, "--wait", "30")
    )
    stored = {message.event_id: message for message in await outbox.stored(2)}
    message = stored[str(fine.id)]
    assert facts == [{"written": str(fine.id)}, {"sequence": message.sequence}]
    assert json.loads(message.data) == {"card": CARD}
    assert message.headers["tenant"] == "b"
    assert of_dead == [{"written": str(dead.id)}, {"deadLetter": "KeyBlocked"}]


async def test_what_becomes_of_an_event_in_redis(
    database: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with redis_outbox(database, redis_server, tmp_path) as outbox:
        await outbox.connection.execute(KILL)
        relay, late = outbox.relay(), Event(type="placed", payload=None)
        assert await written(relay, late, "--wait", "0.5") == ([{"written": str(late.id)}, {}], "")
        await relay.start().ready()
        fine = Event(type="placed", payload={"card": CARD}, key="a")
        facts, _ = await written(relay, fine, "--wait", "30")
        assert facts == [{"written": str(fine.id)}, {"sequence": 2, "key": outbox.prefix}]
        dead = Event(type="placed", payload=1, key="dead")
        facts, _ = await written(relay, dead, "--wait", "30")
        assert facts == [{"written": str(dead.id)}, {"deadLetter": "KeyBlocked"}]


@pytest.mark.thorough
async def test_of_several_shards_in_redis_it_says_the_key(
    database: str, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with redis_outbox(database, redis_server, tmp_path, shards=2) as outbox:
        relay = outbox.relay(shards=2, subject=f"{outbox.prefix}.{{shard}}")
        await relay.start().ready()
        found = set()
        for number in range(8):
            event = Event(type="placed", payload=number, key=f"key-{number}")
            (_, place), _ = await written(relay, event, "--wait", "30")
            assert place["sequence"] > 0
            found.add(place["key"])
        assert found == set(outbox.keys(2))


async def test_who_may_write_and_who_may_not(
    outbox: Outbox, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    name = outbox.url.rpartition("/")[2]
    of_relay, of_writer = (
        postgres_server.create_role("relay"),
        postgres_server.create_role("writer"),
    )
    await migrate(outbox.url, relay_role=of_relay[0], writers=(of_writer[0],))
    event = Event(type="placed", payload={"card": CARD})
    urls = {"relay": of_relay, "writer": of_writer}
    answers = {}
    for who, (role, password) in urls.items():
        (tmp_path / who).write_text(postgres_server.url(name, role, password))
        config = outbox.relay(database={"url_file": str(tmp_path / who)})
        answers[who] = await written(config, event, "--wait", "0.1")
    assert answers["relay"][0] == [{"unwritten": str(event.id)}]
    assert "permission denied for table events" in answers["relay"][1]
    # A writer cannot see dead letters; whether it is in the stream it can.
    assert answers["writer"] == ([{"written": str(event.id)}, {}], "")
    # Nor whether it is there already, and writes nothing that may be there.
    config = outbox.relay(database={"url_file": str(tmp_path / "writer")})
    facts, said = await written(config, event, "--once")
    assert facts == [{"unwritten": str(event.id)}]
    assert f"cannot see whether event {event.id} was written already" in said
    assert await outbox.event_ids() == [str(event.id)]


async def test_a_second_try_of_what_may_be_written(outbox: Outbox) -> None:
    """The answer to COMMIT is lost, here that of one which was not carried out."""
    await outbox.connection.execute(
        """CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
           CREATE CONSTRAINT TRIGGER cut AFTER INSERT ON outbox.events
           DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION cut()"""
    )
    relay, event = outbox.relay(), Event(type="placed", payload={"card": CARD})
    facts, said = await written(relay, event)
    assert (facts, bool(said)) == ([], True)
    await outbox.connection.execute("DROP FUNCTION cut CASCADE")
    assert await written(relay, event, "--once") == ([{"written": str(event.id)}], "")
    again = await written(relay, event, "--once", "--wait", "0.1")
    assert again == ([{"there": str(event.id)}, {}], "")
    assert await outbox.event_ids() == [str(event.id)]


async def test_another_event_of_that_id_is_none_that_is_there(outbox: Outbox) -> None:
    relay, event = outbox.relay(), Event(type="placed", payload={"card": CARD}, key="a")
    assert (await written(relay, event))[0] == [{"written": str(event.id)}]
    other = Event(id=event.id, type="paid", payload={"card": 1}, key="a")
    facts, said = await written(relay, other, "--once")
    assert facts == [{"unwritten": str(event.id)}]
    assert "is there already: its type, payload is not what is to be written" in said
    assert await outbox.event_ids() == [str(event.id)]


async def test_what_was_given_up_is_not_said_to_be_published(outbox: Outbox) -> None:
    relay, event = outbox.relay(), Event(type="placed", payload=None)
    assert (await written(relay, event))[0] == [{"written": str(event.id)}]
    await outbox.connection.execute(
        """INSERT INTO outbox.dead_letters
           (position, event_id, event_type, partition_key, payload, headers, created_at, reason)
           SELECT position, event_id, event_type, partition_key, payload, headers, created_at,
                  'MessageTooLarge' FROM outbox.events;
           WITH gone AS (DELETE FROM outbox.dead_letters RETURNING position)
           INSERT INTO outbox.former_dead_letters (position, released)
           SELECT position, false FROM gone"""
    )
    await relay.start().ready()
    later = Event(type="placed", payload=None)
    assert (await written(relay, later, "--wait", "30"))[0][1].keys() == {"sequence"}
    facts, _ = await written(relay, event, "--once", "--wait", "5")
    assert facts == [{"there": str(event.id)}, {"givenUp": True}]
