"""Several leaders: each namespace has one, while processes die and their number of slices changes.

Passes are what is compared: two processes at work on one object at once are two leaders. All
processes of a machine share the clock that passes are marked with.
"""

from __future__ import annotations

import contextlib
import json
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.controller.runtime.slices import slice_of
from support.kube import Cluster, Kubectl, api
from support.nats import NatsServer
from support.operator import OperatorProcess, running_operator
from support.recording_operator import BUSY_SECONDS, RecordingOperator
from support.waiting import eventually
from support.world import World

Start = Callable[[str, int], RecordingOperator]

QUICK = {
    "OUTBOX_LEASE_DURATION": "12",
    "OUTBOX_LEASE_DEADLINE": "10",
    "OUTBOX_LEASE_RETRY": "0.4",
}
BUSY = {"OUTBOX_LEASE_DURATION": "30", "OUTBOX_LEASE_DEADLINE": "25"}
"""Of those that do real work, on a machine with other work."""
NAMESPACES = 5
PAIR = ("left", "right")


def busy(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": meta.API_VERSION,
        "kind": meta.STREAM,
        "metadata": {"name": "busy", "namespace": namespace, "labels": {"test": "busy"}},
        "spec": {"name": "A", "subjects": ["a.>"], "nats": {"url": "nats://nats:4222"}},
    }


@pytest.fixture
def namespaces(kubectl: Kubectl) -> Iterator[tuple[str, ...]]:
    """Namespaces of all slices."""
    server = api(kubectl.kubeconfig)
    names: list[str] = []
    while len(names) < NAMESPACES or not _all_slices(names):
        names.append(f"t-{uuid.uuid4().hex[:8]}")
    for name in names:
        server.create("/api/v1/namespaces", {"metadata": {"name": name}})
    yield tuple(names)
    for name in names:
        server.clear(name)


def _all_slices(names: Sequence[str]) -> bool:
    return all(len({slice_of(name, count) for name in names}) == count for count in (2, 3))


@pytest.fixture
def recording(kube_cluster: Cluster, namespaces: tuple[str, ...]) -> Start:
    """A process that divides them into so many slices, and writes down its passes."""

    def make(identity: str, slices: int) -> RecordingOperator:
        return RecordingOperator(
            kube_cluster.kubeconfig,
            OUTBOX_LEASE_NAMESPACE=namespaces[0],
            OUTBOX_NAMESPACES=",".join(namespaces),
            OUTBOX_IDENTITY=identity,
            OUTBOX_SLICES=str(slices),
            **QUICK,
        )

    return make


def worked_on_since(operator: RecordingOperator, count: int) -> set[str]:
    """Namespaces in which it made passes, but for the first so many."""
    return {one["pass"].split("/")[1] for one in operator.passes[count:]}


async def leads(operator: RecordingOperator, namespaces: set[str], what: str) -> None:
    """Waits until it works in these namespaces, and no others."""

    async def settled() -> bool:
        before = len(operator.passes)
        await eventually(
            lambda: len(operator.passes) >= before + 3 * max(1, len(namespaces)), "passes"
        )
        return worked_on_since(operator, before) == namespaces

    await eventually(settled, what)


def of(namespaces: Sequence[str], count: int, *slices: int) -> set[str]:
    return {name for name in namespaces if slice_of(name, count) in slices}


def led_by(kubectl: Kubectl, namespace: str, identity: str) -> list[int]:
    """Slices whose Lease a process holds."""
    prefix = "outbox-operator-slice-"
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    return sorted(
        int(lease["metadata"]["name"].removeprefix(prefix))
        for lease in (api(kubectl.kubeconfig).get(path) or {})["items"]
        if lease["metadata"]["name"].startswith(prefix)
        and lease["spec"].get("holderIdentity") == identity
    )


def holders(kubectl: Kubectl, namespace: str) -> dict[str, str]:
    """Who holds each Lease that there is."""
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    items = (api(kubectl.kubeconfig).get(path) or {})["items"]
    return {one["metadata"]["name"]: one["spec"].get("holderIdentity", "") for one in items}


async def leases_are_deleted(kubectl: Kubectl, namespace: str) -> None:
    """By hand; returns when those who held them hold them again."""
    before = holders(kubectl, namespace)
    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    for name in before:
        api(kubectl.kubeconfig).delete(f"{path}/{name}")
    await eventually(lambda: holders(kubectl, namespace) == before, "who led leads")


def divided(kubectl: Kubectl, namespace: str) -> bool:
    """Whether three slices have two leaders."""
    return sorted(len(led_by(kubectl, namespace, name)) for name in PAIR) == [1, 2]


def assert_one_at_a_time(*operators: RecordingOperator) -> None:
    """No object was worked on by two of them at once."""
    passes = sorted(
        (one["pass"], one["at"], number)
        for number, operator in enumerate(operators)
        for one in operator.passes
        if one["exists"]
    )
    for (name, began, one), (same, at, other) in pairwise(passes):
        if name == same and one != other:
            assert at - began >= BUSY_SECONDS, f"{name} was worked on by {one} and {other} at once"


@pytest.mark.thorough
async def test_one_owner_of_each_namespace_while_processes_die_and_slices_change(
    recording: Start, kubectl: Kubectl, namespaces: tuple[str, ...]
) -> None:
    home, start = namespaces[0], recording
    kubectl.apply(*(busy(name) for name in namespaces))
    async with start("one", 1) as one:
        await leads(one, set(namespaces), "undivided, it looks after all")
        async with start("left", 3) as left, start("right", 3) as right:
            await left.logged("is held by one")
            await right.logged("is held by one")
            await leases_are_deleted(kubectl, home)
            one.send(signal.SIGKILL)
            await eventually(lambda: divided(kubectl, home), "the three slices are divided")
            for name, process in zip(PAIR, (left, right), strict=True):
                mine = of(namespaces, 3, *led_by(kubectl, home, name))
                await leads(process, mine, f"{name} looks after its slices")
            await leases_are_deleted(kubectl, home)
            async with start("two", 2) as two:
                await two.logged("is held by 3 slices")
                left.send(signal.SIGKILL)
                await leads(right, set(namespaces), "the slices of the dead one moved")
                assert two.passes == []
                right.send(signal.SIGTERM)
                assert await right.exit_code() == 0
                await leads(two, set(namespaces), "with two slices it goes on at once")
                two.send(signal.SIGTERM)
                assert await two.exit_code() == 0
                assert_one_at_a_time(one, left, right, two)
    whole = kubectl.get("-n", home, "lease", "outbox-operator")
    assert not whole["spec"].get("holderIdentity"), "the last one gave it back"
    for process in (left, right, two):
        taken = [json.dumps(line) for line in process.logs if line["level"] == "error"]
        assert taken == []


PIPELINE = "OutboxPipeline"
PIPELINES = 15
"""`make bench-slices` does it with thousands."""


@pytest.fixture
def pair(
    kube_cluster: Cluster, kubectl: Kubectl, namespaces: tuple[str, ...], tmp_path: Path
) -> Iterator[tuple[OperatorProcess, OperatorProcess]]:
    """Two operators that divide the namespaces into three slices."""
    with contextlib.ExitStack() as stack:
        left, right = (
            stack.enter_context(
                running_operator(
                    kube_cluster.kubeconfig,
                    tmp_path / f"{name}.log",
                    namespaces=namespaces,
                    lease_namespace=namespaces[0],
                    identity=name,
                    variables={"OUTBOX_SLICES": "3", **QUICK, **BUSY},
                )
            )
            for name in PAIR
        )
        yield left, right


async def one_exports(pair: Sequence[OperatorProcess], namespace: str) -> None:
    """Waits until one of them exports the numbers of a namespace's pipelines."""
    await eventually(lambda: exporters(pair, namespace) == 1, f"one exports {namespace}")


def exporters(pair: Sequence[OperatorProcess], namespace: str) -> int:
    """How many of them export the numbers of a namespace's pipelines."""
    name = "outbox_pipeline_backlog_rows"
    return sum(bool(one.process and one.samples(name, namespace=namespace)) for one in pair)


async def test_pipelines_on_three_slices_go_on_when_one_leader_dies(
    pair: tuple[OperatorProcess, OperatorProcess],
    kubectl: Kubectl,
    namespaces: tuple[str, ...],
    database: str,
    nats_server: NatsServer,
    stream_prefix: str,
) -> None:
    left, right = pair
    worlds = [
        World(
            kubectl=kubectl, namespace=name, database=database, nats=nats_server,
            prefix=f"{stream_prefix}-{number}", operator=left,
        )
        for number, name in enumerate(namespaces)
    ]  # fmt: skip
    home = namespaces[0]
    await eventually(lambda: divided(kubectl, home), "the slices are divided")
    made = [
        (world, f"p{number}")
        for number in range(PIPELINES)
        for world in [worlds[number % len(worlds)]]
    ]
    kubectl.apply(
        *(world.secret("database", url=database) for world in worlds),
        *(pipeline_of(world, name) for world, name in made),
    )
    for world, name in made:
        world.wait_ready(PIPELINE, name)
    for name in namespaces:
        await one_exports(pair, name)

    # What is global: a stream of another slice is not taken while its owner lives.
    there = worlds[0]
    here = next(one for one in worlds if slice_of(one.namespace, 3) != slice_of(home, 3))
    rival = pipeline_of(here, "rival")
    rival["spec"]["stream"] = {
        "name": f"{there.prefix}-p0", "subject": f"{there.prefix}.p0.{{event_type}}",
        "adoptionPolicy": "Adopt",
    }  # fmt: skip
    here.apply(rival)
    seen = here.wait_condition("EventStream", "rival", "StreamReady", "False", "ResourceConflict")
    assert "belongs to a resource of another namespace" in seen["message"]
    kubectl("delete", "obp", "p0", "-n", there.namespace, "--timeout=120s")
    here.wait_ready(PIPELINE, "rival")

    # The one with two slices dies.
    victim, heir = (left, right) if len(led_by(kubectl, home, "left")) == 2 else (right, left)
    orphans = [one for one in worlds if exporters([victim], one.namespace)]
    victim.kill()
    for world in orphans:
        world.apply(pipeline_of(world, "late"))
    for world in orphans:
        world.wait_ready(PIPELINE, "late")
    for name in namespaces:
        await one_exports([heir], name)
    for world, name in made[1:]:
        status = (world.get(PIPELINE, name) or {})["status"]
        assert status.get("driftCorrectedCount", 0) == 0, "what the other had made is as it was"


def pipeline_of(world: World, name: str) -> dict[str, Any]:
    """A pipeline with tables of its own in the one database."""
    schema = f"{name}_{world.namespace.replace('-', '_')}"
    return world.pipeline(
        name, database={"connectionSecretRef": {"name": "database"}, "schema": schema}
    )
