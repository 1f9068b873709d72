"""A relay whose NATS user lacks a right says which one at once, loses nothing, heals by itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.wire.subjects import nudge_subject
from support.nats import NatsServer, connected, with_permissions
from support.permissions import EVERYTHING, ROLE, deny, give, login, violations
from support.relaying import NAMESPACE, PIPELINE, Outbox, RelayProcess, an_outbox
from support.waiting import eventually

pytestmark = pytest.mark.integration

SOON_SECONDS = 4.0
"""Sooner than anything that waits for an answer gives up."""


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer(with_permissions(**{ROLE: EVERYTHING})) as server:
        yield server


@pytest.fixture
async def limited(database: str, server: NatsServer, tmp_path: Path) -> AsyncIterator[Outbox]:
    async with an_outbox(database, server, tmp_path) as made:
        yield made


def as_role(outbox: Outbox, server: NatsServer, **changes: Any) -> RelayProcess:
    """A relay that logs in as `ROLE`."""
    return outbox.relay(nats=login(server, outbox.directory), **changes)


def denied(relay: RelayProcess, subject: str) -> bool:
    """Whether readiness says that this subject is refused."""
    return any(
        "PermissionDenied" in reason and subject in reason for reason in relay.failing().values()
    )


def told(relay: RelayProcess, subject: str) -> list[str]:
    """Warnings that name a subject, from the log."""
    lines = [json.loads(line) for line in relay.log.splitlines()]
    return [
        line["message"]
        for line in lines
        if line["level"] in ("warning", "error") and subject in line["message"]
    ]


async def another_try(server: NatsServer) -> None:
    """Wait until something was refused twice more."""
    before = len(violations(server))
    await eventually(lambda: len(violations(server)) >= before + 2, "other tries")


@pytest.mark.parametrize(
    ("refused", "subject"),
    [
        (["{stream}.>"], "{stream}.created"),
        (["$JS.API.>"], "$JS.API.STREAM.INFO.{stream}"),
        (["$JS.API.STREAM.INFO.>"], "$JS.API.STREAM.INFO.{stream}"),
        (["$JS.API.STREAM.MSG.GET.>"], "$JS.API.STREAM.MSG.GET.{stream}"),
    ],
    ids=["events", "api", "info", "last-message"],
)
async def test_what_it_may_not_publish_on_is_named(
    server: NatsServer, limited: Outbox, refused: list[str], subject: str
) -> None:
    subject = subject.format(stream=limited.prefix)
    give(server, deny(publish=[text.format(stream=limited.prefix) for text in refused]))
    event = await limited.add("a")
    relay = as_role(limited, server).start()
    await eventually(lambda: relay.failing().get("process") is None, "started", relay=relay)
    await eventually(lambda: denied(relay, subject), "says so", seconds=SOON_SECONDS, relay=relay)
    await another_try(server)
    assert denied(relay, subject)
    assert relay.metric("errors_total", reason="PermissionDenied") >= 1
    assert relay.metric("published_total") == 0
    assert len(told(relay, subject)) == 1
    give(server, EVERYTHING)
    (message,) = await limited.stored(1)
    assert message.event_id == event
    await relay.ready()
    assert relay.terminate() == 0


@pytest.mark.parametrize("fast", [True, False], ids=["batches", "window"])
async def test_a_right_that_is_taken_away_and_given_back(
    server: NatsServer, limited: Outbox, fast: bool
) -> None:
    await limited.update_stream(allow_batched=fast)
    relay = await as_role(limited, server).start().ready()
    await limited.add("a")
    await limited.stored(1)
    give(server, deny(publish=[f"{limited.prefix}.>"]))
    await limited.add("a")
    await eventually(
        lambda: denied(relay, f"{limited.prefix}.created"), "says so", seconds=SOON_SECONDS
    )
    give(server, EVERYTHING)
    stored = await limited.stored(2)
    assert [message.event_id for message in stored] == await limited.event_ids()
    await relay.ready()


@pytest.mark.parametrize("kind", ["secret", 'se"cret', "x" * 470], ids=["plain", "quote", "long"])
async def test_one_subject_of_many(server: NatsServer, limited: Outbox, kind: str) -> None:
    """The event waits and says why; none of it is lost, and none slips by it."""
    subject = f"{limited.prefix}.{kind}"
    give(server, deny(publish=[subject]))
    relay = await as_role(limited, server).start().ready()
    first = await limited.add("a")
    second = await limited.add("a", event_type=kind)
    third = await limited.add("a")
    await eventually(lambda: denied(relay, subject), "says so", relay=relay)
    assert [message.event_id for message in await limited.stored(1)] == [first]
    give(server, EVERYTHING)
    assert [message.event_id for message in await limited.stored(3)] == [first, second, third]
    await relay.ready()


async def test_reading_the_tail_is_refused(server: NatsServer, limited: Outbox) -> None:
    """What an earlier relay left behind the cursor takes a consumer of its own to read."""
    give(server, EVERYTHING)
    relay = await as_role(limited, server).start().ready()
    await limited.fill(2)
    before = await limited.saved(2)
    await limited.fill(18)
    await limited.stored(20)
    await limited.forget_saves(relay, before)
    subject = f"$JS.API.CONSUMER.CREATE.{limited.prefix}"
    give(server, deny(publish=["$JS.API.CONSUMER.>"]))
    relay.start()
    await eventually(lambda: denied(relay, subject), "says so", relay=relay)
    give(server, deny(publish=["$JS.API.CONSUMER.MSG.NEXT.>"]))
    subject = f"$JS.API.CONSUMER.MSG.NEXT.{limited.prefix}"
    await eventually(lambda: denied(relay, subject), "says so", relay=relay)
    give(server, EVERYTHING)
    await relay.ready()
    assert len(await limited.stored(20)) == 20


@pytest.mark.parametrize("when", ["from-the-start", "later"])
async def test_no_inbox(server: NatsServer, limited: Outbox, when: str) -> None:
    relay = as_role(limited, server)
    event = None
    if when == "later":
        await relay.start().ready()
        give(server, deny(subscribe=["_INBOX.>"]))
        event = await limited.add("a")
    else:
        give(server, deny(subscribe=["_INBOX.>"]))
        event = await limited.add("a")
        relay.start()
        await eventually(lambda: relay.failing().get("process") is None, "started", relay=relay)
    await eventually(lambda: denied(relay, "_INBOX."), "says so", seconds=SOON_SECONDS, relay=relay)
    await another_try(server)
    assert denied(relay, "_INBOX.")
    assert relay.metric("errors_total", reason="PermissionDenied") >= 1
    assert len(told(relay, "_INBOX.")) == 1
    give(server, EVERYTHING)
    (message,) = await limited.stored(1)
    assert message.event_id == event
    await relay.ready()


async def test_nudges_are_a_luxury(server: NatsServer, limited: Outbox) -> None:
    """Without them the relay polls: it works, and says once what it misses."""
    nudges = nudge_subject(NAMESPACE, PIPELINE)
    give(server, deny(subscribe=[nudges]))
    relay = await as_role(limited, server).start().ready()
    await limited.add("a")
    await limited.stored(1)
    await eventually(lambda: told(relay, nudges), "says so", relay=relay)
    assert len(told(relay, nudges)) == 1
    assert not relay.failing()
    assert nudges in relay.get("/readyz")[1]
    give(server, EVERYTHING)

    async def heard() -> bool:
        async with connected(server) as client:
            await client.publish(nudges)
            await client.flush()
        return relay.metric("nudges_total") > 0

    await eventually(heard, "nudges arrive again", relay=relay)
    await eventually(lambda: nudges not in relay.get("/readyz")[1], "forgotten", relay=relay)
