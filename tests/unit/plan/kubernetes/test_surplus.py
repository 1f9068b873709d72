"""What others added to an object of ours, told by its managed fields."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from outbox_operator.api import meta
from outbox_operator.plan.kubernetes.surplus import entries_of_others, surplus

RELAY = 'k:{"name":"relay"}'
MANIFEST: dict[str, Any] = {
    "kind": "Deployment",
    "metadata": {"name": "orders-relay"},
    "spec": {
        "template": {
            "metadata": {"labels": {"a": "b"}},
            "spec": {
                "containers": [
                    {
                        "name": "relay",
                        "env": [{"name": "OURS", "value": "1"}],
                        "ports": [{"containerPort": 8080}],
                    }
                ]
            },
        },
    },
}


def pod(**fields: Any) -> dict[str, Any]:
    """Managed fields within the pod template."""
    return {"f:spec": {"f:template": {"f:spec": {f"f:{k}": v for k, v in fields.items()}}}}


def live(
    fields: dict[str, Any],
    added: dict[str, Any],
    env: tuple[dict[str, Any], ...] = (),
    **entry: Any,
) -> dict[str, Any]:
    body = copy.deepcopy(MANIFEST)
    within = body["spec"]["template"]["spec"]
    within["containers"][0]["env"] = [*env, *within["containers"][0]["env"]]
    for name, value in added.items():
        if isinstance(value, list):
            within[name] = [*within.get(name, ()), *value]
        else:
            within[name] = value
    whole = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": fields, **entry}
    body["metadata"] = {"name": "orders-relay", "managedFields": [whole]}
    return body


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (live(pod(hostNetwork={}), {"hostNetwork": True}),
         ["/spec/template/spec/hostNetwork spec.template.spec.hostNetwork"]),
        (live(pod(initContainers={".": {}, 'k:{"name":"i"}': {".": {}}}),
              {"initContainers": [{"name": "i"}]}),
         ["/spec/template/spec/initContainers spec.template.spec.initContainers"]),
        (live(pod(containers={'k:{"name":"spy"}': {".": {}, "f:image": {}}}),
              {"containers": [{"name": "spy", "image": "x"}]}),
         ["/spec/template/spec/containers/1 spec.template.spec.containers[spy]"]),
        # The last one first, so that the others stay where they are.
        (live(pod(containers={RELAY: {"f:env": {
            'k:{"name":"A"}': {".": {}}, 'k:{"name":"B"}': {".": {}}}}}),
            {}, ({"name": "A"}, {"name": "B"})),
         ["/spec/template/spec/containers/0/env/1 spec.template.spec.containers[relay].env[B]",
          "/spec/template/spec/containers/0/env/0 spec.template.spec.containers[relay].env[A]"]),
        # Part of something of ours.
        (live(pod(containers={RELAY: {"f:env": {'k:{"name":"OURS"}': {"f:valueFrom": {}}}}}), {}),
         []),
        # Ours too; that it is otherwise is a difference.
        (live(pod(containers={RELAY: {"f:env": {'k:{"name":"OURS"}': {"f:value": {}}}}}), {}), []),
        (live(pod(containers={RELAY: {"f:ports": {
            'k:{"containerPort":8080,"protocol":"TCP"}': {".": {}}}}}), {}), []),
        # Gone by now.
        (live(pod(hostNetwork={}), {}), []),
        # Our own doing, admission's beside it, an autoscaler's, a restart by kubectl, the status.
        (live(pod(hostNetwork={}), {"hostNetwork": True}, manager=meta.FIELD_MANAGER), []),
        (live({"f:spec": {"f:replicas": {}}}, {}, subresource="scale"), []),
        (live({"f:spec": {"f:replicas": {}}}, {}), []),
        (live({"f:spec": {"f:template": {"f:metadata": {"f:labels": {"f:a": {}}}}}}, {}), []),
        (live({"f:status": {"f:replicas": {}}}, {}, manager="kube-controller-manager"), []),
    ],
)  # fmt: skip
def test_what_others_added(body: dict[str, Any], found: list[str]) -> None:
    assert [f"{one.pointer} {one.change.field}" for one in surplus(MANIFEST, body)] == found


def test_keys_with_slashes_and_what_could_be_a_secret() -> None:
    config = {"kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"config.json": "{}"}}
    added = {**config, "data": {"config.json": "{}", "a/b~c": "s3cret"}}
    entry = {"manager": "kubectl-edit", "fieldsV1": {"f:data": {"f:a/b~c": {}}}}
    (one,) = surplus(config, {**added, "metadata": {"name": "c", "managedFields": [entry]}})
    assert one.pointer == "/data/a~1b~0c"
    assert "s3cret" not in str(one.change)


def test_little_is_kept_of_the_bookkeeping() -> None:
    assert entries_of_others({}) == []
    assert entries_of_others({"managedFields": [{"manager": "kubectl"}]}) == []
    entry = {
        "manager": "x", "time": "now", "fieldsV1": {"f:metadata": {"f:labels": {}}, "f:spec": {}},
    }  # fmt: skip
    assert entries_of_others({"managedFields": [entry]}) == [
        {"manager": "x", "fieldsV1": {"f:spec": {}}}
    ]
