"""What is put back on a resource although others write it meanwhile."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import pytest

from outbox_operator.adapters.kubernetes.transport import WriteConflictError
from outbox_operator.api import meta
from outbox_operator.api.resource import Meta
from outbox_operator.controller.reconcile.resources import OwnedResources
from outbox_operator.plan.kubernetes.resources import Body, wanted_steps
from outbox_operator.plan.steps import Applied, Change

OWNER = Meta(
    kind=meta.PIPELINE, namespace="shop", name="orders", uid="owner", generation=1,
    created="2026-01-01T00:00:00Z",
)  # fmt: skip
WANTED: Body = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {
        "name": "orders-relay", "namespace": "shop",
        "annotations": {meta.APPLIED_ANNOTATION: "hash"},
    },
    "spec": {"template": {"spec": {"containers": [{"name": "relay", "image": "ours"}]}}},
}  # fmt: skip
SIDE: Body = {
    "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"side"}': {".": {}}}}}}
}


class ApiServer:
    """A Deployment to which somebody added a sidecar, and whose status is written now and then."""

    def __init__(self, writes: int) -> None:
        self.live = copy.deepcopy(WANTED)
        self.live["metadata"] |= {
            "uid": "d", "resourceVersion": "1",
            "managedFields": [{"manager": "kubectl-patch", "fieldsV1": SIDE}],
        }  # fmt: skip
        self.containers.append({"name": "side"})
        self.writes = writes

    @property
    def containers(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.live["spec"]["template"]["spec"]["containers"]
        return found

    def status_written(self) -> None:
        """As the Deployment controller does while pods come and go; another item moves up."""
        self.live["metadata"]["resourceVersion"] += "1"
        self.containers.insert(1, {"name": f"of admission {self.writes}"})

    async def get(self, _ref: object) -> Body:
        return copy.deepcopy(self.live)

    async def remove_fields(self, _ref: object, pointers: Sequence[str], version: str) -> None:
        if self.writes:
            self.writes -= 1
            self.status_written()
        if version != self.live["metadata"]["resourceVersion"]:
            raise WriteConflictError("the object has been modified")
        for one in pointers:
            del self.containers[int(one.rpartition("/")[2])]

    async def apply(self, _manifest: Body) -> Body:
        return copy.deepcopy(self.live)


async def put_back(api: ApiServer) -> Applied[Body]:
    resources = OwnedResources(
        cast(Any, api),
        cached=lambda *_: seen, owned_by=lambda *_: [seen], belongs=lambda *_: True, complete=True,
    )  # fmt: skip
    seen = await api.get(None)
    steps = wanted_steps(OWNER, [WANTED], await resources.observe(OWNER, [WANTED]))
    (applied,) = await resources.execute(OWNER, steps)
    return applied


@pytest.mark.parametrize("writes", [0, 1, 4])
async def test_what_its_controller_wrote_meanwhile_keeps_nobody_from_putting_it_back(
    writes: int,
) -> None:
    api = ApiServer(writes)
    applied = await put_back(api)
    assert (applied.error, applied.change) == (None, Change.PATCHED)
    assert "side" not in [one["name"] for one in api.containers]
    assert len(api.containers) == 1 + writes, "and nothing else went"


async def test_who_writes_without_end_is_left_to_the_next_pass() -> None:
    applied = await put_back(ApiServer(100))
    assert isinstance(applied.error, WriteConflictError)


async def test_another_one_of_that_name_is_looked_at_by_the_next_pass() -> None:
    api = ApiServer(0)
    before = await api.get(None)
    api.live["metadata"] |= {"uid": "another", "resourceVersion": "9"}
    resources = OwnedResources(
        cast(Any, api),
        cached=lambda *_: before, owned_by=lambda *_: [before], belongs=lambda *_: True,
        complete=True,
    )  # fmt: skip
    steps = wanted_steps(OWNER, [WANTED], await resources.observe(OWNER, [WANTED]))
    (applied,) = await resources.execute(OWNER, steps)
    assert isinstance(applied.error, WriteConflictError)
    assert len(api.containers) == 2
