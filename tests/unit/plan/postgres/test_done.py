"""What a plan has done is said as done."""

from __future__ import annotations

import pytest

from outbox_operator.plan.postgres.done import done
from outbox_operator.plan.postgres.state import Statement


@pytest.mark.parametrize(
    ("sql", "reason", "said"),
    [
        (
            'GRANT SELECT ("key", id) ON TABLE archive.events TO auditor',
            "role auditor lacks SELECT (key, id) on table events",
            ["granted SELECT (key, id) ON TABLE archive.events TO auditor"],
        ),
        (
            "REVOKE USAGE ON SCHEMA archive FROM auditor",
            "role auditor no longer needs USAGE on schema archive",
            ["revoked USAGE ON SCHEMA archive FROM auditor"],
        ),
        (
            "GRANT SELECT ON v TO r",
            "grant SELECT on view v to r",
            ["granted SELECT on view v to r"],
        ),
        ("CREATE INDEX i", "create index i", ["created index i"]),
        ("DROP INDEX CONCURRENTLY IF EXISTS i", "drop what is left of index i", []),
        ("DROP INDEX i", "index i is invalid", ["index i is invalid: dropped"]),
        ("CREATE VIEW v", "view v is missing", ["view v is missing: created"]),
        (
            "ALTER TABLE t",
            "t.c: type: wanted a, found b",
            ["t.c: type: wanted a, found b: changed"],
        ),
    ],
)
def test_what_was_done(sql: str, reason: str, said: list[str]) -> None:
    assert list(done([Statement(sql=sql, reason=reason)])) == said
