"""Durable-consumer plans: what a specification becomes, and each decision, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.common import AdoptionPolicy
from outbox_operator.errors import (
    ConflictError,
    SpecError,
    UnsafeChangeError,
    UnsupportedServerError,
)
from outbox_operator.plan.jetstream.consumers import (
    ObservedConsumer,
    decide_consumer,
    desired_consumer,
)
from outbox_operator.plan.jetstream.decide import Config, Create, Decision, InSync, Refused, Update
from outbox_operator.plan.ownership import Claim
from support.jetstream import CONSUMER_OWNER, consumer_spec

OTHER = "uid-of-other"


def desired(runtime: bool = False, **fields: Any) -> Config:
    return desired_consumer(
        consumer_spec(**fields), "billing", CONSUMER_OWNER, runtime=runtime, api_level=4
    )


def decide(wanted: Config, observed: Config | None, **changes: Any) -> Decision:
    arguments: dict[str, Any] = {
        "claim": Claim(owner=CONSUMER_OWNER),
        "settled": False,
        "api_level": 5,
        "handled": False,
        **changes,
    }
    found = (
        None
        if observed is None
        else ObservedConsumer(name="billing", stream="ORDERS", config=observed)
    )
    return decide_consumer(wanted, found, **arguments)


@pytest.mark.parametrize(
    ("fields", "runtime", "expected"),
    [
        ({}, False, {"durable_name": "billing", "ack_policy": "explicit", "max_deliver": 16}),
        ({"maxDeliver": 3}, True, {"max_deliver": -1}),
        ({"maxDeliver": 0}, False, {"max_deliver": -1}),
        ({"backoff": ["1s", "5s"]}, False,
         {"backoff": [10**9, 5 * 10**9], "ack_wait": 10**9}),
        ({"backoff": ["1s", "5s"], "ackWait": "20s"}, True,
         {"backoff": [], "ack_wait": 20 * 10**9}),
        ({"filterSubjects": ["a.b"]}, False, {"filter_subject": "a.b"}),
        ({"filterSubjects": ["a", "b"]}, False, {"filter_subjects": ["a", "b"]}),
        ({}, False, {"filter_subjects": []}),
        ({"deliverPolicy": "ByStartSequence", "startSequence": 8}, False,
         {"deliver_policy": "by_start_sequence", "opt_start_seq": 8}),
        ({"deliverPolicy": "ByStartTime", "startTime": "2026-01-01T01:00:00+01:00"}, False,
         {"deliver_policy": "by_start_time", "opt_start_time": "2026-01-01T00:00:00Z"}),
        ({"deliverPolicy": "LastPerSubject"}, False, {"deliver_policy": "last_per_subject"}),
        ({"maxRequestMaxBytes": "1Mi", "maxRequestExpires": "5s", "maxRequestBatch": 7}, False,
         {"max_bytes": 2**20, "max_expires": 5 * 10**9, "max_batch": 7}),
        ({"priorityPolicy": "PinnedClient", "priorityGroups": ["a"], "pinnedTTL": "10s"}, False,
         {"priority_policy": "pinned_client", "priority_groups": ["a"],
          "priority_timeout": 10 * 10**9}),
        ({"pauseUntil": "2030-01-01T00:00:00Z"}, False, {"pause_until": "2030-01-01T00:00:00Z"}),
    ],
)  # fmt: skip
def test_specification_becomes_configuration(
    fields: dict[str, Any], runtime: bool, expected: dict[str, Any]
) -> None:
    config = desired(runtime, **fields)
    assert {key: config.get(key) for key in expected} == expected


def test_one_filter_or_many_never_both() -> None:
    assert "filter_subjects" not in desired(filterSubjects=["a"])
    assert "filter_subject" not in desired(filterSubjects=["a", "b"])


def test_a_plain_consumer_uses_no_newer_field() -> None:
    newer = {"pause_until", "priority_policy", "priority_groups", "priority_timeout"}
    assert not newer & set(desired())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"filterSubjects": ["a..b"]}, r"spec\.filterSubjects\[0\]"),
        ({"filterSubjects": ["a.>", "a.b"]}, r"'a\.b' overlaps 'a\.>'"),
        ({"startSequence": 4}, "startSequence and spec.deliverPolicy"),
        ({"deliverPolicy": "ByStartTime"}, "startTime and spec.deliverPolicy"),
        ({"deliverPolicy": "ByStartTime", "startTime": "noon"}, "spec.startTime: 'noon'"),
        ({"pauseUntil": "later"}, "spec.pauseUntil"),
        ({"backoff": ["1s", "2s", "3s"], "maxDeliver": 2}, "3 steps but spec.maxDeliver is 2"),
        ({"priorityGroups": ["a"]}, "priorityGroups and spec.priorityPolicy"),
        ({"priorityPolicy": "Overflow"}, "priorityGroups and spec.priorityPolicy"),
        (
            {"priorityPolicy": "Overflow", "priorityGroups": ["a"], "pinnedTTL": "1s"},
            "pinnedTTL needs",
        ),
        ({"metadata": {"outbox.dev/x": "y"}}, "reserved"),
    ],
)
def test_what_no_server_accepts_is_refused_by_field(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        desired(**fields)


def test_more_steps_than_deliveries_are_fine_for_our_runtime() -> None:
    assert desired(True, backoff=["1s", "2s", "3s"], maxDeliver=2)["backoff"] == []


def test_missing_consumer_is_created() -> None:
    assert decide(desired(), None) == Create(config=desired())


def test_server_additions_are_no_difference() -> None:
    observed = desired(filterSubjects=["a"])
    for left_out in ("description", "backoff", "max_batch", "sample_freq", "mem_storage"):
        del observed[left_out]
    observed["metadata"] = {**observed["metadata"], "_nats.ver": "2.99"}
    observed["filter_subjects"] = [observed.pop("filter_subject")]
    observed["priority_policy"] = "none"
    assert decide(desired(filterSubjects=["a"]), observed) == InSync()


@pytest.mark.parametrize(
    ("wanted", "found", "possible"),
    [
        ({"ackWait": "5s"}, {}, True),
        ({"maxDeliver": -1}, {"maxDeliver": 4}, True),
        ({"filterSubjects": ["a"]}, {"filterSubjects": ["a", "b"]}, True),
        ({"filterSubjects": ["b", "a"]}, {"filterSubjects": ["a", "b"]}, None),
        ({}, {"pauseUntil": "2030-01-01T00:00:00Z"}, True),
        ({"pauseUntil": "2030-01-01T00:00:00Z"}, {"pauseUntil": "2030-01-01T02:00:00+02:00"}, None),
        ({"deliverPolicy": "New"}, {}, False),
        ({"ackPolicy": "All"}, {}, False),
        ({"maxWaiting": 10}, {}, False),
        ({"replayPolicy": "Original"}, {}, False),
        ({"memoryStorage": True}, {}, False),
    ],
)
def test_what_can_be_changed_in_place(
    wanted: dict[str, Any], found: dict[str, Any], possible: bool | None
) -> None:
    """None: there is no difference at all."""
    decision = decide(desired(**wanted), desired(**found))
    if possible is None:
        assert decision == InSync()
    elif possible:
        assert isinstance(decision, Update)
        assert decision.config == desired(**wanted)
    else:
        assert isinstance(decision, Refused)
        assert isinstance(decision.error, UnsafeChangeError)
        assert "another durableName" in decision.error.message


def test_push_consumer_is_refused() -> None:
    decision = decide(desired(), {**desired(), "deliver_subject": "x"})
    assert isinstance(decision, Refused)
    assert "push delivery" in decision.error.message


def test_inactive_threshold_of_the_stream_counts_as_default() -> None:
    hour = 3600 * 10**9
    limits = {"consumer_limits": {"inactive_threshold": hour}}
    found = {**desired(), "inactive_threshold": hour}
    assert decide(desired(), found, stream_config=limits) == InSync()
    assert isinstance(decide(desired(), found), Update)
    own = decide(desired(inactiveThreshold="5m"), found, stream_config=limits)
    assert isinstance(own, Update)


@pytest.mark.parametrize(
    ("metadata", "adoption", "live", "reason"),
    [
        ({}, "Fail", (), "ConsumerExists"),
        ({}, "Adopt", (), None),
        ({meta.OWNER_METADATA: OTHER}, "Adopt", (OTHER,), "ResourceConflict"),
    ],
)
def test_ownership(
    metadata: dict[str, str], adoption: AdoptionPolicy, live: tuple[str, ...], reason: str | None
) -> None:
    decision = decide(
        desired(),
        {**desired(), "metadata": metadata},
        claim=Claim(owner=CONSUMER_OWNER, adoption=adoption, living={CONSUMER_OWNER.uid, *live}),
    )
    if reason is None:
        assert isinstance(decision, Update)
    else:
        assert isinstance(decision, Refused)
        assert isinstance(decision.error, ConflictError)
        assert decision.error.reason == reason


@pytest.mark.parametrize(
    ("fields", "level", "needed"),
    [
        ({"pauseUntil": "2030-01-01T00:00:00Z"}, 0, "2.11"),
        ({"priorityPolicy": "Overflow", "priorityGroups": ["a"]}, 0, "2.11"),
        ({"priorityPolicy": "Prioritized", "priorityGroups": ["a"]}, 1, "2.12"),
    ],
)
def test_field_newer_than_the_server(fields: dict[str, Any], level: int, needed: str) -> None:
    decision = decide(desired(**fields), None, api_level=level)
    assert isinstance(decision, Refused)
    assert isinstance(decision.error, UnsupportedServerError)
    assert f"needs nats-server {needed}" in decision.error.message


def ordered_config(api_level: int, **fields: Any) -> dict[str, Any]:
    spec = consumer_spec(ordering="PerKey", handler={"http": {"url": "http://a/b"}}, **fields)
    return desired_consumer(spec, "billing", CONSUMER_OWNER, runtime=True, api_level=api_level)


def test_an_ordered_consumer_has_one_reader_at_a_time() -> None:
    config = ordered_config(1)
    assert (config["priority_policy"], config["priority_groups"]) == ("pinned_client", ["outbox"])
    assert config["priority_timeout"] == 20 * 10**9
    assert config["max_ack_pending"] == 10_000
    own = ordered_config(
        1, priorityPolicy="PinnedClient", priorityGroups=["mine"], pinnedTTL="5s", ackPolicy="All"
    )
    assert (own["priority_groups"], own["priority_timeout"]) == (["mine"], 5 * 10**9)
    assert own["ack_policy"] == "all"


def test_an_ordered_consumer_on_an_old_server_has_one_event_in_flight() -> None:
    config = ordered_config(0)
    assert config["max_ack_pending"] == 1
    assert "priority_policy" not in config
