"""Settings of the operator process."""

from __future__ import annotations

import pytest

from outbox_operator.controller.settings import from_environment
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


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"OUTBOX_IMAGE": ""}, "OUTBOX_IMAGE"),
        ({"OUTBOX_WORKERS": "many"}, "OUTBOX_WORKERS"),
        ({"OUTBOX_WORKERS": "0"}, "OUTBOX_WORKERS"),
        ({"OUTBOX_HEALTH_PORT": "70000"}, "OUTBOX_HEALTH_PORT"),
        ({"OUTBOX_LOG_LEVEL": "loud"}, "OUTBOX_LOG_LEVEL"),
        ({"OUTBOX_NAMESPACES": "shop,Bad_Name"}, "Bad_Name"),
    ],
)
def test_a_bad_setting_is_named(changes: dict[str, str], named: str) -> None:
    with pytest.raises(SpecError, match=named):
        from_environment({**BASE, **changes})
