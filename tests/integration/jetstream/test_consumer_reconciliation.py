"""Durable consumers on real servers: create, stay in sync, repair, unset, refuse."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.errors import (
    ConflictError,
    NatsError,
    SpecError,
    UnsafeChangeError,
    UnsupportedServerError,
)
from outbox_operator.plan.jetstream.consumers import desired_consumer
from outbox_operator.plan.jetstream.decide import Config, Create, InSync, Refused, Update
from outbox_operator.plan.state import Owner
from support.jetstream import CONSUMER_OWNER, consumer_spec, pass_consumer
from support.nats import NatsServer, connected
from support.waiting import SECONDS

pytestmark = pytest.mark.integration

FAR_FUTURE = "2099-01-01T00:00:00Z"

EDITABLE: dict[str, Any] = {
    "description": "Bills orders",
    "ackWait": "45s",
    "maxDeliver": 9,
    "backoff": ["1s", "5s"],
    "maxAckPending": 77,
    "maxRequestBatch": 50,
    "maxRequestExpires": "20s",
    "maxRequestMaxBytes": "1Mi",
    "inactiveThreshold": "2h",
    "numReplicas": 1,
    "headersOnly": True,
    "sampleFrequency": "10%",
    "filterSubjects": ["{}.a", "{}.b"],
    "metadata": {"team": "billing"},
}
"""Each can be changed later, and taken away again."""

FIXED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"deliverPolicy": "New"}, "deliverPolicy: wanted 'New', found 'All'"),
    ({}, {"ackPolicy": "All"}, "ackPolicy: wanted 'All', found 'Explicit'"),
    ({"maxWaiting": 5}, {}, "maxWaiting: wanted 512, found 5"),
    ({}, {"memoryStorage": True}, "memoryStorage: wanted True, found False"),
    ({}, {"replayPolicy": "Original"}, "replayPolicy: wanted 'Original', found 'Instant'"),
    (
        {"deliverPolicy": "ByStartSequence", "startSequence": 5},
        {"deliverPolicy": "ByStartSequence", "startSequence": 6},
        "startSequence: wanted 6, found 5",
    ),
    (
        {"deliverPolicy": "ByStartTime", "startTime": "2026-01-01T00:00:00Z"},
        {"deliverPolicy": "ByStartTime", "startTime": "2026-01-02T00:00:00Z"},
        "startTime: wanted '2026-01-02T00:00:00Z', found '2026-01-01T00:00:00Z'",
    ),
]


def desired(prefix: str, durable: str = "billing", **fields: Any) -> Config:
    """Configuration of a durable consumer that somebody else's program reads."""
    if "filterSubjects" in fields:
        fields["filterSubjects"] = [part.format(prefix) for part in fields["filterSubjects"]]
    return desired_consumer(
        consumer_spec(**fields), durable, CONSUMER_OWNER, runtime=False, api_level=4
    )


@pytest.fixture
async def stream(admin: JetStreamAdmin, prefix: str) -> str:
    await admin.create_stream({"name": prefix, "subjects": [f"{prefix}.>"]})
    return prefix


@pytest.mark.parametrize(
    "fields",
    [
        {},
        EDITABLE,
        {"filterSubjects": ["{}.a"]},
        {"deliverPolicy": "Last", "ackPolicy": "None", "maxDeliver": -1},
        {"deliverPolicy": "LastPerSubject", "filterSubjects": ["{}.>"]},
        {"deliverPolicy": "New", "ackPolicy": "All", "replayPolicy": "Original"},
        {"deliverPolicy": "ByStartSequence", "startSequence": 9, "memoryStorage": True},
        {"deliverPolicy": "ByStartTime", "startTime": "2026-01-01T02:30:00.25+02:00"},
        {"maxAckPending": -1, "maxWaiting": 10, "maxDeliver": 0},
    ],
)
async def test_in_sync_at_the_second_pass(
    admin: JetStreamAdmin, stream: str, fields: dict[str, Any]
) -> None:
    config = desired(stream, **fields)
    assert isinstance(await pass_consumer(admin, stream, config), Create)
    assert await pass_consumer(admin, stream, config) == InSync()
    observed = await admin.consumer_info(stream, "billing")
    assert observed is not None
    assert observed.owner_uid == CONSUMER_OWNER.uid


async def test_our_runtime_counts_deliveries_by_itself(admin: JetStreamAdmin, stream: str) -> None:
    spec = consumer_spec(maxDeliver=2, backoff=["1s", "2s", "3s"], ackWait="20s")
    config = desired_consumer(spec, "billing", CONSUMER_OWNER, runtime=True, api_level=4)
    await pass_consumer(admin, stream, config)
    assert await pass_consumer(admin, stream, config) == InSync()
    observed = await admin.consumer_info(stream, "billing")
    assert observed is not None
    assert observed.config["max_deliver"] == -1
    assert observed.config["ack_wait"] == 20 * 10**9


@pytest.mark.parametrize("field", EDITABLE)
async def test_a_field_can_be_set_and_unset_again(
    admin: JetStreamAdmin, stream: str, field: str
) -> None:
    plain, with_field = desired(stream), desired(stream, **{field: EDITABLE[field]})
    await pass_consumer(admin, stream, plain)
    changed = await pass_consumer(admin, stream, with_field)
    assert isinstance(changed, Update)
    assert field in {change.field for change in changed.changes}
    assert await pass_consumer(admin, stream, with_field) == InSync()
    assert isinstance(await pass_consumer(admin, stream, plain), Update)
    assert await pass_consumer(admin, stream, plain) == InSync()


DRIFTS: dict[str, Any] = {
    "description": "by hand",
    "ack_wait": 10**9,
    "max_deliver": 3,
    "backoff": [10**9],
    "max_ack_pending": 5,
    "max_batch": 1,
    "max_expires": 10**9,
    "max_bytes": 1000,
    "inactive_threshold": 10**12,
    "num_replicas": 1,
    "headers_only": True,
    "sample_freq": "50%",
    "filter_subjects": ["{}.x", "{}.y"],
    "metadata": {"team": "warehouse"},
}


@pytest.mark.parametrize("key", DRIFTS)
async def test_drift_is_repaired_and_named(admin: JetStreamAdmin, stream: str, key: str) -> None:
    config = desired(stream)
    await pass_consumer(admin, stream, config)
    value = DRIFTS[key]
    if key == "filter_subjects":
        value = [part.format(stream) for part in value]
    if key == "metadata":
        value = {**config["metadata"], **value}
    await admin.update_consumer(stream, {**config, key: value})
    repaired = await pass_consumer(admin, stream, config, settled=True)
    assert isinstance(repaired, Update)
    assert repaired.drift
    assert await pass_consumer(admin, stream, config, settled=True) == InSync()


@pytest.mark.parametrize(("before", "after", "words"), FIXED)
async def test_changes_that_cannot_be_made_are_refused_and_nothing_is_touched(
    admin: JetStreamAdmin, stream: str, before: dict[str, Any], after: dict[str, Any], words: str
) -> None:
    await pass_consumer(admin, stream, desired(stream, **before))
    refused = await pass_consumer(admin, stream, desired(stream, **after, description="too"))
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, UnsafeChangeError)
    assert words in refused.error.message
    observed = await admin.consumer_info(stream, "billing")
    assert observed is not None
    assert "description" not in observed.config


@pytest.mark.parametrize(("before", "after", "words"), FIXED)
async def test_what_the_plan_calls_fixed_the_server_refuses_too(
    newest: JetStreamAdmin,
    prefix: str,
    before: dict[str, Any],
    after: dict[str, Any],
    words: str,
) -> None:
    await newest.create_stream({"name": prefix, "subjects": [f"{prefix}.>"]})
    await newest.create_consumer(prefix, desired(prefix, **before))
    with pytest.raises(UnsafeChangeError, match="error 10012"):
        await newest.update_consumer(prefix, desired(prefix, **after))


async def test_push_consumer_cannot_be_turned_into_ours(admin: JetStreamAdmin, stream: str) -> None:
    push = {
        "name": "billing",
        "durable_name": "billing",
        "ack_policy": "explicit",
        "deliver_subject": "somewhere",
    }
    await admin.create_consumer(stream, push)
    refused = await pass_consumer(admin, stream, desired(stream), adoption="Adopt")
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, UnsafeChangeError)
    assert "push delivery" in refused.error.message


async def test_undeclared_durable_is_left_alone_or_adopted(
    admin: JetStreamAdmin, stream: str
) -> None:
    await admin.create_consumer(
        stream, {"name": "billing", "durable_name": "billing", "ack_policy": "explicit"}
    )
    refused = await pass_consumer(admin, stream, desired(stream))
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, ConflictError)
    assert refused.error.reason == "ConsumerExists"
    adopted = await pass_consumer(admin, stream, desired(stream), adoption="Adopt")
    assert isinstance(adopted, Update)
    assert adopted.adopted
    assert await pass_consumer(admin, stream, desired(stream)) == InSync()


async def test_durable_of_another_resource(admin: JetStreamAdmin, stream: str) -> None:
    other = Owner(uid="uid-other", key="EventConsumer/shop/other")
    theirs = desired_consumer(consumer_spec(), "billing", other, runtime=False, api_level=4)
    await pass_consumer(admin, stream, theirs, owner=other)
    refused = await pass_consumer(
        admin, stream, desired(stream), living={other.uid}, adoption="Adopt"
    )
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, ConflictError)
    assert other.key in refused.error.message


async def test_creating_twice_is_harmless_and_differently_is_a_conflict(
    admin: JetStreamAdmin, stream: str
) -> None:
    await admin.create_consumer(stream, desired(stream))
    await admin.create_consumer(stream, desired(stream))
    with pytest.raises(ConflictError):
        await admin.create_consumer(stream, desired(stream, ackWait="9s"))
    await admin.delete_consumer(stream, "billing")
    await admin.delete_consumer(stream, "billing")
    assert await admin.consumer_info(stream, "billing") is None


async def test_consumer_limits_of_the_stream_are_no_drift(
    admin: JetStreamAdmin, prefix: str
) -> None:
    limits = {"inactive_threshold": 3600 * 10**9, "max_ack_pending": 100}
    await admin.create_stream(
        {"name": prefix, "subjects": [f"{prefix}.>"], "consumer_limits": limits}
    )
    config = desired(prefix, maxAckPending=50)
    assert isinstance(await pass_consumer(admin, prefix, config), Create)
    assert await pass_consumer(admin, prefix, config) == InSync()
    with pytest.raises(SpecError, match="max ack pending"):
        await pass_consumer(admin, prefix, desired(prefix, "second", maxAckPending=200))


async def test_second_reader_of_a_work_queue_is_a_conflict(
    admin: JetStreamAdmin, prefix: str
) -> None:
    await admin.create_stream(
        {"name": prefix, "subjects": [f"{prefix}.>"], "retention": "workqueue"}
    )
    await admin.create_consumer(prefix, desired(prefix, "first"))
    with pytest.raises(ConflictError, match="WorkQueue"):
        await admin.create_consumer(prefix, desired(prefix, "second"))


async def test_too_many_consumers(admin: JetStreamAdmin, prefix: str) -> None:
    await admin.create_stream({"name": prefix, "subjects": [f"{prefix}.>"], "max_consumers": 1})
    await admin.create_consumer(prefix, desired(prefix, "first"))
    with pytest.raises(SpecError) as caught:
        await admin.create_consumer(prefix, desired(prefix, "second"))
    assert caught.value.reason == "LimitReached"


async def test_stream_that_is_not_there(admin: JetStreamAdmin, prefix: str) -> None:
    assert await admin.consumer_info(prefix, "billing") is None
    with pytest.raises(NatsError) as caught:
        await admin.create_consumer(prefix, desired(prefix))
    assert caught.value.reason == "StreamNotFound"


NEWER: list[dict[str, Any]] = [
    {"pauseUntil": FAR_FUTURE},
    {"priorityPolicy": "Overflow", "priorityGroups": ["a"]},
    {"priorityPolicy": "PinnedClient", "priorityGroups": ["a"], "pinnedTTL": "30s"},
    {"priorityPolicy": "Prioritized", "priorityGroups": ["a"]},
]


@pytest.mark.parametrize("fields", NEWER)
async def test_newer_fields_come_and_go(
    newest: JetStreamAdmin, prefix: str, fields: dict[str, Any]
) -> None:
    await newest.create_stream({"name": prefix, "subjects": [f"{prefix}.>"]})
    plain, with_fields = desired(prefix), desired(prefix, **fields)
    assert isinstance(await pass_consumer(newest, prefix, with_fields), Create)
    assert await pass_consumer(newest, prefix, with_fields) == InSync()
    assert isinstance(await pass_consumer(newest, prefix, plain), Update)
    assert await pass_consumer(newest, prefix, plain) == InSync()
    assert isinstance(await pass_consumer(newest, prefix, with_fields), Update)
    assert await pass_consumer(newest, prefix, with_fields) == InSync()


async def test_pause_time_can_be_moved(newest: JetStreamAdmin, prefix: str) -> None:
    await newest.create_stream({"name": prefix, "subjects": [f"{prefix}.>"]})
    await pass_consumer(newest, prefix, desired(prefix, pauseUntil=FAR_FUTURE))
    moved = desired(prefix, pauseUntil="2098-06-01T12:00:00+02:00")
    changed = await pass_consumer(newest, prefix, moved)
    assert isinstance(changed, Update)
    assert "pauseUntil: wanted '2098-06-01T10:00:00Z'" in str(changed.changes[0])
    assert await pass_consumer(newest, prefix, moved) == InSync()


@pytest.mark.parametrize("fields", NEWER)
async def test_server_too_old_for_a_field(
    old_server: NatsServer, prefix: str, fields: dict[str, Any]
) -> None:
    async with connected(old_server) as client:
        admin = JetStreamAdmin(client, old_server.auth)
        refused = await pass_consumer(admin, prefix, desired(prefix, **fields))
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, UnsupportedServerError)


async def test_numbers(newest: JetStreamAdmin, nats_server: NatsServer, prefix: str) -> None:
    await newest.create_stream({"name": prefix, "subjects": [f"{prefix}.>"]})
    await newest.create_consumer(prefix, desired(prefix))
    async with connected(nats_server) as client:
        for index in range(5):
            await client.request(f"{prefix}.{'a' if index < 3 else 'b'}", b"x")
        subscription = await client.jetstream().pull_subscribe_bind("billing", prefix)
        first, _second = await subscription.fetch(2, timeout=SECONDS)
        await first.ack_sync(timeout=SECONDS)
        observed = await newest.consumer_info(prefix, "billing")
        await subscription.unsubscribe()
    assert observed is not None
    assert (observed.pending, observed.ack_pending, observed.ack_floor) == (3, 1, 1)
    # What autoscaling counts as done: one of two deliveries has ended.
    assert observed.delivered - observed.ack_pending == 1
    stream = await newest.stream_info(prefix)
    assert stream is not None
    assert (stream.messages, stream.last_sequence, stream.consumer_count) == (5, 5, 1)
    assert stream.owner_uid is None
    assert await newest.subject_message_count(prefix, f"{prefix}.a") == 3
    assert await newest.subject_message_count(prefix, f"{prefix}.>") == 5
    assert await newest.subject_message_count(prefix, f"{prefix}.none") == 0
    assert await newest.subject_message_count(f"{prefix}x", ">") is None
