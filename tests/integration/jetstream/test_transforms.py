"""Streams that rewrite subjects: a message that is published again gets the subject it had."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from outbox_operator.plan.jetstream.transforms import published_as
from support.nats import NatsServer, connected

pytestmark = pytest.mark.integration

SUBJECTS: Final = ["orders.>", "a.*.*"]
CASES: Final = [
    # source, destination, published, published again (None: nobody can tell on what)
    ("orders.>", "orders.v2.>", "orders.placed", "orders.placed"),
    ("orders.>", "orders.v2.>", "orders.v2.placed", "orders.v2.placed"),
    ("orders.>", "stored.>", "orders.placed.now", "orders.placed.now"),
    ("orders.>", "stored.>", "a.1.2", "a.1.2"),
    ("a.*.*", "b.{{wildcard(2)}}.x.{{wildcard(1)}}", "a.1.2", "a.1.2"),
    ("a.*.*", "a.$2.$1", "a.1.2", "a.1.2"),
    ("a.*.*", "b.{{wildcard(1)}}", "a.1.2", None),
    ("a.*.*", "b.{{partition(4,1)}}.{{wildcard(1)}}.{{wildcard(2)}}", "a.1.2", None),
    ("orders.placed", "b.placed", "orders.placed", "orders.placed"),
]


@pytest.mark.parametrize(("source", "destination", "published", "again"), CASES)
async def test_what_is_published_again_is_stored_where_it_was(
    nats_server: NatsServer,
    stream_prefix: str,
    source: str,
    destination: str,
    published: str,
    again: str | None,
) -> None:
    def ours(subject: str) -> str:
        return f"{stream_prefix}.{subject}"

    config: dict[str, Any] = {
        "name": stream_prefix,
        "subjects": [ours(one) for one in SUBJECTS],
        "subject_transform": {"src": ours(source), "dest": ours(destination)},
    }
    async with connected(nats_server) as client:
        js = client.jetstream()
        made = await client.request(
            f"$JS.API.STREAM.CREATE.{stream_prefix}", json.dumps(config).encode(), timeout=30
        )
        assert "error" not in json.loads(made.data)
        await js.publish(ours(published), b"")
        stored = (await js.get_msg(stream_prefix, 1)).subject or ""
        found = published_as(stored, config)
        assert found == (None if again is None else ours(again))
        if found is not None:
            await js.publish(found, b"")
            assert (await js.get_msg(stream_prefix, 2)).subject == stored
        await js.delete_stream(stream_prefix)
