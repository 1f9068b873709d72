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
        silence_s: How long a watch may owe us something.
        behind_s: For how long the watch of our objects has been missing a change.
        silent_s: For how long our own renewals have not come back through a watch.
    """

    def __init__(
        self, silence_s: float, behind_s: Callable[[], float], silent_s: Callable[[], float]
    ) -> None:
        self._silence_s = silence_s
        self._behind_s = behind_s
        self._silent_s = silent_s
        self.role = "starting"
        """`starting`, `standby`, `leader` or `stopping`."""

    @property
    def live(self) -> Mapping[str, Check]:
        """Checks behind /healthz."""
        return {
            "watch": lambda: self._quiet(self._behind_s(), "the watch of our objects"),
            "heartbeat": lambda: self._quiet(self._silent_s(), "the watch of our Lease"),
        }

    @property
    def ready(self) -> Mapping[str, Check]:
        """Checks behind /readyz."""
        return {"role": lambda: (self.role in ("standby", "leader"), self.role)}

    def _quiet(self, seconds: float, what: str) -> tuple[bool, str]:
        if seconds > self._silence_s:
            return False, f"{what} has been deaf for {seconds:.0f} s, more than {self._silence_s} s"
        return True, f"{what} is up to date" if not seconds else f"{what}: {seconds:.0f} s behind"
