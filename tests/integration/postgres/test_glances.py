"""Many outboxes of a database in one statement: the same numbers, and who needs a pass."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.controller.reconcile import outside
from outbox_operator.controller.reconcile.outside import DatabasePlace, OutboxQuestion
from outbox_operator.controller.reconcile.postgres_connections import PostgresConnections
from outbox_operator.plan.postgres.state import DesiredDatabase
from support.outbox import OWNER, publish_all
from support.owned import OwnedDatabase
from support.waiting import eventually

pytestmark = pytest.mark.integration

NAMES = ("outbox", 'od"d', "back\\slash")


@pytest.fixture
async def place(owned: OwnedDatabase) -> OwnedDatabase:
    for name in NAMES:
        await owned.migrate(DesiredDatabase(schema=name))
    return owned


async def look(place: OwnedDatabase, **over: DesiredDatabase) -> list[bool]:
    """Of each schema, whether it is well; and that its numbers are those of a look of its own."""
    wanted = [(over.get(name, DesiredDatabase(schema=name)), OWNER.uid) for name in NAMES]
    found = await place.admin.glances(wanted, await place.admin.identity())
    for name, numbers in zip(NAMES, found, strict=True):
        if numbers is not None:
            own = await place.admin.sample(name)
            assert own == replace(numbers, oldest_age_seconds=own.oldest_age_seconds)
    return [numbers is not None for numbers in found]


async def test_the_numbers_are_those_of_a_look_at_each(place: OwnedDatabase) -> None:
    await place.connection.execute(
        "INSERT INTO outbox.events (event_type, payload) VALUES ('a', '{}')"
    )
    assert await look(place) == [True, True, True]
    await publish_all(place.connection, "outbox")
    assert await look(place) == [True, True, True]


@pytest.mark.parametrize(
    "statement",
    [
        "COMMENT ON SCHEMA outbox IS "
        """'{"managed-by": "outbox-operator", "owner": {"uid": "another"}}'""",
        "INSERT INTO outbox.events (position, event_type, payload) VALUES (77, 'a', '{}')",
        "UPDATE outbox.cursors SET system_identifier = '1'",
    ],
    ids=["mark", "positions", "cursor"],
)
async def test_what_a_pass_has_to_see_to_is_told_of_the_one(
    place: OwnedDatabase, statement: str
) -> None:
    await place.connection.execute(statement)
    assert await look(place) == [False, True, True]


async def test_a_right_that_is_missing(place: OwnedDatabase) -> None:
    role, _ = await place.other_role("writer")
    wanted = DesiredDatabase(schema="outbox", writers=(role,))
    assert await look(place, outbox=wanted) == [False, True, True]
    await place.migrate(wanted)
    assert await look(place, outbox=wanted) == [True, True, True]


async def test_another_database_says_nothing_of_this_one(place: OwnedDatabase) -> None:
    wanted = [(DesiredDatabase(schema="outbox"), OWNER.uid)]
    assert await place.admin.glances(wanted, "1/1") == [None]


async def test_a_table_that_somebody_has_locked_hides_no_other_outbox(
    place: OwnedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outside, "TOGETHER", 1)
    login, identity = parse_url(place.url), await place.admin.identity()
    questions = [OutboxQuestion(DesiredDatabase(schema=name), OWNER.uid, "") for name in NAMES]
    pool = PostgresConnections(lambda _user, _trigger: None, time.monotonic)
    context = cast(Any, SimpleNamespace(postgres=pool))

    async def told() -> bool:
        answers = await DatabasePlace(login, identity).ask(context, questions, whole=False)
        return [one is not None for one in answers] == [False, True, True]

    try:
        async with place.connection.transaction():
            await place.connection.execute("LOCK TABLE outbox.cursors")
            await eventually(told, "the others are seen meanwhile")
    finally:
        await pool.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DROP INDEX {}.dead_letters_key_idx",
        "ALTER TABLE {}.events ADD COLUMN note text",
        "DROP FUNCTION {}.emit_strict",
        "COMMENT ON SCHEMA {} IS NULL",
    ],
    ids=["index", "column", "function", "comment"],
)
async def test_a_catalog_that_is_otherwise_has_a_pass_compare_it(
    place: OwnedDatabase, statement: str
) -> None:
    login, identity = parse_url(place.url), await place.admin.identity()
    wanted = [DesiredDatabase(schema=name) for name in NAMES]
    seen = [(await place.admin.observe(one)).fingerprint for one in wanted]
    questions = [
        OutboxQuestion(one, OWNER.uid, mark) for one, mark in zip(wanted, seen, strict=True)
    ]
    pool = PostgresConnections(lambda _user, _trigger: None, time.monotonic)
    context = cast(Any, SimpleNamespace(postgres=pool, doubted=set()))

    async def told(*, whole: bool) -> list[bool]:
        answers = await DatabasePlace(login, identity).ask(context, questions, whole=whole)
        return [one is not None for one in answers]

    try:
        assert (await told(whole=True), context.doubted) == ([True, True, True], set())
        await place.connection.execute(statement.format('"od""d"'))
        assert await told(whole=False) == [True, True, True]
        assert await told(whole=True) == [True, False, True]
        assert context.doubted == {OWNER.uid}
    finally:
        await pool.close()
