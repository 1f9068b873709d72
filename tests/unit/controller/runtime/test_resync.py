"""Lists of names and versions, beside which things happen while what is new is read in full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.api import meta
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.controller.runtime.event_router import EventRouter
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.controller.runtime.reconciler import ObjectKey
from outbox_operator.controller.runtime.resync import FEW, Resync
from outbox_operator.controller.settings import Settings

Body = dict[str, Any]
OURS, GAINED = "ours", "gained"


class Server:
    """Streams of an API server; something may happen while one of them is read."""

    def __init__(self) -> None:
        self.version = 0
        self.bodies: dict[tuple[str, str], Body] = {}
        self.meanwhile: Callable[[], None] = lambda: None

    def write(self, namespace: str, name: str, **spec: Any) -> Body:
        self.version += 1
        metadata = {
            "namespace": namespace, "name": name, "uid": f"{namespace}-{name}",
            "resourceVersion": str(self.version), "generation": self.version,
        }  # fmt: skip
        body = {"kind": meta.STREAM, "metadata": metadata, "spec": {"name": name, **spec}}
        self.bodies[namespace, name] = body
        return body

    async def list(
        self, _version: str, plural: str, _namespace: str | None, *, metadata_only: bool = False
    ) -> tuple[list[Body], str]:
        found = self.bodies.values() if plural == meta.PLURALS[meta.STREAM] else ()
        if metadata_only:
            return [{"metadata": body["metadata"]} for body in found], str(self.version)
        return list(found), str(self.version)

    async def get(self, ref: Ref) -> Body | None:
        body = self.bodies.get((ref.namespace, ref.name))
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        return body


class World:
    def __init__(self) -> None:
        self.server, self.led, self.woken = Server(), {OURS}, dict[ObjectKey, str]()
        self.objects = Objects(leads=self.led.__contains__)
        metrics = OperatorMetrics("test", 2)
        self.router = EventRouter(self.objects, lambda key, why, _: self._wake(key, why), metrics)
        settings = Settings(image="i", lease_namespace="system", identity="me")
        self.resync = Resync(
            cast(Kube, self.server), self.router, self.objects, metrics, settings
        )  # fmt: skip

    def _wake(self, key: ObjectKey, why: str) -> None:
        self.woken[key] = why

    def spec(self, namespace: str, name: str = "a") -> Any:
        body = self.objects.get(ObjectKey(meta.STREAM, namespace, name))
        return None if body is None else body.get("spec")


async def test_a_slice_gained_while_changes_are_read() -> None:
    world = World()
    world.server.write(OURS, "a")
    world.server.write(GAINED, "a")
    await world.resync.once()
    world.server.write(OURS, "a", maxAge="1h")
    world.server.meanwhile = lambda: world.led.add(GAINED)
    await world.resync.once()
    assert world.spec(OURS) == {"name": "a", "maxAge": "1h"}
    assert world.spec(GAINED) == {"name": "a"}, "of what is worked on all is known"
    assert world.woken[ObjectKey(meta.STREAM, GAINED, "a")] == "resync:created"


async def test_many_gained_while_changes_are_read() -> None:
    world = World()
    world.server.write(OURS, "a")
    names = [f"s{number}" for number in range(FEW + 1)]
    for name in names:
        world.server.write(GAINED, name)
    await world.resync.once()
    world.server.write(OURS, "a", maxAge="1h")
    world.server.meanwhile = lambda: world.led.add(GAINED)
    await world.resync.once()
    assert [world.spec(GAINED, name) for name in names] == [{"name": name} for name in names]


async def test_what_the_watch_knew_goes_and_comes_back_while_changes_are_read() -> None:
    world = World()
    world.server.write(OURS, "a")
    before = world.server.write(OURS, "b")
    await world.resync.once()
    world.server.write(OURS, "a", maxAge="1h")

    def recreated() -> None:
        world.server.version += 1
        deleted = {**before["metadata"], "resourceVersion": str(world.server.version)}
        world.router.event("DELETED", {**before, "metadata": deleted})
        world.router.event("ADDED", world.server.write(OURS, "b", maxAge="2h"))

    world.server.meanwhile = recreated
    await world.resync.once()
    assert world.spec(OURS, "b") == {"name": "b", "maxAge": "2h"}


async def test_what_is_deleted_before_it_is_read_is_gone() -> None:
    world = World()
    for name in ("a", "b"):
        world.server.write(OURS, name)
    await world.resync.once()
    for name in ("a", "b"):
        world.server.write(OURS, name, maxAge="1h")
    world.server.meanwhile = lambda: world.server.bodies.clear()
    await world.resync.once()
    await world.resync.once()
    assert world.spec(OURS, "a") is None
    assert world.spec(OURS, "b") is None
    assert world.woken[ObjectKey(meta.STREAM, OURS, "b")] == "resync:gone"
