"""The pods that `psql`, `nats` and `dlq` make for one session."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from outbox_operator.cli.cluster import logins, throwaway
from outbox_operator.errors import SpecError
from outbox_operator.plan.kubernetes.secret_files import SecretFile
from support import resources
from support.golden import assert_golden

GOLDEN: Final = Path(__file__).parent / "golden"
_RELAY: Final = GOLDEN.parents[2] / "plan" / "kubernetes" / "golden" / "relay.yaml"
_FILES: Final = (SecretFile("database/url", "owner", "uri"),)


def deployment() -> dict[str, Any]:
    """A relay's, as the operator applies it and as an installation's settings may change it."""
    found = yaml.safe_load_all(_RELAY.read_text())
    relay: dict[str, Any] = next(one for one in found if one["kind"] == "Deployment")
    template = relay["spec"]["template"]
    template["metadata"]["labels"]["azure.workload.identity/use"] = "true"
    template["metadata"]["annotations"]["prometheus.io/scrape"] = "true"
    template["spec"]["imagePullSecrets"] = [{"name": "registry"}]
    template["spec"]["containers"].insert(0, {"name": "proxy", "image": "registry.example/proxy"})
    return relay


def pod(verb: str, **what: Any) -> dict[str, Any]:
    """Of that relay."""
    return throwaway.pod(
        deployment(), verb=verb, pipeline="orders", user="jane@example.com", suffix="0a1b2c",
        seconds=600, **what,
    )  # fmt: skip


def test_the_pods() -> None:
    pods = [
        pod("psql", image="registry.example/postgres:17"),
        pod("psql", image="registry.example/postgres:17", config='{"a": 1}', files=_FILES),
        pod("dlq"),
    ]
    assert_golden(GOLDEN / "throwaway.yaml", pods)


def test_a_client_has_no_secret_and_nobody_takes_it_for_a_relay() -> None:
    made = pod("nats", image="registry.example/nats-box:1")
    [client] = [one for one in made["spec"]["containers"] if one["name"] == "client"]
    assert [one["mountPath"] for one in client["volumeMounts"]] == ["/tmp", "/session"]
    assert "env" not in client
    labels = made["metadata"]["labels"]
    selector = deployment()["spec"]["selector"]["matchLabels"]
    assert not selector.items() <= labels.items()
    assert labels["azure.workload.identity/use"] == "true"


@pytest.mark.parametrize(
    ("status", "runs", "trouble", "waits_for"),
    [
        ({}, False, None, "phase unknown"),
        ({"phase": "Pending"}, False, None, "phase Pending"),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]},
            False, None, "0/3 nodes",
        ),
        (
            {"containerStatuses": [
                {"name": "client", "state": {"waiting": {"reason": "ImagePullBackOff",
                                                         "message": "no\nsuch image"}}}]},
            False, "container client: ImagePullBackOff no such image",
            "container client: ImagePullBackOff",
        ),
        (
            {"phase": "Failed", "initContainerStatuses": [
                {"name": "login", "state": {"terminated": {
                    "exitCode": 2, "message": "outbox login-files: the login\nnames no host"}}}]},
            False, "container login: outbox login-files: the login names no host", "phase Failed",
        ),
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, False, "DeadlineExceeded",
         "phase Failed"),
        (
            {"phase": "Running", "containerStatuses": [
                {"name": "client", "state": {"running": {}}},
                {"name": "proxy", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
            True, "container proxy: CrashLoopBackOff", "container proxy: CrashLoopBackOff",
        ),
    ],
)  # fmt: skip
def test_how_a_pod_is(
    status: dict[str, Any], runs: bool, trouble: str | None, waits_for: str
) -> None:
    body = {"status": status}
    found = (throwaway.runs(body), throwaway.trouble(body), throwaway.waits_for(body))
    assert found == (runs, trouble, waits_for)


def test_the_login_that_makes_tables() -> None:
    plain = resources.pipeline()
    with pytest.raises(SpecError, match="migrationSecretRef"):
        logins.as_migrations(plain)
    database = {
        "connectionSecretRef": {"name": "relay-db", "key": "url"},
        "migrationSecretRef": {"name": "owner-db"},
        "migrationTls": {"mode": "VerifyFull", "caSecretRef": {"name": "tls", "key": "ca"}},
    }
    what = logins.as_migrations(resources.pipeline(database=database))
    told = json.loads(what["config"])["database"]
    assert (told.get("url_file"), told["tls_mode"]) == (None, "verify-full")
    assert told["login_directory"].endswith("/database")
    assert {file.secret for file in what["files"]} == {"owner-db", "tls"}
