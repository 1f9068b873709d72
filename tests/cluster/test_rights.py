"""The chart, installed by helm, gives the operator all the rights it needs, in both profiles."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from support.chart import CHART, OLDER_CHART, ROOT, find_helm
from support.kube import Kubectl, control_plane, kubectl_program, unique_cluster
from support.nats import NatsServer
from support.operator import running_operator
from support.world import World

DENIED = "PermissionDenied"
SYSTEM = "outbox-system"
RELEASE = "outbox-operator"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Kubectl]:
    """A control plane of its own: no other operator, no resource definitions."""
    with control_plane(unique_cluster("rights")) as found:
        kubectl = Kubectl(kubectl_program(), found.kubeconfig)
        kubectl("create", "namespace", SYSTEM)
        kubectl("create", "namespace", "shop")
        yield kubectl


def helm(kubectl: Kubectl, *arguments: str) -> str:
    """The real helm against the control plane."""
    done = subprocess.run(
        [find_helm(), *arguments, "--namespace", SYSTEM, "--kubeconfig", kubectl.kubeconfig],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def operator_kubeconfig(kubectl: Kubectl, folder: Path) -> Path:
    """A kubeconfig with nothing but the token of the operator's ServiceAccount."""
    admin = yaml.safe_load(kubectl.kubeconfig.read_text())
    token = kubectl("create", "token", RELEASE, "-n", SYSTEM).strip()
    admin["users"] = [{"name": "operator", "user": {"token": token}}]
    admin["contexts"][0]["context"]["user"] = "operator"
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(admin))
    return path


def names(kubectl: Kubectl, plural: str, namespace: str = "shop") -> set[str]:
    """Names of all objects of a kind in a namespace."""
    return {item["metadata"]["name"] for item in kubectl.get(plural, "-n", namespace)["items"]}


def _another(kubectl: Kubectl, kind: str, made: str) -> bool:
    """Whether the relay's object of a kind was made again."""
    answer = kubectl.run(
        "get", kind, "orders-relay", "-n", "open", "-o", "jsonpath={.metadata.uid}"
    )
    return answer.out not in ("", made)


@pytest.mark.parametrize("watched", ["", "shop"], ids=["everywhere", "one namespace"])
def test_a_pipeline_comes_and_goes_with_the_rights_of_the_chart(
    watched: str,
    cluster: Kubectl,
    database: str,
    nats_server: NatsServer,
    stream_prefix: str,
    tmp_path: Path,
) -> None:
    helm(
        cluster,
        *("upgrade", "--install", RELEASE, str(CHART)),
        *("--set", f"watchNamespaces={{{watched}}}" if watched else "replicas=1"),
    )
    cluster("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    kubeconfig = operator_kubeconfig(cluster, tmp_path)
    log = tmp_path / "operator.log"
    with running_operator(
        kubeconfig,
        log,
        namespaces=(watched,) if watched else (),
        lease_namespace=SYSTEM,
    ) as operator:
        world = World(
            kubectl=cluster,
            namespace="shop",
            database=database,
            nats=nats_server,
            prefix=stream_prefix,
            operator=operator,
        )
        handler = {"http": {"url": "http://billing.shop/events"}}
        consumers = [{"name": "billing", "handler": handler}, {"name": "audit"}]
        world.apply(
            world.secret("database", url=database),
            world.pipeline(relay={}, consumers=consumers, deletionPolicy="Delete"),
        )
        made = {"orders-relay", "orders-billing-consumer"}
        world.wait(lambda: made <= names(cluster, "deployments"), f"Deployments {made}")
        world.wait_condition("EventConsumer", "orders-audit", "Ready", "True")
        world.wait_condition("OutboxPipeline", "orders", "RelayAvailable", "False")
        # A consumer that is no longer declared goes with all it had.
        world.apply(
            world.pipeline(relay={}, consumers=[{"name": "audit"}], deletionPolicy="Delete")
        )
        world.wait_gone("EventConsumer", "orders-billing")
        cluster("delete", "obp", "orders", "-n", "shop", "--wait=false")
        world.wait_gone("OutboxPipeline", "orders")
        world.wait(lambda: bool(world.events("orders")), "an Event about the pipeline")
    said = log.read_text().lower()
    for trouble in ("forbidden", "permissiondenied", "not enough permissions", "cannot list"):
        assert trouble not in said, operator.tail()


def test_the_owner_of_a_namespace_lets_the_operator_in(
    cluster: Kubectl,
    database: str,
    nats_server: NatsServer,
    stream_prefix: str,
    tmp_path: Path,
) -> None:
    """With `rbac.mode: PerNamespace`; and without the owner nothing there is touched."""
    helm(
        cluster,
        *("upgrade", "--install", RELEASE, str(CHART)),
        *("--set", "rbac.mode=PerNamespace", "--set", "dataPlane.networkPolicy.enabled=true"),
    )
    cluster("wait", "--for=condition=Established", "--timeout=60s", "crd", "--all")
    for name in ("open", "closed"):
        cluster("create", "namespace", name)
    cluster("create", "rolebinding", "owner", "--clusterrole=admin", "--user=ann", "-n", "open")
    with running_operator(
        operator_kubeconfig(cluster, tmp_path),
        tmp_path / "operator.log",
        lease_namespace=SYSTEM,
        variables={
            "OUTBOX_NAMESPACE_ROLE": f"{RELEASE}-namespace",
            "OUTBOX_SERVICE_ACCOUNT": f"{SYSTEM}:{RELEASE}",
            "OUTBOX_PODS": '{"network_policy": {}}',
        },
    ) as operator:
        worlds = [
            World(
                kubectl=cluster,
                namespace=name,
                database=database,
                nats=nats_server,
                prefix=f"{stream_prefix}-{name}",
                operator=operator,
            )
            for name in ("open", "closed")
        ]
        for world in worlds:
            pipeline = world.pipeline(relay={}, deletionPolicy="Delete")
            world.apply(world.secret("database", url=database), pipeline)
        for world in worlds:
            said = world.wait_condition("OutboxPipeline", "orders", "Ready", "False", DENIED)
            assert f"--namespace={world.namespace}" in said["message"]
        world, closed = worlds
        said = world.condition("OutboxPipeline", "orders", "Ready")
        command = said["message"].split(": ", 1)[1].split(" (")[0].split()
        assert command[0] == "kubectl"
        # The very command, run by somebody who owns the namespace and nothing else.
        cluster(*command[1:], "--as=ann")
        world.wait_condition("OutboxPipeline", "orders", "SchemaApplied", "True")
        world.wait(
            lambda: "orders-relay" in names(cluster, "deployments", "open"), "the Deployment"
        )
        for kind in ("deployments", "networkpolicies"):
            made = cluster.get(kind, "orders-relay", "-n", "open")["metadata"]["uid"]
            cluster("delete", kind, "orders-relay", "-n", "open")
            world.wait(partial(_another, cluster, kind, made), f"another one of {kind}")
        untouched = closed.get("OutboxPipeline", "orders")
        assert untouched is not None
        assert "finalizers" not in untouched["metadata"]
        assert not names(cluster, "eventstreams", "closed")
        # Taken away: said again, and nothing hangs though nothing can be cleaned up.
        cluster("delete", "rolebinding", RELEASE, "-n", "open", "--as=ann")
        said = world.wait_condition("OutboxPipeline", "orders", "Ready", "False", DENIED)
        assert "kubectl create rolebinding" in said["message"]
        for name in ("open", "closed"):
            cluster("delete", "obp,evs,evc", "--all", "-n", name, "--timeout=60s")


def test_an_upgrade_from_the_first_chart_and_back_and_again(
    cluster: Kubectl,
    database: str,
    nats_server: NatsServer,
    stream_prefix: str,
    tmp_path: Path,
) -> None:
    """Definitions, rights and resources follow; nothing is lost and nothing stalls."""
    upgrade = ("upgrade", "--install", RELEASE)
    helm(cluster, *upgrade, str(OLDER_CHART), "--set", "replicas=1")
    first = cluster("get", "crd", "outboxpipelines.outbox.dev", "-o", "jsonpath={.metadata.uid}")
    uids: set[str] = set()
    for turn in range(2):
        helm(cluster, *upgrade, str(CHART))
        kubeconfig = operator_kubeconfig(cluster, tmp_path)
        with running_operator(
            kubeconfig, tmp_path / f"{turn}.log", lease_namespace=SYSTEM
        ) as operator:
            world = World(
                kubectl=cluster, namespace="shop", database=database, nats=nats_server,
                prefix=stream_prefix, operator=operator,
            )  # fmt: skip
            if turn == 0:
                world.apply(*world.whole())
            for kind, name in (("OutboxPipeline", "orders"), ("EventConsumer", "orders-billing")):
                world.look_again({"OutboxPipeline": "obp"}.get(kind, "evc"), name)
                world.wait_ready(kind, name)
                uids.add((world.get(kind, name) or {})["metadata"]["uid"])
        if turn == 0:
            helm(cluster, "rollback", RELEASE)
    assert len(uids) == 2
    assert first == cluster(
        "get", "crd", "outboxpipelines.outbox.dev", "-o", "jsonpath={.metadata.uid}"
    )
    cluster("delete", "obp,evs,evc", "--all", "-n", "shop", "--timeout=60s")


def test_resource_definitions_outlive_the_chart(cluster: Kubectl) -> None:
    helm(cluster, "upgrade", "--install", RELEASE, str(CHART))
    helm(cluster, "uninstall", RELEASE)
    kept = cluster("get", "crd", "-o", "name").split()
    assert "customresourcedefinition.apiextensions.k8s.io/outboxpipelines.outbox.dev" in kept
    assert cluster.run("get", "clusterrole", RELEASE).code != 0
    # Another release is refused, until the page's two commands gave it what was kept.
    install = ("upgrade", "--install", "outbox", str(CHART))
    with pytest.raises(AssertionError, match="invalid ownership metadata"):
        helm(cluster, *install)
    page = (ROOT / "docs/how-to/install.md").read_text().replace("\\\n", "")
    commands = re.findall(r"^kubectl ((?:annotate|label) --overwrite crd .*)$", page, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        cluster(*command.split())
    helm(cluster, *install)
