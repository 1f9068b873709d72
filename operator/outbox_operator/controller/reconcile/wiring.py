"""Where the reconcilers are put together. The runtime calls it once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from outbox_operator.api import meta as names
from outbox_operator.controller.reconcile.consumer import ConsumerReconciler
from outbox_operator.controller.reconcile.context import Context
from outbox_operator.controller.reconcile.pipeline import PipelineReconciler
from outbox_operator.controller.reconcile.stream import StreamReconciler
from outbox_operator.controller.reconcile.tools import Tools
from outbox_operator.controller.reconcile.workloads import Workloads
from outbox_operator.controller.runtime.reconciler import Reconciler


@contextlib.asynccontextmanager
async def build_reconcilers(tools: Tools) -> AsyncIterator[Mapping[str, Reconciler]]:
    """One reconciler per kind, over shared connections that close when left."""
    async with Context.create(tools) as context:
        workloads = Workloads(context)
        yield {
            names.PIPELINE: PipelineReconciler(context, workloads),
            names.STREAM: StreamReconciler(context),
            names.CONSUMER: ConsumerReconciler(context, workloads),
        }
