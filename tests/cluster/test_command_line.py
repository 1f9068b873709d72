"""`kubectl outbox` with the rights that people have, and with more pipelines than a page holds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from outbox_operator.adapters.kubernetes import client
from outbox_operator.adapters.kubernetes.caller import Caller
from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.errors import AccessDeniedError
from support.api_proxy import ApiProxy
from support.chart import Helm, find_helm
from support.cli import CommandLine
from support.kube import Kubectl, install_crds
from support.waiting import wait_until

PIPELINE: dict[str, Any] = {
    "apiVersion": "outbox.dev/v1alpha1",
    "kind": "OutboxPipeline",
    "metadata": {"name": "orders"},
    "spec": {
        "database": {"connectionSecretRef": {"name": "database"}},
        "nats": {"url": "nats://nats.nats:4222"},
        "stream": {"name": "ORDERS", "subject": "orders.{event_type}"},
    },
}
MAY: Final = {
    "view": ("list", "outboxpipelines.outbox.dev"),
    "edit": ("patch", "outboxpipelines.outbox.dev"),
    "admin": ("create", "outboxtasks.outbox.dev"),
}
"""What each built-in role allows and a lesser one does not."""


@pytest.fixture(scope="module")
def roles(kubectl: Kubectl) -> None:
    """What the chart adds to the built-in roles."""
    rendered = Helm(find_helm()).render()
    ours = [
        one
        for one in rendered
        if one["kind"] == "ClusterRole"
        and any("aggregate-to" in label for label in one["metadata"].get("labels", {}))
    ]
    assert kubectl.apply(*ours).code == 0


@pytest.fixture
def user(
    roles: None, kubectl: Kubectl, namespace: str, tmp_path: Path
) -> Callable[[str], CommandLine]:
    """Makes a user with one built-in role in the test's namespace; empty: with none."""

    def make(role: str) -> CommandLine:
        name = role or "nobody"
        kubectl("create", "serviceaccount", name, "-n", namespace)
        if role:
            kubectl(
                "create", "rolebinding", name, "-n", namespace, f"--clusterrole={role}",
                f"--serviceaccount={namespace}:{name}",
            )  # fmt: skip
            account = f"system:serviceaccount:{namespace}:{name}"
            kubectl.wait_may(account, *MAY[role], namespace)
        document = yaml.safe_load(kubectl.kubeconfig.read_text())
        token = kubectl("create", "token", name, "-n", namespace).strip()
        document["users"] = [{"name": name, "user": {"token": token}}]
        document["contexts"][0]["context"] |= {"user": name, "namespace": namespace}
        path = tmp_path / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(document))
        return CommandLine(path)

    return make


def test_view_is_enough_to_look(
    kubectl: Kubectl, namespace: str, user: Callable[[str], CommandLine]
) -> None:
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(PIPELINE))
    viewer = user("view")
    # Nobody has reconciled it: nothing is known, and nothing is well.
    [found] = viewer.facts("status", code=1)["pipelines"]
    assert (found["ready"], found["rows"]["waiting"]) == ("Unknown", None)
    everywhere = viewer.run("status", "-A")
    assert everywhere.code == 1
    assert "may not list outboxpipelines.outbox.dev in all namespaces" in everywhere.err
    assert "kubectl auth can-i list outboxpipelines.outbox.dev -A" in everywhere.err
    versions = viewer.facts("version")
    assert versions["api"] == ["v1alpha1"]
    assert versions["kinds"] == ["EventConsumer", "EventStream", "OutboxPipeline", "OutboxTask"]
    assert versions["cluster"].startswith("v1.")
    [place] = viewer.facts("dlq", "list", code=1)["places"]
    assert place["deadLetters"] is None
    assert viewer("plan", "show") == "no plan waits\n"
    assert viewer.facts("plan", "show", "orders")["objects"][0]["waiting"] == []
    for arguments, verb, what in (
        (["plan", "approve", "orders", "0" * 16], "create", "outboxtasks"),
        (["rebase", "orders", "--yes"], "create", "outboxtasks"),
        (["pause", "orders"], "patch", "outboxpipelines"),
        (["dlq", "replay", "orders", "--all"], "create", "outboxtasks"),
    ):
        refused = viewer.run(*arguments)
        assert refused.code == 1
        assert f"may not {verb} {what}.outbox.dev in namespace {namespace}" in refused.err
    # The doctor goes as far as it may, and says where it stopped.
    found = viewer.facts("doctor")["findings"]
    unknown = {one["object"]: one["message"] for one in found if one["severity"] == "Unknown"}
    assert set(unknown) == {"operators", f"OutboxPipeline/{namespace}/orders, from inside"}
    assert "may not list deployments.apps in all namespaces" in unknown["operators"]
    assert (
        "may not create outboxtasks" in unknown[f"OutboxPipeline/{namespace}/orders, from inside"]
    )
    nobody = user("").run("status")
    assert nobody.code == 1
    assert f"-n {namespace}` asks for it" in nobody.err


def test_edit_is_enough_to_change_and_admin_to_order_work(
    kubectl: Kubectl, namespace: str, user: Callable[[str], CommandLine]
) -> None:
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(PIPELINE))
    editor = user("edit")
    for verb in ("pause", "resume", "restart", "stop", "start", "reconcile"):
        assert editor.run(verb, "orders", "--no-wait").code == 0
    # Nobody acts on it here: it is said to have been asked for, and no more.
    late = editor.run("pause", "orders", "--timeout", "1")
    assert late.code == 1
    assert "not within 1 s: OutboxPipeline orders is not paused yet" in late.out.replace("\n ", "")
    refused = editor.run("dlq", "purge", "orders", "--all", "--yes")
    assert "may not create outboxtasks.outbox.dev" in refused.err
    [task] = user("admin").facts("dlq", "replay", "orders", "--relay", "--all", "--no-wait")[
        "tasks"
    ]
    assert task["requestedBy"] == f"system:serviceaccount:{namespace}:admin"
    made = kubectl.get("obt", task["name"], "-n", namespace)["spec"]
    assert made["requestedBy"] == task["requestedBy"]


@pytest.fixture
def older_tasks(kubectl: Kubectl, namespace: str) -> Iterator[None]:
    """Definitions of tasks that know neither `dryRun` yet nor a filter of dead letters by type."""
    crd: Any = kubectl.get("crd", "outboxtasks.outbox.dev")
    version = crd["spec"]["versions"][0]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    del spec["properties"]["dryRun"]
    letters = spec["properties"]["purgeDeadLetters"]["properties"]["filter"]
    del letters["properties"]["eventTypes"]
    spec.pop("x-kubernetes-validations")
    probe = {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": "OutboxTask",
        "metadata": {"name": "probe", "namespace": namespace},
        "spec": {"pipelineRef": {"name": "a"}, "dryRun": True, "purgeDeadLetters": {}},
    }

    def served() -> bool:
        said = kubectl(
            "create", "--dry-run=server", "--validate=ignore", "-o", "json", "-f", "-",
            stdin=json.dumps(probe),
        )  # fmt: skip
        return "dryRun" not in json.loads(said)["spec"]

    try:
        kubectl(
            "patch", "crd", "outboxtasks.outbox.dev", "--type=merge", "--patch-file=/dev/stdin",
            stdin=json.dumps({"spec": {"versions": [version]}}),
        )  # fmt: skip
        wait_until(served, "the older definition is served")
        yield
    finally:
        install_crds(kubectl)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("dlq", "replay", "orders", "--relay", "--all", "--dry-run"), "spec.dryRun"),
        (
            ("dlq", "purge", "orders", "--relay", "--type", "order.created", "--yes"),
            "spec.purgeDeadLetters.filter.eventTypes",
        ),
    ],
)
def test_what_older_definitions_do_not_know_is_not_ordered_without_it(
    kubectl: Kubectl, namespace: str, older_tasks: None, arguments: tuple[str, ...], field: str
) -> None:
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(PIPELINE))
    refused = CommandLine(kubectl.kubeconfig, namespace).run(*arguments, "--no-wait")
    assert refused.code == 2, refused.out
    assert f'unknown field "{field}"' in refused.err
    assert "`kubectl outbox version`" in refused.err
    assert kubectl("get", "obt", "-n", namespace, "-o", "name") == ""


def test_who_acts_as_another_has_the_rights_of_that_one(
    kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(PIPELINE))
    outbox = CommandLine(acting(kubectl.kubeconfig, tmp_path, {"as": "ann"}), namespace)
    assert "may not list outboxpipelines.outbox.dev" in outbox.run("status").err
    assert 'cannot get resource "pods/exec"' in asyncio.run(
        exec_refused(acting(kubectl.kubeconfig, tmp_path, {"as": "ann"}), namespace)
    )
    masters = {"as": "ann", "as-groups": ["system:masters"]}
    outbox = CommandLine(acting(kubectl.kubeconfig, tmp_path, masters), namespace)
    arguments = ("dlq", "replay", "orders", "--relay", "--all", "--no-wait")
    assert outbox.facts(*arguments)["tasks"][0]["requestedBy"] == "ann"


async def test_answers_that_are_lost_cost_time_and_nothing_else(
    kubectl: Kubectl, namespace: str, tmp_path: Path
) -> None:
    kubectl("create", "-n", namespace, "-f", "-", stdin=json.dumps(PIPELINE))
    async with ApiProxy(kubectl.kubeconfig, tmp_path) as proxy:
        outbox = CommandLine(proxy.kubeconfig, namespace)
        proxy.lose(2)

        async def late(*arguments: str) -> str:
            answer = await asyncio.to_thread(outbox.run, *arguments, "--timeout", "2")
            assert answer.code == 1
            return " ".join((answer.out + answer.err).split())

        # Nobody carries it out here.
        for _ in range(2):
            said = await late("dlq", "replay", "orders", "--relay", "--all")
            assert "goes on; `kubectl outbox task replay-dead-letters-orders-" in said
        assert kubectl("get", "obt", "-n", namespace, "-o", "name").count("\n") == 2
        assert "not within 2 s" in await late("pause", "orders")
        # None at all: it is said what may have come of it.
        proxy.lose(1)
        assert "Kubernetes API at" in await late("pause", "orders")


async def exec_refused(kubeconfig: Path, namespace: str) -> str:
    """What is said to who may not exec."""
    caller = await Caller.log_in(kubeconfig=str(kubeconfig))
    try:
        pod = Ref("v1", "pods", namespace, "relay")
        with pytest.raises(AccessDeniedError) as refused:
            await caller.run_in_pod(pod, "relay", ["true"], most_bytes=1, seconds=10)
        return refused.value.message
    finally:
        await caller.close()


def acting(kubeconfig: Path, folder: Path, fields: dict[str, Any]) -> Path:
    """The same login, which acts as somebody else."""
    document = yaml.safe_load(kubeconfig.read_text())
    document["users"][0]["user"] |= fields
    path = folder / "acting.kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def test_three_hundred_pipelines(
    kubectl: Kubectl, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [{**PIPELINE, "metadata": {"name": f"orders-{number:03}"}} for number in range(300)]
    kubectl("create", "-n", namespace, "-f", "-", stdin=yaml.safe_dump_all(many))
    monkeypatch.setattr(client, "PAGE", 100)
    outbox = CommandLine(kubectl.kubeconfig, namespace)
    found = outbox.run("status")
    assert found.code == 1
    lines = found.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "300 of 300 not well" in lines
    assert len(lines) < 350
    assert len(outbox.run("status", "-o", "name").out.splitlines()) == 300
    # Nobody carries tasks out here: it waits for one, and leaves none behind.
    doctor = outbox.run("doctor", "--timeout", "1", "-o", "json")
    assert "299 more pipelines were not looked at from inside" in doctor.out
    assert kubectl("get", "obt", "-n", namespace, "-o", "name") == ""
