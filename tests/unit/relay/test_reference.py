"""The reference page and the code agree on the relay's metrics."""

from __future__ import annotations

import re
from pathlib import Path

from outbox_operator.relay.metrics import RelayMetrics

PAGE = Path(__file__).resolve().parents[3] / "docs/reference/metrics.md"


def test_every_metric_is_documented_with_its_type_and_labels() -> None:
    rows = re.findall(r"^\| `(outbox_relay_\w+)` \| (\w+) \|(.*?)\|", PAGE.read_text(), re.M)
    documented = {
        name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows
    }
    declared = {
        found.name: (found.kind, found.labels[2:])
        for found in RelayMetrics("shop", "orders").metrics.declarations
    }
    assert documented == declared
