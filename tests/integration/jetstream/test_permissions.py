"""Requests on refused subjects fail at once, and with one diagnosis, whoever makes them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace

import pytest

from outbox_operator.adapters.nats import api
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.auth import NatsAuth
from outbox_operator.adapters.nats.connection import connect
from outbox_operator.adapters.nats.publisher import Publisher
from outbox_operator.adapters.nats.pull_consumer import PullConsumer
from outbox_operator.errors import AccessDeniedError, OutboxError
from support.nats import NatsServer, with_permissions
from support.permissions import EVERYTHING, ROLE, deny, give

pytestmark = pytest.mark.integration

SOON_SECONDS = 30.0
UNREFUSED_SECONDS = 5.0
"""A refusal takes milliseconds."""
"""Sooner than a request gives up here."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests wait so long that what is said at once is told from it on any machine."""
    monkeypatch.setattr(api, "REQUEST_SECONDS", 60.0)


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer(with_permissions(**{ROLE: EVERYTHING})) as server:
        yield server


@pytest.fixture
def auth(server: NatsServer) -> NatsAuth:
    return replace(server.auth, username=ROLE, password=ROLE)


@pytest.fixture
async def admin(auth: NatsAuth) -> AsyncIterator[JetStreamAdmin]:
    client = await connect(auth, name="test")
    yield JetStreamAdmin(client, auth)
    await client.close()


async def collect(admin: JetStreamAdmin) -> object:
    return await admin.dead_letters("DEAD").collect("T", "billing", "T.dead")


async def letters(admin: JetStreamAdmin) -> object:
    return [letter async for _, letter in admin.dead_letters("DEAD").letters()]


Request = Callable[[JetStreamAdmin], Awaitable[object]]
REQUESTS: dict[str, Request] = {
    "$JS.API.INFO": lambda admin: admin.account_info(),
    "$JS.API.STREAM.INFO.T": lambda admin: admin.stream_info("T"),
    "$JS.API.STREAM.CREATE.T": lambda admin: admin.create_stream(
        {"name": "T", "subjects": ["T.>"]}
    ),
    "$JS.API.STREAM.UPDATE.T": lambda admin: admin.update_stream(
        {"name": "T", "subjects": ["T.>"]}
    ),
    "$JS.API.STREAM.DELETE.T": lambda admin: admin.delete_stream("T"),
    "$JS.API.STREAM.NAMES": lambda admin: admin.stream_names_for_subject("T.>"),
    "$JS.API.CONSUMER.INFO.T.billing": lambda admin: admin.consumer_info("T", "billing"),
    "$JS.API.CONSUMER.CREATE.T.billing": lambda admin: admin.create_consumer(
        "T", {"name": "billing", "durable_name": "billing"}
    ),
    "$JS.API.CONSUMER.DELETE.T.billing": lambda admin: admin.delete_consumer("T", "billing"),
    "$JS.API.CONSUMER.RESET.T.billing": lambda admin: admin.check_reset("T", "billing"),
    "$JS.API.CONSUMER.RESET.T.billing in earnest": lambda admin: admin.reset_consumer(
        "T", "billing", 1
    ),
    "$JS.API.STREAM.MSG.GET.DEAD": letters,
    "$JS.API.STREAM.MSG.GET.DEAD collect": collect,
    "$JS.API.STREAM.MSG.DELETE.DEAD": lambda admin: admin.dead_letters("DEAD").purge(1),
}


@pytest.mark.parametrize("subject", REQUESTS)
async def test_a_refused_request_names_its_subject_at_once(
    server: NatsServer, admin: JetStreamAdmin, subject: str
) -> None:
    request, subject = REQUESTS[subject], subject.partition(" ")[0]
    give(server, deny(publish=["$JS.API.>"]))
    started = time.monotonic()
    with pytest.raises(AccessDeniedError) as caught:
        await request(admin)
    assert time.monotonic() - started < SOON_SECONDS
    assert caught.value.reason == "PermissionDenied"
    assert f"{subject}" in caught.value.message
    assert ROLE not in caught.value.message.replace("role", "")
    give(server, EVERYTHING)
    # It may fail otherwise, and nobody answers where there is nothing to be reset.
    with contextlib.suppress(OutboxError, TimeoutError):
        async with asyncio.timeout(UNREFUSED_SECONDS):
            try:
                await request(admin)
            except AccessDeniedError as error:
                pytest.fail(f"refused although it is allowed: {error}")


async def test_concurrent_requests_are_told_apart(
    server: NatsServer, admin: JetStreamAdmin
) -> None:
    give(server, deny(publish=["$JS.API.STREAM.INFO.SECRET"]))
    results = await asyncio.gather(
        *(admin.stream_info(name) for name in ("T", "SECRET", "U", "SECRET")),
        return_exceptions=True,
    )
    assert results[0] is None
    assert results[2] is None
    assert isinstance(results[1], AccessDeniedError)
    assert isinstance(results[3], AccessDeniedError)


@pytest.mark.parametrize("when", ["first", "later"])
async def test_answers_that_may_not_be_heard(
    server: NatsServer, admin: JetStreamAdmin, when: str
) -> None:
    """The inbox of requests is refused; the same connection works when it is allowed again."""
    if when == "later":
        assert await admin.stream_info("T") is None
    give(server, deny(subscribe=["_INBOX.>"]))
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(AccessDeniedError, match="_INBOX") as caught:
            await admin.stream_info("T")
        assert time.monotonic() - started < SOON_SECONDS
        assert "subscribe" in caught.value.message
    give(server, EVERYTHING)
    assert await admin.stream_info("T") is None


async def test_a_message_that_may_not_be_published(server: NatsServer, auth: NatsAuth) -> None:
    client = await connect(auth, name="test")
    source = PullConsumer(
        client,
        auth,
        "T",
        "billing",
        on_delivery=lambda _: None,
        on_change=lambda: None,
        on_refused=lambda _: None,
    )
    give(server, deny(publish=["T.>"]))
    started = time.monotonic()
    with pytest.raises(AccessDeniedError, match=r"T\.dead\.billing"):
        await source.store("T.dead.billing", b"", {}, doing="copy")
    assert time.monotonic() - started < SOON_SECONDS
    await client.close()


async def test_a_stream_that_does_not_exist_has_one_reason(auth: NatsAuth) -> None:
    """Whoever finds it missing."""
    client = await connect(auth, name="test")
    source = PullConsumer(
        client,
        auth,
        "T",
        "billing",
        on_delivery=lambda _: None,
        on_change=lambda: None,
        on_refused=lambda _: None,
    )
    admin = JetStreamAdmin(client, auth)
    publisher = await Publisher.open(auth, name="test", stream="T")
    reasons = []
    asked: tuple[Callable[[], Awaitable[object]], ...] = (
        source.open,
        publisher.facts,
        lambda: publisher.last_of("T.>"),
        lambda: admin.create_consumer("T", {"name": "b", "durable_name": "b"}),
        lambda: collect(admin),
        lambda: letters(admin),
        lambda: admin.dead_letters("T").purge(1),
    )
    for ask in asked:
        with pytest.raises(OutboxError) as caught:
            await ask()
        reasons.append(caught.value.reason)
    assert set(reasons) == {"StreamNotFound"}
    await publisher.close()
    await client.close()
