"""The kopf glue: settings, log-in, one event handler for our kinds. Nothing else uses kopf.

kopf only brings events. No state-tracking handlers are declared, so it writes nothing to our
objects: no finalizer, no annotation, no status. Everything it calls is synchronous, cheap, and
never raises; should it have to go, only this file does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import kopf

from outbox_operator.adapters.kubernetes.transport import Credentials
from outbox_operator.api import meta
from outbox_operator.controller.runtime.event_router import EventRouter
from outbox_operator.errors import OutboxError

log = logging.getLogger(__name__)


class WatcherEndedError(OutboxError):
    """kopf ended although nobody asked it to."""


def kopf_settings(*, scans: bool) -> kopf.OperatorSettings:
    """Settings that let a watch neither hang nor go deaf, and keep kopf's hands off our objects.

    Args:
        scans: Whether to notice that a resource definition goes and comes back, which needs the
            right to list them.
    """
    settings = kopf.OperatorSettings()
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = not scans
    settings.persistence.finalizer = f"{meta.GROUP}/kopf-unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=meta.GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=meta.GROUP)
    # The process ends itself in time; kopf's own last resort is a SIGKILL.
    settings.process.ultimate_exiting_timeout = None
    return settings


def kopf_registry(
    router: EventRouter, log_in: Callable[[], Awaitable[Credentials]]
) -> kopf.OperatorRegistry:
    """The handlers.

    Args:
        router: Where events go.
        log_in: Gives fresh credentials of the Kubernetes adapter, so that there is one log-in.
    """
    registry = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.ConnectionInfo:
        found = await log_in()
        scheme, token = (*(found.authorization or "").split(" ", 1), "", "")[:2]
        return kopf.ConnectionInfo(
            server=found.server,
            insecure=found.insecure,
            ca_path=found.ca_path,
            certificate_path=found.certificate_path,
            private_key_path=found.private_key_path,
            scheme=scheme or None,
            token=token or None,
        )

    async def event(event: kopf.RawEvent, **_: Any) -> None:
        try:
            router.event(event["type"], event["object"])
        except Exception:
            log.exception("a watch event was dropped")

    kopf.on.login(registry=registry)(login)
    for plural in meta.PLURALS.values():
        kopf.on.event(meta.GROUP, meta.VERSION, plural, registry=registry)(event)
    return registry


async def watch(
    registry: kopf.OperatorRegistry,
    namespaces: Collection[str],
    after_start: Callable[[], None],
    *,
    scans: bool,
) -> None:
    """Run kopf until it ends or is cancelled.

    Args:
        registry: From `kopf_registry`.
        namespaces: Empty for all.
        after_start: Called once kopf's tasks exist. kopf takes the process's signal handlers
            for itself; this is the moment to take them back.
        scans: As in `kopf_settings`.

    Raises:
        WatcherEndedError: kopf ended by itself.
    """
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=kopf_settings(scans=scans),
        namespaces=list(namespaces),
        clusterwide=not namespaces,
        # Only peering reads this, and it is off. Left out, kopf asks for the name of the user, and
        # a container's user id need not have one. kopf does not export the type of this text.
        identity="outbox-operator",  # type: ignore[arg-type]
    )
    after_start()
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    names = ", ".join(task.get_name() for task in done)
    causes = [result for result in results if isinstance(result, Exception)]
    cause = causes[0] if causes else None
    raise WatcherEndedError(f"kopf's {names} ended: {cause or 'nobody asked it to'}") from cause
