"""Settings of the operator process."""

from __future__ import annotations

import json
from dataclasses import Field
from typing import Any

import pytest

from outbox_operator.controller.settings import from_environment, pauses, variable
from outbox_operator.errors import SpecError

BASE = {"OUTBOX_IMAGE": "registry.example/outbox:1", "POD_NAMESPACE": "system", "POD_NAME": "op-1"}


def test_defaults() -> None:
    found = from_environment(BASE)
    assert found.namespaces == ()
    assert found.scopes == (None,)
    assert (found.lease_name, found.lease_namespace, found.identity) == (
        "outbox-operator",
        "system",
        "op-1",
    )


def test_flags_win_over_the_environment() -> None:
    found = from_environment(
        {**BASE, "OUTBOX_WORKERS": "3"}, {"WORKERS": "7", "IMAGE": None, "NAMESPACES": "b, a,b"}
    )
    assert found.workers == 7
    assert found.image == BASE["OUTBOX_IMAGE"]
    assert found.scopes == ("b", "a")


def test_what_pods_have_in_common_is_a_document() -> None:
    policy = {"fields": [], "images": ["x/*"]}
    pods = {"pull_secrets": ["a"], "priority_class": "high", "policy": policy}
    found = from_environment({**BASE, "OUTBOX_PODS": json.dumps(pods)}).pods
    assert (found.pull_secrets, found.priority_class) == (("a",), "high")
    assert (found.policy.fields, found.policy.images) == ((), ("x/*",))
    assert found.policy.service_accounts == ("*",)


@pytest.mark.parametrize("one", pauses(), ids=lambda one: one.name)
def test_each_pause_can_be_set(one: Field[Any]) -> None:
    # Less than its default, as the parts of the Lease must stay in order.
    less = getattr(from_environment(BASE), one.name) * 0.9
    found = from_environment({**BASE, variable(one): str(less)})
    assert getattr(found, one.name) == less


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"OUTBOX_IMAGE": ""}, "OUTBOX_IMAGE"),
        ({"OUTBOX_WORKERS": "many"}, "OUTBOX_WORKERS"),
        ({"OUTBOX_WORKERS": "0"}, "OUTBOX_WORKERS"),
        ({"OUTBOX_HEALTH_PORT": "70000"}, "OUTBOX_HEALTH_PORT"),
        ({"OUTBOX_LOG_LEVEL": "loud"}, "OUTBOX_LOG_LEVEL"),
        ({"OUTBOX_NAMESPACES": "shop,Bad_Name"}, "Bad_Name"),
        ({"OUTBOX_NAMESPACE_ROLE": "role"}, "OUTBOX_SERVICE_ACCOUNT: wanted namespace:name"),
        (
            {
                "OUTBOX_NAMESPACE_ROLE": "role",
                "OUTBOX_SERVICE_ACCOUNT": "a:b",
                "OUTBOX_NAMESPACES": "shop",
            },
            "wanted one of them",
        ),
        ({"OUTBOX_PODS": '{"policy": {"image": []}}'}, "OUTBOX_PODS: policy.image: Unexpected"),
        ({"OUTBOX_PODS": '{"policy": {"images": "x"}}'}, "OUTBOX_PODS: policy.images"),
        ({"OUTBOX_BUSY_INTERVAL": "soon"}, "OUTBOX_BUSY_INTERVAL"),
        ({"OUTBOX_BUSY_INTERVAL": "nan"}, "OUTBOX_BUSY_INTERVAL"),
        ({"OUTBOX_BUSY_INTERVAL": "0"}, "OUTBOX_BUSY_INTERVAL"),
        ({"OUTBOX_LEASE_DEADLINE": "15"}, "LEASE_DEADLINE.* found 2, 15, 15"),
    ],
)
def test_a_bad_setting_is_named(changes: dict[str, str], named: str) -> None:
    with pytest.raises(SpecError, match=named):
        from_environment({**BASE, **changes})
