"""Bad configurations are refused with the field named, and that of the page is a good one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.archive import settings
from outbox_operator.errors import SpecError
from outbox_operator.wire.archive import (
    ArchiveConfig,
    ArchiveDatabase,
    ArchiveRules,
    RetentionClass,
)
from outbox_operator.wire.config import NatsConfig, encode
from support.chart import ROOT

GOOD = ArchiveConfig(
    namespace="shop",
    consumer="audit",
    database=ArchiveDatabase(url_file="/url"),
    nats=NatsConfig(url="nats://nats:4222"),
    stream="ORDERS",
    durable="audit",
    rules=ArchiveRules(retention=(RetentionClass(name="all", keep_seconds=86400.0),)),
)


def changed(**fields: Any) -> str:
    return json.dumps({**json.loads(encode(GOOD)), **fields})


def test_reads_back_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "archive.json"
    path.write_text(encode(GOOD))
    assert settings.load(str(path)) == GOOD
    monkeypatch.setenv("OUTBOX_CONFIG", str(path))
    assert settings.load() == GOOD


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "document: Invalid JSON"),
        (changed(streem="X"), "streem: Unexpected"),
        (changed(rules={"retention": []}), "rules: .*retention: wanted 1 to 32 classes, found 0"),
        (changed(batch_events=0), "batch_events: wanted 1 to 20000, found 0"),
        (changed(batch_bytes=1), "batch_bytes: wanted 65536"),
        (changed(batch_seconds=60), "batch_seconds: wanted"),
        (changed(duplicate_window_seconds=-1), "duplicate_window_seconds: wanted"),
        (changed(drain_seconds=-1), "drain_seconds: wanted"),
        (
            changed(migration={"url_file": "/a", "schema": "b"}),
            "migration.schema: wanted that of database, 'archive', found 'b'",
        ),
    ],
)
def test_names_the_field(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        settings.parse(text, where="archive.json")


def test_the_configuration_of_the_page_is_taken() -> None:
    page = (ROOT / "docs/how-to/keep-an-archive.md").read_text()
    [document] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    config = settings.parse(document, where="the page")
    assert config.rules.class_of("auth.login.failed") == "security"
