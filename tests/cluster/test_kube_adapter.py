"""The Kubernetes adapter against a real API server."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.adapters.kubernetes.events import EVENTS_API
from outbox_operator.adapters.kubernetes.objects import Ref, ref_of
from outbox_operator.adapters.kubernetes.watch import Changed, Listed
from outbox_operator.api import meta
from outbox_operator.controller.reconcile.pods import MOST_FAILED, pods_of
from outbox_operator.errors import ConflictError, KubernetesError, SpecError
from outbox_operator.reasons import Reason
from support.kube import Cluster, Kubectl
from support.waiting import SECONDS


def config_map(namespace: str, name: str = "a", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"test": "yes"}},
        "data": data,
    }


def stream(namespace: str, name: str = "a") -> dict[str, Any]:
    return {
        "apiVersion": meta.API_VERSION,
        "kind": meta.STREAM,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"name": "A", "subjects": ["a.>"], "nats": {"url": "nats://nats:4222"}},
    }


def status_of(body: dict[str, Any], **condition: str) -> dict[str, Any]:
    metadata = {key: body["metadata"][key] for key in ("name", "namespace", "uid")}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "InSync",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
        **condition,
    }
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": metadata,
        "status": {"observedGeneration": 1, "conditions": [ready]},
    }


async def test_apply_creates_changes_and_is_idempotent(kube: Kube, namespace: str) -> None:
    first = await kube.apply(config_map(namespace, a="1", b="2"))
    again = await kube.apply(config_map(namespace, a="1", b="2"))
    without_b = await kube.apply(config_map(namespace, a="1"))

    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert without_b["data"] == {"a": "1"}


async def test_apply_leaves_fields_of_others_alone(
    kube: Kube, kubectl: Kubectl, namespace: str
) -> None:
    await kube.apply(config_map(namespace, a="1"))
    kubectl("-n", namespace, "annotate", "configmap", "a", "someone=else")

    after = await kube.apply(config_map(namespace, a="2"))

    assert after["metadata"]["annotations"] == {"someone": "else"}


async def test_apply_without_force_does_not_take_fields(kube: Kube, namespace: str) -> None:
    await kube.apply(config_map(namespace, a="1"), field_manager="someone-else")

    with pytest.raises(ConflictError, match=f"configmaps {namespace}/a"):
        await kube.apply(config_map(namespace, a="2"), force=False)
    assert (await kube.apply(config_map(namespace, a="2")))["data"] == {"a": "2"}


async def test_a_refused_manifest_names_the_field(
    kube: Kube, kubectl: Kubectl, namespace: str
) -> None:
    body = stream(namespace)
    body["spec"]["maxAge"] = "soon"
    with pytest.raises(SpecError, match=r"eventstreams .*spec\.maxAge"):
        await kube.apply(body)


async def test_get_of_nothing(kube: Kube, namespace: str) -> None:
    assert await kube.get(Ref("v1", "configmaps", namespace, "none")) is None
    assert await kube.secret(namespace, "none") is None


async def test_status_is_applied_apart_from_the_spec(
    kube: Kube, kubectl: Kubectl, namespace: str
) -> None:
    body = await kube.apply(stream(namespace))

    first = await kube.apply_status(status_of(body))
    second = await kube.apply_status(status_of(body))

    assert first is not None
    assert second is not None
    assert first["metadata"]["generation"] == body["metadata"]["generation"]
    now = await kube.get(ref_of(body))
    assert now is not None
    assert now["status"]["conditions"][0]["reason"] == "InSync"
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    # Of an object that somebody wrote since, on request.
    old = status_of(body)
    old["metadata"]["resourceVersion"] = body["metadata"]["resourceVersion"]
    with pytest.raises(ConflictError):
        await kube.apply_status(old)


async def test_a_status_for_an_object_that_is_gone(
    kube: Kube, kubectl: Kubectl, namespace: str
) -> None:
    body = await kube.apply(stream(namespace))
    await kube.delete(ref_of(body))
    assert await kube.apply_status(status_of(body)) is None

    await kube.apply(stream(namespace))
    with pytest.raises(ConflictError):
        await kube.apply_status(status_of(body))


async def test_finalizer_holds_and_releases(kube: Kube, kubectl: Kubectl, namespace: str) -> None:
    body = await kube.apply(stream(namespace))
    ref = ref_of(body)
    old_version = body["metadata"]["resourceVersion"]

    held = await kube.merge_metadata(ref, resource_version=old_version, finalizers=[meta.FINALIZER])
    assert held is not None
    assert held["metadata"]["finalizers"] == [meta.FINALIZER]
    with pytest.raises(ConflictError):
        await kube.merge_metadata(ref, resource_version=old_version, finalizers=[])

    assert await kube.delete(ref)
    going = await kube.get(ref)
    assert going is not None
    assert going["metadata"]["deletionTimestamp"]
    await kube.merge_metadata(
        ref, resource_version=going["metadata"]["resourceVersion"], finalizers=[]
    )
    assert await kube.get(ref) is None
    assert await kube.merge_metadata(ref, finalizers=[]) is None


async def test_annotations_are_set_and_removed_one_by_one(kube: Kube, namespace: str) -> None:
    body = await kube.apply(config_map(namespace))
    await kube.merge_metadata(ref_of(body), annotations={"a": "1", "b": "2"})
    after = await kube.merge_metadata(ref_of(body), annotations={"a": None})
    assert after is not None
    assert after["metadata"]["annotations"] == {"b": "2"}


async def test_delete_spares_a_namesake(kube: Kube, namespace: str) -> None:
    body = await kube.apply(config_map(namespace))
    ref = ref_of(body)

    assert not await kube.delete(ref, uid="00000000-0000-0000-0000-000000000000")
    assert await kube.get(ref) is not None
    assert await kube.delete(ref, uid=body["metadata"]["uid"])
    assert not await kube.delete(ref)


async def test_lists_are_complete_and_name_their_items(kube: Kube, namespace: str) -> None:
    names = [f"m-{number:02}" for number in range(3)]
    for name in names:
        await kube.apply(config_map(namespace, name, a="1"))

    items, version = await kube.list("v1", "configmaps", namespace, "test=yes")
    bare, _ = await kube.list("v1", "configmaps", namespace, "test=yes", metadata_only=True)
    one, _ = await kube.list(
        "v1", "configmaps", namespace, field_selector=f"metadata.name={names[0]}"
    )

    assert [item["metadata"]["name"] for item in items] == names
    assert {(item["apiVersion"], item["kind"]) for item in items} == {("v1", "ConfigMap")}
    assert int(version) >= max(int(item["metadata"]["resourceVersion"]) for item in items)
    assert [item["metadata"]["name"] for item in bare] == names
    assert all("data" not in item for item in bare)
    assert len(one) == 1


async def test_secrets_are_decoded(kube: Kube, namespace: str) -> None:
    encoded = base64.b64encode(b"postgresql://\xff").decode()
    await kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "db", "namespace": namespace},
            "data": {"url": encoded},
        }
    )
    assert await kube.secret(namespace, "db") == {"url": b"postgresql://\xff"}


async def test_what_is_said_again_is_the_same_event_seen_last(
    kube: Kube, namespace: str, kubectl: Kubectl
) -> None:
    body = await kube.apply(config_map(namespace))
    facts = {"type": "Warning", "action": "Reconcile"}
    for note in ("NATS is away", "NATS is back", "NATS is away", "NATS is away", "NATS is back"):
        await kube.record_event(body, reason="NatsUnreachable", note=note, **facts)  # type: ignore[arg-type]
    await kube.record_event(body, reason="Other", note="x" * 5000, **facts)  # type: ignore[arg-type]

    items, _ = await kube.list(EVENTS_API, "events", namespace)

    about_us = [item for item in items if item["regarding"].get("uid") == body["metadata"]["uid"]]
    notes = sorted(item["note"] for item in about_us)
    assert notes[:2] == ["NATS is away", "NATS is back"]
    assert [len(note.encode()) for note in notes[2:]] == [1024]
    counts = {item["note"]: item.get("series", {}).get("count") for item in about_us}
    assert (counts["NATS is away"], counts["NATS is back"]) == (3, 2)
    lines = kubectl("events", "-n", namespace, "--no-headers").splitlines()
    order = [line.split("NATS is ")[1] for line in lines if "NATS is " in line]
    assert order == ["away", "back"]
    # One that is gone is written anew.
    kubectl("delete", "events.events.k8s.io", "--all", "-n", namespace)
    await kube.record_event(body, reason="NatsUnreachable", note="NATS is back", **facts)  # type: ignore[arg-type]
    items, _ = await kube.list(EVENTS_API, "events", namespace)
    assert [item["note"] for item in items] == ["NATS is back"]


async def test_an_event_that_cannot_be_written_harms_nobody(kube: Kube) -> None:
    nowhere = config_map("no-such-namespace")
    await kube.record_event(
        nowhere, type="Normal", reason=Reason.IN_SYNC, note="x", action="Reconcile"
    )


async def test_watch_lists_then_follows(kube: Kube, namespace: str) -> None:
    await kube.apply(config_map(namespace, "before"))
    changes = kube.watch("v1", "configmaps", namespace, "test=yes")
    async with asyncio.timeout(SECONDS):
        listed = await anext(changes)
        assert isinstance(listed, Listed)
        assert [item["metadata"]["name"] for item in listed.items] == ["before"]

        await kube.apply({**config_map(namespace, "other"), "metadata": {
            "name": "other", "namespace": namespace,
        }})  # fmt: skip
        created = await kube.apply(config_map(namespace, "a", x="1"))
        await kube.delete(ref_of(created))

        first, second = await anext(changes), await anext(changes)
    assert isinstance(first, Changed)
    assert (first.body["metadata"]["name"], first.deleted) == ("a", False)
    assert isinstance(second, Changed)
    assert (second.body["metadata"]["name"], second.deleted) == ("a", True)


async def test_served_plurals(kube: Kube, kubectl: Kubectl) -> None:
    assert set(meta.PLURALS.values()) <= await kube.served_plurals(meta.API_VERSION)
    assert await kube.served_plurals("nothing.example/v1") == set()


async def test_a_server_that_is_away_is_named(
    kube_cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    text = kube_cluster.kubeconfig.read_text()
    server = next(line for line in text.splitlines() if "server:" in line).split()[-1]
    elsewhere = tmp_path / "kubeconfig"
    elsewhere.write_text(text.replace(server, "https://127.0.0.1:1"))
    monkeypatch.setenv("KUBECONFIG", str(elsewhere))
    calls: list[tuple[str, int]] = []
    kube = await Kube.connect(on_answer=lambda method, status: calls.append((method, status)))
    try:
        with pytest.raises(KubernetesError, match=r"127\.0\.0\.1:1"):
            await kube.get(Ref("v1", "namespaces", "", "default"))
        assert calls == [("GET", 0)]
    finally:
        await kube.close()


async def test_without_any_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    with pytest.raises(KubernetesError, match="KUBECONFIG"):
        await Kube.connect()


async def test_of_pods_that_failed_a_few_are_read(
    kube: Kube, kubectl: Kubectl, namespace: str
) -> None:
    """A node that refuses a pod makes its ReplicaSet bring forth thousands of them."""
    pods = [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"p{number}", "namespace": namespace, "labels": {"of": "us"}},
            "spec": {"containers": [{"name": "a", "image": "none"}]},
        }
        for number in range(2 * MOST_FAILED)
    ]
    assert kubectl.apply(*pods).code == 0
    refused = '{"status": {"phase": "Failed", "reason": "SysctlForbidden"}}'
    names = [f"p{number}" for number in range(1, 2 * MOST_FAILED)]
    kubectl("patch", "pod", *names, "-n", namespace, "--subresource=status", "-p", refused)
    found = await pods_of(kube, namespace, "of=us")
    assert [one["metadata"]["name"] for one in found[:1]] == ["p0"]
    assert [one["status"].get("phase") for one in found[1:]] == ["Failed"] * MOST_FAILED
