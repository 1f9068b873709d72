"""A user's pod settings merge as Kubernetes merges them, and cannot break the workload."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from outbox_operator.errors import SpecError
from outbox_operator.plan.kubernetes import podtemplate

OURS: dict[str, Any] = {
    "metadata": {"labels": {"app": "relay"}, "annotations": {"outbox.dev/checksum": "c"}},
    "spec": {
        "terminationGracePeriodSeconds": 30,
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "containers": [
            {
                "name": "relay",
                "image": "ours",
                "env": [{"name": "OUTBOX_CONFIG", "value": "/c"}],
                "ports": [{"name": "health", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "50m"}, "limits": {"memory": "512Mi"}},
                "volumeMounts": [{"name": "config", "mountPath": "/etc/outbox"}],
            }
        ],
        "volumes": [{"name": "config", "configMap": {"name": "orders-relay"}}],
    },
}


def merge(overlay: Any, *, owns_process: bool = True) -> dict[str, Any]:
    return podtemplate.merge(
        OURS, overlay, container="relay", owns_process=owns_process, min_grace_seconds=30
    )


def relay(template: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = template["spec"]["containers"][0]
    return found


@pytest.mark.parametrize("overlay", [None, {}, {"metadata": {}}, {"spec": {}}, {"spec": None}])
def test_nothing_changes_nothing(overlay: Any) -> None:
    assert merge(overlay) == OURS


def test_our_template_is_never_changed_in_place() -> None:
    before = copy.deepcopy(OURS)
    merge(
        {"spec": {"containers": [{"name": "relay", "image": "x"}], "tolerations": [{"key": "b"}]}}
    )
    assert before == OURS


def test_labels_and_annotations_merge_and_ours_win() -> None:
    merged = merge(
        {
            "metadata": {
                "labels": {"app": "other", "team": "shop"},
                "annotations": {"outbox.dev/checksum": "x", "note": "y"},
            }
        }
    )
    assert merged["metadata"]["labels"] == {"app": "relay", "team": "shop"}
    assert merged["metadata"]["annotations"] == {"outbox.dev/checksum": "c", "note": "y"}


def test_our_labels_cannot_be_removed() -> None:
    assert (
        merge({"metadata": {"labels": None, "annotations": {"outbox.dev/checksum": None}}}) == OURS
    )


def test_maps_merge_and_null_removes() -> None:
    merged = merge(
        {
            "spec": {
                "nodeSelector": {"disk": "fast"},
                "containers": [
                    {
                        "name": "relay",
                        "resources": {"limits": {"memory": "1Gi", "cpu": "1"}, "requests": None},
                    }
                ],
            }
        }
    )
    assert merged["spec"]["nodeSelector"] == {"disk": "fast"}
    assert relay(merged)["resources"] == {"limits": {"memory": "1Gi", "cpu": "1"}}
    assert relay(merged)["image"] == "ours"


def test_named_lists_merge_by_name() -> None:
    merged = merge(
        {
            "spec": {
                "containers": [
                    {"name": "proxy", "image": "sidecar"},
                    {
                        "name": "relay",
                        "env": [{"name": "TZ", "value": "UTC"}],
                        "volumeMounts": [{"name": "extra", "mountPath": "/extra"}],
                    },
                ],
                "volumes": [{"name": "extra", "emptyDir": {}}],
            }
        }
    )
    assert [container["name"] for container in merged["spec"]["containers"]] == ["relay", "proxy"]
    assert [variable["name"] for variable in relay(merged)["env"]] == ["OUTBOX_CONFIG", "TZ"]
    assert [m["mountPath"] for m in relay(merged)["volumeMounts"]] == ["/etc/outbox", "/extra"]
    assert [volume["name"] for volume in merged["spec"]["volumes"]] == ["config", "extra"]


def test_tolerations_are_added_once() -> None:
    both = [{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]
    assert merge({"spec": {"tolerations": both}})["spec"]["tolerations"] == both


def test_other_lists_are_replaced() -> None:
    merged = merge({"spec": {"dnsConfig": {"searches": ["x"]}}})
    assert merged["spec"]["dnsConfig"] == {"searches": ["x"]}


def test_a_container_of_the_user_s_may_set_everything() -> None:
    overlay = {
        "spec": {
            "terminationGracePeriodSeconds": 60,
            "containers": [
                {
                    "name": "relay",
                    "command": ["run"],
                    "env": [{"name": "OUTBOX_CONFIG", "valueFrom": {"fieldRef": {}}}],
                }
            ],
        }
    }
    merged = merge(overlay, owns_process=False)
    assert relay(merged)["command"] == ["run"]
    assert relay(merged)["env"] == [{"name": "OUTBOX_CONFIG", "valueFrom": {"fieldRef": {}}}]


@pytest.mark.parametrize(
    ("overlay", "message"),
    [
        ({"status": {}}, r"podTemplate\.status is not understood; write metadata or spec"),
        ({"metadata": {"name": "x"}}, r"podTemplate\.metadata\.name is not understood"),
        ({"spec": []}, r"podTemplate\.spec: wanted a map"),
        ({"spec": {"restartPolicy": "Never"}}, r"restartPolicy: wanted Always, found 'Never'"),
        ({"spec": {"activeDeadlineSeconds": 5}}, r"activeDeadlineSeconds cannot be set"),
        ({"spec": {"terminationGracePeriodSeconds": 5}}, r"wanted at least 30, found 5"),
        ({"spec": {"volumes": [{"name": "config"}]}}, r"volumes\[config\] is the operator's"),
        ({"spec": {"containers": {"name": "relay"}}}, r"containers: wanted a list"),
        ({"spec": {"containers": [{"image": "x"}]}}, r"containers: each item needs name"),
        ({"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}, r"'a' is there twice"),
        ({"spec": {"containers": [{"name": "relay", "args": ["x"]}]}}, r"\[relay\]\.args is the"),
        (
            {"spec": {"containers": [{"name": "relay", "env": [{"name": "OUTBOX_CONFIG"}]}]}},
            r"env\[OUTBOX_CONFIG\] is the operator's",
        ),
        (
            {
                "spec": {
                    "containers": [
                        {
                            "name": "relay",
                            "volumeMounts": [{"name": "x", "mountPath": "/etc/outbox/"}],
                        }
                    ]
                }
            },
            r"volumeMounts\[/etc/outbox/\] is the operator's",
        ),
        ({"spec": {"containers": None}}, r"containers cannot be removed"),
        ({"spec": {"containers": [{"name": "relay", "env": None}]}}, r"env cannot be removed"),
        (
            {"spec": {"containers": [{"name": "relay", "ports": [{"containerPort": 8080}]}]}},
            r"ports\[8080\] is the operator's",
        ),
        ({"spec": {"tolerations": {"key": "a"}}}, r"tolerations: wanted a list"),
        ({"spec": {"nodeSelector": {"$patch": "replace"}}}, r"patch directives"),
        ({"spec": {"terminationGracePeriodSeconds": {"a": 1}}}, r"wanted a single value"),
    ],
)
def test_what_would_break_the_pods_is_refused_by_name(overlay: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        merge(overlay)
