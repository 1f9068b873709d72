"""The operator process: connect, lead, watch, work, and end in good order.

Entry point of `outbox operator`. The order is: probes, API server, our kinds exist, Lease,
caches, reconcilers, kopf. Everything that runs is a supervised task; when one ends, the process
ends with an error and Kubernetes starts it anew, because half an operator looks healthy and is not.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import threading
from asyncio import sslproto
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from outbox_operator.adapters.kubernetes.client import Kube
from outbox_operator.api import meta
from outbox_operator.controller.exported import Exported
from outbox_operator.controller.health import Health
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.controller.reconcile.consumer import ConsumerReconciler
from outbox_operator.controller.reconcile.context import BuildReconcilers, Context
from outbox_operator.controller.reconcile.pipeline import PipelineReconciler
from outbox_operator.controller.reconcile.resting import Resting
from outbox_operator.controller.reconcile.stream import StreamReconciler
from outbox_operator.controller.reconcile.workloads import Workloads
from outbox_operator.controller.runtime import kopf_glue, standstill
from outbox_operator.controller.runtime.child_cache import KINDS, NETWORK_KINDS, Children
from outbox_operator.controller.runtime.event_router import EventRouter
from outbox_operator.controller.runtime.leadership import Leadership
from outbox_operator.controller.runtime.lease import Heartbeat
from outbox_operator.controller.runtime.objects import Objects
from outbox_operator.controller.runtime.queue import WorkQueue
from outbox_operator.controller.runtime.reconciler import Reconciler
from outbox_operator.controller.runtime.resync import Resync
from outbox_operator.controller.runtime.schedule import Urgency
from outbox_operator.controller.runtime.supervisor import Supervisor, cancel
from outbox_operator.controller.runtime.territory import WorkedTerritory
from outbox_operator.controller.settings import Settings
from outbox_operator.controller.tasks.reconciler import TaskReconciler
from outbox_operator.errors import (
    AccessDeniedError,
    KubernetesError,
    OutboxError,
    UnsupportedServerError,
)
from outbox_operator.telemetry.health import HealthServer
from outbox_operator.telemetry.logging import setup

log = logging.getLogger(__name__)

SYNC_TIMEOUT_SECONDS: Final = 60.0
SYNC_SECONDS_PER_NAMESPACE: Final = 0.6
"""Watched one by one, each has lists and connections of its own."""
TLS_BUFFER_BYTES: Final = 16_384
"""Each connection has such a buffer, 256 KiB by default: a gigabyte for some thousand watches."""
OPEN_FILES: Final = 65_536
"""Eight watches a namespace that is watched by itself; many systems begin with 1024."""
DRAIN_SECONDS: Final = 5.0
API_RETRY_SECONDS: Final = 2.0
LOOKUPS_AT_ONCE: Final = 100
"""Names of hosts that are looked up side by side."""
END_SECONDS: Final = 10.0
"""What still runs when the Lease has been given back, such as a lookup, gets this long to end."""


def build_reconcilers(context: Context) -> Mapping[str, Reconciler]:
    """One reconciler for each kind, over what they share."""
    workloads = Workloads(context)
    return {
        meta.PIPELINE: PipelineReconciler(context, workloads),
        meta.STREAM: StreamReconciler(context),
        meta.CONSUMER: ConsumerReconciler(context, workloads),
        meta.TASK: TaskReconciler(context),
    }


def main(settings: Settings, build: BuildReconcilers = build_reconcilers) -> None:
    """Run the operator until SIGTERM or SIGINT.

    Args:
        settings: How this process works.
        build: Makes the reconcilers; a test gives its own.

    Raises:
        OutboxError: What ended it before that, for example a lost Lease.
    """
    setup("operator", settings.log_level)
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]  # the driver would complete a tenant's login with what is ours
    _allow_open_files()
    sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
    # One line for every event is of use to kopf's authors only.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    try:
        operator = Operator(settings, build)
        standstill.run(operator.run(), lambda: operator.check())  # what it asks is known later
    except OutboxError as error:
        log.error("ended: %s", error, extra={"reason": error.reason})
        raise


class Operator:
    """One operator process.

    Attributes:
        check: Raises LeaseLostError when nothing may be done any more.
    """

    def __init__(self, settings: Settings, build: BuildReconcilers) -> None:
        self._settings = settings
        self._build_reconcilers = build
        self._stop = asyncio.Event()
        self._metrics = OperatorMetrics(
            f"{settings.lease_namespace}/{settings.lease_name}", settings.slices
        )
        self._leads: Callable[[str], bool] = lambda _: False
        self.check: Callable[[], None] = lambda: None
        self._objects = Objects(leads=lambda namespace: self._leads(namespace))
        self._heartbeat = Heartbeat()
        self._exported = Exported(self._objects.uid, settings.sample_age_seconds)
        self._health = Health(
            settings.silence_seconds, self._objects.behind_seconds, self._heartbeat.silent_seconds
        )

    async def run(self) -> None:
        """Everything from the first probe to the released Lease."""
        self._catch_signals()
        allow_lookups()
        health = HealthServer(
            self._settings.health_port,
            self._health.ready,
            live=self._health.live,
            registry=self._metrics.registry,
            large=self._exported.registry,
        )
        async with health:
            settings = self._settings
            kube = await Kube.connect(
                instance=settings.identity,
                how_to_grant=settings.how_to_grant if settings.namespace_role else None,
                on_answer=self._metrics.record_request,
            )
            try:
                log.info(
                    "started",
                    extra={
                        "server": kube.server,
                        "namespaces": list(settings.namespaces) or "all",
                        "rights": "per namespace" if settings.namespace_role else "all at once",
                        "health_port": health.port,
                    },
                )
                await self._wait_and_lead(kube)
            finally:
                end_in_time(END_SECONDS)
                await kube.close()
        log.info("stopped")

    async def _wait_and_lead(self, kube: Kube) -> None:
        leadership = Leadership(kube, self._settings, self._heartbeat, self._metrics)
        self._leads, self.check = leadership.leads, leadership.check
        kube.write_only_where(leadership.may_write)
        supervisor = Supervisor(self._stop)
        try:
            if not await supervisor.until(check_kinds(kube)):
                return
            self._health.role = "standby"
            if await supervisor.until(leadership.begin()):
                self._health.role = "leader"
                supervisor.start("the Lease's renewal", leadership.hold())
                supervisor.start("the Lease's watch", leadership.watch_back())
                await self._lead(kube, supervisor, leadership)
        finally:
            self._health.role = "stopping"
            self._metrics.retire()
            await supervisor.cancel()
            # Last, when nothing of ours works any more: another process starts at once.
            await leadership.release()

    async def _lead(self, kube: Kube, supervisor: Supervisor, leadership: Leadership) -> None:
        settings = self._settings
        queue = WorkQueue(
            self._metrics,
            is_gone=lambda key: self._objects.get(key) is None,
            workers=settings.workers,
            retry_ceiling_seconds=settings.retry_ceiling_seconds,
            leads=self._leads,
        )
        router = EventRouter(self._objects, queue.wake, self._metrics)
        wake: Callable[..., None] = lambda key, trigger: queue.wake(  # noqa: E731
            key, trigger, Urgency.ORDINARY
        )
        kinds = KINDS if settings.pods.network_policy is None else {**KINDS, **NETWORK_KINDS}
        scopes = () if settings.namespace_role else settings.scopes
        children = Children(wake, scopes, kinds, self._leads)
        resync = Resync(kube, router, self._objects, self._metrics, settings)
        if not settings.namespace_role:  # else each begins with the first pass in a namespace
            supervisor.start("the watch of children", children.run(kube))
        seconds = SYNC_TIMEOUT_SECONDS + len(settings.namespaces) * SYNC_SECONDS_PER_NAMESPACE
        if not await supervisor.until(_fill(children, resync, seconds)):
            return
        async with Context.create(
            kube=kube, objects=self._objects, children=children, settings=settings,
            exported=self._exported, wake=wake, resting=Resting(self._metrics.record_look),
        ) as context:  # fmt: skip
            reconcilers = self._build_reconcilers(context)
            work = supervisor.start("the work queue", queue.run(reconcilers))
            supervisor.start("the resync", resync.run())
            sharing = []
            if settings.slices > 1:
                territory = WorkedTerritory(
                    queue, self._objects, None if settings.namespace_role else children, resync,
                    context.background.end_all,
                )  # fmt: skip
                sharing.append(
                    supervisor.start("the sharing of slices", leadership.share(territory))
                )
            registry = kopf_glue.kopf_registry(router, kube.credentials)
            supervisor.start(
                "the watch of our objects",
                kopf_glue.watch(
                    registry,
                    settings.namespaces,
                    self._watching,
                    scans=not (settings.namespaces or settings.namespace_role),
                ),
            )
            self._exported.begin()
            try:
                await supervisor.run()
                log.info("stopping: passes under way may end")
                await cancel(*sharing)  # it leads no more than it has
                await asyncio.gather(
                    queue.drain(DRAIN_SECONDS), context.background.drain(DRAIN_SECONDS)
                )
            finally:
                # At once: for who leads, a number that is absent is not to be bridged by alerts.
                self._metrics.retire()
                self._exported.end()
                work.cancel()
                await asyncio.wait({work})

    def _watching(self) -> None:
        self._catch_signals()  # kopf has just taken them
        log.info("watching")

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)


async def check_kinds(kube: Kube) -> None:
    """Make sure that the API server knows our kinds; one that is away is waited for.

    So is one that has just begun, and does not know yet who may ask.

    Definitions may be those of an older release: what that does not have is said, and left alone.

    Raises:
        UnsupportedServerError: A resource definition is missing; the message names it.
    """
    while True:
        try:
            served = await kube.served_plurals(meta.API_VERSION)
            break
        except (KubernetesError, AccessDeniedError) as error:
            log.warning("waiting for the API server: %s", error)
            await asyncio.sleep(API_RETRY_SECONDS)
    missing = {kind for kind, plural in meta.PLURALS.items() if plural not in served}
    names = ", ".join(sorted(f"{meta.PLURALS[kind]}.{meta.GROUP}" for kind in missing))
    if missing - meta.LATER_KINDS:
        raise UnsupportedServerError(
            f"Kubernetes API at {kube.server}: CustomResourceDefinition {names} "
            f"is missing or does not serve {meta.VERSION}; install the chart's CRDs first"
        )
    if missing:
        log.warning(
            "CustomResourceDefinition %s is missing, as of an older release: nothing of that kind "
            "is carried out until the definitions of this chart are installed", names,
        )  # fmt: skip


async def _fill(children: Children, resync: Resync, seconds: float) -> None:
    """List everything once, so that the first pass sees the whole picture."""
    try:
        async with asyncio.timeout(seconds):
            await children.wait_synced()
            await resync.once()
    except TimeoutError:
        raise KubernetesError(
            f"the first lists of our objects and their children took over {seconds:.0f} s"
        ) from None


def allow_lookups() -> None:
    """Let names of hosts, which tenants choose, be looked up beside those that hang.

    A lookup keeps a thread until name servers have answered or were waited for; by default there
    are few, and a tenant whose name servers are away would keep everybody from connecting.
    """
    threads = ThreadPoolExecutor(LOOKUPS_AT_ONCE, thread_name_prefix="lookup")
    asyncio.get_running_loop().set_default_executor(threads)


def end_in_time(seconds: float) -> None:
    """End the process after a while, whatever keeps it.

    A task of kopf's that does not heed its cancellation, or a lookup, would leave a process that
    does nothing and looks alive until the kubelet's probes have failed often enough.
    """
    end = threading.Timer(seconds, os._exit, (1,))
    end.daemon = True
    end.start()


def _allow_open_files() -> None:
    """Raise the soft limit as far as the hard one allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
