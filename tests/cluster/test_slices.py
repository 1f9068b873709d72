"""Several leaders: each namespace has one, while processes die and their number of slices changes.

Passes are what is compared: two processes at work on one object at once are two leaders. All
processes of a machine share the clock that passes are marked with.
"""

from __future__ import annotations

import json
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.controller.runtime.slices import slice_of
from support.kube import Cluster, Kubectl, api
from support.recording_operator import BUSY_SECONDS, RecordingOperator
from support.waiting import eventually

Start = Callable[[str, int], RecordingOperator]

QUICK = {
    "OUTBOX_LEASE_DURATION": "6",
    "OUTBOX_LEASE_DEADLINE": "5",
    "OUTBOX_LEASE_RETRY": "0.4",
}
NAMESPACES = 9
PAIR = ("left", "right")


def stream(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": meta.API_VERSION,
        "kind": meta.STREAM,
        "metadata": {"name": "busy", "namespace": namespace, "labels": {"test": "busy"}},
        "spec": {"name": "A", "subjects": ["a.>"], "nats": {"url": "nats://nats:4222"}},
    }


@pytest.fixture
def namespaces(kubectl: Kubectl) -> Iterator[tuple[str, ...]]:
    """Namespaces of all slices, with an object each that is worked on all the time."""
    server = api(kubectl.kubeconfig)
    names: list[str] = []
    while len(names) < NAMESPACES or not _all_slices(names):
        names.append(f"t-{uuid.uuid4().hex[:8]}")
    for name in names:
        server.create("/api/v1/namespaces", {"metadata": {"name": name}})
    kubectl.apply(*(stream(name) for name in names))
    yield tuple(names)
    for name in names:
        server.delete(f"/api/v1/namespaces/{name}")


def _all_slices(names: Sequence[str]) -> bool:
    return all(len({slice_of(name, count) for name in names}) == count for count in (2, 3))


@pytest.fixture
def start(kube_cluster: Cluster, namespaces: tuple[str, ...]) -> Start:
    """A process that divides them into so many slices."""

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
    return sorted(
        int(lease["metadata"]["name"].removeprefix(prefix))
        for lease in kubectl.get("-n", namespace, "leases")["items"]
        if lease["metadata"]["name"].startswith(prefix)
        and lease["spec"].get("holderIdentity") == identity
    )


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


async def test_one_owner_of_each_namespace_while_processes_die_and_slices_change(
    start: Start, kubectl: Kubectl, namespaces: tuple[str, ...]
) -> None:
    home = namespaces[0]
    async with start("one", 1) as one:
        await leads(one, set(namespaces), "undivided, it looks after all")
        async with start("left", 3) as left, start("right", 3) as right:
            await left.logged("is held by one")
            await right.logged("is held by one")
            one.send(signal.SIGKILL)
            await eventually(
                lambda: sorted(len(led_by(kubectl, home, name)) for name in PAIR) == [1, 2],
                "the three slices are divided",
            )
            for name, process in zip(PAIR, (left, right), strict=True):
                mine = of(namespaces, 3, *led_by(kubectl, home, name))
                await leads(process, mine, f"{name} looks after its slices")
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
