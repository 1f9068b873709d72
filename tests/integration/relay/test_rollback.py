"""A stream that has lost what it acknowledged: noticed, said, and sent again from the table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outbox_operator.adapters.postgres.dead_letters import DeadLetterFilter, DeadLetterStore
from outbox_operator.adapters.postgres.url import parse_url
from support.nats import NatsServer, connected
from support.relaying import Outbox, RelayProcess, an_outbox, per_key
from support.waiting import eventually

pytestmark = pytest.mark.integration


@pytest.fixture
def forgetting() -> Iterator[NatsServer]:
    """A server of the test's own, whose store is put back."""
    with NatsServer() as server:
        yield server


async def fill(outbox: Outbox, first: int, last: int) -> None:
    """Events of two keys whose payloads are numbers."""
    for number in range(first, last + 1):
        await outbox.add(f"k{number % 2}", value=number)


async def forget_between(outbox: Outbox, server: NatsServer, relay: RelayProcess | None) -> None:
    """Publish 1 to 5, then 6 to 10; the server then forgets the latter."""
    await fill(outbox, 1, 5)
    await outbox.stored(5)
    server.stop()
    server.copy_store()
    server.start()
    await fill(outbox, 6, 10)
    await outbox.stored(10)
    await outbox.saved(10)
    if relay is not None:
        relay.terminate()
    server.kill()
    server.restore_store()
    server.start()


async def noticed(outbox: Outbox, words: str) -> None:
    """Wait until the cursor is saved with these words for the operator."""

    async def there() -> bool:
        return words in ((await outbox.cursor())["notice"] or "")

    await eventually(there, f"the notice {words!r}")


async def all_there(outbox: Outbox, relay: RelayProcess, count: int) -> None:
    """Every committed event is stored, those of a key in order."""

    async def complete() -> bool:
        return len({m.event_id for m in await outbox.stored()}) >= count

    await eventually(complete, f"{count} events in the stream", relay=relay)
    stored = await outbox.stored()
    assert sorted(m.event_id for m in stored) == sorted(await outbox.event_ids())
    for key, messages in per_key(stored):
        numbers = [json.loads(message.data) for message in messages]
        assert numbers == sorted(numbers), f"key {key} out of order"
    emissions = [int(message.headers["Outbox-Emission"]) for message in stored]
    assert emissions == sorted(set(emissions)), "numbers only grow"
    gaps = [
        (message, before)
        for message, before in zip(stored[1:], emissions, strict=False)
        if int(message.headers["Outbox-Emission"]) > before + 1
    ]
    for message, before in gaps:
        assert message.headers["Outbox-Predecessor"] == str(before), "a gap that is meant"


@pytest.mark.parametrize("running", [True, False], ids=["relay runs", "relay is away"])
@pytest.mark.parametrize("config", [{}, {"allow_batched": False}], ids=["fast", "window"])
async def test_what_the_stream_forgot_is_sent_again(
    database: str, forgetting: NatsServer, tmp_path: Path, running: bool, config: dict[str, Any]
) -> None:
    async with an_outbox(database, forgetting, tmp_path, **config) as outbox:
        relay = await outbox.relay().start().active()
        await forget_between(outbox, forgetting, None if running else relay)
        if not running:
            relay.start()
        await all_there(outbox, relay, 10)
        await outbox.add("k1", value=11)
        await all_there(outbox, relay, 11)
        assert relay.metric("stream_lost_messages_total") == 5
        assert "has lost up to 5 messages that it had acknowledged" in relay.log
        await noticed(outbox, "StreamRolledBack: stream ")
        await relay.ready()


async def test_dead_letters_and_former_ones_are_not_sent_again(
    database: str, forgetting: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, forgetting, tmp_path) as outbox:
        relay = await outbox.relay().start().active()
        await fill(outbox, 1, 5)
        await outbox.stored(5)
        forgetting.stop()
        forgetting.copy_store()
        forgetting.start()
        for number in (6, 7, 8):
            for key in ("k1", "given", "kept"):
                await outbox.add(key, value=number, headers="[]" if number == 6 else "{}")

        async def dead() -> bool:
            return len(await outbox.dead_letters()) == 9

        await eventually(dead, "nine dead letters", relay=relay)
        letters = DeadLetterStore(outbox.connection, parse_url(outbox.url), "outbox")
        given = await letters.find(DeadLetterFilter(keys=("given",)))
        await letters.purge([letter.position for letter in given])
        await outbox.connection.execute("UPDATE outbox.dead_letters SET headers = '{}'")

        async def released() -> bool:
            return isinstance(await letters.release_key("k1"), int)

        await eventually(released, "the letters of a key are released", relay=relay)
        await outbox.stored(8)
        await outbox.saved(8)
        relay.terminate()
        forgetting.kill()
        forgetting.restore_store()
        forgetting.start()
        relay.start()
        numbers = dict(per_key(await outbox.stored(8)))
        assert [json.loads(m.data) for m in numbers["k1"]] == [1, 3, 5, 6, 7, 8]
        assert set(numbers) == {"k0", "k1"}
        keys = [letter["partition_key"] for letter in await outbox.dead_letters()]
        assert keys == ["kept"] * 3


async def test_the_place_of_lost_messages_may_be_taken_by_others(
    database: str, forgetting: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, forgetting, tmp_path) as outbox:
        subjects = [f"{outbox.prefix}.>", f"other.{outbox.prefix}"]
        await outbox.update_stream(subjects=subjects)
        relay = await outbox.relay().start().active()
        await forget_between(outbox, forgetting, relay)
        async with connected(forgetting) as client:
            for _ in range(20):
                await client.jetstream().publish(f"other.{outbox.prefix}", b"")
        relay.start()

        async def again() -> bool:
            return relay.metric("published_total") >= 5

        await eventually(again, "five events sent again", relay=relay)
        async with connected(forgetting) as client:
            info = await client.jetstream().stream_info(outbox.prefix)
        assert info.state.messages == 5 + 20 + 5


async def test_messages_that_somebody_removed_are_no_loss(
    database: str, forgetting: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, forgetting, tmp_path) as outbox:
        relay = await outbox.relay().start().active()
        await fill(outbox, 1, 5)
        await outbox.saved(5)
        relay.terminate()
        await outbox.purge_stream()
        await relay.start().active()
        await fill(outbox, 6, 7)
        await outbox.stored(2)
        await outbox.idle(relay)
        assert [json.loads(m.data) for m in await outbox.stored()] == [6, 7]
        assert (await outbox.cursor())["notice"] is None


async def test_another_subject_template_is_no_loss(
    database: str, forgetting: NatsServer, tmp_path: Path
) -> None:
    """The last message that we know is ours, though not on today's subjects."""
    async with an_outbox(database, forgetting, tmp_path) as outbox:
        relay = await outbox.relay().start().active()
        await fill(outbox, 1, 5)
        await outbox.saved(5)
        relay.terminate()
        relay = await outbox.relay(subject=f"{outbox.prefix}.v2.{{event_type}}").start().active()
        await fill(outbox, 6, 7)
        await outbox.stored(7)
        await outbox.idle(relay)
        assert [json.loads(m.data) for m in await outbox.stored()] == list(range(1, 8))
        assert (await outbox.cursor())["notice"] is None


async def test_a_stream_made_anew_is_told_from_one_rolled_back(
    database: str, forgetting: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, forgetting, tmp_path) as outbox:
        relay = await outbox.relay().start().active()
        await fill(outbox, 1, 5)
        await outbox.saved(5)
        relay.terminate()
        await outbox.delete_stream()
        await outbox.create_stream()
        await relay.start().active()
        await fill(outbox, 6, 7)
        await outbox.stored(2)
        await outbox.idle(relay)
        assert [json.loads(m.data) for m in await outbox.stored()] == [6, 7]
        await noticed(outbox, "StreamRecreated: stream ")


async def test_without_an_early_point_the_loss_is_said_and_the_rest_goes_on(
    database: str, forgetting: NatsServer, tmp_path: Path
) -> None:
    async with an_outbox(database, forgetting, tmp_path) as outbox:
        relay = await outbox.relay().start().active()
        await forget_between(outbox, forgetting, relay)
        await outbox.connection.execute("UPDATE outbox.cursors SET checkpoints = '[]'")
        relay.start()
        await outbox.add("k1", value=11)

        async def goes_on() -> bool:
            return [json.loads(m.data) for m in await outbox.stored()] == [1, 2, 3, 4, 5, 11]

        await eventually(goes_on, "event 11", relay=relay)
        await noticed(outbox, "outbox rebase")
