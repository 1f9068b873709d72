"""From a stream to rows on real servers: each event once, whatever it is and whoever dies."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
from pathlib import Path

import pytest

from outbox_operator.wire.config import encode
from support.archiving import ArchivePlace, Stream, relayed, write_process, writing
from support.waiting import eventually, wait_until

pytestmark = pytest.mark.integration


async def gaps(place: ArchivePlace) -> list[tuple[int, int]]:
    rows = await place.root.fetch("SELECT first, last FROM archive.gaps ORDER BY first")
    return [(row["first"], row["last"]) for row in rows]


async def test_an_event_is_a_row_with_all_that_it_is_found_by(
    place: ArchivePlace, stream: Stream
) -> None:
    async with writing(place.config) as app:
        await stream.emit([1], more={"Ce-Correlationid": "c%201"})
        await stream.settled()
    [row] = await place.rows()
    assert dict(row) | {"archived_at": None, "stored_at": None, "headers": None} == {
        "class": "orders", "stored_at": None, "id": row["id"], "type": "order.placed",
        "key": "k1", "source": "/shop/orders", "subject": f"{stream.subject}.x", "sequence": 1,
        "shard": 0, "emission": 1, "position": 2, "occurred_at": row["occurred_at"],
        "archived_at": None, "headers": None, "payload": '{"n": 1, "actor": {"id": "a1"}}',
        "raw": None, "payload_bytes": 31, "payload_sha256": None, "note": None,
        "actor": "a1", "correlation": "c 1",
    }  # fmt: skip
    assert str(row["id"]) == relayed(1)["Ce-Id"]
    assert row["occurred_at"].isoformat() == "2026-03-01T12:00:00.123456+00:00"
    assert json.loads(row["headers"])["Ce-Type"] == "order.placed"
    labels = {"namespace": "shop", "consumer": "audit", "class": "orders"}
    registry = app.metrics.registry
    assert registry.get_sample_value("outbox_archive_events_total", labels) == 1


POISON: dict[str, tuple[bytes, dict[str, str] | None]] = {
    "no headers": (b'{"a": 1}', None),
    "nothing": (b"", None),
    "no json": (b"{", {"Content-Type": "application/json"}),
    "binary": (bytes(range(256)), {"Content-Type": "application/octet-stream"}),
    "nul": (b'{"a": "\\u0000"}', None),
    "half a pair": (b'{"a": "\\ud800"}', None),
    "digits": (b'{"a": ' + b"9" * 5000 + b"}", None),
    "exponent": (b'{"a": 1e200000}', None),
    "nested": (b"[" * 3000 + b"]" * 3000, None),
    "long names": (b"{}", relayed(2) | {"Ce-Partitionkey": "k" * 9000, "Ce-Type": "t" * 5000}),
    "odd names": (b"{}", {"Ce-Type": "a%00b", "Ce-Id": "x%00", "Ce-Source": "%FF%FE"}),
    "bad times": (b"{}", {"Ce-Time": "0001-01-01T00:00:00+14:00", "Ce-Id": "1"}),
    "bad numbers": (b"{}", relayed(4) | {"Outbox-Emission": "9" * 30, "Outbox-Shard": "-1"}),
    "an escape": (b'{"a": "\\ud83d\\ude00 \\\\u0000"}', None),
    "long column": (json.dumps({"actor": {"id": "é" * 5000}}).encode(), None),
}


async def test_poison_is_stored_with_a_note_and_holds_nothing_up(
    place: ArchivePlace, stream: Stream
) -> None:
    for data, headers in POISON.values():
        await stream.publish(data, headers)
    await stream.emit([1])
    async with writing(place.config):
        await stream.settled()
    rows = dict(zip([*POISON, "good"], await place.rows(), strict=True))
    assert rows["good"]["note"] is None
    noted = {name for name, row in rows.items() if row["note"] is not None}
    assert noted == {
        "no json", "nul", "half a pair", "digits", "exponent", "nested", "long names", "odd names",
        "long column",
    }  # fmt: skip
    for name in ("no json", "nul", "half a pair", "digits", "exponent", "nested", "binary"):
        assert rows[name]["raw"] == POISON[name][0]
        assert rows[name]["payload"] is None
    assert json.loads(rows["an escape"]["payload"]) == {"a": "😀 \\u0000"}
    assert len(rows["long names"]["key"]) == 1024
    assert len(rows["long column"]["actor"].encode()) == 1024
    assert rows["bad numbers"]["emission"] is None


async def test_what_the_database_refuses_is_stored_as_bytes(
    place: ArchivePlace, stream: Stream
) -> None:
    """Whatever we did not think of: here a rule of the database's own."""
    await place.root.execute(
        "CREATE FUNCTION archive.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF NEW.payload ->> 'n' = '5' THEN RAISE EXCEPTION 'no' USING ERRCODE = '22023'; END IF; "
        "RETURN NEW; END $$"
    )
    await place.root.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON archive.events FOR EACH ROW "
        "EXECUTE FUNCTION archive.refuse()"
    )
    await stream.emit(range(1, 11))
    async with writing(place.config):
        await stream.settled()
    rows = await place.rows()
    assert [row["sequence"] for row in rows] == list(range(1, 11))
    assert [row["sequence"] for row in rows if row["note"]] == [5]
    assert await gaps(place) == []


async def test_what_is_redacted_is_nowhere(place: ArchivePlace, stream: Stream) -> None:
    place.rules(redact=("$.card.number", "$.lines[*].secret"))
    secret = b'{"card": {"number": "4111-x", "cvc": 1.50}, "lines": [{"secret": "4111-x", "n": 2}]}'
    await stream.publish(secret, relayed(1))
    await stream.publish(b'{"card": {"number": "4111-x"', relayed(2))
    await stream.publish(b"4111-x", relayed(3) | {"Content-Type": "text/plain"})
    async with writing(place.config):
        await stream.settled()
    first, *others = await place.rows()
    assert json.loads(first["payload"]) == {"card": {"cvc": 1.5}, "lines": [{"n": 2}]}
    assert "1.50" in first["payload"]
    for row in others:
        assert (row["payload"], row["raw"]) == (None, None)
        assert "withheld" in row["note"]
        assert len(row["payload_sha256"]) == 32
    assert not any("4111" in str(dict(row)) for row in [first, *others])


async def test_an_event_that_is_published_again_is_stored_once(
    place: ArchivePlace, stream: Stream
) -> None:
    await stream.emit([1, 2, 3])
    async with writing(place.config) as app:
        await stream.settled()
        await stream.emit([2, 3, 4])
        await stream.settled()
        replay = {"Outbox-Replay": "r"}
        await place.root.execute("UPDATE archive.events SET stored_at = stored_at - interval '3d'")
        await stream.publish(b"{}", relayed(1) | replay)
        await stream.publish(b"{}", relayed(99) | replay | {"Outbox-Replay-To": "other"})
        # What the stream has no more, or never had, is stored: an archive begins before its stream.
        before = relayed(7) | replay | {"Outbox-Replay-To": "audit", "Outbox-Predecessor": "4"}
        await stream.publish(b"{}", before)
        await stream.publish(b"{}", before | {"Outbox-Replay": "r2"})
        await stream.settled()
    assert sorted(row["emission"] for row in await place.rows("emission")) == [1, 2, 3, 4, 7]
    labels = {"namespace": "shop", "consumer": "audit"}
    for name, count in (("duplicates", 4), ("for_others", 1)):
        found = app.metrics.registry.get_sample_value(f"outbox_archive_{name}_total", labels)
        assert found == count


async def test_what_a_replay_sent_has_no_other_looked_for_in_the_whole_archive(
    place: ArchivePlace, stream: Stream
) -> None:
    """One such message now and then: each look of all the others went through all partitions."""
    await place.root.execute(
        "INSERT INTO archive.events (class, stored_at, id, type, source, subject, sequence, "
        "occurred_at, headers, payload_bytes) SELECT 'default', now() - interval '5 days', "
        "gen_random_uuid(), 'a', '/s', 'a', 0, now(), '{}', 0"
    )
    await place.upkeep()
    old = await place.root.fetchval("SELECT tableoid::regclass::text FROM archive.events")

    async def looks() -> tuple[int, int]:
        """Into that partition, and into all others."""
        row = await place.root.fetchrow(
            "SELECT sum(idx_scan) FILTER (WHERE relid = $1::regclass)::int, "
            "sum(idx_scan) FILTER (WHERE relid <> $1::regclass AND relname LIKE 'rows_%')::int "
            "FROM pg_stat_user_tables",
            old,
        )
        assert row is not None
        return row[0], row[1]

    for number in range(1, 61):
        replayed = {"Outbox-Replay": "r"} if number == 30 else {}
        await stream.publish(b"{}", relayed(number) | replayed)
    before, others_before = await looks()
    async with writing(place.config):
        await stream.settled()

    async def counted() -> int | None:
        found, others = await looks()
        return found - before if others - others_before >= 60 else None

    assert await eventually(counted, "all looks are counted") in (1, 2)
    assert len(await place.rows("id")) == 61


async def test_what_is_missing_is_known_until_it_comes(place: ArchivePlace, stream: Stream) -> None:
    async with writing(place.config):
        await stream.emit([1, 2, 3])
        await stream.emit([10, 11], predecessor=3)  # a jump that is meant
        await stream.emit([14, 15])
        await stream.emit([20], predecessor=17)
        await stream.settled()
        assert await gaps(place) == [(12, 13), (16, 17)]
        await stream.emit([16, 17, 13])
        await stream.settled()
        assert await gaps(place) == [(12, 12)]
        window = await place.root.fetchrow("SELECT * FROM archive.gaps")
        assert window is not None
        assert window["sent_after"] < window["sent_before"]
        await stream.emit([12])
        await stream.settled()
    assert await gaps(place) == []
    assert await place.root.fetchval("SELECT count(*) FROM archive.ledger") == 1


async def test_a_consumer_that_cannot_be_archived_is_refused_by_name(
    place: ArchivePlace, stream: Stream
) -> None:
    other = dataclasses.replace(place.config, durable="all")
    stream.durable = "all"
    await stream.make_durable(ack_policy="all")
    async with writing(other) as app:
        await eventually(
            lambda: "wanted explicit, found all" in app.checks["consumer"]()[1], "refused"
        )
    lacking = dataclasses.replace(place.config.rules, extract={"tenant": "$.tenant"})
    async with writing(dataclasses.replace(place.config, rules=lacking)) as app:
        await eventually(
            lambda: (
                "column tenant is not there yet; run: outbox archive migrate"
                in app.checks["database"]()[1]
            ),
            "refused",
        )
    async with writing(dataclasses.replace(place.config, owner_uid="rival")) as app:
        await eventually(
            lambda: "mark of another archive" in app.checks["database"]()[1], "refused"
        )
    assert await place.rows() == []


async def test_kill_9_loses_nothing_and_doubles_nothing(
    place: ArchivePlace, stream: Stream, tmp_path: Path
) -> None:
    place.change(batch_events=50)
    document = tmp_path / "config.json"
    document.write_text(encode(place.config))
    publishing = asyncio.create_task(stream.emit(range(1, 1501)))
    count = "SELECT count(*) FROM archive.events"
    for wanted in (50, 500):
        writer = write_process(document)
        try:

            async def far_enough(wanted: int = wanted) -> bool:
                return bool(await place.root.fetchval(count) >= wanted)

            await eventually(far_enough, f"{wanted} rows")
        finally:
            writer.send_signal(signal.SIGKILL)
            writer.wait(60)
    writer = write_process(document)
    try:
        await publishing
        await stream.settled()
        writer.send_signal(signal.SIGTERM)
        wait_until(lambda: writer.poll() is not None, "the writer's end")
    finally:
        writer.kill()
        writer.wait(60)
    assert writer.returncode == 0
    assert [row["emission"] for row in await place.rows("emission")] == list(range(1, 1501))
    assert await gaps(place) == []


async def test_a_database_that_goes_away_is_waited_for(place: ArchivePlace, stream: Stream) -> None:
    async with writing(place.config) as app:
        await stream.emit([1])
        await stream.settled()
        for _ in range(3):
            await place.root.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name LIKE 'outbox-archive %' AND datname = current_database()"
            )
            await stream.emit([2, 3])
        await stream.emit([4])
        await stream.settled()
        assert app.checks["database"]()[0]
    assert sorted(row["emission"] for row in await place.rows("emission")) == [1, 2, 3, 4]


async def test_a_login_that_changed_is_read_again_in_the_middle_of_a_batch(
    place: ArchivePlace, stream: Stream
) -> None:
    async with writing(place.config) as app:
        await stream.emit([1])
        await stream.settled()
        await place.root.execute(f"ALTER ROLE \"{place.writer}\" PASSWORD 'another'")
        await place.root.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'outbox-archive %' AND datname = current_database()"
        )
        await stream.emit([2])
        await eventually(
            lambda: "CredentialsRejected" in app.checks["database"]()[1], "the login is refused"
        )
        place.write_login(place.writer, password="another")
        await stream.settled()
    assert [row["emission"] for row in await place.rows("emission")] == [1, 2]
