"""A relay and a runtime of another version than the schema: both happen at every upgrade."""

from __future__ import annotations

import json

from outbox_operator.adapters.postgres.connection import connect
from outbox_operator.adapters.postgres.url import parse_url
from support.kube import ROOT
from support.outbox import migrate, migrate_inbox

STATEMENTS = ROOT / "tests/support/statements_3257158.json"
"""What relay and consumer runtime of that commit, with schema version 2, say to their tables; a
clone without history has them, too."""


async def test_what_an_older_relay_says_is_understood(database: str) -> None:
    """The operator migrates first; pods of before run until they are replaced."""
    await migrate(database)
    await migrate_inbox(database)
    connection = await connect(parse_url(database), application_name="test")
    for name, sql in json.loads(STATEMENTS.read_text()).items():
        try:
            await connection.prepare(sql)
        except Exception as error:
            raise AssertionError(f"{name}: {error}\n{sql}") from error
    await connection.execute(
        "INSERT INTO outbox.events (event_type, partition_key, payload) VALUES ('a', 'k', '{}')"
    )
    await connection.close()
