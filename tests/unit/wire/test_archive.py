"""What an archive is to keep: rules that can be carried out, and others by the field at fault."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from outbox_operator.wire import config
from outbox_operator.wire.archive import (
    ArchiveConfig,
    ArchiveDatabase,
    ArchiveRules,
    RetentionClass,
)
from outbox_operator.wire.config import NatsConfig

DAY = 86_400.0
DEFAULT = RetentionClass(name="default", keep_seconds=90 * DAY)
RULES = ArchiveRules(
    retention=(
        RetentionClass(name="security", keep_seconds=2555 * DAY, event_types=("auth.*",)),
        RetentionClass(name="orders", keep_seconds=400 * DAY, event_types=("order.>", "refund")),
        DEFAULT,
    ),
    extract={"actor": "$.actor.id", "correlation": "ce:correlationid"},
    redact=("$.card.number", "$.lines[*].secret"),
)
CONFIG = ArchiveConfig(
    namespace="shop",
    consumer="audit",
    database=ArchiveDatabase(url_file="/url"),
    nats=NatsConfig(url="nats://nats:4222"),
    stream="ORDERS",
    durable="audit",
    rules=RULES,
    readers=("auditor",),
)


def test_what_is_encoded_is_read_back() -> None:
    assert TypeAdapter(ArchiveConfig).validate_json(config.encode(CONFIG)) == CONFIG
    assert CONFIG.database.schema == "archive"


@pytest.mark.parametrize(
    ("event_type", "name"),
    [
        ("auth.login", "security"),
        ("auth.login.failed", "default"),
        ("order.placed", "orders"),
        ("order.item.added", "orders"),
        ("order", "default"),
        ("refund", "orders"),
        ("", "default"),
        ("a..b", "default"),
    ],
)
def test_the_first_class_that_takes_an_event_has_it(event_type: str, name: str) -> None:
    assert RULES.class_of(event_type) == name


def kept(*classes: RetentionClass, **rules: Any) -> dict[str, Any]:
    return {"retention": classes or (DEFAULT,), **rules}


def named(name: str, keep: float = DAY, types: tuple[str, ...] = ("a",)) -> RetentionClass:
    return RetentionClass(name=name, keep_seconds=keep, event_types=types)


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ({"retention": ()}, "retention: wanted 1 to 32 classes, found 0"),
        (kept(*[named(f"c{n}") for n in range(33)]), "found 33"),
        (kept(named("Orders"), DEFAULT), r"retention\[0\].name: .*found 'Orders'"),
        (kept(named("a-b"), DEFAULT), r"retention\[0\].name"),
        (kept(named("x" * 31), DEFAULT), r"retention\[0\].name"),
        (kept(named("default"), DEFAULT), r"retention\[1\].name: 'default' is there twice"),
        (kept(named("a", keep=60.0), DEFAULT), r"keep_seconds: wanted 3600 or more.*found 60"),
        (kept(named("a", keep=float("nan")), DEFAULT), "keep_seconds: .*found nan"),
        (kept(named("a", keep=float("inf")), DEFAULT), "keep_seconds: .*found inf"),
        (kept(named("a", types=("a b",)), DEFAULT), r"event_types: .*found 'a b'"),
        (kept(named("a", types=("a.>.b",)), DEFAULT), r"event_types"),
        (kept(named("a", types=("a",) * 65), DEFAULT), "found 65"),
        (kept(named("a")), "wanted a last class without event_types.*found 'a'"),
        (kept(extract={"Actor": "$.a"}), "extract: wanted as name .*found 'Actor'"),
        (kept(extract={"payload": "$.a"}), "extract: wanted as name .*found 'payload'"),
        (kept(extract={"a": "ce:Correlation Id"}), "extract.a: wanted ce:<attribute>"),
        (kept(extract={"a": "actor"}), "extract.a: wanted a path such as"),
        (kept(extract={"a": "$.b[*]"}), "extract.a: wanted a path to one place"),
        (kept(extract={f"c{n}": "$.a" for n in range(17)}), "extract: wanted 16"),
        (kept(redact=("card",)), r"redact\[0\]: wanted a path such as"),
        (kept(redact=("$.a",) * 65), "redact: wanted 64"),
        (kept(extract={"a": "$.card.number"}, redact=("$.card",)), "redact .* keeps out"),
        (kept(extract={"a": "$.card"}, redact=("$.card.*",)), "redact .* keeps out"),
    ],
)
def test_rules_that_cannot_be_carried_out_are_refused(rules: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        ArchiveRules(**rules)


def test_a_document_with_such_rules_is_refused_too() -> None:
    document = json.loads(config.encode(CONFIG))
    document["rules"]["retention"][0]["name"] = "Security"
    with pytest.raises(ValidationError, match="found 'Security'"):
        TypeAdapter(ArchiveConfig).validate_python(document)


def test_a_last_class_may_say_that_it_takes_every_type() -> None:
    assert ArchiveRules(retention=(named("all", types=(">",)),)).class_of("x.y") == "all"
