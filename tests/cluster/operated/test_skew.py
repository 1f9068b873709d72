"""Resource definitions newer or older than the operator.

Every chart upgrade and rollback has that for a while, and an installation whose definitions are
another release's for ever.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from support.chart import OLDER_CHART, Helm, find_helm
from support.kube import Kubectl, install_crds
from support.tasks import ended, task
from support.waiting import wait_until
from support.world import World

CRDS = ("outboxpipelines", "eventstreams", "eventconsumers")
SHORT = {"OutboxPipeline": "obp", "EventStream": "evs", "EventConsumer": "evc"}
NEWER = {"type": "string", "default": "by default", "description": "Of the next version."}


def change(kubectl: Kubectl, plural: str, patch: str) -> None:
    """Patch a definition; too long for an argument."""
    kubectl(
        "patch", "crd", f"{plural}.outbox.dev", "--type=merge", "--patch-file=/dev/stdin",
        stdin=patch,
    )  # fmt: skip


@pytest.fixture
def newer_definitions(kubectl: Kubectl) -> Iterator[None]:
    """A field more in every kind, at the top and deeper, that is filled in by default."""
    try:
        for plural in (*CRDS, "outboxtasks"):
            crd: Any = kubectl.get("crd", f"{plural}.outbox.dev")
            version = crd["spec"]["versions"][0]
            spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
            spec["properties"]["tomorrow"] = NEWER
            if nats := spec["properties"].get("nats"):
                nats["properties"]["tomorrow"] = NEWER
            patch = json.dumps({"spec": {"versions": [version]}})
            change(kubectl, plural, patch)
        yield
    finally:
        install_crds(kubectl)


@pytest.fixture
def older_definitions(kubectl: Kubectl, namespace: str) -> Iterator[Callable[[], None]]:
    """Brings the older definitions into force when it is called."""

    def install() -> None:
        found = Helm(find_helm()).render(chart=OLDER_CHART)
        crds = [one for one in found if one["kind"] == "CustomResourceDefinition"]
        assert len(crds) == len(CRDS)
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": crds})
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
        probe = {
            "apiVersion": "outbox.dev/v1alpha1",
            "kind": "OutboxPipeline",
            "metadata": {"name": "probe", "namespace": namespace},
            "spec": {
                "database": {"connectionSecretRef": {"name": "d"}},
                "nats": {"url": "nats://n:4222"},
                "stream": {"name": "S", "subject": "s.{event_type}"},
            },
        }

        def served() -> bool:
            said = kubectl(
                "create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(probe)
            )
            return "adoptionPolicy" not in json.loads(said)["spec"]["database"]

        wait_until(served, "the older definitions are served")

    try:
        yield install
    finally:
        install_crds(kubectl)


def test_definitions_older_than_the_operator(
    world: World, older_definitions: Callable[[], None]
) -> None:
    """What they do not know cannot be stored, and stops nothing."""
    world.apply(*world.whole())
    world.wait_ready("OutboxPipeline", "orders")
    older_definitions()
    world.apply(world.stream("late"), world.consumer("later", streamRef={"name": "late"}))
    for kind, name in (
        ("OutboxPipeline", "orders"), ("EventStream", "orders"),
        ("EventConsumer", "orders-billing"), ("EventStream", "late"), ("EventConsumer", "later"),
    ):  # fmt: skip
        world.kubectl(
            "patch", SHORT[kind], name, "-n", world.namespace, "--type=merge",
            '-p={"spec":{"deletionPolicy":"Delete"}}',
        )  # fmt: skip
        world.wait_ready(kind, name)
    world.settle()


def filled_in(world: World, kind: str, name: str) -> bool:
    """Whether the API server knows the new field."""
    found = world.get(kind, name)
    return found is not None and found["spec"].get("tomorrow") == "by default"


@pytest.mark.thorough
def test_definitions_newer_than_the_operator(world: World, newer_definitions: None) -> None:
    world.apply(*world.whole())
    for kind, name in (
        ("OutboxPipeline", "orders"), ("EventStream", "orders"), ("EventConsumer", "orders-billing")
    ):  # fmt: skip
        world.wait(partial(filled_in, world, kind, name), f"{kind}: the new definition is served")
        world.look_again(SHORT[kind], name)
        world.wait_ready(kind, name)
    world.settle()  # what the API server fills in is no drift that is put back for ever
    after = world.get("OutboxPipeline", "orders")
    assert after is not None
    assert after["status"]["driftCorrectedCount"] == 0, after["status"]["lastDrift"]
    # It may say what is to be left alone: then the whole is.
    ref = {"name": "orders"}
    world.apply(task(world, "purge", pipelineRef=ref, purgeDeadLetters={"confirm": True}))
    said = ended(world, "purge", "Failed", "NotSupportedYet")
    assert any("spec.tomorrow" in one["message"] for one in said["conditions"])


OLD, NEW = "v1alpha1", "v1beta1"


class Definitions:
    """The resource definitions of a cluster while their storage moves to another version."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl

    def serve(self, *, storage: str) -> None:
        """Serve both versions, with one schema and no conversion but of the name."""
        for plural in CRDS:
            crd: Any = self._kubectl.get("crd", f"{plural}.outbox.dev")
            one = crd["spec"]["versions"][0]
            versions = [{**one, "name": name, "storage": name == storage} for name in (OLD, NEW)]
            spec = {"versions": versions, "conversion": {"strategy": "None"}}
            patch = json.dumps({"spec": spec})
            change(self._kubectl, plural, patch)
        wait_until(self._served, "both versions are served")

    def _served(self) -> bool:
        names = self._kubectl("api-versions")
        return f"outbox.dev/{NEW}" in names and all(
            self._kubectl.run("get", f"{plural}.{NEW}.outbox.dev", "-A").code == 0
            for plural in CRDS
        )

    def rewrite(self) -> None:
        """Write every object once, and with it in the version that is stored; then say so."""
        for plural in CRDS:
            crd: Any = self._kubectl.get("crd", f"{plural}.outbox.dev")
            storage = next(one["name"] for one in crd["spec"]["versions"] if one["storage"])
            for item in self._kubectl.get(f"{plural}.{OLD}.outbox.dev", "-A")["items"]:
                metadata = item["metadata"]
                self._kubectl(
                    "patch", f"{plural}.{storage}.outbox.dev", metadata["name"],
                    "-n", metadata["namespace"], "--type=merge", "-p={}",
                )  # fmt: skip
            self._kubectl(
                "patch", "crd", f"{plural}.outbox.dev", "--subresource=status", "--type=merge",
                "-p", json.dumps({"status": {"storedVersions": [storage]}}),
            )  # fmt: skip


@pytest.fixture
def definitions(kubectl: Kubectl) -> Iterator[Definitions]:
    """Put back afterwards."""
    moving = Definitions(kubectl)
    try:
        yield moving
    finally:
        moving.serve(storage=OLD)
        moving.rewrite()
        install_crds(kubectl)


@pytest.mark.thorough
def test_the_storage_moves_to_a_new_version(world: World, definitions: Definitions) -> None:
    """A rehearsal: the operator goes on with the old one, as it will for a release."""
    world.apply(*world.whole())
    everything = (
        ("OutboxPipeline", "orders"), ("EventStream", "orders"), ("EventConsumer", "orders-billing")
    )  # fmt: skip

    def all_is_well() -> None:
        for kind, name in everything:
            world.look_again(SHORT[kind], name)
            world.wait_ready(kind, name)

    all_is_well()
    uids = {kind: (world.get(kind, name) or {})["metadata"]["uid"] for kind, name in everything}
    definitions.serve(storage=NEW)
    all_is_well()
    definitions.rewrite()
    all_is_well()
    world.settle()
    # Somebody writes the new version, and sees what the operator says.
    stream = {**world.stream("late"), "apiVersion": f"outbox.dev/{NEW}"}
    world.apply(stream)
    world.wait_ready("EventStream", "late")
    told = world.kubectl.get(f"eventstreams.{NEW}.outbox.dev", "late", "-n", world.namespace)
    assert told["apiVersion"] == f"outbox.dev/{NEW}"
    assert any(c["type"] == "Ready" and c["status"] == "True" for c in told["status"]["conditions"])
    for kind, name in everything:
        body = world.get(kind, name) or {}
        assert body["metadata"]["uid"] == uids[kind]
        assert body["status"].get("driftCorrectedCount", 0) == 0
