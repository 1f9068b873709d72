"""Hear writers that nudge, as far as our user of the server may. Without it the relay polls.

Run by `relay.app` for each session. To hear of a commit at once is a luxury: when the server does
not let us subscribe, the relay is ready, says what it misses, and tries again now and then.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from outbox_operator.adapters.sink import Sink
from outbox_operator.errors import OutboxError
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.progress import Progress

log = logging.getLogger(__name__)

RETRY_SECONDS: Final = 15.0


class Nudges:
    """The wake-ups of one pipeline's writers.

    Args:
        on_nudge: Called for each.

    Attributes:
        tried: Set once it is known whether they can be heard.
    """

    def __init__(
        self,
        subject: str,
        progress: Progress,
        metrics: RelayMetrics,
        on_nudge: Callable[[], None],
    ) -> None:
        self.tried = asyncio.Event()
        self._subject = subject
        self._progress = progress
        self._metrics = metrics
        self._on_nudge = on_nudge
        self._said = False

    async def listen(self, sink: Sink) -> None:
        """Listen until the connection is lost."""
        try:
            while True:
                error = await sink.listen(self._subject, self._on_nudge, self._accepted)
                self._denied(error)
                await asyncio.sleep(RETRY_SECONDS)
        except OutboxError as error:
            log.debug("no nudges any more: %s", error)  # the session ends for the same reason
        finally:
            self.tried.set()

    def _accepted(self) -> None:
        if self._said:
            log.info("nudges of writers are heard again")
        self._said = False
        self._progress.nudges("")
        self.tried.set()

    def _denied(self, error: OutboxError) -> None:
        if not self._said:
            log.warning("%s", error.message, extra={"reason": error.reason})
            self._metrics.errors(error.reason).inc()
        self._said = True
        self._progress.nudges(f"{error.reason}: {error.message}")
        self.tried.set()
