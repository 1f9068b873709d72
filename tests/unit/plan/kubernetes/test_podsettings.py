"""What whoever installed the operator says of all pods."""

from __future__ import annotations

from typing import Any

import pytest

from outbox_operator.errors import SpecError
from outbox_operator.plan.kubernetes import podtemplate
from outbox_operator.plan.kubernetes.podsettings import (
    SCRAPE_ANNOTATIONS,
    PodPolicy,
    PodSettings,
    check,
    with_defaults,
    with_environment,
    with_scraping,
)

OURS: dict[str, Any] = {
    "metadata": {"labels": {"app": "relay"}},
    "spec": {
        "serviceAccountName": "orders-relay",
        "terminationGracePeriodSeconds": 30,
        "containers": [{"name": "relay", "image": "ours:1", "env": []}],
        "volumes": [{"name": "config", "configMap": {"name": "orders-relay"}}],
    },
}
FEW = ("metadata.labels", "spec.tolerations", "spec.containers.resources")


def refused(policy: PodPolicy, overlay: Any, ours: dict[str, Any] = OURS) -> str:
    """What the policy says of an overlay; empty: nothing."""
    merged = podtemplate.merge(
        ours, overlay, container="relay", owns_process=False, min_grace_seconds=0
    )
    try:
        check(policy, merged, overlay, container="relay", account="orders-relay", image="ours:1")
    except SpecError as error:
        return f"{error.reason}: {error.message}"
    return ""


def of_container(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "relay", **fields}]}}


@pytest.mark.parametrize(
    "overlay",
    [
        None,
        {},
        {"spec": {}},
        {"metadata": {"labels": {"a.b/c": "d"}}},
        {"spec": {"tolerations": []}},
        {"spec": {"tolerations": [{"key": "a", "operator": "Exists"}]}},
        of_container(),
        of_container(resources={"limits": {"memory": "1Gi"}}),
        of_container(resources=None),
    ],
)
def test_fields_that_are_allowed(overlay: Any) -> None:
    assert refused(PodPolicy(fields=FEW), overlay) == ""


@pytest.mark.parametrize(
    ("overlay", "field"),
    [
        ({"metadata": {"annotations": {"a.b/c": "d"}}}, "metadata.annotations.a.b/c"),
        ({"spec": {"hostNetwork": True}}, "spec.hostNetwork"),
        ({"spec": {"hostNetwork": False}}, "spec.hostNetwork"),
        ({"spec": {"securityContext": None}}, "spec.securityContext"),
        ({"spec": {"volumes": [{"name": "node", "hostPath": {"path": "/"}}]}}, "spec.volumes.name"),
        ({"spec": {"imagePullSecrets": [{"name": "x"}]}}, "spec.imagePullSecrets.name"),
        ({"spec": {"initContainers": [{"name": "relay"}]}}, "spec.initContainers.name"),
        ({"spec": {"containers": [{"name": "sidecar"}]}}, "spec.containers.name"),
        (
            of_container(securityContext={"privileged": True}),
            "containers.securityContext.privileged",
        ),
        (of_container(envFrom=[{"secretRef": {"name": "x"}}]), "containers.envFrom.secretRef.name"),
        (of_container(envFrom=[{}]), "containers.envFrom"),
        (of_container(env=[{"name": "A", "value": "b"}]), "spec.containers.env.name"),
        ({"spec": {"nodeSelector": {}, "nodeName": "one"}}, "spec.nodeName"),
    ],
)
def test_fields_that_are_not(overlay: Any, field: str) -> None:
    said = refused(PodPolicy(fields=FEW), overlay)
    assert said.startswith("ForbiddenByPolicy: ")
    assert f"{field}: not allowed" in said
    assert "metadata.labels, spec.tolerations, spec.containers.resources" in said
    assert refused(PodPolicy(), overlay) == ""


def test_no_field_at_all() -> None:
    said = refused(PodPolicy(fields=()), {"metadata": {"labels": {"a": "b"}}})
    assert "podTemplate.metadata.labels.a: not allowed" in said
    assert "none" in said


@pytest.mark.parametrize(
    ("account", "allowed"),
    [
        ("orders-relay", True),
        ("reader", True),
        ("team-a", True),
        ("admin", False),
        ("ateam-a", False),
    ],
)
@pytest.mark.parametrize("field", ["serviceAccountName", "serviceAccount"])
def test_service_accounts(field: str, account: str, allowed: bool) -> None:
    policy = PodPolicy(service_accounts=("reader", "team-*"))
    said = refused(policy, {"spec": {field: account}})
    assert (said == "") is allowed
    if not allowed:
        assert "orders-relay, reader, team-*" in said


@pytest.mark.parametrize("nobody", [None, ""])
def test_without_an_account_it_is_the_default_of_the_namespace(nobody: str | None) -> None:
    overlay = {"spec": {"serviceAccountName": nobody}}
    assert "'default': not allowed" in refused(PodPolicy(service_accounts=()), overlay)
    assert refused(PodPolicy(service_accounts=("default",)), overlay) == ""
    both = {"spec": {"serviceAccountName": "orders-relay", "serviceAccount": "admin"}}
    assert "'admin': not allowed" in refused(PodPolicy(service_accounts=()), both)


@pytest.mark.parametrize(
    ("overlay", "whose"),
    [
        (of_container(image="docker.io/evil"), "container relay"),
        (of_container(image="registry.example.evil/team/x"), "container relay"),
        ({"spec": {"containers": [{"name": "s", "image": "evil"}]}}, "container s"),
        ({"spec": {"initContainers": [{"name": "i", "image": "evil"}]}}, "container i"),
        ({"spec": {"volumes": [{"name": "v", "image": {"reference": "evil"}}]}}, "volume v"),
        # Not as Kubernetes has it, and no reason to stumble.
        ({"spec": {"volumes": [{"name": "v", "image": "evil"}]}}, "volume v"),
    ],
)
def test_images(overlay: Any, whose: str) -> None:
    policy = PodPolicy(images=("registry.example/team/*",))
    assert f"of {whose}: not allowed" in refused(policy, overlay)
    assert refused(policy, of_container(image="registry.example/team/app@sha256:00")) == ""
    assert refused(policy, None) == ""


def test_the_image_of_a_handler_is_looked_at_too() -> None:
    ours = {**OURS, "spec": {**OURS["spec"], "containers": [{"name": "relay", "image": "evil"}]}}
    assert "image 'evil'" in refused(PodPolicy(images=()), None, ours)


def test_defaults_may_be_changed_by_a_pod_template() -> None:
    settings = PodSettings(pull_secrets=("pull",), priority_class="high")
    ours = with_defaults(OURS, settings)
    assert ours["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert ours["spec"]["priorityClassName"] == "high"
    overlay = {"spec": {"priorityClassName": "low", "imagePullSecrets": [{"name": "mine"}]}}
    merged = podtemplate.merge(
        ours, overlay, container="relay", owns_process=True, min_grace_seconds=0
    )["spec"]
    assert merged["priorityClassName"] == "low"
    assert merged["imagePullSecrets"] == [{"name": "pull"}, {"name": "mine"}]
    assert with_defaults(OURS, PodSettings()) == OURS


def test_variables_are_added_where_nobody_has_set_them() -> None:
    env = ({"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "OUTBOX_CONFIG"})
    own = [{"name": "OUTBOX_CONFIG", "value": "/etc"}, {"name": "B", "value": "mine"}]
    beside = {"name": "sidecar", "image": "x"}
    ours = {"spec": {"containers": [{"name": "relay", "env": own}, beside]}}
    found = with_environment(ours, PodSettings(env=env), container="relay")
    assert found["spec"]["containers"] == [{"name": "relay", "env": [*own, env[0]]}, beside]
    assert with_environment(ours, PodSettings(), container="relay") == ours


def test_pods_that_serve_metrics_say_so_where_nobody_says_otherwise() -> None:
    settings = PodSettings(scrape_annotations=True)
    assert with_scraping(OURS, PodSettings()) == OURS
    ours = with_scraping(OURS, settings)
    assert ours["metadata"] == {**OURS["metadata"], "annotations": SCRAPE_ANNOTATIONS}
    refusing = {**OURS, "metadata": {"annotations": {"prometheus.io/scrape": "false"}}}
    found = with_scraping(refusing, settings)["metadata"]["annotations"]
    assert found == {**SCRAPE_ANNOTATIONS, "prometheus.io/scrape": "false"}
