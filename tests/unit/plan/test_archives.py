"""What a consumer with an archive may ask for, and what its pods are told of it."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.errors import SpecError
from outbox_operator.plan.archives import archive_of
from outbox_operator.plan.checks import check_consumer
from outbox_operator.plan.jetstream.consumers import settles_itself
from outbox_operator.plan.kubernetes.runtime_config import archive_config
from outbox_operator.plan.kubernetes.workloads import consumer_login_refs, consumer_secret_refs
from outbox_operator.plan.sources import Source
from support.resources import consumer, pipeline

ARCHIVE: dict[str, Any] = {
    "connectionSecretRef": {"name": "writer", "key": "url"},
    "migrationSecretRef": {"name": "keeper"},
    "retention": [
        {"name": "orders", "eventTypes": ["order.*"], "keep": "400d"},
        {"name": "default", "keep": "90d"},
    ],
    "extract": {"actor": "$.actor.id"},
    "redact": ["$.card"],
    "readers": ["auditor"],
}


def changed(**fields: Any) -> dict[str, Any]:
    """The archive of a handler with other fields."""
    return {"archive": {**ARCHIVE, **fields}}


def test_what_the_pods_are_told_and_may() -> None:
    resource = consumer(handler=changed())
    check_consumer(resource.spec)
    archive = archive_of(resource.spec)
    assert archive is not None
    nats = pipeline().spec.jetstream
    config = archive_config(resource, archive, Source(stream="ORDERS", nats=nats))
    assert [(one.name, one.keep_seconds) for one in config.rules.retention] == [
        ("orders", 400 * 86400.0),
        ("default", 90 * 86400.0),
    ]
    assert config.rules.class_of("order.paid") == "orders"
    assert (config.database.url_file, config.database.schema) == (
        "/var/run/outbox/secrets/archive/url",
        "archive",
    )
    assert config.migration is None, "who writes cannot make tables, nor drop them"
    assert config.owner_uid == resource.meta.uid
    refs = (("writer", "url"),)
    assert consumer_secret_refs(resource.spec, nats) == refs
    assert consumer_login_refs(resource.spec, nats) == refs
    assert settles_itself(resource.spec)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"ackPolicy": "All"}, "spec.ackPolicy: wanted Explicit"),
        ({"ackPolicy": "None"}, "spec.ackPolicy: wanted Explicit"),
        ({"ordering": "PerKey"}, "spec.ordering: wanted None"),
        ({"priorityPolicy": "Overflow", "priorityGroups": ["a"]}, "spec.priorityPolicy"),
        ({"headersOnly": True}, "spec.headersOnly: wanted false"),
        ({"inbox": {"connectionSecretRef": {"name": "x"}}}, "spec.inbox: wanted none"),
        ({"maxAckPending": 3999}, "spec.maxAckPending: wanted 4000 or more"),
        (
            {"handler": changed(retention=[{"name": "a", "keep": "59m"}])},
            "spec.handler.archive.retention[0].keep: wanted 3600",
        ),
        (
            {"handler": changed(retention=[{"name": "a", "eventTypes": ["x"], "keep": "1d"}])},
            "spec.handler.archive.retention: wanted a last class without eventTypes",
        ),
        (
            {"handler": changed(extract={"payload": "$.a"})},
            "spec.handler.archive.extract: wanted as name of a column",
        ),
        (
            {"handler": changed(sealing={"every": "25h"})},
            "spec.handler.archive.sealing.every: wanted 1s to 24h, found 25h",
        ),
        (
            {"handler": changed(redact=["$.actor"])},
            "spec.handler.archive.extract.actor: $.actor.id is, or holds, what redact",
        ),
    ],
)
def test_what_cannot_be_kept_is_refused(spec: dict[str, Any], said: str) -> None:
    resource = consumer(**{"handler": changed(), **spec})
    with pytest.raises(SpecError) as refused:
        check_consumer(resource.spec)
    assert said in str(refused.value)


@pytest.mark.parametrize("limit", [-1, 4000, 10_000])
def test_enough_may_be_in_flight(limit: int) -> None:
    check_consumer(consumer(handler=changed(), maxAckPending=limit).spec)


def test_the_rows_of_an_outbox_are_all_of_them() -> None:
    handler = changed(backfill={"connectionSecretRef": {"name": "orders"}})
    check_consumer(consumer(handler=handler).spec)
    filtered = consumer(handler=handler, filterSubjects=["orders.a"]).spec
    with pytest.raises(SpecError, match=r"spec.filterSubjects: wanted none with .*backfill"):
        check_consumer(filtered)
