"""What the probes of the operator say.

Liveness fails when a watch is deaf, which only a restart cures; an API server that is away makes
nobody deaf and must not restart anything. A standby is ready: it does its job by waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from outbox_operator.telemetry.health import Check


class Health:
    """State behind /healthz and /readyz.

    Args:
        silence_seconds: How long a watch may owe us something.
        behind_seconds: For how long the watch of our objects has been missing a change.
        silent_seconds: For how long our own renewals have not come back through a watch.
    """

    def __init__(
        self,
        silence_seconds: float,
        behind_seconds: Callable[[], float],
        silent_seconds: Callable[[], float],
    ) -> None:
        self._silence_seconds = silence_seconds
        self._behind_seconds = behind_seconds
        self._silent_seconds = silent_seconds
        self.role = "starting"
        """`starting`, `standby`, `leader` or `stopping`."""

    @property
    def live(self) -> Mapping[str, Check]:
        """Checks behind /healthz."""
        return {
            "watch": lambda: self._quiet(self._behind_seconds(), "the watch of our objects"),
            "heartbeat": lambda: self._quiet(self._silent_seconds(), "the watch of our Lease"),
        }

    @property
    def ready(self) -> Mapping[str, Check]:
        """Checks behind /readyz."""
        return {"role": lambda: (self.role in ("standby", "leader"), self.role)}

    def _quiet(self, seconds: float, what: str) -> tuple[bool, str]:
        if seconds > self._silence_seconds:
            return (
                False,
                f"{what} has been deaf for {seconds:.0f} s, more than {self._silence_seconds} s",
            )
        return True, f"{what} is up to date" if not seconds else f"{what}: {seconds:.0f} s behind"
