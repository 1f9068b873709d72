"""What the relay is doing, for the probes: connections, shards, and whether it gets anywhere.

`Progress` is the process, written by `relay.app` and `relay.ownership`; each shard it owns or
owned has a `ShardProgress`, written by `relay.shard_session` and `relay.loop`. The health server
reads them. A pod that is connected but publishes nothing of its backlog is not ready, and says
why.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from outbox_operator.counted import counted
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.telemetry.health import Check

STALL_SECONDS: Final = 20.0
"""Backlog without a single acknowledgement for this long means not ready."""
ANSWER_SECONDS: Final = 15.0
"""A database that needs longer for a statement counts as away."""

NOT_ASKED: Final = "not asked yet"
"""Of the stream, until a relay that has just become active has had its first look at it."""


class ShardProgress:
    """State of one shard in this process; each change is one assignment.

    Args:
        name: The shard as metrics name it.
        clock: Monotonic seconds.
    """

    def __init__(self, name: str, metrics: RelayMetrics, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._published = metrics.published(name)
        self._owner = metrics.owner(name)
        self._halted_metric = metrics.halted(name)
        self._epoch: int | None = None
        self._failure = ""
        self._stream = (True, NOT_ASKED)
        self._waiting: Callable[[], float] = float
        self._backlog_since: float | None = None
        self._oldest: float | None = None
        self._backlog_rows: int | None = None
        self._trouble = ""
        self._denied = ""
        self._halted = ""
        metrics.known_backlog_rows.watch(self.backlog_rows, name)
        metrics.known_oldest_age_seconds.watch(self.oldest_age_seconds, name)

    @property
    def owned(self) -> bool:
        """Whether this process is its active relay."""
        return self._epoch is not None

    @property
    def failure(self) -> str:
        """Why this process should be its active relay and is not; empty when all is well."""
        return self._failure

    def stream_state(self) -> tuple[bool, str]:
        """Return whether the stream accepts its events, and why not."""
        return self._stream

    def waiting_seconds(self) -> float:
        """Return for how long a statement has had no answer, in seconds."""
        return self._waiting()

    def starting(self) -> None:
        """Record that the lock is ours, and the rest is to come."""
        self._failure = self._failure or "starting"

    def watch_postgres(self, waiting: Callable[[], float]) -> None:
        """Use `waiting` to find out for how many seconds a statement has had no answer."""
        self._waiting = waiting

    def active(self, epoch: int) -> None:
        """Record that this process owns the shard."""
        self._epoch = epoch
        self._failure = ""
        self._stream = (True, NOT_ASKED)
        self._owner.set(1)

    def released(self, failure: str = "") -> None:
        """Record that this process does not own the shard any more.

        Args:
            failure: Why; empty when it was asked to let go.
        """
        self._epoch = None
        self._failure = failure
        self._waiting = float
        self._stream = (True, "left to the active relay")
        self._owner.set(0)
        self.idle()
        self._backlog_rows = None

    def stream(self, ok: bool, reason: str) -> None:
        """Record whether the stream is there and accepts our subjects."""
        self._stream = (ok, reason)

    def backlog(self, rows: int, oldest: float) -> None:
        """Record that events wait; the first was written at `oldest`, seconds since 1970."""
        if self._backlog_since is None:
            self._backlog_since = self._clock()
        self._backlog_rows = rows
        self._oldest = oldest

    def published(self, events: int) -> None:
        """Record how many more the stream has acknowledged."""
        self._published.inc(events)

    def moved(self, rows: int) -> None:
        """Record that some of those that waited were published or became dead letters."""
        self._backlog_since = self._clock()
        self._backlog_rows = max(0, (self._backlog_rows or 0) - rows)
        self._trouble = self._denied = ""
        self.resumed()

    def idle(self) -> None:
        """Record that nothing waits."""
        self._backlog_since = None
        self._backlog_rows = 0
        self._trouble = self._denied = ""
        self._oldest = None
        self.resumed()

    def denied(self, reason: str) -> None:
        """Record that the next event may not be published; time alone does not help."""
        self._denied = reason

    def trouble(self, reason: str) -> None:
        """Record that publishing fails for the moment; readiness says so if that lasts."""
        self._trouble = reason

    def halted(self, reason: str) -> None:
        """Record that policy Halt stopped at a poison event."""
        self._halted = reason
        self._halted_metric.set(1)

    def resumed(self) -> None:
        """Record that policy Halt does not hold the shard any more."""
        if self._halted:
            self._halted = ""
            self._halted_metric.set(0)

    def backlog_rows(self) -> int | None:
        """Return how many events are known to wait; None while that is not known."""
        return None if self.waiting_seconds() > ANSWER_SECONDS else self._backlog_rows

    def oldest_age_seconds(self) -> float | None:
        """Return the age of the first event known to wait, 0 when none does; None: not known."""
        rows = self.backlog_rows()
        if not rows or self._oldest is None:
            return None if rows is None else 0.0
        return max(0.0, time.time() - self._oldest)

    @property
    def _waits(self) -> str:
        if self._backlog_rows is None:
            return "events wait"
        return counted(self._backlog_rows, "event waits", "events wait")

    def progress(self) -> tuple[bool, str]:
        """Return whether waiting events get published, and a sentence about it."""
        if self._halted:
            return False, f"halted: {self._halted}"
        if self._denied:
            return False, f"{self._waits}: {self._denied}"
        if self._backlog_since is None:
            return True, "nothing waits"
        waited = self._clock() - self._backlog_since
        cause = f": {self._trouble}" if self._trouble else ""
        if waited > STALL_SECONDS:
            return False, f"{self._waits} and none was published for {waited:.0f} s{cause}"
        return True, f"{self._waits}{cause}"


class Progress:
    """State of the process.

    Args:
        shards: How many the outbox has.
        sink: Name of the check of the connection to where events go.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        metrics: RelayMetrics,
        *,
        shards: int = 1,
        sink: str = "nats",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._metrics = metrics
        self._count = shards
        self._sink_name = sink
        self._shards: dict[int, ShardProgress] = {}
        self._postgres = (False, "not connected yet")
        self._waiting: Callable[[], float] = float
        self._sink = (False, "not connected yet")
        self._nudges = ""
        self._wakeups = ""
        self._joined = (False, "starting")

    def checks(self) -> Mapping[str, Check]:
        """Return the checks behind /readyz."""
        return {
            "postgres": self._postgres_answers,
            self._sink_name: self._sink_stands,
            "stream": lambda: self._each(ShardProgress.stream_state),
            "role": self._role,
            "progress": lambda: self._each(ShardProgress.progress),
        }

    def shard(self, number: int) -> ShardProgress:
        """Return the state of one shard."""
        if number not in self._shards:
            self._shards[number] = ShardProgress(str(number), self._metrics, self._clock)
        return self._shards[number]

    def postgres(self, ok: bool, reason: str) -> None:
        """Record that the connection that holds the locks came or went."""
        self._postgres = (ok, reason)

    def watch_postgres(self, waiting: Callable[[], float]) -> None:
        """Use `waiting` to find out for how many seconds a statement has had no answer."""
        self._waiting = waiting

    def sink(self, ok: bool, reason: str) -> None:
        """Record that the connection to where events go came or went."""
        self._sink = (ok, reason)

    def nudges(self, missing: str) -> None:
        """Record why writers that nudge are not heard; empty when they are."""
        self._nudges = missing

    def wakeups(self, missing: str) -> None:
        """Record why writers do not wake a quiet shard although they should; empty: they do."""
        self._wakeups = missing

    def joined(self, members: int) -> None:
        """Record how many relays share the shards, this one included."""
        self._joined = (True, "")
        self._metrics.members.set(members)

    def elsewhere(self, shard: int) -> None:
        """Forget what failed here of a shard that another relay owns now."""
        if shard in self._shards:
            self._shards[shard].released()

    def left(self, reason: str) -> None:
        """Record that this relay is none of them: between two sessions, or leaving."""
        self._joined = (False, reason)
        self._metrics.members.set(0)

    def _role(self) -> tuple[bool, str]:
        if not self._joined[0]:
            return self._joined
        failed = [
            self._of_shard(number, shard.failure)
            for number, shard in sorted(self._shards.items())
            if shard.failure
        ]
        if failed:
            return False, "; ".join(failed)
        owned = [str(number) for number, shard in sorted(self._shards.items()) if shard.owned]
        if not owned:
            return True, "standby: other relays own every shard"
        if self._count == 1:
            return True, "active: owns the shard"
        return True, f"active: owns {len(owned)} of {self._count} shards: {', '.join(owned)}"

    def _sink_stands(self) -> tuple[bool, str]:
        ok, reason = self._sink
        return ok, f"{reason}; {self._nudges}" if ok and self._nudges else reason

    def _postgres_answers(self) -> tuple[bool, str]:
        ok, reason = self._postgres
        waited = max(self._waiting(), *(s.waiting_seconds() for s in self._shards.values()), 0.0)
        if ok and waited > ANSWER_SECONDS:
            return False, f"{reason}, but no answer for {waited:.0f} s"
        return ok, f"{reason}; {self._wakeups}" if ok and self._wakeups else reason

    def _each(self, check: Callable[[ShardProgress], tuple[bool, str]]) -> tuple[bool, str]:
        """Answer for all shards we own: what fails, or else what they say."""
        found = [(number, *check(s)) for number, s in sorted(self._shards.items()) if s.owned]
        failed = [self._of_shard(number, reason) for number, ok, reason in found if not ok]
        if failed:
            return False, "; ".join(failed)
        reasons = dict.fromkeys(reason for _, _, reason in found)
        return True, "; ".join(reasons) or "left to the active relays"

    def _of_shard(self, number: int, reason: str) -> str:
        return reason if self._count == 1 else f"shard {number}: {reason}"
