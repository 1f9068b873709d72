"""How an archive of version 1 gets its key."""

from __future__ import annotations

from outbox_operator.plan.postgres.archive_key import FORMER_KEY, key_statements
from outbox_operator.plan.postgres.archive_schema import EVENTS_KEY, events_table

LEAVES = ("rows_a_default", "rows_a_20260301t0000")


def test_leaves_are_built_beside_the_writing_and_tied_together_in_the_end() -> None:
    steps = list(key_statements(events_table("archive", ()), LEAVES, drift=False))
    built = [step.sql for step in steps if step.concurrent]
    tied = [step.sql for step in steps if not step.concurrent]
    assert [step.concurrent for step in steps] == [True] * len(built) + [False] * len(tied)
    indexes = []
    for leaf, drop, create in zip(LEAVES, built[::2], built[1::2], strict=True):
        assert drop.startswith("DO ")
        assert "NOT indisvalid" in drop
        before, _, on = create.partition(" ON ")
        assert on == f'"archive"."{leaf}" ("id", "source", "stored_at", "class")'
        how, _, index = before.rpartition(" ")
        assert how == "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS"
        assert index in drop
        indexes.append(index)
    assert len({*indexes}) == len(LEAVES)
    assert tied == [
        'ALTER TABLE "archive"."events" DROP CONSTRAINT "events_pkey"',
        *(
            f'ALTER TABLE "archive"."{leaf}" ADD CONSTRAINT "{leaf}_pkey" '
            f"PRIMARY KEY USING INDEX {index}"
            for leaf, index in zip(LEAVES, indexes, strict=True)
        ),
        'ALTER TABLE "archive"."events" ADD CONSTRAINT "events_pkey" '
        'PRIMARY KEY ("id", "source", "stored_at", "class")',
    ]
    assert not any(step.destructive or step.drift for step in steps)


def test_whatever_had_one_key_has_the_other() -> None:
    """So the server never refuses a row that is there."""
    assert {*FORMER_KEY} < {*EVENTS_KEY}
