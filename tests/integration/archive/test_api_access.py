"""What the API's role may see on a real server, and that it stays so."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from outbox_operator.adapters.postgres.archive_reader import ArchiveReader
from outbox_operator.adapters.postgres.url import parse_url
from outbox_operator.errors import PostgresError, SpecError
from support.archiving import RULES, ArchivePlace

pytestmark = pytest.mark.integration
ADD = """
INSERT INTO archive.events (class, stored_at, id, type, source, subject, sequence, occurred_at,
                            headers, payload_bytes, tenant)
SELECT 'orders', now(), gen_random_uuid(), 'order.a', '/s', 'a', n, now(), '{}', 0, 't' || n % 2
FROM generate_series(1, 4) n
"""
AS_WANTED = ("the tables are as wanted",)
SEEN = "SELECT DISTINCT tenant FROM archive.events ORDER BY 1"


async def test_a_tenant_is_hidden_from_the_others_and_a_policy_is_put_back(
    place: ArchivePlace,
) -> None:
    place.rules(extract={**RULES.extract, "tenant": "$.tenant"})
    place.with_api("tenant")
    await place.migrate()
    assert await place.migrate() == AS_WANTED
    await place.root.execute(ADD)
    api, reader = await place.open(place.api), await place.open(place.reader)
    assert await api.fetch(SEEN) == [], "nothing without a tenant"
    await api.execute("SET outbox.tenant = 't1'")
    assert [row["tenant"] for row in await api.fetch(SEEN)] == ["t1"]
    assert [row["tenant"] for row in await reader.fetch(SEEN)] == ["t0", "t1"]
    for forbidden in (
        "INSERT INTO archive.events SELECT * FROM archive.events",
        "DELETE FROM archive.events",
        "SELECT * FROM archive.rows_orders_default",
        "SELECT * FROM archive.access_log",
        "DELETE FROM archive.access_log",
        "DELETE FROM archive.exports",
        "SET row_security = off; SELECT * FROM archive.events",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await api.execute(forbidden)
    await place.root.execute("ALTER POLICY outbox_tenants ON archive.events USING (true)")
    await place.root.execute("ALTER TABLE archive.events DISABLE ROW LEVEL SECURITY")
    said = await place.migrate()
    assert "create policy outbox_tenants" in said
    assert "enable the policies of table events" in said
    assert await place.migrate() == AS_WANTED
    # Without tenants it sees all, and without an API nothing.
    place.with_api(None)
    await place.migrate()
    assert [row["tenant"] for row in await api.fetch(SEEN)] == ["t0", "t1"]
    place.change(api_role=None)
    await place.migrate()
    assert await place.migrate() == AS_WANTED
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await api.fetch(SEEN)


async def test_it_does_not_serve_with_a_policy_that_hides_nothing(place: ArchivePlace) -> None:
    place.rules(extract={**RULES.extract, "tenant": "$.tenant"})
    place.with_api("tenant")
    await place.migrate()
    login = Path(place.login_file(place.api))
    reader = ArchiveReader(
        lambda: parse_url(login.read_text()),
        schema="archive", columns=("id",), tenants=True, size=1, application_name="t",
    )  # fmt: skip
    await reader.check()
    for how in ("ALTER POLICY outbox_tenants ON archive.events USING (true)",
                "DROP POLICY outbox_tenants ON archive.events"):  # fmt: skip
        await place.root.execute(how)
        with pytest.raises(PostgresError, match="no policy hides the events of other tenants"):
            await reader.check()
    await reader.close()


async def test_a_role_that_could_do_more_is_refused(place: ArchivePlace) -> None:
    for role in (place.writer, place.keeper):
        place.change(api_role=role)
        with pytest.raises(SpecError, match="wanted a role that reads and nothing else"):
            await place.migrate()
    place.change(api_role=place.api, tenant_column="nobody")
    with pytest.raises(SpecError, match="tenant column: wanted one of those that are extracted"):
        await place.migrate()
