"""What relay and consumers of `outbox dev` are configured with: its own servers, nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.dev import manifest
from outbox_operator.dev.processes import Servers, held, is_held, jobs
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
            }],
        },
    }  # fmt: skip
    relay, consumer = jobs(manifest.read([document], "pipeline.yaml"), SERVERS, {})
    assert isinstance(relay.config, RelayConfig)
    assert relay.config.database == DatabaseConfig(url_file="/data/database-url", schema="events")
    assert relay.config.nats == NatsConfig(url="nats://127.0.0.1:4222")
    assert isinstance(consumer.config, ConsumerConfig)
    assert consumer.config.inbox == InboxConfig(
        url_file="/data/database-url", schema="seen", mode="PerShard"
    )


def test_a_process_is_held_back_by_who_lives_and_not_for_ever(tmp_path: Path) -> None:
    assert not is_held(tmp_path, "relay-orders")
    with held(tmp_path, "relay-orders"):
        assert is_held(tmp_path, "relay-orders")
        assert not is_held(tmp_path, "consumer-orders-billing")
        long_ago = time.time() - 600
        os.utime(tmp_path / "relay-orders.held", (long_ago, long_ago))
        assert not is_held(tmp_path, "relay-orders")
    assert not is_held(tmp_path, "relay-orders")
    (tmp_path / "relay-orders.held").write_text("999999999")
    assert not is_held(tmp_path, "relay-orders")
