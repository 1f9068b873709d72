"""What is said of pipelines on a laptop whose servers answer, or do not."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from outbox_operator.api.resource import parse_meta, parse_status
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.api.v1alpha1.stream import EventStreamStatus
from outbox_operator.cli.cluster import derived, status_text
from outbox_operator.cli.cluster.facts import PipelineFacts
from outbox_operator.cli.cluster.seen import Everything, Seen
from outbox_operator.cli.laptop import objects, statuses
from outbox_operator.cli.laptop.statuses import DurableNumbers, StreamNumbers
from outbox_operator.dev import manifest
from outbox_operator.dev.ends import Ends
from outbox_operator.dev.manifest import Resources
from outbox_operator.dev.runs import Run
from outbox_operator.errors import NatsError, OutboxError, PostgresError
from outbox_operator.plan.jetstream.consumers import ObservedConsumer
from outbox_operator.plan.jetstream.streams import ObservedStream
from outbox_operator.plan.postgres.state import OutboxNumbers
from support.kube import ROOT

NOW: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
RESOURCES: Final = manifest.read(
    [yaml.safe_load((ROOT / "examples/smallest/pipeline.yaml").read_text())], "it"
)
ROWS: Final = OutboxNumbers(
    backlog_rows=3, backlog_is_estimate=False, oldest_age_seconds=2.0, dead_letters=1,
    published_total=40, last_published_at=NOW, last_position=40, remark=None, notice=None,
    position_notice=None, stream_created=None, taken_at=NOW,
)  # fmt: skip
RUNS: Final = Run(lives=True)
LATELY: Final = NOW - timedelta(seconds=3)
LOOP: Final = Ends(times=5, in_a_row=2, code=1, at=LATELY)
ONCE: Final = Ends(times=1, in_a_row=1, code=-9, at=LATELY)
NO_STREAM: Final = StreamNumbers(stream=None, dead_letters=None)
NO_DURABLE: Final = DurableNumbers(durable=None, dead_letters=None, oldest_unread_seconds=None)


def facts(
    rows: OutboxNumbers | OutboxError = ROWS,
    stream: StreamNumbers | OutboxError = NO_STREAM,
    durable: DurableNumbers | OutboxError = NO_DURABLE,
    *,
    run: Run = RUNS,
    resources: Resources = RESOURCES,
) -> PipelineFacts:
    """What `outbox dev status` makes of it."""
    pipeline, consumer = resources.pipelines[0], resources.consumers[0]
    own = resources.stream_of(pipeline)
    reads = statuses.of_consumer(consumer, own, durable, run, NOW)
    said: dict[str, Any] = {
        "OutboxPipeline": statuses.of_pipeline(
            pipeline, own, rows, stream, run, {consumer.meta.name: reads}, NOW
        ),
        "EventStream": statuses.of_stream(own, stream, NOW),
        "EventConsumer": reads,
    }
    kinds: dict[str, Any] = {
        "OutboxPipeline": OutboxPipelineStatus, "EventStream": EventStreamStatus,
        "EventConsumer": EventConsumerStatus,
    }  # fmt: skip
    seen: dict[str, list[Any]] = {kind: [] for kind in kinds}
    for body in objects.bodies(resources):
        kind = body["kind"]
        body["status"] = json.loads(json.dumps(said[kind]))
        status = parse_status(body, kinds[kind])
        seen[kind].append(Seen(meta=parse_meta(body), spec=body["spec"], status=status))
    everything = Everything(
        pipelines=tuple(seen["OutboxPipeline"]), streams=tuple(seen["EventStream"]),
        consumers=tuple(seen["EventConsumer"]),
    )  # fmt: skip
    [found] = derived.pipelines(everything, NOW)
    return found


def test_what_is_known() -> None:
    found = facts()
    assert found.seen
    assert (found.rows.waiting, found.rows.dead_letters) == (3, 1)
    assert (found.relay.wanted, found.relay.ready, found.relay.published_total) == (1, 1, 40)
    assert found.consumers[0].ready_pods == 1


def test_what_is_worth_a_look_is_said() -> None:
    moved = replace(ROWS, position_notice="SequenceBehind: moved on by 7")
    found = statuses.of_pipeline(
        RESOURCES.pipelines[0], RESOURCES.stream_of(RESOURCES.pipelines[0]), moved, NO_STREAM, RUNS,
        {}, NOW,
    )  # fmt: skip
    said = {each["type"]: (each["status"], each["message"]) for each in found["conditions"]}
    assert said["PositionsMoved"] == ("True", "moved on by 7")
    assert {"Lagging", "ForeignPublisher", "Unfenced", "StreamLostEvents"} <= said.keys()


def test_a_pipeline_is_not_ready_while_a_consumer_of_its_own_is_not() -> None:
    pipeline, consumer = RESOURCES.pipelines[0], RESOURCES.consumers[0]
    own, there = RESOURCES.stream_of(pipeline), ObservedStream(name="ORDERS", config={})
    for run, status in ((Run(lives=False, ends=LOOP), "False"), (RUNS, "True")):
        durable = replace(NO_DURABLE, durable=ObservedConsumer(name="billing", stream="ORDERS"))
        reads = statuses.of_consumer(consumer, own, durable, run, NOW)
        found = statuses.of_pipeline(
            pipeline, own, ROWS, StreamNumbers(stream=there, dead_letters=0), RUNS,
            {consumer.meta.name: reads}, NOW,
        )  # fmt: skip
        said = {each["type"]: each for each in found["conditions"]}
        assert (said["ConsumersReady"]["status"], said["Ready"]["status"]) == (status, status)
    assert said["ConsumersReady"]["reason"] == "InSync"


def of_smallest(relay: dict[str, Any], consumer: dict[str, Any]) -> Resources:
    """The example with other fields of its relay and its consumer."""
    document = yaml.safe_load((ROOT / "examples/smallest/pipeline.yaml").read_text())
    document["spec"]["relay"] = relay
    document["spec"]["consumers"][0].update(consumer)
    return manifest.read([document], "it")


@pytest.mark.parametrize(
    ("relay", "consumer"),
    [
        ({"replicas": 3}, {"replicas": 3}),
        ({"replicas": 0}, {"replicas": 0}),
        ({"state": "Stopped"}, {"state": "Stopped"}),
        ({"autoscaling": {"minReplicas": 2}}, {"autoscaling": {"minReplicas": 2}}),
    ],
)
def test_it_is_one_process_whatever_it_is_in_a_cluster(
    relay: dict[str, Any], consumer: dict[str, Any]
) -> None:
    found = facts(resources=of_smallest(relay, consumer))
    assert (found.relay.wanted, found.relay.ready) == (1, 1)
    [one] = found.consumers
    assert (one.state, one.wanted, one.ready_pods) == ("Running", 1, 1)


def test_what_reads_in_a_container_in_a_cluster_is_nobodys_pod_here() -> None:
    [one] = facts(resources=of_smallest({}, {"handler": {"container": {"image": "i"}}})).consumers
    assert (one.wanted, one.ready_pods) == (None, None)
    assert status_text.pods(one.ready_pods, one.wanted) == "-"


@pytest.mark.parametrize(
    ("found", "reasons", "known"),
    [
        (facts(PostgresError("away")), {"PostgresUnreachable"}, False),
        (facts(stream=NatsError("away")), {"NatsUnreachable"}, True),
        (facts(run=Run(lives=False)), {"PodsNotReady"}, True),
        (facts(run=Run(lives=False, ends=ONCE)), {"CrashLoopBackOff"}, True),
        (facts(run=Run(lives=True, ends=LOOP)), {"CrashLoopBackOff"}, True),
        (facts(run=Run(lives=True, unready="nats: away", ends=ONCE)), {"PodsNotReady"}, True),
        (facts(replace(ROWS, oldest_age_seconds=90.0, last_published_at=None)),
         {"RelayNotProgressing", "BacklogAboveThreshold"}, True),
    ],
)  # fmt: skip
def test_what_is_not_well(found: PipelineFacts, reasons: set[str], known: bool) -> None:
    gone = {"StreamNotFound", "ConsumerMissing"}
    assert {one.reason for one in found.not_well} - gone == reasons
    assert found.rows.sample.known is known
    assert not found.well


@pytest.mark.parametrize(
    ("run", "ready", "restarts", "said"),
    [
        (RUNS, 1, 0, ""),
        (Run(lives=True, ends=ONCE), 1, 1, ""),
        (Run(lives=False), 0, 0, "process relay-orders does not run: is `outbox dev` running?"),
        (Run(lives=True, unready="nats: away"), 0, 0,
         "process relay-orders is not ready: nats: away"),
        (Run(lives=True, unready="nats: away", ends=ONCE), 0, 1,
         "process relay-orders is not ready: nats: away; it ended once, 3 s ago (killed by "
         "SIGKILL)"),
        (Run(lives=False, ends=LOOP, last="no shop"), 0, 5,
         "process relay-orders ended 5 times, the last time 3 s ago (exit code 1): no shop; "
         "`outbox dev` starts it again each time"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_process(run: Run, ready: int, restarts: int, said: str) -> None:
    found = facts(run=run)
    assert (found.relay.ready, found.relay.restarts, found.consumers[0].ready_pods) == (
        ready, restarts, ready
    )  # fmt: skip
    of_relay = [one.message for one in found.not_well if one.type == "RelayAvailable"]
    assert of_relay == [said] * bool(said)


def test_nobody_is_said_to_look_who_is_not_there() -> None:
    found = facts()
    assert {one.reason for one in found.not_well} == {"StreamNotFound", "ConsumerMissing"}
    for one in found.not_well:
        assert "start it again" in one.message
    assert (found.stream.sample.why, found.consumers[0].sample.why) == (
        "StreamNotFound", "ConsumerMissing"
    )  # fmt: skip


def test_tasks_work_with_what_is_here() -> None:
    pipeline, stream, consumer = (
        objects.with_logins(body, "nats://127.0.0.1:1") for body in objects.bodies(RESOURCES)
    )
    database = pipeline["spec"]["database"]
    assert database["connectionSecretRef"] == {"name": "outbox-dev", "key": "url"}
    assert "migrationSecretRef" not in database
    assert pipeline["spec"]["nats"] == stream["spec"]["nats"] == {"url": "nats://127.0.0.1:1"}
    assert "nats" not in consumer["spec"]


def test_selectors_pick_as_an_api_server_does() -> None:
    pods = list(objects.pods(RESOURCES, Path("/run")))
    assert [one["metadata"]["name"] for one in pods] == ["relay-orders", "consumer-orders-billing"]
    labels = "app.kubernetes.io/component=relay,outbox.dev/pipeline=orders"
    assert objects.matching(pods, labels, None) == pods[:1]
    assert objects.matching(pods, None, "metadata.name=relay-orders") == pods[:1]
    assert objects.matching(pods, "app.kubernetes.io/component=relay,a=b", None) == []
