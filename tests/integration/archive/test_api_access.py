"""What the API's role may see on a real server, and that it stays so."""

from __future__ import annotations

import json
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
SAYS = """
INSERT INTO archive.events (class, stored_at, id, type, source, subject, sequence, occurred_at,
                            headers, payload, payload_bytes, tenant)
VALUES ('orders', now(), gen_random_uuid(), 'order.a', '/s', 'a', 9, now(), '{}', $1::text::jsonb,
        length($1::text), 't1')
"""
WORST = {
    "words": json.dumps(" ".join(f"{n:x}-{n % 97:x}" for n in range(8000))[:65_000]),
    "numbers": json.dumps([int(1e300) + n for n in range(53)]),
    "exponents": f"[{','.join(f'{n}e298' for n in range(2000))}]",
    "addresses": json.dumps(" ".join(f"a{n:x}.org/{n:x}" for n in range(4000))[:65_000]),
    "a megabyte": json.dumps(" ".join(f"{n:x}" for n in range(200_000))[:1_000_000]),
}
"""Of payloads of many words; a list of these ends at a megabyte."""
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
    assert "created policy outbox_tenants" in said
    assert "enabled the policies of table events" in said
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


async def test_words_get_an_index_under_the_policy_and_lose_it(place: ArchivePlace) -> None:
    place.rules(extract={**RULES.extract, "tenant": "$.tenant"})
    place.with_api("tenant")
    await place.migrate()
    await place.root.execute(ADD)
    await place.root.execute(SAYS, '{"note": "blue shoes"}')
    place.change(text_search=True)
    said = await place.migrate()
    assert "created index events_texts_idx on rows_orders_default" in said
    assert await place.migrate() == AS_WANTED
    for text in WORST.values():
        await place.root.execute(SAYS, text)
    api = await place.open(place.api)
    blue = "SELECT tenant FROM archive.searched WHERE \"#texts\" @@ 'blue'"
    assert await api.fetch(blue) == [], "nothing without a tenant"
    await api.execute("SET outbox.tenant = 't0'")
    assert await api.fetch(blue) == []
    await api.execute("SET outbox.tenant = 't1'")
    assert [row["tenant"] for row in await api.fetch(blue)] == ["t1"]
    # What is taken away or changed by hand comes back, and a new column is in it.
    await place.root.execute(f'REVOKE SELECT ON archive.searched FROM "{place.api}"')
    assert await place.migrate() == (f"granted SELECT on view searched to {place.api}",)
    # One that hides nothing any more, with the comment of ours on it.
    said = await place.root.fetchval("SELECT pg_get_viewdef('archive.searched')")
    await place.root.execute(f"CREATE OR REPLACE VIEW archive.searched AS {said.split('WHERE')[0]}")
    assert "view searched is no longer as wanted: dropped" in await place.migrate()
    assert (await place.migrate())[0] == "the tables are as wanted"
    await place.root.execute("COMMENT ON VIEW archive.searched IS NULL")
    place.rules(extract={**RULES.extract, "tenant": "$.tenant", "brand": "$.brand"})
    assert "view searched is no longer as wanted: dropped" in await place.migrate()
    assert await place.migrate() == AS_WANTED
    assert await api.fetch(blue.replace("tenant FROM", "brand FROM"))
    place.change(text_search=False)
    assert await place.migrate() == (
        "view searched is no longer as wanted: dropped",
        "nobody searches by words any more: dropped",
    )
    assert await place.migrate() == AS_WANTED
    assert await place.root.fetch("SELECT FROM pg_indexes WHERE indexdef LIKE '%tsvector%'") == []


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
