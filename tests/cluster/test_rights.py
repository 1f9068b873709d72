"""The chart, installed by helm, gives the operator all the rights it needs, in both profiles."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.chart import CHART, OLDER_CHART, ROOT, find_helm
from support.kube import Kubectl, control_plane, kubectl_program, unique_cluster
from support.nats import NatsServer
from support.operator import OperatorProcess, running_operator
from support.waiting import wait_until
from support.world import HANDLER, World

DENIED = "PermissionDenied"
SYSTEM = "outbox-system"
RELEASE = "outbox-operator"
UPGRADE = ("upgrade", "--install", RELEASE)


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


def install(kubectl: Kubectl, *values: str) -> None:
    """Install the chart, or bring it up to date, and wait for its definitions.

    Values that are not named have their default, and not what the test before wanted.
    """
    helm(kubectl, *UPGRADE, str(CHART), "--reset-values", *values)
    kubectl("wait", "--for=condition=Established", "--timeout=120s", "crd", "--all")


def operator_with_its_rights(
    kubectl: Kubectl, folder: Path, **options: Any
) -> AbstractContextManager[OperatorProcess]:
    """The operator with the rights that the chart gives it; options of `running_operator`."""
    account = f"system:serviceaccount:{SYSTEM}:{RELEASE}"
    kubectl.wait_may(account, "update", f"leases.coordination.k8s.io/{RELEASE}", SYSTEM)
    kubectl.wait_may(account, "list", "outboxtasks.outbox.dev", "shop")
    if "OUTBOX_NAMESPACE_ROLE" not in options.get("variables", {}):
        kubectl.wait_may(account, "create", "deployments.apps", "shop")
    return running_operator(
        operator_kubeconfig(kubectl, folder),
        folder / "operator.log",
        lease_namespace=SYSTEM,
        **options,
    )


@pytest.fixture
def worlds(
    cluster: Kubectl, database: str, nats_server: NatsServer, stream_prefix: str
) -> Callable[[OperatorProcess, str], World]:
    """Makes the world of a namespace under an operator's care."""
    return lambda operator, namespace: World(
        kubectl=cluster,
        namespace=namespace,
        database=database,
        nats=nats_server,
        prefix=f"{stream_prefix}-{namespace}",
        operator=operator,
    )


def names(kubectl: Kubectl, plural: str, namespace: str = "shop") -> set[str]:
    """Names of all objects of a kind in a namespace."""
    return {item["metadata"]["name"] for item in kubectl.get(plural, "-n", namespace)["items"]}


def _another(kubectl: Kubectl, kind: str, made: str) -> bool:
    """Whether the relay's object of a kind was made again."""
    answer = kubectl.run(
        "get", kind, "orders-relay", "-n", "open", "-o", "jsonpath={.metadata.uid}"
    )
    return answer.out not in ("", made)


@pytest.mark.parametrize(
    "watched",
    [pytest.param("", marks=pytest.mark.thorough), "shop"],
    ids=["everywhere", "one namespace"],
)
def test_a_pipeline_comes_and_goes_with_the_rights_of_the_chart(
    watched: str,
    cluster: Kubectl,
    database: str,
    worlds: Callable[[OperatorProcess, str], World],
    tmp_path: Path,
) -> None:
    install(cluster, "--set", f"watchNamespaces={{{watched}}}" if watched else "replicas=1")
    namespaces = (watched,) if watched else ()
    with operator_with_its_rights(cluster, tmp_path, namespaces=namespaces) as operator:
        world = worlds(operator, "shop")
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
    said = operator.text().lower()
    for trouble in ("forbidden", "permissiondenied", "not enough permissions", "cannot list"):
        assert trouble not in said, operator.tail()


@pytest.mark.thorough
def test_the_owner_of_a_namespace_lets_the_operator_in(
    cluster: Kubectl,
    database: str,
    worlds: Callable[[OperatorProcess, str], World],
    tmp_path: Path,
) -> None:
    """With `rbac.mode: PerNamespace`; and without the owner nothing there is touched."""
    install(
        cluster,
        *("--set", "rbac.mode=PerNamespace", "--set", "dataPlane.networkPolicy.enabled=true"),
    )
    for name in ("open", "closed"):
        cluster("create", "namespace", name)
    cluster("create", "rolebinding", "owner", "--clusterrole=admin", "--user=ann", "-n", "open")
    variables = {
        "OUTBOX_NAMESPACE_ROLE": f"{RELEASE}-namespace",
        "OUTBOX_SERVICE_ACCOUNT": f"{SYSTEM}:{RELEASE}",
        "OUTBOX_PODS": '{"network_policy": {}}',
    }
    with operator_with_its_rights(cluster, tmp_path, variables=variables) as operator:
        both = [worlds(operator, name) for name in ("open", "closed")]
        for world in both:
            pipeline = world.pipeline(relay={}, deletionPolicy="Delete")
            world.apply(world.secret("database", url=database), pipeline)
        for world in both:
            said = world.wait_condition("OutboxPipeline", "orders", "Ready", "False", DENIED)
            assert f"--namespace={world.namespace}" in said["message"]
        world, closed = both
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
        # A task works where the operator was let in, and elsewhere says that it was not.
        # Its owner, and nobody else, orders one there.
        purge = {
            "pipelineRef": {"name": "orders"}, "purgeDeadLetters": {"confirm": True},
            "ttlSecondsAfterFinished": 0,
        }  # fmt: skip
        for one in both:
            body = yaml.safe_dump(one.resource("OutboxTask", "purge", purge))
            answer = cluster.run("create", "--as=ann", "-f", "-", stdin=body)
            assert ("forbidden" in answer.err) is (one is closed), answer
        closed.apply(closed.resource("OutboxTask", "purge", purge))
        world.wait_gone("OutboxTask", "purge")
        denied = closed.wait_condition("OutboxTask", "purge", "Complete", "False", DENIED)
        assert "kubectl create rolebinding" in denied["message"]
        untouched = closed.get("OutboxPipeline", "orders")
        assert untouched is not None
        assert "finalizers" not in untouched["metadata"]
        assert not names(cluster, "eventstreams", "closed")
        # Taken away: said again, and nothing hangs though nothing can be cleaned up.
        cluster("delete", "rolebinding", RELEASE, "-n", "open", "--as=ann")
        said = world.wait_condition("OutboxPipeline", "orders", "Ready", "False", DENIED)
        assert "kubectl create rolebinding" in said["message"]
        for name in ("open", "closed"):
            cluster("delete", "obt,obp,evs,evc", "--all", "-n", name, "--timeout=120s")


def test_authors_do_not_approve_what_they_wrote(cluster: Kubectl) -> None:
    """With `rbac.separateApproval`: who may edit, and nothing more, uses none of the ways."""
    told = ("rbac.separateApproval=true", "tasks.aggregateToEdit=true")
    install(cluster, *(word for value in told for word in ("--set", value)))
    cluster("create", "namespace", "parted")
    for name, role in (("ann", "edit"), ("bob", "admin")):
        cluster(
            "create", "rolebinding", name, f"--clusterrole={role}", f"--user={name}", "-n", "parted"
        )

    def write(user: str, plan: str | None, *, name: str = "orders", **options: Any) -> str:
        """What the API server says of a pipeline; empty: it took it."""
        migrations = {"policy": options.get("policy", "RequireApproval")}
        if plan is not None:
            migrations["approvedPlan"] = plan
        inbox = {"connectionSecretRef": {"name": "d"}, **options.get("inbox", {})}
        body = {
            "apiVersion": "outbox.dev/v1alpha1",
            "kind": "OutboxPipeline",
            "metadata": {
                "name": name, "namespace": "parted",
                "annotations": options.get("annotations", {}),
            },
            "spec": {
                "database": {"connectionSecretRef": {"name": "d"}, "migrations": migrations},
                "nats": {"url": "nats://nats.test:4222"},
                "stream": {"name": "ORDERS", "subject": "orders.{event_type}"},
                "relay": {"replicas": options.get("replicas", 1)},
                "consumers": [{"name": "billing", "handler": HANDLER, "inbox": inbox}],
            },
        }  # fmt: skip
        command = ["apply", "--server-side", "--force-conflicts", "--as", user, "-f", "-"]
        command += ["--dry-run=server"] if options.get("dry_run") else []
        return cluster.run(*command, stdin=yaml.safe_dump(body)).err.replace("\n", " ")

    plan, other = "0" * 16, "1" * 16
    # A policy counts from a moment after it was made on; what was taken before may stay.
    wait_until(
        lambda: "the verb approve on this" in write("ann", plan, name="early", dry_run=True),
        "it counts",
    )
    cluster.wait_may("bob", "approve", "outboxpipelines.outbox.dev", "parted")
    cluster.wait_may("ann", "create", "outboxtasks.outbox.dev", "parted")
    assert "policy other than RequireApproval" in write("ann", None, policy="Automatic")
    assert "Error" not in write("ann", None)
    used: dict[str, dict[str, Any]] = {
        "approvedPlan": {"plan": plan},
        "approvedPlan of an inbox": {"plan": None, "inbox": {"approvedPlan": plan}},
        "annotation": {"plan": None, "annotations": {"outbox.dev/approve-plan": plan}},
        "policy": {"plan": None, "policy": "Automatic"},
    }
    refusals = {way: write("ann", **options) for way, options in used.items()}
    assert [way for way, said in refusals.items() if "ann may not approve" not in said] == []
    # Who may, may; and what was approved may stay and go whoever edits the rest.
    for way, options in used.items():
        assert "Error" not in write("bob", **options), way
    assert "Error" not in write("bob", plan)
    assert "Error" not in write("ann", plan, replicas=2)
    assert "may not approve" in write("ann", other)
    assert "Error" not in write("ann", None, replicas=3)
    # Nor by a task, though `edit` may make others.
    said = {
        (user, action): cluster.run(
            "create", "--dry-run=server", "--as", user, "-f", "-",
            stdin=yaml.safe_dump(
                {
                    "apiVersion": "outbox.dev/v1alpha1",
                    "kind": "OutboxTask",
                    "metadata": {"name": "t", "namespace": "parted"},
                    "spec": {"pipelineRef": {"name": "orders"}, action: fields},
                }
            ),
        ).err
        for user in ("ann", "bob")
        for action, fields in (
            ("approveMigration", {"planHash": plan}), ("rejectMigration", {"planHash": plan}),
            ("diagnose", {}),
        )
    }  # fmt: skip
    refused = {who for who, text in said.items() if "may not approve plans here" in text}
    assert refused == {("ann", "approveMigration"), ("ann", "rejectMigration")}
    assert {text for who, text in said.items() if who not in refused} == {""}
    lone = {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": "EventStream",
        "metadata": {
            "name": "lone", "namespace": "parted", "annotations": used["annotation"]["annotations"],
        },
        "spec": {
            "nats": {"url": "nats://nats.test:4222"}, "name": "LONE", "subjects": ["lone.>"],
        },
    }  # fmt: skip
    for user, says in (("ann", "ann may not approve"), ("bob", "")):
        answer = cluster.run("apply", "--as", user, "-f", "-", stdin=yaml.safe_dump(lone))
        assert says in answer.err
        assert (answer.code == 0) is (user == "bob")
    cluster("delete", "obp,evs", "--all", "-n", "parted", "--timeout=120s")


def test_who_may_make_tasks(cluster: Kubectl) -> None:
    """Rights of the built-in roles; and nobody says that somebody else asked."""
    install(cluster)
    cluster("create", "namespace", "asked")
    roles = ("view", "edit", "admin")
    for role in roles:
        cluster(
            "create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}", "-n", "asked"
        )

    def may(user: str, verb: str) -> str:
        answer = cluster.run(
            "auth", "can-i", verb, "outboxtasks.outbox.dev", "-n", "asked", f"--as={user}"
        )
        return answer.out.strip()

    def create(user: str, requested_by: str | None) -> str:
        """What the API server says of a task; empty: it took it."""
        body = {
            "apiVersion": "outbox.dev/v1alpha1",
            "kind": "OutboxTask",
            "metadata": {"generateName": "t-", "namespace": "asked"},
            "spec": {"pipelineRef": {"name": "orders"}, "diagnose": {}},
        }
        if requested_by is not None:
            body["spec"]["requestedBy"] = requested_by  # type: ignore[index]
        command = ("create", "-f", "-", f"--as={user}")
        return cluster.run(*command, stdin=yaml.safe_dump(body)).err

    # Roles are put together, and a policy counts, from a moment after they were made on.
    cluster.wait_may("admin", "create", "outboxtasks.outbox.dev", "asked")
    wait_until(lambda: may("edit", "create") == "no", "edit may not")
    wait_until(lambda: create("admin", "eve") != "", "the policy counts")
    assert {user: [may(user, verb) for verb in ("list", "create", "delete")] for user in roles} == {
        "view": ["yes", "no", "no"],
        "edit": ["yes", "no", "no"],
        "admin": ["yes", "yes", "yes"],
    }
    for user in roles:  # a status is the operator's alone
        answer = cluster.run(
            "auth", "can-i", "patch", "obt", "--subresource=status", "-n", "asked", f"--as={user}"
        )
        assert answer.out.strip() == "no"
    said = create("admin", "eve")
    assert "spec.requestedBy: wanted admin, the user who creates the task, or nothing" in said
    assert "found eve" in said
    assert create("admin", "admin") == create("admin", None) == ""
    assert "cannot create resource" in create("edit", "edit")
    install(cluster, "--set", "tasks.aggregateToEdit=true")
    wait_until(lambda: create("edit", "edit") == "", "edit may")
    cluster("delete", "obt", "--all", "-n", "asked", "--timeout=120s")


@pytest.mark.thorough
def test_an_upgrade_from_the_first_chart_and_back_and_again(
    cluster: Kubectl, worlds: Callable[[OperatorProcess, str], World], tmp_path: Path
) -> None:
    """Definitions, rights and resources follow; nothing is lost and nothing stalls."""
    helm(cluster, *UPGRADE, str(OLDER_CHART), "--set", "replicas=1")
    first = cluster("get", "crd", "outboxpipelines.outbox.dev", "-o", "jsonpath={.metadata.uid}")
    uids: set[str] = set()
    for turn in range(2):
        helm(cluster, *UPGRADE, str(CHART))
        with operator_with_its_rights(cluster, tmp_path) as operator:
            world = worlds(operator, "shop")
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
    cluster("delete", "obp,evs,evc", "--all", "-n", "shop", "--timeout=120s")


@pytest.mark.thorough
def test_resource_definitions_outlive_the_chart(cluster: Kubectl) -> None:
    helm(cluster, *UPGRADE, str(CHART))
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
