"""Prometheus in the cluster: examples/monitoring with our alerts."""

from __future__ import annotations

import json
from collections.abc import Mapping

from demo.kubectl import ROOT, Kubectl, overlay

NAMESPACE = "monitoring"
RULES = ROOT / "alerts"
ADDRESS = "http://localhost:9090"
ALERTS = f"{ADDRESS}/classic/alerts"
"""Debian's Prometheus has the classic pages alone."""
FORWARD = f"kubectl -n {NAMESPACE} port-forward svc/prometheus 9090"


def apply(kubectl: Kubectl, images: Mapping[str, str]) -> None:
    """Apply it and wait until it answers.

    Args:
        images: Name in the manifests -> name with tag.

    Raises:
        DemoError: kubectl failed, or Prometheus does not start.
    """
    folder = str(overlay("monitoring", images))
    # The namespace comes first, then the rules, so that Prometheus starts with them.
    kubectl("apply", "-f", str(ROOT / "examples/monitoring/namespace.yaml"))
    rules = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "outbox-rules", "namespace": NAMESPACE},
        "data": {file.name: file.read_text() for file in sorted(RULES.glob("*.yaml"))},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(rules))
    kubectl("apply", "-k", folder)
    kubectl(
        "rollout", "status", "-n", NAMESPACE, "deployment/prometheus", "--timeout=90s", timeout=120
    )
