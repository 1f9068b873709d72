"""What answers questions about an archive, as it is rendered."""

from __future__ import annotations

import json
from typing import Any

from outbox_operator.archive.api import settings
from outbox_operator.plan.kubernetes.archive_api import api_objects, api_secret_refs, api_url
from outbox_operator.plan.kubernetes.podsettings import NetworkPolicySettings, PodSettings
from support.resources import consumer

API: dict[str, Any] = {
    "connectionSecretRef": {"name": "reader", "key": "url"},
    "jwt": {"issuer": "https://i", "audience": "archive", "jwksUrl": "https://i/jwks"},
    "tenantColumn": "tenant",
}


def rendered(settings: PodSettings | None = None, **api: Any) -> dict[str, dict[str, Any]]:
    """Objects by kind."""
    archive = {
        "connectionSecretRef": {"name": "writer"},
        "host": "db",
        "retention": [{"name": "default", "keep": "90d"}],
        "extract": {"tenant": "$.tenant", "actor": "$.actor.id"},
        "api": {**API, **api},
    }
    objects = api_objects(
        consumer(handler={"archive": archive}),
        image="outbox:1",
        secret_checksum="c",
        restarted_at=None,
        settings=settings or PodSettings(),
    )
    return {one["kind"]: one for one in objects}


def test_pods_are_restricted_read_with_their_own_login_and_are_reached_by_a_service() -> None:
    found = rendered()
    assert list(found) == [
        "ServiceAccount", "ConfigMap", "Service", "PodDisruptionBudget", "Deployment"
    ]  # fmt: skip
    deployment, service = found["Deployment"]["spec"], found["Service"]["spec"]
    assert deployment["replicas"] == 2
    labels = deployment["template"]["metadata"]["labels"]
    assert service["selector"].items() <= labels.items()
    assert service["selector"] == deployment["selector"]["matchLabels"]
    [container] = deployment["template"]["spec"]["containers"]
    assert container["args"] == ["archive", "serve"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    [target] = [one["targetPort"] for one in service["ports"]]
    assert target in [one["name"] for one in container["ports"]]
    volumes = json.dumps(deployment["template"]["spec"]["volumes"])
    assert "reader" in volumes
    assert "writer" not in volumes
    [text] = found["ConfigMap"]["data"].values()
    config = settings.parse(text, where="the ConfigMap")
    assert config.extracted == ("actor", "tenant")
    assert config.tenant_column == "tenant"
    assert config.database.host == "db"
    assert config.database.url_file == "/var/run/outbox/secrets/archive-api/url"


def test_with_a_network_policy_anybody_may_ask_and_metrics_are_for_who_is_named() -> None:
    policy = NetworkPolicySettings(metrics_from=({"podSelector": {}},))
    ingress = rendered(PodSettings(network_policy=policy))["NetworkPolicy"]["spec"]["ingress"]
    assert ingress == [
        {"ports": [{"port": 8080, "protocol": "TCP"}], "from": [{"podSelector": {}}]},
        {"ports": [{"port": 8090, "protocol": "TCP"}]},
    ]


def test_without_it_there_is_nothing() -> None:
    assert rendered(enabled=False) == {}
    plain = consumer(handler={"http": {"url": "http://a"}})
    assert api_secret_refs(plain.spec) == ()


def test_where_it_answers() -> None:
    assert api_url(consumer()).endswith(".svc:8090")
