"""Whom news about our own objects wakes."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.controller.runtime.event_router import EventRouter
from outbox_operator.controller.runtime.objects import Objects, key_of
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.runtime.schedule import Schedule, Urgency

READY = [{"type": "Ready", "status": "True", "reason": "InSync", "message": ""}]


def body(
    kind: str,
    name: str,
    version: int = 1,
    *,
    spec: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    namespace: str = "shop",
    **metadata: Any,
) -> dict[str, Any]:
    return {
        "apiVersion": meta.API_VERSION,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "generation": 1,
            "resourceVersion": str(version),
            **metadata,
        },
        "spec": spec or {},
        "status": status or {},
    }


OWNED_BY_ORDERS = [
    {
        "apiVersion": meta.API_VERSION,
        "kind": meta.PIPELINE,
        "name": "orders",
        "uid": "uid-orders",
        "controller": True,
    }
]


class World:
    """An router, and whom it woke since the last look."""

    def __init__(self) -> None:
        self.objects = Objects()
        self._woken: dict[str, tuple[str, Urgency]] = {}
        self.router = EventRouter(self.objects, self._wake, OperatorMetrics())

    def _wake(self, key: ObjectKey, trigger: str, urgency: Urgency) -> None:
        self._woken[str(key)] = (trigger, urgency)

    def woken(self) -> dict[str, tuple[str, Urgency]]:
        found, self._woken = self._woken, {}
        return found


@pytest.fixture
def world() -> World:
    return World()


def test_a_pipeline_hears_of_its_stream(world: World) -> None:
    world.router.event(None, body(meta.STREAM, "s", ownerReferences=OWNED_BY_ORDERS))
    assert world.woken() == {
        "EventStream/shop/s": ("created", Urgency.ORDINARY),  # by the pass over its owner
        "OutboxPipeline/shop/orders": ("child:EventStream/s", Urgency.ORDINARY),
    }


def test_who_refers_to_a_stream_hears_of_it(world: World) -> None:
    world.router.event(None, body(meta.PIPELINE, "p", spec={"stream": {"ref": {"name": "s"}}}))
    world.router.event(None, body(meta.CONSUMER, "c", spec={"streamRef": {"name": "s"}}))
    world.router.event(None, body(meta.CONSUMER, "other", spec={"streamRef": {"name": "t"}}))
    world.router.event(
        None, body(meta.CONSUMER, "far", spec={"streamRef": {"name": "s"}}, namespace="bank")
    )
    world.router.event(None, body(meta.STREAM, "s"))
    world.woken()

    world.router.event("MODIFIED", body(meta.STREAM, "s", 2, status={"conditions": READY}))

    assert set(world.woken()) == {"OutboxPipeline/shop/p", "EventConsumer/shop/c"}


def test_a_consumer_hears_of_the_task_that_resets_it(world: World) -> None:
    spec = {"consumerRef": {"name": "c"}, "resetConsumer": {"to": "Start"}}
    other = {"consumerRef": {"name": "c"}, "diagnose": {}}
    for kind, name, said in ((meta.TASK, "t", spec), (meta.TASK, "d", other)):
        world.router.event("ADDED", body(kind, name, spec=said))
        woken = set(world.woken()) - {f"OutboxTask/shop/{name}"}
        assert woken == ({"EventConsumer/shop/c"} if said is spec else set())
    suspended = [{"type": "Suspended", "status": "True", "reason": "Suspended"}]
    world.router.event(
        "MODIFIED", body(meta.TASK, "t", 2, spec=spec, status={"conditions": suspended})
    )
    assert "EventConsumer/shop/c" in world.woken()


def test_live_numbers_wake_nobody(world: World) -> None:
    status = {"conditions": READY, "stream": {"messages": 1}}
    world.router.event(None, body(meta.STREAM, "s", status=status, ownerReferences=OWNED_BY_ORDERS))
    world.woken()

    status = {"conditions": READY, "stream": {"messages": 2}}
    world.router.event(
        "MODIFIED", body(meta.STREAM, "s", 2, status=status, ownerReferences=OWNED_BY_ORDERS)
    )

    assert world.woken() == {}


def test_ready_pods_of_a_consumer_wake_its_pipeline(world: World) -> None:
    for version, ready in ((1, 0), (2, 1)):
        world.woken()
        status = {"replicas": 1, "readyReplicas": ready}
        world.router.event(
            "MODIFIED",
            body(meta.CONSUMER, "c", version, status=status, ownerReferences=OWNED_BY_ORDERS),
        )
    assert set(world.woken()) == {"OutboxPipeline/shop/orders"}


def test_a_deletion_wakes_the_object_for_a_last_time_and_its_owner(world: World) -> None:
    stream = body(meta.STREAM, "s", ownerReferences=OWNED_BY_ORDERS)
    world.router.event(None, stream)
    world.woken()

    world.router.event("DELETED", body(meta.STREAM, "s", 3, ownerReferences=OWNED_BY_ORDERS))

    assert world.woken() == {
        "EventStream/shop/s": ("gone", Urgency.URGENT),
        "OutboxPipeline/shop/orders": ("child:EventStream/s", Urgency.ORDINARY),
    }
    assert world.objects.get(key_of(stream)) is None


def test_a_list_wakes_what_the_watch_missed_and_who_cares(world: World) -> None:
    count = world.router.listed(
        meta.STREAM, [body(meta.STREAM, "s", ownerReferences=OWNED_BY_ORDERS)], 5, None
    )
    assert count == 1
    assert world.woken() == {
        "EventStream/shop/s": ("resync:created", Urgency.ORDINARY),
        "OutboxPipeline/shop/orders": ("child:EventStream/s", Urgency.ORDINARY),
    }
    world.router.event(None, body(meta.STREAM, "s", ownerReferences=OWNED_BY_ORDERS))
    assert world.woken() == {}


SEEN = {"observedGeneration": 1, "conditions": READY}
PAUSED = [*READY, {"type": "Paused", "status": "True", "reason": "Paused", "message": ""}]


@pytest.mark.parametrize(
    ("status", "metadata", "urgency"),
    [
        (SEEN, {}, Urgency.BACKGROUND),
        ({}, {}, Urgency.URGENT),
        (SEEN, {"generation": 2}, Urgency.URGENT),
        (SEEN, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, Urgency.URGENT),
        (SEEN, {"annotations": {meta.RESTART_ANNOTATION: "all"}}, Urgency.URGENT),
        (SEEN, {"annotations": {meta.PAUSE_ANNOTATION: "true"}}, Urgency.URGENT),
        ({**SEEN, "conditions": PAUSED}, {}, Urgency.URGENT),
        (
            {**SEEN, "conditions": PAUSED},
            {"annotations": {meta.PAUSE_ANNOTATION: "true"}},
            Urgency.BACKGROUND,
        ),
        ({**SEEN, "conditions": PAUSED}, {"ownerReferences": OWNED_BY_ORDERS}, Urgency.BACKGROUND),
        (SEEN, {"generation": 2, "ownerReferences": OWNED_BY_ORDERS}, Urgency.ORDINARY),
        (
            SEEN,
            {"deletionTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": OWNED_BY_ORDERS},
            Urgency.URGENT,
        ),
    ],
)
def test_a_new_leader_begins_with_what_a_person_did_meanwhile(
    world: World, status: dict[str, Any], metadata: dict[str, Any], urgency: Urgency
) -> None:
    world.router.listed(
        meta.CONSUMER, [body(meta.CONSUMER, "c", status=status, **metadata)], 5, None
    )
    assert world.woken()["EventConsumer/shop/c"] == ("resync:created", urgency)


def test_a_person_does_not_queue_behind_all_that_a_new_leader_looks_at() -> None:
    schedule = Schedule()
    objects = Objects()
    router = EventRouter(
        objects,
        lambda key, trigger, urgency: schedule.wake(key, trigger, urgency, 0),
        OperatorMetrics(),
    )
    for kind in (meta.PIPELINE, meta.STREAM):
        names = [f"p{number}" for number in range(300)]
        router.listed(
            kind,
            [
                body(kind, name, 5, status=SEEN, namespace=f"n{index % 7}")
                for index, name in enumerate(names)
            ],
            5,
            None,
        )
    for _ in range(20):
        assert schedule.take(0) is not None
    router.event(
        "MODIFIED", body(meta.PIPELINE, "p299", 6, status=SEEN, namespace="n5", generation=2)
    )
    turn = schedule.take(1)
    assert turn is not None
    assert (turn.key.name, turn.trigger) == ("p299", "generation")
