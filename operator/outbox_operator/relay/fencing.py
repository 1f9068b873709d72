"""Whether the relay of a shard publishes behind its fence, and why it does not."""

from __future__ import annotations

import logging
import time
from typing import Final

from outbox_operator.adapters.sink import StreamFacts
from outbox_operator.reasons import Reason
from outbox_operator.relay import unfenced
from outbox_operator.relay.recovery import Tail

log = logging.getLogger(__name__)

FENCE_PATIENCE: Final = 3
"""Refusals in a row that other publishers cause before we publish without the fence."""
FENCE_PAUSE_SECONDS: Final = 300.0


class FenceGuard:
    """Whether to publish behind the fence, in the face of other publishers on our subjects.

    A fence that somebody else keeps moving would stop the pipeline for ever. After a few refusals
    in a row it is laid aside for some minutes: de-duplication alone guards against a second copy.
    """

    def __init__(self) -> None:
        self._refusals = 0
        self._off_until: float | None = None

    def up(self, now: float) -> bool:
        """Return whether the next run is to be fenced.

        Args:
            now: Monotonic seconds.
        """
        if self._off_until is not None and now >= self._off_until:
            self._off_until, self._refusals = None, FENCE_PATIENCE - 1
        return self._off_until is None

    def refused(self, now: float, *, by_others: bool) -> bool:
        """Record that a fence was refused; True when it is now laid aside.

        Args:
            by_others: Whether messages of others were found behind our last one.
        """
        self._refusals = self._refusals + 1 if by_others else 0
        if self._refusals < FENCE_PATIENCE:
            return False
        self._off_until = now + FENCE_PAUSE_SECONDS
        return True

    def held(self) -> None:
        """Record that a run behind the fence went well."""
        self._refusals = 0


class Fencing:
    """The fence of a shard.

    Args:
        subjects: Of the shard.
        ordered: Whether the fence is wanted: without order applications may well publish by
            themselves.

    Attributes:
        up: Whether the last run was fenced.
        missing: Why we publish without the fence; empty when we do not.
    """

    def __init__(self, subjects: str, *, ordered: bool) -> None:
        self._subjects = subjects
        self._ordered = ordered
        self._guard = FenceGuard()
        self._why = Reason.PUBLISHING_WITHOUT_FENCE
        self.up = False
        self.missing = ""

    @property
    def remark(self) -> str | None:
        """Why we publish without the fence, after its reason; None when we do not."""
        return f"{self._why}: {self.missing}" if self.missing else None

    def raised(self, facts: StreamFacts) -> bool:
        """Return whether the next run is to be fenced."""
        self.up = self._ordered and facts.fences and self._guard.up(time.monotonic())
        return self.up

    def held(self) -> None:
        """Record that a run behind the fence went well."""
        self._guard.held()
        self.missing = ""

    def refused(self, facts: StreamFacts, tail: Tail) -> None:
        """Decide whether to go on behind the fence after it was refused.

        Args:
            facts: Of the stream.
            tail: What was found behind our last message.
        """
        if not self._guard.refused(time.monotonic(), by_others=tail.foreign > 0):
            return
        self._why = Reason.PUBLISHING_WITHOUT_FENCE
        self.missing = unfenced.beside_others(
            self._subjects, facts, subject=tail.foreign_subject, sequence=tail.foreign_sequence
        )
        log.warning("%s", self.missing, extra={"reason": Reason.PUBLISHING_WITHOUT_FENCE})

    def note_republishing(self, facts: StreamFacts, seconds: float) -> None:
        """Record that the stream republishes, if it does, and say which copies may be missing.

        Args:
            facts: Of the stream.
            seconds: Since they were asked for last.
        """
        if not (facts.republishes and self._ordered):
            return
        noted = self.missing and self._why is Reason.STREAM_REPUBLISHES
        if self.up and not noted:
            text = unfenced.copies_refused(facts, seconds)
            log.warning("%s", text, extra={"reason": Reason.STREAM_REPUBLISHES})
        self._why = Reason.STREAM_REPUBLISHES
        self.missing = unfenced.republishing(facts)
