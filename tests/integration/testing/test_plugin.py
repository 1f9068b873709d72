"""The pytest plugin, used as an application's tests use it."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import asyncpg
import psycopg
import pytest

from outbox_operator.client import Event, Outbox
from outbox_operator.testing.live import LivePipeline

ROOT = Path(__file__).resolve().parents[3]


async def write(pipeline: LivePipeline, *events: Event, commit: bool = True) -> None:
    connection = await asyncpg.connect(pipeline.database_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        for event in events:
            await Outbox().add(connection, event)
        await (transaction.commit() if commit else transaction.rollback())
    finally:
        await connection.close()


async def test_a_committed_event_arrives_and_a_rolled_back_one_does_not(
    outbox_pipeline: LivePipeline,
) -> None:
    await write(outbox_pipeline, Event(type="order.lost", key="1", payload={}), commit=False)
    event = Event(type="order.created", key="1", payload={"id": 1}, headers={"tenant": "a"})
    await write(outbox_pipeline, event)
    found = await outbox_pipeline.wait_for(event_type="order.created")
    assert (found.id, found.key, found.payload) == (str(event.id), "1", {"id": 1})
    assert found.headers["tenant"] == "a"
    assert [one.type for one in await outbox_pipeline.published()] == ["order.created"]


async def test_each_event_is_returned_once_and_others_wait(outbox_pipeline: LivePipeline) -> None:
    kinds = ["order.created", "order.paid", "order.created"]
    events = [Event(type=kind, key=str(n), payload=n) for n, kind in enumerate(kinds)]
    await write(outbox_pipeline, *events)
    assert (await outbox_pipeline.wait_for(event_type="order.created")).payload == 0
    assert (await outbox_pipeline.wait_for(event_type="order.created")).payload == 2
    assert (await outbox_pipeline.wait_for(key="1")).type == "order.paid"
    assert await outbox_pipeline.published() != [], "reading does not use up"


async def test_a_test_does_not_see_the_events_of_another(outbox_pipeline: LivePipeline) -> None:
    assert await outbox_pipeline.published() == []
    with pytest.raises(
        AssertionError,
        match=r"no event with .*order\.never.* within 0\.2 s; nothing was published: was",
    ):
        await outbox_pipeline.wait_for(event_type="order.never", timeout=0.2)


def test_plain_functions_wait_too(outbox_pipeline: LivePipeline) -> None:
    with psycopg.connect(outbox_pipeline.database_url) as connection:
        connection.execute("SELECT outbox.emit('order.created', '7', '{}')")
    assert outbox_pipeline.wait_for_sync(key="7").type == "order.created"


def test_the_page_s_examples_run(tmp_path: Path) -> None:
    """With a manifest, tables and a handler of the application's own, as the how-to shows."""
    page = (ROOT / "docs/how-to/test-your-code.md").read_text()
    blocks = re.findall(r"```(\w+) title=(\S+)\n(.*?)```", page, re.DOTALL)
    assert {name for _, name, _ in blocks} >= {"conftest.py", "test_orders.py", "pipeline.yaml"}
    for _, name, text in blocks:
        (tmp_path / name).write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", "."],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)
