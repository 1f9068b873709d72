"""What a real API server makes of our CRDs: accepts them, fills in defaults, refuses nonsense."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from outbox_operator.api.admission import refusals
from outbox_operator.api.crdgen import all_crds
from outbox_operator.api.resource import parse_consumer, parse_pipeline, parse_stream, parse_task
from outbox_operator.errors import SpecError
from support.kube import ROOT, Kubectl
from support.rules import rules_in
from support.stream_options import CONSUMER, STREAM, Option, filled

NATS = {"url": "nats://nats.nats:4222"}
HTTP = {"http": {"url": "http://billing/events"}}
SECRET = {"name": "s", "key": "k"}
DEFAULT = {"name": "default", "keep": "90d"}
ARCHIVE: dict[str, Any] = {"connectionSecretRef": {"name": "s"}, "retention": [DEFAULT]}
BACKFILL: dict[str, Any] = {"backfill": {"connectionSecretRef": {"name": "s"}}}
KINDS = {
    "pipeline": "OutboxPipeline",
    "stream": "EventStream",
    "consumer": "EventConsumer",
    "task": "OutboxTask",
}
PARSERS: dict[str, Any] = {
    "pipeline": parse_pipeline,
    "stream": parse_stream,
    "consumer": parse_consumer,
    "task": parse_task,
}
SENTENCES = {rule["message"] for crd in all_crds() for rule in rules_in(crd)}
SPECS: dict[str, dict[str, Any]] = {
    "pipeline": {
        "database": {"connectionSecretRef": {"name": "orders-db"}},
        "nats": NATS,
        "stream": {"name": "ORDERS", "subject": "orders.{event_type}"},
        "consumers": [{"name": "billing", "handler": HTTP}],
    },
    "stream": {"nats": NATS, "name": "ORDERS", "subjects": ["orders.>"]},
    "consumer": {"streamRef": {"name": "orders"}, "handler": HTTP},
    "task": {"pipelineRef": {"name": "orders"}, "replayDeadLetters": {}},
}


def resource(kind: str, namespace: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """A good object with some dotted fields changed; None removes one."""
    spec = copy.deepcopy(SPECS[kind])
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        place: Any = spec
        for parent in parents:
            place = place[int(parent)] if parent.isdigit() else place.setdefault(parent, {})
        if value is None:
            del place[last]
        else:
            place[last] = value
    return {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": KINDS[kind],
        "metadata": {"name": "orders", "namespace": namespace},
        "spec": spec,
    }


def without_a_server(
    kind: str, document: dict[str, Any], *, before: dict[str, Any] | None = None
) -> str:
    """What is said of it where no API server is; empty: it is taken."""
    try:
        spec = PARSERS[kind](document).spec
    except SpecError as error:
        return error.message
    was = None if before is None else PARSERS[kind](before).spec
    return "; ".join(refusals(spec, was))


def test_crds_are_established_and_structural(kubectl: Kubectl) -> None:
    crds = kubectl.get("crd")["items"]
    assert {crd["spec"]["names"]["kind"] for crd in crds} == set(KINDS.values())
    for crd in crds:
        conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
        assert conditions == {"NamesAccepted": "True", "Established": "True"}


def test_explain_describes_every_field_of_a_part(kubectl: Kubectl) -> None:
    text = kubectl("explain", "outboxpipelines.spec.outbox")
    for field in ("ordering", "payloadType", "retention", "shards"):
        assert f"{field}\t<" in text
    assert "Published rows are kept at least this long" in text


def test_explain_tells_every_default(kubectl: Kubectl) -> None:
    """Text, numbers and switches, in lists and parts as well."""
    for path, told in (
        ("outboxpipelines.spec.outbox.retention", "24h"),
        ("outboxpipelines.spec.relay.replicas", "1"),
        ("outboxpipelines.spec.consumers.ackWait", "30s"),
        ("eventstreams.spec.noAck", "false"),
        ("eventstreams.spec.maxBytes", "-1"),
    ):
        text = " ".join(kubectl("explain", path).split())
        assert text.endswith(f"Default: {told}."), text


def test_smallest_example_is_accepted_and_completed(kubectl: Kubectl, namespace: str) -> None:
    document = yaml.safe_load((ROOT / "examples/smallest/pipeline.yaml").read_text())
    document["metadata"]["namespace"] = namespace
    assert kubectl.apply(document).code == 0
    stored = kubectl.get("obp", document["metadata"]["name"], "-n", namespace)
    assert stored["spec"]["relay"] == {
        "state": "Running",
        "replicas": 1,
        "onPoison": "BlockKey",
        "polling": {"min": "2ms", "max": "1s"},
    }
    assert stored["spec"]["database"]["schema"] == "outbox"
    # What the server filled in is what our models would have: one meaning of "left out".
    assert parse_pipeline(stored).spec == parse_pipeline(document).spec


@pytest.mark.parametrize(
    ("kind", "parse"),
    [("stream", parse_stream), ("consumer", parse_consumer), ("task", parse_task)],
)
def test_server_defaults_equal_model_defaults(
    kubectl: Kubectl, namespace: str, kind: str, parse: Any
) -> None:
    document = resource(kind, namespace)
    assert kubectl.apply(document).code == 0
    stored = kubectl.get(KINDS[kind], "orders", "-n", namespace)
    assert parse(stored).spec == parse(document).spec


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("pipeline", {"colour": "red"}, 'unknown field "spec.colour"'),
        ("pipeline", {"database": None}, "spec.database: Required value"),
        ("pipeline", {"outbox.retention": "a day"}, "spec.outbox.retention in body should match"),
        ("pipeline", {"database.migrations.approvedPlan": "yes"}, "approvedPlan in body should"),
        ("pipeline", {"outbox.shards": 0}, "should be greater than or equal to 1"),
        ("pipeline", {"outbox.shards": 4}, "stream.subject needs {shard} as a token of its own"),
        (
            "pipeline",
            {"outbox.shards": 4, "stream.subject": "orders.{event_type}.{shard}"},
            "for example orders.{shard}.{event_type}",
        ),
        (
            "pipeline",
            {"outbox.shards": 4, "stream.subject": "orders.p-{shard}.{event_type}"},
            "stream.subject needs {shard} as a token of its own",
        ),
        ("pipeline", {"outbox.payloadType": "xml"}, 'supported values: "jsonb", "bytea"'),
        ("pipeline", {"stream.maxBytes": "1 GB"}, "spec.stream.maxBytes in body should match"),
        ("pipeline", {"stream.ref": {"name": "x"}}, "set exactly one of name and ref"),
        ("pipeline", {"stream.name": None}, "set exactly one of name and ref"),
        ("pipeline", {"stream.noAck": True}, "a pipeline needs acknowledgements"),
        ("pipeline", {"stream.mirror": {"name": "X"}}, "a pipeline cannot publish into a mirror"),
        ("pipeline", {"stream.replicas": 9}, "should be less than or equal to 5"),
        ("pipeline", {"database.schema": "Drop Table"}, "spec.database.schema in body should"),
        (
            "pipeline",
            {"relay.autoscaling": {"minReplicas": 5, "maxReplicas": 2}},
            "minReplicas must not exceed maxReplicas",
        ),
        (
            "pipeline",
            {"relay.autoscaling": {"minReplicas": 0}},
            "minReplicas of a relay is at least 1",
        ),
        (
            "pipeline",
            {"consumers.0.autoscaling": {"minReplicas": -1}},
            "minReplicas in body should be greater than or equal to 0",
        ),
        (
            "pipeline",
            {"relay.autoscaling": {"scaleUp": {"maxStep": 0}}},
            "maxStep in body should be greater than or equal to 1",
        ),
        ("pipeline", {"consumers.0.lanes": 2}, "lanes are for ordering PerKey and an inbox of"),
        (
            "pipeline",
            {"consumers.0.handler": None, "consumers.0.autoscaling": {"maxReplicas": 2}},
            "autoscaling needs a handler",
        ),
        (
            "pipeline",
            {"consumers": [{"name": "a"}, {"name": "a"}]},
            'spec.consumers[1]: Duplicate value: {"name":"a"}',
        ),
        (
            "pipeline",
            {"consumers.0.handler": {**HTTP, "python": {"image": "i", "module": "m:f"}}},
            "set exactly one of http, python, container, archive",
        ),
        ("pipeline", {"consumers.0.handler": {}}, "set exactly one of http, python"),
        (
            "consumer",
            {"handler": {"archive": {**ARCHIVE, "retention": [{**DEFAULT, "eventTypes": ["a"]}]}}},
            "the last class of retention takes every event that no other takes",
        ),
        ("consumer", {"handler": {"archive": {**ARCHIVE, "retention": []}}}, "at least 1 items"),
        (
            "consumer",
            {"handler": {"archive": {**ARCHIVE, "retention": [DEFAULT, DEFAULT]}}},
            "Duplicate value",
        ),
        (
            "consumer",
            {"handler": {"archive": {**ARCHIVE, **BACKFILL}}, "filterSubjects": ["a"]},
            "handler.archive.backfill archives every row of the outbox",
        ),
        (
            "pipeline",
            {
                "consumers.0.handler": {"archive": {**ARCHIVE, **BACKFILL}},
                "consumers.0.filterEventTypes": ["a"],
            },
            "handler.archive.backfill archives every row of the outbox",
        ),
        (
            "consumer",
            {"handler": {"archive": ARCHIVE}, "ordering": "PerKey"},
            "handler.archive needs ackPolicy Explicit",
        ),
        (
            "pipeline",
            {"consumers.0.handler": {"archive": ARCHIVE}, "consumers.0.giveUpAfter": "1h"},
            "an archive gives nothing up",
        ),
        (
            "pipeline",
            {"consumers.0.backoff": ["1s", "2s"], "consumers.0.maxDeliver": 2},
            "backoff has more delays than maxDeliver allows redeliveries",
        ),
        (
            "pipeline",
            {
                "consumers.0.giveUpAfter": "1h",
                "consumers.0.handler": {"container": {"image": "i"}},
            },
            "giveUpAfter is for handlers of kind http and python",
        ),
        ("pipeline", {"nats.url": "nats://user:pw@nats"}, "spec.nats.url in body should match"),
        ("pipeline", {"nats.url": "http://nats"}, "spec.nats.url in body should match"),
        (
            "pipeline",
            {"nats.tokenSecretRef": SECRET, "nats.nkeySecretRef": SECRET},
            "set at most one of credentialsSecretRef",
        ),
        (
            "pipeline",
            {"nats.tls": {"certSecretRef": SECRET}},
            "set certSecretRef and keySecretRef together",
        ),
        (
            "pipeline",
            {"database.tls": {"keySecretRef": SECRET}},
            "set certSecretRef and keySecretRef together",
        ),
        (
            "pipeline",
            {"database.tls": {"mode": "Disable", "caSecretRef": SECRET}},
            "mode Disable uses no certificates",
        ),
        ("pipeline", {"database.host": "/tmp"}, "spec.database.host in body should match"),
        ("stream", {"name": "a.b"}, "the name of a JetStream stream has no dots"),
        ("stream", {"subjects": None}, "set subjects, a mirror or sources"),
        ("stream", {"subjects": ["has space"]}, "spec.subjects[0] in body should match"),
        ("stream", {"mirror": {"name": "X"}}, "a mirror has no subjects of its own"),
        ("stream", {"discardNewPerSubject": True}, "discardNewPerSubject needs discard New"),
        ("stream", {"storage": "Tape"}, 'supported values: "File", "Memory"'),
        ("consumer", {"streamName": "ORDERS"}, "set exactly one of streamRef and streamName"),
        (
            "consumer",
            {"streamRef": None, "streamName": "ORDERS"},
            "streamName needs nats",
        ),
        ("consumer", {"deliverPolicy": "ByStartTime"}, "ByStartTime needs startTime"),
        (
            "consumer",
            {"startTime": "yesterday"},
            "spec.startTime in body must be of type date-time",
        ),
        ("consumer", {"deliverPolicy": "ByStartSequence"}, "ByStartSequence needs startSequence"),
        ("consumer", {"maxDeliver": 0}, "maxDeliver is -1 or at least 1"),
        ("consumer", {"priorityPolicy": "Overflow"}, "priorityPolicy needs priorityGroups"),
        (
            "consumer",
            {"handler.http.url": "billing/events"},
            "spec.handler.http.url in body should",
        ),
        ("consumer", {"handler.http.url": "http://u:p@billing"}, "spec.handler.http.url in body"),
        (
            "consumer",
            {"handler": {"python": {"image": "i", "module": "no_function"}}},
            "spec.handler.python.module in body should match",
        ),
        ("task", {"pipelineRef": None}, "set exactly one of pipelineRef, consumerRef and"),
        ("task", {"consumerRef": {"name": "x"}}, "set exactly one of pipelineRef, consumerRef and"),
        ("task", {"replayDeadLetters": None}, "set exactly one action: replayDeadLetters, purge"),
        ("task", {"diagnose": {}}, "set exactly one action"),
        (
            "task",
            {"replayDeadLetters": None, "resetConsumer": {"to": "Start"}},
            "resetConsumer needs consumerRef",
        ),
        (
            "task",
            {"replayDeadLetters": None, "purgeDeadLetters": {}},
            "set confirm to true, or dryRun",
        ),
        (
            "task",
            {"replayDeadLetters": {"ids": ["a"], "filter": {"keys": ["k"]}}},
            "set ids or filter, not both",
        ),
        (
            "task",
            {"replayDeadLetters": {"filter": {"since": "yesterday"}}},
            "spec.replayDeadLetters.filter.since in body must be of type date-time",
        ),
        (
            "task",
            {
                "pipelineRef": None,
                "consumerRef": {"name": "x"},
                "replayDeadLetters": None,
                "resetConsumer": {"to": "Time"},
            },
            "time belongs to `to: Time`",
        ),
    ],
)
def test_bad_objects_are_refused(
    kubectl: Kubectl, kind: str, changes: dict[str, Any], message: str
) -> None:
    document = resource(kind, "default", changes)
    answer = kubectl.apply(document, dry_run=True)
    assert answer.code != 0
    assert message in answer.err
    said = without_a_server(kind, document)
    assert said
    # Of types, patterns and bounds pydantic has words of its own.
    assert message in said or not any(message in one for one in SENTENCES)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        # As other operators name their Secrets.
        ("database.connectionSecretRef", {"name": "app.shop.credentials.postgresql.acid.zalan.do"}),
        ("nats.credentialsSecretRef", {"name": f"{'n' * 60}.{'m' * 60}", "key": "user.creds"}),
        ("nats.userSecretRef", {"name": "a.b"}),
        ("consumers.0.inbox.migrationSecretRef", {"name": "a.b-c.d"}),
    ],
)
def test_what_is_accepted(kubectl: Kubectl, path: str, value: dict[str, Any]) -> None:
    changes = {path: value}
    if path.startswith("consumers"):
        changes["consumers.0.inbox.connectionSecretRef"] = value
    document = resource("pipeline", "default", changes)
    answer = kubectl.apply(document, dry_run=True)
    assert answer.code == 0, answer.err
    assert without_a_server("pipeline", document) == ""


@pytest.mark.parametrize(
    ("path", "option"),
    [
        *(("stream.", option) for option in STREAM if option.refused),
        *(("consumers.0.", option) for option in CONSUMER if option.refused),
    ],
    ids=str,
)
def test_options_that_a_pipeline_cannot_have_are_refused(
    kubectl: Kubectl, path: str, option: Option
) -> None:
    changes = {f"{path}{name}": filled(value, "orders") for name, value in option.fields.items()}
    document = resource("pipeline", "default", changes)
    answer = kubectl.apply(document, dry_run=True)
    assert answer.code != 0
    assert option.refused in answer.err
    assert option.refused in without_a_server("pipeline", document)


@pytest.mark.parametrize(
    ("kind", "before", "after", "message"),
    [
        ("pipeline", {}, {"database.schema": "other"}, "this field is fixed at creation"),
        ("pipeline", {}, {"outbox.payloadType": "bytea"}, "this field is fixed at creation"),
        (
            "pipeline",
            {},
            {"outbox.shards": 4, "stream.subject": "orders.{shard}.{event_type}"},
            "shards is fixed at creation: with another number, keys would change shards",
        ),
        ("pipeline", {}, {"stream.name": "OTHER"}, "name is fixed at creation"),
        (
            "pipeline",
            {},
            {"stream.name": None, "stream.ref": {"name": "other"}},
            "name is fixed at creation",
        ),
        (
            "pipeline",
            {"consumers.0.filterEventTypes": ["order.created"]},
            {
                "consumers.0.filterEventTypes": ["order.created"],
                "stream.subject": "shop.{event_type}",
            },
            "stream.subject cannot be changed while consumers have filterEventTypes or lanes",
        ),
        (
            "pipeline",
            {},
            {
                "consumers.0.filterEventTypes": ["order.created"],
                "stream.subject": "shop.{event_type}",
            },
            "stream.subject cannot be changed while consumers have filterEventTypes or lanes",
        ),
        ("pipeline", {}, {"stream.storage": "Memory"}, "storage is fixed at creation"),
        ("stream", {"sealed": True}, {}, "sealed cannot be undone"),
        (
            "pipeline",
            {},
            {"consumers.0.deliverPolicy": "New"},
            "deliverPolicy is fixed at creation",
        ),
        (
            "pipeline",
            {"consumers.0.ordering": "PerKey"},
            {"consumers.0.ordering": "PerKey", "consumers.0.lanes": 2},
            "lanes is fixed at creation",
        ),
        ("stream", {}, {"name": "OTHER"}, "this field is fixed at creation"),
        ("stream", {}, {"retention": "WorkQueue"}, "retention is fixed at creation"),
        ("stream", {}, {"firstSequence": 7}, "firstSequence is fixed at creation"),
        ("stream", {"denyPurge": True}, {}, "denyPurge cannot be undone"),
        ("consumer", {}, {"durableName": "later"}, "durableName is fixed at creation"),
        ("consumer", {"durableName": "one"}, {"durableName": "two"}, "durableName is fixed"),
        ("consumer", {}, {"memoryStorage": True}, "memoryStorage is fixed at creation"),
        ("consumer", {}, {"ackPolicy": "All"}, "ackPolicy is fixed at creation"),
        ("task", {}, {"pipelineRef.name": "other"}, "pipelineRef is fixed at creation"),
        ("task", {}, {"replayDeadLetters.limit": 3}, "replayDeadLetters is fixed at creation"),
        ("task", {}, {"dryRun": True}, "dryRun is fixed at creation"),
        ("task", {}, {"requestedBy": "somebody"}, "requestedBy is fixed at creation"),
    ],
)
def test_changes_that_cannot_be_carried_out_are_refused(
    kubectl: Kubectl,
    namespace: str,
    kind: str,
    before: dict[str, Any],
    after: dict[str, Any],
    message: str,
) -> None:
    first, second = resource(kind, namespace, before), resource(kind, namespace, after)
    assert kubectl.apply(first).code == 0
    answer = kubectl.apply(second)
    assert answer.code != 0
    assert message in answer.err
    assert without_a_server(kind, first) == ""
    assert message in without_a_server(kind, second, before=first)


def test_harmless_changes_pass(kubectl: Kubectl, namespace: str) -> None:
    first = resource("pipeline", namespace)
    assert kubectl.apply(first).code == 0
    changes = {
        "stream.maxAge": "30d", "stream.subject": "shop.{event_type}",
        "consumers.0.replicas": 3, "relay.state": "Stopped",
    }  # fmt: skip
    second = resource("pipeline", namespace, changes)
    assert kubectl.apply(second).code == 0
    assert without_a_server("pipeline", second, before=first) == ""


def test_of_a_task_only_when_it_works_and_goes_can_be_changed(
    kubectl: Kubectl, namespace: str
) -> None:
    assert kubectl.apply(resource("task", namespace)).code == 0
    changes = {"suspend": True, "ttlSecondsAfterFinished": 60}
    assert kubectl.apply(resource("task", namespace, changes)).code == 0


def test_consumer_scales(kubectl: Kubectl, namespace: str) -> None:
    assert kubectl.apply(resource("consumer", namespace)).code == 0
    kubectl("scale", "evc/orders", "--replicas=4", "-n", namespace)
    assert kubectl.get("evc", "orders", "-n", namespace)["spec"]["replicas"] == 4


def test_columns_and_category(kubectl: Kubectl, namespace: str) -> None:
    for kind in SPECS:
        assert kubectl.apply(resource(kind, namespace)).code == 0
    heads = {
        name: kubectl("get", name, "-n", namespace).splitlines()[0].split()
        for name in ("obp", "evs", "evc", "obt")
    }
    assert heads == {
        "obp": ["NAME", "READY", "REASON", "STREAM", "BACKLOG", "RELAY", "AGE"],
        "evs": ["NAME", "READY", "REASON", "STREAM", "MESSAGES", "AGE"],
        "evc": ["NAME", "READY", "REASON", "STREAM", "PENDING", "REPLICAS", "AGE"],
        "obt": [
            "NAME", "ACTION", "TARGET", "COMPLETE", "REASON", "SELECTED", "DONE", "FAILED", "AGE",
        ],
    }  # fmt: skip
    everything = kubectl("get", "outbox", "-n", namespace, "-o", "name").split()
    assert len(everything) == len(SPECS)
