"""What the chart renders for those who watch: monitors, annotations, dashboards."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import pytest
import yaml

from outbox_operator.api import meta
from outbox_operator.api.v1alpha1.common import NatsConnection
from outbox_operator.archive.metrics import ArchiveMetrics
from outbox_operator.consumer.metrics import ConsumerMetrics
from outbox_operator.controller.metrics import OperatorMetrics
from outbox_operator.plan.kubernetes.podsettings import PodSettings
from outbox_operator.plan.kubernetes.workloads import consumer_objects, relay_objects
from outbox_operator.plan.sources import Source
from outbox_operator.plan.status import numbers
from outbox_operator.relay.metrics import RelayMetrics
from outbox_operator.wire.config import ConsumerConfig, NatsConfig
from support.chart import Helm, Manifest, container, deployment, environment, of_kind
from support.chart_values import EVERYTHING, NAMESPACED
from support.dashboards import dashboards
from support.resources import consumer, pipeline


def test_kube_state_metrics_reads_fields_that_there_are(helm: Helm) -> None:
    maps = of_kind(helm.render(EVERYTHING), "ConfigMap")
    (config,) = [one for one in maps if one["metadata"]["name"].endswith("kube-state-metrics")]
    assert config["metadata"]["labels"]["for"] == "metrics"
    resources = yaml.safe_load(config["data"]["outbox.yaml"])["spec"]["resources"]
    crds = of_kind(helm.render(EVERYTHING), "CustomResourceDefinition")
    schemas = {
        crd["spec"]["names"]["kind"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for crd in crds
    }
    assert [one["groupVersionKind"]["kind"] for one in resources] == list(meta.PLURALS)
    for one in resources:
        schema = schemas[one["groupVersionKind"]["kind"]]
        assert len({metric["name"] for metric in one["metrics"]}) == len(one["metrics"])
        for metric in one["metrics"]:
            each = metric["each"][metric["each"]["type"].lower()]
            place = _below(schema, each.get("path", ()))
            for path in [each.get("valueFrom", ()), *each.get("labelsFromPath", {}).values()]:
                assert _below(place, path), (metric["name"], path)


def _below(schema: Manifest, path: Sequence[str]) -> Manifest:
    """The schema of a field; of the items where it is a list."""
    for part in path:
        if part in ("name", "namespace", "generation") and "properties" not in schema:
            return {"type": "of metadata"}
        schema = schema["properties"][part]
        schema = schema.get("items", schema)
    return schema


def test_probes_and_metrics_meet_the_port(helm: Helm) -> None:
    objects = helm.render(EVERYTHING)
    (port,) = container(objects)["ports"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container(objects)[probe]["httpGet"]["port"] == port["name"]
    (service_port,) = of_kind(objects, "Service")[0]["spec"]["ports"]
    assert service_port["targetPort"] == port["name"]
    (monitor,) = of_kind(objects, "ServiceMonitor")
    assert monitor["spec"]["endpoints"][0]["port"] == service_port["name"]
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    assert environment(objects)["OUTBOX_HEALTH_PORT"] == str(port["containerPort"])


@pytest.mark.parametrize(
    ("values", "where"),
    [
        (EVERYTHING, {"any": True}),
        ({**NAMESPACED, "metrics": {"podMonitor": {"enabled": True}}},
         {"matchNames": ["shop", "billing"]}),
    ],
)  # fmt: skip
def test_relays_and_consumers_are_found_by_their_labels_and_port(
    helm: Helm, values: Manifest, where: Manifest
) -> None:
    (monitor,) = of_kind(helm.render(values), "PodMonitor")
    spec = monitor["spec"]
    assert spec["namespaceSelector"] == where
    ours = [
        *relay_objects(
            pipeline(), stream_name="ORDERS", image="i", secret_checksum="", logins="",
            restarted_at=None, replicas=1, settings=PodSettings(),
        ),
        *consumer_objects(
            consumer(handler={"http": {"url": "http://billing/"}}),
            Source(stream="ORDERS", nats=NatsConnection(url="nats://nats:4222")), image="i",
            secret_checksum="", logins="", restarted_at=None, replicas=1, settings=PodSettings(),
        ),
    ]  # fmt: skip
    (endpoint,) = spec["podMetricsEndpoints"]
    templates = [one["spec"]["template"] for one in of_kind(ours, "Deployment")]
    assert len(templates) == 2
    for template in templates:
        labels = template["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()
        (rule,) = spec["selector"]["matchExpressions"]
        assert labels[rule["key"]] in rule["values"]
        (port,) = template["spec"]["containers"][0]["ports"]
        assert port["name"] == endpoint["port"]


def test_the_namespace_of_a_number_is_that_of_its_resource(helm: Helm) -> None:
    """Else Prometheus calls ours `exported_namespace`."""
    objects = helm.render(EVERYTHING)
    (service,), (pods,) = of_kind(objects, "ServiceMonitor"), of_kind(objects, "PodMonitor")
    [endpoint] = service["spec"]["endpoints"]
    assert endpoint["honorLabels"] is True
    # Anybody's pod may have these labels: it speaks for its own namespace alone.
    [endpoint] = pods["spec"]["podMetricsEndpoints"]
    assert endpoint["honorLabels"] is False
    assert pods["spec"]["sampleLimit"] == 20_000
    keep, drop = endpoint["metricRelabelings"]
    assert (keep["action"], keep["sourceLabels"]) == ("keep", ["__name__"])
    config = ConsumerConfig(
        namespace="", consumer="", nats=NatsConfig(url="nats://nats"), stream="S", durable="d"
    )
    of_pods = [
        *RelayMetrics("", "").metrics.declarations,
        *ConsumerMetrics(config).declarations,
        *ArchiveMetrics("", "").declarations,
    ]
    assert all(re.fullmatch(keep["regex"], one.name) for one in of_pods)
    of_operator = [*OperatorMetrics().declarations, *numbers.DECLARATIONS]
    believed = {one.name for one in of_operator if re.fullmatch(keep["regex"], one.name)}
    assert all(name.startswith("outbox_consumer_") for name in believed)
    assert drop["action"] == "labeldrop"
    assert re.fullmatch(drop["regex"], "exported_namespace")


def test_a_prometheus_without_its_operator_finds_pods_by_annotations(helm: Helm) -> None:
    objects = helm.render(EVERYTHING)
    annotations = deployment(objects)["spec"]["template"]["metadata"]["annotations"]
    (port,) = container(objects)["ports"]
    assert annotations["prometheus.io/port"] == str(port["containerPort"])
    assert "annotations" not in deployment(helm.render())["spec"]["template"]["metadata"]


def test_dashboards_are_config_maps_that_grafanas_sidecar_finds(helm: Helm) -> None:
    found = {
        key: json.loads(text)
        for one in of_kind(helm.render({"metrics": {"dashboards": {"enabled": True}}}), "ConfigMap")
        if one["metadata"]["labels"].get("grafana_dashboard") == "1"
        for key, text in one["data"].items()
    }
    assert found == {f"outbox-{name}.json": made for name, made in dashboards().items()}
