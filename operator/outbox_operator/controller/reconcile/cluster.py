"""Which cluster this is: part of the mark on what is outside of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from outbox_operator.adapters.kubernetes.objects import Ref
from outbox_operator.errors import AccessDeniedError

log = logging.getLogger(__name__)

_OF_THE_CLUSTER: Final = "kube-system"
"""Made with the cluster and never again: its UID stands for it."""


class ObjectSource(Protocol):
    """What reads an object from the API server."""

    async def get(self, ref: Ref) -> Mapping[str, Any] | None:
        """The object, None when there is none. Raises AccessDeniedError."""


class ClusterIdentity:
    """What stands for the cluster, as far as the operator may see it.

    Args:
        source: Reads from the API server.
    """

    def __init__(self, source: ObjectSource) -> None:
        self._source = source
        self._uids: dict[str, str] = {}

    async def of(self, namespace: str) -> str:
        """UID of kube-system; where that may not be read, of the namespace itself; else empty.

        Raises KubernetesError.
        """
        return await self._uid(_OF_THE_CLUSTER) or await self._uid(namespace)

    async def _uid(self, namespace: str) -> str:
        known = self._uids.get(namespace)
        if known is None:
            known = self._uids[namespace] = await self._read(namespace)
        return known

    async def _read(self, namespace: str) -> str:
        try:
            body = await self._source.get(Ref("v1", "namespaces", "", namespace))
        except AccessDeniedError:
            log.info("may not read namespace %s: its UID is in no mark", namespace)
            return ""
        return "" if body is None else str(body["metadata"]["uid"])
