"""What was archived is sealed: whoever changes, deletes, inserts or forges is named."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from outbox_operator.adapters.postgres.archive_seals import seal_of
from outbox_operator.adapters.postgres.queries import statement
from outbox_operator.cli import archive_keeping as keeping
from outbox_operator.errors import ConflictError, SpecError
from outbox_operator.wire.archive import ArchiveSealing
from support.archiving import ArchivePlace
from support.waiting import eventually

pytestmark = pytest.mark.integration

ADD = """
INSERT INTO archive.events (class, stored_at, id, type, key, source, subject, sequence, occurred_at,
                            headers, payload, payload_bytes, actor)
SELECT $1, $2::timestamptz - n * interval '1 second',
       ('00000000-0000-0000-0000-' || lpad((1000 * $4::int + n)::text, 12, '0'))::uuid,
       'order.placed', 'k' || n, '/s', 'a', n, now(), '{"A": "b"}',
       '{"n": 1, "text": "a \\"quoted\\" one"}', 20,
       CASE WHEN n % 2 = 0 THEN 'a' || n END
FROM generate_series(1, $3::int) n
"""


def quarter(back: int) -> datetime:
    """Ten minutes into a quarter of an hour, so many before this one."""
    start = datetime.now(UTC).timestamp() // 900 * 900
    return datetime.fromtimestamp(start - 900 * back + 600, UTC)


def private_key(folder: Path, name: str) -> str:
    path = folder / f"{name}.pem"
    subprocess.run(
        ["openssl", "genpkey", "-algorithm", "ed25519", "-out", path], check=True, timeout=60
    )
    return str(path)


def public_key(private: Path) -> str:
    path = private.with_suffix(".pub")
    command = ["openssl", "pkey", "-in", str(private), "-pubout", "-out", str(path)]
    subprocess.run(command, check=True, timeout=60)
    return str(path)


def text_of(path: str) -> str:
    return Path(path).read_text()


async def verified(place: ArchivePlace, **options: object) -> tuple[bool, tuple[str, ...]]:
    """As the reader, who may do no more."""
    path = place.login_file(place.reader)
    return await keeping.verify(place.config, login_file=path, **options)  # type: ignore[arg-type]


@pytest.fixture
async def archive(place: ArchivePlace, tmp_path: Path) -> ArchivePlace:
    """Two rounds of seals over two classes, signed."""
    key = private_key(tmp_path, "key")
    await place.migrate()
    place.change(sealing=ArchiveSealing(key_file=key, every_seconds=0, after_seconds=0))
    await place.root.execute(ADD, "orders", quarter(1), 5, 1)
    await place.root.execute(ADD, "default", quarter(100), 3, 2)
    await place.upkeep()
    await place.root.execute(ADD, "orders", quarter(9), 4, 3)
    await place.upkeep()
    return place


async def test_what_nobody_touched_is_as_it_was(archive: ArchivePlace) -> None:
    await archive.upkeep()
    well, said = await verified(archive)
    assert well, said
    assert said[0] == (
        "12 events are as they were sealed, 0 were dropped by retention, 0 are not sealed yet"
    )
    # New columns and other habits of a login change nothing of it.
    archive.rules(extract={**archive.config.rules.extract, "tenant": "$.tenant"})
    await archive.migrate()
    for setting in ("TimeZone = 'Asia/Kolkata'", "DateStyle = 'German'", "bytea_output = 'escape'"):
        await archive.root.execute(f'ALTER ROLE "{archive.reader}" SET {setting}')
    assert (await verified(archive))[0]
    # Seals that somebody wrote down are there still.
    head = said[-1].rpartition(" ")[2]
    await archive.root.execute(ADD, "orders", quarter(1), 2, 4)
    assert (await verified(archive, known=[head]))[1][0].endswith("2 are not sealed yet")
    await archive.upkeep()
    well, said = await verified(archive, known=[head])
    assert well
    assert said[0].startswith("14 events")


async def test_rows_with_one_id_and_one_moment_are_told_apart_wherever_they_are(
    archive: ArchivePlace,
) -> None:
    """A dump, or a move into another partition, puts them in another order."""
    sources = ["/s/B", "/s/a", "/s/é", "/S/c", "/s", "/s-"]
    again = (
        "INSERT INTO archive.events SELECT (e #= hstore('source', $2)).* FROM archive.events e "
        "WHERE id = $1 AND source = '/s'"
    )
    first = "00000000-0000-0000-0000-000000001001"
    await archive.root.execute("CREATE EXTENSION IF NOT EXISTS hstore")
    for source in sources:
        if source != "/s":
            await archive.root.execute(again, first, source)
    await archive.root.execute(
        "UPDATE archive.events SET archived_at = clock_timestamp() "
        "WHERE id = $1 AND source <> '/s'",
        first,
    )
    await archive.upkeep()
    well, said = await verified(archive)
    assert well, said
    for order in ("source DESC", 'source COLLATE "C"', "md5(source)"):
        await archive.root.execute(
            "WITH gone AS (DELETE FROM archive.events WHERE id = $1 RETURNING *), "
            f"sorted AS (SELECT * FROM gone ORDER BY {order}) "
            "INSERT INTO archive.events SELECT * FROM sorted",
            first,
        )
        well, said = await verified(archive)
        assert well, said
    await archive.root.execute(
        "UPDATE archive.events SET source = '/s/b' WHERE id = $1 AND source = '/s/a'", first
    )
    well, said = await verified(archive)
    assert not well
    assert re.search(f"event {first} of .* was changed", "\n".join(said))


FIRST = "00000000-0000-0000-0000-000000001003"
TAMPERINGS = {
    "a payload": (
        f"UPDATE archive.events SET payload = '{{\"n\": 2}}' WHERE id = '{FIRST}'",
        f"event {FIRST} of .* was changed since it was sealed: type 'order.placed', sequence 3",
    ),
    "an extracted column": (
        "UPDATE archive.events SET actor = 'somebody' WHERE sequence = 2 AND class = 'default'",
        "event 00000000-0000-0000-0000-000000002002 of .* was changed",
    ),
    "nothing for an empty text": (
        f"UPDATE archive.events SET note = '' WHERE id = '{FIRST}'",
        f"event {FIRST} of .* was changed",
    ),
    "a deleted row": (
        f"DELETE FROM archive.events WHERE id = '{FIRST}'",
        f"event {FIRST} of .* was deleted: seal 2 ",
    ),
    "a row that was moved to another time": (
        f"UPDATE archive.events SET stored_at = stored_at - interval '1 ms' WHERE id = '{FIRST}'",
        f"event {FIRST} of .* was inserted: seal 2 ",
    ),
    "a row that was moved to another class": (
        f"UPDATE archive.events SET class = 'default' WHERE id = '{FIRST}'",
        f"event {FIRST} of .* was deleted: seal 2 ",
    ),
    "an inserted row": (
        "INSERT INTO archive.events SELECT (e #= hstore('id', gen_random_uuid()::text)).* "
        f"FROM archive.events e WHERE id = '{FIRST}'",
        "event .* was inserted: seal 2 .* does not have it",
    ),
    "a row inserted where there was none": (
        "INSERT INTO archive.events SELECT (e #= hstore('stored_at', '2026-01-01')).* "
        f"FROM archive.events e WHERE id = '{FIRST}'",
        f"event {FIRST} was inserted: class orders has 1 row of 2026-01-01 00:00",
    ),
    "a row of long ago": (
        "INSERT INTO archive.events SELECT (e #= hstore(ARRAY['id', 'archived_at'], "
        "ARRAY[gen_random_uuid()::text, '1960-01-01'])).* "
        f"FROM archive.events e WHERE id = '{FIRST}'",
        "1 row was inserted that says it is older than any",
    ),
    "a row of before all times": (
        "INSERT INTO archive.events SELECT (e #= hstore(ARRAY['id', 'archived_at'], "
        "ARRAY[gen_random_uuid()::text, '-infinity'])).* "
        f"FROM archive.events e WHERE id = '{FIRST}'",
        "1 row was inserted that says it is older than any",
    ),
    "a row of a time that never comes": (
        "INSERT INTO archive.events SELECT (e #= hstore(ARRAY['id', 'archived_at'], "
        "ARRAY['00000000-0000-0000-0000-000000009999', 'infinity'])).* "
        f"FROM archive.events e WHERE id = '{FIRST}'",
        "1 row says that it was archived later than now, event .*9999 for example",
    ),
    "a row that no stream stored": (
        "INSERT INTO archive.events SELECT (e #= hstore('stored_at', 'infinity')).* "
        f"FROM archive.events e WHERE id = '{FIRST}'",
        f"event {FIRST} was inserted: type 'order.placed', stored at infinity",
    ),
    "a partition": (
        "DO $$ BEGIN EXECUTE (SELECT 'TRUNCATE ' || tableoid::regclass FROM archive.events "
        f"WHERE id = '{FIRST}'); END $$",
        "event 00000000-0000-0000-0000-000000001005 of .* was deleted: seal 2",
    ),
    "a list of rows": (
        "UPDATE archive.sealed_rows SET entries = overlay(entries PLACING '\\x00' FROM 30)",
        "seal 1 .*: its list of rows was changed",
    ),
    "no list of rows": (
        "DELETE FROM archive.sealed_rows WHERE seal = 2",
        "seal 2 .*: its list of rows is gone, and retention has not taken its rows",
    ),
    "a number of rows": (
        "UPDATE archive.seals SET rows = 4 WHERE number = 2",
        "seal 2 .* was changed: its hash is of something else",
    ),
    "a seal in the middle": (
        "DELETE FROM archive.seals WHERE number = 2",
        "seal 2 is missing: 3 comes next",
    ),
    "a signature": (
        "UPDATE archive.seals SET signature = decode(repeat('00', 64), 'hex') WHERE number = 2",
        "seal 2 .* was forged: its signature is not by key ",
    ),
    "no signature": (
        "UPDATE archive.seals SET signature = NULL WHERE number = 1",
        "seal 1 .* is not signed",
    ),
    "a stretch of time that nobody sealed": (
        "DELETE FROM archive.events WHERE id = '00000000-0000-0000-0000-000000003001'; "
        "DELETE FROM archive.seals WHERE number = 3; "
        "DELETE FROM archive.sealed_rows WHERE seal = 3",
        "the chain was cut: seal 3 was there when it was noted, and the last one is 2",
    ),
}  # fmt: skip


SAVED = ("events", "seals", "sealed_rows")


async def test_who_tampers_is_named(archive: ArchivePlace) -> None:
    _, before = await verified(archive)
    known = [before[-1].rpartition(" ")[2]]
    root = archive.root
    await root.execute("CREATE EXTENSION hstore")
    for table in SAVED:
        await root.execute(f"CREATE TABLE public.{table} AS SELECT * FROM archive.{table}")
    wrong = {}
    for name, (how, wanted) in TAMPERINGS.items():
        await root.execute(how)
        well, said = await verified(archive, known=known)
        if well or not re.search(f"WRONG: {wanted}", said[0]):
            wrong[name] = said
        for table in SAVED:
            await root.execute(f"TRUNCATE archive.{table}")
            await root.execute(f"INSERT INTO archive.{table} SELECT * FROM public.{table}")
    assert wrong == {}
    assert (await verified(archive, known=known))[0], "all is as it was"


async def test_a_row_of_no_time_keeps_no_other_from_being_sealed(archive: ArchivePlace) -> None:
    odd = "UPDATE archive.events SET stored_at = $2::text::timestamptz WHERE id = $1::text::uuid"
    await archive.root.execute(ADD, "orders", quarter(1), 4, 5)
    for number, moment in enumerate(("infinity", "-infinity", "200000-01-01"), 5001):
        await archive.root.execute(odd, f"00000000-0000-0000-0000-00000000{number}", moment)
    assert any("added 1 seal" in line for line in await archive.upkeep())
    await archive.upkeep()
    well, said = await verified(archive)
    assert not well
    assert [line.partition(" was inserted")[0][-4:] for line in sorted(said[:3])] == [
        "5001", "5002", "5003"
    ]  # fmt: skip
    assert said[3].startswith("13 events are as they were sealed")


async def test_a_chain_that_is_not_the_one_that_was_there_is_not_added_to(
    archive: ArchivePlace, tmp_path: Path
) -> None:
    await archive.root.execute("UPDATE archive.seals SET sealed_at = now() WHERE number = 3")
    with pytest.raises(ConflictError, match=r"seal 3 .*, the last one, was changed"):
        await archive.upkeep()
    await archive.root.execute("DELETE FROM archive.seals WHERE number = 3")
    await archive.root.execute("UPDATE archive.seals SET signature = 'x' WHERE number = 2")
    with pytest.raises(ConflictError, match=r"seal 2 .*, the last one, was forged"):
        await archive.upkeep()


async def test_keys_that_are_not_ours_are_named_and_new_ones_go_on(
    archive: ArchivePlace, tmp_path: Path
) -> None:
    assert archive.config.sealing is not None
    before = archive.config.sealing
    other = dataclasses.replace(before, key_file=private_key(tmp_path, "other"))
    archive.change(sealing=other)
    well, said = await verified(archive)
    assert not well
    assert re.search("WRONG: seal 1 .* is signed with another key: wanted .*, found", said[0])
    # After a change of keys both are given.
    await archive.root.execute(ADD, "orders", quarter(1), 2, 4)
    await archive.upkeep()
    public = public_key(Path(str(before.key_file)))
    assert (await verified(archive, public_keys=[public]))[0]
    assert (await verified(archive, public_keys=[text_of(public)]))[0]
    # Without a key seals are there to be read, and nobody is told that they were checked.
    archive.change(sealing=None)
    well, said = await verified(archive)
    assert well
    assert "4 seals, 4 of them signed, not checked: give --public-key" in said


async def test_seals_of_before_there_was_a_key_are_as_good_as_the_first_with_one(
    place: ArchivePlace, tmp_path: Path
) -> None:
    await place.migrate()
    without = ArchiveSealing(every_seconds=0, after_seconds=0)
    key = private_key(tmp_path, "key")
    place.change(sealing=without)
    await place.root.execute(ADD, "orders", quarter(1), 5, 1)
    await place.upkeep()
    place.change(sealing=dataclasses.replace(without, key_file=key))
    well, said = await verified(place)
    assert (well, said[0]) == (False, "WRONG: no seal is signed, and there is a key")
    await place.root.execute(ADD, "orders", quarter(1), 5, 2)
    await place.upkeep()
    well, said = await verified(place)
    assert well, said
    assert said[1] == "2 seals, 1 of them signed"


async def test_what_retention_takes_leaves_its_hash(archive: ArchivePlace) -> None:
    await archive.root.execute(ADD, "default", quarter(4 * 24 * 12), 3, 5)
    sealing = archive.config.sealing
    archive.change(sealing=dataclasses.replace(sealing, key_file=None))  # type: ignore[type-var]
    # Gives them a partition, and may neither seal them nor drop it.
    well, said = await keeping.upkeep(archive.config)
    assert not well
    assert said[-1].startswith("FAILED: nothing was sealed, and no partition dropped"), said
    assert "sealing.key_file" in said[-1]
    archive.change(sealing=sealing)
    said = await archive.upkeep()
    assert any(line.startswith("dropped partition rows_default_") for line in said)
    archive.change(sealing=dataclasses.replace(sealing, key_file=None))  # type: ignore[type-var]
    well, said = await verified(archive)
    assert well, said
    assert said[0].startswith("12 events are as they were sealed, 3 were dropped by retention")
    [left] = await archive.root.fetch(
        "SELECT s.rows, (SELECT count(*) FROM archive.sealed_rows r WHERE r.seal = s.number) "
        "FROM archive.seals s "
        "WHERE s.rows = 3 AND kind = 'rows' AND low < now() - interval '9 days'"
    )
    assert tuple(left) == (3, 0)
    # Nobody can put others in their place.
    await archive.root.execute("""
        INSERT INTO archive.events (class, stored_at, id, type, source, subject, sequence,
                                    occurred_at, headers, payload_bytes, archived_at)
        SELECT class, low, gen_random_uuid(), 'forged', '/s', 'a', 1, now(), '{}', 0, archived_from
        FROM archive.seals WHERE rows = 3 AND kind = 'rows' AND low < now() - interval '9 days'
    """)
    _, said = await verified(archive)
    assert re.search("WRONG: event .* was inserted: class default has 1 row", said[0])


async def with_comment(archive: ArchivePlace, seconds: int) -> None:
    """What whoever owns the table says that events of a class are kept for."""
    comment = f'{{"keep_seconds": {seconds}}}'
    await archive.root.execute(f"COMMENT ON TABLE archive.events_orders IS '{comment}'")


async def test_a_hand_that_looks_like_retention_is_named(archive: ArchivePlace) -> None:
    """Events of this class are kept for 400 days, and go after an hour, by a comment or a hand."""
    await archive.root.execute(ADD, "orders", quarter(4 * 24 * 100), 3, 6)
    await archive.upkeep()  # a partition and a seal
    await with_comment(archive, 3600)
    assert not any(line.startswith("dropped") for line in await archive.upkeep())
    # Without the configuration, the program itself drops it, and signs that it did.
    rules = archive.config.rules
    archive.rules(retention=rules.retention[1:])
    assert any(line.startswith("dropped partition rows_orders_") for line in await archive.upkeep())
    # Who verifies says what had to be kept.
    well, said = await verified(archive)
    assert not well
    assert "nobody says how long class orders had to be kept: --kept orders=3600s" in said[0]
    assert (await verified(archive, kept=["orders=1h"]))[0]
    archive.change(rules=rules)
    well, said = await verified(archive)
    assert not well
    assert re.search(
        "WRONG: seal .*: its rows were dropped after 0.0416667 days, and class orders has to be "
        "kept for 400 days", said[0],
    )  # fmt: skip
    assert "class orders: what was dropped had been kept for 0.0416667 days or more" in said
    with pytest.raises(SpecError, match=r"--kept: wanted a class and a duration as orders=90d"):
        await verified(archive, kept=["orders"])


async def test_a_seal_of_dropped_rows_made_by_hand_is_named(archive: ArchivePlace) -> None:
    """Of a chain that nobody signs, anybody may make the next seal; not the calendar."""
    archive.change(sealing=ArchiveSealing(every_seconds=0, after_seconds=0))
    await archive.root.execute("TRUNCATE archive.seals, archive.sealed_rows")
    await archive.upkeep()
    rows = await archive.root.fetch("SELECT * FROM archive.seals ORDER BY number")
    seals = [seal_of(row) for row in rows]
    gone, last = next(seal for seal in seals if seal.class_ == "orders"), seals[-1]
    forged = dataclasses.replace(
        gone, number=last.number + 1, kind="dropped", root=bytes(32), previous=last.hash,
        archived_from=gone.low, archived_to=gone.high, sealed_at=datetime.now(UTC),
        due_at=gone.high + timedelta(days=400),
    ).closed()  # fmt: skip
    await archive.root.execute("DELETE FROM archive.events WHERE class = 'orders'")
    await archive.root.execute("DELETE FROM archive.sealed_rows WHERE seal = $1", gone.number)
    await archive.root.execute(
        statement("archive_seal_add", schema="archive"), *dataclasses.astuple(forged)
    )
    _, said = await verified(archive)
    assert re.search("its rows were dropped at .*, and were to be kept until 20", "\n".join(said))


async def test_what_was_gone_before_retention_came_stays_known(archive: ArchivePlace) -> None:
    await archive.root.execute(ADD, "default", quarter(4 * 24 * 9), 4, 7)
    await archive.upkeep()
    await archive.root.execute("DELETE FROM archive.events WHERE key = 'k2' AND sequence = 2 "
                               "AND stored_at < now() - interval '8 days'")  # fmt: skip
    archive.rules(retention=(
        archive.config.rules.retention[0],
        dataclasses.replace(archive.config.rules.retention[1], keep_seconds=7 * 86_400.0),
    ))  # fmt: skip
    well, said = await keeping.upkeep(archive.config)
    assert not well
    assert any("had 3 rows older than the last seal, and 4 were sealed" in one for one in said)
    well, said = await verified(archive)
    assert not well
    assert "3 rows went with the partition, and seals have 4" in said[0]


async def test_no_partition_goes_while_it_is_verified(archive: ArchivePlace) -> None:
    """Else what retention takes meanwhile is gone, and the seal that says so is not there yet."""
    root, look = archive.root, await archive.open(None)
    leaf = await root.fetchval(
        f"SELECT tableoid::regclass::text FROM archive.events WHERE id = '{FIRST}'"
    )

    async def waits() -> bool:
        return bool(await look.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))

    transaction = root.transaction()
    await transaction.start()
    try:
        await root.execute("LOCK TABLE archive.seals IN ACCESS EXCLUSIVE MODE")
        verifying = asyncio.create_task(verified(archive))
        await eventually(waits, "it is about to read the seals")
        await root.execute("SET LOCAL lock_timeout = '100ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await root.execute(f"DROP TABLE {leaf}")
    finally:
        await transaction.rollback()
    assert (await verifying)[0]


async def test_upkeep_runs_nothing_of_others(archive: ArchivePlace) -> None:
    """The operator of `/` that fits the statement best is not the server's own."""
    await archive.root.execute(f'GRANT CREATE ON SCHEMA public TO "{archive.writer}"')
    other = await archive.open(archive.writer)
    for kind in ("numeric", "double precision"):
        await other.execute(
            f"CREATE FUNCTION public.evil({kind}, integer) RETURNS {kind} LANGUAGE plpgsql AS $$ "
            "BEGIN RAISE 'called as %', current_user; END $$"
        )
        await other.execute(
            f"CREATE OPERATOR public./ (LEFTARG = {kind}, RIGHTARG = integer, "
            "FUNCTION = public.evil)"
        )
    await archive.root.execute(ADD, "orders", quarter(1), 2, 4)
    await archive.upkeep()
    assert (await verified(archive))[0]


async def test_a_chain_that_goes_on_no_longer_is_noticed(archive: ArchivePlace) -> None:
    await archive.root.execute("UPDATE archive.seals SET archived_to = now() - interval '1 day'")
    _, said = await verified(archive)
    assert any("either upkeep has not sealed since, or its end was cut off" in one for one in said)


async def test_without_a_seal_it_says_whether_one_is_to_come(place: ArchivePlace) -> None:
    await place.migrate()
    await place.root.execute(ADD, "orders", quarter(1), 5, 1)
    well, [said] = await verified(place)
    assert not well
    assert said.startswith("nothing is sealed: set handler.archive.sealing")
    place.change(sealing=ArchiveSealing(every_seconds=0, after_seconds=0))
    well, [said] = await verified(place)
    assert not well
    assert said.startswith("nothing is sealed yet, of 5 events: the next round of upkeep does it")
    assert said.endswith("somebody has deleted all of them")
