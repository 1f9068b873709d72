"""Programs of different versions meet at these locks: a key never changes."""

from __future__ import annotations

from outbox_operator.wire.advisory_locks import (
    key_lock_sql,
    schema_lock,
    shard_lock_class,
    sleep_lock,
)


def test_keys_are_what_they_always_were() -> None:
    assert schema_lock("migrations", "outbox") == -7238155329673484690
    assert schema_lock("upkeep", "outbox") == 681129183801303933
    assert sleep_lock("outbox", 7) == 6277494160604029447
    assert shard_lock_class("member", "outbox") == 1900286015
    assert shard_lock_class("shard", "outbox") == 859139246


def test_keys_fit_their_types() -> None:
    for schema in map(str, range(200)):
        assert -(2**63) <= schema_lock("upkeep", schema) < 2**63
        assert -(2**63) <= sleep_lock(schema, 63) < 2**63
        assert 0 <= shard_lock_class("shard", schema) < 2**31


def test_shards_of_a_schema_sleep_apart() -> None:
    assert len({sleep_lock("outbox", shard) for shard in range(64)}) == 64
    assert sleep_lock("outbox", 0) != sleep_lock("other", 0)


def test_a_quote_in_a_schema_stays_text() -> None:
    assert key_lock_sql("it's", "k") == (
        "pg_advisory_xact_lock(hashtextextended(k, hashtextextended('it''s', 0)))"
    )
