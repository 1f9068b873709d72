"""What Prometheus says of a real world: alerts that are to fire, and to end."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from support.chart import Helm
from support.prometheus import (
    Alert,
    Alertmanager,
    Prometheus,
    running_alertmanager,
    running_prometheus,
)
from support.waiting import eventually

log = logging.getLogger(__name__)

FIRE_SECONDS: Final = 180.0
"""Much longer than anything takes here; other tests may have the processors meanwhile."""


@dataclass
class Watch:
    """A Prometheus with the chart's rules, and an Alertmanager that hears of them.

    Attributes:
        seen: Names of the alerts that have `fired`, and of those that have `ended`.
    """

    prometheus: Prometheus
    alertmanager: Alertmanager
    seen: dict[str, set[str]] = field(default_factory=lambda: {"fired": set(), "ended": set()})
    _since: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Something happens now: seconds count from here."""
        self._since = time.monotonic()

    def firing(self, name: str | None = None, /, **labels: str) -> list[Alert]:
        """Alerts of a name and of these labels that fire now."""
        return [
            one
            for one in self.prometheus.alerts(name, state="firing")
            if labels.items() <= dict(one.labels).items()
        ]

    async def fires(self, name: str, /, **labels: str) -> Alert:
        """Returns an alert once it fires."""
        what = f"{name} {labels} fires"
        found = await eventually(
            lambda: self.firing(name, **labels), what, seconds=FIRE_SECONDS, pause=0.1
        )
        self._note(name, "fired")
        alert: Alert = found[0]
        return alert

    async def ends(self, name: str, /, **labels: str) -> None:
        """Returns once an alert does not fire any more."""
        await eventually(
            lambda: not self.firing(name, **labels),
            f"{name} {labels} ends",
            seconds=FIRE_SECONDS,
            pause=0.1,
        )
        self._note(name, "ended")

    def told(self, name: str) -> Mapping[str, Any] | None:
        """An alert as the Alertmanager holds it; None: it does not."""
        for one in self.alertmanager.alerts():
            if one["labels"]["alertname"] == name and one["status"]["state"] == "active":
                return one
        return None

    def _note(self, name: str, what: str) -> None:
        self.seen[what].add(name)
        log.info("%s %s after %.1f s", name, what, time.monotonic() - self._since)


@contextmanager
def watching(helm: Helm, alerts: dict[str, Any], folder: Path) -> Iterator[Watch]:
    """Run both, with the rules that the chart makes of these values of `alerts`."""
    read = {monitor: {"interval": "500ms"} for monitor in ("serviceMonitor", "podMonitor")}
    rendered = helm.render({"metrics": read, "alerts": {"enabled": True, **alerts}})
    (rule,) = [one for one in rendered if one["kind"] == "PrometheusRule"]
    rules = folder / "rules.yaml"
    rules.write_text(json.dumps(rule["spec"]))
    with (
        running_alertmanager() as alertmanager,
        running_prometheus(rules, alertmanagers=[alertmanager.address]) as prometheus,
    ):
        yield Watch(prometheus, alertmanager)
