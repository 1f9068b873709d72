"""Specifications that cannot work are refused with field, wanted and found."""

from __future__ import annotations

import time
from typing import Any

import pytest

from outbox_operator.errors import SpecError
from outbox_operator.plan import checks
from support import resources

HTTP = {"http": {"url": "http://a/b"}}
CONTAINER = {"container": {"image": "i"}}
BY_SHARD = {"connectionSecretRef": {"name": "db"}, "mode": "PerShard"}
OVERFLOW = {"priorityPolicy": "Overflow", "priorityGroups": ["g"]}
STREAM = {"name": "ORDERS", "subject": "orders.{event_type}"}
SHARDED = {"outbox": {"shards": 8}, "stream": {**STREAM, "subject": "orders.{shard}.{event_type}"}}
ORDERED = {"name": "a", "ordering": "PerKey", "handler": {"http": {"url": "http://a/"}}}


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"stream": {**STREAM, "subjects": ["orders.>"]}},
        {"stream": {**STREAM, "subjects": ["audit.>", "orders.>"]}},
        {"stream": {**STREAM, "maxAge": "2m"}},
        {"stream": {"ref": {"name": "shared"}, "subject": "orders.{event_type}"}},
        {"outbox": {"shards": 4}, "stream": {**STREAM, "subject": "orders.{shard}.{event_type}"}},
        {"outbox": {"shards": 4, "ordering": "None"}},
        {"consumers": [{"name": "a", "backoff": ["1s", "5s", "30s"]}, {"name": "b"}]},
        {"consumers": [{"name": "a", "maxDeliver": -1, "backoff": ["1s"] * 64}]},
        {"consumers": [{"name": "a", "inbox": {"connectionSecretRef": {"name": "db"}}}]},
        {"consumers": [{"name": "a", "handler": HTTP, "ordering": "PerKey", "ackPolicy": "All"}]},
        {"consumers": [{"name": "a", "handler": HTTP, "inbox": BY_SHARD, "ackPolicy": "All"}]},
        {"consumers": [{"name": "a", "handler": CONTAINER, **OVERFLOW}]},
    ],
)
def test_what_works_is_let_through(spec: dict[str, Any]) -> None:
    checks.check_pipeline(resources.pipeline(spec).spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"consumers": [{"name": "a", "ordering": "PerKey"}]},
            "ordering PerKey and inbox mode PerShard need a handler of kind http or python",
        ),
        (
            {"consumers": [{"name": "a", "handler": CONTAINER, "inbox": BY_SHARD}]},
            "ordering PerKey and inbox mode PerShard need a handler of kind http or python",
        ),
        (
            {"consumers": [{"name": "a", "handler": HTTP, "ackPolicy": "All"}]},
            r"ackPolicy: wanted Explicit, or All with ordering PerKey .*; found All",
        ),
        (
            {"consumers": [{"name": "a", "handler": HTTP, **OVERFLOW}]},
            r"priorityPolicy: wanted None, found Overflow",
        ),
        ({"stream": {**STREAM, "subject": "orders.{nothing}"}}, r"unknown placeholder \{nothing\}"),
        (
            {"stream": {**STREAM, "subjects": ["payments.>"]}},
            r"wanted a filter that covers 'orders\.>'.*'orders\.\{event_type\}'.*payments\.>",
        ),
        (
            {
                "stream": {
                    "ref": {"name": "shared"},
                    "subject": "orders.{event_type}",
                    "maxAge": "1d",
                    "subjects": ["orders.>"],
                }
            },
            r"maxAge, subjects cannot be set together with ref",
        ),
        ({"outbox": {"shards": 4}}, r"\{shard\} must be .*example orders\.\{shard\}\.\{event_type"),
        (
            {
                "outbox": {"shards": 4},
                "stream": {**STREAM, "subject": "orders.{event_type}.{shard}"},
            },
            r"'orders\.\{event_type\}\.\{shard\}' does not tell shards apart",
        ),
        ({"relay": {"polling": {"min": "2s", "max": "1s"}}}, r"min 2s and max 1s"),
        ({"relay": {"polling": {"min": "0", "max": "1s"}}}, r"wanted 0 < min"),
        ({"relay": {"autoscaling": {"targetDrainTime": "0s"}}}, r"wanted more than 0s, found 0s"),
        ({"consumers": [{"name": "a"}, {"name": "a"}]}, r"name 'a' is there twice"),
        ({**SHARDED, "consumers": [{"name": "a", "lanes": 2}]}, r"a\]\.lanes: wanted 1, or orde"),
        (
            {**SHARDED, "consumers": [{"name": "a", "ordering": "PerKey", "lanes": 2}]},
            r"spec\.consumers\[a\]: ordering PerKey and .* need a handler",
        ),
        ({**SHARDED, "consumers": [{**ORDERED, "lanes": 9}]}, r"lanes: wanted at most 8.*found 9"),
        (
            {**SHARDED, "consumers": [{**ORDERED, "lanes": 2}, {"name": "a-1"}]},
            r"'a-1' is there tw",
        ),
        (
            {**SHARDED, "consumers": [{**ORDERED, "name": "a" * 62, "lanes": 2}]},
            r"wanted at most 63 characters.*found 64",
        ),
        (
            {"outbox": {"shards": 8, "ordering": "None"}, "consumers": [{**ORDERED, "lanes": 2}]},
            r"does not tell shards apart",
        ),
        (
            {
                **SHARDED,
                "consumers": [
                    {**ORDERED, "lanes": 2, "filterEventTypes": [f"t{n}" for n in range(65)]}
                ],
            },
            r"wanted at most 256 filters, found 260",
        ),
        (
            {"consumers": [{"name": "a", "durableName": "D"}, {"name": "b", "durableName": "D"}]},
            r"durableName 'D' is there twice",
        ),
        (
            {"consumers": [{"name": "a", "ackWait": "10ms"}]},
            r"consumers\[a\]\.ackWait: wanted at least 1s, found 10ms",
        ),
        ({"consumers": [{"name": "a", "maxDeliver": 0}]}, r"maxDeliver: wanted at least 1"),
        (
            {"consumers": [{"name": "a", "maxDeliver": 3, "backoff": ["1s", "2s", "3s"]}]},
            r"wanted at most 2 delays.*found 3",
        ),
        (
            {
                "consumers": [
                    {
                        "name": "a",
                        "inbox": {"connectionSecretRef": {"name": "db"}, "retention": "1m"},
                    }
                ]
            },
            r"inbox\.retention: wanted more than \d+s.*found 1m",
        ),
        (
            {
                "stream": {**STREAM, "subject": "orders.all"},
                "consumers": [{"name": "a", "filterEventTypes": ["x"]}],
            },
            r"holds no \{event_type\}",
        ),
    ],
)
def test_what_cannot_work_is_refused(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        checks.check_pipeline(resources.pipeline(spec).spec)


def test_a_standalone_consumer_is_held_to_the_same_rules() -> None:
    checks.check_consumer(resources.consumer().spec)
    with pytest.raises(SpecError, match=r"spec\.ackWait"):
        checks.check_consumer(resources.consumer(ackWait="0").spec)


def test_hundreds_of_types_for_dozens_of_shards_are_refused_in_no_time() -> None:
    """Two kilobytes that a tenant writes must not keep the operator, which stands still for it."""
    stream = {**STREAM, "subject": "orders.{shard}.{event_type}"}
    types = [f"t{number}" for number in range(256)]
    consumers = [{**ORDERED, "lanes": 2, "filterEventTypes": types}]
    spec = {"outbox": {"shards": 64}, "stream": stream, "consumers": consumers}
    started = time.process_time()
    with pytest.raises(SpecError, match="at most 256 filters, found 8192"):
        checks.check_pipeline(resources.pipeline(spec).spec)
    assert time.process_time() - started < 20  # each beside each is four minutes
