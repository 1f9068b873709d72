"""The pytest plugin with a pipeline that publishes to Redis, in a run of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

CONFTEST = """
import pytest


@pytest.fixture(scope="session")
def outbox_manifest():
    return {
        "apiVersion": "outbox.dev/v1alpha1",
        "kind": "OutboxPipeline",
        "metadata": {"name": "identity"},
        "spec": {
            "database": {"connectionSecretRef": {"name": "database"}},
            "redis": {"url": "redis://redis:6379"},
            "stream": {"name": "identity.user.v1"},
            "outbox": {"shards": 2},
            "consumers": [{"name": "mail", "handler": {"http": {"url": "http://mail/"}}}],
        },
    }


@pytest.fixture(scope="session")
def outbox_nats():
    pytest.fail("a nats-server was started, and no stream is in it")
"""
TESTS = """
import psycopg
import pytest
from redis import Redis


def emit(pipeline, commit=True):
    with psycopg.connect(pipeline.database_url) as connection:
        for number in range(8):
            connection.execute("SELECT outbox.emit('user.created', %s::text, '{}')", (number,))
        if not commit:
            connection.rollback()


async def test_what_is_committed_appears_in_the_keys(outbox_pipeline):
    assert await outbox_pipeline.published() == []
    emit(outbox_pipeline, commit=False)
    emit(outbox_pipeline)
    found = await outbox_pipeline.wait_for(event_type="user.created", key="7")
    assert found.payload == {}
    assert found.subject in {f"{outbox_pipeline.stream}.{shard}" for shard in (0, 1)}
    assert (await outbox_pipeline.wait_for(key="3")).type == "user.created"
    for key in "012456":
        await outbox_pipeline.wait_for(key=key)
    everything = await outbox_pipeline.published()
    assert sorted(one.key for one in everything) == list("01234567")
    assert len({one.subject for one in everything}) == 2
    with pytest.raises(AssertionError, match="no event with"):
        await outbox_pipeline.wait_for(key="7", timeout=0.2)
    with Redis.from_url(outbox_pipeline.redis_url, decode_responses=True) as client:
        (group,) = client.xinfo_groups(f"{outbox_pipeline.stream}.0")
    assert group["name"] == "identity-mail"


async def test_a_test_does_not_see_the_events_of_another(outbox_pipeline):
    assert await outbox_pipeline.published() == []
"""


@pytest.mark.thorough
def test_a_manifest_with_redis_runs_on_a_server_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_identity.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nasyncio_mode = auto\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", "."],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
