"""Dead letters in the hands of people, beside a running relay: found, replayed, given up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.dead_letters import DeadLetterFilter, DeadLetterStore
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.errors import ConflictError
from support.relaying import Outbox, RelayProcess
from support.waiting import eventually

pytestmark = pytest.mark.integration

EVERYTHING = DeadLetterFilter()


@pytest.fixture
async def store(outbox: Outbox) -> AsyncIterator[DeadLetterStore]:
    target = parse_url(outbox.url)
    connection = await connect(target, application_name="test")
    yield DeadLetterStore(connection, target, "outbox")
    await connection.close()


async def block(outbox: Outbox, key: str, followers: int = 2) -> None:
    """A poisonous event of a key, and events that wait behind it."""
    before = len(await outbox.dead_letters())
    await outbox.add(key, value=0, event_type="bad", headers="[]")
    for number in range(1, followers + 1):
        await outbox.add(key, value=number)

    async def dead() -> bool:
        return len(await outbox.dead_letters()) == before + 1 + followers

    await eventually(dead, "dead letters")


async def heal(outbox: Outbox) -> None:
    """Remove the cause, as a person would before a replay."""
    await outbox.connection.execute("UPDATE outbox.dead_letters SET headers = '{}'")


async def values(outbox: Outbox, key: str, at_least: int) -> list[int]:
    """Payloads of a key in the order of the stream."""
    return [json.loads(m.data) for m in await outbox.stored(at_least) if m.key == key]


async def started(outbox: Outbox) -> RelayProcess:
    return await outbox.relay().start().active()


async def test_lists_by_filter_and_page_and_shows_all_of_one(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    await started(outbox)
    await block(outbox, "a")
    await block(outbox, "b", followers=0)
    everything = await store.find(EVERYTHING)
    assert [(d.partition_key, d.reason, d.blocked) for d in everything] == [
        ("a", "InvalidHeaders", False),
        ("a", "KeyBlocked", True),
        ("a", "KeyBlocked", True),
        ("b", "InvalidHeaders", False),
    ]
    page = await store.find(EVERYTHING, limit=3)
    assert page + await store.find(EVERYTHING, after=page[-1].position) == everything
    for wanted, count in (
        (DeadLetterFilter(keys=("b",)), 1),
        (DeadLetterFilter(reasons=("KeyBlocked",)), 2),
        (DeadLetterFilter(event_types=("bad",), keys=("a",)), 1),
        (DeadLetterFilter(positions=(everything[0].position,)), 1),
        (DeadLetterFilter(keys=()), 0),
    ):
        assert len(await store.find(wanted)) == count
    whole = await store.show(everything[0].position)
    assert whole is not None
    assert (whole.payload, whole.headers, whole.event_type) == (b"0", "[]", "bad")
    assert await store.show(10**6) is None


async def test_replays_a_key_in_order_as_new_events_and_frees_it(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    relay = await started(outbox)
    await block(outbox, "a")
    await block(outbox, "b")
    await heal(outbox)
    letters = await store.find(DeadLetterFilter(keys=("a",)))
    # One of them is asked for; the others of its key go along, or it would overtake them.
    replayed = await store.replay(DeadLetterFilter(positions=(letters[1].position,)))
    assert list(replayed) == [letter.position for letter in letters]
    assert not set(replayed.values()) & {letter.event_id for letter in letters}
    await outbox.add("a", value=3)
    assert await values(outbox, "a", 4) == [0, 1, 2, 3]
    assert {m.event_id for m in await outbox.stored(4)} >= set(replayed.values())
    assert {letter.partition_key for letter in await store.find(EVERYTHING)} == {"b"}
    assert relay.metric("poison_total", reason="KeyBlocked") == 4


async def test_replays_everything_also_without_a_key(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    await started(outbox)
    await block(outbox, "", followers=0)
    await block(outbox, "a", followers=1)
    await heal(outbox)
    assert len(await store.replay(EVERYTHING)) == 3
    assert len(await outbox.stored(3)) == 3
    assert await store.find(EVERYTHING) == []
    assert await store.replay(EVERYTHING) == {}


async def test_what_is_still_poison_comes_back(outbox: Outbox, store: DeadLetterStore) -> None:
    await started(outbox)
    await block(outbox, "a", followers=1)
    first = await store.find(EVERYTHING)
    await store.replay(EVERYTHING)
    await eventually(lambda: store.find(EVERYTHING, after=first[-1].position), "dead again")

    async def all_back() -> bool:
        return [d.reason for d in await store.find(EVERYTHING)] == ["InvalidHeaders", "KeyBlocked"]

    await eventually(all_back, "both dead again")


async def test_keeps_the_order_of_a_key_that_is_written_meanwhile(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    await started(outbox)
    await block(outbox, "a")
    await heal(outbox)
    stop = asyncio.Event()

    async def write() -> int:
        number = 2
        async with outbox.session() as session:
            while not stop.is_set():
                number += 1
                await outbox.add("a", value=number, on=session)
        return number

    writer = asyncio.create_task(write())
    replays = 0
    try:
        while await store.find(EVERYTHING, limit=1) and replays < 15:
            with contextlib.suppress(ConflictError):
                await store.replay(EVERYTHING, patience=0.1)
            replays += 1
    finally:
        stop.set()
        last = await writer
    while await store.find(EVERYTHING, limit=1):
        await store.replay(EVERYTHING)
    assert await values(outbox, "a", last + 1) == list(range(last + 1))


async def test_refuses_while_a_writer_is_in_the_middle(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    await started(outbox)
    await block(outbox, "a", followers=0)
    await heal(outbox)
    async with outbox.session() as session, session.transaction():
        await outbox.add("b", on=session)
        with pytest.raises(ConflictError, match="open for a while"):
            await store.replay(EVERYTHING, patience=0)
        assert len(await store.find(EVERYTHING)) == 1
    assert len(await store.replay(EVERYTHING)) == 1


async def test_gives_up_what_is_asked_for_and_frees_the_key(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    await started(outbox)
    await block(outbox, "a")
    purged = await store.purge(DeadLetterFilter(keys=("a",)))
    assert len(purged) == 3
    added = await outbox.add("a")
    assert [m.event_id for m in await outbox.stored(1)] == [added]
    assert await store.purge(EVERYTHING) == []


@pytest.mark.parametrize("column", ["payload", "headers"])
async def test_what_unfolds_can_be_replayed_and_given_up(
    outbox: Outbox, store: DeadLetterStore, column: str
) -> None:
    """Letters are moved as they are stored; nobody renders them (FD-B2)."""
    numbers = "[" + ", ".join(["1e131071"] * 2000) + "]"
    document = {"payload": numbers, "headers": f'{{"x": {numbers}}}'}[column]
    await outbox.connection.execute(
        f"INSERT INTO outbox.events (event_type, partition_key, {column}"
        f"{', payload' if column == 'headers' else ''}) "
        f"VALUES ('a', 'k', $1{', $2' if column == 'headers' else ''})",
        *([document, "{}"] if column == "headers" else [document]),
    )
    await started(outbox)

    async def dead() -> list[int]:
        return [letter.position for letter in await store.find(EVERYTHING)]

    first = await eventually(dead, "a dead letter")
    assert list(await store.replay(EVERYTHING)) == first
    again = await eventually(dead, "dead again")
    assert again != first
    assert await store.purge(EVERYTHING) == again


async def test_names_that_the_table_does_not_take_back_are_said(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    """From before the check; of megabytes each, which listing them does not read (FD-B3)."""
    await outbox.connection.execute(
        "INSERT INTO outbox.dead_letters (position, event_id, event_type, partition_key, payload, "
        "headers, created_at, reason) SELECT n, gen_random_uuid(), repeat('t', 1000000), "
        "repeat('k', 1000000), '1', '{}', now(), 'ColumnTooLong' FROM generate_series(1, 20) n"
    )
    letters = await store.find(EVERYTHING)
    assert max(len(letter.event_type) + len(letter.partition_key) for letter in letters) < 4000
    with pytest.raises(ConflictError, match=r"dead letter 1 .* event_type has 1000000 bytes"):
        await store.replay(EVERYTHING)
    assert len(await store.purge(EVERYTHING)) == 20
