"""Stream plans: what a specification becomes, and each decision, without a server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.common import AdoptionPolicy
from outbox_operator.errors import (
    ConflictError,
    OutboxError,
    SpecError,
    UnsafeChangeError,
    UnsupportedServerError,
)
from outbox_operator.plan.jetstream.decide import Config, Create, Decision, InSync, Refused, Update
from outbox_operator.plan.jetstream.stream_config import (
    dead_letter_name,
    dead_letter_prefix,
    desired_dead_letter_stream,
    desired_stream,
)
from outbox_operator.plan.jetstream.streams import ObservedStream, decide_stream
from outbox_operator.plan.ownership import Claim
from outbox_operator.plan.state import Owner
from outbox_operator.wire.dead_letters import advisory_subjects
from support.jetstream import OWNER, stream_spec

OTHER = "uid-of-other"
MARKS = {meta.OWNER_METADATA: OWNER.uid, meta.OWNER_NAME_METADATA: OWNER.key}


def decide(desired: Config, observed: Config | None, **changes: Any) -> Decision:
    arguments: dict[str, Any] = {
        "claim": Claim(owner=OWNER),
        "settled": False,
        "api_level": 5,
        **changes,
    }
    found = None if observed is None else ObservedStream(name="ORDERS", config=observed)
    return decide_stream(desired, found, **arguments)


def refusal(decision: Decision) -> OutboxError:
    assert isinstance(decision, Refused)
    return decision.error


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"maxAge": "30d"}, {"max_age": 2_592_000 * 10**9}),
        ({"maxAge": "1500ms"}, {"max_age": 1_500_000_000}),
        ({"maxBytes": "1Gi"}, {"max_bytes": 2**30}),
        ({"maxBytes": "0", "maxMessages": 0}, {"max_bytes": -1, "max_msgs": -1}),
        ({"maxMessageSize": "1k"}, {"max_msg_size": 1000}),
        ({"duplicateWindow": "30s"}, {"duplicate_window": 30 * 10**9}),
        # The default is cut down, as its description says.
        ({"maxAge": "1m"}, {"max_age": 60 * 10**9, "duplicate_window": 60 * 10**9}),
        (
            {"maxAge": "1m", "duplicateWindow": "60s"},
            {"max_age": 60 * 10**9, "duplicate_window": 60 * 10**9},
        ),
        ({"maxAge": "10s"}, {"duplicate_window": 10 * 10**9}),
        ({"retention": "WorkQueue"}, {"retention": "workqueue"}),
        ({"storage": "Memory"}, {"storage": "memory"}),
        ({"compression": "S2"}, {"compression": "s2"}),
        ({"replicas": 3}, {"num_replicas": 3}),
        ({"placement": {"cluster": "eu", "tags": ["ssd"]}},
         {"placement": {"cluster": "eu", "tags": ["ssd"]}}),
        ({"placement": {}}, {"placement": None}),
        ({"persistMode": "Async"}, {"persist_mode": "async"}),
        ({"allowMessageTTL": True}, {"allow_msg_ttl": True}),
        (
            {"subjectDeleteMarkerTTL": "1m"},
            {"subject_delete_marker_ttl": 60 * 10**9, "allow_msg_ttl": True,
             "allow_rollup_hdrs": True},
        ),
        (
            {"mirror": {"name": "A", "startTime": "2026-01-01T02:00:00+02:00"}},
            {"mirror": {"name": "A", "opt_start_time": "2026-01-01T00:00:00Z"}, "subjects": []},
        ),
        (
            {"sources": [{"name": "A", "externalApiPrefix": "$JS.hub.API"}]},
            {"sources": [{"name": "A", "external": {"api": "$JS.hub.API", "deliver": ""}}]},
        ),
        ({"metadata": {"team": "shop"}}, {"metadata": {**MARKS, "team": "shop"}}),
    ],
)  # fmt: skip
def test_specification_becomes_configuration(
    fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    config = desired_stream(stream_spec(**fields), OWNER)
    assert {key: config[key] for key in expected} == expected


def test_a_plain_stream_says_every_field_and_no_newer_one() -> None:
    config = desired_stream(stream_spec(allowBatchPublish=False), OWNER)
    assert {"max_age", "max_bytes", "placement", "republish", "sealed", "metadata"} <= set(config)
    newer = {"allow_msg_ttl", "allow_atomic", "allow_batched", "persist_mode", "allow_msg_counter"}
    assert not newer & set(config)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"subjects": ["a..b"]}, r"spec\.subjects\[0\]: 'a\.\.b' is not a subject"),
        ({"subjects": ["a", "b.>.c"]}, r"spec\.subjects\[1\]"),
        ({"subjects": ["a.*", "a.b"]}, r"spec\.subjects\[1\]: 'a\.b' overlaps 'a\.\*'"),
        ({"metadata": {"outbox.dev/owner": "me"}}, "'outbox.dev/owner' is reserved"),
        ({"metadata": {"_nats.ver": "9"}}, "reserved"),
        ({"mirror": {"name": "A", "startTime": "soon"}}, r"spec\.mirror\.startTime: 'soon'"),
        ({"mirror": {"name": "A", "startTime": "2026-01-01T00:00:00"}}, "is not a time"),
        ({"sources": [{"name": "A", "filterSubject": "a."}]}, r"spec\.sources\[0\]\.filterSubject"),
        ({"denyPurge": True, "subjectDeleteMarkerTTL": "1m"}, "denyPurge cannot be combined"),
        (
            {"maxAge": "1m", "duplicateWindow": "10m"},
            r"spec\.duplicateWindow: wanted at most maxAge, 1m,.*found 10m",
        ),
        ({"maxAge": "60s", "duplicateWindow": "61s"}, r"spec\.duplicateWindow: wanted at most"),
        ({"maxAge": "1m", "duplicateWindow": "120s"}, r"spec\.duplicateWindow: wanted at most"),
    ],
)
def test_what_no_server_accepts_is_refused_by_field(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        desired_stream(stream_spec(**fields), OWNER)


def test_dead_letter_stream_has_defaults_and_lives_where_its_stream_lives() -> None:
    spec = stream_spec(deadLetter={}, storage="Memory", replicas=3, placement={"cluster": "eu"})
    config = desired_dead_letter_stream(spec, OWNER)
    assert config is not None
    assert config["name"] == "ORDERS_DLQ"
    assert config["subjects"] == ["dlq.ORDERS.>", *advisory_subjects("ORDERS")]
    assert (config["storage"], config["num_replicas"]) == ("memory", 3)
    assert config["placement"] == {"cluster": "eu"}
    assert config["metadata"] == {**MARKS, "outbox.dev/dead-letters-of": "ORDERS"}


def test_dead_letter_stream_as_written() -> None:
    spec = stream_spec(
        deadLetter={"name": "DEAD", "subjectPrefix": "dead.orders", "maxAge": "7d",
                    "maxBytes": "1Mi", "maxMessages": 9, "captureAdvisories": False}
    )  # fmt: skip
    config = desired_dead_letter_stream(spec, OWNER)
    assert config is not None
    assert (dead_letter_name(spec), dead_letter_prefix(spec)) == ("DEAD", "dead.orders")
    assert config["subjects"] == ["dead.orders.>"]
    assert (config["max_age"], config["max_bytes"], config["max_msgs"]) == (
        604_800 * 10**9,
        2**20,
        9,
    )


def test_no_dead_letter_stream_unless_asked_for() -> None:
    assert desired_dead_letter_stream(stream_spec(), OWNER) is None
    assert dead_letter_prefix(stream_spec()) == "dlq.ORDERS"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"subjects": [">"], "deadLetter": {}}, r"spec\.subjects\[0\] is '>'"),
        ({"deadLetter": {"subjectPrefix": "ORDERS.dead"}}, "choose a prefix outside"),
        ({"deadLetter": {"subjectPrefix": "dlq.*"}}, "without wildcards"),
        ({"deadLetter": {"subjectPrefix": "dlq..x"}}, "without wildcards"),
        ({"deadLetter": {"name": "ORDERS"}}, "is the stream itself"),
    ],
)
def test_dead_letters_that_would_come_back(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        desired_dead_letter_stream(stream_spec(**fields), OWNER)


def test_missing_stream_is_created() -> None:
    desired = desired_stream(stream_spec(allowBatchPublish=False), OWNER)
    assert decide(desired, None) == Create(config=desired)


def test_server_additions_are_no_difference() -> None:
    desired = desired_stream(stream_spec(subjects=["b", "a"], allowBatchPublish=False), OWNER)
    observed = {
        **desired,
        "subjects": ["a", "b"],
        "max_msgs": 0,
        "allow_msg_ttl": False,
        "persist_mode": "default",
        "some_future_field": 7,
        "metadata": {**MARKS, "_nats.ver": "2.99", "_nats.level": "9"},
    }
    for left_out in ("description", "placement", "mirror", "sources", "first_seq", "no_ack"):
        del observed[left_out]
    assert decide(desired, observed) == InSync()


def test_update_carries_the_whole_configuration_and_readable_changes() -> None:
    desired = desired_stream(stream_spec(maxAge="36h", allowBatchPublish=False), OWNER)
    decision = decide(desired, {**desired, "max_age": 86_400 * 10**9, "compression": "s2"})
    assert isinstance(decision, Update)
    assert decision.config == desired
    assert [str(change) for change in decision.changes] == [
        "maxAge: wanted '36h', found '1d'",
        "compression: wanted 'None', found 'S2'",
    ]


@pytest.mark.parametrize(
    ("settled", "mark", "drift"),
    [(True, OWNER.uid, True), (False, OWNER.uid, False), (True, "uid-before", False)],
)
def test_a_difference_is_drift_only_if_it_was_right_before(
    settled: bool, mark: str, drift: bool
) -> None:
    desired = desired_stream(stream_spec(), OWNER)
    observed = {**desired, "max_age": 1, "metadata": {**MARKS, meta.OWNER_METADATA: mark}}
    decision = decide(desired, observed, settled=settled)
    assert isinstance(decision, Update)
    assert decision.drift is drift


@pytest.mark.parametrize(
    ("metadata", "adoption", "live", "outcome"),
    [
        ({}, "Fail", (), "StreamExists"),
        ({}, "Adopt", (), "taken"),
        ({meta.OWNER_METADATA: OTHER}, "Adopt", (OTHER,), "ResourceConflict"),
        ({meta.OWNER_METADATA: OTHER}, "Fail", (OTHER,), "ResourceConflict"),
        ({meta.OWNER_METADATA: OTHER}, "Fail", (), "StreamExists"),
        ({meta.OWNER_METADATA: OTHER}, "Adopt", (), "taken"),
        ({**MARKS, meta.OWNER_METADATA: "uid-before"}, "Fail", (), "taken"),
    ],
)
def test_ownership(
    metadata: dict[str, str], adoption: AdoptionPolicy, live: tuple[str, ...], outcome: str
) -> None:
    desired = desired_stream(stream_spec(), OWNER)
    decision = decide(
        desired,
        {**desired, "metadata": metadata},
        claim=Claim(owner=OWNER, adoption=adoption, living={OWNER.uid, *live}),
    )
    if outcome == "taken":
        assert isinstance(decision, Update)
        assert decision.adopted is (metadata.get(meta.OWNER_METADATA) != "uid-before")
    else:
        error = refusal(decision)
        assert isinstance(error, ConflictError)
        assert error.reason == outcome
        assert "stream ORDERS" in error.message


@pytest.mark.parametrize(("same", "drift"), [(True, True), (False, False)])
def test_a_stream_without_its_mark_is_ours_only_if_it_is_the_one_we_had(
    same: bool, drift: bool
) -> None:
    desired = desired_stream(stream_spec(), OWNER)
    claim = Claim(owner=OWNER, held=True, same=same)
    decision = decide(desired, {**desired, "metadata": {}}, claim=claim, settled=True)
    if not same:
        assert refusal(decision).reason == "StreamExists"
        return
    assert isinstance(decision, Update)
    assert decision.drift is drift
    assert not decision.adopted


def test_a_mark_of_an_older_version_is_completed_without_a_word() -> None:
    here = replace(OWNER, cluster="here")
    desired = desired_stream(stream_spec(allowBatchPublish=False), here)
    observed = {**desired, "metadata": MARKS}
    decision = decide(desired, observed, claim=Claim(owner=here), settled=True)
    assert isinstance(decision, Update)
    assert not decision.drift


@pytest.mark.parametrize(
    ("wanted", "found", "possible"),
    [
        ({"storage": "Memory"}, {}, False),
        ({}, {"retention": "interest"}, True),
        ({"retention": "Interest"}, {"retention": "limits"}, False),
        ({"retention": "WorkQueue"}, {"retention": "interest"}, False),
        ({"maxConsumers": 4}, {"max_consumers": -1}, False),
        ({"denyPurge": True}, {"deny_purge": False}, True),
        ({}, {"deny_purge": True}, False),
        ({}, {"deny_delete": True}, False),
        ({}, {"sealed": True}, False),
        ({}, {"allow_msg_ttl": True}, False),
        ({"allowMessageTTL": True}, {"allow_msg_ttl": False}, True),
        ({}, {"allow_msg_schedules": True}, False),
        ({"allowMessageCounter": True}, {}, False),
        ({"persistMode": "Async"}, {"persist_mode": "default"}, False),
        ({}, {"allow_atomic": True, "allow_batched": True}, True),
        ({"firstSequence": 5}, {"first_seq": 0}, False),
        ({"firstSequence": 1}, {"first_seq": 0}, None),
        ({"mirror": {"name": "A"}}, {"mirror": {"name": "B"}}, False),
        ({"mirror": {"name": "A"}}, {"mirror": None}, False),
        ({}, {"mirror": {"name": "A"}}, True),
        ({"mirror": {"name": "A"}}, {"mirror_direct": True}, None),
        (
            {"mirror": {"name": "A", "startTime": "2026-01-01T00:00:00Z"}},
            {"mirror": {"name": "A", "opt_start_time": "2026-01-01T01:00:00+01:00"}},
            None,
        ),
        ({"consumerLimits": {"maxAckPending": -1}}, {"consumer_limits": {}}, None),
    ],
)
def test_what_can_be_changed_in_place(
    wanted: dict[str, Any], found: dict[str, Any], possible: bool | None
) -> None:
    """None: there is no difference at all."""
    desired = desired_stream(stream_spec(allowBatchPublish=False, **wanted), OWNER)
    base = {key: value for key, value in desired.items() if key not in found}
    if not found:
        base = desired_stream(stream_spec(allowBatchPublish=False), OWNER)
    decision = decide(desired, {**base, **found})
    if possible is None:
        assert decision == InSync()
    elif possible:
        assert isinstance(decision, Update)
    else:
        error = refusal(decision)
        assert isinstance(error, UnsafeChangeError)
        assert "cannot be changed in place" in error.message
        assert "declare a stream of another name" in error.message


@pytest.mark.parametrize(
    ("fields", "found", "level", "batches"),
    [
        ({}, None, 4, True),
        ({}, None, 3, None),
        ({}, {}, 4, True),  # of an older operator, or from before the server was upgraded
        ({}, {"allow_batched": True}, 4, InSync),
        ({}, {}, 3, InSync),
        ({"allowBatchPublish": False}, None, 4, None),
        ({"allowBatchPublish": False}, {"allow_batched": True}, 4, None),
        ({"allowBatchPublish": True}, {}, 4, True),
        ({"mirror": {"name": "A"}}, None, 4, None),
        ({"sealed": True}, {}, 4, InSync),
        ({"sealed": True}, {"allow_batched": True}, 4, InSync),
    ],
)
def test_fast_ingest_is_on_where_the_server_has_it(
    fields: dict[str, Any], found: dict[str, Any] | None, level: int, batches: object
) -> None:
    desired = desired_stream(stream_spec(**fields), OWNER)
    base = {key: value for key, value in desired.items() if key != "allow_batched"}
    decision = decide(desired, None if found is None else {**base, **found}, api_level=level)
    if batches is InSync:
        assert decision == InSync()
    else:
        assert isinstance(decision, Create | Update)
        assert decision.config.get("allow_batched") is batches


@pytest.mark.parametrize(("changed", "drift"), [({}, False), ({"max_age": 1}, True)])
def test_a_default_that_a_newer_server_brings_is_not_drift(
    changed: dict[str, Any], drift: bool
) -> None:
    desired = desired_stream(stream_spec(), OWNER)
    found = {key: value for key, value in desired.items() if key != "allow_batched"} | changed
    decision = decide(desired, found, settled=True)
    assert isinstance(decision, Update)
    assert decision.drift is drift


def test_nothing_is_changed_while_something_is_impossible() -> None:
    desired = desired_stream(stream_spec(storage="Memory", maxAge="1h"), OWNER)
    found = desired_stream(stream_spec(), OWNER)
    assert "maxAge" not in refusal(decide(desired, found)).message


@pytest.mark.parametrize(
    ("fields", "level", "words"),
    [
        ({"allowMessageTTL": True}, 0, "allowMessageTTL needs nats-server 2.11 or newer"),
        ({"allowMessageCounter": True}, 1, "level 2), found API level 1"),
        ({"allowAtomicPublish": True}, 1, "allowAtomicPublish"),
        ({"persistMode": "Async"}, 1, "persistMode"),
        ({"allowMessageSchedules": True}, 1, "allowMessageSchedules"),
        ({"allowBatchPublish": True}, 3, "needs nats-server 2.14"),
    ],
)
def test_field_newer_than_the_server(fields: dict[str, Any], level: int, words: str) -> None:
    desired = desired_stream(stream_spec(**fields), OWNER)
    error = refusal(decide(desired, None, api_level=level))
    assert isinstance(error, UnsupportedServerError)
    assert words in error.message
    assert isinstance(decide(desired, None), Create)


def test_sealed_stream_cannot_be_created() -> None:
    desired = desired_stream(stream_spec(sealed=True), OWNER)
    assert isinstance(refusal(decide(desired, None)), SpecError)


def test_observed_stream_knows_its_owner() -> None:
    observed = ObservedStream(name="ORDERS", config={"metadata": MARKS, "subjects": ["a"]})
    assert observed.owner_uid == OWNER.uid
    assert observed.subjects == ("a",)
    assert replace(observed, config={}).owner_uid is None


def test_owner_of_another_object_writes_another_mark() -> None:
    other = Owner(uid="x", key="EventStream/a/b")
    assert desired_stream(stream_spec(), other)["metadata"][meta.OWNER_METADATA] == "x"
