"""`outbox dead-letters`, as it runs in a pod: JSON lines of both kinds, bounded, read only."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from outbox_operator.reasons import Reason
from outbox_operator.wire import dead_letters
from support.nats import connected
from support.relaying import Outbox, RelayProcess

pytestmark = pytest.mark.integration

NOW = dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC)


async def printed(relay: RelayProcess, *arguments: str) -> list[dict[str, Any]]:
    """What the command prints with a relay's configuration."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "outbox_operator.cli.main", "dead-letters", *arguments],
        env={**os.environ, "OUTBOX_CONFIG": str(relay.config)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


async def kill(outbox: Outbox, *letters: tuple[str, str, Any]) -> list[str]:
    """Rows among the dead letters: key, reason, payload; their event ids."""
    return [
        await outbox.connection.fetchval(
            """INSERT INTO outbox.dead_letters
               (position, event_id, event_type, partition_key, payload, headers, created_at,
                reason, error)
               VALUES (nextval('outbox.events_position_seq'), gen_random_uuid(), 'placed', $1,
                       $3::jsonb, '{"tenant": "a"}', now(), $2, 'too large')
               RETURNING event_id::text""",
            key, reason, json.dumps(payload),
        )
        for key, reason, payload in letters
    ]  # fmt: skip


async def test_letters_of_the_table(outbox: Outbox) -> None:
    relay = outbox.relay()
    ids = await kill(
        outbox, ("a", "MessageTooLarge", {"card": "4111"}), ("a", "KeyBlocked", 2), ("b", "X", 3)
    )
    listed, one, some = await asyncio.gather(
        printed(relay),
        printed(relay, "--id", ids[0], "--payload"),
        printed(relay, "--limit", "1", "--key", "a"),
    )
    assert [letter["id"] for letter in listed] == ids
    assert [letter["reason"] for letter in listed] == ["MessageTooLarge", "KeyBlocked", "X"]
    assert "4111" not in json.dumps(listed)
    (whole,) = one
    assert json.loads(whole["payload"]) == {"card": "4111"}
    assert (whole["headers"], whole["error"]) == ({"tenant": "a"}, "too large")
    assert some == [listed[0], {"more": True}]


async def test_letters_of_a_stream(outbox: Outbox) -> None:
    relay, stream = outbox.relay(), f"{outbox.prefix}-dead"
    async with connected(outbox.nats) as client:
        js = client.jetstream()
        await js.add_stream(name=stream, subjects=[f"{stream}.>"])
        for number, durable in enumerate(("billing", "mailer", "billing")):
            said = dead_letters.headers(
                {"Ce-Id": f"e{number}", "Ce-Type": "placed", "tenant": "a"},
                reason=Reason.MAX_DELIVER, error="no", deliveries=16, stream="ORDERS",
                sequence=number + 1, stored=NOW, subject="orders.placed",
                consumer=durable, now=NOW,
            )  # fmt: skip
            await js.publish(f"{stream}.{durable}", bytes([200, number]), headers=said)
    of_billing, one = await asyncio.gather(
        printed(
            relay, "--stream", stream, "--durable", "billing", "--subject", f"{stream}.billing"
        ),
        printed(relay, "--stream", stream, "--id", "e1", "--payload"),
    )
    assert [(one["id"], one["deliveries"]) for one in of_billing] == [("e0", 16), ("e2", 16)]
    assert not any("payload" in key for letter in of_billing for key in letter)
    (whole,) = one
    assert (whole["payloadBase64"], whole["payloadBytes"]) == ("yAE=", 2)
    assert whole["headers"]["tenant"] == "a"
