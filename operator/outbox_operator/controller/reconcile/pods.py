"""Pods of a workload, as many as are looked at.

A pod that a node refuses has failed and lies about, and another one is made at once: there may be
thousands, by one line of a `podTemplate`, and each is as long as its tenant likes.
"""

from __future__ import annotations

from typing import Any, Final

from outbox_operator.adapters.kubernetes.client import Kube

NOT_ENDED: Final = "status.phase!=Succeeded,status.phase!=Failed"
_FAILED: Final = "status.phase=Failed"
MOST_LIVING: Final = 500
MOST_FAILED: Final = 3
"""They say why; more would say it again."""


async def pods_of(kube: Kube, namespace: str, labels: str) -> list[dict[str, Any]]:
    """Those that live, and a few of those that failed.

    Args:
        kube: Connection to the API server.
        namespace: Where they are.
        labels: Their selector.
    """
    living, _ = await kube.list(
        "v1", "pods", namespace, labels, field_selector=NOT_ENDED, most=MOST_LIVING
    )
    failed, _ = await kube.list(
        "v1", "pods", namespace, labels, field_selector=_FAILED, most=MOST_FAILED
    )
    return [*living, *failed]
