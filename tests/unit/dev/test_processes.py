"""What relay and consumers of `outbox dev` are configured with: its own servers, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from outbox_operator.consumer.handlers import webhook_signature
from outbox_operator.dev import manifest, secrets
from outbox_operator.dev.processes import jobs
from outbox_operator.dev.servers import Servers
from outbox_operator.wire.archive import ArchiveConfig, ArchiveDatabase, ArchiveSealing
from outbox_operator.wire.config import (
    ConsumerConfig,
    DatabaseConfig,
    InboxConfig,
    NatsConfig,
    RelayConfig,
)

SERVERS = Servers(folder=Path("/data"), database_url="", nats_url="nats://127.0.0.1:4222")
LOGINS: dict[str, dict[str, Any]] = {
    "the parts of a login": {"connectionSecretRef": {"name": "db"}},
    "a key": {"connectionSecretRef": {"name": "db", "key": "url"}},
    "an address": {"connectionSecretRef": {"name": "db"}, "host": "db.shop", "port": 6432},
    "certificates": {
        "connectionSecretRef": {"name": "db"},
        "tls": {"mode": "VerifyFull", "caSecretRef": {"name": "ca", "key": "ca.crt"}},
    },
}


@pytest.mark.parametrize("login", LOGINS.values(), ids=LOGINS)
def test_whatever_the_manifest_logs_in_with(login: dict[str, Any]) -> None:
    document = {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": "OutboxPipeline",
        "metadata": {"name": "orders"},
        "spec": {
            "database": {"schema": "events", **login},
            "nats": {"url": "nats://nats:4222", "userSecretRef": {"name": "nats"}},
            "stream": {"name": "ORDERS", "subject": "orders.{event_type}"},
            "consumers": [{
                "name": "billing",
                "handler": {"http": {"url": "http://billing/events"}},
                "inbox": {**login, "schema": "seen", "mode": "PerShard"},
            }, {
                "name": "audit",
                "handler": {"archive": {
                    "sealing": {"every": "15m"},
                    **login, "schema": "kept", "retention": [{"name": "default", "keep": "90d"}],
                }},
            }],
        },
    }  # fmt: skip
    relay, consumer, archive = jobs(manifest.read([document], "pipeline.yaml"), SERVERS, {})
    assert isinstance(relay.config, RelayConfig)
    assert relay.config.database == DatabaseConfig(url_file="/data/database-url", schema="events")
    assert relay.config.nats == NatsConfig(url="nats://127.0.0.1:4222")
    assert isinstance(consumer.config, ConsumerConfig)
    assert consumer.config.inbox == InboxConfig(
        url_file="/data/database-url", schema="seen", mode="PerShard"
    )
    assert (archive.name, archive.verb) == ("consumer-orders-audit", "archive write")
    assert isinstance(archive.config, ArchiveConfig)
    assert archive.config.database == ArchiveDatabase(url_file="/data/database-url", schema="kept")
    assert archive.config.nats == NatsConfig(url="nats://127.0.0.1:4222")
    assert archive.config.sealing == ArchiveSealing(every_seconds=900.0), "for who verifies"


def test_both_sides_of_an_http_handler_know_its_keys(tmp_path: Path) -> None:
    """Nobody reads a Secret here, so what it would hold is made up where both find it."""
    document = {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": "EventConsumer",
        "metadata": {"name": "billing"},
        "spec": {"streamRef": {"name": "orders"}, "handler": {"http": {
            "url": "https://billing/events",
            "bearerTokenSecretRef": {"name": "billing", "key": "token"},
            "signingSecretRef": {"name": "billing", "key": "keys"},
            "caSecretRef": {"name": "billing", "key": "ca.crt"},
        }}},
    }  # fmt: skip
    stream = {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": "EventStream",
        "metadata": {"name": "orders"},
        "spec": {"nats": {"url": "nats://nats:4222"}, "name": "ORDERS", "subjects": ["orders.>"]},
    }
    resources = manifest.read([stream, document], "consumer.yaml")
    servers = Servers(folder=tmp_path, database_url="", nats_url="nats://127.0.0.1:4222")

    def files() -> tuple[str | None, ...]:
        [job] = jobs(resources, servers, {})
        assert isinstance(job.config, ConsumerConfig)
        assert job.config.http is not None
        http = job.config.http
        return http.bearer_token_file, http.signing_key_file, http.ca_file

    folder = tmp_path / "secrets/billing"
    assert secrets.make(tmp_path, resources) == [folder / "keys", folder / "token"]
    assert files() == (str(folder / "token"), str(folder / "keys"), None)
    assert (folder / "keys").stat().st_mode & 0o077 == 0
    [key] = webhook_signature.keys((folder / "keys").read_bytes())
    assert len(key) == 32
    (folder / "token").write_text("mine")
    (folder / "ca.crt").write_text("an authority")
    assert secrets.make(tmp_path, resources) == []
    assert (folder / "token").read_text() == "mine"
    assert files() == (str(folder / "token"), str(folder / "keys"), str(folder / "ca.crt"))
