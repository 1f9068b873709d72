"""Facts and screens of `outbox status`, from statuses as operators of any age leave them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final

import pytest

from outbox_operator.api.resource import parse_meta, parse_status
from outbox_operator.api.v1alpha1.common import StatusBase
from outbox_operator.api.v1alpha1.consumer import EventConsumerStatus
from outbox_operator.api.v1alpha1.pipeline import OutboxPipelineStatus
from outbox_operator.api.v1alpha1.stream import EventStreamStatus
from outbox_operator.cli.cluster import derived, lag, status_text
from outbox_operator.cli.cluster.facts import PipelineFacts, Trouble
from outbox_operator.cli.cluster.rates import Rates
from outbox_operator.cli.cluster.report import document
from outbox_operator.cli.cluster.screen import Screen
from outbox_operator.cli.cluster.seen import Everything, Seen
from support.answering import answering, kubeconfig
from support.cli import CommandLine
from support.golden import assert_golden_text

GOLDEN: Final = Path(__file__).parent / "golden"
NOW: Final = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
Body = dict[str, Any]


def before(**length: float) -> str:
    """A time before now, as statuses have it."""
    return (NOW - timedelta(**length)).isoformat().replace("+00:00", "Z")


def condition(type_: str, status: str = "True", reason: str = "InSync", message: str = "") -> Body:
    """A condition that has been so for five minutes."""
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": before(minutes=5),
        "observedGeneration": 1,
    }


def body(kind: str, name: str, spec: Body, status: Body, *conditions: Body) -> Body:
    """An object of generation 1."""
    return {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": kind,
        "metadata": {"namespace": "shop", "name": name, "uid": name, "generation": 1},
        "spec": spec,
        "status": {"observedGeneration": 1, "conditions": list(conditions), **status},
    }


def pipeline(*conditions: Body, spec: Body | None = None, **status: Any) -> Body:
    """One that is well; conditions and parts of the status replace those of the same name."""
    found = {
        one["type"]: one
        for one in (
            condition("Ready", reason="PipelineRunning"),
            condition("DatabaseReachable", reason="Connected"),
            condition("Lagging", "False", "BelowThreshold"),
            *conditions,
        )
    }
    parts = {
        "outbox": {
            "backlogRows": 12,
            "oldestAgeSeconds": 0.4,
            "deadLetters": 3,
            "sampledAt": before(seconds=4),
        },
        "relay": {
            "replicas": 2,
            "readyReplicas": 2,
            "publishedTotal": 120_345,
            "publishedPerSecond": 812,
            "lastPublishedTime": before(seconds=5),
        },
        **status,
    }
    return body(
        "OutboxPipeline", "orders", spec or {"relay": {"replicas": 2}}, parts, *found.values()
    )


def stream(*conditions: Body, **status: Any) -> Body:
    """Its EventStream, well."""
    state = {"name": "ORDERS", "messages": 120_345, "bytes": 25_000_000, "deadLetters": 2}
    parts = {"stream": state, "sampledAt": before(seconds=6), **status}
    said = conditions or (condition("Ready"), condition("NatsReachable", reason="Connected"))
    return body("EventStream", "orders", {"name": "ORDERS"}, parts, *said)


def consumer(name: str, *conditions: Body, spec: Body | None = None, **status: Any) -> Body:
    """One of its EventConsumers, well."""
    state = {
        "name": f"orders-{name}", "stream": "ORDERS", "pending": 7, "ackPending": 3,
        "redelivered": 1, "ackFloor": 120_330, "deadLetters": 2, "oldestUnreadSeconds": 1.5,
    }  # fmt: skip
    parts = {
        "consumer": state, "sampledAt": before(seconds=3), "replicas": 1, "readyReplicas": 1,
        **status,
    }  # fmt: skip
    said = conditions or (condition("Ready"), condition("NatsReachable", reason="Connected"))
    of_spec = {"streamRef": {"name": "orders"}, "handler": {"http": {}}, **(spec or {})}
    found = body("EventConsumer", f"orders-{name}", of_spec, parts, *said)
    found["metadata"]["labels"] = {"outbox.dev/consumer": name}
    return found


def everything(*bodies: Mapping[str, Any]) -> Everything:
    """Objects as they are read."""
    kinds: dict[str, type[StatusBase]] = {
        "OutboxPipeline": OutboxPipelineStatus,
        "EventStream": EventStreamStatus,
        "EventConsumer": EventConsumerStatus,
    }
    seen: dict[str, list[Any]] = {kind: [] for kind in kinds}
    tasks = [one for one in bodies if one["kind"] == "OutboxTask"]
    for one in bodies:
        kind = str(one["kind"])
        if kind == "OutboxTask":
            continue
        status = parse_status(one, kinds[kind])
        seen[kind].append(Seen(meta=parse_meta(one), spec=one["spec"], status=status))
    return Everything(
        pipelines=tuple(seen["OutboxPipeline"]),
        streams=tuple(seen["EventStream"]),
        consumers=tuple(seen["EventConsumer"]),
        tasks=tuple(tasks),
    )


def facts(*bodies: Mapping[str, Any], now: datetime = NOW) -> list[PipelineFacts]:
    """What `status` makes of objects."""
    return derived.pipelines(everything(*bodies), now)


def resetting(name: str, **progress: str) -> Body:
    """A task that sets a consumer back, and says how far it is."""
    target = {"uid": consumer(name)["metadata"]["uid"]}
    running = condition("Complete", "False", "Running", "waits for 1 pods to end: a")
    spec: Body = {"resetConsumer": {"to": "Start"}}
    return body("OutboxTask", "back", spec, {"target": target, "progress": progress}, running)


@pytest.mark.parametrize("alone", [False, True])
def test_a_task_that_holds_the_pods_of_a_consumer_is_named(alone: bool) -> None:
    """Its condition says Stopped, and that all is as it is wanted."""
    pods = condition("WorkloadAvailable", "True", "Stopped", "task back resets it")
    there = [stream(), consumer("billing", condition("Ready"), pods), consumer("audit")]

    def troubles(*tasks: Body) -> list[Trouble]:
        if alone:
            [group] = derived.alone(everything(*there, *tasks), NOW)
            return list(group.not_well)
        [found] = facts(pipeline(), *there, *tasks)
        return list(found.not_well)

    assert troubles() == troubles(resetting("billing")) == []
    [held] = troubles(resetting("billing", phase="PodsEnding"))
    assert (held.name, held.type, held.reason) == (
        "orders-billing", "WorkloadAvailable", "WaitsForTask",
    )  # fmt: skip
    assert held.message == (
        "task back holds its pods until it has reset the durable consumer (waits for 1 pods to "
        "end: a); kubectl delete obt/back -n shop gives it up"
    )
    assert held.next == "kubectl outbox task back -n shop"


AWAY = condition("DatabaseReachable", "False", "PostgresUnreachable", "db.shop:5432: refused")
NATS_AWAY = condition("NatsReachable", "False", "NatsUnreachable", "nats:4222: refused")
SCREENS: Final = {
    "well": [pipeline(), stream(), consumer("billing"), consumer("audit", spec={"handler": None})],
    "database-away": [
        pipeline(
            condition("Ready", "False", "PostgresUnreachable", "db.shop:5432: refused"),
            AWAY,
            condition("SchemaApplied", "Unknown", "PostgresUnreachable", "not looked at: …"),
        ),
        stream(),
        consumer("billing"),
    ],
    "nats-away": [
        pipeline(
            condition("Ready", "False", "NatsUnreachable", "EventStream orders: refused"),
            condition("StreamReady", "False", "NatsUnreachable", "EventStream orders: refused"),
        ),
        stream(condition("Ready", "False", "NatsUnreachable"), NATS_AWAY),
        consumer("billing", condition("Ready", "False", "NatsUnreachable"), NATS_AWAY),
    ],
    "new": [{**pipeline(), "status": {}}],
    "lagging": [
        pipeline(
            condition("Lagging", "True", "BacklogAboveThreshold", "5000+ rows wait"),
            outbox={
                "backlogRows": 5000,
                "backlogIsEstimate": True,
                "oldestAgeSeconds": 190.0,
                "sampledAt": before(seconds=4),
            },
        ),
        stream(),
    ],
    "paused": [
        {
            **pipeline(condition("Paused", "True", "Paused", "outbox.dev/paused is set")),
            "metadata": {
                **pipeline()["metadata"],
                "annotations": {"outbox.dev/paused": "true"},
            },
        },
        stream(),
        consumer("billing", condition("Ready"), condition("NatsReachable"),
                 condition("Paused", "True", "Paused", "its owner is paused")),
    ],
    "scaled": [
        pipeline(
            condition("Autoscaling", "True", "ScalingLimited",
                      "2 of 10: outbox.shards is 2; minReplicas is 3, and the others stand by"),
        ),
        stream(),
        consumer("billing", condition("Ready"), condition("NatsReachable"),
                 condition("Autoscaling", "True", "ScalingActive", "3 pods, of 3 to 10")),
        consumer("audit"),
    ],
    "archived": [
        pipeline(),
        stream(),
        consumer("audit", archive={
            "rows": 1_204_381, "completeTo": before(minutes=2), "gaps": 0,
            "lastSeal": f"9120:{'ab' * 32}", "sampledAt": before(seconds=5),
            "backfill": {"rows": 9, "startedAt": before(hours=1)},
        }),
        consumer("torn", archive={
            "rows": 7, "completeTo": before(minutes=2), "gaps": 3, "sampledAt": before(seconds=5),
        }),
        consumer("fresh", archive={"version": 1}),
    ],
    "redis": [
        pipeline(),
        stream(condition("Ready"), condition("RedisReachable", reason="Connected"),
               stream={
                   "name": "identity.user.v1", "messages": 120_345, "bytes": 25_000_000,
                   "redis": {"server": "Valkey 9", "persistence": "appendonly", "deadLetters": 2},
               }),
        consumer("billing", condition("Ready"), condition("RedisReachable", reason="Connected"),
                 consumer={
                     "name": "identity-billing", "stream": "identity.user.v1", "pending": 7,
                     "ackPending": 3, "oldestUnreadSeconds": 1.5,
                 }),
    ],
    "operator-away": [
        pipeline(outbox={"backlogRows": 1, "sampledAt": before(hours=3)}),
        stream(sampledAt=before(hours=3)),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SCREENS)
def test_one_pipeline_on_a_screen_of_80_columns(name: str) -> None:
    [found] = facts(*SCREENS[name])
    lines = list(status_text.one(found, NOW, Screen(width=80)))
    assert max(map(len, lines)) <= 80
    assert_golden_text(GOLDEN / f"status-{name}.txt", "\n".join([*lines, ""]))


def test_consumers_in_redis_are_known() -> None:
    [found] = facts(*SCREENS["redis"])
    assert found.well
    assert found.consumers[0].pending == 7
    assert (found.stream.dead_letters, found.stream.dead_letter_key) == (2, "identity.user.v1.dlq")
    [quiet] = facts(pipeline(outbox={"sampledAt": before(seconds=4)}), *SCREENS["redis"][1:])
    assert quiet.next == ("kubectl outbox dlq list orders -n shop",)


@pytest.mark.parametrize(
    ("name", "well"),
    [
        ("well", True),
        ("paused", True),
        ("scaled", True),
        ("archived", True),
        ("database-away", False),
        ("nats-away", False),
        ("new", False),
        ("lagging", False),
        ("operator-away", False),
    ],
)
def test_what_is_well(name: str, well: bool) -> None:
    [found] = facts(*SCREENS[name])
    assert found.well is well


def test_what_is_not_known_is_never_a_number() -> None:
    [found] = facts(*SCREENS["database-away"])
    said = document(found)
    rows = said["rows"]
    assert (rows["waiting"], rows["oldestSeconds"], rows["deadLetters"]) == (None, None, None)
    assert rows["sample"]["unknownSince"] == before(minutes=5)
    assert rows["sample"]["last"]["waiting"] == 12
    assert said["relay"]["perSecond"] is None
    [found] = facts(*SCREENS["nats-away"])
    said = document(found)
    assert said["consumers"][0]["pending"] is None
    assert said["stream"]["messages"] is None
    [found] = facts(*SCREENS["new"])
    said = document(found)
    assert (said["rows"]["waiting"], said["stream"]["messages"]) == (None, None)
    assert said["rows"]["sample"]["readAt"] is None


def test_a_change_that_the_operator_has_not_seen_is_said() -> None:
    changed = pipeline()
    changed["metadata"]["generation"] = 2
    [found] = facts(changed, stream())
    assert not found.seen
    assert not found.well


def test_a_status_of_another_version_is_read_as_far_as_it_goes() -> None:
    newer = pipeline(condition("Sparkling", "False", "Flat"), somethingNew={"a": 1})
    [found] = facts(newer, stream())
    assert found.rows.waiting == 12
    unreadable = pipeline(outbox={"backlogRows": "many"})
    [found] = facts(unreadable, stream())
    assert found.rows.waiting is None


def test_a_line_for_each_of_many() -> None:
    bodies: list[Body] = []
    for number in range(300):
        parts = [pipeline(), stream(), consumer("billing")]
        if number % 10 == 0:
            parts[0] = SCREENS["database-away"][0]
        for one in parts:
            metadata = {**one["metadata"], "namespace": f"shop-{number:03}"}
            bodies.append({**one, "metadata": metadata})
    found = facts(*bodies)
    lines = list(status_text.many(found, NOW, Screen(width=80), namespaces=True))
    assert max(map(len, lines)) <= 80
    assert len(lines) < 300 + 70
    shown = [*lines[:4], "…", *lines[301:]]
    assert_golden_text(GOLDEN / "status-many.txt", "\n".join([*shown, ""]))


def test_rates_come_from_two_samples() -> None:
    rates = Rates()
    [first] = facts(pipeline(), stream(), consumer("billing"))
    assert rates.of(first).consumers[0].per_second is None
    later = consumer("billing", sampledAt=(NOW + timedelta(seconds=7)).isoformat())
    later["status"]["consumer"] = {**later["status"]["consumer"], "ackFloor": 120_430}
    [second] = facts(pipeline(), stream(), later)
    assert rates.of(second).consumers[0].per_second == 10.0
    # The same sample seen again says nothing new.
    assert rates.of(second).consumers[0].per_second == 10.0


def test_lag_is_a_line_of_words_for_each_hop() -> None:
    hops = [
        hop
        for name in ("well", "nats-away")
        for one in facts(*SCREENS[name])
        for hop in lag.hops(one)
    ]
    lines = lag.text(hops, Screen())
    assert len({len(line.split()) for line in lines}) == 1
    assert_golden_text(GOLDEN / "lag.txt", "\n".join([*lines, ""]))
    assert max(map(len, lag.text(hops, Screen(width=80)))) <= 80


def test_streams_without_a_pipeline_are_shown_too() -> None:
    foreign = consumer("search", spec={"streamRef": None, "streamName": "THEIRS"})
    found = derived.alone(
        everything(stream(), consumer("billing"), consumer("audit", NATS_AWAY), foreign), NOW
    )
    assert [(one.name, one.ready, one.well) for one in found] == [
        ("THEIRS", None, True), ("orders", "True", False),
    ]  # fmt: skip
    lines = list(status_text.alone(found, NOW, Screen(width=80), namespaces=True))
    assert max(map(len, lines)) <= 80
    assert_golden_text(GOLDEN / "status-alone.txt", "\n".join([*lines, ""]))
    assert derived.alone(everything(pipeline(), stream(), consumer("billing")), NOW) == []


def test_one_screen_whatever_a_condition_says() -> None:
    long = condition("SchemaApplied", "False", "InvalidSpec", "word " * 800)
    [found] = facts(pipeline(long), stream())
    assert len(list(status_text.one(found, NOW, Screen(width=80)))) < 30
    assert document(found)["notWell"][0]["message"] == "word " * 800


@pytest.mark.parametrize("verb", ["status", "lag"])
def test_nothing_there_is_not_well(verb: str, tmp_path: Path) -> None:
    def none(handler: BaseHTTPRequestHandler) -> None:
        body = b'{"kind": "List", "apiVersion": "v1", "metadata": {}, "items": []}'
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with answering(none) as address:
        found = CommandLine(kubeconfig(tmp_path, address), "typo").run(verb)
    assert (found.code, found.err) == (1, "")
    assert found.out == "no OutboxPipeline and no EventStream in namespace typo\n"
