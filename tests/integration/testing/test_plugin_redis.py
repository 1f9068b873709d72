"""The pytest plugin with a pipeline that publishes to Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from redis import Redis

from integration.testing.test_plugin import write
from outbox_operator.client import Event
from outbox_operator.testing.live import LivePipeline

pytestmark = pytest.mark.integration


@pytest.fixture(scope="session")
def outbox_manifest() -> Mapping[str, Any]:
    """Two shards, and a consumer that nobody runs here."""
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


@pytest.fixture
def outbox_nats() -> None:
    """Nobody asks for one."""
    pytest.fail("a nats-server was started, and no stream is in it")


async def test_what_is_committed_appears_in_the_keys(outbox_pipeline: LivePipeline) -> None:
    assert await outbox_pipeline.published() == []
    await write(outbox_pipeline, Event(type="user.lost", key="1", payload={}), commit=False)
    await write(
        outbox_pipeline,
        *(Event(type="user.created", key=str(n), payload={"n": n}) for n in range(8)),
    )
    found = await outbox_pipeline.wait_for(event_type="user.created", key="7")
    assert found.payload == {"n": 7}
    assert found.subject in {f"{outbox_pipeline.stream}.{shard}" for shard in (0, 1)}
    assert (await outbox_pipeline.wait_for(key="3")).payload == {"n": 3}
    everything = await outbox_pipeline.published()
    assert sorted(one.payload["n"] for one in everything) == list(range(8))
    with pytest.raises(AssertionError, match="no event with"):
        await outbox_pipeline.wait_for(key="7", timeout=0.2)
    assert outbox_pipeline.redis_url is not None
    with Redis.from_url(outbox_pipeline.redis_url, decode_responses=True) as client:
        groups: Any = client.xinfo_groups(f"{outbox_pipeline.stream}.0")
        assert [one["name"] for one in groups] == ["identity-mail"]


async def test_a_test_does_not_see_the_events_of_another(outbox_pipeline: LivePipeline) -> None:
    assert await outbox_pipeline.published() == []
