"""Dead letters of a stream: what the server gave up on is kept, and can be released."""

from __future__ import annotations

import asyncio
import json

import pytest
from nats.aio.client import Client

from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.dead_letters import DeadLetters, Letter
from outbox_operator.errors import NatsError
from outbox_operator.wire.dead_letters import advisory_subjects
from support.nats import NatsServer, connected
from support.waiting import eventually

pytestmark = pytest.mark.integration


async def given_up(client: Client, prefix: str) -> None:
    """Three messages for a program that reads by itself: one it ends, one it never answers."""
    js = client.jetstream()
    await js.add_stream(name=prefix, subjects=[f"{prefix}.evt.>"])
    await js.add_stream(
        name=f"{prefix}-dead",
        subjects=[f"{prefix}.dead.>", *advisory_subjects(prefix)],
    )
    config = {
        "durable_name": "search", "ack_policy": "explicit", "max_deliver": 1,
        "ack_wait": 200_000_000,
    }  # fmt: skip
    await client.request(
        f"$JS.API.CONSUMER.CREATE.{prefix}.search",
        json.dumps({"stream_name": prefix, "config": config}).encode(),
    )
    for number in range(3):
        await js.publish(
            f"{prefix}.evt.order", b"%d" % number,
            headers={
                "Ce-Id": f"e{number}", "Ce-Type": "order", "tenant": "a", "Outbox-Emission": "1",
            },
        )  # fmt: skip
    reader = await js.pull_subscribe_bind("search", prefix)
    fine, ended, _ = await reader.fetch(3)
    await fine.ack()
    await client.publish(ended.reply, b"+TERM no such product")

    async def told() -> bool:
        # The server looks for the next message to deliver, and finds that one is beyond its limit.
        await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{prefix}.search", b"1", client.new_inbox())
        return bool((await js.stream_info(f"{prefix}-dead")).state.messages == 2)

    await eventually(told, "both advisories are stored")


async def listed(letters: DeadLetters, **filters: str) -> list[Letter]:
    return [letter async for letter in letters.letters(**filters)]


async def test_what_the_server_gave_up_on_is_collected_once(
    nats_server: NatsServer, stream_prefix: str
) -> None:
    async with connected(nats_server) as client:
        await given_up(client, stream_prefix)
        letters = DeadLetters(client, nats_server.auth, f"{stream_prefix}-dead")
        assert await listed(letters) == []
        assert await letters.collect(stream_prefix, "search", f"{stream_prefix}.dead") == 2
        assert await letters.collect(stream_prefix, "search", f"{stream_prefix}.dead") == 0
        found = {letter.event_id: letter for letter in await listed(letters)}
        assert {(one.event_id, one.reason, one.error) for one in found.values()} == {
            ("e1", "Terminated", "no such product"),
            ("e2", "MaxDeliver", "not acknowledged"),
        }
        letter = found["e1"]
        assert (letter.consumer, letter.stream, letter.deliveries) == ("search", stream_prefix, 1)
        assert (letter.data, letter.headers["tenant"]) == (b"1", "a")
        assert await letters.show(letter.sequence) == letter
        state = (await client.jetstream().stream_info(f"{stream_prefix}-dead")).state
        assert state.messages == 2, "the advisories are gone"


FORGED = [
    b"", b"x", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"stream_seq": "a"}', b'{"stream_seq": 0}',
    b'{"stream_seq": -1}', b'{"stream_seq": true}', b'{"stream_seq": null}',
    b'{"stream_seq": 1, "deliveries": "x"}', b'{"stream_seq": 1, "deliveries": null}',
    b'{"stream_seq": %d}' % 2**64,
]  # fmt: skip


async def test_what_is_no_advisory_holds_up_none(
    nats_server: NatsServer, stream_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In an account without permissions anybody may publish there."""
    async with connected(nats_server) as client:
        js = client.jetstream()
        await given_up(client, stream_prefix)
        on = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{stream_prefix}.search"
        for body in FORGED:
            await js.publish(on, body)
        said = {
            "stream_seq": 1,
            "type": "terminated",
            "reason": "a\r\nOutbox-X: b \ud800",
            "n": [1],
        }
        await js.publish(on, json.dumps(said).encode())
        letters = DeadLetters(client, nats_server.auth, f"{stream_prefix}-dead")
        assert await letters.collect(stream_prefix, "search", f"{stream_prefix}.dead") == 3
        assert {letter.event_id for letter in await listed(letters)} == {"e0", "e1", "e2"}
        told = {letter.event_id: letter.error for letter in await listed(letters)}
        assert told["e0"] == r"a Outbox-X: b \ud800"
        state = (await js.stream_info(f"{stream_prefix}-dead")).state
        assert state.messages == 3
    assert caplog.text.count("is no advisory, and removed") == len(FORGED)


async def test_letters_are_filtered_replayed_and_purged(
    nats_server: NatsServer, stream_prefix: str
) -> None:
    async with connected(nats_server) as client:
        js = client.jetstream()
        await given_up(client, stream_prefix)
        letters = DeadLetters(client, nats_server.auth, f"{stream_prefix}-dead")
        await letters.collect(stream_prefix, "search", f"{stream_prefix}.dead")
        assert await listed(letters, consumer="other") == []
        assert await listed(letters, event_type="other") == []
        first, second = await listed(letters, consumer="search", event_type="order")
        await letters.replay(first)
        again = await js.get_msg(stream_prefix, 4)
        assert (again.subject, again.data) == (f"{stream_prefix}.evt.order", first.data)
        assert (again.headers or {})["Ce-Id"] == first.event_id
        assert not any(name.startswith("Outbox-") for name in again.headers or {})
        with pytest.raises(NatsError, match="no dead letter"):
            await letters.show(first.sequence)
        await letters.purge(second.sequence)
        assert await listed(letters) == []
        assert (await js.stream_info(stream_prefix)).state.messages == 4


async def test_a_letter_stays_if_nobody_takes_it(
    nats_server: NatsServer, stream_prefix: str
) -> None:
    async with connected(nats_server) as client:
        await given_up(client, stream_prefix)
        letters = DeadLetters(client, nats_server.auth, f"{stream_prefix}-dead")
        await letters.collect(stream_prefix, "search", f"{stream_prefix}.dead")
        await client.jetstream().delete_stream(stream_prefix)
        [first, _] = await listed(letters)
        with pytest.raises(NatsError):
            await letters.replay(first)
        assert await letters.show(first.sequence) == first


async def test_a_stream_that_does_not_exist_is_named(nats_server: NatsServer) -> None:
    async with connected(nats_server) as client:
        auth: NatsAuth = nats_server.auth
        with pytest.raises(NatsError, match="stream nowhere: the stream does not exist"):
            await asyncio.wait_for(listed(DeadLetters(client, auth, "nowhere")), 10)
