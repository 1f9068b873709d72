"""What was a dead letter is sent again once, as it was published in the end, or never was."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from outbox_operator.adapters.compare import Range, Stretch, bounds, compare
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.postgres.connection import Connection, connect
from outbox_operator.adapters.postgres.dead_letters import DeadLetterFilter, DeadLetterStore
from outbox_operator.adapters.postgres.replays import ReplayStore, Selection
from outbox_operator.adapters.postgres.rows_range import RowsRange
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.plan.doctor.verdict import Verdict
from outbox_operator.wire.message import event_source
from support.nats import connected
from support.relaying import NAMESPACE, PIPELINE, Outbox, Stored
from support.waiting import eventually

pytestmark = pytest.mark.integration

T = TypeVar("T")
KEYS = ("once", "twice", "parts", "given", "later", "")


@dataclass
class Hands:
    """What a person or a task does to an outbox."""

    outbox: Outbox
    connection: Connection

    @property
    def letters(self) -> DeadLetterStore:
        return DeadLetterStore(self.connection, parse_url(self.outbox.url), "outbox")

    async def dead(self, **letters: int) -> None:
        """Wait until keys have so many dead letters, and the relay is idle."""

        async def there() -> bool:
            found: dict[str, int] = defaultdict(int)
            for letter in await self.letters.find(DeadLetterFilter()):
                found[letter.partition_key or "none"] += 1
            return dict(found) == letters

        await eventually(there, f"dead letters {letters}")

    async def correct(self, *numbers: int, key: str | None = None) -> None:
        await self.outbox.connection.execute(
            "UPDATE outbox.dead_letters SET headers = '{}', payload = to_jsonb('right'::text) "
            "WHERE ($1::text IS NULL OR partition_key = $1) AND headers = '[]' "
            "AND ($2::int[] = '{}' OR payload::text::int = ANY ($2))",
            key, list(numbers),
        )  # fmt: skip

    async def release(self, *keys: str) -> None:
        for key in keys:

            async def free(key: str = key) -> bool:
                return isinstance(await self.letters.release_key(key), int)

            await eventually(free, f"the letters of {key} are released")

    async def positions(self, *keys: str) -> list[int]:
        found = await self.letters.find(DeadLetterFilter(keys=keys))
        return [letter.position for letter in found]

    async def replay(self, name: str) -> tuple[int, int]:
        """Send all again; how many were counted, and copied."""
        target = parse_url(self.outbox.url)
        store = ReplayStore(self.connection, target, "outbox", name=name, selection=Selection())
        frozen = await store.settle()
        counted = await store.count(frozen, None)
        await store.begin(frozen)
        while not (done := await store.copy(frozen)).all:
            pass
        await eventually(store.published, "everything is published")
        await store.end()
        return counted.chosen, done.rows

    async def verify(self) -> Verdict:
        target = parse_url(self.outbox.url)
        rows = RowsRange(self.connection, target, "outbox")

        async def lend(work: Callable[[RowsRange], Awaitable[T]]) -> T:
            return await work(rows)

        of = Stretch(
            stream=self.outbox.prefix, subject_filter=f"{self.outbox.prefix}.>",
            source=event_source(NAMESPACE, PIPELINE), ordered=True,
        )  # fmt: skip
        async with connected(self.outbox.nats) as client:
            admin = JetStreamAdmin(client, self.outbox.nats.auth)
            return (await compare(lend, admin, of, await bounds(rows, Range()))).verdict


@pytest.fixture
async def hands(outbox: Outbox) -> AsyncIterator[Hands]:
    connection = await connect(parse_url(outbox.url), application_name="test")
    yield Hands(outbox, connection)
    await connection.close()


def by_key(messages: list[Stored]) -> dict[str, list[tuple[str, Any]]]:
    found: dict[str, list[tuple[str, Any]]] = {key: [] for key in KEYS}
    for message in messages:
        found[message.key or ""].append((message.event_id, json.loads(message.data)))
    return found


def of_replay(messages: list[Stored], name: str | None) -> list[Stored]:
    return [message for message in messages if message.headers.get("Outbox-Replay") == name]


async def test_each_event_is_sent_again_once_as_it_was_published(
    outbox: Outbox, hands: Hands
) -> None:
    relay = await outbox.relay().start().active()
    for key in KEYS[:-1]:
        for number in range(6):
            bad = number == 2 or (key == "parts" and number == 4)
            await outbox.add(key, value=number, headers="[]" if bad else "{}")
    await outbox.add("", value=2, headers="[]")
    twin = await outbox.add("", value=7)
    await outbox.add("", value=7, event_id=twin)
    await hands.dead(once=4, twice=4, parts=4, given=4, later=4, none=1)
    # One at a time: the first is left as it is, so all of its key come back.
    await hands.correct(key="once")
    await hands.correct(2, key="parts")
    await hands.release("once", "parts", "twice", "later")
    await hands.dead(twice=4, parts=2, given=4, later=4, none=1)
    assert len(await hands.letters.purge(await hands.positions("given", "later"))) == 8
    await hands.correct()
    await hands.release("twice", "parts")
    assert len(await hands.letters.release(await hands.positions(""))) == 1
    await hands.dead()
    await outbox.idle(relay)
    published = await outbox.stored(6 + 6 + 6 + 2 + 2 + 3)
    first = by_key(published)
    assert [value for _, value in first["parts"]] == [0, 1, "right", 3, "right", 5]
    assert [value for _, value in first["given"]] == [0, 1]
    verdict = await hands.verify()
    assert verdict.clean, str(verdict)
    assert verdict.counts["givenUp"] == 8
    assert verdict.counts["replayed"] == 4 + 8 + (4 + 2) + 4 + 1

    assert await hands.replay("again") == (len(published), len(published))
    everything = await outbox.stored(2 * len(published))
    assert by_key(of_replay(everything, "again")) == first
    assert await outbox.dead_letters() == []

    # Copies that die and are released are none the less copies.
    await outbox.update_stream(max_msg_size=100)
    await hands.replay("small")
    assert len(await outbox.dead_letters()) == len(published)
    await outbox.update_stream()
    await outbox.add("once", value="x")

    await hands.letters.release(await hands.positions(*KEYS))
    everything = await outbox.stored(3 * len(published) + 1)
    assert by_key(of_replay(everything, "small")) == first
    assert await hands.replay("last") == (len(published) + 1, len(published) + 1)
    verdict = await hands.verify()
    assert verdict.clean, str(verdict)
    assert verdict.counts["givenUp"] == 8


async def test_what_is_released_while_a_replay_is_under_way(outbox: Outbox, hands: Hands) -> None:
    """The set was settled while they were dead letters, so they are not in it."""
    await outbox.relay().start().active()
    for number in range(6):
        await outbox.add("once", value=number, headers="[]" if number == 2 else "{}")
    await hands.dead(once=4)
    target = parse_url(outbox.url)
    store = ReplayStore(hands.connection, target, "outbox", name="again", selection=Selection())
    frozen = await store.settle()
    assert (await store.count(frozen, None)).chosen == 2
    await store.begin(frozen)
    await hands.correct()
    await hands.release("once")
    await outbox.stored(6)
    while not (done := await store.copy(frozen)).all:
        pass
    assert done.rows == 2
    await eventually(store.published, "everything is published")
    assert len(await outbox.stored(8)) == 8
