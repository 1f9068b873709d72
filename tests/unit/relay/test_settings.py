"""A wrong configuration is refused by name; a right one is what the controller renders."""

from __future__ import annotations

import json
from typing import Any

import pytest

from outbox_operator.errors import SpecError
from outbox_operator.relay import settings
from outbox_operator.wire.config import DatabaseConfig, NatsConfig, RelayConfig, encode


def document(**changes: Any) -> str:
    base: dict[str, Any] = {
        "namespace": "shop",
        "pipeline": "orders",
        "database": {"url_file": "/nowhere/url"},
        "nats": {"url": "nats://nats:4222"},
        "stream": "ORDERS",
        "subject": "orders.{event_type}",
    }
    return json.dumps({**base, **changes})


def test_what_the_controller_encodes_is_what_we_read() -> None:
    config = RelayConfig(
        namespace="shop",
        pipeline="orders",
        database=DatabaseConfig(url_file="/x"),
        nats=NatsConfig(url="nats://n"),
        stream="S",
        subject="s.{event_type}",
        on_poison="Halt",
        poll_min_seconds=0.02,
    )
    loaded = settings.parse(encode(config))
    assert loaded.config == config
    assert loaded.source == "/shop/orders"


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (document(colour="red"), "colour"),
        (document(stream=None), "stream"),
        (document(database={}), "database: .*set exactly one of url_file and login_directory"),
        (document(on_poison="Panic"), "on_poison"),
        (document(nats={"url": "n", "pasword": "x"}), "nats.pasword"),
        (document(poll_min_seconds=0), "poll_min_seconds"),
        (document(poll_min_seconds=2), "poll_max_seconds"),
        (document(publish_window=0), "publish_window"),
        (document(drain_seconds=-1), "drain_seconds"),
        (document(shards=0), "shards"),
        (document(subject="orders.{colour}"), "colour"),
        ("[]", "document"),
        ("{", "document"),
    ],
)
def test_a_wrong_field_is_named(text: str, field: str) -> None:
    with pytest.raises(SpecError, match=field):
        settings.parse(text, "/etc/outbox/config.json")


def test_several_shards_in_order_need_subjects_of_their_own() -> None:
    with pytest.raises(SpecError, match=r"with 4 shards in order, \{shard\} must be a token"):
        settings.parse(document(shards=4))
    assert settings.parse(document(shards=4, subject="o.{shard}.{event_type}")).config.shards == 4
    assert settings.parse(document(shards=4, ordering="None")).config.shards == 4


def test_the_value_of_a_wrong_field_is_not_shown() -> None:
    with pytest.raises(SpecError) as caught:
        settings.parse(document(nats={"url": "n", "password": "hunter2"}))
    assert "hunter2" not in caught.value.message


def test_a_missing_file_or_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTBOX_CONFIG", raising=False)
    with pytest.raises(SpecError, match="OUTBOX_CONFIG"):
        settings.load()
    monkeypatch.setenv("OUTBOX_CONFIG", "/nowhere/config.json")
    with pytest.raises(SpecError, match=r"/nowhere/config\.json"):
        settings.load()
