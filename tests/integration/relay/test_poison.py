"""An event that can never be published is dealt with as the policy says; the others flow."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from outbox_operator.adapters.postgres.queries import statement
from support.nats import NatsServer
from support.outbox import without_checks
from support.relaying import WITH_IDS, Outbox, RelayProcess, an_outbox, check_delivery
from support.waiting import eventually

pytestmark = pytest.mark.integration

TOO_LARGE = "x" * 1_100_000  # a server takes 1 MiB unless told otherwise


async def add_mixture(outbox: Outbox) -> dict[str, str]:
    """Events of two keys and none, with a poisonous one of key `a` in between."""
    return {
        "a1": await outbox.add("a"),
        "bad": await outbox.add("a", value=TOO_LARGE),
        "a2": await outbox.add("a"),
        "b1": await outbox.add("b"),
        "none": await outbox.add(""),
    }


async def published(relay: RelayProcess, count: int) -> None:
    await eventually(
        lambda: relay.metric("published_total") >= count, f"{count} published", relay=relay
    )


async def test_block_key_parks_the_key_and_lets_others_pass(outbox: Outbox) -> None:
    ids = await add_mixture(outbox)
    relay = outbox.relay().start()
    await outbox.published(3)
    ids["a3"] = await outbox.add("a")
    ids["b2"] = await outbox.add("b")
    stored = await outbox.stored(4)
    await outbox.idle(relay)
    check_delivery(stored, [ids[name] for name in ("a1", "b1", "none", "b2")])
    dead = [
        (str(row["event_id"]), row["reason"], row["blocked"]) for row in await outbox.dead_letters()
    ]
    assert dead == [
        (ids["bad"], "MessageTooLarge", False),
        (ids["a2"], "KeyBlocked", True),
        (ids["a3"], "KeyBlocked", True),
    ]
    assert relay.metric("poison_total", reason="MessageTooLarge") == 1
    assert relay.metric("poison_total", reason="KeyBlocked") == 2
    await relay.ready()


async def test_a_dead_letter_is_a_whole_copy(outbox: Outbox) -> None:
    await outbox.add("a", value=TOO_LARGE, headers='{"tenant": "x"}', routing_key="eu.created")
    relay = outbox.relay().start()
    await eventually(lambda: relay.metric("poison_total", reason="MessageTooLarge"), "poison found")
    same = await outbox.connection.fetchval(
        "SELECT (e.event_id, e.event_type, e.partition_key, e.routing_key, e.payload, e.headers, "
        "e.created_at) = (d.event_id, d.event_type, d.partition_key, d.routing_key, d.payload, "
        "d.headers, d.created_at) FROM outbox.events e JOIN outbox.dead_letters d USING (position)"
    )
    assert same is True
    (row,) = await outbox.dead_letters()
    assert "1048576" in row["error"]
    assert str(row["event_id"]) in row["error"]


async def test_resolving_the_dead_letters_unblocks_the_key_without_a_restart(
    outbox: Outbox,
) -> None:
    await outbox.add("a", value=TOO_LARGE)
    relay = outbox.relay().start()
    await eventually(lambda: relay.metric("poison_total", reason="MessageTooLarge"), "poison found")
    parked = await outbox.add("a")
    await eventually(lambda: relay.metric("poison_total", reason="KeyBlocked"), "key is blocked")
    async with outbox.connection.transaction():
        await outbox.connection.execute("DELETE FROM outbox.dead_letters")
        freed = await outbox.add("a")
    (message,) = await outbox.stored(1)
    assert message.event_id == freed != parked


@pytest.mark.parametrize("policy", ["Skip", "Halt"])
async def test_a_released_event_is_no_second_row_with_its_id(outbox: Outbox, policy: str) -> None:
    """Written again with its id, as a dead letter that is released (FD-A6)."""
    await outbox.update_stream(**WITH_IDS)
    relay = await outbox.relay(on_poison=policy).start().active()
    event = await outbox.add("k", headers="[]")
    if policy == "Halt":
        await eventually(lambda: "progress" in relay.failing(), "halted")
    else:
        await eventually(outbox.dead_letters, "a dead letter")
    table = "events" if policy == "Halt" else "dead_letters"
    await outbox.connection.execute(
        f"WITH released AS (DELETE FROM outbox.{table} RETURNING *) "
        "INSERT INTO outbox.events (event_id, event_type, partition_key, payload) "
        "SELECT event_id, event_type, partition_key, payload FROM released"
    )
    (message,) = await outbox.stored(1)
    assert (message.headers["Nats-Msg-Id"], message.event_id) == (event, event)
    await outbox.idle(relay)
    assert relay.metric("repeated_ids_total") == 0


async def test_a_blocked_key_stays_blocked_over_a_restart(outbox: Outbox) -> None:
    await outbox.add("a", value=TOO_LARGE)
    relay = outbox.relay().start()
    await eventually(lambda: relay.metric("poison_total", reason="MessageTooLarge"), "poison found")
    relay.kill()
    await outbox.add("a")
    other = await outbox.add("b")
    relay.start()
    (message,) = await outbox.stored(1)
    assert message.event_id == other
    await outbox.idle(relay)
    assert [row["blocked"] for row in await outbox.dead_letters()] == [False, True]


async def test_skip_parks_the_event_alone(outbox: Outbox) -> None:
    ids = await add_mixture(outbox)
    relay = outbox.relay(on_poison="Skip").start()
    stored = await outbox.stored(4)
    await outbox.idle(relay)
    check_delivery(stored, [ids[name] for name in ("a1", "a2", "b1", "none")])
    assert [str(row["event_id"]) for row in await outbox.dead_letters()] == [ids["bad"]]


async def test_halt_stops_shows_why_and_goes_on_once_healed(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, nats_server, tmp_path, max_msg_size=20_000) as outbox:
        first = await outbox.add("a")
        large = await outbox.add("a", value="x" * 50_000)
        last = await outbox.add("b")
        relay = outbox.relay(on_poison="Halt").start()
        await outbox.published(1)
        await eventually(lambda: "progress" in relay.failing(), "halted")
        assert large in relay.failing()["progress"]
        assert relay.metric("halted") == 1
        assert await outbox.dead_letters() == []
        assert await outbox.count() == 1
        await outbox.update_stream(max_msg_size=-1)
        check_delivery(await outbox.stored(3), [first, large, last])
        await relay.ready()
        assert relay.metric("halted") == 0


async def test_a_halted_relay_stops_when_asked(outbox: Outbox) -> None:
    await outbox.add("a", value=TOO_LARGE)
    relay = outbox.relay(on_poison="Halt").start()
    await eventually(lambda: relay.metric("halted") == 1, "halted")
    assert relay.terminate() == 0
    assert await outbox.dead_letters() == []


async def test_subjects_outside_the_stream_are_poison_until_the_stream_takes_them(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, nats_server, tmp_path) as outbox:
        await outbox.update_stream(subjects=[f"{outbox.prefix}.order.>"])
        relay = outbox.relay(on_poison="Skip").start()
        await outbox.add("a", event_type="order.created")
        await outbox.add("a", event_type="user.created")
        await eventually(
            lambda: relay.metric("poison_total", reason="SubjectNotInStream"), "poison found"
        )
        # What the relay knows of the stream is old by now; it must ask before giving up.
        await outbox.update_stream(subjects=[f"{outbox.prefix}.>"])
        await outbox.add("a", event_type="user.deleted")
        stored = await outbox.stored(2)
        await outbox.idle(relay)
        assert [m.headers["Ce-Type"] for m in stored] == ["order.created", "user.deleted"]
        assert len(await outbox.dead_letters()) == 1


async def test_a_limit_lowered_behind_our_back_is_found_out(outbox: Outbox) -> None:
    relay = outbox.relay(on_poison="Skip").start()
    await outbox.add("a")
    await outbox.published(1)
    await outbox.update_stream(max_msg_size=2_000)
    ids = [await outbox.add("a", value=value) for value in ("s", "x" * 5_000, "t")]
    stored = await outbox.stored(3)
    assert [message.event_id for message in stored[1:]] == [ids[0], ids[2]]
    await outbox.idle(relay)
    (row,) = await outbox.dead_letters()
    assert str(row["event_id"]) == ids[1]
    assert relay.metric("poison_total", reason=row["reason"]) == 1


async def test_a_stream_for_other_subjects_makes_no_dead_letters(outbox: Outbox) -> None:
    event = await outbox.add("a")
    await outbox.update_stream(subjects=[f"{outbox.prefix}-else.>"])
    relay = outbox.relay().start()
    await eventually(lambda: "stream" in relay.failing(), "not ready")
    assert "no event could be published" in relay.failing()["stream"]
    assert await outbox.dead_letters() == []
    await outbox.update_stream(subjects=[f"{outbox.prefix}.>"])
    (message,) = await outbox.stored(1)
    assert message.event_id == event


@pytest.mark.parametrize("headers", ['{"n": 1}', '{"Nats-Rollup": "all"}', "[]"])
async def test_malformed_headers_are_poison(outbox: Outbox, headers: str) -> None:
    await outbox.add("a", headers=headers)
    good = await outbox.add("b")
    relay = outbox.relay().start()
    (message,) = await outbox.stored(1)
    assert message.event_id == good
    await outbox.idle(relay)
    (row,) = await outbox.dead_letters()
    assert row["reason"] == "InvalidHeaders"


async def test_a_giant_is_not_even_fetched(
    database: str, nats_server: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, nats_server, tmp_path, payload_type="bytea") as outbox:
        giant = await outbox.connection.fetchval(
            "INSERT INTO outbox.events (event_type, partition_key, payload) "
            "SELECT 'created', 'a', convert_to(repeat('x', 150000000), 'UTF8') RETURNING event_id"
        )
        good = await outbox.add("b", value=b"x")
        relay = outbox.relay().start()
        (message,) = await outbox.stored(1)
        assert message.event_id == good
        await outbox.idle(relay)
        (row,) = await outbox.dead_letters()
        assert (row["event_id"], row["reason"]) == (giant, "MessageTooLarge")
        assert relay.peak_kilobytes() < 128 * 1024


NESTED = '{"x": ' * 3000 + "1" + "}" * 3000


UNREADABLE = {
    "status": '{"Status": "404"}',
    "description": '{"description": "x"}',
    "number": '{"x": 1e5000}',
    "nested": NESTED,
    "long": json.dumps({"x": "y" * 70_000}),
    "number in a list": '{"x": [1e4300]}',
    "list": "[]",
    "text": '"text"',
}


@pytest.mark.parametrize("policy", ["BlockKey", "Skip"])
@pytest.mark.parametrize("headers", UNREADABLE.values(), ids=UNREADABLE)
async def test_headers_that_cannot_be_read_are_the_poison_of_their_row(
    outbox: Outbox, policy: str, headers: str
) -> None:
    """Whatever goes wrong with a row is about that row; everybody else's events go on."""
    relay = await outbox.relay(on_poison=policy).start().active()
    before = [await outbox.add("other", value=1)]
    await outbox.add("bad", value=2, headers=headers)
    after = [await outbox.add("other", value=3)]
    await outbox.idle(relay)
    assert [message.event_id for message in await outbox.stored(2)] == before + after
    [letter] = await outbox.dead_letters()
    assert letter["reason"] in ("Unreadable", "InvalidHeaders", "HeadersTooLarge")
    assert len(letter["error"]) < 1000
    assert relay.failing() == {}


LONG_KEYS = {"narrow": (range(0x21, 0x7F), 3000), "wide": (range(0x4E00, 0x9000), 1000)}


@pytest.mark.parametrize(("letters", "length"), LONG_KEYS.values(), ids=LONG_KEYS)
async def test_a_long_key_can_be_buried_and_unblocked(
    outbox: Outbox, letters: range, length: int
) -> None:
    """An index takes 2,704 bytes; what cannot be buried would stop its shard."""
    key = "".join(map(chr, random.Random(1).choices(letters, k=length)))
    await without_checks(outbox.connection)
    await outbox.add(key, headers="[]")
    relay = outbox.relay().start()
    good = await outbox.add("b")
    assert [message.event_id for message in await outbox.stored(1)] == [good]
    await outbox.add(key)
    await outbox.idle(relay)
    assert [row["blocked"] for row in await outbox.dead_letters()] == [False, True]
    assert [row["partition_key"] for row in await outbox.dead_letters()] == [key, key]
    await outbox.connection.execute("DELETE FROM outbox.dead_letters")
    freed = await outbox.add(key)
    assert [message.event_id for message in await outbox.stored(2)][1:] == [freed]


async def test_blocked_keys_are_found_by_the_index(outbox: Outbox) -> None:
    await outbox.connection.execute(
        "INSERT INTO outbox.dead_letters (position, event_id, event_type, partition_key, payload,"
        " headers, created_at, reason) SELECT n, gen_random_uuid(), 'a', 'key' || n, '{}', '{}',"
        " now(), 'test' FROM generate_series(1, 20000) n"
    )
    await outbox.connection.execute("ANALYZE outbox.dead_letters")
    lines = await outbox.connection.fetch(
        "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, COSTS OFF) "
        + statement("relay_blocked_of", schema="outbox"),
        0,
        ["key7", "none"],
    )
    plan = "\n".join(line[0] for line in lines)
    assert "dead_letters_key_idx" in plan, plan
    assert "Seq Scan" not in plan, plan
