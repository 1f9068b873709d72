"""Which pipeline, archive or consumer a verb is about that is given no name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from outbox_operator.dev import locks
from outbox_operator.dev.servers import LOCK_FILE
from support.cli import CommandLine
from support.kube import ROOT

PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "examples/smallest/pipeline.yaml").read_text())
OTHER = json.loads(json.dumps(PIPELINE).replace("orders", "refunds").replace("ORDERS", "REFUNDS"))
OTHER["spec"]["database"]["schema"] = "refunds"
STREAM = {
    "apiVersion": PIPELINE["apiVersion"], "kind": "EventStream", "metadata": {"name": "clicks"},
    "spec": {"nats": {"url": "nats://n:4222"}, "name": "CLICKS", "subjects": ["clicks.>"]},
}  # fmt: skip
VERBS = (
    "logs", "verify", "replay --all", "reset --consumer billing --to-start --yes",
    "reset --to-start --yes",
    "rebase --all", "psql", "nats", "dlq replay --all", "dlq purge --all --yes",
)  # fmt: skip


def said(folder: Path, documents: list[Any], line: str) -> tuple[int, str]:
    (folder / "resources.json").write_text(json.dumps(documents))
    answer = CommandLine.of_laptop(folder).run(*line.split(), columns=None)
    return answer.code, answer.err


ARCHIVE: dict[str, Any] = {
    "connectionSecretRef": {"name": "audit"}, "retention": [{"name": "default", "keep": "90d"}],
}  # fmt: skip
AUDIT = {"name": "audit", "handler": {"archive": ARCHIVE}}
ARCHIVES = ("archive export --into a.csv", "archive verify")


def with_consumers(*more: dict[str, Any]) -> dict[str, Any]:
    """The pipeline with further consumers."""
    found: dict[str, Any] = json.loads(json.dumps(PIPELINE))
    found["spec"]["consumers"] += more
    return found


@pytest.mark.parametrize("verb", VERBS)
def test_the_only_one_need_not_be_named(tmp_path: Path, verb: str) -> None:
    code, error = said(tmp_path, [PIPELINE, STREAM], verb)
    assert code != 2, error
    assert "required" not in error


@pytest.mark.parametrize("verb", VERBS)
def test_of_several_one_is_named(tmp_path: Path, verb: str) -> None:
    code, error = said(tmp_path, [PIPELINE, OTHER], verb)
    name = f"outbox dev {verb.split()[0]}: "
    assert (code, error) == (
        2, f"{name}which pipeline? There are orders, refunds: name one of them\n"
    )  # fmt: skip


def test_a_folder_that_is_being_made_is_told_from_none(tmp_path: Path) -> None:
    laptop = CommandLine.of_laptop(tmp_path)
    assert "`outbox dev -f FILE` has not run with" in laptop.run("status", columns=None).err
    lock = locks.FileLock(tmp_path / LOCK_FILE)
    assert lock.take()
    try:
        assert laptop.run("status", columns=None).err.endswith(
            f"`outbox dev` is only starting with folder {tmp_path}: again when it shows its table\n"
        )
    finally:
        lock.release()


def test_where_there_is_none_that_is_said(tmp_path: Path) -> None:
    code, error = said(tmp_path, [STREAM], "verify")
    assert code == 2
    assert error.endswith(": no OutboxPipeline is among what it runs\n")


@pytest.mark.parametrize("verb", ARCHIVES)
def test_the_only_archive_need_not_be_named(tmp_path: Path, verb: str) -> None:
    code, error = said(tmp_path, [with_consumers(AUDIT)], verb)
    away = f"outbox dev archive: `outbox dev` does not run with folder {tmp_path}\n"
    assert (code, error) == (1, away)


@pytest.mark.parametrize("verb", ARCHIVES)
@pytest.mark.parametrize(
    ("archives", "end"),
    [
        ([], ": no archive of an EventConsumer is among what it runs\n"),
        (["audit", "ledger"], "which archive? There are orders-audit, orders-ledger: name one of "
         "them\n"),
    ],
)  # fmt: skip
def test_of_several_archives_one_is_named(
    tmp_path: Path, verb: str, archives: list[str], end: str
) -> None:
    consumers = [
        {"name": name, "handler": {"archive": {**ARCHIVE, "schema": name}}} for name in archives
    ]
    code, error = said(tmp_path, [with_consumers(*consumers)], verb)
    assert code == 2
    assert error.endswith(end)


def test_of_several_consumers_one_is_named(tmp_path: Path) -> None:
    found = said(tmp_path, [with_consumers(AUDIT)], "reset --to-start --yes")
    assert found == (
        2,
        "outbox dev reset: which consumer of orders? --consumer NAME, or evc/NAME; there is audit, "
        "billing\n",
    )
