"""Table and stream compared on real servers, as a `verify` task does it; by hand, without a relay.

That it says what the delivery checker says of real relays, and of relays with bugs in them, shows
`delivery.second_opinion`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from outbox_operator.adapters import compare as comparing
from outbox_operator.adapters.compare import Range, Stretch, bounds, compare
from outbox_operator.adapters.nats.admin import JetStreamAdmin
from outbox_operator.adapters.nats.driver import WireClient
from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.dead_letters import DeadLetterStore
from outbox_operator.adapters.postgres.rows_range import RowsRange
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.errors import NatsError
from outbox_operator.plan.doctor.verdict import Verdict
from outbox_operator.plan.postgres.schema import PARTITION_WIDTH
from outbox_operator.wire.message import Place, event_head, event_source, event_time
from support.nats import NatsServer, connected
from support.outbox import publish_all
from support.relaying import NAMESPACE, PIPELINE, Outbox, an_outbox

pytestmark = pytest.mark.integration
T = TypeVar("T")
ALL = Range()
SOURCE = event_source(NAMESPACE, PIPELINE)
TIMES = ("0044-03-15 BC", "0001-01-01", "-infinity", "infinity", "2999-01-01", "294276-01-01")


@dataclass
class Stage:
    """An outbox whose rows are published by hand, and the comparison."""

    outbox: Outbox
    client: WireClient
    admin: JetStreamAdmin
    rows: RowsRange
    store: DeadLetterStore
    emission: int = 0
    sequences: dict[int, int] = field(default_factory=dict)

    async def write(self, *keys: str) -> list[int]:
        """Insert an event with each key; their positions."""
        before = [int(row["position"]) for row in await self._all()]
        for key in keys:
            await self.outbox.add(key)
        return [int(row["position"]) for row in await self._all()][len(before) :]

    async def _all(self) -> list[Any]:
        return await self.outbox.connection.fetch(
            "SELECT position, event_id, event_type, partition_key, "
            "greatest(least(created_at, now()), to_timestamp(0)) AS created_at "
            "FROM outbox.events ORDER BY position"
        )

    async def publish(
        self, positions: Iterable[int], *, extra: str = "", again: str = "", placed: bool = True
    ) -> None:
        """Store the messages of these rows, in this order.

        Args:
            positions: Of the rows.
            extra: Further headers.
            again: Put behind the message's id, so that the stream takes it once more.
            placed: As a relay does it, not as an application.
        """
        rows = {int(row["position"]): row for row in await self._all()}
        for position in positions:
            row = rows[position]
            self.emission += 1
            head = event_head(
                event_id=str(row["event_id"]), event_type=row["event_type"],
                partition_key=row["partition_key"], source=SOURCE,
                time=event_time(row["created_at"]), content_type="application/json", mark=again,
                place=Place(0, position, self.emission) if placed else None,
            )  # fmt: skip
            headers = dict(line.split(": ", 1) for line in (head + extra).splitlines())
            answer = await self.client.request(
                f"{self.outbox.prefix}.created", b"{}", headers=headers
            )
            document = json.loads(answer.data)
            assert not document.get("duplicate"), position
            self.sequences[position] = int(document["seq"])

    async def publish_all(self, *keys: str) -> list[int]:
        """Insert events, store them, and move the cursor behind them; without keys: all rows."""
        positions = await self.write(*keys)
        if not keys:
            positions = [int(row["position"]) for row in await self._all()]
        await self.publish(positions)
        await self.done()
        return positions

    async def done(self) -> None:
        """What is committed is published, says the cursor."""
        await publish_all(self.outbox.connection, "outbox")

    async def delete(self, position: int) -> None:
        """Take the message of a row out of the stream."""
        verb = f"$JS.API.STREAM.MSG.DELETE.{self.outbox.prefix}"
        body = json.dumps({"seq": self.sequences[position]}).encode()
        await self.client.request(verb, body)

    async def lend(self, work: Callable[[RowsRange], Awaitable[T]]) -> T:
        """What reads the rows."""
        return await work(self.rows)

    async def verdict(self, wanted: Range = ALL, *, window_rows: int = 1000) -> Verdict:
        """What a comparison says."""
        return (await self.windows(wanted, window_rows=window_rows))[0]

    async def windows(self, wanted: Range, *, window_rows: int) -> tuple[Verdict, list[int]]:
        """What it says, and where each of its windows ended."""
        within = await bounds(self.rows, wanted)
        whole, ends = Verdict(), []
        if within.unproven:
            whole.cannot(within.unproven)
        of = Stretch(
            stream=self.outbox.prefix, subject_filter=f"{self.outbox.prefix}.>", source=SOURCE,
            ordered=True,
        )  # fmt: skip
        while within.low < within.high:
            one = await compare(self.lend, self.admin, of, within, window_rows=window_rows)
            whole = whole.merged(one.verdict)
            ends.append(one.next)
            within = replace(within, low=one.next)
        return whole, ends


@pytest.fixture
async def stage(database: str, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Stage]:
    target = parse_url(database)
    async with (
        an_outbox(database, nats_server, tmp_path) as outbox,
        connected(nats_server) as client,
    ):
        connection = await connect(target, application_name="test", guarded=True)
        try:
            yield Stage(
                outbox, client, JetStreamAdmin(client, nats_server.auth),
                RowsRange(connection, target, "outbox"),
                DeadLetterStore(outbox.connection, target, "outbox"),
            )  # fmt: skip
        finally:
            await connection.close()


def found(verdict: Verdict) -> dict[str, int]:
    """What was counted."""
    return {word: count for word, count in verdict.counts.items() if count}


async def test_all_is_in_the_stream_once_and_in_order(stage: Stage) -> None:
    await stage.publish_all("a", "b", "a")

    verdict = await stage.verdict()

    assert (verdict.rows, verdict.messages, found(verdict)) == (3, 3, {})
    assert verdict.unproven == []


async def test_a_message_that_was_deleted_is_missing(stage: Stage) -> None:
    positions = await stage.publish_all("a", "b", "c")
    await stage.delete(positions[1])

    verdict = await stage.verdict()

    assert found(verdict) == {"lost": 1}
    assert f"position {positions[1]} shard 0" in verdict.examples["lost"][0]


async def test_a_message_that_was_stored_twice(stage: Stage) -> None:
    positions = await stage.publish_all("a", "b")
    await stage.publish(positions[:1], again="+")

    verdict = await stage.verdict()

    assert found(verdict) == {"duplicate": 1}
    assert f"position {positions[0]} at sequence 3" in verdict.examples["duplicate"][0]


async def test_a_replay_is_no_second_message(stage: Stage) -> None:
    await stage.publish_all("a", "b")
    copies = await stage.outbox.connection.fetch(
        "INSERT INTO outbox.events (event_id, event_type, partition_key, payload, replay) "
        "SELECT event_id, event_type, partition_key, payload, '{}' FROM outbox.events "
        "ORDER BY position RETURNING position"
    )
    positions = [row["position"] for row in copies]
    await stage.publish(positions, again=":task", extra="Outbox-Replay: task\r\n")
    await stage.done()

    assert found(await stage.verdict()) == {"replayed": 2}


async def test_messages_in_swapped_order(stage: Stage) -> None:
    first, second, other = await stage.write("a", "a", "b")
    await stage.publish([other, second, first])
    await stage.done()

    verdict = await stage.verdict()

    assert found(verdict) == {"reordered": 1}
    assert f"of key 'a' position {second} came before it" in verdict.examples["reordered"][0]


async def test_what_waits_or_is_set_aside_is_not_missing(stage: Stage) -> None:
    await stage.publish_all("a")
    dead, renewed, purged = await stage.write("d", "r", "p")
    for position in (dead, renewed, purged):
        await stage.outbox.connection.execute(
            "INSERT INTO outbox.dead_letters SELECT position, shard, event_id, event_type, "
            "partition_key, routing_key, payload, headers, created_at, 'InvalidSubject' "
            "FROM outbox.events WHERE position = $1",
            position,
        )
    await stage.done()
    assert await stage.store.release([renewed]) == [renewed]
    assert await stage.store.purge([purged]) == [purged]

    assert found(await stage.verdict()) == {
        "deadLettered": 1, "replayed": 1, "waiting": 1, "givenUp": 1,
    }  # fmt: skip


@pytest.mark.parametrize("copied", [False, True], ids=["another event", "a replay of it"])
async def test_a_row_of_the_same_moment_does_not_stand_for_a_lost_one(
    stage: Stage, copied: bool
) -> None:
    lost, kept = await stage.write("a", "a")
    await stage.outbox.connection.execute("UPDATE outbox.events SET created_at = now()")
    if copied:
        await stage.outbox.connection.execute(
            "UPDATE outbox.events e SET event_id = o.event_id, replay = '{}' "
            "FROM outbox.events o WHERE e.position = $1 AND o.position = $2",
            kept, lost,
        )  # fmt: skip
    await stage.publish([kept])
    await stage.done()

    assert found(await stage.verdict()) == {"lost": 1}


async def test_what_may_have_been_given_up_before_the_schema_noted_it(stage: Stage) -> None:
    (position,) = await stage.write("a")
    await stage.done()
    for row, said in (("now()", True), ("(SELECT min(created_at) FROM outbox.events)", False)):
        await stage.outbox.connection.execute(
            "INSERT INTO outbox.schema_version (version, plan_hash, operator_version, applied_at) "
            f"VALUES (4, '', '', now() - interval '1 year'), (5, '', '', {row}) "
            "ON CONFLICT (version) DO UPDATE SET applied_at = excluded.applied_at"
        )
        verdict = await stage.verdict()
        assert found(verdict) == {"lost": 1}, position
        assert ["left no trace" in one for one in verdict.unproven] == [True] * said


async def test_what_was_sent_again_is_not_lost_any_more(stage: Stage) -> None:
    positions = await stage.publish_all(*"abcdef")
    for position in positions[1:5:3]:
        await stage.delete(position)
    verdict = await stage.verdict()
    assert verdict.lost == [(position, position) for position in positions[1:5:3]]

    async def again(index: int, task: str, to: str | None = None, *, stored: bool = True) -> None:
        """As a replay does, which copies no copies."""
        position = await stage.outbox.connection.fetchval(
            "INSERT INTO outbox.events (event_id, event_type, partition_key, payload, replay) "
            "SELECT event_id, event_type, partition_key, payload, jsonb_strip_nulls("
            "jsonb_build_object('name', $2::text, 'to', $3::text, 'of', position)) "
            "FROM outbox.events WHERE position = $1 RETURNING position",
            positions[index], task, to,
        )  # fmt: skip
        if stored:
            extra = f"Outbox-Replay: {task}\r\n" + (f"Outbox-Replay-To: {to}\r\n" if to else "")
            await stage.publish([position], again=f":{task}", extra=extra)
        await stage.done()

    await again(1, "one", "billing")
    verdict = await stage.verdict()
    assert found(verdict) == {"lost": 2, "replayed": 1}
    assert verdict.examples["lost"][0].endswith(", sent again to billing alone")

    await again(1, "two", stored=False)  # and this copy gets lost
    verdict = await stage.verdict()
    assert found(verdict) == {"lost": 3, "replayed": 1}
    assert verdict.lost == [(positions[1], positions[1]), (positions[4], positions[4])]

    await again(1, "three")
    await again(4, "three")
    verdict = await stage.verdict()
    assert found(verdict) == {"replayed": 6}, "3 messages, and 3 rows that have none of their own"
    assert (verdict.clean, verdict.lost) == (True, [])
    # The copies are behind what is compared.
    before = await stage.verdict(Range(high=positions[-1] + 1))
    assert found(before) == {"replayed": 2}


@pytest.mark.parametrize("time", TIMES)
async def test_whatever_time_a_writer_gives(
    stage: Stage, time: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "SLACK", timedelta(0))  # all was published long before
    await stage.outbox.connection.execute(
        "INSERT INTO outbox.events (event_type, payload, created_at) "
        f"SELECT 'created', '{{}}', '{time}' FROM generate_series(1, 2)"
    )
    positions = await stage.publish_all()

    verdict = await stage.verdict()
    assert (verdict.rows, verdict.messages, found(verdict)) == (2, 2, {})

    await stage.delete(positions[1])
    verdict = await stage.verdict()
    assert found(verdict) in ({"lost": 1}, {"expired": 1})
    assert verdict.unproven or not verdict.clean


async def test_an_application_that_sends_by_itself(stage: Stage) -> None:
    positions = await stage.write("a", "b")
    await stage.publish(positions, placed=False)
    await stage.done()

    assert found(await stage.verdict()) == {"sent": 2}


async def test_messages_of_no_row_and_of_others(stage: Stage) -> None:
    await stage.publish_all("a", "b", "c")
    await stage.outbox.connection.execute("DELETE FROM outbox.events WHERE partition_key = 'b'")
    await stage.client.request(f"{stage.outbox.prefix}.by.hand", b"{}")

    assert found(await stage.verdict()) == {"phantom": 1, "foreign": 1}


async def test_what_the_stream_does_not_hold_any_more_is_not_proved(stage: Stage) -> None:
    await stage.outbox.update_stream(max_age=3600 * 10**9)
    positions = await stage.publish_all("a", "b", "c")
    await stage.outbox.connection.execute(
        "UPDATE outbox.events SET created_at = created_at - interval '1 day' WHERE position < $1",
        positions[2],
    )
    for position in positions[:2]:
        await stage.delete(position)

    verdict = await stage.verdict()

    assert found(verdict) == {"expired": 2}
    assert "the stream holds nothing from before" in verdict.unproven[0]

    await stage.delete(positions[2])
    verdict = await stage.verdict()
    assert found(verdict) == {"expired": 2, "lost": 1}, "too young to be gone by its age"
    assert verdict.unproven == ["the stream holds nothing: 2 rows cannot be compared"]


@pytest.mark.parametrize("how", ["purged", "purged up to one", "made anew"])
async def test_what_no_limit_can_have_taken_is_lost(stage: Stage, how: str) -> None:
    positions = await stage.publish_all("a", "b", "c")
    kept = 0
    if how == "made anew":
        await stage.outbox.delete_stream()
        await stage.outbox.create_stream(max_age=3600 * 10**9)
    else:
        kept = int(how != "purged")
        only = json.dumps({"keep": kept}).encode()
        await stage.client.request(f"$JS.API.STREAM.PURGE.{stage.outbox.prefix}", only, timeout=5)
    for more in ("", "de"):
        if more:
            await stage.publish_all(*more)
        verdict = await stage.verdict()
        assert found(verdict) == {"lost": 3 - kept}
        assert f"position {positions[0]} " in verdict.examples["lost"][0]
        assert verdict.examples["lost"][0].endswith(", before all that the stream holds")
        assert verdict.unproven == []


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ({"retention": "workqueue"}, "until they are handled (retention workqueue)"),
        ({"max_msgs_per_subject": 1}, "maxMessagesPerSubject"),
        ({"allow_rollup_hdrs": True}, "allowRollup"),
    ],
)
async def test_a_stream_that_drops_from_between_proves_nothing(
    stage: Stage, field: dict[str, Any], wanted: str
) -> None:
    await stage.outbox.delete_stream()
    await stage.outbox.create_stream(**field)
    await stage.write("a")
    await stage.done()

    verdict = await stage.verdict()

    assert verdict.clean
    assert found(verdict) == {"expired": 1}
    assert wanted in verdict.unproven[0]


async def test_ranges_by_position_and_by_time(stage: Stage) -> None:
    positions = await stage.publish_all("a", "b", "c", "d")
    middle = datetime.now(UTC)
    later = await stage.publish_all("e")

    one = await stage.verdict(Range(low=positions[1], high=positions[3]))
    before, after = (
        await stage.verdict(Range(until=middle)),
        await stage.verdict(Range(since=middle)),
    )

    assert (one.rows, before.rows, after.rows) == (2, 4, 1)
    assert one.clean
    assert before.clean
    assert len(later) == 1
    assert (await stage.verdict(Range(since=datetime.now(UTC)))).rows == 0


async def test_windows_are_compared_one_by_one_across_jumps_of_the_sequence(stage: Stage) -> None:
    positions = await stage.publish_all("a", "b", "a")
    sequence = "outbox.events_position_seq"
    await stage.outbox.connection.execute(f"SELECT setval('{sequence}', {PARTITION_WIDTH + 5})")
    positions += await stage.publish_all("a", "b")
    await stage.delete(positions[3])
    await stage.publish(positions[:1], again="+")

    verdict, ends = await stage.windows(Range(), window_rows=2)

    assert ends == [positions[1] + 1, positions[3] + 1, positions[4] + 1]
    assert found(verdict) == {"lost": 1, "duplicate": 1}


async def test_rows_that_were_pruned_are_not_proved(stage: Stage) -> None:
    old = await stage.publish_all("a", "b")
    connection = stage.outbox.connection
    await connection.execute(f"SELECT setval('outbox.events_position_seq', {PARTITION_WIDTH + 5})")
    await stage.publish_all("c")
    await connection.execute("TRUNCATE outbox.events_p0")

    verdict = await stage.verdict(Range(low=old[0]))

    assert (verdict.rows, found(verdict)) == (1, {})
    assert "are not in the table any more" in verdict.unproven[0]
    await connection.execute("TRUNCATE outbox.events")
    assert "holds no rows" in (await stage.verdict()).unproven[0]


async def test_rows_below_position_zero_are_not_proved(stage: Stage) -> None:
    """A relay publishes them; the ranges of tasks, and positions in messages, begin at 0."""
    insert = (
        "INSERT INTO outbox.events (position, event_type, partition_key, payload) "
        "OVERRIDING SYSTEM VALUE VALUES (-5, 'created', 'k', '{}')"
    )
    await stage.outbox.connection.execute(insert)
    alone = await stage.verdict()
    positions = await stage.publish_all("a")

    verdict, behind = await stage.verdict(), await stage.verdict(Range(low=positions[0]))

    assert (alone.rows, verdict.rows, found(verdict)) == (0, 1, {})
    assert "positions below 0" in alone.unproven[0]
    assert "positions below 0" in verdict.unproven[0]
    assert behind.unproven == []


async def test_rows_that_were_not_looked_at_are_not_accounted_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "MOST_LEFT", 1)
    monkeypatch.setattr(comparing, "_PAGE", 1)
    positions = await stage.publish_all("a", "b", "c")
    await stage.write("d")
    for position in positions:
        await stage.delete(position)

    verdict = await stage.verdict()

    assert found(verdict) == {"lost": 1, "unknown": 2, "waiting": 1}
    assert "more than 1 rows have no message" in verdict.unproven[0]


async def test_a_stream_that_is_gone_is_no_verdict(stage: Stage) -> None:
    await stage.publish_all("a")
    await stage.outbox.delete_stream()

    with pytest.raises(NatsError, match="does not exist"):
        await stage.verdict()
