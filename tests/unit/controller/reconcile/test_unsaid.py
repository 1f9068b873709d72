"""What a pass did is said although the API server took no status just then."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, cast

import pytest

from outbox_operator.api import meta
from outbox_operator.api.resource import Stream
from outbox_operator.api.v1alpha1.stream import EventStreamStatus
from outbox_operator.controller.exported import Exported
from outbox_operator.controller.reconcile.background import Background
from outbox_operator.controller.reconcile.cluster import ClusterIdentity
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.nats_connections import NatsConnections
from outbox_operator.controller.reconcile.postgres_connections import PostgresConnections
from outbox_operator.controller.reconcile.redis_connections import RedisConnections
from outbox_operator.controller.reconcile.room import Room
from outbox_operator.controller.reconcile.secrets import Secrets
from outbox_operator.controller.reconcile.stream import StreamReconciler
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.settings import Settings
from outbox_operator.errors import KubernetesError
from outbox_operator.plan.passes.result import PassResult

KEY = ObjectKey(meta.STREAM, "shop", "orders")


class ApiServer:
    """Refuses the first statuses, as one that is restarted."""

    def __init__(self, refused: int) -> None:
        self.refused = refused
        self.status: dict[str, Any] = {}
        self.said: list[tuple[str, str]] = []

    async def get(self, _ref: object) -> None:
        return None

    async def merge_metadata(self, *_: object, **__: object) -> None:
        return None

    async def record_event(self, _body: object, *, reason: str, note: str, **_: object) -> None:
        self.said.append((reason, note.partition(";")[0]))

    async def apply_status(self, manifest: Mapping[str, Any]) -> None:
        if self.refused:
            self.refused -= 1
            raise KubernetesError("the API server is restarted")
        self.status = manifest["status"]


class Reconciler(StreamReconciler):
    """Comes to what a test says."""

    results: list[PassResult[EventStreamStatus]]

    async def work(self, resource: Stream) -> PassResult[EventStreamStatus]:
        return self.results.pop(0)


def reconciler(api: ApiServer) -> Reconciler:
    kube, absent = cast(Any, api), cast(Any, None)
    objects = Objects()
    objects.observed(
        {
            "apiVersion": meta.API_VERSION,
            "kind": meta.STREAM,
            "metadata": {
                "name": "orders", "namespace": "shop", "uid": "u", "generation": 1,
                "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"name": "ORDERS", "subjects": ["o.>"], "nats": {"url": "nats://n.shop"}},
            "status": {"observedGeneration": 1, "conditions": []},
        }
    )  # fmt: skip
    return Reconciler(
        Context(
            kube=kube,
            objects=objects,
            children=absent,
            settings=Settings(image="i", lease_namespace="system", identity="a"),
            exported=Exported(lambda _key: None, 60),
            wake=lambda _key, _trigger: None,
            secrets=Secrets(kube, time.monotonic, 60.0),
            nats=NatsConnections(lambda _user, _trigger: None, time.monotonic),
            redis=RedisConnections(lambda _user, _trigger: None, time.monotonic),
            postgres=PostgresConnections(lambda _user, _trigger: None, time.monotonic),
            background=Background(lambda _key, _trigger: None),
            comparisons=Room(lambda _key, _trigger: None),
            cluster=ClusterIdentity(kube),
        )
    )


def result(**done: tuple[str, ...]) -> PassResult[EventStreamStatus]:
    return PassResult(parts=(), status=EventStreamStatus(), **cast(Any, done))


async def test_repairs_and_moves_are_said_once_the_status_is_taken() -> None:
    api = ApiServer(refused=2)
    passes = reconciler(api)
    passes.results = [
        result(drifts=("a was changed",), corrections=("b was gone",)),
        result(moves=("c is elsewhere",)),
        result(drifts=("d was changed",)),
        result(),
    ]
    for _ in range(2):
        with pytest.raises(KubernetesError):
            await passes.reconcile(KEY, "test")
    assert api.said == []
    await passes.reconcile(KEY, "test")
    assert api.status["driftCorrectedCount"] == 2
    await passes.reconcile(KEY, "test")
    assert [said for said in api.said if said[0] in ("DriftCorrected", "Moved")] == [
        ("DriftCorrected", "a was changed"),
        ("DriftCorrected", "d was changed"),
        ("DriftCorrected", "b was gone"),
        ("Moved", "c is elsewhere"),
    ]


async def test_what_is_owed_is_bounded() -> None:
    api = ApiServer(refused=100)
    passes = reconciler(api)
    passes.results = [result(drifts=(f"{number} was changed",)) for number in range(101)]
    for _ in range(100):
        with pytest.raises(KubernetesError):
            await passes.reconcile(KEY, "test")
    await passes.reconcile(KEY, "test")
    said = [note for reason, note in api.said if reason == "DriftCorrected"]
    assert 10 <= len(said) <= 50
    assert said[-1] == "100 was changed"
