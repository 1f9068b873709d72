"""`kubectl outbox report`: a bundle for strangers, grepped for every secret of the cluster."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

import yaml

from support.cli import CommandLine
from support.kube import Kubectl
from support.world import HANDLER, World

PUBLIC = {"username", "host", "port", "dbname", "ca.crt", "namespace"}
"""Keys of Secrets whose values are no secrets: names and addresses are in messages."""
PASSWORD = "s3cr3t/with@odd:characters%and ümlauts"
PAYLOAD = "4111-1111-1111-1111"


def values(kubectl: Kubectl) -> Iterator[str]:
    """Every secret value of the cluster, and the passwords in those that are URLs."""
    found = json.loads(kubectl("get", "secrets", "-A", "-o", "json"))
    for secret in found["items"]:
        for key, encoded in (secret.get("data") or {}).items():
            value = base64.b64decode(encoded).decode()
            if key not in PUBLIC:
                yield value
            if "://" in value:
                parts = urlsplit(value)
                yield from (
                    text for text in (parts.password, unquote(parts.password or "")) if text
                )


def spelled(value: str) -> Iterator[bytes]:
    """The ways in which a value may stand somewhere."""
    for text in {value, value.strip(), quote(value), quote(value, safe=""), quote_plus(value),
                 json.dumps(value)[1:-1]}:  # fmt: skip
        yield text.encode()
    for cut in range(3):  # base64 within base64'd text begins at any of three places
        whole = base64.b64encode(value.encode()[cut:]).rstrip(b"=")
        yield whole[: len(whole) // 4 * 4]


def files(path: Path) -> dict[str, bytes]:
    """What is in a bundle."""
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as archive:
        return {
            one.name.removeprefix("outbox-report/"): archive.extractfile(one).read()  # type: ignore[union-attr]
            for one in archive.getmembers()
        }


def test_a_bundle_holds_what_helps_and_no_secret(world: World, tmp_path: Path) -> None:
    env: list[dict[str, Any]] = [
        {"name": "API_KEY", "value": PASSWORD},
        {"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "handler", "key": "token"}}},
    ]
    world.apply(
        world.secret("database", url=world.database),
        world.secret("handler", token=PASSWORD, **{"tls.key": "-----BEGIN " + "x" * 40}),
        world.secret("nats", username="relay", password="nats-" + PASSWORD),
        world.secret("wrong", url=f"postgresql://u:{quote(PASSWORD, safe='')}@127.0.0.1:1/gone"),
        world.pipeline(
            consumers=[
                {"name": "billing", "handler": {
                    "http": {**HANDLER["http"], "url": f"http://h.test/x?key={quote(PASSWORD)}"}},
                 "replicas": 0, "podTemplate": {"spec": {"containers": [
                     {"name": "consumer", "env": env}]}}},
            ]
        ),
        world.pipeline("broken", database={"connectionSecretRef": {"name": "wrong"}}),
        world.resource("OutboxTask", "again", {
            "pipelineRef": {"name": "orders"}, "dryRun": True,
            "replayDeadLetters": {"filter": {"keys": [PAYLOAD]}}}),
    )  # fmt: skip
    world.wait_ready("OutboxPipeline", "orders")
    world.wait_condition("OutboxPipeline", "broken", "DatabaseReachable", "False")
    world.wait_condition("OutboxTask", "again", "Complete", "True")
    outbox = CommandLine(world.kubectl.kubeconfig, world.namespace)
    path = tmp_path / "report.tar.gz"

    said = outbox.run("report", "--file", str(path))

    assert said.code == 0, said.err
    assert path.stat().st_mode & 0o777 == 0o600
    assert max(map(len, said.out.splitlines())) <= 80 or str(path) in said.out
    found = files(path)
    assert {"README.md", "findings.json", "findings.txt", "versions.json"} <= set(found)
    kinds = ("outboxpipelines", "eventconsumers", "deployments", "outboxtasks")
    assert {f"objects/{kind}.yaml" for kind in kinds} <= set(found)
    names = [
        one["metadata"]["name"] for one in yaml.safe_load_all(found["objects/outboxpipelines.yaml"])
    ]
    assert names == ["broken", "orders"]
    assert b"PostgresUnreachable" in found["findings.json"]
    assert b"http://h.test/***" in found["objects/eventconsumers.yaml"]
    whole = b"\n".join(found.values())
    everything = list(values(world.kubectl))
    assert PASSWORD in everything
    leaked = {
        name
        for value in everything
        if len(value) > 5
        for text in spelled(value)
        if len(text) > 5
        for name, content in found.items()
        if text in content
    }
    assert leaked == set()
    assert PAYLOAD.encode() not in whole
    again = outbox.run("report", "--file", str(path))
    assert (again.code, "exists; choose another" in again.err) == (2, True)
