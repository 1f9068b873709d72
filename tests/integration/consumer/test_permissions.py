"""A consumer whose NATS user lacks a right says which one, does no harm, and heals by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client

from outbox_operator.adapters.nats.connection import connect
from outbox_operator.consumer.app import App
from outbox_operator.consumer.handlers.types import Context, DeadLetter, ReceivedEvent, RetryAfter
from outbox_operator.wire.config import ConsumerConfig, NatsConfig
from support.consuming import Source, calling, consuming, metric, readiness
from support.nats import ADMIN, NatsOptions, NatsServer, connected, with_permissions
from support.permissions import EVERYTHING, ROLE, deny, give, login, violations
from support.ports import free_port
from support.waiting import SECONDS, eventually

pytestmark = pytest.mark.integration

ACK = "$JS.ACK.>"
NEXT = "$JS.API.CONSUMER.MSG.NEXT.>"
MOST_TEXTS = 2
"""Log lines that may tell of one refusal: what was refused, and that it is over."""


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer(with_permissions(**{ROLE: EVERYTHING})) as server:
        yield server


@pytest.fixture
async def admin(server: NatsServer) -> AsyncIterator[Client]:
    async with connected(server) as client:
        yield client


@pytest.fixture
async def source(server: NatsServer, admin: Client, tmp_path: Path) -> Source:
    """A stream with a durable consumer that `ROLE` reads."""
    made = await Source.create(admin, "T", ack_wait=1.0)
    nats = NatsConfig(**login(server, tmp_path))
    return replace(made, config=replace(made.config, nats=nats))


class Handler:
    """Handles everything, and remembers what.

    Args:
        seconds: What it takes for each event.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self.handled: list[str] = []
        self._seconds = seconds

    async def __call__(self, event: ReceivedEvent, _: Context) -> None:
        self.handled.append(event.id)
        await asyncio.sleep(self._seconds)


async def denied(app: App, subject: str) -> bool:
    """Whether readiness says that this subject is refused."""
    status, checks = await readiness(app)
    said = [check["reason"] for check in checks.values() if not check["ok"]]
    return status == 503 and any("PermissionDenied" in s and subject in s for s in said)


async def ready(app: App) -> bool:
    """Whether it is ready."""
    return (await readiness(app))[0] == 200


def acknowledged(app: App) -> float:
    """Events that it counts as acknowledged."""
    return metric(app, "outbox_consumer_processed_total", outcome="ack", event_type="order.created")


def told(caplog: pytest.LogCaptureFixture, subject: str) -> list[str]:
    """Warnings that name a subject."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and subject in record.getMessage()
    ]


def ordered(config: ConsumerConfig) -> ConsumerConfig:
    return replace(config, ordering="PerKey")


@pytest.mark.parametrize("way", ["explicit", "ordered", "ack-all"])
async def test_without_the_right_to_acknowledge_nothing_is_handled(
    server: NatsServer, source: Source, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    config, handler = source.config, Handler()
    if way != "explicit":
        await source.create_ordered(ack_policy="all" if way == "ack-all" else "explicit")
        config = ordered(config)
    give(server, deny(publish=[ACK]))
    event = await source.publish(**{"Ce-Partitionkey": "k"})
    async with consuming(config, calling(handler)) as app:
        await eventually(lambda: denied(app, "$JS.ACK.T.billing."), "says what is refused")
        tries = len(violations(server))
        await eventually(lambda: len(violations(server)) > tries, "another try")
        assert await denied(app, "$JS.ACK.T.billing.")
        assert not handler.handled
        assert acknowledged(app) == 0
        assert len(told(caplog, "$JS.ACK.T.billing.")) == 1
        give(server, EVERYTHING)
        await source.settled(1)
        await eventually(lambda: ready(app), "ready again")
        await eventually(lambda: acknowledged(app) == 1, "counted")
    assert handler.handled == [event]


async def test_a_right_to_acknowledge_that_is_taken_away(
    server: NatsServer, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler()
    async with consuming(source.config, calling(handler)) as app:
        first = await source.publish()
        await source.settled(1)
        await eventually(lambda: acknowledged(app) == 1, "counted")
        give(server, deny(publish=[ACK]))
        second = await source.publish()
        await eventually(lambda: denied(app, "$JS.ACK.T.billing."), "says what is refused")
        tries = len(violations(server))
        await eventually(lambda: len(violations(server)) > tries, "another try")
        # It was handled before anybody could know; what counts is that it is not done again.
        assert handler.handled == [first, second]
        assert acknowledged(app) == 1
        assert metric(app, "outbox_consumer_settle_failures_total") == 1
        assert len(told(caplog, "$JS.ACK.T.billing.")) == 1
        third = await source.publish()
        give(server, EVERYTHING)
        await source.settled(3)
        await eventually(lambda: acknowledged(app) == 3, "counted once each")
        await eventually(lambda: ready(app), "ready again")
    assert handler.handled[2:] in ([second, third], [third, second])


async def test_a_busy_consumer_stops_when_acknowledgements_are_refused(
    server: NatsServer, source: Source
) -> None:
    """What was in hand then is let go, and comes again."""
    handler = Handler(seconds=0.02)  # not done with all of them before the server complains
    async with consuming(replace(source.config, concurrency=4), calling(handler)) as app:
        await source.publish()
        await source.settled(1)
        give(server, deny(publish=[ACK]))
        for _ in range(200):
            await source.publish()
        await eventually(lambda: denied(app, "$JS.ACK.T.billing."), "says what is refused")
        handled = len(handler.handled)
        tries = len(violations(server))
        await eventually(lambda: len(violations(server)) > tries, "another try")
        assert len(handler.handled) == handled < 200
        give(server, EVERYTHING)
        await source.settled(201)
        await eventually(lambda: acknowledged(app) == 201, "counted once each")
    assert len(set(handler.handled)) == 201


async def test_without_the_right_to_ask_for_messages(
    server: NatsServer, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    handler = Handler()
    give(server, deny(publish=[NEXT]))
    event = await source.publish()
    subject = "$JS.API.CONSUMER.MSG.NEXT.T.billing"
    async with consuming(source.config, calling(handler)) as app:
        await eventually(lambda: denied(app, subject), "says what is refused")
        tries = len(violations(server))
        await eventually(lambda: len(violations(server)) > tries, "another try")
        assert await denied(app, subject)
        assert len(told(caplog, subject)) == 1
        give(server, EVERYTHING)
        await source.settled(1)
        await eventually(lambda: ready(app), "ready again")
    assert handler.handled == [event]


async def test_a_right_to_ask_for_messages_that_is_taken_away(
    server: NatsServer, source: Source
) -> None:
    handler = Handler()
    async with consuming(source.config, calling(handler)) as app:
        await source.publish()
        await source.settled(1)
        give(server, deny(publish=[NEXT]))
        # Those that were asked for before may still come; the next request is refused.
        subject = "$JS.API.CONSUMER.MSG.NEXT.T.billing"

        async def noticed() -> bool:
            await source.publish()
            return await denied(app, subject)

        await eventually(noticed, "says what is refused")
        give(server, EVERYTHING)
        await eventually(lambda: ready(app), "ready again")
        await source.settled((await source.client.jetstream().stream_info("T")).state.last_seq)


@pytest.mark.parametrize(
    ("permissions", "subject"),
    [
        (deny(publish=["$JS.API.>"]), "$JS.API.CONSUMER.INFO.T.billing"),
        (deny(publish=["$JS.API.CONSUMER.INFO.>"]), "$JS.API.CONSUMER.INFO.T.billing"),
        (deny(subscribe=["_INBOX.>"]), "_INBOX."),
    ],
    ids=["api", "info", "inbox"],
)
async def test_without_the_right_to_look_at_the_durable(
    server: NatsServer,
    source: Source,
    permissions: dict[str, Any],
    subject: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    handler = Handler()
    give(server, permissions)
    event = await source.publish()
    async with consuming(source.config, calling(handler)) as app:
        await eventually(lambda: denied(app, subject), "says what is refused")
        tries = len(violations(server))
        await eventually(lambda: len(violations(server)) > tries, "another try")
        assert await denied(app, subject)
        assert len(told(caplog, subject)) == 1
        give(server, EVERYTHING)
        await source.settled(1)
        await eventually(lambda: ready(app), "ready again")
    assert handler.handled == [event]


async def test_an_inbox_that_is_taken_away(server: NatsServer, source: Source) -> None:
    """The server then drops the subscriptions there are."""
    handler = Handler()
    async with consuming(source.config, calling(handler)) as app:
        await source.publish()
        await source.settled(1)
        give(server, deny(subscribe=["_INBOX.>"]))
        await eventually(lambda: denied(app, "_INBOX."), "says what is refused")
        second = await source.publish()
        give(server, EVERYTHING)
        await source.settled(2)
        await eventually(lambda: ready(app), "ready again")
    assert handler.handled[-1] == second


async def test_a_login_that_is_refused_after_a_while(
    server: NatsServer, source: Source, tmp_path: Path
) -> None:
    """A user who was removed: a connection that is lost is no word about why it stays so."""
    handler = Handler()
    async with consuming(source.config, calling(handler)) as app:
        await eventually(lambda: ready(app), "ready")
        server.reload(extra=with_permissions(successor=EVERYTHING).extra)

        async def refused() -> bool:
            return "CredentialsRejected" in (await readiness(app))[1]["nats"]["reason"]

        await eventually(refused, "says that the login is refused")
        (tmp_path / "role").write_text("successor")  # as a Secret that is changed
        await eventually(lambda: ready(app), "ready with the new login")
        event = await source.publish()
        await source.settled(1)
    assert handler.handled == [event]


async def test_a_dead_letter_that_may_not_be_stored_is_not_lost(
    server: NatsServer, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(_: ReceivedEvent, __: Context) -> DeadLetter:
        return DeadLetter("no such customer")

    subject = "T.dead.billing"
    give(server, deny(publish=[subject]))
    event = await source.publish()
    config = replace(source.config, ack_wait_seconds=30.0)
    async with consuming(config, calling(refuse)):
        await eventually(lambda: told(caplog, subject), "says what is refused")
        assert not await source.dead_letters()
        assert (await source.info()).ack_floor.stream_seq == 0
        give(server, EVERYTHING)
        await eventually(source.dead_letters, "stored")
        await source.settled(1)
    (letter,) = await source.dead_letters()
    assert letter.headers is not None
    assert letter.headers["Ce-Id"] == event
    assert all("PermissionDenied" in text for text in told(caplog, subject))


async def test_refused_dead_letters_of_a_busy_consumer(
    server: NatsServer, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    """The good events between say nothing about it."""

    async def handle(event: ReceivedEvent, _: Context) -> DeadLetter | None:
        return DeadLetter("no such customer") if event.type == "bad" else None

    subject = "T.dead.billing"
    give(server, deny(publish=[subject]))
    config = replace(source.config, ack_wait_seconds=30.0)
    async with consuming(config, calling(handle)) as app:
        for _ in range(3):
            await source.publish(type="bad")

        async def says_so() -> bool:
            await source.publish(type="good")
            status, checks = await readiness(app)
            failing = [name for name, check in checks.items() if not check["ok"]]
            assert failing in ([], ["deadLetters"])
            return status == 503 and "PermissionDenied" in checks["deadLetters"]["reason"]

        await eventually(says_so, "says that letters are not stored")
        await eventually(lambda: counted(app, "ack", "good") > 1, "handles the good ones")
        assert len(told(caplog, subject)) == 1
        assert metric(app, "outbox_consumer_errors_total", reason="PermissionDenied") == (
            counted(app, "retry", "bad")
        )
        give(server, EVERYTHING)

        async def stored() -> bool:
            return len(await source.dead_letters()) == 3

        await eventually(stored, "stored")
        await eventually(lambda: ready(app), "ready again")


async def test_a_slow_handler_whose_beats_are_refused(server: NatsServer, source: Source) -> None:
    """`In progress` goes the way of acknowledgements: without it the event would come again."""
    began, go_on = asyncio.Event(), asyncio.Event()
    handled: list[str] = []

    async def slow(event: ReceivedEvent, _: Context) -> None:
        handled.append(event.id)
        began.set()
        await go_on.wait()

    async with consuming(source.config, calling(slow)) as app:
        event = await source.publish()
        await asyncio.wait_for(began.wait(), SECONDS)
        give(server, deny(publish=[ACK]))
        await eventually(lambda: denied(app, "$JS.ACK.T.billing."), "noticed by a beat")
        assert handled == [event]
        go_on.set()
        give(server, EVERYTHING)
        await source.settled(1)
    assert set(handled) == {event}


class Held:
    """A handler whose events of type `slow` end when they are let."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.began: list[str] = []
        self.go_on = asyncio.Event()

    async def __call__(self, event: ReceivedEvent, _: Context) -> Any:
        self.began.append(event.type)
        if event.type == "slow":
            await self.go_on.wait()
            return self.answer
        return None


async def patient(source: Source, way: str) -> Source:
    """The same with an ackWait that does not run out."""
    made = replace(source, config=replace(source.config, ack_wait_seconds=60.0))
    if way == "ack-all":
        await made.create_ordered(ack_policy="all")
        return replace(made, config=ordered(made.config))
    await source.client.jetstream().delete_consumer("T", "billing")
    await made.create_durable()
    return made


def counted(app: App, outcome: str, event_type: str) -> float:
    return metric(app, "outbox_consumer_processed_total", outcome=outcome, event_type=event_type)


@pytest.mark.parametrize(
    ("way", "answer"),
    [
        ("explicit", None),
        ("ack-all", None),
        ("explicit", RetryAfter(reason="not yet")),
        ("explicit", DeadLetter("never")),
    ],
    ids=["ack", "ack-all", "nak", "dead-letter"],
)
async def test_handlers_that_end_after_the_refusal(
    server: NatsServer, source: Source, way: str, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Their answers are refused too: not counted, and not told one by one."""
    handler = Held(answer)
    source = await patient(source, way)
    config = source.config
    async with consuming(config, calling(handler)) as app:
        await source.publish(type="quick", **{"Ce-Partitionkey": "q"})
        await eventually(lambda: counted(app, "ack", "quick") == 1, "counted")
        for number in range(4):
            await source.publish(type="slow", **{"Ce-Partitionkey": str(number)})
        await eventually(lambda: handler.began.count("slow") == 4, "all are with the handler")
        give(server, deny(publish=[ACK]))
        if way == "ack-all":  # one answer for all: the first of them shows it
            handler.go_on.set()
        else:
            await source.publish(type="quick")
        await eventually(lambda: denied(app, "$JS.ACK.T.billing."), "says what is refused")
        handler.go_on.set()
        failures = 1 if way == "ack-all" else 5
        await eventually(
            lambda: metric(app, "outbox_consumer_settle_failures_total") >= failures, "refused"
        )
        tries = len(violations(server))
        await eventually(lambda: len(violations(server)) > tries, "another try")
        assert counted(app, "ack", "slow") == 0
        assert counted(app, "ack", "quick") == 1
        assert (await source.info()).num_ack_pending >= 4
    assert len(told(caplog, "$JS.ACK.T.billing.")) == 1


@pytest.mark.parametrize("way", ["explicit", "ack-all"])
async def test_refused_while_it_drains(
    server: NatsServer, source: Source, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    handler = Held()
    source = await patient(source, way)
    config = source.config
    async with consuming(config, calling(handler)) as app:
        await source.publish(type="slow")
        await eventually(lambda: handler.began, "with the handler")
        give(server, deny(publish=[ACK]))
        app.stop()
        await eventually(lambda: "draining 1 handlers" in caplog.text, "drains")
        handler.go_on.set()
    assert counted(app, "ack", "slow") == 0
    assert metric(app, "outbox_consumer_settle_failures_total") == 1
    assert len(told(caplog, "$JS.ACK.T.billing.")) == 1
    assert (await source.info()).num_ack_pending == 1


@pytest.mark.parametrize("way", ["explicit", "ordered", "ack-all"])
async def test_rights_that_are_gone_for_a_moment(
    server: NatsServer, source: Source, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What a handler has stays with it, though another pod could have it."""
    # So long that the beat after the refused one is in time, however busy the machine is.
    source = replace(source, config=replace(source.config, ack_wait_seconds=2.5))
    await source.create_durable()
    config, handler, other = source.config, Held(), Held()
    if way != "explicit":
        await source.create_ordered(ack_policy="all" if way == "ack-all" else "explicit")
        config = ordered(config)
    async with consuming(config, calling(handler)) as app:
        await source.publish(type="slow", **{"Ce-Partitionkey": "k"})
        await eventually(lambda: handler.began, "with the handler")
        beside = replace(config, health_port=free_port())
        async with consuming(beside, calling(other)) as second:
            await eventually(lambda: ready(second), "another pod")
            give(server, deny(publish=[ACK]))
            await eventually(lambda: denied(app, "$JS.ACK.T.billing."), "noticed by a beat")
            give(server, EVERYTHING)
            back = asyncio.get_running_loop().time()
            # Longer than ackWait: without a beat the other pod would have it.
            await eventually(
                lambda: asyncio.get_running_loop().time() - back > 1.2 * config.ack_wait_seconds,
                "ackWait over",
            )
            assert (handler.began, other.began) == (["slow"], [])
            handler.go_on.set()
            await source.settled(1)
            await eventually(lambda: ready(app), "ready again")
        assert (handler.began, other.began) == (["slow"], [])
        await eventually(lambda: counted(app, "ack", "slow") == 1, "counted")


def quick(app: App, events: int) -> bool:
    return counted(app, "ack", "quick") == events


async def test_a_slow_handler_keeps_nobody_waiting_after_a_refusal(
    server: NatsServer, source: Source
) -> None:
    handler = Held()
    async with consuming(source.config, calling(handler)) as app:
        await source.publish(type="slow")
        await eventually(lambda: handler.began, "with the handler")
        for number in (1, 2):
            give(server, deny(publish=[ACK]))
            await eventually(lambda: denied(app, "$JS.ACK.T.billing."), "noticed by a beat")
            give(server, EVERYTHING)
            await source.publish(type="quick")
            await eventually(partial(quick, app, number), "goes on")
            await eventually(lambda: ready(app), "ready")
        handler.go_on.set()
        await source.settled(3)
    assert handler.began.count("slow") == 1


async def test_in_order_it_goes_on_when_the_slow_handler_has_ended(
    server: NatsServer, source: Source
) -> None:
    """And says so, and that rights are taken away once more meanwhile."""
    handler = Held()
    await source.create_ordered()
    async with consuming(ordered(source.config), calling(handler)) as app:
        await source.publish(type="slow", **{"Ce-Partitionkey": "k"})
        await source.publish(type="quick", **{"Ce-Partitionkey": "k"})
        await eventually(lambda: handler.began, "with the handler")

        async def waits() -> bool:
            status, checks = await readiness(app)
            return status == 503 and "ends first" in checks["consumer"]["reason"]

        for _ in range(2):
            give(server, deny(publish=[ACK]))
            await eventually(lambda: denied(app, "$JS.ACK.T.billing."), "noticed by a beat")
            give(server, EVERYTHING)
            await eventually(waits, "waits for the handler")
        assert handler.began == ["slow"]
        handler.go_on.set()
        await source.settled(2)
        await eventually(lambda: ready(app), "ready")
    assert handler.began == ["slow", "quick"]


async def test_an_account_without_the_import_of_acknowledgements(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Then nobody refuses them, and nobody takes them either."""
    exports: list[dict[str, Any]] = [
        {"service": "$JS.API.CONSUMER.INFO.T.billing"},
        {"service": "$JS.API.CONSUMER.MSG.NEXT.T.billing", "response": "stream"},
        {"service": "$JS.ACK.T.billing.>"},
    ]
    imports = [
        {
            "service": {"account": "OWNER", "subject": export["service"]},
            "to": export["service"].replace("$JS.API", "$JS.owner.API"),
        }
        for export in exports
    ]

    def options(imports: list[dict[str, Any]]) -> dict[str, Any]:
        owner = {
            "jetstream": "enabled",
            "users": [{"user": ADMIN, "password": ADMIN}],
            "exports": exports,
        }
        reader = {"users": [{"user": ROLE, "password": ROLE}], "imports": imports}
        return {"extra": {"accounts": {"OWNER": owner, "READER": reader}}}

    handler = Handler()
    with NatsServer(NatsOptions(**options(imports[:2]))) as server:
        auth = replace(server.auth, username=ADMIN, password=ADMIN)
        admin = await connect(auth, name="admin")
        try:
            made = await Source.create(admin, "T", ack_wait=1.0)
            nats = NatsConfig(**login(server, tmp_path), domain="owner")
            event = await made.publish()
            async with consuming(
                replace(made.config, nats=nats, dead_letter_subject=None), calling(handler)
            ) as app:

                async def told_so() -> bool:
                    status, checks = await readiness(app)
                    reason = checks["consumer"]["reason"]
                    return status == 503 and "nobody" in reason and "import" in reason

                await eventually(told_so, "says what is missing")
                assert not handler.handled
                assert len(told(caplog, "$JS.ACK.T.billing.>")) == 1
                server.reload(**options(imports))
                await made.settled(1)
                await eventually(lambda: ready(app), "ready")
        finally:
            await admin.close()
    assert handler.handled == [event]
