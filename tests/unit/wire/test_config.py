"""The document that the controller mounts into pods."""

from __future__ import annotations

import dataclasses
import json

from pydantic import TypeAdapter

from outbox_operator.wire import config
from outbox_operator.wire.config import (
    ConsumerConfig,
    DatabaseConfig,
    HttpHandlerConfig,
    InboxConfig,
    NatsConfig,
    PythonHandlerConfig,
    RelayConfig,
)

NATS = NatsConfig(url="nats://nats:4222", creds_file="/creds", domain="hub")
RELAY = RelayConfig(
    namespace="shop",
    pipeline="orders",
    database=DatabaseConfig(url_file="/url"),
    nats=NATS,
    stream="ORDERS",
    subject="orders.{event_type}",
)
CONSUMER = ConsumerConfig(
    namespace="shop",
    consumer="orders-billing",
    nats=NATS,
    stream="ORDERS",
    durable="orders-billing",
    http=HttpHandlerConfig(url="http://billing", headers={"b": "1", "a": "2"}),
    python=PythonHandlerConfig(module="m:f"),
    inbox=InboxConfig(url_file="/inbox", schema="other"),
    backoff_seconds=(1.0, 5.0),
)


def test_what_is_encoded_is_read_back() -> None:
    assert TypeAdapter(RelayConfig).validate_json(config.encode(RELAY)) == RELAY
    assert TypeAdapter(ConsumerConfig).validate_json(config.encode(CONSUMER)) == CONSUMER


def test_the_text_does_not_depend_on_the_order_of_keys() -> None:
    http = HttpHandlerConfig(url="http://billing", headers={"a": "2", "b": "1"})
    assert config.encode(dataclasses.replace(CONSUMER, http=http)) == config.encode(CONSUMER)


def test_no_field_holds_a_secret() -> None:
    words = ("password", "token", "secret", "creds", "key", "username")
    pending = [RelayConfig, ConsumerConfig, NatsConfig, DatabaseConfig, HttpHandlerConfig]
    for model in pending:
        for field in dataclasses.fields(model):
            if any(word in field.name for word in words):
                assert field.name.endswith("_file"), f"{model.__name__}.{field.name}"


def test_document_is_json_with_a_line_end() -> None:
    text = config.encode(RELAY)
    assert text.endswith("}\n")
    assert json.loads(text)["pipeline"] == "orders"
