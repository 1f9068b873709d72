"""Streams on real servers: create, stay in sync, repair, unset, refuse."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.stream import EventStreamSpec
from outbox_operator.errors import ConflictError, UnsafeChangeError, UnsupportedServerError
from outbox_operator.plan.jetstream.decide import Create, InSync, Refused, Update
from outbox_operator.plan.jetstream.stream_config import desired_dead_letter_stream, desired_stream
from outbox_operator.plan.state import Owner
from outbox_operator.wire.dead_letters import advisory_subjects
from support.jetstream import OWNER, pass_stream, stream_spec
from support.nats import NatsServer, connected
from support.waiting import eventually

pytestmark = pytest.mark.integration

OTHER = Owner(uid="uid-of-other", key="EventStream/shop/other")

BASIC: dict[str, Any] = {
    "description": "Orders of the shop",
    "maxAge": "30d",
    "maxBytes": "10Mi",
    "maxMessages": 1000,
    "maxMessagesPerSubject": 10,
    "maxMessageSize": "64Ki",
    "discard": "New",
    "discardNewPerSubject": True,
    "duplicateWindow": "1m",
    "compression": "S2",
    "noAck": True,
    "placement": {"tags": ["ssd"]},
    "subjectTransform": {"source": "a.>", "destination": "b.>"},
    "republish": {"source": ">", "destination": "copies.>", "headersOnly": True},
    "allowDirect": False,
    "allowRollup": True,
    "consumerLimits": {"inactiveThreshold": "1h", "maxAckPending": 500},
    "metadata": {"team": "shop"},
}
"""Each can be changed later, and taken away again."""

FIXED: dict[str, Any] = {
    "retention": "WorkQueue",
    "storage": "Memory",
    "maxConsumers": 5,
    "firstSequence": 100,
    "denyDelete": True,
}
"""Set at creation on any server; never to be changed back."""


def full(name: str, **more: Any) -> dict[str, Any]:
    """Every field that any server takes, on subjects of this name."""
    return {
        **BASIC,
        "name": name,
        "subjects": [f"{name}.a", f"{name}.b.*"],
        "subjectTransform": {"source": f"{name}.a", "destination": f"{name}.c"},
        "republish": {"source": f"{name}.a", "destination": f"copies.{name}"},
        **more,
    }


async def test_defaults_are_in_sync_at_the_second_pass(admin: JetStreamAdmin, prefix: str) -> None:
    desired = desired_stream(stream_spec(prefix), OWNER)
    assert isinstance(await pass_stream(admin, desired), Create)
    assert await pass_stream(admin, desired) == InSync()


async def test_every_field_set_is_in_sync_at_the_second_pass(
    admin: JetStreamAdmin, prefix: str
) -> None:
    desired = desired_stream(stream_spec(**full(prefix, **FIXED)), OWNER)
    assert isinstance(await pass_stream(admin, desired), Create)
    assert await pass_stream(admin, desired) == InSync()
    observed = await admin.stream_info(prefix)
    assert observed is not None
    assert observed.owner_uid == OWNER.uid
    assert observed.config["metadata"][meta.OWNER_NAME_METADATA] == OWNER.key
    assert observed.config["metadata"]["team"] == "shop"
    assert observed.config["max_age"] == 30 * 86400 * 10**9


NEWER: list[dict[str, Any]] = [
    {"allowMessageTTL": True},
    {"subjectDeleteMarkerTTL": "10m"},
    {"allowMessageCounter": True},
    {"allowAtomicPublish": True, "allowBatchPublish": True},
    {"allowMessageSchedules": True, "allowMessageTTL": True},
    {"persistMode": "Async"},
]


@pytest.mark.parametrize("fields", NEWER, ids=lambda fields: next(iter(fields)))
async def test_newer_fields_are_in_sync_at_the_second_pass(
    newest: JetStreamAdmin, prefix: str, fields: dict[str, Any]
) -> None:
    desired = desired_stream(stream_spec(prefix, **fields), OWNER)
    assert isinstance(await pass_stream(newest, desired), Create)
    assert await pass_stream(newest, desired) == InSync()


async def test_copies_are_in_sync_at_the_second_pass(admin: JetStreamAdmin, prefix: str) -> None:
    origin = desired_stream(stream_spec(f"{prefix}o"), OWNER)
    mirror = stream_spec(
        f"{prefix}m",
        mirror={
            "name": f"{prefix}o",
            "startTime": "2026-01-01T02:00:00.5+02:00",
            "filterSubject": f"{prefix}o.a",
        },
    )
    collector = stream_spec(
        f"{prefix}s",
        sources=[
            {
                "name": f"{prefix}o",
                "startSequence": 7,
                "subjectTransforms": [
                    {"source": f"{prefix}o.>", "destination": f"{prefix}s.>"},
                ],
            },
            {"name": "FAR", "externalApiPrefix": "$JS.hub.API"},
        ],
    )
    for desired in (origin, desired_stream(mirror, OWNER), desired_stream(collector, OWNER)):
        assert isinstance(await pass_stream(admin, desired), Create)
        assert await pass_stream(admin, desired) == InSync()


@pytest.mark.parametrize("copies", ["mirror", "sources"])
async def test_what_is_to_be_copied_and_is_not_there_is_said(
    admin: JetStreamAdmin, prefix: str, copies: str
) -> None:
    origin = {"name": f"{prefix}o"}
    fields: dict[str, Any] = {copies: origin if copies == "mirror" else [origin]}
    await pass_stream(admin, desired_stream(stream_spec(prefix, **fields), OWNER))

    async def said() -> tuple[str, ...]:
        found = await admin.stream_info(prefix)
        return found.not_copied if found is not None else ()

    (word,) = await eventually(said, "the server says so")
    assert word.startswith(f"{prefix}o (")


@pytest.mark.parametrize("field", BASIC)
async def test_a_field_can_be_set_and_unset_again(
    admin: JetStreamAdmin, prefix: str, field: str
) -> None:
    everything = full(prefix)
    subjects = {"subjects": everything["subjects"]}
    plain = desired_stream(stream_spec(prefix, **subjects), OWNER)
    companions: dict[str, Any] = {}
    if field == "discardNewPerSubject":
        companions = {"discard": "New", "maxMessagesPerSubject": 10}
    with_field = desired_stream(
        stream_spec(prefix, **subjects, **companions, **{field: everything[field]}), OWNER
    )
    assert isinstance(await pass_stream(admin, plain), Create)
    changed = await pass_stream(admin, with_field)
    assert isinstance(changed, Update)
    assert field in {change.field for change in changed.changes}
    assert not changed.drift
    assert await pass_stream(admin, with_field) == InSync()
    assert isinstance(await pass_stream(admin, plain), Update)
    assert await pass_stream(admin, plain) == InSync()


async def test_subjects_and_replica_count_can_be_changed(
    admin: JetStreamAdmin, prefix: str
) -> None:
    await pass_stream(admin, desired_stream(stream_spec(prefix), OWNER))
    wider = desired_stream(stream_spec(prefix, subjects=[f"{prefix}.>", f"{prefix}x"]), OWNER)
    assert isinstance(await pass_stream(admin, wider), Update)
    assert await pass_stream(admin, wider) == InSync()


DRIFTS: dict[str, Any] = {
    "description": "changed by hand",
    "subjects": ["elsewhere"],
    "max_age": 10**12,
    "max_bytes": 12345,
    "max_msgs": 3,
    "max_msgs_per_subject": 4,
    "max_msg_size": 5000,
    "discard": "old",
    "discard_new_per_subject": False,
    "duplicate_window": 5 * 10**9,
    "compression": "none",
    "no_ack": False,
    "placement": None,
    "sources": [{"name": "X"}],
    "subject_transform": None,
    "republish": None,
    "allow_direct": True,
    "allow_rollup_hdrs": False,
    "consumer_limits": {},
    "metadata": {"team": "warehouse"},
}
"""Fields as somebody else might set them with another tool."""


@pytest.mark.parametrize("key", DRIFTS)
async def test_drift_is_repaired_and_named(admin: JetStreamAdmin, prefix: str, key: str) -> None:
    desired = desired_stream(stream_spec(**full(prefix)), OWNER)
    created = await pass_stream(admin, desired)
    assert isinstance(created, Create)
    value: Any = [f"{prefix}.elsewhere"] if key == "subjects" else DRIFTS[key]
    if key == "metadata":
        marks = {k: v for k, v in desired["metadata"].items() if k.startswith(meta.GROUP)}
        value = {**marks, **value}
    meddled = {**created.config, key: value}
    if key == "discard":
        meddled["discard_new_per_subject"] = False
    await admin.update_stream(meddled)
    repaired = await pass_stream(admin, desired, settled=True)
    assert isinstance(repaired, Update)
    assert repaired.drift
    assert await pass_stream(admin, desired, settled=True) == InSync()


async def test_a_deleted_stream_is_created_again(admin: JetStreamAdmin, prefix: str) -> None:
    desired = desired_stream(stream_spec(prefix), OWNER)
    await pass_stream(admin, desired)
    await admin.delete_stream(prefix)
    await admin.delete_stream(prefix)
    assert isinstance(await pass_stream(admin, desired, settled=True), Create)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({}, {"storage": "Memory"}, "storage: wanted 'Memory', found 'File'"),
        ({}, {"retention": "WorkQueue"}, "retention: wanted 'WorkQueue', found 'Limits'"),
        ({}, {"retention": "Interest"}, "retention: wanted 'Interest', found 'Limits'"),
        ({"maxConsumers": 3}, {}, "maxConsumers: wanted -1, found 3"),
        ({"denyDelete": True}, {}, "denyDelete: wanted False, found True"),
        ({"denyPurge": True}, {}, "denyPurge: wanted False, found True"),
        ({}, {"firstSequence": 9}, "firstSequence: wanted 9, found 0"),
    ],
)
async def test_changes_that_cannot_be_made_are_refused_and_nothing_is_touched(
    admin: JetStreamAdmin,
    prefix: str,
    before: dict[str, Any],
    after: dict[str, Any],
    words: str,
) -> None:
    await pass_stream(admin, desired_stream(stream_spec(prefix, **before), OWNER))
    refused = await pass_stream(
        admin, desired_stream(stream_spec(prefix, **after, description="too"), OWNER)
    )
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, UnsafeChangeError)
    assert words in refused.error.message
    assert prefix in refused.error.message
    observed = await admin.stream_info(prefix)
    assert observed is not None
    assert observed.config.get("description", "") == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"allowMessageTTL": True}, {}),
        ({"allowMessageCounter": True}, {}),
        ({}, {"allowMessageCounter": True}),
        ({"allowMessageSchedules": True}, {}),
        ({"persistMode": "Async"}, {}),
        ({}, {"persistMode": "Async"}),
    ],
)
async def test_newer_switches_that_cannot_be_turned_back(
    newest: JetStreamAdmin, prefix: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    await pass_stream(newest, desired_stream(stream_spec(prefix, **before), OWNER))
    refused = await pass_stream(newest, desired_stream(stream_spec(prefix, **after), OWNER))
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, UnsafeChangeError)


async def test_what_the_plan_calls_fixed_the_server_refuses_too(
    newest: JetStreamAdmin, prefix: str
) -> None:
    plain = desired_stream(stream_spec(prefix), OWNER)
    await pass_stream(newest, plain)
    for change in ({"storage": "memory"}, {"retention": "workqueue"}, {"persist_mode": "async"}):
        with pytest.raises(Exception, match="10052"):
            await newest.update_stream({**plain, **change})


async def test_interest_may_become_limits(admin: JetStreamAdmin, prefix: str) -> None:
    await pass_stream(admin, desired_stream(stream_spec(prefix, retention="Interest"), OWNER))
    desired = desired_stream(stream_spec(prefix), OWNER)
    assert isinstance(await pass_stream(admin, desired), Update)
    assert await pass_stream(admin, desired) == InSync()


async def test_sealing(admin: JetStreamAdmin, prefix: str) -> None:
    sealed = desired_stream(stream_spec(prefix, sealed=True, maxAge="1h"), OWNER)
    early = await pass_stream(admin, sealed)
    assert isinstance(early, Refused)
    assert "cannot be created sealed" in early.error.message
    opened = desired_stream(stream_spec(prefix, maxAge="1h"), OWNER)
    await pass_stream(admin, opened)
    assert isinstance(await pass_stream(admin, sealed), Update)
    assert await pass_stream(admin, sealed) == InSync()
    back = await pass_stream(admin, opened)
    assert isinstance(back, Refused)
    assert "sealed" in back.error.message


async def test_mirror_is_fixed_but_can_be_promoted_where_the_server_can(
    admin: JetStreamAdmin, prefix: str
) -> None:
    await pass_stream(admin, desired_stream(stream_spec(f"{prefix}o"), OWNER))
    copy = stream_spec(prefix, mirror={"name": f"{prefix}o"})
    await pass_stream(admin, desired_stream(copy, OWNER))
    other = stream_spec(prefix, mirror={"name": f"{prefix}p"})
    refused = await pass_stream(admin, desired_stream(other, OWNER))
    assert isinstance(refused, Refused)
    assert "mirror" in refused.error.message
    promoted = desired_stream(stream_spec(prefix), OWNER)
    if admin.api_level >= 2:
        assert isinstance(await pass_stream(admin, promoted), Update)
        assert await pass_stream(admin, promoted) == InSync()
    else:
        with pytest.raises(UnsafeChangeError):
            await pass_stream(admin, promoted)


async def test_undeclared_stream_is_left_alone_or_adopted(
    admin: JetStreamAdmin, prefix: str
) -> None:
    await admin.create_stream({"name": prefix, "subjects": [f"{prefix}.>"], "max_msgs": 5})
    desired = desired_stream(stream_spec(prefix, maxMessages=50), OWNER)
    refused = await pass_stream(admin, desired)
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, ConflictError)
    assert refused.error.reason == "StreamExists"
    assert "adoptionPolicy: Adopt" in refused.error.message
    untouched = await admin.stream_info(prefix)
    assert untouched is not None
    assert untouched.config["max_msgs"] == 5
    adopted = await pass_stream(admin, desired, adoption="Adopt")
    assert isinstance(adopted, Update)
    assert adopted.adopted
    assert await pass_stream(admin, desired) == InSync()


async def test_stream_of_another_resource(admin: JetStreamAdmin, prefix: str) -> None:
    await pass_stream(admin, desired_stream(stream_spec(prefix), OTHER), owner=OTHER)
    desired = desired_stream(stream_spec(prefix), OWNER)
    refused = await pass_stream(admin, desired, living={OTHER.uid}, adoption="Adopt")
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, ConflictError)
    assert OTHER.key in refused.error.message
    taken = await pass_stream(admin, desired, adoption="Adopt")
    assert isinstance(taken, Update)
    assert taken.adopted
    assert await pass_stream(admin, desired) == InSync()


async def test_recreated_resource_takes_its_stream_back(admin: JetStreamAdmin, prefix: str) -> None:
    before = Owner(uid="uid-before", key=OWNER.key)
    await pass_stream(admin, desired_stream(stream_spec(prefix), before), owner=before)
    desired = desired_stream(stream_spec(prefix), OWNER)
    assert isinstance(await pass_stream(admin, desired), Update)
    assert await pass_stream(admin, desired) == InSync()


async def test_overlapping_subjects_name_the_other_stream(
    admin: JetStreamAdmin, prefix: str
) -> None:
    await pass_stream(admin, desired_stream(stream_spec(prefix), OWNER))
    rival = desired_stream(stream_spec(f"{prefix}b", subjects=[f"{prefix}.new"]), OTHER)
    with pytest.raises(ConflictError, match=f"stream {prefix};") as caught:
        await pass_stream(admin, rival, owner=OTHER)
    assert caught.value.reason == "SubjectOverlap"


async def test_dead_letter_stream(admin: JetStreamAdmin, prefix: str) -> None:
    spec = stream_spec(prefix, deadLetter={"maxAge": "7d", "maxMessages": 10})
    desired = desired_dead_letter_stream(spec, OWNER)
    assert desired is not None
    assert isinstance(await pass_stream(admin, desired), Create)
    assert await pass_stream(admin, desired) == InSync()
    observed = await admin.stream_info(f"{prefix}_DLQ")
    assert observed is not None
    assert observed.subjects == (f"dlq.{prefix}.>", *advisory_subjects(prefix))


@pytest.mark.parametrize("fields", NEWER, ids=lambda fields: next(iter(fields)))
async def test_server_too_old_for_a_field(
    old_server: NatsServer, prefix: str, fields: dict[str, Any]
) -> None:
    async with connected(old_server) as client:
        admin = JetStreamAdmin(client, old_server.auth)
        await check_too_old(admin, stream_spec(prefix, **fields), "found API level 0")


async def test_server_too_old_for_fast_ingest(middle_server: NatsServer, prefix: str) -> None:
    async with connected(middle_server) as client:
        admin = JetStreamAdmin(client, middle_server.auth)
        spec = stream_spec(prefix, allowBatchPublish=True)
        await check_too_old(admin, spec, "allowBatchPublish needs nats-server 2.14")


async def test_fast_ingest_is_on_where_the_server_has_it(
    admin: JetStreamAdmin, prefix: str
) -> None:
    desired = desired_stream(stream_spec(prefix), OWNER)
    assert isinstance(await pass_stream(admin, desired), Create)
    assert await pass_stream(admin, desired) == InSync()
    observed = await admin.stream_info(prefix)
    assert observed is not None
    assert bool(observed.config.get("allow_batched")) is (admin.api_level >= 4)


async def test_a_stream_from_before_gets_fast_ingest(newest: JetStreamAdmin, prefix: str) -> None:
    before = desired_stream(stream_spec(prefix, allowBatchPublish=False), OWNER)
    assert isinstance(await pass_stream(newest, before), Create)
    now = desired_stream(stream_spec(prefix), OWNER)
    assert isinstance(await pass_stream(newest, now), Update)
    assert await pass_stream(newest, now) == InSync()


async def check_too_old(admin: JetStreamAdmin, spec: EventStreamSpec, words: str) -> None:
    refused = await pass_stream(admin, desired_stream(spec, OWNER))
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, UnsupportedServerError)
    assert words in refused.error.message
    assert await admin.stream_info(spec.name) is None
