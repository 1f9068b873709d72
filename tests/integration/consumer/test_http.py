"""The consumer runtime with an HTTP endpoint, on a real nats-server."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from nats.aio.client import Client
from standardwebhooks import Webhook

from outbox_operator.consumer import progress
from outbox_operator.consumer.app import build_handler
from outbox_operator.errors import CredentialsError
from outbox_operator.wire.headers import encode_value
from support.certificates import Certificates
from support.consuming import (
    Endpoint,
    Request,
    Source,
    accept,
    answering,
    consuming,
    metric,
    readiness,
)
from support.fences import fences
from support.nats import make_stream
from support.ports import free_port
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration


async def test_delivers_each_event_and_acknowledges(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix)
    sent = [await source.publish({"number": n}, tenant="a") for n in range(50)]
    async with consuming(source.http(endpoint)) as app:
        await source.settled(50)
        status, checks = await readiness(app)
    assert sorted(endpoint.ids()) == sorted(sent)
    first = endpoint.requests[0]
    assert first.headers["Ce-Type"] == "order.created"
    assert first.headers["Ce-Specversion"] == "1.0"
    assert first.headers["Content-Type"] == "application/json"
    assert first.headers["tenant"] == "a"
    assert "number" in json.loads(first.body)
    assert status == 200, checks
    labels = {"outcome": "ack", "event_type": "order.created"}
    assert metric(app, "outbox_consumer_processed_total", **labels) == 50
    assert metric(app, "outbox_consumer_in_flight") == 0


async def test_the_endpoint_of_the_page_says_what_it_prints_and_no_more(
    client: Client, stream_prefix: str, tmp_path: Path
) -> None:
    page = "docs/how-to/consume-events.md"
    [module] = fences(page, "python title=billing.py")
    (tmp_path / "billing.py").write_text(module)
    [line] = [one for one in fences(page, "sh") if one.startswith("uvicorn ")]
    port = free_port()
    command = line.replace("8000", str(port)).split()
    source = await Source.create(client, stream_prefix)
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        for number in range(3):
            await source.publish({"number": number})
        async with consuming(source.http(Endpoint(port=port))):
            await source.settled(3)
    finally:
        server.terminate()
        said, _ = await asyncio.wait_for(server.communicate(), SECONDS)
    printed = [one for one in said.decode().splitlines() if not one.startswith("INFO: ")]
    assert sorted(printed) == [f"order.created {{'number': {n}}}" for n in range(3)], said
    assert b"POST" not in said


async def test_structured_mode(client: Client, stream_prefix: str, endpoint: Endpoint) -> None:
    source = await Source.create(client, stream_prefix)
    event_id = await source.publish({"total": 3})
    async with consuming(source.http(endpoint, mode="Structured", headers={"X-Api": "1"})):
        await source.settled(1)
    request = endpoint.requests[0]
    assert request.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert request.headers["X-Api"] == "1"
    document = json.loads(request.body)
    assert (document["id"], document["data"]) == (event_id, {"total": 3})


async def test_handles_no_more_than_concurrency_at_once(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, concurrency=3)
    now = highest = 0
    three = asyncio.Event()

    async def slow(_: Request) -> web.Response:
        nonlocal now, highest
        now += 1
        highest = max(highest, now)
        if now == 3:
            three.set()
        await three.wait()
        await asyncio.sleep(0.01)
        now -= 1
        return web.Response()

    endpoint.answer = slow
    for _ in range(30):
        await source.publish()
    async with consuming(source.http(endpoint)):
        await source.settled(30)
    assert highest == 3


async def test_an_endpoint_that_fails_is_asked_again_until_it_succeeds(
    client: Client, stream_prefix: str, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    source = await Source.create(client, stream_prefix)
    endpoint.answer = answering(500)
    event_id = await source.publish()
    async with consuming(source.http(endpoint)) as app:
        await eventually(lambda: len(endpoint.requests) >= 2, "asked again")
        endpoint.answer = accept
        await source.settled(1)
    assert set(endpoint.ids()) == {event_id}
    assert endpoint.requests[1].headers["Outbox-Deliveries"] == "2"
    assert metric(app, "outbox_consumer_redeliveries_total") == len(endpoint.requests) - 1
    assert f"event {event_id} not handled by {endpoint.url}, next delivery in " in caplog.text
    assert await source.dead_letters() == []


async def test_after_max_deliver_the_event_is_a_dead_letter(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=3)
    endpoint.answer = answering(500)
    event_id = await source.publish({"total": 3}, tenant="a")
    async with consuming(source.http(endpoint)) as app:
        await source.settled(1)
    [letter] = await source.dead_letters()
    assert len(endpoint.requests) == 3
    assert letter.subject == f"{stream_prefix}.dead.billing"
    assert json.loads(letter.data or b"") == {"total": 3}
    headers = letter.headers or {}
    assert headers["Ce-Id"] == event_id
    assert headers["tenant"] == "a"
    assert headers["Outbox-Dead-Letter-Reason"] == "MaxDeliver"
    assert headers["Outbox-Dead-Letter-Error"] == "answered 500: said the endpoint"
    assert headers["Outbox-Dead-Letter-Deliveries"] == "3"
    assert headers["Outbox-Dead-Letter-Stream"] == stream_prefix
    assert headers["Outbox-Dead-Letter-Sequence"] == "1"
    assert headers["Outbox-Dead-Letter-Subject"] == f"{stream_prefix}.evt.order.created"
    assert headers["Outbox-Dead-Letter-Consumer"] == "billing"
    assert metric(app, "outbox_consumer_dead_lettered_total", reason="MaxDeliver") == 1


async def test_a_refused_event_is_a_dead_letter_at_once(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix)
    endpoint.answer = answering(422)
    await source.publish()
    async with consuming(source.http(endpoint)):
        await source.settled(1)
    assert len(endpoint.requests) == 1
    [letter] = await source.dead_letters()
    assert (letter.headers or {})["Outbox-Dead-Letter-Reason"] == "Refused"


async def test_a_stream_made_anew_does_not_cost_a_dead_letter(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix)
    endpoint.answer = answering(422)
    js = client.jetstream()
    async with consuming(source.http(endpoint)):
        first = await source.publish()
        await source.settled(1)
        await js.delete_stream(stream_prefix)
        await make_stream(client, name=stream_prefix, subjects=[f"{stream_prefix}.evt.>"])
        await source.create_durable()
        second = await source.publish()  # has sequence 1 as well
        await source.settled(1)
    letters = await source.dead_letters()
    assert [(letter.headers or {})["Ce-Id"] for letter in letters] == [first, second]


async def test_without_a_dead_letter_stream_the_event_is_given_up(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, dead_letter_subject=None)
    endpoint.answer = answering(422)
    await source.publish()
    async with consuming(source.http(endpoint)):
        await source.settled(1)
    assert await source.dead_letters() == []


async def test_an_event_stays_while_its_dead_letter_cannot_be_stored(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=1)
    js = client.jetstream()
    await js.delete_stream(f"{stream_prefix}-dead")
    endpoint.answer = answering(500)
    await source.publish()
    async with consuming(source.http(endpoint)) as app:
        labels = {"outcome": "retry", "event_type": "order.created"}
        await eventually(
            lambda: metric(app, "outbox_consumer_processed_total", **labels), "given back"
        )
        assert (await source.info()).ack_floor.stream_seq == 0
        dead = {"name": f"{stream_prefix}-dead", "subjects": [f"{stream_prefix}.dead.>"]}
        await make_stream(client, **dead)
        await source.settled(1)
    assert len(await source.dead_letters()) == 1


async def test_honours_retry_after(client: Client, stream_prefix: str, endpoint: Endpoint) -> None:
    source = await Source.create(client, stream_prefix)
    times: list[float] = []

    async def busy_once(_: Request) -> web.Response:
        times.append(time.monotonic())
        if len(times) == 1:
            return web.Response(status=429, headers={"Retry-After": "1"})
        return web.Response()

    endpoint.answer = busy_once
    await source.publish()
    async with consuming(source.http(endpoint)):
        await source.settled(1)
    assert len(times) == 2
    assert times[1] - times[0] >= 0.95


async def test_a_hanging_endpoint_is_cut_off_and_does_not_stop_the_others(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=4)
    stuck = await source.publish()

    async def hang_for_one(request: Request) -> web.Response:
        if request.id == stuck:
            await asyncio.sleep(60)
        return web.Response()

    endpoint.answer = hang_for_one
    others = [await source.publish() for _ in range(20)]
    async with consuming(source.http(endpoint, timeout_seconds=0.3)):
        await source.settled(21)
    # On a busy machine others may be cut off as well, but not that often.
    assert set(endpoint.ids()) == {stuck, *others}
    [letter] = await source.dead_letters()
    assert (letter.headers or {})["Ce-Id"] == stuck
    assert (letter.headers or {})["Outbox-Dead-Letter-Error"] == "no answer within 0.3 s"


async def test_a_slow_endpoint_is_not_asked_twice(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, ack_wait=0.5)

    async def slow(_: Request) -> web.Response:
        await asyncio.sleep(2.0)
        return web.Response()

    endpoint.answer = slow
    await source.publish()
    async with consuming(source.http(endpoint)):
        await source.settled(1)
    assert len(endpoint.requests) == 1


async def test_an_endpoint_that_is_gone_costs_no_delivery_and_is_reported(
    client: Client,
    stream_prefix: str,
    endpoint: Endpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress, "FAILING_AFTER_SECONDS", 1.0)
    source = await Source.create(client, stream_prefix, max_deliver=1, concurrency=4)
    await endpoint.stop()
    sent = [await source.publish() for _ in range(10)]
    async with consuming(source.http(endpoint)) as app:

        async def reported() -> str | None:
            _, checks = await readiness(app)
            return None if checks["handler"]["ok"] else checks["handler"]["reason"]

        reason = await eventually(reported, "a handler that is not ready")
        assert (await readiness(app))[0] == 503
        assert f"handler {endpoint.url} failed" in reason
        assert "connection refused" in reason
        # Four messages wait in hand and the others on the server: no hot loop.
        attempts = metric(app, "outbox_consumer_unavailable_total", reason="HandlerUnavailable")
        assert 4 <= attempts <= 30
        await endpoint.start()
        await source.settled(10)
        assert (await readiness(app))[0] == 200
    assert sorted(endpoint.ids()) == sorted(sent)
    assert await source.dead_letters() == []


async def test_redirects_are_not_followed(
    client: Client, stream_prefix: str, endpoint: Endpoint
) -> None:
    source = await Source.create(client, stream_prefix, max_deliver=1)
    endpoint.answer = answering(307, Location=endpoint.url)
    await source.publish()
    async with consuming(source.http(endpoint)):
        await source.settled(1)
    assert len(endpoint.requests) == 1
    [letter] = await source.dead_letters()
    assert "redirects are not followed" in (letter.headers or {})["Outbox-Dead-Letter-Error"]


@pytest.mark.parametrize("mode", ["Binary", "Structured"])
async def test_the_sdk_of_cloudevents_understands_what_is_sent(
    client: Client, stream_prefix: str, endpoint: Endpoint, mode: str
) -> None:
    source = await Source.create(client, stream_prefix)
    text = 'Grüße, "Welt" 100%'
    event_id = await source.publish(
        {"total": 3}, type="order.created", **{"Ce-Partitionkey": encode_value(text)}
    )
    async with consuming(source.http(endpoint, mode=mode)):
        await source.settled(1)
    [request] = endpoint.requests
    event = from_http_event(HTTPMessage(headers=dict(request.headers), body=request.body))
    assert (event.get_id(), event.get_type()) == (event_id, "order.created")
    assert event.get_source() == "/shop/orders"
    assert event.get_subject() == f"{stream_prefix}.evt.order.created"
    assert event.get_data() == {"total": 3}
    assert event.get_extension("partitionkey") == text
    assert event.get_time() is not None


async def test_requests_carry_a_token_and_a_signature(
    client: Client, stream_prefix: str, endpoint: Endpoint, tmp_path: Path
) -> None:
    source = await Source.create(client, stream_prefix)
    token, key = tmp_path / "token", tmp_path / "key"
    token.write_text("t0ken\n")
    new = "whsec_" + base64.b64encode(b"0123456789abcdef01234567").decode()
    key.write_text(f"{new}\nold secret\n")
    forged = {"Authorization": "Bearer of the event", "Webhook-Signature": "v1,Zm9yZ2Vk"}
    await source.publish({"total": 3}, **forged)
    config = source.http(endpoint, bearer_token_file=str(token), signing_key_file=str(key))
    async with consuming(config):
        await source.settled(1)
    [request] = endpoint.requests
    assert request.headers["Authorization"] == "Bearer t0ken"
    Webhook(new).verify(request.body, dict(request.headers), json_parse=False)
    Webhook(b"old secret").verify(request.body, dict(request.headers), json_parse=False)
    assert request.headers["webhook-id"] == request.headers["ce-id"]
    assert "Zm9yZ2Vk" not in str(request.headers)


async def test_a_missing_token_is_reported_at_the_start(
    client: Client, stream_prefix: str, endpoint: Endpoint, tmp_path: Path
) -> None:
    source = await Source.create(client, stream_prefix)
    with pytest.raises(CredentialsError, match=r"/token with the bearer token: No such file"):
        build_handler(source.http(endpoint, bearer_token_file=str(tmp_path / "token")))


async def test_trusts_the_authorities_it_is_given_and_no_others(
    client: Client, stream_prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    certificates = Certificates(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.path("server.pem"), certificates.path("server.key"))
    endpoint = Endpoint(tls=context)
    await endpoint.start()
    source = await Source.create(client, stream_prefix)
    await source.publish()
    try:
        async with consuming(source.http(endpoint)) as app:
            await eventually(
                lambda: metric(
                    app, "outbox_consumer_unavailable_total", reason="HandlerUnavailable"
                ),
                "refused",
            )
        assert endpoint.requests == []
        assert "the server's certificate is not trusted" in caplog.text
        async with consuming(source.http(endpoint, ca_file=str(certificates.path("ca.pem")))):
            await source.settled(1)
        assert len(endpoint.requests) == 1
    finally:
        await endpoint.stop()
