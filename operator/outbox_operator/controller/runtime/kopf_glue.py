"""The kopf glue: settings, log-in, one event handler for our kinds. Nothing else uses kopf.

kopf only brings events. No state-tracking handlers are declared, so it writes nothing to our
objects: no finalizer, no annotation, no status. Everything it calls is synchronous, cheap, and
never raises; should it have to go, only this file does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import kopf

from outbox_operator.adapters.kubernetes.answers import (
    bounded_aside,
    decoded_aside,
    lines,
)
from outbox_operator.adapters.kubernetes.login import Credentials
from outbox_operator.api import meta
from outbox_operator.controller.runtime.event_router import EventRouter
from outbox_operator.errors import OutboxError

log = logging.getLogger(__name__)

SECONDS_PER_NAMESPACE: Final = 0.2
"""More patience for each namespace that is watched by itself: its requests wait for their turn."""
PAGE: Final = 10
"""Objects in an answer: each may be as long as the API server takes it."""
BEGINNING_AT_ONCE: Final = 16
"""Requests of kopf whose answer has not begun."""


class WatcherEndedError(OutboxError):
    """kopf ended although nobody asked it to."""


def kopf_settings(*, scans: bool, namespaces: int) -> kopf.OperatorSettings:
    """Settings that let a watch neither hang nor go deaf, and keep kopf's hands off our objects.

    Args:
        scans: Whether to notice that a resource definition goes and comes back, which needs the
            right to list them.
        namespaces: How many are watched one by one; 0: all at once.
    """
    settings = kopf.OperatorSettings()
    crowd = namespaces * SECONDS_PER_NAMESPACE
    settings.watching.chunk_size = PAGE
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70 + crowd
    settings.networking.request_timeout = 30 + crowd
    settings.networking.connect_timeout = 10
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = not scans
    settings.persistence.finalizer = f"{meta.GROUP}/kopf-unused"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=meta.GROUP)
    settings.persistence.diffbase_storage = _NoDifferences()
    # The process ends itself in time; kopf's own last resort is a SIGKILL.
    settings.process.ultimate_exiting_timeout = None
    return settings


class _NoDifferences(kopf.DiffBaseStorage):
    """Nobody asks for what has changed: kopf need not copy each object for that, several times."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        """Nothing of an object."""
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> None:
        """Nothing is remembered."""

    def store(self, **_: Any) -> None:
        """Nothing is written."""


class _Answer(aiohttp.ClientResponse):
    """An answer of the API server as kopf reads it: within bounds."""

    async def start(self, connection: Any) -> aiohttp.ClientResponse:
        """As the parent's; what kopf reads line by line then comes so."""
        await super().start(connection)
        self.content = _Lines(self.content)  # type: ignore[assignment]
        return self

    async def json(self, **_: Any) -> Any:
        """The value."""
        return await decoded_aside(await self.read())


class _Lines:
    """The body of an answer: as it is, or by lines that kopf's decoder can take."""

    def __init__(self, content: aiohttp.StreamReader) -> None:
        self._content = content

    def __getattr__(self, name: str) -> Any:
        return getattr(self._content, name)

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        """What kopf asks of a watch alone."""
        async for line in lines(self._content):
            yield await bounded_aside(line) + b"\n"


@dataclass(frozen=True, kw_only=True)
class _Session(kopf.AiohttpSession):
    """A session of kopf's; two with the same credentials are the same to it."""

    aiohttp_session: aiohttp.ClientSession = field(compare=False)
    credentials: Credentials


def _session(found: Credentials) -> _Session:
    """A log-in whose requests begin a few at a time.

    kopf begins with all kinds in all namespaces at once. Hundreds of handshakes side by side all
    time out, and keep the Lease from being renewed meanwhile.
    """
    scheme, token = (*(found.authorization or "").split(" ", 1), "", "")[:2]
    info = kopf.ConnectionInfo(
        server=found.server,
        insecure=found.insecure,
        ca_path=found.ca_path,
        certificate_path=found.certificate_path,
        private_key_path=found.private_key_path,
        scheme=scheme or None,
        token=token or None,
    )
    room = asyncio.Semaphore(BEGINNING_AT_ONCE)

    async def begins(*_: Any) -> None:
        await room.acquire()

    async def has_begun(*_: Any) -> None:
        room.release()

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begins)
    trace.on_request_end.append(has_begun)
    trace.on_request_exception.append(has_begun)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
        headers=info.as_http_headers(),
        trace_configs=[trace],
        response_class=_Answer,
    )
    return _Session(server=found.server, aiohttp_session=session, credentials=found)


def kopf_registry(
    router: EventRouter, log_in: Callable[[], Awaitable[Credentials]]
) -> kopf.OperatorRegistry:
    """The handlers.

    Args:
        router: Where events go.
        log_in: Gives fresh credentials of the Kubernetes adapter, so that there is one log-in.
    """
    registry = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.AiohttpSession:
        return _session(await log_in())

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
        settings=kopf_settings(scans=scans, namespaces=len(namespaces)),
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
