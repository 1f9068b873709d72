"""What the runtime hands to the reconcilers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.controller.runtime.child_cache import Children
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.controller.runtime.reconciler import ObjectKey, Reconciler
from outbox_operator.controller.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Shared by all reconcilers of the process.

    Attributes:
        kube: Connection to the API server.
        objects: Latest bodies of our own objects.
        children: Latest bodies of what we made in Kubernetes.
        settings: Settings of the process.
        metrics: Where to count.
        wake: Asks for a pass over an object soon; call it from the event loop.
    """

    kube: Kube
    objects: Objects
    children: Children
    settings: Settings
    metrics: OperatorMetrics
    wake: Callable[[ObjectKey, str], None]


BuildReconcilers = Callable[[Tools], AbstractAsyncContextManager[Mapping[str, Reconciler]]]
"""Makes the reconcilers by kind, and closes what they share when left."""
