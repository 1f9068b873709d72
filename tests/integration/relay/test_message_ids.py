"""Messages have an id wherever a second copy of one may come, and none where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from support import relay_with_ids
from support.nats import NatsServer
from support.relaying import Outbox, Stored, an_outbox, check_delivery
from support.waiting import eventually

pytestmark = pytest.mark.integration

EARLIER: Final = Path(relay_with_ids.__file__)


def with_ids(stored: Sequence[Stored]) -> list[bool]:
    """Which have one; it has to be the event's."""
    for message in stored:
        assert message.headers.get("Nats-Msg-Id", message.event_id) == message.event_id
    return ["Nats-Msg-Id" in message.headers for message in stored]


async def test_the_plain_case_needs_none(outbox: Outbox) -> None:
    outbox.relay().start()
    await outbox.add("a")
    (message,) = await outbox.stored(1)
    assert "Nats-Msg-Id" not in message.headers


@pytest.mark.parametrize(
    ("stream", "relay"),
    [
        ({"allow_batched": False}, {}),
        ({"duplicate_window": 60_000_000_000}, {}),
        ({"max_bytes": 2**30}, {}),
        ({"max_msgs": 1_000_000}, {}),
        ({}, {"ordering": "None"}),
    ],
    ids=str,
)
async def test_elsewhere_they_are_kept(
    database: str,
    nats_server: NatsServer,
    tmp_path: Path,
    stream: dict[str, Any],
    relay: dict[str, Any],
) -> None:
    async with an_outbox(database, nats_server, tmp_path, **stream) as outbox:
        outbox.relay(**relay).start()
        await outbox.add("a")
        assert with_ids(await outbox.stored(1)) == [True]


async def test_a_stream_that_is_changed_is_noticed(outbox: Outbox) -> None:
    relay = await outbox.relay().start().active()
    await outbox.add("a")
    await outbox.published(1)
    await outbox.update_stream(max_msgs_per_subject=1000)

    async def noticed() -> bool:
        await outbox.add("a")
        return with_ids(await outbox.stored())[-1]

    await eventually(noticed, "messages with ids", relay=relay)


async def test_doubt_ends_when_all_that_was_visible_has_been_read(outbox: Outbox) -> None:
    """A relay was killed, and nothing of what it had published is saved."""
    before = await outbox.cursor()
    await outbox.fill(3000)
    relay = outbox.relay().start()
    await outbox.published(3000)
    await outbox.killed(relay)
    await outbox.connection.execute(
        "UPDATE outbox.cursors SET snapshot_from = $1, snapshot_to = $2, last_position = $3, "
        "emission = $4, stream_sequence = $5, stream_created = $6, checkpoints = $7",
        *(before[name] for name in (
            "snapshot_from", "snapshot_to", "last_position", "emission", "stream_sequence",
            "stream_created", "checkpoints",
        )),
    )  # fmt: skip
    await outbox.fill(1000)
    relay = outbox.relay().start()
    await outbox.published(4000)
    for _ in range(2):
        await outbox.idle(relay)
    await outbox.add("last")
    stored = await outbox.stored(4001)
    assert [message.event_id for message in stored] == await outbox.event_ids()
    assert with_ids(stored) == [False] * 3000 + [True] * 1000 + [False]


async def test_relays_of_two_releases_follow_each_other(outbox: Outbox) -> None:
    """Upgrade and rollback, each by a kill in the middle of a backlog."""
    for number, earlier in enumerate((True, False, True, False)):
        relay = outbox.relay()
        if earlier:
            relay.run_by(EARLIER)
        await relay.start().active()
        await outbox.published(2000 * number)
        for _ in range(2):  # now nothing is in doubt
            await outbox.idle(relay)
        await outbox.fill(2000, keys=7)
        await outbox.published(2000 * number + 500)
        await outbox.killed(relay)
    last = await outbox.relay().start().active()
    await outbox.published(8000)
    await outbox.idle(last)
    stored, committed = await outbox.stored(8000), await outbox.event_ids()
    assert [message.event_id for message in stored] == committed
    check_delivery(stored, committed)
    ids = with_ids(stored)
    assert ids[:500] == [True] * 500
    assert ids[2000:2500] == [False] * 500
    assert ids[4000:4500] == [True] * 500
    assert ids[6000:6500] == [False] * 500
