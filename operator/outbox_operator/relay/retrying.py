"""What follows when the stream refuses an event or is away: a pause, and another attempt.

Used by `relay.loop`. Every pause ends early with a request to stop, the loss of a connection, or
that of the shard, so that nobody waits for a stream on behalf of a shard that is not ours.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Final

from outbox_operator.adapters.postgres.outbox import OutboxStore
from outbox_operator.adapters.sink import Refusal, Sink, StreamFacts
from outbox_operator.aio import Backoff
from outbox_operator.errors import CredentialsError, OutboxError
from outbox_operator.reasons import Reason
from outbox_operator.relay import poison
from outbox_operator.relay.losses import StreamRolledBackError
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.relay.progress import ShardProgress
from outbox_operator.relay.signals import Signals
from outbox_operator.relay.stream import ShardStream

log = logging.getLogger(__name__)

_RETRY_SECONDS: Final = (0.05, 2.0)
"""First and longest pause between two attempts."""


class StopRequestedError(Exception):
    """Asked to stop while waiting to try again; the cursor is where it should be."""


class Retrying:
    """Attempts of one shard at its stream.

    Args:
        on_rest: Called before each wait.

    Attributes:
        refused: What the server found to be poison in the run before, by position.
    """

    def __init__(
        self,
        store: OutboxStore,
        sink: Sink,
        stream: ShardStream,
        signals: Signals,
        progress: ShardProgress,
        metrics: RelayMetrics,
        *,
        on_rest: Callable[[], None],
    ) -> None:
        self._store = store
        self._sink = sink
        self._stream = stream
        self._signals = signals
        self._progress = progress
        self._metrics = metrics
        self._on_rest = on_rest
        self._said = ""
        self._retry = Backoff(*_RETRY_SECONDS)
        self.refused: dict[int, poison.Poison] = {}

    async def ensure_stream_facts(self) -> StreamFacts:
        """Return what the stream accepts, asked for anew after trouble; wait until it is there.

        Raises:
            StopRequestedError: Asked to stop while it is not there.
            StreamRolledBackError: It has lost what it had acknowledged.
            OutboxError: A connection is lost, or the ownership is.
        """
        retry = Backoff(*_RETRY_SECONDS)
        while True:
            try:
                facts = await self._stream.refresh()
            except StreamRolledBackError:
                raise
            except OutboxError as error:
                self._warn("waiting for the stream: %s", error.message, error.reason)
                self._metrics.errors(error.reason).inc()
                self._progress.stream(ok=False, reason=f"{error.reason}: {error.message}")
                if error.reason == Reason.PERMISSION_DENIED:
                    self._take_new_login()
                await self.rest(retry.next())
            else:
                self._progress.stream(
                    ok=True,
                    reason=self._stream.fence.missing or f"stream {facts.stream} takes our events",
                )
                return facts

    def succeeded(self) -> None:
        """Forget earlier refusals: a run went well."""
        self._retry.reset()
        self.refused.clear()
        self._said = ""

    def progressed(self) -> None:
        """Begin with the first pause again: a stream that takes some events will take more."""
        self._retry.reset()

    async def after_refusal(self, refusal: Refusal, failed: int | None) -> None:
        """Act on a refusal, and wait if that helps.

        Args:
            failed: Position of the refused event; None when it is not known.

        Raises:
            StopRequestedError: Asked to stop while waiting.
            OutboxError: A connection is lost, or the ownership is.
        """
        treatment = poison.treat(refusal)
        if treatment is poison.Treatment.RESEND:
            log.debug("another publisher wrote to the stream in between: %s", refusal.text)
            return
        if treatment is poison.Treatment.FENCE:
            self._metrics.fence_losses.inc()
            await self._store.confirm_ownership()
            self._stream.fence_refused()
            await self.ensure_stream_facts()
            return
        self._metrics.errors(refusal.reason).inc()
        self._stream.invalidate_tail()
        if treatment is poison.Treatment.POISON and failed is not None:
            self.refused[failed] = poison.Poison(Reason.REFUSED_BY_STREAM, refusal.text)
            return
        if self._sink.lost:
            raise self._sink.lost_error()
        self._warn(
            "the stream did not take an event, trying again: %s",
            refusal.text,
            refusal.reason,
            failed,
        )
        if refusal.reason == Reason.PERMISSION_DENIED:
            self._progress.denied(f"{refusal.reason}: {refusal.text}")
            self._take_new_login()
        else:
            self._progress.trouble(refusal.text)
        await self.rest(self._retry.next())

    def _take_new_login(self) -> None:
        """Connect anew if the login has changed, since rights may be in it."""
        with contextlib.suppress(CredentialsError):
            self._sink.end_if_outdated()

    def _warn(self, sentence: str, why: str, reason: str, position: int | None = None) -> None:
        """Log trouble; a missing right once, until an event is published."""
        said, self._said = self._said, why
        if reason == Reason.PERMISSION_DENIED and why == said:
            return
        log.warning(sentence, why, extra={"reason": reason, "position": position})

    async def rest(self, seconds: float) -> None:
        """Wait before another attempt.

        Raises:
            StopRequestedError: Asked to stop, which ends the attempts.
            OutboxError: A connection is lost, or the ownership is.
        """
        self._on_rest()
        await self._signals.rest(seconds)
        if self._signals.stopping:
            raise StopRequestedError
        if self._sink.lost:
            raise self._sink.lost_error()
        await self._store.confirm_ownership()
