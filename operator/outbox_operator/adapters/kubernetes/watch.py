"""Watching a collection for ever: list, follow, list again when history is lost.

Called through `Kube.watch`. It yields facts and keeps no cache: what a change means is the
controller's business.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from outbox_operator.adapters.kubernetes.objects import collection_path
from outbox_operator.adapters.kubernetes.transport import ExpiredError, Transport, error_of
from outbox_operator.aio import jittered, pause_after
from outbox_operator.errors import AccessDeniedError, OutboxError

log = logging.getLogger(__name__)

SERVER_TIMEOUT_SECONDS: Final = 300
CLIENT_GRACE_SECONDS: Final = 30
BACKOFF_MIN_SECONDS: Final = 0.1
BACKOFF_MAX_SECONDS: Final = 10.0

Lister = Callable[[], Awaitable[tuple[list[dict[str, Any]], str]]]


@dataclass(frozen=True, slots=True)
class Listed:
    """The whole collection, at the start and after lost history: forget what is not in it."""

    items: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Changed:
    """One object was created, changed or deleted."""

    body: dict[str, Any]
    deleted: bool


async def watch(
    transport: Transport,
    list_all: Lister,
    api_version: str,
    plural: str,
    namespace: str | None,
    selectors: dict[str, str],
    *,
    ends_when_denied: bool,
) -> AsyncIterator[Listed | Changed]:
    """Follow a collection; never ends by itself.

    Raises:
        AccessDeniedError: The very first list is forbidden: a lack of rights is not waited out.
            With `ends_when_denied` a later one is not either.
    """
    path = collection_path(api_version, plural, namespace)
    subject = f"{plural} in {namespace or 'all namespaces'}"
    version: str | None = None
    listed_once = False
    failures = 0
    while True:
        try:
            if version is None:
                items, version = await list_all()
                listed_once = True
                yield Listed(items)
            query = {
                **selectors,
                "watch": "true",
                "allowWatchBookmarks": "true",
                "resourceVersion": version,
                "timeoutSeconds": str(SERVER_TIMEOUT_SECONDS),
            }
            lines = transport.stream(
                path,
                query=query,
                lifetime_seconds=SERVER_TIMEOUT_SECONDS + CLIENT_GRACE_SECONDS,
                subject=subject,
            )
            async for line in lines:
                kind, body = line["type"], line["object"]
                if kind == "ERROR":
                    raise error_of(f"watch {subject}", body.get("code", 500), body)
                version = body["metadata"]["resourceVersion"]
                failures = 0
                if kind != "BOOKMARK":
                    yield Changed(body, deleted=kind == "DELETED")
        except ExpiredError:
            version = None
            failures += 1  # again and again where more changes in a list's time than is remembered
        except OutboxError as error:
            final = ends_when_denied or not listed_once
            if isinstance(error, AccessDeniedError) and final:
                raise
            failures += 1
            log.warning("watch interrupted, trying again: %s", error, extra={"failures": failures})
        # A pause even after a clean end keeps a server that hangs up at once from being hammered.
        await asyncio.sleep(pause_seconds(failures, random.random()))  # noqa: S311


def pause_seconds(failures: int, jitter: float) -> float:
    """Return the seconds before the next attempt: grows with failures; `jitter` is 0 to 1."""
    return jittered(
        pause_after(failures + 1, BACKOFF_MIN_SECONDS, BACKOFF_MAX_SECONDS), jitter, share=0.5
    )
