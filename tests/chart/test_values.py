"""The schema of the values refuses nonsense, and every value is explained."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from support.chart import CHART, ChartRefusedError, Helm
from support.json_schema import validate


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replica": 2}, "replica"),
        ({"image": {"repo": "x"}}, "repo"),
        ({"image": {"repository": ""}}, "repository"),
        ({"image": {"repository": "x:latest"}}, "repository"),
        ({"image": {"tag": "a b"}}, "tag"),
        ({"image": {"digest": "abc"}}, "digest"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"replicas": "two"}, "replicas"),
        ({"replicas": -1}, "replicas"),
        ({"logLevel": "LOUD"}, "logLevel"),
        ({"workers": 0}, "workers"),
        ({"watchNamespaces": "shop"}, "watchNamespaces"),
        ({"watchNamespaces": ["Shop"]}, "watchNamespaces"),
        ({"crds": {"install": True}}, "install"),
        ({"rbac": {"create": "yes"}}, "create"),
        ({"rbac": {"mode": "Namespaced"}}, "mode"),
        ({"rbac": {"mode": "PerNamespace"}, "watchNamespaces": ["shop"]}, "watchNamespaces empty"),
        ({"imagePullSecrets": ["pull"]}, "imagePullSecrets"),
        ({"podLabels": {"a": 1}}, "podLabels"),
        ({"image": {"registry": "mirror.example/"}}, "registry"),
        ({"global": {"imageRegistry": "a b"}}, "imageRegistry"),
        ({"commonLabels": ["a"]}, "commonLabels"),
        ({"hostAliases": [{"ip": "10.0.0.1"}]}, "hostnames"),
        ({"dnsConfig": {"servers": []}}, "servers"),
        ({"extraVolumes": [{"emptyDir": {}}]}, "extraVolumes"),
        ({"extraVolumes": [{"name": "tmp", "emptyDir": {}}]}, "tmp is the chart's own"),
        ({"extraVolumeMounts": [{"name": "a", "mountPath": "/tmp/"}]}, "/tmp is the chart's own"),
        ({"dataPlane": {"podPolicy": {"fields": ["podTemplate.spec"]}}}, "fields"),
        ({"dataPlane": {"podPolicy": {"images": ["a b"]}}}, "images"),
        ({"resources": {"requests": {"cpu": "lots"}}}, "cpu"),
        ({"resources": {"request": {}}}, "request"),
        ({"extraEnv": [{"value": "x"}]}, "extraEnv"),
        ({"terminationGracePeriodSeconds": 1}, "terminationGracePeriodSeconds"),
        ({"metrics": {"service": {"port": 0}}}, "port"),
        ({"metrics": {"serviceMonitor": {"interval": "soon"}}}, "interval"),
        ({"metrics": {"podMonitor": {"interval": 30}}}, "interval"),
        ({"metrics": {"scrapeAnnotations": "yes"}}, "scrapeAnnotations"),
        ({"extraEnv": [{"name": "OUTBOX_IMAGE", "value": "x"}]}, "OUTBOX_IMAGE is set by"),
        ({"serviceAccount": {"create": False}}, "serviceAccount.name is needed"),
        (
            {"metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}}},
            "needs metrics.service.enabled",
        ),
    ],
)
def test_nonsense_is_refused_by_name(helm: Helm, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ChartRefusedError, match=message):
        helm.render(values)


def test_a_parent_chart_may_pass_its_globals(helm: Helm) -> None:
    assert helm.render({"global": {"anything": 1}})


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    validate(values, schema)
    assert set(_schema_paths(schema)) - {"global"} == set(_paths(values, schema))


def _schema_paths(schema: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name, node in schema["properties"].items():
        path = f"{prefix}{name}"
        if "properties" in node and path != "resources":
            found += _schema_paths(node, f"{path}.")
        else:
            found.append(path)
    return found


def _paths(values: dict[str, Any], schema: dict[str, Any], prefix: str = "") -> list[str]:
    found = []
    for name, value in values.items():
        path = f"{prefix}{name}"
        node = schema["properties"].get(name, {})
        if "properties" in node and path != "resources":
            found += _paths(value, node, f"{path}.")
        else:
            found.append(path)
    return found
