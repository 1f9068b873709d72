"""Values that the chart is looked at with: none, each in its place, and the ways of rights."""

from __future__ import annotations

from typing import Any

import pytest

EVERYTHING: dict[str, Any] = {
    "global": {"imageRegistry": "mirror.example:5000"},
    "commonLabels": {"owner": "data", "app.kubernetes.io/name": "mine"},
    "replicas": 3,
    "image": {"registry": "registry.example", "repository": "team/outbox", "tag": "1.2.3"},
    "imagePullSecrets": [{"name": "pull"}],
    "podAnnotations": {"note": "x"},
    "podLabels": {"team": "shop", "app.kubernetes.io/name": "mine"},
    "extraEnv": [{"name": "TZ", "value": "UTC"}],
    "nodeSelector": {"disk": "fast"},
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [
        {
            "topologyKey": "topology.kubernetes.io/zone",
            "maxSkew": 1,
            "whenUnsatisfiable": "DoNotSchedule",
        }
    ],
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["db.shop"]}],
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["10.0.0.2"], "options": [{"name": "ndots", "value": "2"}]},
    "extraVolumes": [{"name": "authorities", "configMap": {"name": "authorities"}}],
    "extraVolumeMounts": [{"name": "authorities", "mountPath": "/etc/authorities"}],
    "tolerations": [{"operator": "Exists"}],
    "priorityClassName": "high",
    "dataPlane": {
        "imagePullSecrets": [{"name": "pull"}],
        "priorityClassName": "high",
        "extraEnv": [{"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": "http://otel:4318"}],
        "networkPolicy": {
            "enabled": True,
            "metricsFrom": [{"namespaceSelector": {}}],
            "egress": [{"ports": [{"port": 4222}]}],
        },
        "podPolicy": {"fields": ["spec.tolerations"], "serviceAccounts": [], "images": ["team/*"]},
    },
    "rbac": {"separateApproval": True},
    "serviceAccount": {"annotations": {"a": "b"}},
    "networkPolicy": {
        "metricsFrom": [{"namespaceSelector": {}}],
        "egress": [{"ports": [{"port": 443}]}],
    },
    "metrics": {
        "service": {"annotations": {"a": "b"}},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "scrapeAnnotations": True,
        "kubeStateMetrics": {"enabled": True, "labels": {"for": "metrics"}},
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Outbox"}},
    },
    "alerts": {
        "enabled": True,
        "labels": {"release": "prometheus"},
        "alertLabels": {"team": "data"},
        "namespaces": ["shop", "billing"],
        "groupLabels": ["cluster"],
        "gap": "2m",
        "runbooks": "https://runbooks.example/outbox",
        "rules": {
            "OutboxHighLag": {"severity": "page", "for": "1m", "threshold": 9999},
            "OutboxHighLatency": {"threshold": 0.25, "window": "2m", "labels": {"team": "shop"}},
            "OutboxWorkerIdle": {"enabled": False},
        },
    },
}
NAMESPACED = {"watchNamespaces": ["shop", "billing", "shop"]}
PER_NAMESPACE = {"rbac": {"mode": "PerNamespace"}}
VARIANTS = [
    pytest.param({}, id="defaults"),
    pytest.param(PER_NAMESPACE, id="per-namespace"),
    pytest.param(EVERYTHING, id="everything"),
    pytest.param(NAMESPACED, id="namespaced"),
]
