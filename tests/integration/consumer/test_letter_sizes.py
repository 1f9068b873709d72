"""Dead letters of events that barely met a limit."""

from __future__ import annotations

import json

import pytest
from nats.aio.client import Client

from support.consuming import Endpoint, Request, Source, accept, answering, consuming, readiness
from support.waiting import eventually

pytestmark = pytest.mark.integration

MAX_PAYLOAD = 1024 * 1024


async def publish(source: Source, data: bytes, *, fit: bool = False, number: int = 1) -> None:
    """Store an event as the relay does; `fit`: with as much payload as the limit allows."""
    headers = {
        "Ce-Id": "e-1", "Ce-Type": "large", "Ce-Source": "/shop", "Ce-Specversion": "1.0",
        "Content-Type": "application/json", "tenant": "a",
        "Nats-Msg-Id": f"6f1f1f0e-5f57-4f0e-9d3c-0a9e1f0c5b1{number}", "Outbox-Position": "1234",
        "Outbox-Emission": "1234", "Outbox-Shard": "0",
    }  # fmt: skip
    if fit:
        block = 12 + sum(len(name) + len(value) + 4 for name, value in headers.items())
        data = data.ljust(MAX_PAYLOAD - block)
    await source.client.jetstream().publish(f"{source.prefix}.evt.large", data, headers=headers)


@pytest.mark.parametrize("fit", [False, True], ids=["as reported", "to the byte"])
async def test_what_met_the_limits_is_stored_whatever_we_have_to_say(
    client: Client, stream_prefix: str, endpoint: Endpoint, fit: bool
) -> None:
    source = await Source.create(client, stream_prefix)
    endpoint.answer = answering(400)
    await publish(source, b'"x"'.ljust(1_048_000), fit=fit)
    async with consuming(source.http(endpoint)) as app:
        await source.settled(1)
        status, checks = await readiness(app)
        assert status == 200, checks
    [letter] = await source.dead_letters()
    headers = letter.headers or {}
    assert len(letter.data or b"") >= 1_048_000
    assert headers["tenant"] == "a"
    assert headers["Outbox-Dead-Letter-Sequence"] == "1"
    assert headers["Outbox-Dead-Letter-Reason"] == "Refused"
    assert len(endpoint.requests) == 1


async def test_headers_that_barely_met_their_limit(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix)
    endpoint.answer = answering(400)
    await source.publish(**{f"X{number}": "v" * 4000 for number in range(16)}, Y="v" * 900)
    async with consuming(source.http(endpoint)):
        await source.settled(1)
    [letter] = await source.dead_letters()
    assert (letter.headers or {})["Outbox-Dead-Letter-Sequence"] == "1"


async def test_a_stream_of_letters_that_takes_less_is_named_and_hurts_nobody(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix)
    await client.jetstream().update_stream(
        name=f"{stream_prefix}-dead", subjects=[f"{stream_prefix}.dead.>"], max_msg_size=2000
    )

    async def answer(request: Request) -> object:
        return await (accept if json.loads(request.body) == "good" else answering(400))(request)

    endpoint.answer = answer  # type: ignore[assignment]
    await publish(source, b'"x"'.ljust(1500))
    await publish(source, b'"x"'.ljust(5000), number=2)
    async with consuming(source.http(endpoint)) as app:

        async def tried() -> bool:
            return "MessageTooLarge" in (await readiness(app))[1]["deadLetters"]["reason"]

        await eventually(tried, "says why")
        for _ in range(20):
            await source.publish("good")
        await eventually(
            lambda: endpoint.ids().count("e-1") < len(endpoint.requests) - 19, "others flow"
        )
    letters = await source.dead_letters()
    assert [len(letter.data or b"") for letter in letters] == [1500], "nothing is cut off"

    async def nothing_lost() -> bool:
        return bool((await source.info()).num_ack_pending == 1)

    await eventually(nothing_lost, "the others are acknowledged, and it is not")
