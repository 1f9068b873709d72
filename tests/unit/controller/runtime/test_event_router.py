"""Whom news about our own objects wakes."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.controller.runtime.event_router import EventRouter
from outbox_operator.controller.runtime.objects import Objects, key_of
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.runtime.schedule import Urgency

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
        "EventStream/shop/s": ("created", Urgency.URGENT),
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
        "EventStream/shop/s": ("resync:created", Urgency.URGENT),
        "OutboxPipeline/shop/orders": ("child:EventStream/s", Urgency.ORDINARY),
    }
    world.router.event(None, body(meta.STREAM, "s", ownerReferences=OWNED_BY_ORDERS))
    assert world.woken() == {}
