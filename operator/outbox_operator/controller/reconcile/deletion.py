"""Cleaning up after an object that goes, in bounded time: a finalizer must not hold for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import Any

from outbox_operator.controller.reconcile.events import EventReporter
from outbox_operator.errors import CredentialsError, OutboxError, SpecError
from outbox_operator.reasons import Reason

log = logging.getLogger(__name__)

NO_CREDENTIALS_DEADLINE_SECONDS = 15.0
"""A deleted object whose Secret is gone is let go after this: in a namespace that goes it will
not come back."""
CLEAN_UP_SECONDS = 30.0
"""Longest single attempt to clean up."""
RETRY_SECONDS = 5.0


async def may_go(
    body: Mapping[str, Any],
    clean_up: Awaitable[None],
    *,
    age: float,
    deadline: float,
    events: EventReporter,
) -> bool:
    """Try to clean up; whether the object may go.

    Args:
        body: The object.
        clean_up: Removes what it owns outside Kubernetes; raises until that is done.
        age: Seconds since its deletion was asked for.
        deadline: It may go after so many seconds, whatever was left behind.
        events: Tells people what could not be cleaned up.
    """
    try:
        async with asyncio.timeout(CLEAN_UP_SECONDS):
            await clean_up
    except SpecError as error:
        # Trying again cannot help: either nobody can read what it owned, or the server refuses.
        log.warning("clean-up abandoned: %s", error)
        await events.event(body, reason=Reason.CLEANUP_ABANDONED, note=f"not cleaned up: {error}")
        return True
    except (OutboxError, TimeoutError) as error:
        if isinstance(error, CredentialsError) and error.reason.startswith("Secret"):
            deadline = min(deadline, NO_CREDENTIALS_DEADLINE_SECONDS)
        text = str(error) or "timed out"
    except Exception as error:  # a defect must not wedge a namespace
        log.exception("clean-up failed by a defect")
        text = f"internal error {type(error).__name__}, see the operator's log"
    else:
        return True
    if age < deadline:
        log.warning("clean-up failed, trying again until %ss: %s", deadline, text)
        note = f"will be retried until {deadline:.0f} s after deletion: {text}"
        await events.event(body, reason=Reason.CLEANUP_FAILED, note=note)
        return False
    log.error("clean-up abandoned after %ss, left behind: %s", deadline, text)
    note = (
        f"let go after {deadline:.0f} s; what it owned outside Kubernetes was left behind: {text}"
    )
    await events.event(body, reason=Reason.CLEANUP_ABANDONED, note=note)
    return True
