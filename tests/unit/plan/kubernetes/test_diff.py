"""Only what we set and find otherwise is a difference; what a server adds is not."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from outbox_operator.plan.kubernetes.diff import differences, stamped, was_changed_by_others

DESIRED: dict[str, Any] = stamped(
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "orders-relay", "namespace": "shop", "labels": {"a": "b"}},
        "spec": {
            "replicas": 2,
            "template": {
                "spec": {
                    "automountServiceAccountToken": False,
                    "containers": [
                        {
                            "name": "relay",
                            "image": "ours:1",
                            "args": ["relay"],
                            "env": [
                                {"name": "PASSWORD", "value": "hunter2"},
                                {"name": "EMPTY", "value": ""},
                            ],
                            "resources": {"requests": {"cpu": "0.5", "memory": "1024Mi"}},
                            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                        }
                    ],
                    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
                }
            },
        },
    }
)


def live() -> dict[str, Any]:
    """What an API server makes of it: defaults, normal forms, fields of others."""
    body = copy.deepcopy(DESIRED)
    body["metadata"] |= {"uid": "u", "resourceVersion": "7", "managedFields": [{}]}
    body["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    body["metadata"]["labels"]["added"] = "by-others"
    body["status"] = {"replicas": 2}
    spec = body["spec"]["template"]["spec"]
    spec["restartPolicy"] = "Always"
    relay = spec["containers"][0]
    relay["resources"]["requests"] = {"cpu": "500m", "memory": "1Gi"}
    relay["imagePullPolicy"] = "IfNotPresent"
    relay["env"] = [{"name": "EMPTY"}, {"name": "INJECTED", "value": "x"}, relay["env"][0]]
    spec["containers"].insert(0, {"name": "sidecar", "image": "theirs"})
    return body


def container(body: dict[str, Any], name: str = "relay") -> dict[str, Any]:
    containers: list[dict[str, Any]] = body["spec"]["template"]["spec"]["containers"]
    return next(one for one in containers if one["name"] == name)


def fields(body: dict[str, Any]) -> list[str]:
    return [change.field for change in differences(DESIRED, body)]


def test_defaults_normal_forms_and_additions_are_no_difference() -> None:
    assert differences(DESIRED, live()) == ()


def test_a_list_call_leaves_kind_and_version_out() -> None:
    body = live()
    del body["kind"], body["apiVersion"]
    assert differences(DESIRED, body) == ()


def test_a_change_names_field_wanted_and_found() -> None:
    body = live()
    body["spec"]["replicas"] = 0
    container(body)["image"] = "evil:1"
    assert [str(change) for change in differences(DESIRED, body)] == [
        "spec.replicas: wanted 2, found 0",
        "spec.template.spec.containers[relay].image: wanted 'ours:1', found 'evil:1'",
    ]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("args", ["consume"], "spec.template.spec.containers[relay].args[0]"),
        ("args", ["relay", "--debug"], "spec.template.spec.containers[relay].args"),
        ("resources", {}, "spec.template.spec.containers[relay].resources.requests"),
        ("volumeMounts", [], "spec.template.spec.containers[relay].volumeMounts[/tmp]"),
    ],
)
def test_lists_and_missing_parts(field: str, value: Any, expected: str) -> None:
    body = live()
    container(body)[field] = value
    assert fields(body) == [expected]


def test_a_removed_container_is_one_difference() -> None:
    body = live()
    body["spec"]["template"]["spec"]["containers"].pop()
    assert fields(body) == ["spec.template.spec.containers[relay]"]


def test_a_false_that_was_set_is_not_the_same_as_true() -> None:
    body = live()
    body["spec"]["template"]["spec"]["automountServiceAccountToken"] = True
    assert fields(body) == ["spec.template.spec.automountServiceAccountToken"]


def test_other_quantities_differ() -> None:
    body = live()
    container(body)["resources"]["requests"]["cpu"] = "5"
    assert fields(body) == ["spec.template.spec.containers[relay].resources.requests.cpu"]


def test_quantities_are_compared_only_where_kubernetes_has_them() -> None:
    wanted = {"metadata": {"labels": {"size": "1000m"}}}
    assert differences(wanted, {"metadata": {"labels": {"size": "1"}}})


def test_values_that_may_be_secret_are_not_shown() -> None:
    body = live()
    container(body)["env"][2]["value"] = "changed-secret"
    text = str(differences(DESIRED, body)[0])
    assert "env[PASSWORD].value" in text
    assert "hunter2" not in text
    assert "changed-secret" not in text
    body["spec"]["template"]["spec"]["containers"].pop()
    assert "hunter2" not in str(differences(DESIRED, body))
    config = {"metadata": {"name": "c"}, "data": {"config.json": "{a}"}}
    assert "{b}" not in str(differences(config, {"data": {"config.json": "{b}"}}))


def test_long_texts_are_cut() -> None:
    wanted = {"metadata": {"annotations": {"note": "x" * 5000}}}
    (change,) = differences(wanted, {"metadata": {}})
    assert len(str(change)) < 300
    (change,) = differences(wanted, {"metadata": {"annotations": {"note": "y" * 5000}}})
    assert len(str(change)) < 400


def test_a_field_that_we_no_longer_set_shows_by_the_stamp() -> None:
    before = stamped({"metadata": {"name": "x"}, "spec": {"a": 1, "b": 2}})
    now = stamped({"metadata": {"name": "x"}, "spec": {"a": 1}})
    changes = differences(now, before)
    assert [change.field for change in changes] == ["metadata.annotations.outbox.dev/applied"]
    assert not was_changed_by_others(changes)


def test_a_change_under_the_same_stamp_is_someone_elses() -> None:
    body = live()
    body["spec"]["replicas"] = 0
    assert was_changed_by_others(differences(DESIRED, body))
    assert not was_changed_by_others(())


def test_a_stamp_depends_on_content_alone() -> None:
    assert (
        stamped({"metadata": {}, "spec": {"a": 1, "b": 2}})["metadata"]
        == (stamped({"spec": {"b": 2, "a": 1}, "metadata": {}})["metadata"])
    )
