"""History is sent again: through the relay, in order, each event once, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from outbox_operator.adapters.postgres.connection import Connection, connect
from outbox_operator.adapters.postgres.rebase import PostgresRebase
from outbox_operator.adapters.postgres.replays import Bounds, ReplayStore, Selection
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.controller.tasks.history import count as counting
from outbox_operator.errors import OutboxError, PostgresError
from outbox_operator.plan.postgres.rebase import Choice, StreamEnd
from outbox_operator.plan.tasks.history import HistoryWhere
from outbox_operator.plan.tasks.letters import remembered
from outbox_operator.plan.tasks.status import Progress
from support.relaying import WITH_IDS, Outbox, Stored
from support.waiting import eventually

pytestmark = pytest.mark.integration

AGAIN = "again.0a1b2c3d"
EVERYTHING = Selection()


class Dying:
    """A connection whose server process ends at one of its statements, as if the operator died."""

    def __init__(self, connection: Connection, at: int) -> None:
        self._connection = connection
        self._left = at

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._connection, name)
        if name not in ("execute", "fetch", "fetchrow", "fetchval"):
            return found

        async def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left < 0:
                self._connection.terminate()
            return await found(*arguments)

        return call


@asynccontextmanager
async def replaying(
    outbox: Outbox,
    selection: Selection = EVERYTHING,
    *,
    name: str = AGAIN,
    to: str | None = None,
    dies_at: int | None = None,
) -> AsyncIterator[ReplayStore]:
    target = parse_url(outbox.url)
    connection: Any = await connect(target, application_name="test")
    used: Any = connection if dies_at is None else Dying(connection, dies_at)
    try:
        yield ReplayStore(used, target, "outbox", name=name, selection=selection, to=to)
    finally:
        connection.terminate()


async def begin(store: ReplayStore) -> tuple[Bounds, int]:
    """Settle and count: the bounds, and how many rows are selected."""
    bounds = await store.settle()
    return bounds, await count(store, bounds)


async def count(store: ReplayStore, bounds: Bounds) -> int:
    after, selected = None, 0
    while True:
        found = await store.count(bounds, after)
        selected += found.chosen
        if found.up_to is None:
            return selected
        after = found.up_to


async def go_on(store: ReplayStore, bounds: Bounds, most: int = 500) -> int:
    """Copy all that is left; how many are copied then."""
    await store.begin(bounds)
    while not (done := await store.copy(bounds, most)).all:
        pass
    return done.rows


@asynccontextmanager
async def rebasing(outbox: Outbox) -> AsyncIterator[Callable[..., Awaitable[None]]]:
    """Sets the outbox anew, beside whatever goes on."""
    target = parse_url(outbox.url)
    connection = await connect(target, application_name="test")

    async def rebase(choice: Choice, ends: list[StreamEnd]) -> None:
        async with PostgresRebase.open(connection, target, "outbox") as opened:
            await opened.apply(choice, ends)

    yield rebase
    await connection.close()


async def published(store: ReplayStore) -> None:
    await eventually(store.published, "everything is published")


def copies(found: list[Stored], name: str = AGAIN) -> list[Stored]:
    return [message for message in found if message.headers.get("Outbox-Replay") == name]


def first_ones(found: list[Stored]) -> list[Stored]:
    return [message for message in found if "Outbox-Replay" not in message.headers]


async def test_what_is_sent_again_is_the_same_event_with_a_message_id_of_its_own(
    outbox: Outbox,
) -> None:
    await outbox.update_stream(**WITH_IDS)
    relay = await outbox.relay().start().active()
    own = json.dumps({"X-Own": "1", "Content-Type": "text/x"})
    event = await outbox.add("k", value={"n": 1}, headers=own)
    await outbox.published(1)
    async with replaying(outbox, to="billing") as store:
        bounds, selected = await begin(store)
        assert selected == await go_on(store, bounds) == 1
        await published(store)
    first, again = await outbox.stored(2)
    assert again.headers["Nats-Msg-Id"] == f"{event}:{AGAIN}"
    assert again.headers["Outbox-Replay-To"] == "billing"
    assert (again.subject, again.data, again.event_id) == (first.subject, first.data, event)
    for same in ("Ce-Time", "Ce-Partitionkey", "Ce-Type", "Content-Type", "X-Own", "Outbox-Shard"):
        assert again.headers[same] == first.headers[same], same
    for grown in ("Outbox-Position", "Outbox-Emission"):
        assert int(again.headers[grown]) > int(first.headers[grown])
    assert relay.metric("repeated_ids_total") == relay.metric("dropped_total") == 0


async def test_writers_write_meanwhile_and_relay_and_operator_die(outbox: Outbox) -> None:
    """Each selected event comes once more, in order for each key, behind its first."""
    relay = await outbox.relay().start().active()
    await outbox.fill(1500, keys=7)
    meant = await outbox.event_ids()
    stop = asyncio.Event()

    async def write() -> None:
        async with outbox.session() as session:
            while not stop.is_set():
                await outbox.add("k3", value={"n": 0}, on=session)
                await asyncio.sleep(0.002)

    async with replaying(outbox) as store:
        bounds, selected = await begin(store)
        await store.begin(bounds)
    writing = asyncio.create_task(write())
    deaths, statement = 0, 0
    while True:
        statement = statement % 7 + 1
        try:
            async with replaying(outbox, dies_at=statement) as store:
                copied = await store.copy(bounds, 60)
        except PostgresError:
            deaths += 1
            if deaths == 5:
                relay.kill()
                relay.start()
            continue
        if copied.all:
            break
    async with replaying(outbox) as store:
        await published(store)
        assert (await store.begin(bounds)).rows == selected == len(meant)
    stop.set()
    await writing
    assert deaths > 12
    everything = await outbox.stored(len(await outbox.event_ids()))
    again = copies(everything)
    assert sorted(message.event_id for message in again) == sorted(meant)
    firsts = first_ones(everything)
    assert len(firsts) == len({message.event_id for message in firsts})
    place = {message.event_id: number for number, message in enumerate(firsts)}
    for key in {message.key for message in again}:
        order = [place[message.event_id] for message in again if message.key == key]
        assert order == sorted(order)
    before = {message.event_id: message.sequence for message in firsts}
    assert all(message.sequence > before[message.event_id] for message in again)


async def test_only_what_is_selected_and_was_there(outbox: Outbox) -> None:
    await outbox.relay().start().active()
    wanted = await outbox.add("a", event_type="paid")
    await outbox.add("a", event_type="sent")
    await outbox.add("b", event_type="paid")
    dead = await outbox.add("z", event_type="paid", headers="[]")
    await eventually(outbox.dead_letters, "a dead letter")
    await outbox.published(3)
    chosen = Selection(event_types=("paid",), keys=("a", "z"))
    async with outbox.session() as late:
        transaction = late.transaction()
        await transaction.start()
        await outbox.add("a", event_type="paid", on=late)
        async with replaying(outbox, chosen) as store:
            bounds = await store.settle()
            await outbox.add("c", event_type="paid")
            await transaction.commit()
            assert await count(store, bounds) == await go_on(store, bounds) == 1
            await published(store)
    async with replaying(outbox, chosen, name="once-more") as store:
        bounds, selected = await begin(store)
        assert selected == await go_on(store, bounds) == 2  # what was open then, and no copy
        await published(store)
    found = await outbox.stored(8)
    assert [message.event_id for message in copies(found)] == [wanted]
    assert dead not in {message.event_id for message in found}
    times = [dt.datetime.fromisoformat(m.headers["Ce-Time"]) for m in first_ones(found)]
    # Microseconds are what headers have.
    by_time = Selection(since=times[0], until=times[2])
    async with replaying(outbox, by_time, name="by-time") as store:
        assert (await begin(store))[1] == 2
    positions = [int(message.headers["Outbox-Position"]) for message in found[:3]]
    by_position = Selection(first=positions[1], last=positions[2])
    async with replaying(outbox, by_position, name="by-position") as store:
        assert (await begin(store))[1] == 2


async def test_a_copy_that_cannot_be_published_stops_nobody(outbox: Outbox) -> None:
    relay = await outbox.relay(on_poison="Halt").start().active()
    await outbox.add("k", value="x" * 2000)
    await outbox.published(1)
    await outbox.update_stream(max_msg_size=1500)
    async with replaying(outbox) as store:
        await go_on(store, await store.settle())
        await published(store)
        number, [letter] = await store.failed(5)
        # It depends on whether the relay knows of the limit already.
        assert number == 1
        assert letter.reason in ("MessageTooLarge", "RefusedByStream")
    await outbox.add("k", value=1)
    await outbox.published(2)
    relay.terminate()
    blocking = await outbox.relay(on_poison="BlockKey").start().active()
    await outbox.add("k", value=2)
    await outbox.published(3)
    assert blocking.metric("poison_total") == 0


async def test_what_an_application_writes_is_no_replay(outbox: Outbox) -> None:
    await outbox.relay().start().active()
    await outbox.add("a", headers=json.dumps({"Outbox-Replay": "mine"}))
    await outbox.add("b", headers=json.dumps("replay mine [{}, {}]"))
    await outbox.add("c", headers=json.dumps([{"name": "mine", "time": 0}, {}]))

    async def all_dead() -> bool:
        return len(await outbox.dead_letters()) == 3

    await eventually(all_dead, "three dead letters")
    assert await outbox.stored() == []


async def test_pages_of_several_shards_and_bytes(
    database: str, nats_server: Any, tmp_path: Any
) -> None:
    from support.relaying import an_outbox

    async with an_outbox(database, nats_server, tmp_path, shards=3, payload_type="bytea") as outbox:
        await outbox.relay().start().active()
        ids = {await outbox.add(f"k{n}", value=bytes([n])) for n in range(20)}
        await outbox.published(20)
        async with replaying(outbox) as store:
            assert await go_on(store, await store.settle(), most=7) == 20
            await published(store)
        found = await outbox.stored(40)
        assert {message.event_id for message in copies(found)} == ids
        assert {m.headers["Content-Type"] for m in found} == {"application/octet-stream"}


@pytest.mark.parametrize("which", ["all", "from-position"])
async def test_a_rebase_while_it_is_counted_leaves_nothing_out(outbox: Outbox, which: Any) -> None:
    await outbox.fill(30)
    async with replaying(outbox) as store, rebasing(outbox) as rebase:
        bounds = await store.settle()
        shards = [StreamEnd(sequence=0, emission=0)]
        await rebase(Choice(which=which, position=11), shards)
        assert (await store.count(bounds, None)).chosen in (0, 10)
        progress, where = Progress(), HistoryWhere()
        while where.phase == "Counting":
            progress = await counting(store, bounds, progress, where, dry_run=False)
            where = remembered(HistoryWhere, progress.where)
            bounds = replace(bounds, snapshot=where.snapshot or bounds.snapshot)
        assert (progress.selected, where.times) == (30, 1)
        assert await go_on(store, bounds) == 30


async def test_a_schema_of_before_says_so(outbox: Outbox) -> None:
    await outbox.connection.execute("DROP TABLE outbox.replays")
    async with replaying(outbox) as store:
        with pytest.raises(OutboxError, match="migrations of the pipeline have not run"):
            await store.settle()
