"""The objects that the chart renders, with several values."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

from outbox_operator.api import meta
from outbox_operator.controller import settings
from outbox_operator.controller.runtime.slices import lease_of
from outbox_operator.controller.settings import MOST_SLICES
from outbox_operator.plan.kubernetes.podsettings import (
    SCRAPE_ANNOTATIONS,
    NetworkPolicySettings,
    PodPolicy,
    PodSettings,
)
from support.chart import (
    CHART,
    ROOT,
    ChartRefusedError,
    Helm,
    Manifest,
    container,
    deployment,
    environment,
    of_kind,
    pod,
)
from support.chart_values import EVERYTHING, NAMESPACED, PER_NAMESPACE, VARIANTS

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
DIGEST = "sha256:" + "0" * 64


def rules(objects: list[Manifest]) -> list[Manifest]:
    """Of the operator's roles; those that are aggregated are people's."""
    roles = [*of_kind(objects, "ClusterRole"), *of_kind(objects, "Role")]
    return [
        rule
        for role in roles
        if not any("aggregate-to" in label for label in role["metadata"]["labels"])
        for rule in role["rules"]
    ]


def verbs(objects: list[Manifest], resource: str) -> set[str]:
    return {
        verb for rule in rules(objects) if resource in rule["resources"] for verb in rule["verbs"]
    }


@pytest.mark.parametrize("values", VARIANTS)
def test_pods_satisfy_the_restricted_pod_security_standard(helm: Helm, values: Manifest) -> None:
    objects = helm.render(values)
    assert pod(objects)["securityContext"]["runAsNonRoot"] is True
    assert pod(objects)["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = container(objects)["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("values", VARIANTS)
def test_every_object_is_labelled_and_in_the_right_place(helm: Helm, values: Manifest) -> None:
    for one in helm.render(values):
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["app.kubernetes.io/instance"] == "outbox-operator"
        assert labels["app.kubernetes.io/name"] == "outbox-operator"
        assert values.get("commonLabels", {}).get("owner") == labels.get("owner")
        if not one["kind"].startswith(("Cluster", "CustomResource", "ValidatingAdmission")):
            allowed = {"outbox-system", *values.get("watchNamespaces", ())}
            assert one["metadata"]["namespace"] in allowed


@pytest.mark.parametrize("values", VARIANTS)
def test_selectors_pick_the_operators_pods(helm: Helm, values: Manifest) -> None:
    objects = helm.render(values)
    labels = deployment(objects)["spec"]["template"]["metadata"]["labels"]
    selectors = [
        deployment(objects)["spec"]["selector"]["matchLabels"],
        of_kind(objects, "Service")[0]["spec"]["selector"],
        of_kind(objects, "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"],
        of_kind(objects, "NetworkPolicy")[0]["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()


@pytest.mark.parametrize("values", VARIANTS)
def test_the_operator_has_no_right_it_does_not_need(helm: Helm, values: Manifest) -> None:
    objects = helm.render(values)
    for rule in rules(objects):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
    assert verbs(objects, "secrets") == {"get"}
    assert verbs(objects, "pods") == {"list"}
    forbidden = {"pods/exec", "roles", "rolebindings", "clusterroles", "nodes", "jobs"}
    assert not forbidden & {resource for rule in rules(objects) for resource in rule["resources"]}


def test_the_operator_has_every_right_over_what_it_makes(helm: Helm) -> None:
    objects = helm.render()
    needed = {"get", "list", "watch", "create", "patch", "delete"}
    for resource in (
        "deployments",
        "configmaps",
        "serviceaccounts",
        "services",
        "poddisruptionbudgets",
    ):
        assert verbs(objects, resource) == needed
    assert verbs(objects, "networkpolicies") == set()
    assert verbs(helm.render(EVERYTHING), "networkpolicies") == needed
    operator = [
        r for r in of_kind(objects, "ClusterRole") if r["metadata"]["name"] == "outbox-operator"
    ]
    for plural in ("eventstreams", "eventconsumers"):
        assert verbs(operator, plural) == needed
    for plural in meta.PLURALS.values():
        patches = set() if plural == "outboxtasks" else {"patch"}
        assert {"list", "watch", *patches} <= verbs(operator, plural)
        assert verbs(operator, f"{plural}/status") == {"patch"}


def test_only_its_own_lease_can_be_changed(helm: Helm) -> None:
    objects = helm.render(name="other")
    lease = environment(objects)["OUTBOX_LEASE_NAME"]
    ours = {lease, *(lease_of(lease, index) for index in range(MOST_SLICES))}
    for rule in rules(objects):
        if rule["resources"] == ["leases"]:
            named = set(rule.get("resourceNames", ()))
            assert named == (ours if "update" in rule["verbs"] else set())


def test_slices_need_two_connections_each(helm: Helm) -> None:
    assert environment(helm.render({"slices": 3}))["OUTBOX_SLICES"] == "3"
    with pytest.raises(ChartRefusedError, match="wanted 2 for each of 11 slices or more, found 20"):
        helm.render({"slices": 11})


def test_for_single_namespaces_there_is_nothing_cluster_wide(helm: Helm) -> None:
    objects = helm.render(NAMESPACED)
    assert not of_kind(objects, "ClusterRole")
    assert not of_kind(objects, "ClusterRoleBinding")
    places = [role["metadata"]["namespace"] for role in of_kind(objects, "Role")]
    assert sorted(places) == ["billing", "outbox-system", "shop"]
    for binding in of_kind(objects, "RoleBinding"):
        assert binding["subjects"][0]["namespace"] == "outbox-system"
    assert environment(objects)["OUTBOX_NAMESPACES"] == "shop,billing"


def test_per_namespace_only_our_kinds_are_seen_everywhere(helm: Helm) -> None:
    objects = helm.render(PER_NAMESPACE)
    roles = {role["metadata"]["name"]: role["rules"] for role in of_kind(objects, "ClusterRole")}
    (binding,) = of_kind(objects, "ClusterRoleBinding")
    bound = roles[binding["roleRef"]["name"]]
    kinds = set(meta.PLURALS.values())
    assert {resource for rule in bound for resource in rule["resources"]} == {
        *kinds,
        *(f"{kind}/status" for kind in kinds),
        "namespaces",
    }
    for rule in bound:
        assert set(rule["verbs"]) <= {"list", "watch", "patch"} or (
            rule["resourceNames"] == ["kube-system"] and rule["verbs"] == ["get"]
        )
    (may_bind,) = roles["outbox-operator-namespace-bind"]
    assert may_bind["verbs"] == ["bind"]
    assert may_bind["resourceNames"] == ["outbox-operator-namespace"]
    # What the two roles hold is what the one role holds otherwise.
    both = {rule["resources"][0] for rule in [*bound, *roles["outbox-operator-namespace"]]}
    (whole,) = (
        role["rules"]
        for role in of_kind(helm.render(), "ClusterRole")
        if role["metadata"]["name"] == "outbox-operator"
    )
    assert {rule["resources"][0] for rule in whole} - both == {"customresourcedefinitions"}


def test_people_get_rights_only_with_aggregation(helm: Helm) -> None:
    def aggregated(objects: list[Manifest]) -> list[str]:
        return [
            role["metadata"]["name"]
            for role in of_kind(objects, "ClusterRole")
            if "rbac.authorization.k8s.io/aggregate-to-edit" in role["metadata"]["labels"]
        ]

    assert aggregated(helm.render()) == ["outbox-operator-view", "outbox-operator-edit"]
    assert aggregated(helm.render({"rbac": {"aggregate": False}})) == []


def test_without_rbac_and_account_none_is_made(helm: Helm) -> None:
    values = {"rbac": {"create": False}, "serviceAccount": {"create": False, "name": "mine"}}
    objects = helm.render(values)
    kinds = {one["kind"] for one in objects}
    assert not {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"} & kinds
    assert "ServiceAccount" not in kinds
    assert pod(objects)["serviceAccountName"] == "mine"


@pytest.mark.parametrize("values", VARIANTS)
def test_the_operator_understands_its_environment(helm: Helm, values: Manifest) -> None:
    objects = helm.render(values)
    variables = environment(objects) | {"POD_NAME": "pod-1", "POD_NAMESPACE": "here"}
    read = settings.from_environment(variables)
    assert read.namespaces == tuple(dict.fromkeys(values.get("watchNamespaces", ())))
    assert read.health_port == 8080
    assert (read.lease_namespace, read.lease_name) == ("here", "outbox-operator")
    assert read.identity == "pod-1"
    policy = PodPolicy(fields=("spec.tolerations",), service_accounts=(), images=("team/*",))
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "outbox-system"}},
        "podSelector": of_kind(objects, "Deployment")[0]["spec"]["selector"],
    }
    network = NetworkPolicySettings(
        metrics_from=({"namespaceSelector": {}}, operator), egress=({"ports": [{"port": 4222}]},)
    )
    pods = PodSettings(
        pull_secrets=("pull",), priority_class="high", policy=policy, network_policy=network,
        env=({"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://otel:4318"},),
        scrape_annotations=True,
    )  # fmt: skip
    assert read.pods == (pods if values is EVERYTHING else PodSettings())
    role = "outbox-operator-namespace" if values is PER_NAMESPACE else ""
    assert read.namespace_role == role


@pytest.mark.parametrize(
    ("values", "image"),
    [
        (EVERYTHING, "mirror.example:5000/team/outbox:1.2.3"),
        (
            {"image": {"registry": "registry.example"}},
            f"registry.example/outbox-operator:{VERSION}",
        ),
        ({"image": {"repository": "a.example:5000/b", "tag": "7"}}, "a.example:5000/b:7"),
        ({"image": {"digest": DIGEST, "registry": "c"}}, f"c/outbox-operator@{DIGEST}"),
    ],
)
def test_relays_run_the_image_of_the_operator(helm: Helm, values: Manifest, image: str) -> None:
    objects = helm.render(values)
    assert container(objects)["image"] == environment(objects)["OUTBOX_IMAGE"] == image


def test_pods_get_what_is_asked_for(helm: Helm) -> None:
    objects = helm.render(EVERYTHING)
    assert deployment(objects)["spec"]["replicas"] == 3
    template = deployment(objects)["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "shop"
    assert template["metadata"]["labels"]["app.kubernetes.io/name"] == "outbox-operator"
    assert template["metadata"]["annotations"] == {"note": "x", **SCRAPE_ANNOTATIONS}
    assert environment(objects)["TZ"] == "UTC"
    for field in (
        *("imagePullSecrets", "nodeSelector", "affinity", "tolerations", "hostAliases"),
        *("dnsPolicy", "dnsConfig"),
    ):
        assert pod(objects)[field] == EVERYTHING[field]
    (spread,) = pod(objects)["topologySpreadConstraints"]
    ours = deployment(objects)["spec"]["selector"]
    assert spread == {**EVERYTHING["topologySpreadConstraints"][0], "labelSelector": ours}
    assert pod(objects)["volumes"][1:] == EVERYTHING["extraVolumes"]
    assert container(objects)["volumeMounts"][1:] == EVERYTHING["extraVolumeMounts"]
    assert pod(objects)["priorityClassName"] == "high"
    assert pod(objects)["terminationGracePeriodSeconds"] == 30


def test_two_pods_spread_over_nodes_unless_told_otherwise(helm: Helm) -> None:
    objects = helm.render()
    assert deployment(objects)["spec"]["replicas"] == 2
    (spread,) = pod(objects)["topologySpreadConstraints"]
    assert spread["topologyKey"] == "kubernetes.io/hostname"
    assert spread["whenUnsatisfiable"] == "ScheduleAnyway"
    (budget,) = of_kind(objects, "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert "topologySpreadConstraints" not in pod(helm.render({"affinity": {"nodeAffinity": {}}}))


def test_optional_objects(helm: Helm) -> None:
    assert not of_kind(helm.render(), "ServiceMonitor")
    assert not of_kind(helm.render(), "PodMonitor")
    off = {
        "podDisruptionBudget": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "metrics": {"service": {"enabled": False}},
        "crds": {"enabled": False},
    }
    kinds = {one["kind"] for one in helm.render(off)}
    absent = {"PodDisruptionBudget", "NetworkPolicy", "Service", "CustomResourceDefinition"}
    assert not absent & kinds


def test_the_network_policy_restricts_egress_only_when_told(helm: Helm) -> None:
    (policy,) = of_kind(helm.render(), "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress"]
    (policy,) = of_kind(helm.render(EVERYTHING), "NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["egress"] == EVERYTHING["networkPolicy"]["egress"]


@pytest.mark.parametrize("keep", [True, False])
def test_resource_definitions_are_those_of_the_repository(helm: Helm, keep: bool) -> None:
    rendered = of_kind(helm.render({"crds": {"keep": keep}}), "CustomResourceDefinition")
    files = sorted((ROOT / "crds").glob("*.yaml"))
    wanted = {crd["metadata"]["name"]: crd for crd in map(_read, files)}
    assert {crd["metadata"]["name"]: crd["spec"] for crd in rendered} == {
        name: crd["spec"] for name, crd in wanted.items()
    }
    for crd in rendered:
        annotations = crd["metadata"].get("annotations", {})
        assert annotations.get("helm.sh/resource-policy") == ("keep" if keep else None)


def test_chart_and_project_have_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert _read(CHART / "Chart.yaml")["appVersion"] == project


def test_the_notes_say_what_to_do_next(helm: Helm, tmp_path: Path) -> None:
    notes = helm.notes({}, tmp_path / "all")
    assert "rollout status deployment/outbox-operator" in notes
    assert "kind: OutboxPipeline" in notes
    assert "definitions are not part" not in notes
    notes = helm.notes({**NAMESPACED, "crds": {"enabled": False}}, tmp_path / "some")
    assert "the namespaces shop, billing." in notes
    assert "kubectl -n shop apply" in notes
    assert "definitions are not part" in notes


def _read(path: Path) -> Manifest:
    body = yaml.safe_load(path.read_text())
    assert isinstance(body, dict)
    return body
