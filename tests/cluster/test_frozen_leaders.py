"""Processes that are frozen until others lead in their place, and go on: they write nothing more.

What passes write is compared with the Leases in the order in which the API server took both: it
numbers all that it stores. `FREEZES=all` tries every place of `support.freezing_operator`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.lease import LEASE_API
from outbox_operator.adapters.kubernetes.watch import Changed, Listed
from outbox_operator.api import meta
from outbox_operator.controller.runtime.slices import layout, lease_of, slice_of
from support.freezing_operator import LABEL, PLACES, VARIABLE
from support.kube import Cluster, Kubectl, api
from support.recording_operator import RecordingOperator
from support.waiting import eventually

ANYWHERE: Final = "anywhere"
TRIED: Final = (
    (*PLACES, ANYWHERE) if os.environ.get("FREEZES") == "all" else ("writing", "taken", "left")
)
LEASE: Final = "outbox-operator"
SLICES: Final = 2
STEADY, VICTIM = "steady", "victim"
SHORT = {
    "OUTBOX_LEASE_DURATION": "5",
    "OUTBOX_LEASE_DEADLINE": "3.5",
    "OUTBOX_LEASE_RETRY": "0.4",
}


@pytest.fixture
def namespaces(kubectl: Kubectl) -> Iterator[tuple[str, ...]]:
    """One of each slice."""
    found: dict[int, str] = {}
    while len(found) < SLICES:
        name = f"t-{uuid.uuid4().hex[:8]}"
        found.setdefault(slice_of(name, SLICES), name)
    server = api(kubectl.kubeconfig)
    for name in found.values():
        server.create("/api/v1/namespaces", {"metadata": {"name": name}})
    yield tuple(found[index] for index in range(SLICES))
    for name in found.values():
        server.clear(name)


class Stage:
    """The processes, and what the API server stored."""

    def __init__(self, cluster: Cluster, kube: Kube, namespaces: tuple[str, ...]) -> None:
        self._cluster = cluster
        self._kube = kube
        self._namespaces = namespaces
        self.home = namespaces[0]
        self.stored: list[tuple[int, str, str]] = []
        """Version, what (a Lease's name or a namespace), and who: holder or writer."""

    @contextlib.asynccontextmanager
    async def running(self, identity: str, place: str) -> AsyncIterator[RecordingOperator]:
        """A process; its end is its own."""
        operator = RecordingOperator(
            self._cluster.kubeconfig,
            "support.freezing_operator",
            OUTBOX_LEASE_NAMESPACE=self.home,
            OUTBOX_NAMESPACES=",".join(self._namespaces),
            OUTBOX_IDENTITY=identity,
            OUTBOX_SLICES=str(SLICES),
            **{VARIABLE: place, **SHORT},
        )
        async with operator:
            yield operator

    @contextlib.asynccontextmanager
    async def steady(self) -> AsyncIterator[None]:
        """A process that is never frozen, and started again when it ends, as pods are."""

        async def run() -> None:
            while True:
                async with self.running(STEADY, "nowhere") as operator:
                    await operator.exit_code(within_seconds=3600)

        task = asyncio.create_task(run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def holders(self) -> list[str]:
        """Who holds each slice."""
        found = [await self._kube.lease(self.home, lease_of(LEASE, at)) for at in range(SLICES)]
        return [one.holder if one is not None else "" for one in found]

    async def leads(self, identity: str, count: int) -> None:
        """Waits until a process leads so many slices, or more."""

        async def does() -> bool:
            return (await self.holders()).count(identity) >= count

        await eventually(does, f"{identity} leads {count}")

    async def follow(self) -> None:
        """Note what is stored, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(LEASE_API, "leases", self.home, None))
            for namespace in self._namespaces:
                tasks.create_task(self._follow("v1", "configmaps", namespace, LABEL))

    async def _follow(
        self, version: str, plural: str, namespace: str, selector: str | None
    ) -> None:
        async for change in self._kube.watch(version, plural, namespace, selector):
            if isinstance(change, Listed):
                assert not change.items or not self.stored, "the history has a hole"
            elif isinstance(change, Changed):
                self._note(change.body)

    def _note(self, body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        number = int(metadata["resourceVersion"])
        if "data" in body:
            self.stored.append((number, metadata["namespace"], body["data"]["by"]))
        else:
            holder = body["spec"].get("holderIdentity") or ""
            self.stored.append((number, metadata["name"], holder))

    def wrong(self) -> list[str]:
        """Writes of somebody who did not lead there."""
        held: dict[str, str] = {}
        found = []
        for number, what, who in sorted(self.stored):
            if what not in self._namespaces:
                held[what] = who
                continue
            lease = lease_of(LEASE, slice_of(what, SLICES))
            if held.get(lease) != who or held.get(LEASE) != layout(SLICES):
                found.append(f"{number}: {who} wrote in {what}; {held}")
        return found

    def writers(self) -> set[str]:
        """Who wrote anything."""
        return {who for _, what, who in self.stored if what in self._namespaces}


def frozen(process: RecordingOperator) -> bool:
    """Whether it stands still."""
    assert not process.ended, process.logs[-5:]
    said = Path(f"/proc/{process.pid}/stat").read_text()
    return said.rpartition(")")[2].split()[0] == "T"


@pytest.fixture
async def stage(
    kube_cluster: Cluster, kubectl: Kubectl, kube: Kube, namespaces: tuple[str, ...]
) -> AsyncIterator[Stage]:
    for name in namespaces:
        answer = kubectl.apply(
            {
                "apiVersion": meta.API_VERSION,
                "kind": meta.STREAM,
                "metadata": {"name": "busy", "namespace": name},
                "spec": {"name": "A", "subjects": ["a.>"], "nats": {"url": "nats://nats:4222"}},
            }
        )
        assert answer.code == 0, answer.err
    stage = Stage(kube_cluster, kube, namespaces)
    following = asyncio.create_task(stage.follow())
    yield stage
    following.cancel()
    await asyncio.wait([following])


@pytest.mark.parametrize(
    "place",
    [TRIED[0], *(pytest.param(each, marks=pytest.mark.thorough) for each in TRIED[1:])],
)
async def test_who_was_frozen_writes_nothing_more(stage: Stage, place: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if place != "left":
            await stack.enter_async_context(stage.steady())
            await stage.leads(STEADY, SLICES)
        at_once = place in ("taken", "asked")  # else once it works
        victim = await stack.enter_async_context(
            stage.running(VICTIM, place + ("!" if at_once else ""))
        )
        if not at_once:
            await stage.leads(VICTIM, SLICES if place == "left" else 1)
            await eventually(lambda: VICTIM in stage.writers(), "it works")
            victim.send(signal.SIGSTOP if place == ANYWHERE else signal.SIGUSR1)
        if place == "left":
            await stack.enter_async_context(stage.steady())
        await eventually(lambda: frozen(victim), f"it stands still: {place}")
        await stage.leads(STEADY, SLICES)
        before = len(stage.stored)
        await eventually(lambda: len(stage.stored) > before + 5, "the other one works")
        victim.send(signal.SIGCONT)
        if place == "asked":  # it leads nothing, so that it may go on
            await stage.leads(VICTIM, 1)
        else:
            assert await victim.exit_code() == 1
            said = [line for line in victim.logs if line["level"] == "error"]
            assert [line["reason"] for line in said] == ["LeaseLost"], said
        after = len(stage.stored)
        await eventually(lambda: len(stage.stored) > after + 5, "the other one goes on")
    assert stage.wrong() == []
    assert STEADY in stage.writers()
