"""What relay and consumers of `outbox dev` are configured with: its own servers, nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from outbox_operator.dev import manifest
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

SERVERS = Servers(database_url_file=Path("/data/database-url"), nats_url="nats://127.0.0.1:4222")
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
