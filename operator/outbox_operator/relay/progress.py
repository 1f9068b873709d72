"""What the relay is doing, for the probes: connections, role, and whether it gets anywhere.

Written by `relay.app` and `relay.loop`, read by the health server. A pod that is connected but
publishes nothing of its backlog is not ready, and says why.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping
from typing import Final

from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.telemetry.health import Check

STALL_SECONDS: Final = 20.0
"""Backlog without a single acknowledgement for this long means not ready."""
ANSWER_SECONDS: Final = 15.0
"""A database that takes longer for a statement is not there, as far as anybody can tell."""


class Progress:
    """State in memory; each change is one assignment.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(
        self, metrics: RelayMetrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._postgres = (False, "not connected yet")
        self._waiting: Callable[[], float] = float
        self._nats = (False, "not connected yet")
        self._role = (False, "starting")
        self._stream = (True, "not asked yet")
        self._backlog_since: float | None = None
        self._oldest: dt.datetime | None = None
        self._backlog_rows = 0
        self._trouble = ""
        self._halted = ""
        metrics.lag_seconds.set_function(self.lag_seconds)

    def checks(self) -> Mapping[str, Check]:
        """The checks behind /readyz."""
        return {
            "postgres": self._postgres_answers,
            "nats": lambda: self._nats,
            "stream": lambda: self._stream,
            "role": lambda: self._role,
            "progress": self.progress,
        }

    def postgres(self, ok: bool, reason: str) -> None:
        """The connection to the database came or went."""
        self._postgres = (ok, reason)

    def watch_postgres(self, waiting: Callable[[], float]) -> None:
        """From now on `waiting` says for how many seconds a statement has had no answer."""
        self._waiting = waiting

    def nats(self, ok: bool, reason: str) -> None:
        """The connection to NATS came or went."""
        self._nats = (ok, reason)

    def stream(self, ok: bool, reason: str) -> None:
        """The stream is there and takes our subjects, or not."""
        self._stream = (ok, reason)

    def standby(self) -> None:
        """Another relay is active; this one is ready to take over."""
        self._role = (True, "standby: another relay owns the shard")
        self._stream = (True, "left to the active relay")
        self._metrics.owner.set(0)
        self.idle()

    def active(self, epoch: int) -> None:
        """This relay owns the shard."""
        self._role = (True, f"active: owner epoch {epoch}")
        self._metrics.owner.set(1)

    def inactive(self, ok: bool, reason: str) -> None:
        """Neither: between two sessions, or refusing to work."""
        self._role = (ok, reason)
        self._metrics.owner.set(0)

    def backlog(self, rows: int, oldest: dt.datetime) -> None:
        """Events wait; `oldest` is when the first of them was written."""
        if self._backlog_since is None:
            self._backlog_since = self._clock()
        self._backlog_rows = rows
        self._oldest = oldest
        self._metrics.lag_rows.set(rows)

    def moved(self, rows: int) -> None:
        """Some of them were published or parked."""
        self._backlog_since = self._clock()
        self._backlog_rows = max(0, self._backlog_rows - rows)
        self._metrics.lag_rows.set(self._backlog_rows)
        self._trouble = ""
        self.resumed()

    def idle(self) -> None:
        """Nothing waits."""
        self._backlog_since = None
        self._backlog_rows = 0
        self._trouble = ""
        self._metrics.lag_rows.set(0)
        self._oldest = None
        self.resumed()

    def trouble(self, reason: str) -> None:
        """Publishing fails for the moment; told if it lasts."""
        self._trouble = reason

    def halted(self, reason: str) -> None:
        """Policy Halt stopped at a poison event."""
        self._halted = reason
        self._metrics.halted.set(1)

    def resumed(self) -> None:
        """No longer."""
        if self._halted:
            self._halted = ""
            self._metrics.halted.set(0)

    def lag_seconds(self) -> float:
        """Age of the oldest event known to wait."""
        if self._oldest is None:
            return 0.0
        return max(0.0, (dt.datetime.now(dt.UTC) - self._oldest).total_seconds())

    def _postgres_answers(self) -> tuple[bool, str]:
        ok, reason = self._postgres
        waited = self._waiting()
        if ok and waited > ANSWER_SECONDS:
            return False, f"{reason}, but no answer for {waited:.0f} s"
        return ok, reason

    def progress(self) -> tuple[bool, str]:
        """Whether waiting events get published."""
        if self._halted:
            return False, f"halted: {self._halted}"
        if self._backlog_since is None:
            return True, "nothing waits"
        waited = self._clock() - self._backlog_since
        said = f": {self._trouble}" if self._trouble else ""
        if waited > STALL_SECONDS:
            return False, (
                f"{self._backlog_rows} events wait and none was published for {waited:.0f} s{said}"
            )
        return True, f"{self._backlog_rows} events wait{said}"
