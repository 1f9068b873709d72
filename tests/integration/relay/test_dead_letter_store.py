"""Dead letters in the hands of people, beside a running relay: found, replayed, given up."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from asyncpg.exceptions import LockNotAvailableError

from outbox_operator.adapters.postgres import dead_letter_release
from outbox_operator.adapters.postgres.admin import PostgresAdmin
from outbox_operator.adapters.postgres.connection import Connection, connect
from outbox_operator.adapters.postgres.dead_letters import DeadLetterFilter, DeadLetterStore
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.api.v1alpha1.task import OutboxTaskSpec
from outbox_operator.controller.tasks.outbox_letters import PurgeOutboxLetters, ReplayOutboxLetters
from outbox_operator.errors import ConflictError
from outbox_operator.plan.tasks.letters import OutboxWhere, Unit
from outbox_operator.plan.tasks.status import Progress, settled
from outbox_operator.wire.times import format_time
from support import resources
from support.frozen import frozen_at_each
from support.relaying import Outbox, RelayProcess
from support.waiting import SECONDS, eventually

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


async def replay(store: DeadLetterStore, key: str = "a", *, seconds: float = SECONDS) -> int:
    """Release a key as soon as nothing of it is on its way; what was in the way at the end else."""
    end = asyncio.get_running_loop().time() + seconds
    while not isinstance(released := await store.release_key(key), int):
        if asyncio.get_running_loop().time() >= end:
            raise AssertionError(released)
        await asyncio.sleep(0.05)
    return released


async def every_position(store: DeadLetterStore) -> list[int]:
    return [letter.position for letter in await store.find(EVERYTHING)]


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


@pytest.mark.parametrize("time", ["0044-03-15 BC", "-infinity", "infinity", "294276-01-01"])
async def test_whatever_time_a_letter_has(
    outbox: Outbox, store: DeadLetterStore, time: str
) -> None:
    await outbox.connection.execute(
        "INSERT INTO outbox.dead_letters (position, event_id, event_type, partition_key, payload, "
        "headers, created_at, dead_at, reason) VALUES (1, gen_random_uuid(), 'a', '', '1', '{}', "
        f"'{time}', '{time}', 'InvalidHeaders')"
    )
    (letter,) = await store.find(EVERYTHING)
    whole = await store.show(1)
    assert whole is not None
    for moment in (letter.created_at, letter.dead_at, whole.created_at, whole.dead_at):
        assert format_time(moment, "seconds")
    assert await store.release([1]) == [1]
    kept = "SELECT created_at = $1::text::timestamptz FROM outbox.events"
    assert await outbox.connection.fetchval(kept, time)


async def test_replays_a_key_in_order_and_frees_it(outbox: Outbox, store: DeadLetterStore) -> None:
    relay = await started(outbox)
    await block(outbox, "a")
    await block(outbox, "b")
    await heal(outbox)
    letters = await store.find(DeadLetterFilter(keys=("a",)))
    assert await replay(store) == len(letters)
    await outbox.add("a", value=3)
    assert await values(outbox, "a", 4) == [0, 1, 2, 3]
    # They were never published: each is the event that it was.
    assert {m.event_id for m in await outbox.stored(4)} >= {one.event_id for one in letters}
    assert {letter.partition_key for letter in await store.find(EVERYTHING)} == {"b"}
    assert relay.metric("poison_total", reason="KeyBlocked") == 4


async def test_replays_everything_also_without_a_key(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    await started(outbox)
    await block(outbox, "", followers=0)
    await block(outbox, "a", followers=1)
    await heal(outbox)
    first, *_ = await every_position(store)
    assert await store.release([first]) == [first]
    assert await replay(store) == 2
    assert len(await outbox.stored(3)) == 3
    assert await store.find(EVERYTHING) == []
    assert (await store.release([first]), await replay(store)) == ([], 0)


async def test_what_is_still_poison_comes_back(outbox: Outbox, store: DeadLetterStore) -> None:
    await started(outbox)
    await block(outbox, "a", followers=1)
    first = await store.find(EVERYTHING)
    await replay(store)
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
            with contextlib.suppress(AssertionError):
                await replay(store, seconds=0.1)
            replays += 1
    finally:
        stop.set()
        last = await writer
    while await store.find(EVERYTHING, limit=1):
        await replay(store)
    assert await values(outbox, "a", last + 1) == list(range(last + 1))


async def test_refuses_while_a_writer_is_in_the_middle(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    await started(outbox)
    await block(outbox, "a", followers=0)
    await heal(outbox)
    async with outbox.session() as session, session.transaction():
        await outbox.add("b", on=session)
        assert "open for a while" in str(await store.release_key("a"))
        assert len(await store.find(EVERYTHING)) == 1
    assert await replay(store) == 1


async def test_gives_up_what_is_asked_for_and_frees_the_key(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    await started(outbox)
    await block(outbox, "a")
    letters = await every_position(store)
    assert await store.purge(letters) == letters
    assert len(letters) == 3
    added = await outbox.add("a")
    assert [m.event_id for m in await outbox.stored(1)] == [added]
    assert await store.purge(letters) == []


async def test_a_task_tells_what_it_did_from_what_others_did(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    """An operator died with a batch in the hand, and somebody was quicker with some of it."""
    await outbox.connection.execute(
        "INSERT INTO outbox.dead_letters (position, event_id, event_type, partition_key, payload, "
        "headers, created_at, reason) SELECT n, gen_random_uuid(), 'a', '', '1', '{}', now(), "
        "'InvalidHeaders' FROM generate_series(1, 6) n"
    )
    await store.release([1])
    await store.purge([2])
    await outbox.connection.execute("DELETE FROM outbox.dead_letters WHERE position = 6")
    work: Any = SimpleNamespace(time_left=5.0)
    for action, batch in ((ReplayOutboxLetters(), (1, 2, 3)), (PurgeOutboxLetters(), (1, 2, 4))):
        where = OutboxWhere(batch=tuple(Unit(position, 1) for position in (*batch, 6)))
        progress = await action._do(work, Progress(selected=4), where, store)
        assert (progress.done, progress.failed) == (2, 2)
        by_others, by_sql = progress.failures
        replays = isinstance(action, ReplayOutboxLetters)
        assert by_others.id == ("position 2" if replays else "position 1")
        assert by_sql.id == "position 6"
        assert "nothing tells what became of it" in by_sql.message
    assert await every_position(store) == [5]


async def test_letters_that_come_stand_for_none_that_somebody_took_away(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    bury = (
        "INSERT INTO outbox.dead_letters (position, event_id, event_type, partition_key, payload, "
        "headers, created_at, reason) SELECT n, gen_random_uuid(), 'a', $2, '1', '{}', now(), "
        "'InvalidHeaders' FROM generate_series($1::int, $1::int + 1) n"
    )
    await outbox.connection.execute(bury, 1, "a")
    await outbox.connection.execute(bury, 3, "b")
    spec = OutboxTaskSpec.model_validate(
        {"pipelineRef": {"name": "orders"}, "replayDeadLetters": {}}
    )

    async def save(_: Progress) -> None:
        """Nobody comes after this task."""

    work: Any = SimpleNamespace(
        task=SimpleNamespace(spec=spec), time_left=5.0, most=100, save=save, dry_run=False
    )
    action, admin = ReplayOutboxLetters(), PostgresAdmin(store._connection, store._target)
    work.pipeline = resources.pipeline()
    frozen = await action._freeze(work, admin)
    work.selection, progress = frozen.selection, frozen.progress
    await outbox.connection.execute("DELETE FROM outbox.dead_letters WHERE partition_key = 'a'")
    await outbox.connection.execute(bury, 5, "b")
    while not progress.finished:
        progress = await action._step(work, progress, store)
    end = settled(progress, dry_run=False)
    assert (end.selected, end.done, end.failed) == (6, 4, 2)


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
        return await every_position(store)

    first = await eventually(dead, "a dead letter")
    assert await replay(store, "k") == len(first)
    again = await eventually(dead, "dead again")
    assert again != first
    assert await store.purge(again) == again


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
    with pytest.raises(ConflictError, match=r"event_type .* position 1 has 1000000 bytes"):
        await store.release([letters[0].position])
    assert len(await store.purge(await every_position(store))) == 20


async def test_an_application_never_waits_for_a_process_that_stands_still(
    outbox: Outbox, store: DeadLetterStore
) -> None:
    relay = await started(outbox)
    await block(outbox, "a")
    await heal(outbox)
    await outbox.idle(relay)
    relay.kill()

    async def release(connection: Connection) -> None:
        frozen = DeadLetterStore(connection, parse_url(outbox.url), "outbox")
        assert isinstance(released := await frozen.release_key("a"), int), released

    async def write(stood_at: str) -> None:
        async with outbox.session() as session:
            await session.execute("SET lock_timeout = '8s'")
            try:
                await outbox.add("b", on=session)
            except LockNotAvailableError:
                raise AssertionError(f"the application waits for: {stood_at}") from None

    stood = await frozen_at_each(outbox.url, release, write)
    assert stood >= 4
    assert await store.find(EVERYTHING) == []
    await started(outbox)
    assert await values(outbox, "a", 3 + stood) == [0, 1, 2]


async def test_however_long_a_key_takes_to_move_nobody_waits_for_it(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a million letters it takes a minute; here a trigger makes a few take longer."""
    monkeypatch.setattr(dead_letter_release, "STEP_ROWS", 8)
    target = parse_url(outbox.url)
    connection = await connect(target, application_name="test", statement_timeout=1.0)
    store = DeadLetterStore(connection, target, "outbox")
    relay = await started(outbox)
    await block(outbox, "a", followers=39)
    await heal(outbox)
    await outbox.idle(relay)
    await outbox.connection.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_sleep(0.05); RETURN NEW; END'; "
        "CREATE TRIGGER slow BEFORE INSERT ON outbox.events FOR EACH ROW "
        "WHEN (NEW.partition_key = 'a' AND NEW.payload::text::int < 40) EXECUTE FUNCTION slow()"
    )
    assert await store.release_key("a", within=0.1) is None
    loop = asyncio.get_running_loop()
    asked = loop.time()
    releasing = asyncio.create_task(replay(store))
    worst, number = 0.0, 39
    async with outbox.session() as session:
        while not releasing.done():
            number += 1
            begun = loop.time()
            await outbox.add("a", value=number, on=session)
            worst = max(worst, loop.time() - begun)
            await asyncio.sleep(0.05)
    assert await releasing > 40
    await connection.close()
    assert worst < (loop.time() - asked) / 2, "who waits for it, waits for all of it"
    assert number > 45
    assert await values(outbox, "a", number + 1) == list(range(number + 1))
    assert await outbox.dead_letters() == []
