"""What the operator has to be allowed in a namespace that it looks after. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from outbox_operator.api import meta
from outbox_operator.plan.doctor.findings import Check, Finding, error

_MADE: Final = ("get", "list", "watch", "create", "patch", "delete")
WANTED: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    (meta.GROUP, "eventstreams"): ("get", "create", "delete", "list", "watch", "patch"),
    (meta.GROUP, "eventconsumers"): ("get", "create", "delete", "list", "watch", "patch"),
    (meta.GROUP, "outboxpipelines"): ("list", "watch", "patch"),
    (meta.GROUP, "outboxpipelines/status"): ("patch",),
    ("apps", "deployments"): _MADE,
    ("", "configmaps"): _MADE,
    ("", "serviceaccounts"): _MADE,
    ("", "services"): _MADE,
    ("policy", "poddisruptionbudgets"): _MADE,
    ("", "pods"): ("list",),
    ("", "secrets"): ("get",),
    ("events.k8s.io", "events"): ("create", "patch"),
}
"""By group and resource, as the chart grants them."""


def check_rights(rules: Iterable[Mapping[str, Any]], namespace: str) -> Iterator[Finding]:
    """The rights that are missing.

    Args:
        rules: What the API server says that the operator may do there.
        namespace: There.
    """
    rules = list(rules)
    for (group, resource), verbs in WANTED.items():
        missing = [verb for verb in verbs if not _allowed(rules, group, resource, verb)]
        if missing:
            name = f"{resource}.{group}" if group else resource
            yield error(
                Check.OPERATOR_RIGHT, f"operator in namespace {namespace}",
                f"it may not {', '.join(missing)} {name}",
                "the rights that the chart gives, by `helm upgrade`",
                f"kubectl auth can-i {missing[0]} {name} -n {namespace} "
                "--as=system:serviceaccount:outbox-system:outbox-operator",
            )  # fmt: skip


def _allowed(rules: Iterable[Mapping[str, Any]], group: str, resource: str, verb: str) -> bool:
    return any(
        not rule.get("resourceNames")
        and _has(rule.get("apiGroups"), group)
        and _has(rule.get("resources"), resource)
        and _has(rule.get("verbs"), verb)
        for rule in rules
    )


def _has(found: Any, wanted: str) -> bool:
    return wanted in (found or ()) or "*" in (found or ())
